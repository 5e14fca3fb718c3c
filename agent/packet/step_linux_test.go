package packet

import (
	"slices"
	"testing"
	"time"

	"syncline/agent/clock"
	synclinev1 "syncline/proto/syncline/v1"
)

// apart is how far apart two taps of one interface stamp a packet at most: each reads the
// clock when its turn comes.
const apart = 500_000

// TestBoundsAroundASteppedClock has two captures hear the same packets, one of which is told
// that CLOCK_REALTIME was stepped, as the kernel's stamps would be if somebody set it.
func TestBoundsAroundASteppedClock(t *testing.T) {
	for _, by := range []string{"1ms", "-1ms", "1s", "-1s", "1h", "-1h"} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			p := newPair(t)
			stepped, err := clock.ParseTest("step=" + by + "@250ms")
			if err != nil {
				t.Fatal(err)
			}
			far, _ := time.ParseDuration(by)
			cfg, told := p.config(), p.config()
			start := clock.Read()
			told.Clock = stepped.Started(start.Realtime)
			truth, r := p.client.record(cfg), p.client.record(told)
			// A busy machine may take the whole time for one of them.
			for n := 0; n < 20 || clock.Now() < start.Monotonic+int64(600*time.Millisecond); n++ {
				p.exchange(p.server4, 1, 1)
			}
			truth.drain()
			r.drain()
			truth.stop()
			r.stop()
			checkAround(t, truth.all(), r.all(), start.Realtime+int64(250*time.Millisecond), int64(far))
		})
	}
}

// checkAround holds what was heard with a step, at a moment of the host's CLOCK_REALTIME, to
// what was heard without.
func checkAround(t *testing.T, truth, events []*synclinev1.Event, moment, by int64) {
	if len(truth) != len(events) || len(truth) < 100 {
		t.Fatalf("one capture has %d events, the other %d", len(truth), len(events))
	}
	// Two taps may see packets of two processors in either order.
	of := map[segment]*synclinev1.Event{}
	for _, e := range truth {
		of[segmentOf(e.GetPacket())] = e
	}
	var before, after []int64
	for _, e := range events {
		real := of[segmentOf(e.GetPacket())]
		if real == nil {
			t.Fatalf("%v was heard by one capture alone", e)
		}
		shift, want := e.GetPacket().RealtimeNs-real.GetPacket().RealtimeNs, int64(0)
		at := real.GetPacket().RealtimeNs - moment
		if at >= 0 {
			want = by
		}
		if max(shift-want, want-shift) > apart && max(at, -at) > apart {
			t.Fatalf("the stamp %d ns after the step is off by %d, want %d", at, shift, want)
		}
		bound := e.GetPacket().ErrorNs
		if off := e.TimeNs - real.TimeNs; max(off, -off) > bound+real.GetPacket().ErrorNs+apart {
			t.Fatalf("a stamp %d ns after the step was moved to %d ± %d, and was taken at %d", at, e.TimeNs, bound, real.TimeNs)
		}
		if bound > int64(1500*time.Millisecond) {
			t.Fatalf("the bound %d ns after the step is %d", at, bound)
		}
		if at < 0 {
			before = append(before, bound)
		} else {
			after = append(after, bound)
		}
	}
	slices.Sort(before)
	slices.Sort(after)
	// Before the step nothing is in doubt but what a step back repeats, and the moments
	// between two comparisons of the clocks.
	if by > 0 && before[len(before)/2] > 100_000 {
		t.Errorf("half of the bounds before a step are above %d ns", before[len(before)/2])
	}
	if (by > 0 || by == -int64(time.Millisecond)) && after[len(after)/2] > 100_000 {
		t.Errorf("half of the bounds after a step are above %d ns", after[len(after)/2])
	}
}
