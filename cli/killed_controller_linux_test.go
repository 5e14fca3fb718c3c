package cli

import (
	"errors"
	"io"
	"syscall"
	"testing"

	synclinev1 "syncline/proto/syncline/v1"
)

// A controller that is killed in the middle of a run loses no event that it had
// acknowledged, and the next one brings the run to an honest end.
func TestKilledController(t *testing.T) {
	source := library(t, demoExperiment)
	l := newTestLab(t, mustParse(t, source))
	// Chunks leave the agents once a second; what is stored was acknowledged, or is
	// about to be.
	id := l.startLong(source)
	before := l.stored(id)

	if err := l.processes[0].Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-l.processes[0].Done()
	l.client.close()
	l.replaceController()

	run, err := l.operator.follow(t.Context(), l.client, id)
	if err != nil {
		t.Fatal(err)
	}
	if run.State != synclinev1.RunState_RUN_STATE_FAILED || run.Reason == "" || len(run.Incomplete) == 0 {
		t.Errorf("the run ended as %v, reason %q, incomplete %q; want it failed, with the reason", run.State, run.Reason, run.Incomplete)
	}
	after := l.stored(id)
	for agent, events := range before {
		for number, event := range events {
			if got, ok := after[agent][number]; !ok || got != event {
				t.Fatalf("event %d of agent %s was stored before the kill and is %q now, was %q", number, agent, got, event)
			}
		}
	}
	for agent, events := range after {
		for n := uint64(1); n <= uint64(len(events)); n++ {
			if _, ok := events[n]; !ok {
				t.Errorf("agent %s: event %d of %d is missing", agent, n, len(events))
			}
		}
		if len(events) < len(before[agent]) {
			t.Errorf("agent %s: %d events before, %d after", agent, len(before[agent]), len(events))
		}
	}
	// No verdict of a run that is not whole is a pass.
	for _, tally := range l.verdicts(run).tally.Tallies {
		if tally.Passed > 0 {
			t.Errorf("%s: %d passes in a run that is not whole", tally.Expectation, tally.Passed)
		}
	}
	t.Logf("%d and %d events before, %d and %d after; %s", len(before["vm1"]), len(before["vm2"]), len(after["vm1"]), len(after["vm2"]), run.Reason)

	next := l.run(source, 3)
	wantAllPass(t, next, l.verdicts(next), 3)
}

// stored are the events that the controller has of a run, by agent and number.
func (l *testLab) stored(id string) map[string]map[uint64]string {
	l.t.Helper()
	all := map[string]map[uint64]string{}
	l.eachEvent(id, func(agent string, e *synclinev1.Event) {
		if all[agent] == nil {
			all[agent] = map[uint64]string{}
		}
		all[agent][e.Number] = e.String()
	})
	return all
}

// eachEvent yields the stored events of a run.
func (l *testLab) eachEvent(id string, yield func(agent string, e *synclinev1.Event)) {
	l.t.Helper()
	stream, err := l.client.runs.ListEvents(l.t.Context(), &synclinev1.ListEventsRequest{RunId: id})
	if err != nil {
		l.t.Fatal(err)
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			l.t.Fatal(err)
		}
		for _, e := range m.Events {
			yield(m.Agent, e)
		}
	}
}
