package timeline

import (
	"cmp"
	"fmt"
	"slices"

	"syncline/controller/clock"
	"syncline/controller/experiment"
)

// assembly puts one repetition together. The builder is only read.
type assembly struct {
	*Builder
	repetition int
	conns      []*conn
	// experiment is what this repetition was of; nil if nobody said.
	experiment *experiment.Experiment
	nodes      []node
	// packets and signals find the node of an event that has one moment.
	at    map[*Event]int
	edges []edge
	// place of each node in Timeline.Moments.
	place []int
	// sides are the ends that the calls of moments worked on, by moment.
	sides map[int]EndRef
	// blind is, by host, why packets may be missing, blindEnds the same of single ends, dumps
	// the last moment of its last dump of sockets, and lastDumpOf that by what it shows.
	blind      []string
	blindEnds  map[EndRef]string
	dumps      []int
	lastDumpOf map[dumpKey]int
	// between lists the ends of a host by the two addresses that they are between.
	between map[dumpKey][]EndRef
	// disputed says of ends why nobody can tell which socket's traces are theirs.
	disputed map[EndRef]string
	// tracing is, by host, whether its kernel's transitions are on record.
	tracing []bool
	// against are the sentences about states that cannot be as they seem.
	against []string
	t       *Timeline
}

// node is a moment before its place is known.
type node struct {
	event *Event
	edge  Edge
	local clock.Local
	// err is the half-width of local.
	err int64
	// at is the best estimate, surely within lo and hi; err is in them.
	at, lo, hi int64
	known      bool
	conn       *conn
}

// edge says that a message left in one moment and arrived in another.
type edge struct {
	from, to int
	// transit is nil for a signal.
	transit *transit
	// sure edges prove an order; the others are likely.
	sure bool
	// cut edges are not obeyed.
	cut bool
	// impossible edges arrived before they left, whatever the clocks are; they are cut.
	impossible bool
}

// Build puts one repetition, counted from 1, on one clock. It is deterministic: the
// same events give the same timeline in whatever order they came. ErrNoEvents is in
// the chain of the error if there is nothing to make one of.
func (b *Builder) Build(repetition int) (*Timeline, error) {
	if b.err != nil {
		return nil, b.err
	}
	if repetition < 1 || len(b.events[repetition]) == 0 && len(b.conns[repetition]) == 0 && len(b.others[repetition]) == 0 {
		return nil, fmt.Errorf("build timeline: %w: run %s has no events of repetition %d", ErrNoEvents, b.run.ID, repetition)
	}
	exp, err := b.plan(repetition)
	if err != nil {
		return nil, err
	}
	a := &assembly{Builder: b, repetition: repetition, conns: b.conns[repetition], experiment: exp, at: make(map[*Event]int)}
	a.collect()
	a.estimate()
	a.link()
	a.arrange()
	a.finish()
	return a.t.Settle(), nil
}

// collect lists the moments, host by host in the host's own order.
func (a *assembly) collect() {
	for _, e := range a.events[a.repetition] {
		a.add(e, a.calls[e].conn)
	}
	for host := range a.run.Hosts {
		for _, e := range a.evidence.touching[part{host, a.repetition}] {
			if e.Repetition != a.repetition {
				a.add(e, nil)
			}
		}
	}
	for _, c := range a.conns {
		a.collectPackets(c)
	}
	a.collectOthers()
	slices.SortFunc(a.nodes, func(x, y node) int {
		return cmp.Or(cmp.Compare(x.event.Host, y.event.Host), compareNodes(&x, &y))
	})
	for i := range a.nodes {
		if a.nodes[i].edge == At {
			a.at[a.nodes[i].event] = i
		}
	}
}

func (a *assembly) collectPackets(c *conn) {
	seen := make(map[*Event]bool)
	for i := range c.transits {
		for _, e := range []*Event{c.transits[i].departure, c.transits[i].arrival} {
			if e != nil && !seen[e] {
				seen[e] = true
				a.add(e, c)
			}
		}
	}
	for _, e := range c.passing {
		a.add(e, c)
	}
}

func (a *assembly) add(e *Event, c *conn) {
	n := node{event: e, edge: At, local: e.At, conn: c}
	switch {
	case e.Call != nil:
		n.edge = Enter
		a.nodes = append(a.nodes, n)
		n.edge, n.local = Return, e.Call.Return
	case e.Packet != nil:
		n.err = max(e.Packet.Err, 0)
	}
	a.nodes = append(a.nodes, n)
}

// compareNodes is the order of two moments of one host. What a host reports at the
// same nanosecond is in the order of its numbers.
func compareNodes(x, y *node) int {
	return cmp.Or(
		cmp.Compare(x.local, y.local),
		cmp.Compare(x.event.Incarnation, y.event.Incarnation),
		cmp.Compare(x.event.Number, y.event.Number),
		cmp.Compare(x.edge, y.edge),
	)
}

// estimate puts every moment on the lab's clock. A host that nothing ties is put
// where its repetition began when the reference's did, which is worth a picture and
// no more: the controller starts all hosts at about the same time.
func (a *assembly) estimate() {
	for i := range a.nodes {
		n := &a.nodes[i]
		s := a.clocks.Stamp(n.event.Host, n.local, n.err)
		n.at, n.known = int64(s.At), s.Err < clock.Unbounded
		if n.known {
			n.lo, n.hi = n.at-s.Err, n.at+s.Err
			continue
		}
		bound := a.clocks.Bound(n.event.Host, n.local)
		n.at = int64(n.local) - max(bound.Lo, min(bound.Hi, a.guess(n.event.Host)))
		n.lo, n.hi = n.at-clock.Unbounded, n.at+clock.Unbounded
	}
}

func (a *assembly) guess(host int) int64 {
	return int64(a.beginning(host) - a.beginning(a.clocks.Reference()))
}

func (a *assembly) beginning(host int) clock.Local {
	s := a.evidence.spans[part{host, a.repetition}]
	switch {
	case s == nil:
		return 0
	case s.hasBegin:
		return s.begin
	}
	return s.first
}

// link makes the edges: segments seen at both ends, and signals.
func (a *assembly) link() {
	for _, c := range a.conns {
		a.linkTransits(c.transits)
	}
	for _, s := range a.others[a.repetition] {
		a.linkTransits(s.transits)
	}
	for _, pair := range signalPairs(a.events[a.repetition]) {
		_, hi := a.clocks.Between(pair[0].Host, pair[0].At, pair[1].Host, pair[1].At)
		a.edges = append(a.edges, edge{from: a.at[pair[0]], to: a.at[pair[1]], sure: true, cut: hi < 0, impossible: hi < 0})
	}
}

func (a *assembly) linkTransits(transits []transit) {
	for i := range transits {
		t := &transits[i]
		if t.departure == nil || t.arrival == nil {
			continue
		}
		_, hi := between(a.clocks, t.departure, t.arrival)
		from, to := a.at[t.departure], a.at[t.arrival]
		a.edges = append(a.edges, edge{
			from: from, to: to, transit: t, sure: !t.ambiguous, cut: hi < 0, impossible: hi < 0,
		})
	}
}

// arrange finds the order of the moments and moves estimates, within their errors,
// so that no message seems to arrive before it left.
func (a *assembly) arrange() {
	g := newGraph(a.nodes, a.edges)
	order := g.sort()
	g.relax(order)
	a.place = make([]int, len(a.nodes))
	a.t = &Timeline{
		RunID: a.run.ID, Repetition: a.repetition, Hosts: a.evidence.lacking(a.repetition),
		Incomplete: slices.Clone(a.run.Incomplete), Reference: a.clocks.Reference(),
		Moments: make([]Moment, 0, len(a.nodes)),
	}
	if exp := a.experiment; exp != nil {
		a.t.Experiment = exp.Name
		if exp.Variant < len(exp.Variants) {
			a.t.Variant = exp.Variants[exp.Variant].Name
		}
	}
	for i, n := range g.sort() {
		a.place[n] = i
		a.t.Moments = append(a.t.Moments, a.nodes[n].moment())
	}
}

func (n *node) moment() Moment {
	m := Moment{
		Event: n.event, Edge: n.edge, Local: n.local,
		Stamp:      clock.Stamp{At: clock.Lab(n.at), Err: clock.Unbounded},
		Connection: -1, Segment: -1,
	}
	if n.known {
		m.Stamp.Err = max(n.at-n.lo, n.hi-n.at)
	}
	return m
}

// finish fills in what needs the order of the moments.
func (a *assembly) finish() {
	a.zero()
	a.t.Clocks = a.hostClocks()
	a.segments()
	a.t.certain = newCertainty(a)
	a.inferStates()
	a.t.Warnings = a.warnings()
	if a.experiment != nil {
		a.t.Verdicts = a.t.Judge(a.experiment)
	}
}

func (a *assembly) zero() {
	if len(a.t.Moments) == 0 {
		return
	}
	a.t.Zero = a.t.Moments[0].Stamp.At
	for i := range a.t.Moments {
		m := &a.t.Moments[i]
		if m.Edge == Enter && m.Event.Call.Name == "connect" {
			a.t.Zero = m.Stamp.At
			return
		}
	}
}

func (a *assembly) hostClocks() []HostClock {
	clocks := make([]HostClock, len(a.run.Hosts))
	for h := range clocks {
		var middle clock.Local
		if s := a.evidence.spans[part{h, a.repetition}]; s != nil {
			middle = s.first + (s.last-s.first)/2
		}
		clocks[h] = HostClock{
			Bound: a.clocks.Bound(h, middle), Method: a.method[h], Messages: a.clocks.Messages(h),
		}
	}
	return clocks
}
