package probe

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// host is a thread in a network namespace of its own. What it has made lives until
// the thread does, and the test's end ends the thread.
type host struct {
	t    testing.TB
	work chan func()
	ns   *os.File
}

func newHost(t testing.TB) *host {
	t.Helper()
	h := &host{t: t, work: make(chan func())}
	ready := make(chan error)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// Never unlocked: the thread dies with the goroutine, and takes its namespace.
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			h.ns, err = os.Open("/proc/thread-self/ns/net")
		}
		ready <- err
		for f := range h.work {
			f()
		}
	}()
	err := <-ready
	t.Cleanup(func() {
		close(h.work)
		<-ended
		if h.ns != nil {
			h.ns.Close()
		}
	})
	if err != nil {
		t.Skipf("make a network namespace: %v (run the test as root, or in `unshare -Urn`)", err)
	}
	h.do(func() error { return up("lo") })
	return h
}

// do runs f on the host's thread.
func (h *host) do(f func() error) {
	h.t.Helper()
	done := make(chan error)
	h.work <- func() { done <- f() }
	if err := <-done; err != nil {
		h.t.Fatal(err)
	}
}

func up(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	return nil
}

// The addresses of a pair's hosts, on each of its two links.
var (
	client4 = netip.MustParseAddr("10.9.0.1")
	server4 = netip.MustParseAddr("10.9.0.2")
	client6 = netip.MustParseAddr("fd09::1")
	server6 = netip.MustParseAddr("fd09::2")
	// The second link is a control network.
	client4c = netip.MustParseAddr("10.9.1.1")
	server4c = netip.MustParseAddr("10.9.1.2")
)

// pair is two hosts joined by two veth pairs.
type pair struct{ client, server *host }

func newPair(t testing.TB) *pair {
	t.Helper()
	p := &pair{client: newHost(t), server: newHost(t)}
	for _, h := range []*host{p.client, p.server} {
		// Duplicate address detection keeps IPv6 waiting for a second.
		h.do(func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0) })
	}
	p.link("eth0", []netip.Addr{client4, client6}, []netip.Addr{server4, server6})
	p.link("eth1", []netip.Addr{client4c}, []netip.Addr{server4c})
	return p
}

// link joins both hosts by a veth pair with the same name at both ends.
func (p *pair) link(name string, client, server []netip.Addr) {
	p.client.t.Helper()
	p.client.do(func() error {
		link := &netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name,
			PeerNamespace: netlink.NsFd(p.server.ns.Fd()),
		}
		if err := netlink.LinkAdd(link); err != nil {
			return fmt.Errorf("make a veth pair: %w", err)
		}
		return nil
	})
	p.client.do(func() error { return configure(name, client) })
	p.server.do(func() error { return configure(name, server) })
	p.client.do(func() error { return carried(p.client.t, name) })
	p.server.do(func() error { return carried(p.server.t, name) })
}

// carried waits until a link has its carrier: what is sent before is thrown away, and a
// question for a link address is not asked again for a second.
func carried(t testing.TB, name string) error {
	for deadline := newDeadline(t); ; deadline.check("the carrier of %s", name) {
		link, err := netlink.LinkByName(name)
		if err != nil || link.Attrs().OperState == netlink.OperUp {
			return err
		}
	}
}

func configure(name string, addresses []netip.Addr) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	for _, a := range addresses {
		bits := 24
		if a.Is6() {
			bits = 64
		}
		address, err := netlink.ParseAddr(netip.PrefixFrom(a, bits).String())
		if err != nil {
			return err
		}
		address.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(link, address); err != nil {
			return fmt.Errorf("add %v: %w", a, err)
		}
	}
	return netlink.LinkSetUp(link)
}
