// Package trace is told by the kernel what its sockets and packets go through: programs
// on its tracepoints see every change of a TCP state, what is sent again, resets and
// drops with their reasons, in the moment in which it happens.
//
// The contract is about completeness, as that of package packet. Every record that
// the programs made for the run's flows was submitted to the ring, and becomes a Trace
// event or a counted omission; or there was no room, and it is part of a Loss event
// with the exact number. Flush returns when every record begun before it has been
// handed over or reported, which is how an agent knows that a repetition's events are all there.
//
// The programs look at one network namespace and at the sockets of Config.Flows alone.
// Each stamp is CLOCK_MONOTONIC, read once in the tracepoint. The order of the events is
// that of the ring, which is that of the times on each processor, not across them.
//
// Every tracepoint is optional but that of the states: what this kernel does not have
// is said by Missing. DESIGN.md tells what each event means, and what it costs.
package trace

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"syncline/agent/kernel"
	synclinev1 "syncline/proto/syncline/v1"
)

// Bounds of Config.RingBytes.
const (
	// DefaultRingBytes holds some 500,000 states: those of the busiest loop of connect
	// and close that two cores can run, for more than a second.
	DefaultRingBytes = 32 << 20
	MinRingBytes     = 4 << 10
	MaxRingBytes     = 1 << 30
)

// Config says what to trace.
type Config struct {
	// Flows are the sockets of the run, and by the same rule its packets: TCP and UDP
	// with both addresses among the run's and one of its ports; of ICMP what goes
	// between two of its addresses.
	Flows kernel.Flows
	// Own are the addresses of this host among those of Flows. They tell which end of a
	// packet is local; and where hosts share a network namespace, which sockets are this
	// one's: those of another address of Flows are left out. Empty: all are this host's.
	Own []netip.Addr
	// Kinds are the tracepoints to listen to; empty is Kinds().
	Kinds []synclinev1.TraceKind
	// RingBytes is the size of the ring that all processors write to: a power of two,
	// and at least a page. 0 means DefaultRingBytes. The kernel allocates it at once.
	RingBytes int
}

// Kinds are all tracepoints this package knows.
func Kinds() []synclinev1.TraceKind {
	return append(StateKinds(), synclinev1.TraceKind_TRACE_KIND_DROP)
}

// StateKinds are those that tell of sockets: Kinds without DROP.
func StateKinds() []synclinev1.TraceKind {
	return []synclinev1.TraceKind{
		synclinev1.TraceKind_TRACE_KIND_STATE, synclinev1.TraceKind_TRACE_KIND_RETRANSMIT,
		synclinev1.TraceKind_TRACE_KIND_RETRANSMIT_SYNACK, synclinev1.TraceKind_TRACE_KIND_RESET_SENT,
		synclinev1.TraceKind_TRACE_KIND_RESET_RECEIVED, synclinev1.TraceKind_TRACE_KIND_DESTROYED,
		synclinev1.TraceKind_TRACE_KIND_ERROR, synclinev1.TraceKind_TRACE_KIND_READY,
	}
}

func (cfg *Config) check() error {
	for _, r := range cfg.Flows.Ranges {
		if r.Low > r.High {
			return fmt.Errorf("trace: the range of ports %d to %d ends before it begins", r.Low, r.High)
		}
	}
	known := Kinds()
	for _, k := range cfg.Kinds {
		if !slices.Contains(known, k) {
			return fmt.Errorf("trace: %v is no tracepoint that this agent knows", k)
		}
	}
	ring := cfg.RingBytes
	switch {
	case len(cfg.Flows.Addresses) == 0:
		return errors.New("trace: the run's flows have no address")
	case ring != 0 && (ring < MinRingBytes || ring > MaxRingBytes || ring&(ring-1) != 0):
		return fmt.Errorf("trace: a ring of %d bytes is no power of two between %d and %d", ring, MinRingBytes, MaxRingBytes)
	}
	return nil
}

// Missing is a tracepoint that was asked for and is not to be had on this kernel.
type Missing struct {
	Kind   synclinev1.TraceKind
	Reason error
}

// String is "retransmit_synack: …".
func (m Missing) String() string {
	return fmt.Sprintf("%s: %v", strings.ToLower(strings.TrimPrefix(m.Kind.String(), "TRACE_KIND_")), m.Reason)
}

// Counts are the programs' records since Open, by what became of them.
type Counts struct {
	// Begun are all; Submitted got a place in the ring, Lost did not; all by the kernel's
	// side. Begun is the sum of the others while no program is under way.
	Begun, Submitted, Lost uint64
	// Nested events, of any socket of this machine, came in an interrupt while the program
	// for another event of its kind was under way on the same processor, and the kernel
	// left that program out.
	Nested uint64
	// Read were taken from the ring; Omitted of those made no event, being no drops of
	// the experiment's packets.
	Read, Omitted uint64
}

// ErrUnavailable is what errors.Is finds in the error of Open and Probe when this
// process cannot listen to tracepoints on this host.
var ErrUnavailable = errors.New("the kernel's tracepoints cannot be listened to here")

// Unavailable says why they cannot, and what to do about it.
type Unavailable struct {
	// Reason is the call that was refused, with its errno, or what is missing.
	Reason error
	Remedy string
}

func (u *Unavailable) Error() string {
	return fmt.Sprintf("%v: %v; %s", ErrUnavailable, u.Reason, u.Remedy)
}

func (u *Unavailable) Unwrap() []error { return []error{ErrUnavailable, u.Reason} }
