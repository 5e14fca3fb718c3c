package timeline

import (
	"cmp"
	"container/heap"
	"slices"
	"sort"

	"syncline/controller/clock"
)

// graph is what orders the moments of a repetition: each host's own order, and the
// messages between them.
type graph struct {
	nodes []node
	edges []edge
	// out and in list the edges of each node.
	out, in [][]int
	// later and earlier list the moments of its own host that each node is kept before and after.
	later, earlier [][]int
}

func newGraph(nodes []node, edges []edge) *graph {
	g := &graph{
		nodes: nodes, edges: edges,
		out: make([][]int, len(nodes)), in: make([][]int, len(nodes)),
		later: make([][]int, len(nodes)), earlier: make([][]int, len(nodes)),
	}
	for i, e := range edges {
		g.out[e.from] = append(g.out[e.from], i)
		g.in[e.to] = append(g.in[e.to], i)
	}
	g.keepHosts()
	return g
}

// keepHosts puts each host's moments in the order of its clock. A moment whose stamp is loose
// is kept only after what was surely before it and before what was surely after: the middle of
// its stamp orders nothing.
func (g *graph) keepHosts() {
	for from := 0; from < len(g.nodes); {
		to := from
		for to < len(g.nodes) && g.nodes[to].event.Host == g.nodes[from].event.Host {
			to++
		}
		g.keepHost(from, to)
		from = to
	}
}

func (g *graph) keepHost(from, to int) {
	keep := func(before, after int) {
		g.later[before] = append(g.later[before], after)
		g.earlier[after] = append(g.earlier[after], before)
	}
	var exact []int
	for i := from; i < to; i++ {
		if g.nodes[i].loose() {
			continue
		}
		if len(exact) > 0 {
			keep(exact[len(exact)-1], i)
		}
		exact = append(exact, i)
	}
	// firstAt is the place in exact of the first moment that reads no less.
	firstAt := func(local clock.Local) int {
		return sort.Search(len(exact), func(k int) bool { return g.nodes[exact[k]].local >= local })
	}
	for i := from; i < to; i++ {
		n := &g.nodes[i]
		if !n.loose() {
			continue
		}
		reach := clock.Local(n.err + looseErr)
		if k := firstAt(n.local - reach); k > 0 {
			keep(exact[k-1], i)
		}
		if k := firstAt(n.local + reach); k < len(exact) {
			keep(i, exact[k])
		}
	}
}

func (n *node) loose() bool { return n.err >= looseErr }

// previous is the moment right before i on its host, -1 if i is the host's first.
func (g *graph) previous(i int) int {
	if i == 0 || g.nodes[i-1].event.Host != g.nodes[i].event.Host {
		return -1
	}
	return i - 1
}

// next is the moment right after i on its host, -1 if i is the last.
func (g *graph) next(i int) int {
	if i+1 == len(g.nodes) || g.nodes[i+1].event.Host != g.nodes[i].event.Host {
		return -1
	}
	return i + 1
}

// sort lists the nodes so that every host keeps its own order where that is known, no message arrives
// before it left, and otherwise the earlier estimate comes first (Kahn's algorithm
// with a queue by time). Messages that go round in a circle cannot all be true:
// those into the earliest moment that is stuck are cut, and are impossible if every step of
// such a circle is sure.
func (g *graph) sort() []int {
	waits := make([]int, len(g.nodes))
	queue := &ready{nodes: g.nodes}
	for i := range g.nodes {
		waits[i] = g.blockers(i)
		if waits[i] == 0 {
			queue.items = append(queue.items, i)
		}
	}
	heap.Init(queue)
	done := make([]bool, len(g.nodes))
	order := make([]int, 0, len(g.nodes))
	release := func(i int) {
		if waits[i]--; waits[i] == 0 {
			heap.Push(queue, i)
		}
	}
	for len(order) < len(g.nodes) {
		if queue.Len() == 0 {
			stuck := g.stuck(done)
			g.cut(stuck, done)
			waits[stuck] = 0
			heap.Push(queue, stuck)
		}
		i := heap.Pop(queue).(int)
		done[i] = true
		order = append(order, i)
		for _, n := range g.later[i] {
			release(n)
		}
		for _, e := range g.out[i] {
			if !g.edges[e].cut {
				release(g.edges[e].to)
			}
		}
	}
	return order
}

func (g *graph) blockers(i int) int {
	n := len(g.earlier[i])
	for _, e := range g.in[i] {
		if !g.edges[e].cut {
			n++
		}
	}
	return n
}

// stuck is the earliest moment that waits for messages only.
func (g *graph) stuck(done []bool) int {
	best := -1
	for i := range g.nodes {
		if done[i] || slices.ContainsFunc(g.earlier[i], func(p int) bool { return !done[p] }) {
			continue
		}
		if best < 0 || compareReady(g.nodes, i, best) < 0 {
			best = i
		}
	}
	return best
}

// cut takes the edges into a moment that is stuck out of the order. The order that a host
// has its moments in is only as sure as their stamps, which may be loose, as near a step of
// CLOCK_REALTIME: an edge is impossible only if its departure surely is not before its arrival.
func (g *graph) cut(i int, done []bool) {
	after := g.surelyAfter(i, done)
	for _, e := range g.in[i] {
		if edge := &g.edges[e]; !done[edge.from] && !edge.cut {
			edge.cut, edge.impossible = true, after[edge.from]
		}
	}
}

// surelyAfter are the moments, of those that are not done, that surely are not before
// moment i: messages lead there from it, and steps from one moment of a host to another
// whose stamps do not overlap.
func (g *graph) surelyAfter(i int, done []bool) []bool {
	after := make([]bool, len(g.nodes))
	// since is, by host, from when on its moments are known to be after.
	since := make(map[int]int64)
	queue := []int{i}
	reach := func(k int) {
		if !done[k] && !after[k] {
			after[k] = true
			queue = append(queue, k)
		}
	}
	for len(queue) > 0 {
		k := queue[0]
		queue = queue[1:]
		for _, e := range g.out[k] {
			if !g.edges[e].cut {
				reach(g.edges[e].to)
			}
		}
		n := &g.nodes[k]
		limit, ok := since[n.event.Host]
		if until := int64(n.local) + n.err; !ok || until < limit {
			since[n.event.Host] = until
			for next := k; ; {
				if next = g.next(next); next < 0 {
					break
				}
				if m := &g.nodes[next]; int64(m.local)-m.err >= until {
					reach(next)
				}
			}
			for before := g.previous(k); before >= 0; before = g.previous(before) {
				if m := &g.nodes[before]; int64(m.local)-m.err >= until {
					reach(before)
				}
			}
		}
	}
	return after
}

// relax moves estimates as little as a walk in either direction can, so that none
// is before one that it must not be before. Estimates of the clocks already keep each
// host's order; what moves are arrivals and departures whose own stamps are less
// sure than the time between them, and pairs that told the clocks nothing. An
// estimate stays within its error as long as the messages do not contradict it. The
// highs grow along every edge, so an estimate cut at its own is not before any that
// was cut at an earlier one.
func (g *graph) relax(order []int) {
	lows, highs := g.lows(order), g.highs(order)
	for _, i := range order {
		n := &g.nodes[i]
		at := max(n.at, lows[i])
		g.eachBefore(i, func(p int) { at = max(at, g.nodes[p].at) })
		n.at = min(at, highs[i])
	}
}

func (g *graph) lows(order []int) []int64 {
	lows := make([]int64, len(g.nodes))
	for _, i := range order {
		lows[i] = g.nodes[i].lo
		g.eachBefore(i, func(p int) { lows[i] = max(lows[i], lows[p]) })
	}
	return lows
}

func (g *graph) highs(order []int) []int64 {
	highs := make([]int64, len(g.nodes))
	for k := len(order) - 1; k >= 0; k-- {
		i := order[k]
		highs[i] = g.nodes[i].hi
		g.eachAfter(i, func(s int) { highs[i] = min(highs[i], highs[s]) })
	}
	return highs
}

func (g *graph) eachBefore(i int, do func(int)) {
	for _, p := range g.earlier[i] {
		do(p)
	}
	for _, e := range g.in[i] {
		if !g.edges[e].cut {
			do(g.edges[e].from)
		}
	}
}

func (g *graph) eachAfter(i int, do func(int)) {
	for _, n := range g.later[i] {
		do(n)
	}
	for _, e := range g.out[i] {
		if !g.edges[e].cut {
			do(g.edges[e].to)
		}
	}
}

// ready is a queue of nodes by time.
type ready struct {
	nodes []node
	items []int
}

func (r *ready) Len() int           { return len(r.items) }
func (r *ready) Less(i, j int) bool { return compareReady(r.nodes, r.items[i], r.items[j]) < 0 }
func (r *ready) Swap(i, j int)      { r.items[i], r.items[j] = r.items[j], r.items[i] }
func (r *ready) Push(x any)         { r.items = append(r.items, x.(int)) }

func (r *ready) Pop() any {
	last := r.items[len(r.items)-1]
	r.items = r.items[:len(r.items)-1]
	return last
}

// compareReady orders moments of different hosts: by time, then causes before
// effects as far as their kind tells.
func compareReady(nodes []node, i, j int) int {
	return cmp.Or(
		cmp.Compare(nodes[i].at, nodes[j].at),
		cmp.Compare(nodes[i].rank(), nodes[j].rank()),
		cmp.Compare(i, j),
	)
}

// rank is the order of moments that nothing else orders: a call is entered, a packet
// is sent, is received, a call returns.
func (n *node) rank() int {
	switch {
	case n.edge == Enter:
		return 0
	case n.edge == Return:
		return 4
	case n.event.Packet != nil && n.event.Packet.Direction == Out:
		return 1
	case n.event.Packet != nil:
		return 2
	}
	return 3
}
