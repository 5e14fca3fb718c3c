package timeline

// letGo ends the TIME_WAIT of an end between whose addresses there is a later connection:
// a host has one socket of them at a time. The kernel lets go of the old one for a
// connect(2) from there (RFC 6191), or for a SYN that its listener takes (RFC 9293
// 3.10.7.4); the first SYN or SYN+ACK of the later one proves that it has.
func (p *path) letGo(ref EndRef) {
	if p.now() != stateTimeWait {
		return
	}
	if moment := p.t.succeeded(ref); moment > p.states[len(p.states)-1].Moment {
		p.enter(stateClosed, moment, KnownPacket)
		p.states[len(p.states)-1].By = moment
	}
}

// succeeded is the first moment at which an end's tap saw it open a later connection
// between the same two addresses; -1 if it did not.
func (t *Timeline) succeeded(ref EndRef) int {
	own, peer := t.Connections[ref.Connection].End(ref.End), t.Connections[ref.Connection].End(1-ref.End)
	for ci := ref.Connection + 1; ci < len(t.Connections); ci++ {
		c := &t.Connections[ci]
		for end := range 2 {
			if e := c.End(end); e.Host != own.Host || e.Address != own.Address || c.End(1-end).Address != peer.Address {
				continue
			}
			if moment := t.opening(c, end); moment >= 0 {
				return moment
			}
		}
	}
	return -1
}

// opening is the first moment at which an end's tap saw it send a SYN or SYN+ACK; -1 if it
// saw none.
func (t *Timeline) opening(c *Connection, end int) int {
	first := -1
	for i := range c.Segments {
		s := &c.Segments[i]
		if s.FromClient != (end == ClientEnd) || s.Departure < 0 || t.Moments[s.Departure].Event.Packet.Flags&SYN == 0 {
			continue
		}
		if first < 0 || s.Departure < first {
			first = s.Departure
		}
	}
	return first
}
