package timeline

import (
	"fmt"
	"math/rand/v2"
)

// wildClocks are an hour apart and wander, but neither gains 200 ppm on the other.
func wildClocks(seed uint64, hosts int) []simClock {
	r := rand.New(rand.NewPCG(seed, 3))
	clocks := make([]simClock, hosts)
	for h := range clocks {
		clocks[h] = simClock{
			offset: r.Int64N(2*3600e9) - 3600e9 + 4e12, ppm: r.Float64()*197 - 98.5,
			// One part per million in twenty seconds, as its rate changes the fastest.
			swing: r.Float64(), period: 20e9 * (1 + r.Float64()),
		}
	}
	return clocks
}

// drawPath is a way of a probe: short or long, and often another one back.
func drawPath(r *rand.Rand) simPath {
	return simPath{delay: 500 + r.Int64N(5_000_000), jitter: 1 + r.Int64N(200_000), loss: r.Float64() * 0.5, twice: r.Float64() * 0.2}
}

// wildLab is a run of some seconds with probes on some paths and segments on others.
func wildLab(seed uint64) *world {
	r := rand.New(rand.NewPCG(seed, 4))
	hosts := 2 + r.IntN(4)
	w := newWorld(seed, wildClocks(seed, hosts)...)
	const long = 8e9
	for a := range hosts {
		for b := a + 1; b < hosts; b++ {
			if r.IntN(4) > 0 {
				asker, peer := a, b
				if r.IntN(2) == 0 {
					asker, peer = b, a
				}
				w.probe(probing{
					asker: asker, peer: peer, from: r.Int64N(1e9), to: long - r.Int64N(1e9), every: 50e6 + r.Int64N(500e6),
					there: drawPath(r), back: drawPath(r),
				})
			}
		}
	}
	at := int64(100e6)
	for n := 1; n <= 3; n++ {
		w.repeat(n, at, func(at int64) int64 {
			for i := range 1 + r.IntN(3) {
				client := r.IntN(hosts)
				k := w.talk(client, (client+1+r.IntN(hosts-1))%hosts, uint16(40000+10*n+i), uint32(1000*n+100_000*i))
				k.name = fmt.Sprint(i)
				at = k.close(k.open(at), 0)
			}
			return at
		})
		at += 1e9 + r.Int64N(1.5e9)
	}
	return w
}
