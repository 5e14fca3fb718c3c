package clock

import (
	"math"
	"math/rand/v2"
	"testing"
)

// saturated is a clock whose rate changes as much as is assumed at any moment: it rises or
// falls by the whole wander, and jumps to and fro by the whole step.
type saturated struct {
	ends []float64
	rate []float64
}

const saturatedGrain = 1e7

func newSaturated(random *rand.Rand, seconds, step, wander float64) *saturated {
	s := &saturated{}
	rate, rises, jumped, end := (2*random.Float64()-1)*50e-6, 1.0, 1.0, 0.0
	turns, jumps := 0.002+0.05*random.Float64(), 0.002+0.2*random.Float64()
	for range int((seconds + 4) * 1e9 / saturatedGrain) {
		if random.Float64() < turns {
			rises = -rises
		}
		if random.Float64() < jumps {
			jumped = -jumped
		}
		rate += rises * wander * saturatedGrain / 1e9
		s.rate, s.ends = append(s.rate, rate+jumped*step/2), append(s.ends, end)
		end += saturatedGrain * (rate + jumped*step/2)
	}
	return s
}

func (s *saturated) read(t float64) Local {
	t += 2e9
	i := int(t / saturatedGrain)
	return Local(math.Floor(t + 7e9 + s.ends[i] + (t-float64(i)*saturatedGrain)*s.rate[i]))
}

// The truth is inside however hard a clock uses what it may, with what is assumed if nothing
// is said and with more. A slip in what is made of wander, step or grain puts it outside.
func TestTruthIsInsideOfSaturatedClocks(t *testing.T) {
	base := func(t float64) Local { return Local(math.Floor(t + 2e9)) }
	known := 0
	for _, kind := range []struct {
		labs   uint64
		untold []int64
		step   float64
	}{
		{150, nil, 2 * defaultUntoldPPB},
		{20, []int64{1_000, 9_000}, 10_000},
		{20, []int64{defaultUntoldPPB, 0}, 20_000},
	} {
		for seed := range kind.labs {
			random := rand.New(rand.NewPCG(seed, 5))
			seconds := 2 + 8*random.Float64()
			clock := newSaturated(random, seconds, kind.step*0.999e-9, 0.99e-6)
			every, jitter := 1e9/(2+20*random.Float64()), 50*math.Pow(10, 2*random.Float64())
			var messages []Message
			for at := 0.0; at < seconds*1e9; at += every {
				there := at + 20 + random.ExpFloat64()*jitter
				left := there + 20e3
				back := left + 20 + random.ExpFloat64()*jitter
				if random.Float64() < 0.2 {
					continue
				}
				messages = append(messages,
					Message{From: 0, To: 1, Sent: base(at), Received: clock.read(there), Method: Probes},
					Message{From: 1, To: 0, Sent: clock.read(left), Received: base(back), Method: Probes})
			}
			for reference := range 2 {
				m := NewModel(Config{Hosts: 2, Reference: reference, UntoldPPB: kind.untold}, messages)
				if len(m.Inconsistent())+len(m.WanderBroken()) > 0 {
					t.Fatalf("seed %d: honest clocks are called inconsistent %+v, unsteady %+v", seed, m.Inconsistent(), m.WanderBroken())
				}
				for range 1000 {
					when := (random.Float64()*1.3 - 0.15) * seconds * 1e9
					if when < -1.9e9 || when > (seconds+1.9)*1e9 {
						continue
					}
					read := [2]Local{base(when), clock.read(when)}
					b := m.Bound(1-reference, read[1-reference])
					if b.Known() {
						known++
					}
					if offset := int64(read[1-reference] - read[reference]); offset < b.Lo-grain || offset > b.Hi+grain {
						t.Fatalf("seed %d, untold %v: offset %d, bound %+v", seed, kind.untold, offset, b)
					}
				}
			}
		}
	}
	if known < 200_000 {
		t.Errorf("only %d bounds were known: this proves little", known)
	}
}

// Where nobody watched a clock, what is known of it is what the drift alone gives.
func TestNobodyWatched(t *testing.T) {
	q := quiet{ppm: 20, delay: 400, jitter: 300, rate: 20, seconds: 5}
	clocks, messages := q.simulate(1)
	at := clocks[1].read(2.51e9)
	wide := NewModel(Config{Hosts: 2, WanderPPM: -1}, messages).Bound(1, at)
	for _, untold := range [][]int64{{}, {750}, {750, 0}, {-1, 750}} {
		if got := NewModel(Config{Hosts: 2, UntoldPPB: untold}, messages).Bound(1, at); got != wide {
			t.Errorf("untold %v: bound %+v, by the drift alone %+v", untold, got, wide)
		}
	}
	usual, said := NewModel(Config{Hosts: 2}, messages).Bound(1, at), NewModel(Config{Hosts: 2, UntoldPPB: []int64{750, 750}}, messages).Bound(1, at)
	if usual != said || usual.Err() >= wide.Err() {
		t.Errorf("bound %+v, with what is usual told %+v, by the drift alone %+v", usual, said, wide)
	}
	shared := Config{Hosts: 3, ClockIDs: []string{"", "k", "k"}, UntoldPPB: []int64{750, -1, 750}}
	if got := NewModel(shared, messages).Bound(1, at); got != usual {
		t.Errorf("one of two on a kernel watched: bound %+v, want %+v", got, usual)
	}
}

func TestBoundsAreRoundedUp(t *testing.T) {
	m := NewModel(Config{Hosts: 1, DriftPPM: 200.0001, WanderPPM: 0.0001}, nil)
	if m.DriftPPB() != 200_001 || m.WanderPPB() != 1 {
		t.Errorf("drift %d, wander %d ppb; want 200001 and 1", m.DriftPPB(), m.WanderPPB())
	}
}
