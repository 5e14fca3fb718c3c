package probe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"syncline/agent/clock"
	synclinev1 "syncline/proto/syncline/v1"
)

const (
	experiment = synclinev1.ProbePath_PROBE_PATH_EXPERIMENT
	control    = synclinev1.ProbePath_PROBE_PATH_CONTROL
	kernel     = synclinev1.StampOrigin_STAMP_ORIGIN_KERNEL
	agent      = synclinev1.StampOrigin_STAMP_ORIGIN_AGENT
	out        = synclinev1.Direction_DIRECTION_OUT
	in         = synclinev1.Direction_DIRECTION_IN
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// member is a prober of a test, and what it has told.
type member struct {
	*Prober
	t    testing.TB
	name string
	// ran is what Run returned.
	ran chan error

	mu     sync.Mutex
	events []*synclinev1.Event
	met    []string
	more   chan struct{}
}

// join opens a prober on a host, in the namespace of the calling thread if that is nil.
func join(t testing.TB, h *host, name string, change func(*Config), addresses ...netip.Addr) *member {
	t.Helper()
	m := &member{t: t, name: name, ran: make(chan error, 1), more: make(chan struct{})}
	cfg := Config{Emit: m.heard, Met: m.meet}
	for i, a := range addresses {
		cfg.Endpoints = append(cfg.Endpoints, Endpoint{experiment + synclinev1.ProbePath(i), netip.AddrPortFrom(a, 0)})
	}
	if change != nil {
		change(&cfg)
	}
	open := func() (err error) {
		m.Prober, err = Open(cfg)
		return err
	}
	if h != nil {
		h.do(open)
	} else if err := open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Errorf("%s: close: %v", name, err)
		}
	})
	return m
}

func (m *member) heard(events []*synclinev1.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events = append(m.events, events...)
	close(m.more)
	m.more = make(chan struct{})
}

func (m *member) meet(host string, path synclinev1.ProbePath) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.met = append(m.met, host+" "+PathName(path))
}

// peer is this member as another one sees it.
func (m *member) peer(ask bool) Peer {
	return Peer{Host: m.name, Endpoints: m.Endpoints(), Ask: ask}
}

func (m *member) plan(rate int, peers ...Peer) Plan {
	return Plan{Session: "r-1", Host: m.name, Secret: secret(1), Rate: rate, Peers: peers}
}

// run carries out a plan; its end is in ran.
func (m *member) run(plan Plan) {
	go func() { m.ran <- m.Run(context.Background(), plan) }()
}

// acquaint lets the hosts find each other's link addresses, and the kernel begin to stamp what
// comes, which it does a little after it was first asked. Both last until the test's end.
func (p *pair) acquaint(t testing.TB, client, server netip.Addr) {
	t.Helper()
	a, b := join(t, p.client, "a", nil, client), join(t, p.server, "b", nil, server)
	b.run(b.plan(10, a.peer(false)))
	a.run(a.plan(10, b.peer(true)))
	a.until("a stamped reply", func(events []*synclinev1.Event) bool {
		return slices.ContainsFunc(sights(events, in, true), func(e *synclinev1.Event) bool { return e.GetProbe().Origin == kernel })
	})
	stop(a, b)
}

// stop ends members in their own time, one after the other: those who ask come first, so
// that on a busy machine nobody has left before it was asked for the last time.
func stop(members ...*member) {
	for _, m := range members {
		m.t.Helper()
		m.Stop()
		select {
		case err := <-m.ran:
			if err != nil {
				m.t.Fatalf("%s: %v", m.name, err)
			}
		case <-time.After(patience):
			m.t.Fatalf("%s does not stop", m.name)
		}
	}
}

// deadline ends a test that waits for what never comes.
type deadline struct {
	t  testing.TB
	at time.Time
}

func newDeadline(t testing.TB) deadline { return deadline{t, time.Now().Add(patience)} }

func (d deadline) check(waitsFor string, args ...any) {
	d.t.Helper()
	if time.Now().After(d.at) {
		d.t.Fatalf("waited for "+waitsFor, args...)
	}
	runtime.Gosched()
}

// until waits until the events of a member are as wanted.
func (m *member) until(what string, wanted func([]*synclinev1.Event) bool) {
	m.t.Helper()
	deadline := time.After(patience)
	for {
		m.mu.Lock()
		ok, more := wanted(m.events), m.more
		m.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-more:
		case <-deadline:
			m.t.Fatalf("%s: waited for %s; it has %+v and tells\n%s", m.name, what, m.Counts(), tell(m.events))
		}
	}
}

func tell(events []*synclinev1.Event) string {
	var all []string
	for _, e := range events {
		all = append(all, fmt.Sprint(e))
	}
	return strings.Join(all[max(0, len(all)-20):], "\n")
}

// replies is a condition: so many replies have come.
func replies(n int) func([]*synclinev1.Event) bool {
	return func(events []*synclinev1.Event) bool { return len(sights(events, in, true)) >= n }
}

func sights(events []*synclinev1.Event, d synclinev1.Direction, reply bool) (all []*synclinev1.Event) {
	for _, e := range events {
		if p := e.GetProbe(); p != nil && p.Direction == d && p.Reply == reply {
			all = append(all, e)
		}
	}
	return all
}

// flight is one datagram, seen at both ends.
type flight struct{ left, came *synclinev1.Event }

// flights pairs what left one member with what came to another one, and fails the test if
// one came that did not leave.
func flights(t testing.TB, from, to *member, reply bool) (all []flight) {
	t.Helper()
	all, orphans := paired(t, from, to, reply)
	for _, e := range orphans {
		t.Errorf("it came and never left: %v", e)
	}
	return all
}

// paired pairs what left one member with what came to another one, and fails the test if
// there are two sights of one.
func paired(t testing.TB, from, to *member, reply bool) (all []flight, orphans []*synclinev1.Event) {
	t.Helper()
	came := map[uint64]*synclinev1.Event{}
	for _, e := range sights(to.events, in, reply) {
		if p := e.GetProbe(); p.Peer == from.name {
			if came[p.Exchange] != nil {
				t.Errorf("%s tells twice of what came: %v", to.name, e)
			}
			came[p.Exchange] = e
		}
	}
	left := map[uint64]bool{}
	for _, e := range sights(from.events, out, reply) {
		if p := e.GetProbe(); p.Peer == to.name {
			if left[p.Exchange] {
				t.Errorf("%s tells twice of what left: %v", from.name, e)
			}
			left[p.Exchange] = true
			if other := came[p.Exchange]; other != nil {
				all = append(all, flight{e, other})
				delete(came, p.Exchange)
			}
		}
	}
	return all, slices.Collect(maps.Values(came))
}

// check holds every flight against the truth, which is that both ends read one clock, and
// says how long the shortest one took by the kernel's stamps.
func check(t testing.TB, all []flight) (shortest int64) {
	t.Helper()
	ordered(t, all)
	shortest = 1 << 62
	for _, f := range all {
		shortest = min(shortest, f.came.GetProbe().RealtimeNs-f.left.GetProbe().RealtimeNs)
	}
	if shortest <= 0 {
		t.Errorf("the shortest way took %d ns", shortest)
	}
	return shortest
}

// ordered fails the test if a datagram surely came before it left, or not by the kernel's
// stamps.
func ordered(t testing.TB, all []flight) {
	t.Helper()
	for _, f := range all {
		left, came := f.left.GetProbe(), f.came.GetProbe()
		if left.Origin != kernel || came.Origin != kernel || left.RealtimeNs == 0 || came.RealtimeNs == 0 {
			t.Fatalf("not the kernel's stamps:\n%v\n%v", f.left, f.came)
		}
		if left.Path != came.Path {
			t.Fatalf("two paths:\n%v\n%v", f.left, f.came)
		}
		took, slack := f.came.TimeNs-f.left.TimeNs, left.ErrorNs+came.ErrorNs
		if took+slack <= 0 {
			t.Errorf("it took %d ± %d ns:\n%v\n%v", took, slack, f.left, f.came)
		}
	}
}

// Both ends of a veth take stamps of their own, on one clock: what is known of each datagram
// can be held against the truth.
func TestExchangesAreTrue(t *testing.T) {
	for _, c := range []struct {
		family         string
		client, server netip.Addr
	}{{"IPv4", client4, server4}, {"IPv6", client6, server6}} {
		t.Run(c.family, func(t *testing.T) {
			p := newPair(t)
			p.acquaint(t, c.client, c.server)
			a, b := join(t, p.client, "A", nil, c.client), join(t, p.server, "B", nil, c.server)
			a.run(a.plan(MaxRate, b.peer(true)))
			b.run(b.plan(MaxRate, a.peer(false)))
			a.until("replies", replies(150))
			stop(a, b)
			there, back := flights(t, a, b, false), flights(t, b, a, true)
			counts := a.Counts()
			if counts.Met < 150 || counts.Met != counts.Asked || uint64(len(there)) != counts.Asked || uint64(len(back)) != counts.Asked {
				t.Errorf("%d requests and %d replies are known at both ends; %+v at A, %+v at B", len(there), len(back), counts, b.Counts())
			}
			shortest := min(check(t, there), check(t, back))
			t.Logf("%d exchanges, the shortest way took %d ns", counts.Met, shortest)
			if !slices.Equal(a.met, []string{"B experiment"}) || len(b.met) > 0 {
				t.Errorf("A met %q, B met %q", a.met, b.met)
			}
			for _, m := range []*member{a, b} {
				if n := m.Counts(); n.Lost+n.Refused+n.Unsent+n.Replayed+n.Throttled+n.Unasked+n.Elsewhere > 0 {
					t.Errorf("%s: %+v", m.name, n)
				}
				for _, e := range m.events {
					if e.GetProbe() == nil || e.GetProbe().ErrorNs <= 0 || e.GetProbe().ErrorNs > 100_000 {
						t.Errorf("%s: %v", m.name, e)
					}
				}
			}
		})
	}
}

// Turns are even, their exchanges at the rate, and every fifth turn takes the control
// network.
func TestPathsAndRate(t *testing.T) {
	p := newPair(t)
	p.acquaint(t, client4, server4)
	p.acquaint(t, client4c, server4c)
	a, b := join(t, p.client, "A", nil, client4, client4c), join(t, p.server, "B", nil, server4, server4c)
	began := clock.Now()
	a.run(a.plan(50, b.peer(true)))
	b.run(b.plan(50, a.peer(false)))
	a.until("replies", replies(52))
	stop(a, b)
	ended := clock.Now()
	slices.Sort(a.met)
	if !slices.Equal(a.met, []string{"B control", "B experiment"}) {
		t.Errorf("A met %q", a.met)
	}
	check(t, flights(t, a, b, false))
	check(t, flights(t, b, a, true))
	requests := sights(a.events, out, false)
	var onControl int
	for _, e := range requests {
		if e.GetProbe().Path == control {
			onControl++
		}
	}
	// One turn on each path at the beginning and the end, and the others on the beat.
	beats := len(requests)/inARow - 4
	if onControl != inARow*(2+beats/controlShare) || len(requests)%inARow != 0 {
		t.Errorf("%d of %d requests took the control network", onControl, len(requests))
	}
	// Busy machines are late, and nothing is made up for.
	if most := int((ended-began)/(inARow*20e6)) + 1; beats > most {
		t.Errorf("%d requests on the beat within %v, at 50 a second", inARow*beats, time.Duration(ended-began))
	}
}

// Addresses of the loopback interface will do: a lab without privileges has no other.
func TestLoopback(t *testing.T) {
	one, two := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")
	(&pair{}).acquaint(t, one, two)
	a, b := join(t, nil, "A", nil, one), join(t, nil, "B", nil, two)
	a.run(a.plan(MaxRate, b.peer(true)))
	b.run(b.plan(MaxRate, a.peer(false)))
	a.until("replies", replies(20))
	stop(a, b)
	check(t, flights(t, a, b, false))
	check(t, flights(t, b, a, true))
}

// A quiet session asks at its beginning and its end, and nothing in between.
func TestQuiet(t *testing.T) {
	p := newPair(t)
	a, b := join(t, p.client, "A", nil, client4), join(t, p.server, "B", nil, server4)
	plan := a.plan(MaxRate, b.peer(true))
	plan.Quiet = true
	a.run(plan)
	plan = b.plan(MaxRate, a.peer(false))
	plan.Quiet = true
	b.run(plan)
	a.until("the first replies", replies(quietBurst))
	// Losses are told every second: by then there would have been some.
	deadline := clock.Now() + 300e6
	for clock.Now() < deadline {
		a.kick()
		if n := a.Counts().Asked; n != quietBurst {
			t.Fatalf("%d requests, want %d", n, quietBurst)
		}
	}
	stop(a, b)
	if n := a.Counts(); n.Met != 2*quietBurst {
		t.Errorf("%+v, want %d exchanges", n, 2*quietBurst)
	}
}

// Where the kernel makes no stamps the agent's own are taken, and they hold.
func TestStampsOfTheAgent(t *testing.T) {
	p := newPair(t)
	a, b := join(t, p.client, "A", nil, client4), join(t, p.server, "B", nil, server4)
	if err := a.sockets[0].stamp(0); err != nil {
		t.Fatal(err)
	}
	a.sockets[0].arrivals, a.sockets[0].departures = false, false
	a.run(a.plan(MaxRate, b.peer(true)))
	b.run(b.plan(MaxRate, a.peer(false)))
	a.until("replies", replies(20))
	stop(a, b)
	there, back := flights(t, a, b, false), flights(t, b, a, true)
	if len(there) < 20 || len(back) < 20 {
		t.Errorf("%d requests, %d replies", len(there), len(back))
	}
	for _, f := range append(there, back...) {
		left, came := f.left.GetProbe(), f.came.GetProbe()
		mine := left
		if left.Reply {
			mine = came
		}
		if mine.Origin != agent || mine.RealtimeNs != 0 {
			t.Fatalf("%v", mine)
		}
		if f.came.TimeNs+came.ErrorNs < f.left.TimeNs-left.ErrorNs {
			t.Errorf("it came before it left:\n%v\n%v", f.left, f.came)
		}
	}
}

// A kernel that counts stamps itself may count a send that has failed, or not. The stamps
// of what comes after are those of what they say all the same.
func TestStampsAfterAFailedSend(t *testing.T) {
	for _, explicit := range []bool{true, false} {
		t.Run(fmt.Sprintf("explicit=%t", explicit), func(t *testing.T) {
			p := newPair(t)
			p.acquaint(t, client4, server4)
			a, b := join(t, p.client, "A", nil, client4), join(t, p.server, "B", nil, server4)
			a.sockets[0].explicit = explicit
			nowhere := Peer{Host: "C", Ask: true, Endpoints: []Endpoint{{experiment, netip.MustParseAddrPort("192.0.2.1:9")}}}
			a.run(a.plan(MaxRate, b.peer(true), nowhere))
			b.run(b.plan(MaxRate, a.peer(false)))
			a.until("replies", replies(50))
			stop(a, b)
			there := flights(t, a, b, false)
			check(t, there)
			n := a.Counts()
			if n.Unsent < 40 || uint64(len(there)) != n.Asked || n.Lost > 0 {
				t.Errorf("%d requests are known at both ends of %+v", len(there), n)
			}
			if s := a.Troubles(); len(s) != 1 || !strings.Contains(s[0], "C") || !strings.Contains(s[0], unix.ENETUNREACH.Error()) {
				t.Errorf("the troubles are %q", s)
			}
		})
	}
}

// A peer that is not there leaves sights of what left.
func TestNobodyAnswers(t *testing.T) {
	p := newPair(t)
	a := join(t, p.client, "A", nil, client4)
	nobody := Peer{Host: "B", Ask: true, Endpoints: []Endpoint{{experiment, netip.AddrPortFrom(server4, 9)}}}
	a.run(a.plan(MaxRate, nobody))
	a.until("requests", func(events []*synclinev1.Event) bool { return len(sights(events, out, false)) >= 20 })
	began := clock.Now()
	stop(a)
	if took := clock.Now() - began; took > int64(5*lastWait) {
		t.Errorf("it waited for %v for the last reply", time.Duration(took))
	}
	if n := a.Counts(); n.Met != 0 || n.Lost != 0 || uint64(len(sights(a.events, out, false))) != n.Asked {
		t.Errorf("%+v, %d sights", n, len(a.events))
	}
}

// The kernel's choice of a port is taken back until it suits.
func TestPortsOfTheRunAreAvoided(t *testing.T) {
	loopback := netip.MustParseAddr("127.0.0.1")
	var offered []uint16
	m := join(t, nil, "A", func(cfg *Config) {
		cfg.Avoid = func(port uint16) bool {
			offered = append(offered, port)
			return len(offered) < 5
		}
	}, loopback)
	if got := m.Endpoints()[0].Address.Port(); len(offered) != 5 || got != offered[4] || slices.Contains(offered[:4], got) {
		t.Errorf("offered %d, taken %d", offered, got)
	}
	_, err := Open(Config{
		Endpoints: []Endpoint{{experiment, netip.AddrPortFrom(loopback, 0)}},
		Avoid:     func(uint16) bool { return true }, Emit: m.heard,
	})
	if err == nil || !strings.Contains(err.Error(), "ip_local_port_range") {
		t.Errorf("where no port suits: %v", err)
	}
}

func TestPlansAreChecked(t *testing.T) {
	at := func(text string) []Endpoint { return []Endpoint{{experiment, netip.MustParseAddrPort(text)}} }
	good := func() Plan {
		return Plan{Session: "r-1", Host: "A", Secret: secret(1), Rate: 10, Peers: []Peer{{Host: "B", Endpoints: at("127.0.0.2:9")}}}
	}
	many := make([]Peer, 30)
	for i := range many {
		many[i] = Peer{Host: fmt.Sprint(i), Endpoints: at("127.0.0.2:9"), Ask: true}
	}
	for say, change := range map[string]func(*Plan){
		"name of the session":    func(p *Plan) { p.Session = "" },
		"name of this host":      func(p *Plan) { p.Host = strings.Repeat("x", MaxName+1) },
		"name of a peer":         func(p *Plan) { p.Peers[0].Host = "" },
		"secret has 31":          func(p *Plan) { p.Secret = p.Secret[1:] },
		"0 exchanges":            func(p *Plan) { p.Rate = 0 },
		"101 exchanges":          func(p *Plan) { p.Rate = 101 },
		"257 peers":              func(p *Plan) { p.Peers = make([]Peer, 257) },
		"twice":                  func(p *Plan) { p.Peers[0].Host = "A" },
		"30 peers are asked 100": func(p *Plan) { p.Rate, p.Peers = 100, many },
		"no endpoint":            func(p *Plan) { p.Peers[0].Endpoints = nil },
		"two endpoints":          func(p *Plan) { p.Peers[0].Endpoints = append(p.Peers[0].Endpoints, p.Peers[0].Endpoints[0]) },
		"no path control":        func(p *Plan) { p.Peers[0].Endpoints[0].Path = control },
		"two families":           func(p *Plan) { p.Peers[0].Endpoints = at("[::1]:9") },
		"0.0.0.0:9 is not":       func(p *Plan) { p.Peers[0].Endpoints = at("0.0.0.0:9") },
		"224.0.0.1:9 is not":     func(p *Plan) { p.Peers[0].Endpoints = at("224.0.0.1:9") },
		"255.255.255.255:9 is":   func(p *Plan) { p.Peers[0].Endpoints = at("255.255.255.255:9") },
		"127.0.0.2:0 is not":     func(p *Plan) { p.Peers[0].Endpoints = at("127.0.0.2:0") },
	} {
		m := join(t, nil, "A", nil, netip.MustParseAddr("127.0.0.1"))
		plan := good()
		change(&plan)
		if err := m.Run(context.Background(), plan); err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("want an error that says %q, got %v", say, err)
		}
	}
	m := join(t, nil, "A", nil, netip.MustParseAddr("127.0.0.1"))
	m.run(good())
	stop(m)
	if err := m.Run(context.Background(), good()); err == nil {
		t.Error("it runs twice")
	}
}

// Close ends a session at once, as the end of the context does, and both may come at any
// time.
func TestCloseEndsRun(t *testing.T) {
	p := newPair(t)
	a, b := join(t, p.client, "A", nil, client4), join(t, p.server, "B", nil, server4)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { a.ran <- a.Run(ctx, a.plan(10, b.peer(true))) }()
	b.run(b.plan(10, a.peer(false)))
	a.until("a reply", replies(1))
	cancel()
	if err := <-a.ran; err != nil {
		t.Error(err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if err := <-b.ran; err != nil {
		t.Error(err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	b.Stop()
	if err := b.Run(context.Background(), b.plan(10, a.peer(false))); err == nil {
		t.Error("it runs after it was closed")
	}
	if len(flights(t, a, b, false)) == 0 {
		t.Error("what was seen before is not told")
	}
}

// What cannot be opened says what and where, and nothing stays open.
func TestNothingStaysOpen(t *testing.T) {
	emit := func([]*synclinev1.Event) {}
	at := func(text string) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(text), 0) }
	before := descriptors(t)
	for range 10 {
		for say, cfg := range map[string]Config{
			"no address":              {Emit: emit},
			"nobody to tell":          {Endpoints: []Endpoint{{experiment, at("127.0.0.1")}}},
			"two addresses":           {Endpoints: []Endpoint{{experiment, at("127.0.0.1")}, {experiment, at("127.0.0.2")}}, Emit: emit},
			"192.0.2.1:0 for the con": {Endpoints: []Endpoint{{experiment, at("127.0.0.1")}, {control, at("192.0.2.1")}}, Emit: emit},
		} {
			if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), say) {
				t.Errorf("want an error that says %q, got %v", say, err)
			}
		}
		p, err := Open(Config{Endpoints: []Endpoint{{experiment, at("127.0.0.1")}, {control, at("127.0.0.2")}}, Emit: emit})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors are open, %d before", after, before)
	}
}

// descriptors counts what this process has open. What the runtime's poller needs is open from
// the first wait on.
func descriptors(t *testing.T) int {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	defer r.Close()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func TestAvailable(t *testing.T) {
	if err, stamps := Available(); err != nil || stamps != nil {
		t.Errorf("%v, %v", err, stamps)
	}
	u := refused(unix.EPERM)
	if !errors.Is(u, ErrUnavailable) || !errors.Is(u, unix.EPERM) {
		t.Errorf("%v", u)
	}
}
