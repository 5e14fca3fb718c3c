package statistics

import "math"

// differences are all differences between a value of to and one of from, both sorted. They
// are never listed: of two samples of a thousand there are a million.
type differences struct{ from, to []int64 }

func (d differences) count() int { return len(d.from) * len(d.to) }

// atMost counts the differences that are not greater than v. It takes as many steps as there
// are values.
func (d differences) atMost(v int64) int {
	n, k := 0, 0
	for _, f := range d.from {
		for k < len(d.to) && d.to[k]-f <= v {
			k++
		}
		n += k
	}
	return n
}

// nth is the n-th least difference, from 1.
func (d differences) nth(n int) int64 {
	lo := d.to[0] - d.from[len(d.from)-1]
	hi := d.to[len(d.to)-1] - d.from[0]
	// lo and hi are differences, so that the number of values between them is what is halved.
	for lo < hi {
		mid := lo + int64(uint64(hi-lo)/2)
		if d.atMost(mid) >= n {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}

func (d differences) median() int64 {
	n := d.count()
	if n%2 == 1 {
		return d.nth(n/2 + 1)
	}
	return between(d.nth(n/2), d.nth(n/2+1))
}

// longer is the share of the differences that are above 0, those of 0 counting half.
func (d differences) longer() float64 {
	upTo, below := d.atMost(0), d.atMost(-1)
	above := d.count() - upTo
	return (float64(above) + float64(upTo-below)/2) / float64(d.count())
}

// bound is the rank, from 1, of the difference that bounds the shift from below: with a
// probability of at least Confidence the shift is between it and the one that has as many
// above it. It is 0 where not even the least and the greatest will do.
func (d differences) bound() int {
	n, m := len(d.from), len(d.to)
	if choose(n+m, n) < math.Log(1<<60) && n*m <= exactDifferences {
		return exactBound(n, m)
	}
	// The number of differences below 0 is distributed nearly normally.
	const z = 1.959964
	k := math.Floor(float64(n)*float64(m)/2 - z*math.Sqrt(float64(n)*float64(m)*float64(n+m+1)/12))
	return max(int(k), 0)
}

// exactDifferences is up to how many differences their distribution is counted out.
const exactDifferences = 10_000

// exactBound counts the ways in which two samples without ties can be arranged, by how many
// pairs are the wrong way round: the coefficients of the Gaussian binomial, whose sum is the
// number of all ways.
func exactBound(n, m int) int {
	ways := make([]int64, n*m+1)
	ways[0] = 1
	for i := 1; i <= n; i++ {
		for u := len(ways) - 1; u >= m+i; u-- {
			ways[u] -= ways[u-m-i]
		}
		for u := i; u < len(ways); u++ {
			ways[u] += ways[u-i]
		}
	}
	all := int64(0)
	for _, w := range ways {
		all += w
	}
	tail, below := float64(all)*(1-Confidence)/2, int64(0)
	for k, w := range ways {
		if below += w; float64(below) > tail {
			return k
		}
	}
	return 0
}
