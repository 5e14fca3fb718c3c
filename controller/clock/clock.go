// Package clock puts the clocks of several hosts on one, and says how surely.
//
// Everything here is pure: no host's clock is read. Every message that went from
// one host to another gives one inequality on the offset of their clocks, since
// it cannot have arrived before it left. A Model holds those inequalities and a
// bound on the drift of the clocks, and answers with an interval that surely holds
// the true offset, never with a bare number. DESIGN.md has the reasoning.
package clock

// Local is a time of one host's own clock: nanoseconds of its CLOCK_MONOTONIC.
// Local times of two hosts must never be compared or subtracted; only a Model
// converts them.
type Local int64

// Lab is a time of the run's common clock: nanoseconds of the reference host's
// CLOCK_MONOTONIC. A Lab time is worth nothing without its error; see Stamp.
type Lab int64

// Stamp is a moment on the run's common clock that is surely within
// [At-Err, At+Err]. Err is in nanoseconds; 0 on the reference host, and Unbounded
// where nothing is known.
type Stamp struct {
	At  Lab
	Err int64
}

// Unbounded is the error of a stamp of a host whose clock nothing ties to the
// reference's.
const Unbounded = int64(1) << 62

// Bound is an interval that surely holds the offset of a host's clock: its Local
// time minus the reference host's at the same instant, in nanoseconds. Lo is
// -Unbounded and Hi is Unbounded where no message bounds that side.
type Bound struct {
	Lo, Hi int64
}

// Known reports whether both sides are bounded.
func (b Bound) Known() bool { return b.Lo > -Unbounded && b.Hi < Unbounded }

// Mid is the middle of the interval, the best single estimate here. It is shifted
// by half the asymmetry of the path, and no timestamp can show that.
func (b Bound) Mid() int64 { return b.Lo + (b.Hi-b.Lo)/2 }

// Err is half the width, rounded up.
func (b Bound) Err() int64 { return (b.Hi - b.Lo + 1) / 2 }

// Message is one segment seen at both ends, or anything else that cannot have
// arrived before it left: it left host From at Sent of its clock
// and reached host To at Received of its clock. SentErr and ReceivedErr are the
// half-widths of the two stamps, in nanoseconds. Hosts are indices.
type Message struct {
	From, To             int
	Sent, Received       Local
	SentErr, ReceivedErr int64
	// Method is the one by which both ends are known; 0 counts in the whole model and
	// in no method alone.
	Method Methods
}
