// Package statistics says what many measured lengths of time have in common, and whether two
// lots of them differ.
//
// It assumes nothing of how lengths are distributed: everything rests on their order. A
// length is known within an error, as all times of the lab are, and what crosses hosts has the
// error of their clocks' offset, which is the same in every repetition: no number of
// repetitions makes it smaller. So the error is carried along beside what the sample tells, and
// a difference that is not greater than the errors of both sides is told as one that nobody
// can know.
//
// Everything here is pure and deterministic, and safe for concurrent use.
package statistics

import (
	"math"
	"slices"

	"golang.org/x/perf/benchmath"
)

// Confidence is the probability with which an interval of this package holds what it is of.
const Confidence = 0.95

// Alpha is the probability below which a difference is not taken for chance.
const Alpha = 0.05

// Length is one measured length of time: Nanoseconds, surely within Err. Both must be finite.
type Length struct{ Nanoseconds, Err int64 }

// Summary is what a sample of lengths has in common. All but N are nanoseconds.
type Summary struct {
	N        int
	Min, Max int64
	// Median is the middle one, the mean of the two middle ones if N is even.
	Median int64
	// P90 and P99 are the least lengths that at least 90 % and 99 % of the sample do not
	// exceed: lengths that were measured.
	P90, P99 int64
	// MedianLow and MedianHigh hold the median of what the sample was drawn from, with a
	// probability of at least Confidence (by the binomial distribution of order statistics).
	// HasInterval is false where the sample is too small to say.
	MedianLow, MedianHigh int64
	HasInterval           bool
	// Err is the greatest error of any of the lengths.
	Err int64
	// Warnings are sentences that a reader should know.
	Warnings []string
}

// Summarize describes a sample. That of none is the zero value.
func Summarize(lengths []Length) Summary {
	s := Summary{N: len(lengths)}
	if s.N == 0 {
		return s
	}
	sorted := make([]int64, s.N)
	for i, l := range lengths {
		sorted[i] = l.Nanoseconds
		s.Err = max(s.Err, l.Err)
	}
	slices.Sort(sorted)
	s.Min, s.Max, s.Median = sorted[0], sorted[s.N-1], middle(sorted)
	s.P90, s.P99 = Quantile(sorted, 0.90), Quantile(sorted, 0.99)
	of := benchmath.AssumeNothing.Summary(sampleOf(lengths), Confidence)
	for _, w := range of.Warnings {
		s.Warnings = append(s.Warnings, w.Error())
	}
	if !math.IsInf(of.Lo, 0) && !math.IsInf(of.Hi, 0) {
		s.MedianLow, s.MedianHigh, s.HasInterval = int64(of.Lo), int64(of.Hi), true
	}
	return s
}

// sampleOf is a sample as package benchmath wants it.
func sampleOf(lengths []Length) *benchmath.Sample {
	values := make([]float64, len(lengths))
	for i, l := range lengths {
		values[i] = float64(l.Nanoseconds)
	}
	thresholds := benchmath.DefaultThresholds
	thresholds.CompareAlpha = Alpha
	return benchmath.NewSample(values, &thresholds)
}

// middle is the median of values that are sorted.
func middle(sorted []int64) int64 {
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return between(sorted[n/2-1], sorted[n/2])
}

// between is the mean of two values, lo <= hi, rounded down.
func between(lo, hi int64) int64 { return lo + (hi-lo)/2 }

// Quantile is the least of some sorted values that at least the given share of them do not
// exceed, the share being above 0 and at most 1 (the nearest rank).
func Quantile(sorted []int64, share float64) int64 {
	// Without the last term, 0.9 of 10 would be a little more than 9.
	rank := int(math.Ceil(share*float64(len(sorted)) - 1e-9))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// Spread is the median of some values and how far they typically are from it: the median
// absolute deviation, times 1.4826, which makes it the standard deviation of values that are
// distributed normally. Both are 0 for no values.
func Spread(values []int64) (median int64, deviation float64) {
	if len(values) == 0 {
		return 0, 0
	}
	sorted := slices.Sorted(slices.Values(values))
	median = middle(sorted)
	for i, v := range sorted {
		sorted[i] = max(v-median, median-v)
	}
	slices.Sort(sorted)
	return median, 1.4826 * float64(middle(sorted))
}
