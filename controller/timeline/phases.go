package timeline

import (
	"cmp"
	"slices"
	"strings"
)

// Phase is a named interval between two moments.
type Phase struct {
	Name string
	// End is whose phase it is: ClientEnd, ServerEnd, or -1 where it is no end's of a
	// connection.
	End int
	// From and To index Timeline.Moments.
	From, To int
	// Nanoseconds is how long it took, surely within Err; Err is clock.Unbounded if
	// nothing bounds it. It is exact, and Err 0, for two moments that one host stamped
	// with one clock.
	Nanoseconds, Err int64
}

// Phases lists the phases of a connection, or with -1 those of the calls that belong to
// none, in the order in which they begin. A phase that has not both its moments on
// record is not there. package experiment says what each name means.
func (t *Timeline) Phases(connection int) []Phase {
	f := &phaseFinder{t: t, connection: connection}
	f.calls()
	if connection >= 0 {
		f.handshake()
		f.teardown()
	}
	return f.sorted()
}

// phaseFinder collects the phases of one connection.
type phaseFinder struct {
	t          *Timeline
	connection int
	phases     []Phase
}

// add notes a phase if both its moments are there.
func (f *phaseFinder) add(name string, end, from, to int) {
	if from < 0 || to < 0 {
		return
	}
	ns, err := f.t.length(from, to)
	f.phases = append(f.phases, Phase{Name: name, End: end, From: from, To: to, Nanoseconds: ns, Err: err})
}

func (f *phaseFinder) sorted() []Phase {
	slices.SortStableFunc(f.phases, func(a, b Phase) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To), cmp.Compare(a.Name, b.Name))
	})
	return f.phases
}

// blocked has the phase of each call that may wait for the other side.
var blocked = map[string]string{
	"connect": "connect.blocked", "accept": "accept.blocked", "accept4": "accept.blocked",
	"send": "send.blocked", "sendto": "send.blocked", "recv": "recv.blocked", "recvfrom": "recv.blocked",
	"close": "close.blocked",
}

// calls finds how long each call took.
func (f *phaseFinder) calls() {
	entered := make(map[*Event]int)
	for i := range f.t.Moments {
		m := &f.t.Moments[i]
		c := m.Event.Call
		if c == nil || m.Connection != f.connection || c.ByLab || blocked[c.Name] == "" {
			continue
		}
		if m.Edge == Enter {
			entered[m.Event] = i
			continue
		}
		if from, ok := entered[m.Event]; ok {
			f.add(blocked[c.Name], f.endOf(m), from, i)
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

// call finds the entry and the return of the first call of an end by any of some names
// that gave what ok wants, -1 if there is none.
func (f *phaseFinder) call(end int, name string, ok func(*Call) bool) (enter, leave int) {
	entered := make(map[*Event]int)
	for i := range f.t.Moments {
		m := &f.t.Moments[i]
		c := m.Event.Call
		if c == nil || m.Connection != f.connection || c.Name != name || f.endOf(m) != end {
			continue
		}
		if m.Edge == Enter {
			entered[m.Event] = i
		} else if ok(c) {
			from, has := entered[m.Event]
			if !has {
				from = -1
			}
			return from, i
		}
	}
	return -1, -1
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

func anyCall(*Call) bool { return true }

func succeeded(c *Call) bool { return c.Errno == 0 && c.Result >= 0 && c.EndedBy <= EndedByKernel }

// handshake finds the phases of opening: RFC 9293 3.5.
func (f *phaseFinder) handshake() {
	c := &f.t.Connections[f.connection]
	enter, leave := f.call(ClientEnd, "connect", anyCall)
	syn := f.first(ClientEnd, true, -1, hasFlags(SYN|ACK, SYN))
	if enter >= 0 && syn > enter {
		f.add("connect.syn_out", ClientEnd, enter, syn)
	}
	from, to := f.t.answeredSYN(c)
	f.add("connect.rtt", ClientEnd, from, to)
	if last := f.last(ClientEnd, hasFlags(SYN|ACK, SYN)); last != syn {
		f.add("syn.retrying", ClientEnd, syn, last)
	}
	third := f.third(c)
	f.add("handshake.server", ServerEnd, f.first(ServerEnd, false, -1, hasFlags(SYN|ACK, SYN)), third)
	if _, accepted := f.call(ServerEnd, "accept", succeeded); accepted > third {
		f.add("accept.wait", ServerEnd, third, accepted)
	}
	if leave >= 0 && succeeded(f.t.Moments[leave].Event.Call) {
		data := f.first(ClientEnd, false, leave, func(p *Packet) bool { return p.PayloadLength > 0 })
		f.add("first_byte", ClientEnd, leave, data)
	}
}

// third is the arrival of the ACK that completed the handshake, -1 if none is on
// record: the moment at which the server became ESTABLISHED.
func (f *phaseFinder) third(c *Connection) int {
	for _, s := range c.Server.States {
		switch {
		case s.Name != stateEstablished || s.Moment < 0:
		case f.t.Moments[s.Moment].Event.Packet != nil:
			return s.Moment
		case s.exact():
			return f.thirdBefore(c, s.Moment)
		}
	}
	if len(c.Server.States) > 0 || !c.Server.HasISN {
		return -1
	}
	return f.first(ServerEnd, false, -1, func(p *Packet) bool {
		return p.Flags&(SYN|RST|ACK) == ACK && p.Ack == c.Server.ISN+1
	})
}

// thirdBefore is the third ACK where the moment is traced at which TCP took it. What had
// come before the last SYN+ACK left was not taken; a listener that waits for data
// (TCP_DEFER_ACCEPT) does not take a bare one.
func (f *phaseFinder) thirdBefore(c *Connection, taken int) int {
	if !c.Server.HasISN {
		return -1
	}
	sent := -1
	for next := sent; ; sent = next {
		if next = f.first(ServerEnd, true, sent, hasFlags(SYN|ACK, SYN|ACK)); next < 0 || next > taken {
			break
		}
	}
	covers := func(p *Packet) bool { return p.Flags&(RST|ACK) == ACK && int32(p.Ack-c.Server.ISN) >= 1 }
	came := f.first(ServerEnd, false, sent, covers)
	full := f.first(ServerEnd, false, sent, func(p *Packet) bool { return covers(p) && sequenceLength(p) > 0 })
	if full > came && full < taken && f.waitsForData(c.Server.Host) {
		came = full
	}
	if came > taken {
		return -1
	}
	return came
}

// waitsForData reports whether a listener of a host has TCP_DEFER_ACCEPT.
func (f *phaseFinder) waitsForData(host int) bool {
	return slices.ContainsFunc(f.t.Moments, func(m Moment) bool {
		c := m.Event.Call
		return c != nil && m.Event.Host == host && c.Name == "setsockopt" && c.Errno == 0 && strings.Contains(c.Arguments, "TCP_DEFER_ACCEPT")
	})
}

// last is the last moment at which an end's tap saw a packet leave that fits.
func (f *phaseFinder) last(end int, fits func(*Packet) bool) int {
	found := -1
	for {
		next := f.first(end, true, found, fits)
		if next < 0 {
			return found
		}
		found = next
	}
}

// teardown finds the phases of closing: RFC 9293 3.6.
func (f *phaseFinder) teardown() {
	fin := hasFlags(FIN|RST, FIN)
	sent := [2]int{f.first(ClientEnd, true, -1, fin), f.first(ServerEnd, true, -1, fin)}
	closer := ClientEnd
	if sent[ClientEnd] < 0 || sent[ServerEnd] >= 0 && sent[ServerEnd] < sent[ClientEnd] {
		closer = ServerEnd
	}
	if sent[closer] < 0 {
		return
	}
	if came := f.first(1-closer, false, -1, fin); came >= 0 && sent[1-closer] > came {
		f.add("teardown.half_closed", 1-closer, came, sent[1-closer])
	}
	acked := [2]int{f.finAcked(ClientEnd, sent[ClientEnd]), f.finAcked(ServerEnd, sent[ServerEnd])}
	f.add("teardown.fin_acked", closer, sent[closer], acked[closer])
	if acked[0] >= 0 && acked[1] >= 0 {
		f.add("teardown.whole", closer, sent[closer], max(acked[0], acked[1]))
	}
}

// finAcked is the first arrival, at an end, of an acknowledgment of its FIN, -1 if
// there is none.
func (f *phaseFinder) finAcked(end, fin int) int {
	if fin < 0 {
		return -1
	}
	p := f.t.Moments[fin].Event.Packet
	after := p.Seq + sequenceLength(p)
	return f.first(end, false, fin, func(k *Packet) bool { return k.Flags&ACK != 0 && int32(k.Ack-after) >= 0 })
}
