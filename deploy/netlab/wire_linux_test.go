package netlab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// Hosts with wires and a host without one reach each other over both IP versions,
// and are what every other host of a lab is.
func TestHostsReachEachOtherOverWires(t *testing.T) {
	delay := Direction{Delay: 2 * time.Millisecond, Jitter: time.Millisecond}
	l := makeLab(t, Config{
		Hosts: []string{"A", "B", "C", "plain"},
		Wires: map[string]Wire{"A": {Out: delay}, "B": {In: delay}, "C": {}},
	})
	for i, h := range l.Hosts() {
		serve(t, h)
		err := h.Do(func() error {
			link, err := net.InterfaceByName(h.Interface)
			if err != nil {
				return err
			}
			want := fmt.Sprintf("02:73:79:6e:63:%02x 1500", i+1)
			if got := fmt.Sprint(link.HardwareAddr, " ", link.MTU); got != want {
				t.Errorf("host %s has address and MTU %s, want %s", h.Name, got, want)
			}
			if diff := cmp.Diff([]string{"ctl0", "eth0", "lo"}, interfaces()); diff != "" {
				t.Errorf("links of host %s (-want +got):\n%s", h.Name, diff)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	for _, client := range l.Hosts() {
		for _, server := range l.Hosts() {
			for _, address := range []netip.Addr{server.Address, server.Address6} {
				if address.IsValid() {
					greet(t, client, server, address)
				}
			}
		}
	}
	reports, err := l.Wires()
	if err != nil || len(reports) != 3 {
		t.Fatalf("%d reports (%v), want those of A, B and C", len(reports), err)
	}
	for _, r := range reports {
		if r.Out.Delivered == 0 || r.In.Delivered == 0 || r.Missed != 0 {
			t.Errorf("the wire of %s: %+v", r.Host, r)
		}
	}
}

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

var _ = os.Getpid
var _ = unix.AF_INET
