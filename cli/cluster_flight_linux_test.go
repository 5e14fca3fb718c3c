package cli

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	synclinev1 "syncline/proto/syncline/v1"
)

// How many runs TestRunsInFlight disturbs.
var flights = flag.Int("cluster.flights", 1, "kill the leader in the middle of so many runs, one at a time, and count how they end")

// flightLimit is how long after the death of its leader a run may be at work.
const flightLimit = 30 * time.Second

// flightRepetitions make a run of some seconds.
const flightRepetitions = 20

// TestRunsInFlight kills the leader at a random moment of a run, again and again. Each run is over 30 s
// later: complete, or failed with the reason and with what is missing. What was acknowledged before is
// there after, and no lane was started twice.
func TestRunsInFlight(t *testing.T) {
	t.Parallel()
	source := library(t, demoExperiment)
	c := newClusterLab(t, mustParse(t, source))
	c.through(c.another(c.well()))
	began := time.Now()
	run := c.run(source, flightRepetitions)
	length := time.Since(began)
	wantAllPass(t, run, c.verdicts(run), flightRepetitions)
	outcomes, took := map[string]int{}, []time.Duration(nil)
	for trial := range *flights {
		lead := c.well()
		c.through(c.another(lead))
		outcome, over := c.flight(source, fmt.Sprint("flight-", trial), lead, time.Duration(rand.Int64N(int64(length))))
		outcomes[outcome]++
		took = append(took, over)
		c.restart(lead)
	}
	slices.Sort(took)
	var table strings.Builder
	fmt.Fprintf(&table, "\n%d runs of %v, the leader killed at a random moment of each:\n", *flights, length.Round(time.Millisecond))
	for _, outcome := range slices.Sorted(maps.Keys(outcomes)) {
		fmt.Fprintf(&table, "%6d %s\n", outcomes[outcome], outcome)
	}
	fmt.Fprintf(&table, "over after the kill: p50 %v, longest %v\n", took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
	t.Log(table.String())
}

// flight begins a run, kills the leader after a while, and says how the run ended, and how long after.
func (c *clusterLab) flight(source []byte, request, lead string, after time.Duration) (outcome string, over time.Duration) {
	c.t.Helper()
	created, err := c.client.runs.CreateRun(c.t.Context(), &synclinev1.CreateRunRequest{
		RequestId: request, FileName: "test.yaml", Source: source, Repetitions: flightRepetitions, Bindings: c.bindings,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	id := created.Run.Id
	time.Sleep(after)
	before := c.stored(id)
	c.kill(lead)
	killed := time.Now()
	run, err := c.operator.follow(c.t.Context(), c.client, id)
	over = time.Since(killed)
	if err != nil {
		c.t.Fatal(err)
	}
	if over > flightLimit {
		c.t.Errorf("run %s was over %v after the leader was killed, want %v at most", id, over, flightLimit)
	}
	now := c.stored(id)
	for agent, all := range before {
		for number, event := range all {
			if now[agent][number] != event {
				c.t.Fatalf("event %d of agent %s was acknowledged before the kill and is %q now, was %q", number, agent, now[agent][number], event)
			}
		}
	}
	c.lanesOnce(id)
	switch {
	case run.State == synclinev1.RunState_RUN_STATE_SEALED && len(run.Incomplete) == 0:
		s := c.verdicts(run)
		wantAllPass(c.t, run, s, flightRepetitions)
		return "finished, and complete", over
	case run.State == synclinev1.RunState_RUN_STATE_FAILED && run.Reason != "" && len(run.Incomplete) > 0:
		for _, tally := range c.verdicts(run).tally.Tallies {
			if tally.Passed > 0 {
				c.t.Errorf("run %s failed, and %s passed in %d of its repetitions", id, tally.Expectation, tally.Passed)
			}
		}
		return "failed, with the reason", over
	}
	c.t.Errorf("run %s ended as %v, reason %q, incomplete %q: neither complete nor honest", id, run.State, run.Reason, run.Incomplete)
	return fmt.Sprintf("WRONG: %v", run.State), over
}
