package timeline

// letGo ends the TIME_WAIT of an end between whose addresses there is a later connection, given
// the lives of all ends: a host has one socket of them at a time. The kernel lets go of the old
// one for a connect(2) from there (RFC 6191), or for a SYN that its listener takes (RFC 9293
// 3.10.7.4). The first SYN or SYN+ACK of the later one, or the trace of its first step, proves
// that it has.
func (a *assembly) letGo(p *path, ref EndRef, lives map[EndRef]*life) {
	if p.now() != stateTimeWait {
		return
	}
	if moment := a.successor(ref, p.states[len(p.states)-1].Moment, lives); moment >= 0 {
		p.enter(stateClosed, moment, KnownPacket)
		p.states[len(p.states)-1].By = moment
	}
}

// successor is the first moment after another at which the host of an end opened another
// connection between the same two addresses, by its own tap or by what its kernel traced; -1
// if it did not.
func (a *assembly) successor(ref EndRef, since int, lives map[EndRef]*life) int {
	first := -1
	for _, other := range a.between[a.betweenOf(ref)] {
		if other.Connection == ref.Connection {
			continue
		}
		opened := []int{a.t.opening(&a.t.Connections[other.Connection], other.End)}
		if l := lives[other]; l != nil && (l.steps[0].from == stateClosed || l.steps[0].from == stateListen) {
			opened = append(opened, l.steps[0].moment)
		}
		for _, moment := range opened {
			if moment > since && (first < 0 || moment < first) {
				first = moment
			}
		}
	}
	return first
}

// betweenOf is the host of an end and the two addresses that it is between.
func (a *assembly) betweenOf(ref EndRef) dumpKey {
	c := &a.t.Connections[ref.Connection]
	return dumpKey{c.End(ref.End).Host, c.End(ref.End).Address, c.End(1 - ref.End).Address}
}

// findBetween lists the ends by their hosts and addresses, in the order of their connections.
func (a *assembly) findBetween() {
	a.between = make(map[dumpKey][]EndRef)
	for ci := range a.t.Connections {
		for end := range 2 {
			ref := EndRef{ci, end}
			a.between[a.betweenOf(ref)] = append(a.between[a.betweenOf(ref)], ref)
		}
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
