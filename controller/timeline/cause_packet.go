package timeline

import "fmt"

// findPackets finds what made each packet leave, and what brought each arrival.
func (c *Causality) findPackets() {
	sent := make(map[EndRef]map[int]Cause)
	for ci := range c.ends {
		for end := range 2 {
			w := &sender{endView: c.ends[ci][end], sent: make(map[int]Cause)}
			w.writes = w.writesOf()
			w.run()
			sent[EndRef{ci, end}] = w.sent
		}
	}
	c.findOthers()
	for _, tr := range c.t.Transmissions() {
		var k Cause
		switch {
		case tr.Number < 0:
			k = c.others[tr.First()]
		default:
			ref := EndRef{tr.Connection, ServerEnd}
			if tr.FromClient {
				ref.End = ClientEnd
			}
			k = c.ofSegment(ref, &tr, sent[ref])
		}
		if tr.Departure >= 0 {
			c.note(k)
		}
		if tr.Arrival >= 0 {
			c.arrive(&tr, k)
		}
		c.Packets = append(c.Packets, PacketCause{tr, k})
	}
}

// ofSegment is the cause of one transmission of a connection.
func (c *Causality) ofSegment(ref EndRef, tr *Transmission, sent map[int]Cause) Cause {
	k, ok := sent[tr.First()]
	switch {
	case ok:
		return k
	case tr.Duplicate:
		return c.twice(ref, tr)
	}
	return none(tr.First(), c.unseen(ref))
}

// unseen is why the departure of a packet is not on record.
func (c *Causality) unseen(ref EndRef) string {
	e := c.t.Connections[ref.Connection].End(ref.End)
	if e.Host < 0 {
		return fmt.Sprintf("no host of the run has %s", e.Address)
	}
	if why := c.t.Complete(e.Host, Packets); why != "" {
		return why
	}
	return fmt.Sprintf("no tap of %s saw it leave: something on the way made it", c.t.hostName(e.Host))
}

// twice is the cause of an arrival that the network made of another transmission.
func (c *Causality) twice(ref EndRef, tr *Transmission) Cause {
	p := c.t.Packet(tr)
	for i := range c.t.Connections[ref.Connection].Segments {
		s := &c.t.Connections[ref.Connection].Segments[i]
		if s.FromClient != tr.FromClient || s.Departure < 0 || s.Departure > tr.Arrival {
			continue
		}
		if q := c.t.Moments[s.Departure].Event.Packet; q.Seq == p.Seq && q.Ack == p.Ack && q.Flags == p.Flags && q.PayloadLength == p.PayloadLength {
			return c.by(ruleTwice, s.Departure, tr.Arrival)
		}
	}
	return none(tr.Arrival, "no departure of it is on record")
}

// arrive notes what brought an arrival: the departure, if both taps saw it.
func (c *Causality) arrive(tr *Transmission, sent Cause) {
	switch {
	case tr.Departure < 0:
		c.note(sent)
	case tr.Impossible:
		c.note(none(tr.Arrival, "it arrived before it left, and no offset inside the bounds explains that"))
	case tr.Ambiguous:
		c.note(c.by(ruleTravel, tr.Departure, tr.Arrival).because("other packets looked the same: the pair is only the likeliest"))
	default:
		c.note(c.by(ruleTravel, tr.Departure, tr.Arrival).observed())
	}
}

// sender goes through what an end sent and received, in order, and finds what made it send.
type sender struct {
	*endView
	// sent has the cause of each packet that this end sent, by the moment of its departure.
	sent map[int]Cause
	// writes are the calls that gave data to the socket, in order of their entries.
	writes []written

	at int
	// una is the highest acknowledgment that came, next the highest sequence number sent, both
	// valid if hasUna and hasNext; acked is the highest acknowledgment that was sent.
	una, next, acked          uint32
	hasUna, hasNext, hasAcked bool
	// outAt and inAt are the places in sights of the last packets out and in, ackAt that of the
	// last that took an acknowledgment along; -1 if there is none.
	outAt, inAt, ackAt int
	// window is what the peer announced last, and before that.
	window, windowBefore int
}

func (w *sender) run() {
	w.outAt, w.inAt, w.ackAt = -1, -1, -1
	w.window, w.windowBefore = -1, -1
	for i := range w.sights {
		w.at = i
		s := &w.sights[i]
		if !s.out {
			w.came(s)
			continue
		}
		if s.s.Departure < 0 && !w.blind {
			w.sent[s.moment] = w.unsent(s)
		} else {
			w.sent[s.moment] = w.left(s)
		}
		w.went(s)
	}
}

// unsent is the cause of a packet that came, and that the sender's tap did not see leave though it
// missed nothing. It may have been taken for one of another connection between the same two
// addresses when it left.
func (w *sender) unsent(s *tapped) Cause {
	left := w.lastAmong(s.moment, func(o *tapped) bool {
		return o.out && o.s.Departure >= 0 && o.s.Arrival < 0 && o.p.Flags == s.p.Flags && o.p.Seq == s.p.Seq && o.p.Ack == s.p.Ack
	})
	if left != nil {
		return w.c.by(ruleTravel, left.moment, s.moment)
	}
	return none(s.moment, w.c.unseen(w.ref))
}

// came takes notice of a packet that arrived.
func (w *sender) came(s *tapped) {
	w.inAt = w.at
	if s.p.Flags&ACK == 0 || s.p.Flags&RST != 0 {
		return
	}
	if !w.hasUna || int32(s.p.Ack-w.una) > 0 {
		w.una, w.hasUna = s.p.Ack, true
	}
	w.windowBefore, w.window = w.window, s.p.Window
}

// went takes notice of a packet that left.
func (w *sender) went(s *tapped) {
	w.outAt = w.at
	if s.p.Flags&RST != 0 {
		return
	}
	if end := s.end(); !w.hasNext || int32(end-w.next) > 0 {
		w.next, w.hasNext = end, true
	}
	if s.p.Flags&ACK == 0 {
		return
	}
	w.ackAt = w.at
	if !w.hasAcked || int32(s.p.Ack-w.acked) > 0 {
		w.acked, w.hasAcked = s.p.Ack, true
	}
}

// left finds why a packet left.
func (w *sender) left(s *tapped) Cause {
	switch {
	case s.has(RST):
		return w.reset(s)
	case s.has(SYN | ACK):
		return w.synACK(s)
	case s.has(SYN):
		return w.syn(s)
	case s.s.Copy > 0 && sequenceLength(s.p) > 0:
		return w.again(s)
	case s.has(FIN):
		return w.fin(s)
	case s.p.PayloadLength > 0:
		return w.data(s)
	}
	return w.ack(s)
}

// in is the last packet that came, nil if none did since the packet at a place.
func (w *sender) in(after int) *tapped {
	if w.inAt < 0 || w.inAt <= after {
		return nil
	}
	return &w.sights[w.inAt]
}

// before is the last packet that this end sent and that fits, nil if there is none.
func (w *sender) before(fits func(*tapped) bool) *tapped { return w.beforeSince(-1, fits) }

// beforeSince is before among those that left after a moment.
func (w *sender) beforeSince(since int, fits func(*tapped) bool) *tapped {
	for i := w.at - 1; i >= 0 && w.sights[i].moment > since; i-- {
		if s := &w.sights[i]; s.out && fits(s) {
			return s
		}
	}
	return nil
}

// told is what the kernel said of a packet at a tracepoint of a kind, nil if it said nothing.
func (w *sender) told(s *tapped, kinds ...TraceKind) *Trace {
	for _, i := range s.s.Traces {
		if i < 0 || i >= len(w.c.t.Moments) {
			continue
		}
		tr := w.c.t.Moments[i].Event.Trace
		for _, kind := range kinds {
			if tr != nil && tr.Kind == kind {
				return tr
			}
		}
	}
	return nil
}
