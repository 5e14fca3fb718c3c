package cli

import (
	"fmt"
	"strings"

	"syncline/controller/timeline"
)

// list is the ladder for a terminal too narrow to draw it: one moment a line, the
// packet's way as an arrow between the names of the hosts. Its first line names the unit
// of the times.
type list struct {
	l *timeline.Ladder
	o drawOptions
	// noteWidth, timeWidth, errWidth and nameWidth are the columns before the texts.
	noteWidth, timeWidth, errWidth, nameWidth int
	// notes are the numbers of the notes of a row.
	notes map[int]string
}

func newList(l *timeline.Ladder, o drawOptions) *list {
	s := &list{l: l, o: o, notes: noteNumbers(l)}
	s.noteWidth = noteWidth(s.notes, o)
	s.timeWidth, s.errWidth, s.nameWidth = listWidths(l, o)
	return s
}

func (s *list) top() line {
	unit := unitText(s.l)
	return line{{s.o.text(strings.Repeat(" ", s.noteWidth+2+s.timeWidth-s.o.width(unit)) + unit), plain}}
}

// line is what a row of the ladder says; those of kinds that isListed leaves out have none.
func (s *list) line(row int) line {
	r := &s.l.Rows[row]
	numbers := pad(s.notes[row], s.noteWidth, s.o)
	if r.Kind == timeline.RowQuiet {
		return line{{s.o.fit(numbers + pad("", s.timeWidth+1, s.o) + "⋮ " + timeline.Span(r.Quiet) + " quiet"), plain}}
	}
	at, err := timeText(s.l, r)
	if !r.Timed() {
		at, err = "", ""
	}
	lead := numbers + "  "
	if r.Unordered {
		lead = numbers + "≈ "
	}
	lead += strings.Repeat(" ", s.timeWidth-s.o.width(at)) + at + " " + pad(err, s.errWidth, s.o) + pad(s.l.Lanes[r.Lane].Name, s.nameWidth, s.o)
	texts, st := listTexts(s.l, row)
	return line{{s.o.text(lead), plain}, {s.o.text(s.o.fitting(texts, s.o.Width-s.o.width(lead))), st}}
}

// isListed reports whether a row has a line in a list: what only gives room to others has
// none.
func isListed(r *timeline.Row) bool {
	return r.Kind != timeline.RowLabel && r.Kind != timeline.RowSpace
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
	return max(at, o.width(unitText(l))), err, name
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
