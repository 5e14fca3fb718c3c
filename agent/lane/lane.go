// Package lane runs one lane of an experiment: system calls on sockets, one after
// another, on an OS thread that does nothing else.
//
// Every call is a real, blocking system call. It is stamped with CLOCK_MONOTONIC
// right before the thread enters the kernel and right after it is back, and is made
// once: nothing is retried, no socket is made non-blocking, no socket option is set
// that the experiment did not ask for. A call that blocks can be ended by the lab's
// limit or by the end of the repetition, which leaves its socket as it is and is
// never mistaken for an errno. A lane leaves no descriptor open.
//
// The calls are Linux's. Elsewhere the package builds, and Run returns an error.
// DESIGN.md tells about threads, stamps and signals.
package lane

import (
	"errors"
	"net/netip"

	synclinev1 "syncline/proto/syncline/v1"
)

// MaxReceive is the most bytes one recv may ask for: the buffer is set aside before
// the lane's first call.
const MaxReceive = 64 << 20

// ErrUnsupported is what Run returns where there is no Linux.
var ErrUnsupported = errors.New("lanes run on Linux only")

// Config is all a lane needs. Every function in it is called on the lane's thread,
// between two calls of the lane, and delays the next one.
type Config struct {
	// Lane must not change while it runs.
	Lane *synclinev1.Lane
	// Board has the signals of the repetition, and must know the lane.
	Board *Board
	// Prepare is called before everything else, with the thread already locked, and
	// may change the thread: setns(2), sched_setaffinity(2). The thread dies with the
	// lane. Nil does nothing; an error ends the lane.
	Prepare func() error
	// Allow is asked before each connect, with the address the kernel will be given.
	// Its error is the failure of the call, which is not made then. Nil allows all.
	Allow func(netip.AddrPort) error
	// Emit takes each call once it is through. The event is the receiver's from then
	// on; TimeNs and Call are set, number and repetition are not. It must not block.
	Emit func(*synclinev1.Event)
	// Signalled tells of each signal of the lane, right after it was posted on Board,
	// so that other hosts can be told. It must not block. Nil does nothing.
	Signalled func(lane, name string)
}
