package experiment

import (
	"fmt"
	"strings"
)

// checkDeadlock lets the lanes run in thought: each goes on until it waits for a signal
// that was not given yet, for a meeting to which another has not come, or for the fork
// that starts it. Lanes that are left then wait for ever, and each waits for another of
// them, so that following them leads into a circle.
//
// What may end by itself counts as ended: a wait with a limit, a watch. So does a lane
// that another kills. A file is not refused for what might go well.
func (p *reading) checkDeadlock() {
	t := newThought(p.exp)
	t.run()
	told := make(map[Pos]bool)
	seen := make([]bool, len(t.at))
	for first := range t.at {
		var path []int
		onPath := make(map[int]int)
		for lane := first; t.isStuck(lane); lane = t.blocker(lane) {
			if i, ok := onPath[lane]; ok {
				if at := t.where(path[i]); !told[at] {
					told[at] = true
					p.fault(at, "", "these block each other for ever: %s", t.circle(path[i:]))
				}
				break
			}
			if seen[lane] {
				break
			}
			seen[lane] = true
			onPath[lane] = len(path)
			path = append(path, lane)
		}
	}
}

// signalName names a signal of a lane.
type signalName struct{ lane, signal string }

// thought is a repetition in thought.
type thought struct {
	lanes    []Lane
	meetings map[string]Meeting
	index    map[string]int
	// given is where each signal is given, meets where each lane comes to a meeting, and
	// forks where each lane is forked.
	given map[signalName]place
	meets map[signalName]place
	forks map[string]place
	// at is the step at which each lane stands, -1 before it was forked; got is how many
	// of the lanes that this step waits for are done with it.
	at, got []int
	killed  []bool
	// done are the signals that were given, come the lanes that came to a meeting.
	done, come map[signalName]bool
	// waiting are lanes that go on when this one signal is given, or this one lane has
	// come to a meeting.
	waiting map[signalName][]int
	ready   []int
}

func newThought(e *Experiment) *thought {
	t := &thought{
		lanes: e.Lanes, meetings: make(map[string]Meeting), index: make(map[string]int),
		given: make(map[signalName]place), meets: make(map[signalName]place), forks: make(map[string]place),
		at: make([]int, len(e.Lanes)), got: make([]int, len(e.Lanes)), killed: make([]bool, len(e.Lanes)),
		done: make(map[signalName]bool), come: make(map[signalName]bool), waiting: make(map[signalName][]int),
	}
	for _, m := range e.Meetings {
		t.meetings[m.Name] = m
	}
	for i, l := range e.Lanes {
		t.index[l.Name] = i
		if l.ForkedBy != "" {
			t.at[i] = -1
		}
		for j, s := range l.Steps {
			switch args := s.Args.(type) {
			case SignalArgs:
				t.given[signalName{l.Name, args.Name}] = place{i, j}
			case MeetArgs:
				t.meets[signalName{l.Name, args.Name}] = place{i, j}
			case ForkArgs:
				t.forks[args.Lane] = place{i, j}
			}
		}
	}
	return t
}

// run lets each lane go as far as it gets. A lane is looked at again only when what it
// waits for has come about.
func (t *thought) run() {
	for i := range t.lanes {
		if t.at[i] == 0 {
			t.ready = append(t.ready, i)
		}
	}
	for len(t.ready) > 0 {
		lane := t.ready[len(t.ready)-1]
		t.ready = t.ready[:len(t.ready)-1]
		for t.at[lane] < len(t.lanes[lane].Steps) && t.step(lane) {
			t.at[lane]++
			t.got[lane] = 0
		}
	}
}

// step makes the step at which a lane stands; it is not ok if the lane waits there.
func (t *thought) step(lane int) bool {
	name := t.lanes[lane].Name
	s := &t.lanes[lane].Steps[t.at[lane]]
	switch args := s.Args.(type) {
	case SignalArgs:
		t.done[signalName{name, args.Name}] = true
		t.wake(signalName{name, args.Name})
	case ForkArgs:
		if child, ok := t.index[args.Lane]; ok && t.at[child] < 0 {
			t.at[child] = 0
			t.ready = append(t.ready, child)
		}
	case KillArgs:
		if victim, ok := t.index[args.Lane]; ok {
			t.killed[victim] = true
		}
	case MeetArgs:
		if here := (signalName{name, args.Name}); !t.come[here] {
			t.come[here] = true
			t.wake(here)
		}
	}
	return t.blockedBy(lane) == (signalName{})
}

func (t *thought) wake(name signalName) {
	t.ready = append(t.ready, t.waiting[name]...)
	delete(t.waiting, name)
}

// blockedBy is the first thing that the lane's step still waits for, and notes that the
// lane waits for it; zero if there is none.
func (t *thought) blockedBy(lane int) signalName {
	lanes, name, done := t.awaited(lane)
	for ; t.got[lane] < len(lanes); t.got[lane]++ {
		if key := (signalName{lanes[t.got[lane]], name}); !done[key] {
			t.waiting[key] = append(t.waiting[key], lane)
			return key
		}
	}
	return signalName{}
}

// awaited are the lanes that the lane's step waits for, what each of them has to do,
// and who has done so.
func (t *thought) awaited(lane int) (lanes []string, name string, done map[signalName]bool) {
	s := &t.lanes[lane].Steps[t.at[lane]]
	switch args := s.Args.(type) {
	case WaitArgs:
		switch {
		case args.Watch != "" || s.Timeout > 0: // ends by itself, or nobody knows
		case len(args.Lanes) > 0:
			return args.Lanes, args.Signal, t.done
		default:
			return []string{args.Lane}, args.Signal, t.done
		}
	case MeetArgs:
		if s.Timeout == 0 {
			return t.meetings[args.Name].Lanes, args.Name, t.come
		}
	}
	return nil, "", nil
}

// isStuck reports whether a lane waits for ever. One that is killed does not.
func (t *thought) isStuck(lane int) bool {
	return t.at[lane] < len(t.lanes[lane].Steps) && !t.killed[lane]
}

// blocker is a lane that a stuck one waits for: it is stuck too, or killed.
func (t *thought) blocker(lane int) int {
	if t.at[lane] < 0 {
		return t.index[t.lanes[lane].ForkedBy]
	}
	return t.index[t.blockedBy(lane).lane]
}

// where is the place in the file at which a stuck lane waits.
func (t *thought) where(lane int) Pos {
	if t.at[lane] < 0 {
		return t.lanes[lane].Pos
	}
	return t.lanes[lane].Steps[t.at[lane]].Pos
}

// circle tells what the lanes of a circle wait for.
func (t *thought) circle(lanes []int) string {
	var parts []string
	for _, i := range lanes {
		parts = append(parts, t.tell(i))
	}
	const most = 8
	if len(parts) > most {
		parts = append(parts[:most], fmt.Sprintf("and %d more", len(lanes)-most))
	}
	return strings.Join(parts, "; ")
}

func (t *thought) tell(lane int) string {
	l := t.lanes[lane]
	if t.at[lane] < 0 {
		from := t.forks[l.Base]
		return fmt.Sprintf("%s is forked on line %d by %s", l.Name, t.lanes[from.lane].Steps[from.step].Pos.Line, l.ForkedBy)
	}
	s := l.Steps[t.at[lane]]
	key := t.blockedBy(lane)
	if _, ok := s.Args.(MeetArgs); ok {
		from := t.meets[key]
		return fmt.Sprintf("%s meets %s at %q on line %d, which comes there on line %d",
			l.Name, key.lane, key.signal, s.Pos.Line, t.lanes[from.lane].Steps[from.step].Pos.Line)
	}
	from := t.given[key]
	return fmt.Sprintf("%s waits on line %d for %s.%s, which is given on line %d",
		l.Name, s.Pos.Line, key.lane, key.signal, t.lanes[from.lane].Steps[from.step].Pos.Line)
}
