package timeline

import (
	"bytes"
	"encoding/binary"
	"slices"

	"syncline/controller/experiment"
)

// maxStates bounds the work of trying all orders of one connection's packets.
const maxStates = 1 << 16

// lattice is every order in which packets can have left. Those of one sender have one
// order, by its own clock; so an order of all of them is a path that takes the next of
// one side after the other, and needs says which steps are surely not allowed yet.
type lattice struct {
	tr *trial
	// sides are moments, by sender: of a connection from its client and from its server.
	sides [][]int
	// needs[s][i][o] is how many packets of side o surely left before packet i of
	// side s.
	needs [][][]int
	// taps are the hosts at the ends; blind is true if one end is no host of the run.
	taps  []int
	blind bool
}

// element is the index-th packet of a side.
type element struct{ side, index int }

// newLattice is that of the segments of a connection.
func (tr *trial) newLattice(connection int) *lattice {
	l := &lattice{tr: tr, sides: make([][]int, 2)}
	c := &tr.t.Connections[connection]
	for i := range c.Segments {
		side := 1
		if c.Segments[i].FromClient {
			side = 0
		}
		l.put(side, placeOf(&c.Segments[i]))
	}
	l.work()
	for _, end := range []End{c.Client, c.Server} {
		l.end(end.Host)
	}
	return l
}

// newWideLattice is that of any packets: each host is a side, by its own clock, and
// what nobody of the run sent, or was not seen to send, is one by the clock of the tap
// that saw it come. All that the hosts of the run send or get passes one of their taps.
func (tr *trial) newWideLattice(sent []*Transmission) *lattice {
	l := &lattice{tr: tr}
	type sender struct {
		host   int
		tapped bool
	}
	side := make(map[sender]int)
	for _, one := range sent {
		from := sender{tr.t.Moments[one.First()].Event.Host, one.Departure >= 0}
		if _, ok := side[from]; !ok {
			side[from] = len(l.sides)
			l.sides = append(l.sides, nil)
		}
		l.put(side[from], one.First())
	}
	l.work()
	return l
}

// put adds a packet to a side. A record that was cut into several on the way is one
// packet still.
func (l *lattice) put(side, moment int) {
	if n := len(l.sides[side]); n > 0 && l.sides[side][n-1] == moment {
		return
	}
	l.sides[side] = append(l.sides[side], moment)
}

func (l *lattice) end(host int) {
	switch {
	case host < 0:
		l.blind = true
	case !slices.Contains(l.taps, host):
		l.taps = append(l.taps, host)
	}
}

// work finds out which packets surely left before which.
func (l *lattice) work() {
	l.needs = make([][][]int, len(l.sides))
	for side := range l.sides {
		l.needs[side] = make([][]int, len(l.sides[side]))
		n := make([]int, len(l.sides))
		for i := range l.sides[side] {
			for other := range l.sides {
				for other != side && n[other] < len(l.sides[other]) && l.surelyBefore(element{other, n[other]}, element{side, i}) {
					n[other]++
				}
			}
			l.needs[side][i] = slices.Clone(n)
		}
	}
}

// moment is where a packet left, or where it arrived if that alone was seen.
func (l *lattice) moment(e element) int { return l.sides[e.side][e.index] }

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
func (l *lattice) allowed(side int, taken []int) bool {
	i := taken[side]
	if i >= len(l.sides[side]) {
		return false
	}
	for other, n := range l.needs[side][i] {
		if n > taken[other] {
			return false
		}
	}
	return true
}

// sequence is the order by the lab's clock. It ends early if the record contradicts
// itself.
func (l *lattice) sequence() []element {
	var all []element
	taken := make([]int, len(l.sides))
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

// unsettled finds the first two neighbours of different senders, in the order of the
// lab's clock, that could as well be the other way round.
func (l *lattice) unsettled() (first, second element, ok bool) {
	sequence := l.sequence()
	for i := 1; i < len(sequence); i++ {
		a, b := sequence[i-1], sequence[i]
		if a.side != b.side && l.needs[b.side][b.index][a.side] <= a.index {
			return a, b, true
		}
	}
	return element{}, element{}, false
}

// settle forbids every order in which first does not leave before second.
func (l *lattice) settle(first, second element) {
	needs := l.needs[second.side]
	for i := second.index; i < len(needs); i++ {
		needs[i][first.side] = max(needs[i][first.side], first.index+1)
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

// state is a place on the way through the lattice: how many packets of each side are
// gone, four bytes a side so that it can be a key, and the places in the pattern.
type state struct {
	taken string
	at    terms
}

func packed(taken []int) string {
	b := make([]byte, 0, 4*len(taken))
	for _, n := range taken {
		b = binary.BigEndian.AppendUint32(b, uint32(n))
	}
	return string(b)
}

func unpacked(s string) []int {
	taken := make([]int, len(s)/4)
	for i := range taken {
		taken[i] = int(binary.BigEndian.Uint32([]byte(s[4*i:])))
	}
	return taken
}

// try matches every possible order against a pattern, all orders that share a state
// at once.
func (l *lattice) try(pattern []experiment.PacketTerm, holes bool) answer {
	var a answer
	frontier := map[state]bool{{packed(make([]int, len(l.sides))), startOf(pattern, holes)}: true}
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
	taken := unpacked(s.taken)
	if l.allTaken(taken) {
		if s.at[len(pattern)] == live {
			a.match = true
		} else {
			a.mismatch = true
		}
		return
	}
	for side := range l.sides {
		if !l.allowed(side, taken) {
			continue
		}
		at := l.advance(pattern, s.at, element{side, taken[side]}, holes)
		taken[side]++
		next[state{packed(taken), at}] = true
		taken[side]--
	}
}

func (l *lattice) allTaken(taken []int) bool {
	for side := range l.sides {
		if taken[side] < len(l.sides[side]) {
			return false
		}
	}
	return true
}
