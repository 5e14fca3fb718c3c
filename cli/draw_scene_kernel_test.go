package cli

import (
	"math"
	"net/netip"
	"strconv"

	"syncline/controller/timeline"
)

// trace adds what the kernel of a host said.
func (s *scene) trace(host int, ms string, tr timeline.Trace) *timeline.Event {
	tr.Local = netip.AddrPortFrom(s.tl.Hosts[host].Address, 8080)
	e := &timeline.Event{Host: host, At: s.at(host, ms), Trace: &tr}
	s.add(e, timeline.At, e.At)
	return e
}

func (s *scene) state(m []string) {
	p := pendingState{host: s.hostIndex(m[1]), name: m[2], known: m[3], at: m[4], after: m[5], by: m[6]}
	if p.known == timeline.KnownTraced {
		p.traced = s.trace(p.host, p.at, timeline.Trace{Kind: timeline.TraceState, Cookie: 1, OldState: 7, State: 7})
	}
	s.states = append(s.states, p)
}

// joinState gives the end of a host its next state.
func (s *scene) joinState(p pendingState, where map[*timeline.Event]int) {
	s.t.Helper()
	state := timeline.State{Name: p.name, Known: p.known, Moment: s.moment(p.at), After: s.moment(p.after), By: s.moment(p.by)}
	if p.traced != nil {
		state.Moment = where[p.traced]
	}
	own := s.endOf(p.host)
	own.States = append(own.States, state)
}

// endOf is the end of a host in the last connection that it has.
func (s *scene) endOf(host int) *timeline.End {
	s.t.Helper()
	for i := len(s.tl.Connections) - 1; i >= 0; i-- {
		for end := range 2 {
			if own := s.tl.Connections[i].End(end); own.Host == host {
				return own
			}
		}
	}
	s.t.Fatalf("scene: %s has no connection", s.tl.Hosts[host].Name)
	return nil
}

// moment is the one at a time of the scene, -1 for none.
func (s *scene) moment(ms string) int {
	s.t.Helper()
	if ms == "" || ms == "-" {
		return -1
	}
	at := int64(s.tl.Zero) + s.ns(ms)
	for i := range s.tl.Moments {
		if math.Abs(float64(int64(s.tl.Moments[i].Stamp.At)-at)) < 1 {
			return i
		}
	}
	s.t.Fatalf("scene: nothing happens at %s ms", ms)
	return -1
}

func (s *scene) drop(m []string) {
	s.t.Helper()
	var flags timeline.Flags
	protocol := 0
	if m[4] == "UDP" {
		protocol = timeline.ProtocolUDP
	} else {
		flags = sceneFlags[m[4]]
	}
	e := s.trace(s.hostIndex(m[1]), m[2], timeline.Trace{
		Kind: timeline.TraceDrop, Peer: netip.AddrPortFrom(netip.MustParseAddr(m[5]), 40312), Flags: flags, Protocol: protocol,
		Reason: m[6], Place: m[7], PayloadLength: 0, Direction: map[string]timeline.Direction{"in": timeline.In, "out": timeline.Out}[m[3]],
	})
	if m[7] == "-" {
		e.Trace.Place = ""
	}
	s.traces = append(s.traces, pendingTrace{e, s.segmentNumber(m[8])})
}

func (s *scene) told(m []string) {
	s.t.Helper()
	tr := timeline.Trace{Kind: timeline.TraceRetransmit}
	if m[3] == "reset" {
		tr = timeline.Trace{Kind: timeline.TraceResetSent, Reason: m[4]}
	}
	s.traces = append(s.traces, pendingTrace{s.trace(s.hostIndex(m[1]), m[2], tr), s.segmentNumber(m[5])})
}

func (s *scene) segmentNumber(text string) int {
	s.t.Helper()
	if text == "-" {
		return -1
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		s.t.Fatalf("scene: %q is no number of a segment", text)
	}
	return n
}

func (s *scene) joinTrace(p pendingTrace, where map[*timeline.Event]int) {
	at := where[p.event]
	if len(s.tl.Connections) == 0 || p.event.Trace.Protocol != 0 {
		return
	}
	s.tl.Moments[at].Connection = 0
	if p.segment >= 0 {
		traces := &s.tl.Connections[0].Segments[p.segment].Traces
		*traces = append(*traces, at)
	}
}
