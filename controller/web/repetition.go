package web

import (
	"strconv"

	"syncline/controller/clock"
	"syncline/controller/timeline"
)

// choosing is how a reader of the page chooses among connections.
const choosing = "choose one in the panel Repetitions (key r)"

// NewRepetition makes of a timeline what a page shows of it. It only reads the timeline.
func NewRepetition(t *timeline.Timeline) *Repetition {
	ladder := t.Ladder(timeline.LadderOptions{Notes: true, Choosing: choosing})
	r := &Repetition{
		N: t.Repetition, Variant: t.Variant, Ruling: timeline.Worst(t.Verdicts).String(),
		Zero: decimal(int64(t.Zero)), Summary: ladder.Summary, Warnings: ladder.Warnings,
		Layout: newLayout(ladder),
	}
	for h := range t.Hosts {
		r.LocalBase = append(r.LocalBase, decimal(int64(firstLocal(t, h))))
		r.Clocks = append(r.Clocks, repetitionClock(&t.Clocks[h]))
	}
	for _, v := range t.Verdicts {
		r.Verdicts = append(r.Verdicts, Verdict{Text: v.Expectation, Ruling: v.Ruling.String(), Reason: v.Reason, Moments: v.Moments})
	}
	for i := range t.Connections {
		c := &t.Connections[i]
		r.Connections = append(r.Connections, Connection{newEnd(&c.Client), newEnd(&c.Server)})
	}
	for c := -1; c < len(t.Connections); c++ {
		for _, p := range t.Phases(c) {
			r.Phases = append(r.Phases, Phase{
				Name: p.Name, Connection: c + 1, End: p.End, From: p.From, To: p.To, NS: p.Nanoseconds, Err: bounded(p.Err),
			})
		}
	}
	causes := t.Causes()
	for i := range t.Moments {
		if c, ok := causes.Of(i); ok {
			r.Causes = append(r.Causes, newCause(c))
		}
	}
	for _, n := range causes.Notes() {
		r.Notes = append(r.Notes, Note{
			Kind: string(n.Kind), Text: n.Text, Sources: n.Sources, Moments: n.Moments, Connection: n.Connection + 1,
		})
	}
	r.Moments = newMoments(t, ladder)
	finishBrackets(r.Layout.Brackets, r.Moments)
	return r
}

// Unrecorded is a repetition that was begun and of which nothing is on record.
func Unrecorded(n int, variant string, verdicts []timeline.Verdict) *Repetition {
	return NewRepetition(&timeline.Timeline{Repetition: n, Variant: variant, Verdicts: verdicts})
}

// firstLocal is the earliest time that a host's own clock shows in a timeline, 0 if it
// shows none.
func firstLocal(t *timeline.Timeline, host int) clock.Local {
	first, found := clock.Local(0), false
	for i := range t.Moments {
		if m := &t.Moments[i]; m.Event.Host == host && (!found || m.Local < first) {
			first, found = m.Local, true
		}
	}
	return first
}

func repetitionClock(c *timeline.HostClock) RepetitionClock {
	clk := RepetitionClock{Method: c.Method, Messages: c.Messages}
	if c.Bound.Lo > -clock.Unbounded {
		clk.Low = decimal(c.Bound.Lo)
	}
	if c.Bound.Hi < clock.Unbounded {
		clk.High = decimal(c.Bound.Hi)
	}
	return clk
}

func newEnd(e *timeline.End) End {
	end := End{Host: e.Host, Lane: e.Lane, Socket: e.Socket, Doubt: e.StatesDoubt}
	if e.Address.IsValid() {
		end.Address = e.Address.String()
	}
	for _, s := range e.States {
		end.States = append(end.States, State{Name: s.Name, Known: s.Known, Moment: s.Moment, After: s.After, By: s.By})
	}
	return end
}

func newCause(c timeline.Cause) Cause {
	cause := Cause{Effect: c.Effect, By: c.By, Known: c.Known.String(), Ordered: c.Ordered, Why: c.Why}
	if c.Rule != nil {
		cause.Rule, cause.Sources = c.Rule.Text, c.Rule.Sources
	}
	return cause
}

// bounded is nil for an error that nothing bounds.
func bounded(err int64) *int64 {
	if err >= clock.Unbounded {
		return nil
	}
	return &err
}

func decimal(ns int64) string { return strconv.FormatInt(ns, 10) }

// finishBrackets finds the moments of each call's entry and return: where several
// calls stand in one row, of the first entry and the last return.
func finishBrackets(brackets []Bracket, moments []Moment) {
	for i := range brackets {
		brackets[i].From, brackets[i].To = -1, -1
	}
	for i := range moments {
		m := &moments[i]
		switch {
		case m.Bracket < 0:
		case m.Edge == edgeEnter && brackets[m.Bracket].From < 0:
			brackets[m.Bracket].From = i
		case m.Edge == edgeReturn:
			brackets[m.Bracket].To = i
		}
	}
}

// newMoments tells every moment of a timeline, and where the ladder shows it.
func newMoments(t *timeline.Timeline, ladder *timeline.Ladder) Table[Moment] {
	places := place(t, ladder)
	words := newSpeaker(t, ladder)
	events := make(map[*timeline.Event]int)
	base := make([]clock.Local, len(t.Hosts))
	for h := range base {
		base[h] = firstLocal(t, h)
	}
	moments := make(Table[Moment], len(t.Moments))
	for i := range t.Moments {
		m := &t.Moments[i]
		if _, ok := events[m.Event]; !ok {
			events[m.Event] = len(events)
		}
		at := places[i]
		moments[i] = Moment{
			Event: events[m.Event], Host: m.Event.Host, Kind: kindOf(m.Event), Edge: edgeNames[m.Edge],
			At: int64(m.Stamp.At - t.Zero), Err: bounded(m.Stamp.Err), Local: int64(m.Local - base[m.Event.Host]),
			Connection: m.Connection + 1, Text: words.moment(i, at), Row: at.row, Arrow: at.arrow, Bracket: at.bracket,
		}
		if c := m.Event.Call; c != nil {
			moments[i].Lane, moments[i].Call = c.Lane, c.Name
		}
		if p := m.Event.Packet; p != nil {
			moments[i].Reading = p.Err
			if p.TCP() {
				moments[i].Flags = p.Flags.String()
			}
		}
	}
	return moments
}

// Edges of a moment, as a page has them.
const (
	edgeEnter  = "enter"
	edgeReturn = "return"
)

var edgeNames = map[timeline.Edge]string{timeline.At: "at", timeline.Enter: edgeEnter, timeline.Return: edgeReturn}

// kindOf is what a moment of an event is one of.
func kindOf(e *timeline.Event) string {
	switch {
	case e.Call != nil:
		return "call"
	case e.Packet != nil:
		return "packet"
	case e.Trace != nil:
		return "trace"
	case e.Loss != nil:
		return "loss"
	case e.Step != nil:
		return "clock"
	case e.Change != nil:
		return "change"
	case e.Process != nil:
		return "process"
	case e.Queue != nil:
		return "queue"
	case e.Counters != nil, e.Socket != nil, e.Sample != nil, e.Probe != nil:
		return "sample"
	}
	return "mark"
}

// placed is where the ladder shows a moment; -1 where it does not.
type placed struct{ row, arrow, bracket int }

// place finds the row of each moment. Of calls that share a row the ladder names the first
// alone; the others are the next ones of their lane.
func place(t *timeline.Timeline, ladder *timeline.Ladder) []placed {
	places := make([]placed, len(t.Moments))
	for i := range places {
		places[i] = placed{-1, -1, -1}
	}
	bracketOf := make(map[*timeline.Event]int)
	for i := range ladder.Rows {
		r := &ladder.Rows[i]
		if r.Moment < 0 {
			continue
		}
		places[r.Moment] = placed{i, r.Arrow, r.Bracket}
		if r.Bracket >= 0 {
			bracketOf[t.Moments[r.Moment].Event] = r.Bracket
		}
	}
	share(t, ladder, bracketOf)
	for i := range t.Moments {
		m := &t.Moments[i]
		b, ok := bracketOf[m.Event]
		if !ok || places[i].row >= 0 {
			continue
		}
		places[i].bracket = b
		if places[i].row = ladder.Brackets[b].Enter; m.Edge == timeline.Return {
			places[i].row = ladder.Brackets[b].Return
		}
	}
	return places
}

// share gives the calls that were joined to the bracket of another that bracket too.
func share(t *timeline.Timeline, ladder *timeline.Ladder, bracketOf map[*timeline.Event]int) {
	type role struct {
		host int
		lane string
	}
	left, open := make(map[role]int), make(map[role]int)
	for i := range t.Moments {
		m := &t.Moments[i]
		if m.Event.Call == nil || m.Edge != timeline.Enter {
			continue
		}
		r := role{m.Event.Host, m.Event.Call.Lane}
		switch b, ok := bracketOf[m.Event]; {
		case ok:
			left[r], open[r] = ladder.Brackets[b].Calls-1, b
		case left[r] > 0:
			left[r]--
			bracketOf[m.Event] = open[r]
		}
	}
}
