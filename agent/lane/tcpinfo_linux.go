package lane

import (
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// infoBlock bounds the memory that is set aside at once for what TCP_INFO told.
const infoBlock = 64 * tcpInfoSize

// infoReader reads TCP_INFO after each call of a lane on one of its own TCP sockets. It
// belongs to the lane's thread.
type infoReader struct {
	// left is how many calls may still ask.
	left int
	// free is the rest of a block. The event of a call keeps as much of it as the kernel
	// filled.
	free []byte
	// size is what the kernel is told of the memory, and tells back.
	size uint32
	// without are the kinds of sockets that this kernel has no TCP_INFO for, though they
	// are TCP: MPTCP before Linux 5.16.
	without []kind
}

// newInfoReader makes the reader of a lane, with the memory for its first calls.
func newInfoReader(ops []op) *infoReader {
	i := &infoReader{}
	for n := range ops {
		if ops[n].hasInfo() {
			i.left++
		}
	}
	i.refill()
	return i
}

// refill sets memory aside for the calls that are left, as many as a block takes.
func (i *infoReader) refill() { i.free = make([]byte, min(i.left*tcpInfoSize, infoBlock)) }

// hasInfo reports whether there is a TCP socket after the call.
func (o *op) hasInfo() bool {
	return (o.onSocket || o.makesSocket) && o.kind.isTCP() && o.call.trap != unix.SYS_CLOSE
}

// isTCP reports whether TCP_INFO is an option of sockets of the kind.
func (k kind) isTCP() bool {
	if k.typ != unix.SOCK_STREAM || k.domain != unix.AF_INET && k.domain != unix.AF_INET6 {
		return false
	}
	return k.protocol == 0 || k.protocol == unix.IPPROTO_TCP || k.protocol == unix.IPPROTO_MPTCP
}

// read asks for TCP_INFO of the socket that a call worked on, or made. The event keeps
// the answer; it has none if there is no socket: after a call that failed to make one,
// and of a name whose socket is closed.
func (i *infoReader) read(c *synclinev1.Call, o *op) {
	if !o.hasInfo() {
		return
	}
	defer func() { i.left-- }()
	fd := int64(c.Fd)
	if o.call.trap == unix.SYS_SOCKET || o.call.trap == unix.SYS_ACCEPT4 {
		fd = c.Result
	}
	if fd < 0 || slices.Contains(i.without, o.kind) {
		return
	}
	if len(i.free) < tcpInfoSize {
		i.refill()
	}
	i.size = tcpInfoSize
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_INFO,
		address(i.free), uintptr(unsafe.Pointer(&i.size)), 0)
	switch errno {
	case 0:
		n := min(i.size, tcpInfoSize)
		c.TcpInfo, i.free = i.free[:n:n], i.free[n:]
	case unix.EOPNOTSUPP, unix.ENOPROTOOPT:
		i.without = append(i.without, o.kind)
	}
	// Nothing else is an error of TCP: an MPTCP socket has none to tell of before its first
	// subflow and after its last (EINVAL).
}
