package cli

import (
	"flag"
	"fmt"
	"slices"
	"testing"

	"syncline/controller/experiment"
)

var clocksLibrary = flag.Int("clocks.library", 0, "repetitions of every scenario of the library with clocks that lie (default: 1, of a few)")

// lyingHosts are the clocks of a scenario's hosts in their order: as far apart as the bound
// on the drift allows, and by seconds.
var lyingHosts = []string{"offset=10s,ppm=100", "offset=-10s,ppm=-100", "offset=5s", "offset=-5s,ppm=50,wander=1ppm/20s"}

// few are scenarios that are quick, and between them have a third host between the two and what
// is no TCP.
var few = []string{"half-close", "nat-ports", "udp-refused"}

// TestLibraryWithLyingClocks runs scenarios of the library with clocks that are seconds apart
// and drift as fast as any: every repetition passes as it does without, no packet of it
// arrives before it left, and the truth is within the ± of every moment.
func TestLibraryWithLyingClocks(t *testing.T) {
	q := newQueue()
	for _, s := range longestFirst() {
		if *clocksLibrary == 0 && !slices.Contains(few, s.Name) {
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			enter, leave := q.join()
			t.Parallel()
			enter()
			t.Cleanup(leave)
			source := library(t, s.Name)
			exp := mustParse(t, source)
			lies := liesFor(exp)
			ts := truthsOf(t, lies...)
			l := newLyingLab(t, exp, lies...)
			run := l.passes(source, l.exp, max(1, *clocksLibrary))
			a := l.arrived(ts, run)
			a.wantTrue(t)
			r := l.clockReport(run.Id, "", 200)
			bounds := ts.compare(r)
			bounds.wantTrue(t)
			t.Logf("%d timelines, %d moments, %d packets at both ends; clocks by both methods ±%v (median), truth in %d of %d intervals",
				a.timelines, a.moments, a.matched, quantile(bounds.both.halves, 0.5), bounds.both.known()-len(bounds.both.outside), bounds.both.known())
		})
	}
}

func liesFor(exp *experiment.Experiment) []string {
	var all []string
	for i, h := range exp.Hosts {
		all = append(all, fmt.Sprintf("%s:%s", h.Name, lyingHosts[i%len(lyingHosts)]))
	}
	return all
}
