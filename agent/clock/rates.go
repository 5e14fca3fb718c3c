package clock

import (
	"math"
	"slices"
)

// How changes of rate are found.
const (
	// window is how long the rate is measured for, to be compared with that before. The
	// error of a reading and what dither adds, over this time, are what a change must exceed.
	window = int64(1e9)
	// shortest is over how long a rate is measured at least.
	shortest = window / 4
	// longest is over how long the rate is measured that others are compared with: then
	// it is known to a few tenths of a ppm, and drift enters no more.
	longest = 10 * window
	// dither is by how much CLOCK_MONOTONIC is off its own rate at any moment: the kernel's
	// multiplier is a whole number, and it changes between two of them.
	dither = 1_000
	// dithers is by how much it really is, at most: some 60 ns where it was looked at, and what
	// one unit of the multiplier, 240 ppb, brings over the longest pause between two looks.
	// A false alarm takes more than dither; that a change is surely seen takes dithers only.
	dithers = 200
	// history is how far back readings are kept, to tell since when a new rate may have been.
	history = 30 * window
	// leastKernel is the least change of the kernel's own setting that is told, in ppb.
	leastKernel = 100
	// tick is when a new setting has surely come into force.
	tick = int64(20e6)
	// patience is for how long a change that goes on is waited for.
	patience = 3 * window
)

// rate is an interval that holds how much faster CLOCK_MONOTONIC went than
// CLOCK_MONOTONIC_RAW between two readings, parts per billion.
type rate struct {
	low, high float64
	// wrong is how far the middle may be from the truth.
	wrong float64
}

func (r rate) middle() int64 { return int64(math.Round((r.low + r.high) / 2)) }

func (r rate) width() float64 { return r.high - r.low }

func (r rate) apart(o rate) bool { return r.low > o.high || o.low > r.high }

// rateBetween is the rate from a to b; not known over less than shortest.
func rateBetween(a, b Pair) (r rate, known bool) {
	if b.Value-a.Value < shortest {
		return rate{}, false
	}
	return measure(a, b), true
}

// measure is the rate from a to b, which is later.
func measure(a, b Pair) rate {
	span := float64(b.Value-a.Value) / 1e9
	gained := float64(a.ahead() - b.ahead())
	read := float64(a.Err + b.Err)
	return rate{(gained - read - dither) / span, (gained + read + dither) / span, (read + dithers) / span}
}

// rateOver is the rate from a reading of the first quarter to one of the last.
func rateOver(readings []Pair) (r rate, known bool) {
	if len(readings) < 2 {
		return rate{}, false
	}
	return rateBetween(ends(readings))
}

// ends are the readings of the first quarter and of the last between which the rate is known
// best.
func ends(readings []Pair) (a, b Pair) {
	quarter := max(len(readings)/4, 1)
	least := math.Inf(1)
	for _, early := range readings[:quarter] {
		for _, late := range readings[len(readings)-quarter:] {
			if width := float64(early.Err+late.Err+dither) / float64(late.Value-early.Value); width < least {
				a, b, least = early, late, width
			}
		}
	}
	return a, b
}

// rates finds changes of the rate of CLOCK_MONOTONIC. The rates of the last second and of the
// last two are compared with that of the ten seconds, or less, that began when it last changed.
// What is taken for a change is more than the readings' errors explain, so that none is found
// where there is none.
type rates struct {
	// begun are the readings of the first quarter of a second since the last change, of which
	// the narrowest is the start of before.
	begun []Pair
	// recent are those of the last two seconds, which before does not reach into, and older
	// those before them, since the last change.
	recent, older []Pair
	// before is the rate that others are compared with, over readings up to beforeEnd.
	before      rate
	knownBefore bool
	beforeEnd   int64
	// rule is the rate that the kernel was told last, as far as it was taken note of.
	rule     int64
	ruled    bool
	changing *changing
	steady   steadiness
}

// changing is a change whose new rate is being measured.
type changing struct {
	// It came after since, was seen first, and was over at at.
	since, first, at int64
	// by is by how much the kernel was told to go faster, ppb.
	by int64
	// seen is set if the readings have shown it, and nobody else: then it may have been
	// long before first.
	seen bool
}

// begin starts with a first reading.
func (r *rates) begin(now *Reading) {
	r.heed(now, now.Monotonic)
	r.steady.begin(now.Monotonic)
	if now.Raw != nil {
		r.begun, r.recent = []Pair{*now.Raw}, []Pair{*now.Raw}
	}
}

// add takes the next reading; the one before it was not before since.
func (r *rates) add(now *Reading, since int64) []Change {
	found := r.heed(now, since)
	if now.Raw == nil {
		// The kernel's word is all there is.
		return append(found, r.end()...)
	}
	p := *now.Raw
	if n := len(r.recent); n > 0 {
		r.steady.add(r.recent[n-1].Monotonic, p.Monotonic)
	}
	r.recent = append(r.recent, p)
	if r.changing != nil {
		return append(found, r.settle(p)...)
	}
	// At first they are the later two thirds of all there are.
	kept := p.Monotonic - 2*window
	if len(r.begun) > 0 {
		kept = max(kept, p.Monotonic-(p.Monotonic-r.begun[0].Monotonic)*2/3)
	}
	for len(r.recent) > 2 && r.recent[1].Monotonic <= kept {
		r.older, r.recent = append(r.older, r.recent[0]), r.recent[1:]
	}
	for len(r.older) > 0 && r.older[0].Monotonic < p.Monotonic-history {
		r.older = r.older[1:]
	}
	if len(r.begun) == 0 || p.Monotonic-r.begun[0].Monotonic <= shortest {
		r.begun = append(r.begun, p)
	}
	r.compare(p)
	return found
}

// heed notes that the kernel was told another rate since a moment. Where that goes on for long,
// what came until now is told.
func (r *rates) heed(now *Reading, since int64) (found []Change) {
	if now.Kernel == nil {
		return nil
	}
	ruled := now.Kernel.Rate
	by := ruled - r.rule
	if !r.ruled {
		r.rule, r.ruled = ruled, true
		return nil
	}
	if abs(by) < leastKernel {
		return nil
	}
	at := now.Monotonic + now.Err + tick
	if r.changing != nil && now.Monotonic-r.changing.first >= patience {
		found = []Change{r.tell(r.since(r.changing.at))}
	}
	if r.changing == nil {
		r.changing = &changing{since: since, first: now.Monotonic}
	}
	r.rule = ruled
	c := r.changing
	c.at = max(c.at, at)
	c.by += by
	return found
}

// compare looks if the last seconds had another rate than what was before.
func (r *rates) compare(p Pair) {
	start := narrowest(r.begun)
	if r.recent[0].Value-start.Value <= longest {
		before, known := rateBetween(start, r.recent[0])
		if known && (!r.knownBefore || before.width() < r.before.width()) {
			r.before, r.knownBefore, r.beforeEnd = before, true, r.recent[0].Monotonic
		}
	}
	if !r.knownBefore {
		return
	}
	for _, over := range [...]int64{window, 2 * window} {
		// The first of the recent readings is in before.
		first := slices.IndexFunc(r.recent[1:], func(q Pair) bool { return q.Monotonic >= p.Monotonic-over }) + 1
		readings := r.recent[first:]
		now, known := rateOver(readings)
		if !known {
			continue
		}
		if now.apart(r.before) {
			r.changing = &changing{
				since: r.begun[0].Monotonic - r.begun[0].Err, at: p.Monotonic + p.Err, first: p.Monotonic, seen: true,
			}
			return
		}
		least := (now.width()+r.before.width())/2 + now.wrong + r.before.wrong
		from, _ := ends(readings)
		r.steady.compared(r.beforeEnd, from.Monotonic, least)
	}
}

// settle tells a change as soon as a second has passed since it was seen.
func (r *rates) settle(p Pair) []Change {
	after := r.since(r.changing.at)
	if len(after) == 0 || p.Monotonic-after[0].Monotonic < window {
		return nil
	}
	return []Change{r.tell(after)}
}

// tell ends a change, of which the readings after it are known, and begins anew with these.
func (r *rates) tell(after []Pair) Change {
	found := r.measured(r.changing, after)
	r.steady.interrupt(found.Since, found.At)
	r.changing, r.knownBefore, r.older = nil, false, nil
	if len(after) == 0 {
		r.begun, r.recent = nil, r.recent[max(len(r.recent)-1, 0):]
		return found
	}
	r.begun = after[:max(len(after)/4, 1)]
	r.recent = after
	r.before, r.knownBefore = rateOver(after)
	r.beforeEnd = after[len(after)-1].Monotonic
	return found
}

// since are the readings from a moment on.
func (r *rates) since(at int64) []Pair {
	if i := slices.IndexFunc(r.recent, func(q Pair) bool { return q.Monotonic >= at }); i >= 0 {
		return r.recent[i:]
	}
	return nil
}

// measured is a change with the rates that are known best.
func (r *rates) measured(c *changing, after []Pair) Change {
	now, known := rateOver(after)
	since := c.since
	if c.seen && known {
		since = max(since, r.apartSince(after, now))
	}
	return Change{
		Kind: Slewed, Since: since, At: c.at,
		Before: r.best(r.before, r.knownBefore, r.rule-c.by),
		Rate:   r.best(now, known, r.rule),
	}
}

// apartSince is the last moment before which the rate surely was not that of the readings
// after a change: from there on they may all be on one line. If there is none among what is
// kept, it is the beginning of all.
func (r *rates) apartSince(after []Pair, now rate) int64 {
	early, late := ends(after)
	anchors := [...]Pair{early, late}
	for _, readings := range [][]Pair{r.recent, r.older} {
		for _, q := range slices.Backward(readings) {
			for _, a := range anchors {
				if q.Monotonic >= after[0].Monotonic {
					continue
				}
				between, known := rateBetween(q, a)
				if !known {
					continue
				}
				if between.apart(now) {
					return q.Monotonic - q.Err
				}
				now.low, now.high = max(now.low, between.low), min(now.high, between.high)
			}
		}
	}
	return math.MinInt64
}

// best is what the kernel was told, unless the readings show another rate: they are less
// exact, and know of all that the kernel does.
func (r *rates) best(measured rate, known bool, told int64) int64 {
	if !known || r.ruled && measured.low <= float64(told) && float64(told) <= measured.high {
		return told
	}
	return measured.middle()
}

// end tells a change that is not settled.
func (r *rates) end() []Change {
	if r.changing == nil {
		return nil
	}
	return []Change{r.tell(r.since(r.changing.at))}
}

// close ends the watch. One that was too short for comparisons is halved: its first half is
// compared with its second.
func (r *rates) close() []Change {
	found := r.end()
	all := slices.Concat(r.older, r.recent)
	if n := len(all); n > 0 {
		last := all[n-1].Monotonic
		r.steady.interrupt(last, last)
	}
	if len(found) == 0 && !r.steady.counted {
		found = r.halve(all)
	}
	r.steady.end()
	return found
}

// halve compares the halves of a short watch.
func (r *rates) halve(all []Pair) []Change {
	if len(all) < 4 {
		return nil
	}
	first, last := all[0], all[len(all)-1]
	middle := slices.IndexFunc(all, func(q Pair) bool { return q.Monotonic >= first.Monotonic/2+last.Monotonic/2 })
	if middle < 2 || len(all)-middle < 2 {
		return nil
	}
	before, now := measure(ends(all[:middle])), measure(ends(all[middle:]))
	if before.apart(now) {
		return []Change{{
			Kind: Slewed, Since: first.Monotonic - first.Err, At: last.Monotonic + last.Err, Before: before.middle(), Rate: now.middle(),
		}}
	}
	r.steady.keep(gap{all[middle-1].Monotonic, all[middle].Monotonic, (now.width()+before.width())/2 + now.wrong + before.wrong})
	return nil
}

// narrowest is the reading with the least error.
func narrowest(all []Pair) Pair {
	best := all[0]
	for _, p := range all {
		if p.Err < best.Err {
			best = p
		}
	}
	return best
}
