package agent

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// bootNow is CLOCK_BOOTTIME: it goes on while the host is suspended, as its controller's time
// does.
func bootNow() int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		// Every kernel since 2.6.39 has it; without it no lease could be kept.
		panic(fmt.Sprintf("clock_gettime(CLOCK_BOOTTIME): %v", err))
	}
	return now.Nano()
}
