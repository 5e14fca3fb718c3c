package controller

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"

	"syncline/controller/clock"
	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

// eventSpace is memory for one event, which is used again for the next. A nil one gives each event
// memory of its own.
type eventSpace struct {
	event  timeline.Event
	call   timeline.Call
	packet timeline.Packet
	trace  timeline.Trace
}

func (s *eventSpace) newEvent() *timeline.Event {
	if s == nil {
		return new(timeline.Event)
	}
	return &s.event
}

func (s *eventSpace) newCall() *timeline.Call {
	if s == nil {
		return new(timeline.Call)
	}
	return &s.call
}

func (s *eventSpace) newPacket() *timeline.Packet {
	if s == nil {
		return new(timeline.Packet)
	}
	return &s.packet
}

func (s *eventSpace) newTrace() *timeline.Trace {
	if s == nil {
		return new(timeline.Trace)
	}
	return &s.trace
}

// eventFromProto returns nil for a fact that no timeline is made of. It checks no more than
// that it can be one; see timeline.Event.Check.
func eventFromProto(e *synclinev1.Event) (*timeline.Event, error) {
	return (*eventSpace)(nil).fromProto(e)
}

// fromProto is eventFromProto with an event that is good until the next call.
func (s *eventSpace) fromProto(e *synclinev1.Event) (*timeline.Event, error) {
	if e == nil {
		return nil, errors.New("an event is missing")
	}
	native := s.newEvent()
	*native = timeline.Event{Number: e.Number, Repetition: int(e.Repetition), At: clock.Local(e.TimeNs)}
	var err error
	switch f := e.Fact.(type) {
	case *synclinev1.Event_Call:
		native.Call, err = s.callFromProto(f.Call)
	case *synclinev1.Event_Packet:
		native.Packet, err = s.packetFromProto(f.Packet)
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
		native.Step = &timeline.ClockStep{
			Change: timeline.ClockChange(f.ClockStep.Change), Step: f.ClockStep.StepNs, Since: clock.Local(f.ClockStep.SinceNs),
			Rate: f.ClockStep.RatePpb, RateBefore: f.ClockStep.RateBeforePpb,
		}
	case *synclinev1.Event_Counters:
		native.Counters = countersFromProto(f.Counters)
	case *synclinev1.Event_Queue:
		native.Queue, err = queueFromProto(f.Queue)
	case *synclinev1.Event_SocketState:
		native.Socket, err = socketFromProto(f.SocketState)
	case *synclinev1.Event_Change:
		native.Change = &timeline.Change{Text: f.Change.Text, Name: f.Change.Name, Undone: f.Change.Undone}
	case *synclinev1.Event_LaneProcess:
		native.Process = &timeline.Process{
			Lane: f.LaneProcess.Lane, PID: int(f.LaneProcess.Process), Gone: f.LaneProcess.Gone, Signal: int(f.LaneProcess.Signal),
		}
	case *synclinev1.Event_Trace:
		native.Trace, err = s.traceFromProto(f.Trace)
	case *synclinev1.Event_Probe:
		native.Probe, err = probeFromProto(f.Probe)
	case *synclinev1.Event_ClockSample:
		native.Sample = &timeline.ClockSample{
			Raw: f.ClockSample.RawNs, RawErr: f.ClockSample.RawErrorNs, HasRaw: f.ClockSample.RawNs != 0 || f.ClockSample.RawErrorNs != 0,
			Steady: f.ClockSample.SteadyPpb,
		}
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
		m.Fact = &synclinev1.Event_ClockStep{ClockStep: &synclinev1.ClockStep{
			Change: synclinev1.ClockChange(e.Step.Change), StepNs: e.Step.Step, SinceNs: int64(e.Step.Since),
			RatePpb: e.Step.Rate, RateBeforePpb: e.Step.RateBefore,
		}}
	case e.Counters != nil:
		m.Fact = &synclinev1.Event_Counters{Counters: countersToProto(e.Counters)}
	case e.Queue != nil:
		m.Fact = &synclinev1.Event_Queue{Queue: &synclinev1.Queue{
			Address: addrPortText(e.Queue.Address), Length: uint32(e.Queue.Length), Limit: uint32(e.Queue.Limit), Requests: uint32(e.Queue.Requests),
		}}
	case e.Socket != nil:
		m.Fact = &synclinev1.Event_SocketState{SocketState: &synclinev1.SocketState{
			LocalAddress: addrPortText(e.Socket.Local), PeerAddress: addrPortText(e.Socket.Peer), State: uint32(e.Socket.State), Final: e.Socket.Final,
		}}
	case e.Change != nil:
		m.Fact = &synclinev1.Event_Change{Change: &synclinev1.ChangeMade{Text: e.Change.Text, Name: e.Change.Name, Undone: e.Change.Undone}}
	case e.Process != nil:
		m.Fact = &synclinev1.Event_LaneProcess{LaneProcess: &synclinev1.LaneProcess{
			Lane: e.Process.Lane, Process: uint32(e.Process.PID), Gone: e.Process.Gone, Signal: uint32(e.Process.Signal),
		}}
	case e.Trace != nil:
		m.Fact = &synclinev1.Event_Trace{Trace: traceToProto(e.Trace)}
	case e.Probe != nil:
		m.Fact = &synclinev1.Event_Probe{Probe: probeToProto(e.Probe)}
	}
	return m
}

func probeFromProto(p *synclinev1.Probe) (*timeline.Probe, error) {
	switch {
	case p.ErrorNs < 0:
		// It would make a bound narrower than what is known.
		return nil, fmt.Errorf("the stamp of a probe has an error of %d ns", p.ErrorNs)
	case p.Direction != synclinev1.Direction_DIRECTION_IN && p.Direction != synclinev1.Direction_DIRECTION_OUT:
		return nil, fmt.Errorf("a probe has the direction %v", p.Direction)
	}
	return &timeline.Probe{
		Peer: p.Peer, Direction: timeline.Direction(p.Direction), Exchange: p.Exchange, Reply: p.Reply,
		Path: timeline.ProbePath(p.Path), Origin: timeline.StampOrigin(p.Origin), Realtime: p.RealtimeNs, Err: p.ErrorNs,
	}, nil
}

func probeToProto(p *timeline.Probe) *synclinev1.Probe {
	return &synclinev1.Probe{
		Peer: p.Peer, Direction: synclinev1.Direction(p.Direction), Exchange: p.Exchange, Reply: p.Reply,
		Path: synclinev1.ProbePath(p.Path), Origin: synclinev1.StampOrigin(p.Origin), RealtimeNs: p.Realtime, ErrorNs: p.Err,
	}
}

func (s *eventSpace) callFromProto(c *synclinev1.Call) (*timeline.Call, error) {
	local, err := addrPort(c.LocalAddress)
	if err != nil {
		return nil, err
	}
	peer, err := addrPort(c.PeerAddress)
	if err != nil {
		return nil, err
	}
	native := s.newCall()
	*native = timeline.Call{
		Lane: c.Lane, Step: int(c.Step), Name: c.Name, Socket: c.Socket, Makes: c.Makes, Label: c.Label,
		Arguments: c.Arguments, Thread: int(c.Thread), FD: int(c.Fd), Return: clock.Local(c.ReturnNs),
		Result: c.Result, Errno: c.Errno, EndedBy: timeline.EndedBy(c.EndedBy),
		Local: local, Peer: peer, ByLab: c.ByLab, Failure: c.Failure,
		Data: c.Data, Shown: c.Shown, Process: int(c.Process), TCPInfo: c.TcpInfo,
	}
	return native, nil
}

func callToProto(c *timeline.Call) *synclinev1.Call {
	return &synclinev1.Call{
		Lane: c.Lane, Step: uint32(c.Step), Name: c.Name, Socket: c.Socket, Makes: c.Makes, Label: c.Label,
		Arguments: c.Arguments, Thread: uint32(c.Thread), Fd: int32(c.FD), ReturnNs: int64(c.Return),
		Result: c.Result, Errno: c.Errno, EndedBy: synclinev1.EndedBy(c.EndedBy),
		LocalAddress: addrPortText(c.Local), PeerAddress: addrPortText(c.Peer), ByLab: c.ByLab, Failure: c.Failure,
		Data: c.Data, Shown: c.Shown, Process: uint32(c.Process), TcpInfo: c.TCPInfo,
	}
}

func countersFromProto(c *synclinev1.Counters) *timeline.Counters {
	native := &timeline.Counters{Since: clock.Local(c.SinceNs), Deltas: make(map[string]int64, len(c.Counters))}
	for _, d := range c.Counters {
		native.Deltas[d.Name] = d.Delta
	}
	return native
}

func countersToProto(c *timeline.Counters) *synclinev1.Counters {
	m := &synclinev1.Counters{SinceNs: int64(c.Since)}
	for _, name := range slices.Sorted(maps.Keys(c.Deltas)) {
		m.Counters = append(m.Counters, &synclinev1.Counter{Name: name, Delta: c.Deltas[name]})
	}
	return m
}

func queueFromProto(q *synclinev1.Queue) (*timeline.Queue, error) {
	address, err := addrPort(q.Address)
	return &timeline.Queue{Address: address, Length: int(q.Length), Limit: int(q.Limit), Requests: int(q.Requests)}, err
}

func socketFromProto(s *synclinev1.SocketState) (*timeline.SocketState, error) {
	local, err := addrPort(s.LocalAddress)
	if err != nil {
		return nil, err
	}
	peer, err := addrPort(s.PeerAddress)
	return &timeline.SocketState{Local: local, Peer: peer, State: int(s.State), Final: s.Final}, err
}

// addrPort reads "IP:port", or "IP" alone, of a raw socket; "" is the zero value, and
// so is "unix:name", which is no address of a host.
func addrPort(s string) (netip.AddrPort, error) {
	if s == "" || strings.HasPrefix(s, "unix:") {
		return netip.AddrPort{}, nil
	}
	// Nothing is both; most have a port.
	a, err := netip.ParseAddrPort(s)
	if err == nil {
		return a, nil
	}
	if alone, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(alone, 0), nil
	}
	return netip.AddrPort{}, fmt.Errorf("address %q: %w", s, err)
}

func addrPortText(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func (s *eventSpace) packetFromProto(p *synclinev1.Packet) (*timeline.Packet, error) {
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
	native := s.newPacket()
	*native = timeline.Packet{
		Interface: p.Interface, Direction: timeline.Direction(p.Direction),
		Realtime: p.RealtimeNs, Err: p.ErrorNs,
		WireLength: int(p.WireLength), Segments: int(p.Segments),
		Source:      netip.AddrPortFrom(source, uint16(p.SourcePort)),
		Destination: netip.AddrPortFrom(destination, uint16(p.DestinationPort)),
		TTL:         int(p.Ttl), IPID: p.IpId, TrafficClass: uint8(p.TrafficClass), DontFragment: p.DontFragment,
		Seq: p.Sequence, Ack: p.Acknowledgment, Flags: timeline.Flags(p.Flags),
		Window: int(p.Window), Urgent: int(p.Urgent), Options: p.Options,
		PayloadLength: int(p.PayloadLength), Payload: p.Payload,
		Protocol: int(p.Protocol), ICMPType: int(p.IcmpType), ICMPCode: int(p.IcmpCode), ICMPRest: p.IcmpRest, ARP: int(p.ArpOperation),
	}
	return native, nil
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
		Protocol: uint32(p.Protocol), IcmpType: uint32(p.ICMPType), IcmpCode: uint32(p.ICMPCode), IcmpRest: p.ICMPRest, ArpOperation: uint32(p.ARP),
	}
}
