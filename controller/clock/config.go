package clock

import (
	"math"
	"slices"
)

// DefaultDriftPPM is the bound on relative drift that a Config with none gets: two
// quartz clocks of 100 parts per million each. CLOCK_MONOTONIC follows the slewing
// of an NTP daemon, so a host whose daemon may slew faster needs more.
const DefaultDriftPPM = 200

// DefaultWanderPPM is the bound on the wander that a Config with none gets, in parts
// per million and second. Quartz that warms up does a tenth of it.
const DefaultWanderPPM = 1

// defaultUntoldPPB is what every host of a Config that does not say leaves untold: what is
// found within a second by reading CLOCK_MONOTONIC beside CLOCK_MONOTONIC_RAW, to about
// 100 ns each, with a microsecond of dither of the former.
const defaultUntoldPPB = 750

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
	// rates may differ by what UntoldPPB of both hosts gives, however close in time.
	WanderPPM float64
	// UntoldPPB is, by host, by how much the rate of its clock may have changed at once, in
	// parts per billion, without a Change that says so. 0 or less, or no entry: nobody
	// watched, and of rates against that clock DriftPPM alone is known. Of hosts that read
	// one clock the one that saw best counts, since all their Changes do. If the whole slice
	// is nil each host leaves 750 untold, as an agent on a machine that is not busy does.
	UntoldPPB []int64
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
	return drift(wholePPB(ppm))
}

// wander is in parts per billion per second; 0 if nothing is assumed of it.
func (c Config) wander() uint64 {
	switch {
	case c.WanderPPM < 0:
		return 0
	case c.WanderPPM == 0:
		return DefaultWanderPPM * 1000
	}
	return wholePPB(c.WanderPPM)
}

// wholePPB is a bound in parts per million as one in parts per billion, rounded up.
func wholePPB(ppm float64) uint64 { return uint64(max(1, min(math.Ceil(ppm*1000), perUnit))) }

// untold is UntoldPPB by clock; 0 where nobody watched.
func (c Config) untold(clock []int) []uint64 {
	untold := make([]uint64, c.Hosts)
	for h := range untold {
		ppb := int64(defaultUntoldPPB)
		if c.UntoldPPB != nil {
			ppb = 0
			if h < len(c.UntoldPPB) {
				ppb = min(c.UntoldPPB[h], perUnit)
			}
		}
		if of := &untold[clock[h]]; ppb > 0 && (*of == 0 || uint64(ppb) < *of) {
			*of = uint64(ppb)
		}
	}
	return untold
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
