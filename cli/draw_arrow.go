package cli

import (
	"fmt"
	"slices"
	"strings"

	"syncline/controller/timeline"
)

// bend is how far from its host an arrow turns downwards, where no brackets are in
// the way.
const bend = 3

// bendOf is how far from a lane an arrow turns. The brackets of the lanes between the
// outer ones stand to the right of them.
func (p *picture) bendOf(lane, step int) int {
	if step > 0 && lane > 0 && lane < len(p.lanes)-1 {
		return bend + depthColumns(p.l.Lanes[lane].Depth)
	}
	return bend
}

// span is the way of an arrow on the canvas.
type span struct {
	// from and to are columns, y0 and y1 lines. step is 1 to the right, -1 to the left.
	from, to, y0, y1, step int
	// out and in are how far from the two hosts the line turns.
	out, in int
	// style of all of it.
	style style
}

func (p *picture) spanOf(a *timeline.Arrow) span {
	s := span{y0: top + a.Departure, y1: top + a.Arrival, step: 1}
	from, to := a.From, a.To
	if from >= 0 {
		s.from = p.lanes[from]
	}
	if to >= 0 {
		s.to = p.lanes[to]
	}
	switch {
	case from >= 0 && to >= 0 && s.to < s.from:
		s.step = -1
	case from == to && from == len(p.lanes)-1 && from > 0:
		s.step = -1
	case from < 0 && to >= 0 && to < len(p.lanes)-1:
		s.step = -1
	case to < 0 && from == len(p.lanes)-1 && from > 0:
		s.step = -1
	}
	s.out, s.in = p.bendOf(from, s.step), p.bendOf(to, -s.step)
	if a.Reset || a.Impossible {
		s.style = red
	}
	return s
}

// drawArrow draws the line of a packet: out of its host, down through the rows that
// lie between, and into the other host.
func (p *picture) drawArrow(a *timeline.Arrow) {
	s := p.spanOf(a)
	switch {
	case a.Departure >= 0 && a.Arrival >= 0:
		p.drawWay(a, s)
	case a.Departure >= 0:
		p.drawStub(s.from, s.y0, s.step*s.out, stubEnd(a), s.style)
	case a.Arrival >= 0:
		came := p.cameFrom(a, s)
		p.drawStub(s.to, s.y1, came*s.in, stubEnd(a), s.style)
		p.canvas.mark(s.to+came, s.y1, head(a, -came), s.style)
	}
}

// cameFrom is the side of its host on which an arrow arrives: what a host sent to itself
// goes out and in on the same.
func (p *picture) cameFrom(a *timeline.Arrow, s span) int {
	if a.From == a.To {
		return s.step
	}
	return -s.step
}

// stubEnd is the end of a line whose other end no tap saw.
func stubEnd(a *timeline.Arrow) rune {
	switch {
	case a.Dropped && a.Arrival < 0:
		return '✗'
	case a.Lost:
		return '╳'
	case a.Duplicate:
		return '┄'
	}
	return '?'
}

// drawStub draws the short line of a packet of which one end alone was seen.
func (p *picture) drawStub(x, y, length int, end rune, st style) {
	p.horizontal(x, x+length, y, st)
	p.canvas.mark(x, y, '●', st)
	p.canvas.mark(x+length, y, end, st)
}

func (p *picture) drawWay(a *timeline.Arrow, s span) {
	down := 1
	if s.y1 < s.y0 {
		down = -1
	}
	p.horizontal(s.from, s.from+s.out*s.step, s.y0, s.style)
	p.canvas.mark(s.from, s.y0, '●', s.style)
	x := s.from + s.out*s.step
	p.canvas.mark(x, s.y0, corner(s.step, down, true), s.style)
	self := a.From == a.To
	for y := s.y0 + down; (s.y1-y)*down > 0; y += down {
		x = p.descend(x, s, self)
		p.vertical(x, y, p.slant(x, s, self, down), s.style)
	}
	if s.y1 != s.y0+down {
		x = p.descend(x, s, self)
	}
	if self {
		p.horizontal(x, s.to, s.y1, s.style)
		p.canvas.mark(x, s.y1, corner(-s.step, down, false), s.style)
		p.canvas.mark(s.to+s.step, s.y1, head(a, -s.step), s.style)
	} else {
		p.horizontal(x, s.to, s.y1, s.style)
		p.canvas.mark(x, s.y1, corner(s.step, down, false), s.style)
		p.canvas.mark(s.to-s.step, s.y1, head(a, s.step), s.style)
	}
	p.canvas.mark(s.to, s.y1, '●', s.style)
	if a.Impossible {
		p.canvas.mark(s.to+2*p.cameFrom(a, s), s.y1, '!', s.style)
	}
}

// descend is the column of the next line down: one on, but not beyond the middle,
// where the line goes straight down.
func (p *picture) descend(x int, s span, self bool) int {
	if self || (s.to-x)*s.step <= (s.to-s.from)*s.step/2 {
		return x
	}
	return x + s.step
}

func (p *picture) slant(x int, s span, self bool, down int) rune {
	switch {
	case self || p.descend(x-s.step, s, self) != x:
		return '│'
	case s.step*down > 0:
		return '╲'
	}
	return '╱'
}

// corner is the turn of a line: out of the host and down, or out of the fall and on.
func corner(step, down int, leaving bool) rune {
	switch {
	case leaving && step > 0 && down > 0:
		return '╮'
	case leaving && step < 0 && down > 0:
		return '╭'
	case leaving && step > 0:
		return '╯'
	case leaving:
		return '╰'
	case step > 0 && down > 0:
		return '╰'
	case down > 0:
		return '╯'
	case step > 0:
		return '╭'
	}
	return '╮'
}

// head is the point of an arrow that flies in a direction; it is open where the
// clocks are not sure enough to prove that it took any time. What the kernel dropped
// where it arrived has none.
func head(a *timeline.Arrow, step int) rune {
	open := unproven(a)
	switch {
	case a.Dropped:
		return '✗'
	case step > 0 && open:
		return '▷'
	case step > 0:
		return '▶'
	case open:
		return '◁'
	}
	return '◀'
}

// horizontal draws between two columns, both excluded. It passes behind the lines of
// hosts and crosses those of other packets.
func (p *picture) horizontal(from, to, y int, st style) {
	step := 1
	if to < from {
		step = -1
	}
	for x := from + step; (to-x)*step > 0; x += step {
		switch {
		case p.canvas.free(x, y):
			p.canvas.mark(x, y, '─', st)
		case p.isLane(x) || p.brackets[x]:
		default:
			p.canvas.mark(x, y, '┼', st)
		}
	}
}

func (p *picture) vertical(x, y int, r rune, st style) {
	if p.isLane(x) || (p.brackets[x] && !p.canvas.free(x, y)) {
		return
	}
	if !p.canvas.free(x, y) {
		r = '┼'
	}
	p.canvas.mark(x, y, r, st)
}

func (p *picture) isLane(x int) bool {
	for _, lane := range p.lanes {
		if lane == x {
			return true
		}
	}
	return false
}

// drawLabels writes what a packet is beside its departure, and in the line below how
// long it took. A packet whose departure nobody saw has its words at the arrival, and
// one that was cut on the way has them once.
func (p *picture) drawLabels(i int) {
	a := &p.l.Arrows[i]
	if a.Departure >= 0 && p.l.Rows[a.Departure].Arrow != i {
		return
	}
	s := p.spanOf(a)
	words := packetWords(p.l, a)
	below := a.Reason != "" && a.Label >= 0 && a.Departure >= 0
	if below {
		// The reason has a line of its own where it does not fit into that of the words.
		x, want := s.from+(s.out+1)*s.step, p.o.width(words[0])+2
		if below = p.room(x, s.y0, s.step, want) < want; below {
			words[0] = strings.TrimSuffix(words[0], ": "+a.Reason)
		}
	}
	switch {
	case a.Dropped && a.Arrival < 0:
		words = slices.Insert(slices.Clone(words), 1, "dropped")
	case a.Lost:
		words = slices.Insert(slices.Clone(words), 1, "lost")
	}
	switch {
	case a.Departure >= 0:
		p.label(words, s.from+(s.out+1)*s.step, s.y0, s.step, s.style)
	case a.Arrival >= 0:
		came := p.cameFrom(a, s)
		p.label(words, s.to+(s.in+1)*came, s.y1, came, s.style)
	}
	if a.Label < 0 {
		return
	}
	// A delay without its ± would say too much: it is written whole or not at all.
	x, y := s.from+(s.out+2)*s.step, top+a.Label
	if below {
		p.label([]string{a.Reason}, x, y, s.step, s.style)
		return
	}
	if want := p.o.width(delayText(a)) + 2; p.room(x, y, s.step, want) >= want {
		st := faint
		if s.style == red {
			st = red
		}
		p.label([]string{delayText(a)}, x, y, s.step, st)
	}
}

// packetWords are the words of a packet. Where the ladder shows several connections,
// the number of its own goes with the first of them, and so does the kernel's reason for a
// reset. A retransmission that the kernel told of itself has its mark.
func packetWords(l *timeline.Ladder, a *timeline.Arrow) []string {
	words := slices.Clone(a.Words)
	if len(l.Connections) > 1 && a.Connection >= 0 {
		words[0] = fmt.Sprintf("#%d %s", a.Connection+1, words[0])
	}
	if a.Reason != "" {
		words[0] += ": " + a.Reason
	}
	if again := slices.Index(words, fmt.Sprintf("R%d", a.Copy)); a.Told && again >= 0 {
		words[again] += "◆"
	}
	return words
}

func (p *picture) room(x, y, step, want int) int {
	_, length := p.place(x, y, step, want)
	return length
}

// label writes as many words as fit, from column x on in the direction of step, into
// the first free place that is long enough, else into the longest.
func (p *picture) label(words []string, x, y, step int, st style) {
	want := p.o.width(strings.Join(words, " "))
	start, length := p.place(x, y, step, want+2)
	// A blank at either side keeps the words off the lines.
	text := p.shorten(words, length-2)
	at := start + step
	if step < 0 {
		at = start - p.o.width(text)
	}
	p.canvas.put(at, y, text, st)
}

// place finds free columns on a line from x on, up to the next lane: where they start
// and how many.
func (p *picture) place(x, y, step, want int) (start, length int) {
	for at := x; at >= 0 && at < p.o.Width; at += step {
		run := 0
		for p.canvas.free(at+run*step, y) {
			run++
		}
		if run > length {
			start, length = at, run
		}
		if length >= want {
			return start, length
		}
		at += run * step
		if p.isLane(at) {
			return start, length
		}
	}
	return start, length
}

// shorten joins words as far as they fit. The first stays: without the number of its
// connection, or cut, if there is not even room for it.
func (p *picture) shorten(words []string, width int) string {
	text := words[0]
	if _, bare, _ := strings.Cut(text, " "); strings.HasPrefix(text, "#") && p.o.width(text) > width {
		return p.o.cut(bare, width)
	}
	for _, word := range words[1:] {
		if p.o.width(text+" "+word) > width {
			break
		}
		text += " " + word
	}
	return p.o.cut(text, width)
}
