package cli

import (
	"strings"

	"syncline/controller/timeline"
)

// isTimedLoss reports whether a row is a loss of which the time is known.
func isTimedLoss(r *timeline.Row) bool { return r.Kind == timeline.RowLoss && r.Moment >= 0 }

// lossTexts are the sentence of a loss, and shorter ones: without where it was, without
// what.
func lossTexts(r *timeline.Row) []string {
	if !isTimedLoss(r) {
		return []string{r.Text, "the rest is lost"}
	}
	short, _, _ := strings.Cut(r.Text, " (")
	number, _, _ := strings.Cut(short, " ")
	return []string{r.Text, short, number + " lost"}
}

// drawBand shades the line of a host for as long as its record lacks something.
func (p *picture) drawBand(b *timeline.Band) {
	for row := b.First; row <= b.Last; row++ {
		p.canvas.mark(p.lanes[b.Lane], top+row, '░', red)
	}
}

// drawLoss writes beside the end of a band what is missing: into the room between the
// host and the next one, of the last host and the one before.
func (p *picture) drawLoss(r *timeline.Row, y int) {
	from, to := p.lanes[r.Lane]+2, p.o.Width
	last := r.Lane == len(p.lanes)-1 && r.Lane > 0
	switch {
	case last:
		from, to = p.lanes[r.Lane-1]+2, p.lanes[r.Lane]-1
	case r.Lane+1 < len(p.lanes):
		to = p.lanes[r.Lane+1] - 1
	}
	if r.Lane > 0 && last && r.Lane-1 > 0 {
		from += p.l.Lanes[r.Lane-1].Depth
	} else if r.Lane > 0 && !last {
		from += p.l.Lanes[r.Lane].Depth
	}
	text := p.o.fitting(lossTexts(r), to-from)
	if last {
		from = to - p.o.width(text)
	}
	p.canvas.clear(from-1, from+p.o.width(text)+1, y)
	p.canvas.put(from, y, text, red)
}
