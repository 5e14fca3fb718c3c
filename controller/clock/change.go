package clock

// Change is what a host reported of its own clock: at some moment from Since to At,
// both included and both of that clock, it did not go on as it had gone before.
type Change struct {
	Host      int
	Since, At Local
	// Stopped: the clock stood still or jumped, as CLOCK_MONOTONIC stands still over a
	// suspend. What was known before then says nothing of after, nor the other way
	// round. Otherwise the clock went on, but its rate may have changed at once, as when
	// a daemon of NTP steers it: the bound on the drift holds across the change, the
	// bound on the wander does not.
	Stopped bool
}
