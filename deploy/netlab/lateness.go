package netlab

import (
	"math"
	"math/bits"
	"time"
)

// Lateness is a histogram of how much later than meant something happened. Its
// quantiles are the upper ends of its buckets, at most a quarter above the truth.
type Lateness struct {
	// counts by the leading three bits of the time in nanoseconds.
	counts [4 * 64]uint64
	total  uint64
	max    time.Duration
}

// add counts one; a negative time counts as 0.
func (l *Lateness) add(late time.Duration) {
	late = max(late, 0)
	l.counts[lateBucket(uint64(late))]++
	l.total++
	l.max = max(l.max, late)
}

// lateBucket puts the four values below 4 into buckets of their own, and four
// buckets into every octave above.
func lateBucket(ns uint64) int {
	if ns < 4 {
		return int(ns)
	}
	octave := bits.Len64(ns) - 1
	return 4*(octave-1) + int(ns>>(octave-2))&3
}

// lateEnd is the largest time in a bucket.
func lateEnd(bucket int) uint64 {
	if bucket < 4 {
		return uint64(bucket)
	}
	octave := bucket/4 + 1
	return (uint64(bucket%4)+5)<<(octave-2) - 1
}

// Count is how many were counted.
func (l Lateness) Count() uint64 { return l.total }

// Max is the largest of all, exactly.
func (l Lateness) Max() time.Duration { return l.max }

// Quantile is the time that a share q of all, 0 to 1, did not exceed; 0 if there are
// none.
func (l Lateness) Quantile(q float64) time.Duration {
	if l.total == 0 {
		return 0
	}
	need := min(max(uint64(math.Ceil(q*float64(l.total))), 1), l.total)
	var seen uint64
	for i, n := range l.counts {
		if seen += n; seen >= need {
			return min(time.Duration(lateEnd(i)), l.max)
		}
	}
	return l.max
}
