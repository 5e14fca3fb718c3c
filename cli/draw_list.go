package cli

import (
	"fmt"
	"strings"

	"syncline/controller/timeline"
)

// listRows is the ladder for a terminal too narrow to draw it: one moment a line,
// the packet's way as an arrow between the names of the hosts.
func listRows(l *timeline.Ladder, o drawOptions) []string {
	var lines []string
	timeWidth, errWidth, nameWidth := listWidths(l, o)
	for i := range l.Rows {
		r := &l.Rows[i]
		if r.Kind == timeline.RowLabel {
			continue
		}
		if r.Kind == timeline.RowQuiet {
			lines = append(lines, o.fit(pad("", timeWidth+1, o)+"⋮ "+timeline.Span(r.Quiet)+" quiet"))
			continue
		}
		at, err := timeText(l, r)
		lead := "  "
		if r.Unordered {
			lead = "≈ "
		}
		lead += strings.Repeat(" ", timeWidth-o.width(at)) + at + " " + pad(err, errWidth, o) + pad(l.Lanes[r.Lane].Name, nameWidth, o)
		text, st := listText(l, i)
		lines = append(lines, o.text(lead)+o.paint(o.cut(text, o.Width-o.width(lead)), st))
	}
	return lines
}

func listWidths(l *timeline.Ladder, o drawOptions) (at, err, name int) {
	for i := range l.Rows {
		r := &l.Rows[i]
		if r.Kind != timeline.RowMoment && r.Kind != timeline.RowNote {
			continue
		}
		a, e := timeText(l, r)
		at, err = max(at, o.width(a)), max(err, o.width(e)+1)
		name = max(name, o.width(l.Lanes[r.Lane].Name)+1)
	}
	if err == 1 {
		err = 0
	}
	return at, err, name
}

func pad(s string, width int, o drawOptions) string {
	return s + strings.Repeat(" ", max(width-o.width(s), 0))
}

// listText is what happened in a row.
func listText(l *timeline.Ladder, row int) (string, style) {
	r := &l.Rows[row]
	switch {
	case r.Arrow >= 0:
		return listPacket(l, &l.Arrows[r.Arrow], row)
	case r.Bracket >= 0:
		return listCall(&l.Brackets[r.Bracket], row)
	}
	return "! " + r.Text, red
}

func listPacket(l *timeline.Ladder, a *timeline.Arrow, row int) (string, style) {
	st := plain
	if a.Reset || a.Impossible {
		st = red
	}
	words := strings.Join(a.Words, " ")
	if row == a.Departure {
		text := fmt.Sprintf("──▶ %s  %s", laneName(l, a.To), words)
		if a.Lost {
			text = fmt.Sprintf("──╳ %s  %s, lost", laneName(l, a.To), words)
		}
		return text, st
	}
	text := fmt.Sprintf("◀── %s  %s", laneName(l, a.From), a.Words[0])
	switch {
	case a.Delayed:
		text += " after " + delayText(a)
	case a.Departure < 0:
		text = fmt.Sprintf("◀── %s  %s", laneName(l, a.From), words)
	}
	return text, st
}

func laneName(l *timeline.Ladder, lane int) string {
	if lane < 0 {
		return "?"
	}
	return l.Lanes[lane].Name
}

func listCall(b *timeline.Bracket, row int) (string, style) {
	st := plain
	switch {
	case b.Failed:
		st = red
	case b.Lab:
		st = faint
	}
	switch {
	case b.Enter == b.Return:
		return callLines(b, true)[0], st
	case row == b.Enter:
		return "┬ " + callNames(b)[0], st
	}
	return "┴ " + callNames(b)[0] + ": " + callResults(b, true)[0], st
}
