package web

import (
	"bytes"
	"fmt"
	"io"

	"syncline/controller/timeline"
)

// maxPictureRows is the longest ladder that becomes a picture. A longer one is no help to
// the eye, and no viewer likes a file of that size.
const maxPictureRows = 5_000

// PictureOptions say what an SVG is to be like.
type PictureOptions struct {
	// Scale maps time to place; of what was laid out for another scale too.
	Scale timeline.Scale
	// Tool and Command stand in the title block: who drew it, and how to draw it again.
	Tool, Command string
}

// ReadableScale is the scale on which a picture of a ladder is best read: linear, where
// times are to scale, unless so much happens at nearly the same time that its words would
// have to stand elsewhere; then log.
func ReadableScale(t *timeline.Timeline, l *timeline.Ladder) timeline.Scale {
	d := newDrawing(t, l, PictureOptions{Scale: timeline.ScaleLinear})
	d.collectLabels()
	d.placeLabels()
	const far, most = 3 * lineHeight, 0.1
	moved := 0
	for _, lb := range d.labelled {
		if y := d.y(lb.place); lb.y > y+far || lb.y < y-far {
			moved++
		}
	}
	if float64(moved) > most*float64(len(d.labelled)) {
		return timeline.ScaleLog
	}
	return timeline.ScaleLinear
}

// Picture draws a ladder as SVG 2: time goes down, a lane for each host, slanted arrows with
// a wedge as wide as ±ε at the far end, a bar for each call and a band for each state. The
// colours are light or dark as the reader prefers; each has a shape or a word beside it.
// All text stays text.
//
// l must be t's, laid out on the row scale. A ladder of more than 5,000 rows is an error.
func Picture(w io.Writer, t *timeline.Timeline, l *timeline.Ladder, o PictureOptions) error {
	if len(l.Rows) > maxPictureRows {
		return fmt.Errorf("a picture of %d rows: more than %d are no help to the eye; choose connections with --conn, or write a page (.html), which zooms", len(l.Rows), maxPictureRows)
	}
	d := newDrawing(t, l, o)
	d.measure()
	d.title()
	d.lanes()
	d.folds()
	d.gaps()
	d.times()
	d.spans()
	d.calls()
	d.arrows()
	d.sayings()
	d.labels()
	d.footer()
	_, err := w.Write(d.finish())
	return err
}

// Sizes of a picture in pixels. The font is one of equal widths, so that the room a text
// takes is known without asking a browser.
const (
	charWidth = 6.63
	// headingWidth and hostWidth are those of a letter of the title, and of a host's name.
	headingWidth = charWidth * 14 / 11
	hostWidth    = charWidth * 12 / 11
	lineHeight   = 15
	rowHeight    = 19
	margin       = 16
	barWidth     = 5
	barStep      = 8
	bandWidth    = 9
	bandStep     = 12
	labelMost    = 40
	packetMost   = 50
	dotRadius    = 2.6
)

// drawing is a picture on its way.
type drawing struct {
	t    *timeline.Timeline
	l    *timeline.Ladder
	o    PictureOptions
	axis *timeline.Axis
	b    bytes.Buffer
	// line has the x of each lane's line, side which way its calls stand: -1 left, 1 right.
	line, side []float64
	// labelled are the texts beside the marks, which are placed at the end.
	labelled []*label
	// bands has, by state span, which band of its lane it is drawn in; depth how many each
	// lane has.
	bands, depth       []int
	top, bottom, width float64
}

func newDrawing(t *timeline.Timeline, l *timeline.Ladder, o PictureOptions) *drawing {
	d := &drawing{t: t, l: l, o: o, axis: l.Axis(o.Scale)}
	d.placeBands()
	return d
}

// maxBands is how many states are drawn beside each other, of connections that a host has
// at once. Of more than that the rest are drawn over the last.
const maxBands = 6

// placeBands gives ends of connections that are there at the same time bands beside each
// other.
func (d *drawing) placeBands() {
	type end struct{ lane, connection, end int }
	type stretch struct{ first, last int }
	all := make(map[end]stretch)
	var order []end
	for i := range d.l.Spans {
		s := &d.l.Spans[i]
		e := end{s.Lane, s.Connection, s.End}
		to, ok := all[e]
		if !ok {
			order = append(order, e)
			to = stretch{s.First, s.Last}
		}
		all[e] = stretch{min(to.first, s.First), max(to.last, s.Last)}
	}
	d.depth = make([]int, len(d.l.Lanes))
	busy, at := make(map[int][]int), make(map[end]int)
	for _, e := range order {
		columns, k := busy[e.lane], 0
		for k < len(columns) && columns[k] >= all[e].first && k < maxBands-1 {
			k++
		}
		if k == len(columns) {
			columns = append(columns, 0)
		}
		columns[k] = all[e].last
		busy[e.lane], at[e] = columns, k
		d.depth[e.lane] = max(d.depth[e.lane], len(columns))
	}
	for i := range d.l.Spans {
		s := &d.l.Spans[i]
		d.bands = append(d.bands, at[end{s.Lane, s.Connection, s.End}])
	}
}

// y is where a place of the axis stands.
func (d *drawing) y(place float64) float64 { return d.top + place*rowHeight }

// rowY is where a row stands.
func (d *drawing) rowY(row int) float64 { return d.y(d.axis.Places[row]) }

// outer is how far from its line the texts of a lane begin.
func (d *drawing) outer(lane int) float64 {
	return d.inner(lane) + float64(d.depth[lane])*bandStep + 6
}

// inner is how far from its line the states of a lane begin: behind the calls.
func (d *drawing) inner(lane int) float64 {
	return 8 + float64(d.l.Lanes[lane].Depth)*barStep + 2
}

// measure finds where the lanes stand: far enough apart for the words of the arrows
// between them and of the calls beside them.
func (d *drawing) measure() {
	d.collectLabels()
	n := len(d.l.Lanes)
	d.line, d.side = make([]float64, n), make([]float64, n)
	outer, inner := make([]float64, n), make([]float64, n)
	times := 0.0
	for _, lb := range d.labelled {
		room := float64(len([]rune(lb.text)))*charWidth + 10
		switch {
		case lb.column == timeColumn:
			times = max(times, room)
		case lb.column == callColumn:
			outer[lb.lane] = max(outer[lb.lane], room)
		default:
			inner[lb.lane] = max(inner[lb.lane], room)
		}
	}
	x := margin + times
	for i := range n {
		d.side[i] = 1
		if i == 0 {
			d.side[i] = -1
			x += outer[0] + d.outer(0)
		}
		d.line[i] = x
		gap := 130 + inner[i]
		if i > 0 {
			gap += outer[i] + d.outer(i)
		}
		if i+1 < n {
			gap += inner[i+1]
			x += max(gap, 260)
		} else if i > 0 {
			x += outer[i] + d.outer(i)
		} else {
			x += 260
		}
	}
	d.width = max(x+margin, 640)
}

// finish puts the frame around what is drawn.
func (d *drawing) finish() []byte {
	var b bytes.Buffer
	height := d.bottom + margin
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" class="syncline" width="%s" height="%s" viewBox="0 0 %[1]s %[2]s" role="img" aria-labelledby="syncline-title syncline-desc">`+"\n", px(d.width), px(height))
	fmt.Fprintf(&b, "<title id=\"syncline-title\">%s</title>\n", escape(d.heading()))
	fmt.Fprintf(&b, "<desc id=\"syncline-desc\">%s</desc>\n", escape(d.description()))
	fmt.Fprintf(&b, "<style>%s</style>\n", pictureStyle)
	b.WriteString(`<defs><pattern id="syncline-missing" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><line class="hatch" x1="0" y1="0" x2="0" y2="6"/></pattern></defs>` + "\n")
	fmt.Fprintf(&b, "<rect class=\"paper\" width=\"%s\" height=\"%s\"/>\n", px(d.width), px(height))
	b.Write(d.b.Bytes())
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// px is a length in pixels, to a tenth.
func px(x float64) string {
	text := fmt.Sprintf("%.1f", x)
	if n := len(text); text[n-2:] == ".0" {
		text = text[:n-2]
	}
	if text == "-0" {
		return "0"
	}
	return text
}

// element writes one element without content.
func (d *drawing) element(format string, args ...any) {
	d.b.WriteByte('<')
	fmt.Fprintf(&d.b, format, args...)
	d.b.WriteString("/>\n")
}

// text writes a text; anchor is "start", "middle" or "end".
func (d *drawing) text(class string, x, y float64, anchor, text string) {
	fmt.Fprintf(&d.b, "<text class=\"%s\" x=\"%s\" y=\"%s\"", class, px(x), px(y))
	if anchor != "start" {
		fmt.Fprintf(&d.b, " text-anchor=\"%s\"", anchor)
	}
	fmt.Fprintf(&d.b, ">%s</text>\n", escape(text))
}

// clipped writes a text of at most so many letters; of a longer one the rest is told by its
// title.
func (d *drawing) clipped(class string, x, y float64, anchor, text string, most int) {
	runes := []rune(text)
	if len(runes) <= most {
		d.text(class, x, y, anchor, text)
		return
	}
	d.b.WriteString("<g><title>" + escape(text) + "</title>\n")
	d.text(class, x, y, anchor, string(runes[:max(most-1, 0)])+"…")
	d.b.WriteString("</g>\n")
}
