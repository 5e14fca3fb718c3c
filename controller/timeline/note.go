package timeline

import (
	"cmp"
	"slices"
)

// NoteKind is the stable name of a kind of note, by which a view switches it off:
// "accept-waited".
type NoteKind string

// Note is one plain sentence about this repetition, worth a reader's attention: what it
// says is true for the data on record, with their figures, and not of TCP in general. What
// the errors of the clocks leave open is not said, or said to be open.
type Note struct {
	Kind NoteKind
	// Text is one sentence with a full stop.
	Text string
	// Moments are what it is about, indices into Timeline.Moments, at least one, in their
	// order. A view puts the note beside the last: by then all that it says has happened.
	Moments []int
	// Connection indexes Timeline.Connections, -1 if the note is of none or of several.
	Connection int
	// Sources say where the rule is written: "RFC 9293 3.5", "accept(2)".
	Sources []string
}

// At is the moment beside which a view puts the note.
func (n *Note) At() int { return n.Moments[len(n.Moments)-1] }

// Notes lists what is worth knowing of this repetition, at most one note a fact, in order
// of the moments beside which they stand.
func (t *Timeline) Notes() []Note {
	return t.Causes().Notes()
}

// Notes is Timeline.Notes, of causes that are known already.
func (c *Causality) Notes() []Note {
	n := newNoter(c)
	for i := range noteKinds {
		n.kind = &noteKinds[i]
		n.kind.find(n)
	}
	slices.SortStableFunc(n.notes, func(a, b Note) int {
		return cmp.Or(cmp.Compare(a.At(), b.At()), cmp.Compare(a.Connection, b.Connection))
	})
	return n.notes
}
