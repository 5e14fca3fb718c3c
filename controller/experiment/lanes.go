package experiment

import (
	"fmt"
	"time"
)

// laneKey is one row of the table of a lane's keys.
type laneKey struct{ name, form, doc string }

var laneKeys = []laneKey{
	{"host", "host: A", "The role whose machine it runs on; a forked lane runs where the forking one does."},
	{"do", "do: [c = socket(tcp), close(c)]", "Its steps, in order: calls, and loops `{ repeat: 3, do: [...] }`."},
	{"copies", "copies: 5", "So many lanes that do the same, named `client[1]`, `client[2]`, …."},
	{"start_gap", "start_gap: 20ms", "How long one copy begins after the one before it (0s)."},
	{"process", "process: own", "It runs in a process of its own, which `kill` can end."},
	{"limits", "limits: { nofile: 32 }", "Resource limits of its own process, setrlimit(2)."},
	{"forked_by", "forked_by: server", "It begins when that lane calls `fork`, in a process of its own, and has the sockets that the other has open then."},
}

// laneReading is what reading the lanes, and the changes they apply, needs to know.
type laneReading struct {
	scripts []*script
	// items counts the steps as the file has them, steps as they are written out, by
	// loops and for all copies; textSize and sent are the bytes of these, overLimit is
	// set when one of them is too much.
	items, steps   int
	textSize, sent int
	overLimit      bool
	// data counts the bytes of all data as the file has it.
	data int
	// changed counts changes and requirements.
	changed int
	noted   declarations
	// applierCount is what appliers found.
	applierCount map[string]int
}

// script is a lane as it stands in the file, on its way to one lane or several.
type script struct {
	name phrase
	lane Lane
	// copies is 0 for a lane without.
	copies int
	gap    time.Duration
	do     []*action
	// forkedBy is where the file says so.
	forkedBy phrase
	// vague is set where a fault hides what the lane does.
	vague bool
	// inherited are the sockets that it begins with; those of a lane whose forking one
	// is vague are not known.
	inherited []socketLife
	guess     bool
	written   bool
	// names are those of the copies, gives and given the signals, sockets what the lane
	// makes; all are found when they are asked for.
	names, gives   []string
	given, sockets map[string]bool
}

func (p *reading) lanes(n *node) {
	if n.kind != mapping || len(n.entries) == 0 {
		p.fault(n.place, "write `client: { host: A, do: [...] }`", "lanes is a mapping of names, found %s", n.kind.describe())
		p.vague.lanes = true
		return
	}
	for i, e := range n.entries {
		if i == MaxLanes {
			p.fault(e.key.pos(), "", "more than %d lanes", MaxLanes)
			p.vague.lanes, p.vague.laneNames = true, true
			break
		}
		if !p.isName(e.key, "a lane") {
			p.vague.lanes, p.vague.laneNames = true, true
			continue
		}
		s := p.script(e)
		p.scripts = append(p.scripts, s)
		p.vague.lanes = p.vague.lanes || s.vague
	}
	p.resolve()
	for _, s := range p.scripts {
		p.write(s)
		p.vague.lanes = p.vague.lanes || s.vague
	}
	p.copyLanes()
	if !p.vague.lanes {
		p.checkDeadlock()
	}
}

// script reads one lane; what it says of others is looked at when all are read.
func (p *reading) script(e entry) *script {
	s := &script{name: e.key, lane: Lane{Name: e.key.text, Base: e.key.text, Pos: e.key.pos()}}
	names := make([]string, len(laneKeys))
	for i, k := range laneKeys {
		names[i] = k.name
	}
	values := p.keys(e.value, "key", names)
	before := len(p.faults)
	p.lanePlace(s, values)
	p.laneCopies(s, values)
	p.laneProcess(s, values)
	steps := values["do"]
	if steps == nil || steps.kind != list || len(steps.items) == 0 {
		p.fault(s.lane.Pos, "write its calls as a list under `do:`", "the lane %q does nothing", s.lane.Name)
		s.vague = true
		return s
	}
	s.do = p.actions(steps.items)
	s.vague = s.vague || len(p.faults) > before || p.vague.vars
	return s
}

// lanePlace reads where a lane runs.
func (p *reading) lanePlace(s *script, values map[string]*node) {
	host, forked := values["host"], values["forked_by"]
	switch {
	case forked != nil:
		if t, ok := p.scalar(forked, "forked_by"); ok {
			s.forkedBy, s.lane.ForkedBy, s.lane.OwnProcess = t, t.text, true
		}
		if host != nil {
			p.fault(host.place, "leave `host` away", "a forked lane runs on the host of the lane that forks it")
		}
	case host == nil:
		p.fault(s.lane.Pos, "write `host: A`", "the lane %q has no host", s.lane.Name)
	default:
		if t, ok := p.scalar(host, "host"); ok {
			p.isRole(t)
			s.lane.Host = t.text
		}
	}
}

// laneCopies reads how many of a lane there are.
func (p *reading) laneCopies(s *script, values map[string]*node) {
	copies, gap := values["copies"], values["start_gap"]
	if copies != nil {
		s.copies = 1
		if t, ok := p.scalar(copies, "copies"); ok {
			s.copies = p.number(t, "copies", 1, MaxCopies)
		}
		if values["forked_by"] != nil {
			p.fault(copies.place, "write a lane for each fork", "a forked lane has no copies: one fork starts one lane")
		}
	}
	if gap != nil {
		if t, ok := p.scalar(gap, "start_gap"); ok {
			s.gap = p.duration(t, "start_gap", 0)
		}
		if copies == nil {
			p.fault(gap.place, "add `copies: 5`", "start_gap is between the copies of a lane, and %q has none", s.lane.Name)
		}
	}
}

// laneProcess reads which process a lane runs in, and its limits.
func (p *reading) laneProcess(s *script, values map[string]*node) {
	if n := values["process"]; n != nil {
		if t, ok := p.scalar(n, "process"); ok && t.text != "own" {
			p.fault(t.pos(), "write `process: own`, or leave it away", "unknown process %q", shorten(t.text))
		}
		s.lane.OwnProcess = true
	}
	if n := values["limits"]; n != nil {
		s.lane.Limits = p.resourceLimits(n)
		if !s.lane.OwnProcess {
			p.fault(n.place, "add `process: own`", "limits are those of a process, and the lane %q has none of its own", s.lane.Name)
		}
	}
}

// copyLanes makes the lanes of all scripts, in the order of the file, and notes labels.
func (p *reading) copyLanes() {
	for _, s := range p.scripts {
		for i := range max(1, s.copies) {
			if len(p.exp.Lanes) == MaxLanes {
				p.fault(s.lane.Pos, "", "more than %d lanes, all copies counted", MaxLanes)
				p.vague.lanes = true
				return
			}
			l := s.lane
			if s.copies > 0 {
				l.Copy = i + 1
				l.Name = copyName(l.Base, l.Copy)
				l.Delay = time.Duration(i) * s.gap
			}
			if i == 0 {
				p.labelSteps(l)
			}
			p.exp.Lanes = append(p.exp.Lanes, l)
		}
	}
}

func copyName(base string, n int) string { return fmt.Sprintf("%s[%d]", base, n) }

// labelSteps notes the labels of a lane that is about to be added. The rounds of a loop
// share the label of a step, and so do the copies of a lane.
func (p *reading) labelSteps(l Lane) {
	for i, s := range l.Steps {
		if s.Label == "" {
			continue
		}
		first, ok := p.labels[s.Label]
		switch {
		case !ok:
			p.labels[s.Label] = place{len(p.exp.Lanes), i}
		case first.lane == len(p.exp.Lanes) && l.Steps[first.step].Pos == s.Pos:
		case s.Round <= 1:
			p.fault(s.Pos, "labels are unique in the whole file", "the label %q is given twice", s.Label)
		}
	}
}

// laneNames are the names of all lanes as the file has them.
func (p *reading) laneNames() []string {
	names := make([]string, len(p.scripts))
	for i, s := range p.scripts {
		names[i] = s.lane.Base
	}
	return names
}

// checkSleeps faults lanes that sleep longer than a repetition may last.
func (p *reading) checkSleeps() {
	for _, l := range p.exp.Lanes {
		all := l.Delay
		for _, s := range l.Steps {
			if sleep, ok := s.Args.(SleepArgs); ok {
				all += sleep.Duration
			}
		}
		if all >= p.exp.Repeat.Timeout {
			p.fault(l.Pos, "raise `repeat: { timeout: ... }`", "the lane %q sleeps %s in all, and a repetition ends after %s", l.Name, brief(all), brief(p.exp.Repeat.Timeout))
			if l.Copy > 0 {
				return // the others begin still later
			}
		}
	}
}
