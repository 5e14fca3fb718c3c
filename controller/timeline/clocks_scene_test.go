package timeline

import (
	"slices"
	"strings"
	"testing"
)

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
