package timeline

import (
	"fmt"
	"slices"
	"strings"

	"syncline/controller/clock"
)

// gapKind is a way in which the record of a repetition can be worth less than what
// happened.
type gapKind int

const (
	// gapMissing: a source was never there on a host.
	gapMissing gapKind = iota + 1
	// gapLoss: a known number of events was not kept.
	gapLoss
	// gapStep: the host's CLOCK_REALTIME was stepped, so its packets' times are not
	// to be compared with anything across the step.
	gapStep
	// gapBusy: the kernel still had something to send when the record ended.
	gapBusy
	// gapUnended: the host never said that all of the repetition is on record.
	gapUnended
	// gapIncomplete: the run as a whole is known to miss events.
	gapIncomplete
)

// gap is one reason to doubt the record.
type gap struct {
	kind gapKind
	// host it concerns, -1 for all.
	host int
	// source it concerns, empty for all.
	source Source
	// since is the moment, of the host's own clock, before which a loss took nothing.
	since clock.Local
	// moment of the event that says so, -1 if none does.
	moment int
	text   string
	// loss is what was lost, of a gapLoss.
	loss *Loss
	// suspend is set, of a gapStep, where CLOCK_MONOTONIC stood still as well.
	suspend bool
}

// hides reports whether events that happened may be absent because of the gap.
func (g *gap) hides() bool { return g.kind != gapStep }

// findGaps lists what is known to be missing or in doubt, in a fixed order: sources,
// then events in order of time, then hosts without an end mark, then the run.
func findGaps(t *Timeline) []gap {
	gaps := missingSources(t)
	ended := make([]bool, len(t.Hosts))
	for i := range t.Moments {
		e := t.Moments[i].Event
		name := t.Hosts[e.Host].Name
		switch {
		case e.Loss != nil:
			gaps = append(gaps, gap{kind: gapLoss, host: e.Host, source: e.Loss.Source, since: e.Loss.Since, moment: i, text: lossText(name, e.Loss), loss: e.Loss})
		case e.Step != nil && e.Step.stepsRealtime():
			gaps = append(gaps, gap{
				kind: gapStep, host: e.Host, since: e.Step.Since, moment: i, text: e.Step.text(name), suspend: e.Step.Change == ClockSuspend,
			})
		case e.Mark != nil && e.Mark.Kind == MarkNotQuiet:
			text := fmt.Sprintf("sockets of %s were still busy when the repetition's time was up (%s)", name, e.Mark.Detail)
			gaps = append(gaps, gap{kind: gapBusy, host: e.Host, moment: i, text: text})
		case e.Mark != nil && e.Mark.Kind == MarkEnd:
			ended[e.Host] = true
		}
	}
	for h, ok := range ended {
		if !ok {
			text := fmt.Sprintf("%s never said that the repetition is all on record", t.Hosts[h].Name)
			gaps = append(gaps, gap{kind: gapUnended, host: h, moment: -1, text: text})
		}
	}
	for _, text := range t.Incomplete {
		gaps = append(gaps, gap{kind: gapIncomplete, host: -1, moment: -1, text: text})
	}
	return gaps
}

func missingSources(t *Timeline) []gap {
	var gaps []gap
	for h := range t.Hosts {
		for _, source := range []Source{Syscalls, Packets, TCPStates, TCPInfo, CounterData, AcceptQueue, ICMP, ARP, Drops} {
			if why, ok := t.Hosts[h].Missing[source]; ok {
				text := fmt.Sprintf("%s has no %s", t.Hosts[h].Name, source)
				if why != "" {
					text += ": " + why
				}
				gaps = append(gaps, gap{kind: gapMissing, host: h, source: source, moment: -1, text: text})
			}
		}
	}
	return gaps
}

// text says what happened to a host's clock, without a full stop.
func (s *ClockStep) text(host string) string {
	switch s.Change {
	case ClockLeap:
		return fmt.Sprintf("the clock of %s was stepped by %s, a leap second", host, signedSpan(s.Step))
	case ClockSuspend:
		return fmt.Sprintf("%s was suspended for about %s", host, spanText(s.Step))
	case ClockSlew:
		return fmt.Sprintf("the clock of %s was steered from %s to %s", host, ratePPM(s.RateBefore), ratePPM(s.Rate))
	}
	return fmt.Sprintf("the clock of %s was stepped by %s", host, signedSpan(s.Step))
}

// ratePPM is a rate in parts per billion as people read it.
func ratePPM(ppb int64) string {
	text := trimmed(float64(ppb)/1000, 3) + " ppm"
	if ppb > 0 {
		return "+" + text
	}
	return text
}

func lossText(host string, l *Loss) string {
	text := fmt.Sprintf("%s lost %d %s", host, l.Count, lostNoun(l.Source, l.Count))
	if l.Where != "" {
		text += " (" + l.Where + ")"
	}
	return text
}

// gapsOf selects the gaps that touch what a source of some hosts has on record; no
// host means all hosts. A gap of no source or of no host touches everything.
func gapsOf(source Source, hosts ...int) func(*gap) bool {
	return func(g *gap) bool {
		if g.source != "" && g.source != source && !(g.loss != nil && g.loss.mayHaveHeld(source)) {
			return false
		}
		if g.source == "" || g.host < 0 || len(hosts) == 0 {
			return true
		}
		return slices.Contains(hosts, g.host)
	}
}

// gapsOfAny selects the gaps that touch any of several sources.
func gapsOfAny(sources []Source, hosts ...int) func(*gap) bool {
	return func(g *gap) bool {
		return slices.ContainsFunc(sources, func(s Source) bool { return gapsOf(s, hosts...)(g) })
	}
}

// unlessGap turns a pass that a gap could have changed into CannotTell.
func (tr *trial) unlessGap(v Verdict, touches func(*gap) bool) Verdict {
	if v.Ruling != Pass {
		return v
	}
	if cause := tr.causeOf(touches); cause != "" {
		return doubted(v, cause)
	}
	return v
}

// doubted turns a definite ruling into CannotTell.
func doubted(v Verdict, cause string) Verdict {
	switch v.Ruling {
	case Pass:
		v.Reason = "nothing on record speaks against it, but " + cause
	case Fail:
		v.Reason += ", but " + cause
	}
	v.Ruling = CannotTell
	return v
}

// hidden is the cause for which something may be absent from the record, empty if
// what is not on record did not happen.
func (tr *trial) hidden(touches func(*gap) bool) string {
	return tr.causeOf(func(g *gap) bool { return g.hides() && touches(g) })
}

func (tr *trial) causeOf(touches func(*gap) bool) string {
	var causes []string
	for i := range tr.gaps {
		if touches(&tr.gaps[i]) {
			causes = append(causes, tr.gaps[i].text)
		}
	}
	return strings.Join(causes, "; ")
}
