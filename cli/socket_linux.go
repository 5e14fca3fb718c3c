package cli

import (
	"os"
	"syscall"
)

// ownerOnly gives a socket the mode that its file gets with bind(2) (unix_bind in
// net/unix/af_unix.c): there is no moment at which others may open it.
func ownerOnly(_, _ string, raw syscall.RawConn) (err error) {
	controlErr := raw.Control(func(fd uintptr) { err = os.NewSyscallError("fchmod", syscall.Fchmod(int(fd), 0o600)) })
	if controlErr != nil {
		return controlErr
	}
	return err
}
