//go:build !linux

package identity

import "net"

// userOf names the user who opened a Unix socket. Controllers that people rely on run on
// Linux, where the kernel says who it is.
func userOf(*net.UnixConn) string { return SocketPrefix + "unknown" }
