package chaos

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Invariant is a promise of the cluster.
type Invariant string

// Invariants, in the order of the table.
const (
	NoneLost       Invariant = "acknowledged events lost"
	NoneRepeated   Invariant = "events duplicated"
	NoneAltered    Invariant = "events altered"
	NoneInvented   Invariant = "events that nobody wrote"
	HonestGaps     Invariant = "gaps that nothing tells of"
	StartedOnce    Invariant = "lanes started twice"
	SameSeals      Invariant = "seals that differ"
	SameState      Invariant = "states that differ"
	Linearizable   Invariant = "control histories not linearizable"
	NoneWedged     Invariant = "nodes or runs that did not come back"
	NoneLeaked     Invariant = "descriptors or goroutines leaked"
	FaultsHappened Invariant = "faults without evidence"
	SoonAccepted   Invariant = "writes not accepted in time"
	HarnessSound   Invariant = "troubles of the test itself"
)

// Invariants are all of them, in the order of the table.
func Invariants() []Invariant {
	return []Invariant{
		NoneLost, NoneRepeated, NoneAltered, NoneInvented, HonestGaps, StartedOnce, SameSeals, SameState, Linearizable,
		NoneWedged, NoneLeaked, FaultsHappened, SoonAccepted, HarnessSound,
	}
}

// Violation is a promise that was not kept. Count is how often, at least 1.
type Violation struct {
	Invariant Invariant
	Count     uint64
	What      string
}

func (v Violation) String() string { return fmt.Sprintf("%s: %d: %s", v.Invariant, v.Count, v.What) }

// Run is what the cluster has of a run when it is over.
type Run struct {
	ID string
	// Sealed: it came to its own end. Otherwise it failed or was cancelled.
	Sealed bool
	// Incomplete is what the cluster knows to be missing.
	Incomplete []string
	// Contents are of the generators' streams, by any one node.
	Contents []*Content
}

// CheckRun holds a run against what its generators wrote.
func (h *History) CheckRun(r Run) []Violation {
	var all []Violation
	by := map[StreamID]*Content{}
	for _, c := range r.Contents {
		by[c.Stream] = c
		all = append(all, c.check()...)
	}
	all = append(all, h.lost(r, by)...)
	all = append(all, h.invented(r, by)...)
	all = append(all, h.gaps(r, by)...)
	return append(all, h.startedTwice(r)...)
}

func (c *Content) check() []Violation {
	var all []Violation
	examples := strings.Join(c.examples, "; ")
	if c.Repeated > 0 {
		all = append(all, Violation{NoneRepeated, c.Repeated, fmt.Sprintf("%v: %s", c.Stream, examples)})
	}
	if c.Altered > 0 {
		all = append(all, Violation{NoneAltered, c.Altered, fmt.Sprintf("%v: %s", c.Stream, examples)})
	}
	return all
}

// lost are chunks that were acknowledged and are not whole.
func (h *History) lost(r Run, by map[StreamID]*Content) []Violation {
	var all []Violation
	for id := range h.Acked {
		if id.Run != r.ID {
			continue
		}
		c, content := h.Wrote[id], by[id.StreamID]
		if content == nil || !content.Covers(Range{c.FirstEvent, c.Last()}) {
			all = append(all, Violation{NoneLost, uint64(c.Events), fmt.Sprintf("%v: chunk %d, events %d to %d, was acknowledged", id.StreamID, id.Sequence, c.FirstEvent, c.Last())})
		}
	}
	slices.SortFunc(all, func(a, b Violation) int { return strings.Compare(a.What, b.What) })
	return all
}

// invented are events in the run that no generator wrote.
func (h *History) invented(r Run, by map[StreamID]*Content) []Violation {
	wrote := map[StreamID]*Content{}
	for id, c := range h.Wrote {
		if id.Run == r.ID {
			if wrote[id.StreamID] == nil {
				wrote[id.StreamID] = NewContent(id.StreamID)
			}
			wrote[id.StreamID].insert(Range{c.FirstEvent, c.Last()})
		}
	}
	var all []Violation
	for s, content := range by {
		for _, have := range content.Ranges() {
			if w := wrote[s]; w == nil || !w.Covers(have) {
				all = append(all, Violation{NoneInvented, have.Last - have.First + 1, fmt.Sprintf("%v: some of the events %d to %d were never written", s, have.First, have.Last)})
			}
		}
	}
	return all
}

// gaps are streams that are not whole in a run that says it is.
func (h *History) gaps(r Run, by map[StreamID]*Content) []Violation {
	if !r.Sealed || len(r.Incomplete) > 0 {
		return nil
	}
	var all []Violation
	for s, end := range h.Finished {
		if s.Run != r.ID {
			continue
		}
		content := by[s]
		if content == nil {
			content = NewContent(s)
		}
		if !content.Dense(end.LastEvent) {
			all = append(all, Violation{HonestGaps, 1, fmt.Sprintf("%v: the generator recorded events 1 to %d, the run has %v, and is called complete", s, end.LastEvent, content.Ranges())})
		}
	}
	return all
}

func (h *History) startedTwice(r Run) []Violation {
	var all []Violation
	for l, n := range h.Started {
		if l.Run == r.ID && n > 1 {
			all = append(all, Violation{StartedOnce, uint64(n - 1), fmt.Sprintf("run %s, repetition %d, lane %s of agent %s was started %d times", l.Run, l.Repetition, l.Lane, l.Agent, n)})
		}
	}
	return all
}

// Seals are those that nodes were heard to say: by run, then by node, in hexadecimal digits,
// each seal once.
type Seals map[string]map[string][]string

// Hear notes what a node says of a run that is over.
func (s Seals) Hear(run, node, seal string) {
	if s[run] == nil {
		s[run] = map[string][]string{}
	}
	if !slices.Contains(s[run][node], seal) {
		s[run][node] = append(s[run][node], seal)
	}
}

// Check finds seals that are not the same on all nodes and at all times.
func (s Seals) Check() []Violation {
	var all []Violation
	for _, run := range slices.Sorted(maps.Keys(s)) {
		first, by := "", ""
		for _, node := range slices.Sorted(maps.Keys(s[run])) {
			for _, seal := range s[run][node] {
				switch {
				case seal == "":
					all = append(all, Violation{SameSeals, 1, fmt.Sprintf("run %s is over, and node %s has no seal of it", run, node)})
				case first == "":
					first, by = seal, node
				case seal != first:
					all = append(all, Violation{SameSeals, 1, fmt.Sprintf("run %s: node %s says seal %.12s, and node %s said %.12s", run, node, seal, by, first)})
				}
			}
		}
	}
	return all
}

// CallID is a call of a lane of a real agent, as its events have it.
type CallID struct {
	Run, Agent string
	Repetition uint32
	Lane       string
	Step       uint32
}

// Calls counts the calls of lanes without loops: each step is made once, or its lane was started
// more than once.
type Calls map[CallID]int

// Check finds calls that were made more than once.
func (c Calls) Check() []Violation {
	var all []Violation
	for id, n := range c {
		if n > 1 {
			all = append(all, Violation{StartedOnce, uint64(n - 1), fmt.Sprintf("run %s, repetition %d, lane %s of agent %s made the call of step %d %d times", id.Run, id.Repetition, id.Lane, id.Agent, id.Step, n)})
		}
	}
	slices.SortFunc(all, func(a, b Violation) int { return strings.Compare(a.What, b.What) })
	return all
}
