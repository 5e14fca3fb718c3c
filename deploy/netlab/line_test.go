package netlab

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// directions draws what a user may ask for.
func directions() *rapid.Generator[Direction] {
	return rapid.Custom(func(t *rapid.T) Direction {
		d := Direction{
			Delay: time.Duration(rapid.Int64Range(0, int64(50*time.Millisecond)).Draw(t, "delay")),
			Loss:  rapid.SampledFrom([]float64{0, 0, 0.1, 0.5, 1}).Draw(t, "loss"),
		}
		d.Jitter = time.Duration(rapid.Int64Range(0, int64(d.Delay)).Draw(t, "jitter"))
		if d.Delay > 0 {
			d.Reorder = rapid.SampledFrom([]float64{0, 0, 0.1, 1}).Draw(t, "reorder")
		}
		if rapid.Bool().Draw(t, "slow") {
			d.Rate = rapid.Uint64Range(MinRate, MaxRate).Draw(t, "rate")
			d.Limit = rapid.IntRange(0, 20).Draw(t, "limit")
			d.LimitBytes = rapid.IntRange(0, 20_000).Draw(t, "limitBytes")
		}
		return d
	})
}

// Whatever a line is told to do: no frame comes before its delay is over, none
// overtakes unless reordering was asked for, no line is faster than its rate, and every frame is
// counted once.
func TestLineKeepsItsWord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := directions().Draw(t, "direction")
		if err := d.Check(); err != nil {
			t.Fatal(err)
		}
		l := newLine(d, rapid.Uint64().Draw(t, "seed"), 1)
		var now, last, busy time.Duration
		for range rapid.IntRange(1, 100).Draw(t, "frames") {
			now += time.Duration(rapid.Int64Range(0, int64(5*time.Millisecond)).Draw(t, "gap"))
			size := rapid.IntRange(14, 1514).Draw(t, "size")
			overflowed := l.counts.Overflowed
			arrives, ok := l.take(now, size)
			if l.counts.Overflowed == overflowed && d.Rate > 0 {
				// Exact, and apart from the line's own arithmetic but for a nanosecond a frame.
				sending := time.Duration(math.Floor(float64(size) * 8e9 / float64(d.Rate)))
				busy = max(busy, now) + sending
			}
			if !ok {
				continue
			}
			earliest := max(now, busy)
			if d.Reorder == 0 {
				earliest += d.Delay - d.Jitter
			}
			if arrives < earliest {
				t.Fatalf("a frame of %v arrives at %v, it cannot before %v", now, arrives, earliest)
			}
			if d.Reorder == 0 && arrives < last {
				t.Fatalf("a frame arrives at %v, the one before it at %v", arrives, last)
			}
			last = arrives
			if rapid.Bool().Draw(t, "lands") {
				l.arrived(size, rapid.Bool().Draw(t, "accepted"))
			}
		}
		c := l.snapshot()
		if c.Taken != c.Delivered+c.Lost+c.Overflowed+c.Refused+c.InFlight || c.InFlight > c.Taken {
			t.Fatalf("the counts do not add up: %+v", c)
		}
	})
}

func TestLineWithoutARateIsExact(t *testing.T) {
	l := newLine(Direction{Delay: 5 * time.Millisecond}, 1, 1)
	for now := range 100 * time.Microsecond {
		if arrives, ok := l.take(now, 1514); !ok || arrives != now+5*time.Millisecond {
			t.Fatalf("a frame of %v arrives at %v (%v)", now, arrives, ok)
		}
		l.arrived(1514, true)
	}
}

// A slow line sends one frame after the other, holds as many as it may, and drops the
// rest.
func TestLineQueues(t *testing.T) {
	l := newLine(Direction{Rate: 8_000_000, Delay: time.Second, Limit: 3}, 1, 1)
	var arrivals []time.Duration
	for range 5 {
		if arrives, ok := l.take(0, 1000); ok {
			arrivals = append(arrivals, arrives-time.Second)
		}
	}
	// The first is sent by 1 ms, and makes room.
	if arrives, ok := l.take(time.Millisecond, 1000); ok {
		arrivals = append(arrivals, arrives-time.Second)
	}
	want := []time.Duration{time.Millisecond, 2 * time.Millisecond, 3 * time.Millisecond, 4 * time.Millisecond}
	if !slices.Equal(arrivals, want) || l.counts.Overflowed != 2 {
		t.Errorf("sent by %v with %d overflowed, want %v and 2", arrivals, l.counts.Overflowed, want)
	}

	l = newLine(Direction{Rate: 8_000_000, LimitBytes: 2500}, 1, 1)
	for _, size := range []int{1000, 1000, 1000, 500} {
		l.take(0, size)
	}
	if l.counts.Overflowed != 1 || l.waitingBytes != 2500 {
		t.Errorf("%d overflowed and %d bytes wait, want 1 and 2500", l.counts.Overflowed, l.waitingBytes)
	}
}

func TestLineHoldsNoMoreThanItMay(t *testing.T) {
	for _, size := range []int{60, smallFrame, smallFrame + 1, 1514, largeFrame + 1, 1 << 16} {
		l := newLine(Direction{Delay: time.Minute}, 1, 1)
		most := MaxBytesInFlight / footprint(size)
		for range most + 10 {
			l.take(0, size)
		}
		if l.inFlight != most*footprint(size) || l.counts.Overflowed != 10 {
			t.Errorf("frames of %d: %d bytes under way and %d overflowed, want %d and 10", size, l.inFlight, l.counts.Overflowed, most*footprint(size))
		}
		for range most {
			l.arrived(size, true)
		}
		if l.inFlight != 0 {
			t.Errorf("frames of %d: %d bytes under way when all have arrived", size, l.inFlight)
		}
	}
}

// The same seed loses the same frames, whatever else happens to them; another line of
// the same wire, or another seed, loses others. How many is what was asked for.
func TestLossFollowsFromTheSeed(t *testing.T) {
	const frames, loss = 100_000, 0.01
	lost := func(d Direction, seed, which uint64) []int {
		d.Loss = loss
		l := newLine(d, seed, which)
		var lost []int
		for i := range frames {
			if _, ok := l.take(time.Duration(i)*time.Millisecond, 1000); ok {
				l.arrived(1000, true)
			} else {
				lost = append(lost, i)
			}
		}
		return lost
	}
	one := lost(Direction{}, 1, 1)
	if !slices.Equal(one, lost(Direction{Delay: time.Second, Jitter: time.Second, Rate: 1e9}, 1, 1)) {
		t.Error("a delay changed which frames are lost")
	}
	if slices.Equal(one, lost(Direction{}, 1, 2)) || slices.Equal(one, lost(Direction{}, 2, 1)) {
		t.Error("two lines lose the same frames")
	}
	sigma := math.Sqrt(frames * loss * (1 - loss))
	if off := math.Abs(float64(len(one)) - frames*loss); off > 5*sigma {
		t.Errorf("%d of %d are lost, want %v", len(one), frames, frames*loss)
	}
}

// Far enough apart that none could overtake another, frames are spread evenly over
// the delays from Delay − Jitter to Delay + Jitter.
func TestJitterIsUniform(t *testing.T) {
	const frames, bins = 100_000, 10
	d := Direction{Delay: 20 * time.Millisecond, Jitter: 5 * time.Millisecond}
	l := newLine(d, 1, 1)
	var counts [bins]int
	for i := range frames {
		now := time.Duration(i) * time.Second
		arrives, _ := l.take(now, 100)
		l.arrived(100, true)
		at := float64(arrives-now-d.Delay+d.Jitter) / float64(2*d.Jitter)
		if at < 0 || at > 1 {
			t.Fatalf("a delay of %v", arrives-now)
		}
		counts[min(int(at*bins), bins-1)]++
	}
	for i, n := range counts {
		if math.Abs(float64(n)-frames/bins) > 5*math.Sqrt(frames/bins) {
			t.Errorf("%d delays in part %d of %d, want %d", n, i, bins, frames/bins)
		}
	}
}

func TestReorderedFramesOvertake(t *testing.T) {
	l := newLine(Direction{Delay: time.Second, Reorder: 0.1}, 1, 1)
	overtook := 0
	for i := range 10_000 {
		now := time.Duration(i) * time.Millisecond
		switch arrives, _ := l.take(now, 100); arrives {
		case now:
			overtook++
		case now + time.Second:
		default:
			t.Fatalf("a frame of %v arrives at %v", now, arrives)
		}
		l.arrived(100, true)
	}
	if math.Abs(float64(overtook)-1000) > 5*30 {
		t.Errorf("%d of 10000 overtook, want 1000", overtook)
	}
}

func TestFifoIsAQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q fifo
		var want []waiter
		for i, push := range rapid.SliceOf(rapid.Bool()).Draw(t, "pushes") {
			if push || q.empty() {
				q.push(waiter{size: i})
				want = append(want, waiter{size: i})
				continue
			}
			if got := q.pop(); got != want[0] {
				t.Fatalf("popped %v, want %v", got, want[0])
			}
			want = want[1:]
		}
		if q.len() != len(want) || len(want) > 0 && q.first() != want[0] {
			t.Fatalf("%d wait, want %d", q.len(), len(want))
		}
	})
}

func TestLatenessIsAtMostAQuarterAbove(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l Lateness
		all := rapid.SliceOfN(rapid.Int64Range(-5, int64(time.Hour)), 1, 50).Draw(t, "all")
		for _, ns := range all {
			l.add(time.Duration(ns))
		}
		slices.Sort(all)
		q := rapid.Float64Range(0, 1).Draw(t, "q")
		truth := max(all[max(int(math.Ceil(q*float64(len(all)))), 1)-1], 0)
		if got := int64(l.Quantile(q)); got < truth || got > truth+truth/4 {
			t.Fatalf("quantile %v is %d, want %d or a quarter more", q, got, truth)
		}
		if l.Max() != time.Duration(max(all[len(all)-1], 0)) || l.Count() != uint64(len(all)) {
			t.Fatalf("max %v of %d", l.Max(), l.Count())
		}
	})
}

func TestWiresAreChecked(t *testing.T) {
	for name, d := range map[string]Direction{
		"negative delay":       {Delay: -1},
		"long delay":           {Delay: 2 * time.Minute},
		"jitter above delay":   {Delay: time.Millisecond, Jitter: 2 * time.Millisecond},
		"negative jitter":      {Jitter: -1},
		"loss above all":       {Loss: 1.5},
		"loss that is none":    {Loss: math.NaN()},
		"negative loss":        {Loss: -0.1},
		"reordering, no delay": {Reorder: 0.1},
		"much reordering":      {Delay: 1, Reorder: 2},
		"slow":                 {Rate: 10},
		"fast":                 {Rate: MaxRate + 1},
		"negative limit":       {Rate: MinRate, Limit: -1},
		"limit without rate":   {Limit: 10},
	} {
		for way, w := range map[string]Wire{"out": {Out: d}, "in": {In: d}} {
			if _, err := (Config{Hosts: []string{"A"}, Wires: map[string]Wire{"A": w}}).plan(); err == nil {
				t.Errorf("%s, %s: no error", name, way)
			}
		}
	}
	good := Wire{Out: Direction{Delay: MaxDelay, Jitter: MaxDelay, Loss: 1, Reorder: 1, Rate: MaxRate, Limit: 1, LimitBytes: 1}}
	if _, err := (Config{Hosts: []string{"A"}, Wires: map[string]Wire{"A": good}}).plan(); err != nil {
		t.Error(err)
	}
	for name, cfg := range map[string]Config{
		"no such host":    {Hosts: []string{"A"}, Wires: map[string]Wire{"B": {}}},
		"large MTU":       {Hosts: []string{"A"}, Wires: map[string]Wire{"A": {}}, MTU: 65535},
		"seed of netem":   {Hosts: []string{"A"}, Wires: map[string]Wire{"A": {Seed: 1}}, Mechanism: Netem},
		"no mechanism":    {Hosts: []string{"A"}, Mechanism: 17},
		"bytes for netem": {Hosts: []string{"A"}, Wires: map[string]Wire{"A": {In: Direction{Rate: 1e6, LimitBytes: 1}}}, Mechanism: Netem},
	} {
		if _, err := cfg.plan(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := NewLoopback(Config{Hosts: []string{"A"}, Wires: map[string]Wire{"A": {}}}); err == nil {
		t.Error("a loopback lab took a wire")
	}
	for m, want := range map[Mechanism]string{AnyMechanism: "any", UserSpace: "user space", Netem: "netem"} {
		if fmt.Sprint(m) != want {
			t.Errorf("mechanism %d is %q", m, fmt.Sprint(m))
		}
	}
}
