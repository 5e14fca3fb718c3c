package timeline

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"syncline/controller/clock"
)

var clockCases = flag.Uint64("clocks.cases", 15, "how many random labs TestClocksHoldTheTruth looks at")

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

// TestClocksHoldTheTruth: with clocks hours apart, drifting and wandering, paths of any
// asymmetry, probes lost and doubled, every stamp and every distance holds the truth, no
// arrival is before its departure, and so it is in what is reported of the clocks, by all
// that is known and by each method alone.
func TestClocksHoldTheTruth(t *testing.T) {
	for seed := range *clockCases {
		w := wildLab(seed)
		b := NewBuilder(w.run)
		for n := 1; n <= 3; n++ {
			tl, err := b.Build(n)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			w.checkOrder(t, tl)
			w.checkStamps(t, tl)
			if n == 2 {
				w.checkCertain(t, tl)
			}
			checkArrows(t, tl)
			for i := range tl.Connections {
				for s := range tl.Connections[i].Segments {
					w.checkSegment(t, tl, i, s)
				}
			}
		}
		for h := range w.run.Hosts {
			of, err := b.WithReference(w.run.Hosts[h].Name)
			if err != nil {
				t.Fatal(err)
			}
			w.checkReport(t, of, h)
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// checkArrows makes sure that nothing arrives before it left.
func checkArrows(t *testing.T, tl *Timeline) {
	t.Helper()
	for _, s := range tl.Transmissions() {
		if s.Departure < 0 || s.Arrival < 0 {
			continue
		}
		if d, a := tl.Moments[s.Departure].Stamp.At, tl.Moments[s.Arrival].Stamp.At; a < d || s.Impossible {
			t.Errorf("repetition %d: a segment leaves at %d and arrives at %d, impossible %v", tl.Repetition, d, a, s.Impossible)
		}
	}
}

// checkReport compares a report with the clocks that there are.
func (w *world) checkReport(t *testing.T, b *Builder, reference int) {
	t.Helper()
	r, err := b.ClockReport(7)
	if err != nil {
		t.Fatal(err)
	}
	if r.Reference != reference {
		t.Fatalf("the reference is %d, asked for %d", r.Reference, reference)
	}
	for h := range r.Hosts {
		var first, last int64
		for i, p := range r.Hosts[h].Points {
			at := w.clocks[h].when(-2e9, p.Local)
			if last = at; i == 0 {
				first = at
			}
			offset := int64(p.Local - w.clocks[reference].at(at))
			for name, bound := range map[string]ClockBound{"all": p.All, "probes": p.Probes, "segments": p.Segments} {
				if offset < bound.Lo-grain || offset > bound.Hi+grain {
					t.Errorf("host %d by %s at point %d: the offset is %d, not from %d to %d", h, name, i, offset, bound.Lo, bound.Hi)
				}
				if bound.Known() && (bound.Estimate < bound.Lo || bound.Estimate > bound.Hi) {
					t.Errorf("host %d by %s at point %d: the estimate %d is not from %d to %d", h, name, i, bound.Estimate, bound.Lo, bound.Hi)
				}
			}
		}
		if !r.Hosts[h].RateKnown || h == reference {
			continue
		}
		local := float64(w.clocks[h].at(last) - w.clocks[h].at(first))
		lab := float64(w.clocks[reference].at(last) - w.clocks[reference].at(first))
		if rate := (local/lab - 1) * 1e9; rate < float64(r.Hosts[h].RateLow)-2 || rate > float64(r.Hosts[h].RateHigh)+2 {
			t.Errorf("host %d: the rate is %.0f ppb, not from %d to %d", h, rate, r.Hosts[h].RateLow, r.Hosts[h].RateHigh)
		}
	}
}

// quiet is a path of a lab network.
var quiet = simPath{delay: 20_000, jitter: 5_000}

// clockScene is a run whose clocks are looked at.
type clockScene struct {
	name   string
	hosts  int
	clocks func(clocks []simClock)
	script func(w *world)
	// methods by host, and what a warning must have, each; nothing else may warn.
	methods []string
	warned  []string
	// hard: a clock is so fast for a while that its own lengths of time are not true ones.
	hard bool
}

// talkTo is a connection in a repetition of its own.
func talkTo(w *world, n int, at int64, client, server int) int64 {
	return w.repeat(n, at, func(at int64) int64 {
		k := w.talk(client, server, uint16(40000+n), uint32(1000*n))
		return k.close(k.open(at), 0)
	})
}

// marks are repetitions without packets.
func marks(w *world, at ...int64) {
	for i, t := range at {
		w.repeat(i+1, t, func(t int64) int64 { return t })
	}
}

var clockScenes = []clockScene{
	{
		name: "probes alone",
		script: func(w *world) {
			marks(w, 1e9)
			w.probe(probing{asker: 0, peer: 1, to: 3e9, every: 100e6, there: quiet, back: quiet})
		},
		methods: []string{"reference", "probes"},
	},
	{
		name: "segments alone",
		script: func(w *world) {
			talkTo(w, 1, 1e9, 0, 1)
		},
		methods: []string{"reference", "segments"},
	},
	{
		name: "both",
		script: func(w *world) {
			talkTo(w, 1, 1e9, 0, 1)
			w.probe(probing{asker: 1, peer: 0, to: 3e9, every: 100e6, there: quiet, back: quiet})
		},
		methods: []string{"reference", "probes and segments"},
	},
	{
		name: "neither", script: func(w *world) { marks(w, 1e9) },
		methods: []string{"reference", "unknown"}, warned: []string{"Nothing ties the clock of B to that of A"},
	},
	{
		name: "each in one direction only",
		script: func(w *world) {
			// What A sends arrives nowhere but as a probe, whose answers are all lost.
			w.repeat(1, 1e9, func(at int64) int64 {
				k := w.talk(0, 1, 40001, 1000)
				k.up(at, SYN, 0, 0, 0, fate{lost: true})
				k.down(at+100_000, SYN|ACK, 0, 1, 0, fate{})
				return at + 200_000
			})
			w.probe(probing{asker: 0, peer: 1, to: 3e9, every: 100e6, there: quiet, back: simPath{loss: 1}})
		},
		methods: []string{"reference", "probes and segments"},
	},
	{
		name: "a slower way back is no disagreement",
		script: func(w *world) {
			w.repeat(1, 1e9, func(at int64) int64 {
				k := w.talk(0, 1, 40001, 1000)
				at = k.up(at, SYN, 0, 0, 0, fate{delay: 5e6})
				at = k.down(at+5_000, SYN|ACK, 0, 1, 0, fate{delay: 1e6})
				return k.up(at+5_000, ACK, 1, 1, 0, fate{delay: 5e6})
			})
			w.probe(probing{asker: 0, peer: 1, to: 3e9, every: 100e6, there: simPath{delay: 5e6, jitter: 1000}, back: simPath{delay: 1e6, jitter: 1000}})
		},
		methods: []string{"reference", "probes and segments"},
	},
	{
		name: "a box with a clock of its own on the way of the probes",
		script: func(w *world) {
			talkTo(w, 1, 1e9, 0, 1)
			boxed(w)
		},
		methods: []string{"reference", "probes and segments"}, warned: []string{"Probes and segments exclude each other: by segments the clock of B, against that of A, is"},
	},
	{
		name: "one probe whose stamp lies",
		script: func(w *world) {
			talkTo(w, 1, 1e9, 0, 1)
			w.probe(probing{asker: 0, peer: 1, to: 3e9, every: 100e6, there: quiet, back: quiet})
			early := quiet
			early.shift = -1e9
			w.exchange(2.03e9, 0, 1, early, simPath{loss: 1})
		},
		methods: []string{"reference", "probes and segments"},
		warned:  []string{"The clocks of A and B contradict each other by ", "1 of the run's probes contradict most of the others and were left out of the clocks."},
	},
	{
		name: "a chain", hosts: 3,
		script: func(w *world) {
			marks(w, 1e9)
			w.probe(probing{asker: 0, peer: 1, to: 3e9, every: 100e6, there: quiet, back: quiet})
			w.probe(probing{asker: 2, peer: 1, to: 3e9, every: 100e6, there: quiet, back: quiet})
		},
		methods: []string{"probes", "reference", "probes"},
	},
	{
		name: "a chain of both", hosts: 3,
		script: func(w *world) {
			talkTo(w, 1, 1e9, 1, 2)
			w.probe(probing{asker: 0, peer: 1, to: 3e9, every: 100e6, there: quiet, back: quiet})
		},
		methods: []string{"probes", "reference", "segments"},
	},
	{
		name: "one kernel",
		script: func(w *world) {
			w.clocks[1] = w.clocks[0]
			w.run.Hosts[0].ClockID, w.run.Hosts[1].ClockID = "boot", "boot"
			marks(w, 1e9)
		},
		methods: []string{"reference", "same clock"},
	},
	{
		name: "a test clock",
		script: func(w *world) {
			w.run.Hosts[1].TestClock = "offset=1s,ppm=100"
			talkTo(w, 1, 1e9, 0, 1)
		},
		methods: []string{"reference", "segments"}, warned: []string{"The times of B are of a test clock (offset=1s,ppm=100), and not those of the machine."},
	},
	{
		name: "notes of the run",
		script: func(w *world) {
			w.run.Notes = []string{"No probe came from B."}
			talkTo(w, 1, 1e9, 0, 1)
		},
		methods: []string{"reference", "segments"}, warned: []string{"No probe came from B."},
	},
}

// change reports what happened to a host's clock at a true time, as an agent that looks
// every 100 ms does.
func (w *world) change(host int, at int64, s ClockStep) {
	before := w.repetition
	w.repetition = 0
	defer func() { w.repetition = before }()
	s.Since = w.clocks[host].at(at - 40e6)
	w.emit(host, at+60e6, Event{Step: &s})
}

// changing are runs in whose middle, at two seconds, something happens to a clock.
var changing = []clockScene{
	{
		name: "a step of an hour",
		script: func(w *world) {
			changed(w)
			w.change(1, 2e9, ClockStep{Change: ClockStepped, Step: 3600e9})
		},
		methods: []string{"reference", "probes and segments"}, warned: []string{"CLOCK_REALTIME of B was stepped by 1h0m0s"},
	},
	{
		name: "a leap second",
		script: func(w *world) {
			changed(w)
			w.change(0, 2e9, ClockStep{Change: ClockLeap, Step: -1e9})
		},
		methods: []string{"reference", "probes and segments"}, warned: []string{"CLOCK_REALTIME of A was stepped by -1s, a leap second"},
	},
	{
		name: "steering",
		clocks: func(c []simClock) {
			c[0].ppm, c[1].ppm = 20, -40
			c[1].turns = []simSteer{{2e9, 90}}
		},
		script: func(w *world) {
			changed(w)
			w.change(1, 2e9, ClockStep{Change: ClockSlew, Rate: 90_000})
		},
		methods: []string{"reference", "probes and segments"},
	},
	{
		name: "steering harder than quartz can need",
		clocks: func(c []simClock) {
			c[0].ppm, c[1].ppm = 20, -40
			c[1].turns = []simSteer{{2e9, 5000}}
		},
		script: func(w *world) {
			changed(w)
			w.change(1, 2e9, ClockStep{Change: ClockSlew, Rate: 5_000_000})
		},
		methods: []string{"reference", "probes and segments"}, hard: true,
	},
	{
		name:   "a suspend",
		clocks: func(c []simClock) { c[1].stops = []simStop{{2e9, 500e6}} },
		script: func(w *world) {
			changed(w)
			w.change(1, 2.51e9, ClockStep{Change: ClockSuspend, Step: 500e6})
		},
		methods: []string{"reference", "probes and segments"}, warned: []string{"B was suspended for about 500ms"},
	},
	{
		name:   "a suspend of the host that would be the reference",
		clocks: func(c []simClock) { c[0].stops = []simStop{{2e9, 500e6}} },
		script: func(w *world) {
			changed(w)
			w.change(0, 2.51e9, ClockStep{Change: ClockSuspend, Step: 500e6})
		},
		methods: []string{"probes and segments", "reference"}, warned: []string{"A was suspended for about 500ms"},
	},
}

// changed is a connection that is there before and after something happens to a clock.
func changed(w *world) {
	w.repeat(1, 1e9, func(at int64) int64 {
		k := w.talk(0, 1, 40001, 1000)
		at = k.open(at)
		return k.close(at+2e9, 0)
	})
	w.probe(probing{
		asker: 0, peer: 1, to: 4e9, every: 50e6, there: quiet, back: quiet,
		without: func(t int64) bool { return t > 1.9e9 && t < 2.6e9 },
	})
}

func TestClocksThatAreChanged(t *testing.T) {
	for _, sc := range changing {
		t.Run(sc.name, func(t *testing.T) {
			for seed := range uint64(10) {
				w := sc.play(seed)
				b := NewBuilder(w.run)
				tl, err := b.Build(1)
				if err != nil {
					t.Fatal(err)
				}
				for h, c := range tl.Clocks {
					if c.Method != sc.methods[h] {
						t.Errorf("seed %d: host %d is tied by %s, want %s", seed, h, c.Method, sc.methods[h])
					}
				}
				checkWarned(t, "the timeline", tl.Warnings, sc.warned)
				w.checkStamps(t, tl)
				if !sc.hard {
					w.checkCertain(t, tl)
				}
				checkArrows(t, tl)
				w.checkReport(t, b, tl.Reference)
				r, err := b.ClockReport(11)
				if err != nil {
					t.Fatal(err)
				}
				if n := len(r.Hosts[0].Changes) + len(r.Hosts[1].Changes); n != 1 {
					t.Errorf("seed %d: the report has %d changes", seed, n)
				}
				// Whatever happened, the probes soon say again where the clock is.
				for i, p := range r.Hosts[1-r.Reference].Points {
					if (i < 3 || i > 7) && p.All.Err() > 50_000 {
						t.Errorf("seed %d: point %d is known to ±%d ns", seed, i, p.All.Err())
					}
				}
			}
		})
	}
}

// TestDriftThatIsAssumed: what quartz does, and more only where a host says so.
func TestDriftThatIsAssumed(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(w *world)
		ppb    uint64
	}{
		{"quartz", func(*world) {}, 200_000},
		{"steering that takes an error away", func(w *world) { w.change(0, 2e9, ClockStep{Change: ClockSlew, Rate: -90_000}) }, 200_000},
		{"steering beyond that", func(w *world) { w.change(0, 2e9, ClockStep{Change: ClockSlew, Rate: 40_000, RateBefore: -500_000}) }, 700_000},
		{"steering of both", func(w *world) {
			w.change(0, 2e9, ClockStep{Change: ClockSlew, Rate: 500_000})
			w.change(1, 2e9, ClockStep{Change: ClockSlew, Rate: 300_000})
		}, 1_000_000},
		{"a step", func(w *world) { w.change(0, 2e9, ClockStep{Change: ClockStepped, Step: 3600e9}) }, 200_000},
		{"test clocks", func(w *world) { w.run.Hosts[0].TestClock, w.run.Hosts[1].TestClock = "ppm=100", "ppm=-100" }, 410_000},
	} {
		w := newWorld(1, simClock{offset: 1e12}, simClock{offset: 2e12})
		changed(w)
		tt.change(w)
		r, err := NewBuilder(w.run).ClockReport(1)
		if err != nil {
			t.Fatal(err)
		}
		if r.DriftPPB != tt.ppb {
			t.Errorf("%s: %d parts per billion are assumed, want %d", tt.name, r.DriftPPB, tt.ppb)
		}
	}
}

// TestSuspendLeavesLengthsOpen: a length of time across a suspend is at least what the
// clock says, and nobody knows how much more; the order stays.
func TestSuspendLeavesLengthsOpen(t *testing.T) {
	w := changing[4].play(3)
	w.run.Experiment = expectations(t, "order enter(server.accept) < enter(server.close)")
	tl, err := Build(w.run, 1)
	if err != nil {
		t.Fatal(err)
	}
	at := func(host int, call string, edge Edge) int {
		return slices.IndexFunc(tl.Moments, func(m Moment) bool {
			return m.Event.Host == host && m.Edge == edge && m.Event.Call != nil && m.Event.Call.Name == call
		})
	}
	from, to := at(1, "accept", Return), at(1, "close", Enter)
	lo, hi := tl.Apart(from, to)
	if hi < clock.Unbounded || lo != int64(tl.Moments[to].Local-tl.Moments[from].Local) {
		t.Errorf("from accept to close it is from %d to %d ns", lo, hi)
	}
	if lo, hi := tl.Apart(to, from); lo > -clock.Unbounded || hi >= 0 {
		t.Errorf("from close to accept it is from %d to %d ns", lo, hi)
	}
	if before, sure := tl.Certain(from, to); !before || !sure {
		t.Errorf("accept is before close: %v, %v", before, sure)
	}
	if lo, hi := tl.Apart(at(0, "connect", Enter), at(0, "close", Enter)); lo != hi {
		t.Errorf("A was not suspended, and from connect to close it is from %d to %d ns", lo, hi)
	}
	if v := tl.Verdicts[len(tl.Verdicts)-1]; v.Ruling != CannotTell || !strings.Contains(v.Reason, "B was suspended for about 500 ms") {
		t.Errorf("%s: %s", v.Ruling, v.Reason)
	}
}

// TestSteeringThatNobodyReports: either the truth is held all the same, or a warning says
// that what was assumed of the clocks is not so.
func TestSteeringThatNobodyReports(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(seed, simClock{offset: 1e12, ppm: 20}, simClock{offset: 9e12, ppm: -40, turns: []simSteer{{2e9, 100}}})
		changed(w)
		tl, err := Build(w.run, 1)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(tl.Warnings, " "); strings.Contains(got, "changed their rates against each other faster than 1 ppm a second") {
			continue
		}
		w.checkStamps(t, tl)
		w.checkCertain(t, tl)
	}
}

// boxed are probes whose stamps at B are of a box in front of it that is 7 ms wrong.
func boxed(w *world) {
	for t := int64(0); t < 3e9; t += 100e6 {
		w.asked[0]++
		p := Probe{Exchange: w.asked[0], Direction: Out}
		w.sight(t, 0, 1, p, 0)
		p.Direction = In
		w.sight(t+30_000, 1, 0, p, 7_000_000)
		p.Direction, p.Reply = Out, true
		w.sight(t+50_000, 1, 0, p, 7_000_000)
		p.Direction = In
		w.sight(t+80_000, 0, 1, p, 0)
	}
}

func (sc *clockScene) play(seed uint64) *world {
	clocks := wildClocks(seed, max(sc.hosts, 2))
	if sc.clocks != nil {
		sc.clocks(clocks)
	}
	w := newWorld(seed, clocks...)
	sc.script(w)
	return w
}

func TestClockScenes(t *testing.T) {
	for _, sc := range clockScenes {
		t.Run(sc.name, func(t *testing.T) {
			for seed := range uint64(12) {
				w := sc.play(seed)
				b := NewBuilder(w.run)
				tl, err := b.Build(1)
				if err != nil {
					t.Fatal(err)
				}
				var methods []string
				for _, c := range tl.Clocks {
					methods = append(methods, c.Method)
				}
				if !slices.Equal(methods, sc.methods) {
					t.Fatalf("seed %d: methods %q, want %q", seed, methods, sc.methods)
				}
				report, err := b.ClockReport(5)
				if err != nil {
					t.Fatal(err)
				}
				checkWarned(t, "the timeline", ofClocks(tl.Warnings), sc.warned)
				checkWarned(t, "the report", report.Warnings, sc.warned)
				w.checkStamps(t, tl)
				w.checkCertain(t, tl)
				checkArrows(t, tl)
				for _, p := range report.Pairs {
					if (p.Disagreement != "") != strings.Contains(strings.Join(sc.warned, ""), "exclude each other") {
						t.Errorf("pair %+v", p)
					}
				}
			}
		})
	}
}

// ofClocks are the warnings that are not of packets: scenes lose some on purpose.
func ofClocks(warnings []string) []string {
	return slices.DeleteFunc(slices.Clone(warnings), func(w string) bool {
		return strings.Contains(w, "segment ") || strings.Contains(w, "segments left") || strings.HasPrefix(w, "1 connection")
	})
}

func checkWarned(t *testing.T, what string, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s warns %q, want %q", what, got, want)
	}
	for i := range want {
		if !strings.Contains(got[i], want[i]) {
			t.Errorf("%s warns %q, want %q", what, got[i], want[i])
		}
	}
}

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

// TestContradictionsDecideNothing: where messages contradict each other and it is not a few of
// them that lie, nothing across those hosts is decided by clocks, and that is the cause. Where
// one lies, however deep in the run, it is left out.
func TestContradictionsDecideNothing(t *testing.T) {
	bind := func(w *world, later int64) Verdict {
		w.repeat(1, 1e9, func(at int64) int64 {
			k := w.talk(0, 1, 40001, 1000)
			at = k.close(k.open(at), 0) + 300e6
			w.call(0, at, at+1000, Call{Lane: "client", Step: 3, Name: "bind", Socket: "x"})
			w.call(1, at+later, at+later+1000, Call{Lane: "server", Step: 3, Name: "bind", Socket: "y"})
			return at + 300e6
		})
		w.run.Experiment = expectations(t, "order enter(client.bind) < enter(server.bind)")
		tl, err := Build(w.run, 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range tl.Transmissions() {
			if s.Impossible {
				t.Errorf("%+v is called impossible", s)
			}
		}
		return tl.Verdicts[len(tl.Verdicts)-1]
	}
	for seed := range uint64(5) {
		for _, later := range []int64{-8_000, 8_000, -30e6, 30e6} {
			w := newWorld(seed, simClock{offset: 1e12}, simClock{offset: 5e12, ppm: 1000})
			w.probe(probing{asker: 0, peer: 1, to: 3e9, every: 50e6, there: quiet, back: quiet})
			v := bind(w, later)
			if v.Ruling != CannotTell || !strings.Contains(v.Reason, "the clocks of A and B contradict each other by ") {
				t.Errorf("seed %d, %d ns later: %s: %s", seed, later, v.Ruling, v.Reason)
			}
		}
	}
	w := newWorld(7, wildClocks(7, 2)...)
	for i, at := 0, int64(0); i < 6000; i, at = i+1, at+5e5 {
		there := quiet
		if i == 3000 {
			there.shift = -20e6
		}
		w.exchange(at, 0, 1, there, quiet)
	}
	if v := bind(w, -3e6); v.Ruling != Fail {
		t.Errorf("one probe of 6000 lies: %s: %s", v.Ruling, v.Reason)
	}
}

// TestLiesAccuseNobodyElse: a host whose stamps lie makes no two others contradict each
// other.
func TestLiesAccuseNobodyElse(t *testing.T) {
	w := newWorld(3, wildClocks(3, 4)...)
	marks(w, 1e9)
	for a := range 4 {
		for b := a + 1; b < 4; b++ {
			w.probe(probing{asker: a, peer: b, to: 3e9, every: 50e6, there: quiet, back: quiet})
		}
	}
	early := quiet
	early.shift = -50e6
	for b := 1; b < 4; b++ {
		w.exchange(1.52e9, 0, b, early, simPath{loss: 1})
	}
	b := NewBuilder(w.run)
	r, err := b.ClockReport(5)
	if err != nil {
		t.Fatal(err)
	}
	checkWarned(t, "the report", r.Warnings, []string{
		"The clocks of A and B contradict each other by ", "The clocks of A and C contradict", "The clocks of A and D contradict",
		"3 of the run's probes contradict most of the others and were left out of the clocks.",
	})
	w.checkReport(t, b, r.Reference)
}

// known is what two timelines of one repetition must have in common.
func known(tl *Timeline) (pairs map[[2]simMoment]bool, segments map[string]bool) {
	pairs, segments = make(map[[2]simMoment]bool), make(map[string]bool)
	name := func(i int) simMoment { return simMoment{idOf(&tl.Moments[i]), tl.Moments[i].Edge} }
	for a := range tl.Moments {
		for b := range tl.Moments {
			if before, sure := tl.Certain(a, b); sure {
				pairs[[2]simMoment{name(a), name(b)}] = before
			}
		}
	}
	for c := range tl.Connections {
		for _, s := range tl.Connections[c].Segments {
			text := fmt.Sprint(s.FromClient, s.Copy, s.Ambiguous, s.Duplicate, s.Lost, s.Impossible)
			for _, i := range []int{s.Departure, s.Arrival} {
				if i >= 0 {
					text += fmt.Sprint(name(i))
				}
			}
			segments[text] = true
		}
	}
	return pairs, segments
}

// TestReferenceChangesNoFact: whichever host's clock is the lab's, the same segments are
// paired, no two moments that are known to be in one order are known to be in the other,
// and no verdict turns.
func TestReferenceChangesNoFact(t *testing.T) {
	for seed := range uint64(8) {
		w := wildLab(seed)
		w.run.Experiment = expectations(t,
			"order enter(client0.connect) < enter(server0.accept)", "order return(server0.accept) < return(client0.connect)",
			"order return(client0.connect) < enter(server1.close)", "never RST")
		b := NewBuilder(w.run)
		first, err := b.Build(1)
		if err != nil {
			t.Fatal(err)
		}
		pairs, segments := known(first)
		for h := range w.run.Hosts {
			of, err := b.WithReference(w.run.Hosts[h].Name)
			if err != nil {
				t.Fatal(err)
			}
			tl, err := of.Build(1)
			if err != nil {
				t.Fatal(err)
			}
			w.checkStamps(t, tl)
			if tl.Reference != h || tl.Clocks[h].Method != MethodReference {
				t.Fatalf("seed %d: the reference is %d, by %s; asked for %d", seed, tl.Reference, tl.Clocks[h].Method, h)
			}
			otherPairs, otherSegments := known(tl)
			for p, before := range otherPairs {
				if other, sure := pairs[p]; sure && other != before && p[0] != p[1] {
					t.Fatalf("seed %d: %v is before %v: %v from %s, %v from %s", seed, p[0], p[1], other,
						w.run.Hosts[first.Reference].Name, before, w.run.Hosts[h].Name)
				}
			}
			for s := range otherSegments {
				if !segments[s] {
					t.Fatalf("seed %d: from %s there is a segment %s", seed, w.run.Hosts[h].Name, s)
				}
			}
			for i, v := range tl.Verdicts {
				if was := first.Verdicts[i]; v.Ruling != was.Ruling && v.Ruling != CannotTell && was.Ruling != CannotTell {
					t.Fatalf("seed %d: %q is %s from %s and %s from %s", seed, v.Expectation, was.Ruling, w.run.Hosts[first.Reference].Name, v.Ruling, w.run.Hosts[h].Name)
				}
			}
		}
	}
}

func TestReferenceThatIsNotThere(t *testing.T) {
	w := clockScenes[0].play(1)
	_, err := NewBuilder(w.run).WithReference("Z")
	if !errors.Is(err, ErrNoSuchHost) || err.Error() != `no such host as "Z", whose clock could be the reference; there are A, B` {
		t.Errorf("got %v", err)
	}
	if _, err := NewBuilder(&Run{Hosts: w.run.Hosts}).ClockReport(3); !errors.Is(err, ErrNoEvents) {
		t.Errorf("report of no events: %v", err)
	}
	if _, err := NewBuilder(w.run).ClockReport(0); err == nil {
		t.Error("a report of no moments is made")
	}
}
