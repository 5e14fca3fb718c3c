package experiment

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/mattn/go-runewidth"
)

// maxShown is how many errors are written out; a person mends those first.
const maxShown = 20

// Error is one fault of a file.
type Error struct {
	// File is Options.FileName; empty if the caller gave none.
	File string
	Pos  Pos
	// Message says what is wrong; Hint what is meant instead, empty if there is
	// nothing more to say.
	Message, Hint string
}

// Error is "file:line:column: message; hint" on one line, what is not known left out.
func (e *Error) Error() string { return e.head(e.File) }

func (e *Error) head(fileName string) string {
	var b strings.Builder
	b.WriteString(fileName)
	if e.Pos != (Pos{}) {
		if fileName != "" {
			b.WriteByte(':')
		}
		fmt.Fprintf(&b, "%d:%d", e.Pos.Line, e.Pos.Column)
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	b.WriteString(e.Message)
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return b.String()
}

// Errors are all faults of a file, in order of place.
type Errors []*Error

// Error has one line for each of the first faults, and says how many more there are.
func (e Errors) Error() string {
	shown, more := e.split()
	lines := make([]string, 0, len(shown)+1)
	for _, err := range shown {
		lines = append(lines, err.Error())
	}
	return strings.Join(append(lines, more...), "\n")
}

// Render shows the first faults as Error does, each followed by its line of source
// and a caret under the place. Lines of source are cut to width columns of a
// terminal around the caret; a width of 0 cuts nothing. Control characters of the
// source are not passed on. The result ends with a line break.
func (e Errors) Render(fileName string, source []byte, width int) string {
	lines := sourceLines(source)
	shown, more := e.split()
	numbers := 0
	for _, err := range shown {
		numbers = max(numbers, len(strconv.Itoa(err.Pos.Line)))
	}
	var b strings.Builder
	for _, err := range shown {
		b.WriteString(err.head(fileName) + "\n")
		if err.Pos.Line >= 1 && err.Pos.Line <= len(lines) {
			b.WriteString(excerpt(lines[err.Pos.Line-1], err.Pos, numbers, width))
		}
	}
	for _, line := range more {
		b.WriteString(line + "\n")
	}
	return b.String()
}

func (e Errors) split() (shown Errors, more []string) {
	if len(e) <= maxShown {
		return e, nil
	}
	return e[:maxShown], []string{fmt.Sprintf("and %d more", len(e)-maxShown)}
}

func (e Errors) sort() {
	slices.SortStableFunc(e, func(a, b *Error) int {
		if a.Pos.Line != b.Pos.Line {
			return a.Pos.Line - b.Pos.Line
		}
		return a.Pos.Column - b.Pos.Column
	})
}

// excerpt is the line with its number, and a caret under the place.
func excerpt(line string, at Pos, numbers, width int) string {
	prefix := fmt.Sprintf("> %*d | ", numbers, at.Line)
	text, caret := window(printable(line), at.Column-1, width-len(prefix))
	return prefix + text + "\n" + strings.Repeat(" ", len(prefix)+caret) + "^\n"
}

// printable replaces what would move a terminal's cursor, one rune for one.
func printable(line string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return unicode.ReplacementChar
		}
		return r
	}, line)
}

// window cuts text to width terminal columns so that the rune at index stays in
// sight, and returns where that rune then stands, in terminal columns. What is cut
// off shows as "…".
func window(text string, index, width int) (string, int) {
	runes := []rune(text)
	index = min(index, len(runes))
	const least = 20
	if width <= 0 || runewidth.StringWidth(text) <= width {
		return text, runewidth.StringWidth(string(runes[:index]))
	}
	width = max(width, least)
	first, left := 0, ""
	if runewidth.StringWidth(string(runes[:index])) > width*2/3 {
		left = "…"
		for first = index; first > 0 && runewidth.StringWidth(string(runes[first-1:index])) < width/2; {
			first--
		}
	}
	caret := runewidth.StringWidth(left + string(runes[first:index]))
	return left + runewidth.Truncate(string(runes[first:]), width-runewidth.StringWidth(left), "…"), caret
}
