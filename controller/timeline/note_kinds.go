package timeline

import "slices"

// noteKind is a kind of note, and how its notes are found.
type noteKind struct {
	name NoteKind
	// about says what such a note tells, for the help of a view.
	about   string
	sources []string
	find    func(*noter)
}

// noteKinds are all kinds of notes.
var noteKinds []noteKind

// NoteKindNames are the names of all kinds of notes, and what each tells, in the order in which a
// view lists them.
func NoteKindNames() (names []NoteKind, about []string) {
	for i := range noteKinds {
		names, about = append(names, noteKinds[i].name), append(about, noteKinds[i].about)
	}
	return names, about
}

// noter collects the notes of one repetition.
type noter struct {
	c     *Causality
	t     *Timeline
	kind  *noteKind
	notes []Note
}

func newNoter(c *Causality) *noter { return &noter{c: c, t: c.t} }

// say makes a note of the kind that is being looked for.
func (n *noter) say(connection int, text string, moments ...int) {
	moments = slices.DeleteFunc(moments, func(m int) bool { return m < 0 })
	slices.Sort(moments)
	n.notes = append(n.notes, Note{
		Kind: n.kind.name, Text: text, Moments: slices.Compact(moments), Connection: connection, Sources: n.kind.sources,
	})
}
