package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"syncline/controller/store"
	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

const (
	defaultProbeTime = 2 * time.Second
	maxProbeTime     = time.Minute
)

// ProbeClocks measures the clocks of agents now. Agents that play in a run can take part:
// where that run would see the probes there are few, at the beginning and at the end.
func (s *timelineService) ProbeClocks(ctx context.Context, q *synclinev1.ProbeClocksRequest) (*synclinev1.ProbeClocksResponse, error) {
	c := s.controller
	duration, points, err := probeLimits(q)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	p, err := c.measurement(q)
	if err != nil {
		return nil, err
	}
	if p.needed() {
		if err := c.probeNow(ctx, p, duration); err != nil {
			return nil, c.probeStatus(ctx, err)
		}
	}
	report, err := reportOn(p, q.Reference, points)
	if err != nil {
		return nil, err
	}
	return &synclinev1.ProbeClocksResponse{Report: report}, nil
}

// probeLimits reads for how long clocks are measured, and at how many moments they are told.
func probeLimits(q *synclinev1.ProbeClocksRequest) (duration time.Duration, points int, err error) {
	duration = time.Duration(q.DurationNs)
	switch {
	case duration == 0:
		duration = defaultProbeTime
	case duration < 0 || duration > maxProbeTime:
		return 0, 0, fmt.Errorf("clocks are measured for more than 0 and at most %v, and %v was asked for", maxProbeTime, duration)
	}
	points, err = clockPointsWanted(q.Points, len(q.Agents))
	return duration, points, err
}

// measurement is a session over the agents that a request names.
func (c *Controller) measurement(q *synclinev1.ProbeClocksRequest) (*probing, error) {
	refuse := func(code codes.Code, format string, args ...any) (*probing, error) {
		return nil, status.Errorf(code, format, args...)
	}
	switch n := len(q.Agents); {
	case n < 2:
		return refuse(codes.InvalidArgument, "clocks are compared between two agents or more, and %d named", n)
	case n > store.MaxHosts:
		return refuse(codes.InvalidArgument, "%d agents; at most %d at once", n, store.MaxHosts)
	case q.Reference != "" && !slices.Contains(q.Agents, q.Reference):
		return refuse(codes.InvalidArgument, "agent %q cannot be the reference, since it is not measured; there are %s", q.Reference, strings.Join(q.Agents, ", "))
	}
	wanted, err := probingWanted(&synclinev1.Probing{Rate: q.Rate, AllPairs: q.AllPairs}, len(q.Agents))
	if err != nil {
		return refuse(codes.InvalidArgument, "%v", err)
	}
	p := &probing{session: newProbeSession(), wanted: wanted}
	for i, name := range q.Agents {
		a, known := c.store.Agent(name)
		at := c.sessions.get(name)
		switch {
		case slices.Contains(q.Agents[:i], name):
			return refuse(codes.InvalidArgument, "agent %s is named twice", name)
		case !known:
			return refuse(codes.NotFound, "no agent %q; `syncline get agents` lists them", name)
		case at == nil:
			return refuse(codes.FailedPrecondition, "agent %s is not connected; start it, or look why it cannot reach this controller", name)
		}
		p.hosts = append(p.hosts, newProbeHost(name, a, at))
	}
	return p, nil
}

// newProbeHost is an agent in a session without a run.
func newProbeHost(name string, a store.Agent, at *session) *probeHost {
	return &probeHost{
		name: name, agent: a.Name, clock: clockID(at.hello), testClock: at.hello.TestClock,
		lacks: probesLacking(at.hello.Capabilities), addresses: probeAddresses(at),
	}
}

// probeStatus is why a measurement came to no end, as gRPC names it.
func (c *Controller) probeStatus(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, errManyProbings):
		return status.Error(codes.ResourceExhausted, err.Error())
	case ctx.Err() != nil:
		return status.FromContextError(ctx.Err()).Err()
	}
	return c.stopped()
}

// reportOn is the report on a session that is over. Without two clocks that were compared
// there is none, and the error says why.
func reportOn(p *probing, reference string, points int) (*synclinev1.ClockReport, error) {
	if !p.severalClocks() {
		return oneClock(p, reference), nil
	}
	var hosts []timeline.Host
	var events [][]*synclinev1.Event
	for _, h := range p.hosts {
		hosts = append(hosts, timeline.Host{Name: h.name, Agent: h.agent, ClockID: h.clock, TestClock: h.testClock})
		events = append(events, p.sights(h))
	}
	report, err := measuredClocks(hosts, events, reference, points, p.warnings())
	if errors.Is(err, timeline.ErrNoEvents) {
		return nil, status.Error(codes.FailedPrecondition, "no two of these clocks could be compared:\n"+strings.Join(p.warnings(), "\n"))
	}
	if err != nil {
		return nil, clockError(err)
	}
	return report, nil
}

// oneClock is the report on hosts that read the very same clock: there is nothing to measure.
func oneClock(p *probing, reference string) *synclinev1.ClockReport {
	report := &synclinev1.ClockReport{Schema: ClockSchema}
	for i, h := range p.hosts {
		host := &synclinev1.ClockHost{
			Host: h.name, Agent: h.agent, ClockId: h.clock, TestClock: h.testClock, Method: "same clock",
			ErrorMedianNs: new(int64), ErrorMaxNs: new(int64), RateLowPpb: new(int64), RateHighPpb: new(int64),
		}
		if h.name == reference {
			report.Reference = uint32(i)
		}
		report.Hosts = append(report.Hosts, host)
	}
	report.Hosts[report.Reference].Method = "reference"
	return report
}

// sights are the events that an agent told of, without those that are none: one agent's
// fault must not hide what the others saw.
func (p *probing) sights(h *probeHost) []*synclinev1.Event {
	var kept []*synclinev1.Event
	var first error
	for _, e := range h.events {
		err := checkSight(e)
		if err == nil {
			kept = append(kept, e)
		} else if first == nil {
			first = err
		}
	}
	if first != nil {
		p.note("clock probes of host %s: of %d events that agent %s told of, %d are left out, the first because of: %v",
			h.name, len(h.events), h.agent, len(h.events)-len(kept), first)
	}
	return kept
}

// checkSight refuses an event that no report on clocks can be made of.
func checkSight(e *synclinev1.Event) error {
	native, err := eventFromProto(e)
	if native == nil || err != nil {
		return err
	}
	if native.Probe == nil && native.Step == nil && native.Loss == nil {
		return fmt.Errorf("event %d is not about clocks", e.GetNumber())
	}
	return native.Check()
}

// clockErrors are half-widths, in nanoseconds, of what is known of each pair of hosts: the
// median over the time of a report. Pairs of which nothing is known are left out.
func clockErrors(hosts []string, report func(reference string) (*synclinev1.ClockReport, error)) (map[hostPair]int64, error) {
	known := map[hostPair]int64{}
	for i, name := range hosts {
		r, err := report(name)
		if err != nil {
			return nil, err
		}
		for j := i + 1; j < len(r.Hosts); j++ {
			if r.Hosts[j].ErrorMedianNs != nil {
				known[hostPair{i, j}] = *r.Hosts[j].ErrorMedianNs
			}
		}
	}
	return known, nil
}
