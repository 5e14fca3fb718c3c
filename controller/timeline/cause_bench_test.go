package timeline

import (
	"fmt"
	"testing"
)

// BenchmarkCauses finds the causes and the notes of one repetition: a connection that carries much,
// and many connections.
func BenchmarkCauses(b *testing.B) {
	for _, size := range []struct{ connections, segments int }{{1, 100}, {1, 20_000}, {500, 4}, {2_000, 4}} {
		w := newWorld(1, simClock{}, simClock{offset: 3_000_000})
		w.repeat(1, 0, func(t int64) int64 {
			for i := range size.connections {
				k := w.talk(0, 1, uint16(20_000+i), uint32(1000+i*100_000))
				k.name = fmt.Sprint(i)
				t = k.open(t)
				seq := uint32(1)
				for range size.segments {
					k.call(0, t, t+2_000, Call{Lane: "client" + k.name, Name: "send", Socket: "c", FD: 7, Result: 1000})
					t = k.up(t+1_000, PSH|ACK, seq, 1, 1000, fate{})
					seq += 1000
					t = k.down(t+5_000, ACK, 1, seq, 0, fate{}) + 10_000
				}
				t = k.close(t, seq-1)
			}
			return t
		})
		tl, err := Build(w.run, 1)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("moments=%d/connections=%d", len(tl.Moments), size.connections), func(b *testing.B) {
			for b.Loop() {
				tl.Causes().Notes()
			}
		})
	}
}
