package controller

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	synclinev1 "syncline/proto/syncline/v1"
)

// serverAhead is how far the server's clock is ahead of the client's in runOfProbes, in
// nanoseconds; a datagram takes wayLong.
const (
	serverAhead = 3_600_000_000_000
	wayLong     = 30_000
)

// sight is one end of a datagram of the exchange with this number, at a time of the host.
func sight(at int64, peer string, exchange uint64, direction synclinev1.Direction, reply bool) *synclinev1.Event {
	return &synclinev1.Event{TimeNs: at, Fact: &synclinev1.Event_Probe{Probe: &synclinev1.Probe{
		Peer: peer, Direction: direction, Exchange: exchange, Reply: reply,
		Path: synclinev1.ProbePath_PROBE_PATH_EXPERIMENT, Origin: synclinev1.StampOrigin_STAMP_ORIGIN_KERNEL, ErrorNs: 100,
	}}}
}

// sampleAt is a reading of the clocks of a host that is watched closely.
func sampleAt(at int64) *synclinev1.Event {
	return &synclinev1.Event{TimeNs: at, Fact: &synclinev1.Event_ClockSample{ClockSample: &synclinev1.ClockSample{
		RealtimeNs: at, ErrorNs: 50, RawNs: at, RawErrorNs: 50, SteadyPpb: 750,
	}}}
}

// seenAt is what the client (A, which asks) and the server (B) see of some exchanges.
func seenAt(exchanges int) (client, server []*synclinev1.Event) {
	const in, out = synclinev1.Direction_DIRECTION_IN, synclinev1.Direction_DIRECTION_OUT
	for i := range exchanges {
		at, n := 1_000_000_000+int64(i)*100_000_000, uint64(i+1)
		client = append(client, sight(at, "B", n, out, false), sight(at+2*wayLong+10_000, "B", n, in, true))
		there := at + wayLong + serverAhead
		server = append(server, sight(there, "A", n, in, false), sight(there+10_000, "A", n, out, true))
	}
	return client, server
}

// runOfProbes is a finished run of two hosts that saw each other's probes and nothing else.
func runOfProbes(t *testing.T, c *testController) *synclinev1.Run {
	t.Helper()
	client, server := seenAt(20)
	c.pair(func(a, b *fakeAgent) {
		b.hello.TestClock = "offset=1h0m0s"
		for _, f := range []struct {
			*fakeAgent
			sights []*synclinev1.Event
			began  int64
		}{{a, client, 0}, {b, server, serverAhead}} {
			f.finish = func(run string) (uint64, uint64) {
				events := append(slices.Clone(f.sights), sampleAt(f.began+500_000_000), sampleAt(f.began+4_000_000_000),
					mark(0, 1, synclinev1.MarkKind_MARK_KIND_REPETITION_BEGIN), mark(0, 1, synclinev1.MarkKind_MARK_KIND_REPETITION_END))
				for i, e := range events {
					if e.Number = uint64(i + 1); e.GetMark() != nil {
						e.TimeNs = f.began + 2_000_000_000
					}
				}
				if rejected, err := f.upload(f.chunkOf(run, 1, events...)); rejected != "" || err != nil {
					t.Errorf("upload: %s, %v", rejected, err)
				}
				return uint64(len(events)), 1
			}
		}
	})
	return c.follow(c.create("q", scenario).Id)
}

// TestGetClock: what the probes of a run tell of its clocks, from either host.
func TestGetClock(t *testing.T) {
	c := newTestController(t)
	run := runOfProbes(t, c)
	for _, reference := range []string{"", "A", "B"} {
		answer, err := c.timelines.GetClock(t.Context(), &synclinev1.GetClockRequest{RunId: run.Id, Reference: reference, Points: 5})
		if err != nil {
			t.Fatal(err)
		}
		r := answer.Report
		if r.Schema != ClockSchema || r.RunId != run.Id || len(r.Hosts) != 2 || r.DriftPpb == 0 {
			t.Fatalf("report %v", r)
		}
		of, other, ahead := 0, 1, int64(serverAhead)
		if reference == "B" {
			of, other, ahead = 1, 0, -serverAhead
		}
		if int(r.Reference) != of || r.Hosts[of].Method != "reference" || r.Hosts[other].Method != "probes" {
			t.Errorf("from %q: reference %d, methods %s and %s", reference, r.Reference, r.Hosts[0].Method, r.Hosts[1].Method)
		}
		if r.Hosts[1].TestClock != "offset=1h0m0s" || !strings.HasPrefix(r.Hosts[0].ClockId, "boot of client/") {
			t.Errorf("hosts %v", r.Hosts)
		}
		for i, p := range r.Hosts[other].Points {
			all := p.All
			if all.LowNs == nil || all.HighNs == nil || all.EstimateNs == nil || *all.LowNs > ahead || *all.HighNs < ahead || *all.HighNs-*all.LowNs > 3*wayLong {
				t.Errorf("from %q: point %d is %v, the truth is %d", reference, i, all, ahead)
			}
			if p.Segments.LowNs != nil || p.Segments.EstimateNs != nil || p.Probes.EstimateNs == nil {
				t.Errorf("from %q: point %d is by probes %v and by segments %v", reference, i, p.Probes, p.Segments)
			}
		}
		if h := r.Hosts[other]; len(h.Points) != 5 || h.RateLowPpb == nil || h.ErrorMedianNs == nil || *h.ErrorMaxNs < *h.ErrorMedianNs {
			t.Errorf("host %v", h)
		}
		if len(r.Pairs) != 1 || r.Pairs[0].ProbesThere != 20 || r.Pairs[0].ProbesBack != 20 || r.Pairs[0].RoundTripNs != 2*wayLong || r.Pairs[0].Disagree {
			t.Errorf("pairs %v", r.Pairs)
		}
		if len(r.Warnings) == 0 || !strings.Contains(r.Warnings[0], "The times of B are of a test clock (offset=1h0m0s)") {
			t.Errorf("warnings %q", r.Warnings)
		}
	}
}

// TestTimelineFromAnotherHost: the times of a timeline are those of the host that was asked
// for, and probes are none of its events.
func TestTimelineFromAnotherHost(t *testing.T) {
	c := newTestController(t)
	run := runOfProbes(t, c)
	for reference, want := range map[string]uint32{"": 0, "A": 0, "B": 1} {
		answer, err := c.timelines.GetTimeline(t.Context(), &synclinev1.GetTimelineRequest{RunId: run.Id, Repetition: 1, Reference: reference})
		if err != nil {
			t.Fatal(err)
		}
		tl := answer.Timeline
		if tl.Reference != want || tl.Hosts[want].Method != "reference" || tl.Hosts[1-want].Method != "probes" || tl.Hosts[1].Host.TestClock == "" {
			t.Errorf("from %q: reference %d, hosts %v", reference, tl.Reference, tl.Hosts)
		}
		if len(tl.Events) != 4 {
			t.Errorf("%d events, want the beginning and the end at each host", len(tl.Events))
		}
	}
}

func TestClockErrors(t *testing.T) {
	c := newTestController(t)
	run := runOfProbes(t, c)
	ctx := t.Context()
	clock := func(q *synclinev1.GetClockRequest) error { _, err := c.timelines.GetClock(ctx, q); return err }
	for _, tt := range []struct {
		what string
		err  error
		code codes.Code
		text string
	}{
		{"no run", clock(&synclinev1.GetClockRequest{RunId: "none"}), codes.NotFound, "none"},
		{"no host", clock(&synclinev1.GetClockRequest{RunId: run.Id, Reference: "Z"}), codes.InvalidArgument, `no such host as "Z", whose clock could be the reference; there are A, B`},
		{"many points", clock(&synclinev1.GetClockRequest{RunId: run.Id, Points: 10_001}), codes.InvalidArgument, "10001 points of a report on the clocks of 2 hosts; at most 10000"},
		{"no host of a timeline", timelineError(ctx, c, run.Id), codes.InvalidArgument, `no such host as "Z"`},
	} {
		if status.Code(tt.err) != tt.code || !strings.Contains(fmt.Sprint(tt.err), tt.text) {
			t.Errorf("%s: %v", tt.what, tt.err)
		}
	}
	if _, err := clockPointsWanted(200, 100); err == nil || !strings.Contains(err.Error(), "at most 100") {
		t.Errorf("200 points of 100 hosts: %v", err)
	}
	if n, err := clockPointsWanted(0, 2); n != clockPoints || err != nil {
		t.Errorf("%d points, %v", n, err)
	}
}

func timelineError(ctx context.Context, c *testController, run string) error {
	_, err := c.timelines.GetTimeline(ctx, &synclinev1.GetTimelineRequest{RunId: run, Repetition: 1, Reference: "Z"})
	return err
}
