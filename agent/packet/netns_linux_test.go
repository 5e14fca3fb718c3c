package packet

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

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

// pair is two hosts joined by a veth pair, both ends of which are named eth0.
type pair struct {
	client, server   *host
	client4, server4 netip.Addr
	client6, server6 netip.Addr
}

func newPair(t testing.TB) *pair {
	t.Helper()
	p := &pair{
		client: newHost(t), server: newHost(t),
		client4: netip.MustParseAddr("10.9.0.1"), server4: netip.MustParseAddr("10.9.0.2"),
		client6: netip.MustParseAddr("fd09::1"), server6: netip.MustParseAddr("fd09::2"),
	}
	for _, h := range []*host{p.client, p.server} {
		// Duplicate address detection keeps IPv6 waiting for a second.
		h.do(func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0) })
	}
	p.client.do(func() error {
		link := &netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth0",
			PeerNamespace: netlink.NsFd(p.server.ns.Fd()),
		}
		if err := netlink.LinkAdd(link); err != nil {
			return fmt.Errorf("make a veth pair: %w", err)
		}
		return nil
	})
	p.client.do(func() error { return configure(p.client4, p.client6) })
	p.server.do(func() error { return configure(p.server4, p.server6) })
	return p
}

func (p *pair) addresses() []netip.Addr {
	return []netip.Addr{p.client4, p.server4, p.client6, p.server6}
}

func configure(v4, v6 netip.Addr) error {
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	for _, prefix := range []netip.Prefix{netip.PrefixFrom(v4, 24), netip.PrefixFrom(v6, 64)} {
		address, err := netlink.ParseAddr(prefix.String())
		if err != nil {
			return err
		}
		address.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(link, address); err != nil {
			return fmt.Errorf("add %v: %w", prefix, err)
		}
	}
	return netlink.LinkSetUp(link)
}

func (h *host) open(cfg Config) *Capture {
	h.t.Helper()
	var c *Capture
	h.do(func() (err error) {
		c, err = Open(cfg)
		return err
	})
	h.t.Cleanup(func() {
		if err := c.Close(); err != nil {
			h.t.Errorf("close the capture: %v", err)
		}
	})
	return c
}
