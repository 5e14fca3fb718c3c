package clock

import "math/bits"

// Model holds what is known of the offsets of the clocks of a run. It never
// changes after NewModel, so any number of goroutines may ask it.
type Model struct {
	facts     *facts
	reference int
	methods   uint8
	view      *view
	// dispute is nil unless messages contradict each other.
	dispute       *dispute
	broken        []Contradiction
	disagreements []Disagreement
	unsteady      []WanderBreak
}

// Contradiction is a place where the messages between two clocks leave no offset
// possible: a stamp lies, or a clock drifts faster than the bound.
type Contradiction struct {
	// A and B are hosts; the offset is B's clock minus A's when A's read At.
	A, B int
	At   Local
	// Lo is greater than Hi: the offset would have to be at least Lo and at most Hi.
	Lo, Hi int64
}

// WanderBreak is a place where the messages between two clocks deny the bound on the
// wander though not the one on the drift: the rate of one of them was changed and nobody
// reported it.
type WanderBreak struct {
	// A and B are hosts; A's clock read about At.
	A, B int
	At   Local
}

// NewModel learns from messages, in any order. It panics if the configuration or a
// message names a host that is not there.
func NewModel(cfg Config, messages []Message) *Model {
	f := newFacts(cfg)
	f.learn(messages)
	f.thin()
	return f.model()
}

// model concludes from all the facts.
func (f *facts) model() *Model {
	m := &Model{facts: f, reference: f.cfg.Reference, methods: f.all()}
	m.conclude()
	return m
}

// By is what the messages of some methods alone say. It shares the assumptions and the
// reference of m.
func (m *Model) By(methods Methods) *Model {
	other := &Model{facts: m.facts, reference: m.reference, methods: m.facts.of(methods)}
	other.conclude()
	return other
}

func (m *Model) conclude() {
	m.view = m.facts.view(m.methods)
	m.unsteady = m.view.unsteady
	m.resolve()
}

// Messages counts the messages that tie the host's clock to another one.
func (m *Model) Messages(host int) int { return m.view.messages[m.facts.clock[host]] }

// Same reports whether two hosts read the very same clock.
func (m *Model) Same(a, b int) bool { return m.facts.clock[a] == m.facts.clock[b] }

// Bound is the offset of a host's clock to the reference's when the host's read at.
func (m *Model) Bound(host int, at Local) Bound {
	lo, hi := m.reading(host, at, m.reference)
	b := Bound{Lo: -Unbounded, Hi: Unbounded}
	if hi < Unbounded {
		b.Lo = add(int64(at), -hi)
	}
	if lo > -Unbounded {
		b.Hi = add(int64(at), -lo)
	}
	return b
}

// Stamp puts a moment of a host on the lab's clock. err is the half-width of at
// itself.
//
// Two moments of one host never change order, and an arrival that the model was
// made from is never before its departure beyond the errors of their own stamps;
// both hold for At as such, whatever Err is, unless methods disagree. Where only one side
// of the offset is bounded At is that side, and where none is, At is the local time as it is;
// but if a contradiction is why, it is the middle of what contradicts itself, for a drawing.
func (m *Model) Stamp(host int, at Local, err int64) Stamp {
	lo, hi := m.reading(host, at, m.reference)
	if lo == -Unbounded && hi == Unbounded && m.dispute != nil {
		// For a drawing: the middle of what contradicts itself.
		if l, h := m.view.reading(m.facts.clock[host], at, m.facts.clock[m.reference]); l > -Unbounded && h < Unbounded {
			return Stamp{At: Lab(l + (h-l)>>1), Err: Unbounded}
		}
	}
	switch {
	case lo == -Unbounded && hi == Unbounded:
		return Stamp{At: Lab(at), Err: Unbounded}
	case lo == -Unbounded:
		return Stamp{At: Lab(hi), Err: Unbounded}
	case hi == Unbounded:
		return Stamp{At: Lab(lo), Err: Unbounded}
	}
	mid := lo + (hi-lo)>>1
	half := max(mid-lo, hi-mid)
	if err > 0 && !m.Same(host, m.reference) {
		err = add(err, m.facts.drift.over(err))
	}
	return Stamp{At: Lab(mid), Err: add(half, err)}
}

// Inconsistent lists where the messages contradict each other, the worst place of
// each pair of hosts: pairs whose own messages do, and of the others those that it takes
// several hosts to see it of. What Disagreements explain is none. Of the clocks of those hosts
// the model says nothing: every bound on them to others is open.
func (m *Model) Inconsistent() []Contradiction { return m.broken }

// WanderBroken lists pairs of hosts whose messages deny the bound on the wander, each pair
// once or, if both clocks' axes show it, twice. Between those, or if it took three clocks to
// see it between all, only the bound on the drift was made use of.
func (m *Model) WanderBroken() []WanderBreak { return m.unsteady }

// DriftPPB and WanderPPB are what was assumed: no clock gains more than the one on another,
// in parts per billion, and no rate changes faster than the other, in parts per billion
// per second; 0 if nothing was assumed of the wander.
func (m *Model) DriftPPB() uint64 { return uint64(m.facts.drift) }

// WanderPPB is explained at DriftPPB.
func (m *Model) WanderPPB() uint64 { return m.facts.cfg.wander() }

// Rate is an interval that surely holds how much faster than the reference's clock the
// host's went on the average between two times of its own, in parts per billion. ok is false
// where nothing is known of either.
func (m *Model) Rate(host int, from, to Local) (lo, hi int64, ok bool) {
	a, b := m.Bound(host, from), m.Bound(host, to)
	if !a.Known() || !b.Known() || to <= from {
		return 0, 0, false
	}
	if m.Same(host, m.reference) {
		return 0, 0, true
	}
	least, most := b.Lo-a.Hi, b.Hi-a.Lo
	return perBillion(least, int64(to-from)-least, -1), perBillion(most, int64(to-from)-most, 1), true
}

// perBillion is gain/span in parts per billion, rounded towards sign, held within ±10⁹.
func perBillion(gain, span, sign int64) int64 {
	if span <= 0 {
		return sign * perUnit
	}
	high, low := bits.Mul64(uint64(max(gain, -gain)), perUnit)
	if high >= uint64(span) {
		return sign * perUnit
	}
	q, rest := bits.Div64(high, low, uint64(span))
	rate := int64(min(q, perUnit))
	if gain < 0 {
		rate = -rate
	}
	if rest != 0 && (gain > 0) == (sign > 0) {
		rate += sign
	}
	return rate
}

// reading bounds what the clock of host `to` reads at the instant when host's reads at.
// ±Unbounded stands for no bound; lo is never above hi.
func (m *Model) reading(host int, at Local, to int) (lo, hi int64) {
	from, goal := m.facts.clock[host], m.facts.clock[to]
	switch {
	case from == goal:
		return int64(at), int64(at)
	case m.dispute != nil:
		lo, hi = m.dispute.reading(from, at, goal)
	default:
		lo, hi = m.view.reading(from, at, goal)
	}
	if lo > hi {
		return -Unbounded, Unbounded
	}
	return lo, hi
}
