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
