package web

import (
	"fmt"
	"math"
	"strings"

	"syncline/controller/clock"
	"syncline/controller/timeline"
)

// lanes draws the line of each host with its name above.
func (d *drawing) lanes() {
	end := d.y(d.axis.Length) + rowHeight
	d.bottom = max(d.bottom, end)
	for i := range d.l.Lanes {
		lane := &d.l.Lanes[i]
		name := lane.Name
		if lane.Agent != "" && lane.Agent != lane.Name {
			name += " (" + lane.Agent + ")"
		}
		if len(lane.Roles) > 0 {
			name += " " + strings.Join(lane.Roles, ", ")
		}
		d.clipped("host", d.line[i], d.top-2*rowHeight, "middle", name, d.hostRoom(i))
		d.element(`line class="line" x1="%s" y1="%s" x2="%[1]s" y2="%[3]s"`, px(d.line[i]), px(d.top-rowHeight), px(end))
	}
	d.text("time", d.timeEnd()-3, d.top-2*rowHeight, "end", "t/"+d.l.Unit.String())
}

// hostRoom is how many letters a host's name has room for above its line: as far as the
// next line or the edge is, on the nearer side.
func (d *drawing) hostRoom(lane int) int {
	near := min(d.line[lane]-margin, d.width-margin-d.line[lane])
	for _, x := range d.line {
		if x != d.line[lane] {
			// Each of two neighbours has half of what is between them.
			near = min(near, math.Abs(x-d.line[lane])/2-hostWidth)
		}
	}
	return max(int(2*near/hostWidth), 8)
}

// folds draws a break across all lanes where quiet time is folded.
func (d *drawing) folds() {
	for i := range d.l.Rows {
		if d.l.Rows[i].Kind != timeline.RowQuiet || d.o.Scale == timeline.ScaleLog {
			continue
		}
		y := d.rowY(i)
		for _, x := range d.line {
			d.element(`path class="gap" d="M%s %sv9"`, px(x), px(y-4.5))
			d.element(`path class="fold" d="M%s %sl12 -5m-12 12l12 -5"`, px(x-6), px(y-1))
		}
	}
}

// gaps draws where events are missing from the record.
func (d *drawing) gaps() {
	for _, b := range d.l.Bands {
		from := d.top - rowHeight/2
		if b.First > 0 {
			from = d.rowY(b.First - 1)
		}
		to := d.rowY(min(b.Last, len(d.l.Rows)-1))
		d.element(`rect class="missing" x="%s" y="%s" width="10" height="%s"`, px(d.line[b.Lane]-5), px(from), px(max(to-from, 4)))
	}
}

// times draws a tick for each time.
func (d *drawing) times() {
	x := d.timeEnd()
	for i := range d.l.Rows {
		if d.l.Rows[i].Timed() {
			d.element(`line class="tick" x1="%s" y1="%s" x2="%s" y2="%[2]s"`, px(x+12), px(d.rowY(i)), px(x+18))
		}
	}
}

// spans draws the band of each state.
func (d *drawing) spans() {
	for i := range d.l.Spans {
		s := &d.l.Spans[i]
		from, to := d.rowY(s.First), d.rowY(s.Last)
		if s.Open {
			to = d.y(d.axis.Length) + rowHeight
		}
		class := "span " + stateClass(s.Name)
		if s.Doubtful {
			class += " doubtful"
		}
		side := d.side[s.Lane]
		x := d.line[s.Lane] + side*(d.inner(s.Lane)+float64(d.bands[i])*bandStep)
		if side < 0 {
			x -= bandWidth
		}
		length := timeline.Span(d.l.Rows[s.Last].Lab - d.l.Rows[s.First].Lab)
		fmt.Fprintf(&d.b, "<rect class=\"%s\" x=\"%s\" y=\"%s\" width=\"%d\" height=\"%s\"><title>%s</title></rect>\n",
			class, px(x), px(from), bandWidth, px(max(to-from, 1.5)), escape(fmt.Sprintf("%s for %s, known by %s", s.Name, length, s.Known)))
	}
}

// stateClass groups the states of RFC 9293 3.3.2 by what they are for.
func stateClass(name string) string {
	switch name {
	case "SYN_SENT", "SYN_RECV", "LISTEN":
		return "opening"
	case "ESTABLISHED":
		return "established"
	case "TIME_WAIT":
		return "waiting"
	case "CLOSED":
		return "closed"
	}
	return "closing"
}

// calls draws a bar for each call, from its entry to its return.
func (d *drawing) calls() {
	for i := range d.l.Brackets {
		k := &d.l.Brackets[i]
		class := "bar"
		switch {
		case k.Failed:
			class += " failed"
		case k.Lab:
			class += " lab"
		case k.Blocked:
			class += " blocked"
		}
		side := d.side[k.Lane]
		x := d.line[k.Lane] + side*(8+float64(k.Column)*barStep)
		if side < 0 {
			x -= barWidth
		}
		from, to := d.rowY(k.Enter), d.rowY(k.Return)
		words := k.Role + ": " + k.Call
		if k.Result != "" {
			words += " = " + k.Result
		}
		words += " after " + timeline.Span(k.Took)
		if k.Released != "" {
			words += "; " + k.Released
		}
		fmt.Fprintf(&d.b, "<rect class=\"%s\" x=\"%s\" y=\"%s\" width=\"%d\" height=\"%s\"><title>%s</title></rect>\n",
			class, px(x), px(from-1.5), barWidth, px(max(to-from, 0)+3), escape(words))
	}
}

// arrows draws the packets.
func (d *drawing) arrows() {
	for i := range d.l.Arrows {
		a := &d.l.Arrows[i]
		class := "arrow"
		switch {
		case a.Impossible:
			class += " impossible alarm"
		case a.Reset, a.Lost, a.Dropped:
			class += " alarm"
		case a.Copy > 0 || a.Duplicate:
			class += " again"
		case a.Ambiguous:
			class += " ambiguous"
		}
		fmt.Fprintf(&d.b, "<g class=\"%s\"><title>%s</title>\n", class, escape(d.arrowWords(a)))
		switch {
		case a.Departure >= 0 && a.Arrival >= 0 && a.From >= 0 && a.To >= 0:
			d.arrow(a)
		case a.Departure >= 0 && a.From >= 0:
			d.departing(a)
		case a.Arrival >= 0 && a.To >= 0:
			d.arriving(a)
		}
		d.b.WriteString("</g>\n")
	}
}

// arrowWords tell a packet to who points at it.
func (d *drawing) arrowWords(a *timeline.Arrow) string {
	words := fmt.Sprintf("%s to %s: %s", d.laneName(a.From), d.laneName(a.To), strings.Join(a.Words, " "))
	switch {
	case a.Impossible:
		words += fmt.Sprintf(", arrived %s before it left, which no offset of the clocks explains", timeline.Span(-a.Delay))
	case a.Delayed && a.DelayErr > 0:
		words += fmt.Sprintf(", %s ±%s on the way", timeline.Span(a.Delay), timeline.Span(a.DelayErr))
	case a.Delayed:
		words += fmt.Sprintf(", %s on the way", timeline.Span(a.Delay))
	}
	if a.Delayed && a.DelayErr >= a.Delay && !a.Impossible {
		words += "; the clocks alone do not prove that it left before it arrived"
	}
	return words
}

func (d *drawing) laneName(lane int) string {
	if lane < 0 {
		return "elsewhere"
	}
	return d.l.Lanes[lane].Name
}

// arrow draws one that both taps saw, with a wedge as wide at its far end as the clocks
// leave open.
func (d *drawing) arrow(a *timeline.Arrow) {
	x0, y0, x1, y1 := d.line[a.From], d.rowY(a.Departure), d.line[a.To], d.rowY(a.Arrival)
	if a.From == a.To {
		d.element(`path d="M%s %sq30 %s 0 %s"`, px(x0), px(y0), px((y1-y0)/2), px(y1-y0))
		return
	}
	if a.Delayed && a.DelayErr > 0 && a.DelayErr < clock.Unbounded {
		at := d.l.Rows[a.Arrival].Lab
		low, high := d.y(d.axis.Place(at-a.DelayErr)), d.y(d.axis.Place(at+a.DelayErr))
		d.element(`path class="wedge" d="M%s %sL%s %sL%[3]s %[5]sZ"`, px(x0), px(y0), px(x1), px(min(low, y1)), px(max(high, y1)))
	}
	d.element(`line x1="%s" y1="%s" x2="%s" y2="%s"`, px(x0), px(y0), px(x1), px(y1))
	d.dot(x0, y0)
	d.head(x0, y0, x1, y1, !a.Delayed || a.DelayErr >= a.Delay)
}

// departing draws one that no tap saw arrive: a cross if it surely did not, a question mark
// if nobody can tell.
func (d *drawing) departing(a *timeline.Arrow) {
	x0, y0 := d.line[a.From], d.rowY(a.Departure)
	x1, y1 := d.stub(a, x0), y0+rowHeight*0.6
	d.element(`line x1="%s" y1="%s" x2="%s" y2="%s"`, px(x0), px(y0), px(x1), px(y1))
	d.dot(x0, y0)
	if a.Lost || a.Dropped {
		d.element(`path class="cross" d="M%s %sl8 8m0 -8l-8 8"`, px(x1-4), px(y1-4))
		return
	}
	d.text("packet", x1, y1+4, "middle", "?")
}

// arriving draws one that no tap saw leave.
func (d *drawing) arriving(a *timeline.Arrow) {
	x1, y1 := d.line[a.To], d.rowY(a.Arrival)
	x0, y0 := x1, y1-rowHeight*0.6
	if d.toLeft(a) {
		x0 += 70
	} else {
		x0 -= 70
	}
	d.element(`line class="untold" x1="%s" y1="%s" x2="%s" y2="%s"`, px(x0), px(y0), px(x1), px(y1))
	d.head(x0, y0, x1, y1, false)
}

// stub is where an arrow ends that did not arrive: some way to the other lane.
func (d *drawing) stub(a *timeline.Arrow, x float64) float64 {
	if a.To >= 0 && a.To != a.From {
		return x + (d.line[a.To]-x)*0.55
	}
	if d.toLeft(a) {
		return x - 90
	}
	return x + 90
}

func (d *drawing) dot(x, y float64) {
	d.element(`circle class="dot" cx="%s" cy="%s" r="%s"`, px(x), px(y), px(dotRadius))
}

// head draws the head of an arrow. It is open where the clocks alone do not prove that
// the packet left before it arrived.
func (d *drawing) head(x0, y0, x1, y1 float64, open bool) {
	const length, half = 9, 3.6
	dx, dy := x1-x0, y1-y0
	norm := math.Hypot(dx, dy)
	if norm == 0 {
		return
	}
	dx, dy = dx/norm, dy/norm
	bx, by := x1-dx*length, y1-dy*length
	class := "head"
	if open {
		class = "head open"
	}
	d.element(`path class="%s" d="M%s %sL%s %sL%s %sZ"`, class, px(x1), px(y1), px(bx-dy*half), px(by+dx*half), px(bx+dy*half), px(by-dx*half))
}

// sayings draws a mark for each sentence that no call and no packet shows.
func (d *drawing) sayings() {
	for i := range d.l.Rows {
		r := &d.l.Rows[i]
		if class, text := d.saying(r); text != "" && r.Lane >= 0 {
			x, y := d.line[r.Lane], d.rowY(i)
			d.element(`path class="%s mark" d="M%s %sl5 5l-5 5l-5 -5z"`, class, px(x), px(y-5))
		}
	}
}
