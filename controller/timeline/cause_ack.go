package timeline

// delayedAtLeast is the shortest time for which Linux delays an ACK, TCP_DELACK_MIN, less what
// its clock tick may round away, in nanoseconds.
const delayedAtLeast = 30 * int64(Milliseconds)

// ack finds why a segment with neither data nor SYN, FIN or RST left.
func (w *sender) ack(s *tapped) Cause {
	in := w.in(-1)
	var last *tapped
	if w.ackAt >= 0 {
		last = &w.sights[w.ackAt]
	}
	if w.isProbe(s) {
		return w.probe(s)
	}
	switch {
	case last == nil && in != nil && in.has(SYN|ACK):
		return w.c.by(ruleThirdACK, in.moment, s.moment).observed()
	case last == nil && in == nil:
		return none(s.moment, "nothing that it could acknowledge is on record")
	case last == nil || int32(s.p.Ack-w.acked) > 0:
		return w.acknowledges(s)
	}
	return w.repeatsACK(s, last)
}

// isProbe reports whether a segment asks for an answer and for nothing else: its number was
// sent, and acknowledged, before. Linux sends both its keepalives and its window probes so.
func (w *sender) isProbe(s *tapped) bool {
	return w.hasUna && s.p.Seq == w.una-1 && w.hasNext && w.outAt >= 0
}

// probe is the cause of a probe.
func (w *sender) probe(s *tapped) Cause {
	rule := ruleKeepalive
	if w.window == 0 {
		rule = ruleProbe
	}
	since := w.inAt
	if w.outAt > since && w.sights[w.outAt].p.Seq == s.p.Seq && w.sights[w.outAt].p.PayloadLength == 0 {
		since = w.outAt
	}
	return w.c.by(rule, w.sights[since].moment, s.moment)
}

// acknowledges is the cause of an ACK that acknowledges something new.
func (w *sender) acknowledges(s *tapped) Cause {
	var of *tapped
	for i := w.at - 1; i >= 0 && of == nil; i-- {
		// The one whose end it acknowledges; where offloads join segments, the one that holds it.
		o := &w.sights[i]
		if n := sequenceLength(o.p); !o.out && n > 0 && !o.has(RST) && s.p.Ack-1-o.p.Seq < n {
			of = o
		}
	}
	in := w.in(-1)
	switch {
	case of == nil && in == nil:
		return none(s.moment, "nothing that it could acknowledge is on record")
	case of == nil:
		return w.c.by(ruleACKData, in.moment, s.moment)
	case of.has(SYN):
		return w.c.by(ruleThirdACK, of.moment, s.moment).observed()
	}
	// What filled a gap acknowledges more than itself.
	if in != nil && in.moment > of.moment && sequenceLength(in.p) > 0 && w.c.since(of.moment, s.moment) > soon && w.c.since(in.moment, s.moment) < soon {
		of = in
	}
	if k, ok := w.owed(of, s); ok {
		return k
	}
	if of.has(FIN) && s.p.Ack == of.end() {
		return w.c.by(ruleACKFIN, of.moment, s.moment).observed()
	}
	return w.c.by(ruleACKData, of.moment, s.moment).observed()
}

// owed is the cause of an ACK that was not sent at once: a call that sent it, or the timer.
func (w *sender) owed(of, s *tapped) (Cause, bool) {
	call := w.lastCallSince(of.moment, s.moment, func(k *callSpan) bool {
		return k.named("recv", "recvfrom") && k.call.Result >= 0 || k.option("TCP_QUICKACK")
	})
	late := w.c.since(of.moment, s.moment)
	switch {
	case call != nil && w.c.since(call.enter, s.moment) < soon && call.named("setsockopt"):
		return w.c.by(ruleACKQuick, call.enter, s.moment), true
	case call != nil && late > soon/2 && w.c.since(call.enter, s.moment) < soon:
		return w.c.by(ruleACKRead, call.enter, s.moment), true
	case late > soon:
		// The timer runs from the first that was not acknowledged.
		if first := w.firstOwed(); w.c.since(first.moment, s.moment) >= delayedAtLeast {
			return w.c.by(ruleACKDelayed, first.moment, s.moment), true
		}
	}
	return Cause{}, false
}

// firstOwed is the first packet that came since this end acknowledged anything, and that takes
// sequence numbers.
func (w *sender) firstOwed() *tapped {
	first := &w.sights[w.inAt]
	for i := w.at - 1; i > w.ackAt; i-- {
		if o := &w.sights[i]; !o.out && sequenceLength(o.p) > 0 {
			first = o
		}
	}
	return first
}

// repeatsACK is the cause of an ACK that acknowledges nothing new.
func (w *sender) repeatsACK(s, last *tapped) Cause {
	in := w.in(w.ackAt)
	wider := s.p.Window > last.p.Window
	reader := w.lastCall(s.moment, func(k *callSpan) bool {
		return k.named("recv", "recvfrom") && k.call.Result > 0 && (k.leave < 0 || k.leave > last.moment)
	})
	if in != nil && (in.moment < last.moment || w.c.since(in.moment, s.moment) > soon) {
		in = nil
	}
	if in == nil {
		// What came for another connection between the same addresses came to this socket.
		in = w.lastAmong(s.moment, func(o *tapped) bool {
			return !o.out && o.moment > last.moment && w.c.since(o.moment, s.moment) < soon
		})
	}
	switch {
	case wider && reader != nil && (in == nil || !w.answers(in, s) || reader.enter > in.moment && w.c.since(in.moment, s.moment) > soon):
		return w.c.by(ruleWindowUpdate, reader.enter, s.moment)
	case in != nil:
		return w.c.by(w.answerRule(in, s), in.moment, s.moment).because(w.dropped(in)).observed()
	}
	if _, ok := optionOf(s.p.Options, optionMPTCP); ok {
		return w.mptcp(s)
	}
	if w.inAt >= 0 && w.inAt < w.ackAt && w.c.since(w.sights[w.inAt].moment, s.moment) < soon {
		// Several came as one record, and each is answered.
		return w.c.by(w.answerRule(&w.sights[w.inAt], s), w.sights[w.inAt].moment, s.moment)
	}
	if reader != nil && w.c.since(reader.enter, s.moment) < soon {
		return w.c.by(ruleWindowUpdate, reader.enter, s.moment)
	}
	return none(s.moment, "it acknowledges nothing new, and nothing had come that it would answer")
}

// answers reports whether a packet that came asks for an answer of its own.
func (w *sender) answers(in, s *tapped) bool {
	return sequenceLength(in.p) > 0 || int32(in.p.Seq-s.p.Ack) < 0
}

// answerRule is why a packet that came was answered with an ACK of nothing new.
func (w *sender) answerRule(in, s *tapped) *Rule {
	ahead := int32(in.p.Seq - s.p.Ack)
	switch n := sequenceLength(in.p); {
	case in.has(ACK) && w.crossed() && w.own.HasISN && s.p.Seq == w.own.ISN+1 && w.lastIn(in.moment, func(o *tapped) bool { return acks(o.p, w.own.ISN) }) == nil:
		return ruleCrossedACK
	case in.has(SYN | ACK):
		return ruleThirdAgain
	case in.has(SYN), in.has(RST):
		return ruleChallenge
	case n == 0 && ahead < 0:
		return ruleProbeAnswer
	case n == 0:
		return ruleChallenge
	case int32(in.end()-s.p.Ack) <= 0:
		return ruleOldSegment
	case ahead > 0:
		return ruleDuplicateACK
	}
	return ruleWindowFull
}

// crossed reports whether the end sent both a SYN and a SYN+ACK: a simultaneous open.
func (w *sender) crossed() bool {
	return w.before(func(o *tapped) bool { return o.has(SYN | ACK) }) != nil &&
		w.before(func(o *tapped) bool { return o.p.Flags&(SYN|ACK) == SYN }) != nil
}

func (w *sender) dropped(in *tapped) string {
	if tr := w.told(in, TraceDrop); tr != nil {
		return tr.DropText()
	}
	return ""
}

// mptcp is the cause of an ACK that carries an option of MPTCP: what came or was called last.
func (w *sender) mptcp(s *tapped) Cause {
	by := -1
	if w.inAt >= 0 {
		by = w.sights[w.inAt].moment
	}
	if call := w.lastCall(s.moment, func(k *callSpan) bool { return !k.named("socket", "bind", "listen") }); call != nil && call.enter > by {
		by = call.enter
	}
	return w.c.by(ruleMPTCP, by, s.moment)
}
