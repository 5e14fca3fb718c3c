package agent

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"

	"syncline/agent/clock"
	synclinev1 "syncline/proto/syncline/v1"
)

// meaning is what a number of nanoseconds is.
type meaning string

const (
	// aMoment is a moment of CLOCK_MONOTONIC, 0 if there is none.
	aMoment meaning = "CLOCK_MONOTONIC"
	// aCompanion is a stamp of a clock that a test clock moves with CLOCK_MONOTONIC, 0 if
	// there is none.
	aCompanion meaning = "another clock"
	// aBound bounds the error of a moment.
	aBound    meaning = "half-width"
	aDuration meaning = "duration"
)

// nanoseconds are all fields of nanoseconds that an agent says or hears. A new one must be
// added here, and to the edge if it is a moment.
var nanoseconds = map[protoreflect.FullName]meaning{
	"syncline.v1.Event.time_ns":                  aMoment,
	"syncline.v1.Call.return_ns":                 aMoment,
	"syncline.v1.Packet.realtime_ns":             aCompanion,
	"syncline.v1.Packet.error_ns":                aBound,
	"syncline.v1.Counters.since_ns":              aMoment,
	"syncline.v1.Loss.since_ns":                  aMoment,
	"syncline.v1.ClockSample.realtime_ns":        aCompanion,
	"syncline.v1.ClockSample.error_ns":           aBound,
	"syncline.v1.ClockSample.raw_ns":             aCompanion,
	"syncline.v1.ClockSample.raw_error_ns":       aBound,
	"syncline.v1.ClockStep.step_ns":              aDuration,
	"syncline.v1.ClockStep.since_ns":             aMoment,
	"syncline.v1.Probe.realtime_ns":              aCompanion,
	"syncline.v1.Probe.error_ns":                 aBound,
	"syncline.v1.ClockPong.time_ns":              aMoment,
	"syncline.v1.Meeting.at_ns":                  aMoment,
	"syncline.v1.Welcome.heartbeat_ns":           aDuration,
	"syncline.v1.Prepare.lease_ns":               aDuration,
	"syncline.v1.Lease.duration_ns":              aDuration,
	"syncline.v1.Usage.agent_ns":                 aDuration,
	"syncline.v1.Usage.machine_ns":               aDuration,
	"syncline.v1.Settle.timeout_ns":              aDuration,
	"syncline.v1.Drain.silence_ns":               aDuration,
	"syncline.v1.Lane.start_delay_ns":            aDuration,
	"syncline.v1.Step.timeout_ns":                aDuration,
	"syncline.v1.PollCall.timeout_ns":            aDuration,
	"syncline.v1.SleepCall.duration_ns":          aDuration,
	"syncline.v1.FirewallChange.idle_timeout_ns": aDuration,
}

// fields are the fields of nanoseconds of a message and of all that can be in it.
func fields(m protoreflect.MessageDescriptor, seen map[protoreflect.FullName]bool) (found []protoreflect.FieldDescriptor) {
	if seen[m.FullName()] {
		return nil
	}
	seen[m.FullName()] = true
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		switch {
		case f.IsMap() && f.MapValue().Message() != nil:
			found = append(found, fields(f.MapValue().Message(), seen)...)
		case f.Message() != nil:
			found = append(found, fields(f.Message(), seen)...)
		case strings.HasSuffix(string(f.Name()), "_ns"):
			found = append(found, f)
		}
	}
	return found
}

func TestEveryTimeThatAnAgentSaysHasAMeaning(t *testing.T) {
	seen := map[protoreflect.FullName]bool{}
	var all []protoreflect.FieldDescriptor
	for _, m := range []proto.Message{&synclinev1.Event{}, &synclinev1.ControlRequest{}, &synclinev1.ControlResponse{}, &synclinev1.UploadRequest{}} {
		all = append(all, fields(m.ProtoReflect().Descriptor(), seen)...)
	}
	known := map[protoreflect.FullName]bool{}
	for _, f := range all {
		known[f.FullName()] = true
		if nanoseconds[f.FullName()] == "" {
			t.Errorf("%s is not classified: say in this test what it is, and move it in onTestClock if it is a moment", f.FullName())
		}
	}
	for name := range nanoseconds {
		if !known[name] {
			t.Errorf("%s is classified, and no message of an agent has it", name)
		}
	}
}

// Every event there is goes through the edge: each of its fields of nanoseconds must be moved
// as its meaning wants, and nothing else be touched.
func TestEdgeMovesEveryTimeOfAnEvent(t *testing.T) {
	const at = int64(81_000_000_000_000)
	test, err := clock.ParseTest("offset=-1h,ppm=100,wander=3ppm/20s")
	if err != nil {
		t.Fatal(err)
	}
	by := test.Monotonic(at) - at
	facts := (&synclinev1.Event{}).ProtoReflect().Descriptor().Oneofs().ByName("fact").Fields()
	for i := range facts.Len() {
		fact := facts.Get(i)
		t.Run(string(fact.Name()), func(t *testing.T) {
			fill := func(value func(m meaning, n int64) int64) *synclinev1.Event {
				e := &synclinev1.Event{Number: 7, Repetition: 3, TimeNs: value(aMoment, at)}
				m := e.ProtoReflect().Mutable(fact).Message()
				for n := range m.Descriptor().Fields().Len() {
					f := m.Descriptor().Fields().Get(n)
					switch {
					case nanoseconds[f.FullName()] != "":
						m.Set(f, protoreflect.ValueOfInt64(value(nanoseconds[f.FullName()], at-int64(n)*1_000_000)))
					case f.Kind() == protoreflect.Int64Kind:
						// Parts per billion and the like.
						m.Set(f, protoreflect.ValueOfInt64(12_345))
					}
				}
				return e
			}
			moved := fill(func(_ meaning, n int64) int64 { return n })
			onTestClock(test, moved)
			want := fill(func(m meaning, n int64) int64 {
				switch m {
				case aMoment:
					return test.Monotonic(n)
				case aCompanion:
					return n + by
				case aBound:
					return max(test.Monotonic(at+n)-test.Monotonic(at), test.Monotonic(at)-test.Monotonic(at-n))
				}
				return n
			})
			if diff := cmp.Diff(want, moved, protocmp.Transform()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			// What is not there must not appear.
			none := &synclinev1.Event{TimeNs: at}
			none.ProtoReflect().Mutable(fact)
			onTestClock(test, none)
			left := &synclinev1.Event{TimeNs: at + by}
			left.ProtoReflect().Mutable(fact)
			if diff := cmp.Diff(left, none, protocmp.Transform()); diff != "" {
				t.Errorf("of an event without times (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStreamIsTheEdge(t *testing.T) {
	test, err := clock.ParseTest("offset=1s")
	if err != nil {
		t.Fatal(err)
	}
	s := newTestStream(1 << 20)
	s.clock = test
	s.add(1, &synclinev1.Event{TimeNs: 50, Fact: &synclinev1.Event_Call{Call: &synclinev1.Call{ReturnNs: 70}}})
	s.finish()
	_, events, err := chunksOf(s, 1)
	if err != nil || len(events) != 1 {
		t.Fatalf("%d events came: %v", len(events), err)
	}
	if e := events[0]; e.TimeNs != 1_000_000_050 || e.GetCall().ReturnNs != 1_000_000_070 {
		t.Errorf("an event of 50 ns left at %d, returned at %d", e.TimeNs, e.GetCall().ReturnNs)
	}
}

func TestWhatAnAgentSaysIsOnItsTestClock(t *testing.T) {
	test, err := clock.ParseTest("offset=1s")
	if err != nil {
		t.Fatal(err)
	}
	pong := &synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_ClockPong{ClockPong: &synclinev1.ClockPong{Id: 3, TimeNs: 50}}}
	stopped := &synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_ProbesStopped{ProbesStopped: &synclinev1.ProbesStopped{
		Session: "s", Events: []*synclinev1.Event{{TimeNs: 50, Fact: &synclinev1.Event_Probe{Probe: &synclinev1.Probe{RealtimeNs: 1000}}}},
	}}}
	// Twice, since what was not heard is said again.
	for range 2 {
		if got := outgoing(test, pong).GetClockPong(); got.TimeNs != 1_000_000_050 || got.Id != 3 {
			t.Errorf("a pong of 50 ns left as %v", got)
		}
		got := outgoing(test, stopped).GetProbesStopped()
		if e := got.Events[0]; got.Session != "s" || e.TimeNs != 1_000_000_050 || e.GetProbe().RealtimeNs != 1_000_001_000 {
			t.Errorf("a probe of 50 ns left as %v", got)
		}
	}
	beat := &synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Heartbeat{Heartbeat: &synclinev1.Heartbeat{}}}
	if outgoing(test, beat) != beat || outgoing(nil, pong) != pong {
		t.Error("a message without times was copied")
	}
}

// A change of a clock leaves at the next cut, and takes with it what waits.
func TestStreamHurriesAChangeOfTheClock(t *testing.T) {
	s := newTestStream(1 << 20)
	s.add(1, signalEvent(1))
	s.cut(false)
	if chunks, _, _ := chunksOf(s, 1); len(chunks) != 0 {
		t.Fatal("an event left without having waited")
	}
	s.add(1, signalEvent(2), &synclinev1.Event{TimeNs: 3, Fact: &synclinev1.Event_ClockStep{ClockStep: &synclinev1.ClockStep{StepNs: 1}}})
	s.cut(false)
	_, events, err := chunksOf(s, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(events) != 3 || !slices.ContainsFunc(events, func(e *synclinev1.Event) bool { return e.GetClockStep() != nil }) {
		t.Fatalf("a step of the clock waits for others: %v left", events)
	}
	s.add(1, signalEvent(4))
	s.cut(false)
	if chunks, _, _ := chunksOf(s, 1); len(chunks) != 0 {
		t.Error("what comes after it does not wait any more")
	}
}
