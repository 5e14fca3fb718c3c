package clock

import (
	"cmp"
	"iter"
	"slices"
	"sort"
)

// side bounds the offset of one clock to another from one side, on the axis of the
// former, over the times that one of them stood still. Between two such gaps it is
// an envelope. In a gap, and across it, only that clocks do not run backwards is left:
// what the far clock reads at most at some time it also read at most at any time before.
type side struct {
	gaps []span
	// envelopes: one before each gap and one after the last.
	envelopes []*envelope
	// points are the limits in gaps: they hold where they stand and carry no cone.
	points []limit
	// edges, by time: with a mirrored side the far clock reads at least reading from
	// then on, else it read at most reading until then. Only where there are gaps.
	edges    []edge
	mirrored bool
}

type edge struct {
	at      Local
	reading int64
}

// newSide makes a side of limits sorted by time.
func newSide(g *growth, mirrored bool, gaps []span, limits []limit) *side {
	s := &side{gaps: gaps, mirrored: mirrored}
	for _, gap := range gaps {
		before := sort.Search(len(limits), func(i int) bool { return limits[i].At > gap.from })
		after := sort.Search(len(limits), func(i int) bool { return limits[i].At >= gap.to })
		s.envelopes = append(s.envelopes, newEnvelope(g, mirrored, limits[:before]))
		s.points = append(s.points, limits[before:after]...)
		for _, l := range limits[before:after] {
			s.edges = append(s.edges, edge{l.At, s.reading(l.At, l.Most)})
		}
		limits = limits[after:]
	}
	s.envelopes = append(s.envelopes, newEnvelope(g, mirrored, limits))
	for i, gap := range gaps {
		if mirrored {
			s.edges = append(s.edges, edge{gap.from, s.reading(gap.from, s.envelopes[i].most(gap.from, &cursor{}))})
		} else {
			s.edges = append(s.edges, edge{gap.to, s.reading(gap.to, s.envelopes[i+1].most(gap.to, &cursor{}))})
		}
	}
	s.sweep()
	return s
}

// sweep sorts the edges and lets each know what those beyond it say.
func (s *side) sweep() {
	slices.SortFunc(s.edges, func(a, b edge) int { return cmp.Compare(a.at, b.at) })
	if s.mirrored {
		for i := 1; i < len(s.edges); i++ {
			s.edges[i].reading = max(s.edges[i].reading, s.edges[i-1].reading)
		}
		return
	}
	for i := len(s.edges) - 2; i >= 0; i-- {
		s.edges[i].reading = min(s.edges[i].reading, s.edges[i+1].reading)
	}
}

// reading is what the far clock reads at most, or at least if the side is mirrored,
// where the axis' clock reads at and the limit there is most.
func (s *side) reading(at Local, most int64) int64 {
	switch {
	case !s.mirrored && most >= Unbounded:
		return Unbounded
	case s.mirrored && most >= Unbounded:
		return -Unbounded
	case s.mirrored:
		return add(int64(at), -most)
	}
	return add(int64(at), most)
}

// far is the most that the far clock reads at a time of the axis' clock, or the least if
// the side is mirrored. It never falls as the time grows. ±Unbounded: no bound.
func (s *side) far(at Local, c *cursor) int64 {
	most := Unbounded
	i := 0
	if len(s.gaps) > 0 {
		i = sort.Search(len(s.gaps), func(i int) bool { return s.gaps[i].to > at })
	}
	if i == len(s.gaps) || at <= s.gaps[i].from {
		most = s.envelopes[i].most(at, c)
	}
	reading := s.reading(at, most)
	if len(s.edges) == 0 {
		return reading
	}
	if s.mirrored {
		if i := sort.Search(len(s.edges), func(i int) bool { return s.edges[i].at > at }); i > 0 {
			reading = max(reading, s.edges[i-1].reading)
		}
		return reading
	}
	if i := sort.Search(len(s.edges), func(i int) bool { return s.edges[i].at >= at }); i < len(s.edges) {
		reading = min(reading, s.edges[i].reading)
	}
	return reading
}

// most is far as a limit of the offset, or of its negative if the side is mirrored.
func (s *side) most(at Local, c *cursor) int64 {
	reading := s.far(at, c)
	switch {
	case reading >= Unbounded || reading <= -Unbounded:
		return Unbounded
	case s.mirrored:
		return add(int64(at), -reading)
	}
	return add(reading, -int64(at))
}

// limits are those that matter, by time.
func (s *side) limits() []limit {
	n := len(s.points)
	for _, e := range s.envelopes {
		n += len(e.apexes)
	}
	limits := append(make([]limit, 0, n), s.points...)
	for _, e := range s.envelopes {
		for _, a := range e.apexes {
			limits = append(limits, a.limit)
		}
	}
	sortLimits(limits)
	return limits
}

// places are the times where limits stand, and the ends of gaps: in between, what two sides
// leave is never narrower.
func (s *side) places() iter.Seq[Local] {
	return func(yield func(Local) bool) {
		for _, e := range s.envelopes {
			for i := range e.apexes {
				if !yield(e.apexes[i].At) {
					return
				}
			}
		}
		for _, p := range s.points {
			if !yield(p.At) {
				return
			}
		}
		for _, gap := range s.gaps {
			if !yield(gap.from) || !yield(gap.to) {
				return
			}
		}
	}
}
