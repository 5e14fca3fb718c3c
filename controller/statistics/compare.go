package statistics

import (
	"math"
	"slices"

	"golang.org/x/perf/benchmath"
)

// Comparison is how a sample B differs from a sample A.
type Comparison struct {
	A, B Summary
	// Shift is by how much a length of B is typically longer than one of A, in nanoseconds:
	// the median of all differences between one of B and one of A (Hodges and Lehmann 1963).
	Shift int64
	// ShiftLow and ShiftHigh hold the shift between what the samples were drawn from, with
	// a probability of at least Confidence; HasInterval is false if they are too small to say.
	ShiftLow, ShiftHigh int64
	HasInterval         bool
	// P is the probability of a difference like this one between two samples of the same
	// distribution (the U-test of Mann and Whitney 1947). Adjust makes it one of several.
	P float64
	// Longer is the probability that a length of B is longer than one of A, ties counting
	// half: 0.5 is no difference (the effect size of Vargha and Delaney 2000).
	Longer float64
	// Err is the error that the shift may have beside what chance makes of it: that of both
	// samples together, in nanoseconds.
	Err int64
	// Least is the least P that samples of these sizes can come to, when every length of one is
	// longer than all of the other. Adjust makes it one of several as well.
	Least float64
	// TooFew says that no difference whatever could have been told from chance: Least is above
	// Alpha.
	TooFew bool
	// Warnings are sentences that a reader should know.
	Warnings []string
}

// Compare compares two samples. Both must have at least one length.
func Compare(a, b []Length) Comparison {
	c := Comparison{A: Summarize(a), B: Summarize(b)}
	c.Err = c.A.Err + c.B.Err
	tested := benchmath.AssumeNothing.Compare(sampleOf(a), sampleOf(b))
	c.P = min(tested.P, 1)
	if max(len(a), len(b)) <= stillCounted {
		// With ties the distribution is not symmetric, and twice its one tail is not twice the
		// other: the larger one claims less.
		c.P = max(c.P, min(benchmath.AssumeNothing.Compare(sampleOf(b), sampleOf(a)).P, 1))
	}
	c.Least = min(1, 2*math.Exp(-choose(len(a)+len(b), len(a))))
	c.TooFew = c.Least > Alpha
	for _, w := range tested.Warnings {
		c.Warnings = append(c.Warnings, w.Error())
	}
	from, to := sortedOf(a), sortedOf(b)
	d := differences{from, to}
	c.Shift = d.median()
	c.Longer = d.longer()
	k := d.bound()
	if k >= 1 {
		c.ShiftLow, c.ShiftHigh, c.HasInterval = d.nth(k), d.nth(d.count()-k+1), true
	}
	return c
}

func sortedOf(lengths []Length) []int64 {
	values := make([]int64, len(lengths))
	for i, l := range lengths {
		values[i] = l.Nanoseconds
	}
	slices.Sort(values)
	return values
}

// Ruling is what a comparison comes to.
type Ruling int

// What a comparison comes to.
const (
	// Alike: nothing shows that the samples differ, or they differ by less than matters.
	Alike Ruling = iota + 1
	// Changed: they differ.
	Changed
	// WithinError: they differ, and by no more than the errors of their clocks, which could
	// be all that is different.
	WithinError
	// TooFew: the samples are so small that no difference could have been told from chance.
	TooFew
)

// Ruling rules on the comparison. A shift of less than threshold, a share of A's median, does
// not matter.
func (c *Comparison) Ruling(threshold float64) Ruling {
	size := max(c.Shift, -c.Shift)
	switch {
	case c.TooFew && c.P > Alpha:
		return TooFew
	case c.P > Alpha || size == 0:
		return Alike
	case size <= c.Err:
		return WithinError
	case float64(size) < threshold*math.Abs(float64(c.A.Median)):
		return Alike
	}
	return Changed
}

// stillCounted is up to how many lengths with ties the U-test counts all arrangements.
const stillCounted = 25

// Adjust makes the probabilities of several comparisons those of all of them together: of so
// many that are made at once, some differ by chance (Holm 1979). It finds anew which samples
// are too small: what could tell a difference in one comparison may not in many.
func Adjust(comparisons []*Comparison) {
	p := make([]float64, len(comparisons))
	for i, c := range comparisons {
		p[i] = c.P
	}
	for i, adjusted := range Holm(p) {
		c := comparisons[i]
		c.P, c.Least = adjusted, min(1, c.Least*float64(len(p)))
		c.TooFew = c.Least > Alpha
	}
}

// Holm adjusts the probabilities of several tests, so that below Alpha there is, with that
// probability at most, any that is there by chance.
func Holm(p []float64) []float64 {
	order := make([]int, len(p))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case p[a] < p[b]:
			return -1
		case p[a] > p[b]:
			return 1
		}
		return 0
	})
	adjusted := make([]float64, len(p))
	greatest := 0.0
	for rank, i := range order {
		greatest = max(greatest, min(1, p[i]*float64(len(p)-rank)))
		adjusted[i] = greatest
	}
	return adjusted
}

// Fisher is the probability that two shares, has of a and has of b, differ as much as they do
// or more if both are of the same population (the exact test of Fisher 1922, two-sided).
func Fisher(hasA, a, hasB, b int) float64 {
	has, all := hasA+hasB, a+b
	chance := func(k int) float64 {
		return math.Exp(choose(a, k) + choose(b, has-k) - choose(all, has))
	}
	observed, p := chance(hasA), 0.0
	for k := max(0, has-b); k <= min(a, has); k++ {
		// What is as likely counts as well, whatever rounding makes of it.
		if c := chance(k); c <= observed*(1+1e-7) {
			p += c
		}
	}
	return min(p, 1)
}

// choose is the logarithm of the number of ways to choose k of n.
func choose(n, k int) float64 {
	x, _ := math.Lgamma(float64(n + 1))
	y, _ := math.Lgamma(float64(k + 1))
	z, _ := math.Lgamma(float64(n - k + 1))
	return x - y - z
}
