package cli

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// timeUnit is a unit of lengths of time.
type timeUnit struct {
	name string
	ns   int64
}

var timeUnits = []timeUnit{{"ns", 1}, {"µs", 1e3}, {"ms", 1e6}, {"s", 1e9}}

// unitOf is the greatest unit that a length is at least one of.
func unitOf(ns int64) timeUnit {
	unit := timeUnits[0]
	for _, u := range timeUnits {
		if math.Abs(float64(ns)) >= float64(u.ns) {
			unit = u
		}
	}
	return unit
}

// digits is a length in the unit, with three digits. One that is far from its unit has its
// own beside it.
func (u timeUnit) digits(ns int64) string {
	size := math.Abs(float64(ns)) / float64(u.ns)
	if own := unitOf(ns); ns != 0 && own != u && (size >= 9_999.5 || size < 0.1) {
		return own.number(ns, 2) + own.name
	}
	return u.number(ns, 3)
}

// number is a length in the unit with so many digits, but all before the point.
func (u timeUnit) number(ns int64, digits int) string {
	if ns == 0 || u.ns == 1 {
		return minus(strconv.FormatInt(ns, 10))
	}
	// Rounded first: 9.996 is 10.0 with three digits, and not 10.00.
	x, err := strconv.ParseFloat(strconv.FormatFloat(float64(ns)/float64(u.ns), 'e', digits-1, 64), 64)
	if err != nil {
		panic(err) // It was written by FormatFloat.
	}
	before := int(math.Floor(math.Log10(math.Abs(x)))) + 1
	return minus(strconv.FormatFloat(x, 'f', min(max(digits-before, 0), digits-1), 64))
}

// minus writes the sign as people do.
func minus(s string) string { return strings.Replace(s, "-", "−", 1) }

// within is an error in the unit, with two digits and never rounded down.
func (u timeUnit) within(ns int64) string {
	step := int64(1)
	for ns/step >= 100 {
		step *= 10
	}
	ns = up(ns, step)
	own := u
	if ns != 0 && float64(ns) < float64(u.ns)/10 {
		own = unitOf(ns)
		return own.number(ns, 2) + own.name
	}
	return own.number(ns, 2)
}

// statsNames is how wide the column of names is at least: as the longest name of a phase.
const statsNames = 22

// drawStats draws the phases of runs as tables.
func drawStats(w io.Writer, all []runStats, o drawOptions) error {
	var lines []string
	for i := range all {
		if i > 0 {
			lines = append(lines, "")
		}
		lines = append(lines, statsLines(&all[i], o)...)
	}
	return writeLines(w, lines)
}

func writeLines(w io.Writer, lines []string) error {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(strings.TrimRight(l, " ") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func statsLines(r *runStats, o drawOptions) []string {
	lines := o.sentence("", fmt.Sprintf("run %s  %s  %s: %s", r.Run, r.Experiment, howMany(r.Repetitions, "repetition"), r.counted))
	if len(r.Groups) == 0 {
		return append(lines, o.sentence("  ", "no phase is on record")...)
	}
	for first := 0; first < len(r.Groups); {
		g, next := &r.Groups[first], first+1
		for next < len(r.Groups) && r.Groups[next].Variant == g.Variant && r.Groups[next].Ruling == g.Ruling {
			next++
		}
		lines = append(lines, "")
		if title := groupTitle(r, g); title != "" {
			lines = append(lines, o.sentence("", title)...)
		}
		lines = append(lines, groupLines(r.Groups[first:next], o)...)
		first = next
	}
	return lines
}

// groupTitle says what groups are of, as far as there are several.
func groupTitle(r *runStats, g *statsGroup) string {
	var parts []string
	if g.Variant != "" {
		parts = append(parts, "variant "+g.Variant)
	}
	if r.several {
		text := fmt.Sprintf("%s: %s", g.Ruling, howMany(g.Repetitions, "repetition"))
		if g.Ruling != rulings[0] {
			text += " (" + repetitionsText(g.of, 8) + ")"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

// groupLines are the rows of some groups under their headings, each after what it is of.
// Where they do not fit, what tells least goes first: the percentiles, then the interval.
func groupLines(groups []statsGroup, o drawOptions) []string {
	heads := []string{"phase", "n", "", "min", "median", "p90", "p99", "max", "median is in", "±"}
	rows := [][]string{heads}
	for i := range groups {
		if groups[i].Of != "" {
			rows = append(rows, []string{groups[i].Of})
		}
		for k := range groups[i].Phases {
			rows = append(rows, statsCells(&groups[i].Phases[k]))
		}
	}
	return fittingColumns(rows, []int{6, 5, 8, 3, 7}, o)
}

// fittingColumns sets rows in columns, without as many of those that may be dropped, in that
// order, as it takes for the others to fit.
func fittingColumns(rows [][]string, droppable []int, o drawOptions) []string {
	for {
		lines, width := statsColumns(rows, o)
		if width <= o.Width || len(droppable) == 0 {
			return lines
		}
		for i := range rows {
			if len(rows[i]) > 1 {
				rows[i][droppable[0]] = ""
			}
		}
		droppable = droppable[1:]
	}
}

func statsCells(row *statsRow) []string {
	unit := unitOf(row.Median)
	cells := []string{row.label, strconv.Itoa(row.N), unit.name, "-", "-", "-", "-", "-", "-", "-"}
	if row.N == 0 {
		cells[2] = ""
		return cells
	}
	for i, v := range []int64{row.Min, row.Median, row.P90, row.P99, row.Max} {
		cells[3+i] = unit.digits(v)
	}
	if row.Low != nil {
		cells[8] = unit.digits(*row.Low) + "…" + unit.digits(*row.High)
	}
	cells[9] = unit.within(row.Err)
	return cells
}

// statsColumns sets cells in columns, those that are empty in all rows left out. A row of one
// cell is a title.
func statsColumns(rows [][]string, o drawOptions) (lines []string, width int) {
	widths := make([]int, len(rows[0]))
	for _, cells := range rows {
		for i, c := range cells {
			if len(cells) > 1 {
				widths[i] = max(widths[i], o.width(c))
			}
		}
	}
	widths[0] = max(widths[0], statsNames)
	for n, cells := range rows {
		if len(cells) == 1 {
			lines = append(lines, o.fit(cells[0]))
			continue
		}
		var b strings.Builder
		for i, c := range cells {
			if widths[i] == 0 {
				continue
			}
			c = o.text(c)
			fill := strings.Repeat(" ", widths[i]-columns.StringWidth(c))
			switch {
			case i == 0:
				b.WriteString(c + fill)
			case i == 2:
				b.WriteString(" " + c + fill)
			default:
				b.WriteString(" " + fill + c)
			}
		}
		line := b.String()
		width = max(width, columns.StringWidth(strings.TrimRight(line, " ")))
		if n == 0 {
			line = o.paint(line, faint)
		}
		lines = append(lines, o.cutPlain(line, n > 0))
	}
	return lines, width
}

// cutPlain cuts a line to the width of the terminal, if it has no sequences in it.
func (o drawOptions) cutPlain(line string, isPlain bool) string {
	if !isPlain {
		return line
	}
	return o.fit(line)
}
