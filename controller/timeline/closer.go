package timeline

// closeKind is what is known of who ended a connection first.
type closeKind int

const (
	// closeNone: neither end is known to have ended it.
	closeNone closeKind = iota
	// closeFirst: one end did, before the other and before it knew of the other.
	closeFirst
	// closeCrossed: both sent a FIN before either had the other's.
	closeCrossed
	// closeUnknown: both did, and the record does not say in which order.
	closeUnknown
)

// closure says who ended a connection first.
type closure struct {
	kind closeKind
	// end was first, of closeFirst alone.
	end int
	// by is what each end did first to end its connection.
	by [2]ending
}

// ending is what an end did first to end its connection: it sent a FIN or its last packets are
// RSTs, or its socket was CLOSED and nothing on record had told the other end.
type ending struct {
	// moment is its departure, or its arrival where no tap saw it leave, or that at which the
	// socket surely was CLOSED; -1 if it did nothing.
	moment int
	// flags are of the packet, 0 if there is none.
	flags Flags
}

func (e ending) isFIN() bool { return e.flags&(FIN|RST) == FIN }

// closure finds who ended a connection first: by what its packets acknowledge, however little
// is known of the clocks, and else by the certain order of what left.
func (t *Timeline) closure(connection int) closure {
	c := &t.Connections[connection]
	k := closure{by: [2]ending{t.ending(c, ClientEnd), t.ending(c, ServerEnd)}}
	for end := range 2 {
		if other := k.by[1-end]; other.moment >= 0 && !t.isBefore(k.by[end], other) {
			if silent := t.silentEnd(c, end); t.isBefore(silent, other) {
				k.by[end], k.kind, k.end = silent, closeFirst, end
				return k
			}
		}
	}
	client, server := k.by[ClientEnd], k.by[ServerEnd]
	switch {
	case client.moment < 0 && server.moment < 0:
		return k
	case client.moment < 0 || server.moment < 0:
		k.kind = closeFirst
		if client.moment < 0 {
			k.end = ServerEnd
		}
		return k
	}
	k.kind = closeUnknown
	clientKnew, serverKnew := t.knewOf(client, server), t.knewOf(server, client)
	clientFirst, serverFirst := t.isBefore(client, server), t.isBefore(server, client)
	switch {
	case clientKnew && serverKnew:
	case serverKnew:
		k.kind, k.end = closeFirst, ClientEnd
	case clientKnew:
		k.kind, k.end = closeFirst, ServerEnd
	case client.isFIN() && server.isFIN() && !(clientFirst && t.isLost(c, client)) && !(serverFirst && t.isLost(c, server)):
		k.kind = closeCrossed
	case clientFirst && !serverFirst:
		k.kind, k.end = closeFirst, ClientEnd
	case serverFirst && !clientFirst:
		k.kind, k.end = closeFirst, ServerEnd
	}
	return k
}

// ending is the first FIN of an end, or the first of the RSTs after which it sent nothing else.
func (t *Timeline) ending(c *Connection, end int) ending {
	rst := ending{moment: -1}
	for i := range c.Segments {
		s := &c.Segments[i]
		if s.FromClient != (end == ClientEnd) {
			continue
		}
		tr := Transmission{Segment: *s}
		switch flags := t.Packet(&tr).Flags; {
		case flags&RST == 0 && flags&FIN != 0:
			return ending{tr.First(), flags}
		case flags&RST == 0:
			rst.moment = -1
		case rst.moment < 0:
			rst = ending{tr.First(), flags}
		}
	}
	return rst
}

// silentEnd is when the socket of an end surely was CLOSED, if no RST of its peer had come
// to it.
func (t *Timeline) silentEnd(c *Connection, end int) ending {
	own := c.End(end)
	if own.StatesDoubt != "" || len(own.States) == 0 {
		return ending{moment: -1}
	}
	last := &own.States[len(own.States)-1]
	at := last.By
	if last.Known == KnownTraced {
		at = last.Moment
	}
	if last.Name != stateClosed || at < 0 {
		return ending{moment: -1}
	}
	for i := range c.Segments {
		s := &c.Segments[i]
		if s.FromClient != (end == ClientEnd) && t.Packet(&Transmission{Segment: *s}).Flags&RST != 0 {
			return ending{moment: -1}
		}
	}
	return ending{moment: at}
}

// isBefore reports whether what one end did surely was before what the other did. Of what no
// tap saw leave only the arrival is known: it left before that, nobody knows how long.
func (t *Timeline) isBefore(a, b ending) bool {
	if a.moment < 0 || b.moment < 0 {
		return false
	}
	if p := t.Moments[b.moment].Event.Packet; p != nil && p.Direction == In {
		return false
	}
	before, known := t.Certain(a.moment, b.moment)
	return known && before
}

// knewOf reports whether whoever sent something to end a connection had taken the other's FIN:
// it acknowledges that.
func (t *Timeline) knewOf(own, other ending) bool {
	if own.flags&ACK == 0 || !other.isFIN() {
		return false
	}
	p, q := t.Moments[own.moment].Event.Packet, t.Moments[other.moment].Event.Packet
	return int32(p.Ack-q.Seq-uint32(q.PayloadLength)) > 0
}

// isLost reports whether a packet is not known to have come.
func (t *Timeline) isLost(c *Connection, e ending) bool {
	for i := range c.Segments {
		if s := &c.Segments[i]; s.Departure == e.moment {
			return s.Arrival < 0
		}
	}
	return false
}
