package controller

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"syncline/controller/clock"
	"syncline/controller/experiment"
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
		ClockID:      h.BootId + "/" + h.TimeNamespace,
		Incarnation:  h.Incarnation,
		Capabilities: capabilitiesFromProto(h.Capabilities),
		LastSeenNs:   seen.UnixNano(),
	}
}

func agentToProto(a store.Agent) *synclinev1.Agent {
	return &synclinev1.Agent{
		Name: a.Name, State: synclinev1.AgentState_AGENT_STATE_GONE,
		Labels: a.Labels, Addresses: a.Addresses,
		Kernel: a.Kernel, Version: a.Version, BootId: a.BootID, ClockId: a.ClockID,
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
	switch s {
	case synclinev1.Source_SOURCE_SYSCALLS:
		return string(timeline.Syscalls)
	case synclinev1.Source_SOURCE_PACKETS:
		return string(timeline.Packets)
	}
	return ""
}

func sourceToProto(s string) synclinev1.Source {
	switch timeline.Source(s) {
	case timeline.Syscalls:
		return synclinev1.Source_SOURCE_SYSCALLS
	case timeline.Packets:
		return synclinev1.Source_SOURCE_PACKETS
	}
	return synclinev1.Source_SOURCE_UNSPECIFIED
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
		Seal: r.Seal, Incomplete: r.Incomplete,
	}
	for _, h := range r.Hosts {
		m.Hosts = append(m.Hosts, runHostToProto(h))
	}
	return m
}

func runHostToProto(h store.RunHost) *synclinev1.RunHost {
	return &synclinev1.RunHost{
		Name: h.Name, Agent: h.Agent, Address: h.Address, Kernel: h.Kernel, ClockId: h.ClockID,
		Capabilities: capabilitiesToProto(h.Capabilities),
	}
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
		Name: h.Name, Agent: h.Agent, Address: address, Kernel: h.Kernel, ClockID: h.ClockID,
		Missing: map[timeline.Source]string{},
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

// lanesToProto are the lanes of one role, their roles turned into addresses.
func lanesToProto(exp *experiment.Experiment, role string, address func(role string) string) []*synclinev1.Lane {
	var lanes []*synclinev1.Lane
	for _, l := range exp.Lanes {
		if l.Host != role {
			continue
		}
		m := &synclinev1.Lane{Name: l.Name}
		for _, s := range l.Steps {
			m.Steps = append(m.Steps, stepToProto(s, address))
		}
		lanes = append(lanes, m)
	}
	return lanes
}

func stepToProto(s experiment.Step, address func(role string) string) *synclinev1.Step {
	m := &synclinev1.Step{
		Text: s.Text, Label: s.Label, Socket: s.Socket, Makes: s.Makes, TimeoutNs: int64(s.Timeout),
	}
	if o := s.Outcome; o != nil {
		m.Outcome = &synclinev1.Outcome{Ok: o.OK, Values: o.Values, Errnos: o.Errnos, Timeout: o.Timeout}
	}
	at := func(a experiment.Address) string {
		if a.Role == "" {
			return netip.AddrPortFrom(a.IP, a.Port).String()
		}
		return netip.AddrPortFrom(netip.MustParseAddr(address(a.Role)), a.Port).String()
	}
	switch a := s.Args.(type) {
	case experiment.SocketArgs:
		m.Call = &synclinev1.Step_SocketCall{SocketCall: &synclinev1.SocketCall{Domain: uint32(a.Domain), Type: uint32(a.Type), Protocol: uint32(a.Protocol)}}
	case experiment.BindArgs:
		m.Call = &synclinev1.Step_Bind{Bind: &synclinev1.BindCall{Address: at(a.Address)}}
	case experiment.ListenArgs:
		m.Call = &synclinev1.Step_Listen{Listen: &synclinev1.ListenCall{Backlog: int32(a.Backlog)}}
	case experiment.ConnectArgs:
		m.Call = &synclinev1.Step_Connect{Connect: &synclinev1.ConnectCall{Address: at(a.Address)}}
	case experiment.SendArgs:
		m.Call = &synclinev1.Step_Send{Send: &synclinev1.SendCall{Data: a.Data}}
	case experiment.RecvArgs:
		m.Call = &synclinev1.Step_Recv{Recv: &synclinev1.RecvCall{Size: uint32(a.Size)}}
	case experiment.ShutdownArgs:
		m.Call = &synclinev1.Step_Shutdown{Shutdown: &synclinev1.ShutdownCall{How: int32(a.How)}}
	case experiment.SetSockOptArgs:
		m.Call = &synclinev1.Step_Setsockopt{Setsockopt: &synclinev1.SetSockOptCall{Level: int32(a.Level), Name: int32(a.Name), Value: a.Value}}
	case experiment.SleepArgs:
		m.Call = &synclinev1.Step_Sleep{Sleep: &synclinev1.SleepCall{DurationNs: int64(a.Duration)}}
	case experiment.SignalArgs:
		m.Call = &synclinev1.Step_Signal{Signal: &synclinev1.SignalCall{Name: a.Name}}
	case experiment.WaitArgs:
		m.Call = &synclinev1.Step_Wait{Wait: &synclinev1.WaitCall{Lane: a.Lane, Signal: a.Signal}}
	case nil:
		switch s.Call {
		case "accept":
			m.Call = &synclinev1.Step_Accept{Accept: &synclinev1.AcceptCall{}}
		case "close":
			m.Call = &synclinev1.Step_Close{Close: &synclinev1.CloseCall{}}
		default:
			panic("no message for call " + s.Call)
		}
	default:
		panic(fmt.Sprintf("no message for arguments %T", s.Args))
	}
	return m
}

// eventFromProto returns nil for a fact that no timeline is made of.
func eventFromProto(e *synclinev1.Event) (*timeline.Event, error) {
	if e == nil {
		return nil, errors.New("an event is missing")
	}
	native := &timeline.Event{Number: e.Number, Repetition: int(e.Repetition), At: clock.Local(e.TimeNs)}
	var err error
	switch f := e.Fact.(type) {
	case *synclinev1.Event_Call:
		native.Call, err = callFromProto(f.Call)
	case *synclinev1.Event_Packet:
		native.Packet, err = packetFromProto(f.Packet)
	case *synclinev1.Event_Signal:
		native.Signal = &timeline.Signal{Lane: f.Signal.Lane, Name: f.Signal.Name, Sent: f.Signal.Sent}
	case *synclinev1.Event_Mark:
		native.Mark = &timeline.Mark{Kind: timeline.MarkKind(f.Mark.Kind), Detail: f.Mark.Detail, Frames: f.Mark.Frames}
	case *synclinev1.Event_Loss:
		native.Loss = &timeline.Loss{
			Source: timeline.Source(sourceFromProto(f.Loss.Source)), Count: f.Loss.Count,
			Since: clock.Local(f.Loss.SinceNs), Where: f.Loss.Where,
		}
	case *synclinev1.Event_ClockStep:
		native.Step = &timeline.ClockStep{Step: f.ClockStep.StepNs, Since: clock.Local(f.ClockStep.SinceNs)}
	case *synclinev1.Event_ClockSample:
		return nil, nil
	default:
		return nil, fmt.Errorf("a fact of kind %T is unknown to this controller", e.Fact)
	}
	return native, err
}

func eventToProto(e *timeline.Event) *synclinev1.Event {
	m := &synclinev1.Event{Number: e.Number, Repetition: uint32(e.Repetition), TimeNs: int64(e.At)}
	switch {
	case e.Call != nil:
		m.Fact = &synclinev1.Event_Call{Call: callToProto(e.Call)}
	case e.Packet != nil:
		m.Fact = &synclinev1.Event_Packet{Packet: packetToProto(e.Packet)}
	case e.Signal != nil:
		m.Fact = &synclinev1.Event_Signal{Signal: &synclinev1.Signal{Lane: e.Signal.Lane, Name: e.Signal.Name, Sent: e.Signal.Sent}}
	case e.Mark != nil:
		m.Fact = &synclinev1.Event_Mark{Mark: &synclinev1.Mark{Kind: synclinev1.MarkKind(e.Mark.Kind), Detail: e.Mark.Detail, Frames: e.Mark.Frames}}
	case e.Loss != nil:
		m.Fact = &synclinev1.Event_Loss{Loss: &synclinev1.Loss{
			Source: sourceToProto(string(e.Loss.Source)), Count: e.Loss.Count, SinceNs: int64(e.Loss.Since), Where: e.Loss.Where,
		}}
	case e.Step != nil:
		m.Fact = &synclinev1.Event_ClockStep{ClockStep: &synclinev1.ClockStep{StepNs: e.Step.Step, SinceNs: int64(e.Step.Since)}}
	}
	return m
}

func callFromProto(c *synclinev1.Call) (*timeline.Call, error) {
	local, err := addrPort(c.LocalAddress)
	if err != nil {
		return nil, err
	}
	peer, err := addrPort(c.PeerAddress)
	if err != nil {
		return nil, err
	}
	return &timeline.Call{
		Lane: c.Lane, Step: int(c.Step), Name: c.Name, Socket: c.Socket, Makes: c.Makes, Label: c.Label,
		Arguments: c.Arguments, Thread: int(c.Thread), FD: int(c.Fd), Return: clock.Local(c.ReturnNs),
		Result: c.Result, Errno: c.Errno, EndedBy: timeline.EndedBy(c.EndedBy),
		Local: local, Peer: peer, ByLab: c.ByLab, Failure: c.Failure,
	}, nil
}

func callToProto(c *timeline.Call) *synclinev1.Call {
	return &synclinev1.Call{
		Lane: c.Lane, Step: uint32(c.Step), Name: c.Name, Socket: c.Socket, Makes: c.Makes, Label: c.Label,
		Arguments: c.Arguments, Thread: uint32(c.Thread), Fd: int32(c.FD), ReturnNs: int64(c.Return),
		Result: c.Result, Errno: c.Errno, EndedBy: synclinev1.EndedBy(c.EndedBy),
		LocalAddress: addrPortText(c.Local), PeerAddress: addrPortText(c.Peer), ByLab: c.ByLab, Failure: c.Failure,
	}
}

// addrPort reads "IP:port"; "" is the zero value.
func addrPort(s string) (netip.AddrPort, error) {
	if s == "" {
		return netip.AddrPort{}, nil
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return a, fmt.Errorf("address %q: %w", s, err)
	}
	return a, nil
}

func addrPortText(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func packetFromProto(p *synclinev1.Packet) (*timeline.Packet, error) {
	source, ok := netip.AddrFromSlice(p.Source)
	if !ok {
		return nil, fmt.Errorf("source address of %d bytes", len(p.Source))
	}
	destination, ok := netip.AddrFromSlice(p.Destination)
	if !ok {
		return nil, fmt.Errorf("destination address of %d bytes", len(p.Destination))
	}
	switch {
	case p.SourcePort > math.MaxUint16 || p.DestinationPort > math.MaxUint16:
		return nil, fmt.Errorf("ports %d and %d of a packet", p.SourcePort, p.DestinationPort)
	case p.ErrorNs < 0:
		// It would make a bound narrower than what is known.
		return nil, fmt.Errorf("an error of %d ns", p.ErrorNs)
	}
	return &timeline.Packet{
		Interface: p.Interface, Direction: timeline.Direction(p.Direction),
		Realtime: p.RealtimeNs, Err: p.ErrorNs,
		WireLength: int(p.WireLength), Segments: int(p.Segments),
		Source:      netip.AddrPortFrom(source, uint16(p.SourcePort)),
		Destination: netip.AddrPortFrom(destination, uint16(p.DestinationPort)),
		TTL:         int(p.Ttl), IPID: p.IpId, TrafficClass: uint8(p.TrafficClass), DontFragment: p.DontFragment,
		Seq: p.Sequence, Ack: p.Acknowledgment, Flags: timeline.Flags(p.Flags),
		Window: int(p.Window), Urgent: int(p.Urgent), Options: p.Options,
		PayloadLength: int(p.PayloadLength), Payload: p.Payload,
	}, nil
}

func packetToProto(p *timeline.Packet) *synclinev1.Packet {
	return &synclinev1.Packet{
		Interface: p.Interface, Direction: synclinev1.Direction(p.Direction),
		RealtimeNs: p.Realtime, ErrorNs: p.Err,
		WireLength: uint32(p.WireLength), Segments: uint32(p.Segments),
		Source: p.Source.Addr().AsSlice(), SourcePort: uint32(p.Source.Port()),
		Destination: p.Destination.Addr().AsSlice(), DestinationPort: uint32(p.Destination.Port()),
		Ttl: uint32(p.TTL), IpId: p.IPID, TrafficClass: uint32(p.TrafficClass), DontFragment: p.DontFragment,
		Sequence: p.Seq, Acknowledgment: p.Ack, Flags: uint32(p.Flags),
		Window: uint32(p.Window), Urgent: uint32(p.Urgent), Options: p.Options,
		PayloadLength: uint32(p.PayloadLength), Payload: p.Payload,
	}
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
		g := &synclinev1.Segment{
			FromClient: s.FromClient, Departure: indexToProto(s.Departure), Arrival: indexToProto(s.Arrival),
			Copy: uint32(s.Copy), Duplicate: s.Duplicate, Lost: s.Lost, Impossible: s.Impossible, Ambiguous: s.Ambiguous,
		}
		if g.OneWayErrorNs = bounded(s.OneWayErr); g.OneWayErrorNs != nil {
			g.OneWayNs = &s.OneWay
		}
		m.Segments = append(m.Segments, g)
	}
	return m
}

func endToProto(e timeline.End) *synclinev1.ConnectionEnd {
	m := &synclinev1.ConnectionEnd{
		Host: indexToProto(e.Host), Address: addrPortText(e.Address), Lane: e.Lane, Socket: e.Socket,
	}
	if e.HasISN {
		m.InitialSequence = &e.ISN
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
	for _, v := range m.Verdicts {
		t.Verdicts = append(t.Verdicts, VerdictFromProto(v))
	}
	return t, checkIndices(t)
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
		Name: h.Host.Name, Agent: h.Host.Agent, Address: address, Kernel: h.Host.Kernel, ClockID: h.Host.ClockId,
		Missing: map[timeline.Source]string{},
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
	if c.Client, err = endFromProto(m.GetClient(), hosts); err != nil {
		return c, err
	}
	if c.Server, err = endFromProto(m.GetServer(), hosts); err != nil {
		return c, err
	}
	for _, g := range m.Segments {
		s := timeline.Segment{
			FromClient: g.FromClient, Departure: indexFromProto(g.Departure), Arrival: indexFromProto(g.Arrival),
			OneWayErr: orUnbounded(g.OneWayErrorNs), Copy: int(g.Copy),
			Duplicate: g.Duplicate, Lost: g.Lost, Impossible: g.Impossible, Ambiguous: g.Ambiguous,
		}
		if g.OneWayNs != nil {
			s.OneWay = *g.OneWayNs
		}
		if s.Departure >= moments || s.Arrival >= moments {
			return c, fmt.Errorf("a segment of the timeline names a moment that is not there")
		}
		c.Segments = append(c.Segments, s)
	}
	return c, nil
}

func endFromProto(m *synclinev1.ConnectionEnd, hosts int) (timeline.End, error) {
	if m == nil {
		return timeline.End{}, errors.New("a connection of the timeline lacks an end")
	}
	e := timeline.End{Host: indexFromProto(m.Host), Lane: m.Lane, Socket: m.Socket}
	if e.Host >= hosts {
		return e, fmt.Errorf("a connection of the timeline names host %d of %d", e.Host, hosts)
	}
	if m.InitialSequence != nil {
		e.ISN, e.HasISN = *m.InitialSequence, true
	}
	var err error
	e.Address, err = addrPort(m.Address)
	return e, err
}
