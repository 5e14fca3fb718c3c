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
		if l == nil || l.isOver(e.Trace) {
			l = &life{host: e.Host, cookie: e.Trace.Cookie}
			current[cookieOf(e)] = l
			all = append(all, l)
		}
		l.note(i, e.Trace)
	}
	return all
}

// isOver reports whether a trace begins the next life of the same socket.
func (l *life) isOver(tr *Trace) bool {
	return tr.Kind == TraceState && StateName(tr.OldState) == stateClosed && tr.OldState != tr.State && len(l.steps) > 0
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
	case tr.OldState != tr.State:
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

// hole says where the chain of steps has a hole, as a clause; empty if it has none.
func (l *life) hole() string {
	first := l.steps[0]
	switch first.from {
	case stateClosed, stateListen, stateSynRecv:
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

// until is the last repetition in which the kernel may have told of its states: any later
// one if it has not come to its end.
func (l *life) until(t *Timeline) int {
	if len(l.steps) == 0 || !l.ended() {
		return math.MaxInt
	}
	return t.Moments[l.steps[len(l.steps)-1].moment].Event.Repetition
}

// ended reports whether the socket came to CLOSED.
func (l *life) ended() bool { return l.steps[len(l.steps)-1].to == stateClosed }

// has reports whether a trace of some kind is among the others, not after a moment.
func (l *life) has(t *Timeline, until int, kinds ...TraceKind) bool {
	return slices.ContainsFunc(l.others, func(i int) bool {
		return i <= until && slices.Contains(kinds, t.Moments[i].Event.Trace.Kind)
	})
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
