package web

import (
	"bytes"
	"fmt"
)

// plainRepetitions is how many repetitions of a run a page lists for readers whose browser
// runs no script.
const plainRepetitions = 100

// plain is what a page shows where no script runs, as in a preview of mail: the runs, how
// their repetitions were ruled on, and the picture of the one to begin with, if it has one.
func (p *Page) plain() []byte {
	var b bytes.Buffer
	b.WriteString("<noscript>\n")
	fmt.Fprintf(&b, "<h1>%s</h1>\n", escape(p.Title))
	for i := range p.Runs {
		p.Runs[i].plain(&b)
	}
	if p.Picture != "" {
		fmt.Fprintf(&b, "<h2>Repetition %d: %s</h2>\n%s\n", p.Opening.Repetition, escape(p.Opening.Why), p.Picture)
	}
	b.WriteString("</noscript>\n")
	return b.Bytes()
}

func (r *Run) plain(b *bytes.Buffer) {
	fmt.Fprintf(b, "<h2>Run %s of %s: %s</h2>\n", escape(r.ID), escape(r.Experiment), escape(r.Ruling))
	for _, sentence := range append(append(List[string]{}, r.Incomplete...), r.Warnings...) {
		fmt.Fprintf(b, "<p>%s</p>\n", escape(sentence))
	}
	b.WriteString("<table>\n<tr><th>Repetition</th><th>Variant</th><th>Verdict</th><th></th></tr>\n")
	for i, o := range r.Repetitions {
		if i == plainRepetitions {
			fmt.Fprintf(b, "<tr><td colspan=\"4\">and %d more</td></tr>\n", len(r.Repetitions)-i)
			break
		}
		fmt.Fprintf(b, "<tr><td>%d</td><td>%s</td><td>%s</td><td>%s</td></tr>\n", o.N, escape(o.Variant), escape(o.Ruling), escape(o.Why))
	}
	b.WriteString("</table>\n")
}
