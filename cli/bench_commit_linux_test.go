package cli

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

var (
	commitFor    = flag.Duration("commit.for", 4*time.Second, "how long BenchmarkCommit measures each of its kinds in a round")
	commitRounds = flag.Int("commit.rounds", 5, "rounds of BenchmarkCommit; the figures are medians")
)

const (
	// commitAgents upload at once; each has a stream of its own, of events of commitLanes lanes.
	commitAgents = 4
	commitLanes  = 6
	// commitChunks are made before, for each agent. A new incarnation sends them again.
	commitChunks = 24
	commitWarmUp = time.Second
)

// The goals, in events that are committed a second.
const (
	commitGoalOne   = 1_000_000
	commitGoalThree = 500_000
)

// BenchmarkCommit measures how many events a second are committed, that is acknowledged: agents' upload
// streams to controllers of one cluster, each a process of its own with its own directory on a real
// disk, all over mTLS and 127.0.0.1. Chunks are made before. Beside it, with the same chunks: the store
// of raft's log alone, with as many entries an fsync as the single controller had, and a plain TCP
// connection an agent, frames with their lengths, a file, and one fsync for all that wait.
//
// The four are interleaved; the figures are medians.
//
//	one/s, three/s, log/s, tcp/s          events a second
//	one/log, one/tcp, three/one, …        ratios of the same round
//	one-ns, three-ns, log-ns, tcp-ns      processor time an event: of the controllers, all of them
//	                                      together; of the log, and of both ends of the TCP connections
//	lead-ns                               that of the leader of three alone
//	agents-ns                             that of the sending side of one-ns
//	chunk-B, dir-B                        bytes an event in the chunk files of a node, and in all of
//	                                      its directory, its log and its snapshots too
//	one-batch, three-batch                entries a write of the leader's log
func BenchmarkCommit(b *testing.B) {
	requireDisk(b, b.TempDir())
	chunks := make([][]*synclinev1.Chunk, commitAgents)
	for i := range chunks {
		chunks[i] = newRecordedLanes(b, fmt.Sprintf("vm%d", 1+i%2), commitLanes, uint64(i)).chunks(b, commitChunks)
	}
	one, three := newCommitCluster(b, 1, chunks), newCommitCluster(b, 3, chunks)
	var all commitFigures
	b.ResetTimer()
	for range max(b.N, *commitRounds) {
		round := commitRound{one: one.measure(*commitFor), three: three.measure(*commitFor)}
		batch := max(1, int(round.one.batch+.5))
		round.log = logAlone(b, chunks, batch, *commitFor)
		round.tcp = tcpAlone(b, chunks, *commitFor)
		all = append(all, round)
		b.Logf("one %v, three %v, log %v, tcp %v", round.one, round.three, round.log, round.tcp)
	}
	b.StopTimer()
	one.settle()
	three.settle()
	all.report(b, one.disk(), three.disk())
}

// requireDisk refuses a directory where fsync costs nothing.
func requireDisk(tb testing.TB, dir string) {
	tb.Helper()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		tb.Fatal(os.NewSyscallError("statfs", err))
	}
	if fs.Type == unix.TMPFS_MAGIC || fs.Type == unix.RAMFS_MAGIC {
		tb.Fatalf("%s is in memory, where fsync costs nothing: set TMPDIR to a directory on a disk", dir)
	}
}

// commitFigure is what one kind did in one round.
type commitFigure struct {
	// rate is in events a second.
	rate float64
	// cpu is processor time an event in nanoseconds; lead that of the leader alone, agents that of
	// those who send.
	cpu, lead, agents float64
	// batch is entries a write of the log.
	batch float64
}

// String is for a line a round.
func (f commitFigure) String() string { return fmt.Sprintf("%.0f/s (%.0f ns)", f.rate, f.cpu) }

type commitRound struct{ one, three, log, tcp commitFigure }

type commitFigures []commitRound

func (all commitFigures) median(of func(commitRound) float64) float64 {
	var values []float64
	for _, r := range all {
		values = append(values, of(r))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// commitDisk is bytes an event: in chunk files, and in the directory of a node.
type commitDisk struct{ chunks, all float64 }

func (all commitFigures) report(b *testing.B, one, three commitDisk) {
	b.ReportMetric(0, "ns/op")
	one1 := func(r commitRound) commitFigure { return r.one }
	three3 := func(r commitRound) commitFigure { return r.three }
	logs := func(r commitRound) commitFigure { return r.log }
	tcp := func(r commitRound) commitFigure { return r.tcp }
	var table strings.Builder
	fmt.Fprintf(&table, "\n%-28s %12s %10s %10s %10s %10s %8s\n", "", "events/s", "goal", "CPU ns/ev", "of log", "of TCP", "entries/fsync")
	line := func(name, unit string, of func(commitRound) commitFigure, goal float64) {
		rate := all.median(func(r commitRound) float64 { return of(r).rate })
		cpu := all.median(func(r commitRound) float64 { return of(r).cpu })
		toLog := all.median(func(r commitRound) float64 { return of(r).rate / r.log.rate })
		toTCP := all.median(func(r commitRound) float64 { return of(r).rate / r.tcp.rate })
		batch := all.median(func(r commitRound) float64 { return of(r).batch })
		b.ReportMetric(rate, unit+"/s")
		b.ReportMetric(cpu, unit+"-ns")
		want := ""
		if goal > 0 {
			want = fmt.Sprintf("%.0f", goal)
		}
		fmt.Fprintf(&table, "%-28s %12.0f %10s %10.0f %10.3f %10.3f %8.1f\n", name, rate, want, cpu, toLog, toTCP, batch)
		if unit != "log" {
			b.ReportMetric(toLog, unit+"/log")
		}
		if unit != "tcp" {
			b.ReportMetric(toTCP, unit+"/tcp")
		}
	}
	line("one controller", "one", one1, commitGoalOne)
	line("three controllers", "three", three3, commitGoalThree)
	line("log store alone", "log", logs, 0)
	line("TCP and a file", "tcp", tcp, 0)
	b.ReportMetric(all.median(func(r commitRound) float64 { return r.three.rate / r.one.rate }), "three/one")
	b.ReportMetric(all.median(func(r commitRound) float64 { return r.three.lead }), "lead-ns")
	b.ReportMetric(all.median(func(r commitRound) float64 { return r.one.agents }), "agents-ns")
	b.ReportMetric(one.chunks, "chunk-B")
	b.ReportMetric(one.all, "dir-B")
	fmt.Fprintf(&table, "the leader of three: %.0f ns of CPU an event; the sending side of one: %.0f ns\n",
		all.median(func(r commitRound) float64 { return r.three.lead }), all.median(func(r commitRound) float64 { return r.one.agents }))
	fmt.Fprintf(&table, "bytes an event on the disk of a node: %.2f in chunk files, %.2f in all; of three: %.2f, %.2f\n", one.chunks, one.all, three.chunks, three.all)
	b.Log(table.String())
}
