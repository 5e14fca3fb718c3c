package clock

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// quiet is an exchange of probes as two hosts have it on a quiet link: kernel stamps on both
// ends, a little more than the way takes, sometimes much more.
type quiet struct {
	ppm, wanderPPM, period float64
	delay, jitter          float64
	stampErr               int64
	// steer is added to the rate of host 1, in ppm, half way.
	steer float64
	// exchanges a second, seconds.
	rate, seconds float64
}

func (q quiet) simulate(seed uint64) (clocks []truth, messages []Message) {
	random := rand.New(rand.NewPCG(seed, 3))
	clocks = []truth{
		{offset: 1e12, period: 1},
		{offset: -3e12, rate: q.ppm * 1e-6, swing: q.wanderPPM * 1e-6, period: max(q.period, 1) * 1e9, phase: random.Float64() * 6},
	}
	if q.steer != 0 {
		clocks[1].steers = []steer{{q.seconds / 2 * 1e9, q.steer * 1e-6}}
	}
	way := func() float64 { return q.delay + random.ExpFloat64()*q.jitter }
	wrong := func() Local {
		if q.stampErr == 0 {
			return 0
		}
		return Local(random.Int64N(2*q.stampErr+1) - q.stampErr)
	}
	for i := range int(q.rate * q.seconds) {
		t := (float64(i) + 0.2*random.Float64()) / q.rate * 1e9
		from := i % 2
		for range 2 {
			came := t + way()
			messages = append(messages, Message{
				From: from, Sent: clocks[from].read(t) + wrong(), SentErr: q.stampErr,
				To: 1 - from, Received: clocks[1-from].read(came) + wrong(), ReceivedErr: q.stampErr, Method: Probes,
			})
			t, from = came+20_000+random.ExpFloat64()*20_000, 1-from
		}
	}
	return clocks, messages
}

// BenchmarkQuality prints, for several links, how wide the interval is and how far its
// middle is from the truth, by the bound on the drift alone and with the one on the wander.
func BenchmarkQuality(b *testing.B) {
	links := []struct {
		name string
		quiet
	}{
		{"quiet, 10/s, 0 ppm", quiet{delay: 400, jitter: 300, rate: 10, seconds: 60}},
		{"quiet, 20/s, 0 ppm", quiet{delay: 400, jitter: 300, rate: 20, seconds: 60}},
		{"quiet, 20/s, 100 ppm, wander 1 ppm/20 s", quiet{ppm: 100, wanderPPM: 1, period: 20, delay: 400, jitter: 300, rate: 20, seconds: 60}},
		{"stamps ±80 ns, 20/s, 100 ppm, wander", quiet{ppm: 100, wanderPPM: 1, period: 20, delay: 400, jitter: 300, stampErr: 80, rate: 20, seconds: 60}},
		{"busy, 20/s, 100 ppm, wander", quiet{ppm: 100, wanderPPM: 1, period: 20, delay: 500, jitter: 10_000, rate: 20, seconds: 60}},
		{"LAN, 20/s", quiet{ppm: 30, wanderPPM: 1, period: 20, delay: 20_000, jitter: 10_000, rate: 20, seconds: 60}},
		{"WAN, 20/s", quiet{ppm: 30, wanderPPM: 1, period: 20, delay: 5e6, jitter: 1e6, rate: 20, seconds: 60}},
		{"quiet, 1/s", quiet{ppm: 30, wanderPPM: 1, period: 20, delay: 400, jitter: 300, rate: 1, seconds: 60}},
		{"quiet, 20/s, an hour", quiet{ppm: 30, wanderPPM: 1, period: 20, delay: 400, jitter: 300, rate: 20, seconds: 3600}},
	}
	for _, link := range links {
		for _, wander := range []float64{-1, 0} {
			name := link.name + "/drift"
			if wander == 0 {
				name = link.name + "/wander"
			}
			b.Run(name, func(b *testing.B) {
				var errs, offs []int64
				for b.Loop() {
					clocks, messages := link.simulate(1)
					m := NewModel(Config{Hosts: 2, WanderPPM: wander}, messages)
					if len(m.Inconsistent())+len(m.WanderBroken()) > 0 {
						b.Fatal(m.Inconsistent(), m.WanderBroken())
					}
					errs, offs = errs[:0], offs[:0]
					for i := range 1000 {
						at := (float64(i) + 0.5) / 1000 * link.seconds * 1e9
						s := m.Stamp(1, clocks[1].read(at), 0)
						off := int64(s.At) - int64(clocks[0].read(at))
						if off > s.Err+grain || -off > s.Err+grain {
							b.Fatalf("%d off, %+v", off, s)
						}
						errs, offs = append(errs, s.Err), append(offs, max(off, -off))
					}
				}
				slices.Sort(errs)
				slices.Sort(offs)
				b.ReportMetric(float64(errs[500]), "ε-median-ns")
				b.ReportMetric(float64(errs[990]), "ε-p99-ns")
				b.ReportMetric(float64(offs[500]), "off-median-ns")
				b.ReportMetric(float64(offs[990]), "off-p99-ns")
			})
		}
	}
}

func median(of []int64) int64 {
	slices.Sort(of)
	return of[len(of)/2]
}
