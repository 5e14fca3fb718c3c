package timeline

import "slices"

// attach puts traces to the segments that they are about.
//
// A tap hears a packet that comes in before anything can drop it, and one that goes out
// after it was counted as sent again; a reset is announced before it is sent, or, if the
// socket itself gives up, right after. So a trace belongs to the nearest segment with the
// numbers it names, on the side on which that must be. A packet that was dropped before its
// own tap saw it leave is on record as its trace alone.
func (a *assembly) attach() {
	var index map[sent][]sighted
	for i := range a.t.Moments {
		tr := a.t.Moments[i].Event.Trace
		if tr == nil {
			continue
		}
		switch tr.Kind {
		case TraceDrop, TraceRetransmit, TraceRetransmitSYNACK, TraceResetSent, TraceResetReceived:
			if index == nil {
				index = a.sightings()
			}
			a.attachTo(index, i, tr)
		}
	}
}

// sent names the packets of one direction of an address pair.
type sent struct{ from, to string }

// sighted is a segment as one tap saw it, or a packet that is no TCP.
type sighted struct {
	*Segment
	connection int
	packet     *Packet
	// out is the departure; otherwise it is the arrival. host is whose tap it was.
	moment, host int
	out          bool
}

// sightings lists every segment by its addresses, in the order of its connection.
func (a *assembly) sightings() map[sent][]sighted {
	index := make(map[sent][]sighted)
	add := func(s *Segment, connection int) {
		for _, at := range []int{s.Departure, s.Arrival} {
			if at < 0 {
				continue
			}
			e := a.t.Moments[at].Event
			key := sent{plain(e.Packet.Source).String(), plain(e.Packet.Destination).String()}
			index[key] = append(index[key], sighted{s, connection, e.Packet, at, e.Host, at == s.Departure})
		}
	}
	for ci := range a.t.Connections {
		c := &a.t.Connections[ci]
		for i := range c.Segments {
			add(&c.Segments[i], ci)
		}
	}
	for i := range a.t.Others {
		add(&a.t.Others[i].Segment, a.t.Others[i].Connection)
	}
	return index
}

func (a *assembly) attachTo(index map[sent][]sighted, moment int, tr *Trace) {
	local, peer := plain(tr.Local).String(), plain(tr.Peer).String()
	host := a.t.Moments[moment].Event.Host
	var best *sighted
	consider := func(key sent, fits func(*sighted) bool) {
		all := index[key]
		for i := range all {
			if s := &all[i]; fits(s) && (best == nil || distance(s.moment, moment) < distance(best.moment, moment)) {
				best = s
			}
		}
	}
	own, others := sent{local, peer}, sent{peer, local}
	switch tr.Kind {
	case TraceRetransmit:
		consider(own, func(s *sighted) bool {
			return s.out && s.host == host && s.moment < moment && s.Copy > 0 && s.packet.Seq == tr.Seq
		})
	case TraceRetransmitSYNACK:
		consider(own, func(s *sighted) bool {
			return s.out && s.host == host && s.moment < moment && s.Copy > 0 && s.packet.Flags&(SYN|ACK) == SYN|ACK
		})
	case TraceResetSent:
		consider(own, func(s *sighted) bool {
			return s.out && s.host == host && s.packet.TCP() && s.packet.Flags&RST != 0 && len(s.Traces) == 0
		})
	case TraceResetReceived:
		consider(others, func(s *sighted) bool {
			return !s.out && s.host == host && s.moment < moment && s.packet.TCP() && s.packet.Flags&RST != 0
		})
	case TraceDrop:
		for _, d := range []Direction{Out, In} {
			if key := map[Direction]sent{Out: own, In: others}[d]; tr.Direction == 0 || tr.Direction == d {
				consider(key, func(s *sighted) bool { return s.isDropped(tr, moment, host) })
			}
		}
	}
	if best == nil {
		a.adopt(index, moment, own, others)
		return
	}
	best.Traces = append(best.Traces, moment)
	if at := &a.t.Moments[moment]; at.Connection < 0 {
		at.Connection = best.connection
	}
}

// isDropped reports whether a drop may be of a packet that a tap saw before it.
func (s *sighted) isDropped(tr *Trace, moment, host int) bool {
	p := s.packet
	if s.moment >= moment || !sameProtocol(p, tr) {
		return false
	}
	if p.TCP() && (p.Seq != tr.Seq || (p.Flags^tr.Flags)&(SYN|FIN|RST|ACK) != 0 || p.Flags&ACK != 0 && p.Ack != tr.Ack) {
		return false
	}
	if s.host == host {
		// Its own tap heard it come in, or go out, before it was dropped there.
		return !s.out || s.Arrival < 0
	}
	// A host that it passed, or the peer before its tap: it came to no other tap then. What
	// this host was about to send, no other has sent.
	return s.out && s.Arrival < 0 && tr.Direction != Out
}

func sameProtocol(p *Packet, tr *Trace) bool {
	if tr.Protocol == 0 || tr.Protocol == ProtocolTCP {
		return p.TCP()
	}
	return p.ARP == 0 && p.Protocol == tr.Protocol
}

// adopt gives a trace that is of no segment on record the last connection between its
// addresses that had begun.
func (a *assembly) adopt(index map[sent][]sighted, moment int, keys ...sent) {
	at := &a.t.Moments[moment]
	if at.Connection >= 0 {
		return
	}
	last := -1
	for _, key := range keys {
		for _, s := range index[key] {
			if s.moment < moment && s.moment > last {
				last, at.Connection = s.moment, s.connection
			}
		}
	}
	for ci := range a.t.Connections {
		c := &a.t.Connections[ci]
		if way := (sent{c.Client.Address.String(), c.Server.Address.String()}); last < 0 && slices.Contains(keys, way) {
			at.Connection = ci
		}
	}
}

func distance(a, b int) int { return max(a-b, b-a) }

// Drop is the moment at which a kernel dropped a segment, and what it said of it; ok is
// false if no kernel said so.
func (t *Timeline) Drop(s *Segment) (moment int, tr *Trace, ok bool) {
	for _, i := range s.Traces {
		if i >= 0 && i < len(t.Moments) {
			if tr := t.Moments[i].Event.Trace; tr != nil && tr.Kind == TraceDrop {
				return i, tr, true
			}
		}
	}
	return -1, nil, false
}
