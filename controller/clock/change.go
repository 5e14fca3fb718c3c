package clock

import (
	"cmp"
	"slices"
	"sort"
)

// Change is what a host reported of its own clock: at some moment from Since to At,
// both included and both of that clock, it did not go on as it had gone before.
type Change struct {
	Host      int
	Since, At Local
	// Stopped: the clock stood still or jumped ahead, as CLOCK_MONOTONIC stands still over
	// a suspend. What was known before then says nothing of after, nor the other way
	// round. Otherwise the clock went on, but its rate may have changed at once, as when
	// a daemon of NTP steers it: the bound on the drift holds across the change, the
	// bound on the wander does not.
	Stopped bool
}

// span is an open interval of one clock's time; from and to are outside of it.
type span struct{ from, to Local }

// changes are the spans of one axis in which something happened to one of two clocks.
type changes struct {
	// gaps: one of the clocks stood still. breaks: that, or its rate changed. Both are
	// sorted and have nothing in common with each other.
	gaps, breaks []span
}

// changesOf puts together the changes of the clock that owns the axis, and those of the far
// one, whose places on the axis are known.
func changesOf(own, far []Change, places []span) changes {
	var c changes
	note := func(s span, stopped bool) {
		s = span{min(s.from, s.to), max(s.from+1, s.to)}
		c.breaks = append(c.breaks, s)
		if stopped {
			c.gaps = append(c.gaps, s)
		}
	}
	for _, change := range own {
		// The ends are in it.
		from, to := min(change.Since, change.At), max(change.Since, change.At)
		note(span{Local(add(int64(from), -1)), Local(add(int64(to), 1))}, change.Stopped)
	}
	for i, change := range far {
		note(places[i], change.Stopped)
	}
	c.gaps, c.breaks = merge(c.gaps), merge(c.breaks)
	return c
}

// placesOf finds the changes of the far clock on the axis that limits, in any order, stand on.
func placesOf(far []Change, ahead, behind []limit) []span {
	if len(far) == 0 {
		return nil
	}
	p, places := newPlaces(ahead, behind), make([]span, len(far))
	for i, change := range far {
		places[i] = span{p.before(min(change.Since, change.At)), p.after(max(change.Since, change.At))}
	}
	return places
}

// merge sorts spans and joins those that overlap.
func merge(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	var merged []span
	for _, s := range spans {
		if n := len(merged); n > 0 && s.from < merged[n-1].to {
			merged[n-1].to = max(merged[n-1].to, s.to)
		} else {
			merged = append(merged, s)
		}
	}
	return merged
}

// places carries times of the far clock to the owner's axis by order alone: where a limit
// says that the far clock read less than x, x was later. That holds however the clocks run.
type places struct {
	// By time of the axis: most is the least that any of these and later limits lets the
	// far clock read at most; least is the greatest that any of these and earlier ones lets it
	// read at least.
	most, least []edge
}

func newPlaces(ahead, behind []limit) *places {
	p := &places{}
	for _, l := range ahead {
		p.most = append(p.most, edge{l.At, add(int64(l.At), l.Most)})
	}
	for _, l := range behind {
		p.least = append(p.least, edge{l.At, add(int64(l.At), -l.Most)})
	}
	byTime := func(a, b edge) int { return cmp.Compare(a.at, b.at) }
	slices.SortFunc(p.most, byTime)
	slices.SortFunc(p.least, byTime)
	for i := len(p.most) - 2; i >= 0; i-- {
		p.most[i].reading = min(p.most[i].reading, p.most[i+1].reading)
	}
	for i := 1; i < len(p.least); i++ {
		p.least[i].reading = max(p.least[i].reading, p.least[i-1].reading)
	}
	return p
}

// before is the latest known time of the axis at which the far clock surely had not come to
// at; -Unbounded if there is none.
func (p *places) before(at Local) Local {
	i := sort.Search(len(p.most), func(i int) bool { return p.most[i].reading >= int64(at) })
	if i == 0 {
		return Local(-Unbounded)
	}
	return p.most[i-1].at
}

// after is the first known time of the axis at which the far clock surely was past at;
// Unbounded if there is none.
func (p *places) after(at Local) Local {
	i := sort.Search(len(p.least), func(i int) bool { return p.least[i].reading > int64(at) })
	if i == len(p.least) {
		return Local(Unbounded)
	}
	return p.least[i].at
}
