package cli

import (
	tea "charm.land/bubbletea/v2"

	"syncline/controller/timeline"
)

// bodyLine is a line below the lanes' names.
type bodyLine struct {
	// line of the rendering; nowhere for one that stands for rows that are folded away.
	line int
	// hidden is how many rows those are.
	hidden int
}

// bodyLength is how many lines there are below the lanes' names.
func (v *viewer) bodyLength() int {
	if v.body != nil {
		return len(v.body)
	}
	return v.shown.d.height() - v.shown.d.top()
}

func (v *viewer) bodyAt(i int) bodyLine {
	if v.body != nil {
		return v.body[i]
	}
	return bodyLine{line: v.shown.d.top() + i}
}

// rowAt is the row of the ladder on a line of the body, nowhere if there is none.
func (v *viewer) rowAt(i int) int {
	if v.shown == nil || v.shown.d == nil || i < 0 || i >= v.bodyLength() {
		return nowhere
	}
	if b := v.bodyAt(i); b.line >= 0 {
		return v.shown.d.rowOf(b.line)
	}
	return nowhere
}

// bodyOf is the line of the body that shows a row, or the last one above it.
func (v *viewer) bodyOf(row int) int {
	line := v.shown.d.lineOf(row)
	if v.body == nil {
		return line - v.shown.d.top()
	}
	at := 0
	for i, b := range v.body {
		if b.line >= 0 && b.line <= line {
			at = i
		}
	}
	return at
}

// fold lists the lines of the body: all, or of a filter's hits and what is around them.
func (v *viewer) fold() {
	v.body = nil
	if !v.onlyHits || v.filter == nil || len(v.hits) == 0 {
		return
	}
	l, d := v.shown.l, v.shown.d
	keep := make([]bool, len(l.Rows))
	for _, hit := range v.hits {
		left, right := v.filter.around, v.filter.around
		keep[hit] = true
		for row := hit - 1; row >= 0 && left > 0; row-- {
			keep[row] = true
			if tells(&l.Rows[row]) {
				left--
			}
		}
		for row := hit + 1; row < len(l.Rows) && right > 0; row++ {
			keep[row] = true
			if tells(&l.Rows[row]) {
				right--
			}
		}
		// How long a packet took stands below its departure.
		if hit+1 < len(l.Rows) && l.Rows[hit+1].Kind == timeline.RowLabel {
			keep[hit+1] = true
		}
	}
	hidden := 0
	flush := func() {
		if hidden > 0 {
			v.body = append(v.body, bodyLine{nowhere, hidden})
		}
		hidden = 0
	}
	last := nowhere
	for row := range l.Rows {
		if !keep[row] {
			if tells(&l.Rows[row]) {
				hidden++
			}
			continue
		}
		// In a list a delay is on the line of its departure.
		if line := d.lineOf(row); line != last {
			flush()
			v.body = append(v.body, bodyLine{line: line})
			last = line
		}
	}
	flush()
}

// tells reports whether a row can be selected: a delay belongs to the departure above it,
// and a space is only the scale's.
func tells(r *timeline.Row) bool { return r.Kind != timeline.RowLabel && r.Kind != timeline.RowSpace }

// selectable reports whether a line of the body can be selected.
func (v *viewer) selectable(i int) bool {
	row := v.rowAt(i)
	return row >= 0 && tells(&v.shown.l.Rows[row])
}

// room is how many lines of the body the screen has.
func (v *viewer) room() int {
	if v.shown == nil || v.shown.d == nil {
		return 0
	}
	return max(v.height-chromeAbove-chromeBelow-v.shown.d.top(), 1)
}

// goTo selects the line of the body nearest to i that can be, and scrolls to it.
func (v *viewer) goTo(i int) {
	n := v.bodyLength()
	i = min(max(i, 0), max(n-1, 0))
	v.at = i
	for off := 0; off < n; off++ {
		if v.selectable(i - off) {
			v.at = i - off
			break
		}
		if v.selectable(i + off) {
			v.at = i + off
			break
		}
	}
	v.follow()
}

// scrollMargin is how many lines stay visible beyond what is selected, if there are any.
const scrollMargin = 2

// follow scrolls so that what is selected is on the screen.
func (v *viewer) follow() {
	room := v.room()
	margin := min(scrollMargin, (room-1)/2)
	v.first = min(v.first, v.at-margin)
	v.first = max(v.first, v.at+margin-room+1)
	v.first = max(min(v.first, v.bodyLength()-room), 0)
}

// step moves by so many lines that can be selected.
func (v *viewer) step(by int) {
	to, direction := v.at, 1
	if by < 0 {
		by, direction = -by, -1
	}
	for i := v.at + direction; by > 0 && i >= 0 && i < v.bodyLength(); i += direction {
		if v.selectable(i) {
			to = i
			by--
		}
	}
	v.at = to
	v.follow()
	// The first line is shown with the names above it, the last with what is below.
	if direction < 0 && by > 0 {
		v.first = 0
	}
}

// page moves by lines of the screen.
func (v *viewer) page(by int) {
	v.first = max(min(v.first+by, v.bodyLength()-v.room()), 0)
	to := v.at + by
	if by > 0 {
		to = max(min(to, v.bodyLength()-1), 0)
	}
	v.goTo(to)
}

// wheelLines are how many lines a notch of the wheel moves.
const wheelLines = 3

// wheel scrolls; what is selected stays, as long as it is on the screen.
func (v *viewer) wheel(m tea.Mouse) {
	by := 0
	switch m.Button {
	case tea.MouseWheelUp:
		by = -wheelLines
	case tea.MouseWheelDown:
		by = wheelLines
	}
	switch {
	case by == 0 || v.prompt != nil:
	case v.panel != nil:
		v.panel.scroll(by, v.panelRoom())
	case v.isDrawn():
		room := v.room()
		first := max(min(v.first+by, v.bodyLength()-room), 0)
		v.goTo(min(max(v.at, first), first+room-1))
		// goTo may scroll back to keep a margin: the wheel has its way.
		if v.at >= first && v.at < first+room {
			v.first = first
		}
	}
}

// click selects a line, and opens it if it is selected.
func (v *viewer) click(m tea.Mouse) {
	if m.Button != tea.MouseLeft || v.prompt != nil || v.panel != nil || !v.isDrawn() {
		return
	}
	y := m.Y - chromeAbove - v.shown.d.top()
	if y < 0 || y >= v.room() || !v.selectable(v.first+y) {
		return
	}
	v.giveUpList()
	if v.at == v.first+y {
		v.showDetails()
		return
	}
	v.at = v.first + y
}

// find looks for the hits of the filter.
func (v *viewer) find() {
	v.hits = nil
	if v.filter == nil {
		return
	}
	for row := range v.shown.l.Rows {
		if tells(&v.shown.l.Rows[row]) && v.filter.selects(factsOf(v.shown.t, v.shown.l, row)) {
			v.hits = append(v.hits, row)
		}
	}
}

// nextHit goes to the next hit, or the one before, around the end.
func (v *viewer) nextHit(direction int) {
	switch {
	case v.filter == nil:
		v.say("there is no filter; / sets one")
		return
	case len(v.hits) == 0:
		v.say("nothing in this repetition is %s", v.filter.source)
		return
	}
	row := v.rowAt(v.at)
	to, wrapped := -1, false
	for i := range v.hits {
		if direction > 0 && to < 0 && v.hits[i] > row || direction < 0 && v.hits[i] < row {
			to = i
		}
	}
	if to < 0 {
		wrapped = true
		if direction < 0 {
			to = len(v.hits) - 1
		} else {
			to = 0
		}
	}
	v.goTo(v.bodyOf(v.hits[to]))
	text := "hit %d of %d"
	if wrapped && direction > 0 {
		text += ", from the top again"
	} else if wrapped {
		text += ", from the end again"
	}
	v.say(text, to+1, len(v.hits))
}
