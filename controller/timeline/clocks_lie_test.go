package timeline

import (
	"strings"
	"testing"
)

// TestContradictionsDecideNothing: where messages contradict each other and it is not a few of
// them that lie, nothing across those hosts is decided by clocks, and that is the cause. Where
// one lies, however deep in the run, it is left out.
func TestContradictionsDecideNothing(t *testing.T) {
	bind := func(w *world, later int64) Verdict {
		w.repeat(1, 1e9, func(at int64) int64 {
			k := w.talk(0, 1, 40001, 1000)
			at = k.close(k.open(at), 0) + 300e6
			w.call(0, at, at+1000, Call{Lane: "client", Step: 3, Name: "bind", Socket: "x"})
			w.call(1, at+later, at+later+1000, Call{Lane: "server", Step: 3, Name: "bind", Socket: "y"})
			return at + 300e6
		})
		w.run.Experiment = expectations(t, "order enter(client.bind) < enter(server.bind)")
		tl, err := Build(w.run, 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range tl.Transmissions() {
			if s.Impossible {
				t.Errorf("%+v is called impossible", s)
			}
		}
		return tl.Verdicts[len(tl.Verdicts)-1]
	}
	for seed := range uint64(5) {
		for _, later := range []int64{-8_000, 8_000, -30e6, 30e6} {
			w := newWorld(seed, simClock{offset: 1e12}, simClock{offset: 5e12, ppm: 1000})
			w.probe(probing{asker: 0, peer: 1, to: 3e9, every: 50e6, there: quiet, back: quiet})
			v := bind(w, later)
			if v.Ruling != CannotTell || !strings.Contains(v.Reason, "the clocks of A and B contradict each other by ") {
				t.Errorf("seed %d, %d ns later: %s: %s", seed, later, v.Ruling, v.Reason)
			}
		}
	}
	w := newWorld(7, wildClocks(7, 2)...)
	for i, at := 0, int64(0); i < 6000; i, at = i+1, at+5e5 {
		there := quiet
		if i == 3000 {
			there.shift = -20e6
		}
		w.exchange(at, 0, 1, there, quiet)
	}
	if v := bind(w, -3e6); v.Ruling != Fail {
		t.Errorf("one probe of 6000 lies: %s: %s", v.Ruling, v.Reason)
	}
}

// TestLiesAccuseNobodyElse: a host whose stamps lie makes no two others contradict each
// other.
func TestLiesAccuseNobodyElse(t *testing.T) {
	w := newWorld(3, wildClocks(3, 4)...)
	marks(w, 1e9)
	for a := range 4 {
		for b := a + 1; b < 4; b++ {
			w.probe(probing{asker: a, peer: b, to: 3e9, every: 50e6, there: quiet, back: quiet})
		}
	}
	early := quiet
	early.shift = -50e6
	for b := 1; b < 4; b++ {
		w.exchange(1.52e9, 0, b, early, simPath{loss: 1})
	}
	b := NewBuilder(w.run)
	r, err := b.ClockReport(5)
	if err != nil {
		t.Fatal(err)
	}
	checkWarned(t, "the report", r.Warnings, []string{
		"The clocks of A and B contradict each other by ", "The clocks of A and C contradict", "The clocks of A and D contradict",
		"3 of the run's probes contradict most of the others and were left out of the clocks.",
	})
	w.checkReport(t, b, r.Reference)
}
