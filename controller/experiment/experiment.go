// Package experiment parses, checks and plans an experiment file.
//
// It is pure: it touches no host, reads no clock and knows no protobuf; the same file
// gives the same Experiment everywhere. Parse reports every error of a file at once,
// each with its place. What Parse returns is checked: every role, lane, socket, label
// and variable it mentions exists, every signal waited for is given, and no wait can
// block another for ever. Numbers (errno, socket options) are those of Linux on every
// machine, since agents run there and a plan may be made elsewhere.
//
// The language is in tables: sections (the top keys of a file), calls (what a lane can
// do), changeKeys (what can be changed on a host), nouns (what can be expected) and
// more. A new one is a new row; the parser, the schema and the reference are made of
// them.
package experiment

import (
	"net/netip"
	"time"
)

// Limits on what a file may ask for. A file beyond them is refused with a message
// that names the limit.
const (
	MaxBytes    = 256 << 10
	MaxNesting  = 32
	MaxHosts    = 64
	MaxVars     = 256
	MaxLanes    = 256
	MaxSteps    = 10_000
	MaxExpect   = 1_000
	MaxMoments  = 100
	MaxTerms    = 1_000
	MaxRuns     = 100_000
	MaxDuration = time.Hour
	// MaxVariants bounds cases times matrix, MaxCopies the copies of a lane.
	MaxVariants = 256
	MaxCopies   = 128
	MaxChanges  = 256
	MaxWatches  = 64
	// FreshValues is how many values a fresh variable takes before it starts again:
	// a port that is bound again after so many repetitions is free by then.
	FreshValues = 1000
	// MaxData bounds the bytes of one send and of all sends of a file together: a
	// lane travels to its agent in one message.
	MaxData = 1 << 20
)

// Experiment is one variant of a checked experiment file, its variables replaced.
// Parse returns the first variant in its first repetition; At gives the others.
type Experiment struct {
	Name  string
	About string
	Refs  []string
	// Topic, Class, Needs and Remember are what the library says of a scenario: where
	// it belongs, what it needs ("P", "T", "C", "F"; see LANGUAGE.md), in words, and the
	// one sentence a student should remember. They may be empty in a file of a user.
	Topic, Class, Remember string
	Needs                  []string
	// Hosts in the order of the file; the first is the leftmost lane of a ladder.
	Hosts []Host
	// Vars with their values, overrides applied, in the order of the file.
	Vars []Var
	// Observe are the sources asked for, in the order of the file: see Sources.
	Observe []string
	// Variants are all variants of the file, in order: one without a name if it has
	// neither cases nor a matrix. Variant is the index of this one.
	Variants []Variant
	Variant  int
	// Require must hold before the run starts, Setups hold for every repetition of the
	// variant, Changes are made when a lane applies one by its name.
	Require  []Requirement
	Setups   []Setup
	Changes  []Setup
	Lanes    []Lane
	Meetings []Meeting
	Watches  []Watch
	Expect   []Expectation
	Repeat   Repeat
	// file is what At plans from.
	file *file
}

// Variant is a case of the file with the values of its matrix.
type Variant struct {
	// Name is "burst", "mtu=1500" or "burst mtu=1500"; empty if the file has one
	// variant only.
	Name string
	// Case is the key of `cases`, empty if there are none.
	Case string
	// Values are those of the matrix, in the order of the file.
	Values []Var
}

// Host is a role and how a machine is picked for it.
type Host struct {
	Name string
	// Pick are labels that an agent must have; empty: any agent.
	Pick map[string]string
	Pos  Pos
}

// Var is a variable of the file.
type Var struct {
	Name, Value string
}

// Pos is a place in the file: lines and characters (not bytes) of the line, both
// from 1. The zero Pos is no place in the file: the fault is in the options.
type Pos struct {
	Line, Column int
}

// Lane is one thread on one host.
type Lane struct {
	// Name is unique: "client", or of copies "client[2]".
	Name string
	// Base is the name in the file, Copy counts from 1; 0 for a lane without copies.
	Base string
	Copy int
	// Host is the role.
	Host  string
	Steps []Step
	// Delay is how long after the repetition the lane begins: start_gap times the
	// copies before this one.
	Delay time.Duration
	// OwnProcess runs the lane in a process of its own. ForkedBy is the lane whose fork
	// starts it, empty if the repetition does; such a lane has the sockets of that one
	// and a process of its own.
	OwnProcess bool
	ForkedBy   string
	// Limits of the lane's own process, by number of Linux.
	Limits []Limit
	Pos    Pos
}

// Limit is a resource limit of a process, setrlimit(2).
type Limit struct {
	// Name is "nofile"; Resource its number of Linux.
	Name     string
	Resource int
	Value    uint64
}

// Step is one call of a lane, its variables replaced. A loop is written out: each of
// its rounds has steps of its own.
type Step struct {
	// Text is the step as written, variables replaced.
	Text string
	Pos  Pos
	// Call is its name: "connect".
	Call string
	// Socket is the socket it works on, Makes the name it gives.
	Socket, Makes string
	// Label is the author's. Steps of one loop, and of the copies of a lane, share it.
	Label string
	// Round counts the rounds of the innermost loop from 1; 0 outside of loops.
	Round   int
	Timeout time.Duration
	// Outcome is nil if the author said nothing.
	Outcome *Outcome
	// Args is one of SocketArgs, BindArgs, … ; nil for a call without.
	Args any
}

// Outcome is what the author accepts of a call; it is met if any part is.
type Outcome struct {
	OK bool
	// Values are what the call returns; of getsockopt the option's value, of poll the
	// mask of events.
	Values []int64
	Errnos []uint32
	// Data are bytes that are received.
	Data    [][]byte
	Timeout bool
}

// Address is where a call points: a role ("B:$port"), an address written out, or a
// Unix socket.
type Address struct {
	// Role is a host of the experiment; empty if IP or Unix is meant.
	Role string
	IP   netip.Addr
	Port uint16
	// NoPort marks an address without one, as raw sockets take it.
	NoPort bool
	// Unix is the name of "unix:name".
	Unix string
	// Six asks for the role's IPv6 address: the socket is one of tcp6 or udp6.
	Six bool
}

// OptionKind is the type of a socket option's value.
type OptionKind int

// Types of socket options.
const (
	OptionInt OptionKind = iota + 1
	OptionErrno
	OptionLinger
	OptionTimeval
	OptionName
	OptionBytes
)

// Arguments of the calls, resolved as far as the file alone can.
type (
	// SocketArgs of socket(2), numbers of Linux.
	SocketArgs struct{ Domain, Type, Protocol int }
	// BindArgs of bind(2).
	BindArgs struct{ Address Address }
	// ListenArgs of listen(2).
	ListenArgs struct{ Backlog int }
	// ConnectArgs of connect(2).
	ConnectArgs struct{ Address Address }
	// SendArgs of send(2); Flags are MSG_* of Linux.
	SendArgs struct {
		Data  []byte
		Flags int
	}
	// RecvArgs of recv(2).
	RecvArgs struct{ Size, Flags int }
	// SendToArgs of sendto(2).
	SendToArgs struct {
		Address Address
		Data    []byte
		Flags   int
	}
	// RecvFromArgs of recvfrom(2).
	RecvFromArgs struct{ Size, Flags int }
	// ShutdownArgs of shutdown(2): SHUT_RD 0, SHUT_WR 1, SHUT_RDWR 2.
	ShutdownArgs struct{ How int }
	// SetSockOptArgs of setsockopt(2); Value as the kernel takes it on a 64-bit
	// little-endian machine.
	SetSockOptArgs struct {
		Level, Name int
		Value       []byte
		// Peer is the host whose address goes into the struct sockaddr_storage that Value
		// begins with (TCP_MD5SIG); zero for all other options.
		Peer Address
	}
	// GetSockOptArgs of getsockopt(2).
	GetSockOptArgs struct {
		Level, Name, Size int
		Kind              OptionKind
	}
	// NonblockArgs of fcntl(2) with O_NONBLOCK.
	NonblockArgs struct{ On bool }
	// PollArgs of poll(2): POLL* of Linux, and its own limit, negative for none.
	PollArgs struct {
		Events int
		Limit  time.Duration
	}
	// SleepArgs of the lab's sleep.
	SleepArgs struct{ Duration time.Duration }
	// SignalArgs of the lab's signal.
	SignalArgs struct{ Name string }
	// WaitArgs of the lab's wait: for the signal of one lane, or of all copies of a
	// lane (Lanes then names each), or for a watch, by its id.
	WaitArgs struct {
		Lane, Signal string
		Lanes        []string
		Watch        string
	}
	// MeetArgs of the lab's meet.
	MeetArgs struct{ Name string }
	// ForkArgs of the lab's fork: the lane that it starts.
	ForkArgs struct{ Lane string }
	// KillArgs of kill(2): the lane whose process gets the signal, number of Linux.
	KillArgs struct {
		Lane   string
		Signal int
	}
	// ApplyArgs and UndoArgs of the lab's apply and undo: the change by its name.
	ApplyArgs struct{ Name string }
	UndoArgs  struct{ Name string }
)

// Meeting is an instant at which lanes are released together.
type Meeting struct {
	Name string
	// Lanes that come to it, each once a repetition.
	Lanes []string
	// Lead is how long before the instant it is told to the hosts.
	Lead time.Duration
	// MaxSpread is how far apart the releases may be, 0 for any: a repetition with
	// more is not reproduced.
	MaxSpread time.Duration
	Pos       Pos
}

// Watch is something that a host looks out for, for a lane that waits for it. Exactly
// one of Lane and Packet is set.
type Watch struct {
	// ID is unique in the experiment; Text is what the author wrote.
	ID, Text string
	// Host is the role that looks.
	Host string
	// Lane, Socket and State name a TCP state of a socket; the kernel's number.
	Lane, Socket string
	State        int
	// Packet is seen at the host's tap, Sent or received, for the Count-th time.
	Packet *PacketSelector
	Sent   bool
	Count  int
	Pos    Pos
}

// Setup is what the lab changes on one host, together and in order.
type Setup struct {
	// Name is what lanes apply it by; empty for what holds for the whole variant.
	Name    string
	Host    string
	Changes []Change
	Pos     Pos
}

// Change is one thing that is changed. Exactly one of the pointers is set.
type Change struct {
	// Text is what the author wrote, on one line, variables replaced.
	Text string
	Pos  Pos

	Sysctl    *SysctlChange
	Firewall  *FirewallRule
	Route     *RouteChange
	Neighbour *NeighbourChange
	Link      *LinkChange
	Address   *AddressChange
}

// SysctlChange writes one value below /proc/sys; Name has dots.
type SysctlChange struct {
	Name, Value string
	// IfPresent leaves a kernel without it as it is.
	IfPresent bool
}

// FirewallAction is what a rule does with a packet.
type FirewallAction int

// Actions of a rule.
const (
	FirewallDrop FirewallAction = iota + 1
	FirewallReject
	FirewallAccept
)

// FirewallRule is one rule of nftables(8). The fields of FirewallChange in the
// contract say what each means.
type FirewallRule struct {
	Action FirewallAction
	// Out is hook output, else hook input.
	Out bool
	// Protocol is that of IP: 6, 17, 1, 58; 0 any.
	Protocol         int
	Port, SourcePort uint16
	// From and To are roles or addresses; zero: any.
	From, To Address
	// Flags as in package timeline; those of Mask must be as in Flags.
	Flags, Mask uint16
	RejectWith  string
	// ICMPType is -1 for any.
	ICMPType int
	// States of connection tracking: "new", "established", "invalid".
	States []string
	// RedirectPort rewrites the destination port, MasqueradePort the source port.
	RedirectPort, MasqueradePort uint16
	IdleTimeout                  time.Duration
	LongerThan                   int
}

// RouteChange adds or replaces a route.
type RouteChange struct {
	// To is a role (its address alone) or a prefix, written out.
	To     Address
	Prefix netip.Prefix
	// Kind is "unicast", "blackhole", "unreachable" or "prohibit".
	Kind    string
	Gateway Address
	// Metrics; 0: not set.
	MTU, AdvMSS, InitCwnd int
	RTOMin                time.Duration
}

// NeighbourChange forgets the link address of a neighbour, of all hosts of the run if
// none is named, or fixes it to one that nobody has.
type NeighbourChange struct {
	Of      Address
	Nowhere bool
}

// LinkChange changes the interface of the run's traffic.
type LinkChange struct {
	Down bool
	// MTU 0 and Rate 0 (bits a second) leave them.
	MTU  int
	Rate int64
	// NoOffload turns TSO, GSO and GRO off.
	NoOffload bool
}

// AddressChange adds an address to the interface of the run, or removes one.
type AddressChange struct {
	// Prefix is what the author wrote; Of the role whose address is meant instead.
	Prefix netip.Prefix
	Of     Address
	Remove bool
}

// Requirement must hold on a host before the run may start. Exactly one of the
// pointers is set.
type Requirement struct {
	Text string
	Host string
	Pos  Pos

	PortFree *PortFree
	Kernel   *KernelRange
	Sysctl   *SysctlIs
	Socket   *SocketArgs
}

// PortFree asks that nothing listens on a port; Protocol is 6 or 17.
type PortFree struct {
	Protocol int
	Port     uint16
}

// KernelRange compares the numbers of a kernel's release.
type KernelRange struct {
	// Comparison is "<", "<=", "=", ">=" or ">".
	Comparison, Release string
}

// SysctlIs asks that a sysctl exists and, unless Value is empty, has that value.
type SysctlIs struct {
	Name, Value string
}

// Repeat says how often the lanes run. All counts are for each variant.
type Repeat struct {
	Runs int
	// Warmup repetitions come first and are not judged.
	Warmup int
	// Gap is the pause between two repetitions.
	Gap time.Duration
	// Timeout ends a repetition whose lanes do not end by themselves.
	Timeout time.Duration
	// Fresh variables have another value in every repetition: port, port + 1, ….
	Fresh []string
	// UntilReproduced repeats until so many repetitions were reproduced, or AtMost
	// were made, which is Runs too; 0: Runs repetitions are made.
	UntilReproduced, AtMost int
}

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
