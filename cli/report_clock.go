package cli

import (
	"context"
	"errors"
	"io"
	"strconv"

	"syncline/controller/web"
	synclinev1 "syncline/proto/syncline/v1"
)

// clocks is what a page tells of the clocks of the run: the report, and what messages said.
func (r *reported) clocks(messages []web.ClockMessage) *web.Clock {
	c := &web.Clock{Drift: int64(r.clock.DriftPpb), Wander: int64(r.clock.WanderPpb), Warnings: r.clock.Warnings}
	of := make([][]web.ClockMessage, len(r.clock.Hosts))
	for _, m := range messages {
		of[m.Host] = append(of[m.Host], m)
	}
	for i, h := range r.clock.Hosts {
		c.Hosts = append(c.Hosts, r.hostClock(h, web.Thin(of[i])))
	}
	for _, p := range r.clock.Pairs {
		c.Pairs = append(c.Pairs, web.ClockPair{
			A: int(p.A), B: int(p.B), ProbesThere: int(p.ProbesThere), ProbesBack: int(p.ProbesBack),
			SegmentsThere: int(p.SegmentsThere), SegmentsBack: int(p.SegmentsBack), RoundTrip: p.RoundTripNs, Disagreement: p.Disagreement,
		})
	}
	return c
}

func (r *reported) hostClock(h *synclinev1.ClockHost, messages []web.ClockMessage) web.HostClock {
	base := offsetBase(h)
	clk := web.HostClock{
		RateLow: h.RateLowPpb, RateHigh: h.RateHighPpb, ErrMedian: h.ErrorMedianNs, ErrMax: h.ErrorMaxNs,
		OffsetBase: strconv.FormatInt(base, 10),
	}
	from := func(ns *int64) *int64 {
		if ns == nil {
			return nil
		}
		rest := *ns - base
		return &rest
	}
	reference := r.clock.Hosts[r.clock.Reference].Points
	for i, p := range h.Points {
		clk.Points = append(clk.Points, web.ClockPoint{
			At:  reference[i].LocalNs - r.start,
			Low: from(p.All.LowNs), High: from(p.All.HighNs), Estimate: from(p.All.EstimateNs),
			ProbesLow: from(p.Probes.LowNs), ProbesHigh: from(p.Probes.HighNs),
			SegmentsLow: from(p.Segments.LowNs), SegmentsHigh: from(p.Segments.HighNs),
		})
	}
	for _, e := range h.Changes {
		clk.Changes = append(clk.Changes, web.ClockChange{At: r.onReference(h, e.TimeNs) - r.start, Text: changeWords(e.GetClockStep())})
	}
	for _, m := range messages {
		clk.Samples = append(clk.Samples, web.ClockSample{At: m.At - r.start, Offset: m.Bound - base, Upper: m.FromReference, Probe: m.Probe})
	}
	return clk
}

// offsetBase is some offset that the host's clock had, to count the others from.
func offsetBase(h *synclinev1.ClockHost) int64 {
	for _, p := range h.Points {
		if p.All.EstimateNs != nil {
			return *p.All.EstimateNs
		}
	}
	return 0
}

// onReference is a time of a host's own clock on the reference's, by the points of both
// nearest to it: near enough to draw it.
func (r *reported) onReference(h *synclinev1.ClockHost, local int64) int64 {
	reference := r.clock.Hosts[r.clock.Reference].Points
	at := local
	for i, p := range h.Points {
		if i > 0 && p.LocalNs > local {
			break
		}
		at = local - p.LocalNs + reference[i].LocalNs
	}
	return at
}

// probeKey names a datagram of the clock probes as both its hosts know it.
type probeKey struct {
	asker, answerer int
	exchange        uint64
	reply           bool
	path            synclinev1.ProbePath
}

// probes reads what the clock probes between the reference and other hosts said.
func (r *reported) probes(ctx context.Context) ([]web.ClockMessage, error) {
	stream, err := r.subject.runs.ListEvents(ctx, &synclinev1.ListEventsRequest{RunId: r.run.Id})
	if err != nil {
		return nil, answered(err)
	}
	byName, byAgent := make(map[string]int), make(map[string]int)
	for i, h := range r.run.Hosts {
		byName[h.Name], byAgent[h.Agent] = i, i
	}
	left, came := make(map[probeKey]int64), make(map[probeKey]int64)
	var order []probeKey
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return r.probeMessages(order, left, came), nil
		}
		if err != nil {
			return nil, answered(err)
		}
		host, ok := byAgent[m.Agent]
		if !ok {
			continue
		}
		for _, e := range m.Events {
			p := e.GetProbe()
			if p == nil {
				continue
			}
			peer, ok := byName[p.Peer]
			if !ok {
				continue
			}
			out := p.Direction == synclinev1.Direction_DIRECTION_OUT
			key := probeKey{asker: host, answerer: peer, exchange: p.Exchange, reply: p.Reply, path: p.Path}
			if out == p.Reply {
				key.asker, key.answerer = peer, host
			}
			if out {
				left[key] = e.TimeNs
				order = append(order, key)
			} else if _, again := came[key]; !again {
				came[key] = e.TimeNs
			}
		}
	}
}

// probeMessages are the datagrams of which both ends are known, where one is the
// reference's.
func (r *reported) probeMessages(order []probeKey, left, came map[probeKey]int64) []web.ClockMessage {
	reference := int(r.clock.Reference)
	var messages []web.ClockMessage
	for _, key := range order {
		arrival, ok := came[key]
		if !ok {
			continue
		}
		departure := left[key]
		from, to := key.asker, key.answerer
		if key.reply {
			from, to = to, from
		}
		switch reference {
		case from:
			messages = append(messages, web.ClockMessage{Host: to, At: departure, Bound: arrival - departure, FromReference: true, Probe: true})
		case to:
			messages = append(messages, web.ClockMessage{Host: from, At: arrival, Bound: departure - arrival, Probe: true})
		}
	}
	return messages
}
