package cli

import (
	"slices"
	"strings"

	"syncline/controller/timeline"
)

// line is one line of a drawing, from left to right.
type line []run

// run is a piece of a line that is all in one style.
type run struct {
	text  string
	style style
}

// paint is the line as a terminal takes it.
func (l line) paint(o drawOptions) string {
	var b strings.Builder
	for _, r := range l {
		b.WriteString(o.paint(r.text, r.style))
	}
	return b.String()
}

// rowRange is the rows of a ladder from first to last, none if last is before first.
type rowRange struct{ first, last int }

// meet reports whether it has one of the rows from one to another.
func (s rowRange) meet(from, to int) bool { return from <= s.last && to >= s.first }

// crossed reports whether something of an arrow is in one of the rows.
func (s rowRange) crossed(a *timeline.Arrow) bool {
	from, to := min(a.Departure, a.Arrival), max(a.Departure, a.Arrival)
	if from < 0 {
		from = to
	}
	return s.meet(from, max(to, a.Label))
}

// rendering is a ladder put on lines: as a picture, or as a list where a picture does not
// fit. It measures once; any part of it can then be drawn alone, in a time that depends on
// the part and hardly on the whole. It is not safe for concurrent use.
type rendering struct {
	l       *timeline.Ladder
	picture *picture
	list    *list
	// rows of the list's lines behind the first; nil for a picture, which has a line for
	// each.
	rows []int
}

func newRendering(l *timeline.Ladder, o drawOptions) *rendering {
	d := &rendering{l: l, picture: newPicture(l, o)}
	if d.picture.fits {
		return d
	}
	d.list = newList(l, o)
	for i := range l.Rows {
		if isListed(&l.Rows[i]) {
			d.rows = append(d.rows, i)
		}
	}
	return d
}

// drawn reports whether it is a picture.
func (d *rendering) drawn() bool { return d.picture.fits }

// empty reports whether there is nothing to draw.
func (d *rendering) empty() bool {
	return d.drawn() && len(d.l.Lanes) == 0 || len(d.l.Rows) == 0
}

// top is how many lines there are before that of the first row: they name what is below.
func (d *rendering) top() int {
	switch {
	case d.empty():
		return 0
	case d.drawn():
		return top
	}
	return 1
}

// signColumn is a column that is blank on every line: the one behind the mark of an unknown
// order.
func (d *rendering) signColumn() int {
	if d.drawn() {
		return d.picture.noteWidth + 1
	}
	return d.list.noteWidth + 1
}

// height is how many lines there are.
func (d *rendering) height() int {
	switch {
	case d.empty() && !d.drawn():
		return 0
	case d.empty():
		return 1
	case d.drawn():
		return d.picture.height()
	}
	return 1 + len(d.rows)
}

// lines draws the lines from first on, up to but without end. They are the same as in a
// drawing of all lines.
func (d *rendering) lines(first, end int) []line {
	first, end = max(first, 0), min(end, d.height())
	switch {
	case first >= end:
		return nil
	case d.empty():
		return []line{{{d.picture.o.text("nothing was recorded"), plain}}}
	case d.drawn():
		return d.picture.lines(first, end)
	}
	var lines []line
	for y := first; y < end; y++ {
		if y == 0 {
			lines = append(lines, d.list.top())
		} else {
			lines = append(lines, d.list.line(d.rows[y-1]))
		}
	}
	return lines
}

// rowOf is the row of the ladder on a line, -1 for those that name what is below.
func (d *rendering) rowOf(y int) int {
	switch y -= d.top(); {
	case d.empty() || y < 0:
		return -1
	case d.drawn():
		return y
	}
	return d.rows[y]
}

// lineOf is the line of a row; in a list, that of the row before where it has none of its
// own.
func (d *rendering) lineOf(row int) int {
	if d.drawn() {
		return d.top() + row
	}
	at, has := slices.BinarySearch(d.rows, row)
	if !has {
		at--
	}
	return d.top() + at
}
