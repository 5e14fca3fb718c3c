package timeline

import (
	"errors"
	"fmt"
	"testing"
)

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
