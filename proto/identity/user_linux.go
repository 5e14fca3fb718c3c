package identity

import (
	"net"
	"strconv"

	"golang.org/x/sys/unix"
)

// userOf names the user who opened a Unix socket (SO_PEERCRED, unix(7)), as the kernel
// knows him.
func userOf(conn *net.UnixConn) string {
	const unknown = SocketPrefix + "unknown"
	raw, err := conn.SyscallConn()
	if err != nil {
		return unknown
	}
	var who *unix.Ucred
	var gotErr error
	if err := raw.Control(func(fd uintptr) {
		who, gotErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil || gotErr != nil {
		return unknown
	}
	return SocketPrefix + strconv.FormatUint(uint64(who.Uid), 10)
}
