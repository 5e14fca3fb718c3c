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

// Two processes accept on one listening socket: a server that forks.
func TestForkSharesAListener(t *testing.T) {
	both(t, func(t *testing.T, home func(*synclinev1.Lane) *synclinev1.Lane) {
		s := newStage(t)
		s.play(home(listening(v4, fork("worker"), closeOf("s"), wait("worker", "through"))),
			forkedBy("server", newTestLane("worker", signalOf("there"), accept("a", "s"),
				expects(recv("a", 9), brings("hello")), getsockname("s"), signalOf("through"))),
			newTestLane("client", wait("worker", "there"), socket("c"), connect("c", v4), say("c", "hello")))
		s.ok()
		forked, accepted := s.call("server", "fork"), s.call("worker", "accept")
		if forked.Result <= 0 || forked.Result != int64(accepted.Process) || forked.Arguments != "worker" {
			t.Errorf("fork(%s) is %d, the worker's process %d", forked.Arguments, forked.Result, accepted.Process)
		}
		if accepted.LocalAddress != v4 || s.call("worker", "getsockname").LocalAddress != v4 {
			t.Errorf("the worker accepted at %q", accepted.LocalAddress)
		}
		s.lived("worker", "born", "gone")
		want := []string{"signal(there) 0", "a = accept(s)", "recv(a 9 bytes) 5", "getsockname(s) 0", "signal(through) 0",
			"close(s) 0 by lab", "close(a) 0 by lab"}
		if diff := cmp.Diff(want, s.summaries("worker")); diff != "" {
			t.Errorf("worker (-want +got):\n%s", diff)
		}
		if born := s.lives[0]; len(s.lives) == 2 && born.TimeNs < s.event("server", "fork").TimeNs {
			t.Error("the worker was born before its fork")
		}
	})
}

// The FIN leaves when the last process that has the connection closes it: no copy is
// left on the way, neither in the process that forks nor in that of the group.
func TestFinLeavesWithTheLastHolder(t *testing.T) {
	both(t, func(t *testing.T, home func(*synclinev1.Lane) *synclinev1.Lane) {
		s := newStage(t)
		s.play(home(listening(v4, accept("a", "s"), fork("worker"), closeOf("a"), signalOf("closed"), wait("client", "got"))),
			forkedBy("server", newTestLane("worker", wait("client", "silent"), closeOf("a"), wait("client", "got"))),
			dialling(v4, wait("server", "closed"), expects(within(recv("c", 1), 40*time.Millisecond), timeout), signalOf("silent"),
				expects(recv("c", 1), is(0)), signalOf("got")))
		s.ok()
		fin, last := s.calls["client"][6], s.call("worker", "close")
		if fin.GetCall().Name != "recv" || fin.GetCall().ReturnNs < s.event("worker", "close").TimeNs || last.ByLab {
			t.Errorf("the FIN came before the last close: %v", fin)
		}
	})
}

// A killed process lets go of what it alone has.
func TestKilledWorkerResetsNothingItShares(t *testing.T) {
	s := newStage(t)
	s.play(listening(v4, accept("a", "s"), fork("worker"), wait("worker", "there"), kill("worker", unix.SIGKILL),
		say("a", "still"), closeOf("a"), wait("client", "got")),
		forkedBy("server", newTestLane("worker", signalOf("there"), recv("a", 1))),
		dialling(v4, expects(recv("c", 9), brings("still")), expects(recv("c", 9), is(0)), signalOf("got")))
	for lane, err := range s.errs {
		if lane == "worker" && !errors.Is(err, ErrKilled) || lane != "worker" && err != nil {
			t.Errorf("lane %s: %v", lane, err)
		}
	}
	s.lived("worker", "born", "gone by SIGKILL")
}

func TestForkOfAFork(t *testing.T) {
	s := newStage(t)
	s.play(listening(v4, fork("child")),
		forkedBy("server", newTestLane("child", dup("d", "s"), closeOf("s"), fork("grandchild"), wait("grandchild", "through"))),
		forkedBy("child", newTestLane("grandchild", signalOf("there"), accept("a", "d"), signalOf("through"))),
		newTestLane("client", wait("grandchild", "there"), socket("c"), connect("c", v4)))
	s.ok()
}

func TestForksThatCannotBe(t *testing.T) {
	for _, c := range []struct {
		name  string
		lanes []*synclinev1.Lane
		lane  string
		want  string
	}{
		{"twice", []*synclinev1.Lane{newTestLane("server", fork("worker"), fork("worker")), forkedBy("server", newTestLane("worker"))},
			"server", "lane worker was forked already: a lane is forked once"},
		{"another's", []*synclinev1.Lane{newTestLane("server", fork("worker")), newTestLane("x"), forkedBy("x", newTestLane("worker"))},
			"server", "there is no process of a lane worker, forked by lane server, on this host"},
		{"never", []*synclinev1.Lane{newTestLane("server"), forkedBy("server", newTestLane("worker"))},
			"worker", "lane server ended before it forked lane worker"},
		{"by a lane elsewhere", []*synclinev1.Lane{forkedBy("far", newTestLane("worker"))},
			"worker", "lane worker is forked by lane far, which does not run on this host"},
		{"a name it did not inherit", []*synclinev1.Lane{newTestLane("server", socket("s"), closeOf("s"), fork("worker")),
			forkedBy("server", newTestLane("worker", closeOf("s")))},
			"worker", "no earlier step makes a socket s"},
		{"limits without a process", []*synclinev1.Lane{{Name: "x", Limits: []*synclinev1.ResourceLimit{{}}}},
			"x", "lane x has limits, and no process of its own that they could be set for"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			s.play(c.lanes...)
			if err := s.errs[c.lane]; err == nil || !strings.HasSuffix(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func TestForkHasALimitOfSockets(t *testing.T) {
	both(t, func(t *testing.T, home func(*synclinev1.Lane) *synclinev1.Lane) {
		var steps []*synclinev1.Step
		for i := range MaxInherited + 1 {
			steps = append(steps, udp(fmt.Sprintf("s%d", i)))
		}
		s := newStage(t)
		s.play(home(newTestLane("server", append(slices.Clone(steps[:MaxInherited]), fork("worker"))...)),
			forkedBy("server", newTestLane("worker", closeOf("s0"), closeOf("s252"))))
		s.ok()
		s = newStage(t)
		s.play(home(newTestLane("server", append(slices.Clone(steps), fork("worker"))...)), forkedBy("server", newTestLane("worker")))
		if err := s.errs["server"]; err == nil || !strings.HasSuffix(err.Error(), "a fork with 254 open sockets: at most 253 can be passed on") {
			t.Errorf("error %v", err)
		}
	})
}

func TestLimitsOfAProcess(t *testing.T) {
	const nofile = 24
	var steps []*synclinev1.Step
	for i := range nofile {
		o := okay
		if i > nofile/2 {
			o = &synclinev1.Outcome{Ok: true, Errnos: []uint32{uint32(unix.EMFILE)}}
		}
		steps = append(steps, expects(socket(fmt.Sprintf("s%d", i)), o))
	}
	l := own(newTestLane("victim", append(steps, expects(socket("last"), fails(unix.EMFILE)))...))
	l.Limits = []*synclinev1.ResourceLimit{{Resource: unix.RLIMIT_NOFILE, Value: nofile}, {Resource: unix.RLIMIT_CORE, Value: 0}}
	s := newStage(t)
	s.play(l)
	s.ok()
	highest := int64(0)
	for _, e := range s.calls["victim"] {
		highest = max(highest, e.GetCall().Result)
	}
	if first := s.call("victim", "socket").Result; highest != nofile-1 || first > 8 {
		t.Errorf("with %d descriptors the sockets were %d to %d", nofile, first, highest)
	}
	var mine unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &mine); err != nil || mine.Cur == nofile {
		t.Errorf("the limit of this process is %v now (%v)", mine, err)
	}
}

func TestLimitThatCannotBe(t *testing.T) {
	l := own(newTestLane("victim", signalOf("x")))
	l.Limits = []*synclinev1.ResourceLimit{{Resource: 999, Value: 1}}
	s := newStage(t)
	s.play(l)
	if err := s.errs["victim"]; err == nil || !strings.HasPrefix(err.Error(), "lane victim: setrlimit of resource 999 to 1: invalid argument") {
		t.Errorf("error %v", err)
	}
}

func TestPrepareOfAProcessFails(t *testing.T) {
	wrong := errors.New("wrong")
	board := NewBoard([]string{"victim"})
	var ended error
	group := &Group{
		Config: Config{Board: board, Prepare: func() error { return wrong }, Emit: func(e *synclinev1.Event) { t.Errorf("event %v", e) }},
		Lanes:  []*synclinev1.Lane{own(newTestLane("victim", signalOf("x")))},
		Ended:  func(_ string, err error) { ended = err },
	}
	group.Run(t.Context())
	if !errors.Is(ended, wrong) {
		t.Errorf("the lane ended with %v", ended)
	}
	if _, err := board.wait(t.Context(), []string{"victim"}, "x", 0); err == nil {
		t.Error("the board does not know that the lane has ended")
	}
}

func TestGroupsLeaveNothing(t *testing.T) {
	s := newStage(t)
	once := func() {
		clear(s.errs)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, wait := s.act(ctx, listening(v4, fork("worker"), wait("worker", "there"), kill("worker", unix.SIGKILL)),
			forkedBy("server", newTestLane("worker", signalOf("there"), accept("a", "s"))),
			forkedBy("server", newTestLane("never")), own(newTestLane("client", socket("c"))))
		wait()
		if s.errs["client"] != nil || s.errs["server"] != nil {
			t.Error(s.errs)
		}
	}
	once()
	descriptors := entries(t, "/proc/self/fd")
	for range 5 {
		once()
	}
	if got := entries(t, "/proc/self/fd"); got != descriptors {
		t.Errorf("%d descriptors before five groups, %d after", descriptors, got)
	}
	if children, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", os.Getpid())); err == nil && len(children) != 0 {
		t.Errorf("processes are left: %s", children)
	}
}
