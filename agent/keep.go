package agent

import (
	"context"
	"fmt"
	"log/slog"

	"syncline/agent/clock"
	synclinev1 "syncline/proto/syncline/v1"
)

// maxChanges bounds the changes of clocks that a run, or a session of probes, is told. Where the host's clocks are
// not the kernel's own, as in some sandboxes, they may be pulled apart all the time.
const maxChanges = 1000

// keepClocks puts what happens to the clocks of this host on record, from the return on
// until the run ends. It belongs to the run as a whole, like a probe, since it may come to
// light in another repetition than it happened in.
func (r *run) keepClocks() {
	k := &clockRecord{
		log: r.log, add: func(e *synclinev1.Event) { r.stream.add(0, e) },
		// It is for people: that a clock is not watched, or less, is in its samples.
		lacks: func(text string) { r.mark(0, synclinev1.MarkKind_MARK_KIND_SOURCE_REDUCED, text, 0) },
	}
	ctx, cancel := context.WithCancel(r.ctx)
	r.stopKeeping = cancel
	r.keeping.Go(func() { k.run(ctx, r.runs.cfg.TestClock) })
}

// clockRecord makes events of what happens to the clocks of this host.
type clockRecord struct {
	log *slog.Logger
	// add takes the events, lacks says what is not watched.
	add     func(*synclinev1.Event)
	lacks   func(string)
	changes int
}

// run keeps the clocks until ctx is done.
func (k *clockRecord) run(ctx context.Context, test *clock.Test) {
	keeper := &clock.Keeper{
		Clock:   test,
		Sampled: k.sampled,
		Changed: k.changed,
		Missing: func(u *clock.Unavailable) {
			k.log.Warn("the host's clocks are watched less closely than they could be", "cause", u)
			k.lacks("clocks: " + u.Error())
		},
	}
	keeper.Run(ctx)
}

func (k *clockRecord) sampled(now clock.Reading, steady int64) {
	if k.changes > maxChanges {
		// What happened since then is not on record.
		steady = 0
	}
	k.add(sampled(now, steady))
}

// changed puts a change on record.
func (k *clockRecord) changed(c clock.Change) {
	k.changes++
	switch {
	case k.changes <= maxChanges:
		k.log.Warn("this host's clock was moved", "what", c.Kind.String(), "by_ns", c.By, "rate_ppb", c.Rate, "rate_before_ppb", c.Before)
		k.add(changed(c))
	case k.changes == maxChanges+1:
		k.lacks(fmt.Sprintf("clocks: more than %d changes in one run; the rest are not told, and are in the bounds of packets alone", maxChanges))
	}
}

// clocksKept ends what keepClocks began, with a last reading.
func (r *run) clocksKept() {
	r.stopKeeping()
	r.keeping.Wait()
}

func sampled(now clock.Reading, steady int64) *synclinev1.Event {
	s := &synclinev1.ClockSample{RealtimeNs: now.Realtime, ErrorNs: now.Err, SteadyPpb: uint64(steady)}
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
