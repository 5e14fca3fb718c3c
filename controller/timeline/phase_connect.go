package timeline

import (
	"fmt"
	"slices"
)

// ConnectParts is one connect(2) in parts.
type ConnectParts struct {
	// End is the end of the connection that called it.
	End int
	// Blocked is the call as a whole: connect.blocked.
	Blocked Phase
	// Parts follow each other without a gap from its entry to its return, so that their
	// lengths sum to Blocked's within the sum of their errors. There are none if Untold says
	// why the call cannot be taken apart.
	Parts []Phase
	// Untold is why there are no parts, or why one of them stands for several: for people.
	Untold string
}

// ConnectParts takes every connect(2) of a connection apart, in the order in which they
// returned. A call that never returned is not in it.
//
// The steps are those of RFC 9293 3.5, each where it was seen: the call is entered, its SYN
// leaves, the SYN that is answered leaves and arrives, the answer leaves and arrives, the
// call returns. A step that is not on record, or not surely that of this call, is left out,
// and the parts beside it become one: connect.rtt if only the peer's side is missing,
// connect.untold otherwise.
func (t *Timeline) ConnectParts(connection int) []ConnectParts {
	var own []int
	for i := range t.Moments {
		if t.Moments[i].Connection == connection {
			own = append(own, i)
		}
	}
	return newPhaseFinder(t, connection, own, newPhaseMemory()).connects()
}

func (f *phaseFinder) connects() []ConnectParts {
	var all []ConnectParts
	if f.connection < 0 {
		return nil
	}
	for _, s := range f.spans {
		if s.call.Name != "connect" || s.call.ByLab || s.end < 0 || s.enter < 0 || s.leave < 0 {
			continue
		}
		c := &connectSteps{phaseFinder: f, span: s}
		c.take()
		all = append(all, ConnectParts{End: s.end, Blocked: f.phase("connect.blocked", s.end, s.enter, s.leave), Parts: c.parts, Untold: c.untold})
	}
	return all
}

// connectSteps are the steps of one connect(2).
type connectSteps struct {
	*phaseFinder
	span phaseCall
	// syns are the end's own, that left before the call surely had returned.
	syns []*Segment
	// answer came to the end and ended the wait: at is its moment, -1 if there is none,
	// segment is nil for an ICMP error.
	answer struct {
		at      int
		segment *Segment
		packet  *Packet
	}
	parts  []Phase
	untold string
}

// connectStep is a moment of a connect(2) and the name of the part that begins with it; at is -1
// for one that is not known.
type connectStep struct {
	at   int
	part string
	// segment is the one on its way, if the part is that.
	segment *Segment
}

func (c *connectSteps) take() {
	c.syns = c.segments(c.span.end, true, hasFlags(SYN|ACK, SYN))
	switch {
	case len(c.syns) == 0:
		c.untold = c.withoutSYN()
		return
	case c.surelyAfter(c.syns[0].Departure, c.span.leave):
		c.untold = "its SYN left only after it had returned"
		return
	case c.surelyAfter(c.span.enter, c.syns[0].Departure):
		c.untold = "its SYN had left before it was entered"
		return
	}
	c.syns = slices.DeleteFunc(c.syns, func(s *Segment) bool { return c.surelyAfter(s.Departure, c.span.leave) })
	c.findAnswer()
	c.join(c.steps())
}

// withoutSYN is why no SYN of the call is on record.
func (c *connectSteps) withoutSYN() string {
	host := c.t.Connections[c.connection].End(c.span.end).Host
	if why := c.missing(host); why != "" {
		return "its SYN is not on record: " + why
	}
	return "no SYN left"
}

// missing is why packets of a host may not be on record, empty if all are.
func (c *connectSteps) missing(host int) string {
	if host < 0 {
		return "no host of the run has " + c.peer().Address.String()
	}
	why, known := c.memory.missing[host]
	if !known {
		why = c.t.Complete(host, Packets)
		c.memory.missing[host] = why
	}
	return why
}

func (c *connectSteps) peer() *End { return c.t.Connections[c.connection].End(1 - c.span.end) }

// surelyAfter reports whether moment a of the end's host is after moment b, whatever the
// errors of their stamps.
func (c *connectSteps) surelyAfter(a, b int) bool {
	_, hi := c.t.Apart(a, b)
	return hi < 0
}

// findAnswer finds what ended the wait, by what the call returned. What came before the SYN
// left once more had not been taken.
func (c *connectSteps) findAnswer() {
	const etimedout, econnreset, econnrefused = 110, 104, 111
	c.answer.at = -1
	segment := func(fits func(*Packet) bool) {
		s := c.answerIn(c.segments(c.span.end, false, fits))
		if s != nil && c.answer.at < 0 {
			c.answer.at, c.answer.segment, c.answer.packet = s.Arrival, s, c.t.Moments[s.Arrival].Event.Packet
		}
	}
	synack, reset := hasFlags(SYN|ACK|RST, SYN|ACK), hasFlags(RST, RST)
	call := c.span.call
	switch {
	case call.Errno == etimedout:
	case call.Errno == econnrefused || call.Errno == econnreset:
		segment(reset)
		c.icmpAnswer()
	case call.Errno == 0 || goesOnAfter(call) || call.EndedBy > EndedByKernel:
		segment(synack)
		segment(c.acknowledges)
	default:
		c.icmpAnswer()
		segment(reset)
	}
}

// acknowledges reports whether a packet acknowledges the end's SYN and is no SYN itself: it
// completes a simultaneous open for the end that got the peer's SYN and answered that.
func (c *connectSteps) acknowledges(p *Packet) bool {
	own := c.t.Connections[c.connection].End(c.span.end)
	return p.Flags&(SYN|RST|ACK) == ACK && own.HasISN && int32(p.Ack-own.ISN) >= 1
}

// answerIn is the first of some segments that came after the last SYN had left, else the
// last that came before the call returned; nil if there is none.
func (c *connectSteps) answerIn(came []*Segment) *Segment {
	last := c.syns[len(c.syns)-1].Departure
	var found *Segment
	for _, s := range came {
		switch {
		case c.surelyAfter(s.Arrival, c.span.leave):
		case found == nil || found.Arrival < last && s.Arrival > found.Arrival:
			found = s
		}
	}
	if found != nil && found.Arrival < last && c.span.call.Errno != 0 {
		return nil
	}
	return found
}

// icmpAnswer takes the last ICMP error about the SYN that came while the call ran.
func (c *connectSteps) icmpAnswer() {
	if c.answer.at >= 0 {
		return
	}
	end := c.t.Connections[c.connection].End(c.span.end)
	for _, i := range c.own {
		m := &c.t.Moments[i]
		p := m.Event.Packet
		if p == nil || m.Segment >= 0 || p.Direction != In || m.Event.Host != end.Host || !p.isICMPError() || quotedSource(p) != end.Address {
			continue
		}
		if i > c.syns[0].Departure && !c.surelyAfter(i, c.span.leave) {
			c.answer.at, c.answer.segment, c.answer.packet = i, nil, p
		}
	}
}

// steps are those of the call, in their order.
func (c *connectSteps) steps() []connectStep {
	first, last := c.syns[0].Departure, c.syns[len(c.syns)-1].Departure
	opening := []connectStep{{at: c.span.enter, part: "connect.syn_out"}, {at: first, part: "connect.syn_again"}}
	switch {
	case c.answer.at < 0:
		return append(opening, connectStep{at: last, part: c.withoutAnswer()}, connectStep{at: c.span.leave})
	case c.answer.segment == nil:
		if last > c.answer.at {
			last = c.lastBefore(c.answer.at)
		}
		return append(opening, connectStep{at: last, part: "connect.icmp_wait"}, connectStep{at: c.answer.at, part: "connect.wakeup"}, connectStep{at: c.span.leave})
	}
	closing := []connectStep{{at: c.answer.at, part: "connect.wakeup"}, {at: c.span.leave}}
	if c.answer.packet.Flags&(SYN|RST) == 0 {
		return slices.Concat(opening, []connectStep{{at: c.lastBefore(c.answer.at), part: "connect.crossed"}}, closing)
	}
	there, back := c.exchange()
	if there == nil {
		alone := -1
		if len(c.syns) == 1 {
			alone = first
		}
		c.untold = c.whyOneSided()
		return slices.Concat(opening, []connectStep{{at: alone, part: c.roundTrip()}}, closing)
	}
	answers := "connect.synack_transit"
	if c.answer.packet.Flags&RST != 0 {
		answers = "connect.rst_transit"
	}
	return slices.Concat(opening, []connectStep{
		{at: there.Departure, part: "connect.syn_transit", segment: there},
		{at: there.Arrival, part: "connect.turnaround"},
		{at: c.firstAnswer(there, back), part: "connect.synack_again"},
		{at: back.Departure, part: answers, segment: back},
	}, closing)
}

// withoutAnswer is the part from the last SYN to the return, where no answer is on record.
func (c *connectSteps) withoutAnswer() string {
	missing := c.missing(c.t.Connections[c.connection].End(c.span.end).Host)
	switch {
	case missing != "":
		c.untold = "what answered is not on record: " + missing
	case c.span.call.Errno == 0 && c.span.call.EndedBy <= EndedByKernel:
		c.untold = "no answer is on record, and yet it succeeded"
	default:
		return "connect.unanswered"
	}
	return "connect.untold"
}

// roundTrip is the part from the SYN to its answer, where the peer's side is not known.
func (c *connectSteps) roundTrip() string {
	if c.answer.packet.Flags&RST != 0 {
		return "connect.refused"
	}
	return "connect.rtt"
}

func (c *connectSteps) lastBefore(at int) int {
	last := c.syns[0].Departure
	for _, s := range c.syns {
		if s.Departure < at {
			last = s.Departure
		}
	}
	return last
}

// exchange is the SYN that was answered, and the answer; both are nil unless both are on
// record at both ends and in an order that can be.
func (c *connectSteps) exchange() (there, back *Segment) {
	for _, s := range c.segments(c.span.end, false, func(*Packet) bool { return true }) {
		if s.Arrival == c.answer.at && isMeasured(s) {
			back = s
			break
		}
	}
	if back == nil {
		return nil, nil
	}
	for _, s := range c.segments(1-c.span.end, false, hasFlags(SYN|ACK, SYN)) {
		// A copy that the network made has no departure of its own.
		if s.Arrival < back.Departure && s.Departure >= 0 {
			there = s
		}
	}
	if !isMeasured(there) || there.Departure >= back.Arrival {
		return nil, nil
	}
	return there, back
}

// firstAnswer is when the peer first answered the SYN that it took.
func (c *connectSteps) firstAnswer(there, back *Segment) int {
	if c.answer.packet.Flags&RST != 0 {
		return back.Departure
	}
	for _, s := range c.segments(1-c.span.end, true, hasFlags(SYN|ACK|RST, SYN|ACK)) {
		if s.Departure > there.Arrival {
			return min(s.Departure, back.Departure)
		}
	}
	return back.Departure
}

// whyOneSided is why the peer's side of the handshake is not told.
func (c *connectSteps) whyOneSided() string {
	peer := c.peer()
	if why := c.missing(peer.Host); why != "" {
		return "the other end's side is not on record: " + why
	}
	if peer.Host >= 0 && c.t.Clocks != nil && c.t.Clocks[peer.Host].Method == MethodUnknown {
		return fmt.Sprintf("nothing ties the clock of %s to that of %s", c.t.Hosts[peer.Host].Name, c.t.Hosts[c.t.Reference].Name)
	}
	return "which SYN was answered by which packet is not sure"
}

// join makes the parts between steps that are known. A step that is there twice, as one
// SYN that is the first and the one that was answered, begins no part of its own.
func (c *connectSteps) join(steps []connectStep) {
	known := slices.DeleteFunc(steps, func(s connectStep) bool { return s.at < 0 })
	skipped := len(known) < len(steps)
	for i := range known[:len(known)-1] {
		s, next := known[i], known[i+1]
		if s.at == next.at {
			continue
		}
		if skipped && s.part == "connect.syn_again" {
			// The one that was answered is not known.
			s.part = "connect.untold"
		}
		p := c.phase(s.part, c.span.end, s.at, next.at)
		if s.segment != nil {
			p.Nanoseconds, p.Err = s.segment.OneWay, s.segment.OneWayErr
		}
		p.Whole = "connect.blocked"
		c.parts = append(c.parts, p)
	}
}
