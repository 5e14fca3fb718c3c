package agent

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	synclinev1 "syncline/proto/syncline/v1"
)

// newTestRun is a run of one host on loopback, without taps, in whose lanes somebody
// waits for packets.
func newTestRun(t *testing.T) (*runs, *run) {
	t.Helper()
	rs := newRuns(Config{Name: "vm1", PendingBytes: 1 << 20, Log: slog.New(slog.DiscardHandler)}, 1)
	err := rs.admit(&synclinev1.Prepare{
		RunId: "r-1", Epoch: 1, Host: "A", Prompt: true,
		Hosts: []*synclinev1.HostAddress{{Host: "A", Agent: "vm1", Address: "127.0.0.1"}},
	}, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(rs.close)
	return rs, rs.byID["r-1"]
}

func waiting(watch string) []*synclinev1.Lane {
	return []*synclinev1.Lane{{Name: "lane", Steps: []*synclinev1.Step{{
		Text: "wait", TimeoutNs: int64(10 * time.Second),
		Call: &synclinev1.Step_Wait{Wait: &synclinev1.WaitCall{Watch: watch}},
	}}}}
}

// A packet of another host may be heard before the start of the repetition that it is
// of: those who wait for it are told all the same. One of the repetition before is not
// theirs.
func TestPacketBeforeTheStart(t *testing.T) {
	_, r := newTestRun(t)
	syn := func() []*synclinev1.Event {
		return []*synclinev1.Event{{TimeNs: 1, Fact: &synclinev1.Event_Packet{Packet: &synclinev1.Packet{
			Flags: 2, Source: []byte{127, 0, 0, 1}, Destination: []byte{127, 0, 0, 1},
		}}}}
	}
	for n := uint32(1); n <= 2; n++ {
		r.heard(syn())
		r.start(&synclinev1.Start{
			RunId: "r-1", Epoch: 1, Repetition: n, LaneNames: []string{"lane"}, Lanes: waiting("w"),
			Watches: []*synclinev1.Watch{{Id: "w", Text: "SYN", Look: &synclinev1.Watch_Packet{Packet: &synclinev1.WatchPacket{Protocol: 6, Flags: 2, Mask: 2}}}},
		})
		r.repetition.lanes.Wait()
		r.stream.mu.Lock()
		// The keeper of the clocks may have its say at any time.
		calls := slices.DeleteFunc(slices.Clone(r.stream.open), func(e *synclinev1.Event) bool { return e.Repetition == 0 })
		last := calls[len(calls)-1]
		r.stream.mu.Unlock()
		if c := last.GetCall(); c == nil || c.EndedBy != synclinev1.EndedBy_ENDED_BY_KERNEL || last.Repetition != n {
			t.Errorf("repetition %d: the wait ended as %v", n, last)
		}
		drained := make(chan struct{})
		r.drain(&synclinev1.Drain{RunId: "r-1", Epoch: 1, Repetition: n})
		r.later(func() { close(drained) })
		<-drained
	}
}

// A watch of a kind that this agent does not know ends the lanes with the reason, and
// the run can still be ended.
func TestUnknownWatch(t *testing.T) {
	rs, r := newTestRun(t)
	r.start(&synclinev1.Start{
		RunId: "r-1", Epoch: 1, Repetition: 1, LaneNames: []string{"lane"}, Lanes: waiting("w"),
		Watches: []*synclinev1.Watch{{Id: "w", Text: "wait(something new)"}},
	})
	r.heard([]*synclinev1.Event{{Fact: &synclinev1.Event_Packet{Packet: &synclinev1.Packet{}}}})
	if err := rs.handle(&synclinev1.ControlResponse{Message: &synclinev1.ControlResponse_Finish{Finish: &synclinev1.Finish{RunId: "r-1", Epoch: 1}}}); err != nil {
		t.Fatal(err)
	}
	<-r.done
}

// More lanes than a file can have are refused before any thread is made.
func TestTooManyLanes(t *testing.T) {
	_, r := newTestRun(t)
	s := &synclinev1.Start{RunId: "r-1", Epoch: 1, Repetition: 1}
	for range maxLanes + 1 {
		s.Lanes = append(s.Lanes, &synclinev1.Lane{Name: strings.Repeat("x", 3)})
	}
	r.start(s)
	r.repetition.lanes.Wait()
	r.stream.mu.Lock()
	defer r.stream.mu.Unlock()
	for _, e := range r.stream.open {
		if e.GetCall() != nil {
			t.Errorf("a lane ran: %v", e)
		}
	}
}
