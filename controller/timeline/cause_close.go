package timeline

import "strings"

// closes reports whether a call ends the sending side of its socket.
func (s *callSpan) closes() bool {
	switch s.call.Name {
	case "close":
		return true
	case "shutdown":
		return s.call.Errno == 0 && strings.Contains(s.call.Arguments, "WR")
	}
	return false
}

// fin finds why a FIN left.
func (w *sender) fin(s *tapped) Cause {
	closer := w.lastCall(s.moment, (*callSpan).closes)
	death := w.death(s.moment)
	if closer == nil || death >= 0 && death > closer.enter {
		if death >= 0 {
			return w.c.by(ruleExitFIN, death, s.moment)
		}
		if closer == nil {
			return none(s.moment, w.noCall("close() or shutdown()"))
		}
	}
	rule := ruleCloseFIN
	if closer.named("shutdown") {
		rule = ruleShutdownFIN
	}
	if k, ok := w.behind(closer, s); ok {
		return k
	}
	return w.c.by(rule, closer.enter, s.moment).observed()
}

// behind is the cause of a FIN that did not leave with the call that closed: it had to wait
// for data before it, or for another call on the socket.
func (w *sender) behind(closer *callSpan, s *tapped) (Cause, bool) {
	in := w.in(-1)
	if in == nil || in.moment < closer.enter || w.c.since(in.moment, s.moment) > soon {
		return Cause{}, false
	}
	data := w.before(func(o *tapped) bool { return o.p.PayloadLength > 0 && o.s.Copy == 0 })
	queued := data != nil && data.moment > closer.enter
	if write := w.writeOf(s); s.p.PayloadLength > 0 && write != nil && write.leave >= 0 && write.leave < closer.enter {
		queued = true
	}
	user := w.lastCall(s.moment, func(k *callSpan) bool {
		return k.named("recv", "accept", "send") && k.enter < closer.enter && (k.leave < 0 || k.leave > in.moment)
	})
	switch {
	case queued:
		return w.c.by(ruleQueuedFIN, in.moment, s.moment), true
	case user != nil && closer.leave >= 0 && closer.leave < in.moment:
		return w.c.by(ruleReaderFIN, in.moment, s.moment), true
	}
	return Cause{}, false
}

// lanes are those that had a name for the end's socket, or for the listener that it came from
// if nobody accepted it.
func (v *endView) lanes() []string {
	var names []string
	for _, n := range v.own.Names {
		names = append(names, n.Lane)
	}
	if v.own.Lane != "" {
		names = append(names, v.own.Lane)
	}
	if len(names) == 0 && v.host >= 0 && v.ref.End == ServerEnd {
		for _, s := range v.c.hosts[v.host].calls {
			if s.named("listen") && v.isListener(s.call) {
				names = append(names, s.call.Lane)
			}
		}
	}
	return names
}

// death is the moment before another at which a process that had the socket began to end: the
// call that killed it, or its death as its host noticed it. -1 if there is none.
func (v *endView) death(before int) int {
	if v.host < 0 {
		return -1
	}
	lanes := v.lanes()
	h := &v.c.hosts[v.host]
	found := -1
	for _, i := range h.processes {
		p := v.c.t.Moments[i].Event.Process
		if !p.Gone || !isAmong(lanes, p.Lane) {
			continue
		}
		// A host notices a death a little after the kernel has closed the descriptors.
		by := i
		if may, _ := v.c.mayCause(i, before); !may {
			if v.c.since(before, i) > 10*soon {
				continue
			}
			by = -1
		}
		if kill := v.c.lastCall(h.calls, i, func(s *callSpan) bool {
			return s.named("kill") && strings.HasPrefix(s.call.Arguments, p.Lane)
		}); kill != nil && (by < 0 || v.c.since(kill.enter, i) < 10*soon) {
			by = kill.enter
		}
		if by < 0 {
			// It ended by itself: its last call was over.
			last := v.c.lastCall(h.calls, before, func(s *callSpan) bool { return s.call.Lane == p.Lane })
			if last == nil {
				continue
			}
			by = last.enter
		}
		if may, _ := v.c.mayCause(by, before); may && by > found {
			found = by
		}
	}
	return found
}

func isAmong(names []string, name string) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}
