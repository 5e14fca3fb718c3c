package timeline

import (
	"cmp"
	"iter"
	"slices"
	"strings"
)

// findSignals finds how each signal of a lane came to where it is on record.
func (c *Causality) findSignals() {
	type name struct{ lane, signal string }
	sent := make(map[name]int)
	calls := make(map[name]int)
	for i := range c.t.Moments {
		m := &c.t.Moments[i]
		switch e := m.Event; {
		case e.Call != nil && e.Call.Name == "signal" && m.Edge == Enter:
			calls[name{e.Call.Lane, e.Call.Arguments}] = i
		case e.Signal != nil && e.Signal.Sent:
			sent[name{e.Signal.Lane, e.Signal.Name}] = i
			if by, ok := calls[name{e.Signal.Lane, e.Signal.Name}]; ok {
				c.note(c.by(ruleSignalSent, by, i).observed())
			}
		case e.Signal != nil:
			if by, ok := sent[name{e.Signal.Lane, e.Signal.Name}]; ok {
				c.note(c.by(ruleSignalCame, by, i).observed())
			}
		}
	}
}

// lab finds what let a wait() of the lab go on.
func (w *wait) lab() Cause {
	args := w.s.call.Arguments
	switch {
	case strings.Contains(args, "received(") || strings.Contains(args, "sent("):
		return w.packet(strings.Contains(args, "sent("))
	case strings.Contains(args, " is "):
		return w.state()
	}
	return w.signal()
}

// signal is the last signal that a wait() is for.
func (w *wait) signal() Cause {
	args := strings.TrimPrefix(w.s.call.Arguments, "all ")
	args, _, _ = strings.Cut(args, ",")
	for _, i := range backward(w.c.hosts[w.host].signals) {
		g := w.c.t.Moments[i].Event.Signal
		if !w.c.notAfter(i, w.s.leave) || !isMeant(args, g) {
			continue
		}
		if i < w.s.enter {
			return isReady()
		}
		return w.c.by(ruleLabSignal, i, w.s.leave).observed()
	}
	return Cause{Why: "the signal is not on record"}
}

// isMeant reports whether a signal is one that "server.listening" means: copies of a lane have
// a number behind its name.
func isMeant(args string, g *Signal) bool {
	lane, name, ok := strings.Cut(strings.TrimSpace(args), ".")
	base, _, _ := copyOf(g.Lane)
	return ok && g.Name == name && (g.Lane == lane || base == lane)
}

// copyOf takes the name of a copy of a lane apart: "client[3]".
func copyOf(lane string) (base, number string, ok bool) {
	base, rest, ok := strings.Cut(lane, "[")
	return base, strings.TrimSuffix(rest, "]"), ok
}

// packet is the last packet before the return that the host's taps saw come, or leave.
func (w *wait) packet(out bool) Cause {
	want := In
	if out {
		want = Out
	}
	for i := w.s.leave; i > w.s.enter && i >= 0; i-- {
		m := &w.c.t.Moments[i]
		if m.Event.Host == w.host && m.Event.Packet != nil && m.Event.Packet.Direction == want {
			return w.c.by(ruleLabPacket, i, w.s.leave)
		}
	}
	if w.took < atOnce {
		return isReady()
	}
	return Cause{Why: "no packet that it could be for is on record while it ran"}
}

// state is what a kernel or the lab said of the socket last.
func (w *wait) state() Cause {
	_, name, _ := strings.Cut(w.s.call.Arguments, " is ")
	name, _, _ = strings.Cut(name, ",")
	name = strings.TrimSpace(name)
	for i := w.s.leave; i > w.s.enter && i >= 0; i-- {
		m := &w.c.t.Moments[i]
		if m.Event.Host != w.host {
			continue
		}
		switch e := m.Event; {
		case e.Trace != nil && e.Trace.Kind == TraceState && StateName(e.Trace.State) == name,
			e.Socket != nil && StateName(e.Socket.State) == name:
			return w.c.by(ruleLabState, i, w.s.leave).observed()
		}
	}
	for _, k := range w.c.States {
		e := w.c.t.Connections[k.Connection].End(k.End)
		st := &e.States[k.Index]
		if e.Host == w.host && st.Name == name && st.Moment > w.s.enter && w.c.notAfter(st.Moment, w.s.leave) {
			return w.c.by(ruleLabState, st.Moment, w.s.leave)
		}
	}
	// Where no kernel traces, the lab asks again and again: it was in the state, or has
	// become so, at the last question.
	if w.took < 10*soon {
		return isReady()
	}
	return Cause{Why: "nothing on record says when the socket came to " + name}
}

// meet is the entry of the lane that came last to a meeting.
func (w *wait) meet() Cause {
	last := -1
	for h := range w.c.hosts {
		for _, k := range w.c.hosts[h].calls {
			if k.named("meet") && k.call.Arguments == w.s.call.Arguments && k.enter > last && w.c.notAfter(k.enter, w.s.leave) {
				last = k.enter
			}
		}
	}
	return w.c.by(ruleLabMeet, last, w.s.leave)
}

func sortBlocked(all []BlockedCall) {
	slices.SortStableFunc(all, func(a, b BlockedCall) int { return cmp.Compare(a.first(), b.first()) })
}

func (b *BlockedCall) first() int {
	if b.Enter >= 0 {
		return b.Enter
	}
	return b.Effect
}

// backward goes through numbers from the last to the first.
func backward(all []int) iter.Seq2[int, int] { return slices.Backward(all) }
