package timeline

import (
	"cmp"
	"slices"

	"syncline/controller/clock"
)

// Phase is a named interval between two moments.
type Phase struct {
	Name string
	// End is whose phase it is: ClientEnd, ServerEnd, or -1 where it is no end's of a
	// connection. A phase between two hosts is of the end at which it begins.
	End int
	// From and To index Timeline.Moments.
	From, To int
	// Nanoseconds is how long it took, surely within Err; Err is clock.Unbounded if
	// nothing bounds it. It is exact, and Err 0, for two moments that one host stamped
	// with one clock.
	Nanoseconds, Err int64
	// Whole names the phase that this one is a part of, as "connect.blocked"; empty if it
	// stands for itself. The parts of one whole follow each other without a gap, so that
	// their lengths sum to its own within the sum of their errors.
	Whole string
}

// ConnectionPhase is a phase and the connection it is of; -1 if it is of none.
type ConnectionPhase struct {
	Connection int
	Phase
}

// Phases lists the phases of a connection, or with -1 those of the calls that belong to
// none, in the order in which they begin. A phase that has not both its moments on
// record is not there. package experiment says what each name means.
func (t *Timeline) Phases(connection int) []Phase {
	var own []int
	for i := range t.Moments {
		if t.Moments[i].Connection == connection {
			own = append(own, i)
		}
	}
	return newPhaseFinder(t, connection, own, newPhaseMemory()).find()
}

// AllPhases lists what Phases does for every connection, and first for the calls that
// belong to none. It walks the moments once, however many connections there are.
func (t *Timeline) AllPhases() []ConnectionPhase {
	own := make([][]int, len(t.Connections)+1)
	for i := range t.Moments {
		c := t.Moments[i].Connection + 1
		own[c] = append(own[c], i)
	}
	var all []ConnectionPhase
	memory := newPhaseMemory()
	for c := range own {
		for _, p := range newPhaseFinder(t, c-1, own[c], memory).find() {
			all = append(all, ConnectionPhase{c - 1, p})
		}
	}
	return all
}

// phaseFinder collects the phases of one connection.
type phaseFinder struct {
	t          *Timeline
	connection int
	// own are the moments of the connection, in order.
	own    []int
	spans  []phaseCall
	phases []Phase
	memory *phaseMemory
}

// phaseCall is a call from its entry to its return, -1 where that is not on record. end is
// the end of the connection that it worked on, -1 if that is not known.
type phaseCall struct {
	call         *Call
	enter, leave int
	end          int
}

// phaseMemory keeps what is the same for all connections of a timeline.
type phaseMemory struct {
	// missing is, by host, why packets may be missing from its record.
	missing map[int]string
	// deferring are the hosts with a listener that waits for data.
	deferring map[int]bool
}

func newPhaseMemory() *phaseMemory { return &phaseMemory{missing: make(map[int]string)} }

func newPhaseFinder(t *Timeline, connection int, own []int, memory *phaseMemory) *phaseFinder {
	f := &phaseFinder{t: t, connection: connection, own: own, memory: memory}
	entered := make(map[*Event]int)
	for _, i := range own {
		m := &t.Moments[i]
		if m.Event.Call == nil {
			continue
		}
		if m.Edge == Enter {
			entered[m.Event] = i
			continue
		}
		from, ok := entered[m.Event]
		if !ok {
			from = -1
		}
		delete(entered, m.Event)
		f.spans = append(f.spans, phaseCall{m.Event.Call, from, i, f.endOf(m)})
	}
	for _, i := range own {
		if m := &t.Moments[i]; m.Event.Call != nil && m.Edge == Enter {
			if _, never := entered[m.Event]; never {
				f.spans = append(f.spans, phaseCall{m.Event.Call, i, -1, f.endOf(m)})
			}
		}
	}
	return f
}

// find lists the phases in the order in which they begin.
func (f *phaseFinder) find() []Phase {
	f.calls()
	if f.connection >= 0 {
		f.handshake()
		f.teardown()
		f.reset()
	}
	slices.SortStableFunc(f.phases, func(a, b Phase) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To), cmp.Compare(a.Name, b.Name))
	})
	return f.phases
}

// add notes a phase if both its moments are there.
func (f *phaseFinder) add(name string, end, from, to int) {
	if from < 0 || to < 0 {
		return
	}
	f.phases = append(f.phases, f.phase(name, end, from, to))
}

func (f *phaseFinder) phase(name string, end, from, to int) Phase {
	ns, err := f.t.length(from, to)
	return Phase{Name: name, End: end, From: from, To: to, Nanoseconds: ns, Err: err}
}

// transit is the phase of a segment on its way; ok is false if it is not sure that what
// arrived is what left, or if nothing bounds how long it took.
func (f *phaseFinder) transit(name string, end int, s *Segment) (p Phase, ok bool) {
	if !isMeasured(s) {
		return Phase{}, false
	}
	return Phase{Name: name, End: end, From: s.Departure, To: s.Arrival, Nanoseconds: s.OneWay, Err: s.OneWayErr}, true
}

func isMeasured(s *Segment) bool {
	return s != nil && s.Departure >= 0 && s.Arrival >= 0 && !s.Ambiguous && !s.Impossible && s.OneWayErr < clock.Unbounded
}

// blocked has the phase of each call that may wait for the other side.
var blocked = map[string]string{
	"connect": "connect.blocked", "accept": "accept.blocked", "accept4": "accept.blocked",
	"send": "send.blocked", "sendto": "send.blocked", "recv": "recv.blocked", "recvfrom": "recv.blocked",
	"close": "close.blocked",
}

// calls finds how long each call took.
func (f *phaseFinder) calls() {
	for _, s := range f.spans {
		if name := blocked[s.call.Name]; name != "" && !s.call.ByLab && s.leave >= 0 {
			f.add(name, s.end, s.enter, s.leave)
		}
	}
}

// endOf is the end of the connection that a call worked on, -1 if there is none.
func (f *phaseFinder) endOf(m *Moment) int {
	if f.connection < 0 {
		return -1
	}
	c := &f.t.Connections[f.connection]
	call := m.Event.Call
	for end := range 2 {
		e := c.End(end)
		if e.Host == m.Event.Host && (e.named(call.Lane, call.Socket) || e.named(call.Lane, call.Makes)) {
			return end
		}
	}
	return -1
}

// call finds the entry and the return of the first call of an end that fits, -1 if there
// is none.
func (f *phaseFinder) call(end int, fits func(*Call) bool) (enter, leave int) {
	for _, s := range f.spans {
		if s.end == end && s.leave >= 0 && fits(s.call) {
			return s.enter, s.leave
		}
	}
	return -1, -1
}

// segments of a direction whose packet fits, as an end's own tap saw it: a segment that
// leaves is sought if out is set, one that comes otherwise. They are by that moment.
func (f *phaseFinder) segments(end int, out bool, fits func(*Packet) bool) []*Segment {
	var found []*Segment
	c := &f.t.Connections[f.connection]
	at := segmentAt(out)
	for i := range c.Segments {
		s := &c.Segments[i]
		if s.FromClient == (out == (end == ClientEnd)) && at(s) >= 0 && fits(f.t.Moments[at(s)].Event.Packet) {
			found = append(found, s)
		}
	}
	slices.SortStableFunc(found, func(a, b *Segment) int { return cmp.Compare(at(a), at(b)) })
	return found
}

func segmentAt(out bool) func(*Segment) int {
	if out {
		return func(s *Segment) int { return s.Departure }
	}
	return func(s *Segment) int { return s.Arrival }
}

// first is the first moment at which an end's tap saw a packet leave, or come, that
// fits; after is a moment that it must not be before, -1 for any.
func (f *phaseFinder) first(end int, out bool, after int, fits func(*Packet) bool) int {
	found := -1
	c := &f.t.Connections[f.connection]
	for i := range c.Segments {
		s := &c.Segments[i]
		if s.FromClient != (out == (end == ClientEnd)) {
			continue
		}
		at := s.Arrival
		if out {
			at = s.Departure
		}
		if at >= 0 && at > after && (found < 0 || at < found) && fits(f.t.Moments[at].Event.Packet) {
			found = at
		}
	}
	return found
}

func hasFlags(set, want Flags) func(*Packet) bool {
	return func(p *Packet) bool { return p.Flags&set == want }
}

func isConnect(c *Call) bool { return c.Name == "connect" }

func succeeded(c *Call) bool { return c.Errno == 0 && c.Result >= 0 && c.EndedBy <= EndedByKernel }
