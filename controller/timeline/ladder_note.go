package timeline

import (
	"cmp"
	"slices"
	"strings"
)

// LadderNote is a teaching moment of the repetition, tied to a row.
type LadderNote struct {
	// Number counts from 1, in order of the rows.
	Number int
	// Row is where it belongs; Rows are all rows that it speaks of, Row among them.
	Row  int
	Rows []int
	// Kind names the kind of note, for a view that switches it off. Text is one plain
	// sentence, true for these data; Reference is where the rule stands: "RFC 9293 3.5".
	Kind, Text, Reference string
}

// StateSpan is the time for which an end of a connection was in a TCP state.
type StateSpan struct {
	Lane int
	// Connection indexes the timeline; End is ClientEnd or ServerEnd.
	Connection, End int
	// Name and Known are as in State. Doubtful is true if the path may not be right.
	Name, Known string
	Doubtful    bool
	// First is the row at which it began and Last the one at which the next state did, or
	// the last row of the ladder if Open: it then goes on beyond that.
	First, Last int
	Open        bool
}

// layNotes takes over what the causes of the repetition tell: its notes, what came of it,
// and what released each call that was blocked.
func (b *ladderer) layNotes() {
	causes := b.t.Causes()
	// They know the order of all moments, which takes too long to find out for each question.
	b.t = causes.t
	b.layBlocked(causes)
	b.summarize(causes)
	rows := b.rowsOfMoments()
	for _, n := range causes.Notes() {
		if n.Connection >= 0 && !b.opts.isShown(n.Connection) || slices.Contains(b.opts.HideNotes, string(n.Kind)) {
			continue
		}
		note := LadderNote{Row: -1, Kind: string(n.Kind), Text: n.Text, Reference: strings.Join(n.Sources, ", ")}
		for _, moment := range n.Moments {
			if row, ok := rows[moment]; ok && !slices.Contains(note.Rows, row) {
				note.Rows = append(note.Rows, row)
				note.Row = row
			}
		}
		if note.Row >= 0 {
			b.l.Notes = append(b.l.Notes, note)
		}
	}
	slices.SortStableFunc(b.l.Notes, func(x, y LadderNote) int { return cmp.Compare(x.Row, y.Row) })
	for i := range b.l.Notes {
		b.l.Notes[i].Number = i + 1
	}
}

// layBlocked tells of the brackets which call was blocked, and what released it.
func (b *ladderer) layBlocked(causes *Causality) {
	rows := b.rowsOfMoments()
	for i := range causes.Blocked {
		c := &causes.Blocked[i]
		of, ok := b.brackets[b.t.Moments[c.Effect].Event]
		if !ok || b.l.Brackets[of].Calls > 1 {
			continue
		}
		r := &b.l.Brackets[of]
		r.Blocked = true
		if c.Rule != nil {
			r.Released = c.Rule.Text
		}
		if row, ok := rows[c.By]; ok {
			r.ReleasedAt = row
		}
	}
}
