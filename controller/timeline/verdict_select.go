package timeline

import (
	"fmt"
	"net/netip"

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
	// connection it belongs to, -1 if to none; fromClient is its direction there.
	connection int
	fromClient bool
}

// packetAt is the packet of a moment, false if the moment is of something else.
func (tr *trial) packetAt(moment int) (sighting, bool) {
	m := &tr.t.Moments[moment]
	if m.Event.Packet == nil {
		return sighting{}, false
	}
	s := sighting{Packet: m.Event.Packet, host: m.Event.Host, connection: m.Connection}
	if m.Connection < 0 || m.Segment < 0 {
		s.connection = -1
		s.from, s.to = tr.hostOf(s.Source.Addr()), tr.hostOf(s.Destination.Addr())
		return s, true
	}
	c := &tr.t.Connections[m.Connection]
	s.fromClient = c.Segments[m.Segment].FromClient
	s.from, s.to = c.Server.Host, c.Client.Host
	if s.fromClient {
		s.from, s.to = s.to, s.from
	}
	return s, true
}

func (tr *trial) hostOf(addr netip.Addr) int {
	for i := range tr.t.Hosts {
		if tr.t.Hosts[i].Address.Unmap() == addr.Unmap() {
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

// significant are the flags that tell one kind of segment from another; the others
// ride on any of them.
const significant = FIN | SYN | RST | ACK

// matches reports whether a selector picks a packet.
func (tr *trial) matches(sel *experiment.PacketSelector, p sighting) bool {
	if sel.From != "" && tr.hostName(p.from) != sel.From {
		return false
	}
	if sel.To != "" && tr.hostName(p.to) != sel.To {
		return false
	}
	if sel.Data != nil && *sel.Data != (p.PayloadLength > 0) {
		return false
	}
	if sel.Third {
		return tr.completesHandshake(p)
	}
	return sel.AnyFlags || flagsMatch(sel, p.Flags)
}

func flagsMatch(sel *experiment.PacketSelector, have Flags) bool {
	want := Flags(sel.Flags)
	if sel.Contains {
		return have&want == want
	}
	return have&significant == want&significant
}

// completesHandshake reports whether a packet is one that can complete the
// handshake, RFC 9293 3.5: from the client, acknowledging exactly the server's SYN.
// The first such packet at a tap is that tap's third ACK, also where it is a segment
// with data because the bare ACK was lost.
func (tr *trial) completesHandshake(p sighting) bool {
	if p.connection < 0 || !p.fromClient || p.Flags&ACK == 0 || p.Flags&(SYN|RST) != 0 {
		return false
	}
	server := &tr.t.Connections[p.connection].Server
	return server.HasISN && p.Ack == server.ISN+1
}

// findCall is the entry or the return of the first call that a selector picks, -1 if
// there is none.
func (tr *trial) findCall(sel *experiment.MomentSelector) int {
	enter, at := tr.callMoments(sel)
	if sel.Kind == experiment.EnterCall {
		return enter
	}
	return at
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

// callMoments are the entry and the return of the first call that a selector picks,
// -1 if there is none. The lab's own closes are never picked.
func (tr *trial) callMoments(sel *experiment.MomentSelector) (enter, at int) {
	enter, at = -1, -1
	var call *Call
	for i := range tr.t.Moments {
		m := &tr.t.Moments[i]
		c := m.Event.Call
		if c == nil || c.ByLab || !callPicked(sel, c) || (call != nil && c != call) {
			continue
		}
		call = c
		if m.Edge == Enter {
			enter = i
		} else {
			at = i
		}
	}
	return enter, at
}

func callPicked(sel *experiment.MomentSelector, c *Call) bool {
	if sel.Label != "" {
		return c.Label == sel.Label
	}
	if c.Lane != sel.Lane || c.Name != sel.Call {
		return false
	}
	return sel.Socket == "" || c.Socket == sel.Socket || c.Makes == sel.Socket
}

// evidence is where a selector's moments would be on record: their source, and the
// host, -1 if that is not known.
func (tr *trial) evidence(sel *experiment.MomentSelector) (Source, int) {
	if sel.Kind == experiment.PacketSent || sel.Kind == experiment.PacketReceived {
		if host, ok := tr.hosts[sel.Host]; ok {
			return Packets, host
		}
		return Packets, -1
	}
	if host, ok := tr.lanes[tr.laneOf(sel)]; ok {
		return Syscalls, host
	}
	return Syscalls, -1
}

// laneOf is the lane of a call's selector; a label is looked up in the experiment.
func (tr *trial) laneOf(sel *experiment.MomentSelector) string {
	if sel.Label == "" {
		return sel.Lane
	}
	for _, lane := range tr.exp.Lanes {
		for _, step := range lane.Steps {
			if step.Label == sel.Label {
				return lane.Name
			}
		}
	}
	return ""
}

// gapsAt selects the gaps that touch the moments of a selector.
func (tr *trial) gapsAt(sel *experiment.MomentSelector) func(*gap) bool {
	source, host := tr.evidence(sel)
	if host < 0 {
		return gapsOf(source)
	}
	return gapsOf(source, host)
}

// selectsNothing is the verdict on an expectation about a moment that is not on
// record; of a packet, on the connection that it was looked for on, -1 if on all.
func (tr *trial) selectsNothing(sel *experiment.MomentSelector, connection int) Verdict {
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
	return "no call " + callSelectorText(sel)
}
