package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"syncline/agent/clock"
)

// counterFiles are those of the network namespace of the thread that opens them:
// thread-self, not self, which is that of the process's first thread, proc_net(5).
var counterFiles = []struct {
	path  string
	parse func(string, map[string]int64) error
}{
	{"/proc/thread-self/net/snmp", pairs},
	{"/proc/thread-self/net/netstat", pairs},
	{"/proc/thread-self/net/snmp6", singles},
}

// ReadCounters reads the counters of the calling thread's network namespace.
// A kernel without IPv6 has none of IPv6.
func ReadCounters() (Counters, error) {
	c := Counters{Began: clock.Now(), Values: make(map[string]int64, 512)}
	for _, f := range counterFiles {
		b, err := os.ReadFile(f.path)
		if errors.Is(err, fs.ErrNotExist) && f.path == "/proc/thread-self/net/snmp6" {
			continue
		}
		if err != nil {
			return Counters{}, fmt.Errorf("read the counters of the network namespace: %w", err)
		}
		if err := f.parse(string(b), c.Values); err != nil {
			return Counters{}, fmt.Errorf("read the counters of the network namespace: %s: %w", f.path, err)
		}
	}
	c.Ended = clock.Now()
	return c, nil
}
