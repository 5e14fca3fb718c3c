package clock

// dispute is how a model answers whose messages contradict each other, by method or at
// all.
type dispute struct {
	// narrow has the links between clocks that nothing speaks against.
	narrow *view
	// wide has all links between clocks that no contradiction names; a link that two methods
	// know covers what each of them says.
	wide *view
	// doubted are the clocks on which methods disagree, lost those of contradictions.
	doubted, lost []bool
}

// resolve finds out who disagrees with whom in a model whose view leaves something
// impossible, or something that takes a less steady rate.
func (m *Model) resolve() {
	m.broken = m.view.broken
	if len(m.view.broken)+len(m.view.unsteady) == 0 {
		return
	}
	one, other := m.without(Segments), m.without(Probes)
	if probes, segments := m.methods&m.facts.of(Probes), m.methods&m.facts.of(Segments); probes == 0 || segments == 0 || probes == segments {
		one, other = m.view, m.view
	}
	merged := m.view
	if one != other {
		merged = m.disagree(one, other)
	}
	if len(m.broken)+len(m.disagreements) == 0 {
		return
	}
	n := m.view.clocks
	d := &dispute{doubted: make([]bool, n), lost: make([]bool, n)}
	for _, c := range m.broken {
		// On one clock a lie says nothing of the clock.
		if a, b := m.facts.clock[c.A], m.facts.clock[c.B]; a != b {
			d.lost[a], d.lost[b] = true, true
		}
	}
	for _, c := range m.disagreements {
		d.doubted[c.A], d.doubted[c.B] = true, true
	}
	d.narrow = merged.only(func(a, b int) bool { return !d.lost[a] && !d.lost[b] && !d.doubted[a] && !d.doubted[b] })
	d.wide = union(one, other, func(int, int) bool { return true }).only(func(a, b int) bool { return !d.lost[a] && !d.lost[b] })
	m.dispute = d
}

// without is the view of all messages but those that one method alone knows.
func (m *Model) without(method Methods) *view {
	set := m.methods
	if m.facts.bins[method] != nil {
		set &^= 1 << method
	}
	return m.facts.view(set)
}

// disagree looks for disagreements of two views, and returns what to walk on where there are
// none. What is impossible beside them is left in m.broken.
//
// Methods that exclude each other on the messages between two clocks are to blame for
// what follows from it elsewhere. Only if something impossible is left then, paths over
// several clocks are compared.
func (m *Model) disagree(probes, segments *view) *view {
	disputed := make(map[[2]int]bool)
	m.disagreements = nil
	for _, d := range disagreements(probes, segments, (*view).direct) {
		m.disagreements = append(m.disagreements, d)
		disputed[[2]int{d.A, d.B}] = true
	}
	merged := m.view.only(func(a, b int) bool { return !disputed[[2]int{min(a, b), max(a, b)}] })
	for owner, links := range union(probes, segments, func(a, b int) bool { return disputed[[2]int{min(a, b), max(a, b)}] }).links {
		merged.links[owner] = append(merged.links[owner], links...)
	}
	own := append(probes.own[:len(probes.own):len(probes.own)], segments.own...)
	left := merged.onPaths(own)
	if len(left) > 0 && len(probes.onPaths(own))+len(segments.onPaths(own)) == 0 {
		if paths := disagreements(probes, segments, (*view).along); len(paths) > 0 {
			m.disagreements, left = joinDisagreements(m.disagreements, paths), nil
		}
	}
	if len(m.disagreements) > 0 {
		m.broken = append(append(m.facts.liesOf(m.methods), own...), left...)
		// What is unsteady together may be steady apart; the methods are to blame.
		m.unsteady = append(probes.unsteady[:len(probes.unsteady):len(probes.unsteady)], segments.unsteady...)
	}
	return merged
}

// only has those links that are wanted.
func (v *view) only(wanted func(a, b int) bool) *view {
	other := &view{clocks: v.clocks, links: make([][]link, v.clocks), messages: v.messages}
	for owner, links := range v.links {
		for _, l := range links {
			if wanted(owner, l.to) {
				other.links[owner] = append(other.links[owner], l)
			}
		}
	}
	return other
}

// union has those links of two views that are wanted. One that both have covers both.
func union(one, other *view, wanted func(a, b int) bool) *view {
	v := one.only(wanted)
	if one == other {
		return v
	}
	for owner, links := range other.only(wanted).links {
		for _, l := range links {
			if same := v.link(owner, l.to); same != nil {
				same.or = &l
			} else {
				v.links[owner] = append(v.links[owner], l)
			}
		}
	}
	return v
}

// link is that from one clock to another; nil if there is none.
func (v *view) link(owner, to int) *link {
	for i := range v.links[owner] {
		if l := &v.links[owner][i]; l.to == to {
			return l
		}
	}
	return nil
}

// reading is as Model.reading, between two different clocks.
//
// If methods disagree on neither of the two, what ties them without those clocks is the
// answer. Else it covers what each path by itself says, that knows both sides: it holds
// the truth if one path is right, in one method on each of its links.
func (d *dispute) reading(from int, at Local, goal int) (lo, hi int64) {
	if d.lost[from] || d.lost[goal] {
		return -Unbounded, Unbounded
	}
	if !d.doubted[from] && !d.doubted[goal] {
		lo, hi = d.narrow.reading(from, at, goal)
		if lo > -Unbounded && hi < Unbounded && lo <= hi {
			return lo, hi
		}
	}
	return d.wide.widest(from, at, goal)
}

// widest covers what all paths say by themselves that know both sides. Paths may come
// by a clock twice, but for the ends; that makes it wider than need be, and needs no more
// than as many rounds as there are clocks.
func (v *view) widest(from int, at Local, goal int) (lo, hi int64) {
	lows, highs := make([]int64, v.clocks), make([]int64, v.clocks)
	for i := range lows {
		lows[i], highs[i] = Unbounded, -Unbounded
	}
	lows[from], highs[from] = int64(at), int64(at)
	cursors := make([][][4]cursor, v.clocks)
	for i, links := range v.links {
		cursors[i] = make([][4]cursor, len(links))
	}
	for range v.clocks - 1 {
		nextLows, nextHighs := append([]int64(nil), lows...), append([]int64(nil), highs...)
		for i, links := range v.links {
			if lows[i] > highs[i] || i == goal {
				continue
			}
			for j := range links {
				l := &links[j]
				if l.to == from {
					continue
				}
				low, high := l.behind.least(lows[i], &cursors[i][j][0]), l.ahead.greatest(highs[i], &cursors[i][j][1])
				if l.or != nil {
					low, high = min(low, l.or.behind.least(lows[i], &cursors[i][j][2])), max(high, l.or.ahead.greatest(highs[i], &cursors[i][j][3]))
				}
				if low > -Unbounded && high < Unbounded {
					nextLows[l.to], nextHighs[l.to] = min(nextLows[l.to], low), max(nextHighs[l.to], high)
				}
			}
		}
		lows, highs = nextLows, nextHighs
	}
	if lows[goal] > highs[goal] {
		return -Unbounded, Unbounded
	}
	return lows[goal], highs[goal]
}
