package clock

// Between returns an interval, in nanoseconds, that surely holds how much later b's
// moment was than a's, in true time up to the drift of the lab's own clock. It is
// negative where b's moment was the earlier one. On one clock it is the difference
// of the two readings, exactly. Unless messages contradict each other it is never wider than
// what the two stamps give, and mostly narrower, since a path through the reference is not
// the only one. lo is never above hi.
//
// The errors of the two readings themselves are the caller's to add.
func (m *Model) Between(a int, ta Local, b int, tb Local) (lo, hi int64) {
	if m.Same(a, b) {
		d := add(int64(tb), -int64(ta))
		return d, d
	}
	lo, hi = -Unbounded, Unbounded
	narrow := func(l, h int64) { lo, hi = max(lo, l), min(hi, h) }

	low, high := m.reading(a, ta, b)
	narrow(m.onLab(b, difference(tb, high), difference(tb, low)))
	low, high = m.reading(b, tb, a)
	narrow(m.onLab(a, -difference(ta, low), -difference(ta, high)))
	// Where methods disagree, each question has its own paths to cover.
	if m.dispute == nil && !m.Same(a, m.reference) && !m.Same(b, m.reference) {
		aLow, aHigh := m.reading(a, ta, m.reference)
		bLow, bHigh := m.reading(b, tb, m.reference)
		narrow(later(aHigh, bLow), -later(bHigh, aLow))
	}
	if lo > hi {
		return -Unbounded, Unbounded
	}
	return lo, hi
}

// onLab widens an interval measured in nanoseconds of a host's clock to one that
// surely holds it in nanoseconds of the lab's. It is not bounded if one of the two clocks
// may have stood still.
func (m *Model) onLab(host int, lo, hi int64) (int64, int64) {
	if m.Same(host, m.reference) {
		return lo, hi
	}
	if m.facts.stopped(host) || m.facts.stopped(m.reference) {
		return -Unbounded, Unbounded
	}
	return m.widen(lo, -1), m.widen(hi, 1)
}

func (m *Model) widen(d, sign int64) int64 {
	if d <= -Unbounded || d >= Unbounded {
		return d
	}
	return add(d, sign*m.facts.drift.over(d))
}

// difference is at minus a bound on a reading; a missing bound stays missing.
func difference(at Local, bound int64) int64 {
	if bound <= -Unbounded || bound >= Unbounded {
		return -bound
	}
	return add(int64(at), -bound)
}

// later is to − from; -Unbounded if either is missing.
func later(from, to int64) int64 {
	if from >= Unbounded || from <= -Unbounded || to >= Unbounded || to <= -Unbounded {
		return -Unbounded
	}
	return add(to, -from)
}
