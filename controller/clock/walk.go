package clock

import "iter"

// walk answers one question after the other about a view, for one goroutine. It remembers
// where it was, since questions that follow each other are mostly about times close by.
type walk struct {
	view *view
	// lows and highs bound the readings of the clocks; dirty are those that came to know
	// more and have not told their neighbours.
	lows, highs []int64
	dirty       []bool
	// cursors of both sides, by clock and link.
	cursors [][][2]cursor
}

func (v *view) walk() *walk {
	w := &walk{view: v, lows: make([]int64, v.clocks), highs: make([]int64, v.clocks), dirty: make([]bool, v.clocks)}
	w.cursors = make([][][2]cursor, v.clocks)
	for i, links := range v.links {
		w.cursors[i] = make([][2]cursor, len(links))
	}
	return w
}

// reading bounds what one clock reads at the instant when another reads at.
// ±Unbounded stands for no bound.
//
// Bounds go along links: if a clock reads at most x then the next reads at most
// x plus the limit at x, because that sum never falls as x grows. So each step is taken on
// the axis of the clock it starts from, no rate has to be assumed to change axes,
// and the best path is the shortest one with costs that depend on the time.
func (w *walk) reading(from int, at Local, goal int) (lo, hi int64) {
	if from == goal {
		return int64(at), int64(at)
	}
	w.reach(from, at)
	return w.lows[goal], w.highs[goal]
}

// reach bounds the readings of all clocks at once (Bellman and Ford's rounds, as
// many as a path can have links; a contradiction would go on for ever).
func (w *walk) reach(from int, at Local) {
	n := len(w.lows)
	for i := range n {
		w.lows[i], w.highs[i], w.dirty[i] = -Unbounded, Unbounded, false
	}
	w.lows[from], w.highs[from], w.dirty[from] = int64(at), int64(at), true
	for round, changed := 1, true; changed && round < n; round++ {
		changed = false
		for k := range n {
			if i := (from + k) % n; w.dirty[i] {
				w.dirty[i] = false
				changed = w.tell(i, from) || changed
			}
		}
	}
}

// tell carries the bounds on a clock's reading over its links.
func (w *walk) tell(clock, from int) (changed bool) {
	for j := range w.view.links[clock] {
		l := &w.view.links[clock][j]
		if l.to == from {
			continue
		}
		c := &w.cursors[clock][j]
		if hi := l.greatest(w.highs[clock], &c[0]); hi < w.highs[l.to] {
			w.highs[l.to], w.dirty[l.to], changed = hi, true, true
		}
		if lo := l.least(w.lows[clock], &c[1]); lo > w.lows[l.to] {
			w.lows[l.to], w.dirty[l.to], changed = lo, true, true
		}
	}
	return changed
}

// greatest is the most that the link's far clock reads when its owner reads at most x.
func (l *link) greatest(x int64, c *cursor) int64 {
	most := l.ahead.greatest(x, c)
	if l.or != nil {
		most = max(most, l.or.greatest(x, &cursor{}))
	}
	return most
}

// least is the least that the link's far clock reads when its owner reads at least x.
func (l *link) least(x int64, c *cursor) int64 {
	least := l.behind.least(x, c)
	if l.or != nil {
		least = min(least, l.or.least(x, &cursor{}))
	}
	return least
}

// greatest is the most that the far clock reads when the axis' clock reads at most x.
func (s *side) greatest(x int64, c *cursor) int64 {
	if x >= Unbounded {
		return Unbounded
	}
	return s.far(Local(x), c)
}

// least is the least that the far clock reads when the axis' clock reads at least x; the side
// is mirrored.
func (s *side) least(x int64, c *cursor) int64 {
	if x <= -Unbounded {
		return -Unbounded
	}
	return s.far(Local(x), c)
}

// places are the times where limits of the link stand.
func (l *link) places() iter.Seq[Local] {
	return func(yield func(Local) bool) {
		for at := range l.ahead.places() {
			if !yield(at) {
				return
			}
		}
		for at := range l.behind.places() {
			if !yield(at) {
				return
			}
		}
		if l.or != nil {
			l.or.places()(yield)
		}
	}
}
