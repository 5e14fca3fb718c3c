package agent

import (
	"google.golang.org/protobuf/proto"

	"syncline/agent/clock"
	synclinev1 "syncline/proto/syncline/v1"
)

// Within the agent all times are those of the host's own clocks. An agent with a test
// clock moves them where they leave it, and back where they come in: here, in the stream as
// it numbers events, and in what it says and hears on the control stream. Steps of
// CLOCK_REALTIME alone are made where that clock is read, see clock.Test.

// onTestClock moves all times of an event to a test clock. CLOCK_REALTIME and
// CLOCK_MONOTONIC_RAW go by the same difference, so that they stay together with
// CLOCK_MONOTONIC as on a host whose clock really is so. A bound becomes that of the moved
// times.
func onTestClock(c *clock.Test, e *synclinev1.Event) {
	host := e.TimeNs
	e.TimeNs = c.Monotonic(host)
	by := e.TimeNs - host
	bound := func(ns int64) int64 {
		if ns == 0 {
			return 0
		}
		return max(c.Monotonic(host+ns)-e.TimeNs, e.TimeNs-c.Monotonic(host-ns))
	}
	// A moment or a stamp that is not there is 0, and stays so.
	monotonic := func(ns int64) int64 {
		if ns == 0 {
			return 0
		}
		return c.Monotonic(ns)
	}
	beside := func(ns int64) int64 {
		if ns == 0 {
			return 0
		}
		return ns + by
	}
	switch f := e.Fact.(type) {
	case *synclinev1.Event_Call:
		f.Call.ReturnNs = monotonic(f.Call.ReturnNs)
	case *synclinev1.Event_Packet:
		f.Packet.RealtimeNs, f.Packet.ErrorNs = beside(f.Packet.RealtimeNs), bound(f.Packet.ErrorNs)
	case *synclinev1.Event_Counters:
		f.Counters.SinceNs = monotonic(f.Counters.SinceNs)
	case *synclinev1.Event_Loss:
		f.Loss.SinceNs = monotonic(f.Loss.SinceNs)
	case *synclinev1.Event_ClockSample:
		s := f.ClockSample
		s.RealtimeNs, s.ErrorNs = beside(s.RealtimeNs), bound(s.ErrorNs)
		s.RawNs, s.RawErrorNs = beside(s.RawNs), bound(s.RawErrorNs)
	case *synclinev1.Event_ClockStep:
		f.ClockStep.SinceNs = monotonic(f.ClockStep.SinceNs)
	case *synclinev1.Event_Probe:
		f.Probe.RealtimeNs, f.Probe.ErrorNs = beside(f.Probe.RealtimeNs), bound(f.Probe.ErrorNs)
	}
}

// outgoing is what the agent says, on its test clock, if it has one. The message that it
// was given stays as it is: some are sent again.
func outgoing(c *clock.Test, m *synclinev1.ControlRequest) *synclinev1.ControlRequest {
	if c == nil {
		return m
	}
	switch said := m.Message.(type) {
	case *synclinev1.ControlRequest_ClockPong:
		pong := proto.CloneOf(said.ClockPong)
		pong.TimeNs = c.Monotonic(pong.TimeNs)
		return &synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_ClockPong{ClockPong: pong}}
	case *synclinev1.ControlRequest_ProbesStopped:
		stopped := proto.CloneOf(said.ProbesStopped)
		for _, e := range stopped.Events {
			onTestClock(c, e)
		}
		return &synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_ProbesStopped{ProbesStopped: stopped}}
	}
	return m
}
