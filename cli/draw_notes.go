package cli

import (
	"fmt"
	"slices"
	"strings"
)

// notes are the causes that the reasons of several verdicts share, a missing source or
// a lost agent: each is told once, under a number, and the reasons refer to it.
type notes struct {
	// shared has the clauses that are told in a note; next the one that follows a
	// clause wherever it occurs.
	shared map[string]bool
	next   map[string]string
	// opens has the shared clauses that stand for themselves somewhere; the others only
	// ever go on with the one before.
	opens map[string]bool
	// told has the number of the note that tells a clause.
	told map[string]int
	list []note
}

// note is one cause: what it came to at each host, and why that is so.
type note struct {
	heads []string
	why   string
}

// clause is a part of a reason, and what joins it to the part before.
type clause struct{ joint, text string }

// newNotes finds the causes that occur in several groups of reasons, or in one and
// among the causes that a person is told of anyway. The groups are expectations; one
// that gives a cause in many repetitions does not share it.
func newNotes(groups [][]string, causes []string) *notes {
	n := &notes{
		shared: make(map[string]bool), next: make(map[string]string),
		opens: make(map[string]bool), told: make(map[string]int),
	}
	times := make(map[string]int)
	isCause := causesAmong(groups, causes)
	for _, reasons := range groups {
		own := make(map[string]bool)
		for _, reason := range reasons {
			clauses := clausesOf(reason)
			n.learnNext(clauses)
			for _, c := range clauses {
				own[c.text] = true
			}
		}
		for text := range own {
			times[text]++
		}
	}
	for _, cause := range causes {
		for _, c := range clausesOf(cause) {
			times[c.text]++
		}
	}
	for text := range isCause {
		n.shared[text] = times[text] > 1
	}
	for _, reason := range slices.Concat(groups...) {
		n.learnOpens(clausesOf(reason))
	}
	for _, reason := range slices.Concat(groups...) {
		n.refer(reason)
	}
	return n
}

// causesAmong are the clauses that may go to a note. What a reason of several parts
// begins with is about its own expectation.
func causesAmong(groups [][]string, causes []string) map[string]bool {
	found := make(map[string]bool)
	for _, reasons := range groups {
		for _, reason := range reasons {
			for i, c := range clausesOf(reason) {
				if i > 0 || c.text == reason {
					found[c.text] = true
				}
			}
		}
	}
	for _, cause := range causes {
		for _, c := range clausesOf(cause) {
			found[c.text] = true
		}
	}
	return found
}

// clausesOf takes a reason apart where its parts are joined.
func clausesOf(reason string) []clause {
	var clauses []clause
	for i, part := range strings.Split(reason, "; ") {
		for j, text := range strings.Split(part, ", but ") {
			switch {
			case j > 0:
				clauses = append(clauses, clause{", but ", text})
			case i > 0:
				clauses = append(clauses, clause{"; ", text})
			default:
				clauses = append(clauses, clause{"", text})
			}
		}
	}
	return clauses
}

// learnNext notes what follows each clause, nothing if that is not always the same.
func (n *notes) learnNext(clauses []clause) {
	for i, c := range clauses {
		follows := ""
		if i+1 < len(clauses) {
			follows = clauses[i+1].text
		}
		if known, ok := n.next[c.text]; ok && known != follows {
			follows = ""
		}
		n.next[c.text] = follows
	}
}

// learnOpens notes the clauses before which no other cause stands.
func (n *notes) learnOpens(clauses []clause) {
	for i, c := range clauses {
		if i == 0 || !n.shared[clauses[i-1].text] || strings.Contains(c.text, lacks) {
			n.opens[c.text] = true
		}
	}
}

// refer is a reason with the numbers of notes in place of the causes they tell.
func (n *notes) refer(reason string) string {
	var b strings.Builder
	var numbers []int
	clauses := clausesOf(reason)
	for i := 0; i < len(clauses); i++ {
		c := clauses[i]
		if !n.shared[c.text] {
			b.WriteString(c.joint + c.text)
			numbers = nil
			continue
		}
		number, length := n.tell(clauses[i:])
		i += length - 1
		if slices.Contains(numbers, number) {
			continue
		}
		joint := c.joint
		switch {
		case len(numbers) > 0:
			joint = ", "
		case b.Len() == 0:
			joint = "see "
		case joint == "; ":
			joint = " "
		}
		fmt.Fprintf(&b, "%s(%d)", joint, number)
		numbers = append(numbers, number)
	}
	return b.String()
}

// tell gives the number of the note for the cause that clauses begin with, and how many
// of them it takes: a clause that always follows another goes with it.
func (n *notes) tell(clauses []clause) (number, length int) {
	cause := clauses[0].text
	for length = 1; length < len(clauses); length++ {
		c := clauses[length]
		if !n.shared[c.text] || n.opens[c.text] || n.next[clauses[length-1].text] != c.text {
			break
		}
		cause += c.joint + c.text
	}
	number = n.number(cause)
	for _, c := range clauses[:length] {
		n.told[c.text] = number
	}
	return number, length
}

// covering is the number of the first note of those that say all that a cause does, 0
// if they do not.
func (n *notes) covering(cause string) int {
	clauses := clausesOf(cause)
	for _, c := range clauses {
		if n.told[c.text] == 0 {
			return 0
		}
	}
	return n.told[clauses[0].text]
}

// number is the number of the note that tells a cause; hosts that lack the same thing
// for the same reason share one.
func (n *notes) number(cause string) int {
	head, why, _ := strings.Cut(cause, ": ")
	if !strings.Contains(head, lacks) {
		head, why = cause, ""
	}
	for i := range n.list {
		if note := &n.list[i]; note.why == why && (why != "" || note.heads[0] == head) {
			if !slices.Contains(note.heads, head) {
				note.heads = append(note.heads, head)
			}
			return i + 1
		}
	}
	n.list = append(n.list, note{[]string{head}, why})
	return len(n.list)
}

// text is a note without its number.
func (n *note) text() string {
	if n.why == "" {
		return joinHeads(n.heads)
	}
	return joinHeads(n.heads) + ": " + n.why
}

// lines are the notes, in order, each opened by mark and its number.
func (n *notes) lines(mark string, o drawOptions) []string {
	var lines []string
	for i := range n.list {
		lead := fmt.Sprintf("%s(%d) ", mark, i+1)
		lines = append(lines, o.wrap(lead, strings.Fields(n.list[i].text()), " ")...)
	}
	return lines
}

// lacks is how timeline says that a host could not give a source.
const lacks = " has no "

// joinHeads says of several hosts at once what they lack.
func joinHeads(heads []string) string {
	var names []string
	_, what, _ := strings.Cut(heads[0], lacks)
	for _, head := range heads {
		name, lacked, ok := strings.Cut(head, lacks)
		if len(heads) == 1 || !ok || lacked != what {
			return strings.Join(heads, ", ")
		}
		names = append(names, name)
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last] + " have no " + what
}
