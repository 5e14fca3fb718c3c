package lane

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// full is more than the buffers of both ends of a connection hold.
const full = 32 << 20

// stuck is a call that never ends by itself.
type stuck struct {
	name string
	// trap is where the kernel sees the lane; 0 for a wait, which is not in the kernel.
	trap uintptr
	// lanes make the call in the last step of the lane "client".
	lanes func(s *stage, t *testing.T) []*synclinev1.Lane
	// partly: some of the bytes went before the call blocked.
	partly bool
}

// server stays until the client has made its last step.
func server() *synclinev1.Lane {
	return listening(v4, expects(within(wait("client", "never"), patience), timeout))
}

var stuckCalls = []stuck{
	{name: "accept", trap: unix.SYS_ACCEPT4, lanes: func(*stage, *testing.T) []*synclinev1.Lane {
		l := listening(v4, accept("a", "s"))
		l.Name = "client"
		return []*synclinev1.Lane{l}
	}},
	{name: "connect", trap: unix.SYS_CONNECT, lanes: func(s *stage, t *testing.T) []*synclinev1.Lane {
		return []*synclinev1.Lane{newTestLane("client", socket("c"), connect("c", s.space.blackhole(t)))}
	}},
	{name: "recv", trap: unix.SYS_RECVFROM, lanes: func(*stage, *testing.T) []*synclinev1.Lane {
		return []*synclinev1.Lane{server(), dialling(v4, recv("c", 1))}
	}},
	{name: "send", trap: unix.SYS_SENDTO, partly: true, lanes: func(*stage, *testing.T) []*synclinev1.Lane {
		return []*synclinev1.Lane{server(), dialling(v4, send("c", full))}
	}},
	{name: "wait", lanes: func(*stage, *testing.T) []*synclinev1.Lane {
		return []*synclinev1.Lane{server(), newTestLane("client", wait("server", "never"))}
	}},
	{name: "sleep", trap: unix.SYS_CLOCK_NANOSLEEP, lanes: func(*stage, *testing.T) []*synclinev1.Lane {
		return []*synclinev1.Lane{newTestLane("client", sleep(time.Hour))}
	}},
}

func (c *stuck) check(t *testing.T, s *stage, by synclinev1.EndedBy) {
	t.Helper()
	got := s.call("client", c.name)
	if got.EndedBy != by || got.Errno != 0 {
		t.Errorf("ended by %v with errno %d, want %v", got.EndedBy, got.Errno, by)
	}
	if c.partly && (got.Result <= 0 || got.Result >= full) || !c.partly && got.Result != -1 {
		t.Errorf("result %d", got.Result)
	}
}

func TestLimitEndsACall(t *testing.T) {
	const limit = 30 * time.Millisecond
	for _, c := range stuckCalls {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			lanes := c.lanes(s, t)
			client := lanes[len(lanes)-1]
			last := client.Steps[len(client.Steps)-1]
			expects(within(last, limit), timeout)
			ctx, cancel := context.WithCancel(t.Context())
			_, wait := s.start(ctx, lanes...)
			s.ended("client")
			cancel()
			wait()
			if err := s.errs["client"]; err != nil {
				t.Error(err)
			}
			c.check(t, s, synclinev1.EndedBy_ENDED_BY_TIMEOUT)
			e := s.event("client", c.name)
			if took := e.GetCall().ReturnNs - e.TimeNs; took < int64(limit) {
				t.Errorf("ended after %d ns, the limit is %v", took, limit)
			}
		})
	}
}

// TestALimitIsNeverShort holds the stamps of limited calls against their limit while the
// lane's thread is preempted all the time.
func TestALimitIsNeverShort(t *testing.T) {
	const limit, calls = time.Millisecond, 300
	ctx, idle := context.WithCancel(t.Context())
	var busy sync.WaitGroup
	for range 2 * runtime.NumCPU() {
		busy.Go(func() {
			runtime.LockOSThread()
			for ctx.Err() == nil {
			}
		})
	}
	t.Cleanup(busy.Wait)
	t.Cleanup(idle)
	s := newStage(t)
	steps := []*synclinev1.Step{udp("u")}
	for range calls {
		steps = append(steps, expects(within(hear("u", 1), limit), timeout))
	}
	s.run(newTestLane("client", steps...))
	s.ok()
	seen := 0
	for _, r := range s.calls["client"] {
		c := r.GetCall()
		if c.GetName() != "recv" {
			continue
		}
		seen++
		if took := c.ReturnNs - r.TimeNs; took < int64(limit) {
			t.Errorf("step %d ended after %d ns, its limit is %v", c.Step, took, limit)
		}
	}
	if seen != calls {
		t.Errorf("%d calls are on record, not %d", seen, calls)
	}
}

// ended waits until a lane is through.
func (s *stage) ended(lane string) {
	s.t.Helper()
	s.eventually("lane "+lane+" ends", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		_, through := s.errs[lane]
		return through
	})
}

func TestCancelEndsACall(t *testing.T) {
	for _, c := range stuckCalls {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			over := errors.New("its time is up")
			var release context.CancelFunc
			s.longer, release = context.WithCancel(t.Context())
			defer release()
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			board, wait := s.start(ctx, c.lanes(s, t)...)
			if c.trap != 0 {
				s.blocked("client", c.trap)
			} else {
				s.eventually("the lane waits", func() bool { return board.awaited("server", "never") })
			}
			cancel(over)
			s.ended("client")
			release()
			wait()
			c.check(t, s, synclinev1.EndedBy_ENDED_BY_CANCEL)
			want := "expected success, got the end of the repetition"
			got := s.call("client", c.name).Failure
			if !strings.HasPrefix(got, want) || strings.Contains(got, over.Error()) {
				t.Errorf("failure %q, want %q", got, want)
			}
			s.checkStamps()
		})
	}
}

// awaited reports whether a lane has begun to wait for a signal.
func (b *Board) awaited(lane, name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lanes[lane].waiting[name] != nil
}

func TestCancelBetweenCalls(t *testing.T) {
	s := newStage(t)
	over := errors.New("its time is up")
	ctx, cancel := context.WithCancelCause(t.Context())
	s.allow.Signalled = func(string, string) { cancel(over) }
	_, wait := s.start(ctx, newTestLane("client", signalOf("x"), sleep(time.Hour)))
	wait()
	err := s.errs["client"]
	if !errors.Is(err, over) {
		t.Errorf("error %v, want %v", err, over)
	}
	if want := "lane client: the repetition ended before step 2, sleep"; err == nil || err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	if len(s.calls["client"]) != 1 {
		t.Errorf("calls after the end: %v", s.summaries("client")[1:])
	}
}

// A close that lingers is the kernel's to finish, not the repetition's to wait for.
func TestCancelEndsALingeringClose(t *testing.T) {
	s := newStage(t)
	var release context.CancelFunc
	s.longer, release = context.WithCancel(t.Context())
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, wait := s.start(ctx, listening(v4, sleep(time.Hour)), dialling(v4, linger("c", 3600),
		expects(within(send("c", full), 50*time.Millisecond), timeout)))
	s.blocked("client", unix.SYS_CLOSE)
	cancel()
	s.ended("client")
	release()
	wait()
	if err := s.errs["client"]; err != nil {
		t.Error(err)
	}
	if c := s.call("client", "close"); !c.ByLab || c.Result != 0 {
		t.Errorf("the lingering close is %v", c)
	}
}

// The runtime preempts goroutines by a signal, which ends a recv under SO_RCVTIMEO
// although its handler has SA_RESTART. A lane must not feel it.
func TestPreemptionDoesNotEndCalls(t *testing.T) {
	s := newStage(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, wait := s.start(ctx, server(), dialling(v4,
		setsockopt("c", unix.SOL_SOCKET, unix.SO_RCVTIMEO, 0, 500_000),
		expects(recv("c", 1), fails(unix.EAGAIN))))
	s.blocked("client", unix.SYS_RECVFROM)
	s.send("client", unix.SIGURG)
	s.ended("client")
	cancel()
	wait()
	if err := s.errs["client"]; err != nil {
		t.Error(err)
	}
}

// send sends a signal to a lane's thread.
func (s *stage) send(lane string, signal unix.Signal) {
	s.t.Helper()
	s.mu.Lock()
	thread := s.thread[lane]
	s.mu.Unlock()
	if err := unix.Tgkill(os.Getpid(), thread, signal); err != nil {
		s.t.Fatal(err)
	}
}

// A signal that the lab did not send is shown as what it did.
func TestForeignSignalIsAnErrno(t *testing.T) {
	s := newStage(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, wait := s.start(ctx, server(), dialling(v4, expects(recv("c", 1), fails(unix.EINTR))))
	s.blocked("client", unix.SYS_RECVFROM)
	s.send("client", interrupt)
	s.ended("client")
	cancel()
	wait()
	if err := s.errs["client"]; err != nil {
		t.Error(err)
	}
	if c := s.call("client", "recv"); c.EndedBy != synclinev1.EndedBy_ENDED_BY_KERNEL {
		t.Errorf("ended by %v", c.EndedBy)
	}
}

// A connect that the limit ended goes on in the kernel, as connect(2) says.
func TestLimitLeavesTheSocketAsItIs(t *testing.T) {
	s := newStage(t)
	address := s.space.blackhole(t)
	s.run(newTestLane("client", socket("c"),
		expects(within(connect("c", address), 10*time.Millisecond), timeout),
		expects(within(connect("c", address), 10*time.Millisecond), timeout),
		expects(within(recv("c", 1), 10*time.Millisecond), timeout)))
	s.ok()
	if c := s.call("client", "connect"); !strings.HasPrefix(c.LocalAddress, "10.9.0.1:") || c.PeerAddress != "" {
		t.Errorf("a connect under way has addresses %q and %q", c.LocalAddress, c.PeerAddress)
	}
}

func TestCancelsLeakNothing(t *testing.T) {
	s := newStage(t)
	cancelOnce(s) // what the process keeps for good is there after the first
	descriptors, threads := entries(t, "/proc/self/fd"), entries(t, "/proc/self/task")
	for range 200 {
		cancelOnce(s)
	}
	if got := entries(t, "/proc/self/fd"); got != descriptors {
		t.Errorf("%d descriptors before 200 cancelled lanes, %d after", descriptors, got)
	}
	// A thread is gone moments after its lane. The runtime may have made a few of its own.
	s.eventually("the lanes' threads are gone", func() bool { return entries(t, "/proc/self/task") <= threads+8 })
	if timers, err := os.ReadFile("/proc/self/timers"); err == nil && len(timers) != 0 {
		t.Errorf("timers are left:\n%s", timers)
	}
}

// cancelOnce cancels a lane at some moment around its entry into a call that blocks.
func cancelOnce(s *stage) {
	ctx, cancel := context.WithCancel(s.t.Context())
	s.allow.Signalled = func(string, string) { go cancel() }
	_, wait := s.start(ctx, listening(v4, within(accept("a", "s"), time.Minute)))
	wait()
	if err := s.errs["server"]; !errors.Is(err, context.Canceled) && !strings.Contains(err.Error(), "the end of the repetition") {
		s.t.Errorf("the lane ended with %v", err)
	}
}

func entries(t *testing.T, directory string) int {
	t.Helper()
	all, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}
