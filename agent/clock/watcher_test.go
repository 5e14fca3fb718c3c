package clock

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// machine is a simulated host, all of whose clocks are known. Time is its CLOCK_MONOTONIC.
type machine struct {
	now            int64
	realtime, boot int64 // minus now
	raw            float64
	ppb            int64 // how much faster now goes than raw
	kernel         Discipline
	// noise is how wrong a reading is at most, nearly always, and noisy how often, in
	// percent, it is up to a hundred times that.
	noise, noisy int64
}

func drawMachine(t *rapid.T) *machine {
	now, ppb := rapid.Int64Range(1e9, 1<<50).Draw(t, "uptime"), rapid.Int64Range(-500_000, 500_000).Draw(t, "ppb")
	return &machine{
		now: now, realtime: rapid.Int64Range(1<<60, 1<<60+1<<50).Draw(t, "realtime"),
		boot: rapid.Int64Range(0, 1<<45).Draw(t, "slept"), raw: float64(rapid.Int64Range(0, 1<<40).Draw(t, "raw")),
		ppb: ppb, kernel: Discipline{Rate: ppb},
		noise: rapid.Int64Range(20, 400).Draw(t, "noise"), noisy: rapid.Int64Range(0, 20).Draw(t, "noisy"),
	}
}

// pass lets time go by.
func (m *machine) pass(ns int64) {
	m.now += ns
	m.raw += float64(ns) / (1 + float64(m.ppb)/1e9)
}

func (m *machine) pair(t *rapid.T, value int64) Pair {
	err := rapid.Int64Range(1, m.noise).Draw(t, "err")
	if rapid.Int64Range(0, 99).Draw(t, "luck") < m.noisy {
		err *= 100
	}
	return Pair{Monotonic: m.now + rapid.Int64Range(-err, err).Draw(t, "wrong"), Value: value, Err: err}
}

func (m *machine) read(t *rapid.T) Reading {
	realtime, raw, boot, kernel := m.pair(t, m.now+m.realtime), m.pair(t, int64(m.raw)), m.pair(t, m.now+m.boot), m.kernel
	return Reading{Sample: Sample{realtime.Monotonic, realtime.Value, realtime.Err}, Raw: &raw, Boot: &boot, Kernel: &kernel}
}

// look is how long it takes to the next reading: 50 ms, and more on a busy host.
func look(t *rapid.T) int64 {
	if rapid.IntRange(0, 9).Draw(t, "late") == 0 {
		return rapid.Int64Range(50e6, 400e6).Draw(t, "pause")
	}
	return rapid.Int64Range(50e6, 52e6).Draw(t, "pause")
}

// run reads the clocks for a time, and returns what was found with the moment it was told.
func (m *machine) run(t *rapid.T, w *Watcher, elapsed int64) (found []Change, told []int64) {
	for end := m.now + elapsed; m.now < end; {
		m.pass(look(t))
		for _, c := range w.Add(m.read(t)) {
			found, told = append(found, c), append(told, m.now)
		}
	}
	return found, told
}

func TestWatcherKeepsStillOnSteadyClocks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, w := drawMachine(t), &Watcher{}
		found, _ := m.run(t, w, 15e9)
		if found = append(found, w.End()...); len(found) > 0 {
			t.Fatalf("nothing happened, and was told as %+v", found)
		}
	})
}

func TestWatcherFindsEachStepOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, w := drawMachine(t), &Watcher{}
		m.run(t, w, 200e6)
		for range rapid.IntRange(1, 5).Draw(t, "steps") {
			by := rapid.SampledFrom([]int64{200_000, 1e6, 1e9, int64(time.Hour), 1 << 55}).Draw(t, "by")
			if rapid.Bool().Draw(t, "back") {
				by = -by
			}
			m.realtime += by
			since := m.now
			found, told := m.run(t, w, 300e6)
			if len(found) != 1 || found[0].Kind != Stepped {
				t.Fatalf("a step by %d was told as %+v", by, found)
			}
			c := found[0]
			// 50 ppm of what passes between two readings is no step, and errs as much.
			if abs(c.By-by) > 2*100*m.noise+41_000 {
				t.Fatalf("a step by %d was told as one by %d", by, c.By)
			}
			if c.Since > since || c.At < since {
				t.Fatalf("a step at %d was told to be in [%d, %d]", since, c.Since, c.At)
			}
			if late := told[0] - since; late > 400e6 {
				t.Fatalf("a step was told after %d ns", late)
			}
		}
	})
}

func TestWatcherFindsSuspends(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, w := drawMachine(t), &Watcher{}
		m.run(t, w, 200e6)
		slept := rapid.Int64Range(1e9, 1e14).Draw(t, "slept")
		m.boot += slept
		// The hardware's clock, which tells how long it was, may be a second off.
		wrong := rapid.SampledFrom([]int64{0, 0, 700e6, -700e6}).Draw(t, "wrong")
		m.realtime += slept + wrong
		since := m.now
		found, _ := m.run(t, w, 2e9)
		want := 1
		if wrong != 0 {
			want = 2
		}
		if len(found) != want || found[0].Kind != Suspended {
			t.Fatalf("a suspend was told as %+v", found)
		}
		if c := found[0]; abs(c.By-slept) > 200*m.noise || c.Since > since || c.At < since {
			t.Fatalf("a suspend of %d at %d was told as %+v", slept, since, c)
		}
		if wrong != 0 && (found[1].Kind != Stepped || abs(found[1].By-wrong) > 400*m.noise) {
			t.Fatalf("a step by %d in the suspend was told as %+v", wrong, found[1])
		}
	})
}

func TestWatcherFindsSlews(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, w := drawMachine(t), &Watcher{}
		// What is seldom cut open is what a Keeper reads: the narrowest of five.
		m.noisy = rapid.Int64Range(0, 3).Draw(t, "noisy")
		m.run(t, w, rapid.Int64Range(1e9, 15e9).Draw(t, "before"))
		by := rapid.Int64Range(10_000, 500_000).Draw(t, "by")
		if rapid.Bool().Draw(t, "slower") {
			by = -by
		}
		told := rapid.Bool().Draw(t, "kernel")
		since, before := m.now, m.ppb
		m.ppb += by
		if told {
			m.kernel.Rate += by
		}
		found, when := m.run(t, w, 5e9)
		if len(found) != 1 || found[0].Kind != Slewed {
			t.Fatalf("a change of rate by %d ppb was told as %+v", by, found)
		}
		c := found[0]
		if c.Since > since || c.At < since || c.At > since+1_600e6 {
			t.Fatalf("a change of rate by %d ppb at %d was told to be in [%d, %d]", by, since, c.Since, c.At)
		}
		if late := when[0] - since; late > 3_000e6 {
			t.Fatalf("a change of rate was told after %d ns", late)
		}
		if abs(c.Before-before) > 6_000 || abs(c.Rate-m.ppb) > 6_000 {
			t.Fatalf("a change of rate from %d to %d ppb was told as %+v", before, m.ppb, c)
		}
	})
}

func TestWatcherTellsWhatTheKernelWasTold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, w := drawMachine(t), &Watcher{}
		raw := rapid.Bool().Draw(t, "raw")
		m.run(t, w, 3e9)
		if !raw {
			w = &Watcher{}
		}
		// Less than readings can show.
		by := rapid.Int64Range(leastKernel, 1_000).Draw(t, "by")
		m.ppb += by
		var found []Change
		for i := range 40 {
			m.pass(50e6)
			now := m.read(t)
			if !raw {
				now.Raw = nil
			}
			found = append(found, w.Add(now)...)
			if i == 0 {
				m.kernel.Rate += by
			}
		}
		if len(found) != 1 || found[0].Kind != Slewed || found[0].Rate-found[0].Before != by {
			t.Fatalf("the kernel was told %d ppb more, and that was told as %+v", by, found)
		}
	})
}

func TestWatcherTellsAtItsEndWhatIsNotMeasured(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, w := drawMachine(t), &Watcher{}
		m.noisy = 0
		m.run(t, w, 4e9)
		m.ppb += 100_000
		found, _ := m.run(t, w, 700e6)
		if found = append(found, w.End()...); len(found) != 1 || found[0].Kind != Slewed {
			t.Fatalf("a change of rate by 100 ppm was told as %+v", found)
		}
		if again := w.End(); len(again) > 0 {
			t.Fatalf("and again as %+v", again)
		}
	})
}

func TestStepKind(t *testing.T) {
	const second = int64(1e9)
	calm := &Discipline{TAI: 37}
	for _, c := range []struct {
		why       string
		by        int64
		last, now *Discipline
		want      Kind
	}{
		{"inserted, as announced", -second, &Discipline{Leap: -second, TAI: 37}, &Discipline{Leap: -second, Leaping: true, TAI: 38}, Leapt},
		{"deleted, as announced", second, &Discipline{Leap: second, TAI: 37}, &Discipline{Leap: second, Leaping: true, TAI: 36}, Leapt},
		{"inserted, and taken back at once", -second, &Discipline{Leap: -second, TAI: 37}, &Discipline{TAI: 38}, Leapt},
		{"announced and not counted", -second, &Discipline{Leap: -second}, &Discipline{Leap: -second, Leaping: true}, Leapt},
		{"somebody sets the clock on the day of a leap second", -second, &Discipline{Leap: -second, TAI: 37}, &Discipline{Leap: -second, TAI: 37}, Stepped},
		{"and in the other direction", second, &Discipline{Leap: -second, TAI: 37}, &Discipline{Leap: -second, TAI: 37}, Stepped},
		{"somebody sets the clock by a second", -second, calm, calm, Stepped},
		{"or by another time", -2 * second, &Discipline{Leap: -second}, &Discipline{Leaping: true}, Stepped},
		{"TAI is learnt", second, &Discipline{}, &Discipline{TAI: 37}, Stepped},
		{"nobody knows", -second, nil, nil, Stepped},
	} {
		if got := stepKind(c.by, 5_000, c.last, c.now); got != c.want {
			t.Errorf("%s: %v, want %v", c.why, got, c.want)
		}
	}
}

func TestWatcherIgnoresWhatIsNotLater(t *testing.T) {
	w := &Watcher{}
	w.Add(Reading{Sample: Sample{1000, 5000, 10}})
	if found := w.Add(Reading{Sample: Sample{1000, 99_999_999, 10}}); len(found) > 0 {
		t.Errorf("a reading of the same moment was told as %+v", found)
	}
}
