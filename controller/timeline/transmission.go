package timeline

import (
	"cmp"
	"slices"

	"syncline/controller/clock"
)

// Transmission is one packet on its way, whatever its protocol. FromClient means
// nothing where there is no TCP; Copy is 0 there.
type Transmission struct {
	Segment
	// Connection indexes Timeline.Connections: of a TCP segment its own, of an ICMP error
	// that of the segment it quotes; -1 if there is none.
	Connection int
	// Number indexes Connection.Segments; -1 if the packet is no TCP.
	Number int
	// From and To are the hosts at its two ends, -1 where no host of the run has the
	// address.
	From, To int
}

// First is the moment at which the packet was first seen: its departure, or its
// arrival if no departure is on record.
func (tr *Transmission) First() int {
	if tr.Departure >= 0 {
		return tr.Departure
	}
	return tr.Arrival
}

// Packet is the packet of a transmission, as the first tap that saw it recorded it.
func (t *Timeline) Packet(tr *Transmission) *Packet { return t.Moments[tr.First()].Event.Packet }

// Transmissions lists all packets of the repetition that went from one end to the
// other, of TCP and of the rest, in order of departure, then of arrival where no
// departure was seen. What hosts between the ends saw pass is not in it.
func (t *Timeline) Transmissions() []Transmission {
	all := slices.Clone(t.Others)
	for i := range t.Connections {
		c := &t.Connections[i]
		for s, segment := range c.Segments {
			tr := Transmission{Segment: segment, Connection: i, Number: s, From: c.Server.Host, To: c.Client.Host}
			if segment.FromClient {
				tr.From, tr.To = tr.To, tr.From
			}
			all = append(all, tr)
		}
	}
	slices.SortStableFunc(all, compareTransmissions)
	return all
}

func compareTransmissions(a, b Transmission) int {
	return cmp.Or(cmp.Compare(a.First(), b.First()), cmp.Compare(a.Arrival, b.Arrival), cmp.Compare(a.Connection, b.Connection), cmp.Compare(a.Number, b.Number))
}

// RTT is the round-trip time of a connection's handshake: from the SYN's departure to
// the arrival of the SYN+ACK that answers it, both at the client's own tap, in
// nanoseconds and surely within err. ok is false if either is not on record, or if the
// SYN was sent more than once and nothing tells which of them was answered.
func (t *Timeline) RTT(connection int) (ns, err int64, ok bool) {
	from, to := t.answeredSYN(&t.Connections[connection])
	if from < 0 {
		return 0, 0, false
	}
	ns, err = t.length(from, to)
	return ns, err, err < clock.Unbounded
}

// answeredSYN is the departure of the client's SYN and the arrival of the answer, -1
// if that is not known.
func (t *Timeline) answeredSYN(c *Connection) (from, to int) {
	to = -1
	for i := range c.Segments {
		s := &c.Segments[i]
		if !s.FromClient && s.Arrival >= 0 && t.flagsOf(s)&(SYN|ACK) == SYN|ACK && (to < 0 || s.Arrival < to) {
			to = s.Arrival
		}
	}
	if to < 0 {
		return -1, -1
	}
	var sent, arrived []int
	for i := range c.Segments {
		s := &c.Segments[i]
		if !s.FromClient || s.Departure < 0 || s.Departure > to || t.flagsOf(s)&(SYN|ACK) != SYN {
			continue
		}
		sent = append(sent, s.Departure)
		if s.Arrival >= 0 && !s.Ambiguous {
			arrived = append(arrived, s.Departure)
		}
	}
	switch {
	case len(sent) == 1:
		return sent[0], to
	case len(arrived) == 1:
		return arrived[0], to
	}
	return -1, -1
}

func (t *Timeline) flagsOf(s *Segment) Flags {
	return t.Moments[max(s.Departure, s.Arrival)].Event.Packet.Flags
}

// length is the time from one moment to another in nanoseconds, surely within err.
// Where nothing bounds it, err is clock.Unbounded and ns what the stamps say.
func (t *Timeline) length(from, to int) (ns, err int64) {
	lo, hi := t.Apart(from, to)
	if lo <= -clock.Unbounded || hi >= clock.Unbounded {
		return int64(t.Moments[to].Stamp.At - t.Moments[from].Stamp.At), clock.Unbounded
	}
	return lo + (hi-lo)/2, (hi - lo + 1) / 2
}
