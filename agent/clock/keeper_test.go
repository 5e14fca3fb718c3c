package clock

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kept is what a Keeper said, with the moment at which it did.
type kept struct {
	changes chan Change
	samples []Reading
	steady  []int64
	missing []*Unavailable
}

// keep runs a Keeper. What it said beside changes may be looked at after stop.
func keep(t *testing.T, c *Test) (k *kept, stop func()) {
	k = &kept{changes: make(chan Change, 64)}
	keeper := &Keeper{
		Clock:   c,
		Sampled: func(r Reading, steady int64) { k.samples, k.steady = append(k.samples, r), append(k.steady, steady) },
		Changed: func(c Change) { k.changes <- c },
		Missing: func(u *Unavailable) { k.missing = append(k.missing, u) },
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		keeper.Run(ctx)
		close(ended)
	}()
	return k, func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Fatal("the keeper goes on 10 s after its end")
		}
	}
}

// next waits for a step.
func (k *kept) next(t *testing.T) Change {
	t.Helper()
	for {
		select {
		case c := <-k.changes:
			if c.Kind == Slewed {
				// Whoever steers this machine's clock may do so at any time.
				t.Logf("the machine's own clock changed its rate: %+v", c)
				continue
			}
			return c
		case <-time.After(10 * time.Second):
			t.Fatal("no step was told within 10 s")
		}
	}
}

func TestKeeperTellsEachStepOnce(t *testing.T) {
	started := Read()
	c := mustTest(t, "step=1ms@200ms,step=-1ms@500ms,step=1s@800ms,step=-1s@1100ms,step=1h@1400ms,step=-1h@1700ms").Started(started.Realtime)
	k, stop := keep(t, c)
	// The moments of the steps, by the reading of both clocks at the start.
	told, tally := make([]bool, len(c.steps)), 0
	for !told[len(told)-1] {
		got := k.next(t)
		var want int64
		for i, s := range c.steps {
			if moment := started.Monotonic + s.after; got.Since <= moment+started.Err && moment-started.Err <= got.At {
				if told[i] {
					t.Errorf("the step by %v was told twice", time.Duration(s.by))
				}
				told[i] = true
				want += s.by
			}
		}
		if got.Kind != Stepped || abs(got.By-want) > 50_000 {
			t.Errorf("steps by %v were told as %+v", time.Duration(want), got)
		}
		tally++
	}
	stop()
	for len(k.changes) > 0 {
		if c := <-k.changes; c.Kind != Slewed {
			t.Errorf("and %+v was told, which was not", c)
		}
	}
	// Where the process did not run for long, a step and the one back are none together.
	var untold int64
	for i, s := range c.steps {
		if !told[i] {
			untold += s.by
		}
	}
	if untold != 0 || tally < len(c.steps)-2 {
		t.Errorf("%d changes were told, and of %+v: %v", tally, c.steps, told)
	}
}

func TestKeeperRecordsTheClocks(t *testing.T) {
	before := Read()
	k, stop := keep(t, mustTest(t, "offset=1h,ppm=100"))
	stop()
	if len(k.samples) != len(k.steady) || k.steady[0] > 1 {
		t.Errorf("%d readings, and how steady the clock was: %v ppb; of the first nothing is known", len(k.samples), k.steady)
	}
	if len(k.samples) != 2 && len(k.samples) != 1 {
		t.Fatalf("%d readings in a moment, want one at the start and one at the end", len(k.samples))
	}
	first, last := k.samples[0], k.samples[len(k.samples)-1]
	if first.Monotonic+first.Err < before.Monotonic || last.Monotonic-last.Err > Now() {
		t.Errorf("readings at %d and %d", first.Monotonic, last.Monotonic)
	}
	if drift := first.Realtime - first.Monotonic - (before.Realtime - before.Monotonic); abs(drift) > 1e6 {
		t.Errorf("offset and rate of a test clock moved CLOCK_REALTIME by %d ns in a reading", drift)
	}
	for _, m := range k.missing {
		if !errors.Is(m, ErrUnavailable) || m.Reason == nil {
			t.Errorf("what is missing has no reason: %v", m)
		}
	}
}
