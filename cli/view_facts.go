package cli

import (
	"math"
	"slices"
	"strings"

	"syncline/controller/clock"
	"syncline/controller/timeline"
)

// vocabularyOf has the words that a filter of this repetition can be about.
func vocabularyOf(t *timeline.Timeline, l *timeline.Ladder) vocabulary {
	known := vocabulary{connections: len(t.Connections)}
	add := func(to *[]string, name string) {
		if name != "" && !slices.Contains(*to, name) {
			*to = append(*to, name)
		}
	}
	for i := range l.Lanes {
		add(&known.hosts, l.Lanes[i].Name)
		add(&known.hosts, l.Lanes[i].Agent)
		for _, role := range l.Lanes[i].Roles {
			add(&known.lanes, role)
		}
	}
	return known
}

// factsOf is what a filter may ask of a row.
func factsOf(t *timeline.Timeline, l *timeline.Ladder, row int) *facts {
	r := &l.Rows[row]
	x := &facts{kind: kindOfRow(t, r), flags: -1, at: math.NaN(), took: math.NaN()}
	if r.Lane >= 0 {
		lane := &l.Lanes[r.Lane]
		x.hosts = []string{strings.ToLower(lane.Name), strings.ToLower(lane.Agent)}
	}
	if r.Timed() {
		m := &t.Moments[r.Moment]
		x.connection = m.Connection + 1
		if p := m.Event.Packet; p != nil && p.TCP() {
			x.flags = int(p.Flags)
		}
		if c := m.Event.Call; c != nil {
			x.lane = strings.ToLower(c.Lane)
		}
		if r.Err < clock.Unbounded {
			x.at = float64(r.At)
		}
	}
	switch {
	case r.Arrow >= 0:
		arrowFacts(&l.Arrows[r.Arrow], x)
	case r.Bracket >= 0:
		callFacts(&l.Brackets[r.Bracket], x)
	case r.Kind == timeline.RowState:
		x.state = strings.ToLower(l.States[r.Mark].Name)
		x.connection = l.States[r.Mark].Connection + 1
	case r.Kind == timeline.RowDrop:
		x.connection = l.Drops[r.Mark].Connection + 1
		x.is = append(x.is, "dropped")
	}
	if r.Unordered {
		x.is = append(x.is, "unordered")
	}
	if r.Timed() && r.Err >= clock.Unbounded {
		x.is = append(x.is, "untied")
	}
	x.text = strings.ToLower(strings.Join(append(slices.Clone(x.hosts), x.lane, rowSentence(l, row)), " "))
	return x
}

func arrowFacts(a *timeline.Arrow, x *facts) {
	x.connection = a.Connection + 1
	if a.Delayed {
		x.took = float64(a.Delay)
	}
	for _, q := range []struct {
		is   bool
		name string
	}{
		{a.Lost, "lost"}, {a.Copy > 0, "retransmitted"}, {a.Duplicate, "duplicate"}, {a.Impossible, "impossible"},
		{a.Ambiguous, "ambiguous"}, {a.Reset, "reset"}, {a.Dropped, "dropped"},
	} {
		if q.is {
			x.is = append(x.is, q.name)
		}
	}
}

func callFacts(b *timeline.Bracket, x *facts) {
	x.calls = strings.Split(strings.ToLower(b.Call), ", ")
	if name, _, _ := strings.Cut(strings.ToLower(b.Call), " "); b.Calls == 1 {
		x.calls = []string{name}
	}
	x.result, x.took = strings.ToLower(b.Result), float64(b.Took)
	for _, q := range []struct {
		is   bool
		name string
	}{{b.Failed, "failed"}, {b.Waits, "waits"}, {b.Lab, "lab"}} {
		if q.is {
			x.is = append(x.is, q.name)
		}
	}
}

// kindOfRow is one of filterKinds, or "" for a row that stands for time alone.
func kindOfRow(t *timeline.Timeline, r *timeline.Row) string {
	switch r.Kind {
	case timeline.RowState:
		return "state"
	case timeline.RowLoss:
		return "loss"
	}
	if !r.Timed() {
		return ""
	}
	switch e := t.Moments[r.Moment].Event; {
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
	case e.Mark != nil:
		return "mark"
	}
	return ""
}

// rowSentence is what happened in a row, in full; of the delay below a departure, the
// delay, and of time that passes how much of it is known.
func rowSentence(l *timeline.Ladder, row int) string {
	switch r := &l.Rows[row]; r.Kind {
	case timeline.RowLabel:
		return delayText(&l.Arrows[r.Arrow])
	case timeline.RowQuiet:
		return timeline.Span(r.Quiet) + " quiet"
	case timeline.RowSpace:
		return ""
	}
	texts, _ := listTexts(l, row)
	return texts[0]
}
