package cli

import (
	"fmt"
	"strings"

	"syncline/controller/timeline"
)

// noteNumbers are the numbers of the notes of each row that has any: "2", or "2…" for 2
// and those that follow it.
func noteNumbers(l *timeline.Ladder) map[int]string {
	numbers := make(map[int]string)
	for i := range l.Notes {
		n := &l.Notes[i]
		if n.Row < 0 {
			continue
		}
		switch text := fmt.Sprint(n.Number); {
		case numbers[n.Row] == "":
			numbers[n.Row] = text
		case !strings.HasSuffix(numbers[n.Row], "…"):
			// The numbers of one row follow each other.
			numbers[n.Row] += "…"
		}
	}
	return numbers
}

// noteWidth is the columns that the numbers of notes take, with a blank.
func noteWidth(numbers map[int]string, o drawOptions) int {
	width := 0
	for _, text := range numbers {
		width = max(width, o.width(text)+1)
	}
	return width
}

// noteLines are what the repetition came to, in words, then its notes, each with the
// number that its row has at the left.
func noteLines(l *timeline.Ladder, o drawOptions) []string {
	var lines []string
	for _, text := range l.Summary {
		lines = append(lines, o.sentence("» ", text)...)
	}
	if len(lines) > 0 {
		lines = append(lines, "")
	}
	if len(l.Notes) == 0 {
		return lines
	}
	width := len(fmt.Sprint(len(l.Notes)))
	for i := range l.Notes {
		n := &l.Notes[i]
		text := n.Text
		if n.Reference != "" {
			text += " [" + n.Reference + "]"
		}
		lead := fmt.Sprintf("%*d ", width, n.Number)
		lines = append(lines, o.sentence(lead, text)...)
	}
	return append(lines, "")
}
