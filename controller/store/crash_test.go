package store

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// crashDirEnv makes the test binary a child that appends to a store in that
// directory until it is killed.
const crashDirEnv = "SYNCLINE_STORE_CRASH_DIR"

const crashRun = "r-crash"

// appendUntilKilled prints "agent sequence" for every chunk that was acknowledged.
func appendUntilKilled(dir string) {
	die := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	s, err := Open(Config{Dir: dir, SnapshotEvery: 50})
	die(err)
	ctx := context.Background()
	die(s.WaitLeader(ctx))
	_, err = s.CreateRun(ctx, "req", Run{ID: crashRun})
	die(err)
	var mu sync.Mutex
	for _, agent := range crashAgents {
		go func() {
			next := uint64(1)
			for _, st := range s.Streams(crashRun) {
				if st.Agent == agent {
					next = st.Contiguous + 1
				}
			}
			for ; ; next++ {
				_, err := s.AppendChunk(ctx, chunk(crashRun, agent, next))
				die(err)
				mu.Lock()
				fmt.Println(agent, next)
				mu.Unlock()
				if next%97 == 0 {
					go s.Snapshot()
				}
			}
		}()
	}
	select {}
}

var crashAgents = []string{"vm1", "vm2", "vm3", "vm4"}

// TestKilledInTheMiddle kills a process that appends, several times over, and looks
// for every chunk that it had acknowledged.
func TestKilledInTheMiddle(t *testing.T) {
	dir := t.TempDir()
	acked := map[string]uint64{}
	for round := range 3 {
		runAndKill(t, dir, 100+50*round, acked)
		s := open(t, dir)
		have := map[string]map[uint64][]byte{}
		for _, c := range chunksOf(t, s, crashRun) {
			if have[c.Agent] == nil {
				have[c.Agent] = map[uint64][]byte{}
			}
			have[c.Agent][c.Sequence] = c.Data
		}
		for agent, last := range acked {
			for seq := uint64(1); seq <= last; seq++ {
				if !bytes.Equal(have[agent][seq], chunk(crashRun, agent, seq).Data) {
					t.Fatalf("round %d: chunk %d of %s was acknowledged, and %d bytes of it are there", round, seq, agent, len(have[agent][seq]))
				}
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("acknowledged: %v", acked)
}

// runAndKill runs a child until it has printed n lines, and kills it with SIGKILL.
func runAndKill(t *testing.T, dir string, n int, acked map[string]uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0])
	child.Env = append(os.Environ(), crashDirEnv+"="+dir)
	var stderr strings.Builder
	child.Stderr = &stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	count := 0
	for lines.Scan() {
		var agent string
		var seq uint64
		if _, err := fmt.Sscan(lines.Text(), &agent, &seq); err == nil {
			acked[agent] = max(acked[agent], seq)
			count++
		}
		if count == n {
			child.Process.Kill()
		}
	}
	child.Wait()
	if count < n {
		t.Fatalf("the child printed %d of %d lines: %s", count, n, stderr.String())
	}
}
