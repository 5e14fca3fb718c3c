package cli

import (
	"bufio"
	"fmt"
	"io"

	"syncline/controller/timeline"
)

// drawOptions say how a picture is put on a terminal.
type drawOptions struct {
	// Width is the number of columns there are. From listBelow on a ladder is drawn, if
	// its hosts find room; else events are listed one a line. From fullFrom on labels
	// are given whole.
	Width int
	// ASCII keeps to the 95 printable characters of ASCII.
	ASCII bool
	// Colour marks resets and what is impossible in red, with ANSI sequences.
	Colour bool
}

const (
	listBelow = 72
	fullFrom  = 100
)

// drawLadder writes a ladder: time goes down, a line per host, an arrow per packet, a
// bracket per call; or, without the room for that, a line per moment. The same ladder and options give the same bytes.
func drawLadder(w io.Writer, l *timeline.Ladder, opts drawOptions) error {
	d, out := newRendering(l, opts), bufio.NewWriterSize(w, 64<<10)
	// What goes wrong Flush tells.
	write := func(text string) {
		out.WriteString(text)
		out.WriteByte('\n')
	}
	for _, text := range ladderHeader(l, opts) {
		write(text)
	}
	for first := 0; first < d.height(); first += drawnAtOnce {
		for _, line := range d.lines(first, first+drawnAtOnce) {
			write(line.paint(opts))
		}
	}
	for _, text := range ladderFooter(l, opts, d.drawn()) {
		write(text)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write the ladder: %w", err)
	}
	return nil
}

// drawnAtOnce is how many lines of a ladder are in memory at a time: cells take more room than
// the text that becomes of them.
const drawnAtOnce = 512

// delayText is the time on the way. Where ε is the longer of the two, only an upper
// limit is left of it: nothing arrives before it leaves.
func delayText(a *timeline.Arrow) string {
	switch {
	case a.Impossible:
		return fmt.Sprintf("%s ±%s: impossible", timeline.Span(a.Delay), timeline.Span(a.DelayErr))
	case a.DelayErr == 0:
		return timeline.Span(a.Delay)
	case a.DelayErr >= a.Delay:
		return "at most " + timeline.Span(a.Delay+a.DelayErr)
	}
	return fmt.Sprintf("%s ±%s", timeline.Span(a.Delay), timeline.Span(a.DelayErr))
}
