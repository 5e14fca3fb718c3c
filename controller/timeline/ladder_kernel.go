package timeline

import (
	"fmt"
	"slices"
)

// LadderDrop is a packet that a kernel dropped. It has a row of its own (RowDrop), the
// moment at which the kernel gave the packet up.
type LadderDrop struct {
	Row, Lane int
	// Arrow is the packet's own, -1 if no tap saw it.
	Arrow int
	// Connection indexes the timeline, -1 if the packet is of none.
	Connection int
	// Direction tells whether the host had received it or was sending it; 0 if nobody can
	// tell. Peer is the lane of the other end, -1 if no host of the run has the address.
	Direction Direction
	Peer      int
	// Words tell the packet, as in Arrow.
	Words []string
	// Reason is the kernel's own name of why; Place the function that dropped it, empty if
	// the kernel does not tell.
	Reason, Place string
}

// heed takes over what kernels said of the packets of the ladder.
func (b *ladderer) heed() {
	for i, s := range b.ways {
		for _, moment := range s.Traces {
			if moment < 0 || moment >= len(b.t.Moments) || b.t.Moments[moment].Event.Trace == nil {
				continue
			}
			a, e := &b.l.Arrows[i], b.t.Moments[moment].Event
			switch e.Trace.Kind {
			case TraceRetransmit, TraceRetransmitSYNACK:
				a.Told = a.Copy > 0
			case TraceResetSent:
				a.Reason = e.Trace.Reason
			case TraceResetReceived:
				a.Taken = true
			case TraceDrop:
				if b.isSpent(s, e.Trace) {
					b.spent[moment] = true
					continue
				}
				a.Dropped = true
				if _, ok := b.dropped[moment]; !ok {
					b.dropped[moment] = i
				}
			}
		}
	}
}

// noReason is the kernel's name of a drop for which it has no reason to tell.
const noReason = "NOT_SPECIFIED"

// isSpent reports whether a drop is no more than the end of a packet that TCP has used:
// the kernel gives no reason, and the packet brought its receiver to a state. Linux frees
// a FIN that a socket in TIME_WAIT, or on its way there, has dealt with as it frees what it
// drops.
func (b *ladderer) isSpent(s *Segment, tr *Trace) bool {
	return tr.Reason == noReason && s.Arrival >= 0 && b.stateful()[s.Arrival]
}

// stateful are the moments that brought an end to a state.
func (b *ladderer) stateful() map[int]bool {
	if b.brought == nil {
		b.brought = make(map[int]bool)
		for ci := range b.t.Connections {
			for end := range 2 {
				for _, s := range b.t.Connections[ci].End(end).States {
					b.brought[s.Moment] = true
				}
			}
		}
	}
	return b.brought
}

// layDrop makes the mark of a drop, whose row is at, and returns its index.
func (b *ladderer) layDrop(moment, at int) int {
	m := &b.t.Moments[moment]
	tr := m.Event.Trace
	d := LadderDrop{
		Row: at, Lane: b.lane[m.Event.Host], Arrow: -1, Connection: m.Connection,
		Direction: tr.Direction, Peer: b.laneOf(b.t.hostOfAddress(tr)), Reason: tr.Reason, Place: tr.Place,
	}
	if i, ok := b.dropped[moment]; ok {
		d.Arrow, d.Words = i, b.l.Arrows[i].Words
	} else {
		d.Words = b.tracedWords(m)
	}
	b.l.Drops = append(b.l.Drops, d)
	return len(b.l.Drops) - 1
}

// hostOfAddress is the host that has the peer's address of a trace, -1 if none has.
func (t *Timeline) hostOfAddress(tr *Trace) int {
	peer := plain(tr.Peer).Addr()
	return slices.IndexFunc(t.Hosts, func(h Host) bool { return peer.IsValid() && (h.Address == peer || h.Address6 == peer) })
}

// tracedWords tell a packet that is on record as its trace alone. Of another than TCP the
// kernel told no more than how long it was.
func (b *ladderer) tracedWords(m *Moment) []string {
	tr := m.Event.Trace
	p := &Packet{Seq: tr.Seq, Ack: tr.Ack, Flags: tr.Flags, PayloadLength: tr.PayloadLength, Protocol: tr.Protocol, Window: 1}
	switch {
	case p.TCP():
	case p.Protocol == ProtocolUDP:
		return []string{"UDP", countOf(p.PayloadLength, "byte")}
	case p.Protocol == ProtocolICMP:
		return []string{"ICMP", countOf(p.PayloadLength, "byte")}
	case p.Protocol == ProtocolICMPv6:
		return []string{"ICMPv6", countOf(p.PayloadLength, "byte")}
	default:
		return []string{fmt.Sprintf("protocol %d", p.Protocol), countOf(p.PayloadLength, "byte")}
	}
	c, s := &Connection{}, &Segment{}
	if m.Connection >= 0 && tr.Direction != 0 {
		c = &b.t.Connections[m.Connection]
		s.FromClient = (plain(tr.Local) == c.Client.Address) == (tr.Direction == Out)
	}
	return packetWords(p, c, s)
}
