package timeline

import (
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
// cannot have been, before what they answer. Their ± says so, and nothing is called impossible.
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
		for _, s := range tl.Transmissions() {
			if s.Departure < 0 || s.Arrival < 0 {
				continue
			}
			if s.Impossible {
				t.Errorf("seed %d: %+v is called impossible", seed, s)
			}
			if s.Departure > s.Arrival {
				disordered++
				if !loose(tl, &s.Segment) {
					t.Errorf("seed %d: %+v is said to prove an order, and its moments have another", seed, s)
				}
			}
		}
	}
	if disordered == 0 {
		t.Error("no stamp was so loose that it put an arrival before its departure")
	}
}
