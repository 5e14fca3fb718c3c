package clock

import "slices"

// view is what some methods together conclude of the clocks. It never changes once it
// is made.
type view struct {
	// clocks is how many there may be.
	clocks int
	// links by clock, then by the clock they lead to.
	links [][]link
	// messages by clock.
	messages []int
	// own are contradictions of the messages between two clocks alone, broken all of them.
	own, broken []Contradiction
	unsteady    []WanderBreak
}

// link bounds what clock To reads by what the clock that owns the link reads. Both
// sides are on the owner's axis.
type link struct {
	to int
	// ahead limits (to − owner), from messages of the owner to To.
	ahead *side
	// behind limits (owner − to), from messages of To to the owner.
	behind *side
	// or is another link between the two; what both cover is known, and no more. May be nil.
	or *link
}

func newView(f *facts, set uint8) *view {
	n := len(f.clock)
	v := &view{clocks: n, links: make([][]link, n), messages: make([]int, n)}
	wide := make([][]link, n)
	for i := range n {
		for j := range n {
			v.connect(f, set, i, j, wide)
		}
	}
	for i, b := range f.bins {
		if b == nil || set&(1<<i) == 0 {
			continue
		}
		for clock, messages := range b.messages {
			v.messages[clock] += messages
		}
	}
	v.settle(f, set, wide)
	return v
}

// connect makes the link from one clock to another, as it follows from the bound on the
// drift alone and as narrow as the bound on the wander makes it.
func (v *view) connect(f *facts, set uint8, owner, to int, wide [][]link) {
	p := f.pair(set, owner, to)
	if owner == to || len(p.ahead)+len(p.behind) == 0 {
		return
	}
	c := changesOf(f.changes[owner], f.changes[to], p.far)
	l := link{
		to:     to,
		ahead:  newSide(f.steady, false, c.gaps, p.ahead),
		behind: newSide(f.steady, true, c.gaps, p.behind),
	}
	wide[owner] = append(wide[owner], l)
	if s, ok := f.steadiness(owner, to); ok {
		ahead, behind, broken := l.tighten(s, c)
		if ahead == nil {
			v.unsteady = append(v.unsteady, WanderBreak{A: owner, B: to, At: broken})
		} else {
			l.ahead, l.behind = ahead, behind
		}
	}
	v.links[owner] = append(v.links[owner], l)
}

// pair joins the limits of a set of bins.
func (f *facts) pair(set uint8, owner, to int) pair {
	var p pair
	n, joined := len(f.clock), 0
	for i, b := range f.bins {
		if b == nil || set&(1<<i) == 0 {
			continue
		}
		of := &b.pairs[owner*n+to]
		if joined == 0 {
			p = *of
		} else {
			p.ahead = append(p.ahead[:len(p.ahead):len(p.ahead)], of.ahead...)
			p.behind = append(p.behind[:len(p.behind):len(p.behind)], of.behind...)
			p.far = closer(p.far, of.far)
		}
		joined++
	}
	if joined > 1 {
		sortLimits(p.ahead)
		sortLimits(p.behind)
	}
	return p
}

// closer are the places of changes by what two bins say of each; both hold.
func closer(a, b []span) []span {
	closer := make([]span, len(a))
	for i := range a {
		closer[i] = span{max(a[i].from, b[i].from), min(a[i].to, b[i].to)}
	}
	return closer
}

// settle looks for places where no offset is possible. Where the bound on the drift alone
// leaves one, it was the bound on the wander that did not hold: then nothing is
// concluded from that anywhere, since nobody knows whose rate it was.
func (v *view) settle(f *facts, set uint8, wide [][]link) {
	narrow := v.contradictions()
	if len(narrow) > 0 {
		v.links = wide
		if v.broken = v.contradictions(); len(v.broken) == 0 {
			for _, c := range narrow {
				v.unsteady = append(v.unsteady, WanderBreak{A: c.A, B: c.B, At: c.At})
			}
		}
	}
	v.broken = append(f.liesOf(set), v.broken...)
}

// liesOf are the lies of a set of bins.
func (f *facts) liesOf(set uint8) []Contradiction {
	var lies []Contradiction
	for _, l := range f.lies {
		if set&(1<<(l.method&(Probes|Segments|Signals))) != 0 {
			lies = append(lies, l.Contradiction)
		}
	}
	return lies
}

// contradictions looks for the worst place of every pair of clocks that links join,
// once each. Those whose own messages contradict each other come first, and nothing else is
// concluded from these messages: others must not be accused for them.
func (v *view) contradictions() []Contradiction {
	v.own = v.search((*view).direct)
	return append(v.own[:len(v.own):len(v.own)], v.onPaths(v.own)...)
}

// onPaths are contradictions that it takes several clocks to see, without the links between
// pairs that contradict themselves.
func (v *view) onPaths(own []Contradiction) []Contradiction {
	return v.only(func(a, b int) bool {
		return !slices.ContainsFunc(own, func(c Contradiction) bool { return c.A == min(a, b) && c.B == max(a, b) })
	}).search((*view).along)
}

// search looks at all links. The width of the interval between a pair is least where one of
// its limits stands, so it is enough to look there.
func (v *view) search(how func(*view) offsets) []Contradiction {
	var found []Contradiction
	of := how(v)
	for i, links := range v.links {
		for _, l := range links {
			if i > l.to {
				continue
			}
			if c := worst(i, l, of); c.Lo > c.Hi {
				found = append(found, c)
			}
		}
	}
	return found
}

// worst returns the narrowest place of a link; Lo is above Hi if it is impossible.
func worst(owner int, l link, of offsets) Contradiction {
	worst := Contradiction{A: owner, B: l.to, Lo: -Unbounded, Hi: Unbounded}
	for at := range l.places() {
		b := of(owner, at, l.to)
		if !b.Known() {
			continue
		}
		if b.Hi-b.Lo < worst.Hi-worst.Lo || worst.Hi == Unbounded {
			worst.At, worst.Lo, worst.Hi = at, b.Lo, b.Hi
		}
	}
	return worst
}

// reading bounds what one clock reads at the instant when another reads at; see walk.
func (v *view) reading(from int, at Local, goal int) (lo, hi int64) {
	return v.walk().reading(from, at, goal)
}
