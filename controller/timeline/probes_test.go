package timeline

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"syncline/controller/clock"
)

// TestOnlyTheSameDatagramIsPaired: whatever is lost, doubled or reordered, a departure is
// only paired with an arrival of the very datagram, after it, and every datagram that was
// seen at both ends is.
func TestOnlyTheSameDatagramIsPaired(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hosts := []Host{{Name: "A"}, {Name: "B"}, {Name: "C"}}
		type ends struct {
			left          clock.Local
			arrived       []clock.Local
			missing, seen bool
		}
		sent := make(map[datagram]*ends)
		var events []Event
		see := func(host, peer int, at clock.Local, d Direction, name datagram) {
			events = append(events, Event{
				Host: host, Number: uint64(len(events) + 1), At: at,
				Probe: &Probe{Peer: hosts[peer].Name, Direction: d, Exchange: name.exchange, Reply: name.reply, Path: name.path},
			})
		}
		next := make([]uint64, len(hosts))
		for range rapid.IntRange(0, 30).Draw(t, "exchanges") {
			asker := rapid.IntRange(0, 2).Draw(t, "asker")
			peer := (asker + rapid.IntRange(1, 2).Draw(t, "peer")) % 3
			next[asker]++
			at := clock.Local(rapid.Int64Range(0, 1e6).Draw(t, "at"))
			for _, reply := range []bool{false, true} {
				name := datagram{asker: asker, peer: peer, exchange: next[asker], path: ProbePath(rapid.IntRange(1, 2).Draw(t, "path")), reply: reply}
				from, to := asker, peer
				if reply {
					from, to = peer, asker
				}
				s := &ends{left: at, missing: rapid.IntRange(0, 4).Draw(t, "unstamped") == 0}
				sent[name] = s
				if !s.missing {
					see(from, to, at, Out, name)
				}
				for range rapid.IntRange(0, 2).Draw(t, "arrivals") {
					at += clock.Local(rapid.Int64Range(1, 1000).Draw(t, "way"))
					s.arrived = append(s.arrived, at)
					see(to, from, at, In, name)
				}
			}
		}
		// A stranger's sights, and one of a host with itself, say nothing.
		events = append(events, Event{Number: 1e6, Probe: &Probe{Peer: "Z", Direction: In, Exchange: 1}}, Event{Number: 1e6 + 1, Probe: &Probe{Peer: "A", Direction: Out, Exchange: 1}})
		shuffled := rapid.Permutation(events).Draw(t, "order")
		p := pairProbes(hosts, sorted(shuffled))
		if p.strangers != 2 {
			t.Fatalf("%d strangers, want 2", p.strangers)
		}
		for _, d := range p.datagrams {
			s := sent[d.datagram]
			if s == nil || s.missing || d.departure.At != s.left || len(s.arrived) == 0 || d.arrival.At != slices.Min(s.arrived) {
				t.Fatalf("%+v is paired from %d to %d; it was %+v", d.datagram, d.departure.At, d.arrival.At, s)
			}
			s.seen = true
		}
		for name, s := range sent {
			if !s.seen && !s.missing && len(s.arrived) > 0 {
				t.Fatalf("%+v was seen at both ends and is not paired: %+v", name, s)
			}
		}
	})
}

// TestNumbersThatComeTwice: an asker that began to count anew leaves departures that nobody
// can tell apart. None of them is paired.
func TestNumbersThatComeTwice(t *testing.T) {
	hosts := []Host{{Name: "A"}, {Name: "B"}}
	sight := func(host int, incarnation uint64, at clock.Local, d Direction) Event {
		peer := hosts[1-host].Name
		return Event{Host: host, Incarnation: incarnation, Number: uint64(at), At: at, Probe: &Probe{Peer: peer, Direction: d, Exchange: 1, Path: ExperimentPath}}
	}
	events := []Event{sight(0, 1, 10, Out), sight(1, 1, 20, In), sight(0, 2, 1000, Out), sight(1, 1, 1010, In)}
	if p := pairProbes(hosts, sorted(events)); len(p.datagrams) != 0 {
		t.Errorf("paired %+v", p.datagrams)
	}
	if p := pairProbes(hosts, sorted(events[:2])); len(p.datagrams) != 1 {
		t.Errorf("paired %+v of one departure and its arrival", p.datagrams)
	}
}

// TestProbesAreNoMoments: a probe, and the loss of some, are of the run; no repetition has a
// moment of them, none is less complete, and none is made of them alone.
func TestProbesAreNoMoments(t *testing.T) {
	w := clockScenes[2].play(5)
	w.emit(0, 2e9, Event{Loss: &Loss{Source: Probes, Count: 3, Since: w.clocks[0].at(1e9)}})
	// Even of an agent that tells a repetition with them.
	for i := range w.run.Events {
		if w.run.Events[i].Probe != nil {
			w.run.Events[i].Repetition = i % 3
		}
	}
	b := NewBuilder(w.run)
	tl, err := b.Build(1)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range tl.Moments {
		if m.Event.ofProbes() {
			t.Errorf("there is a moment of %+v", m.Event)
		}
	}
	for h := range tl.Hosts {
		if why := tl.Complete(h, Packets); why != "" {
			t.Errorf("%s is not complete: %s", tl.Hosts[h].Name, why)
		}
	}
	if len(tl.Warnings) > 0 {
		t.Errorf("warnings %q", tl.Warnings)
	}
	report, err := b.ClockReport(2)
	if err != nil {
		t.Fatal(err)
	}
	checkWarned(t, "the report", report.Warnings, []string{"A lost 3 sights of clock probes"})
	if _, err := b.Build(2); err == nil {
		t.Error("a repetition was built of probes alone")
	}
}
