package timeline

import "strings"

// reset finds why a RST left. One that answers a segment has the numbers of that, RFC 9293
// 3.5.2; any other is the socket's own.
func (w *sender) reset(s *tapped) Cause {
	said := w.told(s, TraceResetSent)
	why := ""
	if said != nil {
		why = said.Reason
	}
	var k Cause
	if of := w.answered(s); of != nil {
		k = w.c.by(w.answeredBy(of, s, said), of.moment, s.moment)
		if s.p.Flags&ACK == 0 || said != nil {
			k = k.observed()
		}
	} else {
		k = w.aborts(s, why)
	}
	if said != nil {
		k = k.observed()
	}
	if k.Rule == nil {
		return k
	}
	return k.because(why)
}

// answered is the segment that a RST answers, by its numbers: nil if it is none.
func (w *sender) answered(s *tapped) *tapped {
	p := s.p
	for i := w.at - 1; i >= 0; i-- {
		in := &w.sights[i]
		if in.out || in.has(RST) {
			continue
		}
		if in.has(ACK) && p.Flags&ACK == 0 && p.Seq == in.p.Ack {
			return in
		}
		if !in.has(ACK) && p.Flags&ACK != 0 && p.Seq == 0 && p.Ack == in.end() {
			return in
		}
		if w.c.since(in.moment, s.moment) > 1000*soon {
			return nil
		}
	}
	return nil
}

// answeredBy is why a segment was answered with a RST.
func (w *sender) answeredBy(of, s *tapped, said *Trace) *Rule {
	reason := ""
	if said != nil {
		reason = said.Reason
	}
	fromListener := w.ref.End == ServerEnd && w.own.Socket == ""
	hadSocket := w.before(func(o *tapped) bool { return !o.has(RST) }) != nil
	switch {
	case w.rejects(s.moment):
		return ruleFirewallReset
	case reason == "TCP_ABORT_ON_DATA":
		return ruleDataClosed
	case of.has(ACK) && !of.has(SYN) && fromListener && hadSocket && w.changed("tcp_abort_on_overflow", s.moment) && !w.closedListener(s.moment):
		return ruleOverflowReset
	case reason == "NO_SOCKET":
		return ruleNoSocket
	case of.has(SYN) && !hadSocket:
		return ruleNoSocket
	case of.has(ACK) && w.isSynSent(of):
		return ruleBadACK
	case of.p.PayloadLength > 0 && w.lastCall(s.moment, (*callSpan).closes) != nil:
		return ruleDataClosed
	case of.has(SYN):
		return ruleNoSocket
	}
	return ruleResetAnswer
}

// isSynSent reports whether a segment came to an end that had sent nothing but a SYN, and does not
// acknowledge that.
func (w *sender) isSynSent(of *tapped) bool {
	syn := w.before(func(o *tapped) bool { return o.moment < of.moment && !o.has(RST) })
	return syn != nil && syn.p.Flags&(SYN|ACK) == SYN && of.p.Ack != syn.end()
}

// rejects reports whether a change of the lab had the firewall of the host reject packets
// before a moment.
func (w *sender) rejects(before int) bool { return w.changed("reject", before) }

// changed reports whether a change with some word in it was in force on the host at a moment.
func (w *sender) changed(word string, before int) bool {
	if w.host < 0 {
		return false
	}
	in := false
	for _, i := range w.c.hosts[w.host].changes {
		if ch := w.c.t.Moments[i].Event.Change; i < before && strings.Contains(ch.Text, word) {
			in = !ch.Undone
		}
	}
	return in
}

// closedListener reports whether the listener that an end came from was closed before a moment.
func (w *sender) closedListener(before int) bool { return w.listenerClose(before) != nil }

// listenerClose is the call that closed the listener of an end that nobody accepted.
func (w *sender) listenerClose(before int) *callSpan {
	if w.ref.End != ServerEnd || w.own.Socket != "" || w.host < 0 {
		return nil
	}
	return w.c.lastCall(w.c.hosts[w.host].calls, before, func(k *callSpan) bool {
		return k.named("close", "shutdown") && w.listens(k.call.Lane, k.call.Socket)
	})
}

// aborts is the cause of a RST that answers nothing: the socket's own end.
func (w *sender) aborts(s *tapped, reason string) Cause {
	closer := w.lastCall(s.moment, func(k *callSpan) bool { return k.named("close", "shutdown", "connect") })
	listener := w.listenerClose(s.moment)
	death := w.death(s.moment)
	if k, ok := w.givesUp(s, closer, reason); ok {
		return k
	}
	switch {
	case death >= 0 && (closer == nil || death > closer.enter) && (listener == nil || death > listener.enter):
		return w.c.by(ruleExitReset, death, s.moment)
	case listener != nil:
		return w.c.by(ruleListenerReset, listener.enter, s.moment)
	case closer == nil || !closer.named("close"):
		return none(s.moment, w.noCall("close()"))
	case reason == "TCP_ABORT_ON_CLOSE" || reason == "" && w.unread(closer.enter) > 0:
		return w.c.by(ruleCloseUnread, closer.enter, s.moment)
	}
	if linger := w.option("SO_LINGER", closer.enter); linger != nil {
		return w.c.by(ruleLingerZero, closer.enter, s.moment)
	}
	return w.c.by(ruleCloseReset, closer.enter, s.moment)
}

// givesUp is the cause of a RST with which a timer ends a connection: long after anything was
// called, and after sending the same again and again, or probing, without an answer.
func (w *sender) givesUp(s *tapped, closer *callSpan, reason string) (Cause, bool) {
	if w.outAt < 0 {
		return Cause{}, false
	}
	last := &w.sights[w.outAt]
	unanswered := w.inAt < w.outAt && (last.s.Copy > 0 || w.hasUna && last.p.Seq == w.una-1)
	byTimer := reason == "TCP_KEEPALIVE_TIMEOUT" || reason == "TCP_TIMEOUT"
	if !byTimer && (!unanswered || closer != nil && closer.enter > last.moment && w.c.since(closer.enter, s.moment) < soon) {
		return Cause{}, false
	}
	switch {
	case w.hasUna && last.p.Seq == w.una-1 && last.p.PayloadLength == 0 && w.window != 0:
		return w.c.by(ruleKeepaliveDead, last.moment, s.moment), true
	case closer != nil && closer.named("close"):
		return w.c.by(ruleLingerOver, last.moment, s.moment), true
	}
	return w.c.by(ruleGiveUp, last.moment, s.moment), true
}

// unread is how many bytes had come to the end before a moment and were not read.
func (v *endView) unread(before int) int64 {
	if !v.peer.HasISN {
		return 0
	}
	var highest uint32
	for i := range v.sights {
		s := &v.sights[i]
		if s.out || s.moment > before || s.p.PayloadLength == 0 || s.has(SYN) {
			continue
		}
		if to := s.p.Seq + uint32(s.p.PayloadLength) - v.peer.ISN - 1; int32(to-highest) > 0 {
			highest = to
		}
	}
	left := int64(highest)
	for _, s := range v.calls {
		if s.named("recv", "recvfrom") && s.call.Result > 0 && s.leave >= 0 && s.leave < before && !s.carries("MSG_PEEK") {
			left -= s.call.Result
		}
	}
	return max(left, 0)
}
