package timeline

import (
	"cmp"
	"net/netip"
	"slices"

	"syncline/controller/clock"
)

// flow is all packets between two addresses, over the whole run, as all taps saw
// them. Ports are used again within a run, so a flow can hold many connections.
type flow struct {
	packets []*Event
	conns   []*conn
	openers map[opener]*conn
}

// opener is who opened a connection, with which initial sequence number.
type opener struct {
	from netip.AddrPort
	isn  uint32
}

// conn is a connection in the making.
type conn struct {
	// repetition in which it was opened. All its packets belong there, however late
	// they were seen.
	repetition int
	// ends[0] is the one that opened it, as far as is known yet.
	ends [2]End
	// crossed says that both ends opened it (simultaneous open, RFC 9293 3.5).
	crossed bool
	// early is how many bytes of data came with the opening SYN.
	early uint32
	// rejected says that a RST answered the opening SYN (RFC 9293 3.5.2).
	rejected bool
	// first packet that each host saw of it, by host; nil if it saw none.
	first   []*Event
	packets []*Event
	// passing are packets seen by a tap of neither end.
	passing  []*Event
	transits []transit
	// claimed ends are the ones whose call is known.
	claimed [2]bool
}

// until is the last repetition in which packets of it were heard.
func (c *conn) until() int {
	last := c.repetition
	for _, e := range c.packets {
		last = max(last, e.Repetition)
	}
	return last
}

// side is one end of a connection in the making. The end is told by its address, since
// which of the two is the client may turn out later.
type side struct {
	*conn
	address netip.AddrPort
}

// end is the index of the end in conn.ends.
func (s side) end() int {
	if s.ends[1].Address == s.address && s.ends[0].Address != s.address {
		return 1
	}
	return 0
}

// plain is the address without what two sources may spell differently.
func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

type flowKey struct{ low, high netip.AddrPort }

func keyOf(a, b netip.AddrPort) flowKey {
	a, b = plain(a), plain(b)
	if b.Compare(a) < 0 {
		a, b = b, a
	}
	return flowKey{a, b}
}

// flows groups packets, which must be sorted by host and then by time.
func flows(packets []*Event) []*flow {
	byKey := make(map[flowKey]*flow)
	var all []*flow
	for _, e := range packets {
		key := keyOf(e.Packet.Source, e.Packet.Destination)
		f := byKey[key]
		if f == nil {
			f = &flow{openers: make(map[opener]*conn)}
			byKey[key] = f
			all = append(all, f)
		}
		f.packets = append(f.packets, e)
	}
	return all
}

// split finds the connections of a flow: one for every opening SYN's sequence
// number. A retransmitted SYN repeats it, a new connection on the same ports does
// not.
func (f *flow) split(hosts int) {
	for _, e := range f.packets {
		if p := e.Packet; p.Flags&(SYN|ACK) == SYN {
			c := f.opened(p.Source, p.Destination, p.Seq, hosts)
			c.saw(e)
			c.early = max(c.early, uint32(p.PayloadLength))
		}
	}
	for _, e := range f.packets {
		switch p := e.Packet; {
		case p.Flags&(SYN|ACK) == SYN|ACK:
			f.answered(e, hosts)
		case p.Flags&(RST|ACK) == RST|ACK && p.Seq == 0:
			if c := f.openers[opener{plain(p.Destination), p.Ack - 1}]; c != nil {
				c.rejected = true
			}
		}
	}
	f.joinCrossed()
	slices.SortStableFunc(f.conns, compareStart)
	orphans := make(map[int]*conn)
	for _, e := range f.packets {
		c := f.owner(e)
		if c == nil {
			c = orphans[e.Repetition]
		}
		if c == nil {
			c = newConn(e.Packet.Source, e.Packet.Destination, hosts)
			orphans[e.Repetition] = c
			f.conns = append(f.conns, c)
		}
		c.add(e)
	}
}

func newConn(from, to netip.AddrPort, hosts int) *conn {
	return &conn{
		ends:  [2]End{{Host: -1, Address: plain(from)}, {Host: -1, Address: plain(to)}},
		first: make([]*Event, hosts),
	}
}

// answered notes what a SYN+ACK tells of a connection's initial numbers.
func (f *flow) answered(e *Event, hosts int) {
	p := e.Packet
	c := f.acknowledged(p)
	if c == nil {
		c = f.opened(p.Destination, p.Source, p.Ack-1, hosts)
	}
	c.saw(e)
	if !c.ends[1].HasISN {
		c.ends[1].ISN, c.ends[1].HasISN = p.Seq, true
	}
}

// acknowledged is the connection whose SYN a SYN+ACK answers that acknowledges data on
// the SYN as well (TCP Fast Open, RFC 7413); nil if this is none.
func (f *flow) acknowledged(p *Packet) *conn {
	for _, c := range f.conns {
		if c.ends[0].Address == plain(p.Destination) && c.early > 0 && p.Ack-c.ends[0].ISN-1 <= c.early {
			return c
		}
	}
	return nil
}

// opened is the connection that from opened with the number isn.
func (f *flow) opened(from, to netip.AddrPort, isn uint32, hosts int) *conn {
	key := opener{plain(from), isn}
	if c := f.openers[key]; c != nil {
		return c
	}
	c := newConn(from, to, hosts)
	c.ends[0].ISN, c.ends[0].HasISN = isn, true
	f.openers[key] = c
	f.conns = append(f.conns, c)
	return c
}

func (c *conn) saw(e *Event) {
	if c.first[e.Host] == nil || e.At < c.first[e.Host].At {
		c.first[e.Host] = e
	}
	if c.repetition == 0 || e.Repetition != 0 && e.Repetition < c.repetition {
		c.repetition = e.Repetition
	}
}

func (c *conn) add(e *Event) {
	if c.first[e.Host] == nil {
		c.saw(e)
	}
	c.packets = append(c.packets, e)
}

// joinCrossed makes one connection of the two that a simultaneous open looks like:
// a SYN each way, each acknowledged by an end that had sent the other.
func (f *flow) joinCrossed() {
	for _, e := range f.packets {
		p := e.Packet
		if p.Flags&ACK == 0 {
			continue
		}
		// At the start of its numbers the sender's may be its SYN's, or the next.
		a, b := f.openers[opener{plain(p.Source), p.Seq}], f.openers[opener{plain(p.Destination), p.Ack - 1}]
		if a == nil {
			a = f.openers[opener{plain(p.Source), p.Seq - 1}]
		}
		if a == nil || b == nil || a == b || a.ends[0].Address == b.ends[0].Address {
			continue
		}
		f.join(a, b)
	}
}

// join makes one connection of a and b, the one whose address comes first opening it.
func (f *flow) join(a, b *conn) {
	if b.ends[0].Address.Compare(a.ends[0].Address) < 0 {
		a, b = b, a
	}
	a.crossed = true
	a.ends[1].ISN, a.ends[1].HasISN = b.ends[0].ISN, true
	for _, e := range b.first {
		if e != nil {
			a.saw(e)
		}
	}
	f.openers[opener{b.ends[0].Address, b.ends[0].ISN}] = a
	f.conns = slices.DeleteFunc(f.conns, func(c *conn) bool { return c == b })
}

// compareStart orders connections of one flow by when they were opened: by the clock of a host
// that saw both, else by the initial numbers of the end that opened both, which grow with time
// (RFC 6528).
func compareStart(a, b *conn) int {
	if a.repetition != b.repetition {
		return a.repetition - b.repetition
	}
	for h := range a.first {
		if x, y := a.first[h], b.first[h]; x != nil && y != nil {
			return compareEvents(x, y)
		}
	}
	if x, y := &a.ends[0], &b.ends[0]; x.HasISN && y.HasISN && x.Address == y.Address && x.ISN != y.ISN {
		return cmp.Compare(int32(x.ISN-y.ISN), 0)
	}
	return 0
}

// owner is the connection that a packet belongs to, nil if none can be it: the last
// one opened before it whose numbers it fits. An old segment may arrive after the
// ports were opened again (RFC 9293 3.4.3); the numbers tell it, since the initial
// ones grow with time (RFC 6528).
func (f *flow) owner(e *Event) *conn {
	var last *conn
	for _, c := range slices.Backward(f.conns) {
		if !c.ends[0].HasISN || !c.startedBefore(e) {
			continue
		}
		if c.fits(e.Packet) {
			return c
		}
		if last == nil && c.repetition == e.Repetition && c.mayCarry(e.Packet) {
			last = c
		}
	}
	if last == nil {
		return f.yetToOpen(e)
	}
	return last
}

// yetToOpen is the connection of a packet whose stamp is before the opening, but
// whose numbers are of it: the stamp lies, and that has to be seen.
func (f *flow) yetToOpen(e *Event) *conn {
	for _, c := range f.conns {
		if c.repetition == e.Repetition && c.ends[0].HasISN && c.ends[1].HasISN && c.fits(e.Packet) {
			return c
		}
	}
	return nil
}

// quoted is the connection that an ICMP error is about: the last one opened before it
// that the quoted number fits. nil if there is none.
func (f *flow) quoted(e *Event, q quote) *conn {
	sent := &Packet{Source: q.source, Destination: q.destination, Seq: q.seq}
	var last *conn
	for _, c := range slices.Backward(f.conns) {
		if c.repetition != e.Repetition || !c.startedBefore(e) {
			continue
		}
		from := c.ends[c.direction(sent)]
		if from.HasISN && int32(q.seq-from.ISN) >= 0 {
			return c
		}
		if last == nil && !from.HasISN {
			last = c
		}
	}
	return last
}

func (c *conn) startedBefore(e *Event) bool {
	if first := c.first[e.Host]; first != nil {
		return first.At <= e.At
	}
	return c.repetition <= e.Repetition || e.Repetition == 0
}

// fits reports whether a packet's numbers do not speak against the connection.
func (c *conn) fits(p *Packet) bool {
	from := c.direction(p)
	sender, receiver := c.ends[from], c.ends[1-from]
	if !c.mayCarry(p) {
		return false
	}
	switch p.Flags & (SYN | ACK) {
	case SYN:
		return sender.HasISN && p.Seq == sender.ISN
	case SYN | ACK:
		early := uint32(0)
		if from == 1 {
			early = c.early
		}
		if receiver.HasISN && p.Ack-receiver.ISN-1 > early {
			return false
		}
	}
	// A reset that answers a SYN has no number of its own: RFC 9293 3.5.2.
	resets := p.Flags&RST != 0 && p.Seq == 0
	if sender.HasISN && !resets && int32(p.Seq-sender.ISN) < 0 {
		return false
	}
	return !receiver.HasISN || p.Flags&ACK == 0 || int32(p.Ack-receiver.ISN) >= 1
}

// mayCarry reports whether a packet may be of the connection as far as that came about: one that
// was rejected carries nothing but what opens and resets. Anything else is of a later one between
// its addresses, whose opening is not on record.
func (c *conn) mayCarry(p *Packet) bool {
	return !c.rejected || c.ends[1].HasISN || p.Flags&(SYN|RST) != 0
}

// direction is the index of the end that sent p.
func (c *conn) direction(p *Packet) int {
	if plain(p.Source) == c.ends[0].Address {
		return 0
	}
	return 1
}

// sentAt is the time, on its own host, of the first SYN that an end sent, and false
// if no tap of that host saw it.
func (c *conn) sentAt(end int) (clock.Local, bool) {
	for i := range c.transits {
		t := &c.transits[i]
		if t.from == end && t.departure != nil && t.departure.Packet.Flags&SYN != 0 {
			return t.departure.At, true
		}
	}
	return 0, false
}
