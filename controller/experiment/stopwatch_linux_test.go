package experiment

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// stopwatch measures the processor time of the calling goroutine, on a thread of its
// own until the returned function stops it: what else the machine does is not its own.
func stopwatch() (stop func() time.Duration) {
	runtime.LockOSThread()
	began := threadTime()
	return func() time.Duration {
		defer runtime.UnlockOSThread()
		return threadTime() - began
	}
}

func threadTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		panic(err)
	}
	return time.Duration(t.Nano())
}
