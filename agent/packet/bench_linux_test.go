package packet

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"syncline/agent/clock"
	synclinev1 "syncline/proto/syncline/v1"
)

// loop is a bare client and server: raw blocking calls, each on a thread of its own,
// one connection at a time.
type loop struct {
	pair     *pair
	listener int
	// ended gets what ended the server.
	ended chan error
}

func newLoop(b *testing.B, p *pair) *loop {
	l := &loop{pair: p, ended: make(chan error, 1)}
	p.server.do(func() (err error) {
		if l.listener, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		if err := unix.Bind(l.listener, &unix.SockaddrInet4{Port: port}); err != nil {
			return err
		}
		// The server's ends inherit it: their close is a reset, which spends no port in
		// TIME_WAIT.
		if err := unix.SetsockoptLinger(l.listener, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
			return err
		}
		return unix.Listen(l.listener, 128)
	})
	go func() { l.ended <- l.serve() }()
	b.Cleanup(func() {
		// Ends the server's accept, which then fails.
		if err := unix.Shutdown(l.listener, unix.SHUT_RDWR); err != nil {
			b.Error(err)
		}
		if err := <-l.ended; !errors.Is(err, unix.EINVAL) {
			b.Error(err)
		}
		unix.Close(l.listener)
	})
	return l
}

func (l *loop) serve() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for {
		fd, _, err := unix.Accept4(l.listener, unix.SOCK_CLOEXEC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if err := unix.Close(fd); err != nil {
			return err
		}
	}
}

func (*loop) connect(n int, to unix.Sockaddr) error {
	for range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		if err := errors.Join(untilReset(fd, to), unix.Close(fd)); err != nil {
			return err
		}
	}
	return nil
}

// untilReset connects and waits until the server has closed, so that its queue never
// fills. The server's reset may overtake connect's return.
func untilReset(fd int, to unix.Sockaddr) error {
	err := unix.Connect(fd, to)
	if err == nil {
		_, err = unix.Read(fd, make([]byte, 1))
	}
	if !errors.Is(err, unix.ECONNRESET) {
		return fmt.Errorf("connect and read until the server closes: %w", err)
	}
	return nil
}

func (l *loop) time(b *testing.B, n int) time.Duration {
	b.Helper()
	start := time.Now()
	l.pair.client.do(func() error {
		return l.connect(n, &unix.SockaddrInet4{Port: port, Addr: l.pair.server4.As4()})
	})
	return time.Since(start)
}

// BenchmarkConnections is the rate of a bare loop of connect, accept and close between
// two hosts of this machine, with a capture at both ends and without, in turns.
func BenchmarkConnections(b *testing.B) {
	for _, c := range []struct {
		name   string
		change func(*Config)
	}{
		{"TCP and UDP", func(*Config) {}},
		{"with ICMP and ARP", func(cfg *Config) { cfg.ICMP, cfg.ARP = true, true }},
		{"prompt", func(cfg *Config) { cfg.ICMP, cfg.ARP, cfg.Prompt = true, true, true }},
	} {
		b.Run(c.name, func(b *testing.B) { benchmarkConnections(b, c.change) })
	}
}

func benchmarkConnections(b *testing.B, change func(*Config)) {
	const turn = 2000
	p := newPair(b)
	cfg := p.config()
	change(&cfg)
	var ratios []float64
	var bare, watched time.Duration
	l := newLoop(b, p)
	l.time(b, turn)
	passed, lost := uint64(0), uint64(0)
	for b.Loop() {
		without := l.time(b, turn)
		var captures []*record
		for _, h := range []*host{p.client, p.server} {
			captures = append(captures, h.record(cfg))
		}
		with := l.time(b, turn)
		for _, r := range captures {
			if err := r.Close(); err != nil {
				b.Fatal(err)
			}
			n, m := r.Frames()
			passed, lost = passed+n, lost+m
		}
		bare, watched = bare+without, watched+with
		ratios = append(ratios, float64(without)/float64(with))
	}
	slices.Sort(ratios)
	b.ReportMetric(float64(turn*b.N)/bare.Seconds(), "bare-conn/s")
	b.ReportMetric(float64(turn*b.N)/watched.Seconds(), "watched-conn/s")
	b.ReportMetric(ratios[len(ratios)/2], "ratio")
	b.ReportMetric(float64(passed)/float64(turn*b.N), "frames/conn")
	b.ReportMetric(float64(lost), "lost")
}

// BenchmarkDrain is what the end of a repetition costs, silence not counted: from the
// last call of a connection until its last packet is an event.
func BenchmarkDrain(b *testing.B) {
	p := newPair(b)
	l := newLoop(b, p)
	r := p.client.record(p.config())
	var took []time.Duration
	for b.Loop() {
		l.time(b, 1)
		start := time.Now()
		if err := r.Drain(b.Context(), 0); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkLatency is how long after its own stamp a packet becomes an event, on a host
// that is otherwise idle: the SYN of a connection, then the pause until the next begins,
// of a length that has nothing to do with the kernel's timers.
func BenchmarkLatency(b *testing.B) {
	for name, prompt := range map[string]bool{"prompt": true, "frugal": false} {
		b.Run(name, func(b *testing.B) {
			p := newPair(b)
			l := newLoop(b, p)
			cfg := p.config()
			cfg.Prompt = prompt
			heard := make(chan time.Duration, 1000)
			c := p.client.open(cfg)
			ended := make(chan error, 1)
			go func() {
				ended <- c.Run(b.Context(), func(events []*synclinev1.Event) {
					now := clock.Now()
					for _, e := range events {
						if packet := e.GetPacket(); packet != nil && packet.Flags == 2 {
							heard <- time.Duration(now - e.TimeNs)
						}
					}
				})
			}()
			var took []time.Duration
			for b.Loop() {
				l.time(b, 1)
				took = append(took, <-heard)
				time.Sleep(time.Duration(rand.IntN(20_000)) * time.Microsecond)
			}
			if err := errors.Join(c.Close(), <-ended); err != nil {
				b.Fatal(err)
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
			b.ReportMetric(float64(took[len(took)-1].Microseconds()), "most-µs")
		})
	}
}
