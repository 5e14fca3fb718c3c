package controller

import (
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
	// hosts are by agent.
	hosts map[string]*hostPass
	// connects are how long each connect() took that made a connection, nanoseconds.
	connects     []int64
	events, lost uint64
	// before and after are processor times, by agent; an agent that cannot tell is in
	// neither.
	before, after map[string]*synclinev1.Usage
}

// hostPass is what one host did in a pass, by its own clock.
type hostPass struct {
	// calls spans the calls of all lanes, lanes those of each.
	calls span
	lanes map[string]*lanePass
}

type lanePass struct {
	span
	connections int
}

// span is from the entry of the first call to the return of the last one, nanoseconds of
// CLOCK_MONOTONIC; the zero span is none.
type span struct{ first, last int64 }

func (s *span) add(first, last int64) {
	if *s == (span{}) {
		*s = span{first, last}
		return
	}
	s.first, s.last = min(s.first, first), max(s.last, last)
}

func (s span) seconds() float64 { return float64(s.last-s.first) / 1e9 }

// add takes an event of an agent.
func (p *pass) add(agent string, e *synclinev1.Event) {
	p.events++
	if l := e.GetLoss(); l != nil {
		p.lost += l.Count
	}
	c := e.GetCall()
	if c == nil || labsOwn(c) {
		return
	}
	if p.hosts == nil {
		p.hosts = map[string]*hostPass{}
	}
	h := p.hosts[agent]
	if h == nil {
		h = &hostPass{lanes: map[string]*lanePass{}}
		p.hosts[agent] = h
	}
	l := h.lanes[c.Lane]
	if l == nil {
		l = &lanePass{}
		h.lanes[c.Lane] = l
	}
	h.calls.add(e.TimeNs, c.ReturnNs)
	l.add(e.TimeNs, c.ReturnNs)
	if c.Name == "connect" && c.Result == 0 && c.EndedBy == synclinev1.EndedBy_ENDED_BY_KERNEL {
		l.connections++
		p.connects = append(p.connects, c.ReturnNs-e.TimeNs)
	}
}

// connectionRate is how many connections a second the lanes made that connect, all hosts
// together; 0 if there were none.
func (p *pass) connectionRate() (rate float64) {
	for _, h := range p.hosts {
		var connecting span
		connections := 0
		for _, l := range h.lanes {
			if l.connections > 0 {
				connecting.add(l.first, l.last)
				connections += l.connections
			}
		}
		if s := connecting.seconds(); s > 0 {
			rate += float64(connections) / s
		}
	}
	return rate
}

// repetitionRate is how many such passes a second would hold, going by the host that was
// busy longest; 0 if there was no call.
func (p *pass) repetitionRate() float64 {
	longest := 0.0
	for _, h := range p.hosts {
		longest = max(longest, h.calls.seconds())
	}
	if longest == 0 {
		return 0
	}
	return 1 / longest
}

// processors is the processor time of the agents and of their machines; a machine that
// several agents share counts once. ok is false if some agent could not tell.
func (p *pass) processors(hosts []store.RunHost) (agents, machines float64, ok bool) {
	seen := map[string]bool{}
	for _, h := range hosts {
		before, after := p.before[h.Agent], p.after[h.Agent]
		if before == nil || after == nil {
			return 0, 0, false
		}
		agents += float64(after.AgentNs - before.AgentNs)
		boot, _, _ := strings.Cut(h.ClockID, "/")
		if !seen[boot] {
			seen[boot] = true
			machines += float64(after.MachineNs - before.MachineNs)
		}
	}
	return agents, machines, true
}

// figures compares the passes of each setting with those of the first one, which is bare.
// A pass of round 0 warms up and counts for nothing but its loss. The settings are filled
// in place.
func figures(settings []*synclinev1.OverheadSetting, passes []*pass, hosts []store.RunHost) {
	all := make([]*measured, len(settings))
	for i := range settings {
		all[i] = newMeasured()
	}
	for _, p := range passes {
		s := settings[p.setting]
		s.Lost += p.lost
		switch {
		case p.round == 0:
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

// measured are the figures of one setting, by round.
type measured struct {
	connections, repetitions, p50, p99, agents, machines map[int]float64
	connects                                             []int64
	// tails is set if every pass has connections enough for a 99th percentile.
	tails bool
}

func newMeasured() *measured {
	m := &measured{tails: true}
	for _, by := range []*map[int]float64{&m.connections, &m.repetitions, &m.p50, &m.p99, &m.agents, &m.machines} {
		*by = map[int]float64{}
	}
	return m
}

func (m *measured) take(p *pass, hosts []store.RunHost) {
	if rate := p.connectionRate(); rate > 0 {
		m.connections[p.round] = rate
	}
	if rate := p.repetitionRate(); rate > 0 {
		m.repetitions[p.round] = rate
	}
	if len(p.connects) > 0 {
		m.p50[p.round] = float64(quantile(p.connects, 0.5))
		m.p99[p.round] = float64(quantile(p.connects, 0.99))
		m.tails = m.tails && len(p.connects) >= tailConnections
		m.connects = append(m.connects, p.connects...)
	}
	if agents, machines, ok := p.processors(hosts); ok {
		m.agents[p.round], m.machines[p.round] = agents, machines
	}
}

func (m *measured) fill(s *synclinev1.OverheadSetting, bare *measured) {
	s.ConnectionsPerSecond = paired(m.connections, bare.connections)
	s.RepetitionsPerSecond = paired(m.repetitions, bare.repetitions)
	s.ConnectP50Ns = paired(m.p50, bare.p50)
	s.ConnectP99Ns = m.tail(bare)
	s.AgentCpuNs = paired(m.agents, bare.agents)
	s.MachineCpuNs = pooled(m.machines, bare.machines, leastTicks)
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
