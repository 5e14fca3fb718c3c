package timeline

import "slices"

// attach puts traces to the segments that they are about.
//
// A tap hears a packet that comes in before anything can drop it, and one that goes out
// after it was counted as sent again; a reset is announced before it is sent, or, if the
// socket itself gives up, right after. So a trace belongs to the nearest segment with the
// numbers it names, on the side on which that must be. A packet that was dropped before its
// own tap saw it leave is on record as its trace alone. What names a segment that a RST answers
// is attached first: what names none may be of any RST near it, and so of what is left.
func (a *assembly) attach() {
	var index *sightings
	for _, i := range a.traces() {
		tr := a.t.Moments[i].Event.Trace
		switch tr.Kind {
		case TraceDrop, TraceRetransmit, TraceRetransmitSYNACK, TraceResetSent, TraceResetReceived:
			if index == nil {
				index = a.index()
			}
			a.attachTo(index, i, tr)
		}
	}
}

// traces are the moments of all traces in order, those of RSTs that answer nothing last.
func (a *assembly) traces() []int {
	var first, last []int
	for i := range a.t.Moments {
		switch tr := a.t.Moments[i].Event.Trace; {
		case tr == nil:
		case tr.Kind == TraceResetSent && tr.Flags == 0:
			last = append(last, i)
		default:
			first = append(first, i)
		}
	}
	return append(first, last...)
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

// sightings are all segments by their addresses, in the order of their connections, and
// the connections by theirs, with the moment at which a connect(2) was entered that opened
// one.
type sightings struct {
	seen        map[sent][]sighted
	connections map[sent][]int
	entered     map[int]int
}

func (a *assembly) index() *sightings {
	index := &sightings{seen: make(map[sent][]sighted), connections: make(map[sent][]int), entered: make(map[int]int)}
	add := func(s *Segment, connection int) {
		for _, at := range []int{s.Departure, s.Arrival} {
			if at < 0 {
				continue
			}
			e := a.t.Moments[at].Event
			key := sent{plain(e.Packet.Source).String(), plain(e.Packet.Destination).String()}
			index.seen[key] = append(index.seen[key], sighted{s, connection, e.Packet, at, e.Host, at == s.Departure})
		}
	}
	for ci := range a.t.Connections {
		c := &a.t.Connections[ci]
		way := sent{c.Client.Address.String(), c.Server.Address.String()}
		index.connections[way] = append(index.connections[way], ci)
		for i := range c.Segments {
			add(&c.Segments[i], ci)
		}
	}
	for i := range a.t.Others {
		add(&a.t.Others[i].Segment, a.t.Others[i].Connection)
	}
	for i := range a.t.Moments {
		m := &a.t.Moments[i]
		if m.Edge != Enter || m.Event.Call.Name != "connect" || m.Connection < 0 {
			continue
		}
		if _, again := index.entered[m.Connection]; !again {
			index.entered[m.Connection] = i
		}
	}
	return index
}

func (a *assembly) attachTo(index *sightings, moment int, tr *Trace) {
	local, peer := plain(tr.Local).String(), plain(tr.Peer).String()
	host := a.t.Moments[moment].Event.Host
	var best *sighted
	consider := func(key sent, fits func(*sighted) bool) {
		all := index.seen[key]
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
			return s.out && s.host == host && s.packet.TCP() && s.packet.Flags&RST != 0 && !a.t.isTold(s.Segment, TraceResetSent) && a.isReset(s, tr, moment)
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
		a.adopt(index, moment, tr, own, others)
		return
	}
	best.Traces = append(best.Traces, moment)
	slices.Sort(best.Traces)
	if at := &a.t.Moments[moment]; at.Connection < 0 {
		at.Connection = best.connection
	}
}

// isReset reports whether a RST may be the one that a trace announced. One that answers a
// segment has the numbers of that, RFC 9293 3.5.2. Where the trace names none, it is a socket's
// own, which acknowledges; a queue of the host may keep that long. One without is only near.
func (a *assembly) isReset(s *sighted, tr *Trace, moment int) bool {
	p := s.packet
	switch {
	case tr.Flags == 0:
		apart := int64(a.t.Moments[moment].Local - a.t.Moments[s.moment].Local)
		return p.Flags&ACK != 0 && p.Seq != 0 || magnitude(apart) <= soon+readingErr(&a.t.Moments[s.moment])
	case tr.Flags&ACK != 0:
		return p.Flags&ACK == 0 && p.Seq == tr.Ack
	}
	answered := &Packet{Seq: tr.Seq, Flags: tr.Flags, PayloadLength: tr.PayloadLength}
	return p.Flags&ACK != 0 && p.Ack == tr.Seq+sequenceLength(answered)
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

// adopt gives a trace that is of no segment on record the connection between its addresses
// that had begun last: that a tap had seen, or that its own connect(2) had opened. None that
// began only afterwards, nor one that a SYN of another number opened.
func (a *assembly) adopt(index *sightings, moment int, tr *Trace, keys ...sent) {
	at := &a.t.Moments[moment]
	if at.Connection >= 0 {
		return
	}
	last := -1
	for _, key := range keys {
		for _, s := range index.seen[key] {
			if s.moment < moment && s.moment > last && a.mayBeAbout(s.connection, tr) {
				last, at.Connection = s.moment, s.connection
			}
		}
	}
	for _, key := range keys {
		for _, ci := range index.connections[key] {
			if entered, ok := index.entered[ci]; ok && entered < moment && entered > last && a.mayBeAbout(ci, tr) {
				last, at.Connection = entered, ci
			}
		}
	}
}

// mayBeAbout reports whether the SYN that a trace is about, if it is, may be of a connection.
func (a *assembly) mayBeAbout(connection int, tr *Trace) bool {
	if connection < 0 || tr.Kind != TraceDrop || !sameProtocol(&Packet{}, tr) || tr.Flags&(SYN|ACK) != SYN {
		return true
	}
	c := &a.t.Connections[connection]
	return !c.Client.HasISN || c.Client.ISN == tr.Seq || c.Server.HasISN && c.Server.ISN == tr.Seq
}

func distance(a, b int) int { return max(a-b, b-a) }

// isTold reports whether a kernel said something of a kind about a segment.
func (t *Timeline) isTold(s *Segment, kind TraceKind) bool {
	return slices.ContainsFunc(s.Traces, func(i int) bool { return t.Moments[i].Event.Trace.Kind == kind })
}

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
