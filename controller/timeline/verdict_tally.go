package timeline

import (
	"regexp"
	"slices"
)

// Tally counts the rulings on one expectation over the repetitions of a run.
type Tally struct {
	// Expectation is its text, as in Verdict.
	Expectation                           string
	Passed, Failed, Untold, NotReproduced int
	// Exceptions are repetitions that were not a pass, in the order in which they were
	// added: of each ruling the first MaxReasons kinds of reason, and of each of these
	// the first MaxExceptions repetitions.
	Exceptions []Exception
}

// Bounds of what a Tally keeps of each ruling that is not a pass.
const (
	// MaxExceptions bounds the repetitions of one kind of reason.
	MaxExceptions = 8
	// MaxReasons bounds the kinds of reason.
	MaxReasons = 4
)

// Exception is a repetition in which an expectation did not pass.
type Exception struct {
	Repetition int
	Ruling     Ruling
	Reason     string
}

var (
	// timeForm is a time or a length of time, with its ± where it has one.
	timeForm = regexp.MustCompile(`[±+−-]?\d+(?:\.\d+)? (?:ns|µs|ms|s)\b`)
	// portForm is the port behind an address.
	portForm = regexp.MustCompile(`((?:\d|\]):)\d+\b`)
)

// Kind is the reason without what differs from one repetition to the next though the
// cause is the same: times, lengths of time and ports. Exceptions of one ruling and
// one kind belong together.
func (e *Exception) Kind() string {
	return portForm.ReplaceAllString(timeForm.ReplaceAllString(e.Reason, "…"), "$1…")
}

// Total is the number of repetitions that were judged.
func (t *Tally) Total() int { return t.Passed + t.Failed + t.Untold + t.NotReproduced }

// Ruling is the worst ruling of any repetition, the zero Ruling if there was none.
func (t *Tally) Ruling() Ruling {
	switch {
	case t.Failed > 0:
		return Fail
	case t.Untold > 0:
		return CannotTell
	case t.NotReproduced > 0:
		return NotReproduced
	case t.Passed > 0:
		return Pass
	}
	return 0
}

// Summary counts the verdicts of a run over its repetitions, one Tally per expectation,
// in the order in which they were first judged. Variants of a file may expect different
// things: what they share is counted together. The zero value is ready to use.
type Summary struct {
	Tallies []Tally
	// Repetitions that were added, and those of them in which everything passed.
	Repetitions, Clean int
}

// Add counts the verdicts of one repetition, as Judge gives them. Verdicts on the same
// text belong together; where a text is there twice, the first with the first.
func (s *Summary) Add(repetition int, verdicts []Verdict) {
	s.Repetitions++
	if Worst(verdicts) == Pass {
		s.Clean++
	}
	counted := make(map[int]bool)
	for i := range verdicts {
		at := s.find(i, verdicts[i].Expectation, counted)
		counted[at] = true
		s.Tallies[at].add(repetition, &verdicts[i])
	}
}

// find is the tally of a text that this repetition has not been counted in; a new one
// if there is none.
func (s *Summary) find(place int, text string, counted map[int]bool) int {
	if place < len(s.Tallies) && s.Tallies[place].Expectation == text && !counted[place] {
		return place
	}
	for i := range s.Tallies {
		if s.Tallies[i].Expectation == text && !counted[i] {
			return i
		}
	}
	s.Tallies = append(s.Tallies, Tally{Expectation: text})
	return len(s.Tallies) - 1
}

// Ruling is the worst ruling of the run.
func (s *Summary) Ruling() Ruling {
	var worst Ruling
	for i := range s.Tallies {
		if r := s.Tallies[i].Ruling(); severity(r) > severity(worst) {
			worst = r
		}
	}
	return worst
}

func (t *Tally) add(repetition int, v *Verdict) {
	switch v.Ruling {
	case Pass:
		t.Passed++
		return
	case Fail:
		t.Failed++
	case CannotTell:
		t.Untold++
	case NotReproduced:
		t.NotReproduced++
	}
	t.keep(Exception{Repetition: repetition, Ruling: v.Ruling, Reason: v.Reason})
}

// keep keeps an exception within the bounds.
func (t *Tally) keep(e Exception) {
	var kinds []string
	same := 0
	for i := range t.Exceptions {
		if t.Exceptions[i].Ruling != e.Ruling {
			continue
		}
		kind := t.Exceptions[i].Kind()
		if kind == e.Kind() {
			same++
		}
		if !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	if same < MaxExceptions && (same > 0 || len(kinds) < MaxReasons) {
		t.Exceptions = append(t.Exceptions, e)
	}
}
