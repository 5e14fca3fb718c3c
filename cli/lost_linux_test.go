package cli

import (
	"strings"
	"syscall"
	"testing"

	"google.golang.org/protobuf/proto"

	synclinev1 "syncline/proto/syncline/v1"
)

// startLong creates a run that is too long to end by itself, and returns when events of
// both hosts are stored.
func (l *testLab) startLong(source []byte) string {
	l.t.Helper()
	created, err := l.client.runs.CreateRun(l.t.Context(), &synclinev1.CreateRunRequest{
		RequestId: l.t.Name(), FileName: "test.yaml", Source: source, Repetitions: 5000, Bindings: l.bindings,
	})
	if err != nil {
		l.t.Fatal(err)
	}
	await(l.t, "events of both hosts stored", func() bool { return len(l.stored(created.Run.Id)) == 2 })
	return created.Run.Id
}

// An agent that is killed fails the run with its name; what the other one recorded
// is kept, and no verdict is a pass.
func TestKilledAgent(t *testing.T) {
	// It is waited for as long as a lease, since it might come back.
	l := makeTestLab(t, mustParse(t, library(t, demoExperiment)), demoLab{controllerArgs: []string{"--lease", "1s"}})
	id := l.startLong(library(t, demoExperiment))
	if err := l.processes[2].Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	run, err := l.operator.follow(t.Context(), l.client, id)
	if err != nil {
		t.Fatal(err)
	}
	if run.State != synclinev1.RunState_RUN_STATE_FAILED || !strings.Contains(run.Reason, "vm2") {
		t.Errorf("the run ended as %v: %s", run.State, run.Reason)
	}
	if missing := strings.Join(run.Incomplete, "; "); !strings.Contains(missing, "vm2") {
		t.Errorf("missing: %s", missing)
	}
	for _, tally := range l.verdicts(run).tally.Tallies {
		if tally.Passed > 0 {
			t.Errorf("%s: %d passes in a run that is not whole", tally.Expectation, tally.Passed)
		}
	}
	list, err := l.client.agents.ListAgents(t.Context(), &synclinev1.ListAgentsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range list.Agents {
		want := synclinev1.AgentState_AGENT_STATE_READY
		if g.Name == "vm2" {
			want = synclinev1.AgentState_AGENT_STATE_GONE
		}
		if g.State != want {
			t.Errorf("agent %s is %v, want %v", g.Name, g.State, want)
		}
	}
}

// A run that an operator cancels keeps what it recorded.
func TestCancelledRun(t *testing.T) {
	l := newTestLab(t, mustParse(t, library(t, demoExperiment)))
	id := l.startLong(library(t, demoExperiment))
	if _, err := l.client.runs.CancelRun(t.Context(), &synclinev1.CancelRunRequest{Id: id, Reason: "lunch"}); err != nil {
		t.Fatal(err)
	}
	run, err := l.operator.follow(t.Context(), l.client, id)
	if err != nil {
		t.Fatal(err)
	}
	if run.State != synclinev1.RunState_RUN_STATE_CANCELLED || run.Reason != "lunch" || run.Events == 0 || len(run.Seal) == 0 {
		t.Errorf("the run ended as %v", run)
	}
	// The agents are free again.
	next := l.run(library(t, demoExperiment), 2)
	wantAllPass(t, next, l.verdicts(next), 2)
}

// A controller that is restarted in order still has its agents, its runs and their
// events.
func TestRestartedController(t *testing.T) {
	source := library(t, demoExperiment)
	l := newTestLab(t, mustParse(t, source))
	run := l.run(source, 3)
	before := l.stored(run.Id)
	// GetRun has all that is kept of a run, the environments of its hosts too.
	asked, err := l.client.runs.GetRun(t.Context(), &synclinev1.GetRunRequest{Id: run.Id})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.processes[0].Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-l.processes[0].Done()
	l.client.close()
	l.replaceController()

	after, err := l.client.runs.GetRun(t.Context(), &synclinev1.GetRunRequest{Id: run.Id})
	if err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(after.Run, asked.Run) {
		t.Errorf("the run is\n%v, was\n%v", after.Run, asked.Run)
	}
	for _, h := range after.Run.Hosts {
		if len(h.Environment.GetSections()) == 0 {
			t.Errorf("nothing is kept of what host %s was like", h.Name)
		}
	}
	kept := l.stored(run.Id)
	for agent, events := range before {
		if len(kept[agent]) != len(events) {
			t.Errorf("agent %s: %d events, were %d", agent, len(kept[agent]), len(events))
		}
		for n, e := range events {
			if kept[agent][n] != e {
				t.Errorf("event %d of agent %s changed", n, agent)
			}
		}
	}
	wantAllPass(t, run, l.verdicts(run), 3)
}
