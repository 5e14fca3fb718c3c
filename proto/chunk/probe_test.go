package chunk

import (
	"math/rand/v2"
	"testing"

	synclinev1 "syncline/proto/syncline/v1"
)

// prober makes the sights of probes of a host that asks two others and answers a third,
// ten times a second, in the order in which an agent learns of them.
type prober struct {
	r          *rand.Rand
	now, ahead int64
	exchange   uint64
	// answered is the last exchange of the host that asks this one; it asks another too.
	answered uint64
}

func newProber(r *rand.Rand, now, ahead int64) *prober {
	return &prober{r: r, now: now, ahead: ahead, answered: 1}
}

func (p *prober) after(low, mid int64) int64 {
	return low + int64(float64(mid-low)*p.r.ExpFloat64()*1.4)
}

// period is every sight of one period.
func (p *prober) period() []*synclinev1.Event {
	const out, in = synclinev1.Direction_DIRECTION_OUT, synclinev1.Direction_DIRECTION_IN
	var events []*synclinev1.Event
	begin := p.now
	add := func(peer string, direction synclinev1.Direction, exchange uint64, reply bool) {
		events = append(events, &synclinev1.Event{TimeNs: p.now, Fact: &synclinev1.Event_Probe{Probe: &synclinev1.Probe{
			Peer: peer, Direction: direction, Exchange: exchange, Reply: reply, Path: synclinev1.ProbePath_PROBE_PATH_EXPERIMENT,
			Origin: synclinev1.StampOrigin_STAMP_ORIGIN_KERNEL, RealtimeNs: p.now + p.ahead, ErrorNs: 37,
		}}})
	}
	for _, peer := range []string{"B", "C"} {
		p.exchange++
		add(peer, out, p.exchange, false)
		p.now += p.after(60_000, 90_000)
		add(peer, in, p.exchange, true)
		p.now = begin + 30_000_000 + p.after(30_000, 60_000)
	}
	p.answered += 2
	p.now = begin + 60_000_000 + p.after(30_000, 90_000)
	add("D", in, p.answered, false)
	p.now += p.after(20_000, 40_000)
	add("D", out, p.answered, true)
	p.now = begin + 100_000_000 + p.after(30_000, 60_000) - 45_000
	p.ahead += int64(p.r.IntN(7)) - 3
	return events
}

// run is n periods, numbered, with the readings of all clocks that come with them.
func (p *prober) run(n int) []*synclinev1.Event {
	var events []*synclinev1.Event
	for range n {
		events = append(events, p.period()...)
	}
	for i, ev := range events {
		ev.Number = uint64(i) + 1
	}
	return events
}

// TestProbesAreSmall holds what probes may cost: they go on through a whole run, whatever
// happens in it.
func TestProbesAreSmall(t *testing.T) {
	want := newProber(rand.New(rand.NewPCG(1, 7)), 81_234_567_890_123, 1_760_000_000_000_000_000).run(1000)
	same(t, want, decode(t, encode(t, new(Builder), want)))
	got := float64(encoded(t, want)) / float64(len(want))
	t.Logf("%.2f bytes an event", got)
	if got > 6 {
		t.Errorf("%.2f bytes an event of probes, the goal is 6", got)
	}
}

// TestProbesAmongOthers: probes that come between the events of repetitions cost little
// more than by themselves, and leave the prediction of those as it was.
func TestProbesAmongOthers(t *testing.T) {
	lab := newLab(1, true).run(1000)
	probes := newProber(rand.New(rand.NewPCG(2, 7)), lab[0].TimeNs, 1_760_000_000_000_000_000).run(1000)
	var want []*synclinev1.Event
	for i, rest := 0, probes; i < len(lab); i++ {
		if i%5 == 0 && len(rest) > 1 {
			want = append(want, rest[0], rest[1])
			rest = rest[2:]
		}
		want = append(want, lab[i])
	}
	for i, ev := range want {
		ev.Number = uint64(i) + 1
	}
	same(t, want, decode(t, encode(t, new(Builder), want)))
	got := float64(encoded(t, want)-encoded(t, lab)) / float64(len(want)-len(lab))
	t.Logf("%.2f bytes an event", got)
	if got > 7 {
		t.Errorf("%.2f bytes an event of probes among others, the goal is 7", got)
	}
}

// TestProbesThatPredictNothing: a datagram that is lost, a reply that is learned of before
// its request, a stamp of another clock, a peer that was never seen.
func TestProbesThatPredictNothing(t *testing.T) {
	at := int64(81_234_567_890_123)
	sight := func(gap int64, p *synclinev1.Probe) *synclinev1.Event {
		at += gap
		return &synclinev1.Event{TimeNs: at, Repetition: uint32(gap % 3), Fact: &synclinev1.Event_Probe{Probe: p}}
	}
	const out, in = synclinev1.Direction_DIRECTION_OUT, synclinev1.Direction_DIRECTION_IN
	want := []*synclinev1.Event{
		sight(0, &synclinev1.Probe{Peer: "B", Direction: in, Exchange: 9, Reply: true, RealtimeNs: at + 5, ErrorNs: 40}),
		sight(-7000, &synclinev1.Probe{Peer: "B", Direction: out, Exchange: 9, RealtimeNs: at + 5, ErrorNs: 40}),
		sight(100_000_000, &synclinev1.Probe{Peer: "B", Direction: out, Exchange: 10, Origin: synclinev1.StampOrigin_STAMP_ORIGIN_AGENT, ErrorNs: 20_000}),
		sight(100_000_000, &synclinev1.Probe{Peer: "B", Direction: out, Exchange: 3, RealtimeNs: at}),
		sight(0, &synclinev1.Probe{}),
		sight(0, nil),
		sight(-1, &synclinev1.Probe{Peer: "C", Path: synclinev1.ProbePath_PROBE_PATH_CONTROL, Exchange: 1<<64 - 1, RealtimeNs: -1 << 63, ErrorNs: 1<<63 - 1}),
		sight(1, &synclinev1.Probe{Peer: "C", Path: synclinev1.ProbePath_PROBE_PATH_CONTROL, Exchange: 1}),
	}
	want[5].Fact = &synclinev1.Event_Probe{Probe: new(synclinev1.Probe)}
	same(t, want, decode(t, encode(t, new(Builder), want)))
}

// TestSamplesOfASteeredClockAreSmall: CLOCK_MONOTONIC_RAW goes away from CLOCK_MONOTONIC
// at an even rate, which costs nothing.
func TestSamplesOfASteeredClockAreSmall(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 7))
	var want []*synclinev1.Event
	for i := range int64(1000) {
		at := 81_234_567_890_123 + i*1_000_000_000 + r.Int64N(100_000)
		want = append(want, &synclinev1.Event{Number: uint64(i) + 1, TimeNs: at, Fact: &synclinev1.Event_ClockSample{ClockSample: &synclinev1.ClockSample{
			RealtimeNs: at + 1_760_000_000_000_000_000 + r.Int64N(7), ErrorNs: 37, RawNs: at - 4_000_000 - i*50_000 + r.Int64N(30), RawErrorNs: 40, SteadyPpb: 2_400,
		}}})
	}
	same(t, want, decode(t, encode(t, new(Builder), want)))
	if got := float64(encoded(t, want)) / float64(len(want)); got > 8 {
		t.Errorf("%.2f bytes a sample, the goal is 8", got)
	}
}

// BenchmarkEncodeProbes is BenchmarkEncode of probes alone.
func BenchmarkEncodeProbes(b *testing.B) {
	benchmarkEncode(b, newProber(rand.New(rand.NewPCG(1, 7)), 81_234_567_890_123, 1_760_000_000_000_000_000).run(1000))
}

// worstOfClocks makes ev one of the facts of clocks, which nothing predicts.
func worstOfClocks(ev *synclinev1.Event, r *rand.Rand) {
	u, i := r.Uint32, func() int64 { return int64(r.Uint64()) }
	switch r.IntN(3) {
	case 0:
		ev.Fact = &synclinev1.Event_Probe{Probe: &synclinev1.Probe{
			Peer: string(rune(u() % 0xd000)), Direction: synclinev1.Direction(u()), Exchange: r.Uint64(), Reply: u()%2 == 0,
			Path: synclinev1.ProbePath(u()), Origin: synclinev1.StampOrigin(u()), RealtimeNs: i(), ErrorNs: i(),
		}}
	case 1:
		ev.Fact = &synclinev1.Event_ClockSample{ClockSample: &synclinev1.ClockSample{RealtimeNs: i(), ErrorNs: i(), RawNs: i(), RawErrorNs: i(), SteadyPpb: r.Uint64()}}
	default:
		ev.Fact = &synclinev1.Event_ClockStep{ClockStep: &synclinev1.ClockStep{
			StepNs: i(), SinceNs: i(), Change: synclinev1.ClockChange(u()), RatePpb: i(), RateBeforePpb: i(),
		}}
	}
}
