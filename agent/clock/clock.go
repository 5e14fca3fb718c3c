// Package clock reads the clocks of the host it runs on, and moves stamps from one
// of them onto the other.
//
// Everything an agent reports carries CLOCK_MONOTONIC, but the kernel stamps packets
// with CLOCK_REALTIME. A Map moves those stamps across, from samples of both clocks
// taken around them, each with a bound that surely holds the truth. A Keeper tells what
// happens to the clocks meanwhile: steps, leap seconds, suspends, changes of rate. A Test is a
// clock that is wrong in a known way. No clock is ever set here.
//
// Why CLOCK_MONOTONIC and not another stands in the agent's DESIGN.md.
package clock

import (
	"time"
	_ "unsafe" // for go:linkname
)

// nanotime is the clock_gettime(CLOCK_MONOTONIC) of the vDSO. The runtime promises
// to keep this name and signature for those outside who link to it (go.dev/issue/67401).
//
//go:linkname nanotime runtime.nanotime
//go:noescape
func nanotime() int64

// Now is CLOCK_MONOTONIC of this host in nanoseconds. Any goroutine may call it.
//
// It reads the clock through the vDSO, in about 40 ns. The obvious unix.ClockGettime
// is a real system call of about 250 ns, longer than the phases of a handshake on a
// veth pair, and time.Now gives a monotonic part only as a difference to the start of
// the process, which no other clock reading of the host can be compared with.
func Now() int64 { return nanotime() }

// Sample is one reading of both clocks: CLOCK_REALTIME was Realtime (nanoseconds
// since 1970) at a moment within Err nanoseconds of Monotonic.
type Sample struct {
	Monotonic, Realtime, Err int64
}

// sandwiches is how often Read tries. The first one pays for cold caches, and any may
// be cut open by an interrupt; the narrowest of five is rarely either.
const sandwiches = 5

// Read samples both clocks. Each try reads CLOCK_REALTIME between two readings of
// CLOCK_MONOTONIC, so that half their distance bounds the error; the narrowest try
// is the answer. It takes under a microsecond. Any goroutine may call it.
func Read() Sample {
	best := sandwich()
	for range sandwiches - 1 {
		if s := sandwich(); s.Err < best.Err {
			best = s
		}
	}
	return best
}

func sandwich() Sample {
	before := nanotime()
	realtime := time.Now().UnixNano()
	after := nanotime()
	return Sample{
		Monotonic: before + (after-before)/2,
		Realtime:  realtime,
		Err:       (after - before + 1) / 2,
	}
}
