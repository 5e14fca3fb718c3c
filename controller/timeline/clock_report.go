package timeline

import (
	"fmt"
	"slices"
	"strings"

	"syncline/controller/clock"
)

// ClockReport is how the clocks of a run's hosts were over its time, as far as its
// messages tell.
type ClockReport struct {
	// Reference is the index of the host whose clock is the lab's.
	Reference int
	// Hosts in the order of the run.
	Hosts []ClockHistory
	// Pairs of hosts that told each other something directly, or whose two methods exclude
	// each other, in order.
	Pairs []ClockPair
	// DriftPPB and WanderPPB are what was assumed, as clock.Model has it.
	DriftPPB, WanderPPB uint64
	// Warnings are sentences a person must read before believing the rest.
	Warnings []string
}

// ClockHistory is one host's clock over the run.
type ClockHistory struct {
	// Method says what ties it to the reference, as HostClock.Method.
	Method string
	// Points are evenly over the run, the same moments for all hosts as well as they are
	// known.
	Points []ClockPoint
	// RateLow and RateHigh hold how much faster than the reference's clock this one surely
	// went, on the average from the first point to the last, in parts per billion. Nothing
	// is known unless RateKnown is set.
	RateLow, RateHigh int64
	RateKnown         bool
	// ErrMedian and ErrMax are half-widths over the points, in nanoseconds, by all that is
	// known; clock.Unbounded where half of the points, or any of them, is not bounded.
	ErrMedian, ErrMax int64
	// Changes are what the host reported of its clocks, in its own order.
	Changes []*Event
}

// ClockPoint is what is known of a host's clock when it reads Local.
type ClockPoint struct {
	Local clock.Local
	All   ClockBound
	// Probes and Segments are by each method alone.
	Probes, Segments ClockBound
}

// ClockBound surely holds the offset, the host's clock minus the reference's, in
// nanoseconds. Estimate is the best guess within it, and means nothing unless both sides
// are bounded.
type ClockBound struct {
	clock.Bound
	Estimate int64
}

// ClockPair is what two hosts told each other directly. A is the lower index.
type ClockPair struct {
	A, B int
	// Messages from A to B and from B to A that are known at both ends.
	ProbesThere, ProbesBack, SegmentsThere, SegmentsBack int
	// RoundTrip is the shortest of the probes, both ways without the time at the peer, in
	// nanoseconds; 0 if there was none.
	RoundTrip int64
	// Disagreement says where the methods exclude each other the most; empty if they do
	// not.
	Disagreement string
}

// ClockReport tells of the clocks at so many moments of the run, at least one. It is
// deterministic, as Build is. ErrNoEvents is in the chain of the error if nothing of the run
// is on record.
func (b *Builder) ClockReport(points int) (*ClockReport, error) {
	if b.err != nil {
		return nil, b.err
	}
	if !slices.ContainsFunc(b.run.Events, func(e Event) bool { return e.Sample == nil }) {
		return nil, fmt.Errorf("report of clocks: %w", ErrNoEvents)
	}
	if points < 1 {
		return nil, fmt.Errorf("report of clocks: %d moments asked for, want one or more", points)
	}
	r := &ClockReport{
		Reference: b.clocks.Reference(), DriftPPB: b.clocks.DriftPPB(), WanderPPB: b.clocks.WanderPPB(),
		Pairs: b.clockPairs(), Warnings: slices.Concat(b.warnOfClocks(), b.warnOfSights(), b.run.Notes),
	}
	for h := range b.run.Hosts {
		r.Hosts = append(r.Hosts, b.clockHistory(h, points))
	}
	return r, nil
}

// WithReference is the same run with another host's clock as the lab's, by the name of the
// host; the empty name is the one that makes the largest error least. The error has
// ErrNoSuchHost in its chain if no host has the name. Which packet is which
// was decided once, so timelines differ in their times and in the width of their errors,
// and in nothing else.
func (b *Builder) WithReference(name string) (*Builder, error) {
	if b.err != nil || name == "" {
		return b, b.err
	}
	var names []string
	for h := range b.run.Hosts {
		if b.run.Hosts[h].Name == name {
			other := *b
			other.tied = b.from(h)
			return &other, nil
		}
		names = append(names, b.run.Hosts[h].Name)
	}
	return nil, fmt.Errorf("%w as %q, whose clock could be the reference; there are %s", ErrNoSuchHost, name, strings.Join(names, ", "))
}

func (b *Builder) clockHistory(host, points int) ClockHistory {
	h := ClockHistory{Method: b.method[host]}
	for i := range points {
		h.Points = append(h.Points, b.clockPoint(host, b.moment(host, i, points)))
	}
	first, last := h.Points[0].Local, h.Points[points-1].Local
	h.RateLow, h.RateHigh, h.RateKnown = b.rate(host, first, last)
	h.ErrMedian, h.ErrMax = spread(h.Points)
	for _, e := range b.evidence.gaps[host] {
		if e.Step != nil {
			h.Changes = append(h.Changes, e)
		}
	}
	return h
}

// rate is how much faster than the reference's clock a host's went on the average, surely.
// Over a short run the offsets alone say less than what is assumed of clocks; one that stood
// still for a while went slower than that.
func (b *Builder) rate(host int, from, to clock.Local) (lo, hi int64, ok bool) {
	lo, hi, ok = b.clocks.Rate(host, from, to)
	if !ok || b.evidence.suspended(host) || b.evidence.suspended(b.clocks.Reference()) {
		return lo, hi, ok
	}
	drift := int64(b.clocks.DriftPPB())
	if lo > drift || hi < -drift {
		return lo, hi, true
	}
	return max(lo, -drift), min(hi, drift), true
}

// moment is what the host's clock read at the i-th of n moments of the run, which are
// evenly over the reference's time in it. Where the clock is not tied they are evenly over
// the host's own.
func (b *Builder) moment(host, i, n int) clock.Local {
	reference := b.stays[b.clocks.Reference()]
	own := b.stays[host]
	lab := evenly(reference.first, reference.last, i, n)
	at := evenly(own.first, own.last, i, n)
	// The guess is near, and the offset hardly changes on the way to what it should be.
	for range 4 {
		bound := b.clocks.Bound(host, at)
		if !bound.Known() {
			break
		}
		at = lab + clock.Local(bound.Mid())
	}
	return at
}

func (b *Builder) clockPoint(host int, at clock.Local) ClockPoint {
	return ClockPoint{
		Local: at, All: boundBy(b.clocks, host, at),
		Probes: boundBy(b.alone[clock.Probes], host, at), Segments: boundBy(b.alone[clock.Segments], host, at),
	}
}

// boundBy is what a model says of an offset; a missing model knows nothing.
func boundBy(m *clock.Model, host int, at clock.Local) ClockBound {
	b := ClockBound{Bound: clock.Bound{Lo: -clock.Unbounded, Hi: clock.Unbounded}}
	if m == nil {
		return b
	}
	b.Bound = m.Bound(host, at)
	if b.Known() {
		stamp := m.Stamp(host, at, 0)
		b.Estimate = int64(at) - int64(stamp.At)
		// Where the methods exclude each other the estimate reaches over both.
		b.Lo, b.Hi = min(b.Lo, b.Estimate), max(b.Hi, b.Estimate)
	}
	return b
}

// spread is the median and the greatest half-width.
func spread(points []ClockPoint) (median, most int64) {
	var errs []int64
	for i := range points {
		err := clock.Unbounded
		if all := points[i].All; all.Known() {
			err = all.Err()
		}
		errs = append(errs, err)
	}
	slices.Sort(errs)
	return errs[len(errs)/2], errs[len(errs)-1]
}

func (b *Builder) clockPairs() []ClockPair {
	said := make(map[pair]string)
	for _, d := range b.clocks.Disagreements() {
		said[pairOf(d.A, d.B)] = upper(b.disagreement(&d)) + "."
	}
	probes, segments := b.counts[clock.Probes], b.counts[clock.Segments]
	var all []ClockPair
	for x := range b.run.Hosts {
		for y := x + 1; y < len(b.run.Hosts); y++ {
			there, back := [2]int{x, y}, [2]int{y, x}
			p := ClockPair{
				A: x, B: y, ProbesThere: probes[there], ProbesBack: probes[back],
				SegmentsThere: segments[there], SegmentsBack: segments[back],
				RoundTrip: b.probes.trips[pair{x, y}], Disagreement: said[pair{x, y}],
			}
			if p.ProbesThere+p.ProbesBack+p.SegmentsThere+p.SegmentsBack > 0 || p.Disagreement != "" {
				all = append(all, p)
			}
		}
	}
	return all
}
