package clock

import "slices"

// DefaultDriftPPM is the bound on relative drift that a Config with none gets: two
// quartz clocks of 100 parts per million each. CLOCK_MONOTONIC follows the slewing
// of an NTP daemon, so a host whose daemon may slew faster needs more.
const DefaultDriftPPM = 200

// DefaultWanderPPM is the bound on the wander that a Config with none gets, in parts
// per million and second. Quartz that warms up does a tenth of it.
const DefaultWanderPPM = 1

// rateStepPPM allows for changes of a rate at once that nobody reports, because they are
// too small to be seen: what an agent finds within a second by reading CLOCK_MONOTONIC beside
// CLOCK_MONOTONIC_RAW, to about 100 ns, with a microsecond of dither of the former.
const rateStepPPM = 1.5

// Config says what a Model is about.
type Config struct {
	// Hosts is how many there are; their indices go from 0.
	Hosts int
	// Reference is the host whose clock is the lab's.
	Reference int
	// DriftPPM bounds how much any clock may gain on any other, in parts per
	// million of time; 0 means DefaultDriftPPM.
	DriftPPM float64
	// WanderPPM bounds how fast the rate of one clock against another changes, in parts
	// per million per second, except where Changes say that it was changed; 0 means
	// DefaultWanderPPM, and less than 0 that nothing but DriftPPM is assumed. Beside it, every two
	// rates may differ by one and a half parts per million, however close in time.
	WanderPPM float64
	// Changes is what hosts reported of their own clocks, in any order.
	Changes []Change
	// ClockIDs names the clock that each host reads. Two hosts with the same id,
	// other than "", read the very same clock: their offset is 0. May be nil.
	ClockIDs []string
}

func (c Config) drift() drift {
	ppm := c.DriftPPM
	if ppm <= 0 {
		ppm = DefaultDriftPPM
	}
	return drift(max(1, min(ppm*1000, perUnit)))
}

// wander is in parts per billion per second; 0 if nothing is assumed of it.
func (c Config) wander() uint64 {
	switch {
	case c.WanderPPM < 0:
		return 0
	case c.WanderPPM == 0:
		return DefaultWanderPPM * 1000
	}
	return uint64(max(1, min(c.WanderPPM*1000, perUnit)))
}

func (c Config) steadiness() steadiness {
	return steadiness{
		drift:  rateOf(uint64(c.drift())),
		wander: rateOf(c.wander()),
		step:   rateOf(rateStepPPM * 1000),
	}
}

// clocks maps each host to its clock: the lowest host that reads it.
func (c Config) clocks() []int {
	clock := make([]int, c.Hosts)
	for h := range clock {
		clock[h] = h
		if h < len(c.ClockIDs) && c.ClockIDs[h] != "" {
			clock[h] = slices.Index(c.ClockIDs, c.ClockIDs[h])
		}
	}
	return clock
}

// changes are the reported ones by clock.
func (c Config) changes(clock []int) [][]Change {
	by := make([][]Change, c.Hosts)
	for _, change := range c.Changes {
		by[clock[change.Host]] = append(by[clock[change.Host]], change)
	}
	return by
}
