package clock

import (
	"cmp"
	"math/bits"
	"slices"
)

// limit says that an offset was at most Most when the axis' clock read At.
type limit struct {
	At   Local
	Most int64
}

func sortLimits(limits []limit) {
	byTime := func(a, b limit) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Most, b.Most)) }
	if !slices.IsSortedFunc(limits, byTime) {
		slices.SortFunc(limits, byTime)
	}
}

// apex is a limit with the integrals of the rates up to its place.
type apex struct {
	limit
	up, down fine
}

// envelope answers what is the most an offset can have been at any time of one
// clock, from limits at some times and bounds on how fast the offset moves. Each
// limit is the apex of a cone that opens with those rates; the answer is the lowest
// cone. Only limits that are the lowest somewhere are kept, so their order by time
// is also the order in which they rule, and the two next to a time decide.
type envelope struct {
	growth *growth
	// mirrored: the limits are of the offset's negative, whose rates are those of the
	// growth with the other sign.
	mirrored bool
	apexes   []apex
}

// newEnvelope keeps those limits, sorted by time, that matter.
func newEnvelope(g *growth, mirrored bool, limits []limit) *envelope {
	e := &envelope{growth: g, mirrored: mirrored}
	var c cursor
	for _, l := range limits {
		a := e.apex(l, &c)
		if n := len(e.apexes); n > 0 && e.apexes[n-1].cone(&a) <= l.Most {
			continue
		}
		for n := len(e.apexes); n > 0 && a.cone(&e.apexes[n-1]) <= e.apexes[n-1].Most; n-- {
			e.apexes = e.apexes[:n-1]
		}
		e.apexes = append(e.apexes, a)
	}
	return e
}

// apex adds the integrals to a limit; its Most may be anything.
func (e *envelope) apex(l limit, c *cursor) apex {
	up, down := e.growth.until(l.At, c)
	if e.mirrored {
		up, down = fine{}.minus(down), fine{}.minus(up)
	}
	return apex{l, up, down}
}

// cone is the value, at the place of another apex, of the cone whose apex is a.
func (a *apex) cone(at *apex) int64 {
	if at.At >= a.At {
		return add(a.Most, at.up.minus(a.up).ceil())
	}
	return add(a.Most, at.down.minus(a.down).ceil())
}

// most returns the lowest cone at a time; Unbounded if there is no limit at all.
func (e *envelope) most(at Local, c *cursor) int64 {
	if len(e.apexes) == 0 {
		return Unbounded
	}
	i := e.after(at, c)
	here := e.apex(limit{At: at}, c)
	lowest := Unbounded
	if i > 0 {
		lowest = e.apexes[i-1].cone(&here)
	}
	if i < len(e.apexes) {
		lowest = min(lowest, e.apexes[i].cone(&here))
	}
	return lowest
}

// after is the index of the first apex behind a time.
func (e *envelope) after(at Local, c *cursor) int {
	n, i := len(e.apexes), c.apex
	for range 2 {
		if i <= n && (i == 0 || e.apexes[i-1].At <= at) && (i == n || e.apexes[i].At > at) {
			c.apex = i
			return i
		}
		i++
	}
	low, high := 0, n
	for low < high {
		if mid := int(uint(low+high) >> 1); e.apexes[mid].At > at {
			high = mid
		} else {
			low = mid + 1
		}
	}
	c.apex = low
	return low
}

// drift bounds the rates of two clocks against each other, in parts per billion:
// neither gains more than this on the other.
type drift uint64

// over is how far two clocks may have moved apart in d nanoseconds of either,
// rounded up.
func (p drift) over(d int64) int64 {
	if d < 0 {
		d = -d
	}
	if d < 0 || d >= Unbounded {
		return Unbounded
	}
	high, low := bits.Mul64(uint64(d), uint64(p))
	low, carry := bits.Add64(low, perUnit-1, 0)
	quotient, _ := bits.Div64(high+carry, low, perUnit)
	return int64(min(quotient, uint64(Unbounded)))
}

const perUnit = 1_000_000_000

// add is a+b, held within ±Unbounded. Times of real clocks never come near.
func add(a, b int64) int64 {
	sum := a + b
	switch {
	case a > 0 && b > 0 && (sum < 0 || sum > Unbounded):
		return Unbounded
	case a < 0 && b < 0 && (sum >= 0 || sum < -Unbounded):
		return -Unbounded
	}
	return max(min(sum, Unbounded), -Unbounded)
}
