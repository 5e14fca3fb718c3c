package agent

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"time"
)

// tick is the unit of /proc/stat: USER_HZ is 100 on every architecture that Go runs on.
const tick = 10 * time.Millisecond

// idleColumns are those of the line "cpu" of /proc/stat in which this machine did
// nothing: idle and iowait; and steal, in which another machine had the processor. guest
// and guest_nice are part of user and nice already.
var idleColumns = map[int]bool{4: true, 5: true, 8: true, 9: true, 10: true}

// parseBusy reads how long all processors together have worked from the text of
// /proc/stat, see proc_stat(5).
func parseBusy(stat []byte) (time.Duration, error) {
	line, _, _ := bytes.Cut(stat, []byte("\n"))
	fields := bytes.Fields(line)
	if len(fields) < 5 || string(fields[0]) != "cpu" {
		return 0, fmt.Errorf("/proc/stat begins with %.40q, not with the times of all processors", line)
	}
	var busy uint64
	for i, f := range fields[1:] {
		n, err := strconv.ParseUint(string(f), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: column %d of the first line: %w", i+1, err)
		}
		if idleColumns[i+1] {
			continue
		}
		if n > math.MaxInt64/uint64(tick)-busy {
			return 0, fmt.Errorf("/proc/stat: column %d of the first line: %d ticks are more than any machine has run", i+1, n)
		}
		busy += n
	}
	return time.Duration(busy) * tick, nil
}
