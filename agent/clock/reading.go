package clock

// Pair is a reading of another clock beside CLOCK_MONOTONIC: that clock showed Value at a
// moment within Err nanoseconds of Monotonic.
type Pair struct {
	Monotonic, Value, Err int64
}

// ahead is how far the other clock is ahead of CLOCK_MONOTONIC, surely within Err.
func (p Pair) ahead() int64 { return p.Value - p.Monotonic }

// Reading is one look at all clocks of a host. The pairs are taken one after the other;
// each has a moment of its own.
type Reading struct {
	// Sample has CLOCK_REALTIME.
	Sample
	// Raw is CLOCK_MONOTONIC_RAW, which nobody steers, and Boot CLOCK_BOOTTIME, which goes
	// on in suspend. Nil where they cannot be read.
	Raw, Boot *Pair
	// Kernel is what adjtimex(2) says; nil where it says nothing.
	Kernel *Discipline
}

// Discipline is how the kernel steers its clocks, as adjtimex(2) tells, which is asked to
// change nothing.
type Discipline struct {
	// Rate is how much faster than the hardware CLOCK_MONOTONIC is made to go, parts per
	// billion: frequency and tick. A slew that is under way besides (adjtime(3), the
	// kernel's phase-locked loop) is not in it.
	Rate int64
	// Leap is by how much CLOCK_REALTIME will be stepped at the end of the day, in
	// nanoseconds: a second back, a second forward, or 0.
	Leap int64
	// Leaping is set while a leap second is, and after it until whoever announced it takes
	// that back.
	Leaping bool
	// TAI is how far TAI is ahead of UTC, in seconds.
	TAI int64
}

// RawAt is CLOCK_MONOTONIC_RAW at the moment of the reading's Monotonic, within err
// nanoseconds; not ok if it could not be read.
func (r *Reading) RawAt() (raw, err int64, ok bool) {
	if r.Raw == nil {
		return 0, 0, false
	}
	apart := abs(r.Raw.Monotonic - r.Monotonic)
	return r.Monotonic + r.Raw.ahead(), r.Raw.Err + apart/maxSlew + 1, true
}
