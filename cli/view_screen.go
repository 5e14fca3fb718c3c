package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	tea "charm.land/bubbletea/v2"

	"syncline/controller/clock"
	"syncline/controller/timeline"
)

// The lines of the screen above the names of the lanes: the title and what is shown of it.
// Below the ladder: a rule, what happened in the row that is selected, its times, what else
// there is to say of it, and the line for messages and prompts.
const (
	chromeAbove = 2
	chromeBelow = 5
)

// The least screen that the viewer draws on.
const (
	viewWidth  = minWidth
	viewHeight = chromeAbove + chromeBelow + top + 3
)

func (v *viewer) roomy() bool { return v.o.Width >= viewWidth && v.height >= viewHeight }

// View draws the screen.
func (v *viewer) View() tea.View {
	view := tea.View{AltScreen: true, MouseMode: tea.MouseModeCellMotion}
	if v.o.Width == 0 {
		return view
	}
	lines := v.screen()
	view.SetContent(strings.Join(lines, "\n"))
	if v.prompt != nil && v.roomy() {
		_, cursor := v.prompt.line.show(v.o, v.promptRoom())
		view.Cursor = tea.NewCursor(v.o.width(v.prompt.label)+cursor, v.height-1)
	}
	return view
}

// screen is the screen, line by line.
func (v *viewer) screen() []string {
	if !v.roomy() {
		lines := v.o.sentence("", fmt.Sprintf("The terminal has %d columns and %d lines; a ladder needs at least %d and %d. q quits.", v.o.Width, v.height, viewWidth, viewHeight))
		return lines[:min(len(lines), v.height)]
	}
	lines := []string{v.titleLine(), v.contextLine()}
	switch {
	case v.panel != nil:
		lines = append(lines, v.panelLines()...)
	case v.shown != nil:
		lines = append(lines, v.ladderLines()...)
	}
	for len(lines) < v.height-chromeBelow {
		lines = append(lines, "")
	}
	lines = append(lines, v.ruleLine())
	lines = append(lines, v.rowLines()...)
	return append(lines, v.lastLine())
}

func (v *viewer) titleLine() string {
	if v.shown == nil {
		return v.o.fit("syncline")
	}
	l := v.shown.l
	title := fmt.Sprintf("run %s  rep %d", l.RunID, l.Repetition)
	if n := len(v.list); n > 0 {
		title += fmt.Sprintf(" of %d", v.list[n-1].number)
	}
	for _, more := range []string{v.shown.t.Variant, l.Experiment} {
		if more != "" {
			title += "  " + more
		}
	}
	return v.o.spread(title, verdictMark(l), rulingStyle(l.Ruling))
}

// contextLine says what of the repetition is shown, then how its clocks stand.
func (v *viewer) contextLine() string {
	if v.shown == nil {
		return ""
	}
	var parts []string
	add := func(is bool, format string, arguments ...any) {
		if is {
			parts = append(parts, fmt.Sprintf(format, arguments...))
		}
	}
	add(v.filter != nil && len(v.hits) == 1, "1 hit")
	add(v.filter != nil && len(v.hits) != 1, "%d hits", len(v.hits))
	add(v.other != nil, "against rep %d: %s", otherRepetition(v.other), v.diff.text(v.look))
	add(len(v.look.Connections) > 0, "conn %s of %d", rangesText(v.look.Connections), len(v.shown.t.Connections))
	add(v.look.Scale != timeline.ScaleRow, "scale %s", v.look.Scale)
	// Raw times count from nothing that the hosts have in common; clockTexts says so.
	if l := v.shown.l; !l.LocalTimes {
		without := noZero(l, v.look) != ""
		add(without, "nothing tells %s: times from %s", v.look.Zero, l.Zero)
		add(!without && l.Zero != timeline.ZeroConnect, "times from %s", l.Zero)
	}
	add(!v.look.Notes, "no notes")
	for _, layer := range []struct {
		hidden bool
		name   string
	}{{v.look.HideLab, "lab's steps"}, {v.look.HideCalls, "calls"}, {v.look.HidePackets, "packets"}, {v.look.HideStates, "states"}} {
		add(layer.hidden, "no %s", layer.name)
	}
	parts = append(parts, clockTexts(v.shown.l)...)
	return v.o.paint(v.o.fit(strings.Join(parts, " · ")), faint)
}

func otherRepetition(other *viewedLadder) int {
	if other == nil {
		return 0
	}
	return other.t.Repetition
}

// ladderLines are the names of the lanes and as much of the body as there is room for.
func (v *viewer) ladderLines() []string {
	d := v.shown.d
	var lines []string
	for _, l := range d.lines(0, d.top()) {
		lines = append(lines, l.paint(v.o))
	}
	end := min(v.first+v.room(), v.bodyLength())
	for i, l := range v.bodyLines(v.first, end) {
		at := v.first + i
		l = v.marked(l, at)
		if at == v.at {
			lines = append(lines, v.highlight(l))
		} else {
			lines = append(lines, l.paint(v.o))
		}
	}
	return lines
}

// bodyLines draws lines of the body, of neighbours all at once.
func (v *viewer) bodyLines(first, end int) []line {
	d := v.shown.d
	if v.body == nil {
		return d.lines(d.top()+first, d.top()+end)
	}
	var lines []line
	for i := first; i < end; {
		if b := v.body[i]; b.line < 0 {
			lines = append(lines, line{{v.o.fit(fmt.Sprintf("  ⋮ %s", rowsText(b.hidden))), faint}})
			i++
			continue
		}
		until := i + 1
		for until < end && v.body[until].line == v.body[until-1].line+1 {
			until++
		}
		lines = append(lines, d.lines(v.body[i].line, v.body[until-1].line+1)...)
		i = until
	}
	return lines
}

func rowsText(n int) string {
	if n == 1 {
		return "1 row"
	}
	return fmt.Sprintf("%d rows", n)
}

// marked puts a sign into the column that no drawing uses: > for what is selected, m
// for what is marked, + - # for what differs, * for a hit.
func (v *viewer) marked(l line, at int) line {
	row := v.rowAt(at)
	if row < 0 {
		return l
	}
	r, column := &v.shown.l.Rows[row], v.shown.d.signColumn()
	switch {
	case at == v.at:
		return l.sign(column, ">", plain)
	case v.mark != nowhere && r.Timed() && r.Moment == v.mark:
		return l.sign(column, "m", yellow)
	case v.diff.sign(row) != "":
		return l.sign(column, v.diff.sign(row), yellow)
	case v.isHit(row):
		return l.sign(column, "*", yellow)
	}
	return l
}

// sign writes a character into a column, if that is blank.
func (l line) sign(column int, mark string, st style) line {
	at := 0
	for i, r := range l {
		for offset, c := range r.text {
			if at < column {
				at += columns.RuneWidth(c)
				continue
			}
			if at > column || c != ' ' {
				return l
			}
			signed := append(line{}, l[:i]...)
			return append(append(signed, run{r.text[:offset], r.style}, run{mark, st}, run{r.text[offset+1:], r.style}), l[i+1:]...)
		}
	}
	return append(append(line{}, l...), run{strings.Repeat(" ", column-at), plain}, run{mark, st})
}

func (v *viewer) isHit(row int) bool {
	_, is := slices.BinarySearch(v.hits, row)
	return is
}

// highlight is a line over the whole width, in reverse video: that is no colour.
func (v *viewer) highlight(l line) string {
	var b strings.Builder
	width := 0
	for _, r := range l {
		b.WriteString(reverse)
		b.WriteString(v.o.paint(r.text, r.style))
		width += columns.StringWidth(r.text)
	}
	b.WriteString(reverse + strings.Repeat(" ", max(v.o.Width-width, 0)) + ansiReset)
	return b.String()
}

// reverse is SGR 7 of ECMA-48.
const reverse = "\x1b[7m"

func (v *viewer) panelLines() []string {
	p := v.panel
	room := v.panelRoom()
	lines := []string{v.o.fit(p.title)}
	for i := p.first; i < min(p.first+room, len(p.lines)); i++ {
		switch {
		case p.choose == nil:
			lines = append(lines, v.o.fit(p.lines[i]))
		case i == p.at:
			lines = append(lines, v.highlight(line{{"> " + v.o.text(p.lines[i]), plain}}))
		default:
			lines = append(lines, "  "+v.o.text(p.lines[i]))
		}
	}
	return lines
}

// ruleLine says where in the whole one is.
func (v *viewer) ruleLine() string {
	text := ""
	switch {
	case v.panel != nil && len(v.panel.lines) > v.panelRoom():
		p := v.panel
		text = fmt.Sprintf(" line %d to %d of %d ", p.first+1, min(p.first+v.panelRoom(), len(p.lines)), len(p.lines))
	case v.panel != nil:
	case v.shown != nil:
		if row := v.rowAt(v.at); row >= 0 {
			text = fmt.Sprintf(" row %d of %d ", row+1, len(v.shown.l.Rows))
		}
	}
	left := strings.Repeat("─", max(v.o.Width-v.o.width(text)-2, 0))
	return v.o.paint(v.o.fit(left+text+"──"), faint)
}

// rowLines tell of the row that is selected what happened and when, and what else there is
// to say.
func (v *viewer) rowLines() []string {
	lines := make([]string, chromeBelow-2)
	row := v.rowAt(v.at)
	if row < 0 {
		return lines
	}
	l := v.shown.l
	r := &l.Rows[row]
	what := rowSentence(l, row)
	if r.Lane >= 0 {
		what = l.Lanes[r.Lane].Name + "  " + what
	}
	lines[0] = v.o.fit(what)
	lines[1] = v.o.fit(v.timesText(r))
	lines[2] = v.o.paint(v.o.fit(v.remark(row)), faint)
	return lines
}

// timesText tells when a row was: on the lab's clock, on its own host's, and from the mark.
func (v *viewer) timesText(r *timeline.Row) string {
	if !r.Timed() {
		return "no time of its own"
	}
	m := &v.shown.t.Moments[r.Moment]
	host := v.shown.t.Hosts[m.Event.Host].Name
	parts := []string{v.labText(m), fmt.Sprintf("%s on %s's clock", localText(m.Local), host)}
	if v.mark == r.Moment {
		parts = append(parts, "marked")
	} else if v.mark != nowhere {
		parts = append(parts, v.apartText(v.mark, r.Moment)+" from the mark")
	}
	return strings.Join(parts, " · ")
}

// labText is a moment in the lab's time, from the timeline's own zero.
func (v *viewer) labText(m *timeline.Moment) string {
	if m.Stamp.Err >= clock.Unbounded {
		return "lab time not known: nothing ties this clock to the others"
	}
	at := exactText(int64(m.Stamp.At - v.shown.t.Zero))
	if m.Stamp.Err == 0 {
		return at
	}
	return at + " ±" + spanUp(m.Stamp.Err)
}

// exactText is a time to the nanosecond: "20.050031 ms".
func exactText(ns int64) string {
	sign := ""
	if ns < 0 {
		sign, ns = "−", -ns
	}
	unit, name := int64(timeline.Milliseconds), "ms"
	switch {
	case ns < int64(timeline.Milliseconds):
		unit, name = int64(timeline.Microseconds), "µs"
	case ns >= 100*int64(timeline.Seconds):
		unit, name = int64(timeline.Seconds), "s"
	}
	digits := len(strconv.FormatInt(unit, 10)) - 1
	return fmt.Sprintf("%s%d.%0*d %s", sign, ns/unit, digits, ns%unit, name)
}

// localText is a host's own time, seconds of its CLOCK_MONOTONIC.
func localText(at clock.Local) string {
	return fmt.Sprintf("%d.%09d s", int64(at)/1e9, int64(at)%1e9)
}

// apartText is how much later one moment was than another, as far as that is known.
func (v *viewer) apartText(from, to int) string {
	a, b := &v.shown.t.Moments[from], &v.shown.t.Moments[to]
	lo, hi := v.shown.t.Apart(from, to)
	switch {
	case a.Event.Host != b.Event.Host && v.look.LocalTimes:
		return "raw times of two hosts: no difference"
	case lo <= -clock.Unbounded || hi >= clock.Unbounded:
		return "unknown how far"
	case lo == hi && lo > 0:
		return "+" + exactText(lo)
	case lo == hi:
		return exactText(lo)
	}
	offset, within := offsetWithin(lo+(hi-lo)/2, (hi-lo+1)/2)
	return fmt.Sprintf("%s ±%s", offset, within)
}

// remark is what else there is to say of a row: how it differs, its hit, its note.
func (v *viewer) remark(row int) string {
	var parts []string
	if v.diff != nil {
		if text := v.diff.rowText(v, row); text != "" {
			parts = append(parts, text)
		}
	}
	for i := range v.shown.l.Notes {
		if n := &v.shown.l.Notes[i]; n.Row == row {
			parts = append(parts, n.Text)
		}
	}
	return strings.Join(parts, " · ")
}

func (v *viewer) promptRoom() int { return max(v.o.Width-v.o.width(v.prompt.label)-1, 1) }

// lastLine has the prompt, else the message, else what goes on, else the keys.
func (v *viewer) lastLine() string {
	switch {
	case v.prompt != nil && v.prompt.err != nil:
		text, _ := v.prompt.line.show(v.o, v.promptRoom())
		left := v.o.text(v.prompt.label) + text
		room := v.o.Width - columns.StringWidth(left) - 3
		if room < 10 {
			return left
		}
		return left + "   " + v.o.paint(v.o.cut(v.prompt.err.Error(), room), red)
	case v.prompt != nil:
		text, _ := v.prompt.line.show(v.o, v.promptRoom())
		return v.o.text(v.prompt.label) + text
	case v.loading != "":
		return v.o.fit(v.loading)
	case len(v.afterList) > 0:
		return v.o.fit("listing the repetitions …")
	case v.message != "" && v.trouble:
		return v.o.paint(v.o.fit(strings.ReplaceAll(v.message, "\n", " ")), red)
	case v.message != "":
		return v.o.fit(v.message)
	case v.panel != nil && v.panel.choose != nil:
		return v.o.paint(v.o.fit("j k move  Enter choose  Esc close"), faint)
	case v.panel != nil && v.panel.next != nil:
		return v.o.paint(v.o.fit("j k scroll  Tab next row  Shift+Tab row before  Esc close"), faint)
	case v.panel != nil:
		return v.o.paint(v.o.fit("j k scroll  Esc close"), faint)
	}
	return v.o.paint(v.o.fitting([]string{
		"j k move  Enter details  m mark  / filter  c connection  [ ] repetition  o odd  ? help  q quit",
		"j k move  Enter details  m mark  / filter  [ ] repetition  ? help  q quit", "j k move  Enter details  ? help  q quit",
	}, v.o.Width), faint)
}
