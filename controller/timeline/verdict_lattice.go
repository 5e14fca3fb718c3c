package timeline

import (
	"bytes"

	"syncline/controller/experiment"
)

// maxStates bounds the work of trying all orders of one connection's packets.
const maxStates = 1 << 16

// lattice is every order in which the packets of a connection can have left. The
// packets of one direction have one order, by their sender's clock; so an order of
// all of them is a path that takes the next of the one or of the other side, and
// needs says which steps are surely not allowed yet.
type lattice struct {
	tr         *trial
	connection int
	// sides are segment indices: from the client, from the server.
	sides [2][]int
	// needs[s][i] is how many packets of the other side surely left before packet i
	// of side s.
	needs [2][]int
	// taps are the hosts at the ends; blind is true if one end is no host of the run.
	taps  []int
	blind bool
}

// element is the index-th packet of a side.
type element struct{ side, index int }

func (tr *trial) newLattice(connection int) *lattice {
	l := &lattice{tr: tr, connection: connection}
	c := &tr.t.Connections[connection]
	for i := range c.Segments {
		side := 1
		if c.Segments[i].FromClient {
			side = 0
		}
		// A record that was cut into several on the way is one packet still.
		if n := len(l.sides[side]); n > 0 && placeOf(&c.Segments[l.sides[side][n-1]]) == placeOf(&c.Segments[i]) {
			continue
		}
		l.sides[side] = append(l.sides[side], i)
	}
	for side := range l.sides {
		l.needs[side] = make([]int, len(l.sides[side]))
		n := 0
		for i := range l.sides[side] {
			e := element{side, i}
			for n < len(l.sides[1-side]) && l.surelyBefore(element{1 - side, n}, e) {
				n++
			}
			l.needs[side][i] = n
		}
	}
	for _, end := range []End{c.Client, c.Server} {
		if end.Host < 0 {
			l.blind = true
			continue
		}
		l.taps = append(l.taps, end.Host)
	}
	return l
}

// moment is where a packet left, or where it arrived if that alone was seen.
func (l *lattice) moment(e element) int {
	return placeOf(&l.tr.t.Connections[l.connection].Segments[l.sides[e.side][e.index]])
}

// placeOf is the moment that stands for a segment in the order of packets.
func placeOf(s *Segment) int {
	if s.Departure >= 0 {
		return s.Departure
	}
	return s.Arrival
}

func (l *lattice) surelyBefore(a, b element) bool {
	ma, mb := l.moment(a), l.moment(b)
	notAfter, _ := l.tr.causes.order(ma, mb)
	reverse, _ := l.tr.causes.order(mb, ma)
	return notAfter && !reverse
}

// allowed reports whether side's next packet can be next, taken of each side being
// gone already.
func (l *lattice) allowed(side int, taken [2]int) bool {
	i := taken[side]
	return i < len(l.sides[side]) && l.needs[side][i] <= taken[1-side]
}

// sequence is the order by the lab's clock. It ends early if the record contradicts
// itself.
func (l *lattice) sequence() []element {
	var all []element
	var taken [2]int
	for {
		side := -1
		for s := range l.sides {
			if !l.allowed(s, taken) {
				continue
			}
			if side < 0 || l.moment(element{s, taken[s]}) < l.moment(element{side, taken[side]}) {
				side = s
			}
		}
		if side < 0 {
			return all
		}
		all = append(all, element{side, taken[side]})
		taken[side]++
	}
}

// unsettled finds the first two neighbours of opposite directions, in the order of
// the lab's clock, that could as well be the other way round.
func (l *lattice) unsettled() (first, second element, ok bool) {
	sequence := l.sequence()
	for i := 1; i < len(sequence); i++ {
		a, b := sequence[i-1], sequence[i]
		if a.side != b.side && l.needs[b.side][b.index] <= a.index {
			return a, b, true
		}
	}
	return element{}, element{}, false
}

// settle forbids every order in which first does not leave before second.
func (l *lattice) settle(first, second element) {
	needs := l.needs[second.side]
	for i := second.index; i < len(needs); i++ {
		needs[i] = max(needs[i], first.index+1)
	}
}

// terms are the places in a pattern that a match can have come to; the last one is
// its end. It is a string so that it can be a key.
type terms string

const live = 1

func (t terms) alive() bool { return bytes.IndexByte([]byte(t), live) >= 0 }

// startOf is where a match begins. With holes, a term may be met by a packet that is
// not on record.
func startOf(pattern []experiment.PacketTerm, holes bool) terms {
	at := make([]byte, len(pattern)+1)
	at[0] = live
	return passOver(pattern, at, holes)
}

func passOver(pattern []experiment.PacketTerm, at []byte, holes bool) terms {
	for i := range pattern {
		if at[i] == live && (pattern[i].Any || holes) {
			at[i+1] = live
		}
	}
	return terms(at)
}

// advance takes one packet.
func (l *lattice) advance(pattern []experiment.PacketTerm, at terms, e element, holes bool) terms {
	p, _ := l.tr.packetAt(l.moment(e))
	next := make([]byte, len(at))
	for i := range pattern {
		switch {
		case at[i] != live:
		case pattern[i].Any:
			next[i] = live
		case l.tr.matches(&pattern[i].Packet, p):
			next[i+1] = live
		}
	}
	return passOver(pattern, next, holes)
}

// answer says if some order matches and if some order does not.
type answer struct{ match, mismatch, tooMany bool }

// state is a place on the way through the lattice.
type state struct {
	taken [2]int
	at    terms
}

// try matches every possible order against a pattern, all orders that share a state
// at once.
func (l *lattice) try(pattern []experiment.PacketTerm, holes bool) answer {
	var a answer
	frontier := map[state]bool{{at: startOf(pattern, holes)}: true}
	for visited := 0; len(frontier) > 0; {
		if visited += len(frontier); visited > maxStates {
			a.tooMany = true
			return a
		}
		next := make(map[state]bool)
		for s := range frontier {
			l.spread(pattern, s, holes, next, &a)
		}
		frontier = next
	}
	return a
}

// spread adds the states after s to next, or counts s if it is the end of an order.
func (l *lattice) spread(pattern []experiment.PacketTerm, s state, holes bool, next map[state]bool, a *answer) {
	if !s.at.alive() {
		a.mismatch = true
		return
	}
	if s.taken[0] == len(l.sides[0]) && s.taken[1] == len(l.sides[1]) {
		if s.at[len(pattern)] == live {
			a.match = true
		} else {
			a.mismatch = true
		}
		return
	}
	for side := range l.sides {
		if !l.allowed(side, s.taken) {
			continue
		}
		after := state{taken: s.taken, at: l.advance(pattern, s.at, element{side, s.taken[side]}, holes)}
		after.taken[side]++
		next[after] = true
	}
}
