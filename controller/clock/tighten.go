package clock

import (
	"iter"
	"math"
	"math/bits"
	"slices"
)

// steadiness is what is assumed of how a rate changes: within a time d without a
// reported change, by no more than step plus wander for each second of d.
type steadiness struct {
	drift, wander, step rate
}

// over is the most that a rate differs from itself d nanoseconds away.
func (s steadiness) over(d int64) rate {
	return s.step + s.grown(d)
}

// grown is the part of it that grows with the time.
func (s steadiness) grown(d int64) rate {
	return rate(mulDiv(uint64(d), uint64(s.wander), perUnit))
}

// The limits of the search for rates. Windows are an eighth of the span over which a
// rate is known best; there are so many that memory stays bounded however long a run
// was. Rounds go on while they gain at least a tenth.
const (
	windowsASpan = 8
	mostWindows  = 8192
	mostRounds   = 4
)

// tightening is the search for the rates between two clocks on one axis.
type tightening struct {
	steadiness
	ahead, behind *side
	growth        *growth
	// free are the windows in which a rate was changed.
	free []bool
	// best is the place of each window where the offset is known best.
	best []place
	// cursors of ahead and of behind.
	cursors [2]cursor
}

// place is a time at which the offset was within [lo, hi].
type place struct {
	at     Local
	lo, hi int64
}

func (p place) width() int64 { return p.hi - p.lo }
func (p place) known() bool  { return p.lo > -Unbounded && p.hi < Unbounded }

// tighten narrows what is known of the offset between two clocks by the assumption that
// rates are steady. Without anything to gain it returns the sides as they are; if the limits
// deny the assumption, nil and where.
func (l link) tighten(s steadiness, c changes) (ahead, behind *side, broken Local) {
	t := &tightening{steadiness: s, ahead: l.ahead, behind: l.behind}
	if !t.divide(c) {
		return l.ahead, l.behind, 0
	}
	free := t.freedom()
	for range mostRounds {
		t.look()
		if at, ok := t.narrow(); !ok {
			return nil, nil, at
		}
		t.ahead = newSide(t.growth, false, c.gaps, t.ahead.limits())
		t.behind = newSide(t.growth, true, c.gaps, t.behind.limits())
		if at, ok := t.possible(); !ok {
			return nil, nil, at
		}
		left := t.freedom()
		if left > free-free/10 {
			break
		}
		free = left
	}
	return t.ahead, t.behind, 0
}

// apexes calls visit with every place where a limit stands.
func (t *tightening) apexes(visit func(at Local)) {
	for _, s := range []*side{t.ahead, t.behind} {
		for at := range s.places() {
			visit(at)
		}
	}
}

func (t *tightening) place(at Local) place {
	p := place{at: at, lo: -Unbounded, hi: t.ahead.most(at, &t.cursors[0])}
	if low := t.behind.most(at, &t.cursors[1]); low < Unbounded {
		p.lo = -low
	}
	return p
}

// divide cuts the axis into windows; false if no rate can become better known than the
// bound on the drift.
func (t *tightening) divide(c changes) bool {
	first, last, least := Local(math.MaxInt64), Local(math.MinInt64), Unbounded
	t.apexes(func(at Local) {
		if p := t.place(at); p.known() {
			first, last, least = min(first, at), max(last, at), min(least, p.width())
		}
	})
	if least < 0 || last <= first || first < -farAway || last > farAway {
		return false
	}
	span := int64(last - first)
	if t.drift.over(span).ceil() <= least {
		return false
	}
	// The mean rate over a span T is known to 2·least/T, and a rate in its middle differs
	// from the mean by wander·T/4: together they are least at this T.
	best := 2 * math.Sqrt(float64(max(least, 1))*perUnit/float64(t.wander)*(1<<32))
	step := max(int64(best)/windowsASpan, span/mostWindows+1, 1)
	t.windows(first, last, step, c.breaks)
	return true
}

// windows makes windows of a length from first to last, and of growing length before and
// after, as far as rates there say something of those.
func (t *tightening) windows(first, last Local, step int64, breaks []span) {
	var cuts []Local
	for at := first; at < last; at += Local(step) {
		cuts = append(cuts, at)
	}
	reach := int64(min(2*float64(t.drift)/float64(t.wander)*perUnit, float64(Unbounded/8)))
	for d := step; d/2 <= reach; d *= 2 {
		cuts = append(cuts, first-Local(d), last-Local(step)+Local(d))
	}
	slices.Sort(cuts)
	begin, end := cuts[0], cuts[len(cuts)-1]
	for _, b := range breaks {
		cuts = append(cuts, max(begin, min(b.from, end)), max(begin, min(b.to, end)))
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	// Beyond the ends nothing but the drift is known, as in a break.
	cuts = slices.Insert(cuts, 0, begin-1)
	t.free = make([]bool, len(cuts))
	most, least := make([]rate, len(cuts)), make([]rate, len(cuts))
	for k, at := range cuts {
		for len(breaks) > 0 && breaks[0].to <= at {
			breaks = breaks[1:]
		}
		t.free[k] = at < begin || at >= end || len(breaks) > 0 && breaks[0].from <= at
		most[k], least[k] = t.drift, -t.drift
	}
	t.growth = newGrowth(cuts, most, least)
}

// freedom is how much the rates leave open, summed over the windows with an end.
func (t *tightening) freedom() float64 {
	var sum float64
	for k := range len(t.growth.from) - 1 {
		if !t.free[k] {
			width := float64(t.growth.most[k] - t.growth.least[k])
			sum += float64(width * float64(t.growth.from[k+1]-t.growth.from[k]))
		}
	}
	return sum
}

// look finds the place of each window where the offset is known best.
func (t *tightening) look() {
	t.best = make([]place, len(t.growth.from))
	for k := range t.best {
		t.best[k] = place{lo: -Unbounded, hi: Unbounded}
	}
	t.apexes(func(at Local) {
		best := &t.best[t.growth.window(at, &t.cursors[0])]
		if p := t.place(at); p.known() && (!best.known() || p.width() < best.width()) {
			*best = p
		}
	})
}

// possible reports whether the limits leave an offset everywhere, or where they do not.
// The interval is narrowest where a limit stands.
func (t *tightening) possible() (at Local, ok bool) {
	ok = true
	t.apexes(func(where Local) {
		if p := t.place(where); p.lo > p.hi && ok {
			at, ok = where, false
		}
	})
	return at, ok
}

// narrow derives the rates in all windows from what is known of the offset at the best
// places; false, and where, if no rate is possible.
func (t *tightening) narrow() (at Local, ok bool) {
	from := t.growth.from
	most, least := slices.Clone(t.growth.most), slices.Clone(t.growth.least)
	for begin := 0; begin < len(from); {
		end := begin
		for end < len(from) && !t.free[end] {
			end++
		}
		if end > begin {
			t.narrowRun(begin, end, most, least)
		}
		begin = max(end, begin+1)
	}
	for k := range from {
		if least[k] > most[k] {
			return from[k], false
		}
	}
	t.growth = newGrowth(from, most, least)
	return 0, true
}

// narrowRun derives the rates in windows [begin, end), which no change interrupts.
func (t *tightening) narrowRun(begin, end int, most, least []rate) {
	levels := pyramid(t.best[begin:end])
	if len(levels) == 0 {
		return
	}
	next := 0
	for k := begin; k < end; k++ {
		w := span{t.growth.from[k], t.growth.from[k+1]}
		for next < len(levels[0])-1 && levels[0][next+1].at < w.to {
			next++
		}
		for level, places := range levels {
			t.narrowWindow(w, places, next>>level, &most[k], &least[k])
		}
	}
	t.spread(begin, end, most, least)
}

// pyramid halves the known places again and again; of two neighbours the better known stays.
func pyramid(best []place) (levels [][]place) {
	var places []place
	for _, p := range best {
		if p.known() {
			places = append(places, p)
		}
	}
	for len(places) > 1 {
		levels = append(levels, places)
		var half []place
		for i := 0; i < len(places); i += 2 {
			p := places[i]
			if i+1 < len(places) && places[i+1].width() < p.width() {
				p = places[i+1]
			}
			half = append(half, p)
		}
		places = half
	}
	return levels
}

// narrowWindow bounds the rate in a window by the mean rates between places about the one
// with index i.
func (t *tightening) narrowWindow(w span, places []place, i int, most, least *rate) {
	for a := max(i-2, 0); a <= i && a < len(places); a++ {
		for b := max(i, a+1); b <= i+2 && b < len(places); b++ {
			x, y := places[a], places[b]
			d := int64(y.at - x.at)
			if d <= 0 || !worth(x.width()+y.width(), d, *most-*least) {
				continue
			}
			differs := t.over(max(distance(w.from, x.at, y.at), distance(w.to, x.at, y.at)))
			// Readings are whole nanoseconds: each may be short of the truth by one.
			*most = min(*most, meanAbove(add(y.hi, -x.lo)+2, d)+differs)
			*least = max(*least, -(meanAbove(add(x.hi, -y.lo)+2, d) + differs))
		}
	}
}

// worth reports whether a mean rate known to width/d may narrow a rate known to within.
func worth(width, d int64, within rate) bool {
	if within <= 0 {
		return true
	}
	high, low := bits.Mul64(uint64(within), uint64(d))
	return uint64(max(width, 0)) < high<<32|low>>32 || high >= 1<<32
}

// meanAbove is gain/d, rounded up.
func meanAbove(gain, d int64) rate {
	if gain < 0 {
		return -rate(mulDivDown(uint64(-gain), 1<<32, uint64(d)))
	}
	return rate(min(mulDiv(uint64(gain), 1<<32, uint64(d)), mostRate))
}

// mostRate is more than any clock gains on another and leaves room for sums.
const mostRate = 1 << 40

// distance is how far a time is from those between x and y on the average, rounded up.
func distance(at, x, y Local) int64 {
	if at <= x || at >= y {
		// The middle, doubled, so that nothing is cut off.
		twice := 2*int64(at) - int64(x) - int64(y)
		return (max(twice, -twice) + 1) / 2
	}
	hi1, lo1 := bits.Mul64(uint64(at-x), uint64(at-x))
	hi2, lo2 := bits.Mul64(uint64(y-at), uint64(y-at))
	lo, carry := bits.Add64(lo1, lo2, 0)
	quotient, _ := bits.Div64(hi1+hi2+carry, lo, 2*uint64(y-x))
	return int64(quotient) + 1
}

// spread lets each window's rates say what they can of the other windows'.
func (t *tightening) spread(begin, end int, most, least []rate) {
	ownMost, ownLeast := slices.Clone(most[begin:end]), slices.Clone(least[begin:end])
	sweep := func(windows iter.Seq[int]) {
		high, low := rate(mostRate), rate(-mostRate)
		for k := range windows {
			grown := t.grown(int64(t.growth.from[k+1] - t.growth.from[k]))
			high, low = min(high+grown, mostRate), max(low-grown, -mostRate)
			most[k], least[k] = min(most[k], high+t.step), max(least[k], low-t.step)
			high, low = min(high, ownMost[k-begin]), max(low, ownLeast[k-begin])
		}
	}
	sweep(func(yield func(int) bool) {
		for k := begin; k < end && yield(k); k++ {
		}
	})
	sweep(func(yield func(int) bool) {
		for k := end - 1; k >= begin && yield(k); k-- {
		}
	})
}
