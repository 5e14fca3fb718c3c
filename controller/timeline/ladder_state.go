package timeline

import (
	"slices"

	"syncline/controller/clock"
)

// StateMark says that an end of a connection came to a TCP state. It has a row of its
// own: the very moment if the kernel traced it, else one without a time, where the state
// most likely began. One with a Doubt names no state: it ends a path that may not be right.
type StateMark struct {
	Row, Lane int
	// Connection indexes the timeline; End is ClientEnd or ServerEnd.
	Connection, End int
	// Of tells the two ends apart where they are of one host: "server.a". It is empty
	// where the lane says which end it is.
	Of string
	// Name and Known are as in State.
	Name, Known string
	// Exact is true if the row has the very moment at which the socket came to the state.
	Exact bool
	// Hole is true if the states between the one before and this one are not on record.
	Hole bool
	// Wide is true if it may have begun earlier than the row above was, or later than the
	// row below. After is then the time, as the time column has it, up to which the socket
	// surely was not yet in it, and By the one from which on it surely was; a side that the
	// rows show is left out, and so is one that nothing bounds.
	Wide      bool
	After, By string
	// Doubt is End.StatesDoubt, and Whose the end that it is about: "client.c on A".
	Doubt, Whose string
}

// placed is a StateMark on its way to a row. at is the moment beside which it stands and
// side whether before it, at it or after it.
type placed struct {
	mark  StateMark
	state *State
	at    int
	side  position
}

// position is where a row stands in relation to the row of a moment.
type position int

const (
	above position = iota
	within
	below
)

func (p *placed) before(q *placed) bool { return p.at < q.at || p.at == q.at && p.side < q.side }

// pathOf places the states of an end. All begin in CLOSED, which is not worth a row.
func (b *ladderer) pathOf(connection, end int) []placed {
	own := b.t.Connections[connection].End(end)
	if own.Host < 0 {
		return nil
	}
	var path []placed
	for i := range own.States {
		s := &own.States[i]
		if i == 0 && s.Name == stateClosed {
			continue
		}
		p := placed{state: s, mark: StateMark{
			Lane: b.lane[own.Host], Connection: connection, End: end, Of: b.endOf(connection, end),
			Name: s.Name, Known: s.Known, Exact: s.exact() && s.Moment >= 0, Hole: hasHole(own.States[:i], s),
		}}
		p.at, p.side = s.place()
		path = append(path, p)
	}
	straighten(path)
	if own.StatesDoubt != "" {
		path = append(path, b.doubt(connection, end, path))
	}
	return path
}

// doubt ends a path that may not be right.
func (b *ladderer) doubt(connection, end int, path []placed) placed {
	own := b.t.Connections[connection].End(end)
	p := placed{at: -1, mark: StateMark{
		Lane: b.lane[own.Host], Connection: connection, End: end, Of: b.endOf(connection, end),
		Doubt: own.StatesDoubt, Whose: own.title() + " on " + b.t.hostName(own.Host),
	}}
	if n := len(path); n > 0 {
		p.at, p.side = path[n-1].at, path[n-1].side
		if p.side == within {
			p.side = below
		}
	}
	return p
}

// endOf names an end if the other one is of the same host.
func (b *ladderer) endOf(connection, end int) string {
	own, other := b.t.Connections[connection].End(end), b.t.Connections[connection].End(1-end)
	if own.Host != other.Host {
		return ""
	}
	return own.title()
}

// title names an end as the experiment does, or by its address.
func (e *End) title() string {
	if e.Socket != "" {
		return e.Lane + "." + e.Socket
	}
	return e.Address.String()
}

// place is where a state stands if it is to be drawn within its bounds; at is -1 if
// nothing on record tells.
func (s *State) place() (at int, where position) {
	switch {
	case s.exact():
		return s.Moment, within
	case s.Moment >= 0 && s.Moment == s.By:
		return s.Moment, above
	case s.Moment >= 0:
		return s.Moment, below
	case s.By >= 0:
		return s.By, above
	}
	return s.After, below
}

// straighten moves what nobody saw so that the states of a path stand in their order. A
// state that nothing places stands beside the next one, or the last beside the one before.
func straighten(path []placed) {
	for i := len(path) - 2; i >= 0; i-- {
		p, next := &path[i], &path[i+1]
		if next.at >= 0 && !p.mark.Exact && (p.at < 0 || next.before(p)) {
			p.at, p.side = next.at, next.side
			if next.side == within {
				p.side = above
			}
		}
	}
	for i := 1; i < len(path); i++ {
		if p, last := &path[i], &path[i-1]; !p.mark.Exact && p.before(last) {
			p.at, p.side = last.at, last.side
			if last.side == within {
				p.side = below
			}
		}
	}
}

// hasHole reports whether states are missing before s. What the kernel traced is no hole,
// whatever the diagram says.
func hasHole(before []State, s *State) bool {
	if len(before) == 0 {
		return s.Name != stateClosed && s.Name != stateSynRecv && s.Name != stateListen
	}
	last := &before[len(before)-1]
	return !inDiagram(last.Name, s.Name) && !(last.exact() && s.exact())
}

// gatherStates places the states of the connections that are shown, and notes the
// moments that have a row for one.
func (b *ladderer) gatherStates() {
	if b.opts.HideStates {
		return
	}
	for ci := range b.t.Connections {
		if !b.opts.isShown(ci) {
			continue
		}
		for end := range 2 {
			b.states = append(b.states, b.pathOf(ci, end)...)
		}
	}
	for i := range b.states {
		if p := &b.states[i]; p.mark.Exact {
			b.traced[p.at] = true
		}
	}
}

// settleStates puts each state beside a moment that has a row: the one that it belongs
// to, or the last before that. Without any there is no place for it.
func (b *ladderer) settleStates(kept []int) {
	b.beside = make(map[int][3][]int)
	if len(kept) == 0 {
		return
	}
	for i := range b.states {
		p := &b.states[i]
		n, found := slices.BinarySearch(kept, p.at)
		switch {
		case found:
		case n == 0:
			p.side = above
		default:
			n, p.side = n-1, below
		}
		at := kept[n]
		if p.mark.Exact && len(b.beside[at][within]) > 0 {
			p.side = below
		}
		sides := b.beside[at]
		sides[p.side] = append(sides[p.side], i)
		b.beside[at] = sides
	}
}

// layStates makes the rows of the states on one side of a moment.
func (b *ladderer) layStates(moment int, where position) {
	for _, i := range b.beside[moment][where] {
		at := len(b.l.Rows)
		b.l.Rows = append(b.l.Rows, Row{
			Kind: RowState, Lane: b.states[i].mark.Lane, Lab: b.lab(moment), Moment: -1, Arrow: -1, Bracket: -1, Mark: b.layState(i, at),
		})
	}
}

// layState makes the mark of a state, whose row is at, and returns its index.
func (b *ladderer) layState(i, at int) int {
	p := &b.states[i]
	p.mark.Row = at
	b.l.States = append(b.l.States, p.mark)
	b.laid = append(b.laid, p.state)
	return len(b.l.States) - 1
}

// boundStates tells the bounds of those states that may have begun elsewhere than where
// they stand.
func (b *ladderer) boundStates() {
	rows := b.rowsOfMoments()
	for i := range b.l.States {
		m, s := &b.l.States[i], b.laid[i]
		if m.Doubt != "" {
			continue
		}
		afterShown, byShown := b.isBeside(rows, s.After, m.Row), b.isBeside(rows, s.By, m.Row)
		if m.Exact || afterShown && byShown {
			continue
		}
		m.Wide, m.After, m.By = true, b.boundText(s.After, m.Lane), b.boundText(s.By, m.Lane)
		switch {
		case afterShown && m.By != "":
			m.After = ""
		case byShown && m.After != "":
			m.By = ""
		}
	}
}

// rowsOfMoments has the rows of the moments that have one; calls that share a row have
// the same.
func (b *ladderer) rowsOfMoments() map[int]int {
	rows := make(map[int]int)
	for i := range b.l.Rows {
		if m := b.l.Rows[i].Moment; m >= 0 {
			rows[m] = i
		}
	}
	for i := range b.t.Moments {
		m := &b.t.Moments[i]
		bracket, ok := b.brackets[m.Event]
		switch {
		case !ok:
		case m.Edge == Enter:
			rows[i] = b.l.Brackets[bracket].Enter
		default:
			rows[i] = b.l.Brackets[bracket].Return
		}
	}
	return rows
}

// isBeside reports whether no time lies between the row of a moment and another row, as
// far as the ladder shows.
func (b *ladderer) isBeside(rows map[int]int, moment, row int) bool {
	at, ok := rows[moment]
	if moment < 0 || !ok {
		return false
	}
	for i := min(at, row) + 1; i < max(at, row); i++ {
		if r := &b.l.Rows[i]; r.Moment >= 0 || r.Kind == RowQuiet {
			return false
		}
	}
	return true
}

// boundText is the time of a moment as the time column shows it; with LocalTimes the host
// goes with it if its clock is not that of the lane. It is empty if there is no time.
func (b *ladderer) boundText(moment, lane int) string {
	if moment < 0 {
		return ""
	}
	m := &b.t.Moments[moment]
	at, err := b.time(m)
	switch {
	case err >= clock.Unbounded:
		return ""
	case b.opts.LocalTimes && b.lane[m.Event.Host] != lane:
		return b.t.hostName(m.Event.Host) + " " + b.l.text(at)
	}
	return b.l.text(at)
}

// spanStates tells from which row to which each end was in each state.
func (b *ladderer) spanStates() {
	last := make(map[EndRef]int)
	for i := range b.l.States {
		m := &b.l.States[i]
		of := EndRef{m.Connection, m.End}
		if n, ok := last[of]; ok {
			b.l.Spans[n].Last, b.l.Spans[n].Open = m.Row, false
		}
		if m.Doubt != "" || m.Name == stateClosed {
			delete(last, of)
			continue
		}
		last[of] = len(b.l.Spans)
		b.l.Spans = append(b.l.Spans, StateSpan{
			Lane: m.Lane, Connection: m.Connection, End: m.End, Name: m.Name, Known: m.Known,
			Doubtful: b.t.Connections[m.Connection].End(m.End).StatesDoubt != "", First: m.Row, Last: len(b.l.Rows) - 1, Open: true,
		})
	}
}
