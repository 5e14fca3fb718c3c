package timeline

import (
	"cmp"
	"slices"
	"strings"
)

// findSignals finds how each signal of a lane came to where it is on record, and each event
// that a lane of another host waits for.
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
			key := name{e.Signal.Lane, e.Signal.Name}
			sent[key] = i
			switch by, ok := calls[key]; {
			case ok:
				c.note(c.by(ruleSignalSent, by, i).observed())
			case key.lane == "":
				c.note(c.seen(e.Host, key.signal, i))
			}
		case e.Signal != nil:
			if by, ok := sent[name{e.Signal.Lane, e.Signal.Name}]; ok {
				c.note(c.by(ruleSignalCame, by, i).observed())
			}
		}
	}
}

// seen is the cause of what the lab tells of something that it was to look out for: the last
// such thing on the host that told.
func (c *Causality) seen(host int, what string, at int) Cause {
	want := In
	switch {
	case strings.HasPrefix(what, "sent("):
		want = Out
	case !strings.HasPrefix(what, "received("):
		return c.cameTo(host, what, at)
	}
	by := c.lastPacket(host, at, func(_ int, p *Packet) bool { return p.Direction == want })
	if by < 0 {
		return none(at, "no packet that it could be about is on record")
	}
	return c.by(ruleLabPacket, by, at)
}

// cameTo is the cause of what the lab tells of the state of a socket: "client.c is CLOSED".
func (c *Causality) cameTo(host int, what string, at int) Cause {
	_, state, ok := strings.Cut(what, " is ")
	if !ok {
		return none(at, "")
	}
	state = strings.TrimSpace(state)
	for i := at - 1; i >= 0; i-- {
		m := &c.t.Moments[i]
		if m.Event.Host != host {
			continue
		}
		switch e := m.Event; {
		case e.Trace != nil && e.Trace.Kind == TraceState && StateName(e.Trace.State) == state,
			e.Socket != nil && StateName(e.Socket.State) == state:
			return c.by(ruleLabState, i, at)
		}
	}
	by := -1
	for _, k := range c.States {
		e := c.t.Connections[k.Connection].End(k.End)
		if st := &e.States[k.Index]; e.Host == host && st.Name == state && st.Moment < at {
			by = max(by, st.Moment)
		}
	}
	if by < 0 {
		return none(at, "nothing on record says when the socket came to "+state)
	}
	return c.by(ruleLabState, by, at)
}

// lab finds what let a wait() of the lab go on: a signal of a lane, or the lab's word that it
// has seen what the wait is for.
func (w *wait) lab() Cause {
	args := w.s.call.Arguments
	h := &w.c.hosts[w.host]
	for _, i := range slices.Backward(h.signals) {
		g := w.c.t.Moments[i].Event.Signal
		if g.Lane != "" || !strings.HasPrefix(args, g.Name) || !w.c.notAfter(i, w.s.leave) {
			continue
		}
		if i < w.s.enter {
			return isReady()
		}
		return w.c.by(ruleLabEvent, i, w.s.leave).observed()
	}
	if !strings.Contains(args, "(") && !strings.Contains(args, " is ") {
		return w.signal()
	}
	// Where the lane's own host sees it nobody has to be told.
	args, _, _ = strings.Cut(args, ", timeout")
	if w.took < atOnce {
		return isReady()
	}
	return w.c.seen(w.host, args, w.s.leave)
}

// signal is the last signal that a wait() is for.
func (w *wait) signal() Cause {
	args := strings.TrimPrefix(w.s.call.Arguments, "all ")
	args, _, _ = strings.Cut(args, ",")
	for _, i := range slices.Backward(w.c.hosts[w.host].signals) {
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
