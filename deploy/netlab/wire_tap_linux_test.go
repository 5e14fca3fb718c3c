package netlab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sighting is a datagram of the test at a tap.
type sighting struct {
	number uint32
	at     time.Time
	length int
}

// tap is an AF_PACKET socket at a host's eth0, with the kernel's stamps.
type tap struct {
	t  testing.TB
	fd int
}

func newTap(t testing.TB, h *Host) *tap {
	t.Helper()
	p := &tap{t: t, fd: -1}
	err := h.Do(func() (err error) {
		link, err := net.InterfaceByName(h.Interface)
		if err != nil {
			return err
		}
		// In network byte order.
		const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8
		if p.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return errors.Join(
			unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
			unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1<<24),
			unix.SetsockoptTimeval(p.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(deadline / time.Second)}),
			unix.Bind(p.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: link.Index}),
		)
	})
	t.Cleanup(func() { unix.Close(p.fd) })
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// next is the next UDP datagram for port 7 that the tap sees.
func (p *tap) next() sighting {
	p.t.Helper()
	buffer := make([]byte, maxFrame)
	for {
		const ipv4, udp = 14, 34
		f, at := p.read(buffer)
		if len(f) < udp+12 || !bytes.Equal(f[12:14], []byte{8, 0}) || f[ipv4+9] != unix.IPPROTO_UDP ||
			binary.BigEndian.Uint16(f[udp+2:]) != 7 || bytes.HasPrefix(f[udp+8:], []byte("hell")) {
			continue
		}
		return sighting{binary.BigEndian.Uint32(f[udp+8:]), at, len(f)}
	}
}

func numbered(i int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(i)) }

// awaitStamps sends until the kernel stamps at all taps as packets pass: it begins with that
// some time after a socket has asked for it, and until then it stamps as they are read.
func awaitStamps(t *testing.T, sender *net.UDPConn, taps ...*tap) {
	t.Helper()
	await(t, "the kernel stamps at the taps", func() bool {
		if _, err := sender.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		stamps := true
		for _, p := range taps {
			stamps = p.stamped() && stamps
		}
		return stamps
	})
}

// stamped waits for one frame, reads it, and reports whether the kernel had stamped it before.
func (p *tap) stamped() bool {
	p.t.Helper()
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}, int(deadline/time.Millisecond))
	for err == unix.EINTR {
		n, err = unix.Poll([]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}, int(deadline/time.Millisecond))
	}
	if err != nil || n != 1 {
		p.t.Fatalf("wait for a frame at a tap: %d, %v", n, err)
	}
	before := time.Now()
	_, at := p.read(make([]byte, maxFrame))
	return !at.After(before)
}

// read is the next frame that the tap sees, in b, and its stamp.
func (p *tap) read(b []byte) (frame []byte, at time.Time) {
	p.t.Helper()
	control := make([]byte, 128)
	n, cn, _, _, err := unix.Recvmsg(p.fd, b, control, 0)
	for err == unix.EINTR {
		n, cn, _, _, err = unix.Recvmsg(p.fd, b, control, 0)
	}
	if err != nil {
		p.t.Fatalf("read from a tap: %v", err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:cn])
	if err != nil || len(messages) != 1 {
		p.t.Fatalf("%d control messages, want the stamp alone (%v)", len(messages), err)
	}
	stamp := (*unix.Timespec)(unsafe.Pointer(&messages[0].Data[0]))
	return b[:n], time.Unix(stamp.Unix())
}
