package cli

import (
	"slices"
	"strings"

	"syncline/controller/timeline"
)

// picture is a ladder on its way onto a canvas. Its first lines name the lanes; row i of
// the ladder is on line top+i. What is on a line depends on nothing that is on another, so
// that any part of it can be drawn alone: canvas has the part that is being drawn.
type picture struct {
	l      *timeline.Ladder
	o      drawOptions
	canvas *canvas
	// noteWidth, timeWidth and errWidth are the parts of the time column: the numbers of
	// notes, the time and its ±.
	noteWidth, timeWidth, errWidth int
	// notes are the numbers of the notes of a row.
	notes map[int]string
	// lanes are the columns of the hosts' lines.
	lanes []int
	// brackets are the columns of brackets that stand between lanes.
	brackets map[int]bool
	// left and right are the columns there are for the calls of the outer lanes.
	left, right int
	// rooms are how wide the texts at the brackets of the outer lanes are.
	rooms map[int][]callRoom
	// fits is false if there are too many lanes to tell them, or what happened between
	// them, on one line.
	fits bool
}

// top is how many lines the lanes' names take.
const top = 2

// Columns that arrows between two lanes are given at least, with two lanes and with
// more; what is ample for them; and the most they are given. A text beside a bracket
// is short up to so many columns, and says nothing in less than so many.
const (
	narrowest = 25
	crowded   = 18
	ample     = 30
	widest    = 56
	short     = 15
	shortest  = 8
)

func newPicture(l *timeline.Ladder, o drawOptions) *picture {
	p := &picture{l: l, o: o, brackets: make(map[int]bool), rooms: make(map[int][]callRoom), notes: noteNumbers(l)}
	p.measure()
	if !p.fits {
		return p
	}
	for i := 1; i < len(p.lanes)-1; i++ {
		for column := range l.Lanes[i].Depth {
			p.brackets[p.lanes[i]+2+column] = true
		}
	}
	return p
}

// measure divides the width: the time column and the brackets take what they need,
// the arrows their least, the calls of the outer lanes what their texts want as far
// as it is there, and the arrows the rest.
func (p *picture) measure() {
	for i := range p.l.Rows {
		if !p.l.Rows[i].Timed() {
			continue
		}
		at, err := timeText(p.l, &p.l.Rows[i])
		p.timeWidth = max(p.timeWidth, p.o.width(at))
		p.errWidth = max(p.errWidth, p.o.width(err))
	}
	p.noteWidth = noteWidth(p.notes, p.o)
	p.timeWidth = max(p.timeWidth, 7-p.noteWidth)
	n := len(p.l.Lanes)
	if n == 0 {
		p.fits = p.o.Width >= listBelow
		return
	}
	first, last := p.l.Lanes[0].Depth, p.l.Lanes[n-1].Depth
	if n == 1 {
		last = 0
	}
	rest := p.o.Width - p.timeColumn() - depthColumns(first) - depthColumns(last) - n
	gaps := max(n-1, 1)
	left, right := p.outerCalls(shortest)
	p.fits = p.o.Width >= listBelow && rest-left-right >= gaps*p.least()
	p.divide(rest, gaps)
	gap := min((rest-p.left-p.right)/gaps, widest)
	x := p.timeColumn() + p.left + depthColumns(first)
	for range n {
		p.lanes = append(p.lanes, x)
		x += gap + 1
	}
	// What the arrows do not need, the texts at the right may run into.
	p.right = max(p.o.Width-p.lanes[n-1]-1-depthColumns(last), 0)
}

// least is what the arrows between two lanes need. Where it stands between others, a
// lane has its brackets in the way of its arrows.
func (p *picture) least() int {
	n := len(p.l.Lanes)
	if n <= 2 {
		return narrowest
	}
	deepest := 0
	for _, lane := range p.l.Lanes[1 : n-1] {
		deepest = max(deepest, lane.Depth)
	}
	return crowded + max(deepest-1, 0)
}

// timeColumn is the numbers of notes, the mark of an unknown order, the time, its ± and
// a blank.
func (p *picture) timeColumn() int {
	w := p.noteWidth + 2 + p.timeWidth + 1
	if p.errWidth > 0 {
		w += p.errWidth + 1
	}
	return w
}

// depthColumns are the brackets of a lane and the blank beside them.
func depthColumns(depth int) int {
	if depth == 0 {
		return 0
	}
	return depth + 2
}

// share divides columns between two texts: each what it wants if there is enough,
// else the smaller one as much as half.
func share(all, a, b int) (int, int) {
	if a+b <= all {
		return a, b
	}
	if a <= all/2 {
		return a, all - a
	}
	if b <= all/2 {
		return all - b, b
	}
	return all / 2, all - all/2
}

// divide gives the calls of the outer lanes their columns: as their texts are in full
// if the arrows then have ample room, else as much of that as leaves it to them, but
// no less than the texts are in short.
func (p *picture) divide(rest, gaps int) {
	least, enough := p.least(), ample
	if gaps > 1 {
		enough = least
	} else {
		enough = max(ample, p.toldRoom())
	}
	left, right := p.outerCalls(p.o.Width)
	for most := max(left, right) - 1; most >= short && left+right > rest-gaps*enough; most-- {
		left, right = p.outerCalls(most)
	}
	p.left, p.right = share(max(rest-gaps*least, 0), left, right)
}

// outerCalls are the longest texts of the first and of the last lane.
func (p *picture) outerCalls(most int) (left, right int) {
	left = p.widestCall(0, most)
	if last := len(p.l.Lanes) - 1; last > 0 {
		right = p.widestCall(last, most)
	}
	return left, right
}

// widestCall is the longest text at the brackets of a lane, each in the first of its
// forms that is not beyond most. The lab's own steps, and several calls in one row,
// have no say: they may be cut.
func (p *picture) widestCall(lane, most int) int {
	room, ok := p.rooms[lane]
	if !ok {
		room = p.roomOf(lane)
		p.rooms[lane] = room
	}
	widest := 0
	if slices.ContainsFunc(p.l.Brackets, func(b timeline.Bracket) bool { return b.Lane == lane }) {
		// There is always room to say that there is something.
		widest = 1
	}
	for i := range room {
		widest = max(widest, room[i].width(p.o, most))
	}
	return widest
}

func (p *picture) full() bool { return p.o.Width >= fullFrom }

func (p *picture) height() int { return top + len(p.l.Rows) }

// lines draws the lines from first on, up to but without end.
func (p *picture) lines(first, end int) []line {
	// What stands in the row below a departure depends on the room in the departure's.
	if row := first - top; row > 0 && p.l.Rows[row].Kind == timeline.RowLabel {
		return p.lines(first-1, end)[1:]
	}
	p.canvas = newCanvas(p.o, first, end)
	p.drawTop()
	rows := rowRange{max(first-top, 0), min(end-top, len(p.l.Rows)) - 1}
	for i := rows.first; i <= rows.last; i++ {
		p.drawLifelines(i)
	}
	for i := range p.l.Bands {
		if b := &p.l.Bands[i]; rows.meet(b.First, b.Last) {
			p.drawBand(b)
		}
	}
	for i := range p.l.Brackets {
		if b := &p.l.Brackets[i]; rows.meet(b.Enter, b.Return) {
			p.drawBracket(b)
		}
	}
	for i := range p.l.Arrows {
		if rows.crossed(&p.l.Arrows[i]) {
			p.drawArrow(&p.l.Arrows[i])
		}
	}
	for i := range p.l.Arrows {
		if rows.crossed(&p.l.Arrows[i]) {
			p.drawLabels(i)
		}
	}
	for i := range p.l.States {
		if m := &p.l.States[i]; rows.meet(m.Row, m.Row) {
			p.drawState(m)
		}
	}
	for i := range p.l.Brackets {
		if b := &p.l.Brackets[i]; rows.meet(b.Enter, b.Return) {
			p.drawCall(b)
		}
	}
	for i := rows.first; i <= rows.last; i++ {
		p.drawRow(i)
	}
	lines := make([]line, len(p.canvas.cells))
	for i := range lines {
		lines[i] = p.canvas.line(first + i)
	}
	return lines
}

// drawTop names the lanes above their lines.
func (p *picture) drawTop() {
	unit := unitText(p.l)
	p.canvas.put(p.noteWidth+2+p.timeWidth-p.o.width(unit), 0, unit, plain)
	for x := range p.o.Width {
		p.canvas.mark(x, 1, '─', faint)
	}
	from := p.noteWidth + 2 + p.timeWidth + 1
	for i, x := range p.lanes {
		lane := &p.l.Lanes[i]
		p.canvas.mark(x, 1, '┬', faint)
		title := strings.TrimSpace(lane.Name + " " + rolesText(lane.Roles))
		room := p.o.Width
		if i+1 < len(p.lanes) {
			room = p.lanes[i+1] - x
		}
		title = p.o.cut(title, room-2)
		at := max(min(x-p.o.width(title)/2, p.o.Width-p.o.width(title)), from)
		if i+1 < len(p.lanes) {
			title = p.o.cut(title, p.lanes[i+1]-at-1)
		}
		p.canvas.put(at, 0, title, plain)
		from = at + p.o.width(title) + 1
	}
}

func (p *picture) drawLifelines(row int) {
	line := '│'
	if p.l.Rows[row].Kind == timeline.RowQuiet {
		line = '┊'
	}
	for _, x := range p.lanes {
		p.canvas.mark(x, top+row, line, faint)
	}
}

// drawRow writes the time column and what stands for the whole row.
func (p *picture) drawRow(i int) {
	r, y := &p.l.Rows[i], top+i
	p.canvas.put(0, y, p.notes[i], faint)
	switch r.Kind {
	case timeline.RowQuiet:
		p.canvas.mark(p.noteWidth+1+p.timeWidth, y, '⋮', faint)
		p.drawQuiet(timeline.Span(r.Quiet)+" quiet", y)
		return
	case timeline.RowLabel, timeline.RowSpace:
		return
	case timeline.RowLoss:
		p.drawLoss(r, y)
	case timeline.RowDrop:
		p.drawDrop(&p.l.Drops[r.Mark])
	case timeline.RowTrace:
		p.drawTrace(r, y)
	}
	if !r.Timed() {
		return
	}
	at, err := timeText(p.l, r)
	if r.Unordered {
		p.canvas.put(p.noteWidth, y, "≈", yellow)
	}
	p.canvas.put(p.noteWidth+2+p.timeWidth-p.o.width(at), y, at, plain)
	p.canvas.put(p.noteWidth+3+p.timeWidth, y, err, faint)
	switch r.Kind {
	case timeline.RowNote, timeline.RowDeed:
		text, st := rowText(r)
		p.sentence(y, text, st)
	}
}

// rowText is the sentence of a row that has one: what the record lacks is set apart from
// what was done.
func rowText(r *timeline.Row) (string, style) {
	switch r.Kind {
	case timeline.RowDeed:
		return "– " + r.Text, plain
	case timeline.RowTrace:
		return "◆ " + r.Text, plain
	}
	return "! " + r.Text, red
}

// drawQuiet writes how long nothing happened, in the middle between the first two lanes. A
// packet may be on its way there: then the words stand in the first room beside its line, or
// nowhere, if there is none; the mark in the column of times stays.
func (p *picture) drawQuiet(text string, y int) {
	want := p.o.width(text)
	at := p.middle(text)
	if !p.allFree(at, want, y) {
		at = -1
		for _, lane := range p.lanes {
			if start, length := p.place(lane+1, y, 1, want+2); length >= want+2 {
				at = start + 1
				break
			}
		}
	}
	if at >= 0 {
		p.canvas.put(at, y, text, faint)
	}
}

// allFree reports whether nothing is drawn in columns of a line.
func (p *picture) allFree(x, columns, y int) bool {
	for i := range columns {
		if !p.canvas.free(x+i, y) {
			return false
		}
	}
	return true
}

// middle is where a text starts that stands between the first two lanes.
func (p *picture) middle(text string) int {
	from, to := p.lanes[0], p.o.Width
	if len(p.lanes) > 1 {
		to = p.lanes[1]
	}
	return max(from+(to-from-p.o.width(text))/2+1, from+2)
}

// bracketStyle sets a failed call and the lab's own apart.
func bracketStyle(b *timeline.Bracket) style {
	switch {
	case b.Failed:
		return red
	case b.Lab:
		return faint
	}
	return plain
}

// drawBracket draws the line of a call at the outer side of its lane: to the left of
// the first one, to the right of every other.
func (p *picture) drawBracket(b *timeline.Bracket) {
	st, step, tick := bracketStyle(b), 1, '├'
	if b.Lane == 0 {
		step, tick = -1, '┤'
	}
	x := p.lanes[b.Lane] + step*(2+b.Column)
	if b.Enter == b.Return {
		if !b.Lab {
			p.canvas.mark(x, top+b.Enter, tick, st)
		}
		return
	}
	p.canvas.mark(x, top+b.Enter, '┬', st)
	for row := b.Enter + 1; row < b.Return; row++ {
		p.canvas.mark(x, top+row, bracketRune(b, p.l.Rows[row].Kind), st)
	}
	p.canvas.mark(x, top+b.Return, '┴', st)
}

// bracketRune is the line of a call: heavy for one that waits until something releases it.
func bracketRune(b *timeline.Bracket, kind timeline.RowKind) rune {
	switch {
	case kind == timeline.RowQuiet && b.Blocked:
		return '┋'
	case kind == timeline.RowQuiet:
		return '┊'
	case b.Blocked:
		return '┃'
	}
	return '│'
}

// drawCall writes what a call is where its bracket opens, and what it gave where it
// closes.
func (p *picture) drawCall(b *timeline.Bracket) {
	st := bracketStyle(b)
	if b.Enter == b.Return {
		p.drawCallText(b, b.Enter, callLines(p.l, b, p.full()), st)
		return
	}
	p.drawCallText(b, b.Enter, callNames(p.l, b), st)
	p.drawCallText(b, b.Return, returnTexts(b, p.full()), st)
}

// drawCallText writes the first of texts that fits beyond the brackets of a lane, or
// what fits of the last.
func (p *picture) drawCallText(b *timeline.Bracket, row int, texts []string, st style) {
	depth := depthColumns(p.l.Lanes[b.Lane].Depth)
	if b.Lane == 0 {
		text := p.o.fitting(texts, p.left)
		p.canvas.put(p.lanes[0]-depth-p.o.width(text), top+row, text, st)
		return
	}
	x, room := p.lanes[b.Lane]+depth+1, p.right
	if b.Lane < len(p.lanes)-1 {
		x, room = p.place(x-1, top+row, 1, p.o.width(texts[0])+2)
		x, room = x+1, room-2
	}
	p.canvas.put(x, top+row, p.o.fitting(texts, room), st)
}
