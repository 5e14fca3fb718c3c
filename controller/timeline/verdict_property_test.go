package timeline

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"syncline/controller/clock"
	"syncline/controller/experiment"
)

// fact is a moment with the time at which it truly happened.
type fact struct {
	moment Moment
	truth  int64
	// arrivalOf is the fact it is the arrival of, -1 if of none.
	arrivalOf int
}

// drawFacts makes moments of three hosts whose stamps are as wrong as their errors
// allow, and messages between them.
func drawFacts(t *rapid.T) (*Timeline, []int64) {
	const hosts = 3
	errs := make([]int64, hosts)
	offsets := make([]int64, hosts)
	shifts := make([]int64, hosts)
	// All packet stamps of a host are moved by the same reading of its two clocks.
	moved := make([]int64, hosts)
	for h := range moved {
		moved[h] = rapid.Int64Range(-20, 20).Draw(t, "moved")
	}
	for h := 1; h < hosts; h++ {
		errs[h] = rapid.Int64Range(0, 300).Draw(t, "err")
		offsets[h] = rapid.Int64Range(-1e12, 1e12).Draw(t, "offset")
		shifts[h] = rapid.Int64Range(-errs[h], errs[h]).Draw(t, "shift")
	}
	var facts []fact
	add := func(host int, truth int64, packet bool, of int) {
		e := &Event{Host: host, Call: &Call{}}
		local := truth + offsets[host]
		if packet {
			e.Call, e.Packet = nil, &Packet{Err: 20}
			local += moved[host]
		}
		m := Moment{Event: e, Edge: At, Local: clock.Local(local), Connection: -1, Segment: -1}
		m.Stamp = clock.Stamp{At: clock.Lab(local - offsets[host] + shifts[host]), Err: errs[host]}
		if packet {
			m.Stamp.Err += 20
		}
		facts = append(facts, fact{m, truth, of})
	}
	for range rapid.IntRange(1, 8).Draw(t, "calls") {
		add(rapid.IntRange(0, hosts-1).Draw(t, "host"), rapid.Int64Range(0, 1000).Draw(t, "at"), false, -1)
	}
	for range rapid.IntRange(0, 6).Draw(t, "messages") {
		from := rapid.IntRange(0, hosts-1).Draw(t, "from")
		to := (from + rapid.IntRange(1, hosts-1).Draw(t, "to")) % hosts
		left := rapid.Int64Range(0, 1000).Draw(t, "left")
		add(from, left, true, -1)
		add(to, left+rapid.Int64Range(1, 400).Draw(t, "way"), true, len(facts)-1)
	}
	return assemble(facts)
}

// assemble sorts the facts as a timeline's moments and returns their true times.
func assemble(facts []fact) (*Timeline, []int64) {
	tl := &Timeline{Hosts: make([]Host, 3), Connections: make([]Connection, 1)}
	order := make([]int, len(facts))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return int(facts[a].moment.Stamp.At - facts[b].moment.Stamp.At) })
	place := make([]int, len(facts))
	truth := make([]int64, len(facts))
	for at, i := range order {
		place[i], truth[at] = at, facts[i].truth
		tl.Moments = append(tl.Moments, facts[i].moment)
	}
	for i, f := range facts {
		if f.arrivalOf >= 0 {
			tl.Connections[0].Segments = append(tl.Connections[0].Segments, Segment{Departure: place[f.arrivalOf], Arrival: place[i]})
		}
	}
	return tl, truth
}

// TestOrderIsNeverWrong: whatever the offsets and the errors, an order that is
// claimed to be known is the true one.
func TestOrderIsNeverWrong(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tl, truth := drawFacts(t)
		c := newCauses(tl)
		for a := range tl.Moments {
			for b := range tl.Moments {
				notAfter, after := c.order(a, b)
				if notAfter && truth[a] > truth[b] {
					t.Fatalf("%d is claimed not to be after %d: truth %d, %d", a, b, truth[a], truth[b])
				}
				// Two moments of the very same nanosecond have no order to get wrong.
				if after && truth[a] < truth[b] {
					t.Fatalf("%d is claimed to be after %d: truth %d, %d", a, b, truth[a], truth[b])
				}
			}
		}
	})
}

// drawLattice is a connection whose packets have random flags and a random, but
// possible, partial order.
func drawLattice(t *rapid.T) *lattice {
	flags := []Flags{SYN, ACK, FIN}
	tl := &Timeline{Hosts: []Host{{Name: "A"}, {Name: "B"}, {Name: "C"}}, Connections: []Connection{{Client: End{Host: 0}, Server: End{Host: 1}}}}
	sides := rapid.IntRange(2, 3).Draw(t, "sides")
	l := &lattice{tr: newTrial(tl, &experiment.Experiment{}), sides: make([][]int, sides), needs: make([][][]int, sides)}
	for n := range rapid.IntRange(0, 6).Draw(t, "packets") {
		side := rapid.IntRange(0, sides-1).Draw(t, "side")
		p := &Packet{Flags: rapid.SampledFrom(flags).Draw(t, "flags")}
		tl.Moments = append(tl.Moments, Moment{Event: &Event{Host: side, Packet: p}, Segment: n})
		tl.Connections[0].Segments = append(tl.Connections[0].Segments, Segment{FromClient: side == 0, Departure: n, Arrival: -1})
		// At most as many as are there by now: the order of drawing stays possible.
		needs := make([]int, sides)
		for other := range needs {
			if other != side {
				needs[other] = rapid.IntRange(0, len(l.sides[other])).Draw(t, "needs")
			}
			if i := len(l.needs[side]); i > 0 {
				needs[other] = max(needs[other], l.needs[side][i-1][other])
			}
		}
		l.needs[side] = append(l.needs[side], needs)
		l.sides[side] = append(l.sides[side], n)
	}
	return l
}

func drawPattern(t *rapid.T) []experiment.PacketTerm {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) experiment.PacketTerm {
		flags := rapid.SampledFrom([]Flags{SYN, ACK, FIN}).Draw(t, "flags")
		return experiment.PacketTerm{
			Any:    rapid.IntRange(0, 3).Draw(t, "any") == 0,
			Packet: experiment.PacketSelector{Flags: uint16(flags), Length: -1, Window: -1, From: rapid.SampledFrom([]string{"", "A", "B"}).Draw(t, "from")},
		}
	}), 0, 6).Draw(t, "pattern")
}

// matchesPlainly matches one order of packets, term by term, with no cleverness.
func matchesPlainly(tr *trial, pattern []experiment.PacketTerm, moments []int, holes bool) bool {
	if len(pattern) == 0 {
		return len(moments) == 0
	}
	if (pattern[0].Any || holes) && matchesPlainly(tr, pattern[1:], moments, holes) {
		return true
	}
	if len(moments) == 0 {
		return false
	}
	if pattern[0].Any {
		return matchesPlainly(tr, pattern, moments[1:], holes)
	}
	p, _ := tr.packetAt(moments[0])
	return tr.matches(&pattern[0].Packet, p) && matchesPlainly(tr, pattern[1:], moments[1:], holes)
}

// everyOrder calls visit with each order that a lattice allows.
func everyOrder(l *lattice, taken []int, sofar []int, visit func([]int)) {
	if l.allTaken(taken) {
		visit(sofar)
		return
	}
	for side := range l.sides {
		if l.allowed(side, taken) {
			next := slices.Clone(taken)
			next[side]++
			everyOrder(l, next, append(slices.Clone(sofar), l.moment(element{side, taken[side]})), visit)
		}
	}
}

// TestTryIsEveryOrder: matching all orders at once says the same as matching them
// one by one.
func TestTryIsEveryOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, pattern := drawLattice(t), drawPattern(t)
		holes := rapid.Bool().Draw(t, "holes")
		var want answer
		everyOrder(l, make([]int, len(l.sides)), nil, func(moments []int) {
			if matchesPlainly(l.tr, pattern, moments, holes) {
				want.match = true
			} else {
				want.mismatch = true
			}
		})
		if got := l.try(pattern, holes); got != want {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	})
}
