package timeline

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"syncline/controller/experiment"
)

// drop judges how many packets a kernel said that it dropped: of the experiment's own
// connections, those that no tap saw included, which are on record as their drop alone.
// The number is an interval, as in count.
func (tr *trial) drop(e *experiment.DropExpectation) Verdict {
	c := tr.countDrops(e)
	n := quantity{int64(len(c.sure)), int64(len(c.sure) + len(c.unsure))}
	var hosts []int
	if h, ok := tr.hosts[e.Host]; ok {
		hosts = append(hosts, h)
	}
	cause := tr.hidden(gapsOfAny([]Source{Drops, Tracepoints}, hosts...))
	if cause != "" {
		n.hi = many
	}
	v := bounded(n, e.Bounds)
	v.Moments = c.sure
	if v.Ruling == Pass {
		return v
	}
	v.Reason += fmt.Sprintf(", counted %d of %s that a kernel dropped", len(c.sure), packetSelectorText(&e.Packet))
	if e.Reason != "" {
		v.Reason += " for " + e.Reason
	}
	if len(c.unsure) > 0 {
		v.Moments = append(v.Moments, c.unsure...)
		v.Reason += fmt.Sprintf(" and %d more of which %s", len(c.unsure), c.why)
	}
	if v.Ruling == CannotTell && cause != "" {
		v.Reason += "; " + cause
	}
	return v
}

func (tr *trial) countDrops(e *experiment.DropExpectation) counting {
	var c counting
	segments := tr.droppedSegments()
	for moment := range tr.t.Moments {
		ev := tr.t.Moments[moment].Event
		if ev.Trace == nil || ev.Trace.Kind != TraceDrop || e.Host != "" && tr.t.Hosts[ev.Host].Name != e.Host {
			continue
		}
		unnamed := ""
		if e.Reason != "" && ev.Trace.Reason != e.Reason {
			if !isUnnamed(ev.Trace.Reason) {
				continue
			}
			unnamed = fmt.Sprintf("the kernel of %s does not name the reason", tr.hostName(ev.Host))
		}
		connection, fits, doubt := tr.t.Moments[moment].Connection, false, ""
		if one, ok := segments[moment]; ok {
			p, _ := tr.sighting(one)
			connection, fits = p.connection, tr.matches(&e.Packet, p)
		} else {
			fits, doubt = tr.matchesUnseen(&e.Packet, moment)
		}
		if !fits {
			continue
		}
		why := tr.doubtOf(connection)
		why = cmp.Or(why, doubt, unnamed)
		switch why {
		case foreignText:
		case "":
			c.sure = append(c.sure, moment)
		default:
			c.perhaps(moment, why)
		}
	}
	return c
}

// isUnnamed reports whether a kernel left open why it dropped a packet: it says NOT_SPECIFIED
// where no reason is told apart yet, and agents have the number, or nothing, where its type
// information has no name for it.
func isUnnamed(reason string) bool {
	number, isNumber := strings.CutPrefix(reason, "reason ")
	if isNumber {
		_, err := strconv.ParseUint(number, 10, 32)
		isNumber = err == nil
	}
	return isNumber || reason == "" || reason == "NOT_SPECIFIED"
}

// droppedSegments finds the transmission that a trace stands beside, by its moment.
func (tr *trial) droppedSegments() map[int]*Transmission {
	found := make(map[int]*Transmission)
	for i := range tr.transmissions() {
		for _, at := range tr.sent[i].Traces {
			found[at] = &tr.sent[i]
		}
	}
	return found
}

// matchesUnseen reports whether a packet that no tap saw is one that a selector names.
// Where it is only if it went one of the two ways that it may have gone, or if what no trace
// tells of a packet is as the selector has it, doubt says so.
func (tr *trial) matchesUnseen(sel *experiment.PacketSelector, moment int) (fits bool, doubt string) {
	known, untold := tracedPart(sel)
	all := true
	for _, p := range tr.unseen(moment) {
		one := tr.matches(&known, p)
		fits, all = fits || one, all && one
	}
	host := tr.hostName(tr.t.Moments[moment].Event.Host)
	switch {
	case fits && !all:
		doubt = fmt.Sprintf("nobody can tell whether %s sent or received them", host)
	case fits && untold != "":
		doubt = fmt.Sprintf("no tap saw them, and the trace of %s does not tell %s", host, untold)
	}
	return fits, doubt
}

// tracedPart is what a selector asks of a packet that a trace tells, and untold the first
// thing that it asks besides.
func tracedPart(sel *experiment.PacketSelector) (known experiment.PacketSelector, untold string) {
	known = *sel
	isTCP := sel.ARP == 0 && (sel.Protocol == 0 || sel.Protocol == ProtocolTCP)
	switch {
	case isTCP && sel.Copy:
		untold = "a retransmission from the first transmission"
	case isTCP && sel.Window >= 0:
		untold = "the window"
	case isTCP && len(sel.Options)+len(sel.NoOptions) > 0:
		untold = "the options"
	case !isTCP && sel.Protocol != ProtocolUDP && (sel.ICMPType >= 0 || sel.ICMPCode >= 0):
		untold = "the type of ICMP"
	}
	known.Copy, known.Window, known.Options, known.NoOptions = false, -1, nil, nil
	known.ICMPType, known.ICMPCode = -1, -1
	return known, untold
}

// unseen is what a trace tells of a packet that no tap saw: a packet that its host was
// about to send, or had received and dropped before its tap heard it. Where the trace does
// not say which, it is both.
func (tr *trial) unseen(moment int) []sighting {
	m := &tr.t.Moments[moment]
	t := m.Event.Trace
	switch t.Direction {
	case Out:
		return []sighting{tr.unseenWay(m, Out, t.Local, t.Peer)}
	case In:
		return []sighting{tr.unseenWay(m, In, t.Peer, t.Local)}
	}
	return []sighting{tr.unseenWay(m, Out, t.Local, t.Peer), tr.unseenWay(m, In, t.Peer, t.Local)}
}

func (tr *trial) unseenWay(m *Moment, d Direction, source, destination netip.AddrPort) sighting {
	t, host := m.Event.Trace, m.Event.Host
	p := &Packet{
		Direction: d, Source: plain(source), Destination: plain(destination), Seq: t.Seq, Ack: t.Ack, Flags: t.Flags,
		PayloadLength: t.PayloadLength, Protocol: t.Protocol, Segments: 1,
	}
	s := sighting{Packet: p, host: host, from: host, to: tr.hostOf(p.Destination.Addr()), connection: m.Connection}
	if d == In {
		s.from, s.to = tr.hostOf(p.Source.Addr()), host
	}
	if m.Connection >= 0 {
		client := &tr.t.Connections[m.Connection].Client
		s.fromClient = p.Source == client.Address || p.Source == client.socketAddress()
	}
	return s
}
