package cli

import (
	"cmp"
	"slices"

	"syncline/controller/clock"
	"syncline/controller/experiment"
	"syncline/controller/statistics"
	"syncline/controller/timeline"
)

// endPhase is a phase of one end: a recv(2) of the client is not one of the server.
type endPhase struct {
	name string
	// end is timeline.ClientEnd, timeline.ServerEnd, or -1 if it is of neither.
	end int
}

// endName is the end in a word, empty for neither.
func (e endPhase) endName() string {
	switch e.end {
	case timeline.ClientEnd:
		return "client"
	case timeline.ServerEnd:
		return "server"
	}
	return ""
}

// label is the name of the phase, with its end if any of the samples is of another one.
func (e endPhase) label(beside ...samples) string {
	for _, all := range beside {
		for other := range all {
			if other.name == e.name && other.end != e.end && e.end >= 0 {
				return e.name + " " + e.endName()
			}
		}
	}
	return e.name
}

// samples are the lengths of phases over repetitions.
type samples map[endPhase]*sample

func newSamples() samples { return make(samples) }

// samplesOf are those of all phases of some repetitions.
func samplesOf(all []*timeline.Digest) samples {
	of := newSamples()
	for _, d := range all {
		for i := range d.Phases {
			of.add(d.Repetition, &d.Phases[i])
		}
	}
	return of
}

func (s samples) add(repetition int, p *timeline.DigestPhase) {
	key := endPhase{p.Name, p.End}
	if s[key] == nil {
		s[key] = &sample{part: p.Whole}
	}
	if s[key].part != p.Whole {
		s[key].part = ""
	}
	s[key].add(repetition, p)
}

// endPhases are the phases that are in any of some samples, in the order of their definition,
// the client's before the server's.
func endPhases(of ...samples) []endPhase {
	var all []endPhase
	for _, s := range of {
		for e := range s {
			if !slices.Contains(all, e) {
				all = append(all, e)
			}
		}
	}
	names := experiment.PhaseNames()
	slices.SortFunc(all, func(a, b endPhase) int {
		return cmp.Or(cmp.Compare(slices.Index(names, a.name), slices.Index(names, b.name)), cmp.Compare(a.name, b.name), cmp.Compare(a.end, b.end))
	})
	return all
}

// sample are the lengths of one phase.
type sample struct {
	repetitions []repetitionLengths
	// part names the phase that all of them are a part of. It is empty if they are of none, or
	// not all of the same: accept.wakeup is of accept.wait or of accept.blocked.
	part string
	// leftOut counts lengths that nothing bounds.
	leftOut int
}

// repetitionLengths are those that one repetition has. They are not independent of each
// other, so that they count as one.
type repetitionLengths struct {
	repetition int
	all        []statistics.Length
}

// add takes a length. Those of a repetition come one after the other.
func (s *sample) add(repetition int, p *timeline.DigestPhase) {
	if p.Err >= clock.Unbounded {
		s.leftOut++
		return
	}
	if n := len(s.repetitions); n == 0 || s.repetitions[n-1].repetition != repetition {
		s.repetitions = append(s.repetitions, repetitionLengths{repetition: repetition})
	}
	of := &s.repetitions[len(s.repetitions)-1]
	of.all = append(of.all, statistics.Length{Nanoseconds: p.Nanoseconds, Err: p.Err})
}

// lengths are one of each repetition: the median of those that it has, with the greatest of
// their errors.
func (s *sample) lengths() []statistics.Length {
	var all []statistics.Length
	for _, r := range s.repetitions {
		of := statistics.Summarize(r.all)
		all = append(all, statistics.Length{Nanoseconds: of.Median, Err: of.Err})
	}
	return all
}

// size counts the repetitions that have the phase; nil is a sample of none.
func (s *sample) size() int {
	if s == nil {
		return 0
	}
	return len(s.repetitions)
}
