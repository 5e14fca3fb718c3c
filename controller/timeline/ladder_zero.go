package timeline

import "syncline/controller/clock"

// LadderZero says what the times of a ladder count from.
type LadderZero int

// Zeros.
const (
	// ZeroConnect is the timeline's own Zero: the entry of the first connect(2), else the
	// first moment.
	ZeroConnect LadderZero = iota
	// ZeroSYN is the departure of the first SYN of the connections that are shown, or its
	// arrival if no tap saw it leave. Without any it is ZeroConnect.
	ZeroSYN
	// ZeroWall shows times of the day, UTC, as the CLOCK_REALTIME of a host has them.
	// Without a packet that tells that clock it is ZeroConnect.
	ZeroWall
)

// String is the zero as a person asks for it: "connect", "first SYN", "wall".
func (z LadderZero) String() string {
	switch z {
	case ZeroSYN:
		return "first SYN"
	case ZeroWall:
		return "wall"
	}
	return "connect"
}

// ParseLadderZero is the zero of a name that String gives; ok is false for any other.
func ParseLadderZero(name string) (z LadderZero, ok bool) {
	for z := ZeroConnect; z <= ZeroWall; z++ {
		if z.String() == name {
			return z, true
		}
	}
	return ZeroConnect, false
}

// chooseZero finds what the times count from.
func (b *ladderer) chooseZero() {
	switch b.opts.Zero {
	case ZeroSYN:
		if syn := b.firstSYN(); syn >= 0 {
			b.l.Zero, b.l.ZeroAt = ZeroSYN, b.lab(syn)
		}
	case ZeroWall:
		b.readWall()
	}
}

// firstSYN is the moment of the first SYN that is shown, -1 if there is none.
func (b *ladderer) firstSYN() int {
	first := -1
	for ci := range b.t.Connections {
		if !b.opts.isShown(ci) {
			continue
		}
		for si := range b.t.Connections[ci].Segments {
			s := &b.t.Connections[ci].Segments[si]
			at := s.Departure
			if at < 0 {
				at = s.Arrival
			}
			if at >= 0 && b.t.Moments[at].Event.Packet.Flags&(SYN|ACK) == SYN && (first < 0 || at < first) {
				first = at
			}
		}
	}
	return first
}

// readWall reads the time of the day from a packet: its stamp is of CLOCK_REALTIME. The
// reference's own comes first, of all others the one whose host is tied best.
func (b *ladderer) readWall() {
	best := -1
	for i := range b.t.Moments {
		m := &b.t.Moments[i]
		if m.Event.Packet == nil || m.Event.Packet.Realtime == 0 {
			continue
		}
		if best < 0 || b.wallErr(i) < b.wallErr(best) {
			best = i
		}
	}
	if best < 0 {
		return
	}
	m := &b.t.Moments[best]
	b.l.Zero, b.l.WallOf, b.l.WallErr = ZeroWall, b.t.hostName(m.Event.Host), b.wallErr(best)
	b.l.Wall = m.Event.Packet.Realtime - b.lab(best)
}

// wallErr is how surely the stamp of a packet ties the time of the day to the lab's.
func (b *ladderer) wallErr(moment int) int64 {
	m := &b.t.Moments[moment]
	return min(m.Stamp.Err, clock.Unbounded) + m.Event.Packet.Err
}
