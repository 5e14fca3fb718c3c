package timeline

import (
	"net/netip"
	"slices"
	"testing"

	"syncline/controller/clock"
)

// grain allows for clocks that read whole nanoseconds.
const grain = 4

// check compares a timeline with the truth of the world it came from.
func (w *world) check(t testing.TB, tl *Timeline) {
	t.Helper()
	w.checkOrder(t, tl)
	w.checkStamps(t, tl)
	w.checkCertain(t, tl)
	for i := range tl.Connections {
		for s := range tl.Connections[i].Segments {
			w.checkSegment(t, tl, i, s)
		}
	}
	w.checkAllMatched(t, tl)
	checkCalls(t, tl)
}

// checkCalls makes sure that every call is with a connection, and each end of a
// connection with the one call that made it: the simulated lanes use no other
// sockets.
func checkCalls(t testing.TB, tl *Timeline) {
	t.Helper()
	makers := make(map[[2]int]int)
	for i := range tl.Moments {
		m := &tl.Moments[i]
		if m.Edge != Enter {
			continue
		}
		if m.Connection < 0 {
			t.Fatalf("moment %d: %s of %s is with no connection", i, m.Event.Call.Name, m.Event.Call.Lane)
		}
		if m.Event.Call.Name != "close" {
			makers[[2]int{m.Connection, m.Event.Host}]++
		}
		c := tl.Connections[m.Connection]
		if lane := m.Event.Call.Lane; lane != c.Client.Lane && lane != c.Server.Lane {
			t.Fatalf("moment %d of lane %s is with %+v", i, lane, c)
		}
	}
	for end, n := range makers {
		if n != 1 {
			t.Fatalf("connection %d was made %d times at host %d", end[0], n, end[1])
		}
	}
}

func idOf(m *Moment) simID { return simID{m.Event.Host, m.Event.Number} }

func (w *world) truthOf(m *Moment) int64 { return w.truth[simMoment{idOf(m), m.Edge}] }

// checkInvariants looks at what must hold of any timeline, true or not.
func checkInvariants(t testing.TB, tl *Timeline) {
	t.Helper()
	last := make(map[int]clock.Local)
	for i := range tl.Moments {
		m := &tl.Moments[i]
		if i > 0 && m.Stamp.At < tl.Moments[i-1].Stamp.At {
			t.Fatalf("moment %d at %d is before moment %d at %d", i, m.Stamp.At, i-1, tl.Moments[i-1].Stamp.At)
		}
		if before, ok := last[m.Event.Host]; ok && m.Local < before {
			t.Fatalf("moment %d: host %d goes back from %d to %d", i, m.Event.Host, before, m.Local)
		}
		last[m.Event.Host] = m.Local
		if m.Stamp.Err < 0 {
			t.Fatalf("moment %d has a negative error: %+v", i, m.Stamp)
		}
		if m.Connection >= len(tl.Connections) || m.Connection >= 0 && m.Segment >= len(tl.Connections[m.Connection].Segments) {
			t.Fatalf("moment %d points at connection %d, segment %d", i, m.Connection, m.Segment)
		}
	}
	checkPaths(t, tl)
	for _, c := range tl.Connections {
		for _, s := range c.Segments {
			if s.Departure < 0 && s.Arrival < 0 {
				t.Fatalf("segment %+v was seen by nobody", s)
			}
			if s.Departure >= 0 && s.Arrival >= 0 && !s.Impossible && s.Departure >= s.Arrival {
				t.Fatalf("segment %+v arrives before it left", s)
			}
			if s.Lost && s.Arrival >= 0 || s.Duplicate && s.Departure >= 0 {
				t.Fatalf("segment %+v contradicts itself", s)
			}
		}
	}
}

// checkPaths makes sure that states come one after the other, by ways that the diagram
// has or that are warned of.
func checkPaths(t testing.TB, tl *Timeline) {
	t.Helper()
	for i := range tl.Connections {
		for end := range 2 {
			states, last := tl.Connections[i].End(end).States, -1
			for n, s := range states {
				if s.Moment >= 0 && s.Moment < last {
					t.Fatalf("end %d of connection %d: %+v goes back in time", end, i, states)
				}
				last = max(last, s.Moment)
				if n > 0 && !inDiagram(states[n-1].Name, s.Name) && !s.exact() && tl.StateDoubt(i, end) == "" {
					t.Fatalf("end %d of connection %d goes from %s to %s: %+v", end, i, states[n-1].Name, s.Name, states)
				}
			}
		}
		for _, p := range tl.Phases(i) {
			if p.Name == "" || p.From == p.To || p.Err < 0 {
				t.Fatalf("connection %d has a phase %+v", i, p)
			}
		}
	}
	if n := len(tl.Transmissions()); n < len(tl.Others) {
		t.Fatalf("%d transmissions, %d of them no TCP", n, len(tl.Others))
	}
}

func (w *world) checkOrder(t testing.TB, tl *Timeline) {
	t.Helper()
	checkInvariants(t, tl)
	if len(tl.Moments) == 0 {
		t.Fatal("the timeline is empty")
	}
}

func (w *world) checkStamps(t testing.TB, tl *Timeline) {
	t.Helper()
	for i := range tl.Moments {
		m := &tl.Moments[i]
		want := w.clocks[tl.Reference].at(w.truthOf(m))
		off := int64(m.Stamp.At) - int64(want)
		if m.Stamp.Err < clock.Unbounded && max(off, -off) > m.Stamp.Err+grain {
			t.Fatalf("moment %d of host %d is %d ns off, ±%d was promised", i, m.Event.Host, off, m.Stamp.Err)
		}
	}
}

// checkCertain asks of every two moments which was first.
func (w *world) checkCertain(t testing.TB, tl *Timeline) {
	t.Helper()
	for a := range tl.Moments {
		for b := range tl.Moments {
			before, known := tl.Certain(a, b)
			ta, tb := w.truthOf(&tl.Moments[a]), w.truthOf(&tl.Moments[b])
			if known && before != (ta <= tb) && max(ta-tb, tb-ta) > grain {
				t.Fatalf("moment %d at %d is said to be before moment %d at %d: %v", a, ta, b, tb, before)
			}
			lo, hi := tl.Apart(a, b)
			if slack := max(ta-tb, tb-ta)/4000 + grain; lo > tb-ta+slack || hi < tb-ta-slack {
				t.Fatalf("moments %d and %d are %d apart, not between %d and %d", a, b, tb-ta, lo, hi)
			}
		}
	}
}

func (w *world) checkSegment(t testing.TB, tl *Timeline, conn, segment int) {
	t.Helper()
	s := tl.Connections[conn].Segments[segment]
	if s.Impossible {
		t.Fatalf("connection %d: segment %+v is called impossible", conn, s)
	}
	if s.Arrival < 0 {
		if s.Lost && !w.lost[idOf(&tl.Moments[s.Departure])] {
			t.Fatalf("connection %d: segment %+v was not lost", conn, s)
		}
		return
	}
	causes, ok := w.cause[idOf(&tl.Moments[s.Arrival])]
	if !ok {
		t.Fatalf("connection %d: segment %+v arrives as nothing that was sent", conn, s)
	}
	if s.Departure < 0 {
		if s.Duplicate && len(causes) > 0 && !w.alike {
			t.Fatalf("connection %d: segment %+v is no duplicate", conn, s)
		}
		return
	}
	departure := &tl.Moments[s.Departure]
	if !s.Ambiguous && !slices.Contains(causes, idOf(departure)) {
		t.Fatalf("connection %d: segment %+v is paired wrongly", conn, s)
	}
	if s.Ambiguous || s.OneWayErr >= clock.Unbounded {
		return
	}
	truth := w.truthOf(&tl.Moments[s.Arrival]) - w.truthOf(departure)
	if off := s.OneWay - truth; max(off, -off) > s.OneWayErr+grain+truth/4000 {
		t.Fatalf("connection %d: segment %+v was %d ns on the way", conn, s, truth)
	}
}

// checkAllMatched makes sure that nothing that has a pair is left alone.
func (w *world) checkAllMatched(t testing.TB, tl *Timeline) {
	t.Helper()
	if w.alike {
		return
	}
	paired := make(map[simID]bool)
	lost := make(map[simID]bool)
	for _, c := range tl.Connections {
		for _, s := range c.Segments {
			if s.Departure >= 0 && s.Arrival >= 0 {
				paired[idOf(&tl.Moments[s.Arrival])] = true
			}
			if s.Lost {
				lost[idOf(&tl.Moments[s.Departure])] = true
			}
		}
	}
	for i := range tl.Moments {
		m := &tl.Moments[i]
		if m.Event.Packet == nil {
			continue
		}
		if causes := w.cause[idOf(m)]; len(causes) > 0 && causes[0].number > 0 && !paired[idOf(m)] {
			t.Fatalf("moment %d arrived from %v and is paired with nothing", i, causes)
		}
		if w.lost[idOf(m)] && !lost[idOf(m)] && tl.Complete(1-m.Event.Host, Packets) == "" {
			t.Fatalf("moment %d was lost and is not said to be", i)
		}
	}
}

func sameAddr(a, b netip.Addr) bool { return a == b }

func sameAddrPort(a, b netip.AddrPort) bool { return a == b }
