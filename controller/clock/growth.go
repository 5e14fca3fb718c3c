package clock

import "math/bits"

// fine is a signed number of 2^-32 nanoseconds, 128 bits wide: what clocks gain on
// each other over any time is exact in it, so that gains of neighbouring spans add up.
type fine struct {
	hi int64
	lo uint64
}

func (a fine) plus(b fine) fine {
	lo, carry := bits.Add64(a.lo, b.lo, 0)
	return fine{a.hi + b.hi + int64(carry), lo}
}

func (a fine) minus(b fine) fine {
	lo, borrow := bits.Sub64(a.lo, b.lo, 0)
	return fine{a.hi - b.hi - int64(borrow), lo}
}

// ceil is a in whole nanoseconds, rounded up and held within ±Unbounded.
func (a fine) ceil() int64 {
	a = a.plus(fine{0, 1<<32 - 1})
	switch {
	case a.hi >= 1<<30:
		return Unbounded
	case a.hi < -1<<30:
		return -Unbounded
	}
	return a.hi<<32 | int64(a.lo>>32)
}

// rate is how fast one clock gains on another: 2^-32 nanoseconds a nanosecond, which is
// about a quarter of a part per billion.
type rate int64

// rateOf is a rate in parts per billion, rounded up.
func rateOf(ppb uint64) rate { return rate(mulDiv(ppb, 1<<32, perUnit)) }

// over is the gain in d nanoseconds.
func (r rate) over(d int64) fine {
	negative := (r < 0) != (d < 0)
	hi, lo := bits.Mul64(uint64(max(r, -r)), uint64(max(d, -d)))
	gain := fine{int64(hi), lo}
	if negative {
		gain = fine{}.minus(gain)
	}
	return gain
}

// mulDiv is a·b/c, rounded up, at most Unbounded.
func mulDiv(a, b, c uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	lo, carry := bits.Add64(lo, c-1, 0)
	if hi += carry; hi >= c {
		return uint64(Unbounded)
	}
	q, _ := bits.Div64(hi, lo, c)
	return min(q, uint64(Unbounded))
}

// mulDivDown is a·b/c, rounded down, at most Unbounded.
func mulDivDown(a, b, c uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	if hi >= c {
		return uint64(Unbounded)
	}
	q, _ := bits.Div64(hi, lo, c)
	return min(q, uint64(Unbounded))
}

// growth bounds the rate of one clock against another in windows of the axis' time: in
// the window that begins at from[i] it was least[i] to most[i]. The first window reaches
// back for ever, the last one on for ever. up and down are the integrals of most and
// least up to the window's begin.
type growth struct {
	from        []Local
	most, least []rate
	up, down    []fine
}

// steady is the growth that only knows a bound on the drift.
func steady(drift rate) *growth {
	return newGrowth([]Local{0}, []rate{drift}, []rate{-drift})
}

func newGrowth(from []Local, most, least []rate) *growth {
	g := &growth{from: from, most: most, least: least, up: make([]fine, len(from)), down: make([]fine, len(from))}
	for i := 1; i < len(from); i++ {
		d := int64(from[i] - from[i-1])
		g.up[i] = g.up[i-1].plus(most[i-1].over(d))
		g.down[i] = g.down[i-1].plus(least[i-1].over(d))
	}
	return g
}

// cursor remembers where the last question was answered, since the next one is mostly about
// a time close by. The zero cursor is as good as any, and wrong ones do no harm.
type cursor struct{ window, apex int }

// window is the index of the window that a time is in.
func (g *growth) window(at Local, c *cursor) int {
	w := c.window
	for range 2 {
		if w < len(g.from) && g.from[w] <= at && (w+1 == len(g.from) || g.from[w+1] > at) {
			c.window = w
			return w
		}
		w++
	}
	low, high := 0, len(g.from)
	for low < high {
		if mid := int(uint(low+high) >> 1); g.from[mid] > at {
			high = mid
		} else {
			low = mid + 1
		}
	}
	c.window = max(0, low-1)
	return c.window
}

// until returns the integrals of most and of least up to a time.
func (g *growth) until(at Local, c *cursor) (up, down fine) {
	i := g.window(at, c)
	d := add(int64(at), -int64(g.from[i]))
	return g.up[i].plus(g.most[i].over(d)), g.down[i].plus(g.least[i].over(d))
}
