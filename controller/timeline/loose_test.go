package timeline

import (
	"fmt"
	"slices"
	"testing"

	"syncline/controller/clock"
)

// blur makes what a host stamped of packets in the second half of a repetition's time as
// loose as a step of CLOCK_REALTIME does, which went back by as much: each packet may have been
// then, or at any time from before the first one on.
func (w *world) blur(host, repetition int) (blurred int) {
	first, last := clock.Local(0), clock.Local(0)
	each := func(do func(e *Event)) {
		for i := range w.run.Events {
			if e := &w.run.Events[i]; e.Host == host && e.Repetition == repetition && e.Packet != nil {
				do(e)
			}
		}
	}
	each(func(e *Event) {
		if first == 0 || e.At < first {
			first = e.At
		}
		last = max(last, e.At)
	})
	half, low := first+(last-first)/2, first-(last-first)
	each(func(e *Event) {
		if e.At >= half {
			e.At = low + (last-low)/2
			e.Packet.Err = int64(last-low)/2 + 1
			blurred++
		}
	})
	return blurred
}

// TestLooseStampsAccuseNobody: stamps that are as far off as a step was put packets where they
// cannot have been, before what they answer. Their ± says so: nothing is called impossible, and
// each is drawn, within its ±, after what it answers.
func TestLooseStampsAccuseNobody(t *testing.T) {
	disordered := 0
	for seed := range uint64(20) {
		w := wildLab(seed)
		if w.blur(1, 2) == 0 {
			continue
		}
		b := NewBuilder(w.run)
		tl, err := b.Build(2)
		if err != nil {
			t.Fatal(err)
		}
		w.checkStamps(t, tl)
		disordered += checkUnaccused(t, fmt.Sprintf("seed %d", seed), tl)
	}
	if disordered == 0 {
		t.Error("no stamp was so loose that it put an arrival before its departure")
	}
}

// checkUnaccused makes sure that no packet that both taps saw is called impossible or drawn
// upwards, and counts those whose stamps alone would have them arrive before they left.
func checkUnaccused(t *testing.T, of string, tl *Timeline) (disordered int) {
	t.Helper()
	for _, s := range tl.Transmissions() {
		if s.Departure < 0 || s.Arrival < 0 {
			continue
		}
		from, to := &tl.Moments[s.Departure], &tl.Moments[s.Arrival]
		if s.Impossible || s.Departure > s.Arrival || from.Stamp.At > to.Stamp.At {
			lo, hi := tl.Apart(s.Departure, s.Arrival)
			t.Errorf("%s: %+v is called impossible or drawn upwards: %v, %v; apart %d to %d", of, s, from.Stamp, to.Stamp, lo, hi)
		}
		if middle(tl, from) > middle(tl, to) {
			disordered++
		}
	}
	return disordered
}

// middle is a moment's time by its stamp alone.
func middle(tl *Timeline, m *Moment) clock.Lab {
	return tl.certain.clocks.Stamp(m.Event.Host, m.Local, readingErr(m)).At
}

// shake puts the stamps of packets off by up to reach, so many packets of a host alike, and
// says so.
func (w *world) shake(reach int64, alike int) {
	seen, shift := make(map[int]int), make(map[int]int64)
	for i := range w.run.Events {
		e := &w.run.Events[i]
		if e.Packet == nil {
			continue
		}
		if seen[e.Host]%alike == 0 {
			shift[e.Host] = w.random.Int64N(2*reach) - reach
		}
		seen[e.Host]++
		e.At += clock.Local(shift[e.Host])
		e.Packet.Err = reach + 100
	}
}

// TestShakenStampsAccuseNobody: where the clocks are known by such packets alone, and so no
// better than their stamps, packets go round in circles that no single pair of stamps
// denies. Nothing is called impossible, and nothing is said to be in an order that it is not.
func TestShakenStampsAccuseNobody(t *testing.T) {
	for _, reach := range []int64{1e6, 200e6} {
		for _, alike := range []int{1, 7} {
			t.Run(fmt.Sprint(reach, alike), func(t *testing.T) {
				for seed := range uint64(3) {
					w := wildLab(seed)
					w.run.Events = slices.DeleteFunc(w.run.Events, func(e Event) bool { return e.Probe != nil })
					w.shake(reach, alike)
					b := NewBuilder(w.run)
					for n := 1; n <= 3; n++ {
						tl, err := b.Build(n)
						if err != nil {
							t.Fatal(err)
						}
						w.checkStamps(t, tl)
						checkUnaccused(t, fmt.Sprintf("seed %d, repetition %d", seed, n), tl)
						if n == 2 {
							w.checkCertain(t, tl)
						}
					}
				}
			})
		}
	}
}
