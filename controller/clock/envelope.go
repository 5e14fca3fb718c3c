package clock

import (
	"cmp"
	"math/bits"
	"slices"
	"sort"
)

// limit says that an offset was at most Most when the axis' clock read At.
type limit struct {
	At   Local
	Most int64
}

// envelope answers what is the most an offset can have been at any time of one
// clock, from limits at some times and a bound on how fast the offset moves. Each
// limit is the apex of a cone that opens with the drift; the answer is the lowest
// cone. Only limits that are the lowest somewhere are kept, so their order by time
// is also the order in which they rule, and the two next to a time decide.
type envelope struct {
	drift  drift
	limits []limit
}

// newEnvelope sorts limits in place and keeps those that matter.
func newEnvelope(d drift, limits []limit) *envelope {
	slices.SortFunc(limits, func(a, b limit) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Most, b.Most))
	})
	kept := limits[:0]
	for _, l := range limits {
		if n := len(kept); n > 0 && d.cone(kept[n-1], l.At) <= l.Most {
			continue
		}
		for n := len(kept); n > 0 && d.cone(l, kept[n-1].At) <= kept[n-1].Most; n-- {
			kept = kept[:n-1]
		}
		kept = append(kept, l)
	}
	return &envelope{drift: d, limits: slices.Clip(kept)}
}

// most returns the lowest cone at a time; false if there is no limit at all.
func (e *envelope) most(at Local) (int64, bool) {
	if e == nil || len(e.limits) == 0 {
		return 0, false
	}
	i := sort.Search(len(e.limits), func(i int) bool { return e.limits[i].At > at })
	lowest := Unbounded
	if i > 0 {
		lowest = e.drift.cone(e.limits[i-1], at)
	}
	if i < len(e.limits) {
		lowest = min(lowest, e.drift.cone(e.limits[i], at))
	}
	return lowest, lowest < Unbounded
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

// cone is the value at a time of the cone whose apex is l.
func (p drift) cone(l limit, at Local) int64 {
	return add(l.Most, p.over(add(int64(at), -int64(l.At))))
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
