package timeline

import (
	"slices"
	"strings"
	"testing"

	"syncline/controller/clock"
)

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
