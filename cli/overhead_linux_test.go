package cli

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	synclinev1 "syncline/proto/syncline/v1"
)

// Real agents take the sources that they are told, tell what processor time that took,
// and lose nothing; the repetitions of the run are judged as ever.
func TestMeasureOverhead(t *testing.T) {
	const repetitions, rounds = 3, 2
	source := bytes.Replace(library(t, demoExperiment), []byte("observe: ["), []byte("observe: [counters, "), 1)
	exp := mustParse(t, source)
	l := newTestLab(t, exp)
	run, err := l.operator.execute(t.Context(), l.client, "test.yaml", source, runOptions{repeat: repetitions, bindings: l.bindings, rounds: rounds})
	if err != nil {
		t.Fatal(err)
	}
	wantAllPass(t, run, l.verdicts(run), repetitions)
	o := run.Overhead
	if o.GetFailure() != "" || o.GetFirst() != repetitions+2 {
		t.Fatalf("measured from repetition %d: %s", o.GetFirst(), o.GetFailure())
	}
	var names []string
	for _, s := range o.Settings {
		names = append(names, s.Name)
		if s.Repetitions != rounds || s.Connections != rounds || s.Failed != 0 || s.Lost != 0 || s.Failure != "" {
			t.Errorf("%s: %v", s.Name, s)
		}
		if s.ConnectionsPerSecond.GetValue() <= 0 || s.ConnectP50Ns.GetValue() <= 0 || s.AgentCpuNs.GetValue() <= 0 || s.MachineCpuNs == nil {
			t.Errorf("%s has no figures: %v", s.Name, s)
		}
		if pairs := s.ConnectionsPerSecond.GetPairs(); (s.Name == "bare") != (pairs == 0) || pairs > rounds {
			t.Errorf("%s is compared in %d rounds", s.Name, pairs)
		}
	}
	if len(names) < 4 || names[0] != "bare" || names[1] != "all" || !slices.Contains(names, "packets") || !slices.Contains(names, "counters") {
		t.Errorf("measured %q", names)
	}
	// Every repetition that measured was watched by the sources of one setting alone.
	packets, counters := map[uint32]bool{}, map[uint32]bool{}
	// told are the packets on record and reported lost, passed those that the kernel counted
	// at the taps of the agents, by the repetition that those were opened for; the run's own
	// taps are the account 0.
	told, passed := map[uint32]uint64{}, map[uint32]uint64{}
	l.eachEvent(run.Id, func(_ string, e *synclinev1.Event) {
		account := e.Repetition
		if account < o.First {
			account = 0
		}
		switch {
		case e.GetPacket() != nil:
			told[account]++
		case e.GetLoss().GetSource() == synclinev1.Source_SOURCE_PACKETS:
			told[account] += e.GetLoss().Count
		case e.GetMark().GetKind() == synclinev1.MarkKind_MARK_KIND_CLOSED:
			passed[account] += e.GetMark().Frames
		}
		packets[e.Repetition] = packets[e.Repetition] || e.GetPacket() != nil
		counters[e.Repetition] = counters[e.Repetition] || e.GetCounters() != nil
	})
	if passed[0] == 0 || len(run.Incomplete) > 0 {
		t.Errorf("%d packets passed the taps of the run itself; incomplete: %q", passed[0], run.Incomplete)
	}
	for n := range o.Last + 2 {
		if told[n] != passed[n] {
			t.Errorf("taps that were opened for repetition %d let %d packets through; %d are on record or reported lost", n, passed[n], told[n])
		}
	}
	kinds := map[[2]bool]int{}
	for n := o.First; n <= o.Last; n++ {
		kinds[[2]bool{packets[n], counters[n]}]++
	}
	if both, neither := kinds[[2]bool{true, true}], kinds[[2]bool{false, false}]; both != rounds+1 || neither < rounds+1 {
		t.Errorf("repetitions by {packets, counters} on record: %v; want %d with both, and as many with neither", kinds, rounds+1)
	}
	if kinds[[2]bool{true, false}] < rounds+1 || kinds[[2]bool{false, true}] < rounds+1 {
		t.Errorf("repetitions by {packets, counters} on record: %v; want %d and more with one of them", kinds, rounds+1)
	}
	var shown bytes.Buffer
	if err := writeJSON(&shown, run, true); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(shown.String(), `"connections_per_second"`) {
		t.Errorf("as JSON the run lacks the figures:\n%s", shown.String())
	}
}
