package cli

import "unicode/utf8"

// canvas is a grid of terminal cells: of a picture's lines those from first on. What is
// put on any other line is not kept, so that a part of a picture is drawn as all of it is.
type canvas struct {
	opts         drawOptions
	width, first int
	cells        [][]cell
	// overdrawn counts the cells in which a text met something else that is drawn: a
	// picture that can be read has none.
	overdrawn int
	// text is where line puts a text together.
	text []byte
}

// cell is one column of one line. A character two columns wide is in the first of
// its cells; the other one has the rune covered.
type cell struct {
	r     rune
	style style
	// text is true for a character of a text, false for one of a line.
	text bool
}

const covered = rune(-1)

// newCanvas has the lines from first on, up to but without end.
func newCanvas(opts drawOptions, first, end int) *canvas {
	c := &canvas{opts: opts, width: max(opts.Width, 0), first: first, cells: make([][]cell, max(end-first, 0))}
	all := make([]cell, len(c.cells)*c.width)
	for i := range c.cells {
		c.cells[i] = all[i*c.width : (i+1)*c.width : (i+1)*c.width]
	}
	return c
}

// row has the cells of a line, none if the line is not on the canvas.
func (c *canvas) row(y int) []cell {
	if y < c.first || y-c.first >= len(c.cells) {
		return nil
	}
	return c.cells[y-c.first]
}

// put writes text from column x on; what does not fit is lost.
func (c *canvas) put(x, y int, s string, st style) {
	row := c.row(y)
	if row == nil {
		return
	}
	for _, r := range c.opts.text(s) {
		w := columns.RuneWidth(r)
		if x < 0 || x+w > c.width || w == 0 {
			continue
		}
		if !c.free(x, y) || w == 2 && !c.free(x+1, y) {
			c.overdrawn++
		}
		row[x] = cell{r, st, true}
		if w == 2 {
			row[x+1] = cell{covered, st, true}
		}
		x += w
	}
}

// mark writes a single drawing character, which is one column wide in ASCII as well.
func (c *canvas) mark(x, y int, r rune, st style) {
	row := c.row(y)
	if x < 0 || x >= len(row) {
		return
	}
	if c.opts.ASCII {
		r, _ = utf8.DecodeRuneInString(c.opts.text(string(r)))
	}
	if row[x].text && row[x].r != ' ' {
		c.overdrawn++
	}
	row[x] = cell{r, st, false}
}

// clear empties the cells of a line between two columns, the second excluded.
func (c *canvas) clear(from, to, y int) {
	for x := max(from, 0); x < min(to, len(c.row(y))); x++ {
		c.row(y)[x] = cell{}
	}
}

// free reports whether nothing is drawn in a cell.
func (c *canvas) free(x, y int) bool {
	row := c.row(y)
	return x >= 0 && x < len(row) && (row[x].r == 0 || row[x].r == ' ')
}

// line is one line of the canvas, without trailing blanks.
func (c *canvas) line(y int) line {
	row := c.row(y)
	end := len(row)
	for end > 0 && (row[end-1].r == 0 || row[end-1].r == ' ') {
		end--
	}
	var l line
	for x := 0; x < end; {
		st := row[x].style
		c.text = c.text[:0]
		for ; x < end && row[x].style == st; x++ {
			switch row[x].r {
			case 0:
				c.text = append(c.text, ' ')
			case covered:
			default:
				c.text = utf8.AppendRune(c.text, row[x].r)
			}
		}
		l = append(l, run{string(c.text), st})
	}
	return l
}
