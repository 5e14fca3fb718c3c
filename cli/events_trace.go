package cli

import (
	"fmt"
	"strings"

	"syncline/controller/experiment"
	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

// describeTrace is what the kernel said at a tracepoint: what happened, whose socket or
// packet it was, and the socket's cookie if it has one.
func describeTrace(t *synclinev1.Trace) string {
	what := traceWords(t)
	if t.LocalAddress != "" || t.PeerAddress != "" {
		what += ", " + strings.Join(nonEmpty(t.LocalAddress, t.PeerAddress), " peer ")
	}
	if t.Cookie != 0 {
		what += fmt.Sprintf(", cookie %d", t.Cookie)
	}
	return what
}

func traceWords(t *synclinev1.Trace) string {
	switch t.Kind {
	case synclinev1.TraceKind_TRACE_KIND_STATE:
		return fmt.Sprintf("%s to %s", stateWord(t.OldState), stateWord(t.State))
	case synclinev1.TraceKind_TRACE_KIND_RETRANSMIT:
		return "retransmits " + segmentWords(t) + inState(t.State)
	case synclinev1.TraceKind_TRACE_KIND_RETRANSMIT_SYNACK:
		return "retransmits its SYN+ACK" + inState(t.State)
	case synclinev1.TraceKind_TRACE_KIND_RESET_SENT:
		return "sends RST" + because(t.Reason) + inState(t.State) + ", in answer to " + segmentWords(t)
	case synclinev1.TraceKind_TRACE_KIND_RESET_RECEIVED:
		return "is reset by RST" + because(t.Reason) + inState(t.State)
	case synclinev1.TraceKind_TRACE_KIND_DESTROYED:
		return "socket freed" + inState(t.State)
	case synclinev1.TraceKind_TRACE_KIND_ERROR:
		return "error to report: " + experiment.ErrnoName(t.Errno) + inState(t.State)
	case synclinev1.TraceKind_TRACE_KIND_DROP:
		what := "drops " + wayWord(t.Direction) + segmentWords(t) + because(t.Reason) + inState(t.State)
		if t.Place != "" {
			what += ", by " + t.Place
		}
		return what
	case synclinev1.TraceKind_TRACE_KIND_READY:
		return "wakes who waits for it" + inState(t.State)
	}
	return fmt.Sprintf("tracepoint of kind %d, which this version does not know", t.Kind)
}

// wayWord tells whether a host had received a packet or was sending it, if anybody can tell.
func wayWord(d synclinev1.Direction) string {
	switch d {
	case synclinev1.Direction_DIRECTION_IN:
		return "incoming "
	case synclinev1.Direction_DIRECTION_OUT:
		return "outgoing "
	}
	return ""
}

// stateWord is a TCP state by the kernel's number.
func stateWord(number uint32) string {
	if name := timeline.StateName(int(number)); name != "" {
		return name
	}
	return fmt.Sprintf("state %d", number)
}

// inState is nothing for what happened without a socket.
func inState(number uint32) string {
	if number == 0 {
		return ""
	}
	return " in " + stateWord(number)
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return " because of " + reason
}

// segmentWords is the packet that a trace is about.
func segmentWords(t *synclinev1.Trace) string {
	if t.Protocol != 0 && t.Protocol != timeline.ProtocolTCP {
		return fmt.Sprintf("%s len %d", protocolWord(t.Protocol), t.PayloadLength)
	}
	return fmt.Sprintf("%s seq %d ack %d len %d", timeline.Flags(t.Flags), t.Sequence, t.Acknowledgment, t.PayloadLength)
}

func protocolWord(protocol uint32) string {
	switch protocol {
	case timeline.ProtocolUDP:
		return "UDP"
	case timeline.ProtocolICMP:
		return "ICMP"
	case timeline.ProtocolICMPv6:
		return "ICMPv6"
	}
	return fmt.Sprintf("IP protocol %d", protocol)
}
