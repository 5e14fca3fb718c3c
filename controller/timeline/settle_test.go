package timeline

import (
	"slices"
	"sync"
	"testing"
)

// TestSettledAtOnce: a timeline that was settled works out who caused what once, for whoever
// asks, and answers what it would answer otherwise; a copy of it may be changed.
func TestSettledAtOnce(t *testing.T) {
	tl, err := Build(story(t, openingLines), 1)
	if err != nil {
		t.Fatal(err)
	}
	hand := &Timeline{
		RunID: tl.RunID, Repetition: tl.Repetition, Hosts: tl.Hosts, Reference: tl.Reference, Zero: tl.Zero, Clocks: tl.Clocks,
		Moments: tl.Moments, Connections: tl.Connections, Others: tl.Others,
	}
	if first := hand.Causes(); first == hand.Causes() {
		t.Error("who caused what in a timeline that may change is told from what it was before")
	}
	var before [][2]bool
	each := func(do func(before, known bool)) {
		for a := range hand.Moments {
			for b := range hand.Moments {
				do(hand.Certain(a, b))
			}
		}
	}
	each(func(was, known bool) { before = append(before, [2]bool{was, known}) })
	hand.Settle()
	at := 0
	each(func(was, known bool) {
		if before[at] != [2]bool{was, known} {
			t.Errorf("order %d is another one once the timeline is settled", at)
		}
		at++
	})

	for name, settled := range map[string]*Timeline{"built": tl, "by hand": hand} {
		var all [8]*Causality
		var wg sync.WaitGroup
		for i := range all {
			wg.Go(func() {
				settled.Ladder(LadderOptions{Notes: true})
				all[i] = settled.Causes()
			})
		}
		wg.Wait()
		for _, c := range all {
			if c != all[0] || c == nil {
				t.Fatalf("%s: who caused what was worked out again", name)
			}
		}
		edited := *settled
		edited.Connections = slices.Clone(edited.Connections)
		edited.Connections[0].Client.States = nil
		if c := edited.Causes(); c == all[0] || len(c.States) >= len(all[0].States) {
			t.Errorf("%s: a copy that was changed is told as it was", name)
		}
	}
}
