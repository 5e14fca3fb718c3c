package cli

import (
	"fmt"
	"slices"
	"strings"

	"syncline/controller/timeline"
)

// legend explains a mark.
type legend struct {
	mark, text string
	// drawn is true for a mark that a list does not have.
	drawn  bool
	occurs func(l *timeline.Ladder) bool
}

var legends = []legend{
	{
		mark: "≈", text: "may as well have been before the row above: the clocks are not known well enough to tell",
		occurs: func(l *timeline.Ladder) bool { return anyOf(l.Rows, func(r *timeline.Row) bool { return r.Unordered }) },
	},
	{
		mark: "▷", text: "took less time than the clocks are sure of; only that it arrived after it left is known",
		drawn: true, occurs: func(l *timeline.Ladder) bool { return anyOf(l.Arrows, unproven) },
	},
	{
		mark: "?", text: "no tap saw this end of the packet's way",
		drawn: true, occurs: func(l *timeline.Ladder) bool { return anyOf(l.Arrows, unseen) },
	},
	{
		mark: "░", text: "a time of which events of this host are not on record",
		occurs: func(l *timeline.Ladder) bool { return len(l.Bands) > 0 },
	},
	{
		mark: "R1", text: "sent again for the first time; R2, for the second",
		occurs: func(l *timeline.Ladder) bool {
			return anyOf(l.Arrows, func(a *timeline.Arrow) bool { return a.Copy > 0 })
		},
	},
	{
		mark: "R1◆", text: "the kernel told of it; without ◆ it is known by its sequence numbers",
		occurs: func(l *timeline.Ladder) bool {
			return anyOf(l.Arrows, func(a *timeline.Arrow) bool { return a.Told })
		},
	},
	{
		mark: "×2", text: "sent once, delivered twice",
		occurs: func(l *timeline.Ladder) bool {
			return anyOf(l.Arrows, func(a *timeline.Arrow) bool { return a.Duplicate })
		},
	},
	{
		mark: "D1", text: "a duplicate ACK: data are on the way, and what is acknowledged is what was before; D2, the second",
		occurs: func(l *timeline.Ladder) bool {
			return anyOf(l.Arrows, func(a *timeline.Arrow) bool { return a.DuplicateACK > 0 })
		},
	},
	{
		mark: "S…–…", text: "selective acknowledgment: these bytes came, and some before them did not",
		occurs: func(l *timeline.Ladder) bool {
			return anyOf(l.Arrows, func(a *timeline.Arrow) bool { return slices.ContainsFunc(a.Words, isSACK("S")) })
		},
	},
	{
		mark: "DS…–…", text: "these bytes came twice, says who received them",
		occurs: func(l *timeline.Ladder) bool {
			return anyOf(l.Arrows, func(a *timeline.Arrow) bool { return slices.ContainsFunc(a.Words, isSACK("DS")) })
		},
	},
	{
		mark: "┃", text: "the call is blocked: it waits until something else releases it",
		drawn: true, occurs: func(l *timeline.Ladder) bool {
			return anyOf(l.Brackets, func(b *timeline.Bracket) bool { return b.Blocked && b.Return > b.Enter+1 })
		},
	},
	{
		mark: "✗", text: "a kernel dropped the packet, for the reason that it gives",
		occurs: func(l *timeline.Ladder) bool { return len(l.Drops) > 0 },
	},
	{
		mark: "◆", text: "told by the kernel, at the very moment: a state as it began, an error of a socket",
		occurs: func(l *timeline.Ladder) bool {
			return anyState(func(m *timeline.StateMark) bool { return m.Exact })(l) ||
				anyOf(l.Rows, func(r *timeline.Row) bool { return r.Kind == timeline.RowTrace })
		},
	},
	{
		mark: "◇", text: "this state is inferred; it began between the rows around it, or when it says",
		occurs: anyState(func(m *timeline.StateMark) bool { return stateRune(m) == '◇' }),
	},
	{
		mark: "◈", text: "this state was read with sock_diag(7); it began between the rows around it, or when it says",
		occurs: anyState(func(m *timeline.StateMark) bool { return stateRune(m) == '◈' }),
	},
	{
		mark: "…→", text: "which states came before this one is not on record: the path has a hole here",
		occurs: anyState(func(m *timeline.StateMark) bool { return m.Hole }),
	},
	{
		mark: "(…)", text: "a step of the lab's own, not a call of the kernel",
		occurs: func(l *timeline.Ladder) bool {
			return anyOf(l.Brackets, func(b *timeline.Bracket) bool { return b.Lab && !b.Tidy })
		},
	},
	{
		mark: "(close …)", text: "by the lab: its lane ended and had left this socket open",
		occurs: func(l *timeline.Ladder) bool {
			return anyOf(l.Brackets, func(b *timeline.Bracket) bool { return b.Tidy })
		},
	},
}

// isSACK reports whether a word of a packet is its SACK blocks, opened by a mark.
func isSACK(mark string) func(word string) bool {
	return func(word string) bool {
		numbers, has := strings.CutPrefix(word, mark)
		return has && numbers != "" && numbers[0] >= '0' && numbers[0] <= '9' && strings.Contains(numbers, "–")
	}
}

// ladderFooter says in words what came of the repetition and what is worth knowing of it,
// explains the marks that were used, then tells the verdicts that are not a pass, and ends
// with what a person must know before believing the picture.
func ladderFooter(l *timeline.Ladder, o drawOptions, drawn bool) []string {
	lines := noteLines(l, o)
	for _, g := range legends {
		if (drawn || !g.drawn) && g.occurs(l) {
			lines = append(lines, o.wrap(g.mark+" ", strings.Fields(g.text), " ")...)
		}
	}
	shared := ladderNotes(l)
	for _, text := range doubtTexts(l, shared) {
		lines = append(lines, o.wrap("? ", strings.Fields(text), " ")...)
	}
	for i := range l.Exceptions {
		lines = append(lines, exceptionText(&l.Exceptions[i], shared, o)...)
	}
	for _, line := range append(shared.lines("! ", o), warningLines(l, shared, o)...) {
		lines = append(lines, o.paint(line, red))
	}
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	if len(lines) > 0 {
		lines = append([]string{""}, lines...)
	}
	return lines
}

// incomplete opens a warning that something is missing from the run as a whole.
const incomplete = "The run is incomplete"

// warningCause is what a verdict would call the cause, if it were one's reason.
func warningCause(warning string) (cause string, whole bool) {
	cause, whole = strings.CutPrefix(strings.TrimSuffix(warning, "."), incomplete+": ")
	return cause, whole
}

// doubtTexts say whose states are in doubt and why: ends with the same cause share one.
func doubtTexts(l *timeline.Ladder, shared *notes) []string {
	var causes []string
	whose := make(map[string][]string)
	for i := range l.States {
		m := &l.States[i]
		if m.Doubt == "" {
			continue
		}
		if whose[m.Doubt] == nil {
			causes = append(causes, m.Doubt)
		}
		whose[m.Doubt] = append(whose[m.Doubt], m.Whose)
	}
	texts := make([]string, len(causes))
	for i, cause := range causes {
		names := whose[cause]
		if more := len(names) - headerMost; more > 0 {
			names = append(names[:headerMost:headerMost], fmt.Sprintf("%d more", more))
		}
		texts[i] = fmt.Sprintf("the states of %s may not be right, or not all: %s", strings.Join(names, ", "), shared.refer(cause))
	}
	return texts
}

func ladderNotes(l *timeline.Ladder) *notes {
	var reasons [][]string
	for i := range l.Exceptions {
		reasons = append(reasons, []string{l.Exceptions[i].Reason})
	}
	for i := range l.States {
		if doubt := l.States[i].Doubt; doubt != "" {
			reasons = append(reasons, []string{doubt})
		}
	}
	var causes []string
	for _, warning := range l.Warnings {
		cause, _ := warningCause(warning)
		causes = append(causes, cause)
	}
	return newNotes(reasons, causes)
}

// warningLines are the warnings that the notes do not cover. Hosts that lack the same
// thing for the same reason share one.
func warningLines(l *timeline.Ladder, shared *notes, o drawOptions) []string {
	var rest notes
	for _, warning := range l.Warnings {
		cause, whole := warningCause(warning)
		switch number := shared.covering(cause); {
		case number == 0:
			rest.number(warning)
		case whole:
			rest.number(fmt.Sprintf("%s: see (%d)", incomplete, number))
		}
	}
	var lines []string
	for i := range rest.list {
		lines = append(lines, o.wrap("! ", strings.Fields(rest.list[i].text()), " ")...)
	}
	return lines
}

// exceptionText is a verdict that is not a pass, with its reason.
func exceptionText(v *timeline.Verdict, shared *notes, o drawOptions) []string {
	lines := o.wrap(o.rulingMark(v.Ruling)+" ", strings.Fields(v.Expectation), " ")
	for i := range lines {
		lines[i] = o.paint(lines[i], rulingColour(v.Ruling))
	}
	return append(lines, o.wrap("    ", strings.Fields(shared.refer(v.Reason)), " ")...)
}

func anyOf[T any](all []T, is func(*T) bool) bool {
	for i := range all {
		if is(&all[i]) {
			return true
		}
	}
	return false
}

// unproven reports whether an arrow is shorter than what its clocks are sure of.
func unproven(a *timeline.Arrow) bool { return a.Delayed && !a.Impossible && a.DelayErr >= a.Delay }

// anyState reports whether a ladder has a state of some kind.
func anyState(is func(*timeline.StateMark) bool) func(*timeline.Ladder) bool {
	return func(l *timeline.Ladder) bool { return anyOf(l.States, is) }
}

// unseen reports whether one end of an arrow was not seen and the network, or a kernel, is
// not known to be the reason.
func unseen(a *timeline.Arrow) bool {
	return !a.Lost && !(a.Dropped && a.Arrival < 0) && !a.Duplicate && (a.Departure < 0) != (a.Arrival < 0)
}
