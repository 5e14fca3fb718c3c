package timeline

import (
	"math"
	"slices"

	"syncline/controller/clock"
)

// tied is what is known of the clocks of a run's hosts, and by what. All of it but the
// reference is learned once, from all repetitions together.
type tied struct {
	clocks *clock.Model
	// alone is what each method says alone; nil for one that has no messages.
	alone map[clock.Methods]*clock.Model
	// method by host, as HostClock.Method.
	method []string
	// counts are the messages of each method, by sender and receiver.
	counts map[clock.Methods]map[[2]int]int
	// contradictions are those that the messages of one method had among themselves, and
	// liars how many of them were left out for it.
	contradictions []clock.Contradiction
	liars          map[clock.Methods]int
	// sampled are moments all over the run, some of every host.
	sampled []clock.Moment
}

// methods are those that check each other. Signals are no method of their own: they are
// taken where neither ties two clocks.
var methods = []clock.Methods{clock.Probes, clock.Segments}

// tie makes the clocks, in three steps, each for the hosts that the one before left
// untied: from probes and segments; from the knowledge that two hosts read the very same
// clock; from the lab's signals, which went through the controller: far looser, but sure.
//
// Probes and segments come before that knowledge, so that hosts on one kernel are tied as
// hosts on two would be, and the knowledge checks the methods: a segment that denies a
// shared clock is a contradiction like any other. Messages whose stamps lie are left out,
// so that one false stamp does not make everything impossible that is true; the
// contradiction is reported all the same. Each method is held against itself alone: where
// the two deny each other, nobody can say by their number which is right.
func (b *Builder) tie(segments []clock.Message) {
	messages := b.believed(map[clock.Methods][]clock.Message{clock.Probes: b.probes.messages(), clock.Segments: segments})
	b.sampled = b.sample()
	cfg := clock.Config{
		Hosts: len(b.run.Hosts), DriftPPM: b.driftPPM(), WanderPPM: b.wanderPPM(), UntoldPPB: b.untold(), Changes: b.changes(),
	}
	for h, untold := range cfg.UntoldPPB {
		if untold > 0 {
			cfg.Changes = append(cfg.Changes, b.unwatched(h)...)
		}
	}
	b.clocks = clock.NewModel(cfg, messages)
	if untied := b.untied(); len(untied) > 0 {
		cfg.ClockIDs = b.clockIDs(func(h int) bool { return slices.Contains(untied, h) })
		b.clocks = clock.NewModel(cfg, messages)
	}
	if len(b.untied()) > 0 {
		b.clocks = clock.NewModel(cfg, append(messages, b.signals()...))
	}
	b.alone = make(map[clock.Methods]*clock.Model)
	for _, method := range methods {
		if len(b.counts[method]) > 0 {
			b.alone[method] = b.clocks.By(method)
		}
	}
	b.method = make([]string, len(b.run.Hosts))
	b.tied = b.from(b.bestReference())
}

// believed joins the messages of all methods, those left out that lie.
func (b *Builder) believed(of map[clock.Methods][]clock.Message) []clock.Message {
	known := clock.Config{
		Hosts: len(b.run.Hosts), DriftPPM: b.driftPPM(), WanderPPM: -1, Changes: b.changes(),
		ClockIDs: b.clockIDs(func(int) bool { return true }),
	}
	b.counts = make(map[clock.Methods]map[[2]int]int)
	b.liars = make(map[clock.Methods]int)
	var all []clock.Message
	for _, method := range methods {
		messages := of[method]
		if broken := clock.NewModel(known, messages).Inconsistent(); len(broken) > 0 {
			b.contradictions = append(b.contradictions, broken...)
			liars := clock.Liars(known, messages)
			b.liars[method] = len(liars)
			slices.Sort(liars)
			for _, i := range slices.Backward(liars) {
				messages = slices.Delete(messages, i, i+1)
			}
		}
		counts := make(map[[2]int]int)
		for i := range messages {
			counts[[2]int{messages[i].From, messages[i].To}]++
		}
		b.counts[method] = counts
		all = append(all, messages...)
	}
	return all
}

// from is the same knowledge with another host's clock as the lab's.
func (t tied) from(reference int) tied {
	t.clocks = t.clocks.WithReference(reference)
	alone := make(map[clock.Methods]*clock.Model)
	for method, m := range t.alone {
		alone[method] = m.WithReference(reference)
	}
	t.alone = alone
	t.method = make([]string, len(t.method))
	for h := range t.method {
		t.method[h] = t.nameOf(h)
	}
	return t
}

// nameOf says what ties a host to the reference, as HostClock.Method does.
func (t *tied) nameOf(host int) string {
	reference := t.clocks.Reference()
	switch {
	case host == reference:
		return MethodReference
	case t.clocks.Same(reference, host):
		return MethodSameClock
	case !t.knows(t.clocks, host):
		return MethodUnknown
	}
	var by clock.Methods
	for method, m := range t.alone {
		if t.knows(m, host) {
			by |= method
		}
	}
	if by != 0 {
		return by.String()
	}
	// Neither ties it alone: perhaps both do together, each in one direction.
	if t.knows(t.clocks.By(clock.Probes|clock.Segments), host) {
		return (clock.Probes | clock.Segments).String()
	}
	return clock.Signals.String()
}

// knows reports whether a model bounds the offset of a host at some moment of the run.
func (t *tied) knows(m *clock.Model, host int) bool {
	return slices.ContainsFunc(t.sampled, func(at clock.Moment) bool {
		return at.Host == host && m.Bound(host, at.At).Known()
	})
}

// untied are the hosts that nothing ties to the reference.
func (b *Builder) untied() []int {
	var hosts []int
	for h := range b.run.Hosts {
		if !b.knows(b.clocks, h) {
			hosts = append(hosts, h)
		}
	}
	return hosts
}

// samples is how many moments of all hosts a run is looked at in, at least, and
// leastSamples how many of each host.
const (
	samples      = 32
	leastSamples = 2
)

// sample takes moments of every host, evenly over its time in the run. A host that
// reported nothing has one all the same.
func (b *Builder) sample() []clock.Moment {
	n := max(leastSamples, samples/len(b.run.Hosts))
	var all []clock.Moment
	for h := range b.run.Hosts {
		for i := range n {
			all = append(all, clock.Moment{Host: h, At: evenly(b.stays[h].first, b.stays[h].last, i, n)})
		}
	}
	return all
}

// stay is the time of a host in the run, by its own clock, probes included.
type stay struct{ first, last clock.Local }

// staysOf are those of all hosts; the events are in each host's order. A host that reported
// nothing has none.
func staysOf(hosts int, events []*Event) []stay {
	all, seen := make([]stay, hosts), make([]bool, hosts)
	for _, e := range events {
		if e.Sample != nil {
			continue
		}
		l, last := &all[e.Host], e.At
		if e.Call != nil {
			last = e.Call.Return
		}
		if !seen[e.Host] {
			*l, seen[e.Host] = stay{e.At, last}, true
		}
		l.first, l.last = min(l.first, e.At), max(l.last, last)
	}
	return all
}

// evenly is the i-th of n moments from first to last; the middle one if n is 1.
func evenly(first, last clock.Local, i, n int) clock.Local {
	if n < 2 {
		return first + (last-first)/2
	}
	// In two parts, since a product of nanoseconds may be too large.
	span, steps := int64(last-first), int64(n-1)
	return first + clock.Local(span/steps*int64(i)+span%steps*int64(i)/steps)
}

// bestReference is the host that makes the largest error the least. Between two clocks
// each is known as well from the other, so it is the first host; a clock that stood still
// for a while is nobody's measure if another did not.
func (b *Builder) bestReference() int {
	best := 0
	if b.distinct() > 2 {
		best = b.clocks.BestReference(b.sampled)
	}
	if b.evidence.suspended(best) {
		for h := range b.run.Hosts {
			if !b.evidence.suspended(h) && b.knows(b.clocks, h) {
				return h
			}
		}
	}
	return best
}

// distinct counts the clocks that the hosts read.
func (b *Builder) distinct() int {
	n := 0
	for h := range b.run.Hosts {
		shared := false
		for lower := range h {
			shared = shared || b.clocks.Same(lower, h)
		}
		if !shared {
			n++
		}
	}
	return n
}

// changes are what the hosts reported of their CLOCK_MONOTONIC. A step of CLOCK_REALTIME
// is none.
func (b *Builder) changes() []clock.Change {
	var all []clock.Change
	for h, gaps := range b.evidence.gaps {
		for _, e := range gaps {
			if e.Step != nil && (e.Step.Change == ClockSlew || e.Step.Change == ClockSuspend) {
				all = append(all, clock.Change{Host: h, Since: e.Step.Since, At: e.At, Stopped: e.Step.Change == ClockSuspend})
			}
		}
	}
	return all
}

const (
	// quartzPPM is what a clock may be wrong by as it is, in parts per million, and so
	// what it may be steered by as a rule: steering takes that error away.
	quartzPPM = clock.DefaultDriftPPM / 2
	// quartzWanderPPM is how much the rate of one changes in a second at most.
	quartzWanderPPM = float64(clock.DefaultWanderPPM) / 2
	// testPPM and testWanderPPM are the same for what a test clock adds to its host's own.
	testPPM, testWanderPPM = 105, 1
)

// driftPPM is the bound on how much one of the clocks may gain on another: twice what
// quartz does, more where a host is steered harder than quartz can need, as it reported or as
// its clock goes beside CLOCK_MONOTONIC_RAW, and more where a test clock goes wrong beside
// the host's own.
func (b *Builder) driftPPM() float64 {
	return b.worstTwo(func(h int) float64 {
		own := float64(quartzPPM)
		if b.run.Hosts[h].TestClock != "" {
			own += testPPM
		}
		steered := float64(b.steered(h))
		for _, e := range b.evidence.gaps[h] {
			if e.Step != nil && e.Step.Change == ClockSlew {
				steered = max(steered, math.Abs(float64(e.Step.Rate)), math.Abs(float64(e.Step.RateBefore)))
			}
		}
		if ppm := steered / 1000; ppm > quartzPPM {
			own += ppm
		}
		return own
	})
}

// wanderPPM is the bound on how much the rate of one clock against another changes in a
// second.
func (b *Builder) wanderPPM() float64 {
	return b.worstTwo(func(h int) float64 {
		if b.run.Hosts[h].TestClock != "" {
			return quartzWanderPPM + testWanderPPM
		}
		return quartzWanderPPM
	})
}

// worstTwo adds up what the two worst hosts do; a run of one host has two of it.
func (b *Builder) worstTwo(of func(host int) float64) float64 {
	var all []float64
	if len(b.run.Hosts) == 1 {
		all = append(all, of(0))
	}
	for h := range b.run.Hosts {
		all = append(all, of(h))
	}
	slices.Sort(all)
	return all[len(all)-1] + all[len(all)-2]
}

// clockIDs are the names of the clocks that at least one of the hosts that are asked
// for reads; the empty name stands for a clock that nobody shares.
func (b *Builder) clockIDs(asked func(host int) bool) []string {
	ids := make([]string, len(b.run.Hosts))
	for h := range ids {
		if asked(h) {
			for other := range ids {
				if id := b.run.Hosts[h].ClockID; b.run.Hosts[other].ClockID == id {
					ids[other] = id
				}
			}
		}
	}
	return ids
}

// appendMessages adds the segments that surely are the same at both ends.
func appendMessages(messages []clock.Message, transits []transit) []clock.Message {
	for _, t := range transits {
		if t.proves {
			messages = append(messages, clock.Message{
				From: t.departure.Host, Sent: t.departure.At, SentErr: t.departure.Packet.Err,
				To: t.arrival.Host, Received: t.arrival.At, ReceivedErr: t.arrival.Packet.Err,
				Method: clock.Segments,
			})
		}
	}
	return messages
}

// signals are the messages that signals are.
func (b *Builder) signals() []clock.Message {
	var messages []clock.Message
	for _, repetition := range b.repetitions() {
		for _, pair := range signalPairs(b.events[repetition]) {
			messages = append(messages, clock.Message{
				From: pair[0].Host, Sent: pair[0].At, To: pair[1].Host, Received: pair[1].At, Method: clock.Signals,
			})
		}
	}
	return messages
}

// signalPairs joins each signal's sending with its arrival at every other host.
func signalPairs(events []*Event) [][2]*Event {
	type name struct{ lane, name string }
	sent := make(map[name]*Event)
	for _, e := range events {
		if s := e.Signal; s != nil && s.Sent && sent[name{s.Lane, s.Name}] == nil {
			sent[name{s.Lane, s.Name}] = e
		}
	}
	var pairs [][2]*Event
	for _, e := range events {
		if s := e.Signal; s != nil && !s.Sent {
			if from := sent[name{s.Lane, s.Name}]; from != nil && from.Host != e.Host {
				pairs = append(pairs, [2]*Event{from, e})
			}
		}
	}
	return pairs
}
