package netlab

import (
	"testing"
	"time"
)

// BenchmarkWireLateness sends one frame at a time over a wire of 1 ms, as a handshake
// does, and prints how much later than that the receiving kernel was given it.
func BenchmarkWireLateness(b *testing.B) {
	l := makeLab(b, Config{Hosts: []string{"A", "B"}, Wires: map[string]Wire{
		"A": {Out: Direction{Delay: time.Millisecond}}, "B": {},
	}, Mechanism: UserSpace})
	sender, receiver := datagrams(b, l, "A", "B")
	meet(b, sender, receiver)
	buffer := make([]byte, 64)
	for b.Loop() {
		if _, err := sender.Write(buffer); err != nil {
			b.Fatal(err)
		}
		receive(b, receiver, buffer)
	}
	reports, err := l.Wires()
	if err != nil {
		b.Fatal(err)
	}
	late := reports[1].In.Late
	b.ReportMetric(float64(late.Quantile(0.5))/1e3, "late-p50-µs")
	b.ReportMetric(float64(late.Quantile(0.99))/1e3, "late-p99-µs")
}
