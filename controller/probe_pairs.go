package controller

import (
	"cmp"
	"slices"

	"syncline/controller/experiment"
)

const (
	// pairAllUpTo is how many hosts are probed in all pairs unless someone asks.
	pairAllUpTo = 8
	// lanePairs bounds, for each host, the pairs that are probed because lanes connect
	// them: an experiment may connect everything with everything.
	lanePairs = 3
)

// probePair are two hosts that probe each other, by their index; asker asks.
type probePair struct{ asker, answerer int }

// hostPair is two hosts by their index, the lower first.
type hostPair struct{ a, b int }

func pairOf(a, b int) hostPair { return hostPair{min(a, b), max(a, b)} }

// pairing is what the choice of pairs goes by.
type pairing struct {
	// clocks names the clock that each host reads: those that share one need no probes.
	clocks []string
	// reach reports whether two hosts have addresses on a path that both have.
	reach func(a, b int) bool
	// connected are the pairs between which lanes connect, in the order of the file.
	connected []hostPair
	// all asks for every pair.
	all bool
}

// choose names the pairs that are to be probed, in order, with the asking spread evenly.
//
// Up to pairAllUpTo hosts they are all pairs, which gives every pair an interval of its
// own, and every triangle a check. Beyond, the pairs grow as the hosts do: a star around
// the host that most others can reach and that has most to do with them, and the pairs that
// lanes connect, since their times are what the experiment compares. A pair that is not
// probed is known through others, and its error is the sum of theirs: two, in a star.
func (p pairing) choose() []probePair {
	usable := p.usable()
	if p.all || len(p.clocks) <= pairAllUpTo {
		return balance(len(p.clocks), usable)
	}
	can := make(map[hostPair]bool, len(usable))
	for _, u := range usable {
		can[u] = true
	}
	var chosen []hostPair
	taken := map[hostPair]bool{}
	take := func(u hostPair) {
		if can[u] && !taken[u] {
			chosen, taken[u] = append(chosen, u), true
		}
	}
	hub := p.hub(usable)
	for i := range p.clocks {
		take(pairOf(hub, i))
	}
	for i := 0; i < len(p.connected) && len(chosen) < (1+lanePairs)*len(p.clocks); i++ {
		take(p.connected[i])
	}
	for _, u := range p.bridges(usable, chosen) {
		take(u)
	}
	return balance(len(p.clocks), chosen)
}

// usable are the pairs that probes can tell something of.
func (p pairing) usable() []hostPair {
	var all []hostPair
	for a := range p.clocks {
		for b := a + 1; b < len(p.clocks); b++ {
			if p.clocks[a] != p.clocks[b] && p.reach(a, b) {
				all = append(all, hostPair{a, b})
			}
		}
	}
	return all
}

// hub is the host that most others can reach; of those the one whose lanes are connected
// with most.
func (p pairing) hub(usable []hostPair) int {
	reached, connected := make([]int, len(p.clocks)), make([]int, len(p.clocks))
	for _, u := range usable {
		reached[u.a]++
		reached[u.b]++
	}
	for _, c := range p.connected {
		connected[c.a]++
		connected[c.b]++
	}
	best := 0
	for i := range p.clocks {
		if cmp.Or(cmp.Compare(reached[i], reached[best]), cmp.Compare(connected[i], connected[best])) > 0 {
			best = i
		}
	}
	return best
}

// bridges are pairs that join what the chosen ones leave apart, where any can (Kruskal).
func (p pairing) bridges(usable, chosen []hostPair) []hostPair {
	// group leads from a host to the one that stands for all that it is joined with.
	group := make([]int, len(p.clocks))
	for i := range group {
		group[i] = slices.Index(p.clocks, p.clocks[i])
	}
	find := func(i int) int {
		for group[i] != i {
			i = group[i]
		}
		return i
	}
	join := func(u hostPair) (new bool) {
		a, b := find(u.a), find(u.b)
		group[a] = b
		return a != b
	}
	for _, u := range chosen {
		join(u)
	}
	var more []hostPair
	for _, u := range usable {
		if join(u) {
			more = append(more, u)
		}
	}
	return more
}

// balance gives every pair the asker that asks fewer others so far.
func balance(hosts int, pairs []hostPair) []probePair {
	asks := make([]int, hosts)
	var all []probePair
	for _, u := range pairs {
		p := probePair{u.a, u.b}
		if asks[u.b] < asks[u.a] {
			p = probePair{u.b, u.a}
		}
		asks[p.asker]++
		all = append(all, p)
	}
	return all
}

// connectedRoles are the pairs of hosts between which lanes of any variant connect or send,
// each once, in the order of the file. Hosts are by their index in it.
func connectedRoles(exp *experiment.Experiment) []hostPair {
	index := map[string]int{}
	for i, h := range exp.Hosts {
		index[h.Name] = i
	}
	var all []hostPair
	for v := range exp.Variants {
		e, err := exp.At(v, 1)
		if err != nil {
			continue // The run says so when the variant's turn comes.
		}
		for _, l := range e.Lanes {
			for _, s := range l.Steps {
				to, ok := index[targetOf(s)]
				if from := index[l.Host]; ok && from != to && !slices.Contains(all, pairOf(from, to)) {
					all = append(all, pairOf(from, to))
				}
			}
		}
	}
	return all
}

// targetOf is the role that a step sends to, "" if none.
func targetOf(s experiment.Step) string {
	switch a := s.Args.(type) {
	case experiment.ConnectArgs:
		return a.Address.Role
	case experiment.SendToArgs:
		return a.Address.Role
	}
	return ""
}
