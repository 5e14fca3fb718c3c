package timeline

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"syncline/controller/clock"
)

var rewriteClocks = flag.Bool("rewrite-clocks", false, "rewrite testdata/clocks from what ClockReport says now")

// A file of testdata/clocks opens with a drawing and one sentence. Then come the hosts, the
// exchanges of probes, other events, all as the hosts' own clocks stamped them
// (microseconds), and the report from each of the hosts that are asked for.
func TestClockReports(t *testing.T) {
	files, err := filepath.Glob("testdata/clocks/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if len(strings.TrimSpace(string(archive.Comment))) == 0 {
				t.Error("the file does not say what it shows")
			}
			run := parseRun(t, archive)
			addExchanges(t, run, section(archive, "probes"))
			got := clockReportText(t, run)
			if *rewriteClocks {
				archive.Files = append(archive.Files[:3:3], txtar.File{Name: "report", Data: []byte(got)})
				if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(section(archive, "report"), got); d != "" {
				t.Error(d)
			}
		})
	}
}

// addExchanges reads "A>B 1000 501030 501035 1065": the request leaves A, reaches B, the
// reply leaves B and reaches A; "-" is a sight that is not there. A number with "x" before
// it repeats the exchange so often, every 100 ms.
func addExchanges(t *testing.T, run *Run, text string) {
	t.Helper()
	numbers := make(map[int]uint64)
	host := func(name string) int {
		for h := range run.Hosts {
			if run.Hosts[h].Name == name {
				return h
			}
		}
		t.Fatalf("no host %q", name)
		return -1
	}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		asker, peer, _ := strings.Cut(fields[0], ">")
		times := 1
		if len(fields) > 5 {
			times = number[int](t, strings.TrimPrefix(fields[5], "x"))
		}
		for i := range times {
			numbers[host(asker)]++
			for n, sight := range fields[1:5] {
				if sight == "-" {
					continue
				}
				at, other, direction := asker, peer, Out
				if n == 1 || n == 2 {
					at, other = peer, asker
				}
				if n == 1 || n == 3 {
					direction = In
				}
				run.Events = append(run.Events, Event{
					Host: host(at), Number: uint64(len(run.Events) + 1), Incarnation: 1, At: micros(t, sight) + clock.Local(i)*100e6,
					Probe: &Probe{
						Peer: other, Direction: direction, Exchange: numbers[host(asker)], Reply: n >= 2,
						Path: ExperimentPath, Origin: StampKernel, Err: 50,
					},
				})
			}
		}
	}
}

// clockReportText is a report in microseconds.
func clockReportText(t *testing.T, run *Run) string {
	t.Helper()
	r, err := NewBuilder(run).ClockReport(3)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for h, host := range r.Hosts {
		fmt.Fprintf(&b, "%s %s", run.Hosts[h].Name, host.Method)
		if host.RateKnown && h != r.Reference {
			fmt.Fprintf(&b, ", %s to %s ppm", thousandths(host.RateLow), thousandths(host.RateHigh))
		}
		if host.ErrMax < clock.Unbounded && h != r.Reference {
			fmt.Fprintf(&b, ", ε %s, at most %s", thousandths(host.ErrMedian), thousandths(host.ErrMax))
		}
		b.WriteString("\n")
		if h == r.Reference {
			continue
		}
		for _, p := range host.Points {
			fmt.Fprintf(&b, "  at %s: %s; probes %s; segments %s\n", thousandths(int64(p.Local)), boundText(p.All), boundText(p.Probes), boundText(p.Segments))
		}
		for _, e := range host.Changes {
			fmt.Fprintf(&b, "  at %s: %s\n", thousandths(int64(e.At)), e.Step.text(run.Hosts[h].Name))
		}
	}
	for _, p := range r.Pairs {
		fmt.Fprintf(&b, "%s-%s: probes %d and %d, segments %d and %d, round trip %s\n", run.Hosts[p.A].Name, run.Hosts[p.B].Name,
			p.ProbesThere, p.ProbesBack, p.SegmentsThere, p.SegmentsBack, thousandths(p.RoundTrip))
		if p.Disagreement != "" {
			fmt.Fprintf(&b, "  %s\n", p.Disagreement)
		}
	}
	for _, w := range r.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	return b.String()
}

func boundText(b ClockBound) string {
	side := func(ns int64) string {
		if ns <= -clock.Unbounded || ns >= clock.Unbounded {
			return "?"
		}
		return thousandths(ns)
	}
	if !b.Known() {
		return side(b.Lo) + " to " + side(b.Hi)
	}
	return fmt.Sprintf("%s (%s to %s)", thousandths(b.Estimate), side(b.Lo), side(b.Hi))
}
