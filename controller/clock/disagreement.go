package clock

import "slices"

// Disagreement is a place where two methods leave no offset that both allow: a path
// is not what it seems (a box with a clock of its own on the way), or a stamp lies. It is
// no sign of an asymmetric path: that shifts the middle, not the limits.
type Disagreement struct {
	// A and B are hosts; the offset is B's clock minus A's when A's read At.
	A, B int
	At   Local
	// The intervals of the offset by each method alone. They have nothing in common.
	Probes, Segments Bound
}

// Disagreements lists where probes alone and segments alone exclude each other, the
// worst place of each pair of hosts. If methods exclude each other on what was sent between two
// hosts, only such pairs are listed; else those where paths over other hosts do.
//
// One of the methods is then wrong, somewhere, and the model cannot know which. So an answer
// about one of these hosts, or that only such hosts tie together, covers what each path
// says by each method on each of its links: it holds the truth if one path is right, with
// one of the methods on every link of it. By the same token it may be as wide as all of them
// together, and the order of a departure and its arrival is no longer sure.
func (m *Model) Disagreements() []Disagreement { return m.disagreements }

// offsets bounds the offset of one clock to another when the other reads at.
type offsets func(from int, at Local, to int) Bound

// direct knows what the messages between two clocks say.
func (v *view) direct() offsets {
	return func(from int, at Local, to int) Bound {
		l := v.link(from, to)
		if l == nil {
			return Bound{Lo: -Unbounded, Hi: Unbounded}
		}
		return offset(at, l.least(int64(at), &cursor{}), l.greatest(int64(at), &cursor{}))
	}
}

// along knows what paths over all clocks say.
func (v *view) along() offsets {
	w := v.walk()
	return func(from int, at Local, to int) Bound {
		lo, hi := w.reading(from, at, to)
		return offset(at, lo, hi)
	}
}

// disagreements compares two views of each pair of clocks that a link of one of them joins.
// What both leave is narrowest where a limit of one of them stands.
func disagreements(probes, segments *view, how func(*view) offsets) []Disagreement {
	worst := make(map[[2]int]Disagreement)
	var order [][2]int
	p, s := how(probes), how(segments)
	for _, v := range []*view{probes, segments} {
		for owner, links := range v.links {
			for _, l := range links {
				if owner > l.to {
					continue
				}
				pair := [2]int{owner, l.to}
				d, apart := apart(owner, l, p, s)
				if old, ok := worst[pair]; !ok && apart > 0 {
					order = append(order, pair)
					worst[pair] = d
				} else if ok && apart > old.apart() {
					worst[pair] = d
				}
			}
		}
	}
	var found []Disagreement
	for _, pair := range order {
		found = append(found, worst[pair])
	}
	return joinDisagreements(nil, found)
}

// joinDisagreements sorts them by pair; of two of one pair the first stays.
func joinDisagreements(first, more []Disagreement) []Disagreement {
	all := append(first[:len(first):len(first)], more...)
	pair := func(d Disagreement) []int { return []int{d.A, d.B} }
	slices.SortStableFunc(all, func(a, b Disagreement) int { return slices.Compare(pair(a), pair(b)) })
	return slices.CompactFunc(all, func(a, b Disagreement) bool { return a.A == b.A && a.B == b.B })
}

// apart is where two views are farthest apart of the places where a link has limits, and
// by how much; 0 if they have an offset in common everywhere.
func apart(owner int, l link, probes, segments offsets) (worst Disagreement, most int64) {
	for at := range l.places() {
		d := Disagreement{A: owner, B: l.to, At: at, Probes: probes(owner, at, l.to), Segments: segments(owner, at, l.to)}
		if apart := d.apart(); apart > most {
			worst, most = d, apart
		}
	}
	return worst, most
}

// apart is how far the two intervals are from each other; 0 if they are not. An interval
// that a contradiction turned round covers what is between its ends.
func (d Disagreement) apart() int64 {
	p, s := d.Probes, d.Segments
	lo, hi := max(min(p.Lo, p.Hi), min(s.Lo, s.Hi)), min(max(p.Lo, p.Hi), max(s.Lo, s.Hi))
	if lo <= -Unbounded || hi >= Unbounded {
		return 0
	}
	return max(0, lo-hi)
}

// offset is that of a clock that reads lo to hi when another reads at.
func offset(at Local, lo, hi int64) Bound {
	b := Bound{Lo: -Unbounded, Hi: Unbounded}
	if lo > -Unbounded {
		b.Lo = add(lo, -int64(at))
	}
	if hi < Unbounded {
		b.Hi = add(hi, -int64(at))
	}
	return b
}
