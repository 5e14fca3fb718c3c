package timeline

import "syncline/controller/clock"

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
	first, second := f.transmission(closer, fin), f.transmission(1-closer, fin)
	if p, ok := f.transit("teardown.fin_transit", closer, first); ok {
		f.phases = append(f.phases, p)
	}
	if p, ok := f.transit("teardown.fin2_transit", 1-closer, second); ok {
		f.phases = append(f.phases, p)
	}
	f.finOut("teardown.fin_out", closer, sent[closer])
	f.finOut("teardown.fin2_out", 1-closer, sent[1-closer])
	acked := [2]int{f.finAcked(ClientEnd, sent[ClientEnd]), f.finAcked(ServerEnd, sent[ServerEnd])}
	f.add("teardown.fin_acked", closer, sent[closer], acked[closer])
	f.add("teardown.last_ack", 1-closer, sent[1-closer], acked[1-closer])
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

// transmission is the one by which a packet of an end first came to the other, nil if none
// is on record at both.
func (f *phaseFinder) transmission(end int, fits func(*Packet) bool) *Segment {
	for _, s := range f.segments(1-end, false, fits) {
		if s.Departure >= 0 {
			return s
		}
	}
	return nil
}

// finOut finds how long it took from the call that closes an end's output until its FIN
// left: the last such call that was entered before.
func (f *phaseFinder) finOut(name string, end, fin int) {
	if fin < 0 {
		return
	}
	from := -1
	for _, s := range f.spans {
		closes := s.call.Name == "close" || s.call.Name == "shutdown" && closesOutput(s.call)
		if s.end == end && closes && s.enter < fin {
			from = max(from, s.enter)
		}
	}
	f.add(name, end, from, fin)
}

// timeWait finds how long each end was in TIME_WAIT. Its end is known to lie between two
// looks at the socket, which is what the error is of. Where the record ends before TIME_WAIT
// does there is no such phase.
func (f *phaseFinder) timeWait() {
	for end := range 2 {
		states := f.t.Connections[f.connection].End(end).States
		for i := range states {
			if states[i].Name != stateTimeWait || i+1 == len(states) || states[i+1].Name != stateClosed {
				continue
			}
			f.timeWaitOf(end, &states[i], &states[i+1])
		}
	}
}

func (f *phaseFinder) timeWaitOf(end int, held, over *State) {
	began, overBy := held.Moment, over.Moment
	if over.By >= 0 {
		overBy = over.By
	}
	if began < 0 || overBy < 0 || f.t.StateDoubt(f.connection, end) != "" {
		return
	}
	// The longest that it can have been is from the last moment before to the first after.
	earliest, latest := began, began
	if !held.exact() {
		earliest, latest = orMoment(held.After, began), orMoment(held.By, began)
	}
	overAfter := over.Moment
	if !over.exact() {
		overAfter = over.After
	}
	if overAfter < 0 {
		return
	}
	lo, _ := f.t.Apart(latest, overAfter)
	_, hi := f.t.Apart(earliest, overBy)
	if lo = max(lo, 0); hi >= clock.Unbounded || hi < lo {
		return
	}
	f.phases = append(f.phases, Phase{
		Name: "teardown.time_wait", End: end, From: began, To: overBy, Nanoseconds: lo + (hi-lo)/2, Err: (hi - lo + 1) / 2,
	})
}

func orMoment(known, otherwise int) int {
	if known >= 0 {
		return known
	}
	return otherwise
}

// reset finds the phases of the first reset of a connection that was open at its server:
// RFC 9293 3.5.2. What refuses a SYN is no such reset.
func (f *phaseFinder) reset() {
	f.timeWait()
	c := &f.t.Connections[f.connection]
	if !c.Server.HasISN {
		return
	}
	for end := range 2 {
		sent := f.segments(end, true, hasFlags(RST, RST))
		if len(sent) > 0 {
			if p, ok := f.transit("reset.transit", end, sent[0]); ok {
				f.phases = append(f.phases, p)
			}
		}
		came := f.first(1-end, false, -1, hasFlags(RST, RST))
		if came < 0 {
			continue
		}
		for _, s := range f.spans {
			if s.end == 1-end && s.leave > came && tellsOfReset(s.call) {
				f.add("reset.noticed", 1-end, came, s.leave)
				break
			}
		}
	}
}

// tellsOfReset reports whether a call's error is one by which a program learns that its
// connection was reset: connect(2), recv(2), send(2).
func tellsOfReset(c *Call) bool {
	const epipe, econnreset, econnrefused = 32, 104, 111
	return c.Errno == epipe || c.Errno == econnreset || c.Errno == econnrefused
}
