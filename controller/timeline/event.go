package timeline

import (
	"net/netip"

	"syncline/controller/clock"
)

// Event is one fact with a local time, as one host reported it. Exactly one of the
// pointers is set.
type Event struct {
	// Host is the index of the host in the run.
	Host int
	// Number is the event's own number in its host's stream; (Host, Incarnation,
	// Number) names it for ever.
	Number      uint64
	Incarnation uint64
	// Repetition counts from 1; 0 is the run itself.
	Repetition int
	// At is when it happened; for a call, right before it was entered.
	At clock.Local

	Call   *Call
	Packet *Packet
	Signal *Signal
	Mark   *Mark
	Loss   *Loss
	Step   *ClockStep

	Counters *Counters
	Queue    *Queue
	Socket   *SocketState
	Change   *Change
	Process  *Process
	Trace    *Trace
	// Probe is of the run itself, whatever Repetition says: no moment is made of it.
	Probe *Probe
	// Sample is of the run itself too.
	Sample *ClockSample
}

// EndedBy says what ended a call.
type EndedBy int

// What ends a call.
const (
	EndedByKernel EndedBy = iota + 1
	EndedByTimeout
	EndedByCancel
	EndedByDeath
)

// Call is one step of a lane.
type Call struct {
	Lane string
	// Step is the index of the step in its lane, from 0.
	Step int
	// Name is the call as the man page spells it: "connect".
	Name string
	// Socket is the name of the socket it works on, Makes of the one it makes.
	Socket, Makes string
	Label         string
	Arguments     string
	Thread        int
	FD            int
	Return        clock.Local
	// Result is what the call returned, -1 on error with Errno set.
	Result  int64
	Errno   uint32
	EndedBy EndedBy
	// Local and Peer are the socket's addresses after the call; zero if not read.
	Local, Peer netip.AddrPort
	// ByLab marks a close that the lab made to tidy up.
	ByLab bool
	// Failure is what was expected and what came; empty if all is well.
	Failure string
	// Data is what the call brought back: the value of getsockopt, struct tcp_info of
	// info, the first bytes received. Shown is the same or the result as a person reads
	// it, empty if Result says all.
	Data  []byte
	Shown string
	// Process is the lane's own process, 0 if it has none.
	Process int
	// TCPInfo is struct tcp_info of the socket right after the return, as the kernel gave
	// it; empty if it was not read.
	TCPInfo []byte
}

// Direction of a packet as its host's tap saw it.
type Direction int

// Directions of a packet.
const (
	In Direction = iota + 1
	Out
)

// Flags are the flag bits of a TCP header, RFC 9293 3.1, RFC 3168, RFC 9768.
type Flags uint16

// Flag bits.
const (
	FIN Flags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
	AE
)

// Packet is one packet at one tap, of TCP unless Protocol or ARP says otherwise.
// Sequence numbers are absolute.
type Packet struct {
	Interface string
	Direction Direction
	// Realtime is the kernel's stamp, nanoseconds of the host's CLOCK_REALTIME.
	Realtime int64
	// Err is the half-width of the event's At, from moving Realtime to
	// CLOCK_MONOTONIC, in nanoseconds.
	Err int64
	// WireLength includes the link header. Segments counts the TCP segments that
	// this record stands for (GSO, GRO).
	WireLength int
	Segments   int

	Source, Destination netip.AddrPort
	TTL                 int
	IPID                uint32
	TrafficClass        uint8
	DontFragment        bool

	Seq, Ack      uint32
	Flags         Flags
	Window        int
	Urgent        int
	Options       []byte
	PayloadLength int
	Payload       []byte

	// Protocol is that of IP: ProtocolTCP, also if it is 0, ProtocolUDP, ProtocolICMP or
	// ProtocolICMPv6. What is said of TCP above means nothing for the others; UDP has
	// ports and payload, ICMP the packet that it is about as payload.
	Protocol int
	// ICMPType, ICMPCode and ICMPRest are the header of ICMP (RFC 792, RFC 4443).
	ICMPType, ICMPCode int
	ICMPRest           uint32
	// ARP is 1 for a request, 2 for a reply, 0 if this is no ARP (RFC 826); Source and
	// Destination then hold the sender's and the target's address, without ports.
	ARP int
}

// Protocols of IP.
const (
	ProtocolICMP   = 1
	ProtocolTCP    = 6
	ProtocolUDP    = 17
	ProtocolICMPv6 = 58
)

// TCP reports whether the packet is a TCP segment.
func (p *Packet) TCP() bool {
	return p.ARP == 0 && (p.Protocol == 0 || p.Protocol == ProtocolTCP)
}

// Counters are how far the kernel's counters of the host's network namespace moved
// between Since and the event's own time; those that did not move are left out.
type Counters struct {
	Since  clock.Local
	Deltas map[string]int64
}

// Queue is the length of a listener's accept queue, sampled.
type Queue struct {
	Address netip.AddrPort
	// Length of at most Limit + 1; Requests are request sockets (SYN_RECV).
	Length, Limit, Requests int
}

// SocketState is one TCP socket of the run's flows, as sock_diag(7) shows it.
type SocketState struct {
	Local, Peer netip.AddrPort
	// State is the kernel's number.
	State int
	// Final is set if it was read after all lanes of the repetition had ended.
	Final bool
}

// Change says that the lab changed the host, or took a change back.
type Change struct {
	// Text is the change as the author wrote it, Name what a lane applied it by.
	Text, Name string
	Undone     bool
}

// Process is the birth or the death of the process that a lane has of its own.
type Process struct {
	Lane string
	PID  int
	// Gone is its death, by Signal if that is not 0.
	Gone   bool
	Signal int
}

// Signal is a lane's signal as a host came to know of it. On the host of the lane
// that signalled the event's time is not after anyone else could be told, and on any
// other it is not before the host was told: so a signal is a message, and where no
// packets tie two clocks, signals do.
type Signal struct {
	Lane, Name string
	// Sent is true on the host of the lane that signalled.
	Sent bool
}

// MarkKind names a moment of an agent's own work.
type MarkKind int

// Moments of an agent's own work.
const (
	MarkArmed MarkKind = iota + 1
	MarkBegin
	MarkEnd
	MarkClosed
	MarkSourceMissing
	MarkNotQuiet
	MarkSourceReduced
)

// Mark is a moment of an agent's own work.
type Mark struct {
	Kind   MarkKind
	Detail string
	Frames uint64
}

// Source names where events come from: "syscalls", "packets".
type Source string

// Sources of events.
const (
	Syscalls Source = "syscalls"
	Packets  Source = "packets"
	// TCPStates are told from traces where a host has Tracepoints, and completed, or told
	// alone, from packets, calls and sock_diag(7).
	TCPStates   Source = "tcp-states"
	TCPInfo     Source = "tcp-info"
	CounterData Source = "counters"
	AcceptQueue Source = "accept-queue"
	ICMP        Source = "icmp"
	ARP         Source = "arp"
	// Drops are packets that a kernel dropped, and why.
	Drops Source = "drops"
	// Tracepoints are what Drops rests on, and what makes TCPStates exact. No experiment
	// observes them by this name.
	Tracepoints Source = "tracepoints"
	// Probes are clock probes between the hosts. No experiment observes them: where they
	// are missing the clocks are known less well, and nothing else is.
	Probes Source = "probes"
)

// Loss is a known number of events that happened between Since and the event's
// own time and were not kept.
type Loss struct {
	Source Source
	Count  uint64
	Since  clock.Local
	Where  string
}

// ClockChange is what happened to the clocks of a host.
type ClockChange int

// What happens to the clocks of a host.
const (
	// ClockStepped: CLOCK_REALTIME was set or stepped. The zero value means it as well; it
	// is of an agent that tells no more.
	ClockStepped ClockChange = iota + 1
	// ClockLeap: CLOCK_REALTIME was stepped by a leap second.
	ClockLeap
	// ClockSuspend: the host was suspended. CLOCK_MONOTONIC, which all events carry, stood
	// still, so that its offset to every other host's jumped.
	ClockSuspend
	// ClockSlew: the rate of CLOCK_MONOTONIC was changed, as a daemon of NTP does.
	ClockSlew
)

// ClockStep says what happened to the host's clocks between Since and the event's own
// time.
type ClockStep struct {
	Change ClockChange
	// Step is how far CLOCK_REALTIME moved against CLOCK_MONOTONIC, in nanoseconds: of a
	// suspend, how long it was.
	Step  int64
	Since clock.Local
	// Rate is, of a slew, by how much CLOCK_MONOTONIC goes faster than CLOCK_MONOTONIC_RAW
	// from then on, and RateBefore how much it did before, in parts per billion.
	Rate, RateBefore int64
}

// stepsRealtime reports whether stamps of CLOCK_REALTIME from before and from after the
// change are not to be compared. A slew moves both clocks alike.
func (s *ClockStep) stepsRealtime() bool { return s.Change != ClockSlew }

// ProbePath tells which way a probe takes.
type ProbePath int

// Ways that probes take.
const (
	// ExperimentPath is between the addresses that the experiment's packets use.
	ExperimentPath ProbePath = iota + 1
	// ControlPath is between the addresses from which the agents reach the controller.
	ControlPath
)

// StampOrigin tells who read the clock for a stamp.
type StampOrigin int

// Who reads the clock.
const (
	StampKernel StampOrigin = iota + 1
	StampHardware
	StampAgent
)

// Probe is one sight of a clock probe, as it left a host or reached it. An exchange is a
// request and its reply; each is one datagram that both hosts see.
type Probe struct {
	// Peer is the name of the other host.
	Peer      string
	Direction Direction
	// Exchange is the asker's own number, in whatever stream the sight is. The asker is
	// the host that sends the request.
	Exchange uint64
	Reply    bool
	Path     ProbePath
	Origin   StampOrigin
	// Realtime is the kernel's stamp, nanoseconds of CLOCK_REALTIME; 0 where the stamp is
	// of another clock. Err is the half-width of the event's At, in nanoseconds.
	Realtime int64
	Err      int64
}

// ClockSample is one reading of a host's clocks beside each other, at the event's own time
// of CLOCK_MONOTONIC.
type ClockSample struct {
	// Raw is CLOCK_MONOTONIC_RAW at some moment within RawErr nanoseconds; both are
	// meaningless unless HasRaw is set.
	Raw, RawErr int64
	HasRaw      bool
	// Steady: every change at once of the rate of CLOCK_MONOTONIC that is greater than this,
	// in parts per billion, since the sample before is or will be on record as a ClockStep. 0:
	// nobody could tell.
	Steady uint64
}
