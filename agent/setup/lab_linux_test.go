package setup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		os.Exit(childMain(dir))
	}
	goleak.VerifyTestMain(m)
}

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
	ready, ended := make(chan error), make(chan struct{})
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
		t.Skipf("make a network namespace: %v (run the test as root)", err)
	}
	return h
}

// try runs f on the host's thread.
func (h *host) try(f func() error) error {
	done := make(chan error)
	h.work <- func() { done <- f() }
	return <-done
}

func (h *host) do(f func() error) {
	h.t.Helper()
	if err := h.try(f); err != nil {
		h.t.Fatal(err)
	}
}

// pair is two hosts, a and b, joined by a veth pair whose ends are named eth0.
type pair struct {
	a, b               *host
	a4, b4, a6, b6, a2 netip.Addr
}

// Its addresses are usable at once, unless the kernel is to ask others first whether
// they have them, for a second.
func newPair(t testing.TB, asking ...bool) *pair {
	t.Helper()
	p := &pair{
		a: newHost(t), b: newHost(t),
		a4: netip.MustParseAddr("10.9.0.1"), b4: netip.MustParseAddr("10.9.0.2"),
		a6: netip.MustParseAddr("fd09::1"), b6: netip.MustParseAddr("fd09::2"),
		// A second address of a, in the same network.
		a2: netip.MustParseAddr("10.9.0.101"),
	}
	for _, h := range []*host{p.a, p.b} {
		if len(asking) == 0 {
			h.do(func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0) })
		}
	}
	p.a.do(func() error {
		return netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(p.b.ns.Fd()),
		})
	})
	p.a.do(func() error { return configure(p.a4, p.a6) })
	p.b.do(func() error { return configure(p.b4, p.b6) })
	for _, h := range []*host{p.a, p.b} {
		h.await("the carrier and usable addresses", settled)
	}
	return p
}

func configure(v4, v6 netip.Addr) error {
	for _, name := range []string{"lo", "eth0"} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return err
		}
	}
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	for _, prefix := range []netip.Prefix{netip.PrefixFrom(v4, 24), netip.PrefixFrom(v6, 64)} {
		address, err := netlink.ParseAddr(prefix.String())
		if err != nil {
			return err
		}
		if v6 == prefix.Addr() {
			address.Flags = unix.IFA_F_NODAD
		}
		if err := netlink.AddrAdd(link, address); err != nil {
			return fmt.Errorf("add %v: %w", prefix, err)
		}
	}
	return nil
}

// settled reports whether all interfaces carry packets and all addresses are usable.
func settled() (bool, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return false, err
	}
	for _, l := range links {
		if l.Attrs().Name == "eth0" && l.Attrs().OperState != netlink.OperUp {
			return false, nil
		}
		addrs, err := netlink.AddrList(l, netlink.FAMILY_V6)
		if err != nil {
			return false, err
		}
		for _, a := range addrs {
			if a.Flags&unix.IFA_F_TENTATIVE != 0 {
				return false, nil
			}
		}
		if l.Attrs().Name == "eth0" && len(addrs) < 2 {
			return false, nil
		}
	}
	return true, nil
}

const patience = 10 * time.Second

// await waits until f, on the host's thread, says yes.
func (h *host) await(what string, f func() (bool, error)) {
	h.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		yes := false
		h.do(func() (err error) { yes, err = f(); return err })
		if yes {
			return
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("waited %v for %s", patience, what)
		}
		runtime.Gosched()
	}
}

func (p *pair) target() Target {
	return Target{Own: p.a4, Peers: []netip.Addr{p.b4, p.b6}, RunID: "run1"}
}

// opened is a Host of the namespace of h, closed at the test's end.
func (h *host) opened(dir string) *Host {
	h.t.Helper()
	var o *Host
	h.do(func() (err error) {
		o, err = Open(dir, quiet)
		return err
	})
	h.t.Cleanup(func() { h.do(o.Close) })
	return o
}

// apply makes changes on h, and ends the test if that fails.
func (h *host) apply(o *Host, t Target, name string, changes ...*synclinev1.Change) {
	h.t.Helper()
	h.do(func() error {
		return o.Apply(context.Background(), t, &synclinev1.Setup{Name: name, Changes: changes}, nil)
	})
}

func (h *host) undo(o *Host, name string) {
	h.t.Helper()
	h.do(func() error { return o.Undo(context.Background(), name, nil) })
}

// unstable are values that change by themselves, or that a mere look changes.
var unstable = []string{"nf_conntrack_count", "net/ipv4/tcp_mem", "nf_conntrack_buckets"}

// snapshot is everything of the network namespace that a change could touch.
func (h *host) snapshot() map[string]string {
	h.t.Helper()
	all := map[string]string{}
	h.do(func() error {
		return errors.Join(snapshotSysctls(all), snapshotLinks(all), snapshotRaw(all), snapshotTables(all))
	})
	return all
}

func snapshotSysctls(all map[string]string) error {
	return filepath.WalkDir("/proc/sys/net", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || slices.ContainsFunc(unstable, func(s string) bool { return strings.Contains(path, s) }) {
			return err
		}
		if text, err := os.ReadFile(path); err == nil {
			all[path] = string(text)
		}
		return nil
	})
}

func snapshotLinks(all map[string]string) error {
	links, err := netlink.LinkList()
	if err != nil {
		return err
	}
	for _, l := range links {
		a := l.Attrs()
		all["link "+a.Name] = fmt.Sprintf("up %v mtu %d oper %v mac %v", a.RawFlags&unix.IFF_UP != 0, a.MTU, a.OperState, a.HardwareAddr)
		queues, err := netlink.QdiscList(l)
		if err != nil {
			return err
		}
		for _, q := range queues {
			all["queue "+a.Name] += fmt.Sprintf("%s %s parent %s; ", q.Type(), netlink.HandleStr(q.Attrs().Handle), netlink.HandleStr(q.Attrs().Parent))
		}
		err = withOffloads(a.Name, func(_ ethtool, _, on []string) error {
			all["offloads "+a.Name] = strings.Join(on, " ")
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// snapshotRaw keeps addresses, routes of all tables but what the kernel adds by itself
// to its own, and fixed neighbours.
func snapshotRaw(all map[string]string) error {
	addrs, err := addresses()
	if err != nil {
		return err
	}
	for i, a := range addrs {
		name := a.key.Name
		if a.prefix.Addr().Is4() {
			name = fmt.Sprintf("%s, number %d", name, i)
		}
		all["address "+name] = fmt.Sprintf("%x tentative %v", a.message, a.tentative)
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := netlink.RouteListFiltered(family, &netlink.Route{}, 0)
		if err != nil {
			return err
		}
		for _, r := range list {
			all[fmt.Sprintf("route %v table %d priority %d type %d", r.Dst, r.Table, r.Priority, r.Type)] = fmt.Sprintf("%+v", r)
		}
	}
	fixed, err := neighbours()
	for _, n := range fixed {
		if n.state&unix.NUD_PERMANENT != 0 {
			all["neighbour "+n.key.Name] = fmt.Sprintf("%x", n.message)
		}
	}
	return err
}

func snapshotTables(all map[string]string) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	tables, err := c.ListTables()
	for _, table := range tables {
		all["table "+table.Name] = fmt.Sprint(table.Family)
	}
	return err
}

// unchanged compares two snapshots.
func unchanged(t testing.TB, before, after map[string]string) {
	t.Helper()
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the host is not as it was (-before +after):\n%s", diff)
	}
}

func sysctl(name, value string) *synclinev1.Change {
	return &synclinev1.Change{Text: "sysctl " + name + " = " + value, What: &synclinev1.Change_Sysctl{
		Sysctl: &synclinev1.SysctlChange{Name: name, Value: value},
	}}
}

func firewall(text string, c *synclinev1.FirewallChange) *synclinev1.Change {
	return &synclinev1.Change{Text: "firewall " + text, What: &synclinev1.Change_Firewall{Firewall: c}}
}

func routed(c *synclinev1.RouteChange) *synclinev1.Change {
	return &synclinev1.Change{Text: "route " + c.GetKind() + " " + c.GetDestination(), What: &synclinev1.Change_Route{Route: c}}
}

func linked(text string, c *synclinev1.LinkChange) *synclinev1.Change {
	return &synclinev1.Change{Text: "link " + text, What: &synclinev1.Change_Link{Link: c}}
}

func addressed(address string, remove bool) *synclinev1.Change {
	return &synclinev1.Change{Text: fmt.Sprintf("address %s remove %v", address, remove), What: &synclinev1.Change_Address{
		Address: &synclinev1.AddressChange{Address: address, Remove: remove},
	}}
}

func neighboured(address string, nowhere bool) *synclinev1.Change {
	return &synclinev1.Change{Text: fmt.Sprintf("neighbour %s nowhere %v", address, nowhere), What: &synclinev1.Change_Neighbour{
		Neighbour: &synclinev1.NeighbourChange{Address: address, Nowhere: nowhere},
	}}
}
