package web

import (
	"bytes"
	_ "embed"
	"fmt"
	"html"
	"io"
	"strings"
	"unicode"
)

// template is the page as `make page` builds it from page/: one file with its script and
// its style inside, and a place for the policy, the title and the data.
//
//go:embed page.html
var template []byte

// Places of the template, each of which stands there once.
const (
	policyPlace = "<!-- syncline:policy -->"
	titlePlace  = "<title>syncline</title>"
	dataPlace   = "<!-- syncline:data -->"
)

// Write finishes the page and writes it as one file of HTML, which needs nothing else: it
// asks no server for anything, and its policy forbids it to. The same data give the same
// bytes. Nothing can be added to p afterwards.
func Write(w io.Writer, p *Page) error {
	return write(w, p, template)
}

func write(w io.Writer, p *Page, template []byte) error {
	blocks, err := p.finish()
	if err != nil {
		return fmt.Errorf("pack the data of the page: %w", err)
	}
	plain := p.plain()
	policy, err := policyOf(template, plain)
	if err != nil {
		return fmt.Errorf("the page that this program was built with: %w", err)
	}
	data := bytes.NewBuffer(plain)
	for i, block := range blocks {
		fmt.Fprintf(data, "<script type=\"application/gzip\" id=\"block-%d\">%s</script>\n", i, block)
	}
	parts := []struct {
		place string
		text  []byte
	}{
		{policyPlace, fmt.Appendf(nil, "<meta http-equiv=\"Content-Security-Policy\" content=\"%s\">", html.EscapeString(policy))},
		{titlePlace, []byte("<title>" + escape(p.Title) + "</title>")},
		{dataPlace, bytes.TrimSuffix(data.Bytes(), []byte("\n"))},
	}
	for _, part := range parts {
		if n := bytes.Count(template, []byte(part.place)); n != 1 {
			return fmt.Errorf("the page that this program was built with has %s %d times, and not once; build it again with make page", part.place, n)
		}
	}
	rest := template
	for _, part := range parts {
		before, after, ok := bytes.Cut(rest, []byte(part.place))
		if !ok {
			return fmt.Errorf("the page that this program was built with has %s before what it should come after; build it again with make page", part.place)
		}
		for _, text := range [][]byte{before, part.text} {
			if _, err := w.Write(text); err != nil {
				return err
			}
		}
		rest = after
	}
	_, err = w.Write(rest)
	return err
}

// escape makes text of any origin a text of HTML: what is no character, or would not be
// seen, or would turn the direction of what follows, is shown by its number; and letters
// that run from right to left stand alone, since a number beside them would otherwise change
// places with them. The page does the same with what it is told: page/src/visible.ts.
func escape(text string) string {
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(text, "\ufffd") {
		if unicode.IsPrint(r) || r == '\n' {
			b.WriteRune(r)
			continue
		}
		fmt.Fprintf(&b, "\\u{%x}", r)
	}
	return html.EscapeString(isolate(b.String()))
}

// First strong isolate and pop directional isolate (Unicode Standard Annex 9, 2.4): what is
// between them has the direction of its first letter, and none of what is around it.
const (
	firstStrongIsolate = "\u2068"
	popIsolate         = "\u2069"
)

// isolate puts each stretch of letters that run from right to left between isolates, with the
// marks on them and the blanks between them. text has no isolates of its own.
func isolate(text string) string {
	if !strings.ContainsFunc(text, runsLeft) {
		return text
	}
	var b strings.Builder
	inside, blank := false, false
	for _, r := range text {
		switch {
		case runsLeft(r):
			if !inside {
				b.WriteString(firstStrongIsolate)
			} else if blank {
				b.WriteByte(' ')
			}
			inside, blank = true, false
			b.WriteRune(r)
			continue
		case inside && !blank && unicode.IsMark(r):
			b.WriteRune(r)
			continue
		case inside && !blank && r == ' ':
			blank = true
			continue
		case inside:
			b.WriteString(popIsolate)
			if blank {
				b.WriteByte(' ')
			}
			inside, blank = false, false
		}
		b.WriteRune(r)
	}
	if inside {
		b.WriteString(popIsolate)
		if blank {
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// runsLeft reports whether a letter is of a script that runs from right to left: whether it
// is in one of the blocks that Unicode has set aside for those.
func runsLeft(r rune) bool {
	return r >= 0x590 && r <= 0x8ff || r >= 0xfb1d && r <= 0xfdff || r >= 0xfe70 && r <= 0xfefc ||
		r >= 0x10800 && r <= 0x10fff || r >= 0x1e800 && r <= 0x1efff
}
