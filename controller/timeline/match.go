package timeline

import (
	"cmp"
	"encoding/binary"
	"slices"

	"syncline/controller/clock"
)

// transit is a packet on its way: what left and what arrived. One side may be nil.
type transit struct {
	// from indexes the connection's ends.
	from               int
	departure, arrival *Event
	// ambiguous: the pair is only the likeliest.
	ambiguous bool
	// duplicate: the network made this arrival.
	duplicate bool
	// proves: the arrival surely is of this departure, so it bounds the clocks.
	proves bool
}

// matching pairs the departures of one direction of a connection, or of a stream, with
// the arrivals.
type matching struct {
	from int
	// levels are the ways to look at packets, the strictest first.
	levels []level
	// whole: offloads neither cut nor join these packets.
	whole bool
	// complete: the sender's tap lost nothing, so every arrival of what the sender
	// sent has its departure here.
	complete bool
	// lossSince is when the sender's tap began to lose, the greatest time if never.
	// A departure before that is not the copy of one that was lost.
	lossSince clock.Local
	// stepped reports whether a stamp is worthless for the clocks.
	stepped              func(*Event) bool
	departures, arrivals []*Event
	transits             []transit
	// alike are sets of packets that neither tap can tell from each other.
	alike []group
}

// group is what looks the same at both taps, each side in order of time.
type group struct{ departures, arrivals []*Event }

// wire is what a packet keeps on its way.
type wire struct {
	seq, ack               uint32
	flags                  Flags
	window, urgent, length int
	ipid                   uint32
	options                string
	// rest is what packets that are no TCP have instead.
	rest string
}

// level is a way to look at packets: what has to be the same for two records to be
// of one packet.
type level struct {
	look func(*Packet) wire
	// tells reports whether a second transmission would look different even if the
	// first were not on record.
	tells func(wire) bool
	// likely is true where a forged packet could look the same.
	likely bool
}

// levels go from everything that the network should leave alone to what even a
// meddling middlebox leaves.
var levels = []level{
	{
		look: func(p *Packet) wire {
			return wire{p.Seq, p.Ack, p.Flags, p.Window, p.Urgent, p.PayloadLength, p.IPID, string(p.Options), rest(p)}
		},
		tells: func(w wire) bool { return w.ipid != 0 },
	},
	{
		look: func(p *Packet) wire {
			return wire{p.Seq, p.Ack, p.Flags, p.Window, p.Urgent, p.PayloadLength, 0, string(p.Options), ""}
		},
		tells: func(wire) bool { return false },
	},
	{
		// A router that clamps the MSS changes a SYN's options, but not its timestamps.
		look: func(p *Packet) wire {
			return wire{p.Seq, p.Ack, p.Flags, p.Window, p.Urgent, p.PayloadLength, 0, timestamps(p), ""}
		},
		tells: func(wire) bool { return false },
	},
	{
		look: func(p *Packet) wire {
			return wire{seq: p.Seq, ack: p.Ack, flags: p.Flags & (SYN | FIN | RST | ACK), length: p.PayloadLength}
		},
		tells:  func(wire) bool { return false },
		likely: true,
	},
}

// otherLevels are those of packets that are no TCP. What even the second does not tell
// apart, as two equal datagrams, is paired in order and proves nothing.
var otherLevels = []level{
	{
		look:  func(p *Packet) wire { return wire{length: p.PayloadLength, ipid: p.IPID, rest: rest(p)} },
		tells: func(w wire) bool { return w.ipid != 0 },
	},
	{
		look:  func(p *Packet) wire { return wire{length: p.PayloadLength, rest: rest(p)} },
		tells: func(wire) bool { return false },
	},
}

// rest tells a packet that is no TCP from others of its stream: the header of ICMP and
// what the taps kept of the payload.
func rest(p *Packet) string {
	if p.TCP() {
		return ""
	}
	head := []byte{byte(p.ICMPType), byte(p.ICMPCode)}
	head = binary.BigEndian.AppendUint32(head, p.ICMPRest)
	return string(append(head, p.Payload...))
}

// timestamps are the bytes of the timestamps option (RFC 7323 3.2), all options if
// there is none.
func timestamps(p *Packet) string {
	const end, nop, kind, length = 0, 1, 8, 10
	for o := p.Options; len(o) > 0 && o[0] != end; {
		switch {
		case o[0] == nop:
			o = o[1:]
			continue
		case len(o) < 2 || o[1] < 2 || int(o[1]) > len(o):
			return string(p.Options)
		case o[0] == kind && o[1] == length:
			return string(o[:length])
		}
		o = o[o[1]:]
	}
	return string(p.Options)
}

// match pairs what it can without knowing the clocks. What is left over in the end
// was seen at one tap only.
func (m *matching) match() {
	for _, l := range m.levels {
		m.pair(l)
	}
	if !m.whole {
		m.cover()
	}
}

// pair takes out what looks the same at both taps on one level.
func (m *matching) pair(l level) {
	groups, order := m.groups(l.look)
	taken := make(map[*Event]bool)
	for _, key := range order {
		g := groups[key]
		if len(g.departures) == 0 || len(g.arrivals) == 0 {
			continue
		}
		for _, e := range slices.Concat(g.departures, g.arrivals) {
			taken[e] = true
		}
		if len(g.departures) > 1 {
			m.alike = append(m.alike, *g)
			continue
		}
		departure, arrival := g.departures[0], g.arrivals[0]
		only := departure.At <= m.lossSince || l.tells(key)
		m.transits = append(m.transits, transit{
			from: m.from, departure: departure, arrival: arrival,
			ambiguous: l.likely || !only, proves: !l.likely && only && m.stamped(departure, arrival),
		})
		m.surplus(g.arrivals[1:])
	}
	isTaken := func(e *Event) bool { return taken[e] }
	m.departures = slices.DeleteFunc(m.departures, isTaken)
	m.arrivals = slices.DeleteFunc(m.arrivals, isTaken)
}

// stamped reports whether both stamps can be held against the clocks.
func (m *matching) stamped(departure, arrival *Event) bool {
	return !m.stepped(departure) && !m.stepped(arrival)
}

func (m *matching) groups(look func(*Packet) wire) (map[wire]*group, []wire) {
	groups := make(map[wire]*group)
	var order []wire
	at := func(e *Event) *group {
		key := look(e.Packet)
		if groups[key] == nil {
			groups[key] = &group{}
			order = append(order, key)
		}
		return groups[key]
	}
	for _, e := range m.departures {
		g := at(e)
		g.departures = append(g.departures, e)
	}
	for _, e := range m.arrivals {
		g := at(e)
		g.arrivals = append(g.arrivals, e)
	}
	return groups, order
}

// surplus are arrivals beyond the departures that look like them.
func (m *matching) surplus(arrivals []*Event) {
	for _, e := range arrivals {
		m.transits = append(m.transits, transit{from: m.from, arrival: e, duplicate: m.complete})
	}
}

// cover pairs departures and arrivals of different length: offloads cut packets
// after the sender's tap and join them before the receiver's. A departure and an
// arrival that hold the same bytes, with the same acknowledgment and options, are
// of one packet.
func (m *matching) cover() {
	departures := slices.DeleteFunc(slices.Clone(m.departures), bare)
	arrivals := slices.DeleteFunc(slices.Clone(m.arrivals), bare)
	if len(departures) == 0 || len(arrivals) == 0 {
		return
	}
	base := departures[0].Packet.Seq
	start := func(e *Event) int { return int(int32(e.Packet.Seq - base)) }
	slices.SortStableFunc(departures, func(a, b *Event) int { return cmp.Compare(start(a), start(b)) })
	longest := 0
	for _, d := range departures {
		longest = max(longest, d.Packet.PayloadLength)
	}
	used := make(map[*Event]bool)
	for _, a := range arrivals {
		from, _ := slices.BinarySearchFunc(departures, start(a)-longest+1, func(e *Event, s int) int { return cmp.Compare(start(e), s) })
		var parts []*Event
		for _, d := range departures[from:] {
			if start(d) >= start(a)+a.Packet.PayloadLength {
				break
			}
			if start(d)+d.Packet.PayloadLength > start(a) && alike(d.Packet, a.Packet) {
				parts = append(parts, d)
				used[d] = true
			}
		}
		if len(parts) > 0 {
			used[a] = true
			m.coverOne(parts, a, start)
		}
	}
	isUsed := func(e *Event) bool { return used[e] }
	m.departures = slices.DeleteFunc(m.departures, isUsed)
	m.arrivals = slices.DeleteFunc(m.arrivals, isUsed)
}

// coverOne pairs an arrival with the departures that hold its bytes. Only the one
// that holds the first byte surely left before the arrival was stamped, since a
// joined packet may carry the stamp of its first part; and it is sure only if no
// other transmission holds that byte.
func (m *matching) coverOne(parts []*Event, arrival *Event, start func(*Event) int) {
	holders := 0
	for _, d := range parts {
		if start(d) <= start(arrival) {
			holders++
		}
	}
	for _, d := range parts {
		sure := holders == 1 && start(d) <= start(arrival)
		m.transits = append(m.transits, transit{
			from: m.from, departure: d, arrival: arrival,
			ambiguous: !sure, proves: sure && m.complete && m.stamped(d, arrival),
		})
	}
}

func bare(e *Event) bool { return e.Packet.PayloadLength == 0 }

func alike(a, b *Packet) bool { return a.Ack == b.Ack && string(a.Options) == string(b.Options) }

// settle decides what match had to leave open, now with the clocks. Packets that look
// alike are paired in order. Where fewer arrived than left, each arrival gets the
// latest departure that the clocks allow and that leaves one for every arrival
// before it: the copy before a retransmission is the likelier one to be lost.
func (m *matching) settle(clocks *clock.Model) []transit {
	for _, g := range m.alike {
		m.settleGroup(clocks, g)
	}
	for _, e := range m.departures {
		m.transits = append(m.transits, transit{from: m.from, departure: e})
	}
	for _, e := range m.arrivals {
		m.transits = append(m.transits, transit{from: m.from, arrival: e})
	}
	return m.transits
}

func (m *matching) settleGroup(clocks *clock.Model, g group) {
	paired := min(len(g.departures), len(g.arrivals))
	m.surplus(g.arrivals[paired:])
	next := len(g.departures) - 1
	for i := paired - 1; i >= 0; i-- {
		for next > i && !mayExplain(clocks, g.departures[next], g.arrivals[i]) {
			m.transits = append(m.transits, transit{from: m.from, departure: g.departures[next]})
			next--
		}
		m.transits = append(m.transits, transit{
			from: m.from, departure: g.departures[next], arrival: g.arrivals[i], ambiguous: true,
		})
		next--
	}
	for ; next >= 0; next-- {
		m.transits = append(m.transits, transit{from: m.from, departure: g.departures[next]})
	}
}

// mayExplain reports whether the clocks are known and let an arrival be of a
// departure.
func mayExplain(clocks *clock.Model, departure, arrival *Event) bool {
	lo, hi := between(clocks, departure, arrival)
	return lo > -clock.Unbounded && hi >= 0
}

// between bounds the time from one packet to another, the errors of their stamps
// included.
func between(clocks *clock.Model, from, to *Event) (lo, hi int64) {
	lo, hi = clocks.Between(from.Host, from.At, to.Host, to.At)
	err := from.Packet.Err + to.Packet.Err
	if lo > -clock.Unbounded {
		lo -= err
	}
	if hi < clock.Unbounded {
		hi += err
	}
	return lo, hi
}
