package agent

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	synclinev1 "syncline/proto/syncline/v1"
)

// together are two hosts of one namespace, A at 127.0.0.2 and B at 127.0.0.3.
type together struct {
	lost   [2]uint64
	hosts  [2]*sharing
	told   [2][]string
	unsure int
}

func newTogether() *together {
	w := &together{}
	for i, other := range []string{"127.0.0.3", "127.0.0.2"} {
		w.hosts[i] = &sharing{
			others: map[netip.Addr]bool{netip.MustParseAddr(other): true}, ports: map[uint16]bool{},
			emit: func(events ...*synclinev1.Event) {
				for _, e := range events {
					if lost := e.GetLoss(); lost != nil {
						w.lost[i] += lost.Count
						continue
					}
					t := e.GetTrace()
					kind := strings.TrimPrefix(t.GetKind().String(), "TRACE_KIND_")
					direction := strings.TrimPrefix(t.GetDirection().String(), "DIRECTION_")
					w.told[i] = append(w.told[i], strings.Join([]string{kind, t.GetLocalAddress(), t.GetPeerAddress(), direction}, " "))
				}
			},
			unsure: func(n int) { w.unsure += n },
		}
	}
	return w
}

// hear has both hear of it, each of an event of its own.
func (w *together) hear(t *synclinev1.Trace) {
	for _, s := range w.hosts {
		own := proto.Clone(t).(*synclinev1.Trace)
		s.told(&synclinev1.Event{Fact: &synclinev1.Event_Trace{Trace: own}})
	}
}

func (w *together) want(t *testing.T, a, b []string, unsure int) {
	t.Helper()
	for _, s := range w.hosts {
		s.settle()
	}
	if !slices.Equal(w.told[0], a) {
		t.Errorf("A tells\n%q, want\n%q", w.told[0], a)
	}
	if !slices.Equal(w.told[1], b) {
		t.Errorf("B tells\n%q, want\n%q", w.told[1], b)
	}
	if w.unsure != unsure {
		t.Errorf("%d events are reported as nobody's, want %d", w.unsure, unsure)
	}
}

func state(cookie uint64, local, peer string) *synclinev1.Trace {
	return &synclinev1.Trace{Kind: synclinev1.TraceKind_TRACE_KIND_STATE, Cookie: cookie, LocalAddress: local, PeerAddress: peer}
}

func drop(state uint32, from, to string) *synclinev1.Trace {
	return &synclinev1.Trace{Kind: synclinev1.TraceKind_TRACE_KIND_DROP, State: state, LocalAddress: from, PeerAddress: to}
}

// Of a socket at an address of its host's own, the address tells.
func TestSharedByAddress(t *testing.T) {
	w := newTogether()
	w.hear(state(1, "127.0.0.2:40000", "127.0.0.3:80"))
	w.hear(state(2, "127.0.0.3:80", "127.0.0.2:40000"))
	w.want(t, []string{"STATE 127.0.0.2:40000 127.0.0.3:80 UNSPECIFIED"}, []string{"STATE 127.0.0.3:80 127.0.0.2:40000 UNSPECIFIED"}, 0)
}

// A packet without a socket was on its way in, one of the kernel's own sockets on its way
// out: that end tells of it.
func TestSharedDrops(t *testing.T) {
	w := newTogether()
	w.hear(drop(0, "127.0.0.2:40000", "127.0.0.3:80"))
	w.hear(drop(closedState, "127.0.0.3:80", "127.0.0.2:40000"))
	w.want(t, nil, []string{"DROP 127.0.0.3:80 127.0.0.2:40000 IN", "DROP 127.0.0.3:80 127.0.0.2:40000 OUT"}, 0)
}

// Where the address may be anybody's, the host whose call names the port tells, before the
// port was chosen too, and of packets that no socket got any more.
func TestSharedByPort(t *testing.T) {
	w := newTogether()
	w.hear(state(1, "127.0.0.1:0", "127.0.0.3:80"))
	w.hear(state(1, "127.0.0.1:40000", "127.0.0.3:80"))
	w.hear(drop(0, "127.0.0.3:80", "127.0.0.1:40000"))
	w.hear(state(2, "0.0.0.0:80", "0.0.0.0:0"))
	w.hosts[0].called(&synclinev1.Call{LocalAddress: "0.0.0.0:40000"})
	w.hosts[0].called(&synclinev1.Call{LocalAddress: "unix:x@vm1"})
	w.hosts[1].called(&synclinev1.Call{LocalAddress: "0.0.0.0:80"})
	w.want(t, []string{
		"STATE 127.0.0.1:0 127.0.0.3:80 UNSPECIFIED", "STATE 127.0.0.1:40000 127.0.0.3:80 UNSPECIFIED", "DROP 127.0.0.1:40000 127.0.0.3:80 IN",
	}, []string{"STATE 0.0.0.0:80 0.0.0.0:0 UNSPECIFIED"}, 0)

	// A port is remembered for what comes in the repetition after, and no longer.
	w.told = [2][]string{}
	w.hear(state(1, "0.0.0.0:40000", "127.0.0.3:0"))
	w.want(t, []string{"STATE 0.0.0.0:40000 127.0.0.3:0 UNSPECIFIED"}, nil, 0)
	w.told = [2][]string{}
	w.hear(state(3, "127.0.0.1:40000", "127.0.0.3:80"))
	w.want(t, nil, nil, 0)
}

// What no socket got is of the host whose address it was sent to, 127.0.0.1 too.
func TestSharedBy127(t *testing.T) {
	w := newTogether()
	w.hosts[0].at127 = true
	w.hear(drop(0, "127.0.0.3:40000", "127.0.0.1:80"))
	w.want(t, []string{"DROP 127.0.0.1:80 127.0.0.3:40000 IN"}, nil, 0)
}

// A socket that never had a port is told of by each host, which says so.
func TestSharedByNobody(t *testing.T) {
	w := newTogether()
	w.hear(state(1, "127.0.0.1:0", "127.0.0.3:80"))
	told := []string{"STATE 127.0.0.1:0 127.0.0.3:80 UNSPECIFIED"}
	w.want(t, told, told, 2)
}

// Traces do not wait for more calls than a host has memory for.
func TestSharedWaitsForNoMoreThanItCanHold(t *testing.T) {
	w := newTogether()
	for range maxWaiting + 3 {
		w.hear(state(1, "127.0.0.1:40000", "127.0.0.3:80"))
	}
	// The call returns late.
	w.hosts[0].called(&synclinev1.Call{LocalAddress: "127.0.0.1:40000"})
	for i, host := range w.hosts {
		host.settle()
		if want := (1 - i) * maxWaiting; len(w.told[i]) != want || w.lost[i] != 3 || len(host.waiting) != 0 {
			t.Errorf("host %d tells %d events, want %d; %d lost, want 3; %d wait", i, len(w.told[i]), want, w.lost[i], len(host.waiting))
		}
	}
}

// Another host of the run is in this namespace if its address is.
func TestWhoSharesANamespace(t *testing.T) {
	for peer, want := range map[string]bool{"127.0.0.3": true, "192.0.2.7": false, "fd00::7": false} {
		r := &run{peers: []netip.Addr{netip.MustParseAddr(peer)}}
		r.hosts = append(slices.Clone(r.peers), netip.MustParseAddr("127.0.0.2"))
		r.flows.Addresses = r.hosts
		s, err := r.shares()
		if err != nil || (s != nil) != want {
			t.Errorf("a host at %s is here: %v (%v), want %v", peer, s != nil, err, want)
		}
		if want && !slices.Equal(s.here, r.hosts) {
			t.Errorf("of %v these are here: %v", r.hosts, s.here)
		}
	}
}
