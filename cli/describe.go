package cli

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"syncline/controller/experiment"
	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

// describeEvent is one raw event in words: its kind, and what happened.
func describeEvent(e *synclinev1.Event) (kind, what string) {
	switch f := e.Fact.(type) {
	case *synclinev1.Event_Call:
		return "call", describeCall(f.Call, e.TimeNs)
	case *synclinev1.Event_Packet:
		return "packet", describePacket(f.Packet)
	case *synclinev1.Event_Signal:
		way := "learned of"
		if f.Signal.Sent {
			way = "sent"
		}
		return "signal", fmt.Sprintf("%s %s.%s", way, f.Signal.Lane, f.Signal.Name)
	case *synclinev1.Event_Mark:
		return "mark", describeMark(f.Mark)
	case *synclinev1.Event_Loss:
		return "loss", fmt.Sprintf("%d %s of %s lost at %s since %d", f.Loss.Count, eventWord(f.Loss), enumWord(f.Loss.Source.String(), "SOURCE_"), f.Loss.Where, f.Loss.SinceNs)
	case *synclinev1.Event_ClockSample:
		return "clock sample", describeClockSample(f.ClockSample)
	case *synclinev1.Event_ClockStep:
		return describeClockChange(f.ClockStep)
	case *synclinev1.Event_Counters:
		var moved []string
		for _, c := range f.Counters.Counters {
			moved = append(moved, fmt.Sprintf("%s %+d", c.Name, c.Delta))
		}
		return "counters", fmt.Sprintf("since %d: %s", f.Counters.SinceNs, strings.Join(moved, ", "))
	case *synclinev1.Event_Queue:
		return "queue", fmt.Sprintf("%s: %d wait, backlog %d, %d requests", f.Queue.Address, f.Queue.Length, f.Queue.Limit, f.Queue.Requests)
	case *synclinev1.Event_SocketState:
		return "socket", strings.Join(nonEmpty(timeline.StateName(int(f.SocketState.State)), f.SocketState.LocalAddress, f.SocketState.PeerAddress), " ")
	case *synclinev1.Event_Change:
		if f.Change.Undone {
			return "change", "took back " + f.Change.Text
		}
		return "change", f.Change.Text
	case *synclinev1.Event_LaneProcess:
		p := f.LaneProcess
		switch {
		case !p.Gone:
			return "process", fmt.Sprintf("%d of lane %s begins", p.Process, p.Lane)
		case p.Signal != 0:
			return "process", fmt.Sprintf("%d of lane %s dies of signal %d", p.Process, p.Lane, p.Signal)
		}
		return "process", fmt.Sprintf("%d of lane %s ends", p.Process, p.Lane)
	case *synclinev1.Event_Trace:
		return "trace", describeTrace(f.Trace)
	case *synclinev1.Event_Probe:
		return "probe", describeProbe(f.Probe)
	}
	return "unknown", fmt.Sprintf("a fact of kind %T", e.Fact)
}

// eventWord is what was lost: of a tracepoint, what it recorded.
func eventWord(l *synclinev1.Loss) string {
	word := "event"
	if l.Source == synclinev1.Source_SOURCE_TRACEPOINTS {
		word = "record"
	}
	if l.Count != 1 {
		word += "s"
	}
	return word
}

// describeMark is a moment of an agent's own work.
func describeMark(m *synclinev1.Mark) string {
	switch m.Kind {
	case synclinev1.MarkKind_MARK_KIND_ARMED:
		return "packets are seen from here on, at " + m.Detail
	case synclinev1.MarkKind_MARK_KIND_REPETITION_BEGIN:
		return "the repetition begins"
	case synclinev1.MarkKind_MARK_KIND_REPETITION_END:
		return "the repetition ends, and all that the sources saw of it has been read"
	case synclinev1.MarkKind_MARK_KIND_CLOSED:
		return fmt.Sprintf("the taps are closed; %d packets were for them", m.Frames)
	case synclinev1.MarkKind_MARK_KIND_SOURCE_MISSING:
		return "not to be had on this host: " + m.Detail
	case synclinev1.MarkKind_MARK_KIND_NOT_QUIET:
		return "still busy when the time was up: " + m.Detail
	case synclinev1.MarkKind_MARK_KIND_SOURCE_REDUCED:
		return "tells less on this host than it could: " + m.Detail
	}
	return strings.Join(nonEmpty(fmt.Sprintf("mark of kind %d, which this version does not know", m.Kind), m.Detail), ": ")
}

func describeCall(c *synclinev1.Call, entered int64) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s(%s)", c.Lane, c.Name, strings.Join(nonEmpty(c.Socket, c.Arguments), ", "))
	switch {
	case c.EndedBy == synclinev1.EndedBy_ENDED_BY_TIMEOUT:
		b.WriteString(" ended by the lab's timeout")
	case c.EndedBy == synclinev1.EndedBy_ENDED_BY_CANCEL:
		b.WriteString(" cancelled")
	case c.EndedBy == synclinev1.EndedBy_ENDED_BY_DEATH:
		b.WriteString(" cut short by the death of its process")
	case c.Errno != 0:
		fmt.Fprintf(&b, " = %s", experiment.ErrnoName(c.Errno))
	default:
		fmt.Fprintf(&b, " = %d", c.Result)
	}
	fmt.Fprintf(&b, " in %v", time.Duration(c.ReturnNs-entered))
	if c.ByLab {
		b.WriteString(" (by the lab)")
	}
	if c.Failure != "" {
		b.WriteString("; " + c.Failure)
	}
	if info := describeTCPInfo(c.TcpInfo); info != "" {
		fmt.Fprintf(&b, " [%s]", info)
	}
	return b.String()
}

func nonEmpty(all ...string) []string {
	var kept []string
	for _, s := range all {
		if s != "" {
			kept = append(kept, s)
		}
	}
	return kept
}

func describePacket(p *synclinev1.Packet) string {
	way := "in "
	if p.Direction == synclinev1.Direction_DIRECTION_OUT {
		way = "out"
	}
	if p.ArpOperation != 0 {
		return fmt.Sprintf("%s %s %s > %s ARP %s", way, p.Interface, address(p.Source), address(p.Destination), arpWord(p.ArpOperation))
	}
	switch p.Protocol {
	case 0, timeline.ProtocolTCP:
	case timeline.ProtocolUDP:
		return fmt.Sprintf("%s %s %s > %s UDP len %d", way, p.Interface,
			endpoint(p.Source, p.SourcePort), endpoint(p.Destination, p.DestinationPort), p.PayloadLength)
	default:
		return fmt.Sprintf("%s %s %s > %s %s type %d code %d len %d", way, p.Interface,
			address(p.Source), address(p.Destination), protocolWord(p.Protocol), p.IcmpType, p.IcmpCode, p.PayloadLength)
	}
	return fmt.Sprintf("%s %s %s > %s %s seq %d ack %d win %d len %d", way, p.Interface,
		endpoint(p.Source, p.SourcePort), endpoint(p.Destination, p.DestinationPort),
		timeline.Flags(p.Flags), p.Sequence, p.Acknowledgment, p.Window, p.PayloadLength)
}

func endpoint(address []byte, port uint32) string {
	a, ok := netip.AddrFromSlice(address)
	if !ok {
		return fmt.Sprintf("%x:%d", address, port)
	}
	return netip.AddrPortFrom(a, uint16(port)).String()
}

func address(b []byte) string {
	a, ok := netip.AddrFromSlice(b)
	if !ok {
		return fmt.Sprintf("%x", b)
	}
	return a.String()
}

func arpWord(operation uint32) string {
	switch operation {
	case 1:
		return "request"
	case 2:
		return "reply"
	}
	return fmt.Sprintf("operation %d", operation)
}
