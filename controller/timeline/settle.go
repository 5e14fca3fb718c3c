package timeline

import "sync"

// settled is what is worked out once of a timeline that never changes again, when somebody
// first asks. A copy of the timeline is another one, and may be changed: of is the one that it
// is of.
type settled struct {
	of *Timeline

	certain   func() *certainty
	causality func() *Causality
}

// Settle says that no exported field of the timeline changes any more, nor anything that they
// lead to. What has to be worked out to answer Certain, Causes and Ladder is then worked out
// once, and any number of goroutines may ask. It returns the timeline, and must not be called
// while another goroutine uses it. Build settles what it returns; a timeline that was put
// together by hand, and a copy, answer from their fields as they are each time.
func (t *Timeline) Settle() *Timeline {
	t.settled = &settled{
		of:        t,
		certain:   sync.OnceValue(func() *certainty { return byHand(t) }),
		causality: sync.OnceValue(func() *Causality { return newCausality(t) }),
	}
	return t
}

// isSettled reports whether it is the timeline that was settled, and not a copy of it.
func (t *Timeline) isSettled() bool { return t.settled != nil && t.settled.of == t }
