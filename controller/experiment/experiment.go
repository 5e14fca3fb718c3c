// Package experiment parses, checks and plans an experiment file.
//
// It is pure: it touches no host, reads no clock and knows no protobuf; the same file
// gives the same Experiment everywhere. Parse reports every error of a file at once,
// each with its place. What Parse returns is checked: every role, lane, socket, label
// and variable it mentions exists, every signal waited for is given, and no wait can
// block another for ever. Numbers (errno, socket options) are those of Linux on every
// machine, since agents run there and a plan may be made elsewhere.
//
// The language is in three tables: sections (the top keys of a file), calls (what a
// lane can do) and nouns (what can be expected). A new one is a new row.
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
	// MaxData bounds the bytes of one send and of all sends of a file together: a
	// lane travels to its agent in one message.
	MaxData = 1 << 20
)

// Experiment is a checked experiment file.
type Experiment struct {
	Name  string
	About string
	Refs  []string
	// Hosts in the order of the file; the first is the leftmost lane of a ladder.
	Hosts []Host
	// Vars with their values, overrides applied, in the order of the file.
	Vars []Var
	// Observe are the sources asked for: "syscalls", "packets".
	Observe []string
	Lanes   []Lane
	Expect  []Expectation
	Repeat  Repeat
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
	Name string
	// Host is the role.
	Host  string
	Steps []Step
	Pos   Pos
}

// Step is one call of a lane, its variables replaced.
type Step struct {
	// Text is the step as written, variables replaced.
	Text string
	Pos  Pos
	// Call is its name: "connect".
	Call string
	// Socket is the socket it works on, Makes the name it gives.
	Socket, Makes string
	Label         string
	Timeout       time.Duration
	// Outcome is nil if the author said nothing.
	Outcome *Outcome
	// Args is one of SocketArgs, BindArgs, … ; nil for a call without.
	Args any
}

// Outcome is what the author accepts of a call; it is met if any part is.
type Outcome struct {
	OK      bool
	Values  []int64
	Errnos  []uint32
	Timeout bool
}

// Address is where a call points: a role ("B:$port"), or an address written out.
type Address struct {
	// Role is a host of the experiment; empty if IP is meant.
	Role string
	IP   netip.Addr
	Port uint16
}

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
	// SendArgs of send(2).
	SendArgs struct{ Data []byte }
	// RecvArgs of recv(2).
	RecvArgs struct{ Size int }
	// ShutdownArgs of shutdown(2): SHUT_RD 0, SHUT_WR 1, SHUT_RDWR 2.
	ShutdownArgs struct{ How int }
	// SetSockOptArgs of setsockopt(2); Value as the kernel takes it on a 64-bit
	// little-endian machine.
	SetSockOptArgs struct {
		Level, Name int
		Value       []byte
	}
	// SleepArgs of the lab's sleep.
	SleepArgs struct{ Duration time.Duration }
	// SignalArgs of the lab's signal.
	SignalArgs struct{ Name string }
	// WaitArgs of the lab's wait.
	WaitArgs struct{ Lane, Signal string }
)

// Repeat says how often the lanes run.
type Repeat struct {
	Runs int
	// Gap is the pause between two repetitions.
	Gap time.Duration
	// Timeout ends a repetition whose lanes do not end by themselves.
	Timeout time.Duration
}

// Expectation is one thing that should be true of every repetition. Exactly one of
// the pointers is set.
type Expectation struct {
	// Text is the expectation as a person wrote it, on one line.
	Text string
	Pos  Pos

	Packets *PacketsExpectation
	Order   *OrderExpectation
	Result  *ResultExpectation
	Never   *NeverExpectation
}

// PacketsExpectation is an ordered pattern over the segments of each connection.
type PacketsExpectation struct {
	Pattern []PacketTerm
}

// PacketTerm matches one segment, or any number of them.
type PacketTerm struct {
	// Any is the term "...": zero or more segments.
	Any    bool
	Packet PacketSelector
}

// PacketSelector picks segments. The zero value picks none but a segment without
// flags; AnyFlags alone picks every segment.
//
// One rule holds wherever a file names a packet. PSH, URG, ECE, CWR and AE are never
// looked at; of the rest exactly the named flags must be set, so SYN is not SYN+ACK
// and ACK is neither the handshake's nor a FIN's. Only FIN and RST, written without
// ACK, leave open whether ACK is set: RFC 9293 sends both kinds of RST, and people say
// "FIN" for FIN+ACK. "any" asks for at least the named flags.
type PacketSelector struct {
	// From and To are roles; empty: any.
	From, To string
	// Flags as in package timeline. A segment matches if its flags without PSH, URG,
	// ECE, CWR and AE are exactly these; if AnyFlags is set they are not looked at.
	Flags    uint16
	AnyFlags bool
	// Contains relaxes the match: the segment has at least these flags ("any RST",
	// and also "FIN" and "RST" by themselves).
	Contains bool
	// Data asks for payload (true) or for none (false); nil: either.
	Data *bool
	// Third picks the ACK that completes the handshake.
	Third bool
	Text  string
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
	// that is meant: Step is its index in the lane, from 0.
	Lane, Call, Socket, Label string
	Step                      int
	// Host of PacketSent and PacketReceived, and which packet.
	Host   string
	Packet PacketSelector
	Text   string
}

// ResultExpectation is what a labelled call returned.
type ResultExpectation struct {
	// Label of the call, or Lane and Call with Socket if the author wrote
	// `client.connect` instead of a label.
	Of MomentSelector
	// Outcome that must be met.
	Outcome Outcome
}

// NeverExpectation says that no such segment exists, at any tap.
type NeverExpectation struct {
	Packet PacketSelector
}
