package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// tcpDiagGetSock is TCPDIAG_GETSOCK of linux/inet_diag.h, the first form of the TCP
// dump, which the kernel keeps for old programs. It is the only one that lists IPv4
// and IPv6 in one walk over the table of sockets, and that walk is all the cost: 0.25
// ms for the 262,144 buckets of a machine with 24 GiB.
const tcpDiagGetSock = 18

// requestLength is struct nlmsghdr and struct inet_diag_req.
const requestLength = messageHeader + 60

// byFamily is SOCK_DIAG_BY_FAMILY of linux/sock_diag.h, which can ask for one socket.
const byFamily = 20

// answerTimeout bounds the wait for the kernel's next datagram, which is made while
// it is asked for.
var answerTimeout = unix.Timeval{Sec: 5}

// diag is a netlink socket to sock_diag(7). It stays in the network namespace in
// which it was opened. One goroutine uses it.
type diag struct {
	fd     int
	buffer []byte
}

func openDiag() (*diag, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("open a sock_diag socket (kernel modules inet_diag, tcp_diag): %w", err)
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &answerTimeout); err != nil {
		return nil, errors.Join(fmt.Errorf("set the time-out of a sock_diag socket: %w", err), unix.Close(fd))
	}
	return &diag{fd: fd, buffer: make([]byte, 32<<10)}, nil
}

func (d *diag) close() { unix.Close(d.fd) }

// dump lists the sockets in the states that keep wants. Request sockets are among
// those in SYN_RECV and newSynRecv.
func (d *diag) dump(in stateSet, keep func(Socket) bool) (sockets []Socket, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("list TCP sockets through sock_diag: %w", err)
		}
	}()
	if err := d.ask(in); err != nil {
		return nil, err
	}
	for done := false; !done; {
		n, err := d.receive()
		if err != nil {
			return nil, err
		}
		if sockets, done, err = answer(d.buffer[:n], sockets, keep); err != nil {
			return nil, named(err)
		}
	}
	return sockets, nil
}

// find looks for the one socket with these addresses, through the kernel's own hash:
// it costs microseconds. A listener is found for a connection that is not there (any
// more), so look at what was found.
func (d *diag) find(local, remote netip.AddrPort, link uint32) (s Socket, found bool, err error) {
	body := exact(local, remote, link)
	m := make([]byte, messageHeader, messageHeader+diagRequest)
	binary.NativeEndian.PutUint32(m[0:], messageHeader+diagRequest)
	binary.NativeEndian.PutUint16(m[4:], byFamily)
	binary.NativeEndian.PutUint16(m[6:], unix.NLM_F_REQUEST)
	if err := d.send(append(m, body[:]...)); err != nil {
		return Socket{}, false, fmt.Errorf("look for TCP socket %v %v through sock_diag: %w", local, remote, err)
	}
	n, err := d.receive()
	if err == nil {
		var sockets []Socket
		sockets, _, err = answer(d.buffer[:n], nil, func(Socket) bool { return true })
		if err == nil && len(sockets) == 1 {
			return sockets[0], true, nil
		}
		err = named(err)
	}
	if errors.Is(err, unix.ENOENT) {
		return Socket{}, false, nil
	}
	if err == nil {
		err = errMalformed
	}
	return Socket{}, false, fmt.Errorf("look for TCP socket %v %v through sock_diag: %w", local, remote, err)
}

// named gives an errno of a netlink message its name.
func named(err error) error {
	if errno, ok := errors.AsType[errnoError](err); ok {
		return unix.Errno(errno)
	}
	return err
}

// ask sends a struct inet_diag_req for all TCP sockets in some states, whatever their
// family: an IPv6 socket may carry an IPv4 connection. It needs no sequence number: a
// dump is read to its end before the next is asked for.
func (d *diag) ask(in stateSet) error {
	var m [requestLength]byte
	binary.NativeEndian.PutUint32(m[0:], requestLength)
	binary.NativeEndian.PutUint16(m[4:], tcpDiagGetSock)
	binary.NativeEndian.PutUint16(m[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	// Behind the family, lengths and extensions, and the 48 bytes of the socket's id.
	binary.NativeEndian.PutUint32(m[messageHeader+52:], uint32(in))
	return d.send(m[:])
}

func (d *diag) send(message []byte) error {
	for {
		err := unix.Sendto(d.fd, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// receive reads one datagram of the dump. With MSG_TRUNC it says its full length.
func (d *diag) receive() (int, error) {
	for {
		n, _, err := unix.Recvfrom(d.fd, d.buffer, unix.MSG_TRUNC)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, err
		case n > len(d.buffer):
			return 0, fmt.Errorf("datagram of %d bytes: %w", n, errMalformed)
		}
		return n, nil
	}
}
