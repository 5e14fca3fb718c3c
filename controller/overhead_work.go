package controller

import (
	"cmp"
	"slices"

	synclinev1 "syncline/proto/syncline/v1"
)

// span is from one moment to another on one host's clock, nanoseconds of CLOCK_MONOTONIC;
// the zero span is none.
type span struct{ first, last int64 }

func (s *span) add(first, last int64) {
	if *s == (span{}) {
		*s = span{first, last}
		return
	}
	s.first, s.last = min(s.first, first), max(s.last, last)
}

// lanePass is what one lane did in a pass: calls of the kernel, from the entry of the
// first to the return of the last, and rests.
type lanePass struct {
	span
	rests       []span
	connections int
}

// work is when the lane was at work, in order: from its first call to the return of its
// last, but for its rests.
func (l *lanePass) work() (work []span) {
	if l.span == (span{}) {
		return nil
	}
	at := l.first
	slices.SortFunc(l.rests, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	for _, r := range l.rests {
		if r.first >= l.last {
			break
		}
		if r.first > at {
			work = append(work, span{at, r.first})
		}
		at = max(at, r.last)
	}
	if at < l.last {
		work = append(work, span{at, l.last})
	}
	return work
}

// atWork is how long at least one of the lanes of a host was at work, and how long it is
// from the first call of any to the return of the last; nanoseconds.
func atWork(lanes []*lanePass) (work, whole int64) {
	var hull span
	var all []span
	for _, l := range lanes {
		if l.span == (span{}) {
			continue
		}
		hull.add(l.first, l.last)
		all = append(all, l.work()...)
	}
	slices.SortFunc(all, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	upto := hull.first
	for _, s := range all {
		if s.last > upto {
			work += s.last - max(s.first, upto)
			upto = s.last
		}
	}
	return work, hull.last - hull.first
}

// rests reports whether a step of a lane keeps the lane, and not the kernel at work: what
// is the lab's own, what the lab's limit ended, and a poll() that found nothing. How long
// such a step takes is the author's choice, and not what watching costs.
func rests(c *synclinev1.Call) bool {
	switch c.Name {
	case "sleep", "signal", "wait", "meet", "apply", "undo":
		return true
	case "poll":
		return c.Result == 0
	}
	return c.EndedBy == synclinev1.EndedBy_ENDED_BY_TIMEOUT
}
