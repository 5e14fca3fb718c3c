package lane

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// spreadOf is how far apart the returns of the lanes' n-th meetings are.
func (s *stage) spreadOf(n int, lanes ...string) time.Duration {
	s.t.Helper()
	var at []int64
	for _, lane := range lanes {
		var meetings []*synclinev1.Call
		for _, e := range s.calls[lane] {
			if e.GetCall().Name == "meet" {
				meetings = append(meetings, e.GetCall())
			}
		}
		at = append(at, meetings[n].ReturnNs)
	}
	return time.Duration(slices.Max(at) - slices.Min(at))
}

func TestMeeting(t *testing.T) {
	both(t, func(t *testing.T, home func(*synclinev1.Lane) *synclinev1.Lane) {
		const rounds = 20
		s := newStage(t)
		var steps []*synclinev1.Step
		for i := range rounds {
			steps = append(steps, meet("round "+string(rune('a'+i))))
		}
		s.play(home(newTestLane("client", steps...)), home(newTestLane("server", steps...)))
		s.ok()
		var spreads []time.Duration
		for i := range rounds {
			spreads = append(spreads, s.spreadOf(i, "client", "server"))
		}
		slices.Sort(spreads)
		t.Logf("the two lanes left %d meetings within %v at best, %v at the median, %v at worst",
			rounds, spreads[0], spreads[rounds/2], spreads[rounds-1])
		// The machine may be busy; once in so often two threads get their CPUs in time.
		if spreads[0] > 100*time.Microsecond {
			t.Errorf("no meeting of %d was left within 100 µs: %v", rounds, spreads)
		}
	})
}

// No lane leaves a meeting before its instant.
func TestMeetingIsNotLeftEarly(t *testing.T) {
	s := newStage(t)
	s.allow.Arrived = func(string, string) {}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	board, wait := s.act(ctx, newTestLane("client", meet("a")), newTestLane("late", meet("b"), meet("a")))
	at := nanotime() + 50e6
	board.Release("a", at, "")
	board.Release("b", nanotime()-1e9, "")
	board.Release("b", 1<<62, "")
	wait()
	s.ok()
	for _, lane := range []string{"client", "late"} {
		c := s.calls[lane][len(s.calls[lane])-1].GetCall()
		if c.ReturnNs < at || c.Result != 0 {
			t.Errorf("lane %s left %d ns before the instant, with %d", lane, at-c.ReturnNs, c.Result)
		}
	}
	if b := s.event("late", "meet"); b.GetCall().ReturnNs-b.TimeNs > 40e6 {
		t.Error("a meeting in the past was waited for")
	}
}

func TestMeetingEnds(t *testing.T) {
	const limit = 20 * time.Millisecond
	for _, c := range []struct {
		name    string
		release func(*Board)
		limit   time.Duration
		failure string
	}{
		{"nobody comes", func(*Board) {}, limit, ""},
		{"its instant is beyond the limit", func(b *Board) { b.Release("a", nanotime()+int64(time.Hour), "") }, limit, ""},
		{"it does not take place", func(b *Board) { b.Release("a", 0, "lane x ended before it came") }, patience,
			"meeting a does not take place: lane x ended before it came"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			s.allow.Arrived = func(string, string) {}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			board, wait := s.act(ctx, newTestLane("client", expects(within(meet("a"), c.limit), timeout)))
			c.release(board)
			wait()
			e := s.event("client", "meet")
			if e.GetCall().Failure != c.failure || e.GetCall().Result != -1 {
				t.Errorf("failure %q, result %d; want %q", e.GetCall().Failure, e.GetCall().Result, c.failure)
			}
			if took := time.Duration(e.GetCall().ReturnNs - e.TimeNs); c.failure == "" && took < limit*9/10 {
				t.Errorf("the limit of %v ran out after %v", limit, took)
			}
		})
	}
}

func TestCancelEndsAMeeting(t *testing.T) {
	both(t, func(t *testing.T, home func(*synclinev1.Lane) *synclinev1.Lane) {
		s := newStage(t)
		s.allow.Arrived = func(string, string) {}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		board, wait := s.act(ctx, home(newTestLane("client", signalOf("x"), meet("a"))), newTestLane("far", meet("a")),
			newTestLane("last", wait("client", "x"), signalOf("y")))
		board.Release("a", nanotime()+int64(time.Hour), "")
		s.ended("last")
		cancel()
		wait()
		for _, lane := range []string{"client", "far"} {
			if err := s.errs[lane]; err == nil || !strings.Contains(err.Error(), "the repetition") && !strings.Contains(err.Error(), "end of the repetition") {
				t.Errorf("lane %s: error %v", lane, err)
			}
		}
	})
}

// The lane is in a hurry from before the instant to the end of the call after it.
func TestHurryEndsWithTheNextCall(t *testing.T) {
	s := newStage(t)
	var policies []uint32
	look := func() {
		attributes, err := unix.SchedGetAttr(0, 0)
		if err != nil {
			t.Error(err)
			return
		}
		policies = append(policies, attributes.Policy)
	}
	s.allow.Allow = func(netip.AddrPort) error { look(); return nil }
	s.allow.Signalled = func(string, string) { look() }
	s.play(newTestLane("client", socket("c"), signalOf("x"), meet("a"),
		expects(connect("c", v4), fails(unix.ECONNREFUSED)), signalOf("y"), meet("b"), signalOf("z")))
	s.ok()
	want := []uint32{unix.SCHED_NORMAL, unix.SCHED_FIFO, unix.SCHED_NORMAL, unix.SCHED_NORMAL}
	if unix.Geteuid() != 0 {
		want[1] = unix.SCHED_NORMAL
	}
	if diff := cmp.Diff(want, policies); diff != "" {
		t.Errorf("scheduling before, at and after a meeting (-want +got):\n%s", diff)
	}
	want2 := []string{"c = socket(AF_INET, SOCK_STREAM, 0)", "signal(x) 0", "meet(a) 0", "connect(c " + v4 + ") ECONNREFUSED",
		"signal(y) 0", "meet(b) 0", "signal(z) 0", "close(c) 0 by lab"}
	if diff := cmp.Diff(want2, s.summaries("client")); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// A process that dies in the call after a meeting has told of neither.
func TestKilledAfterAMeeting(t *testing.T) {
	s := newStage(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	board, wait := s.act(ctx, own(newTestLane("victim", socket("s"), bind("s", v4), listen("s", 1), signalOf("there"), meet("a"), accept("a", "s"))),
		newTestLane("killer", waitFor("blocked"), kill("victim", unix.SIGKILL)))
	s.blockedProcess("victim", unix.SYS_ACCEPT4)
	board.Post("", "blocked")
	wait()
	if diff := cmp.Diff([]string{"signal(there) 0", "meet(a) 0", "a = accept(s) ENDED_BY_DEATH"}, s.summaries("victim")[3:]); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	met, accept := s.event("victim", "meet"), s.event("victim", "accept")
	if met.GetCall().ReturnNs-met.TimeNs < 15e6 || accept.TimeNs < met.GetCall().ReturnNs || met.GetCall().Thread != accept.GetCall().Thread {
		t.Errorf("met from %d to %d, then accepted from %d", met.TimeNs, met.GetCall().ReturnNs, accept.TimeNs)
	}
}

// waitFor waits for a watch.
func waitFor(watch string) *synclinev1.Step {
	s := wait("", "")
	s.GetWait().Watch = watch
	return s
}
