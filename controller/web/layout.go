package web

import (
	"slices"

	"syncline/controller/timeline"
)

// rowKinds are the kinds of rows as a page has them. Rows for time that passes are of
// other scales than the one that a page is laid out for: it has its axes for that.
var rowKinds = map[timeline.RowKind]string{
	timeline.RowMoment: "moment", timeline.RowLabel: "label", timeline.RowQuiet: "quiet", timeline.RowNote: "note",
	timeline.RowDeed: "deed", timeline.RowLoss: "loss", timeline.RowState: "state", timeline.RowDrop: "drop",
	timeline.RowTrace: "trace",
}

// newLayout is a ladder on the row scale as a page has it.
func newLayout(l *timeline.Ladder) Layout {
	layout := Layout{Unit: int64(l.Unit), Decimals: l.Decimals}
	for i := range l.Lanes {
		lane := &l.Lanes[i]
		layout.Lanes = append(layout.Lanes, Lane{
			Host: lane.Host, Name: lane.Name, Agent: lane.Agent, Roles: lane.Roles, Reference: lane.Reference, Depth: lane.Depth,
		})
	}
	for i := range l.Rows {
		layout.Rows = append(layout.Rows, newRow(&l.Rows[i]))
	}
	for i := range l.Arrows {
		layout.Arrows = append(layout.Arrows, newArrow(l, &l.Arrows[i]))
	}
	for i := range l.Brackets {
		layout.Brackets = append(layout.Brackets, newBracket(&l.Brackets[i]))
	}
	for i := range l.States {
		s := &l.States[i]
		layout.States = append(layout.States, StateMark{
			Row: s.Row, Lane: s.Lane, Connection: s.Connection + 1, End: s.End, Of: s.Of, Name: s.Name, Known: s.Known,
			Exact: s.Exact, Hole: s.Hole, Wide: s.Wide, After: s.After, By: s.By, Doubt: s.Doubt,
		})
	}
	for i := range l.Drops {
		d := &l.Drops[i]
		layout.Drops = append(layout.Drops, Drop{
			Row: d.Row, Lane: d.Lane, Arrow: d.Arrow, Connection: d.Connection + 1, Direction: directions[d.Direction],
			Peer: d.Peer, Words: d.Words, Reason: d.Reason, Place: d.Place,
		})
	}
	for _, b := range l.Bands {
		layout.Bands = append(layout.Bands, Band{
			Lane: b.Lane, First: b.First, Last: b.Last, Source: string(b.Source), Count: b.Count, Where: b.Where,
		})
	}
	for _, s := range l.Spans {
		layout.Spans = append(layout.Spans, StateSpan{
			Lane: s.Lane, Connection: s.Connection + 1, End: s.End, Name: s.Name, Known: s.Known, Doubtful: s.Doubtful,
			First: s.First, Last: s.Last, Open: s.Open,
		})
	}
	for _, s := range []timeline.Scale{timeline.ScaleRow, timeline.ScaleLinear, timeline.ScaleLog} {
		layout.Axes = append(layout.Axes, newAxis(l, s))
	}
	return layout
}

var directions = map[timeline.Direction]string{timeline.In: "in", timeline.Out: "out"}

func newRow(r *timeline.Row) Row {
	row := Row{
		Kind: rowKinds[r.Kind], Lane: r.Lane, Moment: r.Moment, At: r.Lab, ShowErr: r.ShowErr, Unordered: r.Unordered,
		Arrow: r.Arrow, Bracket: r.Bracket, Quiet: r.Quiet, Text: r.Text, Mark: -1,
	}
	if r.Timed() {
		row.Err = bounded(r.Err)
	}
	if r.Kind == timeline.RowState || r.Kind == timeline.RowDrop {
		row.Mark = r.Mark
	}
	return row
}

func newArrow(l *timeline.Ladder, a *timeline.Arrow) Arrow {
	return Arrow{
		Connection: a.Connection + 1, From: a.From, To: a.To, Departure: a.Departure, Label: a.Label, Arrival: a.Arrival,
		Left: momentOf(l, a.Departure), Came: momentOf(l, a.Arrival), Words: a.Words,
		Delayed: a.Delayed, Delay: a.Delay, DelayErr: a.DelayErr,
		Lost: a.Lost, Duplicate: a.Duplicate, Impossible: a.Impossible, Ambiguous: a.Ambiguous, Copy: a.Copy,
		DupACK: a.DuplicateACK, Reset: a.Reset, Reason: a.Reason, Told: a.Told, Taken: a.Taken, Dropped: a.Dropped,
	}
}

// momentOf is the moment of a row, -1 without a row.
func momentOf(l *timeline.Ladder, row int) int {
	if row < 0 {
		return -1
	}
	return l.Rows[row].Moment
}

func newBracket(b *timeline.Bracket) Bracket {
	return Bracket{
		Lane: b.Lane, Column: b.Column, Enter: b.Enter, Return: b.Return, Role: b.Role, Call: b.Call, Calls: b.Calls,
		Result: b.Result, Remark: b.Remark, Took: b.Took, Waits: b.Waits, Blocked: b.Blocked, Released: b.Released,
		ReleasedAt: b.ReleasedAt, Failed: b.Failed, Lab: b.Lab, Tidy: b.Tidy,
	}
}

// newAxis has as few knots as tell the axis: on the row scale none, since the places are the
// rows themselves, and on the linear scale those beside its folds, since time goes evenly
// between them.
func newAxis(l *timeline.Ladder, s timeline.Scale) Axis {
	full := l.Axis(s)
	folded := make(map[float64]bool)
	for _, k := range full.Knots {
		if k.Folded {
			folded[k.Place] = true
		}
	}
	axis := Axis{Name: s.String()}
	var ends, timed []int
	for i := range l.Rows {
		if l.Rows[i].Kind == timeline.RowQuiet {
			continue
		}
		if n := len(timed); n > 0 && folded[full.Places[timed[n-1]]] && full.Places[i] > full.Places[timed[n-1]] {
			axis.Folds = append(axis.Folds, timed[n-1])
			ends = append(ends, timed[n-1], i)
		}
		timed = append(timed, i)
	}
	switch n := len(timed); {
	case n == 0 || s == timeline.ScaleRow:
		return axis
	case s == timeline.ScaleLinear:
		axis.Rows = slices.Compact(slices.Concat(timed[:1], ends, timed[n-1:]))
		timed = axis.Rows
	}
	for _, row := range timed {
		axis.Places = append(axis.Places, full.Places[row])
	}
	return axis
}
