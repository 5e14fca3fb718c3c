package timeline

import (
	"flag"
	"testing"
)

var clockCases = flag.Uint64("clocks.cases", 15, "how many random labs TestClocksHoldTheTruth looks at")

// TestClocksHoldTheTruth: with clocks hours apart, drifting and wandering, paths of any
// asymmetry, probes lost and doubled, every stamp and every distance holds the truth, no
// arrival is before its departure, and so it is in what is reported of the clocks, by all
// that is known and by each method alone.
func TestClocksHoldTheTruth(t *testing.T) {
	for seed := range *clockCases {
		w := wildLab(seed)
		b := NewBuilder(w.run)
		for n := 1; n <= 3; n++ {
			tl, err := b.Build(n)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			w.checkOrder(t, tl)
			w.checkStamps(t, tl)
			if n == 2 {
				w.checkCertain(t, tl)
			}
			checkArrows(t, tl)
			for i := range tl.Connections {
				for s := range tl.Connections[i].Segments {
					w.checkSegment(t, tl, i, s)
				}
			}
		}
		for h := range w.run.Hosts {
			of, err := b.WithReference(w.run.Hosts[h].Name)
			if err != nil {
				t.Fatal(err)
			}
			w.checkReport(t, of, h)
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// checkArrows makes sure that nothing arrives before it left.
func checkArrows(t *testing.T, tl *Timeline) {
	t.Helper()
	for _, s := range tl.Transmissions() {
		if s.Departure < 0 || s.Arrival < 0 {
			continue
		}
		if d, a := tl.Moments[s.Departure].Stamp.At, tl.Moments[s.Arrival].Stamp.At; a < d || s.Impossible {
			t.Errorf("repetition %d: a segment leaves at %d and arrives at %d, impossible %v", tl.Repetition, d, a, s.Impossible)
		}
	}
}

// checkReport compares a report with the clocks that there are.
func (w *world) checkReport(t *testing.T, b *Builder, reference int) {
	t.Helper()
	r, err := b.ClockReport(7)
	if err != nil {
		t.Fatal(err)
	}
	if r.Reference != reference {
		t.Fatalf("the reference is %d, asked for %d", r.Reference, reference)
	}
	for h := range r.Hosts {
		var first, last int64
		for i, p := range r.Hosts[h].Points {
			at := w.clocks[h].when(-2e9, p.Local)
			if last = at; i == 0 {
				first = at
			}
			offset := int64(p.Local - w.clocks[reference].at(at))
			for name, bound := range map[string]ClockBound{"all": p.All, "probes": p.Probes, "segments": p.Segments} {
				if offset < bound.Lo-grain || offset > bound.Hi+grain {
					t.Errorf("host %d by %s at point %d: the offset is %d, not from %d to %d", h, name, i, offset, bound.Lo, bound.Hi)
				}
				if bound.Known() && (bound.Estimate < bound.Lo || bound.Estimate > bound.Hi) {
					t.Errorf("host %d by %s at point %d: the estimate %d is not from %d to %d", h, name, i, bound.Estimate, bound.Lo, bound.Hi)
				}
			}
		}
		if !r.Hosts[h].RateKnown || h == reference {
			continue
		}
		local := float64(w.clocks[h].at(last) - w.clocks[h].at(first))
		lab := float64(w.clocks[reference].at(last) - w.clocks[reference].at(first))
		if rate := (local/lab - 1) * 1e9; rate < float64(r.Hosts[h].RateLow)-2 || rate > float64(r.Hosts[h].RateHigh)+2 {
			t.Errorf("host %d: the rate is %.0f ppb, not from %d to %d", h, rate, r.Hosts[h].RateLow, r.Hosts[h].RateHigh)
		}
	}
}
