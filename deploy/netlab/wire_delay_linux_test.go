package netlab

import (
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The two ways of a wire have delays of their own, seen by the taps of the hosts.
// Never sooner; later by as much as a busy machine may keep a thread waiting.
func TestWireDelaysEachWayByItsOwn(t *testing.T) {
	const there, back, patience, frames = 5 * time.Millisecond, time.Millisecond, 15 * time.Millisecond, 200
	mechanisms(t, func(t *testing.T, m Mechanism) {
		l := makeLab(t, Config{Hosts: []string{"A", "B"}, Mechanism: m, Wires: map[string]Wire{
			"A": {Out: Direction{Delay: there}, In: Direction{Delay: back}},
		}})
		for _, way := range []struct {
			from, to string
			delay    time.Duration
		}{{"A", "B", there}, {"B", "A", back}} {
			sender, receiver := datagrams(t, l, way.from, way.to)
			meet(t, sender, receiver)
			near, far := newTap(t, l.Host(way.from)), newTap(t, l.Host(way.to))
			awaitStamps(t, sender, near, far)
			var took []time.Duration
			for i := range frames {
				if _, err := sender.Write(numbered(i)); err != nil {
					t.Fatal(err)
				}
				left, came := near.next(), far.next()
				if left.number != uint32(i) || came.number != uint32(i) {
					t.Fatalf("datagram %d left as %d and came as %d", i, left.number, came.number)
				}
				took = append(took, came.at.Sub(left.at))
			}
			slices.Sort(took)
			t.Logf("%s to %s: min %v, median %v, max %v", way.from, way.to, took[0], took[frames/2], took[frames-1])
			if took[0] < way.delay || took[frames/2] > way.delay+patience {
				t.Errorf("%s to %s took %v at least and %v in the median, want %v or a little more",
					way.from, way.to, took[0], took[frames/2], way.delay)
			}
		}
	})
}

// Frames keep their order though each has a delay of its own.
func TestJitterKeepsOrder(t *testing.T) {
	const frames = 3000
	mechanisms(t, func(t *testing.T, m Mechanism) {
		l := makeLab(t, Config{Hosts: []string{"A", "B"}, Mechanism: m, Wires: map[string]Wire{
			"A": {Out: Direction{Delay: 5 * time.Millisecond, Jitter: 5 * time.Millisecond}},
			"B": {In: Direction{Delay: 2 * time.Millisecond, Jitter: time.Millisecond}},
		}})
		if m == Netem {
			stayOnOneProcessor(t)
		}
		sender, receiver := datagrams(t, l, "A", "B")
		meet(t, sender, receiver)
		far := newTap(t, l.Host("B"))
		const window = 100
		for i := 0; i < frames; i += window {
			for j := range window {
				if _, err := sender.Write(numbered(i + j)); err != nil {
					t.Fatal(err)
				}
			}
			for j := range window {
				if got := far.next(); got.number != uint32(i+j) {
					t.Fatalf("datagram %d came in the place of %d", got.number, i+j)
				}
			}
		}
	})
}

// stayOnOneProcessor keeps the rest of the test on one, and with it the timers of
// netem and the backlog of its veth pairs, which keep no order between processors (DESIGN.md,
// Order). The thread ends with the test.
func stayOnOneProcessor(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	var allowed, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		t.Fatal(err)
	}
	for i := 0; one.Count() == 0; i++ {
		if allowed.IsSet(i) {
			one.Set(i)
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
}

func TestReorderingReorders(t *testing.T) {
	const frames = 200
	mechanisms(t, func(t *testing.T, m Mechanism) {
		l := makeLab(t, Config{Hosts: []string{"A", "B"}, Mechanism: m, Wires: map[string]Wire{
			"A": {Out: Direction{Delay: 50 * time.Millisecond, Reorder: 0.2}},
		}})
		sender, receiver := datagrams(t, l, "A", "B")
		meet(t, sender, receiver)
		far := newTap(t, l.Host("B"))
		for i := range frames {
			if _, err := sender.Write(numbered(i)); err != nil {
				t.Fatal(err)
			}
		}
		var came []uint32
		for range frames {
			came = append(came, far.next().number)
		}
		if slices.IsSorted(came) {
			t.Error("all came in order")
		}
		slices.Sort(came)
		if len(slices.Compact(came)) != frames {
			t.Errorf("%d different datagrams came, want %d", len(slices.Compact(came)), frames)
		}
	})
}
