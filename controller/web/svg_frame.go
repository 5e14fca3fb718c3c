package web

import (
	"fmt"
	"strings"

	"syncline/controller/clock"
	"syncline/controller/timeline"
)

// pictureStyle gives a picture its colours: light, dark where the reader prefers that, and
// black on white on paper. All are told apart by those who see no red or no green (Okabe and
// Ito 2008), and none is alone in telling anything.
const pictureStyle = `
.syncline{--paper:#fff;--ink:#1b1f24;--dim:#5c6570;--rule:#c3c9d0;--calm:#0b62a8;--alarm:#b3261e;--again:#9a5b00;--open:#8a5a00;--est:#00705a;--close:#8f3f71;--wait:#5d4a9c;font:11px ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace}
@media(prefers-color-scheme:dark){.syncline{--paper:#14171b;--ink:#e6e9ec;--dim:#a0a9b3;--rule:#454d56;--calm:#6cb6f5;--alarm:#ff8a80;--again:#f0b45a;--open:#e8b04b;--est:#4cc9ac;--close:#e59cc8;--wait:#b7a6f0}}
@media print{.syncline{--paper:#fff;--ink:#000;--dim:#333;--rule:#999;--calm:#000;--alarm:#000;--again:#000}}
.syncline text{fill:var(--ink);white-space:pre;paint-order:stroke;stroke:var(--paper);stroke-width:3px;stroke-linejoin:round}
.syncline .paper{fill:var(--paper)}
.syncline .heading{font-size:14px;font-weight:bold}
.syncline .host{font-size:12px;font-weight:bold}
.syncline .time,.syncline .quiet,.syncline .fine,.syncline .lab{fill:var(--dim)}
.syncline .state{font-weight:bold}
.syncline .saying{font-style:italic}
.syncline text.alarm,.syncline text.failed{fill:var(--alarm);font-weight:bold}
.syncline .line{stroke:var(--ink);stroke-width:1.2}
.syncline .tick,.syncline .lead{stroke:var(--rule);fill:none}
.syncline .gap{stroke:var(--paper);stroke-width:3}
.syncline .fold{fill:none;stroke:var(--ink);stroke-width:1.2}
.syncline .hatch{stroke:var(--alarm);stroke-width:2}
.syncline .missing{fill:url(#syncline-missing);stroke:var(--alarm)}
.syncline .bar{fill:var(--dim)}
.syncline .bar.blocked{fill:var(--paper);stroke:var(--ink);stroke-width:1.2}
.syncline .bar.failed{fill:var(--alarm)}
.syncline .bar.lab{fill:var(--rule)}
.syncline .span.opening{fill:var(--open)}
.syncline .span.established{fill:var(--est)}
.syncline .span.closing{fill:var(--close)}
.syncline .span.waiting{fill:var(--wait)}
.syncline .span.closed{fill:var(--rule)}
.syncline .span.doubtful{fill-opacity:.35;stroke:var(--alarm);stroke-dasharray:2 2}
.syncline .arrow{stroke:var(--calm);fill:none;stroke-width:1.3}
.syncline .arrow.again{stroke:var(--again)}
.syncline .arrow.alarm{stroke:var(--alarm)}
.syncline .arrow.impossible{stroke-width:2.4}
.syncline .arrow.ambiguous,.syncline .untold{stroke-dasharray:4 3}
.syncline .dot,.syncline .head{fill:var(--calm);stroke:none}
.syncline .again .dot,.syncline .again .head{fill:var(--again)}
.syncline .alarm .dot,.syncline .alarm .head{fill:var(--alarm)}
.syncline .head.open{fill:var(--paper);stroke:inherit;stroke-dasharray:none}
.syncline .cross{stroke-width:2.2}
.syncline .wedge{fill:var(--calm);fill-opacity:.16;stroke:none}
.syncline .mark{fill:var(--paper);stroke:var(--ink)}
.syncline .mark.alarm{stroke:var(--alarm)}
.syncline .measure{stroke:var(--ink);fill:none;stroke-width:1.2}
`

// heading names what is drawn.
func (d *drawing) heading() string {
	text := fmt.Sprintf("%s, run %s, repetition %d", d.l.Experiment, d.l.RunID, d.l.Repetition)
	if d.t.Variant != "" {
		text += ", " + d.t.Variant
	}
	return text
}

// ruled says what came of the expectations.
func (d *drawing) ruled() string {
	if d.l.Judged == 0 {
		return "nothing was judged"
	}
	return fmt.Sprintf("%s: %d of %d expectations hold", d.l.Ruling, d.l.Passed, d.l.Judged)
}

// description is the picture in words, for those who do not see it.
func (d *drawing) description() string {
	var b strings.Builder
	var names []string
	for i := range d.l.Lanes {
		names = append(names, d.l.Lanes[i].Name)
	}
	fmt.Fprintf(&b, "The timeline of hosts %s: %d packets, %d calls; %s.", strings.Join(names, ", "), len(d.l.Arrows), len(d.l.Brackets), d.ruled())
	for _, sentence := range d.l.Summary {
		b.WriteString(" " + sentence)
	}
	return b.String()
}

// title writes the title block.
func (d *drawing) title() {
	y := 2.0 * lineHeight
	d.clipped("heading", margin, y, "start", d.heading(), int((d.width-2*margin)/headingWidth))
	line := func(class, text string) {
		for _, part := range wrap(text, d.columns()) {
			y += lineHeight
			d.text(class, margin, y, "start", part)
		}
	}
	line("ruled", d.ruled())
	for i := range d.l.Connections {
		c := &d.l.Connections[i]
		line("fine", fmt.Sprintf("connection %d: %s to %s", c.Number, c.ClientAddress, c.ServerAddress))
		if i == 3 && len(d.l.Connections) > 5 {
			line("fine", fmt.Sprintf("and %d more", len(d.l.Connections)-i-1))
			break
		}
	}
	for i := range d.l.Lanes {
		line("fine", d.hostWords(i))
	}
	if d.o.Tool != "" {
		line("fine", "drawn by "+d.o.Tool)
	}
	if d.o.Command != "" {
		line("fine", "$ "+d.o.Command)
	}
	d.top = y + 4*rowHeight
}

// hostWords are a host, its kernel and how well its clock is known.
func (d *drawing) hostWords(lane int) string {
	l := &d.l.Lanes[lane]
	text := shortened(l.Name)
	if h := &d.t.Hosts[l.Host]; h.Kernel != "" {
		text += ", Linux " + shortened(strings.TrimPrefix(h.Kernel, "Linux "))
	}
	b := l.Clock.Bound
	switch {
	case l.Reference:
		return text + ": its clock is the lab's"
	case l.SameKernel:
		return text + ": reads the very clock of the lab"
	case b.Lo <= -clock.Unbounded || b.Hi >= clock.Unbounded:
		return text + ": nothing ties its clock to the lab's"
	}
	half := (b.Hi - b.Lo + 1) / 2
	return fmt.Sprintf("%s: %s off the lab's clock, ±%s, by %s", text, timeline.Span(b.Lo+half), timeline.Span(half), l.Clock.Method)
}

// shortened is a name as far as a line has room for it. Its lane has the whole.
func shortened(name string) string {
	if runes := []rune(name); len(runes) > labelMost {
		return string(runes[:labelMost-1]) + "…"
	}
	return name
}

// columns is how many letters a line of the picture has room for.
func (d *drawing) columns() int { return int((d.width - 2*margin) / charWidth) }

// footer writes what is to be known beside the picture: the scale of its errors, the
// summary, what did not hold, the notes and the warnings.
func (d *drawing) footer() {
	d.bottom += rowHeight
	d.measureBar()
	line := func(class, lead, text string) {
		for i, part := range wrap(text, d.columns()-len([]rune(lead))) {
			d.bottom += lineHeight
			if i > 0 {
				lead = strings.Repeat(" ", len([]rune(lead)))
			}
			d.text(class, margin, d.bottom, "start", lead+part)
		}
	}
	for _, sentence := range d.l.Summary {
		line("summary", "", sentence)
	}
	for _, v := range d.l.Exceptions {
		line("alarm", v.Ruling.String()+": ", strings.TrimSuffix(v.Expectation+": "+v.Reason, ": "))
	}
	for _, n := range d.l.Notes {
		line("fine", fmt.Sprintf("%d ", n.Number), n.Text)
	}
	for _, sentence := range d.l.Warnings {
		line("alarm", "! ", sentence)
	}
}

// measureBar shows the largest ± in the scale of the picture, so that a reader sees which
// differences mean something.
func (d *drawing) measureBar() {
	widest := -1
	for i := range d.l.Rows {
		if r := &d.l.Rows[i]; r.Timed() && r.Err > 0 && r.Err < clock.Unbounded && (widest < 0 || r.Err > d.l.Rows[widest].Err) {
			widest = i
		}
	}
	if widest < 0 {
		return
	}
	r := &d.l.Rows[widest]
	text := "the largest error between two hosts' clocks here is ±" + timeline.Span(r.Err)
	if d.o.Scale == timeline.ScaleRow {
		d.bottom += lineHeight
		d.text("fine", margin, d.bottom, "start", text+"; rows are not to scale")
		return
	}
	if d.o.Scale == timeline.ScaleLog {
		d.bottom += lineHeight
		d.text("fine", margin, d.bottom, "start", text+"; each time is as long as its logarithm, so that the short ones are seen")
		return
	}
	height := d.y(d.axis.Place(r.Lab+r.Err)) - d.y(d.axis.Place(r.Lab-r.Err))
	d.bottom += max(height, lineHeight)
	top := d.bottom - height
	d.element(`path class="measure" d="M%s %sh8m-4 0V%sm-4 0h8"`, px(margin), px(top), px(d.bottom))
	d.text("fine", margin+16, d.bottom-max(0, height/2-4), "start", text+", as long as this bar")
	d.bottom += 6
}

// wrap breaks a text into lines of at most so many letters, at spaces where it can.
func wrap(text string, columns int) []string {
	columns = max(columns, 20)
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		for len([]rune(word)) > columns {
			runes := []rune(word)
			if line != "" {
				lines, line = append(lines, line), ""
			}
			lines = append(lines, string(runes[:columns]))
			word = string(runes[columns:])
		}
		switch {
		case line == "":
			line = word
		case len([]rune(line))+1+len([]rune(word)) > columns:
			lines, line = append(lines, line), word
		default:
			line += " " + word
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}
