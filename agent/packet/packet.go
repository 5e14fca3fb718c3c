// Package packet hears the packets of a run: what went over each interface of the
// run's path, which way, and when by the kernel's own stamp.
//
// The contract is about completeness. A Capture accounts for every frame that the
// kernel's filter let through: it became a Packet event or part of a Loss event with
// its exact number, and Frames tells both sums. Drain returns only when no frame
// that the kernel has counted is still unread, which is how an agent knows that it
// has seen the last packet of a repetition. Nothing outside the run's flows enters:
// the filter is attached before the socket is tied to an interface.
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
	// Addresses are the hosts of the run. A packet belongs to the run if both its
	// addresses are among them and one of its ports is among Ports.
	Addresses []netip.Addr
	Ports     []uint16
	// SnapLength is how many bytes of payload to keep; 0 keeps headers only.
	SnapLength int
	// RingBytes is the size of each interface's ring, which the kernel locks in
	// memory. 0 means DefaultRingBytes.
	RingBytes int
}

func (cfg *Config) check() error {
	switch {
	case len(cfg.Interfaces) == 0:
		return errors.New("packet: no interface to capture on")
	case len(cfg.Addresses) == 0 || len(cfg.Ports) == 0:
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

// segments is how many TCP segments of at most size bytes a payload makes. A record
// without payload, or of an unknown size, is one segment.
func segments(payload, size uint32) uint32 {
	if size == 0 || payload <= size {
		return 1
	}
	return uint32((uint64(payload) + uint64(size) - 1) / uint64(size) & math.MaxUint32)
}
