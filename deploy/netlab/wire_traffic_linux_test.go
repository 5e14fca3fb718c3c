package netlab

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// datagrams has host A send to a socket of B, both with UDP; the caller closes them.
func datagrams(t testing.TB, l *Lab, from, to string) (sender, receiver *net.UDPConn) {
	t.Helper()
	err := errors.Join(
		l.Host(to).Do(func() (err error) {
			receiver, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(l.Host(to).Address, 7)))
			return err
		}),
		l.Host(from).Do(func() (err error) {
			sender, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(l.Host(to).Address, 7)))
			return err
		}),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		sender.Close()
		receiver.Close()
	})
	if err := receiver.SetReadBuffer(1 << 24); err != nil {
		t.Fatal(err)
	}
	return sender, receiver
}

// meet has the two hosts learn each other's hardware address, so that what follows does
// not wait for it.
func meet(t testing.TB, sender, receiver *net.UDPConn) {
	t.Helper()
	if _, err := sender.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	receive(t, receiver, make([]byte, 16))
}

func receive(t testing.TB, c *net.UDPConn, b []byte) []byte {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(deadline)); err != nil {
		t.Fatal(err)
	}
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// mechanisms runs a test with each of them.
func mechanisms(t *testing.T, test func(*testing.T, Mechanism)) {
	for _, m := range []Mechanism{UserSpace, Netem} {
		t.Run(m.String(), func(t *testing.T) {
			if m == Netem && !kernelHasNetem(t) {
				t.Skip("the kernel has no netem: try modprobe sch_netem")
			}
			test(t, m)
		})
	}
}

func kernelHasNetem(t *testing.T) bool {
	t.Helper()
	has, err := makeLab(t, Config{Hosts: []string{"A"}}).fabric.hasNetem()
	if err != nil {
		t.Fatal(err)
	}
	return has
}

// settled waits until nothing is under way and returns the reports by host.
func settled(t testing.TB, l *Lab) map[string]WireReport {
	t.Helper()
	var reports map[string]WireReport
	end := time.Now().Add(deadline)
	for {
		all, err := l.Wires()
		if err != nil {
			t.Fatal(err)
		}
		reports = map[string]WireReport{}
		flying := uint64(0)
		for _, r := range all {
			reports[r.Host] = r
			flying += r.Out.InFlight + r.In.InFlight
		}
		if flying == 0 {
			return reports
		}
		if time.Now().After(end) {
			t.Fatalf("still under way after %v: %+v", deadline, all)
		}
		time.Sleep(time.Millisecond)
	}
}

// linkCounters are the kernel's own for a host's eth0.
func linkCounters(t testing.TB, h *Host) (s netlink.LinkStatistics) {
	t.Helper()
	err := h.Do(func() error {
		link, err := netlink.LinkByName(h.Interface)
		if err == nil {
			s = *link.Attrs().Statistics
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// emptied reads all datagrams that are in a socket's buffer now, and counts them.
func emptied(t testing.TB, c *net.UDPConn) (came int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 16)
	var failed error
	err = raw.Control(func(fd uintptr) {
		for {
			_, _, failed = unix.Recvfrom(int(fd), buffer, unix.MSG_DONTWAIT)
			switch failed {
			case nil:
				came++
			case unix.EINTR:
			default:
				return
			}
		}
	})
	if err != nil || failed != unix.EAGAIN {
		t.Fatalf("read what is in a socket: %v, %v", err, failed)
	}
	return came
}

// neighbour tells a host another's hardware address, the n-th of the lab.
func neighbour(t testing.TB, h, other *Host, n byte) {
	t.Helper()
	setLink(t, h, hostInterface, func(link netlink.Link) error {
		return netlink.NeighSet(&netlink.Neigh{
			LinkIndex: link.Attrs().Index, State: netlink.NUD_PERMANENT,
			IP: other.Address.AsSlice(), HardwareAddr: net.HardwareAddr{2, 's', 'y', 'n', 'c', n},
		})
	})
}
