package experiment

import "time"

// Expectation is one thing that should be true of every repetition. Exactly one of
// the pointers is set.
type Expectation struct {
	// Text is the expectation as a person wrote it, on one line.
	Text string
	Pos  Pos
	// Kernel limits it to hosts whose kernel is within all of these: where it is not,
	// nothing is expected. KernelHost is the role that is asked, empty: all hosts.
	Kernel     []KernelRange
	KernelHost string
	// AllowEmpty lets it hold if it selects nothing.
	AllowEmpty bool

	Packets      *PacketsExpectation
	States       *StatesExpectation
	Order        *OrderExpectation
	Phase        *PhaseExpectation
	Count        *CountExpectation
	Retransmits  *RetransmitsExpectation
	Drop         *DropExpectation
	Counter      *CounterExpectation
	Queue        *QueueExpectation
	Result       *ResultExpectation
	Never        *NeverExpectation
	Final        *FinalExpectation
	Precondition *PreconditionExpectation
	Spread       *SpreadExpectation
	That         *ThatExpectation
}

// PacketsExpectation is an ordered pattern over the segments of each connection; over
// all packets of the repetition in the order of their departure if it names packets
// that are no TCP.
type PacketsExpectation struct {
	Pattern []PacketTerm
	// Of limits it to the connection of a socket ("client.c") or label.
	Of SocketSelector
}

// PacketTerm matches one segment, or any number of them.
type PacketTerm struct {
	// Any is the term "...": zero or more segments.
	Any    bool
	Packet PacketSelector
}

// PacketSelector picks packets. The zero value picks none but a segment without
// flags; AnyFlags alone picks every segment.
//
// One rule holds wherever a file names a segment. PSH, URG, ECE, CWR and AE are not
// looked at unless they are named; of the rest exactly the named flags must be set, so
// SYN is not SYN+ACK and ACK is neither the handshake's nor a FIN's. Only FIN and RST,
// written without ACK, leave open whether ACK is set: RFC 9293 sends both kinds of RST,
// and people say "FIN" for FIN+ACK. "any" asks for at least the named flags.
type PacketSelector struct {
	// From and To are roles; empty: any.
	From, To string
	// Protocol is 6 for TCP, which is meant where nothing is said, 17 for UDP, 1 for
	// ICMP, 58 for ICMPv6. ARP is 1 for a request, 2 for a reply, and Protocol 0 then.
	Protocol int
	ARP      int
	// ICMPType and ICMPCode are -1 for any.
	ICMPType, ICMPCode int
	// Flags as in package timeline. A segment matches if its flags without PSH, URG,
	// ECE, CWR and AE are exactly these; if AnyFlags is set they are not looked at.
	Flags    uint16
	AnyFlags bool
	// Without are flags that must not be set: "SYN without ECE".
	Without uint16
	// Contains relaxes the match: the segment has at least these flags ("any RST",
	// and also "FIN" and "RST" by themselves).
	Contains bool
	// Data asks for payload (true) or for none (false); nil: either.
	Data *bool
	// Length is the payload in bytes, or -1 for any; Window the window field; -1: any.
	Length, Window int
	// Options are TCP options that must be there, "MSS", "WS", "SACK", "TS", "TFO",
	// "MPTCP", "MD5", each with its value or -1; NoOptions must not be there.
	Options   []TCPOption
	NoOptions []string
	// Third picks the ACK that completes the handshake.
	Third bool
	// Copy picks a retransmission: "retransmitted SYN".
	Copy bool
	Text string
}

// TCPOption is one option of a TCP header.
type TCPOption struct {
	Name string
	// Value is -1 for any: MSS in bytes, WS the shift.
	Value int
}

// SocketSelector names one end of a connection: a socket of a lane ("client.c"), of
// any copy of the lane if it has copies, or of the call with a label ("main").
type SocketSelector struct {
	Lane, Socket, Label string
	Text                string
}

// StatesExpectation is the path of TCP states that one end takes.
type StatesExpectation struct {
	Of SocketSelector
	// Path is the states in order, as Linux spells them; "..." for any number.
	Path []string
}

// OrderExpectation is a chain a < b < c: each moment is not after the next.
type OrderExpectation struct {
	Moments []MomentSelector
}

// MomentKind names what a MomentSelector picks.
type MomentKind int

// Kinds of moments.
const (
	EnterCall MomentKind = iota + 1
	ReturnCall
	PacketSent
	PacketReceived
)

// MomentSelector picks the first matching moment of a repetition.
type MomentSelector struct {
	Kind MomentKind
	// Lane and Call of EnterCall and ReturnCall; Socket, which the call works on or
	// makes, narrows it ("close a"); Label picks by the author's label instead. All but
	// Label are filled however the author wrote it, and Lane and Step name the one step
	// that is meant: Step is its index in the lane, from 0. It is the first of them if
	// the call is in a loop; Step is then -1 where any round may be meant, as in count.
	Lane, Call, Socket, Label string
	Step                      int
	// Copies is set if Lane is the base name of copies: any of them.
	Copies bool
	// Outcome narrows ReturnCall to calls that gave it: "return(client.connect) ok".
	Outcome *Outcome
	// Host of PacketSent and PacketReceived, and which packet.
	Host   string
	Packet PacketSelector
	Text   string
}

// Bounds is a number with limits; the zero value of a pointer is no limit.
type Bounds struct {
	Equals, AtLeast, AtMost *int64
}

// Span is a length of time: Duration plus RTTs times the round-trip time that was
// measured in the repetition (SYN out to SYN+ACK in, at the client's tap).
type Span struct {
	Duration time.Duration
	RTTs     float64
}

// PhaseExpectation bounds a named interval.
type PhaseExpectation struct {
	// Name is one of timeline's phases: "connect.blocked".
	Name string
	// Of limits it to one end; empty: every connection of the experiment.
	Of SocketSelector
	// Least and Most are inclusive; nil: none.
	Least, Most *Span
}

// CountExpectation counts packets or calls.
type CountExpectation struct {
	// Packet or Moment is counted; exactly one is set. A packet is counted where it
	// was sent, or where it arrived if its departure is not on record.
	Packet *PacketSelector
	Moment *MomentSelector
	// Before and After limit it to what is surely before or after a moment.
	Before, After *MomentSelector
	Bounds        Bounds
}

// RetransmitsExpectation is about the transmissions of one segment after its first.
type RetransmitsExpectation struct {
	Packet PacketSelector
	// Gaps between two transmissions, in order, as the sender's tap saw them; each
	// within Tolerance (0.2 for 20 %). A repetition may have more than are listed only
	// if More is set.
	Gaps      []time.Duration
	More      bool
	Tolerance float64
	Bounds    Bounds
}

// DropExpectation counts the packets that a kernel dropped.
type DropExpectation struct {
	Packet PacketSelector
	// Host is the role whose kernel it was, Reason the kernel's name of why
	// ("NETFILTER_DROP"); empty for any.
	Host, Reason string
	Bounds       Bounds
}

// CounterExpectation is about how far a kernel counter moved.
type CounterExpectation struct {
	Host string
	// Name is as in /proc/net/netstat and snmp: "TcpExt.ListenOverflows".
	Name string
	// Increases asks for more than 0.
	Increases bool
	Bounds    Bounds
}

// QueueExpectation is about the accept queue of a listener.
type QueueExpectation struct {
	Of SocketSelector
	// Peak is the longest that was sampled.
	Peak Bounds
}

// ResultExpectation is what a labelled call returned.
type ResultExpectation struct {
	// Label of the call, or Lane and Call with Socket if the author wrote
	// `client.connect` instead of a label. Of copies and rounds all must hold.
	Of MomentSelector
	// Outcome that must be met.
	Outcome Outcome
	// Within bounds how long the call took; nil: any.
	Least, Most *Span
}

// NeverExpectation says that no such segment exists, at any tap.
type NeverExpectation struct {
	Packet PacketSelector
	// Between limits it to the time from one moment to another; nil: none.
	After, Before *MomentSelector
}

// FinalExpectation says in which state sockets are when the repetition is over, as
// sock_diag(7) shows them. CLOSED is no socket.
type FinalExpectation struct {
	State string
	Of    []SocketSelector
}

// PreconditionExpectation is a chain of moments that must be in order for the
// repetition to count: if it is not, everything else is not reproduced.
type PreconditionExpectation struct {
	Order OrderExpectation
}

// SpreadExpectation bounds how far apart a meeting released its lanes.
type SpreadExpectation struct {
	Meeting string
	Most    time.Duration
}

// ThatExpectation is a typed expression over the repetition, in CEL. The names it
// may use are those of ThatNames.
type ThatExpectation struct {
	Source string
}
