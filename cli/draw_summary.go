package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"syncline/controller/timeline"
)

// drawSummary writes one line per expectation: how it was ruled, its text, in how
// many repetitions it held, and where it did not and why. A cause that several expectations
// share is told once, below all of them.
func drawSummary(w io.Writer, s *timeline.Summary, opts drawOptions) error {
	var lines []string
	counts := 0
	for i := range s.Tallies {
		counts = max(counts, opts.width(countText(&s.Tallies[i])))
	}
	column := summaryColumn(s, opts, counts)
	shared := summaryNotes(s)
	for i := range s.Tallies {
		lines = append(lines, summaryLines(&s.Tallies[i], shared, opts, column, counts)...)
	}
	lines = append(lines, shared.lines("  ", opts)...)
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

func summaryNotes(s *timeline.Summary) *notes {
	var groups [][]string
	for i := range s.Tallies {
		var reasons []string
		for _, ruling := range exceptionRulings {
			_, told := exceptionReasons(&s.Tallies[i], ruling)
			for _, r := range told {
				reasons = append(reasons, r.text)
			}
		}
		groups = append(groups, reasons)
	}
	return newNotes(groups, nil)
}

// exceptionRulings are the rulings that want a reason, the worst first.
var exceptionRulings = []timeline.Ruling{timeline.Fail, timeline.CannotTell, timeline.NotReproduced}

func summaryLines(t *timeline.Tally, shared *notes, o drawOptions, column, counts int) []string {
	mark := pad(o.rulingMark(t.Ruling()), o.markWidth(), o)
	indent := strings.Repeat(" ", 2+o.markWidth()+1)
	texts := o.wrapAt(t.Expectation, column)
	count := strings.Repeat(" ", counts-o.width(countText(t))) + countText(t)
	head := "  " + o.paint(mark, rulingColour(t.Ruling())) + " " + pad(texts[0], column, o) + "  " + count
	lines := []string{head}
	for _, text := range texts[1:] {
		lines = append(lines, indent+text)
	}
	for _, ruling := range exceptionRulings {
		lines = append(lines, exceptionLines(t, ruling, shared, o, indent)...)
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

// exceptionLines tell in which repetitions a ruling was given, and why: each reason
// once, with the repetitions that gave it.
func exceptionLines(t *timeline.Tally, ruling timeline.Ruling, shared *notes, o drawOptions, indent string) []string {
	repetitions, reasons := exceptionReasons(t, ruling)
	if len(repetitions) == 0 {
		return nil
	}
	what := ruling.String()
	if ruling == timeline.Fail {
		what = "failed"
	}
	if len(reasons) == 1 && !reasons[0].differ && rulingCount(t, ruling) == t.Total() {
		return o.wrap(indent+what+": ", strings.Fields(shared.refer(reasons[0].text)), " ")
	}
	all := rangeTexts(repetitions)
	if more := rulingCount(t, ruling) - len(repetitions); more > 0 {
		all = append(all, fmt.Sprintf("and %d more", more))
	}
	lines := o.wrap(indent+what+": rep ", all, ", ")
	for _, r := range reasons {
		lead := "  rep " + strings.Join(rangeTexts(r.repetitions), ", ") + ": "
		if len(reasons) == 1 {
			lead = "  "
			if r.differ {
				lead = fmt.Sprintf("  rep %d: ", r.repetitions[0])
			}
		}
		lines = append(lines, o.wrap(indent+lead, strings.Fields(shared.refer(r.text)), " ")...)
	}
	return lines
}

// reason is why a ruling was given in some repetitions.
type reason struct {
	text        string
	repetitions []int
	// differ is true if text is that of the first repetition, and the others' have
	// other times.
	differ bool
}

// exceptionReasons lists the repetitions with a ruling, and the reasons that differ in
// more than times and ports.
func exceptionReasons(t *timeline.Tally, ruling timeline.Ruling) (all []int, reasons []reason) {
	where := make(map[string]int)
	for _, e := range t.Exceptions {
		if e.Ruling != ruling {
			continue
		}
		all = append(all, e.Repetition)
		shape := e.Kind()
		i, ok := where[shape]
		if !ok {
			i = len(reasons)
			where[shape] = i
			reasons = append(reasons, reason{text: e.Reason})
		}
		r := &reasons[i]
		r.differ = r.differ || r.text != e.Reason
		r.repetitions = append(r.repetitions, e.Repetition)
	}
	return all, reasons
}

// rangeTexts are numbers in words as few as possible: "2, 3", "5–9".
func rangeTexts(numbers []int) []string {
	var texts []string
	for i := 0; i < len(numbers); {
		end := i + 1
		for end < len(numbers) && numbers[end] == numbers[end-1]+1 {
			end++
		}
		if end-i > 2 {
			texts = append(texts, fmt.Sprintf("%d–%d", numbers[i], numbers[end-1]))
			i = end
			continue
		}
		texts = append(texts, strconv.Itoa(numbers[i]))
		i++
	}
	return texts
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
