package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
)

// listenOnSocket opens the Unix socket of operators, which nobody but the owner of its file may
// open. A file that a controller has left which was killed is replaced: bind(2) would
// refuse it for ever.
func listenOnSocket(path string) (net.Listener, error) {
	config := net.ListenConfig{Control: ownerOnly}
	l, err := config.Listen(context.Background(), "unix", path)
	if errors.Is(err, syscall.EADDRINUSE) {
		if err := removeDead(path); err != nil {
			return nil, err
		}
		l, err = config.Listen(context.Background(), "unix", path)
	}
	if err != nil {
		return nil, usage("listen on socket %s: %s", path, plainCause(err))
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("keep socket %s to its owner: %w", path, err), l.Close())
	}
	return l, nil
}

// removeDead removes the file of a socket that nobody listens on.
func removeDead(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return usage("listen on socket %s: address already in use, and %w", path, err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return usage("listen on socket %s: there is a file of another kind (%v): give --socket another path", path, info.Mode().Type())
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
		return usage("listen on socket %s: address already in use.\nIs another controller running there? Another one: --socket PATH", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return usage("listen on socket %s: address already in use, and who has it does not say: %s", path, plainCause(err))
	}
	if err := os.Remove(path); err != nil {
		return usage("listen on socket %s: nobody listens there any more, and its file cannot be removed: %s", path, plainCause(err))
	}
	return nil
}
