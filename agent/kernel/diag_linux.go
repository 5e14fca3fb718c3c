package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// tcpDiagGetSock is TCPDIAG_GETSOCK of linux/inet_diag.h, the first form of the TCP
// dump, which the kernel keeps for old programs. It is the only one that lists IPv4
// and IPv6 in one walk over the table of sockets, and that walk is all the cost: 0.25
// ms for the 262,144 buckets of a machine with 24 GiB.
const tcpDiagGetSock = 18

// requestLength is struct nlmsghdr and struct inet_diag_req.
const requestLength = messageHeader + 60

// busyStates is the bit mask of the states in which a socket may yet send. A mini
// socket in TIME_WAIT's stead that still waits for the peer's FIN counts as FIN_WAIT2.
const busyStates = 1<<Established | 1<<SynSent | 1<<SynRecv | 1<<newSynRecv | 1<<FinWait1 | 1<<FinWait2 |
	1<<CloseWait | 1<<LastAck | 1<<Closing

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

// busy lists the sockets of the flows that may yet send.
func (d *diag) busy(f *flows) ([]Socket, error) {
	sockets, err := d.dump(f.hold)
	if err != nil {
		return nil, fmt.Errorf("list TCP sockets through sock_diag: %w", err)
	}
	return sockets, nil
}

func (d *diag) dump(keep func(Socket) bool) (sockets []Socket, err error) {
	if err := d.ask(); err != nil {
		return nil, err
	}
	for done := false; !done; {
		n, err := d.receive()
		if err != nil {
			return nil, err
		}
		sockets, done, err = answer(d.buffer[:n], sockets, keep)
		if errno, ok := errors.AsType[errnoError](err); ok {
			err = unix.Errno(errno)
		}
		if err != nil {
			return nil, err
		}
	}
	return sockets, nil
}

// ask sends a struct inet_diag_req for all TCP sockets in busyStates, whatever their
// family: an IPv6 socket may carry an IPv4 connection. It needs no sequence number: a
// dump is read to its end before the next is asked for.
func (d *diag) ask() error {
	var m [requestLength]byte
	binary.NativeEndian.PutUint32(m[0:], requestLength)
	binary.NativeEndian.PutUint16(m[4:], tcpDiagGetSock)
	binary.NativeEndian.PutUint16(m[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	// Behind the family, lengths and extensions, and the 48 bytes of the socket's id.
	binary.NativeEndian.PutUint32(m[messageHeader+52:], busyStates)
	for {
		err := unix.Sendto(d.fd, m[:], 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
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
