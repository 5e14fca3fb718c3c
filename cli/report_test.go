package cli

import (
	"bytes"
	"context"
	"io"
	"testing"

	"syncline/controller/timeline"
	"syncline/controller/web"
	synclinev1 "syncline/proto/syncline/v1"
)

// pageOf makes the page of recorded runs.
func pageOf(t testing.TB, names ...string) *web.Page {
	t.Helper()
	a := &app{Streams: Streams{Out: io.Discard, Err: io.Discard}}
	subjects, err := a.subjects(context.Background(), names)
	for _, s := range subjects {
		defer s.close()
	}
	if err != nil {
		t.Fatal(err)
	}
	p, err := a.page(t.Context(), subjects, "syncline report")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPageTellsOfTheRun: what a page says of a run before a repetition is opened is what
// its commands say.
func TestPageTellsOfTheRun(t *testing.T) {
	p := pageOf(t, bundled("basic-open-close"), bundled("backlog-overflow"))
	if len(p.Runs) != 2 {
		t.Fatalf("%d runs", len(p.Runs))
	}
	r := &p.Runs[0]
	if r.Experiment != "basic-open-close" || r.State != "sealed" || r.Ruling != "pass" || len(r.Hosts) != 2 || len(r.Repetitions) != 2 {
		t.Errorf("the run is told as %s, %s, %s with %d hosts and %d repetitions", r.Experiment, r.State, r.Ruling, len(r.Hosts), len(r.Repetitions))
	}
	if !bytes.Contains([]byte(r.Source), []byte("experiment: basic-open-close")) {
		t.Errorf("its experiment is %.60q", r.Source)
	}
	if len(r.Expectations) < 3 || r.Expectations[0].Text != timeline.EveryOutcome || r.Expectations[0].Pass != 2 {
		t.Errorf("its expectations are %+v", r.Expectations)
	}
	for i, o := range r.Repetitions {
		if o.N != i+1 || o.Connections != 1 || o.Moments < 20 || o.Took <= 0 || o.Signature == "" || o.Block == 0 || o.EventBlock == 0 {
			t.Errorf("repetition %d is told as %+v", i+1, o)
		}
	}
	if a, b := r.Repetitions[0], r.Repetitions[1]; b.Began < a.Began+a.Took {
		t.Errorf("repetition 2 began at %d, and 1 was over at %d", b.Began, a.Began+a.Took)
	}
	blocked := phaseOf(t, r, "connect.blocked")
	if blocked.N != 2 || len(blocked.Values) != 2 || blocked.Min > blocked.Median || blocked.Median > blocked.Max || blocked.Meaning == "" {
		t.Errorf("connect.blocked is %+v", blocked)
	}
	variants := map[string]bool{}
	for _, o := range p.Runs[1].Repetitions {
		variants[o.Variant] = true
	}
	if len(variants) < 2 {
		t.Errorf("backlog-overflow has the variants %v", variants)
	}
	if p.Opening.Repetition == 0 || p.Picture == "" {
		t.Errorf("the page opens on %+v", p.Opening)
	}
}

func phaseOf(t *testing.T, r *web.Run, name string) web.PhaseStatistics {
	t.Helper()
	for _, p := range r.Phases {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("no phase %s", name)
	return web.PhaseStatistics{}
}

// TestPageTellsOfTheClocks: at every moment the reference's own offset is 0, what is known
// by all lies within what is known by each method, and no message contradicts it.
func TestPageTellsOfTheClocks(t *testing.T) {
	for _, name := range []string{"basic-open-close", "half-close"} {
		r := &pageOf(t, bundled(name)).Runs[0]
		if r.Clock == nil || len(r.Clock.Hosts) != 2 {
			t.Fatalf("%s: clocks %+v", name, r.Clock)
		}
		samples := 0
		for i, h := range r.Clock.Hosts {
			if len(h.Points) < 2 || len(h.Points) > clockPointsShown {
				t.Errorf("%s: %d points of %s", name, len(h.Points), r.Hosts[i].Name)
			}
			for _, p := range h.Points {
				switch {
				case p.Low == nil || p.High == nil || p.Estimate == nil:
					t.Errorf("%s: nothing bounds the clock of %s at %d", name, r.Hosts[i].Name, p.At)
				case *p.Low > *p.Estimate || *p.Estimate > *p.High:
					t.Errorf("%s: the offset of %s is between %d and %d, most likely %d", name, r.Hosts[i].Name, *p.Low, *p.High, *p.Estimate)
				case r.Hosts[i].Reference && (*p.Low != 0 || *p.High != 0 || h.OffsetBase != "0"):
					t.Errorf("%s: the reference is %d to %d off itself", name, *p.Low, *p.High)
				}
			}
			samples += len(h.Samples)
			checkSamples(t, h)
		}
		if samples == 0 {
			t.Errorf("%s: no message says anything of the clocks", name)
		}
	}
}

// checkSamples holds messages against the widest that was known at any point: the clocks of
// these runs do not drift, so that what one message says holds for all.
func checkSamples(t *testing.T, h web.HostClock) {
	t.Helper()
	for _, s := range h.Samples {
		for _, p := range h.Points {
			if s.Upper && s.Offset < *p.Low || !s.Upper && s.Offset > *p.High {
				t.Errorf("a message at %d bounds the offset at %d (above: %v), and at %d it is between %d and %d", s.At, s.Offset, s.Upper, p.At, *p.Low, *p.High)
			}
		}
	}
}

// TestOddness: an unusual order of events comes before any length of time, the rarer first.
func TestOddness(t *testing.T) {
	order := []*synclinev1.Summary{
		{StoryUnusual: true, StoryAlike: 1, StoryAll: 50},
		{StoryUnusual: true, StoryAlike: 20, StoryAll: 50, Oddness: 9},
		{StoryUnusual: true, StoryAlike: 20, StoryAll: 50},
		{StoryAlike: 30, StoryAll: 50, Oddness: 1e9},
		{StoryAlike: 30, StoryAll: 50, Oddness: 2},
		{StoryAlike: 30, StoryAll: 50},
	}
	for i := 1; i < len(order); i++ {
		if oddness(order[i-1]) <= oddness(order[i]) {
			t.Errorf("%v is not odder than %v", order[i-1], order[i])
		}
	}
}

// TestPageOfManyRuns: runs in which there is hardly anything, or something unusual.
func TestPageOfManyRuns(t *testing.T) {
	var names []string
	for _, name := range []string{"connect-filtered", "host-absent", "interface-down", "nat-ports", "peer-killed", "udp-refused", "unix-stream", "zero-window"} {
		names = append(names, bundled(name))
	}
	p := pageOf(t, names...)
	var b bytes.Buffer
	if err := web.Write(&b, p); err != nil {
		t.Fatal(err)
	}
	for i := range p.Runs {
		if len(p.Runs[i].Repetitions) == 0 {
			t.Errorf("run of %s has no repetition", p.Runs[i].Experiment)
		}
	}
}
