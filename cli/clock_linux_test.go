package cli

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	"syncline/agent/clock"
	synclinev1 "syncline/proto/syncline/v1"
)

// command runs what a person would type, with this lab's controller, and returns what it
// printed. The test fails if it does not exit as is wanted.
func (l *testLab) command(want int, args ...string) string {
	l.t.Helper()
	var out, err bytes.Buffer
	args = append(args, "--controller", l.socket())
	if code := Main(l.t.Context(), args, Streams{In: strings.NewReader(""), Out: &out, Err: &err}); code != want {
		l.t.Fatalf("syncline %s: exit %d, want %d\n%s%s", strings.Join(args, " "), code, want, out.String(), err.String())
	}
	return out.String()
}

func readReport(t *testing.T, text string) *synclinev1.ClockReport {
	t.Helper()
	r := new(synclinev1.ClockReport)
	if err := protojson.Unmarshal([]byte(text), r); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return r
}

// TestClockHoldsTheTruth types what people type in a lab in which one host's clock lies in
// a known way: every interval that is printed, by each method and by both, holds it.
func TestClockHoldsTheTruth(t *testing.T) {
	t.Parallel()
	const lie = "offset=-7s,ppm=100"
	truth, err := clock.ParseTest(lie)
	if err != nil {
		t.Fatal(err)
	}
	source := library(t, "basic-open-close")
	l := newLyingLab(t, mustParse(t, source), "B:"+lie)
	run := l.run(source, 5)

	r := readReport(t, l.command(0, "clock", "show", run.Id, "--reference", "A", "--points", "20", "-o", "json"))
	b := r.Hosts[1]
	if r.Hosts[r.Reference].Host != "A" || b.Host != "B" || b.Method != "probes and segments" || b.TestClock != lie || len(b.Points) != 20 {
		t.Fatalf("reference %d, B by %q with test clock %q and %d points", r.Reference, b.Method, b.TestClock, len(b.Points))
	}
	for _, p := range b.Points {
		offset := p.LocalNs - truth.HostMonotonic(p.LocalNs)
		for name, bound := range map[string]*synclinev1.ClockBound{"both": p.All, "probes": p.Probes, "segments": p.Segments} {
			if !bounded(bound) || offset < *bound.LowNs || offset > *bound.HighNs {
				t.Errorf("by %s at %d: %v, the truth is %d", name, p.LocalNs, bound, offset)
			}
		}
	}
	if *b.RateLowPpb > 100_000 || *b.RateHighPpb < 100_000 {
		t.Errorf("a rate of %d to %d ppb, the truth is 100000", *b.RateLowPpb, *b.RateHighPpb)
	}

	wantText(t, l.command(0, "clock", "show", run.Id, "--width", "80"), "B (vm2)", "both", "probes", "segments", "test clock: "+lie, "A ↔ B")
	wantText(t, l.command(0, "clock", "show", run.Id, "B", "--raw"), "test clock: "+lie, "probes with A: ")
	wantText(t, l.command(0, "events", run.Id), "probe ", "clock sample")
	wantText(t, l.command(0, "ladder", run.Id, "--reference", "B", "--width", "100"), "B (vm2) reference", "by probes and segments")
	wantText(t, l.command(0, "describe", "run", run.Id), "10 exchanges a second", "test clock "+lie)
	wantText(t, l.command(0, "get", "agents"), "ready, test clock")

	r = readReport(t, l.command(0, "clock", "probe", "vm1", "vm2", "--for", "500ms", "--rate", "50", "--reference", "vm1", "-o", "json"))
	b = r.Hosts[1]
	if b.Method != "probes" || len(b.Points) == 0 {
		t.Fatalf("measured by %q at %d moments", b.Method, len(b.Points))
	}
	for _, p := range b.Points {
		if offset := p.LocalNs - truth.HostMonotonic(p.LocalNs); !bounded(p.All) || offset < *p.All.LowNs || offset > *p.All.HighNs {
			t.Errorf("measured at %d: %v, the truth is %d", p.LocalNs, p.All, offset)
		}
	}
	wantText(t, l.command(0, "plan", "basic-open-close", "--host", "A=vm1", "--host", "B=vm2"), "clocks", "A ↔ B", "will be known to ±", "probed just now")
}

// TestRunWithoutProbes: asked for none, a run has none, and its clocks are tied by its own
// packets.
func TestRunWithoutProbes(t *testing.T) {
	t.Parallel()
	source := library(t, "basic-open-close")
	l := newLyingLab(t, mustParse(t, source), "B:offset=1s")
	run, err := l.operator.execute(t.Context(), l.client, "test.yaml", source, runOptions{repeat: 2, bindings: l.bindings, probes: probeOptions{off: true}})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range l.events(run) {
		if e.GetProbe() != nil {
			t.Fatal("a run without probes has one")
		}
	}
	if b := readReport(t, l.command(0, "clock", "show", run.Id, "--reference", "A", "-o", "json")).Hosts[1]; b.Method != "segments" {
		t.Errorf("B is known by %q", b.Method)
	}
	wantText(t, l.command(0, "describe", "run", run.Id), "none, as was asked")
}
