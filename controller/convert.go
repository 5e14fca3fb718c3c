package controller

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"syncline/controller/clock"
	"syncline/controller/store"
	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

// This file is the only place where messages become domain types and back.
// Messages come from outside: what they say is checked here, once.

// TimelineSchema names the form of a timeline's JSON. Its number grows when a
// reader of the old form could misread the new one.
const TimelineSchema = "syncline.timeline/1"

func agentFromHello(h *synclinev1.Hello, seen time.Time) store.Agent {
	return store.Agent{
		Name: h.Name, Labels: h.Labels, Addresses: h.Addresses,
		Kernel: h.Kernel, Version: h.Version, BootID: h.BootId,
		ClockID:      clockID(h),
		TestClock:    h.TestClock,
		Incarnation:  h.Incarnation,
		Capabilities: capabilitiesFromProto(h.Capabilities),
		LastSeenNs:   seen.UnixNano(),
	}
}

// clockID names the CLOCK_MONOTONIC that an agent's times are of. A test clock is another
// one than its host's, and the same for agents of one host that were told the same of it.
func clockID(h *synclinev1.Hello) string {
	id := h.BootId + "/" + h.TimeNamespace
	if h.TestClock != "" {
		id += "/" + h.TestClock
	}
	return id
}

func agentToProto(a store.Agent) *synclinev1.Agent {
	return &synclinev1.Agent{
		Name: a.Name, State: synclinev1.AgentState_AGENT_STATE_GONE,
		Labels: a.Labels, Addresses: a.Addresses,
		Kernel: a.Kernel, Version: a.Version, BootId: a.BootID, ClockId: a.ClockID, TestClock: a.TestClock,
		Incarnation: a.Incarnation, Capabilities: capabilitiesToProto(a.Capabilities),
		LastSeenNs: a.LastSeenNs,
	}
}

func capabilitiesFromProto(all []*synclinev1.Capability) []store.Capability {
	var native []store.Capability
	for _, c := range all {
		native = append(native, store.Capability{
			Source: sourceFromProto(c.Source), Available: c.Available, Reason: c.Reason, Remedy: c.Remedy,
		})
	}
	return native
}

func capabilitiesToProto(all []store.Capability) []*synclinev1.Capability {
	var messages []*synclinev1.Capability
	for _, c := range all {
		messages = append(messages, &synclinev1.Capability{
			Source: sourceToProto(c.Source), Available: c.Available, Reason: c.Reason, Remedy: c.Remedy,
		})
	}
	return messages
}

func sourceFromProto(s synclinev1.Source) string {
	for name, source := range sources {
		if source == s {
			return string(name)
		}
	}
	return ""
}

func sourceToProto(s string) synclinev1.Source { return sources[timeline.Source(s)] }

// sources pairs the names of sources with those of the contract. A source that no
// agent of this version can give has no number.
var sources = map[timeline.Source]synclinev1.Source{
	timeline.Syscalls:    synclinev1.Source_SOURCE_SYSCALLS,
	timeline.Packets:     synclinev1.Source_SOURCE_PACKETS,
	timeline.TCPStates:   synclinev1.Source_SOURCE_TCP_STATES,
	timeline.TCPInfo:     synclinev1.Source_SOURCE_TCP_INFO,
	timeline.CounterData: synclinev1.Source_SOURCE_COUNTERS,
	timeline.AcceptQueue: synclinev1.Source_SOURCE_ACCEPT_QUEUE,
	timeline.ICMP:        synclinev1.Source_SOURCE_ICMP,
	timeline.ARP:         synclinev1.Source_SOURCE_ARP,
	timeline.Drops:       synclinev1.Source_SOURCE_DROPS,
	timeline.Tracepoints: synclinev1.Source_SOURCE_TRACEPOINTS,
	timeline.Probes:      synclinev1.Source_SOURCE_PROBES,
}

// runStates pairs the states of the log with those of the API.
var runStates = map[store.RunState]synclinev1.RunState{
	store.Planned:    synclinev1.RunState_RUN_STATE_PLANNED,
	store.Prepared:   synclinev1.RunState_RUN_STATE_PREPARED,
	store.Running:    synclinev1.RunState_RUN_STATE_RUNNING,
	store.Collecting: synclinev1.RunState_RUN_STATE_COLLECTING,
	store.Sealed:     synclinev1.RunState_RUN_STATE_SEALED,
	store.Failed:     synclinev1.RunState_RUN_STATE_FAILED,
	store.Cancelled:  synclinev1.RunState_RUN_STATE_CANCELLED,
}

func runToProto(r store.Run) *synclinev1.Run {
	m := &synclinev1.Run{
		Id: r.ID, Experiment: r.Experiment, State: runStates[r.State], Reason: r.Reason,
		Epoch: r.Epoch, Repetitions: uint32(r.Repetitions), RepetitionsDone: uint32(r.RepetitionsDone),
		CreatedNs: r.CreatedNs, EndedNs: r.EndedNs,
		Events: r.Events, Chunks: r.Chunks, Bytes: r.Bytes,
		Seal: r.Seal, Incomplete: r.Incomplete, Overhead: overheadFromStore(r.Overhead),
		Probing: probingToProto(r.Probing), Warnings: r.Warnings,
	}
	if a := r.Archive; a.URL != "" {
		m.Archive = &synclinev1.Archive{Url: a.URL, Manifest: a.Manifest, Sha256: a.SHA256, ArchivedNs: a.AtNs}
	}
	if r.Removed.AtNs != 0 {
		m.Removal = &synclinev1.Removal{RemovedNs: r.Removed.AtNs, Reason: r.Removed.Reason}
	}
	for _, h := range r.Hosts {
		m.Hosts = append(m.Hosts, runHostToProto(h))
	}
	for _, v := range r.Variants {
		m.Variants = append(m.Variants, &synclinev1.RunVariant{Name: v.Name, First: uint32(v.First), Last: uint32(v.Last)})
	}
	return m
}

func runHostToProto(h store.RunHost) *synclinev1.RunHost {
	return &synclinev1.RunHost{
		Name: h.Name, Agent: h.Agent, Address: h.Address, Address6: h.Address6, Kernel: h.Kernel, ClockId: h.ClockID,
		TestClock: h.TestClock, Capabilities: capabilitiesToProto(h.Capabilities),
	}
}

// probingToProto is nil for a run of before there were probes.
func probingToProto(p store.Probing) *synclinev1.Probing {
	if p == (store.Probing{}) {
		return nil
	}
	return &synclinev1.Probing{Off: p.Off, Rate: uint32(p.Rate), AllPairs: p.AllPairs}
}

func chunkFromProto(c *synclinev1.Chunk) store.Chunk {
	return store.Chunk{
		RunID: c.GetRunId(), Agent: c.GetAgent(), Incarnation: c.GetIncarnation(), Sequence: c.GetSequence(),
		FirstEvent: c.GetFirstEvent(), Events: c.GetEvents(), Data: c.GetData(), CRC32C: c.GetCrc32C(),
	}
}

// timelineHost is a host of a run with the sources it was asked for and could not
// give.
func timelineHost(h store.RunHost, observe []string) (timeline.Host, error) {
	address, err := netip.ParseAddr(h.Address)
	if err != nil {
		return timeline.Host{}, err
	}
	host := timeline.Host{
		Name: h.Name, Agent: h.Agent, Address: address, Kernel: h.Kernel, ClockID: h.ClockID, TestClock: h.TestClock,
		Missing: map[timeline.Source]string{},
	}
	if h.Address6 != "" {
		if host.Address6, err = netip.ParseAddr(h.Address6); err != nil {
			return timeline.Host{}, err
		}
	}
	for _, source := range observe {
		for _, c := range h.Capabilities {
			if c.Source == source && !c.Available {
				host.Missing[timeline.Source(source)] = c.Reason
			}
		}
	}
	return host, nil
}

func verdictToProto(v timeline.Verdict) *synclinev1.Verdict {
	m := &synclinev1.Verdict{Expectation: v.Expectation, Ruling: synclinev1.Ruling(v.Ruling), Reason: v.Reason}
	for _, i := range v.Moments {
		m.Moments = append(m.Moments, uint32(i))
	}
	return m
}

// VerdictFromProto is what an operator reads of a verdict.
func VerdictFromProto(m *synclinev1.Verdict) timeline.Verdict {
	v := timeline.Verdict{Expectation: m.Expectation, Ruling: timeline.Ruling(m.Ruling), Reason: m.Reason}
	for _, i := range m.Moments {
		v.Moments = append(v.Moments, int(i))
	}
	return v
}

func timelineToProto(t *timeline.Timeline, run store.Run) *synclinev1.Timeline {
	m := &synclinev1.Timeline{
		Schema: TimelineSchema, RunId: t.RunID, Experiment: t.Experiment, Repetition: uint32(t.Repetition),
		Reference: uint32(t.Reference), ZeroNs: int64(t.Zero), Warnings: t.Warnings, Incomplete: t.Incomplete,
		Variant: t.Variant,
	}
	for i := range t.Hosts {
		m.Hosts = append(m.Hosts, timelineHostToProto(t.Clocks[i], run.Hosts[i]))
	}
	index := map[*timeline.Event]uint32{}
	for _, at := range t.Moments {
		if _, ok := index[at.Event]; !ok {
			index[at.Event] = uint32(len(m.Events))
			m.Events = append(m.Events, &synclinev1.TimelineEvent{
				Host: uint32(at.Event.Host), Incarnation: at.Event.Incarnation, Event: eventToProto(at.Event),
			})
		}
		m.Moments = append(m.Moments, &synclinev1.Moment{
			Event: index[at.Event], Edge: synclinev1.Edge(at.Edge),
			LocalNs: int64(at.Local), LabNs: int64(at.Stamp.At), ErrorNs: bounded(at.Stamp.Err),
			Connection: indexToProto(at.Connection), Segment: indexToProto(at.Segment),
		})
	}
	for _, c := range t.Connections {
		m.Connections = append(m.Connections, connectionToProto(c))
	}
	for _, o := range t.Others {
		m.Others = append(m.Others, &synclinev1.Transmission{
			Segment: segmentToProto(o.Segment), From: indexToProto(o.From), To: indexToProto(o.To), Connection: indexToProto(o.Connection),
		})
	}
	for _, v := range t.Verdicts {
		m.Verdicts = append(m.Verdicts, verdictToProto(v))
	}
	return m
}

func timelineHostToProto(c timeline.HostClock, h store.RunHost) *synclinev1.TimelineHost {
	m := &synclinev1.TimelineHost{Host: runHostToProto(h), Method: c.Method, Messages: uint32(c.Messages)}
	if c.Bound.Lo > -clock.Unbounded {
		m.OffsetLowNs = &c.Bound.Lo
	}
	if c.Bound.Hi < clock.Unbounded {
		m.OffsetHighNs = &c.Bound.Hi
	}
	return m
}

// bounded is nil for an error that is not bounded.
func bounded(err int64) *int64 {
	if err >= clock.Unbounded {
		return nil
	}
	return &err
}

// indexToProto is nil for -1, "none".
func indexToProto(i int) *uint32 {
	if i < 0 {
		return nil
	}
	u := uint32(i)
	return &u
}

func connectionToProto(c timeline.Connection) *synclinev1.Connection {
	m := &synclinev1.Connection{Client: endToProto(c.Client), Server: endToProto(c.Server)}
	for _, s := range c.Segments {
		m.Segments = append(m.Segments, segmentToProto(s))
	}
	return m
}

func segmentToProto(s timeline.Segment) *synclinev1.Segment {
	m := &synclinev1.Segment{
		FromClient: s.FromClient, Departure: indexToProto(s.Departure), Arrival: indexToProto(s.Arrival),
		Copy: uint32(s.Copy), Duplicate: s.Duplicate, Lost: s.Lost, Impossible: s.Impossible, Ambiguous: s.Ambiguous,
	}
	if m.OneWayErrorNs = bounded(s.OneWayErr); m.OneWayErrorNs != nil {
		m.OneWayNs = &s.OneWay
	}
	for _, i := range s.Traces {
		m.Traces = append(m.Traces, uint32(i))
	}
	return m
}

func endToProto(e timeline.End) *synclinev1.ConnectionEnd {
	m := &synclinev1.ConnectionEnd{
		Host: indexToProto(e.Host), Address: addrPortText(e.Address), Lane: e.Lane, Socket: e.Socket, StatesDoubt: e.StatesDoubt,
	}
	if e.HasISN {
		m.InitialSequence = &e.ISN
	}
	if e.Bound.IsValid() {
		m.BoundAddress = addrPortText(e.Bound)
	}
	for _, n := range e.Names {
		m.Names = append(m.Names, &synclinev1.SocketName{Lane: n.Lane, Socket: n.Socket})
	}
	for _, s := range e.States {
		m.States = append(m.States, &synclinev1.State{
			Name: s.Name, Moment: indexToProto(s.Moment), Known: s.Known, After: indexToProto(s.After), By: indexToProto(s.By),
		})
	}
	return m
}

// TimelineFromProto is what an operator reads of a timeline, so that the pictures
// are laid out and drawn beside the operator. A message that does not hang together
// is an error.
func TimelineFromProto(m *synclinev1.Timeline) (*timeline.Timeline, error) {
	if m.GetSchema() != TimelineSchema {
		return nil, fmt.Errorf("the controller sent a timeline of schema %q, this program reads %q; install the same release on both", m.GetSchema(), TimelineSchema)
	}
	t := &timeline.Timeline{
		RunID: m.RunId, Experiment: m.Experiment, Repetition: int(m.Repetition),
		Reference: int(m.Reference), Zero: clock.Lab(m.ZeroNs), Warnings: m.Warnings, Incomplete: m.Incomplete,
		Variant: m.Variant,
	}
	for _, h := range m.Hosts {
		host, clk, err := timelineHostFromProto(h)
		if err != nil {
			return nil, err
		}
		t.Hosts, t.Clocks = append(t.Hosts, host), append(t.Clocks, clk)
	}
	if int(m.Reference) >= len(t.Hosts) {
		return nil, fmt.Errorf("timeline names host %d of %d as its reference", m.Reference, len(t.Hosts))
	}
	events, err := timelineEventsFromProto(m.Events, len(t.Hosts))
	if err != nil {
		return nil, err
	}
	for _, at := range m.Moments {
		if int(at.Event) >= len(events) {
			return nil, fmt.Errorf("timeline names event %d of %d", at.Event, len(events))
		}
		if at.ErrorNs != nil && *at.ErrorNs < 0 {
			return nil, fmt.Errorf("timeline places a moment with an error of %d ns", *at.ErrorNs)
		}
		t.Moments = append(t.Moments, timeline.Moment{
			Event: events[at.Event], Edge: timeline.Edge(at.Edge), Local: clock.Local(at.LocalNs),
			Stamp:      clock.Stamp{At: clock.Lab(at.LabNs), Err: orUnbounded(at.ErrorNs)},
			Connection: indexFromProto(at.Connection), Segment: indexFromProto(at.Segment),
		})
	}
	for _, c := range m.Connections {
		connection, err := connectionFromProto(c, len(t.Moments), len(t.Hosts))
		if err != nil {
			return nil, err
		}
		t.Connections = append(t.Connections, connection)
	}
	for _, o := range m.Others {
		other, err := otherFromProto(o, t)
		if err != nil {
			return nil, err
		}
		t.Others = append(t.Others, other)
	}
	for _, v := range m.Verdicts {
		t.Verdicts = append(t.Verdicts, VerdictFromProto(v))
	}
	if err := checkIndices(t); err != nil {
		return nil, err
	}
	return t.Settle(), nil
}

// checkIndices makes sure that no view can be led outside the timeline.
func checkIndices(t *timeline.Timeline) error {
	for i, at := range t.Moments {
		if at.Connection >= len(t.Connections) || at.Segment >= 0 && (at.Connection < 0 || at.Segment >= len(t.Connections[at.Connection].Segments)) {
			return fmt.Errorf("moment %d of the timeline names a connection or a segment that is not there", i)
		}
	}
	for _, v := range t.Verdicts {
		for _, i := range v.Moments {
			if i >= len(t.Moments) {
				return fmt.Errorf("a verdict of the timeline names moment %d of %d", i, len(t.Moments))
			}
		}
	}
	return nil
}

func timelineHostFromProto(h *synclinev1.TimelineHost) (timeline.Host, timeline.HostClock, error) {
	clk := timeline.HostClock{
		Bound:  clock.Bound{Lo: -clock.Unbounded, Hi: clock.Unbounded},
		Method: h.Method, Messages: int(h.Messages),
	}
	if h.OffsetLowNs != nil {
		clk.Bound.Lo = *h.OffsetLowNs
	}
	if h.OffsetHighNs != nil {
		clk.Bound.Hi = *h.OffsetHighNs
	}
	address, err := netip.ParseAddr(h.GetHost().GetAddress())
	if err != nil {
		return timeline.Host{}, clk, fmt.Errorf("address of host %s: %w", h.GetHost().GetName(), err)
	}
	host := timeline.Host{
		Name: h.Host.Name, Agent: h.Host.Agent, Address: address, Kernel: h.Host.Kernel, ClockID: h.Host.ClockId, TestClock: h.Host.TestClock,
		Missing: map[timeline.Source]string{},
	}
	if h.Host.Address6 != "" {
		if host.Address6, err = netip.ParseAddr(h.Host.Address6); err != nil {
			return host, clk, fmt.Errorf("IPv6 address of host %s: %w", h.Host.Name, err)
		}
	}
	for _, c := range h.Host.Capabilities {
		if !c.Available {
			host.Missing[timeline.Source(sourceFromProto(c.Source))] = c.Reason
		}
	}
	return host, clk, nil
}

func timelineEventsFromProto(all []*synclinev1.TimelineEvent, hosts int) ([]*timeline.Event, error) {
	var events []*timeline.Event
	for i, m := range all {
		if int(m.Host) >= hosts {
			return nil, fmt.Errorf("event %d of the timeline names host %d of %d", i, m.Host, hosts)
		}
		e, err := eventFromProto(m.Event)
		if err != nil {
			return nil, err
		}
		if e == nil {
			return nil, fmt.Errorf("event %d of the timeline is of a kind that no timeline is made of", i)
		}
		e.Host, e.Incarnation = int(m.Host), m.Incarnation
		events = append(events, e)
	}
	return events, nil
}

func orUnbounded(err *int64) int64 {
	if err == nil {
		return clock.Unbounded
	}
	return *err
}

func indexFromProto(i *uint32) int {
	if i == nil {
		return -1
	}
	return int(*i)
}

func connectionFromProto(m *synclinev1.Connection, moments, hosts int) (timeline.Connection, error) {
	var c timeline.Connection
	var err error
	if c.Client, err = endFromProto(m.GetClient(), moments, hosts); err != nil {
		return c, err
	}
	if c.Server, err = endFromProto(m.GetServer(), moments, hosts); err != nil {
		return c, err
	}
	for _, g := range m.Segments {
		s, err := segmentFromProto(g, moments)
		if err != nil {
			return c, err
		}
		c.Segments = append(c.Segments, s)
	}
	return c, nil
}

func segmentFromProto(g *synclinev1.Segment, moments int) (timeline.Segment, error) {
	s := timeline.Segment{
		FromClient: g.FromClient, Departure: indexFromProto(g.Departure), Arrival: indexFromProto(g.Arrival),
		OneWayErr: orUnbounded(g.OneWayErrorNs), Copy: int(g.Copy),
		Duplicate: g.Duplicate, Lost: g.Lost, Impossible: g.Impossible, Ambiguous: g.Ambiguous,
	}
	if g.OneWayNs != nil {
		s.OneWay = *g.OneWayNs
	}
	if s.Departure >= moments || s.Arrival >= moments {
		return s, errors.New("a segment of the timeline names a moment that is not there")
	}
	for _, i := range g.Traces {
		if int64(i) >= int64(moments) {
			return s, errors.New("a segment of the timeline names a trace that is not there")
		}
		s.Traces = append(s.Traces, int(i))
	}
	return s, nil
}

// otherFromProto reads the way of a packet that is no TCP.
func otherFromProto(m *synclinev1.Transmission, t *timeline.Timeline) (timeline.Transmission, error) {
	if m.Segment == nil {
		return timeline.Transmission{}, errors.New("a transmission of the timeline has neither departure nor arrival")
	}
	s, err := segmentFromProto(m.Segment, len(t.Moments))
	if err != nil {
		return timeline.Transmission{}, err
	}
	o := timeline.Transmission{Segment: s, Number: -1, From: indexFromProto(m.From), To: indexFromProto(m.To), Connection: indexFromProto(m.Connection)}
	switch {
	case o.From >= len(t.Hosts) || o.To >= len(t.Hosts) || o.Connection >= len(t.Connections):
		return o, errors.New("a transmission of the timeline names a host or a connection that is not there")
	case o.First() < 0:
		return o, errors.New("a transmission of the timeline has neither departure nor arrival")
	case t.Moments[o.First()].Event.Packet == nil || o.Arrival >= 0 && t.Moments[o.Arrival].Event.Packet == nil:
		return o, errors.New("a transmission of the timeline names a moment that is no packet")
	}
	return o, nil
}

func endFromProto(m *synclinev1.ConnectionEnd, moments, hosts int) (timeline.End, error) {
	if m == nil {
		return timeline.End{}, errors.New("a connection of the timeline lacks an end")
	}
	e := timeline.End{Host: indexFromProto(m.Host), Lane: m.Lane, Socket: m.Socket, StatesDoubt: m.StatesDoubt}
	if e.Host >= hosts {
		return e, fmt.Errorf("a connection of the timeline names host %d of %d", e.Host, hosts)
	}
	if m.InitialSequence != nil {
		e.ISN, e.HasISN = *m.InitialSequence, true
	}
	for _, s := range m.States {
		state := timeline.State{
			Name: s.Name, Moment: indexFromProto(s.Moment), Known: s.Known, After: indexFromProto(s.After), By: indexFromProto(s.By),
		}
		if last := max(state.Moment, state.After, state.By); last >= moments {
			return e, fmt.Errorf("state %s of the timeline names moment %d of %d", s.Name, last, moments)
		}
		e.States = append(e.States, state)
	}
	for _, n := range m.Names {
		e.Names = append(e.Names, timeline.SocketName{Lane: n.Lane, Socket: n.Socket})
	}
	var err error
	if e.Address, err = addrPort(m.Address); err != nil || m.BoundAddress == "" {
		return e, err
	}
	e.Bound, err = addrPort(m.BoundAddress)
	return e, err
}
