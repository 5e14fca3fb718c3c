package clock

// Between returns an interval, in nanoseconds, that surely holds how much later b's
// moment was than a's, in true time up to the drift of the lab's own clock. It is
// negative where b's moment was the earlier one. On one clock it is the difference
// of the two readings, exactly. It is never wider than what the two stamps give, and
// mostly narrower, since a path through the reference is not the only one.
//
// The errors of the two readings themselves are the caller's to add.
func (m *Model) Between(a int, ta Local, b int, tb Local) (lo, hi int64) {
	if m.clock[a] == m.clock[b] {
		d := add(int64(tb), -int64(ta))
		return d, d
	}
	lo, hi = -Unbounded, Unbounded
	narrow := func(l, h int64) { lo, hi = max(lo, l), min(hi, h) }

	low, high := m.reading(a, ta, b)
	narrow(m.onLab(b, difference(tb, high), difference(tb, low)))
	low, high = m.reading(b, tb, a)
	narrow(m.onLab(a, -difference(ta, low), -difference(ta, high)))
	if ref := m.clock[m.reference]; m.clock[a] != ref && m.clock[b] != ref {
		aLow, aHigh := m.reading(a, ta, m.reference)
		bLow, bHigh := m.reading(b, tb, m.reference)
		narrow(span(aHigh, bLow), -span(bHigh, aLow))
	}
	return lo, hi
}

// onLab widens an interval measured in nanoseconds of a host's clock to one that
// surely holds it in nanoseconds of the lab's.
func (m *Model) onLab(host int, lo, hi int64) (int64, int64) {
	if m.clock[host] == m.clock[m.reference] {
		return lo, hi
	}
	return m.widen(lo, -1), m.widen(hi, 1)
}

func (m *Model) widen(d, sign int64) int64 {
	if d <= -Unbounded || d >= Unbounded {
		return d
	}
	return add(d, sign*m.drift.over(d))
}

// difference is at minus a bound on a reading; a missing bound stays missing.
func difference(at Local, bound int64) int64 {
	if bound <= -Unbounded || bound >= Unbounded {
		return -bound
	}
	return add(int64(at), -bound)
}

// span is to − from; -Unbounded if either is missing.
func span(from, to int64) int64 {
	if from >= Unbounded || from <= -Unbounded || to >= Unbounded || to <= -Unbounded {
		return -Unbounded
	}
	return add(to, -from)
}

// contradictions looks for the worst place of every pair of clocks that links join,
// once each. The width of the interval between a pair is least where one of its
// limits stands, so it is enough to look there.
func (m *Model) contradictions() []Contradiction {
	var found []Contradiction
	for i, links := range m.links {
		for _, l := range links {
			if i > l.to {
				continue
			}
			if c := m.worst(i, l); c.Lo > c.Hi {
				found = append(found, c)
			}
		}
	}
	return found
}

// worst returns the narrowest place of a link; Lo is above Hi if it is impossible.
func (m *Model) worst(owner int, l link) Contradiction {
	worst := Contradiction{A: owner, B: l.to, Lo: -Unbounded, Hi: Unbounded}
	for _, e := range []*envelope{l.ahead, l.behind} {
		for _, apex := range e.limits {
			lo, hi := m.reading(owner, apex.At, l.to)
			if lo <= -Unbounded || hi >= Unbounded {
				continue
			}
			if hi-lo < worst.Hi-worst.Lo || worst.Hi == Unbounded {
				worst.At = apex.At
				worst.Lo, worst.Hi = add(lo, -int64(apex.At)), add(hi, -int64(apex.At))
			}
		}
	}
	return worst
}
