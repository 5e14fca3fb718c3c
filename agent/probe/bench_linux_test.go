package probe

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkExchange is what an exchange costs both hosts together, in processor time of this
// process, which does all the work of the kernel's too: a veth pair has no interrupts of its
// own. Between exchanges there is time, as there is in a session.
func BenchmarkExchange(b *testing.B) {
	for _, peers := range []int{1, 5} {
		for _, rate := range []int{10, MaxRate} {
			b.Run(fmt.Sprintf("peers=%d/rate=%d", peers, rate), func(b *testing.B) { benchmarkExchange(b, peers, rate) })
		}
	}
}

func benchmarkExchange(b *testing.B, peers, rate int) {
	p := newPair(b)
	asker := join(b, p.client, "A", nil, client4)
	plan := asker.plan(rate)
	var all []*member
	for i := range peers {
		m := join(b, p.server, fmt.Sprint("B", i), nil, server4)
		m.run(m.plan(rate, asker.peer(false)))
		plan.Peers = append(plan.Peers, m.peer(true))
		all = append(all, m)
	}
	asker.run(plan)
	asker.until("replies", replies(peers))
	met, before, began := asker.Counts().Met, used(b), time.Now()
	b.ResetTimer()
	// To be told of each exchange would cost more than the exchange.
	time.Sleep(time.Duration(b.N) * time.Second / time.Duration(peers*rate))
	exchanges := float64(asker.Counts().Met - met)
	cpu, took := float64(used(b)-before), float64(time.Since(began))
	stop(append([]*member{asker}, all...)...)
	b.ReportMetric(cpu/exchanges/1e3, "µs-cpu/exchange")
	b.ReportMetric(100*cpu/took, "%-of-a-core")
}

// used is the processor time of this process, nanoseconds.
func used(b *testing.B) int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkRefuse is what a stranger's datagram costs that looks right until the
// authentication.
func BenchmarkRefuse(b *testing.B) {
	k := newKey(secret(1), "r-1")
	var d [Size]byte
	k.seal(&d, &datagram{kind: kindRequest, path: experiment, exchange: 1})
	d[Size-1] ^= 1
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.open(d[:]); err == nil {
			b.Fatal("forged and not refused")
		}
	}
}
