package timeline

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

// layNotes takes over the notes of the timeline.
func (b *ladderer) layNotes() {}
