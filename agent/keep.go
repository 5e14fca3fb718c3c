package agent

import (
	"context"

	"syncline/agent/clock"
	synclinev1 "syncline/proto/syncline/v1"
)

// keepClocks puts what happens to the clocks of this host on record, from the return on
// until the run ends. It belongs to the run as a whole, like a probe, since it may come to
// light in another repetition than it happened in.
func (r *run) keepClocks() {
	keeper := &clock.Keeper{
		Clock:   r.runs.cfg.TestClock,
		Sampled: func(now clock.Reading) { r.stream.add(0, sampled(now)) },
		Changed: func(c clock.Change) {
			r.log.Warn("this host's clock was moved", "what", c.Kind.String(), "by_ns", c.By, "rate_ppb", c.Rate, "rate_before_ppb", c.Before)
			r.stream.add(0, changed(c))
		},
		Missing: func(u *clock.Unavailable) {
			r.log.Warn("the host's clocks are watched less closely than they could be", "cause", u)
			r.mark(0, synclinev1.MarkKind_MARK_KIND_SOURCE_REDUCED, "clocks: "+u.Error(), 0)
		},
	}
	ctx, cancel := context.WithCancel(r.ctx)
	r.stopKeeping = cancel
	r.keeping.Go(func() { keeper.Run(ctx) })
}

// clocksKept ends what keepClocks began, with a last reading.
func (r *run) clocksKept() {
	r.stopKeeping()
	r.keeping.Wait()
}

func sampled(now clock.Reading) *synclinev1.Event {
	s := &synclinev1.ClockSample{RealtimeNs: now.Realtime, ErrorNs: now.Err}
	if raw, err, ok := now.RawAt(); ok {
		s.RawNs, s.RawErrorNs = raw, err
	}
	return &synclinev1.Event{TimeNs: now.Monotonic, Fact: &synclinev1.Event_ClockSample{ClockSample: s}}
}

func changed(c clock.Change) *synclinev1.Event {
	return &synclinev1.Event{TimeNs: c.At, Fact: &synclinev1.Event_ClockStep{ClockStep: &synclinev1.ClockStep{
		StepNs: c.By, SinceNs: c.Since, Change: clockChange(c.Kind), RatePpb: c.Rate, RateBeforePpb: c.Before,
	}}}
}

func clockChange(k clock.Kind) synclinev1.ClockChange {
	switch k {
	case clock.Leapt:
		return synclinev1.ClockChange_CLOCK_CHANGE_LEAP
	case clock.Suspended:
		return synclinev1.ClockChange_CLOCK_CHANGE_SUSPEND
	case clock.Slewed:
		return synclinev1.ClockChange_CLOCK_CHANGE_SLEW
	}
	return synclinev1.ClockChange_CLOCK_CHANGE_STEP
}
