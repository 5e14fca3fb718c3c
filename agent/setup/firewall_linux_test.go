package setup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

const (
	hookIn  = synclinev1.FirewallChange_HOOK_IN
	hookOut = synclinev1.FirewallChange_HOOK_OUT
	drop    = synclinev1.FirewallChange_ACTION_DROP
	reject  = synclinev1.FirewallChange_ACTION_REJECT
	accept  = synclinev1.FirewallChange_ACTION_ACCEPT

	flagSYN, flagACK = 0x02, 0x10
)

// targetB is host b's place in the run.
func (p *pair) targetB() Target {
	return Target{Own: p.b4, Peers: []netip.Addr{p.a4, p.a6}, RunID: "run1"}
}

// listen opens a TCP listener on h.
func (h *host) listen(at netip.AddrPort) net.Listener {
	h.t.Helper()
	var l net.Listener
	h.do(func() (err error) {
		l, err = net.Listen("tcp", at.String())
		return err
	})
	h.t.Cleanup(func() { l.Close() })
	return l
}

// dial connects from h, or says why it cannot.
func (h *host) dial(to netip.AddrPort, limit time.Duration) (net.Conn, error) {
	var c net.Conn
	err := h.try(func() (err error) {
		c, err = net.DialTimeout("tcp", to.String(), limit)
		return err
	})
	if c != nil {
		h.t.Cleanup(func() { c.Close() })
		err = errors.Join(err, c.SetDeadline(time.Now().Add(patience)))
	}
	return c, err
}

// counted are the packets that each rule of the lab's tables has met, in order.
func (h *host) counted() []uint64 {
	h.t.Helper()
	var all []uint64
	h.do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		chains, err := c.ListChains()
		for _, chain := range chains {
			rules, rulesErr := c.GetRules(chain.Table, chain)
			err = errors.Join(err, rulesErr)
			for _, r := range rules {
				for _, e := range r.Exprs {
					if counter, ok := e.(*expr.Counter); ok {
						all = append(all, counter.Packets)
					}
				}
			}
		}
		return err
	})
	return all
}

// awaitCounted waits until the only rule of h has met n packets.
func (h *host) awaitCounted(n uint64) {
	h.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		all := h.counted()
		if len(all) > 0 && slices.Max(all) >= n {
			return
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("rules have met %v packets, want %d", all, n)
		}
	}
}

func TestRejectionsReachTheCaller(t *testing.T) {
	p := newPair(t)
	o := p.b.opened(t.TempDir())
	p.b.listen(netip.AddrPortFrom(p.b4, 9))
	p.b.listen(netip.AddrPortFrom(p.b6, 9))
	// Else the kernel sends a burst of six to one destination, and then one a second.
	p.b.apply(o, p.targetB(), "", sysctl("net.ipv4.icmp_ratelimit", "0"), sysctl("net.ipv6.icmp.ratelimit", "0"))
	for _, row := range []struct {
		with     string
		to       netip.Addr
		want     unix.Errno
		protocol uint32
	}{
		{"", p.b4, unix.ECONNREFUSED, 6},
		{"icmp-port-unreachable", p.b4, unix.ECONNREFUSED, 6},
		{"icmp-host-unreachable", p.b4, unix.EHOSTUNREACH, 6},
		{"icmp-net-unreachable", p.b4, unix.ENETUNREACH, 6},
		{"icmp-admin-prohibited", p.b4, unix.EHOSTUNREACH, 6},
		{"tcp-reset", p.b4, unix.ECONNREFUSED, 6},
		{"icmp-port-unreachable", p.b6, unix.ECONNREFUSED, 6},
		{"icmp-net-unreachable", p.b6, unix.ENETUNREACH, 6},
		{"icmp-admin-prohibited", p.b6, unix.EACCES, 6},
		{"tcp-reset", p.b6, unix.ECONNREFUSED, 6},
	} {
		t.Run(fmt.Sprintf("%s %v", row.with, row.to), func(t *testing.T) {
			p.b.apply(o, p.targetB(), "x", firewall("reject", &synclinev1.FirewallChange{
				Action: reject, Hook: hookIn, Protocol: row.protocol, Port: 9, RejectWith: row.with, IcmpType: -1,
			}))
			_, err := p.a.dial(netip.AddrPortFrom(row.to, 9), patience)
			if !errors.Is(err, row.want) {
				t.Errorf("connect: %v, want %v", err, row.want)
			}
			p.b.undo(o, "x")
			if _, err := p.a.dial(netip.AddrPortFrom(row.to, 9), patience); err != nil {
				t.Errorf("connect after undo: %v", err)
			}
		})
	}
}

// A reset ends a connection that stands; an ICMP error does not.
func TestResetIsSent(t *testing.T) {
	p := newPair(t)
	o := p.b.opened(t.TempDir())
	p.b.listen(netip.AddrPortFrom(p.b4, 9))
	c, err := p.a.dial(netip.AddrPortFrom(p.b4, 9), patience)
	if err != nil {
		t.Fatal(err)
	}
	p.b.apply(o, p.targetB(), "", firewall("reject", &synclinev1.FirewallChange{
		Action: reject, Hook: hookIn, Protocol: 6, Port: 9, RejectWith: "tcp-reset", IcmpType: -1,
	}))
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("read: %v, want ECONNRESET", err)
	}
}

// Each row's rule, of host b unless it says otherwise, meets the SYN or the SYN+ACK.
func TestWhatARuleMeets(t *testing.T) {
	p := newPair(t)
	p.b.listen(netip.AddrPortFrom(p.b4, 9))
	oa, ob := p.a.opened(t.TempDir()), p.b.opened(t.TempDir())
	type fields = synclinev1.FirewallChange
	for _, row := range []struct {
		name   string
		atA    bool
		change *fields
		// meets says that the packet is dropped, else that the rule lets all pass.
		meets bool
	}{
		{"SYN in", false, &fields{Hook: hookIn, Protocol: 6, Port: 9}, true},
		{"another port", false, &fields{Hook: hookIn, Protocol: 6, Port: 10}, false},
		{"another protocol", false, &fields{Hook: hookIn, Protocol: 17, Port: 9}, false},
		{"any protocol", false, &fields{Hook: hookIn}, true},
		{"SYN out", true, &fields{Hook: hookOut, Protocol: 6, Port: 9}, true},
		{"SYN+ACK out, by its source port", false, &fields{Hook: hookOut, Protocol: 6, SourcePort: 9}, true},
		{"SYN+ACK in, by its source port", true, &fields{Hook: hookIn, Protocol: 6, SourcePort: 9}, true},
		{"SYN and not ACK", false, &fields{Hook: hookIn, Protocol: 6, Flags: flagSYN, Mask: flagSYN | flagACK}, true},
		{"SYN and ACK in", false, &fields{Hook: hookIn, Protocol: 6, Flags: flagSYN | flagACK, Mask: flagSYN | flagACK}, false},
		{"SYN and ACK out", false, &fields{Hook: hookOut, Protocol: 6, Flags: flagSYN | flagACK, Mask: flagSYN | flagACK}, true},
		{"AE, which nobody sends", false, &fields{Hook: hookIn, Protocol: 6, Flags: 0x100, Mask: 0x100}, false},
		{"from a", false, &fields{Hook: hookIn, Source: "10.9.0.1"}, true},
		{"from b", false, &fields{Hook: hookIn, Source: "10.9.0.2"}, false},
		{"from the network to b", false, &fields{Hook: hookIn, Source: "10.9.0.0/24", Destination: "10.9.0.2"}, true},
		{"IPv6 from anywhere", false, &fields{Hook: hookIn, Source: "::/0"}, false},
		{"longer than 39 bytes", false, &fields{Hook: hookIn, Protocol: 6, LongerThan: 39}, true},
		{"longer than 256 bytes", false, &fields{Hook: hookIn, Protocol: 6, LongerThan: 256}, false},
		{"new", false, &fields{Hook: hookIn, Protocol: 6, States: []string{"new"}}, true},
		{"invalid", false, &fields{Hook: hookIn, Protocol: 6, States: []string{"invalid"}}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			h, o, target := p.b, ob, p.targetB()
			if row.atA {
				h, o, target = p.a, oa, p.target()
			}
			row.change.Action, row.change.IcmpType = drop, -1
			h.apply(o, target, "x", firewall(row.name, row.change))
			defer h.undo(o, "x")
			if !row.meets {
				if _, err := p.a.dial(netip.AddrPortFrom(p.b4, 9), patience); err != nil {
					t.Error(err)
				}
				return
			}
			var s int
			p.a.do(func() (err error) { s, err = begin(netip.AddrPortFrom(p.b4, 9)); return err })
			defer unix.Close(s)
			h.awaitCounted(1)
			if info, err := unix.GetsockoptTCPInfo(s, unix.IPPROTO_TCP, unix.TCP_INFO); err != nil || info.State != 2 {
				t.Errorf("state %d, %v; want SYN_SENT", info.State, err)
			}
		})
	}
}

// begin starts to connect and does not wait.
func begin(to netip.AddrPort) (int, error) {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	err = unix.Connect(s, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())})
	if !errors.Is(err, unix.EINPROGRESS) {
		return 0, errors.Join(fmt.Errorf("connect: %w", err), unix.Close(s))
	}
	return s, nil
}

// b's answer to a datagram for a closed port is ICMP type 3.
func TestICMPType(t *testing.T) {
	p := newPair(t)
	o := p.a.opened(t.TempDir())
	send := func() error {
		var c net.Conn
		p.a.do(func() (err error) { c, err = net.Dial("udp", netip.AddrPortFrom(p.b4, 9).String()); return err })
		defer c.Close()
		_, err := c.Write([]byte("x"))
		if err == nil {
			err = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		}
		if err == nil {
			_, err = c.Read(make([]byte, 1))
		}
		return err
	}
	icmp := func(kind int32) *synclinev1.Change {
		return firewall("drop icmp", &synclinev1.FirewallChange{Action: drop, Hook: hookIn, Protocol: unix.IPPROTO_ICMP, IcmpType: kind})
	}
	p.a.apply(o, p.target(), "other", icmp(8))
	if err := send(); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("with type 8 dropped: %v, want ECONNREFUSED", err)
	}
	p.a.apply(o, p.target(), "unreachable", icmp(3))
	if err := send(); errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("with type 3 dropped: %v", err)
	}
	p.a.awaitCounted(1)
}

func TestPortsAreRewritten(t *testing.T) {
	p := newPair(t)
	oa, ob := p.a.opened(t.TempDir()), p.b.opened(t.TempDir())
	l := p.b.listen(netip.AddrPortFrom(p.b4, 10))
	p.b.apply(ob, p.targetB(), "x", firewall("redirect in tcp/9 to 10", &synclinev1.FirewallChange{
		Hook: hookIn, Protocol: 6, Port: 9, RedirectPort: 10, IcmpType: -1,
	}))
	p.a.apply(oa, p.target(), "x",
		firewall("masquerade out tcp/9 to 7777", &synclinev1.FirewallChange{Hook: hookOut, Protocol: 6, Port: 9, MasqueradePort: 7777, IcmpType: -1}),
		firewall("redirect out tcp/8 to 10", &synclinev1.FirewallChange{Hook: hookOut, Protocol: 6, Port: 8, RedirectPort: 10, IcmpType: -1}),
	)
	for _, row := range []struct {
		port uint16
		seen string
	}{{9, "10.9.0.1:7777"}, {8, ""}} {
		c, err := p.a.dial(netip.AddrPortFrom(p.b4, row.port), patience)
		if err != nil {
			t.Fatal(err)
		}
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if got := s.RemoteAddr().String(); row.seen != "" && got != row.seen {
			t.Errorf("b sees %s, want %s", got, row.seen)
		}
		if got, want := c.RemoteAddr().String(), netip.AddrPortFrom(p.b4, row.port).String(); got != want {
			t.Errorf("a sees %s, want %s", got, want)
		}
		s.Close()
	}
	p.a.undo(oa, "x")
	p.b.undo(ob, "x")
	for _, h := range []*host{p.a, p.b} {
		h.do(func() error {
			flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
			if len(flows) != 0 {
				t.Errorf("connection tracking still knows %v", flows)
			}
			return err
		})
	}
	if _, err := p.a.dial(netip.AddrPortFrom(p.b4, 9), patience); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("after undo: %v, want ECONNREFUSED", err)
	}
}

// What connection tracking knows of others is not the lab's to forget: here a connection
// of the host with itself, while what it knows of the run's peers goes.
func TestFlowsOfOthersStay(t *testing.T) {
	p := newPair(t)
	o := p.a.opened(t.TempDir())
	p.b.listen(netip.AddrPortFrom(p.b4, 9))
	own := netip.MustParseAddrPort("127.0.0.1:9")
	p.a.listen(own)
	track := func(port uint32) *synclinev1.Change {
		return firewall("masquerade", &synclinev1.FirewallChange{Hook: hookOut, Protocol: 6, Port: port, MasqueradePort: 7777, IcmpType: -1})
	}
	// The first keeps connection tracking at work when the second is gone.
	p.a.apply(o, p.target(), "stays", track(8))
	p.a.apply(o, p.target(), "goes", track(9))
	for _, to := range []netip.AddrPort{netip.AddrPortFrom(p.b4, 9), own} {
		if _, err := p.a.dial(to, patience); err != nil {
			t.Fatal(err)
		}
	}
	known := func() (all []string) {
		p.a.do(func() error {
			flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
			for _, f := range flows {
				all = append(all, f.Forward.DstIP.String())
			}
			slices.Sort(all)
			return err
		})
		return all
	}
	if got, want := known(), []string{p.b4.String(), own.Addr().String()}; !slices.Equal(got, want) {
		t.Fatalf("connection tracking knows connections to %v, want %v", got, want)
	}
	p.a.undo(o, "goes")
	if got, want := known(), []string{own.Addr().String()}; !slices.Equal(got, want) {
		t.Errorf("after undo connection tracking knows connections to %v, want %v", got, want)
	}
}

// A firewall that forgets an idle connection takes its next segment for nobody's.
func TestIdleConnectionsAreForgotten(t *testing.T) {
	p := newPair(t)
	o := p.b.opened(t.TempDir())
	p.b.listen(netip.AddrPortFrom(p.b4, 9))
	p.b.apply(o, p.targetB(), "",
		sysctl("net.netfilter.nf_conntrack_tcp_loose", "0"),
		firewall("track tcp/9 idle 1s", &synclinev1.FirewallChange{Action: accept, Hook: hookIn, Protocol: 6, Port: 9, IdleTimeoutNs: 1e9, IcmpType: -1}),
		firewall("drop tcp/9 state invalid", &synclinev1.FirewallChange{Action: drop, Hook: hookIn, Protocol: 6, Port: 9, States: []string{"invalid"}, IcmpType: -1}),
	)
	c, err := p.a.dial(netip.AddrPortFrom(p.b4, 9), patience)
	if err != nil {
		t.Fatal(err)
	}
	p.b.await("connection tracking to forget", func() (bool, error) {
		flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
		return len(flows) == 0, err
	})
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	p.b.awaitSecond(1)
}

// awaitSecond waits until the second rule of h has met n packets.
func (h *host) awaitSecond(n uint64) {
	h.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		if all := h.counted(); len(all) == 2 && all[1] >= n {
			return
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("rules have met %v packets", h.counted())
		}
	}
}

// The setup that was applied last has the last word; within one, the first rule.
func TestOrderOfRules(t *testing.T) {
	p := newPair(t)
	o := p.b.opened(t.TempDir())
	p.b.listen(netip.AddrPortFrom(p.b4, 9))
	rule := func(action synclinev1.FirewallChange_Action) *synclinev1.Change {
		return firewall(action.String(), &synclinev1.FirewallChange{Action: action, Hook: hookIn, Protocol: 6, Port: 9, IcmpType: -1})
	}
	try := func(want error) {
		t.Helper()
		if _, err := p.a.dial(netip.AddrPortFrom(p.b4, 9), patience); !errors.Is(err, want) {
			t.Errorf("connect: %v, want %v", err, want)
		}
	}
	p.b.apply(o, p.targetB(), "", rule(accept), rule(reject))
	try(nil)
	p.b.apply(o, p.targetB(), "cut", rule(reject))
	try(unix.ECONNREFUSED)
	p.b.apply(o, p.targetB(), "open", rule(accept))
	try(nil)
	p.b.undo(o, "open")
	try(unix.ECONNREFUSED)
	p.b.undo(o, "cut")
	try(nil)
}

// The agent's own connection to its controller outlives any rule.
func TestControllerIsLetThrough(t *testing.T) {
	p := newPair(t)
	o := p.b.opened(t.TempDir())
	controller := netip.AddrPortFrom(p.a4, 7000)
	l := p.a.listen(controller)
	c, err := p.b.dial(controller, patience)
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	target := p.targetB()
	target.Controller = controller
	for _, hook := range []synclinev1.FirewallChange_Hook{hookIn, hookOut} {
		p.b.apply(o, target, "", firewall("drop any", &synclinev1.FirewallChange{Action: drop, Hook: hook, IcmpType: -1}))
	}
	for _, ends := range [][2]net.Conn{{c, s}, {s, c}} {
		if _, err := ends[0].Write([]byte("x")); err != nil {
			t.Error(err)
		}
		if err := ends[1].SetDeadline(time.Now().Add(patience)); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadFull(ends[1], make([]byte, 1)); err != nil {
			t.Error(err)
		}
	}
}

func TestRulesThatCannotBe(t *testing.T) {
	p := newPair(t)
	o := p.b.opened(t.TempDir())
	type fields = synclinev1.FirewallChange
	for _, row := range []struct {
		change *fields
		want   string
	}{
		{&fields{Action: drop}, "in or out"},
		{&fields{Hook: hookIn}, "neither drop nor reject nor accept"},
		{&fields{Action: drop, Hook: hookIn, Port: 9}, "only tcp and udp have ports"},
		{&fields{Action: drop, Hook: hookIn, Protocol: 17, Mask: 2}, "only tcp has flags"},
		{&fields{Action: drop, Hook: hookIn, Protocol: 6, Mask: 1, Flags: 2}, "those of the mask only"},
		{&fields{Action: drop, Hook: hookIn, Protocol: 6, Port: 70000}, "at most 65535"},
		{&fields{Action: drop, Hook: hookIn, Protocol: 600}, "at most 255"},
		{&fields{Action: reject, Hook: hookIn, Protocol: 17, RejectWith: "tcp-reset"}, "only tcp"},
		{&fields{Action: reject, Hook: hookIn, RejectWith: "a letter"}, `reject with "a letter"`},
		{&fields{Action: drop, Hook: hookIn, States: []string{"old"}}, `state "old"`},
		{&fields{Action: drop, Hook: hookIn, Source: "nowhere"}, `address "nowhere"`},
		{&fields{Action: drop, Hook: hookIn, Source: "10.0.0.1", Destination: "::1"}, "two families"},
		{&fields{Action: accept, Hook: hookIn, Protocol: 6, IdleTimeoutNs: 1500e6}, "whole seconds"},
		{&fields{Hook: hookIn, Protocol: 6, RedirectPort: 1, MasqueradePort: 2}, "not both"},
		{&fields{Action: 9, Hook: hookIn}, "older than the controller"},
	} {
		row.change.IcmpType = -1
		err := p.b.try(func() error {
			return o.Apply(context.Background(), p.targetB(), &synclinev1.Setup{Changes: []*synclinev1.Change{firewall("bad", row.change)}}, nil)
		})
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%v: %v, want %q", row.change, err, row.want)
		}
	}
	journalEmpty(t, o)
}
