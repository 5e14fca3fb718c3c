package cli

import (
	"fmt"

	"syncline/controller/timeline"
)

// stateRune marks a state on the line of its host: seen by the kernel as it began, read
// with sock_diag(7), or inferred; or that there is a doubt.
func stateRune(m *timeline.StateMark) rune {
	switch {
	case m.Doubt != "":
		return '?'
	case m.Exact:
		return '◆'
	case m.Known == timeline.KnownDump:
		return '◈'
	}
	return '◇'
}

func stateStyle(m *timeline.StateMark) style {
	switch {
	case m.Doubt != "":
		return red
	case m.Exact:
		return plain
	}
	return faint
}

// stateTexts are a state with the times between which it began, if the rows around it do
// not say that, in full and ever shorter.
func stateTexts(l *timeline.Ladder, m *timeline.StateMark) []string {
	name := m.Name
	switch {
	case m.Doubt != "":
		name = "states in doubt"
	case m.Hole:
		name = "…→ " + name
	}
	if m.Of != "" {
		name = m.Of + " " + name
	}
	if len(l.Connections) > 1 {
		name = fmt.Sprintf("#%d %s", m.Connection+1, name)
	}
	switch {
	case !m.Wide:
		return []string{name}
	case m.After != "" && m.By != "":
		return []string{fmt.Sprintf("%s between %s and %s", name, m.After, m.By), name + " " + m.After + "–" + m.By, name + " …"}
	case m.By != "":
		return []string{name + " by " + m.By, name + " …"}
	case m.After != "":
		return []string{name + " after " + m.After, name + " …"}
	}
	return []string{name + " at a time not known", name + " …"}
}

// drawState marks a state on the line of its host and names it on the side of the packets.
func (p *picture) drawState(m *timeline.StateMark) {
	p.canvas.mark(p.lanes[m.Lane], top+m.Row, stateRune(m), stateStyle(m))
	p.beside(m.Lane, top+m.Row, stateTexts(p.l, m), stateStyle(m))
}

// beside writes the first of texts that fits beside a host, on the side of its packets,
// or what fits of the last.
func (p *picture) beside(lane, y int, texts []string, st style) {
	x, step := p.margin(lane)
	start, length := p.place(x, y, step, p.o.width(texts[0])+2)
	text := p.o.fitting(texts, length-2)
	at := start + step
	if step < 0 {
		at = start - p.o.width(text)
	}
	p.canvas.put(at, y, text, st)
}

// margin is the column from which on a text may stand beside a host, on the side of its
// packets, and the direction in which it goes on.
func (p *picture) margin(lane int) (x, step int) {
	switch last := len(p.lanes) - 1; {
	case lane == last && last > 0:
		return p.lanes[lane] - 1, -1
	case lane > 0:
		return p.lanes[lane] + 1 + depthColumns(p.l.Lanes[lane].Depth), 1
	}
	return p.lanes[lane] + 1, 1
}
