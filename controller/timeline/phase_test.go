package timeline

import (
	"math/rand/v2"
	"slices"
	"testing"

	"syncline/controller/clock"
	"syncline/controller/experiment"

	"pgregory.net/rapid"
)

// checkPhases makes sure of what must hold of the phases of any timeline: every name is
// defined, parts follow each other without a gap and sum to their whole, and what is told of
// one connection is told of it among all.
func checkPhases(t fataler, tl *Timeline) {
	t.Helper()
	all := tl.AllPhases()
	for c := -1; c < len(tl.Connections); c++ {
		var of []Phase
		for _, p := range all {
			if p.Connection == c {
				of = append(of, p.Phase)
			}
		}
		if one := tl.Phases(c); !slices.Equal(one, of) {
			t.Fatalf("connection %d has the phases\n%+v, and among all\n%+v", c, one, of)
		}
		for _, p := range of {
			if _, _, _, ok := experiment.PhaseDefinition(p.Name); !ok {
				t.Fatalf("nothing says what phase %s is", p.Name)
			}
			if from, to := tl.Moments[p.From].Event.Host, tl.Moments[p.To].Event.Host; from != to && !experiment.PhaseCrosses(p.Name) &&
				tl.Complete(from, Packets) == "" && tl.Complete(to, Packets) == "" {
				t.Fatalf("phase %+v crosses hosts, and is not said to", p)
			}
		}
		checkConnects(t, tl, c)
	}
}

// checkConnects makes sure that the parts of every connect(2) sum to the time that it
// blocked, or that there are none and it is said why.
func checkConnects(t fataler, tl *Timeline, connection int) {
	t.Helper()
	for _, c := range tl.ConnectParts(connection) {
		if len(c.Parts) == 0 {
			if c.Untold == "" {
				t.Fatalf("connection %d: a connect has no parts, and nothing says why", connection)
			}
			continue
		}
		at, sum, err := c.Blocked.From, int64(0), c.Blocked.Err
		for _, p := range c.Parts {
			if p.From != at || p.End != c.End || p.Whole != "connect.blocked" {
				t.Fatalf("connection %d: part %+v of a connect of end %d, want it from moment %d", connection, p, c.End, at)
			}
			if p.Name == "connect.untold" && c.Untold == "" {
				t.Fatalf("connection %d: part %+v, and nothing says why", connection, p)
			}
			at, sum = p.To, sum+p.Nanoseconds
			if err += p.Err; err >= clock.Unbounded {
				err = clock.Unbounded
			}
		}
		if at != c.Blocked.To {
			t.Fatalf("connection %d: the parts %+v of a connect end at moment %d, want %d", connection, c.Parts, at, c.Blocked.To)
		}
		if off := sum - c.Blocked.Nanoseconds; err < clock.Unbounded && max(off, -off) > err {
			t.Fatalf("connection %d: the parts sum to %d, connect blocked %d, ±%d: %+v", connection, sum, c.Blocked.Nanoseconds, err, c.Parts)
		}
	}
}

// TestConnectPartsSum holds the parts of connects to their sums in simulated worlds, whatever
// is missing from the record: SYNs and answers that are lost, refused, reset, filtered.
func TestConnectPartsSum(t *testing.T) {
	whole, broken := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64Range(0, 20_000).Draw(t, "seed")
		k := simulate(seed)
		run := *k.run
		if losses := rapid.Uint64Range(0, 4).Draw(t, "losses"); losses > 0 {
			run = lose(k, rand.New(rand.NewPCG(seed, losses)))
		}
		tl, err := Build(&run, 1)
		if err != nil {
			t.Skip(err)
		}
		checkPhases(t, tl)
		for c := range tl.Connections {
			for _, p := range tl.ConnectParts(c) {
				if len(p.Parts) > 0 {
					whole++
				} else {
					broken++
				}
			}
		}
	})
	t.Logf("%d connects in parts, %d without", whole, broken)
	if whole < 2*broken || broken == 0 {
		t.Errorf("%d connects were taken apart and %d were not: this tests nothing", whole, broken)
	}
}

// fataler is what both testing.TB and rapid.T can do.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// TestPhasesAreTrue holds the lengths of all phases against the truth of the simulation.
func TestPhasesAreTrue(t *testing.T) {
	seen := make(map[string]int)
	for seed := range uint64(150) {
		k := simulate(seed)
		tl, err := Build(k.run, 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range tl.AllPhases() {
			from, known := k.truth[simMoment{idOf(&tl.Moments[p.From]), tl.Moments[p.From].Edge}]
			to, alsoKnown := k.truth[simMoment{idOf(&tl.Moments[p.To]), tl.Moments[p.To].Edge}]
			if !known || !alsoKnown {
				continue
			}
			if p.Name == "teardown.time_wait" {
				continue // Its end is between two looks, and its moment the later of them.
			}
			seen[p.Name]++
			truth := to - from
			// Clocks go at rates of their own.
			slack := max(truth, -truth)/4000 + grain
			if off := p.Nanoseconds - truth; p.Err < clock.Unbounded && max(off, -off) > p.Err+slack {
				t.Fatalf("seed %d: phase %+v of connection %d took %d ns", seed, p.Phase, p.Connection, truth)
			}
		}
	}
	for _, name := range []string{"connect.syn_out", "connect.syn_transit", "connect.turnaround", "connect.synack_transit", "connect.wakeup", "accept.wakeup", "teardown.fin_transit"} {
		if seen[name] == 0 {
			t.Errorf("no simulation has a phase %s", name)
		}
	}
	t.Log(seen)
}
