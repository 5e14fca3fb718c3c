package timeline

// soon is within how long an answer of the kernel follows what it answers, in nanoseconds,
// even on a machine that has much else to do. No timer of TCP is shorter than twice that.
const soon = 10 * int64(Milliseconds)

// syn finds why a SYN left.
func (w *sender) syn(s *tapped) Cause {
	if before := w.before(func(o *tapped) bool { return o.has(SYN) && o.p.Seq == s.p.Seq }); before != nil {
		return w.synAgain(s, before)
	}
	connect := w.lastCall(s.moment, func(k *callSpan) bool { return k.named("connect") })
	opener := w.lastCall(s.moment, func(k *callSpan) bool {
		return k.named("send", "sendto") && (w.option("TCP_FASTOPEN_CONNECT", s.moment) != nil || k.carries("MSG_FASTOPEN"))
	})
	switch {
	case opener != nil && (connect == nil || opener.enter > connect.enter):
		return w.waited(w.c.by(ruleFastOpenSYN, opener.enter, s.moment).observed())
	case connect != nil:
		return w.waited(w.c.by(ruleConnectSYN, connect.enter, s.moment).observed())
	case isJoin(s.p):
		by := -1
		if w.inAt >= 0 {
			by = w.sights[w.inAt].moment
		}
		return w.c.by(ruleJoin, by, s.moment)
	}
	if begin := w.c.begins(w.host); begin >= 0 && s.moment < begin {
		return none(s.moment, "it left before the lanes of the repetition began")
	}
	return none(s.moment, w.noCall("connect()"))
}

// begins is the moment at which the lanes of a host began, -1 if that is not on record.
func (c *Causality) begins(host int) int {
	for i := range c.t.Moments {
		if e := c.t.Moments[i].Event; e.Host == host && e.Mark != nil && e.Mark.Kind == MarkBegin {
			return i
		}
	}
	return -1
}

// noCall is why a call that would explain something is not found.
func (w *sender) noCall(name string) string {
	if w.host < 0 {
		return w.c.unseen(w.ref)
	}
	if why := w.c.t.Complete(w.host, Syscalls); why != "" {
		return why
	}
	return "no " + name + " on record is of this end"
}

// waited is a cause by a call, unless the packet had to wait until its neighbour's link address
// was known: then it is the answer that let it go.
func (w *sender) waited(k Cause) Cause {
	if k.By < 0 || w.host < 0 {
		return k
	}
	asked, answered := -1, -1
	for _, i := range w.c.hosts[w.host].packets {
		if i <= k.By {
			continue
		}
		if i >= k.Effect {
			break
		}
		switch p := w.c.t.Moments[i].Event.Packet; {
		case p.Direction == Out && asksFor(p, w.peer.Address.Addr()):
			asked = i
		case p.Direction == In && asked >= 0 && answersFor(p, w.peer.Address.Addr()):
			answered = i
		}
	}
	if answered < 0 {
		return k
	}
	return w.c.by(ruleNeighbourPacket, answered, k.Effect)
}

// synAgain finds why a SYN was sent again.
func (w *sender) synAgain(s, before *tapped) Cause {
	rule := ruleSYNTimer
	by := before.moment
	if w.early(before, s) {
		ack := w.resetACK(before, s)
		if ack == nil {
			return none(s.moment, "it is sent again sooner than any time-out, and nothing on record says why")
		}
		rule, by = ruleSYNQuick, ack.moment
	}
	k := w.c.by(rule, by, s.moment)
	if w.told(s, TraceRetransmit) != nil {
		k = k.observed()
	}
	return k
}

// shortestTimeout is the least that Linux waits before it calls a segment lost, in nanoseconds
// (TCP_RTO_MIN).
const shortestTimeout = 200 * int64(Milliseconds)

// early reports whether a packet followed the last of its kind too soon for any time-out.
func (w *sender) early(before, s *tapped) bool {
	return w.c.since(before.moment, s.moment) < shortestTimeout-soon
}

// resetACK is the acknowledgment that came between a SYN and the SYN that is sent again, and that
// was answered with a RST, since it was of something else. It and the RST may have been taken for
// packets of another connection between the same two addresses. Linux waits only TCP_TIMEOUT_MIN
// then, two ticks of its clock, before it sends the SYN again
// (tcp_rcv_synsent_state_process).
func (w *sender) resetACK(before, s *tapped) *tapped {
	rst := w.lastAmong(s.moment, func(o *tapped) bool { return o.out && o.has(RST) && o.moment > before.moment })
	if rst == nil {
		return nil
	}
	return w.lastAmong(rst.moment, func(in *tapped) bool {
		return !in.out && in.p.Flags&(ACK|RST) == ACK && in.p.Ack == rst.p.Seq && in.moment > before.moment
	})
}

// synACK finds why a SYN+ACK left.
func (w *sender) synACK(s *tapped) Cause {
	syn := w.inAt
	for syn >= 0 && (w.sights[syn].out || w.sights[syn].p.Flags&(SYN|RST) != SYN || s.p.Ack-w.sights[syn].p.Seq-1 > uint32(w.sights[syn].p.PayloadLength)) {
		syn--
	}
	before := w.before(func(o *tapped) bool { return o.has(SYN | ACK) })
	switch {
	case syn < 0 && before == nil:
		return none(s.moment, "no SYN that it would answer is on record")
	case before == nil && w.before(func(o *tapped) bool { return o.has(SYN) }) != nil:
		return w.c.by(ruleCrossedSYN, w.sights[syn].moment, s.moment).observed()
	case before == nil:
		return w.c.by(ruleSYNACK, w.sights[syn].moment, s.moment).observed()
	case syn >= 0 && w.sights[syn].moment > before.moment && w.c.since(w.sights[syn].moment, s.moment) < soon:
		return w.c.by(ruleSYNACKAgain, w.sights[syn].moment, s.moment).observed()
	}
	if w.early(before, s) {
		return none(s.moment, "it is sent again sooner than any time-out, and nothing on record says why")
	}
	k := w.c.by(ruleSYNACKTimer, before.moment, s.moment)
	if w.told(s, TraceRetransmit, TraceRetransmitSYNACK) != nil {
		k = k.observed()
	}
	return k
}

// isJoin reports whether a SYN is of another subflow of MPTCP, RFC 8684 3.2.
func isJoin(p *Packet) bool {
	const join = 1
	data, ok := optionOf(p.Options, optionMPTCP)
	return ok && len(data) > 0 && data[0]>>4 == join
}

// optionOf is the data of an option of TCP. Options come from the wire: what does not parse
// ends the list.
func optionOf(options []byte, want byte) (data []byte, ok bool) {
	for len(options) > 0 && options[0] != optionEnd {
		if options[0] == optionNothing {
			options = options[1:]
			continue
		}
		if len(options) < 2 || options[1] < 2 || int(options[1]) > len(options) {
			return nil, false
		}
		if options[0] == want {
			return options[2:options[1]], true
		}
		options = options[options[1]:]
	}
	return nil, false
}
