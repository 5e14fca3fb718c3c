package cli

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"syncline/deploy/netlab"
	synclinev1 "syncline/proto/syncline/v1"
)

// connections of one measured repetition, of all its lane pairs together. An experiment
// may have 10,000 steps, and each connection takes five. All that one pair makes fit
// into its accept queue: a full one costs a SYN, and the second until it is sent again.
const connections = 1900

// everySource is what an experiment can observe.
const everySource = "syscalls, packets, tcp-states, tcp-info, counters, accept-queue, icmp, arp, drops"

// benchPairs runs a benchmark with one lane pair and with 64, in a lab of two hosts.
func benchPairs(b *testing.B, bench func(b *testing.B, l *testLab, pairs int)) {
	for _, pairs := range []int{1, 64} {
		b.Run(fmt.Sprintf("pairs=%d", pairs), func(b *testing.B) {
			l := newTestLab(b, mustParse(b, busyExperiment("syscalls", pairs, 8000)))
			bench(b, l, pairs)
		})
	}
}

// BenchmarkWatching measures what the lab costs the one that is watched: lane pairs that
// connect, accept and close as fast as they can, between two hosts, with every source
// on, with calls only, and as a bare loop of the same system calls. The three are
// interleaved; the figures are medians.
//
//	bare/s, calls/s, full/s            connections a second
//	calls/bare, full/bare, full/calls  ratios of the same round
//	lost                               events, of all rounds: 0
//	bytes/event                        of the stored chunks with every source on
func BenchmarkWatching(b *testing.B) {
	benchPairs(b, func(b *testing.B, l *testLab, pairs int) {
		// Every loop has ports of its own: the TIME_WAIT of the ones before would slow the
		// kernel's search for a free ephemeral port.
		port := 8000
		next := func() int { port += pairs; return port }
		var bare, called, watched []float64
		var lost uint64
		var run *synclinev1.Run
		b.ResetTimer()
		for range max(b.N, 15) {
			bare = append(bare, bareLoop(b, l.Host("vm1"), l.Host("vm2"), pairs, next()))
			run = l.run(busyExperiment("syscalls", pairs, next()), 1)
			called = append(called, rate(b, l, run))
			lost += lostEvents(l, run)
			run = l.run(busyExperiment(everySource, pairs, next()), 1)
			watched = append(watched, rate(b, l, run))
			lost += lostEvents(l, run)
		}
		b.StopTimer()
		if lost > 0 {
			b.Errorf("%d events were lost", lost)
		}
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(median(bare), "bare/s")
		b.ReportMetric(median(called), "calls/s")
		b.ReportMetric(median(watched), "full/s")
		b.ReportMetric(median(ratios(called, bare)), "calls/bare")
		b.ReportMetric(median(ratios(watched, bare)), "full/bare")
		b.ReportMetric(median(ratios(watched, called)), "full/calls")
		b.ReportMetric(float64(lost), "lost")
		b.ReportMetric(float64(run.Bytes)/float64(run.Events), "bytes/event")
		b.ReportMetric(float64(run.Events)/float64(eachPair(pairs)*pairs), "events/connection")
	})
}

// BenchmarkOverhead prints what `syncline run --measure-overhead` says of the same
// lanes: what each source costs, where bare are the lanes with calls only.
func BenchmarkOverhead(b *testing.B) {
	benchPairs(b, func(b *testing.B, l *testLab, pairs int) {
		b.ResetTimer()
		run, err := l.operator.execute(b.Context(), l.client, "busy.yaml", busyExperiment(everySource, pairs, 8000), runOptions{
			repeat: 1, bindings: l.bindings, rounds: max(b.N, defaultRounds),
		})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		// The log of a benchmark is cut after ten lines.
		fmt.Printf("\n%d lane pairs: ", pairs)
		if err := drawOverhead(os.Stdout, run); err != nil {
			b.Fatal(err)
		}
		if run.State != synclinev1.RunState_RUN_STATE_SEALED || run.Overhead.Failure != "" {
			b.Fatalf("the run is %v: %s %s", run.State, run.Reason, run.Overhead.Failure)
		}
		b.ReportMetric(0, "ns/op")
		l.eachEvent(run.Id, func(agent string, e *synclinev1.Event) {
			if lost := e.GetLoss(); lost != nil {
				b.Errorf("agent %s lost %d of %v in repetition %d at %s", agent, lost.Count, lost.Source, e.Repetition, lost.Where)
			}
		})
		for _, s := range run.Overhead.Settings {
			if s.Repetitions > 0 && s.Name != "bare" {
				b.ReportMetric(s.ConnectionsPerSecond.GetRatio(), s.Name+"/bare")
			}
		}
	})
}

// eachPair is how many connections each of so many pairs makes.
func eachPair(pairs int) int {
	if pairs == 1 {
		return connections
	}
	// Listening and waiting takes six steps of a pair.
	return (10_000/pairs - 6) / 5
}

// busyExperiment connects, accepts and closes without a pause. Each pair has a port of
// its own; that of a single pair is another one in every repetition.
func busyExperiment(observe string, pairs, port int) []byte {
	var lanes strings.Builder
	fresh := ""
	for i := range pairs {
		at := fmt.Sprint(port + i)
		if pairs == 1 {
			at, fresh = "$port", ", fresh: [port]"
		}
		fmt.Fprintf(&lanes, `  server%[1]d:
    host: B
    do:
      - s = socket(tcp)
      - setsockopt(s, SO_REUSEADDR, 1)
      - bind(s, 0.0.0.0:%[2]s)
      - listen(s, 4096)
      - signal(listening)
      - { repeat: %[3]d, do: [a = accept(s), close(a)] }
  client%[1]d:
    host: A
    do:
      - wait(server%[1]d.listening)
      - { repeat: %[3]d, do: [c = socket(tcp), "connect(c, B:%[2]s)", close(c)] }
`, i+1, at, eachPair(pairs))
	}
	vars := ""
	if fresh != "" {
		vars = fmt.Sprintf("vars: { port: %d }\n", port)
	}
	return fmt.Appendf(nil, "experiment: busy\nhosts: { A: {}, B: {} }\n%sobserve: [%s]\nlanes:\n%srepeat: { runs: 1, timeout: 60s%s }\n", vars, observe, lanes.String(), fresh)
}

// rate is how many connections a second the client lanes made, by their own stamps.
func rate(b *testing.B, l *testLab, run *synclinev1.Run) float64 {
	b.Helper()
	if run.State != synclinev1.RunState_RUN_STATE_SEALED {
		b.Fatalf("run is %v: %s", run.State, run.Reason)
	}
	var first, last int64
	made := 0
	l.eachEvent(run.Id, func(agent string, e *synclinev1.Event) {
		c := e.GetCall()
		if !strings.HasPrefix(c.GetLane(), "client") || c.Name == "wait" {
			return
		}
		if c.Failure != "" {
			b.Fatalf("%s: %s", c.Name, c.Failure)
		}
		if c.Name == "connect" {
			made++
		}
		if first == 0 || e.TimeNs < first {
			first = e.TimeNs
		}
		last = max(last, c.ReturnNs)
	})
	return float64(made) / time.Duration(last-first).Seconds()
}

// lostEvents counts what was lost of a run.
func lostEvents(l *testLab, run *synclinev1.Run) (lost uint64) {
	l.eachEvent(run.Id, func(_ string, e *synclinev1.Event) { lost += e.GetLoss().GetCount() })
	return lost
}

// bareLoop is the same work without a lab: two threads a pair, raw calls, no stamps.
func bareLoop(b *testing.B, client, server *netlab.Host, pairs, port int) float64 {
	b.Helper()
	n := eachPair(pairs)
	var served, connected errgroup.Group
	for i := range pairs {
		listening := make(chan error, 1)
		served.Go(func() error { return server.Do(func() error { return acceptAll(n, port+i, listening) }) })
		if err := <-listening; err != nil {
			b.Fatal(err)
		}
	}
	// All threads are in the namespace before the first makes its first call.
	there, begin := make(chan error, pairs), make(chan struct{})
	for i := range pairs {
		connected.Go(func() error {
			return client.Do(func() error {
				there <- nil
				<-begin
				return connectAll(n, netip.AddrPortFrom(server.Address, uint16(port+i)))
			})
		})
	}
	for range pairs {
		<-there
	}
	start := time.Now()
	close(begin)
	err := connected.Wait()
	took := time.Since(start)
	if err := errors.Join(err, served.Wait()); err != nil {
		b.Fatal(err)
	}
	return float64(n*pairs) / took.Seconds()
}

func acceptAll(n, port int, listening chan<- error) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		listening <- err
		return err
	}
	defer unix.Close(s)
	err = unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err == nil {
		err = unix.Bind(s, &unix.SockaddrInet4{Port: port})
	}
	if err == nil {
		err = unix.Listen(s, 4096)
	}
	listening <- err
	if err != nil {
		return err
	}
	for range n {
		a, _, err := unix.Accept4(s, unix.SOCK_CLOEXEC)
		if err != nil {
			return fmt.Errorf("accept4: %w", err)
		}
		unix.Close(a)
	}
	return nil
}

func connectAll(n int, to netip.AddrPort) error {
	address := &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	for range n {
		c, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("socket: %w", err)
		}
		if err := unix.Connect(c, address); err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		unix.Close(c)
	}
	return nil
}

func ratios(a, b []float64) []float64 {
	r := make([]float64, len(a))
	for i := range a {
		r[i] = a[i] / b[i]
	}
	return r
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
