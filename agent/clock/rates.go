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
	// leastKernel is the least change of the kernel's own setting that is told, in ppb.
	leastKernel = 100
	// tick is when a new setting has surely come into force.
	tick = int64(20e6)
	// patience is for how long a change that goes on is waited for.
	patience = 3 * window
)

// rate is an interval that holds how much faster CLOCK_MONOTONIC went than
// CLOCK_MONOTONIC_RAW between two readings, parts per billion.
type rate struct{ low, high float64 }

func (r rate) middle() int64 { return int64(math.Round((r.low + r.high) / 2)) }

func (r rate) width() float64 { return r.high - r.low }

func (r rate) apart(o rate) bool { return r.low > o.high || o.low > r.high }

// rateBetween is the rate from a to b; not known over less than shortest.
func rateBetween(a, b Pair) (r rate, known bool) {
	span := b.Value - a.Value
	if span < shortest {
		return rate{}, false
	}
	gained := float64(a.ahead() - b.ahead())
	wrong := float64(a.Err + b.Err + dither)
	return rate{(gained - wrong) / float64(span) * 1e9, (gained + wrong) / float64(span) * 1e9}, true
}

// rateOver is the rate from the narrowest reading of the first quarter to that of the last.
func rateOver(readings []Pair) (r rate, known bool) {
	if len(readings) < 2 {
		return rate{}, false
	}
	quarter := max(len(readings)/4, 1)
	return rateBetween(narrowest(readings[:quarter]), narrowest(readings[len(readings)-quarter:]))
}

// rates finds changes of the rate of CLOCK_MONOTONIC. The rate of the last second is
// compared with that of the ten seconds, or less, that began when it last changed. What is
// taken for a change is more than the readings' errors explain, so that none is found where
// there is none.
type rates struct {
	// begun are the readings of the first quarter of a second since the last change, of which
	// the narrowest is the start of before.
	begun []Pair
	// recent are those of the last two seconds, which before does not reach into.
	recent []Pair
	// before is the rate that others are compared with.
	before      rate
	knownBefore bool
	// rule is the rate that the kernel was told last, as far as it was taken note of.
	rule     int64
	ruled    bool
	changing *changing
}

// changing is a change whose new rate is being measured.
type changing struct {
	// It came after since, was seen first, and was over at at.
	since, first, at int64
	// by is by how much the kernel was told to go faster, ppb.
	by int64
}

// begin starts with a first reading.
func (r *rates) begin(now *Reading) {
	r.heed(now, now.Monotonic)
	if now.Raw != nil {
		r.begun, r.recent = []Pair{*now.Raw}, []Pair{*now.Raw}
	}
}

// add takes the next reading; the one before it was not before since.
func (r *rates) add(now *Reading, since int64) []Change {
	r.heed(now, since)
	if now.Raw == nil {
		// The kernel's word is all there is.
		return r.end()
	}
	p := *now.Raw
	r.recent = append(r.recent, p)
	if r.changing != nil {
		return r.settle(p)
	}
	// At first they are the later two thirds of all there are.
	kept := p.Monotonic - 2*window
	if len(r.begun) > 0 {
		kept = max(kept, p.Monotonic-(p.Monotonic-r.begun[0].Monotonic)*2/3)
	}
	for len(r.recent) > 2 && r.recent[1].Monotonic <= kept {
		r.recent = r.recent[1:]
	}
	if len(r.begun) == 0 || p.Monotonic-r.begun[0].Monotonic <= shortest {
		r.begun = append(r.begun, p)
	}
	r.compare(p)
	return nil
}

// heed notes that the kernel was told another rate since a moment.
func (r *rates) heed(now *Reading, since int64) {
	if now.Kernel == nil {
		return
	}
	ruled := now.Kernel.Rate
	by := ruled - r.rule
	if !r.ruled {
		r.rule, r.ruled = ruled, true
		return
	}
	if abs(by) < leastKernel {
		return
	}
	r.rule = ruled
	at := now.Monotonic + now.Err + tick
	if r.changing == nil {
		r.changing = &changing{since: since, at: at, first: now.Monotonic}
	}
	c := r.changing
	c.by += by
	if now.Monotonic-c.first < patience {
		c.at = max(c.at, at)
	}
}

// compare looks if the last second had another rate than what was before.
func (r *rates) compare(p Pair) {
	start := narrowest(r.begun)
	if r.recent[0].Value-start.Value <= longest {
		before, known := rateBetween(start, r.recent[0])
		if known && (!r.knownBefore || before.width() < r.before.width()) {
			r.before, r.knownBefore = before, true
		}
	}
	first := slices.IndexFunc(r.recent, func(q Pair) bool { return q.Monotonic >= p.Monotonic-window })
	now, known := rateOver(r.recent[first:])
	if known && r.knownBefore && now.apart(r.before) {
		r.changing = &changing{
			since: r.recent[0].Monotonic - r.recent[0].Err, at: p.Monotonic + p.Err, first: p.Monotonic,
		}
	}
}

// settle tells a change as soon as a second has passed since it was seen.
func (r *rates) settle(p Pair) []Change {
	c := r.changing
	after := r.since(c.at)
	if len(after) == 0 || p.Monotonic-after[0].Monotonic < window {
		return nil
	}
	found := []Change{r.measured(c, after)}
	r.changing, r.knownBefore = nil, false
	r.begun = after[:max(len(after)/4, 1)]
	r.recent = after
	r.before, r.knownBefore = rateOver(after)
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
	return Change{
		Kind: Slewed, Since: c.since, At: c.at,
		Before: r.best(r.before, r.knownBefore, r.rule-c.by),
		Rate:   r.best(now, known, r.rule),
	}
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
	c := r.changing
	if c == nil {
		return nil
	}
	r.changing = nil
	return []Change{r.measured(c, r.since(c.at))}
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
