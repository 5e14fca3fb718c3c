package controller

import (
	"math"
	"slices"

	synclinev1 "syncline/proto/syncline/v1"
)

// confidence is what an interval of ratios is to have at least.
const confidence = 0.95

// median is the middle of values, the mean of the two middle ones if their number is
// even; NaN of none. It sorts values.
func median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	if n == 0 {
		return math.NaN()
	}
	return (values[(n-1)/2] + values[n/2]) / 2
}

// quantile is the smallest of values that at least the share q of them does not exceed
// (the nearest rank). It sorts values, of which there must be one.
func quantile(values []int64, q float64) int64 {
	slices.Sort(values)
	rank := int(math.Ceil(q * float64(len(values))))
	return values[max(rank, 1)-1]
}

// medianInterval is the narrowest pair of order statistics around the median that holds
// the true median with at least the confidence, whatever the distribution; with too few
// values the widest pair there is. It gives the probability with which the pair does.
// The values must be sorted, and at least one.
//
// The k-th smallest of n is above the true median exactly if fewer than k values are
// below it, and each of them is with probability 1/2: the pair (k, n+1-k) misses it
// with 2 P(B < k) for B binomial of n and 1/2.
func medianInterval(sorted []float64) (low, high, holds float64) {
	n := len(sorted)
	k, miss := 1, 2*math.Pow(0.5, float64(n))
	// term is P(B = k).
	term := float64(n) * math.Pow(0.5, float64(n))
	for k < (n+1)/2 && miss+2*term <= 1-confidence {
		miss += 2 * term
		term *= float64(n-k) / float64(k+1)
		k++
	}
	return sorted[k-1], sorted[n-k], max(0, 1-miss)
}

// paired is the median of values, by round, and of their ratios to bare, in the rounds
// that have both. nil if there is no value. bare is nil for the bare setting itself.
func paired(values, bare map[int]float64) *synclinev1.Cost {
	if len(values) == 0 {
		return nil
	}
	var all, ratios []float64
	for round, v := range values {
		all = append(all, v)
		if b, ok := bare[round]; ok && b > 0 {
			ratios = append(ratios, v/b)
		}
	}
	cost := &synclinev1.Cost{Value: median(all)}
	if len(ratios) > 0 {
		cost.Ratio = median(ratios)
		cost.RatioLow, cost.RatioHigh, cost.Confidence = medianInterval(ratios)
		cost.Pairs = uint32(len(ratios))
	}
	return cost
}

// pooled is the mean of values and its ratio to that of bare, without an interval: for
// what one repetition has too little of. least is how much of it there must be in all on
// either side for a ratio to mean something.
func pooled(values, bare map[int]float64, least float64) *synclinev1.Cost {
	if len(values) == 0 {
		return nil
	}
	sum, below := total(values), total(bare)
	cost := &synclinev1.Cost{Value: sum / float64(len(values))}
	if sum >= least && below >= least {
		cost.Ratio = cost.Value / (below / float64(len(bare)))
	}
	return cost
}

func total(values map[int]float64) (sum float64) {
	for _, v := range values {
		sum += v
	}
	return sum
}
