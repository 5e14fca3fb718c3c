package cli

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"syncline/controller/experiment"
	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

// How thorough the test of the library is. `make library` asks for 20 repetitions of
// every scenario; the test of every day makes fewer, and of slow scenarios one.
var (
	libraryRepeat = flag.Int("library.repeat", 0, "repetitions of every scenario of the library (default: 2, of slow ones 1)")
	libraryBreaks = flag.Bool("library.breaks", true, "run the deliberate breaks of every scenario")
)

// slow is how long one pass through the variants of a scenario takes at least for one to
// be enough in the test of every day: what takes long mostly waits.
const slow = 3 * time.Second

// wreck is one deliberate break of a scenario: a change of its file that must make it
// fail or not be reproduced. testdata/breaks/NAME.yaml lists those of a scenario.
type wreck struct {
	// Break says what is broken, in words.
	Break string `yaml:"break"`
	// Replace is text that the file has exactly once, With what stands there instead.
	Replace string `yaml:"replace"`
	With    string `yaml:"with"`
	// Repeat is how many repetitions of each variant are made, at least 2.
	Repeat int `yaml:"repeat"`
	// Case limits the break to one case of the file: in the others it may change nothing.
	Case string `yaml:"case"`
}

func wrecks(t testing.TB, name string) []wreck {
	t.Helper()
	source, err := os.ReadFile(filepath.Join("testdata", "breaks", name+".yaml"))
	if err != nil {
		t.Fatalf("no deliberate break of %s: %v", name, err)
	}
	var all []wreck
	if err := yaml.UnmarshalWithOptions(source, &all, yaml.Strict()); err != nil {
		t.Fatalf("the breaks of %s: %v", name, err)
	}
	if len(all) == 0 {
		t.Fatalf("testdata/breaks/%s.yaml is empty", name)
	}
	return all
}

// TestLibrary runs every scenario of the library in a lab of its own: every
// repetition passes, or is not reproduced where a file repeats until it is; a bundle of the
// run tells the same; every deliberate break makes it fail or not be reproduced; cancelled
// in the middle, and its agents killed in the middle of another run, it is undone. After
// each of these every host is as it was.
func TestLibrary(t *testing.T) {
	q := newQueue()
	for _, s := range longestFirst() {
		t.Run(s.Name, func(t *testing.T) {
			enter, leave := q.join()
			t.Parallel()
			enter()
			t.Cleanup(leave)
			source := library(t, s.Name)
			l := newTestLab(t, mustParse(t, source))
			before := l.before()
			part := func(name string, play func(l *testLab)) {
				t.Run(name, func(t *testing.T) {
					l, before := l.in(t), before
					if len(l.exp.Repeat.Fresh) > 0 {
						// The values that one run took are not fresh for the next: the kernels
						// keep them for a minute, in TIME_WAIT and in what they remember.
						l = newTestLab(t, l.lab.exp)
						before = l.before()
					}
					play(l)
					l.unchanged(before)
				})
			}
			repeat := *libraryRepeat
			part("once", func(l *testLab) {
				began := time.Now()
				l.travels(l.passes(source, l.exp, 1))
				if repeat == 0 && time.Since(began) < slow {
					repeat = 2
				}
			})
			if t.Failed() {
				return
			}
			if repeat > 1 {
				part("repeated", func(l *testLab) { l.passes(source, l.exp, repeat) })
			}
			if *libraryBreaks {
				part("breaks", func(l *testLab) {
					for _, w := range wrecks(l.t, s.Name) {
						l.breaks(string(source), w)
					}
				})
			}
			part("cancelled", func(l *testLab) { l.cancelled(source) })
			part("killed", func(l *testLab) { l.killed(source) })
		})
	}
}

// longestFirst are the scenarios of the library, those first that may take the longest:
// they mostly wait, and the others run meanwhile.
func longestFirst() []experiment.Scenario {
	limit := func(name string) time.Duration {
		source, _ := experiment.Open(name)
		exp, err := experiment.Parse(source, experiment.Options{FileName: name})
		if err != nil {
			return 0 // the test of that scenario says so
		}
		return exp.Repeat.Timeout
	}
	all := experiment.Library()
	slices.SortStableFunc(all, func(a, b experiment.Scenario) int { return cmp.Compare(limit(b.Name), limit(a.Name)) })
	return all
}

// cancelled cancels a scenario in the middle.
func (l *testLab) cancelled(source []byte) {
	l.t.Helper()
	id := l.begin(source, "cancelled")
	if _, err := l.client.runs.CancelRun(l.t.Context(), &synclinev1.CancelRunRequest{Id: id, Reason: "enough"}); err != nil {
		l.t.Fatal(err)
	}
	if run, err := l.operator.follow(l.t.Context(), l.client, id); err != nil || run.State != synclinev1.RunState_RUN_STATE_CANCELLED {
		l.t.Fatalf("the cancelled run ended as %v, %v", run, err)
	}
}

// killed kills every agent in the middle of a scenario, and starts it again.
func (l *testLab) killed(source []byte) {
	l.t.Helper()
	l.begin(source, "killed")
	for i := range l.processes {
		if l.processes[i].name != controllerHost {
			l.killAgent(i)
		}
	}
}

// begin starts a run that goes on for as long as a file can, and returns when its
// lanes are at work.
func (l *testLab) begin(source []byte, request string) string {
	l.t.Helper()
	created, err := l.client.runs.CreateRun(l.t.Context(), &synclinev1.CreateRunRequest{
		RequestId: request, FileName: "test.yaml", Source: source, Repetitions: 300, Bindings: l.bindings,
	})
	if err != nil {
		l.t.Fatal(err)
	}
	await(l.t, "the run is at work", func() bool {
		answer, err := l.client.runs.GetRun(l.t.Context(), &synclinev1.GetRunRequest{Id: created.Run.Id})
		if err != nil {
			l.t.Fatal(err)
		}
		if answer.Run.State > synclinev1.RunState_RUN_STATE_RUNNING {
			l.t.Fatalf("the run is over: %v", answer.Run)
		}
		return answer.Run.State == synclinev1.RunState_RUN_STATE_RUNNING && answer.Run.Events > 0
	})
	return created.Run.Id
}

// killAgent ends an agent with SIGKILL and starts it again as it was.
func (l *testLab) killAgent(i int) {
	l.t.Helper()
	old := l.processes[i]
	if err := old.Signal(syscall.SIGKILL); err != nil {
		l.t.Fatal(err)
	}
	<-old.Done()
	l.replace(i)
	// The journal is read and undone before the agent dials.
	await(l.t, "the agent is back", func() bool { return strings.Contains(l.lastWords(old.name), `"connected"`) })
}

// passes runs a scenario and wants every repetition to pass. It returns the run. One in which
// the machine let packets overtake each other shows nothing, and is made again.
func (l *testLab) passes(source []byte, exp *experiment.Experiment, repeat int) *synclinev1.Run {
	l.t.Helper()
	for tries := 1; ; tries++ {
		run, again := l.pass(source, exp, repeat, tries)
		if !again {
			return run
		}
	}
}

// tryAgain is how often a run is made at most for packets that overtook each other.
const tryAgain = 3

func (l *testLab) pass(source []byte, exp *experiment.Experiment, repeat, tries int) (_ *synclinev1.Run, again bool) {
	l.t.Helper()
	opts := runOptions{repeat: repeat, bindings: l.bindings}
	if exp.Repeat.UntilReproduced > 0 {
		// It repeats as often as it needs to.
		opts.repeat = 0
	}
	run, err := l.operator.execute(l.t.Context(), l.client, exp.Name, source, opts)
	if err != nil {
		l.t.Fatal(err)
	}
	s := l.verdicts(run)
	if run.State != synclinev1.RunState_RUN_STATE_SEALED {
		l.t.Fatalf("run is %v: %s", run.State, run.Reason)
	}
	for _, v := range s.variants {
		if exp.Repeat.UntilReproduced > 0 {
			l.t.Logf("%s: reproduced in %d of %d repetitions", strings.TrimSpace(exp.Name+" "+v.name), v.reproduced, v.tally.Repetitions)
		}
	}
	if s.ruling(exp) == timeline.Pass && s.tally.Repetitions > 0 {
		return run, false
	}
	if _, excused := l.overtakings(run, s); excused && tries < tryAgain {
		return run, true
	}
	var b strings.Builder
	if err := l.operator.drawRun(&b, run, s, ladderOptions{}); err != nil {
		l.t.Fatal(err)
	}
	l.t.Errorf("%s\n%s", &b, l.picture(run, s.worst))
	return run, false
}

// picture is the ladder of a repetition, for whoever has to find out what went wrong.
func (l *testLab) picture(run *synclinev1.Run, repetition uint32) string {
	var b strings.Builder
	look := *l.operator
	look.Out = &b
	if err := look.showTimeline(l.t.Context(), l.client, run.Id, repetition, ladderOptions{output: "text", width: 120}); err != nil {
		return err.Error()
	}
	return b.String()
}

// breaks runs a scenario with one deliberate break and wants it not to pass.
func (l *testLab) breaks(source string, w wreck) {
	l.t.Helper()
	if n := strings.Count(source, w.Replace); n != 1 || w.Replace == "" {
		l.t.Errorf("break %q: its text stands %d times in the file, not once", w.Break, n)
		return
	}
	broken := []byte(strings.Replace(source, w.Replace, w.With, 1))
	if _, err := experiment.Parse(broken, experiment.Options{FileName: "broken.yaml"}); err != nil {
		l.t.Errorf("break %q: %v", w.Break, err)
		return
	}
	opts := runOptions{repeat: max(w.Repeat, 2), bindings: l.bindings}
	if w.Case != "" {
		opts.cases = []string{w.Case}
	}
	run, err := l.operator.execute(l.t.Context(), l.client, "broken.yaml", broken, opts)
	if err != nil {
		l.t.Errorf("break %q: %v", w.Break, err)
		return
	}
	s := l.verdicts(run)
	if len(s.variants) == 1 && s.tally.Clean > 0 {
		l.t.Errorf("break %q: %d of %d repetitions pass\n%s", w.Break, s.tally.Clean, s.tally.Repetitions, l.picture(run, 1))
	}
	if r := s.tally.Ruling(); r != timeline.Fail && r != timeline.NotReproduced {
		l.t.Errorf("break %q is judged as %v, not as fail or not reproduced", w.Break, r)
	}
	var caught []string
	for _, tally := range s.tally.Tallies {
		if r := tally.Ruling(); r == timeline.Fail || r == timeline.NotReproduced {
			caught = append(caught, fmt.Sprintf("%s: %v", tally.Expectation, r))
		}
	}
	l.t.Logf("break %q: %s", w.Break, strings.Join(caught, "; "))
}

// unchanged wants every host to be as it was.
func (l *testLab) unchanged(before map[string]snapshot) {
	l.t.Helper()
	var different []string
	l.t.Cleanup(func() {
		if len(different) > 0 {
			l.t.Errorf("not as it was before:\n%s", strings.Join(different, "\n"))
		}
	})
	await(l.t, "the hosts are as they were before", func() bool {
		different = differences(before, l.snapshots())
		return len(different) == 0
	})
}
