package timeline

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
)

// life is what traces tell of one socket from CLOSED, or from its listener, to CLOSED. A
// socket that connects again after it failed keeps its cookie and begins another life.
type life struct {
	host   int
	cookie uint64
	// local and peer are the first that the kernel had filled in; they may stay unknown.
	local, peer netip.AddrPort
	steps       []step
	// others are the moments of the other traces with its cookie.
	others []int
}

// step is a traced transition.
type step struct {
	moment   int
	from, to string
}

// cookieKey names a socket: a cookie is its kernel's, for as long as that runs.
type cookieKey struct {
	host        int
	incarnation uint64
	cookie      uint64
}

func cookieOf(e *Event) cookieKey { return cookieKey{e.Host, e.Incarnation, e.Trace.Cookie} }

// lives sorts the traces of the repetition by socket, in the order in which they began.
func (a *assembly) lives() []*life {
	var all []*life
	current := make(map[cookieKey]*life)
	for i := range a.t.Moments {
		e := a.t.Moments[i].Event
		if e.Trace == nil || e.Trace.Cookie == 0 {
			continue
		}
		l := current[cookieOf(e)]
		if l == nil || l.isOver(e.Trace) || a.mayHaveGoneRound(l, i) {
			l = &life{host: e.Host, cookie: e.Trace.Cookie}
			current[cookieOf(e)] = l
			all = append(all, l)
		}
		l.note(i, e.Trace)
	}
	return all
}

// isOver reports whether a trace is of the next life of the same socket: it comes from
// CLOSED, or the last one had come to it, and how the next began is lost.
func (l *life) isOver(tr *Trace) bool {
	return tr.isStep() && len(l.steps) > 0 && (StateName(tr.OldState) == stateClosed || l.ended())
}

// isStep reports whether it is a transition.
func (tr *Trace) isStep() bool { return tr.Kind == TraceState && tr.OldState != tr.State }

// leastOfARound is how few transitions make a socket go round, to come to a state that it
// was in before: from SYN_SENT to CLOSED, and back.
const leastOfARound = 2

// mayHaveGoneRound reports whether the socket may have come to CLOSED and opened again
// between a life's last step and the trace at a moment, and all traces of that are lost: the
// chain of steps does not show it. It takes a connect(2) to open again.
func (a *assembly) mayHaveGoneRound(l *life, moment int) bool {
	tr := a.t.Moments[moment].Event.Trace
	if !tr.isStep() || len(l.steps) == 0 {
		return false
	}
	last := l.steps[len(l.steps)-1].moment
	since, until := a.t.Moments[last].Local, a.t.Moments[moment].Local
	if a.evidence.lostBetween(l.host, since, until, Tracepoints) < leastOfARound {
		return false
	}
	if a.evidence.lostBetween(l.host, since, until, Syscalls) > 0 {
		return true
	}
	for i := last + 1; i < moment; i++ {
		m := &a.t.Moments[i]
		if c := m.Event.Call; c != nil && m.Edge == Enter && m.Event.Host == l.host && c.mayOpen(tr) {
			return true
		}
	}
	return false
}

// mayOpen reports whether a call may have opened the socket of a trace, by its addresses
// as far as both know them.
func (c *Call) mayOpen(tr *Trace) bool {
	if c.Name != "connect" && c.Name != "sendto" {
		return false
	}
	same := func(x, y netip.AddrPort) bool { return x.Port() == 0 || y.Port() == 0 || plain(x) == plain(y) }
	return same(c.Local, tr.Local) && same(c.Peer, tr.Peer)
}

func (l *life) note(moment int, tr *Trace) {
	if local := plain(tr.Local); local.Port() != 0 && local.Addr().IsValid() && (l.local.Port() == 0 || l.local.Addr().IsUnspecified()) {
		l.local = local
	} else if !l.local.IsValid() {
		l.local = local
	}
	if peer := plain(tr.Peer); peer.Port() != 0 && l.peer.Port() == 0 {
		l.peer = peer
	}
	switch {
	case tr.Kind != TraceState:
		l.others = append(l.others, moment)
	case tr.isStep():
		l.steps = append(l.steps, step{moment, stateText(tr.OldState), stateText(tr.State)})
	}
}

// listens reports whether it is the life of a listener.
func (l *life) listens() bool { return len(l.steps) > 0 && l.steps[0].to == stateListen }

// isBirth reports whether it is no more than the birth of an accepted socket. Kernels
// before 6.15 trace that before they give the socket the cookie of its request.
func (l *life) isBirth() bool {
	return len(l.steps) == 1 && l.steps[0].from == stateListen && l.peer.Port() == 0
}

// hole says where the chain of steps has a hole, as a clause; empty if it has none. An end
// that opens actively begins in CLOSED, also where both ends open.
func (l *life) hole(opens bool) string {
	first := l.steps[0]
	switch {
	case first.from == stateClosed, !opens && (first.from == stateListen || first.from == stateSynRecv):
	default:
		return fmt.Sprintf("its first transition on record is from %s to %s", first.from, first.to)
	}
	for i, s := range l.steps[1:] {
		if had := l.steps[i].to; had != s.from {
			return fmt.Sprintf("it had come to %s, and then went from %s to %s", had, s.from, s.to)
		}
	}
	return ""
}

// until is the last repetition in which the socket of a life, which is of an end with a peer,
// is known to have been there: that of its step to CLOSED; else that whose last dump does not
// show it any more; else the first in which the trace of how it ended may be lost. If none of
// them is on record it is any later one.
func (a *assembly) until(l *life, own, peer *End) int {
	if len(l.steps) == 0 {
		return math.MaxInt
	}
	last := l.steps[len(l.steps)-1].moment
	if len(l.others) > 0 {
		last = max(last, slices.Max(l.others))
	}
	at := &a.t.Moments[last]
	switch {
	case l.ended():
		return a.t.Moments[l.steps[len(l.steps)-1].moment].Event.Repetition
	case a.dumps[l.host] > last && !a.isDumpedAfter(last, own, peer):
		return max(a.repetition, at.Event.Repetition)
	}
	return a.evidence.firstLost(l.host, max(a.repetition, at.Event.Repetition), at.Local, Tracepoints)
}

// isDumpedAfter reports whether the last dump shows an end, after a moment.
func (a *assembly) isDumpedAfter(moment int, own, peer *End) bool {
	last, ok := a.lastDumpOf[dumpKey{own.Host, own.socketAddress(), peer.Address}]
	return ok && last > moment
}

// ended reports whether the socket came to CLOSED.
func (l *life) ended() bool { return l.steps[len(l.steps)-1].to == stateClosed }

// lastSaid is the state in which the last trace shows the socket, "" if that was a step.
func (l *life) lastSaid(t *Timeline) string {
	if len(l.others) == 0 {
		return ""
	}
	last := slices.Max(l.others)
	if last < l.steps[len(l.steps)-1].moment {
		return ""
	}
	return StateName(t.Moments[last].Event.Trace.State)
}

// isStillborn reports whether it is of an accepted socket that was given up before its
// handshake was over.
func (l *life) isStillborn() bool {
	return l.steps[0].from == stateListen && len(l.steps) == 2 && l.steps[1].from == stateSynRecv && l.steps[1].to == stateClosed
}

// aborted reports whether the kernel said that it ended the socket with a step, the one
// after the step at since, and not that it handed it over: the reset that it took or sent,
// or the error that it had, in the state that the step is from and right before it, or in
// CLOSED and right after.
func (l *life) aborted(t *Timeline, since int, s step) bool {
	return slices.ContainsFunc(l.others, func(i int) bool {
		tr := t.Moments[i].Event.Trace
		before := i > since && i < s.moment && StateName(tr.State) == s.from
		after := i > s.moment && StateName(tr.State) == stateClosed
		switch tr.Kind {
		case TraceResetReceived:
			return before
		case TraceResetSent:
			return before || after
		case TraceError:
			return (before || after) && endsSocket(tr.Errno)
		}
		return false
	})
}

// failed reports whether the kernel told of an error after the last step that is the end of a
// socket.
func (l *life) failed(t *Timeline) bool {
	last := l.steps[len(l.steps)-1].moment
	return slices.ContainsFunc(l.others, func(i int) bool {
		tr := t.Moments[i].Event.Trace
		return i > last && tr.Kind == TraceError && endsSocket(tr.Errno)
	})
}

// endsSocket reports whether an error that a kernel reports of a socket which has sent its FIN
// is the end of it. What ICMP says of the way is none.
func endsSocket(errno uint32) bool {
	const (
		epipe        = 32
		econnaborted = 103
		econnreset   = 104
		etimedout    = 110
	)
	switch errno {
	case epipe, econnaborted, econnreset, etimedout:
		return true
	}
	return false
}

// name is what a life is called where no connection is known for it.
func (l *life) name(a *assembly) string {
	address := "a socket"
	if l.local.Port() != 0 {
		address = l.local.String()
	}
	return fmt.Sprintf("%s on %s", address, a.name(l.host))
}

// homeOf is the repetition that a trace belongs to: that in which its socket was first
// heard of. Events come in their host's order.
func homeOf(homes map[cookieKey]int, e *Event) int {
	if e.Trace.Cookie == 0 || e.Repetition == 0 {
		return e.Repetition
	}
	n, ok := homes[cookieOf(e)]
	if !ok {
		n = e.Repetition
		homes[cookieOf(e)] = n
	}
	return n
}
