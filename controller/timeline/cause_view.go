package timeline

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// tapped is one packet of a connection as one of its ends had it: by its own tap, or by the
// other's where its own has not all.
type tapped struct {
	moment int
	// segment indexes Connection.Segments: the first of those that share the moment.
	segment int
	out     bool
	p       *Packet
	s       *Segment
}

// end is the sequence number after the packet's last.
func (s *tapped) end() uint32 { return s.p.Seq + sequenceLength(s.p) }

func (s *tapped) has(flags Flags) bool { return s.p.Flags&flags == flags }

// callSpan is a call: the moments of its entry and its return, -1 where one is not on record.
type callSpan struct {
	enter, leave int
	call         *Call
}

// endView is one end of a connection at work, as far as that is on record: what it sent and
// received, the calls on it, and what its kernel said. All are in order of their moments.
type endView struct {
	c    *Causality
	ref  EndRef
	host int
	// blind is true if packets of its own tap may be missing from the record.
	blind bool
	// own and peer are the ends of the timeline.
	own, peer *End
	sights    []tapped
	calls     []callSpan
	traces    []int
	// icmp are the moments at which the host received ICMP errors about what this end sent.
	icmp []int
	// bytes are what had come and what was read, by moment.
	bytes byteLog
}

// hostView is what of a host belongs to no end.
type hostView struct {
	// calls are all calls of the host, in order of their entries, those of ends included.
	calls []callSpan
	// packets are the moments of packets that are no TCP, processes, signals and changes those of
	// the events of that name, and resets those at which the kernel said that it sends a RST.
	packets, processes, signals, changes, resets []int
}

// build sorts the moments by who they are of.
func (c *Causality) build() {
	c.hosts = make([]hostView, len(c.t.Hosts))
	spans := make(map[*Event]*callSpan)
	var order []*Event
	for i := range c.t.Moments {
		m := &c.t.Moments[i]
		e, h := m.Event, &c.hosts[m.Event.Host]
		switch {
		case e.Call != nil:
			span := spans[e]
			if span == nil {
				span = &callSpan{-1, -1, e.Call}
				spans[e] = span
				order = append(order, e)
			}
			if m.Edge == Return {
				span.leave = i
			} else {
				span.enter = i
			}
		case e.Packet != nil && !e.Packet.TCP():
			h.packets = append(h.packets, i)
		case e.Process != nil:
			h.processes = append(h.processes, i)
		case e.Signal != nil:
			h.signals = append(h.signals, i)
		case e.Change != nil:
			h.changes = append(h.changes, i)
		case e.Trace != nil:
			// An experiment that observes drops alone has no other tracepoint watched.
			c.traced = c.traced || e.Trace.Kind != TraceDrop
			if e.Trace.Kind == TraceResetSent {
				h.resets = append(h.resets, i)
			}
		}
	}
	for _, e := range order {
		c.hosts[e.Host].calls = append(c.hosts[e.Host].calls, *spans[e])
	}
	c.ends = make([][2]*endView, len(c.t.Connections))
	c.pairs = make(map[pairAt][]*endView)
	for ci := range c.t.Connections {
		for end := range 2 {
			v := c.viewOf(EndRef{ci, end})
			c.ends[ci][end] = v
			key := pairAt{v.host, v.own.Address, v.peer.Address}
			c.pairs[key] = append(c.pairs[key], v)
		}
	}
	// What accept(2) returned may have no name; its descriptor is told all the same.
	type descriptor struct {
		host int
		lane string
		fd   int64
	}
	nameless := make(map[descriptor]EndRef)
	for _, e := range order {
		span := spans[e]
		ref, ok := c.endOf(span)
		switch {
		case ok && isAccept(span.call) && span.call.Makes == "":
			nameless[descriptor{e.Host, span.call.Lane, span.call.Result}] = ref
		case !ok && span.call.Socket == "" && span.named("close"):
			ref, ok = nameless[descriptor{e.Host, span.call.Lane, int64(span.call.FD)}]
		}
		if ok {
			v := c.ends[ref.Connection][ref.End]
			v.calls = append(v.calls, *span)
		}
	}
	for i := range c.t.Moments {
		c.deal(i)
	}
	for _, pair := range c.ends {
		for _, v := range pair {
			v.countBytes()
		}
	}
}

// deal gives traces and ICMP errors to the end that they are of.
func (c *Causality) deal(moment int) {
	m := &c.t.Moments[moment]
	if m.Connection < 0 {
		return
	}
	for end := range 2 {
		v := c.ends[m.Connection][end]
		if v.host != m.Event.Host {
			continue
		}
		switch e := m.Event; {
		case e.Trace != nil && plain(e.Trace.Local) != v.own.Address && plain(e.Trace.Local) != v.own.socketAddress():
		case e.Trace != nil:
			v.traces = append(v.traces, moment)
		case e.Packet != nil && e.Packet.Direction == In && e.Packet.isICMPError() && quotedSource(e.Packet) == v.own.Address:
			v.icmp = append(v.icmp, moment)
		}
	}
}

// moment is one by which a call stands among others: its entry, if that is on record.
func (s *callSpan) moment() int {
	if s.enter >= 0 {
		return s.enter
	}
	return s.leave
}

// endOf is the end that a call worked on.
func (c *Causality) endOf(s *callSpan) (EndRef, bool) {
	m := &c.t.Moments[s.moment()]
	if s.leave >= 0 {
		// A call may get its connection with its return, as accept does.
		m = &c.t.Moments[s.leave]
	}
	if m.Connection < 0 {
		return EndRef{}, false
	}
	conn := &c.t.Connections[m.Connection]
	if local := plain(s.call.Local); isAccept(s.call) && s.call.Result >= 0 && (conn.Server.Address == local || conn.Server.Bound == local) {
		return EndRef{m.Connection, ServerEnd}, true
	}
	found, ok := EndRef{}, false
	for end := range 2 {
		e := conn.End(end)
		if e.Host != m.Event.Host || !e.named(s.call.Lane, s.call.Socket) && !e.named(s.call.Lane, s.call.Makes) {
			continue
		}
		// Both ends of one host may have a name in common, in two lanes or one after the other.
		if local := plain(s.call.Local); ok && local.IsValid() && local != e.Address && local != e.socketAddress() {
			continue
		}
		found, ok = EndRef{m.Connection, end}, true
	}
	return found, ok
}

func (c *Causality) viewOf(ref EndRef) *endView {
	conn := &c.t.Connections[ref.Connection]
	v := &endView{c: c, ref: ref, own: conn.End(ref.End), peer: conn.End(1 - ref.End)}
	v.host = v.own.Host
	v.blind = v.host < 0 || c.t.Complete(v.host, Packets) != ""
	seen := make(map[int]bool)
	for i := range conn.Segments {
		s := &conn.Segments[i]
		out := s.FromClient == (ref.End == ClientEnd)
		own, other := s.Arrival, s.Departure
		if out {
			own, other = other, own
		}
		if own < 0 && (out || v.blind && !s.Lost) {
			own = other
		}
		if own < 0 || seen[own] || out && s.Departure < 0 && s.Duplicate {
			continue
		}
		seen[own] = true
		v.sights = append(v.sights, tapped{own, i, out, c.t.Moments[own].Event.Packet, s})
	}
	slices.SortStableFunc(v.sights, func(a, b tapped) int { return cmp.Compare(a.moment, b.moment) })
	return v
}

// mayCause reports whether moment a may have been before moment b, and whether it surely
// was.
func (c *Causality) mayCause(a, b int) (may, surely bool) {
	if a < 0 || b < 0 || a == b {
		return false, false
	}
	before, known := c.t.Certain(a, b)
	return before || !known, known && before
}

// since is the time from moment a to moment b: by the clock of their host, or, where a packet
// of one host is known from another's tap alone, by the lab's.
func (c *Causality) since(a, b int) int64 {
	from, to := &c.t.Moments[a], &c.t.Moments[b]
	if from.Event.Host != to.Event.Host {
		return int64(to.Stamp.At - from.Stamp.At)
	}
	return int64(to.Local - from.Local)
}

// lastCall is the last call of an end that was entered before a moment, as far as is known,
// and that fits; nil if there is none.
func (v *endView) lastCall(before int, fits func(*callSpan) bool) *callSpan {
	return v.c.lastCall(v.calls, before, fits)
}

// lastCallSince is lastCall among those that were entered after a moment.
func (v *endView) lastCallSince(since, before int, fits func(*callSpan) bool) *callSpan {
	n, _ := slices.BinarySearchFunc(v.calls, since+1, func(s callSpan, m int) int { return cmp.Compare(s.moment(), m) })
	return v.c.lastCall(v.calls[n:], before, fits)
}

func (c *Causality) lastCall(calls []callSpan, before int, fits func(*callSpan) bool) *callSpan {
	// Calls are in order of their entries; one that is listed after the moment may still have been
	// entered before it, within the error of a packet's stamp.
	n, _ := slices.BinarySearchFunc(calls, before, func(s callSpan, m int) int { return cmp.Compare(s.moment(), m) })
	for n < len(calls) && calls[n].enter >= 0 {
		if may, _ := c.mayCause(calls[n].enter, before); !may {
			break
		}
		n++
	}
	for i := n - 1; i >= 0; i-- {
		if calls[i].enter >= 0 && fits(&calls[i]) {
			return &calls[i]
		}
	}
	return nil
}

// named reports whether a call is one of some.
func (s *callSpan) named(names ...string) bool { return slices.Contains(names, s.call.Name) }

// option reports whether a call sets a socket option.
func (s *callSpan) option(name string) bool {
	return s.call.Name == "setsockopt" && s.call.Errno == 0 && strings.Contains(s.call.Arguments, name)
}

// option is the last call that set an option before a moment, on the socket of this end or on
// the listener that it came from; nil if none did.
func (v *endView) option(name string, before int) *callSpan {
	if s := v.lastCall(before, func(s *callSpan) bool { return s.option(name) }); s != nil {
		return s
	}
	if v.ref.End != ServerEnd || v.host < 0 {
		return nil
	}
	return v.c.lastCall(v.c.hosts[v.host].calls, before, func(s *callSpan) bool {
		return s.option(name) && v.listens(s.call.Lane, s.call.Socket)
	})
}

// listens reports whether a lane's socket was a listener of the port that this end has.
func (v *endView) listens(lane, socket string) bool {
	for _, l := range v.c.hosts[v.host].calls {
		if l.call.Name == "listen" && l.call.Lane == lane && l.call.Socket == socket && v.isListener(l.call) {
			return true
		}
	}
	return false
}

// isListener reports whether a listen(2) was on the port of this end.
func (v *endView) isListener(c *Call) bool {
	port := plain(c.Local).Port()
	if port == 0 {
		for _, b := range v.c.hosts[v.host].calls {
			if b.call.Name == "bind" && b.call.Lane == c.Lane && b.call.Socket == c.Socket {
				port = plain(b.call.Local).Port()
			}
		}
	}
	return port != 0 && port == v.own.socketAddress().Port()
}

// among lists the ends of all connections between the addresses of this end and its peer: to
// the kernel these are one.
func (v *endView) among() []*endView {
	return v.c.pairs[pairAt{v.host, v.own.Address, v.peer.Address}]
}

// pairAt is what a host knows a connection by.
type pairAt struct {
	host      int
	own, peer netip.AddrPort
}

// lastAmong is the last packet before a moment, of whatever connection between the two
// addresses, that fits; nil if there is none.
func (v *endView) lastAmong(before int, fits func(*tapped) bool) *tapped {
	var found *tapped
	for _, o := range v.among() {
		if s := o.last(before, fits); s != nil && (found == nil || s.moment > found.moment) {
			found = s
		}
	}
	return found
}

// lastIn is the last packet that came before a moment and fits, nil if there is none.
func (v *endView) lastIn(before int, fits func(*tapped) bool) *tapped {
	return v.last(before, func(s *tapped) bool { return !s.out && fits(s) })
}

func (v *endView) last(before int, fits func(*tapped) bool) *tapped {
	n, _ := slices.BinarySearchFunc(v.sights, before, func(s tapped, m int) int { return cmp.Compare(s.moment, m) })
	for i := n - 1; i >= 0; i-- {
		if fits(&v.sights[i]) {
			return &v.sights[i]
		}
	}
	return nil
}

// within lists what came while a call ran, as far as is known, that fits: not before its
// entry, by the best estimate, and not surely after its return.
func (v *endView) within(s *callSpan, fits func(*tapped) bool) []*tapped {
	from := s.moment()
	n, _ := slices.BinarySearchFunc(v.sights, from, func(s tapped, m int) int { return cmp.Compare(s.moment, m) })
	var all []*tapped
	for ; n < len(v.sights); n++ {
		w := &v.sights[n]
		if !v.c.notAfter(w.moment, s.leave) {
			break
		}
		if !w.out && fits(w) {
			all = append(all, w)
		}
	}
	return all
}

// notAfter reports whether a moment may have been before another. Moments are listed so that
// one that is listed first never surely comes after.
func (c *Causality) notAfter(a, b int) bool {
	if a < b || b < 0 {
		return true
	}
	may, _ := c.mayCause(a, b)
	return may
}

// acks reports whether a packet acknowledges a sequence number of the other direction, and
// so all before it.
func acks(p *Packet, number uint32) bool {
	return p.Flags&ACK != 0 && int32(p.Ack-number) > 0
}
