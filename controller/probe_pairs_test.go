package controller

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"syncline/controller/experiment"
)

func everywhere(int, int) bool { return true }

func clocksOf(n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprint("clock ", i))
	}
	return all
}

// Up to eight hosts are probed in all pairs but those that read one clock.
func TestFewHostsAreProbedInAllPairs(t *testing.T) {
	got := pairing{clocks: []string{"x", "y", "x", "z"}, reach: everywhere}.choose()
	want := []probePair{{0, 1}, {3, 0}, {1, 2}, {1, 3}, {2, 3}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(probePair{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := (pairing{clocks: []string{"x", "x"}, reach: everywhere}).choose(); len(got) != 0 {
		t.Errorf("hosts of one clock are probed: %v", got)
	}
}

// Many hosts are probed around the one that lanes have most to do with.
func TestManyHostsAreProbedInAStar(t *testing.T) {
	p := pairing{clocks: clocksOf(20), reach: everywhere, connected: []hostPair{{3, 7}, {3, 9}, {4, 5}}}
	got := p.choose()
	for _, want := range []hostPair{{4, 5}, {3, 7}, {0, 3}, {3, 19}} {
		if !slices.ContainsFunc(got, func(p probePair) bool { return pairOf(p.asker, p.answerer) == want }) {
			t.Errorf("%v is not probed", want)
		}
	}
	if len(got) != 20 {
		t.Errorf("%d pairs are probed, want 19 of the star and one that lanes connect", len(got))
	}
	p.all = true
	if got := p.choose(); len(got) != 190 {
		t.Errorf("%d pairs on request, want all 190", len(got))
	}
}

// Whatever hosts there are: no pair twice or of one clock or that cannot reach each other,
// as few as hosts demand, and all that can be known of each other is joined.
func TestChosenPairs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "hosts")
		host := rapid.IntRange(0, n-1)
		p := pairing{all: rapid.Bool().Draw(t, "all")}
		island := make([]int, n)
		for i := range n {
			p.clocks = append(p.clocks, fmt.Sprint(rapid.IntRange(0, n).Draw(t, "clock")))
			island[i] = rapid.IntRange(0, 2).Draw(t, "island")
		}
		p.reach = func(a, b int) bool { return island[a]&island[b] != 0 || island[a] == island[b] }
		for range rapid.IntRange(0, 2*n*n).Draw(t, "connections") {
			if a, b := host.Draw(t, "from"), host.Draw(t, "to"); a != b {
				p.connected = append(p.connected, pairOf(a, b))
			}
		}
		chosen := p.choose()
		if !slices.Equal(chosen, p.choose()) {
			t.Fatal("asked twice, two answers")
		}
		seen, asks, degree := map[hostPair]bool{}, make([]int, n), make([]int, n)
		for _, c := range chosen {
			u := pairOf(c.asker, c.answerer)
			if seen[u] || p.clocks[u.a] == p.clocks[u.b] || !p.reach(u.a, u.b) {
				t.Fatalf("pair %v is chosen twice, of one clock, or out of reach", u)
			}
			seen[u] = true
			asks[c.asker]++
			degree[u.a]++
			degree[u.b]++
		}
		if !p.all && n > pairAllUpTo && len(chosen) > (3+lanePairs)*n {
			t.Fatalf("%d pairs of %d hosts", len(chosen), n)
		}
		for i := range n {
			if degree[i] > 0 && asks[i] == degree[i] && degree[i] > pairAllUpTo && !p.all {
				t.Fatalf("host %d asks all of its %d peers", i, degree[i])
			}
		}
		joined, possible := components(p, chosen), components(p, balance(n, p.usable()))
		if joined != possible {
			t.Fatalf("the hosts fall into %d groups, %d are possible", joined, possible)
		}
	})
}

// components counts the groups of hosts that pairs and clocks join.
func components(p pairing, pairs []probePair) int {
	seen := make([]bool, len(p.clocks))
	var visit func(i int)
	visit = func(i int) {
		if seen[i] {
			return
		}
		seen[i] = true
		for j := range p.clocks {
			if p.clocks[j] == p.clocks[i] {
				visit(j)
			}
		}
		for _, q := range pairs {
			if q.asker == i {
				visit(q.answerer)
			} else if q.answerer == i {
				visit(q.asker)
			}
		}
	}
	groups := 0
	for i := range p.clocks {
		if !seen[i] {
			groups++
			visit(i)
		}
	}
	return groups
}

// What lanes connect is read from the calls of all variants.
func TestConnectedRoles(t *testing.T) {
	source, ok := experiment.Open("connect-refused")
	if !ok {
		t.Fatal("no such scenario")
	}
	exp, err := experiment.Parse(source, experiment.Options{FileName: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if got := connectedRoles(exp); !slices.Equal(got, []hostPair{{0, 1}}) {
		t.Errorf("connected are %v, want the two hosts", got)
	}
}
