package clock

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// host is a simulated host whose truth is known: the difference of its clocks
// changes at a constant rate between two samples, and by steps.
type host struct {
	now    int64 // true CLOCK_MONOTONIC
	offset int64 // true CLOCK_REALTIME minus now
}

func (h *host) realtime() int64 { return h.now + h.offset }

// sample reads both clocks; the reading of now is wrong by at most err.
func (h *host) sample(t *rapid.T) Sample {
	err := rapid.Int64Range(0, 2_000).Draw(t, "err")
	wrong := rapid.Int64Range(-err, err).Draw(t, "wrong")
	return Sample{Monotonic: h.now + wrong, Realtime: h.realtime(), Err: err}
}

// slew lets time pass at a rate, and returns stamps taken on the way, each with the
// true time.
func (h *host) slew(t *rapid.T, elapsed, ppm int64) []taken {
	start := *h
	moments := rapid.SliceOfN(rapid.Int64Range(0, elapsed), 0, 5).Draw(t, "moments")
	var stamps []taken
	for _, after := range moments {
		at := host{start.now + after, start.offset + after*ppm/1_000_000}
		stamps = append(stamps, taken{at.realtime(), at.now})
	}
	h.now += elapsed
	h.offset += elapsed * ppm / 1_000_000
	return stamps
}

// taken is a stamp of CLOCK_REALTIME and the true CLOCK_MONOTONIC of its moment.
type taken struct{ realtime, truth int64 }

func drawHost(t *rapid.T) *host {
	return &host{
		now:    rapid.Int64Range(0, 1<<50).Draw(t, "uptime"),
		offset: rapid.Int64Range(1<<60, 1<<60+1<<50).Draw(t, "offset"),
	}
}

func elapsed(t *rapid.T) int64 {
	return rapid.Int64Range(10_000, 10_000_000_000).Draw(t, "elapsed")
}

func drawRate(t *rapid.T) int64 { return rapid.Int64Range(-50, 50).Draw(t, "ppm") }

func checkBound(t *rapid.T, m *Map, s taken) {
	at, err, ok := m.Monotonic(s.realtime)
	if ok && (s.truth < at-err || at+err < s.truth) {
		t.Fatalf("stamp %d: truth %d is outside of %d ± %d", s.realtime, s.truth, at, err)
	}
}

func TestMapHoldsTheTruthUnderSlew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, m := drawHost(t), &Map{}
		var stamps []taken
		m.Add(h.sample(t))
		for range rapid.IntRange(1, 20).Draw(t, "samples") {
			stamps = append(stamps, h.slew(t, elapsed(t), drawRate(t))...)
			if step := m.Add(h.sample(t)); step != nil {
				t.Fatalf("slewing was taken for a step: %+v", *step)
			}
		}
		for _, s := range stamps {
			checkBound(t, m, s)
			if _, _, ok := m.Monotonic(s.realtime); !ok {
				t.Fatalf("stamp %d lies between samples and was not mapped", s.realtime)
			}
		}
	})
}

func TestMapHoldsTheTruthAcrossSteps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, m := drawHost(t), &Map{}
		var stamps []taken
		m.Add(h.sample(t))
		for range rapid.IntRange(1, 20).Draw(t, "samples") {
			before, ppm := *h, drawRate(t)
			stamps = append(stamps, h.slew(t, elapsed(t), ppm)...)
			by := int64(0)
			if rapid.Bool().Draw(t, "stepped") {
				// More than two samples' errors and 500 ppm of both halves, twice over.
				by = rapid.Int64Range(50_000_000, 1<<42).Draw(t, "by")
				if rapid.Bool().Draw(t, "back") {
					by = -by
				}
				h.offset += by
			}
			stamps = append(stamps, h.slew(t, elapsed(t), ppm)...)
			checkStep(t, m.Add(h.sample(t)), by, before.now, h.now)
			for _, s := range stamps {
				checkBound(t, m, s)
				if _, _, ok := m.Monotonic(s.realtime); !ok && s.realtime <= h.realtime() {
					t.Fatalf("stamp %d of the time between the samples was not mapped", s.realtime)
				}
			}
		}
	})
}

func checkStep(t *rapid.T, step *Step, by, since, at int64) {
	switch {
	case by == 0 && step != nil:
		t.Fatalf("slewing was taken for a step: %+v", *step)
	case by != 0 && step == nil:
		t.Fatalf("a step by %d was not reported", by)
	case step == nil:
	case step.Since > since || step.At < at:
		t.Fatalf("step %+v does not surely contain [%d, %d]", *step, since, at)
	case abs(step.By-by) > 4_000+(at-since)/1_000:
		t.Fatalf("a step by %d was reported as %d", by, step.By)
	}
}

func TestMapKeepsTheOrderOfStamps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, m := drawHost(t), &Map{}
		first := h.realtime()
		m.Add(h.sample(t))
		for range rapid.IntRange(1, 10).Draw(t, "samples") {
			h.slew(t, elapsed(t), drawRate(t))
			m.Add(h.sample(t))
		}
		a := rapid.Int64Range(first, h.realtime()).Draw(t, "a")
		b := rapid.Int64Range(a, min(a+100, h.realtime())).Draw(t, "b")
		atA, _, okA := m.Monotonic(a)
		atB, _, okB := m.Monotonic(b)
		if okA && okB && atB < atA {
			t.Fatalf("stamps %d, %d were mapped to %d, %d", a, b, atA, atB)
		}
	})
}

func TestMapSaysWhenItCannotTell(t *testing.T) {
	const second = 1_000_000_000
	samples := []Sample{
		{1 * second, 101 * second, 50},
		{2 * second, 102 * second, 50},
		{3 * second, 203 * second, 50}, // forward by 100 s
		{4 * second, 204 * second, 50},
		{5 * second, 203 * second, 50}, // back by 2 s
		{6 * second, 204 * second, 50},
		{9 * second, 207 * second, 50},
	}
	var m Map
	if _, _, ok := m.Monotonic(101 * second); ok {
		t.Error("a map without samples mapped a stamp")
	}
	var steps []Step
	for _, s := range samples {
		if step := m.Add(s); step != nil {
			steps = append(steps, *step)
		}
	}
	want := []Step{
		{By: 100 * second, Since: 2*second - 50, At: 3*second + 50},
		{By: -2 * second, Since: 4*second - 50, At: 5*second + 50},
	}
	if diff := cmp.Diff(want, steps); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	for _, c := range []struct {
		why             string
		realtime, since int64
		t, err          int64 // err 0: no answer
	}{
		{"before the first sample", 100 * second, 0, 0, 0},
		{"on the first sample", 101 * second, 0, 1 * second, 50},
		{"between two samples", 101*second + second/2, 0, second + second/2, 50},
		{"within a forward step", 150 * second, 0, 0, 0},
		{"right after the last sample before a step", 102*second + second/4, 0, 2*second + second/2, second/2 + 50},
		{"on both sides of a backward step", 203*second + second/2, 0, 4*second + second/2, second + 50},
		{"the same, not before the step", 203*second + second/2, 5*second + 51, 5*second + second/2, 50},
		{"between a backward step's samples, or after it", 202*second + second/2, 4*second + 51, 4*second + second/2, second/2 + 50},
		{"well after a backward step", 206*second + second/2, 0, 8*second + second/2, 50},
		{"not before a moment after it", 206*second + second/2, 9 * second, 0, 0},
		{"after the last sample", 208 * second, 0, 0, 0},
	} {
		at, err, ok := m.MonotonicSince(c.realtime, c.since)
		switch {
		case ok != (c.err != 0):
			t.Errorf("%s: got %d ± %d, %v", c.why, at, err, ok)
		case ok && (at != c.t || err != c.err):
			t.Errorf("%s: got %d ± %d, want %d ± %d", c.why, at, err, c.t, c.err)
		}
	}
}

func TestMapDropsSamplesThatSayNothingNew(t *testing.T) {
	var m Map
	m.Add(Sample{1000, 5000, 10})
	for _, s := range []Sample{{1000, 5000, 10}, {900, 4900, 10}, {1005, 4995, 10}} {
		if step := m.Add(s); step != nil {
			t.Errorf("%+v gave a step %+v", s, *step)
		}
	}
	if len(m.samples) != 1 {
		t.Errorf("the map holds %d samples, want 1", len(m.samples))
	}
}

func TestMapForgetsTheOldest(t *testing.T) {
	const n = 3 * MaxSamples
	var m Map
	offset := int64(1 << 60)
	for i := range int64(n) {
		if i%1000 == 999 {
			offset += 1_000_000
		}
		m.Add(Sample{Monotonic: i * 1_000_000, Realtime: i*1_000_000 + offset, Err: 50})
		if len(m.samples) > MaxSamples {
			t.Fatalf("the map holds %d samples, at most %d are allowed", len(m.samples), MaxSamples)
		}
	}
	if len(m.starts) > MaxSamples/1000+1 {
		t.Errorf("the map remembers %d steps of forgotten samples", len(m.starts))
	}
	newest := int64(n-2)*1_000_000 + 300_000
	if at, _, ok := m.Monotonic(newest + offset); !ok || abs(at-newest) > 50 {
		t.Errorf("newest stretch: got %d, %v; want %d", at, ok, newest)
	}
	if _, _, ok := m.Monotonic(1<<60 + 500_000); ok {
		t.Error("a stamp older than all remembered samples was mapped")
	}
}

func BenchmarkMapMonotonic(b *testing.B) {
	var m Map
	for i := range int64(MaxSamples) {
		m.Add(Sample{Monotonic: i * 20_000_000, Realtime: i*20_000_000 + 1<<60, Err: 40})
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, ok := m.Monotonic(1<<60 + 30_000_000_000); !ok {
			b.Fatal("not mapped")
		}
	}
}

// TestMapHoldsTheTruthAcrossSmallStepsBack: a clock that is set back by little gives the same
// stamp twice, and the second moment may be beyond the next sample.
func TestMapHoldsTheTruthAcrossSmallStepsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, m := drawHost(t), &Map{}
		var stamps []taken
		m.Add(h.sample(t))
		for range rapid.IntRange(1, 20).Draw(t, "samples") {
			gap := rapid.SampledFrom([]int64{1e6, 20e6, 100e6, 1e9}).Draw(t, "gap")
			part := rapid.Int64Range(0, gap).Draw(t, "until")
			stamps = append(stamps, h.slew(t, part, 0)...)
			// What is right before the step counts most.
			stamps = append(stamps, taken{h.realtime(), h.now})
			h.offset -= rapid.Int64Range(0, 2*(smallestStep+gap/steady)).Draw(t, "by")
			stamps = append(stamps, taken{h.realtime(), h.now})
			stamps = append(stamps, h.slew(t, gap-part, 0)...)
			m.Add(h.sample(t))
			for _, s := range stamps {
				checkBound(t, m, s)
			}
		}
	})
	// Steps that 500 ppm would have hidden.
	for _, c := range []struct{ gap, by int64 }{{100e6, 40_000}, {1e9, 400_000}} {
		var m Map
		m.Add(Sample{1e9, 1 << 60, 50})
		m.Add(Sample{1e9 + c.gap, 1<<60 + c.gap, 50})
		if step := m.Add(Sample{1e9 + 2*c.gap, 1<<60 + 2*c.gap - c.by, 50}); step == nil || step.By != -c.by {
			t.Errorf("a step by %d ns between samples %d ns apart: %+v", -c.by, c.gap, step)
		}
	}
}

// TestMapPlacesWhatWasReadLate: after the clock was set back, stamps from before are still
// unread, and above all that the clock shows now.
func TestMapPlacesWhatWasReadLate(t *testing.T) {
	const ms = 1_000_000
	var m Map
	for i := range int64(20) {
		m.Add(Sample{i * 50 * ms, 1<<60 + i*50*ms, 50})
	}
	m.Add(Sample{1000 * ms, 1<<60 - 5, 50})
	for ago := int64(52); ago < 500; ago += 50 {
		truth := (1000 - ago) * ms
		if at, err, ok := m.Monotonic(1<<60 + truth); !ok || abs(at-truth) > err || err > 100 {
			t.Errorf("a stamp of %d ms before a step back was moved to %d ± %d, %v; it was at %d", ago, at, err, ok, truth)
		}
	}
	if _, _, ok := m.Monotonic(1<<60 + 1100*ms); ok {
		t.Error("a stamp above all samples was moved")
	}
}
