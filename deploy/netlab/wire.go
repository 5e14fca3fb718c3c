package netlab

import (
	"fmt"
	"time"
)

// Limits of a Direction. They keep a slip of the pen from looking like a dead network,
// and what is under way from filling the machine's memory.
const (
	MaxDelay = time.Minute
	MinRate  = 1_000           // bits a second
	MaxRate  = 100_000_000_000 // bits a second
	// MaxBytesInFlight is the most that one direction holds, counting for each frame the
	// memory that it takes, which is more than its bytes if it is short. What arrives
	// beyond it is dropped and counted as overflowed.
	MaxBytesInFlight = 64 << 20
)

// DefaultLimit is the queue in front of a slow line, in frames.
const DefaultLimit = 1000

// Wire is what lies between a host's eth0 and the switch. The network by which the
// lab's own processes talk has no wire.
//
// A frame from host A to host B goes over the Out of A and then over the In of B; each has
// its full effect. A delay that is to count once on every path is therefore given to one of
// the two directions only.
type Wire struct {
	// Out is the way from the host to the switch, In the way back.
	Out, In Direction
	// Seed makes the random choices the same for the same sequence of frames; 0 takes
	// one by chance, the same for all wires of the lab, which Lab.Wires tells. Every direction
	// of every wire chooses apart.
	Seed uint64
}

// Direction is one way of a wire. The zero value changes nothing.
//
// A frame first waits until the line has sent what came before it (Rate), is then under way
// for Delay ± Jitter, and arrives unless it is lost. No frame arrives sooner than that; later it
// may be by what Lab.Wires reports as lateness.
type Direction struct {
	// Delay is how long a frame is under way, at most MaxDelay.
	Delay time.Duration
	// Jitter makes every frame's delay a random one, uniform between Delay − Jitter and
	// Delay + Jitter; it is at most Delay. Frames keep their order: one that would
	// overtake arrives together with the one before it. Close to each other (closer than
	// Jitter) frames therefore arrive later than Delay on average.
	Jitter time.Duration
	// Loss is the probability, 0 to 1, that a frame is lost. It has taken its turn on
	// the line before.
	Loss float64
	// Reorder is the probability, 0 to 1, that a frame skips the delay and so overtakes
	// what is under way, as netem has it. It needs a Delay.
	Reorder float64
	// Rate is how many bits a second the line sends, counting each frame as a tap sees
	// it, from the first byte of its Ethernet header; 0 sends at once.
	Rate uint64
	// Limit and LimitBytes bound what waits for a line with a Rate, the frame that is being
	// sent included; what arrives when it is full is dropped. 0 is DefaultLimit frames, and no
	// bound on bytes.
	Limit, LimitBytes int
}

// Check reports what is wrong with the direction.
func (d Direction) Check() error {
	switch {
	case d.Delay < 0 || d.Delay > MaxDelay:
		return fmt.Errorf("the delay must be 0 to %v, not %v", MaxDelay, d.Delay)
	case d.Jitter < 0 || d.Jitter > d.Delay:
		return fmt.Errorf("the jitter must be 0 to the delay of %v, not %v: nothing arrives before it left", d.Delay, d.Jitter)
	case !(d.Loss >= 0 && d.Loss <= 1):
		return fmt.Errorf("the loss must be a probability of 0 to 1, not %v", d.Loss)
	case !(d.Reorder >= 0 && d.Reorder <= 1):
		return fmt.Errorf("the reordering must be a probability of 0 to 1, not %v", d.Reorder)
	case d.Reorder > 0 && d.Delay == 0:
		return fmt.Errorf("reordering needs a delay: a frame overtakes by skipping it")
	case d.Rate != 0 && (d.Rate < MinRate || d.Rate > MaxRate):
		return fmt.Errorf("the rate must be %d to %d bits a second, not %d", MinRate, uint64(MaxRate), d.Rate)
	case d.Limit < 0 || d.LimitBytes < 0:
		return fmt.Errorf("the limit of the queue must not be negative, not %d frames and %d bytes", d.Limit, d.LimitBytes)
	case d.Rate == 0 && (d.Limit != 0 || d.LimitBytes != 0):
		return fmt.Errorf("a limit of the queue needs a rate: nothing waits for a line that sends at once")
	}
	return nil
}

// Mechanism is what moves the frames of a lab's wires.
type Mechanism int

const (
	// AnyMechanism is netem where the kernel has it and it can do what is asked, else
	// this process.
	AnyMechanism Mechanism = iota
	// UserSpace is a thread of this process: it needs /dev/net/tun, keeps a Seed, counts
	// what was lost apart from what had no room, and knows how late it was.
	UserSpace
	// Netem is the kernel's queueing discipline. It takes its chances by itself, counts
	// what it lost and what had no room together, and keeps order as well as veth pairs
	// do: frames of different processors may overtake in rare cases.
	Netem
)

func (m Mechanism) String() string {
	switch m {
	case UserSpace:
		return "user space"
	case Netem:
		return "netem"
	}
	return "any"
}

// WireReport says what a host's wire has done so far.
type WireReport struct {
	Host string
	// Wire is as it was asked for, with the Seed that was taken.
	Wire      Wire
	Mechanism Mechanism
	Out, In   Counts
	// Missed counts frames of the host that the kernel dropped before the wire could take
	// them, because this process was not given a processor for too long. They are not
	// in Out.
	Missed uint64
}

// Counts are what became of the frames of one direction: every one that was Taken is in
// exactly one of the others.
type Counts struct {
	Taken     uint64
	Delivered uint64
	// Lost went by chance, Overflowed for want of room in the queue. Of netem, which
	// does not tell them apart, Lost is both.
	Lost, Overflowed uint64
	// Refused arrived where nobody took them: the host's link was down or gone, or the
	// switch does not forward such frames (IEEE 802.1D, table 7-10).
	Refused uint64
	// InFlight are waiting for the line or under way.
	InFlight uint64
	// Late says how much later than meant frames were handed over; zero for netem.
	Late Lateness
}

// checkWires looks at what is asked of the wires and of the lab together.
func (p *plan) checkWires() error {
	for name, w := range p.Wires {
		if !p.has(name) {
			return fmt.Errorf("netlab: a wire for %q, which is no host of the lab", name)
		}
		for _, d := range []struct {
			way string
			Direction
		}{{"from", w.Out}, {"to", w.In}} {
			if err := d.Check(); err != nil {
				return fmt.Errorf("netlab: the wire %s host %s: %w", d.way, name, err)
			}
		}
		if err := p.offersMechanism(name, w); err != nil {
			return err
		}
	}
	if p.Mechanism < AnyMechanism || p.Mechanism > Netem {
		return fmt.Errorf("netlab: no mechanism %d", p.Mechanism)
	}
	if len(p.Wires) > 0 && p.MTU > maxWireMTU {
		return fmt.Errorf("netlab: the MTU of a lab with wires must be at most %d, not %d", maxWireMTU, p.MTU)
	}
	return nil
}

// maxWireMTU is a TAP's: 65535 less the Ethernet header.
const maxWireMTU = 65521

func (p *plan) has(host string) bool {
	for _, name := range p.Hosts {
		if name == host {
			return true
		}
	}
	return false
}

func (p *plan) offersMechanism(host string, w Wire) error {
	if p.Mechanism == Netem && !netemCan(w) {
		return fmt.Errorf("netlab: the wire of host %s: netem keeps no seed and counts no bytes in its queue; leave the mechanism open", host)
	}
	return nil
}

// netemCan reports whether netem can do what is asked of a wire.
func netemCan(w Wire) bool {
	return w.Seed == 0 && w.Out.LimitBytes == 0 && w.In.LimitBytes == 0
}
