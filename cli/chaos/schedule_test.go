package chaos

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestSchedulesKeepTheirRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var kinds []Kind
		for _, trait := range rapid.SliceOfNDistinct(rapid.SampledFrom(Kinds()), 1, len(Kinds()), func(t Trait) Kind { return t.Kind }).Draw(t, "kinds") {
			kinds = append(kinds, trait.Kind)
		}
		p := Plan{
			Seed: rapid.Uint64().Draw(t, "seed"), Kinds: kinds, Overlap: rapid.IntRange(1, 3).Draw(t, "overlap"),
			Length: time.Duration(rapid.IntRange(0, 1200).Draw(t, "seconds")) * time.Second,
		}
		all, err := Schedule(p)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Schedule(p)
		if diff := cmp.Diff(all, again); err != nil || diff != "" {
			t.Fatalf("the same plan gives another schedule: %v\n%s", err, diff)
		}
		for i, f := range all {
			trait, ok := TraitOf(f.Kind)
			if !ok || !slices.Contains(kinds, f.Kind) || f.Number != i+1 || f.For < trait.Min || f.For > trait.Max || f.End() > p.Length {
				t.Fatalf("fault %d: %+v", i+1, f)
			}
			var at []Trait
			for _, o := range all[:i] {
				if o.End() > f.Start {
					other, _ := TraitOf(o.Kind)
					at = append(at, other)
				}
			}
			if len(at) >= p.Overlap || !compatible(at, trait) {
				t.Fatalf("%s may not begin beside %+v", f.Kind, at)
			}
		}
	})
}

func TestSchedulesUseEveryKind(t *testing.T) {
	kinds, err := ParseKinds("all")
	if err != nil {
		t.Fatal(err)
	}
	all, err := Schedule(Plan{Seed: 1, Kinds: kinds, Length: time.Hour, Overlap: 3})
	if err != nil {
		t.Fatal(err)
	}
	count := map[Kind]int{}
	most := 0
	for i, f := range all {
		count[f.Kind]++
		n := 1
		for _, o := range all[:i] {
			if o.End() > f.Start {
				n++
			}
		}
		most = max(most, n)
	}
	if len(count) != len(Kinds()) || len(all) < 300 || most != 3 {
		t.Errorf("an hour has %d faults of %d kinds, at most %d at a time; want 300 of all %d, and 3", len(all), len(count), most, len(Kinds()))
	}
}

func TestWrongPlans(t *testing.T) {
	for _, p := range []Plan{{Overlap: 1}, {Kinds: []Kind{Garbage}}, {Kinds: []Kind{Garbage}, Overlap: 4}, {Kinds: []Kind{"flood"}, Overlap: 1, Length: time.Minute}} {
		if all, err := Schedule(p); err == nil {
			t.Errorf("%+v gives %v", p, all)
		}
	}
	if _, err := ParseKinds("kill-leader,flood"); err == nil {
		t.Error("a fault that there is not is no error")
	}
}
