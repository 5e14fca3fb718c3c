package timeline

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"syncline/controller/clock"
)

// evidence knows what each host kept of each repetition, and what it did not.
type evidence struct {
	hosts []Host
	spans map[part]*span
	// gaps are losses and clock steps, by host, whatever repetition they were
	// reported with, and touching those that may have happened in a repetition.
	gaps     [][]*Event
	touching map[part][]*Event
	// lossy are, by host, the repetitions in which it may have lost anything.
	lossy [][]int
}

// part is one host in one repetition.
type part struct{ host, repetition int }

// span is what a host said of a repetition.
type span struct {
	first, last clock.Local
	// watched is the last moment of anything but what a host reports after it has read its
	// taps and its tracepoints to their end.
	watched  clock.Local
	begin    clock.Local
	hasBegin bool
	ended    bool
	isBusy   bool
	busy     string
	missing  []string
}

func newEvidence(run *Run, events []*Event) *evidence {
	ev := &evidence{
		hosts: run.Hosts, spans: make(map[part]*span), gaps: make([][]*Event, len(run.Hosts)), touching: make(map[part][]*Event),
	}
	for _, e := range events {
		if e.ofProbes() || e.Sample != nil {
			continue
		}
		if e.Loss != nil || e.Step != nil {
			ev.gaps[e.Host] = append(ev.gaps[e.Host], e)
			continue
		}
		key := part{e.Host, e.Repetition}
		s := ev.spans[key]
		if s == nil {
			s = &span{first: e.At, last: e.At, watched: e.At}
			ev.spans[key] = s
		}
		s.note(e)
	}
	ev.place()
	return ev
}

// ofProbes reports whether an event is a sight of a probe, or the loss of some: they tell
// of clocks, and no repetition is less complete without them.
func (e *Event) ofProbes() bool {
	return e.Probe != nil || e.Loss != nil && e.Loss.Source == Probes
}

// suspended reports whether a host's CLOCK_MONOTONIC stood still at some time.
func (ev *evidence) suspended(host int) bool {
	return slices.ContainsFunc(ev.gaps[host], func(e *Event) bool { return e.Step != nil && e.Step.Change == ClockSuspend })
}

// place finds the repetitions that each gap may have happened in: the one it was reported
// with, and all others that its time overlaps. A count is read from time to time, and may
// hold what was lost before the repetition in which it is read.
func (ev *evidence) place() {
	spans := make([][]part, len(ev.gaps))
	for p := range ev.spans {
		spans[p.host] = append(spans[p.host], p)
	}
	for host, gaps := range ev.gaps {
		for _, e := range gaps {
			if e.Repetition != 0 {
				key := part{host, e.Repetition}
				ev.touching[key] = append(ev.touching[key], e)
			}
			for _, p := range spans[host] {
				if p.repetition != e.Repetition && ev.spans[p].overlaps(e) {
					ev.touching[p] = append(ev.touching[p], e)
				}
			}
		}
	}
	ev.lossy = make([][]int, len(ev.gaps))
	for p, gaps := range ev.touching {
		if slices.ContainsFunc(gaps, func(e *Event) bool { return e.Loss != nil }) {
			ev.lossy[p.host] = append(ev.lossy[p.host], p.repetition)
		}
	}
	for _, repetitions := range ev.lossy {
		slices.Sort(repetitions)
	}
}

// overlaps reports whether the time of a gap has a moment of the repetition in it. A host
// that counts by repetition reports what was lost before the taps were read to their end
// with that end; what was lost after it is no part of the repetition.
func (s *span) overlaps(e *Event) bool {
	since, last := e.At, s.watched
	if e.Repetition == 0 {
		last = s.last
	}
	if e.Loss != nil {
		since = e.Loss.Since
	} else if e.Step != nil {
		since = e.Step.Since
	}
	return since <= last && e.At >= s.first
}

func (s *span) note(e *Event) {
	last := e.At
	if e.Call != nil {
		last = e.Call.Return
	}
	s.first, s.last = min(s.first, e.At), max(s.last, last)
	if !e.isAfterwards() {
		s.watched = max(s.watched, last)
	}
	if e.Mark == nil {
		return
	}
	switch e.Mark.Kind {
	case MarkBegin:
		s.begin, s.hasBegin = e.At, true
	case MarkEnd:
		s.ended = true
	case MarkNotQuiet:
		s.isBusy, s.busy = true, e.Mark.Detail
	case MarkSourceMissing:
		s.missing = append(s.missing, e.Mark.Detail)
	}
}

// isAfterwards reports whether a host reports the event after it has read its sources to
// their end: the end itself, the last dump and the counters of the kernel.
func (e *Event) isAfterwards() bool {
	return e.Mark != nil && (e.Mark.Kind == MarkEnd || e.Mark.Kind == MarkClosed) || e.Socket != nil && e.Socket.Final || e.Counters != nil
}

// lossSince is when a host's tap began to lose packets in some repetitions, one after the
// other, and whether it lost none.
func (ev *evidence) lossSince(host, first, last int) (since clock.Local, none bool) {
	if host < 0 {
		return math.MinInt64, false
	}
	if _, missing := ev.hosts[host].Missing[Packets]; missing {
		return math.MinInt64, false
	}
	since, none = math.MaxInt64, true
	for repetition := first; repetition <= last; repetition++ {
		for _, e := range ev.touching[part{host, repetition}] {
			if e.Loss != nil && e.Loss.Source == Packets {
				since, none = min(since, e.Loss.Since), false
			}
		}
	}
	return since, none
}

// stepped reports whether a packet was stamped around a step of its host's
// CLOCK_REALTIME, so that nobody knows on which side of it.
func (ev *evidence) stepped(packet *Event) bool {
	for _, e := range ev.gaps[packet.Host] {
		if e.Step == nil || !e.Step.stepsRealtime() {
			continue
		}
		reach := magnitudeOf(e.Step)
		if packet.At >= e.Step.Since-reach && packet.At <= e.At+reach {
			return true
		}
	}
	return false
}

// magnitudeOf is how far a stamp can have been moved by a step. An agent that tells what
// kind of change it was moves no stamp across it, and gives those that it cannot place an
// error that reaches over all that is possible.
func magnitudeOf(s *ClockStep) clock.Local {
	if s.Change != 0 {
		return 0
	}
	return clock.Local(max(s.Step, -s.Step))
}

// complete is empty if a source of a host has all of a repetition on record, and
// otherwise the reason why it may not.
func (ev *evidence) complete(host, repetition int, source Source) string {
	name := ev.hosts[host].Name
	if why, missing := ev.hosts[host].Missing[source]; missing {
		return strings.TrimSuffix(fmt.Sprintf("%s has no %s: %s", name, source, why), ": ")
	}
	for _, detail := range ev.missing(host, repetition) {
		if strings.HasPrefix(detail, string(source)) {
			return fmt.Sprintf("%s has a source missing: %s", name, detail)
		}
	}
	for _, e := range ev.touching[part{host, repetition}] {
		if e.Loss != nil && e.Loss.mayHaveHeld(source) {
			return fmt.Sprintf("%s lost %d of %s", name, e.Loss.Count, lostAmong(e.Loss.Source))
		}
	}
	if s := ev.spans[part{host, repetition}]; s == nil || !s.ended {
		return fmt.Sprintf("%s did not end the repetition", name)
	} else if s.isBusy {
		return fmt.Sprintf("sockets of %s were still busy when the time was up", name)
	}
	return ""
}

// completeThrough is complete of several repetitions, one after the other: of what began in
// the first and went on until the last.
func (ev *evidence) completeThrough(host, first, last int, source Source) string {
	for repetition := first; repetition <= last; repetition++ {
		if why := ev.complete(host, repetition, source); why != "" {
			return why
		}
	}
	return ""
}

// lost is the first loss that took events of a source from a host's record of several
// repetitions, one after the other; empty if none did.
func (ev *evidence) lost(host, first, last int, source Source) string {
	repetitions := ev.lossy[host]
	at, _ := slices.BinarySearch(repetitions, first)
	for ; at < len(repetitions) && repetitions[at] <= last; at++ {
		for _, e := range ev.touching[part{host, repetitions[at]}] {
			if e.Loss != nil && e.Loss.Source == source {
				return lossText(ev.hosts[host].Name, e.Loss)
			}
		}
	}
	return ""
}

// firstLost is the first repetition, from one on, in which a host may have lost events of a
// source after a moment; math.MaxInt if it lost none.
func (ev *evidence) firstLost(host, first int, after clock.Local, source Source) int {
	repetitions := ev.lossy[host]
	at, _ := slices.BinarySearch(repetitions, first)
	for _, repetition := range repetitions[at:] {
		if slices.ContainsFunc(ev.touching[part{host, repetition}], func(e *Event) bool {
			return e.Loss != nil && e.Loss.Source == source && e.At >= after
		}) {
			return repetition
		}
	}
	return math.MaxInt
}

// lostBetween is how many events of a source a host may have lost between two moments.
func (ev *evidence) lostBetween(host int, since, until clock.Local, source Source) (count uint64) {
	for _, e := range ev.gaps[host] {
		if e.Loss != nil && e.Loss.Source == source && e.Loss.Since <= until && e.At >= since {
			count += e.Loss.Count
		}
	}
	return count
}

// mayHaveHeld reports whether events of a source may be among those that were lost. A
// capture ring counts what it has no room for without looking at it: any packet may have
// been of ICMP or ARP. What a lost trace would have told, states and drops, nobody knows.
func (l *Loss) mayHaveHeld(source Source) bool {
	switch source {
	case l.Source:
		return true
	case ICMP, ARP:
		return l.Source == Packets
	case TCPInfo:
		// It rides in the call's own event.
		return l.Source == Syscalls
	case TCPStates, Drops:
		return l.Source == Tracepoints
	}
	return false
}

// missing are the sources that a host's own marks say it has not, for people.
func (ev *evidence) missing(host, repetition int) []string {
	var details []string
	for _, r := range []int{0, repetition} {
		if s := ev.spans[part{host, r}]; s != nil {
			details = append(details, s.missing...)
		}
	}
	return details
}

// lacking is the run's hosts with what their own marks say they had not in a repetition: a
// source that was promised and could not be opened is missing like one never to be had.
func (ev *evidence) lacking(repetition int) []Host {
	hosts := slices.Clone(ev.hosts)
	for h := range hosts {
		for _, detail := range ev.missing(h, repetition) {
			source, why, _ := strings.Cut(detail, ": ")
			if _, known := hosts[h].Missing[Source(source)]; known {
				continue
			}
			missing := map[Source]string{Source(source): why}
			maps.Copy(missing, hosts[h].Missing)
			hosts[h].Missing = missing
		}
	}
	return hosts
}

// unaccounted says of each host whose taps have ended what became of packets that the
// kernel's filter let through and that are neither on record nor reported lost: nobody
// knows. There are none unless an agent or a store is at fault, which a person has to
// know of all the same. More than the taps counted are no packets that are missing.
func unaccounted(run *Run) []string {
	type tap struct {
		armed, closed    int
		passed, recorded uint64
	}
	taps := make([]tap, len(run.Hosts))
	for i := range run.Events {
		e := &run.Events[i]
		t := &taps[e.Host]
		switch {
		case e.Packet != nil:
			t.recorded++
		case e.Loss != nil && e.Loss.Source == Packets:
			t.recorded += uint64(e.Loss.Count)
		case e.Mark != nil && e.Mark.Kind == MarkArmed:
			t.armed++
		case e.Mark != nil && e.Mark.Kind == MarkClosed:
			t.closed++
			t.passed += e.Mark.Frames
		}
	}
	var texts []string
	for h, t := range taps {
		if t.armed == t.closed && t.recorded < t.passed {
			texts = append(texts, fmt.Sprintf("%d packets passed the taps of %s, and %d of them are neither on record nor reported lost",
				t.passed, run.Hosts[h].Name, t.passed-t.recorded))
		}
	}
	return texts
}
