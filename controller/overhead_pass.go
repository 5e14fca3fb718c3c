package controller

import (
	"maps"
	"slices"
	"strings"

	"syncline/controller/store"
	synclinev1 "syncline/proto/syncline/v1"
)

// tailConnections is how many connections it takes until the 99th percentile of their
// times is not just the greatest.
const tailConnections = 100

// leastTicks is how much processor time of the machines, in nanoseconds, a ratio takes
// that the kernel's ticks of 10 ms do not decide.
const leastTicks = 200e6

// pass is one repetition of a measurement.
type pass struct {
	setting, round int
	// failure is why its first lane failed; it does not count then.
	failure string
	// lanes are by agent, then by name.
	lanes map[string]map[string]*lanePass
	// connects are how long each connect() took that made a connection, nanoseconds.
	connects     []int64
	events, lost uint64
	// taps are the accounts of packets, by agent.
	taps map[string]*tapAccount
	// unwatched are sources that were not on; their host is an agent.
	unwatched []*synclinev1.Unwatched
	// before and after are processor times, by agent; an agent that cannot tell is in
	// neither.
	before, after map[string]*synclinev1.Usage
}

// tapAccount is what an agent's taps let through in a pass, by the kernel's count, and
// what of it is on record or reported lost.
type tapAccount struct{ passed, told uint64 }

// missing are events of a pass that were lost, those included of which nobody said so: a
// packet that passed a tap and is neither on record nor reported.
func (p *pass) missing() uint64 {
	missing := p.lost
	for _, t := range p.taps {
		missing += t.passed - min(t.passed, t.told)
	}
	return missing
}

// tap takes what an event of an agent says of packets at its taps.
func (p *pass) tap(agent string, e *synclinev1.Event) {
	var told, passed uint64
	switch {
	case e.GetPacket() != nil:
		told = 1
	case e.GetLoss().GetSource() == synclinev1.Source_SOURCE_PACKETS:
		told = e.GetLoss().Count
	case e.GetMark().GetKind() == synclinev1.MarkKind_MARK_KIND_CLOSED:
		passed = e.GetMark().Frames
	default:
		return
	}
	if p.taps == nil {
		p.taps = map[string]*tapAccount{}
	}
	if p.taps[agent] == nil {
		p.taps[agent] = &tapAccount{}
	}
	p.taps[agent].told += told
	p.taps[agent].passed += passed
}

// add takes an event of an agent.
func (p *pass) add(agent string, e *synclinev1.Event) {
	p.events++
	p.tap(agent, e)
	if l := e.GetLoss(); l != nil {
		p.lost += l.Count
	}
	if u := unwatchedMark(e.GetMark()); u != nil {
		u.Host = agent
		p.unwatched = append(p.unwatched, u)
	}
	c := e.GetCall()
	if c == nil || c.ByLab {
		return
	}
	l := p.lane(agent, c.Lane)
	if rests(c) {
		l.rests = append(l.rests, span{e.TimeNs, c.ReturnNs})
		return
	}
	l.add(e.TimeNs, c.ReturnNs)
	if c.Name == "connect" && c.Result == 0 && c.EndedBy == synclinev1.EndedBy_ENDED_BY_KERNEL {
		l.connections++
		p.connects = append(p.connects, c.ReturnNs-e.TimeNs)
	}
}

func (p *pass) lane(agent, name string) *lanePass {
	if p.lanes == nil {
		p.lanes = map[string]map[string]*lanePass{}
	}
	if p.lanes[agent] == nil {
		p.lanes[agent] = map[string]*lanePass{}
	}
	if p.lanes[agent][name] == nil {
		p.lanes[agent][name] = &lanePass{}
	}
	return p.lanes[agent][name]
}

// rates are what the lanes of a pass came to.
type rates struct {
	// connections a second of the lanes that connect, all hosts together; 0 if there were
	// none.
	connections float64
	// repetitions are how many such passes a second would hold, going by the host whose
	// lanes were at work the longest; 0 if there was no call.
	repetitions float64
	// working is how long the lanes that connect were at work, of all lanes if none does,
	// nanoseconds of the host where that is longest; resting is the share of the time
	// there in which none of them was.
	working, resting float64
}

func (p *pass) rates() (r rates) {
	// Over all lanes, and over those that connect.
	var all, connecting busiest
	for _, lanes := range p.lanes {
		all.take(slices.Collect(maps.Values(lanes)))
		connections := 0
		var connect []*lanePass
		for _, l := range lanes {
			if l.connections > 0 {
				connect = append(connect, l)
				connections += l.connections
			}
		}
		if work := connecting.take(connect); work > 0 {
			r.connections += float64(connections) / work * 1e9
		}
	}
	if all.work > 0 {
		r.repetitions = 1e9 / all.work
	}
	used := all
	if r.connections > 0 {
		used = connecting
	}
	r.working = used.work
	if used.whole > 0 {
		r.resting = 1 - used.work/used.whole
	}
	return r
}

// busiest is the time of the host whose lanes were at work the longest, nanoseconds.
type busiest struct{ work, whole float64 }

// take looks at the lanes of one more host, and gives how long they were at work.
func (b *busiest) take(lanes []*lanePass) float64 {
	work, whole := atWork(lanes)
	if w := float64(work); w > b.work {
		b.work, b.whole = w, float64(whole)
	}
	return float64(work)
}

// processors is the processor time of the agents and of their machines; a machine that
// several agents share counts once, and one that cannot be told from others is none of
// them. ok is false if some agent could not tell.
func (p *pass) processors(hosts []store.RunHost) (agents, machines float64, ok bool) {
	seen := map[string]bool{}
	for _, h := range hosts {
		before, after := p.before[h.Agent], p.after[h.Agent]
		if before == nil || after == nil {
			return 0, 0, false
		}
		agents += float64(after.AgentNs - before.AgentNs)
		boot, _, _ := strings.Cut(h.ClockID, "/")
		if boot == "" || !seen[boot] {
			seen[boot] = true
			machines += float64(after.MachineNs - before.MachineNs)
		}
	}
	return agents, machines, true
}

// figures compares the passes of each setting with those of the first one, which is bare.
// A pass of round 0 warms up and counts for nothing but its loss. A setting of which
// nothing was on has no figures: they would be those of no watching at all. The settings
// are filled in place.
func figures(settings []*synclinev1.OverheadSetting, passes []*pass, hosts []store.RunHost) {
	all := make([]*measured, len(settings))
	for i := range settings {
		all[i] = newMeasured()
	}
	for _, p := range passes {
		s := settings[p.setting]
		s.Lost += p.missing()
		for _, u := range p.unwatched {
			u.Host = roleOf(hosts, u.Host)
			notOn(s, u)
		}
	}
	for _, s := range settings {
		if why := nowhereOn(s, hosts); why != "" {
			s.Failure = why
		}
	}
	for _, p := range passes {
		s := settings[p.setting]
		switch {
		case p.round == 0 || nowhereOn(s, hosts) != "":
		case p.failure != "":
			if s.Failed++; s.Failure == "" {
				s.Failure = p.failure
			}
		default:
			s.Repetitions++
			s.Events += p.events
			s.Connections += uint64(len(p.connects))
			all[p.setting].take(p, hosts)
		}
	}
	for i, s := range settings {
		bare := all[0]
		if i == 0 {
			bare = newMeasured()
		}
		all[i].fill(s, bare)
	}
}

// roleOf is the host of a run that an agent plays.
func roleOf(hosts []store.RunHost, agent string) string {
	i := slices.IndexFunc(hosts, func(h store.RunHost) bool { return h.Agent == agent })
	if i < 0 {
		return agent
	}
	return hosts[i].Name
}

// measured are the figures of one setting, by round.
type measured struct {
	connections, repetitions, p50, p99, agents, machines map[int]float64
	working, resting                                     []float64
	connects                                             []int64
	// tails is set if every pass has connections enough for a 99th percentile, and ticks
	// if every one has ticks enough for a processor time of its machines.
	tails, ticks bool
}

func newMeasured() *measured {
	m := &measured{tails: true, ticks: true}
	for _, by := range []*map[int]float64{&m.connections, &m.repetitions, &m.p50, &m.p99, &m.agents, &m.machines} {
		*by = map[int]float64{}
	}
	return m
}

func (m *measured) take(p *pass, hosts []store.RunHost) {
	r := p.rates()
	if r.connections > 0 {
		m.connections[p.round] = r.connections
	}
	if r.repetitions > 0 {
		m.repetitions[p.round] = r.repetitions
		m.working, m.resting = append(m.working, r.working), append(m.resting, r.resting)
	}
	if len(p.connects) > 0 {
		m.p50[p.round] = float64(quantile(p.connects, 0.5))
		m.p99[p.round] = float64(quantile(p.connects, 0.99))
		m.tails = m.tails && len(p.connects) >= tailConnections
		m.connects = append(m.connects, p.connects...)
	}
	if agents, machines, ok := p.processors(hosts); ok {
		m.agents[p.round], m.machines[p.round] = agents, machines
		m.ticks = m.ticks && machines >= leastTicks
	}
}

func (m *measured) fill(s *synclinev1.OverheadSetting, bare *measured) {
	s.ConnectionsPerSecond = paired(m.connections, bare.connections)
	s.RepetitionsPerSecond = paired(m.repetitions, bare.repetitions)
	s.ConnectP50Ns = paired(m.p50, bare.p50)
	s.ConnectP99Ns = m.tail(bare)
	s.AgentCpuNs = paired(m.agents, bare.agents)
	s.MachineCpuNs = pooled(m.machines, bare.machines, leastTicks)
	if m.ticks && bare.ticks {
		s.MachineCpuNs = paired(m.machines, bare.machines)
	}
	if len(m.working) > 0 {
		s.WorkingNs, s.Resting = int64(median(m.working)), median(m.resting)
	}
}

// tail is the 99th percentile: by round if the rounds are large enough, else over all
// connections of the setting, nil if those are too few as well.
func (m *measured) tail(bare *measured) *synclinev1.Cost {
	if len(m.connects) < tailConnections {
		return nil
	}
	if m.tails && bare.tails {
		return paired(m.p99, bare.p99)
	}
	cost := &synclinev1.Cost{Value: float64(quantile(m.connects, 0.99))}
	if len(bare.connects) >= tailConnections {
		if below := float64(quantile(bare.connects, 0.99)); below > 0 {
			cost.Ratio = cost.Value / below
		}
	}
	return cost
}
