package timeline

import (
	"math"
	"slices"

	"syncline/controller/clock"
)

// certainty answers which of two moments was first, as far as that is sure.
type certainty struct {
	// clocks is nil in a timeline put together by hand; then the stamps decide.
	clocks *clock.Model
	// known holds, per moment and chain, how many moments of the chain are surely not
	// after it. A chain is what one host stamped with one clock: its order is exact.
	known [][]int
	// position of each moment in its chain, from 1; unchained for one that is in none.
	position []int
	// arrivals are, by moment, the departures of what surely arrived with it.
	arrivals map[int][]int
	evidence *evidence
	// alone is what each method says of the clocks by itself, and disputes, by pair of
	// hosts, how the two exclude each other; nil if they do not. anyDispute is the first.
	alone      map[clock.Methods]*clock.Model
	disputes   map[pair]string
	anyDispute pair
	// contradicted is, by host, how messages contradict each other so that nothing is known of
	// its clock; nil if none do.
	contradicted map[int]string
	// suspends are, by host, when its clock stood still; nil if none did.
	suspends map[int][]*Event
}

// chains of a host: packets are stamped by CLOCK_REALTIME and moved, so a packet and
// a call of one host that are nearer than the error of moving have no known order.
const chains = 2

func chainOf(m *Moment) int {
	if m.Event.Packet != nil {
		return m.Event.Host*chains + 1
	}
	return m.Event.Host * chains
}

// unchained is the position of a moment that is in no chain.
const unchained = math.MaxInt

// looseErr is from when on, in nanoseconds, a packet's stamp is no link of a chain. The error
// of moving stamps is common to all of a host and keeps their order; where it is that large,
// as near a step of CLOCK_REALTIME, nobody knows on which side of the step each of them is.
const looseErr = 100_000

func isLoose(m *Moment) bool { return readingErr(m) >= looseErr }

func newCertainty(a *assembly) *certainty {
	c := &certainty{clocks: a.clocks, evidence: a.evidence, alone: a.alone}
	for i, d := range a.clocks.Disagreements() {
		if between := pairOf(d.A, d.B); i == 0 {
			c.disputes, c.anyDispute = make(map[pair]string), between
		}
		c.disputes[pairOf(d.A, d.B)] = a.disagreement(&d)
	}
	for h := range a.run.Hosts {
		if text := a.contradicted(h); text != "" {
			if c.contradicted == nil {
				c.contradicted = make(map[int]string)
			}
			c.contradicted[h] = lower(text)
		}
		for _, e := range a.evidence.gaps[h] {
			c.suspend(e)
		}
	}
	arrivals := make(map[int][]int)
	for _, e := range a.edges {
		if e.sure && !e.cut {
			arrivals[a.place[e.to]] = append(arrivals[a.place[e.to]], a.place[e.from])
		}
	}
	c.count(a.t, arrivals)
	return c
}

// byHand knows what the exported fields of a timeline tell.
func byHand(t *Timeline) *certainty {
	c := &certainty{}
	for i := range t.Moments {
		c.suspend(t.Moments[i].Event)
	}
	arrivals := make(map[int][]int)
	for _, s := range t.Transmissions() {
		if s.Departure >= 0 && s.Departure < s.Arrival && !s.Impossible && !s.Ambiguous {
			arrivals[s.Arrival] = append(arrivals[s.Arrival], s.Departure)
		}
	}
	c.count(t, arrivals)
	return c
}

func (c *certainty) suspend(e *Event) {
	if e.Step == nil || e.Step.Change != ClockSuspend {
		return
	}
	if c.suspends == nil {
		c.suspends = make(map[int][]*Event)
	}
	c.suspends[e.Host] = append(c.suspends[e.Host], e)
}

// suspended reports whether a host's clock stood still at some time between two of its
// moments.
func (c *certainty) suspended(host int, from, to clock.Local) bool {
	return slices.ContainsFunc(c.suspends[host], func(e *Event) bool {
		return min(from, to) < e.At && e.Step.Since < max(from, to)
	})
}

// count walks the moments in order, so that whatever is before a moment is known
// when the moment is reached (vector clocks: Fidge 1988, Mattern 1989).
func (c *certainty) count(t *Timeline, arrivals map[int][]int) {
	width := len(t.Hosts) * chains
	c.known, c.arrivals = make([][]int, len(t.Moments)), arrivals
	c.position = make([]int, len(t.Moments))
	members := make([][]int, width)
	store := make([]int, width*len(t.Moments))
	for i := range t.Moments {
		m := &t.Moments[i]
		own := chainOf(m)
		known := store[i*width : (i+1)*width : (i+1)*width]
		if before := members[own]; isLoose(m) {
			if sure := lastSure(t, before, m); sure >= 0 {
				join(known, c.known[sure])
			}
		} else if len(before) > 0 {
			join(known, c.known[before[len(before)-1]])
		}
		if before := lastSure(t, members[own^1], m); before >= 0 {
			join(known, c.known[before])
		}
		for _, departure := range arrivals[i] {
			join(known, c.known[departure])
		}
		c.known[i], c.position[i] = known, unchained
		if !isLoose(m) {
			members[own] = append(members[own], i)
			c.position[i] = len(members[own])
			known[own] = c.position[i]
		}
	}
}

func join(into, from []int) {
	for i := range from {
		into[i] = max(into[i], from[i])
	}
}

// lastSure is the last of a chain of m's host that is surely not after m by their stamps.
func lastSure(t *Timeline, chain []int, m *Moment) int {
	for i := len(chain) - 1; i >= 0; i-- {
		before := &t.Moments[chain[i]]
		if int64(m.Local-before.Local) >= readingErr(m)+readingErr(before) {
			return chain[i]
		}
	}
	return -1
}

// readingErr is the half-width of a moment's local time.
func readingErr(m *Moment) int64 {
	if m.Event.Packet == nil {
		return 0
	}
	return m.Event.Packet.Err
}

func (t *Timeline) certainty() *certainty {
	switch {
	case t.certain != nil:
		return t.certain
	case t.isSettled():
		return t.settled.certain()
	}
	return byHand(t)
}

// Certain tells whether moment a is surely not after moment b. known is false where
// nothing decides: then before means nothing.
//
// One host's own order decides, and it is exact but for a call and a packet nearer
// than the error of the packet's stamp; then causality, since what a segment or a
// signal brought along was before its arrival; then the bounds on the clocks. A
// moment that is surely after the other is reported as not before.
func (t *Timeline) Certain(a, b int) (before, known bool) {
	c := t.certainty()
	ma, mb := &t.Moments[a], &t.Moments[b]
	switch {
	case a == b || ma.Local == mb.Local && exact(ma, mb):
		return true, true
	case c.known[b][chainOf(ma)] >= c.position[a] || slices.Contains(c.arrivals[b], a):
		return true, true
	case c.known[a][chainOf(mb)] >= c.position[b] || slices.Contains(c.arrivals[a], b):
		return false, true
	}
	lo, hi := c.apart(ma, mb)
	switch {
	case lo >= 0:
		return true, true
	case hi < 0:
		return false, true
	}
	return false, false
}

// exact reports whether two moments are links of one chain, so that the time between them is
// what their readings say.
func exact(a, b *Moment) bool { return chainOf(a) == chainOf(b) && !isLoose(a) && !isLoose(b) }

// Apart is an interval, in nanoseconds, that surely holds how much later moment b was
// than moment a by the clocks alone; ±clock.Unbounded where nothing bounds a side. It
// is exact for two moments that one host stamped with one clock, unless the host was
// suspended in between or a stamp is loose, as near a step of CLOCK_REALTIME.
func (t *Timeline) Apart(a, b int) (lo, hi int64) {
	c := t.certain
	if c == nil {
		c = &certainty{}
	}
	return c.apart(&t.Moments[a], &t.Moments[b])
}

func (c *certainty) apart(a, b *Moment) (lo, hi int64) {
	err := readingErr(a) + readingErr(b)
	switch {
	case a.Event.Host == b.Event.Host:
		lo = int64(b.Local - a.Local)
		hi = lo
		if exact(a, b) {
			err = 0
		}
		// The order of the moments is sure, but not how long the clock stood still.
		switch {
		case !c.suspended(a.Event.Host, a.Local, b.Local):
		case lo >= 0:
			hi = clock.Unbounded
		default:
			lo = -clock.Unbounded
		}
	case c.clocks != nil:
		lo, hi = c.clocks.Between(a.Event.Host, a.Local, b.Event.Host, b.Local)
	case a.Stamp.Err >= clock.Unbounded || b.Stamp.Err >= clock.Unbounded:
		return -clock.Unbounded, clock.Unbounded
	default:
		lo = int64(b.Stamp.At - a.Stamp.At)
		hi, err = lo, a.Stamp.Err+b.Stamp.Err
	}
	if lo > -clock.Unbounded {
		lo -= err
	}
	if hi < clock.Unbounded {
		hi += err
	}
	return lo, hi
}

// Complete is empty if a source of a host has all of the repetition on record:
// nothing was lost, the host ended the repetition, and its sockets were quiet by
// then. Otherwise it is the reason why something may be missing, for people.
func (t *Timeline) Complete(host int, source Source) (reason string) {
	evidence := t.certainty().evidence
	if evidence == nil {
		evidence = evidenceOf(t)
	}
	return evidence.complete(host, t.Repetition, source)
}

// evidenceOf is what the moments of a timeline tell of what is on record.
func evidenceOf(t *Timeline) *evidence {
	var events []*Event
	for i := range t.Moments {
		if t.Moments[i].Edge != Return {
			events = append(events, t.Moments[i].Event)
		}
	}
	return newEvidence(&Run{Hosts: t.Hosts}, events)
}
