package timeline

import "strings"

// reset finds why a RST left. One that answers a segment has the numbers of that, RFC 9293
// 3.5.2; any other is the socket's own.
func (w *sender) reset(s *tapped) Cause {
	said := w.announced(s)
	why := ""
	if said != nil {
		why = said.Reason
	}
	var k Cause
	if of := w.answered(s); of != nil {
		k = w.c.by(w.answeredBy(of, s, said), of.moment, s.moment)
		if k.Rule != ruleFirewallReset || w.changed("tcp-reset", s.moment) {
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

// announced is what the kernel said of a RST when it sent it, nil if it said nothing: right
// before it left, or right after where the socket itself gave up.
func (w *sender) announced(s *tapped) *Trace {
	if w.host < 0 {
		return nil
	}
	var found *Trace
	nearest := soon
	for _, i := range w.c.hosts[w.host].resets {
		tr := w.c.t.Moments[i].Event.Trace
		local := plain(tr.Local)
		if local != w.own.Address && local != w.own.socketAddress() || plain(tr.Peer) != w.peer.Address {
			continue
		}
		if apart := magnitude(w.c.since(i, s.moment)); apart < nearest {
			nearest, found = apart, tr
		}
	}
	return found
}

// answered is the segment that a RST answers, by its numbers: nil if it is none. It may have
// been taken for one of another connection between the same two addresses.
func (w *sender) answered(s *tapped) *tapped {
	p := s.p
	return w.lastAmong(s.moment, func(in *tapped) bool {
		switch {
		case in.out || in.has(RST) || w.c.since(in.moment, s.moment) > soon:
			return false
		case in.has(ACK):
			return p.Flags&ACK == 0 && p.Seq == in.p.Ack
		}
		return p.Flags&ACK != 0 && p.Seq == 0 && p.Ack == in.end()
	})
}

// answeredBy is why a segment was answered with a RST.
func (w *sender) answeredBy(of, s *tapped, said *Trace) *Rule {
	reason := ""
	if said != nil {
		reason = said.Reason
	}
	fromListener := w.ref.End == ServerEnd && w.own.Socket == ""
	before := w.lastAmong(of.moment, func(o *tapped) bool { return o.out && !o.has(RST) })
	opening := before != nil && before.p.Flags&(SYN|ACK) == SYN
	drop := ""
	if tr := w.told(of, TraceDrop); tr != nil {
		drop = tr.Reason
	}
	stranger := ruleNoConnection
	if of.p.Flags&(SYN|ACK) == SYN {
		stranger = ruleNoSocket
	}
	switch {
	case said == nil && (w.changed("tcp-reset", s.moment) || drop != "NO_SOCKET" && w.c.tells(w.host)):
		return ruleFirewallReset
	case reason == "TCP_ABORT_ON_DATA":
		return ruleDataClosed
	case of.p.Flags&(SYN|ACK) == ACK && fromListener && before != nil && before.has(SYN|ACK) &&
		(reason == "INVALID_SYN" || reason == "" && w.changed("tcp_abort_on_overflow", s.moment)):
		return ruleOverflowReset
	case reason == "NO_SOCKET", drop == "NO_SOCKET":
		return stranger
	case said != nil && StateName(said.State) == stateListen && !opening:
		return ruleListenerStray
	case of.has(ACK) && opening && of.p.Ack != before.end():
		return ruleBadACK
	case before == nil:
		return stranger
	case of.p.PayloadLength > 0 && w.lastCall(s.moment, (*callSpan).closes) != nil:
		return ruleDataClosed
	case reason == "" && w.isOpen(s.moment):
		// The socket itself would have taken it.
		return ruleFirewallReset
	}
	return stranger
}

// isOpen reports whether the end has a socket that was neither closed nor reset before a moment.
func (w *sender) isOpen(before int) bool {
	return w.own.Socket != "" && w.death(before) < 0 && w.lastCall(before, (*callSpan).closes) == nil &&
		w.last(before, func(o *tapped) bool { return o.has(RST) }) == nil
}

// tells reports whether the kernel of a host says so at a tracepoint when TCP sends a RST. One
// that it did not speak of is none of TCP's.
func (c *Causality) tells(host int) bool {
	return host >= 0 && c.traced && c.t.Complete(host, Tracepoints) == ""
}

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
