package agent

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// readUsage reads the processor time that this process, the processes it has waited
// for, and all processors of the machine have used so far.
func readUsage() (*synclinev1.Usage, error) {
	u := &synclinev1.Usage{}
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var ru unix.Rusage
		if err := unix.Getrusage(who, &ru); err != nil {
			return nil, fmt.Errorf("getrusage: %w", err)
		}
		u.AgentNs += ru.Utime.Nano() + ru.Stime.Nano()
	}
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return nil, err
	}
	busy, err := parseBusy(stat)
	u.MachineNs = int64(busy)
	return u, err
}
