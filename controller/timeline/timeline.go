// Package timeline merges the events of all hosts of a run into one timeline per
// repetition: it joins the two ends of each connection, matches every segment at
// sender and receiver, puts the hosts on one clock, orders what can be ordered,
// judges the experiment's expectations and lays the ladder out as plain data.
//
// Everything here is pure and deterministic: the same sealed events give the same
// timeline on every node, whatever the order in which hosts reported.
package timeline

import (
	"net/netip"

	"syncline/controller/clock"
	"syncline/controller/experiment"
)

// Run is all that a timeline is computed from.
type Run struct {
	ID    string
	Hosts []Host
	// Experiment is what was executed: its first variant in its first repetition.
	Experiment *experiment.Experiment
	// Plan gives what was executed in a repetition: the variant with the values it had
	// then. Nil: Experiment in all of them.
	Plan func(repetition int) (*experiment.Experiment, error)
	// Events of all hosts, in any order.
	Events []Event
	// Incomplete names what is known to be missing from the whole run (an agent was
	// lost, a stream has a gap); no verdict is a pass then.
	Incomplete []string
	// Notes are sentences that a reader should know and that take nothing from the
	// evidence: clocks that no probe could compare.
	Notes []string
}

// Host is one host of a run.
type Host struct {
	// Name is the role in the experiment ("A"), Agent the machine that plays it.
	Name, Agent string
	Address     netip.Addr
	// Address6 is its IPv6 address, if Address is none and there is one.
	Address6 netip.Addr
	Kernel   string
	// ClockID is equal for two hosts exactly if they read the very same
	// CLOCK_MONOTONIC (same boot, same time namespace); empty if not known.
	ClockID string
	// TestClock describes the test clock that all times of the host are of; empty if they
	// are real.
	TestClock string
	// Missing lists the sources the experiment asked for that this host could not
	// give, with the reason.
	Missing map[Source]string
}

// Timeline is one repetition of a run on one clock.
type Timeline struct {
	RunID      string
	Experiment string
	Repetition int
	Hosts      []Host
	// Reference is the index of the host whose clock is the lab's.
	Reference int
	// Zero is the lab time that views count from: the entry of the first connect(2),
	// else the first moment.
	Zero clock.Lab
	// Clocks holds, per host, the bound on its offset to the reference in the middle
	// of the repetition, and what it was derived from.
	Clocks []HostClock
	// Moments in order of lab time. Where the errors of two neighbours of different
	// hosts overlap and no message orders them, their order is not known.
	Moments     []Moment
	Connections []Connection
	// Others are the transmissions of packets that are no TCP, in order of departure,
	// then of arrival where no departure was seen.
	Others   []Transmission
	Verdicts []Verdict
	// Variant is the name of the variant that the repetition was of; empty if the file
	// has one only.
	Variant string
	// Incomplete is Run.Incomplete: what is missing from the run as a whole.
	Incomplete []string
	// Warnings are sentences a person must read before believing the rest.
	Warnings []string

	// certain is what Build knows of order beyond the exported fields; nil in a
	// timeline that was put together by hand.
	certain *certainty
	// inferred is true if Build has filled in the states of the ends.
	inferred bool
	// proven says for each end of each connection that traces alone prove its states.
	proven [][2]bool
	// settled is nil as long as the exported fields may change.
	settled *settled
}

// HostClock is how one host's clock relates to the reference.
type HostClock struct {
	Bound clock.Bound
	// Method says what the bound comes from: MethodReference, MethodSameClock,
	// MethodUnknown, or "probes", "segments", "probes and segments", "signals".
	Method string
	// Messages counts the inequalities used.
	Messages int
}

// What a bound comes from, where no messages are named.
const (
	// MethodReference: it is the reference's own clock.
	MethodReference = "reference"
	// MethodSameClock: the host reads the very clock of the reference.
	MethodSameClock = "same clock"
	// MethodUnknown: nothing ties the host's clock to the reference's.
	MethodUnknown = "unknown"
)

// Edge tells which end of an event a moment is.
type Edge int

// Edges of an event. A call has two moments, everything else one.
const (
	At Edge = iota + 1
	Enter
	Return
)

// Moment is one edge of one event, placed on the lab's clock.
type Moment struct {
	Event *Event
	Edge  Edge
	Local clock.Local
	Stamp clock.Stamp
	// Connection indexes Timeline.Connections; -1 if it belongs to none. An ICMP error
	// belongs to the connection whose segment it quotes.
	Connection int
	// Segment indexes Connection.Segments for a TCP packet, the first of them if it is
	// in several; -1 for what is no TCP packet and for a packet that a host between the
	// two ends saw pass.
	Segment int
}

// Connection is one TCP connection, its two ends joined across hosts.
type Connection struct {
	// Client is the end that sent the first SYN.
	Client, Server End
	// Segments in order of departure, then of arrival where no departure was seen.
	Segments []Segment
}

// End is one end of a connection.
type End struct {
	// Host is an index into Timeline.Hosts; -1 if no host of the run has the address.
	Host    int
	Address netip.AddrPort
	// Bound is the address that the socket itself has, where its host translates
	// that to Address before the tap, and back behind it; the zero value if it does not.
	Bound netip.AddrPort
	// ISN is the initial sequence number, valid if HasISN.
	ISN    uint32
	HasISN bool
	// Lane and Socket are the experiment's names for this end, empty if no call of
	// the run worked on it: "client", "c".
	Lane, Socket string
	// Names are all names that the socket of this end had, the one above first: dup(2)
	// gives it another, and a forked lane has those of the lane that forked it.
	Names []SocketName
	// States are the TCP states of this end, in order: State.Known says which are traced
	// and which inferred.
	States []State
	// StatesDoubt is why States may not be right, or not all: see Timeline.StateDoubt.
	StatesDoubt string
}

// socketAddress is what the end's own kernel calls its address.
func (e *End) socketAddress() netip.AddrPort {
	if e.Bound.IsValid() {
		return e.Bound
	}
	return e.Address
}

// SocketName is a name of a socket: names are a lane's own.
type SocketName struct{ Lane, Socket string }

// EndRef names one end of one connection of a timeline.
type EndRef struct {
	// Connection indexes Timeline.Connections; End is 0 for the client, 1 for the server.
	Connection, End int
}

// Ends of a connection, as EndRef.End counts them.
const (
	ClientEnd = 0
	ServerEnd = 1
)

// End is one end of the connection: ClientEnd or ServerEnd.
func (c *Connection) End(end int) *End {
	if end == ServerEnd {
		return &c.Server
	}
	return &c.Client
}

// EndsOf lists the ends of connections that a lane's socket was, in the order of the
// connections: several if the name was used again, as in a loop.
func (t *Timeline) EndsOf(lane, socket string) []EndRef {
	var refs []EndRef
	for i := range t.Connections {
		for end := range 2 {
			if t.Connections[i].End(end).named(lane, socket) {
				refs = append(refs, EndRef{i, end})
			}
		}
	}
	return refs
}

// EndOf is the first of EndsOf; ok is false if there is none.
func (t *Timeline) EndOf(lane, socket string) (connection, end int, ok bool) {
	refs := t.EndsOf(lane, socket)
	if len(refs) == 0 {
		return -1, -1, false
	}
	return refs[0].Connection, refs[0].End, true
}

// named reports whether a lane knew the end by a name.
func (e *End) named(lane, socket string) bool {
	if socket == "" {
		return false
	}
	for _, n := range e.Names {
		if n == (SocketName{lane, socket}) {
			return true
		}
	}
	return e.Lane == lane && e.Socket == socket
}

// State is a state of one end of a connection, RFC 9293 3.3.2.
type State struct {
	// Name is as Linux spells it: "FIN_WAIT1".
	Name string
	// Moment brought it about; -1 where nothing on record did.
	Moment int
	// Known says how it is known: KnownTraced, KnownPacket, KnownCall, KnownDump, KnownOrder.
	Known string
	// After is the last moment at which the socket surely was not yet in it, By the first
	// at which it surely had come to it; -1 if nothing bounds that side. Both are -1 for a
	// state whose Moment is the very one (KnownTraced).
	After, By int
}

// How a state is known.
const (
	// KnownTraced: the kernel said so, at the moment at which it came to the state.
	KnownTraced = "traced"
	// KnownPacket and KnownCall are inferred by the diagram of RFC 9293 from what was
	// sent, received and called.
	KnownPacket = "packet"
	KnownCall   = "call"
	// KnownDump was read with sock_diag(7).
	KnownDump = "dump"
	// KnownOrder must have been passed on the way to the next one.
	KnownOrder = "order"
)

// Segment is one transmission of a packet: where it left and where it arrived.
//
// A tap sees what the host's offloads made of the wire: one departure may be cut
// into several arrivals (TSO), and several departures may be one arrival (GRO).
// There is a Segment for each pair then, and they share the moment.
type Segment struct {
	// FromClient is its direction.
	FromClient bool
	// Departure and Arrival index Timeline.Moments; -1 if that tap did not see it.
	Departure, Arrival int
	// OneWay is the time from departure to arrival on the lab's clock, surely within
	// OneWayErr. Both are nanoseconds; OneWayErr is Unbounded if one end is missing.
	OneWay, OneWayErr int64
	// Copy is 0 for the first transmission of these sequence numbers with these
	// flags, 1 for its first retransmission, and so on.
	Copy int
	// Ambiguous marks a pair that is only the likeliest: other transmissions looked
	// the same to both taps. It proves nothing of order and tells the clocks nothing. Neither
	// does one whose stamps are too loose to order what is beside them, as near a step.
	Ambiguous bool
	// Duplicate marks an arrival that no departure of its own explains: the network
	// delivered a packet twice.
	Duplicate bool
	// Lost marks a departure that reached no tap at the other end, where that tap
	// lost nothing.
	Lost bool
	// Impossible marks an arrival that is before its departure for every offset
	// inside the bound. It is never bent into order.
	Impossible bool
	// Traces are the moments at which a kernel said something of it: the drop that lost it,
	// the retransmission or the reset that it is. See Timeline.Drop.
	Traces []int
}

// Ruling is one of the four verdicts.
type Ruling int

// The four verdicts.
const (
	Pass Ruling = iota + 1
	Fail
	CannotTell
	NotReproduced
)

// String is the verdict as people read it: "pass", "fail", "cannot tell",
// "not reproduced".
func (r Ruling) String() string {
	switch r {
	case Pass:
		return "pass"
	case Fail:
		return "fail"
	case CannotTell:
		return "cannot tell"
	case NotReproduced:
		return "not reproduced"
	}
	return "no verdict"
}

// Verdict is the ruling on one expectation in one repetition.
type Verdict struct {
	// Expectation is its text as a person wrote it.
	Expectation string
	Ruling      Ruling
	// Reason is empty for a plain pass; otherwise one sentence with the values.
	Reason string
	// Moments that decided it, indices into Timeline.Moments.
	Moments []int
}
