package lane

import (
	"math"
	"syscall"
	_ "unsafe" // for go:linkname
)

// The runtime keeps these three for those outside who link to them (go.dev/issue/67401).

//go:linkname entersyscall runtime.entersyscall
func entersyscall()

//go:linkname exitsyscall runtime.exitsyscall
func exitsyscall()

//go:linkname nanotime runtime.nanotime
//go:noescape
func nanotime() int64

// syscallArgs is a system call about to be made. What its words point to must be on
// the heap, and reachable from elsewhere until the call is back.
type syscallArgs struct {
	trap uintptr
	a    [6]uintptr
}

// stamps is what came of a system call: what it returned, and CLOCK_MONOTONIC right
// before and right after it, in nanoseconds. late says that it was not made.
type stamps struct {
	result    int64
	errno     syscall.Errno
	enter, at int64
	late      bool
}

// whenever is a latest that no clock reaches.
const whenever = math.MaxInt64

// stamped makes a system call that may block, and notes it in f as it goes. If the
// thread gets there only after latest, it makes none.
//
// It does what syscall.Syscall6 does, with the clock read between the runtime's
// bookkeeping and the kernel. After a call that blocked, exitsyscall has to find a
// processor of the Go scheduler for the thread and may wait for one; a clock read after
// it would add that to the call. Between entersyscall and exitsyscall the thread holds
// no such processor, so that nothing there may grow the stack, allocate, or be
// instrumented: nanotime and RawSyscall6 do none of it, nor do stores to a flight.
//
//go:nosplit
//go:norace
func stamped(c *syscallArgs, f *flight, latest int64) (s stamps) {
	entersyscall()
	s.enter = nanotime()
	if s.enter > latest {
		exitsyscall()
		s.late = true
		return s
	}
	f.enter = s.enter
	r, _, errno := syscall.RawSyscall6(c.trap, c.a[0], c.a[1], c.a[2], c.a[3], c.a[4], c.a[5])
	s.at = nanotime()
	f.result, f.errno, f.at = int64(r), int64(errno), s.at
	exitsyscall()
	s.result, s.errno = int64(r), errno
	return s
}
