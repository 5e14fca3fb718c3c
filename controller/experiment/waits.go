package experiment

import (
	"fmt"
	"slices"
	"strings"
)

// signalName names a signal of a lane.
type signalName struct{ lane, signal string }

func awaited(w WaitArgs) signalName { return signalName{w.Lane, w.Signal} }

// place is a step of a lane, by index.
type place struct{ lane, step int }

// checkWaits faults waits for signals that nobody gives, and waits that block each
// other for ever.
func (p *reading) checkWaits() {
	given := p.signals()
	known := true
	for _, l := range p.exp.Lanes {
		for _, s := range l.Steps {
			if w, ok := s.Args.(WaitArgs); ok && !p.checkWait(s, w, given) {
				known = false
			}
		}
	}
	if known {
		p.checkDeadlock(given)
	}
}

// signals finds where each signal is given.
func (p *reading) signals() map[signalName]place {
	given := make(map[signalName]place)
	for i, l := range p.exp.Lanes {
		for j, s := range l.Steps {
			signal, ok := s.Args.(SignalArgs)
			if !ok {
				continue
			}
			key := signalName{l.Name, signal.Name}
			if first, ok := given[key]; ok {
				p.fault(s.Pos, fmt.Sprintf("a wait could not tell it from the one on line %d", l.Steps[first.step].Pos.Line),
					"the lane %q gives the signal %q twice", l.Name, signal.Name)
				continue
			}
			given[key] = place{i, j}
		}
	}
	return given
}

func (p *reading) checkWait(s Step, w WaitArgs, given map[signalName]place) bool {
	if _, ok := given[awaited(w)]; ok {
		return true
	}
	at := p.waitAt[s.Pos]
	lane, ok := p.findLane(w.Lane)
	if !ok {
		p.fault(at, suggest(w.Lane, "lanes", p.laneNames()), "unknown lane %q", shorten(w.Lane))
		return false
	}
	var names []string
	for _, s := range p.exp.Lanes[lane].Steps {
		if signal, ok := s.Args.(SignalArgs); ok && !slices.Contains(names, signal.Name) {
			names = append(names, signal.Name)
		}
	}
	p.fault(at, suggest(w.Signal, "signals of that lane", names), "the lane %q never gives the signal %q", w.Lane, shorten(w.Signal))
	return false
}

// checkDeadlock lets the lanes run in thought: each goes on until it waits for a
// signal that was not given yet. Lanes that are left then wait for ever, and each
// waits for another of them, so that following them leads into a cycle.
func (p *reading) checkDeadlock(given map[signalName]place) {
	at := p.advance(given)
	seen := make([]bool, len(at))
	for first := range at {
		var path []int
		onPath := make(map[int]int)
		for lane := first; at[lane] < len(p.exp.Lanes[lane].Steps); {
			if i, ok := onPath[lane]; ok {
				p.reportCycle(path[i:], at, given)
				break
			}
			if seen[lane] {
				break
			}
			seen[lane] = true
			onPath[lane] = len(path)
			path = append(path, lane)
			lane = given[awaited(p.exp.Lanes[lane].Steps[at[lane]].Args.(WaitArgs))].lane
		}
	}
}

// advance returns the step at which each lane stops for ever, or its number of steps.
// A lane is looked at again only when the signal that it waits for is given.
func (p *reading) advance(given map[signalName]place) []int {
	at := make([]int, len(p.exp.Lanes))
	waiting := make(map[signalName][]int)
	done := make(map[signalName]bool)
	var ready []int
	for i := range p.exp.Lanes {
		ready = append(ready, i)
	}
	for len(ready) > 0 {
		lane := ready[len(ready)-1]
		ready = ready[:len(ready)-1]
		steps := p.exp.Lanes[lane].Steps
		for ; at[lane] < len(steps); at[lane]++ {
			s := steps[at[lane]]
			if w, ok := s.Args.(WaitArgs); ok && !done[awaited(w)] && !endsByItself(s) {
				waiting[awaited(w)] = append(waiting[awaited(w)], lane)
				break
			}
			if signal, ok := s.Args.(SignalArgs); ok {
				key := signalName{p.exp.Lanes[lane].Name, signal.Name}
				done[key] = true
				ready = append(ready, waiting[key]...)
				delete(waiting, key)
			}
		}
	}
	return at
}

// endsByItself reports whether a wait that is never met still lets its lane go on.
func endsByItself(s Step) bool {
	return s.Timeout > 0 && s.Outcome != nil && s.Outcome.Timeout
}

func (p *reading) reportCycle(lanes, at []int, given map[signalName]place) {
	var parts []string
	for _, i := range lanes {
		l := p.exp.Lanes[i]
		s := l.Steps[at[i]]
		w := s.Args.(WaitArgs)
		from := given[awaited(w)]
		parts = append(parts, fmt.Sprintf("%s waits on line %d for %s.%s, which is given on line %d",
			l.Name, s.Pos.Line, w.Lane, w.Signal, p.exp.Lanes[from.lane].Steps[from.step].Pos.Line))
	}
	const most = 8
	if len(parts) > most {
		parts = append(parts[:most], fmt.Sprintf("and %d more", len(lanes)-most))
	}
	first := p.exp.Lanes[lanes[0]].Steps[at[lanes[0]]]
	p.fault(first.Pos, "", "these waits block each other for ever: %s", strings.Join(parts, "; "))
}
