package timeline

import (
	"math"
	"sort"

	"syncline/controller/clock"
)

// simClock reads offset + t at true time t, fast by ppm and by what its quartz and its
// keepers make of it.
type simClock struct {
	offset int64
	ppm    float64
	// swing is how far its rate swings around ppm, in parts per million, within each
	// period of nanoseconds.
	swing, period float64
	// turns are when it is steered, and stops when it stands still.
	turns []simSteer
	stops []simStop
}

// simSteer makes a clock faster, by ppm, from a true time on.
type simSteer struct {
	from int64
	ppm  float64
}

// simStop holds a clock from a true time on for so long.
type simStop struct{ from, long int64 }

func (c simClock) at(t int64) clock.Local {
	gained := float64(t) * c.ppm / 1e6
	if c.swing != 0 {
		turn := c.period / (2 * math.Pi)
		gained += c.swing / 1e6 * turn * (1 - math.Cos(float64(t)/turn))
	}
	for _, s := range c.turns {
		gained += float64(max(0, t-s.from)) * s.ppm / 1e6
	}
	local := t + c.offset + int64(math.Floor(gained))
	for _, s := range c.stops {
		local -= min(max(0, t-s.from), s.long)
	}
	return clock.Local(local)
}

// when is the first true time from since on at which the clock reads at least local.
func (c simClock) when(since int64, local clock.Local) int64 {
	const hours = 3 * 3600 * 1e9
	return since + int64(sort.Search(hours, func(t int) bool { return c.at(since+int64(t)) >= local }))
}

// simPath is what clock probes between two hosts go through, one way.
type simPath struct {
	delay, jitter int64
	// loss is the part that does not arrive, and twice the part that does twice.
	loss, twice float64
	// shift is what a box on the way adds to the stamps of arrivals, and says nothing of.
	shift int64
}

// probeErr is the error that the stamps of probes have, and say.
const probeErr = 40

// sight reports one end of a datagram.
func (w *world) sight(t int64, host, peer int, p Probe, shift int64) {
	before := w.repetition
	w.repetition = 0
	defer func() { w.repetition = before }()
	p.Peer, p.Path, p.Origin, p.Err = w.run.Hosts[peer].Name, ExperimentPath, StampKernel, probeErr
	w.emit(host, t, Event{Probe: &p})
	e := &w.run.Events[len(w.run.Events)-1]
	e.At += clock.Local(shift + w.random.Int64N(2*probeErr+1) - probeErr)
}

// cross moves one datagram of an exchange; it returns when it arrived, and false if it
// did not.
func (w *world) cross(t int64, from, to int, p Probe, way simPath) (int64, bool) {
	p.Direction = Out
	w.sight(t, from, to, p, 0)
	if w.random.Float64() < way.loss {
		return t, false
	}
	p.Direction = In
	at := t + way.delay + int64(w.random.ExpFloat64()*float64(way.jitter))
	w.sight(at, to, from, p, way.shift)
	if w.random.Float64() < way.twice {
		w.sight(at+1+w.random.Int64N(1e6), to, from, p, way.shift)
	}
	return at, true
}

// exchange lets one host ask another, with the next number of the asker.
func (w *world) exchange(t int64, asker, peer int, there, back simPath) {
	w.asked[asker]++
	p := Probe{Exchange: w.asked[asker]}
	at, ok := w.cross(t, asker, peer, p, there)
	if !ok {
		return
	}
	p.Reply = true
	w.cross(at+5_000+w.random.Int64N(20_000), peer, asker, p, back)
}

// probing is exchanges from one true time to another.
type probing struct {
	asker, peer int
	from, to    int64
	every       int64
	there, back simPath
	without     func(t int64) bool
}

func (w *world) probe(p probing) {
	for t := p.from; t < p.to; t += p.every {
		if p.without == nil || !p.without(t) {
			w.exchange(t, p.asker, p.peer, p.there, p.back)
		}
	}
}
