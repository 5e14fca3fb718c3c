package controller

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"syncline/controller/clock"
	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

// ClockSchema names the form of a clock report's JSON. Its number grows when a reader of
// the old form would misread the new one.
const ClockSchema = "syncline.clock/1"

const (
	// clockPoints is how many moments a report has unless somebody asks for another number,
	// and maxClockPoints the most.
	clockPoints    = 60
	maxClockPoints = 10_000
	// maxClockWork bounds moments times hosts times hosts: at each moment of each host what
	// is known goes over all others.
	maxClockWork = 1_000_000
)

// clockPointsWanted checks how many moments of so many hosts were asked for, and fills in
// the default.
func clockPointsWanted(points uint32, hosts int) (int, error) {
	most := max(1, min(maxClockPoints, maxClockWork/max(1, hosts*hosts)))
	switch {
	case points == 0:
		return min(clockPoints, most), nil
	case int64(points) > int64(most):
		return 0, fmt.Errorf("%d points of a report on the clocks of %d hosts; at most %d", points, hosts, most)
	}
	return int(points), nil
}

// GetClock reports on the clocks of a run by what has arrived of it.
func (s *timelineReader) GetClock(ctx context.Context, q *synclinev1.GetClockRequest) (*synclinev1.GetClockResponse, error) {
	run, err := s.records.find(q.RunId)
	if err != nil {
		return nil, err
	}
	points, err := clockPointsWanted(q.Points, len(run.Hosts))
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	b, err := s.records.cache.builder(ctx, run)
	if err != nil {
		return nil, readStatus(err)
	}
	of, err := b.WithReference(q.Reference)
	if err != nil {
		return nil, clockError(err)
	}
	// Reading the run may have taken long, and the report may again.
	if ctx.Err() != nil {
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	report, err := of.ClockReport(points)
	if errors.Is(err, timeline.ErrNoEvents) {
		return nil, status.Errorf(codes.FailedPrecondition, "run %s is %s; nothing of its clocks is on record", run.ID, run.State)
	}
	if err != nil {
		return nil, clockError(err)
	}
	m := clockReportToProto(report, b.hosts)
	m.RunId = run.ID
	return &synclinev1.GetClockResponse{Report: m}, nil
}

// clockError is an error of a report of clocks as operators get it.
func clockError(err error) error {
	if errors.Is(err, timeline.ErrNoSuchHost) {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	return status.Error(codes.Internal, err.Error())
}

// measuredClocks is the report on clocks that were probed without a run: of each host its
// events, in the order of hosts. Notes are sentences that go with its warnings. The error is
// timeline.ErrNoSuchHost if there is no host with the name of the reference, and
// timeline.ErrNoEvents if nobody saw anything.
func measuredClocks(hosts []timeline.Host, events [][]*synclinev1.Event, reference string, points int, notes []string) (*synclinev1.ClockReport, error) {
	run := &timeline.Run{Hosts: hosts, Notes: notes}
	for h := range events {
		for _, e := range events[h] {
			native, err := eventFromProto(e)
			if err != nil {
				return nil, fmt.Errorf("event %d of agent %s: %w", e.GetNumber(), hosts[h].Agent, err)
			}
			if native == nil {
				continue
			}
			native.Host = h
			run.Events = append(run.Events, *native)
		}
	}
	b, err := timeline.NewBuilder(run).WithReference(reference)
	if err != nil {
		return nil, err
	}
	report, err := b.ClockReport(points)
	if err != nil {
		return nil, err
	}
	return clockReportToProto(report, hosts), nil
}

func clockReportToProto(r *timeline.ClockReport, hosts []timeline.Host) *synclinev1.ClockReport {
	m := &synclinev1.ClockReport{
		Schema: ClockSchema, Reference: uint32(r.Reference), DriftPpb: r.DriftPPB, WanderPpb: r.WanderPPB, Warnings: r.Warnings,
	}
	for i := range r.Hosts {
		m.Hosts = append(m.Hosts, clockHistoryToProto(&r.Hosts[i], &hosts[i]))
	}
	for _, p := range r.Pairs {
		m.Pairs = append(m.Pairs, &synclinev1.ClockPair{
			A: uint32(p.A), B: uint32(p.B),
			ProbesThere: uint32(p.ProbesThere), ProbesBack: uint32(p.ProbesBack),
			SegmentsThere: uint32(p.SegmentsThere), SegmentsBack: uint32(p.SegmentsBack),
			RoundTripNs: p.RoundTrip, Disagree: p.Disagreement != "", Disagreement: p.Disagreement,
		})
	}
	return m
}

func clockHistoryToProto(h *timeline.ClockHistory, host *timeline.Host) *synclinev1.ClockHost {
	m := &synclinev1.ClockHost{
		Host: host.Name, Agent: host.Agent, ClockId: host.ClockID, TestClock: host.TestClock, Method: h.Method,
		ErrorMedianNs: bounded(h.ErrMedian), ErrorMaxNs: bounded(h.ErrMax),
	}
	if h.RateKnown {
		m.RateLowPpb, m.RateHighPpb = &h.RateLow, &h.RateHigh
	}
	for _, p := range h.Points {
		m.Points = append(m.Points, &synclinev1.ClockPoint{
			LocalNs: int64(p.Local), All: clockBoundToProto(p.All), Probes: clockBoundToProto(p.Probes), Segments: clockBoundToProto(p.Segments),
		})
	}
	for _, e := range h.Changes {
		m.Changes = append(m.Changes, eventToProto(e))
	}
	return m
}

func clockBoundToProto(b timeline.ClockBound) *synclinev1.ClockBound {
	m := &synclinev1.ClockBound{}
	if b.Lo > -clock.Unbounded {
		m.LowNs = &b.Lo
	}
	if b.Hi < clock.Unbounded {
		m.HighNs = &b.Hi
	}
	if b.Known() {
		m.EstimateNs = &b.Estimate
	}
	return m
}
