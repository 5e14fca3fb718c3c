package timeline

import (
	"strings"
	"testing"

	"syncline/controller/clock"
)

// TestProbesTighten: with both methods the clocks are known no worse than by each alone.
func TestProbesTighten(t *testing.T) {
	for seed := range uint64(20) {
		w := clockScenes[2].play(seed)
		r, err := NewBuilder(w.run).ClockReport(9)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range r.Hosts[1].Points {
			if !p.All.Known() || !p.Probes.Known() || !p.Segments.Known() {
				t.Fatalf("seed %d: %+v is not known", seed, p)
			}
			if p.All.Err() > p.Probes.Err()+1 || p.All.Err() > p.Segments.Err()+1 {
				t.Errorf("seed %d: ±%d by all, ±%d by probes, ±%d by segments", seed, p.All.Err(), p.Probes.Err(), p.Segments.Err())
			}
		}
		if h := r.Hosts[1]; h.ErrMedian > h.ErrMax || h.ErrMax >= clock.Unbounded || !h.RateKnown {
			t.Errorf("seed %d: %+v", seed, h)
		}
		p := r.Pairs[0]
		if p.ProbesThere != 30 || p.ProbesBack != 30 || p.SegmentsThere == 0 || p.SegmentsBack == 0 {
			t.Errorf("seed %d: pair %+v", seed, p)
		}
		if least := 2*quiet.delay - 4*probeErr; p.RoundTrip < least || p.RoundTrip > 3*quiet.delay {
			t.Errorf("seed %d: round trip %d, the path has at least %d", seed, p.RoundTrip, least)
		}
	}
}

// apart is a run in which A's lane calls and B's does so much later, with no message
// between the two, judged on whether that was the order.
func apart(t testing.TB, seed uint64, later int64, probe func(w *world)) Verdict {
	t.Helper()
	w := newWorld(seed, wildClocks(seed, 2)...)
	w.repeat(1, 1e9, func(at int64) int64 {
		k := w.talk(0, 1, 40001, 1000)
		at = k.close(k.open(at), 0) + 300e6
		w.call(0, at, at+1000, Call{Lane: "client", Step: 3, Name: "bind", Socket: "x"})
		w.call(1, at+later, at+later+1000, Call{Lane: "server", Step: 3, Name: "bind", Socket: "y"})
		return at + 300e6
	})
	probe(w)
	w.run.Experiment = expectations(t, "order enter(client.bind) < enter(server.bind)")
	tl, err := Build(w.run, 1)
	if err != nil {
		t.Fatal(err)
	}
	return tl.Verdicts[len(tl.Verdicts)-1]
}

// TestVerdictsUnderDisagreement: where probes and segments exclude each other a verdict is
// definite only if both of them give it, and otherwise names that as its cause.
func TestVerdictsUnderDisagreement(t *testing.T) {
	honest := func(w *world) {
		w.probe(probing{asker: 0, peer: 1, to: 3e9, every: 100e6, there: quiet, back: quiet})
	}
	for _, tt := range []struct {
		name  string
		later int64
		probe func(w *world)
		want  Ruling
	}{
		{"both methods agree", 3e6, honest, Pass},
		{"both methods agree that it was the other way round", -3e6, honest, Fail},
		{"nearer than the methods are to each other", 3e6, boxed, CannotTell},
		{"further apart than the methods are from each other", 100e6, boxed, Pass},
		{"the other way round by both", -100e6, boxed, Fail},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for seed := range uint64(8) {
				v := apart(t, seed, tt.later, tt.probe)
				if v.Ruling != tt.want {
					t.Fatalf("seed %d: %s: %s, want %s", seed, v.Ruling, v.Reason, tt.want)
				}
				const cause = "probes and segments exclude each other: by segments the clock of B, against that of A, is"
				if strings.Contains(v.Reason, cause) != (tt.want == CannotTell) {
					t.Errorf("seed %d: the reason is %q", seed, v.Reason)
				}
			}
		})
	}
}

// TestVerdictsOfThreeHostsUnderDisagreement: whichever host's clock is the lab's, what a
// disagreement of two hosts leaves open stays open, and no honest segment is accused. The
// third host is known by probes alone, from one or both of the others, or by one method in
// each direction.
func TestVerdictsOfThreeHostsUnderDisagreement(t *testing.T) {
	lost := simPath{loss: 1}
	for _, tt := range []struct {
		name  string
		third func(w *world, at int64)
	}{
		{"by probes of B", func(w *world, _ int64) {
			w.probe(probing{asker: 1, peer: 2, to: 3e9, every: 50e6, there: quiet, back: quiet})
		}},
		{"by probes of A and B", func(w *world, _ int64) {
			w.probe(probing{asker: 1, peer: 2, to: 3e9, every: 50e6, there: quiet, back: quiet})
			w.probe(probing{asker: 2, peer: 0, to: 3e9, every: 50e6, there: quiet, back: quiet})
		}},
		{"by each method on one side", func(w *world, at int64) {
			w.probe(probing{asker: 1, peer: 2, to: 3e9, every: 50e6, there: quiet, back: lost})
			k := w.talk(2, 1, 40009, 5000)
			k.name = "late"
			k.up(at, SYN, 0, 0, 0, fate{})
			k.up(at+1e6, SYN, 0, 0, 0, fate{})
		}},
	} {
		for _, reference := range []string{"", "A", "B", "C"} {
			t.Run(tt.name+" from "+reference, func(t *testing.T) {
				for seed := range uint64(2) {
					w := newWorld(seed, wildClocks(seed, 3)...)
					w.repeat(1, 1e9, func(at int64) int64 {
						k := w.talk(0, 1, 40001, 1000)
						at = k.close(k.open(at), 0) + 300e6
						w.call(0, at, at+1000, Call{Lane: "client", Step: 3, Name: "bind", Socket: "x"})
						w.call(1, at+3e6, at+3e6+1000, Call{Lane: "server", Step: 3, Name: "bind", Socket: "y"})
						w.call(2, at+3e6, at+3e6+1000, Call{Lane: "third", Step: 3, Name: "bind", Socket: "z"})
						tt.third(w, at+100e6)
						return at + 300e6
					})
					boxed(w)
					w.run.Experiment = expectations(t,
						"order enter(client.bind) < enter(server.bind)", "order enter(server.bind) < enter(client.bind)", "order enter(client.bind) < enter(third.bind)")
					b, err := NewBuilder(w.run).WithReference(reference)
					if err != nil {
						t.Fatal(err)
					}
					tl, err := b.Build(1)
					if err != nil {
						t.Fatal(err)
					}
					w.checkStamps(t, tl)
					w.checkCertain(t, tl)
					rulings := tl.Verdicts[len(tl.Verdicts)-3:]
					for _, v := range rulings {
						const cause = "probes and segments exclude each other: by segments the clock of B, against that of A, is"
						if v.Ruling != CannotTell || !strings.Contains(v.Reason, cause) {
							t.Errorf("seed %d: %q is %s: %s", seed, v.Expectation, v.Ruling, v.Reason)
						}
					}
					for _, s := range tl.Transmissions() {
						if s.Impossible {
							t.Errorf("seed %d: %+v is called impossible", seed, s)
						}
					}
				}
			})
		}
	}
}
