package clock

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// exchange is a request from 0 to 1 and its reply, at a true time, with its own delays.
func exchange(clocks []truth, method Methods, at, there, back float64) []Message {
	return []Message{
		{From: 0, Sent: clocks[0].read(at), To: 1, Received: clocks[1].read(at + there), Method: method},
		{From: 1, Sent: clocks[1].read(at + there + 1e4), To: 0, Received: clocks[0].read(at + there + 1e4 + back), Method: method},
	}
}

// A box on the way of the segments whose clock is 50 µs ahead: each method alone is sound,
// and together they are impossible.
func TestMethodsDisagree(t *testing.T) {
	clocks := []truth{{period: 1}, {offset: 7e9, rate: 30e-6, period: 1}}
	var messages []Message
	for i := range 100 {
		at := float64(i) * 5e7
		messages = append(messages, exchange(clocks, Probes, at, 1_000, 1_200)...)
		for _, m := range exchange(clocks, Segments, at+2e7, 1_500, 1_000) {
			if m.From == 0 {
				m.Received += 50_000
			} else {
				m.Sent += 50_000
			}
			messages = append(messages, m)
		}
	}
	m := NewModel(Config{Hosts: 2}, messages)
	disagreements := m.Disagreements()
	if len(disagreements) != 1 {
		t.Fatalf("disagreements %+v, want one", disagreements)
	}
	d := disagreements[0]
	if d.A != 0 || d.B != 1 || d.Segments.Lo-d.Probes.Hi < 40_000 || d.Segments.Lo-d.Probes.Hi > 50_000 {
		t.Errorf("disagreement %+v, want segments to be some 48 µs above the probes", d)
	}
	for _, methods := range []Methods{Probes, Segments} {
		alone := m.By(methods)
		if len(alone.Inconsistent())+len(alone.WanderBroken())+len(alone.Disagreements()) > 0 {
			t.Errorf("%v alone are inconsistent: %+v, %+v", methods, alone.Inconsistent(), alone.WanderBroken())
		}
	}
	if broken := m.WanderBroken(); len(broken) > 0 {
		t.Errorf("the clocks are blamed for what the methods did: %+v", broken)
	}
	// All together cover both, so the truth, whichever of them is right.
	for i := range 50 {
		true0 := float64(i) * 1e8
		at := clocks[1].read(true0)
		all, probes, segments := m.Bound(1, at), m.By(Probes).Bound(1, at), m.By(Segments).Bound(1, at)
		if want := (Bound{min(probes.Lo, segments.Lo), max(probes.Hi, segments.Hi)}); all != want {
			t.Fatalf("bound %+v, want %+v, which covers both methods", all, want)
		}
		if both := m.By(Probes|Segments).Bound(1, at); both != all {
			t.Fatalf("by both methods %+v, by all %+v", both, all)
		}
		if offset := int64(at - clocks[0].read(true0)); offset < all.Lo || offset > all.Hi {
			t.Fatalf("offset %d, bound %+v", offset, all)
		}
		lo, hi := m.Between(0, 0, 1, at)
		for _, methods := range []Methods{Probes, Segments} {
			if l, h := m.By(methods).Between(0, 0, 1, at); l < lo || h > hi {
				t.Fatalf("between [%d, %d], by %v alone [%d, %d]", lo, hi, methods, l, h)
			}
		}
	}
}

// An asymmetric path is no disagreement: the interval is wide, and holds the truth.
func TestAsymmetryIsNoDisagreement(t *testing.T) {
	clocks := []truth{{period: 1}, {offset: 7e9, rate: 30e-6, period: 1}}
	var messages []Message
	for i := range 100 {
		messages = append(messages, exchange(clocks, Probes, float64(i)*5e7, 5e6, 1e6)...)
		messages = append(messages, exchange(clocks, Segments, float64(i)*5e7+2e7, 1e5, 1e5)...)
	}
	m := NewModel(Config{Hosts: 2}, messages)
	if len(m.Inconsistent())+len(m.WanderBroken())+len(m.Disagreements()) > 0 {
		t.Errorf("inconsistent %+v, unsteady %+v, disagreeing %+v", m.Inconsistent(), m.WanderBroken(), m.Disagreements())
	}
	at := clocks[1].read(2e9)
	offset, alone := int64(at-clocks[0].read(2e9)), m.By(Probes).Bound(1, at)
	if off := offset - alone.Mid(); off > -1_900_000 && off < 1_900_000 || alone.Err() < 2_900_000 {
		t.Errorf("probes alone: %+v, %d off; want the middle 2 ms off and 3 ms of error", alone, off)
	}
}

// A change of rate that was reported costs width and never the truth; the same unreported is
// seen, as soon as it is large.
func TestUnreportedSteering(t *testing.T) {
	for _, ppm := range []float64{0.3, 3, 10, 30, 100} {
		outside, silent, asked, seen := 0, 0, 0, 0
		const labs = 40
		for seed := range uint64(labs) {
			q := quiet{ppm: 20, delay: 400, jitter: 300, rate: 20, seconds: 10, steer: ppm}
			clocks, messages := q.simulate(seed)
			m := NewModel(Config{Hosts: 2}, messages)
			said := len(m.Inconsistent())+len(m.WanderBroken()) > 0
			if said {
				seen++
			}
			for i := range 200 {
				at := (float64(i) + 0.5) / 200 * q.seconds * 1e9
				s := m.Stamp(1, clocks[1].read(at), 0)
				asked++
				if off := int64(s.At) - int64(clocks[0].read(at)); off > s.Err+grain || -off > s.Err+grain {
					outside++
					if !said {
						silent++
					}
				}
			}
			near := clocks[1].steers[0].at
			cfg := Config{Hosts: 2, Changes: []Change{{Host: 1, Since: clocks[1].read(near - 1e8), At: clocks[1].read(near + 1e7)}}}
			if m := NewModel(cfg, messages); len(m.WanderBroken())+len(m.Inconsistent()) > 0 {
				t.Fatalf("seed %d: %g ppm were reported, and all the same unsteady %+v, inconsistent %+v", seed, ppm, m.WanderBroken(), m.Inconsistent())
			}
		}
		t.Logf("%5g ppm at once: seen in %d of %d labs; truth outside in %d of %d, in %d without a word", ppm, seen, labs, outside, asked, silent)
		if outside > silent {
			t.Errorf("%g ppm at once: where it was seen, the truth is outside %d times", ppm, outside-silent)
		}
		if silent > asked/100 {
			t.Errorf("%g ppm at once: the truth is outside without a word %d times of %d", ppm, silent, asked)
		}
		if ppm >= 100 && seen < labs*9/10 {
			t.Errorf("%g ppm at once are seen in %d of %d labs only", ppm, seen, labs)
		}
	}
}

// Rates that are narrower than the bound on the drift hold the true rate at any time, also
// beyond the messages, and those of a break do not.
func TestRatesHoldTheTruth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		l := newQuietLab(seed)
		l.clocks = l.clocks[:2]
		l.disturb()
		l.converse(rapid.Float64Range(1, 20).Draw(t, "rate"), 40)
		m := l.model()
		for owner, links := range m.view.links {
			for _, link := range links {
				for range 50 {
					at := l.when()
					c, far := l.clocks[owner], l.clocks[link.to]
					if c.disturbed(at) || far.disturbed(at) {
						continue
					}
					ratio := (1+far.rateAt(at))/(1+c.rateAt(at)) - 1
					g := link.ahead.envelopes[0].growth
					w := g.window(c.read(at), &cursor{})
					most, least := float64(g.most[w])/(1<<32), float64(g.least[w])/(1<<32)
					if ratio > most+1e-12 || ratio < least-1e-12 {
						t.Fatalf("rate of %d to %d is %g, between %g and %g", link.to, owner, ratio, least, most)
					}
				}
			}
		}
	})
}

// disturbed reports whether something happens to the clock about now.
func (c truth) disturbed(t float64) bool {
	for _, s := range c.stops {
		if t > s.at-1e6 && t < s.at+s.length+1e6 {
			return true
		}
	}
	for _, s := range c.steers {
		if math.Abs(c.awake(t)-s.at) < 1e6 {
			return true
		}
	}
	return false
}

func (c truth) rateAt(t float64) float64 {
	rate := c.rate + c.swing*math.Cos(2*math.Pi*c.awake(t)/c.period+c.phase)
	for _, s := range c.steers {
		if c.awake(t) > s.at {
			rate += s.rate
		}
	}
	return rate
}

// Six hosts, all pairs probed: between the worst pair it is not worse than what the worst
// pair on the way knows by itself, and through a third host it may be better.
func TestSixHosts(t *testing.T) {
	for seed := range uint64(20) {
		l := newQuietLab(seed)
		for len(l.clocks) < 6 {
			l.clocks = append(l.clocks, newQuietLab(seed+100).clocks...)
		}
		l.clocks = l.clocks[:6]
		l.converse(10, 40)
		m := l.model()
		for a := range 6 {
			for b := range 6 {
				at := l.clocks[a].read(l.random.Float64() * l.span)
				if a == b {
					continue
				}
				lo, hi := m.view.reading(a, at, b)
				direct := Unbounded
				w := m.view.walk()
				for j := range m.view.links[a] {
					if link := &m.view.links[a][j]; link.to == b {
						direct = link.greatest(int64(at), &w.cursors[a][j][0]) - link.least(int64(at), &w.cursors[a][j][1])
					}
				}
				if hi-lo > direct {
					t.Errorf("seed %d: %d to %d is known to %d ns, by their own messages to %d", seed, a, b, hi-lo, direct)
				}
				for c := range 6 {
					// What is known by way of c bounds it too.
					cLo, cHi := m.view.reading(a, at, c)
					bLo, _ := m.view.reading(c, Local(cLo), b)
					_, bHi := m.view.reading(c, Local(cHi), b)
					if lo < bLo || hi > bHi {
						t.Errorf("seed %d: by way of %d, %d reads %d to %d, but directly %d to %d", seed, c, b, bLo, bHi, lo, hi)
					}
				}
			}
		}
	}
}
