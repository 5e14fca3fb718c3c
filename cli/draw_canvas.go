package cli

import (
	"strings"
	"unicode/utf8"
)

// canvas is a grid of terminal cells.
type canvas struct {
	opts  drawOptions
	width int
	cells [][]cell
}

// cell is one column of one line. A character two columns wide is in the first of
// its cells; the other one has the rune covered.
type cell struct {
	r     rune
	style style
}

const covered = rune(-1)

func newCanvas(opts drawOptions, width, height int) *canvas {
	c := &canvas{opts: opts, width: width, cells: make([][]cell, height)}
	for y := range c.cells {
		c.cells[y] = make([]cell, width)
	}
	return c
}

// put writes text from column x on; what does not fit is lost.
func (c *canvas) put(x, y int, s string, st style) {
	for _, r := range c.opts.text(s) {
		w := columns.RuneWidth(r)
		if x < 0 || x+w > c.width || w == 0 {
			continue
		}
		c.cells[y][x] = cell{r, st}
		if w == 2 {
			c.cells[y][x+1] = cell{covered, st}
		}
		x += w
	}
}

// mark writes a single drawing character, which is one column wide in ASCII as well.
func (c *canvas) mark(x, y int, r rune, st style) {
	if x < 0 || x >= c.width || y < 0 || y >= len(c.cells) {
		return
	}
	if c.opts.ASCII {
		r, _ = utf8.DecodeRuneInString(c.opts.text(string(r)))
	}
	c.cells[y][x] = cell{r, st}
}

// free reports whether nothing is drawn in a cell.
func (c *canvas) free(x, y int) bool {
	return x >= 0 && x < c.width && (c.cells[y][x].r == 0 || c.cells[y][x].r == ' ')
}

// line is one line of the canvas as a terminal takes it, without trailing blanks.
func (c *canvas) line(y int) string {
	row := c.cells[y]
	end := len(row)
	for end > 0 && (row[end-1].r == 0 || row[end-1].r == ' ') {
		end--
	}
	var b strings.Builder
	for x := 0; x < end; {
		st := row[x].style
		var run strings.Builder
		for ; x < end && row[x].style == st; x++ {
			switch row[x].r {
			case 0:
				run.WriteByte(' ')
			case covered:
			default:
				run.WriteRune(row[x].r)
			}
		}
		b.WriteString(c.opts.paint(run.String(), st))
	}
	return b.String()
}
