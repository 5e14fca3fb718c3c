package netlab

import (
	"io"
	"math"
	"net/netip"
	"testing"
	"time"
)

// One frame in ten is lost, within five standard deviations of 10,000, and the
// counts are those of the kernel and of the sockets to the last frame.
func TestLossIsCountedToTheLastFrame(t *testing.T) {
	const frames, loss, window = 10_000, 0.1, 100
	l := makeLab(t, Config{Hosts: []string{"A", "B"}, Mechanism: UserSpace, Wires: map[string]Wire{
		"A": {Out: Direction{Loss: loss}, Seed: 7}, "B": {},
	}})
	sender, receiver := datagrams(t, l, "A", "B")
	neighbour(t, l.Host("A"), l.Host("B"), 2)
	came := 0
	for i := 0; i < frames; i += window {
		for j := range window {
			if _, err := sender.Write(numbered(i + j)); err != nil {
				t.Fatal(err)
			}
		}
		// All have come whose fate is to come, and are in the socket's buffer.
		await(t, "the window has left", func() bool { return settled(t, l)["A"].Out.Taken >= uint64(i+window) })
		settled(t, l)
		came += emptied(t, receiver)
	}
	reports := settled(t, l)
	a, b := reports["A"], reports["B"]
	sigma := math.Sqrt(frames * loss * (1 - loss))
	if off := math.Abs(float64(frames-came) - frames*loss); off > 5*sigma {
		t.Errorf("%d of %d are lost, want %v", frames-came, frames, frames*loss)
	}
	sent, got := linkCounters(t, l.Host("A")), linkCounters(t, l.Host("B"))
	if a.Out.Taken != sent.TxPackets || a.Missed != sent.TxDropped {
		t.Errorf("taken %d and missed %d, the kernel of A says sent %d and dropped %d", a.Out.Taken, a.Missed, sent.TxPackets, sent.TxDropped)
	}
	if b.In.Delivered != got.RxPackets {
		t.Errorf("delivered %d, the kernel of B says received %d", b.In.Delivered, got.RxPackets)
	}
	for _, c := range []Counts{a.Out, a.In, b.Out, b.In} {
		if c.Taken != c.Delivered+c.Lost+c.Overflowed+c.Refused {
			t.Errorf("the counts do not add up: %+v", c)
		}
	}
	// Few other frames have left A: those of IPv6's own.
	if others := int(a.Out.Taken) - frames; others < 0 || others > 50 || int(a.Out.Lost) < frames-came {
		t.Errorf("%d frames besides the datagrams, %d lost of all and %d of the datagrams", others, a.Out.Lost, frames-came)
	}
}

// A megabyte at 10 Mbit/s takes 0.8 s, and no tap sees a record that is more than one
// frame of the wire.
func TestRateAndNoSuperframes(t *testing.T) {
	const megabyte, rate = 1_000_000, 10_000_000
	mechanisms(t, func(t *testing.T, m Mechanism) {
		l := makeLab(t, Config{Hosts: []string{"A", "B"}, Mechanism: m, Wires: map[string]Wire{
			"A": {Out: Direction{Rate: rate}},
		}})
		listener, err := l.Host("B").Listen("tcp4", ":7")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		c, err := l.Host("A").Dial(t.Context(), "tcp4", netip.AddrPortFrom(l.Host("B").Address, 7).String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		accepted, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer accepted.Close()
		before := linkCounters(t, l.Host("A"))
		began := time.Now()
		wrote := make(chan error, 1)
		go func() {
			_, err := c.Write(make([]byte, megabyte))
			wrote <- err
		}()
		if _, err := io.ReadFull(accepted, make([]byte, megabyte)); err != nil {
			t.Fatal(err)
		}
		took := time.Since(began)
		if err := <-wrote; err != nil {
			t.Fatal(err)
		}
		t.Logf("took %v", took)
		if took < megabyte*8*time.Second/rate || took > deadline {
			t.Errorf("a megabyte took %v, want 0.8 s or a little more", took)
		}
		after := linkCounters(t, l.Host("A"))
		if least := uint64(megabyte / 1500); after.TxPackets-before.TxPackets < least {
			t.Errorf("%d frames carried a megabyte, want at least %d", after.TxPackets-before.TxPackets, least)
		}
	})
}

// A burst that the queue has no room for is dropped and counted.
func TestLimitOverflows(t *testing.T) {
	const burst, limit = 100, 10
	mechanisms(t, func(t *testing.T, m Mechanism) {
		l := makeLab(t, Config{Hosts: []string{"A", "B"}, Mechanism: m, Wires: map[string]Wire{
			"A": {Out: Direction{Rate: 1_000_000, Limit: limit}},
		}})
		sender, _ := datagrams(t, l, "A", "B")
		neighbour(t, l.Host("A"), l.Host("B"), 2)
		for range burst {
			if _, err := sender.Write(make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
		}
		await(t, "the burst has left", func() bool { return settled(t, l)["A"].Out.Taken >= burst })
		out := settled(t, l)["A"].Out
		dropped := out.Overflowed + out.Lost
		if dropped == 0 || dropped > burst || out.Delivered < limit || out.Taken != out.Delivered+dropped {
			t.Errorf("of a burst of %d at a queue of %d: %+v", burst, limit, out)
		}
		if m == UserSpace && out.Lost != 0 {
			t.Errorf("%d were lost by chance, want none", out.Lost)
		}
	})
}
