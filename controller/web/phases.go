package web

import (
	"cmp"
	"fmt"
	"slices"

	"syncline/controller/experiment"
	"syncline/controller/statistics"
)

// Lengths collects the phases of the repetitions of one run, for what is said of all of
// them. The zero value is empty.
type Lengths struct {
	of   map[phaseKey]int
	list []*PhaseStatistics
}

type phaseKey struct {
	name, variant string
	end           int
}

// Add takes the phases of a repetition.
func (l *Lengths) Add(r *Repetition) {
	if l.of == nil {
		l.of = make(map[phaseKey]int)
	}
	for i := range r.Phases {
		p := &r.Phases[i]
		key := phaseKey{p.Name, r.Variant, p.End}
		at, ok := l.of[key]
		if !ok {
			at = len(l.list)
			l.of[key] = at
			l.list = append(l.list, &PhaseStatistics{Name: p.Name, End: p.End, Variant: r.Variant})
		}
		l.list[at].Values = append(l.list[at].Values, PhaseValue{Repetition: r.N, Connection: p.Connection, NS: p.NS, Err: p.Err})
	}
}

// Statistics are those of what was added: the phases in the order of a connection's life,
// each by variant.
func (l *Lengths) Statistics() []PhaseStatistics {
	order := make(map[string]int)
	for i, name := range experiment.PhaseNames() {
		order[name] = i
	}
	all := make([]PhaseStatistics, 0, len(l.list))
	for _, p := range l.list {
		p.summarize()
		all = append(all, *p)
	}
	slices.SortStableFunc(all, func(a, b PhaseStatistics) int {
		return cmp.Or(cmp.Compare(order[a.Name], order[b.Name]), cmp.Compare(a.End, b.End))
	})
	return all
}

// summarize fills in all but the values. Lengths between clocks that nothing ties are shown,
// and no figure rests on them.
func (p *PhaseStatistics) summarize() {
	if from, to, meaning, ok := experiment.PhaseDefinition(p.Name); ok {
		p.Meaning = fmt.Sprintf("from %s to %s: %s", from, to, meaning)
	}
	var lengths []statistics.Length
	for _, v := range p.Values {
		if v.Err != nil {
			lengths = append(lengths, statistics.Length{Nanoseconds: v.NS, Err: *v.Err})
		}
	}
	s := statistics.Summarize(lengths)
	p.N, p.Min, p.Median, p.P90, p.P99, p.Max = s.N, s.Min, s.Median, s.P90, s.P99, s.Max
	if s.HasInterval {
		p.Low, p.High, p.Confidence = s.MedianLow, s.MedianHigh, statistics.Confidence
	}
	p.Warnings = s.Warnings
	if s.N > 0 {
		p.Err = &s.Err
	}
	if left := len(p.Values) - s.N; left > 0 {
		p.Warnings = append(p.Warnings, fmt.Sprintf("%d are left out: nothing ties the clocks of the two hosts that they are between", left))
	}
}
