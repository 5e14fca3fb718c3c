package timeline

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"syncline/controller/clock"
)

// warnings are what a person must know before believing the rest, worst first.
func (a *assembly) warnings() []string {
	return slices.Concat(
		a.warnOfRun(), a.warnOfSources(), a.warnOfGaps(), a.warnOfEnds(), a.warnOfClocks(), a.warnOfSegments(), a.warnOfCalls(), a.against, a.warnOfOthers(), a.run.Notes,
	)
}

func (a *assembly) warnOfRun() []string {
	var w []string
	for _, what := range a.run.Incomplete {
		w = append(w, "The run is incomplete: "+what+".")
	}
	return w
}

func (a *assembly) warnOfSources() []string {
	var w []string
	for h := range a.run.Hosts {
		missing := a.run.Hosts[h].Missing
		for _, source := range []Source{Syscalls, Packets} {
			if why, ok := missing[source]; ok {
				w = append(w, fmt.Sprintf("%s has no %s%s.", a.name(h), source, because(why)))
			}
		}
		if len(missing) > 0 {
			continue
		}
		for _, detail := range a.evidence.missing(h, a.repetition) {
			w = append(w, fmt.Sprintf("%s has a source missing%s.", a.name(h), because(detail)))
		}
	}
	return w
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + strings.TrimSuffix(why, ".")
}

func (a *assembly) warnOfGaps() []string {
	var w []string
	for i := range a.t.Moments {
		e := a.t.Moments[i].Event
		switch {
		case e.Loss != nil:
			w = append(w, fmt.Sprintf("%s lost %d of %s%s, between %s and %s.", a.name(e.Host), e.Loss.Count,
				lostAmong(e.Loss.Source), in(e.Loss.Where), a.sinceZero(e.Host, e.Loss.Since), a.sinceZero(e.Host, e.At)))
		case e.Step != nil && e.Step.stepsRealtime():
			w = append(w, a.warnOfStep(e))
		}
	}
	return w
}

func (a *assembly) warnOfStep(e *Event) string {
	when := fmt.Sprintf("between %s and %s", a.sinceZero(e.Host, e.Step.Since), a.sinceZero(e.Host, e.At))
	by := time.Duration(e.Step.Step)
	switch e.Step.Change {
	case ClockSuspend:
		return fmt.Sprintf("%s was suspended for about %s, %s: its clock stood still, and lengths of time across that are not known.", a.name(e.Host), by, when)
	case ClockLeap:
		return fmt.Sprintf("CLOCK_REALTIME of %s was stepped by %s, a leap second, %s: times of its packets cannot be compared across that.", a.name(e.Host), by, when)
	}
	return fmt.Sprintf("CLOCK_REALTIME of %s was stepped by %s, %s: times of its packets cannot be compared across that.", a.name(e.Host), by, when)
}

func in(where string) string {
	if where == "" {
		return ""
	}
	return " in " + where
}

// sinceZero is a time of a host as views show it.
func (a *assembly) sinceZero(host int, at clock.Local) string {
	s := a.clocks.Stamp(host, at, 0)
	if s.Err >= clock.Unbounded {
		s.At = clock.Lab(int64(at) - a.guess(host))
	}
	return fmt.Sprintf("%.3f ms", float64(s.At-a.t.Zero)/1e6)
}

func (a *assembly) warnOfEnds() []string {
	var w []string
	for h := range a.run.Hosts {
		s := a.evidence.spans[part{h, a.repetition}]
		switch {
		case s == nil:
			w = append(w, fmt.Sprintf("%s reported nothing of this repetition.", a.name(h)))
		case !s.ended:
			w = append(w, fmt.Sprintf("%s did not end the repetition: what came last may be missing.", a.name(h)))
		case s.isBusy:
			w = append(w, fmt.Sprintf("Sockets of %s were still busy when the time was up%s.", a.name(h), because(s.busy)))
		}
	}
	return w
}

// warnOfSegments counts what should have been seen at both ends and was not, by
// direction.
func (a *assembly) warnOfSegments() []string {
	type way struct{ from, to int }
	impossible, unseen, unsent := make(map[way]int), make(map[way]int), make(map[way]int)
	for _, c := range a.t.Connections {
		for _, s := range c.Segments {
			w := way{c.Client.Host, c.Server.Host}
			if !s.FromClient {
				w = way{w.to, w.from}
			}
			switch {
			case s.Impossible:
				impossible[w]++
			case s.Departure < 0 && !s.Duplicate && w.from >= 0:
				unsent[w]++
			case s.Arrival < 0 && !s.Lost && w.to >= 0:
				unseen[w]++
			}
		}
	}
	var w []string
	for from := -1; from < len(a.run.Hosts); from++ {
		for to := -1; to < len(a.run.Hosts); to++ {
			k := way{from, to}
			w = append(w, count(impossible[k], "arrived at %[2]s before leaving %[1]s, whatever the clocks are within their bounds", a.end(from), a.end(to))...)
			w = append(w, count(unseen[k], "left %[1]s and may or may not have reached %[2]s, whose tap does not tell", a.end(from), a.end(to))...)
			w = append(w, count(unsent[k], "reached %[2]s without the tap of %[1]s seeing any leave", a.end(from), a.end(to))...)
		}
	}
	return w
}

func (a *assembly) end(host int) string {
	if host < 0 {
		return "a stranger"
	}
	return a.name(host)
}

func count(n int, text, from, to string) []string {
	if n == 0 {
		return nil
	}
	noun := "segments"
	if n == 1 {
		noun = "segment"
	}
	return []string{fmt.Sprintf("%d %s ", n, noun) + fmt.Sprintf(text, from, to) + "."}
}

func (a *assembly) warnOfCalls() []string {
	var w []string
	for _, e := range a.doubtful[a.repetition] {
		w = append(w, fmt.Sprintf("%s of lane %s on %s could have opened any of several connections; it is shown with none.",
			e.Call.Name, e.Call.Lane, a.name(e.Host)))
	}
	return w
}

// warnOfOthers counts the connections of nobody's in this experiment.
func (a *assembly) warnOfOthers() []string {
	if text := newOwnership(a.t, findGaps(a.t)).warning(); text != "" {
		return []string{text}
	}
	return nil
}
