package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"syncline/controller/timeline"
)

// drawSummary writes one line per expectation: how it was ruled, its text, in how
// many repetitions it held, and where it did not. Below it stand the reasons of the
// first repetition of each ruling that is not a pass.
func drawSummary(w io.Writer, s *timeline.Summary, opts drawOptions) error {
	var lines []string
	counts := 0
	for i := range s.Tallies {
		counts = max(counts, opts.width(countText(&s.Tallies[i])))
	}
	column := summaryColumn(s, opts, counts)
	for i := range s.Tallies {
		lines = append(lines, summaryLines(&s.Tallies[i], opts, column, counts)...)
	}
	if _, err := io.WriteString(w, strings.Join(lines, "\n")+"\n"); err != nil {
		return fmt.Errorf("write the verdicts: %w", err)
	}
	return nil
}

// summaryColumn is where the counts stand: after the longest text that leaves them
// room.
func summaryColumn(s *timeline.Summary, o drawOptions, counts int) int {
	longest := 0
	for i := range s.Tallies {
		longest = max(longest, o.width(s.Tallies[i].Expectation))
	}
	return max(min(longest, o.Width-o.markWidth()-counts-6), 20)
}

// rulingMark is one character a ruling; in ASCII it is a word.
func (o drawOptions) rulingMark(r timeline.Ruling) string {
	mark, word := "?", "????"
	switch r {
	case timeline.Pass:
		mark, word = "✓", "ok"
	case timeline.Fail:
		mark, word = "✗", "FAIL"
	case timeline.NotReproduced:
		mark, word = "–", "skip"
	}
	if o.ASCII {
		return word
	}
	return mark
}

func (o drawOptions) markWidth() int { return o.width(o.rulingMark(timeline.Fail)) }

func countText(t *timeline.Tally) string { return fmt.Sprintf("%d/%d", t.Passed, t.Total()) }

func summaryLines(t *timeline.Tally, o drawOptions, column, counts int) []string {
	mark := pad(o.rulingMark(t.Ruling()), o.markWidth(), o)
	indent := strings.Repeat(" ", 2+o.markWidth()+1)
	texts := o.wrapAt(t.Expectation, column)
	count := strings.Repeat(" ", counts-o.width(countText(t))) + countText(t)
	head := "  " + o.paint(mark, rulingColour(t.Ruling())) + " " + pad(texts[0], column, o) + "  " + count
	lines := []string{head}
	for _, text := range texts[1:] {
		lines = append(lines, indent+text)
	}
	for _, ruling := range []timeline.Ruling{timeline.Fail, timeline.CannotTell, timeline.NotReproduced} {
		lines = append(lines, exceptionLines(t, ruling, o, indent)...)
	}
	return lines
}

func rulingColour(r timeline.Ruling) style {
	switch r {
	case timeline.Pass:
		return green
	case timeline.Fail:
		return red
	}
	return yellow
}

// exceptionLines tell in which repetitions a ruling was given, and why in the first.
func exceptionLines(t *timeline.Tally, ruling timeline.Ruling, o drawOptions, indent string) []string {
	var reps []string
	reason := ""
	for _, e := range t.Exceptions {
		if e.Ruling != ruling {
			continue
		}
		if len(reps) == 0 {
			reason = e.Reason
		}
		reps = append(reps, strconv.Itoa(e.Repetition))
	}
	if len(reps) == 0 {
		return nil
	}
	if more := rulingCount(t, ruling) - len(reps); more > 0 {
		reps = append(reps, fmt.Sprintf("and %d more", more))
	}
	what := ruling.String()
	if ruling == timeline.Fail {
		what = "failed"
	}
	lines := o.wrap(indent+what+": rep ", reps, ", ")
	return append(lines, o.wrap(indent+"  rep "+reps[0]+": ", strings.Fields(reason), " ")...)
}

func rulingCount(t *timeline.Tally, r timeline.Ruling) int {
	switch r {
	case timeline.Fail:
		return t.Failed
	case timeline.CannotTell:
		return t.Untold
	case timeline.NotReproduced:
		return t.NotReproduced
	}
	return t.Passed
}

// wrapAt sets a text on lines of a width.
func (o drawOptions) wrapAt(s string, width int) []string {
	narrow := o
	narrow.Width = width
	return narrow.wrap("", strings.Fields(s), " ")
}
