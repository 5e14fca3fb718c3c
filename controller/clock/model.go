package clock

import (
	"math/bits"
	"slices"
)

// DefaultDriftPPM is the bound on relative drift that a Config with none gets: two
// quartz clocks of 100 parts per million each. CLOCK_MONOTONIC follows the slewing
// of an NTP daemon, so a host whose daemon may slew faster needs more.
const DefaultDriftPPM = 200

// DefaultWanderPPM is the bound on the wander that a Config with none gets, in parts
// per million and second. Quartz that warms up does a tenth of it.
const DefaultWanderPPM = 1

// Config says what a Model is about.
type Config struct {
	// Hosts is how many there are; their indices go from 0.
	Hosts int
	// Reference is the host whose clock is the lab's.
	Reference int
	// DriftPPM bounds how much any clock may gain on any other, in parts per
	// million of time; 0 means DefaultDriftPPM.
	DriftPPM float64
	// WanderPPM bounds how fast the rate of one clock against another changes, in parts
	// per million per second, except where Changes say that it was changed; 0 means
	// DefaultWanderPPM, and less than 0 that nothing but DriftPPM is assumed.
	WanderPPM float64
	// Changes is what hosts reported of their own clocks, in any order.
	Changes []Change
	// ClockIDs names the clock that each host reads. Two hosts with the same id,
	// other than "", read the very same clock: their offset is 0. May be nil.
	ClockIDs []string
}

// Model holds what is known of the offsets of the clocks of a run. It never
// changes after NewModel, so any number of goroutines may ask it.
type Model struct {
	drift     drift
	reference int
	// clock maps a host to its clock: the lowest host that reads it.
	clock []int
	// links by clock, then by the clock they lead to.
	links [][]link
	// messages by clock.
	messages      []int
	broken        []Contradiction
	disagreements []Disagreement
	cfg           Config
	by            func(Methods) *Model
}

// link bounds what clock To reads by what the clock that owns the link reads. Both
// envelopes are on the owner's axis.
type link struct {
	to int
	// ahead limits (to − owner), from messages of the owner to To.
	ahead *envelope
	// behind limits (owner − to), from messages of To to the owner.
	behind *envelope
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

// NewModel learns from messages, in any order. It panics if the configuration or a
// message names a host that is not there.
func NewModel(cfg Config, messages []Message) *Model {
	m := &Model{
		drift:     cfg.drift(),
		reference: cfg.Reference,
		clock:     cfg.clocks(),
		links:     make([][]link, cfg.Hosts),
		messages:  make([]int, cfg.Hosts),
	}
	limits := m.limits(messages)
	for i := range m.links {
		for j := range m.links {
			m.connect(i, j, limits[i*cfg.Hosts+j])
		}
	}
	m.broken = append(m.broken, m.contradictions()...)
	m.cfg = cfg
	m.by = func(methods Methods) *Model {
		var of []Message
		for _, msg := range messages {
			if msg.Method&methods != 0 {
				of = append(of, msg)
			}
		}
		return NewModel(cfg, of)
	}
	return m
}

// By is what the messages of some methods alone say. It shares the assumptions and the
// reference of m.
func (m *Model) By(methods Methods) *Model { return m.by(methods).WithReference(m.reference) }

// WanderBreak is a place where the messages between two clocks deny the bound on the
// wander though not the one on the drift: the rate of one of them was changed and nobody
// reported it.
type WanderBreak struct {
	// A and B are hosts; A's clock read about At.
	A, B int
	At   Local
}

// WanderBroken lists the pairs of hosts whose messages deny the bound on the wander.
// Between those, only the bound on the drift was made use of.
func (m *Model) WanderBroken() []WanderBreak { return nil }

// DriftPPB and WanderPPB are what was assumed: no clock gains more than the one on another,
// in parts per billion, and no rate changes faster than the other, in parts per billion
// per second; 0 if nothing was assumed of the wander.
func (m *Model) DriftPPB() uint64 { return uint64(m.drift) }

// WanderPPB is explained at DriftPPB.
func (m *Model) WanderPPB() uint64 {
	switch {
	case m.cfg.WanderPPM < 0:
		return 0
	case m.cfg.WanderPPM == 0:
		return DefaultWanderPPM * 1000
	}
	return uint64(max(1, m.cfg.WanderPPM*1000))
}

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
	return perBillion(b.Lo-a.Hi, int64(to-from)-(b.Lo-a.Hi), -1), perBillion(b.Hi-a.Lo, int64(to-from)-(b.Hi-a.Lo), 1), true
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

func (c Config) drift() drift {
	ppm := c.DriftPPM
	if ppm <= 0 {
		ppm = DefaultDriftPPM
	}
	return drift(max(1, min(ppm*1000, perUnit)))
}

func (c Config) clocks() []int {
	clock := make([]int, c.Hosts)
	for h := range clock {
		clock[h] = h
		if h < len(c.ClockIDs) && c.ClockIDs[h] != "" {
			clock[h] = slices.Index(c.ClockIDs, c.ClockIDs[h])
		}
	}
	return clock
}

// limitsOf are the limits of one ordered pair of clocks, both on the axis of the
// first.
type limitsOf struct{ ahead, behind []limit }

// limits turns each message into two: one on the axis of its sender's clock and one
// on that of its receiver's. Both are exact, since the limit on the offset holds at
// the departure as well as at the arrival; see DESIGN.md.
func (m *Model) limits(messages []Message) []limitsOf {
	n := len(m.clock)
	pairs := make([]limitsOf, n*n)
	sizes := make([]int, n*n)
	for _, msg := range messages {
		sizes[m.clock[msg.From]*n+m.clock[msg.To]]++
	}
	for i := range n {
		for j := range n {
			pairs[i*n+j].ahead = make([]limit, 0, sizes[i*n+j])
			pairs[i*n+j].behind = make([]limit, 0, sizes[j*n+i])
		}
	}
	for _, msg := range messages {
		from, to := m.clock[msg.From], m.clock[msg.To]
		most := add(add(int64(msg.Received), -int64(msg.Sent)), add(msg.SentErr, msg.ReceivedErr))
		if from == to {
			m.checkSame(msg, most)
			continue
		}
		m.messages[from]++
		m.messages[to]++
		there, back := &pairs[from*n+to], &pairs[to*n+from]
		there.ahead = append(there.ahead, limit{At: msg.Sent, Most: add(most, m.drift.over(msg.SentErr))})
		back.behind = append(back.behind, limit{At: msg.Received, Most: add(most, m.drift.over(msg.ReceivedErr))})
	}
	return pairs
}

// checkSame looks at a message between two hosts that read one clock: all it can
// tell is that a stamp lies.
func (m *Model) checkSame(msg Message, most int64) {
	if most < 0 {
		m.broken = append(m.broken, Contradiction{A: msg.From, B: msg.To, At: msg.Sent, Lo: 0, Hi: most})
	}
}

func (m *Model) connect(owner, to int, limits limitsOf) {
	if owner == to || len(limits.ahead)+len(limits.behind) == 0 {
		return
	}
	m.links[owner] = append(m.links[owner], link{
		to:     to,
		ahead:  newEnvelope(m.drift, limits.ahead),
		behind: newEnvelope(m.drift, limits.behind),
	})
}

// Messages counts the messages that tie the host's clock to another one.
func (m *Model) Messages(host int) int { return m.messages[m.clock[host]] }

// Same reports whether two hosts read the very same clock.
func (m *Model) Same(a, b int) bool { return m.clock[a] == m.clock[b] }

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
// both hold for At as such, whatever Err is. Where only one side of the offset is
// bounded At is that side, and where none is, At is the local time as it is.
func (m *Model) Stamp(host int, at Local, err int64) Stamp {
	lo, hi := m.reading(host, at, m.reference)
	switch {
	case lo == -Unbounded && hi == Unbounded:
		return Stamp{At: Lab(at), Err: Unbounded}
	case lo == -Unbounded:
		return Stamp{At: Lab(hi), Err: Unbounded}
	case hi == Unbounded:
		return Stamp{At: Lab(lo), Err: Unbounded}
	}
	// Where a contradiction left lo above hi, the error reaches over both.
	mid := lo + (hi-lo)>>1
	half := max(mid-lo, hi-mid, lo-mid, mid-hi)
	if err > 0 && m.clock[host] != m.clock[m.reference] {
		err = add(err, m.drift.over(err))
	}
	return Stamp{At: Lab(mid), Err: add(half, err)}
}

// Inconsistent lists where the messages contradict each other, the worst place of
// each pair of hosts. Nothing that the model says of those hosts can be believed.
func (m *Model) Inconsistent() []Contradiction { return m.broken }

// reading bounds what clock of host `to` reads at the instant when host's reads at.
// ±Unbounded stands for no bound.
//
// Bounds go along links: if a clock reads at most x then the next reads at most
// x plus the limit at x, because that sum grows with x. So each step is taken on
// the axis of the clock it starts from, no rate has to be assumed to change axes,
// and the best path is the shortest one with costs that depend on the time.
func (m *Model) reading(host int, at Local, to int) (lo, hi int64) {
	from, goal := m.clock[host], m.clock[to]
	if from == goal {
		return int64(at), int64(at)
	}
	if len(m.clock) == 2 {
		return m.direct(from, goal, at)
	}
	lows, highs := m.reach(from, at)
	return lows[goal], highs[goal]
}

// direct is reading over the one link between two clocks.
func (m *Model) direct(from, goal int, at Local) (lo, hi int64) {
	lo, hi = -Unbounded, Unbounded
	for _, l := range m.links[from] {
		if l.to == goal {
			lo, hi = max(lo, l.least(int64(at))), min(hi, l.greatest(int64(at)))
		}
	}
	return lo, hi
}

// reach bounds the readings of all clocks at once (Bellman and Ford's rounds, as
// many as a path can have links; a contradiction would go on for ever).
func (m *Model) reach(from int, at Local) (lows, highs []int64) {
	n := len(m.clock)
	lows, highs = make([]int64, n), make([]int64, n)
	for i := range n {
		lows[i], highs[i] = -Unbounded, Unbounded
	}
	lows[from], highs[from] = int64(at), int64(at)
	for round, changed := 1, true; changed && round < n; round++ {
		changed = false
		for i, links := range m.links {
			for _, l := range links {
				if l.to == from {
					continue
				}
				if hi := l.greatest(highs[i]); hi < highs[l.to] {
					highs[l.to], changed = hi, true
				}
				if lo := l.least(lows[i]); lo > lows[l.to] {
					lows[l.to], changed = lo, true
				}
			}
		}
	}
	return lows, highs
}

// greatest is the most that the link's far clock reads when its owner reads at most x.
func (l link) greatest(x int64) int64 {
	if x >= Unbounded {
		return Unbounded
	}
	most, ok := l.ahead.most(Local(x))
	if !ok {
		return Unbounded
	}
	return add(x, most)
}

// least is the least that the link's far clock reads when its owner reads at least x.
func (l link) least(x int64) int64 {
	if x <= -Unbounded {
		return -Unbounded
	}
	most, ok := l.behind.most(Local(x))
	if !ok {
		return -Unbounded
	}
	return add(x, -most)
}
