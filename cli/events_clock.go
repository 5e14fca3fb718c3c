package cli

import (
	"fmt"
	"strings"
	"time"

	synclinev1 "syncline/proto/syncline/v1"
)

// describeProbe is one sight of a clock probe: which datagram it was, whose stamp it is,
// and how far that may be off.
func describeProbe(p *synclinev1.Probe) string {
	way, end := "out", "to"
	if p.Direction == synclinev1.Direction_DIRECTION_IN {
		way, end = "in ", "from"
	}
	what := "request"
	if p.Reply {
		what = "reply"
	}
	text := fmt.Sprintf("%s %s %d %s %s ±%d ns", way, what, p.Exchange, end, p.Peer, p.ErrorNs)
	return strings.Join(nonEmpty(text, probePathWords(p.Path), stampWords(p.Origin)), ", ")
}

// probePathWords name a path other than that of the experiment.
func probePathWords(p synclinev1.ProbePath) string {
	switch p {
	case synclinev1.ProbePath_PROBE_PATH_UNSPECIFIED, synclinev1.ProbePath_PROBE_PATH_EXPERIMENT:
		return ""
	case synclinev1.ProbePath_PROBE_PATH_CONTROL:
		return "on the network of the controller"
	}
	return fmt.Sprintf("on path %d, which this version does not know", p)
}

// stampWords say who read the clock, if it was not the kernel.
func stampWords(o synclinev1.StampOrigin) string {
	switch o {
	case synclinev1.StampOrigin_STAMP_ORIGIN_UNSPECIFIED, synclinev1.StampOrigin_STAMP_ORIGIN_KERNEL:
		return ""
	case synclinev1.StampOrigin_STAMP_ORIGIN_HARDWARE:
		return "stamped by the network card"
	case synclinev1.StampOrigin_STAMP_ORIGIN_AGENT:
		return "stamped by the agent, not the kernel"
	}
	return fmt.Sprintf("stamped by %d, which this version does not know", o)
}

// describeClockSample is a reading of all clocks of a host.
func describeClockSample(s *synclinev1.ClockSample) string {
	text := fmt.Sprintf("CLOCK_REALTIME was %d ±%d ns", s.RealtimeNs, s.ErrorNs)
	if s.RawNs != 0 || s.RawErrorNs != 0 {
		text += fmt.Sprintf(", CLOCK_MONOTONIC_RAW %d ±%d ns", s.RawNs, s.RawErrorNs)
	}
	return text
}

// describeClockChange is what happened to the clocks of a host: its kind, and what it did.
func describeClockChange(s *synclinev1.ClockStep) (kind, what string) {
	switch s.Change {
	case synclinev1.ClockChange_CLOCK_CHANGE_UNSPECIFIED, synclinev1.ClockChange_CLOCK_CHANGE_STEP:
		return "clock step", fmt.Sprintf("CLOCK_REALTIME moved by %v since %d", time.Duration(s.StepNs), s.SinceNs)
	case synclinev1.ClockChange_CLOCK_CHANGE_LEAP:
		return "clock leap", fmt.Sprintf("CLOCK_REALTIME moved by %v since %d, for a leap second", time.Duration(s.StepNs), s.SinceNs)
	case synclinev1.ClockChange_CLOCK_CHANGE_SUSPEND:
		return "suspend", fmt.Sprintf("the host slept for %v at some time since %d: CLOCK_MONOTONIC stood still", time.Duration(s.StepNs), s.SinceNs)
	case synclinev1.ClockChange_CLOCK_CHANGE_SLEW:
		return "clock slew", fmt.Sprintf("CLOCK_MONOTONIC gains %s on CLOCK_MONOTONIC_RAW, and gained %s before, since %d",
			ppm(s.RatePpb), ppm(s.RateBeforePpb), s.SinceNs)
	}
	return "clock change", fmt.Sprintf("change of kind %d, which this version does not know, since %d", s.Change, s.SinceNs)
}
