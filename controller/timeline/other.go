package timeline

import (
	"cmp"
	"net/netip"
	"slices"

	"syncline/controller/clock"
)

// stream is what one address sent another in one repetition by one protocol that is
// no TCP. UDP, ICMP and ARP have no connections; a stream is only what packets are
// matched within.
type stream struct {
	streamKey
	// from and to are the hosts of the addresses, -1 if none.
	from, to int
	packets  []*Event
	// passing are packets that a tap of neither end saw.
	passing  []*Event
	transits []transit
}

type streamKey struct {
	repetition          int
	protocol, arp       int
	source, destination netip.AddrPort
}

// streams groups packets that are no TCP, which must be sorted by host and time.
func streams(packets []*Event, owners *owners) []*stream {
	byKey := make(map[streamKey]*stream)
	var all []*stream
	for _, e := range packets {
		p := e.Packet
		key := streamKey{e.Repetition, p.Protocol, p.ARP, plain(p.Source), plain(p.Destination)}
		if target := p.solicited(); target.IsValid() {
			key.destination = netip.AddrPortFrom(target, 0)
		}
		s := byKey[key]
		if s == nil {
			s = &stream{streamKey: key}
			s.from, s.to = owners.of(key.repetition, key.source), owners.of(key.repetition, key.destination)
			byKey[key] = s
			all = append(all, s)
		}
		s.packets = append(s.packets, e)
	}
	slices.SortFunc(all, func(a, b *stream) int {
		return cmp.Or(cmp.Compare(a.repetition, b.repetition), cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.arp, b.arp),
			a.source.Compare(b.source), a.destination.Compare(b.destination))
	})
	return all
}

// sourcesOf are the sources that a packet can be missing from.
func sourcesOf(p *Packet) []Source {
	switch {
	case p.ARP != 0:
		return []Source{Packets, ARP}
	case p.Protocol == ProtocolICMP, p.Protocol == ProtocolICMPv6:
		return []Source{Packets, ICMP}
	}
	return []Source{Packets}
}

// collectOthers lists the moments of packets that are no TCP.
func (a *assembly) collectOthers() {
	for _, s := range a.others[a.repetition] {
		seen := make(map[*Event]bool)
		for i := range s.transits {
			for _, e := range []*Event{s.transits[i].departure, s.transits[i].arrival} {
				if e != nil && !seen[e] {
					seen[e] = true
					a.add(e, a.quotedBy[e])
				}
			}
		}
		for _, e := range s.passing {
			a.add(e, a.quotedBy[e])
		}
	}
}

// transmissions fills in Timeline.Others. Connections must have their places.
func (a *assembly) transmissions(edges map[*transit]*edge, index map[*conn]int) {
	for _, s := range a.others[a.repetition] {
		for i := range s.transits {
			a.t.Others = append(a.t.Others, a.transmission(s, &s.transits[i], edges, index))
		}
	}
	slices.SortStableFunc(a.t.Others, compareTransmissions)
}

func (a *assembly) transmission(s *stream, t *transit, edges map[*transit]*edge, index map[*conn]int) Transmission {
	tr := Transmission{
		Segment: Segment{
			Departure: -1, Arrival: -1, OneWayErr: clock.Unbounded, Ambiguous: t.ambiguous, Duplicate: t.duplicate,
		},
		Connection: -1, Number: -1, From: s.from, To: s.to,
	}
	seen := t.departure
	if t.arrival != nil {
		tr.Arrival, seen = a.place[a.at[t.arrival]], t.arrival
	}
	if t.departure != nil {
		tr.Departure, seen = a.place[a.at[t.departure]], t.departure
	}
	if c := a.quotedBy[seen]; c != nil {
		if i, ok := index[c]; ok {
			tr.Connection = i
		}
	}
	if e := edges[t]; e != nil {
		tr.Impossible = e.impossible
		tr.Ambiguous = tr.Ambiguous || e.cut && !e.impossible
		tr.OneWay, tr.OneWayErr = a.oneWay(t)
	}
	if t.arrival == nil && s.to >= 0 {
		tr.Lost = true
		for _, source := range sourcesOf(seen.Packet) {
			tr.Lost = tr.Lost && a.evidence.complete(s.to, a.repetition, source) == ""
		}
	}
	return tr
}
