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
	if len(l.Rows) > 0 {
		unit := l.Unit.String()
		lines = append(lines, o.text(strings.Repeat(" ", 2+timeWidth-o.width(unit))+unit))
	}
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
		if !r.Timed() {
			at, err = "", ""
		}
		lead := "  "
		if r.Unordered {
			lead = "≈ "
		}
		lead += strings.Repeat(" ", timeWidth-o.width(at)) + at + " " + pad(err, errWidth, o) + pad(l.Lanes[r.Lane].Name, nameWidth, o)
		texts, st := listTexts(l, i)
		lines = append(lines, o.text(lead)+o.paint(o.text(o.fitting(texts, o.Width-o.width(lead))), st))
	}
	return lines
}

func listWidths(l *timeline.Ladder, o drawOptions) (at, err, name int) {
	for i := range l.Rows {
		r := &l.Rows[i]
		if !r.Timed() {
			continue
		}
		a, e := timeText(l, r)
		at, err = max(at, o.width(a)), max(err, o.width(e)+1)
		name = max(name, o.width(l.Lanes[r.Lane].Name)+1)
	}
	if err == 1 {
		err = 0
	}
	return max(at, o.width(l.Unit.String())), err, name
}

func pad(s string, width int, o drawOptions) string {
	return s + strings.Repeat(" ", max(width-o.width(s), 0))
}

// listTexts is what happened in a row, in full and ever shorter.
func listTexts(l *timeline.Ladder, row int) ([]string, style) {
	r := &l.Rows[row]
	switch {
	case r.Arrow >= 0:
		text, st := listPacket(l, &l.Arrows[r.Arrow], row)
		return []string{text}, st
	case r.Bracket >= 0:
		return listCall(l, &l.Brackets[r.Bracket], row)
	case r.Kind == timeline.RowLoss:
		texts := lossTexts(r)
		for i := range texts {
			texts[i] = "░ " + texts[i]
		}
		return texts, red
	case r.Kind == timeline.RowState:
		m := &l.States[r.Mark]
		texts := stateTexts(l, m)
		for i := range texts {
			texts[i] = string(stateRune(m)) + " " + texts[i]
		}
		return texts, stateStyle(m)
	case r.Kind == timeline.RowDrop:
		d := &l.Drops[r.Mark]
		return []string{"✗ " + dropSentence(l, d), "✗ " + dropWords(l, d) + ": " + dropReason(d), "✗ " + dropReason(d)}, red
	}
	text, st := rowText(r)
	return []string{text}, st
}

func listPacket(l *timeline.Ladder, a *timeline.Arrow, row int) (string, style) {
	st := plain
	if a.Reset || a.Impossible {
		st = red
	}
	words := strings.Join(packetWords(l, a), " ")
	if row == a.Departure {
		text := fmt.Sprintf("──▶ %s  %s", laneName(l, a.To), words)
		switch {
		case a.Dropped && a.Arrival < 0:
			text = fmt.Sprintf("──✗ %s  %s, dropped", laneName(l, a.To), words)
		case a.Lost:
			text = fmt.Sprintf("──╳ %s  %s, lost", laneName(l, a.To), words)
		}
		return text, st
	}
	text := fmt.Sprintf("◀── %s  %s", laneName(l, a.From), packetWords(l, a)[0])
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

func listCall(l *timeline.Ladder, b *timeline.Bracket, row int) ([]string, style) {
	texts, mark := callNames(l, b), "┬ "
	switch {
	case b.Enter == b.Return:
		return callLines(l, b, true), bracketStyle(b)
	case row == b.Return:
		texts, mark = callAndResult(texts, callResults(b, true)), "┴ "
	}
	for i := range texts {
		texts[i] = mark + texts[i]
	}
	return texts, bracketStyle(b)
}
