package cli

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// An agent and a controller that did many runs hold as many descriptors, threads
// and mappings as after half of them: whatever a run opens is closed with it.
func TestRunsLeakNothing(t *testing.T) {
	source := library(t, demoExperiment)
	l := newTestLab(t, mustParse(t, source))
	// The store keeps 64 chunk files open, two of each run: go beyond that first.
	const runs = 36
	for range runs {
		run := l.run(source, 1)
		wantAllPass(t, run, l.verdicts(run), 1)
	}
	before := l.holdings()
	for range runs {
		l.run(source, 1)
	}
	var after map[string]holding
	t.Cleanup(func() { t.Logf("before %v, after %v", before, after) })
	await(t, "what the processes hold is what they held", func() bool {
		after = l.holdings()
		for name, h := range after {
			b := before[name]
			// The runtime keeps a few threads more or less, by its own lights.
			if h.descriptors > b.descriptors || h.rings > b.rings || h.threads > b.threads+8 {
				return false
			}
		}
		return true
	})

}

// holding is what a process has of the kernel.
type holding struct {
	descriptors, threads, rings int
}

func (l *testLab) holdings() map[string]holding {
	l.t.Helper()
	all := map[string]holding{}
	for _, m := range l.processes {
		count := func(dir string) int {
			entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/%s", m.PID(), dir))
			if err != nil {
				l.t.Fatal(err)
			}
			return len(entries)
		}
		maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", m.PID()))
		if err != nil {
			l.t.Fatal(err)
		}
		all[m.name] = holding{
			descriptors: count("fd"), threads: count("task"),
			// packet_mmap: a capture ring is mapped from its socket.
			rings: strings.Count(string(maps), "socket:["),
		}
	}
	return all
}
