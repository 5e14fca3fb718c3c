package cli

import "strings"

// table sets cells in columns: the first ones flush left, the others flush right. Where
// the columns do not fit the terminal the first gives way, to a few characters; where
// that is not enough each row is told in words, by the headings of the first row.
type table struct {
	o    drawOptions
	left int
	rows []tableRow
}

// tableRow is a row of cells, or a note that begins in a column and goes on to the end of
// the line.
type tableRow struct {
	cells []string
	note  string
	from  int
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, tableRow{cells: cells}) }

func (t *table) note(from int, text string) {
	t.rows = append(t.rows, tableRow{note: text, from: from})
}

const (
	// columnGap is the blanks between two columns.
	columnGap = 2
	// narrowestFirst is what the first column is cut to at most.
	narrowestFirst = 8
)

// widths are those of the columns; ok is false if they do not fit.
func (t *table) widths() (widths []int, ok bool) {
	for _, r := range t.rows {
		for i, c := range r.cells {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], t.o.width(c))
		}
	}
	all := columnGap * (len(widths) - 1)
	for _, w := range widths {
		all += w
	}
	over := max(all-t.o.Width, 0)
	if over > 0 && widths[0]-over < narrowestFirst {
		return nil, false
	}
	widths[0] -= over
	return widths, true
}

func (t *table) lines() []string {
	widths, ok := t.widths()
	if !ok {
		return t.told()
	}
	var lines []string
	for _, r := range t.rows {
		if r.cells == nil {
			lead := 0
			for _, w := range widths[:r.from] {
				lead += w + columnGap
			}
			lines = append(lines, t.o.sentence(strings.Repeat(" ", lead), r.note)...)
			continue
		}
		var b strings.Builder
		for i, c := range r.cells {
			c = t.o.cut(c, widths[i])
			fill := strings.Repeat(" ", max(widths[i]-columns.StringWidth(c), 0))
			if i > 0 {
				b.WriteString(strings.Repeat(" ", columnGap))
			}
			if i < t.left {
				b.WriteString(c + fill)
			} else {
				b.WriteString(fill + c)
			}
		}
		lines = append(lines, strings.TrimRight(b.String(), " "))
	}
	return lines
}

// told are the rows in words.
func (t *table) told() []string {
	var lines []string
	headings := t.rows[0].cells
	for _, r := range t.rows[1:] {
		if r.cells == nil {
			lines = append(lines, t.o.sentence("  ", r.note)...)
			continue
		}
		if r.cells[0] != "" {
			lines = append(lines, t.o.fit(strings.TrimSpace(r.cells[0])))
		}
		var pieces []string
		for i, c := range r.cells[1:] {
			if c != "" {
				pieces = append(pieces, headings[i+1]+" "+c+",")
			}
		}
		if n := len(pieces); n > 0 {
			pieces[n-1] = strings.TrimSuffix(pieces[n-1], ",")
			lines = append(lines, t.o.wrap("  ", pieces, " ")...)
		}
	}
	return lines
}
