package kernel

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// pair is a connection on loopback to a listener's port.
type pair struct{ client, server *net.TCPConn }

func connect(port int) pair {
	l := must(net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}))
	client := must(net.DialTCP("tcp4", nil, l.Addr().(*net.TCPAddr)))
	server := must(l.AcceptTCP())
	check(l.Close())
	return pair{client, server}
}

func TestEndOrphans(t *testing.T) {
	inNamespace(t, func() {
		half, other, open := connect(port), connect(port+1), connect(port)
		// Their clients are orphans now: the servers close nothing.
		check(half.client.Close())
		check(other.client.Close())
		one := make([]byte, 1)
		for _, p := range []pair{half, other} {
			if n, err := p.server.Read(one); n != 0 || err == nil {
				panic("the server has read data, and no end")
			}
		}
		flows := Flows{Addresses: []netip.Addr{loopback4}, Ports: []uint16{port}}
		ended := must(EndOrphans(flows))
		if len(ended) != 1 || !orphaned(ended[0]) || ended[0].Remote.Port() != port {
			t.Errorf("ended %v, want the one orphan of the flows", ended)
		}
		if _, err := half.server.Write(one); err == nil {
			// The RST may have come behind the first write.
			_, err = half.server.Write(one)
			if !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("the peer of what was ended writes: %v", err)
			}
		}
		left := must(Dump(Flows{Addresses: []netip.Addr{loopback4}, Ports: []uint16{port, port + 1}}))
		if !slices.ContainsFunc(left, func(s Socket) bool { return orphaned(s) && s.Remote.Port() == port+1 }) {
			t.Errorf("the orphan of another port is gone: %v", left)
		}
		must(open.client.Write([]byte("x")))
		if n := must(open.server.Read(one)); n != 1 {
			t.Error("a connection that its processes hold was ended")
		}
		if again := must(EndOrphans(flows)); len(again) != 0 {
			t.Errorf("ended twice: %v", again)
		}
		for _, c := range []*net.TCPConn{half.server, other.server, open.client, open.server} {
			check(c.Close())
		}
	})
}

// orphaned reports whether a client that was closed waits for its peer: the first FIN may not
// be acknowledged yet.
func orphaned(s Socket) bool { return s.State == FinWait1 || s.State == FinWait2 }

// An agent without CAP_NET_ADMIN is told so, and nothing is ended.
func TestEndOrphansNeedsAPrivilege(t *testing.T) {
	inNamespace(t, func() {
		half := connect(port)
		check(half.client.Close())
		if _, err := half.server.Read(make([]byte, 1)); err == nil {
			panic("no end")
		}
		// The thread dies with the test.
		caps := must(capabilities())
		caps[0].Effective &^= 1 << unix.CAP_NET_ADMIN
		check(unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &caps[0]))
		ended, err := EndOrphans(Flows{Addresses: []netip.Addr{loopback4}, Ports: []uint16{port}})
		if len(ended) != 0 || !errors.Is(err, unix.EPERM) {
			t.Errorf("ended %v, %v; want EPERM", ended, err)
		}
		check(half.server.Close())
	})
}

func capabilities() (caps [2]unix.CapUserData, err error) {
	err = unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &caps[0])
	return caps, err
}
