package trace

import (
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// alongside runs f on another thread in the host's namespace. The answer waits for it.
func (h *host) alongside(f func() error) (wait func() error) {
	ended := make(chan error, 1)
	go func() {
		// Never unlocked: the thread is left in another namespace.
		runtime.LockOSThread()
		if err := unix.Setns(int(h.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			ended <- err
			return
		}
		ended <- f()
	}()
	return func() error { return <-ended }
}

// loop makes connections from one thread to another until it is stopped.
type loop struct {
	listener int
	made     *atomic.Int64
	stopping *atomic.Bool
}

func (l *loop) serve() error {
	for {
		fd, _, err := unix.Accept4(l.listener, unix.SOCK_CLOEXEC)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ECONNABORTED):
			continue
		case err != nil:
			return nil // shut down
		}
		if err := unix.Close(fd); err != nil {
			return err
		}
	}
}

func (l *loop) connect(to unix.Sockaddr) error {
	for !l.stopping.Load() {
		fd := tcp(unix.AF_INET)
		// The port is free again at once, so that none runs out.
		check(unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
		err := unix.Connect(fd, to)
		for errors.Is(err, unix.EINTR) {
			if _, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, -1); err == nil {
				break
			}
		}
		if err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		// The server closes first and keeps TIME_WAIT, until the reset.
		var b [1]byte
		if _, err := unix.Read(fd, b[:]); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("read: %w", err)
		}
		if err := unix.Close(fd); err != nil {
			return err
		}
		l.made.Add(1)
	}
	return nil
}

// churn runs loops for a time and answers with the connections made in a second.
func (p *pair) churn(b testing.TB, pairs int, d time.Duration) float64 {
	var made atomic.Int64
	var stopping atomic.Bool
	var clients, servers []func() error
	var listeners []int
	for i := range pairs {
		l := &loop{listener: p.server.listen(p.server4, port+i), made: &made, stopping: &stopping}
		listeners = append(listeners, l.listener)
		servers = append(servers, p.server.alongside(l.serve))
		to := sockaddr(p.server4, port+i)
		clients = append(clients, p.client.alongside(func() error { return l.connect(to) }))
	}
	begun := time.Now()
	time.Sleep(d)
	stopping.Store(true)
	for _, wait := range clients {
		if err := wait(); err != nil {
			b.Error(err)
		}
	}
	rate := float64(made.Load()) / time.Since(begun).Seconds()
	for i, wait := range servers {
		check(unix.Shutdown(listeners[i], unix.SHUT_RDWR))
		if err := wait(); err != nil {
			b.Error(err)
		}
		check(unix.Close(listeners[i]))
	}
	return rate
}

// BenchmarkWatching measures what the tracer costs a tight loop of connect, accept and
// close, both hosts traced: rounds with and without take turns, and the median of the
// pairs' ratios counts.
func BenchmarkWatching(b *testing.B) {
	kinds := func(drop ...synclinev1.TraceKind) []synclinev1.TraceKind {
		return slices.DeleteFunc(Kinds(), func(k synclinev1.TraceKind) bool { return slices.Contains(drop, k) })
	}
	for _, pairs := range []int{1, 64} {
		for _, c := range []struct {
			name  string
			kinds []synclinev1.TraceKind
		}{
			{"all", Kinds()},
			{"without-ready", kinds(synclinev1.TraceKind_TRACE_KIND_READY)},
			{"without-ready-destroyed", kinds(synclinev1.TraceKind_TRACE_KIND_READY, synclinev1.TraceKind_TRACE_KIND_DESTROYED)},
			{"states-alone", []synclinev1.TraceKind{synclinev1.TraceKind_TRACE_KIND_STATE}},
		} {
			b.Run(fmt.Sprintf("pairs=%d/%s", pairs, c.name), func(b *testing.B) { watching(b, pairs, c.kinds) })
		}
	}
}

func watching(b *testing.B, pairs int, kinds []synclinev1.TraceKind) {
	p := newPair(b)
	flows := p.flows()
	for i := range pairs {
		flows.Ports = append(flows.Ports, uint16(port+i))
	}
	p.churn(b, pairs, 200*time.Millisecond)
	var ratios, rates []float64
	var counts Counts
	for b.Loop() {
		for range 5 {
			bare := p.churn(b, pairs, 500*time.Millisecond)
			var tracers []*Tracer
			var running sync.WaitGroup
			for _, h := range []*host{p.client, p.server} {
				h.do(func() error {
					t, err := Open(Config{Flows: flows, Kinds: kinds})
					if err != nil {
						return err
					}
					tracers = append(tracers, t)
					running.Go(func() { check(t.Run(b.Context(), func(...*synclinev1.Event) {})) })
					return nil
				})
			}
			watched := p.churn(b, pairs, 500*time.Millisecond)
			for _, t := range tracers {
				check(t.Close())
				n := must(t.Counts())
				counts.Submitted += n.Submitted
				counts.Lost += n.Lost
			}
			running.Wait()
			ratios, rates = append(ratios, watched/bare), append(rates, watched)
		}
	}
	b.ReportMetric(median(ratios), "of-bare")
	b.ReportMetric(median(rates), "conn/s")
	b.ReportMetric(float64(counts.Submitted)/median(rates)/float64(len(rates))/0.5, "records/conn")
	b.ReportMetric(float64(counts.Lost), "lost")
	b.ReportMetric(0, "ns/op")
}

func median[T cmp.Ordered](all []T) T {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}
