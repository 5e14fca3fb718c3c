// Package packet hears the packets of a run: what went over each interface of the
// run's path, which way, and when by the kernel's own stamp.
//
// The contract is about completeness. A Capture accounts for every frame that the
// kernel's filter let through: it became a Packet event or part of a Loss event with
// its exact number, and Frames tells both sums. Drain returns only when no frame
// that the kernel has counted is still unread, which is how an agent knows that it
// has seen the last packet of a repetition. Nothing outside the run's flows enters:
// the filter is attached before the socket is tied to an interface. Of a packet in
// fragments the first alone is of the run, since the others have no ports.
//
// Every stamp is the kernel's CLOCK_REALTIME, kept as it is, and moved to
// CLOCK_MONOTONIC with a bound that surely holds the truth. DESIGN.md has the
// reasoning and the figures.
package packet

import (
	"errors"
	"fmt"
	"math"
	"net/netip"

	"syncline/agent/clock"
)

// Bounds of Config.RingBytes.
const (
	// DefaultRingBytes holds some 60,000 headers: more than 0.1 s of the busiest
	// loop of connect and close that one core can run.
	DefaultRingBytes = 16 << 20
	// MinRingBytes is four blocks of one page.
	MinRingBytes = 16 << 10
	MaxRingBytes = 1 << 30
)

// MaxSnapLength bounds Config.SnapLength, so that a block of the ring always has
// room for several frames.
const MaxSnapLength = 64 << 10

// Config says what to hear, and where.
type Config struct {
	// Interfaces are the names of all interfaces of the run's path; see Interfaces.
	// Each gets a ring of its own.
	Interfaces []string
	// Addresses are the hosts of the run. TCP and UDP belong to the run if both
	// addresses are among them and one of the ports is among Ports or within Ranges.
	Addresses []netip.Addr
	Ports     []uint16
	Ranges    []PortRange
	// ICMP asks for ICMP and ICMPv6 too, neighbour discovery left out: all between two
	// of Addresses; besides, errors that quote a packet between two of Addresses,
	// whoever sends them, and echo to or from one of Addresses.
	ICMP bool
	// ARP asks for ARP requests and replies, and IPv6 neighbour solicitations and
	// advertisements (ICMPv6 types 135 and 136), by or for one of Addresses.
	ARP bool
	// SnapLength is how many bytes of payload to keep; 0 keeps headers only. What an
	// ICMP error quotes, and what a neighbour is asked, is kept up to 128 bytes anyway.
	SnapLength int
	// Prompt makes a packet an event within a few milliseconds, for runs in which
	// something waits for a packet, at the price of up to 1000 wake-ups a second for
	// each interface. Without it a packet of a busy run may wait some 250 ms.
	Prompt bool
	// RingBytes is the size of each interface's ring, which the kernel locks in
	// memory. 0 means DefaultRingBytes.
	RingBytes int
	// Clock moves stamps and samples of CLOCK_REALTIME as the steps of a test clock would;
	// nil leaves them as the kernel gave them.
	Clock *clock.Test
}

// PortRange is Low to High, both included.
type PortRange struct{ Low, High uint16 }

func (cfg *Config) check() error {
	for _, r := range cfg.Ranges {
		if r.Low > r.High {
			return fmt.Errorf("packet: the range of ports %d to %d ends before it begins", r.Low, r.High)
		}
	}
	noPorts := len(cfg.Ports) == 0 && len(cfg.Ranges) == 0
	switch {
	case len(cfg.Interfaces) == 0:
		return errors.New("packet: no interface to capture on")
	case len(cfg.Addresses) == 0 || noPorts && !cfg.ICMP && !cfg.ARP:
		return errors.New("packet: the run's flows have no address or no port")
	case cfg.SnapLength < 0 || cfg.SnapLength > MaxSnapLength:
		return fmt.Errorf("packet: snap length %d is not between 0 and %d", cfg.SnapLength, MaxSnapLength)
	case cfg.RingBytes != 0 && (cfg.RingBytes < MinRingBytes || cfg.RingBytes > MaxRingBytes):
		return fmt.Errorf("packet: ring of %d bytes is not between %d and %d", cfg.RingBytes, MinRingBytes, MaxRingBytes)
	}
	return nil
}

// ErrUnavailable is what errors.Is finds in the error of Open and Available when
// packets cannot be captured on this host by this process.
var ErrUnavailable = errors.New("packets cannot be captured here")

// Unavailable says why packets cannot be captured here, and what to do about it.
type Unavailable struct {
	// Reason is the call that was refused, with its errno.
	Reason error
	Remedy string
}

func (u *Unavailable) Error() string {
	return fmt.Sprintf("%v: %v; %s", ErrUnavailable, u.Reason, u.Remedy)
}

func (u *Unavailable) Unwrap() []error { return []error{ErrUnavailable, u.Reason} }

// segments is how many segments, or datagrams, of at most size bytes a payload makes. A record
// without payload, or of an unknown size, is one segment.
func segments(payload, size uint32) uint32 {
	if size == 0 || payload <= size {
		return 1
	}
	return uint32((uint64(payload) + uint64(size) - 1) / uint64(size) & math.MaxUint32)
}
