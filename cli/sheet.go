package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/mattn/go-runewidth"
)

// sheet is a page of text that is written item by item. Every line fits the width of
// the terminal, and nothing that a host said can do more to it than be read.
type sheet struct {
	b strings.Builder
	o drawOptions
}

// newSheet is for w, without colours.
func newSheet(w io.Writer) *sheet {
	_, width := terminal(w)
	return &sheet{o: drawOptions{Width: width}}
}

// line writes text, wrapped and indented by two columns from the second line on.
func (s *sheet) line(format string, args ...any) {
	text := s.o.text(fmt.Sprintf(format, args...))
	lead := text[:len(text)-len(strings.TrimLeft(text, " "))]
	s.hang(lead, len(lead)+2, text)
}

// item writes text after its name, at column at or two columns after the name; what
// does not fit goes on below where the text began. A name that leaves less than half a
// line stands on a line of its own.
func (s *sheet) item(lead string, at int, text string) {
	lead = s.o.text(lead)
	if gap := at - columns.StringWidth(lead); gap > 0 {
		lead += strings.Repeat(" ", gap)
	} else {
		lead += "  "
	}
	if width := columns.StringWidth(lead); width <= s.o.Width/2 {
		s.hang(lead, width, text)
		return
	}
	text = s.o.text(text)
	if columns.StringWidth(lead+text) <= s.o.Width {
		s.hang(lead, columns.StringWidth(lead), text)
		return
	}
	s.hang(strings.TrimRight(lead, " "), 0, "")
	s.hang(strings.Repeat(" ", min(at, s.o.Width/2)), min(at, s.o.Width/2), text)
}

// hang writes the words of text after lead, and below each other at a column.
func (s *sheet) hang(lead string, column int, text string) {
	line, empty := lead, true
	flush := func() {
		s.b.WriteString(strings.TrimRight(line, " "))
		s.b.WriteByte('\n')
		line, empty = strings.Repeat(" ", column), true
	}
	for _, word := range strings.Fields(s.o.text(text)) {
		if !empty && columns.StringWidth(line)+1+columns.StringWidth(word) > s.o.Width {
			flush()
		}
		if !empty {
			line += " "
		}
		// A word that is longer than a line is cut anywhere.
		for columns.StringWidth(line)+columns.StringWidth(word) > s.o.Width {
			room := s.o.Width - columns.StringWidth(line)
			head := runewidth.Truncate(word, max(room, 2), "")
			line += head
			word = strings.TrimPrefix(word, head)
			flush()
			if head == "" {
				break
			}
		}
		line, empty = line+word, false
	}
	flush()
}

// blank leaves a line free.
func (s *sheet) blank() { s.b.WriteByte('\n') }

// to writes the sheet.
func (s *sheet) to(w io.Writer) error {
	_, err := io.WriteString(w, s.b.String())
	return err
}
