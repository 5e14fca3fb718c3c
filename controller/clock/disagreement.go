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
// worst place of each pair of hosts.
//
// One of the methods is then wrong, somewhere, and the model cannot know which. So
// from then on every answer covers the answers of each method alone that knows one:
// it holds the truth if one of the two methods is right. By the same token it may be
// as wide as both together, and the order of a departure and its arrival is no longer
// sure.
func (m *Model) Disagreements() []Disagreement { return m.disagreements }

// disagree looks for disagreements, if both methods have a part in the model.
func (m *Model) disagree() {
	probes, segments := m.methods&m.facts.of(Probes), m.methods&m.facts.of(Segments)
	if probes == 0 || segments == 0 || probes == segments {
		return
	}
	// What all allow together, each allows: then there is nothing to compare.
	if len(m.view.broken)+len(m.view.unsteady) == 0 {
		return
	}
	views := []*view{m.facts.view(probes), m.facts.view(segments)}
	m.disagreements = disagreements(views[0], views[1])
	if len(m.disagreements) > 0 {
		m.union = views
		// What is unsteady together may be steady apart; the methods are to blame.
		m.unsteady = append(views[0].unsteady[:len(views[0].unsteady):len(views[0].unsteady)], views[1].unsteady...)
	}
}

// disagreements compares two views of each pair of clocks that a link of one of them joins.
// What both leave is narrowest where a limit of one of them stands.
func disagreements(probes, segments *view) []Disagreement {
	worst := make(map[[2]int]Disagreement)
	var order [][2]int
	p, s := probes.walk(), segments.walk()
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
	slices.SortFunc(order, func(a, b [2]int) int { return slices.Compare(a[:], b[:]) })
	var found []Disagreement
	for _, pair := range order {
		found = append(found, worst[pair])
	}
	return found
}

// apart is where two views are farthest apart of the places where a link has limits, and
// by how much; 0 if they have an offset in common everywhere.
func apart(owner int, l link, probes, segments *walk) (worst Disagreement, most int64) {
	for _, s := range []*side{l.ahead, l.behind} {
		for at := range s.places() {
			d := Disagreement{A: owner, B: l.to, At: at}
			d.Probes, d.Segments = probes.offset(owner, at, l.to), segments.offset(owner, at, l.to)
			if apart := d.apart(); apart > most {
				worst, most = d, apart
			}
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

// offset is that of one clock to another when the other reads at.
func (w *walk) offset(from int, at Local, to int) Bound {
	b := Bound{Lo: -Unbounded, Hi: Unbounded}
	lo, hi := w.reading(from, at, to)
	if lo > -Unbounded {
		b.Lo = add(lo, -int64(at))
	}
	if hi < Unbounded {
		b.Hi = add(hi, -int64(at))
	}
	return b
}
