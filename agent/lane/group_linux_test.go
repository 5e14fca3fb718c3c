package lane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// act starts the lanes as a group and returns their board, and a function that waits
// for its end. Meetings take place 20 ms after the last of their lanes has come.
func (s *stage) act(ctx context.Context, lanes ...*synclinev1.Lane) (*Board, func()) {
	names := make([]string, len(lanes))
	for i, l := range lanes {
		names[i] = l.Name
	}
	board := NewBoard(names)
	cfg := s.config(nil, board)
	cfg.Prepare = s.space.enter
	if cfg.Arrived = s.allow.Arrived; cfg.Arrived == nil {
		cfg.Arrived = s.arrivals(board, lanes)
	}
	group := &Group{Config: cfg, Lanes: lanes, Ended: func(lane string, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if _, twice := s.errs[lane]; twice {
			s.t.Errorf("lane %s ended twice", lane)
		}
		s.errs[lane] = err
	}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		group.Run(ctx)
	}()
	return board, func() { <-done }
}

// arrivals answers meetings as a controller would.
func (s *stage) arrivals(board *Board, lanes []*synclinev1.Lane) func(lane, meeting string) {
	missing := map[string]int{}
	for _, l := range lanes {
		for _, step := range l.Steps {
			if m := step.GetMeet(); m != nil {
				missing[m.Name]++
			}
		}
	}
	return func(_, meeting string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if missing[meeting]--; missing[meeting] == 0 {
			board.Release(meeting, nanotime()+20e6, "")
		}
	}
}

// play acts the lanes to their end, which must come soon.
func (s *stage) play(lanes ...*synclinev1.Lane) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, wait := s.act(ctx, lanes...)
	wait()
	if ctx.Err() != nil {
		s.t.Fatalf("the lanes did not end by themselves: %v", s.errs)
	}
	if len(s.errs) != len(lanes) {
		s.t.Errorf("%d lanes, %d ends: %v", len(lanes), len(s.errs), s.errs)
	}
}

// own gives a lane a process.
func own(l *synclinev1.Lane) *synclinev1.Lane {
	l.OwnProcess = true
	return l
}

func forkedBy(by string, l *synclinev1.Lane) *synclinev1.Lane {
	l.ForkedBy = by
	return l
}

func fork(lane string) *synclinev1.Step {
	return &synclinev1.Step{Text: "fork", Call: &synclinev1.Step_Fork{Fork: &synclinev1.ForkCall{Lane: lane}}}
}

func kill(lane string, signal unix.Signal) *synclinev1.Step {
	return &synclinev1.Step{Text: "kill", Call: &synclinev1.Step_Kill{
		Kill: &synclinev1.KillCall{Lane: lane, Signal: uint32(signal)},
	}}
}

func meet(name string) *synclinev1.Step {
	return &synclinev1.Step{Text: "meet", Call: &synclinev1.Step_Meet{Meet: &synclinev1.MeetCall{Name: name}}}
}

// lifetimes are the births and deaths of the processes of lanes.
func (s *stage) lifetimes(lane string) []string {
	var all []string
	for _, e := range s.lives {
		if p := e.GetLaneProcess(); p.Lane == lane {
			life := "born"
			if p.Gone {
				life = "gone"
			}
			if p.Signal != 0 {
				life += " by " + signalName(p.Signal)
			}
			all = append(all, life)
		}
	}
	return all
}

func (s *stage) lived(lane string, want ...string) {
	s.t.Helper()
	if diff := cmp.Diff(want, s.lifetimes(lane)); diff != "" {
		s.t.Errorf("process of lane %s (-want +got):\n%s", lane, diff)
	}
}

func TestProcessMakesTheSameCalls(t *testing.T) {
	s := newStage(t)
	s.play(
		own(listening(v4, accept("a", "s"), recv("a", 100), expects(recv("a", 1), zero))),
		own(dialling(v4, send("c", 42), shutdown("c", unix.SHUT_WR), expects(recv("c", 1), zero), closeOf("c"))),
	)
	s.ok()
	want := []string{
		"s = socket(AF_INET, SOCK_STREAM, 0)", "bind(s " + v4 + ") 0", "listen(s 128) 0", "signal(ready) 0",
		"a = accept(s)", "recv(a 100 bytes) 42", "recv(a 1 bytes) 0", "close(s) 0 by lab", "close(a) 0 by lab",
	}
	if diff := cmp.Diff(want, s.summaries("server")); diff != "" {
		t.Errorf("server (-want +got):\n%s", diff)
	}
	s.checkAddresses(v4)
	for lane := range s.calls {
		s.lived(lane, "born", "gone")
		process := s.calls[lane][0].GetCall().Process
		if process == 0 || process == uint32(os.Getpid()) {
			t.Errorf("lane %s has process %d", lane, process)
		}
		s.thread[lane] = int(process)
	}
	s.checkStamps()
	if accepted := s.call("server", "accept").ReturnNs; accepted < s.event("client", "connect").TimeNs {
		t.Error("accept returned before connect was entered in the other process")
	}
}

func TestProcessFailsAsALaneDoes(t *testing.T) {
	s := newStage(t)
	s.play(own(newTestLane("client", socket("c"), connect("c", v4), closeOf("c"))),
		newTestLane("other", wait("client", "never")))
	want := "lane client, step 2, connect: expected success, got ECONNREFUSED (connection refused)"
	if err := s.errs["client"]; err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
	if err := s.errs["other"]; err == nil || !strings.HasSuffix(err.Error(), "ended before it signalled never: "+want) {
		t.Errorf("error of who waited: %v", err)
	}
	s.lived("client", "born", "gone")
}

func TestProcessIsAskedForWhereItConnects(t *testing.T) {
	s := newStage(t)
	s.allow.Allow = refuseAll
	s.play(own(newTestLane("client", socket("c"), expects(connect("c", v4), fails(unix.ECONNREFUSED)))))
	if c := s.call("client", "connect"); !strings.Contains(c.Failure, "to 127.0.0.1:8080 is not allowed: no") || c.Result != -1 {
		t.Errorf("the call is %v", c)
	}
}

func TestSignalsGoBetweenProcesses(t *testing.T) {
	s := newStage(t)
	s.play(own(newTestLane("a", signalOf("x"), wait("b", "y"), expects(within(wait("b", "z"), 20*time.Millisecond), timeout), signalOf("late"))),
		own(newTestLane("b", wait("a", "x"), signalOf("y"), wait("c", "done"))),
		newTestLane("c", wait("a", "x"), wait("b", "y"), wait("a", "late"), signalOf("done")))
	s.ok()
	if limit := s.calls["a"][2]; limit.GetCall().ReturnNs-limit.TimeNs < 20e6 {
		t.Errorf("the limit of a wait ran out after %d ns", limit.GetCall().ReturnNs-limit.TimeNs)
	}
}

// victims are calls in which a process is killed.
var victims = []struct {
	name  string
	steps []*synclinev1.Step
	trap  uintptr
}{
	{"accept", []*synclinev1.Step{socket("s"), bind("s", v4), listen("s", 1), signalOf("there"), accept("a", "s")}, unix.SYS_ACCEPT4},
	{"recv", []*synclinev1.Step{wait("killer", "ready"), socket("c"), connect("c", "127.0.0.1:8081"), signalOf("there"), recv("c", 10)}, unix.SYS_RECVFROM},
	{"wait", []*synclinev1.Step{signalOf("there"), wait("killer", "never")}, unix.SYS_FUTEX},
}

func TestKilledInACall(t *testing.T) {
	for _, v := range victims {
		for _, signal := range []unix.Signal{unix.SIGKILL, unix.SIGTERM, unix.SIGQUIT} {
			t.Run(v.name+" "+unix.SignalName(signal), func(t *testing.T) {
				s := newStage(t)
				killer := newTestLane("killer", socket("s"), bind("s", "127.0.0.1:8081"), listen("s", 1), signalOf("ready"),
					wait("victim", "there"), waitFor("blocked"), expects(kill("victim", signal), zero),
					expects(kill("victim", signal), fails(unix.ESRCH)))
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				board, wait := s.act(ctx, own(newTestLane("victim", v.steps...)), killer)
				s.blockedProcess("victim", v.trap)
				board.Post("", "blocked")
				wait()
				if err := s.errs["killer"]; err != nil {
					t.Error(err)
				}
				if err := s.errs["victim"]; !errors.Is(err, ErrKilled) {
					t.Errorf("the victim ended with %v", err)
				}
				s.lived("victim", "born", "gone by "+unix.SignalName(signal))
				last := s.calls["victim"][len(s.calls["victim"])-1]
				c, death := last.GetCall(), s.lives[len(s.lives)-1]
				if c.Name != v.name || c.EndedBy != synclinev1.EndedBy_ENDED_BY_DEATH || c.Result != -1 || c.Errno != 0 || c.Failure != "" {
					t.Errorf("the call it died in is %v", c)
				}
				if int(c.Step) != len(v.steps)-1 || c.Process != death.GetLaneProcess().Process {
					t.Errorf("step %d of process %d", c.Step, c.Process)
				}
				killed := s.event("killer", "kill")
				if last.TimeNs > killed.TimeNs || c.ReturnNs < killed.TimeNs || c.ReturnNs > killed.GetCall().ReturnNs {
					t.Errorf("the call lasted from %d to %d, kill from %d to %d",
						last.TimeNs, c.ReturnNs, killed.TimeNs, killed.GetCall().ReturnNs)
				}
			})
		}
	}
}

// blockedProcess waits until the thread of a lane in a process of its own is in a
// system call after its signal "there".
func (s *stage) blockedProcess(lane string, trap uintptr) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("lane %s blocks in system call %d", lane, trap), func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		there := slices.IndexFunc(s.calls[lane], func(e *synclinev1.Event) bool { return e.GetCall().Arguments == "there" })
		if there < 0 {
			return false
		}
		c := s.calls[lane][there].GetCall()
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/syscall", c.Process, c.Thread))
		return err == nil && strings.HasPrefix(string(b), fmt.Sprintf("%d ", trap))
	})
}

func TestKilledLaneLetsOthersKnow(t *testing.T) {
	s := newStage(t)
	s.play(own(newTestLane("victim", signalOf("there"), sleep(time.Hour))),
		newTestLane("killer", wait("victim", "there"), kill("victim", unix.SIGKILL)),
		newTestLane("other", wait("victim", "never")))
	want := "lane other, step 1, wait: lane victim ended before it signalled never"
	if err := s.errs["other"]; err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
}

func TestProcessThatDiesByItself(t *testing.T) {
	s := newStage(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, wait := s.act(ctx, own(newTestLane("client", signalOf("there"), sleep(time.Hour))))
	s.blockedProcess("client", unix.SYS_CLOCK_NANOSLEEP)
	if err := unix.Kill(int(s.call("client", "signal").Process), unix.SIGSEGV); err != nil {
		t.Fatal(err)
	}
	wait()
	err := s.errs["client"]
	if err == nil || errors.Is(err, ErrKilled) || !strings.Contains(err.Error(), "its process died, and no step killed it") ||
		!strings.Contains(err.Error(), "SIGSEGV") {
		t.Errorf("error %v", err)
	}
	if c := s.call("client", "sleep"); c.EndedBy != synclinev1.EndedBy_ENDED_BY_DEATH || c.Failure == "" {
		t.Errorf("the call it died in is %v", c)
	}
}

func TestKillNeedsAProcess(t *testing.T) {
	for _, c := range []struct {
		name  string
		lanes []*synclinev1.Lane
		want  string
	}{
		{"of the agent's process", []*synclinev1.Lane{newTestLane("killer", kill("killer", unix.SIGKILL))},
			"lane killer has no process of its own on this host that could be killed"},
		{"of another host", []*synclinev1.Lane{newTestLane("killer", kill("far", unix.SIGKILL))},
			"lane far has no process of its own on this host that could be killed"},
		{"not yet forked", []*synclinev1.Lane{newTestLane("killer", kill("worker", unix.SIGKILL)), forkedBy("killer", newTestLane("worker"))},
			"lane worker has not been forked yet"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			s.play(c.lanes...)
			if err := s.errs["killer"]; err == nil || !strings.HasSuffix(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func TestStopAndContinue(t *testing.T) {
	s := newStage(t)
	const pause = 50 * time.Millisecond
	s.play(own(newTestLane("victim", signalOf("there"), wait("killer", "go"), signalOf("back"))),
		newTestLane("killer", wait("victim", "there"), kill("victim", unix.SIGSTOP), signalOf("go"),
			expects(within(wait("victim", "back"), pause), timeout), kill("victim", unix.SIGCONT), wait("victim", "back")))
	s.ok()
	s.lived("victim", "born", "gone")
}

func TestCancelEndsAProcess(t *testing.T) {
	for _, c := range []struct {
		name  string
		steps []*synclinev1.Step
		by    synclinev1.EndedBy
		trap  uintptr
	}{
		{"in a call", []*synclinev1.Step{socket("s"), bind("s", v4), listen("s", 1), signalOf("there"), accept("a", "s")},
			synclinev1.EndedBy_ENDED_BY_CANCEL, unix.SYS_ACCEPT4},
		{"in a wait", []*synclinev1.Step{signalOf("there"), wait("client", "never")},
			synclinev1.EndedBy_ENDED_BY_CANCEL, unix.SYS_FUTEX},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			over := errors.New("its time is up")
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			_, wait := s.act(ctx, own(newTestLane("client", c.steps...)))
			s.blockedProcess("client", c.trap)
			cancel(over)
			wait()
			if err := s.errs["client"]; !errors.Is(err, over) || !strings.Contains(err.Error(), "the end of the repetition") {
				t.Errorf("error %v", err)
			}
			if last := s.call("client", c.steps[len(c.steps)-1].Text); last.EndedBy != c.by {
				t.Errorf("ended by %v", last.EndedBy)
			}
			s.lived("client", "born", "gone")
		})
	}
}

func TestCancelKillsAStoppedProcess(t *testing.T) {
	s := newStage(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, wait := s.act(ctx, own(newTestLane("victim", signalOf("there"), sleep(time.Hour))),
		newTestLane("killer", wait("victim", "there"), kill("victim", unix.SIGSTOP), signalOf("stopped")),
		forkedBy("victim", newTestLane("worker")))
	s.ended("killer")
	began := time.Now()
	cancel()
	wait()
	if took := time.Since(began); took > grace/2 {
		t.Errorf("the end took %v", took)
	}
	for lane, want := range map[string]string{"victim": "while its process was stopped", "worker": "before the lane was forked"} {
		if err := s.errs[lane]; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), want) {
			t.Errorf("lane %s: error %v, want %q", lane, err, want)
		}
	}
	s.lived("worker")
}
