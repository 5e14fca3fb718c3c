package timeline

import (
	"fmt"

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
		if ev.Trace == nil || ev.Trace.Kind != TraceDrop ||
			e.Reason != "" && ev.Trace.Reason != e.Reason || e.Host != "" && tr.t.Hosts[ev.Host].Name != e.Host {
			continue
		}
		p := tr.unseen(moment)
		if one, ok := segments[moment]; ok {
			p, _ = tr.sighting(one)
		}
		if !tr.matches(&e.Packet, p) {
			continue
		}
		switch why := tr.doubtOf(p.connection); why {
		case foreignText:
		case "":
			c.sure = append(c.sure, moment)
		default:
			c.perhaps(moment, why)
		}
	}
	return c
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

// unseen is what a trace tells of a packet that no tap saw: its host was about to send it.
func (tr *trial) unseen(moment int) sighting {
	m := &tr.t.Moments[moment]
	t := m.Event.Trace
	p := &Packet{
		Direction: Out, Source: plain(t.Local), Destination: plain(t.Peer), Seq: t.Seq, Ack: t.Ack, Flags: t.Flags,
		PayloadLength: t.PayloadLength, Protocol: t.Protocol, Segments: 1,
	}
	s := sighting{Packet: p, host: m.Event.Host, from: m.Event.Host, to: tr.hostOf(p.Destination.Addr()), connection: m.Connection}
	if m.Connection >= 0 {
		s.fromClient = tr.t.Connections[m.Connection].Client.Host == m.Event.Host
	}
	return s
}
