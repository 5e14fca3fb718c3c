package kernel

import (
	"slices"
	"time"
)

// Pauses between two looks of a QueueWatch. Listeners are few and have a table of
// their own; request sockets are among all connections of the machine, and finding
// them means a walk over that table, which takes the locks that connections that come
// and go take. So the pause after one is also restShare times what it took: with many
// sockets (TIME_WAIT above all) and many connections a second, a walk every 10 ms
// cost a fifth of those. No pause is longer than longestPause.
const (
	queuePause   = 2 * time.Millisecond
	requestPause = 10 * time.Millisecond
	restShare    = 100
	longestPause = 200 * time.Millisecond
)

// restAfter is the pause between a look at the request sockets that took so long and
// the next.
func restAfter(took time.Duration) time.Duration {
	return min(max(requestPause, restShare*took), longestPause)
}

// QueueWatch samples the accept queues of the listeners of a run's flows. Its events
// say when one was seen to have changed: a peak that came and went between two looks
// is not seen, so that the longest queue on record is a lower bound.
//
// A look at the queues is made every 2 ms, one at the request sockets every 10 ms, or
// less often where that is no small part of the time, at least five times a second.
// Together they keep a processor busy by a few parts in a hundred (DESIGN.md has
// figures), which is too much to do it unasked.
type QueueWatch struct {
	// Flows whose listeners are watched.
	Flows Flows
}

// queueLength is what is known of one listener's queues.
type queueLength struct{ waiting, limit, requests uint32 }

// queues is what was last said of each listener, by its cookie.
type queues struct{ said map[uint64]queueLength }

// changed is what is to be said of the listeners now, in their order: of each that is
// new or not as it was.
func (q *queues) changed(listeners []Socket, requests map[uint64]uint32) []Socket {
	now := make(map[uint64]queueLength, len(listeners))
	var changed []Socket
	for _, l := range listeners {
		length := queueLength{l.RecvQueue, l.SendQueue, requests[l.Cookie]}
		if before, known := q.said[l.Cookie]; !known || before != length {
			changed = append(changed, l)
		}
		now[l.Cookie] = length
	}
	// One that is gone is forgotten: its number does not come again.
	q.said = now
	return changed
}

// requestsOf counts request sockets by the cookie of their listener: the one with
// their local address, else the one with their port on every address. Of several that
// share one (SO_REUSEPORT) the first has them all: a request socket does not name its
// listener.
func requestsOf(listeners, requests []Socket) map[uint64]uint32 {
	count := make(map[uint64]uint32)
	for _, r := range requests {
		at := slices.IndexFunc(listeners, func(l Socket) bool { return l.Local == r.Local })
		if at < 0 {
			at = slices.IndexFunc(listeners, func(l Socket) bool { return l.takes(r) })
		}
		if at >= 0 {
			count[listeners[at].Cookie]++
		}
	}
	return count
}

// takes reports whether a listener may be the one that a request socket is of. One on
// every IPv6 address may take IPv4 as well, ipv6(7).
func (s Socket) takes(request Socket) bool {
	return s.Local.Port() == request.Local.Port() &&
		(s.Local.Addr() == request.Local.Addr() ||
			s.Local.Addr().IsUnspecified() && (s.Local.Addr().Is6() || request.Local.Addr().Is4()))
}
