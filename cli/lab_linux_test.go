package cli

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"syncline/controller/experiment"
	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

// testLab is a lab of real processes: a controller and an agent on each host.
type testLab struct {
	*lab
	t        testing.TB
	operator *app
	client   *client
}

// newTestLab brings up a lab for an experiment, as the demo does. Its agents are given
// agentArgs besides.
func newTestLab(t testing.TB, exp *experiment.Experiment, agentArgs ...string) *testLab {
	t.Helper()
	return makeTestLab(t, exp, demoLab{agentArgs: agentArgs})
}

// newLyingLab is newTestLab with clocks, HOST:CLOCK, that lie.
func newLyingLab(t testing.TB, exp *experiment.Experiment, clocks ...string) *testLab {
	t.Helper()
	return makeTestLab(t, exp, demoLab{wire: wireOptions{clocks: clocks}})
}

func makeTestLab(t testing.TB, exp *experiment.Experiment, want demoLab) *testLab {
	t.Helper()
	l := planTestLab(t, exp, want)
	l.up()
	return l
}

// planTestLab makes the hosts of a lab and starts nothing on them.
func planTestLab(t testing.TB, exp *experiment.Experiment, want demoLab) *testLab {
	t.Helper()
	a := &app{Streams: Streams{Out: new(bytes.Buffer), Err: new(bytes.Buffer)}}
	l, err := a.makeLab(exp, want)
	if err != nil {
		t.Fatal(err)
	}
	if l.local {
		t.Cleanup(func() { l.Close() })
		t.Skip("needs network namespaces: run the tests as root")
	}
	tl := &testLab{lab: l, t: t, operator: &app{Streams: a.Streams, controller: l.socket()}}
	t.Cleanup(func() {
		for _, m := range l.processes {
			if b, err := os.ReadFile(l.log(m.name)); err != nil || bytes.Contains(b, []byte("DATA RACE")) {
				t.Errorf("%s: %v\n%s", m.name, err, b)
			}
			if t.Failed() {
				t.Logf("%s: %s", m.name, l.lastWords(m.name))
			}
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return tl
}

// up starts the processes of a lab.
func (l *testLab) up() {
	l.t.Helper()
	if err := l.start(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
	l.dial()
}

// in is the same lab for a subtest, which fails where the lab is used.
func (l *testLab) in(t testing.TB) *testLab {
	part := *l
	part.t = t
	return &part
}

// dial connects to the controller and waits for the agents.
func (l *testLab) dial() {
	l.t.Helper()
	cl, err := l.operator.dial(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(cl.close)
	if err := l.await(l.t.Context(), cl); err != nil {
		l.t.Fatal(err)
	}
	l.client = cl
}

// run executes source and returns the run in its final state.
func (l *testLab) run(source []byte, repeat int) *synclinev1.Run {
	l.t.Helper()
	run, err := l.operator.execute(l.t.Context(), l.client, "test.yaml", source, runOptions{repeat: repeat, bindings: l.bindings})
	if err != nil {
		l.t.Fatal(err)
	}
	return run
}

func (l *testLab) verdicts(run *synclinev1.Run) *runSummary {
	l.t.Helper()
	s, err := collectVerdicts(l.t.Context(), l.client, run)
	if err != nil {
		l.t.Fatal(err)
	}
	return s
}

func (l *testLab) timeline(run *synclinev1.Run, repetition int) *synclinev1.Timeline {
	l.t.Helper()
	answer, err := l.client.timelines.GetTimeline(l.t.Context(), &synclinev1.GetTimelineRequest{RunId: run.Id, Repetition: uint32(repetition)})
	if err != nil {
		l.t.Fatal(err)
	}
	return answer.Timeline
}

// wantAllPass fails unless every expectation held in every repetition.
func wantAllPass(t testing.TB, run *synclinev1.Run, s *runSummary, repetitions int) {
	t.Helper()
	wantPasses(t, run, s, repetitions, 0)
}

// wantPasses is wantAllPass but for some repetitions that are excused.
func wantPasses(t testing.TB, run *synclinev1.Run, s *runSummary, repetitions, excused int) {
	t.Helper()
	if run.State != synclinev1.RunState_RUN_STATE_SEALED {
		t.Errorf("run is %v: %s", run.State, run.Reason)
	}
	if s.tally.Repetitions != repetitions {
		t.Errorf("%d repetitions were judged, want %d", s.tally.Repetitions, repetitions)
	}
	for _, tally := range s.tally.Tallies {
		if tally.Passed < repetitions-excused {
			t.Errorf("%s: passed %d of %d: %+v", tally.Expectation, tally.Passed, repetitions, tally.Exceptions)
		}
	}
	if len(s.tally.Tallies) < 2 || excused == 0 && s.tally.Ruling() != timeline.Pass {
		t.Errorf("%d expectations judged as %v", len(s.tally.Tallies), s.tally.Ruling())
	}
}

// await polls an observable until it holds. It never asserts how long that takes.
func await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: still not so after %v", what, patience)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// replace starts the i-th process anew, in the place of one that has ended.
func (l *testLab) replace(i int) {
	l.t.Helper()
	self, err := os.Executable()
	if err != nil {
		l.t.Fatal(err)
	}
	old := l.processes[i]
	if err := l.launch(l.Host(old.name), exec.Command(self, old.args...)); err != nil {
		l.t.Fatal(err)
	}
	last := len(l.processes) - 1
	l.processes[i], l.processes = l.processes[last], l.processes[:last]
}

// replaceController starts another controller where one was, on the same data.
func (l *testLab) replaceController() {
	l.t.Helper()
	if err := os.Remove(filepath.Join(l.Dir(), "controller.sock")); err != nil && !errors.Is(err, os.ErrNotExist) {
		l.t.Fatal(err)
	}
	l.replace(0)
	if err := l.awaitSocket(context.Background()); err != nil {
		l.t.Fatal(err)
	}
	l.dial()
}
