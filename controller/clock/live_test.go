package clock

import (
	"cmp"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// As long as nothing has to be forgotten, it is the same model.
func TestLiveIsTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newQuietLab(rapid.Uint64().Draw(t, "seed"))
		l.clocks = l.clocks[:2]
		l.disturb()
		l.converse(2, 40)
		cfg := l.config()
		live := NewLive(Config{Hosts: cfg.Hosts})
		for i, at := range rand.New(rand.NewPCG(1, 2)).Perm(len(l.messages)) {
			if i == len(l.messages)/2 {
				live.Model()
				live.Change(cfg.Changes...)
			}
			live.Add(l.messages[at])
		}
		if len(l.messages) == 0 {
			live.Change(cfg.Changes...)
		}
		want, got := NewModel(cfg, l.messages), live.Model()
		for range 20 {
			at := l.clocks[1].read(l.when())
			for _, methods := range []Methods{Probes, Segments, Probes | Segments} {
				if a, b := want.By(methods).Bound(1, at), got.By(methods).Bound(1, at); a != b {
					t.Fatalf("by %v live bound %+v, want %+v", methods, b, a)
				}
			}
		}
		if a, b := want.Messages(1), got.Messages(1); a != b {
			t.Fatalf("%d messages, want %d", b, a)
		}
	})
}

// Over a long run it forgets, keeps the truth inside, stays nearly as narrow, and small.
func TestLiveForgets(t *testing.T) {
	q := quiet{ppm: 60, wanderPPM: 1, period: 20, delay: 400, jitter: 300, rate: 20, seconds: 2400}
	clocks, messages := q.simulate(5)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	live := NewLive(Config{Hosts: 2})
	live.Add(messages...)
	m := live.Model()
	runtime.GC()
	runtime.ReadMemStats(&after)
	if kept := int64(after.HeapAlloc) - int64(before.HeapAlloc); kept > 8<<20 {
		t.Errorf("%d messages keep %d bytes", len(messages), kept)
	}
	said := newFacts(Config{Hosts: 2})
	said.learn(messages)
	for i, lists := range live.facts.bins[Probes].pairs {
		if n := max(len(lists.ahead), len(lists.behind)); n > mostLimits {
			t.Errorf("%d limits are kept", n)
		}
		checkSaid(t, lists.ahead, said.bins[Probes].pairs[i].ahead)
		checkSaid(t, lists.behind, said.bins[Probes].pairs[i].behind)
	}
	if len(m.Inconsistent())+len(m.WanderBroken()) > 0 {
		t.Fatalf("inconsistent %+v, unsteady %+v", m.Inconsistent(), m.WanderBroken())
	}
	random := rand.New(rand.NewPCG(1, 2))
	for _, part := range []struct {
		name     string
		from, to float64
		most     int64
	}{{"the last minute", q.seconds - 60, q.seconds, 1_000}, {"the first ten minutes", 0, 600, 3_000}} {
		var errs []int64
		for range 500 {
			at := (part.from + random.Float64()*(part.to-part.from)) * 1e9
			s := m.Stamp(1, clocks[1].read(at), 0)
			if off := int64(s.At) - int64(clocks[0].read(at)); off > s.Err+grain || -off > s.Err+grain {
				t.Fatalf("%d off, %+v", off, s)
			}
			errs = append(errs, s.Err)
		}
		if got := median(errs); got > part.most {
			t.Errorf("in %s the median error is %d ns", part.name, got)
		} else {
			t.Logf("in %s the median error is %d ns", part.name, got)
		}
	}
}

// checkSaid checks that every limit that is kept is one that a message gave.
func checkSaid(t *testing.T, kept, said []limit) {
	t.Helper()
	sortLimits(said)
	for _, l := range kept {
		if i, _ := slices.BinarySearchFunc(said, l, func(a, b limit) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Most, b.Most)) }); i == len(said) || said[i] != l {
			t.Fatalf("%+v is kept, and no message said so", l)
		}
	}
}

func TestLiveJoinsChanges(t *testing.T) {
	live := NewLive(Config{Hosts: 2})
	for i := range 3 * mostChanges {
		live.Change(Change{Host: 1, Since: Local(i * i), At: Local(i*i + 1), Stopped: i == 7})
	}
	kept := live.facts.changes[1]
	if len(kept) != mostChanges {
		t.Fatalf("%d changes are kept, want %d", len(kept), mostChanges)
	}
	for i := range 3 * mostChanges {
		covered := false
		for _, c := range kept {
			covered = covered || c.Since <= Local(i*i) && Local(i*i+1) <= c.At && (i != 7 || c.Stopped)
		}
		if !covered {
			t.Fatalf("change %d is lost", i)
		}
	}
}
