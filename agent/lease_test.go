package agent

import (
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	synclinev1 "syncline/proto/syncline/v1"
)

// leasedRuns are runs of an agent whose CLOCK_BOOTTIME a test moves.
func leasedRuns(t *testing.T) (rs *runs, boot *atomic.Int64) {
	t.Helper()
	boot = &atomic.Int64{}
	boot.Store(int64(time.Hour))
	rs = newRuns(Config{Name: "vm1", PendingBytes: 1 << 20, Log: slog.New(slog.DiscardHandler)}, 1)
	rs.boot = boot.Load
	t.Cleanup(rs.close)
	return rs, boot
}

func leasedPrepare(id string, epoch uint64) *synclinev1.Prepare {
	return &synclinev1.Prepare{
		RunId: id, Epoch: epoch, Host: "A", LeaseNs: int64(15 * time.Second),
		Hosts: []*synclinev1.HostAddress{{Host: "A", Agent: "vm1", Address: "127.0.0.1"}},
	}
}

// sleeper is the start of a lane that would sleep for an hour with a socket.
func sleeper(epoch uint64, repetition uint32) *synclinev1.ControlResponse {
	return &synclinev1.ControlResponse{Message: &synclinev1.ControlResponse_Start{Start: &synclinev1.Start{
		RunId: "r-1", Epoch: epoch, Repetition: repetition, LaneNames: []string{"lane"},
		Lanes: []*synclinev1.Lane{{Name: "lane", Steps: []*synclinev1.Step{
			{Text: "s = socket(tcp)", Makes: "s", Call: &synclinev1.Step_SocketCall{SocketCall: &synclinev1.SocketCall{Domain: 2, Type: 1}}},
			{Text: "sleep(1h)", Call: &synclinev1.Step_Sleep{Sleep: &synclinev1.SleepCall{DurationNs: int64(time.Hour)}}},
		}}},
	}}}
}

func handle(t *testing.T, rs *runs, m *synclinev1.ControlResponse) {
	t.Helper()
	if err := rs.handle(m); err != nil {
		t.Fatal(err)
	}
}

func renewal(epoch uint64) *synclinev1.ControlResponse {
	return &synclinev1.ControlResponse{Message: &synclinev1.ControlResponse_Lease{Lease: &synclinev1.Lease{RunId: "r-1", Epoch: epoch, DurationNs: int64(15 * time.Second)}}}
}

// ended reports whether the lanes of a repetition have ended.
func (r *repetition) ended() <-chan struct{} {
	done := make(chan struct{})
	go func() { r.lanes.Wait(); close(done) }()
	return done
}

// A lease that is renewed holds. One that is not ends the lanes, which is final, lets no
// others begin, and ends the run when it has been over for as long as it lasted.
func TestLeaseOfARun(t *testing.T) {
	rs, boot := leasedRuns(t)
	if err := rs.admit(leasedPrepare("r-1", 1), false); err != nil {
		t.Fatal(err)
	}
	r := rs.byID["r-1"]
	handle(t, rs, sleeper(1, 1))
	rep := r.current(1)
	ended := rep.ended()
	for range 10 {
		boot.Add(int64(14 * time.Second))
		rs.checkLeases()
		handle(t, rs, renewal(1))
	}
	select {
	case <-ended:
		t.Fatal("the lane was ended under a lease")
	default:
	}
	boot.Add(int64(15 * time.Second))
	rs.checkLeases()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the lane goes on without a lease")
	}
	select {
	case <-r.done:
		t.Fatal("the run has ended at the end of its lease, and not at twice that")
	default:
	}
	handle(t, rs, renewal(1))
	boot.Add(int64(15*time.Second) - 1)
	rs.checkLeases()
	if !r.working() {
		t.Fatal("the run has ended before twice its lease")
	}
	boot.Add(1)
	rs.checkLeases()
	select {
	case <-r.done:
	case <-time.After(10 * time.Second):
		t.Fatal("the run goes on at twice its lease")
	}
	if f := r.finished; !strings.Contains(f.Error, "no word from its controller for 15s") {
		t.Errorf("the run ended with %q", f.Error)
	}
}

// What is asked for after the end of a lease comes too late, and the controller is told
// why; also if nobody has looked at the lease in between, as on a host that was suspended.
func TestNothingBeginsWithoutALease(t *testing.T) {
	rs, boot := leasedRuns(t)
	if err := rs.admit(leasedPrepare("r-1", 1), false); err != nil {
		t.Fatal(err)
	}
	r := rs.byID["r-1"]
	boot.Add(int64(15 * time.Second))
	handle(t, rs, renewal(1))
	handle(t, rs, sleeper(1, 1))
	<-r.done
	if r.repetition != nil || !strings.Contains(r.finished.Error, "its lease of the run ran out") {
		t.Errorf("repetition %v, finished %v", r.repetition, r.finished)
	}
}

// A run whose lanes were ended is not whole, even if its controller ends it in order.
func TestALeaseThatEndedIsInTheEnd(t *testing.T) {
	rs, boot := leasedRuns(t)
	if err := rs.admit(leasedPrepare("r-1", 1), false); err != nil {
		t.Fatal(err)
	}
	r := rs.byID["r-1"]
	handle(t, rs, sleeper(1, 1))
	boot.Add(int64(16 * time.Second))
	rs.checkLeases()
	handle(t, rs, &synclinev1.ControlResponse{Message: &synclinev1.ControlResponse_Finish{Finish: &synclinev1.Finish{RunId: "r-1", Epoch: 1}}})
	<-r.done
	if !strings.Contains(r.finished.Error, "its lease of the run ran out") {
		t.Errorf("the run ended with %q", r.finished.Error)
	}
}

// A controller that does not lead the run any more is not listened to; a newer one is. A
// repetition is started once, and a run begins once.
func TestOldEpochsAreRefused(t *testing.T) {
	rs, boot := leasedRuns(t)
	if err := rs.admit(leasedPrepare("r-1", 2), false); err != nil {
		t.Fatal(err)
	}
	r := rs.byID["r-1"]
	handle(t, rs, sleeper(1, 1))
	if r.current(1) != nil {
		t.Error("a start of an older epoch was obeyed")
	}
	handle(t, rs, sleeper(2, 1))
	first := r.current(1)
	handle(t, rs, sleeper(2, 1))
	if first == nil || r.current(1) != first {
		t.Error("the lanes of a repetition were started twice")
	}
	boot.Add(int64(10 * time.Second))
	handle(t, rs, renewal(3))
	if r.newestEpoch() != 3 {
		t.Errorf("the epoch is %d after word of a new leader", r.newestEpoch())
	}
	boot.Add(int64(10 * time.Second))
	handle(t, rs, renewal(2))
	for _, m := range []*synclinev1.ControlResponse{
		{Message: &synclinev1.ControlResponse_Cancel{Cancel: &synclinev1.Cancel{RunId: "r-1", Epoch: 2}}},
		{Message: &synclinev1.ControlResponse_Finish{Finish: &synclinev1.Finish{RunId: "r-1", Epoch: 2}}},
		{Message: &synclinev1.ControlResponse_Release{Release: &synclinev1.Release{RunId: "r-1", Epoch: 2}}},
	} {
		handle(t, rs, m)
	}
	if !r.working() || r.finishing || rs.byID["r-1"] != r {
		t.Error("an older leader has ended the run")
	}
	boot.Add(int64(6 * time.Second))
	rs.checkLeases()
	if !r.lease.out {
		t.Error("an older leader has renewed the lease")
	}
	handle(t, rs, &synclinev1.ControlResponse{Message: &synclinev1.ControlResponse_Release{Release: &synclinev1.Release{RunId: "r-1", Epoch: 3}}})
	<-r.done
	rs.leaving.Wait()
	if err := rs.admit(leasedPrepare("r-1", 4), false); err == nil || !strings.Contains(err.Error(), "begins it once") {
		t.Errorf("the same run again: %v", err)
	}
}

// Whatever comes when, lanes never go on beyond the last lease that was given in time.
func TestLeasesHold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l lease
		now, until, ended := int64(1), int64(0), false
		l.renew(now, 10)
		until = now + 10
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			now += rapid.Int64Range(0, 8).Draw(t, "passes")
			if rapid.Bool().Draw(t, "renewed") {
				if !ended && now < until {
					until = now + 10
				}
				l.renew(now, 10)
			}
			if !rapid.Bool().Draw(t, "looked at") {
				continue
			}
			want := leaseHolds
			switch {
			case now < until && !ended:
			case !ended:
				want, ended = leaseEnds, true
			case now < until+10:
				want = leaseEnded
			default:
				want = leaseOver
			}
			if got := l.look(now); got != want {
				t.Fatalf("at %d of %d the lease says %v, want %v", now, until, got, want)
			}
		}
	})
}

// An agent whose line goes on keeps its runs; one whose controller begins a new line ends
// them, and without leases a lost connection does.
func TestRunsOutliveAConnection(t *testing.T) {
	rs, _ := leasedRuns(t)
	if err := rs.welcomed(&synclinev1.Welcome{Line: "one"}); err != nil {
		t.Fatal(err)
	}
	if err := rs.admit(leasedPrepare("r-1", 1), false); err != nil {
		t.Fatal(err)
	}
	r := rs.byID["r-1"]
	rs.disconnected()
	rs.send(&synclinev1.ControlRequest{})
	hello := &synclinev1.Hello{}
	rs.offer(hello)
	if hello.Line != "one" {
		t.Errorf("the agent would go on with %q", hello.Line)
	}
	if err := rs.welcomed(&synclinev1.Welcome{Line: "one", Resumed: true, Received: 1}); err != nil || r.finishing {
		t.Errorf("the line goes on: %v; the run ends: %v", err, r.finishing)
	}
	if err := rs.welcomed(&synclinev1.Welcome{Line: "two", Resumed: true}); err == nil {
		t.Error("a line goes on that never was")
	}
	if err := rs.welcomed(&synclinev1.Welcome{Line: "two"}); err != nil {
		t.Fatal(err)
	}
	<-r.done
	if !strings.Contains(r.finished.Error, "did not go on where the connection was lost") {
		t.Errorf("the run ended with %q", r.finished.Error)
	}
	if err := rs.welcomed(&synclinev1.Welcome{Line: "two", Resumed: true, Received: 99}); err == nil {
		t.Error("a controller has more than was said")
	}
	rs.offer(hello)
	if hello.Line != "" {
		t.Errorf("the agent would go on with %q, of which the controller has more than there is", hello.Line)
	}
	unleased := leasedPrepare("r-2", 1)
	unleased.LeaseNs = 0
	if err := rs.admit(unleased, false); err != nil {
		t.Fatal(err)
	}
	rs.disconnected()
	<-rs.byID["r-2"].done
}
