package timeline

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"syncline/controller/clock"
	"syncline/controller/experiment"
)

// Builder holds what the repetitions of a run share: the connections and the clocks,
// which are learned from the segments of all repetitions together. It never changes
// after NewBuilder, so any number of goroutines may build at the same time.
type Builder struct {
	run *Run
	err error
	// events of each repetition but packets, sorted; 0 holds the run's own.
	events map[int][]*Event
	conns  map[int][]*conn
	// others are the streams of packets that are no TCP, and quotedBy the connections
	// that ICMP errors are about.
	others   map[int][]*stream
	quotedBy map[*Event]*conn
	// calls are the ends that calls worked on, lastCloses those that took the last name
	// of a socket, deferring the listeners that wait for data.
	calls      map[*Event]side
	lastCloses map[*Event]bool
	deferring  map[listener]bool
	// tied is what is known of the clocks; its model is that of the reference.
	tied
	probes probes
	stays  []stay
	// samples of the clocks by host, in its order.
	samples  [][]*Event
	evidence *evidence
	doubtful map[int][]*Event
}

// ErrNoEvents says that nothing of a repetition, or of the whole run, is on record.
var ErrNoEvents = errors.New("nothing is on record")

// ErrNoSuchHost says that a host is not one of the run.
var ErrNoSuchHost = errors.New("no such host")

// Build computes the timeline of one repetition, counted from 1.
func Build(run *Run, repetition int) (*Timeline, error) {
	return NewBuilder(run).Build(repetition)
}

// NewBuilder does the work that all repetitions share. The run must not change as
// long as the builder or a timeline of it is in use: moments point at its events. A
// run that cannot be is refused by Build.
func NewBuilder(run *Run) *Builder {
	b := &Builder{
		run:        run,
		events:     make(map[int][]*Event),
		conns:      make(map[int][]*conn),
		others:     make(map[int][]*stream),
		quotedBy:   make(map[*Event]*conn),
		calls:      make(map[*Event]side),
		lastCloses: make(map[*Event]bool),
		deferring:  make(map[listener]bool),
		doubtful:   make(map[int][]*Event),
	}
	if b.err = check(run); b.err != nil {
		return b
	}
	if lost := unaccounted(run); len(lost) > 0 {
		whole := *run
		whole.Incomplete = slices.Concat(run.Incomplete, lost)
		b.run, run = &whole, &whole
	}
	events := sorted(run.Events)
	var segments, others, sights []*Event
	homes := make(map[cookieKey]int)
	b.samples = make([][]*Event, len(run.Hosts))
	for _, e := range events {
		switch {
		case e.Sample != nil:
			b.samples[e.Host] = append(b.samples[e.Host], e)
		case e.ofProbes():
			sights = append(sights, e)
		case e.Trace != nil:
			n := homeOf(homes, e)
			b.events[n] = append(b.events[n], e)
		case e.Packet == nil:
			b.events[e.Repetition] = append(b.events[e.Repetition], e)
		case e.Packet.TCP():
			segments = append(segments, e)
		default:
			others = append(others, e)
		}
	}
	owners := newOwners(run, events)
	b.evidence = newEvidence(run, events)
	b.probes, b.stays = pairProbes(run.Hosts, sights), staysOf(len(run.Hosts), events)
	flows := b.connect(segments, owners)
	b.quote(others, flows)
	for _, s := range streams(others, owners) {
		b.others[s.repetition] = append(b.others[s.repetition], s)
	}
	b.matchAll()
	b.claimAll(owners)
	return b
}

// check refuses events that no agent can have sent.
func check(run *Run) error {
	if len(run.Hosts) == 0 {
		return errors.New("build timeline: the run has no hosts")
	}
	for i := range run.Events {
		e := &run.Events[i]
		if e.Host < 0 || e.Host >= len(run.Hosts) {
			return fmt.Errorf("build timeline: event %d is of host %d, the run has %d hosts", e.Number, e.Host, len(run.Hosts))
		}
		if err := e.Check(); err != nil {
			return fmt.Errorf("build timeline: event %d of %s %w", e.Number, run.Hosts[e.Host].Name, err)
		}
	}
	return nil
}

// Check refuses an event that no agent can have sent, whatever run it is of.
func (e *Event) Check() error {
	if e.facts() != 1 {
		return fmt.Errorf("holds %d facts, want exactly one", e.facts())
	}
	if e.Call != nil && e.Call.Return < e.At {
		return fmt.Errorf("is wrong: %s returns %d ns before it is entered", e.Call.Name, e.At-e.Call.Return)
	}
	if e.Trace != nil {
		return e.Trace.check()
	}
	if e.Probe != nil && e.Probe.Err < 0 {
		return fmt.Errorf("is wrong: the stamp of a probe has an error of %d ns", e.Probe.Err)
	}
	if e.Sample != nil && e.Sample.RawErr < 0 {
		return fmt.Errorf("is wrong: a reading of CLOCK_MONOTONIC_RAW has an error of %d ns", e.Sample.RawErr)
	}
	return nil
}

func (e *Event) facts() int {
	n := 0
	for _, set := range []bool{
		e.Call != nil, e.Packet != nil, e.Signal != nil, e.Mark != nil, e.Loss != nil, e.Step != nil,
		e.Counters != nil, e.Queue != nil, e.Socket != nil, e.Change != nil, e.Process != nil, e.Trace != nil,
		e.Probe != nil, e.Sample != nil,
	} {
		if set {
			n++
		}
	}
	return n
}

// sorted are the events by host, then in the host's own order.
func sorted(events []Event) []*Event {
	all := make([]*Event, len(events))
	for i := range events {
		all[i] = &events[i]
	}
	slices.SortFunc(all, func(a, b *Event) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), compareEvents(a, b))
	})
	return all
}

// compareEvents is the order of two events of one host.
func compareEvents(a, b *Event) int {
	return cmp.Or(
		cmp.Compare(a.At, b.At),
		cmp.Compare(a.Incarnation, b.Incarnation),
		cmp.Compare(a.Number, b.Number),
	)
}

// connect finds the connections and whose ends they are.
func (b *Builder) connect(packets []*Event, owners *owners) map[flowKey]*flow {
	byKey := make(map[flowKey]*flow)
	for _, f := range flows(packets) {
		f.split(len(b.run.Hosts))
		for _, c := range f.conns {
			for i := range c.ends {
				c.ends[i].Host = owners.of(c.repetition, c.ends[i].Address)
			}
			b.conns[c.repetition] = append(b.conns[c.repetition], c)
		}
		byKey[keyOf(f.packets[0].Packet.Source, f.packets[0].Packet.Destination)] = f
	}
	for _, conns := range b.conns {
		byStart(conns)
	}
	return byKey
}

// quote finds the connections that ICMP errors are about.
func (b *Builder) quote(packets []*Event, flows map[flowKey]*flow) {
	for _, e := range packets {
		q, ok := e.Packet.quoted()
		if !ok || q.protocol != ProtocolTCP {
			continue
		}
		if f := flows[keyOf(q.source, q.destination)]; f != nil {
			if c := f.quoted(e, q); c != nil {
				b.quotedBy[e] = c
			}
		}
	}
}

// matchAll matches the packets of every connection and stream, first what is sure,
// then, with the clocks that this gives, the rest.
func (b *Builder) matchAll() {
	type half struct {
		into *[]transit
		*matching
	}
	var halves []half
	var messages []clock.Message
	add := func(m *matching, into *[]transit) {
		m.match()
		halves = append(halves, half{into, m})
		messages = appendMessages(messages, m.transits)
	}
	for _, repetition := range b.repetitions() {
		for _, c := range b.conns[repetition] {
			for from := range c.ends {
				add(b.sights(c, from), &c.transits)
			}
		}
		for _, s := range b.others[repetition] {
			add(b.streamSights(s), &s.transits)
		}
	}
	b.tie(messages)
	for _, h := range halves {
		*h.into = append(*h.into, h.settle(b.clocks)...)
	}
}

func (b *Builder) repetitions() []int {
	var all []int
	for r := range b.conns {
		all = append(all, r)
	}
	for r := range b.others {
		all = append(all, r)
	}
	for r := range b.events {
		all = append(all, r)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// sights sorts out which of a connection's packets are departures and arrivals of
// one direction.
func (b *Builder) sights(c *conn, from int) *matching {
	var packets []*Event
	for _, e := range c.packets {
		if c.direction(e.Packet) == from {
			packets = append(packets, e)
		}
	}
	m, passing := b.sift(packets, way{c.ends[from].Host, c.ends[1-from].Host, c.repetition, c.until()})
	m.from, m.levels = from, levels
	c.passing = append(c.passing, passing...)
	return m
}

// streamSights does the same for a stream, which has one direction.
func (b *Builder) streamSights(s *stream) *matching {
	m, passing := b.sift(s.packets, way{s.from, s.to, s.repetition, s.repetition})
	m.levels, m.whole = otherLevels, true
	s.passing = append(s.passing, passing...)
	return m
}

// way is who sends to whom, in which repetitions, one after the other.
type way struct{ sender, receiver, first, last int }

// sift tells departures from arrivals. What another tap saw is passing by, unless it
// is a tap on the same kernel that saw the very same moment again.
func (b *Builder) sift(packets []*Event, w way) (m *matching, passing []*Event) {
	m = &matching{stepped: b.evidence.stepped}
	m.lossSince, m.complete = b.evidence.lossSince(w.sender, w.first, w.last)
	var strangers []*Event
	for _, e := range packets {
		switch {
		case e.Packet.Direction == Out && e.Host == w.sender:
			m.departures = append(m.departures, e)
		case e.Packet.Direction == In && e.Host == w.receiver:
			m.arrivals = append(m.arrivals, e)
		default:
			strangers = append(strangers, e)
		}
	}
	for _, e := range strangers {
		host, seen := w.sender, len(m.departures)
		if e.Packet.Direction == In {
			host, seen = w.receiver, len(m.arrivals)
		}
		if seen == 0 || host < 0 || !b.sameClock(e.Host, host) {
			passing = append(passing, e)
		}
	}
	m.departures, passing = onePath(m.departures, passing)
	m.arrivals, passing = onePath(m.arrivals, passing)
	return m, passing
}

// sameClock reports whether two hosts are on one kernel, by the clock they read.
func (b *Builder) sameClock(a, c int) bool {
	id := b.run.Hosts[a].ClockID
	return a == c || id != "" && id == b.run.Hosts[c].ClockID
}

// onePath leaves out packets that a second interface of the same host saw again, as
// a bridge and its port do: they are passing by. The interface that saw most of the
// connection counts.
func onePath(events, passing []*Event) (counted, all []*Event) {
	seen := make(map[string]int)
	for _, e := range events {
		seen[e.Packet.Interface]++
	}
	if len(seen) < 2 {
		return events, passing
	}
	main := ""
	for name, n := range seen {
		if main == "" || n > seen[main] || n == seen[main] && name < main {
			main = name
		}
	}
	known := make(map[wire]bool)
	for _, e := range events {
		if e.Packet.Interface == main {
			known[levels[0].look(e.Packet)] = true
		}
	}
	counted = slices.DeleteFunc(events, func(e *Event) bool {
		again := e.Packet.Interface != main && known[levels[0].look(e.Packet)]
		if again {
			passing = append(passing, e)
		}
		return again
	})
	return counted, passing
}

// plan is what was executed in a repetition; nil if nobody said.
func (b *Builder) plan(repetition int) (*experiment.Experiment, error) {
	if b.run.Plan == nil {
		return b.run.Experiment, nil
	}
	exp, err := b.run.Plan(repetition)
	if err != nil {
		return nil, fmt.Errorf("build timeline: plan of repetition %d: %w", repetition, err)
	}
	return exp, nil
}

// forked is the lane that a fork started, as the plan has it: a plan that cannot be had
// is an error of Build. Without a plan the call's arguments name it.
func (b *Builder) forked(repetition int, fork *Event) string {
	exp, err := b.plan(repetition)
	if err != nil || exp == nil {
		return strings.TrimSpace(fork.Call.Arguments)
	}
	for _, lane := range exp.Lanes {
		if lane.Name != fork.Call.Lane || fork.Call.Step < 0 || fork.Call.Step >= len(lane.Steps) {
			continue
		}
		if args, ok := lane.Steps[fork.Call.Step].Args.(experiment.ForkArgs); ok {
			return args.Lane
		}
	}
	return ""
}

// claimAll gives the calls to the connections.
func (b *Builder) claimAll(owners *owners) {
	for _, repetition := range b.repetitions() {
		var calls []*Event
		for _, e := range b.events[repetition] {
			if e.Call != nil {
				calls = append(calls, e)
			}
		}
		cl := &claims{
			repetition: repetition, hosts: len(b.run.Hosts), owners: owners,
			conns: b.conns[repetition], of: b.calls,
			forked: func(fork *Event) string { return b.forked(repetition, fork) },
			hears:  func(host int) bool { return host >= 0 && b.evidence.complete(host, repetition, Packets) == "" },
			traces: func(host int) bool { return host >= 0 && b.evidence.complete(host, repetition, Tracepoints) == "" },
			births: births(b.events[repetition]),
		}
		cl.claim(calls)
		b.conns[repetition] = cl.conns
		b.noteSockets(cl)
		b.doubtful[repetition] = cl.doubtful
	}
}

// listener is a port that a host listened on in a repetition.
type listener struct {
	host, repetition int
	port             uint16
}

// noteSockets keeps what the states of connections ask of sockets.
func (b *Builder) noteSockets(cl *claims) {
	for _, s := range cl.sockets.all {
		if s.closed != nil {
			b.lastCloses[s.closed] = true
		}
		if !s.defers() {
			continue
		}
		for _, c := range cl.conns {
			if port := c.ends[1].socketAddress().Port(); s.listens(port) {
				b.deferring[listener{s.calls[0].Host, cl.repetition, port}] = true
			}
		}
	}
}
