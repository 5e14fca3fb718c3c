package netlab

import (
	"runtime"
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

// BenchmarkWireFrames sends small datagrams as fast as the hub takes them, and prints
// what a frame costs it; nobody reads them.
func BenchmarkWireFrames(b *testing.B) {
	l := makeLab(b, Config{Hosts: []string{"A", "B"}, Wires: map[string]Wire{"A": {}, "B": {}}, Mechanism: UserSpace})
	sender, receiver := datagrams(b, l, "A", "B")
	meet(b, sender, receiver)
	neighbour(b, l.Host("A"), l.Host("B"), 2)
	buffer := make([]byte, 64)
	taken := func() uint64 {
		out, _, err := l.hub.report("A")
		if err != nil {
			b.Fatal(err)
		}
		return out.Taken
	}
	sent, before := uint64(0), taken()
	const window = tapQueue / 4
	for b.Loop() {
		if _, err := sender.Write(buffer); err != nil {
			b.Fatal(err)
		}
		if sent++; sent%window == 0 {
			for taken()-before < sent {
				runtime.Gosched()
			}
		}
	}
}
