package cli

import (
	"fmt"
	"slices"
	"strings"

	"syncline/controller/timeline"
)

// ladderDiff is how a repetition differs from another one of its run: in what its lanes did
// and got, in the packets that its hosts' taps saw and in the states that its connections
// came to. Each of these is compared for itself and in its own order, which is certain; the
// order between two hosts may be another one in each repetition for no reason at all, and
// times are not compared.
type ladderDiff struct {
	// pair has, by row, the row of the other that is the same, nowhere if there is none.
	pair []int
	// alone is true for a row that the other has nothing of.
	alone []bool
	// missing are, by row, the rows of the other that stand before it and that this one has
	// nothing of; those that stand after all rows are at the last one.
	missing [][]int
	// unplaced are the rows that this one has nothing of where it has no row at all.
	unplaced []int
	// here and there are how many rows each has alone.
	here, there int
	// coarse is true if some part differs so much that it was not compared row by row.
	coarse bool
}

// strand is a sequence of what can be compared.
type strand struct {
	words []string
	rows  []int
}

// diffLadders compares what two repetitions show.
func diffLadders(a, b *viewedLadder) *ladderDiff {
	d := &ladderDiff{
		pair: make([]int, len(a.l.Rows)), alone: make([]bool, len(a.l.Rows)), missing: make([][]int, len(a.l.Rows)),
	}
	for i := range d.pair {
		d.pair[i] = nowhere
	}
	ours, theirs := strandsOf(a), strandsOf(b)
	var names []string
	for name := range ours {
		names = append(names, name)
	}
	for name := range theirs {
		if ours[name] == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		d.compare(orEmpty(ours[name]), orEmpty(theirs[name]))
	}
	for row := range d.missing {
		slices.Sort(d.missing[row])
		d.missing[row] = slices.Compact(d.missing[row])
		d.there += len(d.missing[row])
		if d.alone[row] {
			d.here++
		}
	}
	slices.Sort(d.unplaced)
	d.there += len(slices.Compact(d.unplaced))
	return d
}

func orEmpty(s *strand) *strand {
	if s == nil {
		return &strand{}
	}
	return s
}

// strandsOf takes a repetition apart: a strand for each lane's calls, each host's packets
// and each end's states.
func strandsOf(v *viewedLadder) map[string]*strand {
	strands := make(map[string]*strand)
	add := func(name, word string, row int) {
		s := strands[name]
		if s == nil {
			s = &strand{}
			strands[name] = s
		}
		s.words, s.rows = append(s.words, word), append(s.rows, row)
	}
	rows := rowsOfCalls(v)
	for i := range v.t.Moments {
		m := &v.t.Moments[i]
		if row, ok := rows[i]; ok && m.Edge == timeline.Enter {
			add("calls of "+m.Event.Call.Lane, callWord(m.Event.Call), row)
		}
	}
	for row := range v.l.Rows {
		r := &v.l.Rows[row]
		switch {
		case r.Arrow >= 0 && r.Kind == timeline.RowMoment:
			add("packets at "+v.l.Lanes[r.Lane].Name, packetWord(v.l, r, row), row)
		case r.Kind == timeline.RowState:
			m := &v.l.States[r.Mark]
			add(fmt.Sprintf("states %d.%d", m.Connection, m.End), m.Name+m.Doubt, row)
		case r.Kind == timeline.RowDrop, r.Kind == timeline.RowLoss, r.Kind == timeline.RowDeed, r.Kind == timeline.RowNote, r.Kind == timeline.RowTrace:
			add(fmt.Sprintf("kind %d at %s", r.Kind, v.l.Lanes[r.Lane].Name), deedWord(v.l, r), row)
		}
	}
	return strands
}

// rowsOfCalls has, by the moment of its entry, the row that shows a call.
func rowsOfCalls(v *viewedLadder) map[int]int {
	rows := make(map[int]int)
	entries := make(map[*timeline.Event]int)
	for i := range v.t.Moments {
		if m := &v.t.Moments[i]; m.Event.Call != nil && m.Edge == timeline.Enter {
			entries[m.Event] = i
		}
	}
	for row := range v.l.Rows {
		r := &v.l.Rows[row]
		if r.Bracket < 0 || !r.Timed() {
			continue
		}
		b := &v.l.Brackets[r.Bracket]
		e := v.t.Moments[r.Moment].Event
		entry, ok := entries[e]
		if !ok || row != b.Enter {
			continue
		}
		rows[entry] = row
		// The calls that share the row are the next ones of the lane.
		for i, left := entry+1, b.Calls-1; left > 0 && i < len(v.t.Moments); i++ {
			if m := &v.t.Moments[i]; m.Event.Call != nil && m.Edge == timeline.Enter && m.Event.Call.Lane == e.Call.Lane && m.Event.Host == e.Host {
				rows[i] = row
				left--
			}
		}
	}
	return rows
}

// callWord is what a call was and gave. Numbers of descriptors, processes and ports are
// chance.
func callWord(c *timeline.Call) string {
	words := []string{c.Name, c.Socket, fmt.Sprint(c.Errno), fmt.Sprint(c.EndedBy), c.Failure}
	switch c.Name {
	case "send", "sendto", "recv", "recvfrom":
		words = append(words, fmt.Sprint(c.Result))
	}
	return strings.Join(words, " ")
}

func packetWord(l *timeline.Ladder, r *timeline.Row, row int) string {
	a := &l.Arrows[r.Arrow]
	words := []string{"arrives", a.Words[0], fmt.Sprint(a.From), fmt.Sprint(a.Copy)}
	if row == a.Departure {
		words = []string{"leaves", a.Words[0], fmt.Sprint(a.To), fmt.Sprint(a.Copy)}
		if a.Lost || a.Dropped {
			words = append(words, "lost")
		}
	}
	for _, word := range a.Words[1:] {
		if strings.HasSuffix(word, " B") || strings.HasPrefix(word, "len") {
			words = append(words, word)
		}
	}
	return strings.Join(words, " ")
}

// deedWord leaves the numbers out: lengths, processes, times.
func deedWord(l *timeline.Ladder, r *timeline.Row) string {
	text := r.Text
	if r.Kind == timeline.RowDrop {
		text = dropWords(l, &l.Drops[r.Mark]) + dropReason(&l.Drops[r.Mark])
	}
	return strings.Map(func(c rune) rune {
		if c >= '0' && c <= '9' {
			return -1
		}
		return c
	}, text)
}

// compare aligns two strands, and notes what is in one of them alone.
func (d *ladderDiff) compare(ours, theirs *strand) {
	pairs, whole := align(ours.words, theirs.words)
	d.coarse = d.coarse || !whole
	next := 0
	for i, j := range pairs {
		if j == nowhere {
			d.alone[ours.rows[i]] = true
			continue
		}
		if d.pair[ours.rows[i]] == nowhere {
			d.pair[ours.rows[i]] = theirs.rows[j]
		}
		d.miss(ours.rows[i], theirs.rows[next:j])
		next = j + 1
	}
	switch {
	case next == len(theirs.rows):
	case len(d.missing) == 0:
		d.unplaced = append(d.unplaced, theirs.rows[next:]...)
	default:
		last := len(d.missing) - 1
		if len(ours.rows) > 0 {
			last = ours.rows[len(ours.rows)-1]
		}
		d.miss(last, theirs.rows[next:])
	}
}

func (d *ladderDiff) miss(row int, rows []int) { d.missing[row] = append(d.missing[row], rows...) }

// mostAligned bounds the work of aligning two sequences: the product of their lengths, without
// what they have in common at both ends.
const mostAligned = 4_000_000

// align gives, for each word of a, the index of the word of b that is the same in a longest
// common subsequence, nowhere if it has none. whole is false if the two are too long and
// differ too much: then only their ends were aligned.
func align(a, b []string) (pairs []int, whole bool) {
	pairs = make([]int, len(a))
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		pairs[head] = head
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		pairs[len(a)-1-tail] = len(b) - 1 - tail
		tail++
	}
	x, y := a[head:len(a)-tail], b[head:len(b)-tail]
	for i := range x {
		pairs[head+i] = nowhere
	}
	if len(x)*len(y) > mostAligned {
		return pairs, false
	}
	// best[i][j] is the length of a longest common subsequence of x[i:] and y[j:].
	best := make([][]int32, len(x)+1)
	for i := range best {
		best[i] = make([]int32, len(y)+1)
	}
	for i := len(x) - 1; i >= 0; i-- {
		for j := len(y) - 1; j >= 0; j-- {
			if x[i] == y[j] {
				best[i][j] = best[i+1][j+1] + 1
			} else {
				best[i][j] = max(best[i+1][j], best[i][j+1])
			}
		}
	}
	for i, j := 0, 0; i < len(x) && j < len(y); {
		switch {
		case x[i] == y[j]:
			pairs[head+i] = head + j
			i, j = i+1, j+1
		case best[i+1][j] >= best[i][j+1]:
			i++
		default:
			j++
		}
	}
	return pairs, true
}

// text says how much differs of what look shows. It may be asked of nil.
func (d *ladderDiff) text(look timeline.LadderOptions) string {
	switch {
	case d == nil:
		return ""
	case d.here == 0 && d.there == 0:
		if look.HideLab || look.HideCalls || look.HidePackets || look.HideStates || len(look.Connections) > 0 {
			return "the same story, of what is shown"
		}
		return "the same story"
	case d.coarse:
		return fmt.Sprintf("%d rows here alone, %d there; too different to compare row by row", d.here, d.there)
	}
	return fmt.Sprintf("%s here alone, %d there", rowsText(d.here), d.there)
}

// sign is + for a row that the other repetition has nothing of, - where the other has more
// before it, # for both. It may be asked of nil.
func (d *ladderDiff) sign(row int) string {
	switch {
	case d == nil:
		return ""
	case d.alone[row] && len(d.missing[row]) > 0:
		return "#"
	case d.alone[row]:
		return "+"
	case len(d.missing[row]) > 0:
		return "-"
	}
	return ""
}

// rowText says how a row differs, or when it was in the other repetition.
func (d *ladderDiff) rowText(v *viewer, row int) string {
	other := v.other
	var parts []string
	if d.alone[row] {
		parts = append(parts, fmt.Sprintf("not in rep %d", other.t.Repetition))
	}
	if rows := d.missing[row]; len(rows) > 0 {
		text := rowSentence(other.l, rows[0])
		if len(rows) > 1 {
			text += fmt.Sprintf(" and %d more", len(rows)-1)
		}
		parts = append(parts, fmt.Sprintf("rep %d has besides: %s", other.t.Repetition, text))
	}
	if pair := d.pair[row]; pair != nowhere && !d.alone[row] && other.l.Rows[pair].Timed() && v.shown.l.Rows[row].Timed() && !v.look.LocalTimes {
		at, err := timeText(other.l, &other.l.Rows[pair])
		text := fmt.Sprintf("in rep %d at %s", other.t.Repetition, at)
		if err != "" {
			text += " " + err
		}
		parts = append(parts, text+" "+other.l.Unit.String())
	}
	return strings.Join(parts, " · ")
}
