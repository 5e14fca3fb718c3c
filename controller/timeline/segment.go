package timeline

import (
	"cmp"
	"slices"

	"syncline/controller/clock"
)

// draft is a segment with what is needed to order and count it.
type draft struct {
	Segment
	packet *Packet
	event  *Event
}

// segments fills in connections and segments, and which moments belong to them.
func (a *assembly) segments() {
	edges := make(map[*transit]*edge)
	for i := range a.edges {
		if t := a.edges[i].transit; t != nil {
			edges[t] = &a.edges[i]
		}
	}
	first := make(map[*conn]int)
	for i := len(a.nodes) - 1; i >= 0; i-- {
		if c := a.nodes[i].conn; c != nil {
			if p, ok := first[c]; !ok || a.place[i] < p {
				first[c] = a.place[i]
			}
		}
	}
	conns := slices.Clone(a.conns)
	slices.SortStableFunc(conns, func(x, y *conn) int { return cmp.Compare(first[x], first[y]) })
	index := make(map[*conn]int)
	for _, c := range conns {
		if _, ok := first[c]; ok {
			index[c] = len(a.t.Connections)
			a.t.Connections = append(a.t.Connections, a.connection(c, edges))
		}
	}
	for i := range a.nodes {
		if c := a.nodes[i].conn; c != nil {
			a.t.Moments[a.place[i]].Connection = index[c]
		}
	}
	a.transmissions(edges, index)
	a.findSides(index)
	for _, c := range a.t.Connections {
		for s := len(c.Segments) - 1; s >= 0; s-- {
			for _, m := range []int{c.Segments[s].Departure, c.Segments[s].Arrival} {
				if m >= 0 {
					a.t.Moments[m].Segment = s
				}
			}
		}
	}
}

// findSides tells which end of its connection each call worked on.
func (a *assembly) findSides(index map[*conn]int) {
	a.sides = make(map[int]EndRef)
	for i := range a.nodes {
		s, ok := a.calls[a.nodes[i].event]
		if !ok {
			continue
		}
		ref := EndRef{index[s.conn], ClientEnd}
		if s.end() != a.client(s.conn) {
			ref.End = ServerEnd
		}
		a.sides[a.place[i]] = ref
	}
}

func (a *assembly) connection(c *conn, edges map[*transit]*edge) Connection {
	client := a.client(c)
	drafts := make([]draft, 0, len(c.transits))
	for i := range c.transits {
		t := &c.transits[i]
		drafts = append(drafts, a.draft(c, t, client, edges[t]))
	}
	slices.SortStableFunc(drafts, func(x, y draft) int {
		return cmp.Or(cmp.Compare(x.moment(), y.moment()), cmp.Compare(x.Arrival, y.Arrival))
	})
	countCopies(drafts)
	result := Connection{Client: c.ends[client], Server: c.ends[1-client], Segments: make([]Segment, 0, len(drafts))}
	for _, d := range drafts {
		result.Segments = append(result.Segments, d.Segment)
	}
	return result
}

// client is the end that sent the first SYN: of a simultaneous open, the one whose
// SYN left first as far as one can tell.
func (a *assembly) client(c *conn) int {
	if !c.crossed {
		return 0
	}
	syn := [2]int{-1, -1}
	for i := range c.transits {
		t := &c.transits[i]
		if t.departure == nil || t.departure.Packet.Flags&(SYN|ACK) != SYN {
			continue
		}
		if at := a.place[a.at[t.departure]]; syn[t.from] < 0 || at < syn[t.from] {
			syn[t.from] = at
		}
	}
	switch {
	case syn[0] < 0 && syn[1] < 0, syn[0] >= 0 && syn[1] < 0:
		return 0
	case syn[0] < 0 || syn[1] < syn[0]:
		return 1
	}
	return 0
}

// moment is where the segment stands among the others.
func (d *draft) moment() int {
	if d.Departure >= 0 {
		return d.Departure
	}
	return d.Arrival
}

func (a *assembly) draft(c *conn, t *transit, client int, e *edge) draft {
	d := draft{Segment: Segment{
		FromClient: t.from == client, Departure: -1, Arrival: -1,
		OneWayErr: clock.Unbounded, Ambiguous: t.ambiguous, Duplicate: t.duplicate,
	}}
	if t.arrival != nil {
		d.Arrival, d.event = a.place[a.at[t.arrival]], t.arrival
	}
	if t.departure != nil {
		d.Departure, d.event = a.place[a.at[t.departure]], t.departure
	}
	d.packet = d.event.Packet
	if e != nil {
		d.Impossible = e.impossible
		d.Ambiguous = d.Ambiguous || e.cut && !e.impossible
		d.OneWay, d.OneWayErr = a.oneWay(t)
	}
	if to := c.ends[1-t.from].Host; t.arrival == nil && to >= 0 {
		d.Lost = a.evidence.completeThrough(to, a.repetition, t.departure.Repetition, Packets) == ""
	}
	return d
}

// oneWay is the time on the way. It is not negative, unless it cannot be anything
// else.
func (a *assembly) oneWay(t *transit) (delay, err int64) {
	lo, hi := between(a.clocks, t.departure, t.arrival)
	if lo <= -clock.Unbounded || hi >= clock.Unbounded {
		return 0, clock.Unbounded
	}
	if hi >= 0 {
		lo = max(lo, 0)
	}
	half := (hi - lo + 1) / 2
	return lo + (hi-lo)/2, max(half, -half)
}

// countCopies numbers the transmissions of the same sequence numbers, in the order
// of the drafts. What takes no sequence number (a bare acknowledgment, a reset) is
// never sent again in this sense.
func countCopies(drafts []draft) {
	for _, fromClient := range []bool{true, false} {
		var sent []*draft
		var highest uint32
		for i := range drafts {
			d := &drafts[i]
			length := sequenceLength(d.packet)
			if d.FromClient != fromClient || length == 0 || d.Duplicate {
				continue
			}
			if n := len(sent); n > 0 && sent[n-1].event == d.event {
				d.Copy = sent[n-1].Copy
				continue
			}
			if len(sent) > 0 && int32(d.packet.Seq-highest) < 0 {
				d.Copy = copiesOf(d.packet, sent)
			}
			if end := d.packet.Seq + length; len(sent) == 0 || int32(end-highest) > 0 {
				highest = end
			}
			sent = append(sent, d)
		}
	}
}

// copiesOf counts the earlier transmissions that held p's first sequence number. A
// SYN+ACK is no copy of a SYN with the same number.
func copiesOf(p *Packet, sent []*draft) int {
	n := 0
	for _, d := range sent {
		offset := int32(p.Seq - d.packet.Seq)
		if offset >= 0 && uint32(offset) < sequenceLength(d.packet) && (p.Flags^d.packet.Flags)&(SYN|ACK) == 0 {
			n++
		}
	}
	return n
}

// sequenceLength is how many sequence numbers a packet takes, RFC 9293 3.4.
func sequenceLength(p *Packet) uint32 {
	n := uint32(p.PayloadLength)
	if p.Flags&SYN != 0 {
		n++
	}
	if p.Flags&FIN != 0 {
		n++
	}
	return n
}
