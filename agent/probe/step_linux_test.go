package probe

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"syncline/agent/clock"
	synclinev1 "syncline/proto/syncline/v1"
)

// CLOCK_REALTIME of one host is stepped in mid-session. Sights hold the truth all the same:
// none comes before it left, and each is bounded, if widely near the step; what is lost is
// counted. Those of well after the step are as exact as before.
func TestStepsInMidSession(t *testing.T) {
	for _, by := range []time.Duration{time.Millisecond, -time.Millisecond, time.Second, -time.Second, time.Hour, -time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			t.Parallel()
			p := newPair(t)
			p.acquaint(t, client4, server4)
			const after = 200 * time.Millisecond
			stepped, err := clock.ParseTest(fmt.Sprintf("step=%v@%v", by, after))
			if err != nil {
				t.Fatal(err)
			}
			began := clock.Read()
			stepped = stepped.Started(began.Realtime)
			at := began.Monotonic + int64(after)
			a := join(t, p.client, "A", func(c *Config) { c.Clock = stepped }, client4)
			b := join(t, p.server, "B", nil, server4)
			a.run(a.plan(MaxRate, b.peer(true)))
			b.run(b.plan(MaxRate, a.peer(false)))
			a.until("replies after the step", func(events []*synclinev1.Event) bool {
				late := 0
				for _, e := range sights(events, in, true) {
					if e.TimeNs > at+int64(100*time.Millisecond) {
						late++
					}
				}
				return late >= 20
			})
			stop(a, b)
			requests, missing := paired(t, a, b, false)
			replies, unseen := paired(t, b, a, true)
			if n := a.Counts(); uint64(len(missing)) > n.Lost || len(unseen) > 0 {
				t.Errorf("%d requests came that never left, %d replies; %+v", len(missing), len(unseen), n)
			}
			ordered(t, requests)
			ordered(t, replies)
			before, later := 0, 0
			for _, e := range append(sights(a.events, out, false), sights(a.events, in, true)...) {
				pr := e.GetProbe()
				moved := pr.RealtimeNs - began.Realtime - (e.TimeNs - began.Monotonic)
				switch near := int64(50 * time.Millisecond); {
				case e.TimeNs < at-near:
					before++
					if moved > near || -moved > near {
						// Not near the step, but as if it had happened.
						t.Errorf("before the step: %v", e)
					}
				case e.TimeNs > at+near:
					later++
					if d := moved - int64(by); pr.ErrorNs < 1e6 && (d > 1e6/2 || -d > 1e6/2) {
						t.Errorf("after the step: moved by %d: %v", moved, e)
					}
					if by > 0 && e.TimeNs > at+int64(100*time.Millisecond) && pr.ErrorNs > 1e6 {
						t.Errorf("well after the step: %v", e)
					}
				}
			}
			if before == 0 || later < 20 {
				t.Errorf("%d sights before the step, %d after it", before, later)
			}
		})
	}
}

// What has come is told even if the session is cancelled before it was read: replies may lie in
// the socket until the next request.
func TestACancelledSessionTellsWhatHasCome(t *testing.T) {
	a := join(t, nil, "A", nil, netip.MustParseAddr("127.0.0.1"))
	b := join(t, nil, "B", nil, netip.MustParseAddr("127.0.0.2"))
	b.run(b.plan(10, a.peer(false)))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { a.ran <- a.Run(ctx, a.plan(10, b.peer(true))) }()
	a.until("the first replies", func(events []*synclinev1.Event) bool { return len(sights(events, in, true)) >= inARow })
	// The next requests, whose replies nobody waits for.
	for deadline := newDeadline(t); b.Counts().Answered < 3*inARow; {
		deadline.check("an answer to the third turn")
	}
	cancel()
	if err := <-a.ran; err != nil {
		t.Fatal(err)
	}
	if n := a.Counts(); n.Met+n.Lost < 3*inARow {
		t.Errorf("%+v: what was answered is neither met nor lost", n)
	}
	stop(b)
}
