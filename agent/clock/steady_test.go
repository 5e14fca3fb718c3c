package clock

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// looks are when a clock is looked at, and how wrong each reading may be: how small a change
// is seen depends on these alone.
type looks struct{ at, err []int64 }

// machineAt reads the clocks of a machine whose rate changes by ppb at a moment.
func (l *looks) watch(r *rand.Rand, rate, change float64, moment int64) (found []Change, steady int64) {
	var w Watcher
	for i, at := range l.at {
		ahead := -rate * float64(at-l.at[0]) / 1e9
		if at > moment {
			ahead -= change * float64(at-moment) / 1e9
		}
		err := l.err[i]
		// The kernel's multiplier alternates, which is no error of a reading; a clock is read in whole
		// nanoseconds, and their fractions are part of that.
		low, high := int64(math.Ceil(ahead-dithers/2)), int64(math.Floor(ahead+dithers/2))
		wrong := r.Int64N(2*err+1) - err
		p := Pair{at + wrong, at + low + r.Int64N(high-low+1) + 1<<40, err}
		found = append(found, w.Add(Reading{Sample: Sample{at, at + 1<<60, err}, Raw: &p})...)
	}
	found = append(found, w.End()...)
	steady, ok := w.Steady(l.at[len(l.at)-1])
	if !ok {
		panic("it does not know at the end of the watch")
	}
	return found, steady
}

func holds(found []Change, moment int64) bool {
	for _, c := range found {
		if c.Kind == Slewed && c.Since <= moment && moment <= c.At {
			return true
		}
	}
	return false
}

// TestNoChangeIsMissedAboveWhatIsTold draws how well a clock can be read, asks a steady one
// how small a change would be seen, and changes the rate by little more.
func TestNoChangeIsMissedAboveWhatIsTold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 7))
		base := rapid.SampledFrom([]int64{60, 150, 300, 500, 1_000, 2_000}).Draw(t, "error")
		later := rapid.SampledFrom([]int64{1, 1, 40, 100}).Draw(t, "better")
		noisy := rapid.IntRange(0, 10).Draw(t, "noisy")
		l := &looks{}
		length := rapid.Int64Range(3e9, 40e9).Draw(t, "length")
		for at := int64(1e12); at < 1e12+length; {
			err := base
			if at > 1e12+length/2 {
				// The machine has less to do from now on.
				err = max(base/later, 20)
			}
			if r.IntN(100) < noisy {
				err *= 1 + r.Int64N(100)
			}
			l.at, l.err = append(l.at, at), append(l.err, err)
			if at += 50e6 + r.Int64N(2e6); r.IntN(40) == 0 {
				at += r.Int64N(2e9)
			}
		}
		rate := rapid.Float64Range(-500_000, 500_000).Draw(t, "rate")
		found, floor := l.watch(r, rate, 0, 0)
		if len(found) > 0 {
			t.Fatalf("nothing happened, and was told as %+v", found)
		}
		if floor == 0 || floor >= 1e9 || l.at[len(l.at)-1]-l.at[0] < int64(2.2e9) {
			// Too little was seen to compare anything.
			return
		}
		change := float64(floor) * rapid.SampledFrom([]float64{1.001, 1.05, 1.3, 2, 10}).Draw(t, "times")
		if rapid.Bool().Draw(t, "slower") {
			change = -change
		}
		last := l.at[len(l.at)-1]
		for range 5 {
			moment := l.at[0] + window + r.Int64N(last-l.at[0]-2*window)
			if found, _ := l.watch(r, rate, change, moment); !holds(found, moment) {
				t.Fatalf("told to see %d ppb, a change by %.0f at %.3f of %.3f s is not in %+v", floor, change, float64(moment-1e12)/1e9, float64(last-1e12)/1e9, found)
			}
		}
	})
}

// TestHowSmallAChangeIsSeen has the figures of DESIGN.md.
func TestHowSmallAChangeIsSeen(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, err := range []int64{60, 150, 300, 500, 1_000, 2_000} {
		line := fmt.Sprintf("± %4d ns:", err)
		for _, seconds := range []int64{1, 2, 3, 5, 10, 30} {
			l := &looks{}
			for i := range seconds * 20 {
				l.at, l.err = append(l.at, 1e12+i*50e6), append(l.err, err)
			}
			_, floor := l.watch(r, 0, 0, 0)
			line += fmt.Sprintf("  %d s %5.2f", seconds, float64(floor)/1e3)
			if most := float64(8*(4*err+dither+dithers)) / float64(seconds); seconds < 5 && float64(floor) > most {
				t.Errorf("± %d ns over %d s: %d ppb, want at most %.0f", err, seconds, floor, most)
			}
		}
		t.Log(line)
	}
}

// TestASteeringThatGoesOnIsToldInParts: each change is in what is told, however many there are.
func TestASteeringThatGoesOnIsToldInParts(t *testing.T) {
	for _, by := range []int64{500, 2_000} {
		m := &machine{now: 1e12, realtime: 1 << 60, noise: 60}
		var w Watcher
		var found []Change
		var moments []int64
		for i := range 400 {
			if i >= 100 && i < 190 && i%10 == 0 {
				m.ppb += by
				m.kernel.Rate += by
				moments = append(moments, m.now)
			}
			m.pass(50e6)
			kernel, raw := m.kernel, Pair{m.now, int64(m.raw), 60}
			found = append(found, w.Add(Reading{Sample: Sample{m.now, m.now + m.realtime, 60}, Raw: &raw, Kernel: &kernel})...)
		}
		for _, moment := range moments {
			if !holds(found, moment) {
				t.Errorf("of changes by %d ppb, the one at %d is not in %+v", by, moment, found)
			}
		}
	}
}
