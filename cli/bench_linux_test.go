package cli

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"syncline/deploy/netlab"
	synclinev1 "syncline/proto/syncline/v1"
)

// connections of one lane pair in one measured repetition. An experiment may have
// 10,000 steps, and each connection takes five. All fit into the accept queue: a full
// one costs a SYN, and the second until it is sent again.
const connections = 1900

// BenchmarkWatching measures what the lab costs the one that is watched: a lane pair
// that connects, accepts and closes as fast as it can, between two hosts, with all
// sources on, with calls only, and as a bare loop of the same system calls. The
// three are interleaved; the figures are medians.
//
//	bare/s, calls/s, full/s    connections a second
//	calls/bare, full/bare      ratios of the same round, and full/calls
//	bytes/event                of the stored chunks with all sources on
func BenchmarkWatching(b *testing.B) {
	l := newTestLab(b, mustParse(b, busyExperiment("syscalls", 1)))
	// Every loop has a port of its own: the TIME_WAIT of the ones before would slow the
	// kernel's search for a free ephemeral port.
	port := 8000
	next := func() int { port++; return port }
	var bare, called, watched []float64
	var run *synclinev1.Run
	b.ResetTimer()
	for range max(b.N, 5) {
		bare = append(bare, bareLoop(b, l.Host("vm1"), l.Host("vm2"), next()))
		called = append(called, rate(b, l, l.run(busyExperiment("syscalls", next()), 1)))
		run = l.run(busyExperiment("syscalls, packets", next()), 1)
		watched = append(watched, rate(b, l, run))
		wantNothingLost(b, l, run)
	}
	b.StopTimer()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(bare), "bare/s")
	b.ReportMetric(median(called), "calls/s")
	b.ReportMetric(median(watched), "full/s")
	b.ReportMetric(median(ratios(called, bare)), "calls/bare")
	b.ReportMetric(median(ratios(watched, bare)), "full/bare")
	b.ReportMetric(median(ratios(watched, called)), "full/calls")
	b.ReportMetric(float64(run.Bytes)/float64(run.Events), "bytes/event")
	b.ReportMetric(float64(run.Events)/connections, "events/connection")
}

// busyExperiment connects, accepts and closes without a pause.
func busyExperiment(observe string, port int) []byte {
	return fmt.Appendf(nil, `experiment: busy
hosts: { A: {}, B: {} }
observe: [%s]
lanes:
  server:
    host: B
    do:
      - s = socket(tcp)
      - setsockopt(s, SO_REUSEADDR, 1)
      - bind(s, 0.0.0.0:%d)
      - listen(s, 4096)
      - signal(listening)
%s  client:
    host: A
    do:
      - wait(server.listening)
%srepeat: { runs: 1, timeout: 60s }
`, observe, port,
		strings.Repeat("      - a = accept(s)\n      - close(a)\n", connections),
		strings.Repeat(fmt.Sprintf("      - c = socket(tcp)\n      - connect(c, B:%d)\n      - close(c)\n", port), connections))
}

// rate is how many connections a second the client's lane made, by its own stamps.
func rate(b *testing.B, l *testLab, run *synclinev1.Run) float64 {
	b.Helper()
	if run.State != synclinev1.RunState_RUN_STATE_SEALED {
		b.Fatalf("run is %v: %s", run.State, run.Reason)
	}
	var first, last int64
	l.eachEvent(run.Id, func(agent string, e *synclinev1.Event) {
		c := e.GetCall()
		if c.GetLane() != "client" || c.Name != "connect" && c.Name != "close" {
			return
		}
		if c.Failure != "" {
			b.Fatalf("%s: %s", c.Name, c.Failure)
		}
		if first == 0 || e.TimeNs < first {
			first = e.TimeNs
		}
		last = max(last, c.ReturnNs)
	})
	return connections / (time.Duration(last - first).Seconds())
}

func wantNothingLost(b *testing.B, l *testLab, run *synclinev1.Run) {
	b.Helper()
	l.eachEvent(run.Id, func(agent string, e *synclinev1.Event) {
		if lost := e.GetLoss(); lost != nil {
			b.Errorf("agent %s lost %d at %s", agent, lost.Count, lost.Where)
		}
	})
}

// bareLoop is the same work without a lab: two threads, raw calls, no stamps.
func bareLoop(b *testing.B, client, server *netlab.Host, port int) float64 {
	b.Helper()
	listening := make(chan error, 1)
	served := make(chan error, 1)
	go func() { served <- server.Do(func() error { return acceptAll(port, listening) }) }()
	if err := <-listening; err != nil {
		b.Fatal(err)
	}
	var took time.Duration
	err := client.Do(func() error {
		begin := time.Now()
		defer func() { took = time.Since(begin) }()
		return connectAll(netip.AddrPortFrom(server.Address, uint16(port)))
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := <-served; err != nil {
		b.Fatal(err)
	}
	return connections / took.Seconds()
}

func acceptAll(port int, listening chan<- error) error {
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
	for range connections {
		a, _, err := unix.Accept4(s, unix.SOCK_CLOEXEC)
		if err != nil {
			return fmt.Errorf("accept4: %w", err)
		}
		unix.Close(a)
	}
	return nil
}

func connectAll(to netip.AddrPort) error {
	address := &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	for range connections {
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
