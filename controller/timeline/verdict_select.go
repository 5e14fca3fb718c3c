package timeline

import (
	"fmt"
	"net/netip"
	"slices"

	"syncline/controller/experiment"
)

// sighting is one packet as a selector looks at it.
type sighting struct {
	*Packet
	// host whose tap saw it.
	host int
	// from and to are the hosts at its two ends, -1 where no host of the run has the
	// address.
	from, to int
	// connection it belongs to, -1 if to none; fromClient is its direction there, and
	// again is set if it is a retransmission. An ICMP error has the connection of the
	// segment that it quotes, and no direction.
	connection int
	fromClient bool
	again      bool
}

// packetAt is the packet of a moment, false if the moment is of something else.
func (tr *trial) packetAt(moment int) (sighting, bool) {
	m := &tr.t.Moments[moment]
	if m.Event.Packet == nil {
		return sighting{}, false
	}
	s := sighting{Packet: m.Event.Packet, host: m.Event.Host, connection: m.Connection}
	if m.Connection < 0 || m.Segment < 0 {
		if s.TCP() {
			s.connection = -1
		}
		s.from, s.to = tr.endsOfPacket(m)
		return s, true
	}
	c := &tr.t.Connections[m.Connection]
	s.fromClient, s.again = c.Segments[m.Segment].FromClient, c.Segments[m.Segment].Copy > 0
	s.from, s.to = c.Server.Host, c.Client.Host
	if s.fromClient {
		s.from, s.to = s.to, s.from
	}
	return s, true
}

// transmissions are those of the timeline, in order of departure.
func (tr *trial) transmissions() []Transmission {
	if tr.sent == nil {
		tr.sent = tr.t.Transmissions()
	}
	return tr.sent
}

// sighting is a transmission as selectors look at it: where it was seen first.
func (tr *trial) sighting(one *Transmission) (sighting, bool) {
	p, ok := tr.packetAt(one.First())
	p.from, p.to, p.again = one.From, one.To, one.Copy > 0
	return p, ok
}

// endsOfPacket are the hosts at the ends of a packet that is of no connection's
// segments. Transmissions know it of what went from end to end. A link-local address
// is of the host whose tap saw it leave or come: nothing forwards it, RFC 4291 2.5.6.
func (tr *trial) endsOfPacket(m *Moment) (from, to int) {
	p := m.Event.Packet
	if one := tr.others[m.Event]; one != nil {
		return one.From, one.To
	}
	from, to = tr.hostOf(p.Source.Addr()), tr.hostOf(p.Destination.Addr())
	if from < 0 && p.Direction == Out && p.Source.Addr().IsLinkLocalUnicast() {
		from = m.Event.Host
	}
	if to < 0 && p.Direction == In && p.Destination.Addr().IsLinkLocalUnicast() {
		to = m.Event.Host
	}
	return from, to
}

func (tr *trial) hostOf(addr netip.Addr) int {
	addr = addr.Unmap().WithZone("")
	if !addr.IsValid() {
		return -1
	}
	for i := range tr.t.Hosts {
		h := &tr.t.Hosts[i]
		if h.Address.Unmap() == addr || h.Address6 == addr {
			return i
		}
	}
	return -1
}

func (tr *trial) hostName(host int) string { return tr.t.hostName(host) }

func (t *Timeline) hostName(host int) string {
	if host < 0 {
		return "?"
	}
	return t.Hosts[host].Name
}

// findCall is the entry or the return of the first call that a selector picks, -1 if
// there is none: of copies, the one that was entered, or that returned, first. The
// lab's own closes are never picked.
func (tr *trial) findCall(sel *experiment.MomentSelector) int {
	first := -1
	for _, c := range tr.calls {
		at := c.leave
		if sel.Kind == experiment.EnterCall {
			at = c.enter
		}
		if at >= 0 && (first < 0 || at < first) && tr.callPicked(sel, c.Call) {
			first = at
		}
	}
	return first
}

// isPicked reports whether a moment is of a packet that a selector names.
func (tr *trial) isPicked(sel *experiment.MomentSelector, moment int) bool {
	p, ok := tr.packetAt(moment)
	return ok && p.Direction == directionOf(sel) && tr.hostName(p.host) == sel.Host && tr.matches(&sel.Packet, p)
}

func directionOf(sel *experiment.MomentSelector) Direction {
	if sel.Kind == experiment.PacketReceived {
		return In
	}
	return Out
}

// wanted are the sources that a packet of a selector can be missing from: the taps lose
// packets of any kind, and a host may not be able to look for what is no TCP and no UDP.
func wanted(sel *experiment.PacketSelector) []Source {
	const routerSolicitation, redirect = 133, 137
	switch {
	case sel.ARP != 0:
		return []Source{Packets, ARP}
	case sel.Protocol == ProtocolICMPv6 && sel.ICMPType >= routerSolicitation && sel.ICMPType <= redirect:
		return []Source{Packets, ARP}
	case sel.Protocol == ProtocolICMP, sel.Protocol == ProtocolICMPv6:
		return []Source{Packets, ICMP}
	}
	return []Source{Packets}
}

// evidence is where a selector's moments would be on record: their sources, and the
// hosts, none if that may be any.
func (tr *trial) evidence(sel *experiment.MomentSelector) ([]Source, []int) {
	if ofPacket(sel) {
		if host, ok := tr.hosts[sel.Host]; ok {
			return wanted(&sel.Packet), []int{host}
		}
		return wanted(&sel.Packet), nil
	}
	var hosts []int
	for i := range tr.exp.Lanes {
		lane := &tr.exp.Lanes[i]
		if host := tr.lanes[lane.Name]; tr.hasStep(sel, lane) && !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	if slices.Contains(hosts, -1) {
		hosts = nil
	}
	return []Source{Syscalls}, hosts
}

// hasStep reports whether a lane is the one, or one of those, that a selector of calls
// is about.
func (tr *trial) hasStep(sel *experiment.MomentSelector, lane *experiment.Lane) bool {
	if sel.Lane != "" {
		return lane.Name == sel.Lane || sel.Copies && lane.Base == sel.Lane
	}
	return slices.ContainsFunc(lane.Steps, func(s experiment.Step) bool { return s.Label == sel.Label })
}

// gapsAt selects the gaps that touch the moments of a selector.
func (tr *trial) gapsAt(sel *experiment.MomentSelector) func(*gap) bool {
	sources, hosts := tr.evidence(sel)
	return gapsOfAny(sources, hosts...)
}

// selectsNothing is the verdict on an expectation about a moment that is not on
// record; of a packet, on the connection that it was looked for on, -1 if on all.
func (tr *trial) selectsNothing(sel *experiment.MomentSelector, connection int) Verdict {
	tr.empty = true
	v := Verdict{Ruling: Fail, Reason: "selects nothing: " + tr.absence(sel) + tr.onConnection(connection)}
	if cause := tr.hidden(tr.gapsAt(sel)); cause != "" {
		v.Ruling = CannotTell
		v.Reason += " that is on record; " + cause
	}
	return v
}

// onConnection names a connection where there is more than one.
func (tr *trial) onConnection(connection int) string {
	if connection < 0 || len(tr.t.Connections) < 2 {
		return ""
	}
	return " on " + tr.connectionText(connection)
}

// absence says in words that no moment is as a selector wants it.
func (tr *trial) absence(sel *experiment.MomentSelector) string {
	switch sel.Kind {
	case experiment.PacketSent:
		return fmt.Sprintf("%s sent no packet %s", sel.Host, packetSelectorText(&sel.Packet))
	case experiment.PacketReceived:
		return fmt.Sprintf("%s received no packet %s", sel.Host, packetSelectorText(&sel.Packet))
	}
	text := "no call " + callSelectorText(sel)
	if sel.Outcome != nil {
		text += " that gave " + outcomeText(sel.Outcome)
	}
	return text
}
