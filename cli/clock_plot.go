package cli

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

// What of a clock is plotted over time.
const (
	plotOffset  = "offset"
	plotError   = "error"
	plotNothing = "none"
)

// mostPlots is how many hosts are plotted unless they are named.
const mostPlots = 3

// Rows of a plot: of braille cells, four dots high each, and of characters.
const (
	brailleRows = 7
	asciiRows   = 9
)

// clockPlots are the plots of the shown hosts, each after a blank line.
func clockPlots(r *synclinev1.ClockReport, shown []int, plot string, o drawOptions) []string {
	if plot == plotNothing {
		return nil
	}
	var lines []string
	plots, more := 0, 0
	for _, i := range shown {
		h := r.Hosts[i]
		if i == int(r.Reference) || h.Method == "same clock" {
			continue
		}
		c := newCurve(h, plot)
		if c == nil {
			continue
		}
		if plots == mostPlots && len(shown) == len(r.Hosts) {
			more++
			continue
		}
		plots++
		lines = append(append(lines, ""), c.draw(o)...)
	}
	if more > 0 {
		lines = append(lines, "", o.fit(fmt.Sprintf("… %s not plotted; name hosts to choose", numbered(more, "host", "hosts"))))
	}
	return lines
}

// curve is what is known of one host over time: a line, and for an offset the limits
// around it. Times and values are nanoseconds; a value that is not known is NaN.
type curve struct {
	title          string
	x              []float64
	low, mid, high []float64
	// bottom and top are the values at the edges; what is beyond them is not drawn.
	bottom, top float64
	// marks are when something happened to the clock.
	marks []float64
}

// newCurve is nil for a host of which less than two moments are known.
func newCurve(h *synclinev1.ClockHost, plot string) *curve {
	known := 0
	for _, p := range h.Points {
		if bounded(p.All) {
			known++
		}
	}
	if known < 2 || clockSpan(h) <= 0 {
		return nil
	}
	c := &curve{}
	start := h.Points[0].LocalNs
	for _, e := range h.Changes {
		if at := e.TimeNs - start; e.GetClockStep() != nil && at >= 0 && at <= clockSpan(h) {
			c.marks = append(c.marks, float64(at))
		}
	}
	if plot == plotError {
		c.errors(h)
	} else {
		c.offsets(h)
	}
	return c
}

// errors plots the half-width of the interval.
func (c *curve) errors(h *synclinev1.ClockHost) {
	c.title = fmt.Sprintf("± of %s over time", clockName(h))
	var widths []float64
	for _, p := range h.Points {
		y := math.NaN()
		if bounded(p.All) {
			y = float64(halfWidth(p.All))
			widths = append(widths, y)
		}
		c.add(p.LocalNs-h.Points[0].LocalNs, math.NaN(), y, math.NaN())
	}
	c.top = max(edge(widths), 1)
}

// offsets plots the offset less the straight line that fits it best: what is left is what
// the rate wandered, and what is not known.
func (c *curve) offsets(h *synclinev1.ClockHost) {
	var origin int64
	var widths []float64
	for i, p := range h.Points {
		if !bounded(p.All) {
			c.add(p.LocalNs-h.Points[0].LocalNs, math.NaN(), math.NaN(), math.NaN())
			continue
		}
		mid, _ := middleOf(p.All)
		if len(widths) == 0 {
			// Offsets may be hours: they are counted from the first, in whole nanoseconds.
			origin = mid
		}
		widths = append(widths, float64(halfWidth(h.Points[i].All)))
		c.add(p.LocalNs-h.Points[0].LocalNs, float64(*p.All.LowNs-origin), float64(mid-origin), float64(*p.All.HighNs-origin))
	}
	slope := c.level()
	c.title = fmt.Sprintf("offset of %s less a straight line of %s", clockName(h), ppm(int64(math.Round(slope*1e9))))
	room := edge(widths)
	for i, y := range c.mid {
		if c.high[i]-y <= room && y-c.low[i] <= room {
			c.bottom, c.top = min(c.bottom, c.low[i]), max(c.top, c.high[i])
		}
	}
	c.bottom, c.top = min(c.bottom, -1), max(c.top, 1)
}

// edge is the largest half-width that a plot makes room for: where messages are missing
// the limits go far apart, and the others would not be told from zero.
func edge(widths []float64) float64 {
	slices.Sort(widths)
	return min(widths[len(widths)-1], 3*widths[len(widths)/2])
}

// beyond reports whether a value is not drawn.
func (c *curve) beyond() bool {
	return slices.ContainsFunc(slices.Concat(c.low, c.mid, c.high), func(y float64) bool { return y < c.bottom || y > c.top })
}

func (c *curve) add(at int64, low, mid, high float64) {
	c.x = append(c.x, float64(at))
	c.low, c.mid, c.high = append(c.low, low), append(c.mid, mid), append(c.high, high)
}

// level takes the straight line of least squares from all values, and returns its slope.
func (c *curve) level() float64 {
	var n, mx, my float64
	for i, y := range c.mid {
		if !math.IsNaN(y) {
			n, mx, my = n+1, mx+c.x[i], my+y
		}
	}
	mx, my = mx/n, my/n
	var sxy, sxx float64
	for i, y := range c.mid {
		if !math.IsNaN(y) {
			sxy += (c.x[i] - mx) * (y - my)
			sxx += (c.x[i] - mx) * (c.x[i] - mx)
		}
	}
	slope := 0.0
	if sxx > 0 {
		slope = sxy / sxx
	}
	for i, x := range c.x {
		line := my + slope*(x-mx)
		c.low[i], c.mid[i], c.high[i] = c.low[i]-line, c.mid[i]-line, c.high[i]-line
	}
	return slope
}

// draw is the plot with its axes.
func (c *curve) draw(o drawOptions) []string {
	rows := brailleRows
	if o.ASCII {
		rows = asciiRows
	}
	labels := c.labels(rows)
	room := 0
	for _, l := range labels {
		room = max(room, o.width(l))
	}
	d := newDots(o.Width-room-3, rows, o.ASCII)
	d.line(c, c.low, true)
	d.line(c, c.high, true)
	d.line(c, c.mid, false)
	lines := o.sentence("", c.legend(o))
	for y, text := range d.lines() {
		lines = append(lines, strings.TrimRight(o.text(strings.Repeat(" ", room-o.width(labels[y]))+labels[y])+o.text(" │")+text, " "))
	}
	return append(lines, c.axis(o, room, d.columns)...)
}

func (c *curve) legend(o drawOptions) string {
	text := c.title
	if len(c.low) > 0 && slices.ContainsFunc(c.low, func(y float64) bool { return !math.IsNaN(y) }) {
		how := "limits that hold it dotted"
		if o.ASCII {
			how = "best guess *, limits that hold it ."
		}
		text += "; " + how
	}
	if c.beyond() {
		text += "; what is beyond the edges is not drawn"
	}
	if len(c.marks) > 0 {
		text += "; ▲ its clock was changed"
	}
	return text
}

// labels are the values beside the rows: at the edges, and at zero if it is between.
func (c *curve) labels(rows int) []string {
	labels := make([]string, rows)
	labels[0] = c.label(c.top)
	labels[rows-1] = c.label(c.bottom)
	if c.bottom == 0 {
		labels[rows-1] = "0"
	}
	if zero := c.row(0, rows); zero > 0 && zero < rows-1 {
		labels[zero] = "0"
	}
	return labels
}

func (c *curve) label(y float64) string {
	ns := int64(math.Round(y))
	if ns > 0 && c.bottom < 0 {
		return "+" + timeline.Span(ns)
	}
	return timeline.Span(ns)
}

// row is the row of a value, of so many.
func (c *curve) row(y float64, rows int) int {
	return int(math.Round((c.top - y) / (c.top - c.bottom) * float64(rows-1)))
}

// axis is the line of time: from the first moment to the last.
func (c *curve) axis(o drawOptions, room, width int) []string {
	last := c.x[len(c.x)-1]
	line := []rune("└" + strings.Repeat("─", width))
	for _, at := range c.marks {
		line[1+int(at/last*float64(width-1))] = '▲'
	}
	end := timeline.Span(int64(last))
	gap := max(width-len("0 s")-o.width(end), 1)
	lead := strings.Repeat(" ", room+1)
	return []string{
		lead + o.text(string(line)),
		lead + " 0 s" + strings.Repeat(" ", gap) + o.text(end),
	}
}

// dots is a small canvas: of braille, two dots wide and four high a cell (Unicode 4.1,
// Braille Patterns), or of single characters.
type dots struct {
	columns, rows int
	ascii         bool
	cells         [][]rune
}

func newDots(columns, rows int, ascii bool) *dots {
	d := &dots{columns: max(columns, 2), rows: rows, ascii: ascii}
	for range rows {
		d.cells = append(d.cells, make([]rune, d.columns))
	}
	return d
}

// size is the number of dots in both directions.
func (d *dots) size() (w, h int) {
	if d.ascii {
		return d.columns, d.rows
	}
	return 2 * d.columns, 4 * d.rows
}

// brailleBits are the bits of the dots of a cell, by row and column.
var brailleBits = [4][2]rune{{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}}

func (d *dots) set(x, y int, faint bool) {
	if d.ascii {
		mark := '*'
		if faint {
			mark = '.'
		}
		d.cells[y][x] = mark
		return
	}
	d.cells[y/4][x/2] |= brailleBits[y%4][x%2]
}

// line joins the known values of a curve; a faint line is dotted.
func (d *dots) line(c *curve, values []float64, faint bool) {
	w, h := d.size()
	last := c.x[len(c.x)-1]
	place := func(i int) (x, y float64) {
		return c.x[i] / last * float64(w-1), (c.top - values[i]) / (c.top - c.bottom) * float64(h-1)
	}
	for i := 1; i < len(values); i++ {
		if math.IsNaN(values[i-1]) || math.IsNaN(values[i]) {
			continue
		}
		x0, y0 := place(i - 1)
		x1, y1 := place(i)
		// No more steps than there are dots: a limit may be far beyond the edges.
		steps := int(math.Ceil(min(max(math.Abs(x1-x0), math.Abs(y1-y0), 1), float64(4*(w+h)))))
		for s := range steps + 1 {
			f := float64(s) / float64(steps)
			x, y := int(math.Round(x0+f*(x1-x0))), math.Round(y0+f*(y1-y0))
			if x < 0 || x >= w || y < 0 || y >= float64(h) || faint && !d.ascii && x%4 != 0 {
				continue
			}
			d.set(x, int(y), faint)
		}
	}
}

func (d *dots) lines() []string {
	lines := make([]string, len(d.cells))
	for y, row := range d.cells {
		var b strings.Builder
		for _, r := range row {
			switch {
			case r == 0:
				b.WriteByte(' ')
			case d.ascii:
				b.WriteRune(r)
			default:
				b.WriteRune(0x2800 + r)
			}
		}
		lines[y] = strings.TrimRight(b.String(), " ")
	}
	return lines
}
