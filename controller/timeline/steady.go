package timeline

import (
	"fmt"
	"math"
	"slices"
	"time"

	"syncline/controller/clock"
)

// untold is, by host, by how much the rate of its clock may have changed at once without a
// word, in parts per billion: the worst of what its agent says of the times between two
// samples. 0: nobody watched it at any time.
func (b *Builder) untold() []int64 {
	worst := make([]int64, len(b.run.Hosts))
	for h := range worst {
		for _, s := range b.watches(h) {
			worst[h] = max(worst[h], int64(min(s.steady, math.MaxInt64)))
		}
	}
	return worst
}

// watch is a host's time between two samples of its clocks that follow each other, by one
// agent. steady is ClockSample.Steady of it.
type watch struct {
	from, to clock.Local
	steady   uint64
}

// watches of a host, in order. Between two agents there is none, and nobody watched.
func (b *Builder) watches(host int) []watch {
	var all []watch
	for i, e := range b.samples[host] {
		if i > 0 && b.samples[host][i-1].Incarnation == e.Incarnation {
			all = append(all, watch{b.samples[host][i-1].At, e.At, e.Sample.Steady})
		}
	}
	return all
}

// unwatched are the times of a host in the run of which nobody can tell whether its rate
// changed: each is as a change that was reported.
func (b *Builder) unwatched(host int) []clock.Change {
	var all []clock.Change
	own := b.stays[host]
	until := own.first
	note := func(to clock.Local) {
		if to > until {
			all = append(all, clock.Change{Host: host, Since: until, At: to})
		}
	}
	for _, s := range b.watches(host) {
		if s.steady > 0 {
			note(min(s.from, own.last))
			until = max(until, s.to)
		}
	}
	note(own.last)
	return all
}

// warnOfSteadiness tells of clocks that nobody watched, where something rests on that.
func (b *Builder) warnOfSteadiness() []string {
	if b.distinct() < 2 || b.clocks.WanderPPB() == 0 {
		return nil
	}
	var w []string
	drift := trimmed(float64(b.clocks.DriftPPB())/1000, 3)
	for h, untold := range b.untold() {
		own, blind := b.stays[h], int64(0)
		for _, c := range b.unwatched(h) {
			blind += int64(c.At - c.Since)
		}
		switch {
		case b.method[h] == MethodUnknown || own.first == own.last:
		case untold == 0:
			w = append(w, fmt.Sprintf("Nobody could watch how steadily the clock of %s runs: that neither gains more than %s ppm on the other is all that is made use of between it and others.",
				b.name(h), drift))
		case blind > int64(longBlind):
			w = append(w, fmt.Sprintf("For %s of the run nobody could watch how steadily the clock of %s runs: that neither gains more than %s ppm on the other is all that is made use of there.",
				spanText(blind), b.name(h), drift))
		}
	}
	return w
}

// longBlind is how long nobody may have watched a clock without a warning: agents of a run
// that goes on tell of what was only when they sample their clocks again.
const longBlind = 11 * time.Second

const (
	// fineRate is how well, in parts per billion, a rate against CLOCK_MONOTONIC_RAW should be
	// known to be looked at alone; coarseRate is what it must be known to, to say anything.
	fineRate, coarseRate = 2_000, 50_000
)

// steered is how much faster or slower than CLOCK_MONOTONIC_RAW, which nobody steers, a
// host's clock ever may have gone between two of its samples, in parts per billion. A steering
// that began before the run is in no report of a change; this has it.
func (b *Builder) steered(host int) int64 {
	all := slices.DeleteFunc(slices.Clone(b.samples[host]), func(e *Event) bool { return !e.Sample.HasRaw })
	most, fine := int64(0), false
	for from := 0; from < len(all); from++ {
		for to := from + 1; to < len(all); to++ {
			rate, err, ok := b.againstRaw(all[from], all[to])
			if !ok {
				break
			}
			if err <= fineRate {
				most, fine = max(most, magnitude(rate)+err), true
				break
			}
		}
	}
	if fine || len(all) < 2 {
		return most
	}
	if rate, err, ok := b.againstRaw(all[0], all[len(all)-1]); ok && err <= coarseRate {
		return magnitude(rate) + err
	}
	return 0
}

// againstRaw is by how much faster than CLOCK_MONOTONIC_RAW a clock went between two
// samples, and how far that may be off, in parts per billion. It is not ok across two agents
// or a suspend, over which the two clocks need not stand still alike.
func (b *Builder) againstRaw(from, to *Event) (rate, err int64, ok bool) {
	took, raw := int64(to.At-from.At), to.Sample.Raw-from.Sample.Raw
	if took <= 0 || raw <= 0 || from.Incarnation != to.Incarnation || b.evidence.suspendedBetween(from.Host, from.At, to.At) {
		return 0, 0, false
	}
	const billion = 1e9
	errs := float64(from.Sample.RawErr) + float64(to.Sample.RawErr) + 2
	rate = int64(math.Round(float64(took-raw) / float64(raw) * billion))
	return rate, int64(math.Ceil(errs / float64(raw) * billion)), true
}

// suspendedBetween reports whether a host's clock stood still at some time between two of
// its own.
func (ev *evidence) suspendedBetween(host int, from, to clock.Local) bool {
	return slices.ContainsFunc(ev.gaps[host], func(e *Event) bool {
		return e.Step != nil && e.Step.Change == ClockSuspend && e.Step.Since <= to && e.At >= from
	})
}
