package timeline

import "slices"

// tracedListener puts the kernel's own word in the place of what the calls tell of a
// listener: when it began to listen, and when its last descriptor was closed, whoever held
// that. proven is true if nothing is left to the calls.
func (t *Timeline) tracedListener(states []State) (path []State, proven bool) {
	at := slices.IndexFunc(states, func(s State) bool { return s.Name == stateListen })
	if at < 0 || states[at].Moment < 0 {
		return states, false
	}
	call := t.Moments[states[at].Moment].Event
	began := slices.IndexFunc(t.Moments, func(m Moment) bool { return m.Event.beginsToListen(call) })
	if began < 0 {
		return states, false
	}
	path = append(slices.Clone(states[:at]), traced(stateListen, began))
	key := cookieOf(t.Moments[began].Event)
	for i := began + 1; i < len(t.Moments); i++ {
		e := t.Moments[i].Event
		if e.Trace != nil && e.Trace.Kind == TraceState && cookieOf(e) == key && StateName(e.Trace.State) == stateClosed {
			return append(path, traced(stateClosed, i)), true
		}
	}
	if t.Complete(call.Host, Tracepoints) == "" {
		return path, true
	}
	return append(path, states[at+1:]...), false
}

// beginsToListen reports whether an event is the trace of what a listen(2) did.
func (e *Event) beginsToListen(call *Event) bool {
	tr := e.Trace
	if tr == nil || tr.Kind != TraceState || tr.OldState == tr.State || StateName(tr.State) != stateListen || e.Host != call.Host {
		return false
	}
	if port := call.Call.Local.Port(); port != 0 && tr.Local.Port() != 0 && port != tr.Local.Port() {
		return false
	}
	return call.At <= e.At && e.At <= call.Call.Return
}
