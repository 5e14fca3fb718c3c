package agent

import (
	"context"
	"fmt"

	"syncline/agent/clock"
	synclinev1 "syncline/proto/syncline/v1"
)

// maxChanges bounds the changes of a run's clocks that are told. Where the host's clocks are
// not the kernel's own, as in some sandboxes, they may be pulled apart all the time.
const maxChanges = 1000

// keepClocks puts what happens to the clocks of this host on record, from the return on
// until the run ends. It belongs to the run as a whole, like a probe, since it may come to
// light in another repetition than it happened in.
func (r *run) keepClocks() {
	changes := 0
	keeper := &clock.Keeper{
		Clock:   r.runs.cfg.TestClock,
		Sampled: func(now clock.Reading) { r.stream.add(0, sampled(now)) },
		Changed: func(c clock.Change) {
			changes++
			r.clockChanged(changes, c)
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

// clockChanged puts the nth change of a run on record.
func (r *run) clockChanged(n int, c clock.Change) {
	switch {
	case n <= maxChanges:
		r.log.Warn("this host's clock was moved", "what", c.Kind.String(), "by_ns", c.By, "rate_ppb", c.Rate, "rate_before_ppb", c.Before)
		r.stream.add(0, changed(c))
	case n == maxChanges+1:
		r.mark(0, synclinev1.MarkKind_MARK_KIND_SOURCE_REDUCED, fmt.Sprintf(
			"clocks: more than %d changes in one run; the rest are not told, and are in the bounds of packets alone", maxChanges), 0)
	}
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
