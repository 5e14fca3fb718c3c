package timeline

import (
	"slices"
	"strings"
	"testing"

	"syncline/controller/clock"
)

// watch replaces the samples of a host by some of its own clock: at true times, each with
// what its agent would have seen, and CLOCK_MONOTONIC_RAW steered away from by so much.
func (w *world) watch(host int, ppm float64, rawErr int64, steady uint64, times ...int64) {
	w.run.Events = slices.DeleteFunc(w.run.Events, func(e Event) bool { return e.Sample != nil && e.Host == host })
	first := w.clocks[host].at(times[0])
	for i, t := range times {
		at := w.clocks[host].at(t)
		w.run.Events = append(w.run.Events, Event{
			Host: host, Number: uint64(i) + 1<<62, Incarnation: 1, At: at,
			Sample: &ClockSample{Raw: 7e9 + int64(float64(at-first)/(1+ppm/1e6)), RawErr: rawErr, HasRaw: rawErr > 0, Steady: steady},
		})
	}
}

// TestSteadinessIsWhatAgentsSee: a change of the rate at once that an agent says it would
// not have seen is reckoned with, and one of a clock that nobody watched too. Whoever saw less
// knows less.
func TestSteadinessIsWhatAgentsSee(t *testing.T) {
	const warning = "how steadily the clock of B runs"
	spread := func(name string, warned bool, watch func(w *world)) int64 {
		var most int64
		for seed := range uint64(12) {
			// Six parts per million in mid-run, and no report of it.
			w := newWorld(seed, simClock{offset: 1e12, ppm: 20}, simClock{offset: 9e12, ppm: -40, turns: []simSteer{{2e9, 6}}})
			w.repeat(1, 1e9, func(at int64) int64 { return at })
			w.probe(probing{asker: 0, peer: 1, to: 4e9, every: 50e6, there: quiet, back: quiet})
			watch(w)
			b := NewBuilder(w.run)
			r, err := b.ClockReport(41)
			if err != nil {
				t.Fatal(err)
			}
			w.checkReport(t, b, 0)
			if got := strings.Contains(strings.Join(r.Warnings, " "), warning); got != warned {
				t.Errorf("%s: warned %v: %q", name, got, r.Warnings)
			}
			most = max(most, r.Hosts[1].ErrMedian)
		}
		return most
	}
	sees := spread("sees too little", false, func(w *world) { w.watch(1, 0, 0, 6_000, -1e9, 10e9) })
	blind := spread("sees nothing", true, func(w *world) { w.watch(1, 0, 0, 0, -1e9, 10e9) })
	silent := spread("says nothing", true, func(w *world) { w.watch(1, 0, 0, 750, 10e9) })
	if sees >= blind || blind != silent {
		t.Errorf("±%d ns where changes of 6 ppm may be unseen, ±%d ns where nobody watched, ±%d ns where nobody sampled", sees, blind, silent)
	}
}

// TestTimesThatNobodyWatched: between the samples that say so, and after the last, a rate
// may have changed as if that were reported.
func TestTimesThatNobodyWatched(t *testing.T) {
	b := &Builder{run: &Run{Hosts: []Host{{Name: "A"}}}, stays: []stay{{100, 900}}, samples: make([][]*Event, 1)}
	for _, s := range []struct {
		at          clock.Local
		steady      uint64
		incarnation uint64
	}{{150, 0, 1}, {200, 750, 1}, {300, 0, 1}, {400, 800, 1}, {500, 700, 2}, {600, 900, 2}} {
		b.samples[0] = append(b.samples[0], &Event{At: s.at, Incarnation: s.incarnation, Sample: &ClockSample{Steady: s.steady}})
	}
	want := []clock.Change{{Since: 100, At: 150}, {Since: 200, At: 300}, {Since: 400, At: 500}, {Since: 600, At: 900}}
	if got := b.unwatched(0); !slices.Equal(got, want) {
		t.Errorf("nobody watched in %v, want %v", got, want)
	}
	if got := b.untold(); got[0] != 900 {
		t.Errorf("changes up to %d parts per billion are unseen, want 900", got[0])
	}
}

// TestSteeringFromBeforeTheRun: it is in no report of a change, and CLOCK_MONOTONIC beside
// CLOCK_MONOTONIC_RAW has it.
func TestSteeringFromBeforeTheRun(t *testing.T) {
	for _, tt := range []struct {
		name     string
		watch    func(w *world)
		low, top uint64
	}{
		{"not read", func(w *world) { w.watch(1, 400, 0, 750, -1e9, 10e9) }, 200_000, 200_000},
		{"as much as quartz needs", func(w *world) { w.watch(1, 60, 50, 750, -1e9, 10e9) }, 200_000, 200_000},
		{"harder", func(w *world) { w.watch(1, 400, 50, 750, -1e9, 10e9) }, 600_000, 601_000},
		{"harder the other way", func(w *world) { w.watch(1, -400, 50, 750, -1e9, 10e9) }, 600_000, 601_000},
		{"read so badly that nothing follows", func(w *world) { w.watch(1, 60, 1e6, 750, -1e9, 1e9) }, 200_000, 200_000},
		{"over a short run, not well", func(w *world) { w.watch(1, 400, 2_000, 750, 0, 200e6) }, 600_000, 625_000},
		{"samples close by", func(w *world) { w.watch(1, 400, 500, 750, -1e9, -1e9+1000, -1e9+2000, 10e9, 10e9+1000) }, 600_000, 603_000},
	} {
		w := newWorld(1, simClock{offset: 1e12}, simClock{offset: 2e12})
		changed(w)
		tt.watch(w)
		r, err := NewBuilder(w.run).ClockReport(1)
		if err != nil {
			t.Fatal(err)
		}
		if r.DriftPPB < tt.low || r.DriftPPB > tt.top {
			t.Errorf("%s: %d parts per billion are assumed, want %d to %d", tt.name, r.DriftPPB, tt.low, tt.top)
		}
	}
}
