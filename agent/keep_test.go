package agent

import (
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"syncline/agent/clock"
	"syncline/proto/chunk"
	synclinev1 "syncline/proto/syncline/v1"
)

// A run has its clocks on record: a sample at its start and at its end, and a step of the
// clock once, by its own clock, in a chunk that is there soon after it.
func TestRunRecordsItsClocks(t *testing.T) {
	parsed, err := clock.ParseTest("offset=1h,step=1s@300ms")
	if err != nil {
		t.Fatal(err)
	}
	start := clock.Read()
	test := parsed.Started(start.Realtime)
	rs := newRuns(Config{Name: "vm1", PendingBytes: 1 << 20, Log: slog.New(slog.DiscardHandler), TestClock: test}, 1)
	t.Cleanup(rs.close)
	chunks := rs.changed()
	err = rs.admit(&synclinev1.Prepare{
		RunId: "r-1", Epoch: 1, Host: "A",
		Hosts: []*synclinev1.HostAddress{{Host: "A", Agent: "vm1", Address: "127.0.0.1"}},
	}, false)
	if err != nil {
		t.Fatal(err)
	}
	r := rs.byID["r-1"]
	select {
	case <-chunks:
	case <-time.After(10 * time.Second):
		t.Fatal("no chunk 10 s after the start, in which the clock is stepped")
	}
	r.finish("")
	<-r.done
	var samples, steps []*synclinev1.Event
	for _, c := range unsentOf(r.stream, 1) {
		events, err := chunk.Decode(c.Data)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			if e.Repetition != 0 {
				t.Errorf("%v belongs to a repetition", e)
			}
			switch s := e.GetClockStep(); {
			case e.GetClockSample() != nil:
				samples = append(samples, e)
			case s != nil && s.Change != synclinev1.ClockChange_CLOCK_CHANGE_SLEW:
				// Whoever steers this machine's clock may do so at any time.
				steps = append(steps, e)
			}
		}
	}
	if len(steps) != 1 {
		t.Fatalf("one step is on record as %v", steps)
	}
	moment := test.Monotonic(start.Monotonic + int64(300*time.Millisecond))
	s := steps[0].GetClockStep()
	if s.Change != synclinev1.ClockChange_CLOCK_CHANGE_STEP || s.StepNs < 999_900_000 || s.StepNs > 1_000_100_000 {
		t.Errorf("a step by 1 s is on record as %v", s)
	}
	if s.SinceNs > moment+start.Err || steps[0].TimeNs < moment-start.Err {
		t.Errorf("a step at %d is on record in [%d, %d]", moment, s.SinceNs, steps[0].TimeNs)
	}
	if len(samples) < 2 {
		t.Fatalf("%d samples, want one at the start and one at the end", len(samples))
	}
	first, last := samples[0], samples[len(samples)-1]
	if first.TimeNs-test.Monotonic(start.Monotonic) < 0 || last.TimeNs < steps[0].TimeNs {
		t.Errorf("samples at %d and %d do not enclose the run", first.TimeNs, last.TimeNs)
	}
	offset := func(e *synclinev1.Event) int64 { return e.GetClockSample().RealtimeNs - e.TimeNs }
	// The test clock moves both clocks by its hour, the step CLOCK_REALTIME alone.
	if d := offset(first) - (start.Realtime - start.Monotonic); max(d, -d) > 100_000 {
		t.Errorf("the clocks of the first sample are %d ns further apart than the host's", d)
	}
	if d := offset(last) - offset(first); d < 999_900_000 || d > 1_000_100_000 {
		t.Errorf("CLOCK_REALTIME moved by %d ns over the run, want 1 s", d)
	}
}

func TestWhatHappensToClocksAsEvents(t *testing.T) {
	for _, w := range []struct {
		change clock.Change
		want   *synclinev1.ClockStep
	}{
		{clock.Change{Kind: clock.Stepped, By: -5, Since: 10, At: 20}, &synclinev1.ClockStep{StepNs: -5, SinceNs: 10, Change: synclinev1.ClockChange_CLOCK_CHANGE_STEP}},
		{clock.Change{Kind: clock.Leapt, By: -1e9, Since: 10, At: 20}, &synclinev1.ClockStep{StepNs: -1e9, SinceNs: 10, Change: synclinev1.ClockChange_CLOCK_CHANGE_LEAP}},
		{clock.Change{Kind: clock.Suspended, By: 7e9, Since: 10, At: 20}, &synclinev1.ClockStep{StepNs: 7e9, SinceNs: 10, Change: synclinev1.ClockChange_CLOCK_CHANGE_SUSPEND}},
		{clock.Change{Kind: clock.Slewed, Rate: 12, Before: -3, Since: 10, At: 20}, &synclinev1.ClockStep{SinceNs: 10, Change: synclinev1.ClockChange_CLOCK_CHANGE_SLEW, RatePpb: 12, RateBeforePpb: -3}},
	} {
		want := &synclinev1.Event{TimeNs: 20, Fact: &synclinev1.Event_ClockStep{ClockStep: w.want}}
		if diff := cmp.Diff(want, changed(w.change), protocmp.Transform()); diff != "" {
			t.Errorf("%v (-want +got):\n%s", w.change.Kind, diff)
		}
	}
	reading := clock.Reading{Sample: clock.Sample{Monotonic: 1000, Realtime: 5000, Err: 30}}
	want := &synclinev1.ClockSample{RealtimeNs: 5000, ErrorNs: 30, SteadyPpb: 1_500}
	if diff := cmp.Diff(want, sampled(reading, 1_500).GetClockSample(), protocmp.Transform()); diff != "" {
		t.Errorf("a sample without CLOCK_MONOTONIC_RAW (-want +got):\n%s", diff)
	}
	reading.Raw = &clock.Pair{Monotonic: 1100, Value: 900, Err: 100}
	// 200 behind; read 100 ns later, in which it may drift by less than a nanosecond.
	want.RawNs, want.RawErrorNs = 800, 101
	if diff := cmp.Diff(want, sampled(reading, 1_500).GetClockSample(), protocmp.Transform()); diff != "" {
		t.Errorf("a sample (-want +got):\n%s", diff)
	}
}

// A host whose clocks are moved all the time does not fill the record with that.
func TestChangesOfARunsClocksAreBounded(t *testing.T) {
	var events []*synclinev1.Event
	var said []string
	k := &clockRecord{
		log: slog.New(slog.DiscardHandler),
		add: func(e *synclinev1.Event) { events = append(events, e) }, lacks: func(text string) { said = append(said, text) },
	}
	for n := range maxChanges {
		k.changed(clock.Change{Kind: clock.Slewed, At: int64(n), Rate: int64(n)})
	}
	k.sampled(clock.Reading{}, 1_500)
	for range 5 {
		k.changed(clock.Change{Kind: clock.Slewed})
	}
	k.sampled(clock.Reading{}, 1_500)
	var steps int
	var steady []uint64
	for _, e := range events {
		if s := e.GetClockStep(); s != nil && s.Change == synclinev1.ClockChange_CLOCK_CHANGE_SLEW && s.RatePpb == int64(steps) {
			steps++
		}
		if s := e.GetClockSample(); s != nil {
			steady = append(steady, s.SteadyPpb)
		}
	}
	if steps != maxChanges || len(said) != 1 || !strings.HasPrefix(said[0], "clocks: more than 1000 changes") {
		t.Errorf("%d changes are on record, and %q", steps, said)
	}
	if !slices.Equal(steady, []uint64{1_500, 0}) {
		t.Errorf("before and after the last change that is told the samples say %v ppb", steady)
	}
}

func TestMeetingIsOnTheTestClock(t *testing.T) {
	test, err := clock.ParseTest("offset=-1h,ppm=50")
	if err != nil {
		t.Fatal(err)
	}
	rs := newRuns(Config{Name: "vm1", PendingBytes: 1 << 20, Log: slog.New(slog.DiscardHandler), TestClock: test}, 1)
	t.Cleanup(rs.close)
	if err := rs.admit(&synclinev1.Prepare{
		RunId: "r-1", Epoch: 1, Host: "A",
		Hosts: []*synclinev1.HostAddress{{Host: "A", Agent: "vm1", Address: "127.0.0.1"}},
	}, false); err != nil {
		t.Fatal(err)
	}
	r := rs.byID["r-1"]
	r.start(&synclinev1.Start{RunId: "r-1", Epoch: 1, Repetition: 1, LaneNames: []string{"lane"}, Lanes: []*synclinev1.Lane{{Name: "lane", Steps: []*synclinev1.Step{{
		Text: "meet m", TimeoutNs: int64(10 * time.Second), Call: &synclinev1.Step_Meet{Meet: &synclinev1.MeetCall{Name: "m"}},
	}}}}})
	at := clock.Now() + int64(100*time.Millisecond)
	r.meeting(&synclinev1.Meeting{RunId: "r-1", Repetition: 1, Name: "m", AtNs: test.Monotonic(at)})
	r.repetition.lanes.Wait()
	if now := clock.Now(); now < at-1 || now > at+int64(5*time.Second) {
		t.Errorf("lanes that meet at %d went on at %d", at, now)
	}
}

func TestTestClocksAreForLabs(t *testing.T) {
	address := func(text string) net.HardwareAddr {
		a, err := net.ParseMAC(text)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	lo := net.Interface{Name: "lo", Flags: net.FlagLoopback}
	for _, found := range []net.Interface{
		{Name: "eth0", HardwareAddr: address("02:73:79:6e:63:01")},
		{Name: "ctl0", HardwareAddr: address("06:73:79:6e:63:ff")},
	} {
		if err := labAmong([]net.Interface{lo, found}); err != nil {
			t.Errorf("%s of a lab: %v", found.Name, err)
		}
	}
	err := labAmong([]net.Interface{lo})
	if !errors.Is(err, errNoLab) || !strings.Contains(err.Error(), "none but the loopback") {
		t.Errorf("with nothing but the loopback: %v", err)
	}
	err = labAmong([]net.Interface{lo, {Name: "ens3", HardwareAddr: address("52:54:00:12:34:56")}})
	if !errors.Is(err, errNoLab) || !strings.Contains(err.Error(), "ens3 52:54:00:12:34:56") {
		t.Errorf("on a host that is in use: %v", err)
	}
	if _, err := New(Config{Name: "vm1", Controllers: []string{"c"}, Dev: true, State: t.TempDir(), Log: slog.New(slog.DiscardHandler), TestClock: &clock.Test{}}); !errors.Is(err, errNoLab) {
		t.Errorf("an agent of this machine with a test clock: %v", err)
	}
}
