package timeline

import (
	"fmt"
	"net/netip"
)

// TraceKind names a tracepoint of the kernel. A kind that this package has no name for is
// kept, and says nothing to it.
type TraceKind int

// Tracepoints.
const (
	// TraceState: the socket went from OldState to State (sock:inet_sock_set_state).
	TraceState TraceKind = iota + 1
	// TraceRetransmit: a segment went out again (tcp:tcp_retransmit_skb).
	TraceRetransmit
	// TraceRetransmitSYNACK: a request socket answered its SYN again
	// (tcp:tcp_retransmit_synack).
	TraceRetransmitSYNACK
	// TraceResetSent: a RST goes out, and why (tcp:tcp_send_reset).
	TraceResetSent
	// TraceResetReceived: a RST came in and was accepted (tcp:tcp_receive_reset).
	TraceResetReceived
	// TraceDestroyed: the socket is freed (tcp:tcp_destroy_sock).
	TraceDestroyed
	// TraceError: the socket has an error to report (sock:inet_sk_error_report).
	TraceError
	// TraceDrop: the kernel dropped a packet, and why (skb:kfree_skb).
	TraceDrop
	// TraceReady: whoever waits for the socket is woken (sock:sk_data_ready).
	TraceReady
)

// String is what the kernel did, in words: "state", "reset sent".
func (k TraceKind) String() string {
	names := [...]string{
		TraceState: "state", TraceRetransmit: "retransmission", TraceRetransmitSYNACK: "retransmission of SYN+ACK",
		TraceResetSent: "reset sent", TraceResetReceived: "reset received", TraceDestroyed: "socket freed",
		TraceError: "error", TraceDrop: "drop", TraceReady: "woken",
	}
	if k >= 1 && int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("tracepoint %d", int(k))
}

// Trace is something that a kernel said of a TCP socket or a packet of the run's flows,
// at a tracepoint. The event's time is CLOCK_MONOTONIC, read in the tracepoint.
type Trace struct {
	Kind TraceKind
	// Cookie is SO_COOKIE of the socket, the same for as long as that lives; 0 if there is
	// no socket.
	Cookie uint64
	// Local is the host's own end. A port is 0, or an address not valid, where the kernel
	// has not filled it in yet, or no longer.
	Local, Peer netip.AddrPort
	// OldState and State are the kernel's numbers: see StateName. OldState is of TraceState
	// alone; State of the others is the one it happened in, 0 without a socket.
	OldState, State int
	// Errno is sk_err of TraceError.
	Errno uint32
	// Reason is the kernel's own name of why it reset or dropped, without its prefix:
	// "NO_SOCKET"; Place the function that dropped, "" if the kernel does not tell.
	Reason, Place string
	// Seq, Ack, Flags and PayloadLength are of the segment that it is about; of
	// TraceResetSent, of the segment that was answered.
	Seq, Ack      uint32
	Flags         Flags
	PayloadLength int
	// Protocol is that of a dropped packet; 0 and 6 are TCP.
	Protocol int
	// Direction tells whether the host had received or was sending the packet of a
	// TraceDrop; 0 if nobody can tell, as where both addresses are the host's own. Local is
	// the sender then, or seems to be.
	Direction Direction
}

// check refuses a trace that no kernel can have made.
func (tr *Trace) check() error {
	switch {
	case tr.Kind < 1:
		return fmt.Errorf("is wrong: a trace of no tracepoint")
	case tr.Kind == TraceState && (tr.Cookie == 0 || tr.OldState < 1 || tr.State < 1):
		return fmt.Errorf("is wrong: a socket with cookie %d went from state %d to %d", tr.Cookie, tr.OldState, tr.State)
	case tr.Direction < 0 || tr.Direction > Out:
		return fmt.Errorf("is wrong: a packet that went in direction %d", tr.Direction)
	}
	return nil
}

// DropText says why a packet was dropped, for people: "dropped: NETFILTER_DROP at
// nf_hook_slow".
func (tr *Trace) DropText() string {
	text := "dropped"
	if tr.Reason != "" {
		text += ": " + tr.Reason
	}
	if tr.Place != "" {
		text += " at " + tr.Place
	}
	return text
}

// stateText is a state by its name, or by its number if it has none.
func stateText(number int) string {
	if name := StateName(number); name != "" {
		return name
	}
	return fmt.Sprintf("state %d", number)
}
