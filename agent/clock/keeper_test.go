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
	changes chan heard
	samples []Reading
	missing []*Unavailable
}

type heard struct {
	Change
	at int64
}

// keep runs a Keeper. What it said beside changes may be looked at after stop.
func keep(t *testing.T, c *Test) (k *kept, stop func()) {
	k = &kept{changes: make(chan heard, 64)}
	keeper := &Keeper{
		Clock:   c,
		Sampled: func(r Reading) { k.samples = append(k.samples, r) },
		Changed: func(c Change) { k.changes <- heard{c, Now()} },
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
func (k *kept) next(t *testing.T) heard {
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

func TestKeeperTellsEachStepOnceAndSoon(t *testing.T) {
	started := Read()
	c := mustTest(t, "step=1ms@200ms,step=-1ms@500ms,step=1s@800ms,step=-1s@1100ms,step=1h@1400ms,step=-1h@1700ms").Started(started.Realtime)
	k, stop := keep(t, c)
	for _, s := range c.steps {
		// The moment of the step, by the reading of both clocks at the start.
		moment := started.Monotonic + s.after
		got := k.next(t)
		if got.Kind != Stepped || abs(got.By-s.by) > 50_000 {
			t.Errorf("a step by %v was told as %+v", time.Duration(s.by), got.Change)
		}
		if got.Since > moment+started.Err || got.At < moment-started.Err {
			t.Errorf("a step at %d was told to be in [%d, %d]", moment, got.Since, got.At)
		}
		if late := time.Duration(got.at - moment); late > 200*time.Millisecond {
			t.Errorf("a step by %v was told %v after it", time.Duration(s.by), late)
		}
	}
	stop()
	for len(k.changes) > 0 {
		if c := <-k.changes; c.Kind != Slewed {
			t.Errorf("and %+v was told, which was not", c)
		}
	}
}

func TestKeeperRecordsTheClocks(t *testing.T) {
	before := Read()
	k, stop := keep(t, mustTest(t, "offset=1h,ppm=100"))
	stop()
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
