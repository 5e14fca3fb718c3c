package controller

import (
	"fmt"
	"math"

	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

// traceFromProto refuses numbers that no kernel has. A kind of trace that is newer than
// this controller is kept: it is shown, and nothing rests on it.
func (s *eventSpace) traceFromProto(m *synclinev1.Trace) (*timeline.Trace, error) {
	local, err := addrPort(m.LocalAddress)
	if err != nil {
		return nil, err
	}
	peer, err := addrPort(m.PeerAddress)
	if err != nil {
		return nil, err
	}
	switch {
	case m.OldState > math.MaxUint8 || m.State > math.MaxUint8:
		return nil, fmt.Errorf("states %d and %d of a trace", m.OldState, m.State)
	case m.Flags > math.MaxUint16:
		return nil, fmt.Errorf("flags %#x of a trace", m.Flags)
	case m.Protocol > math.MaxUint8:
		return nil, fmt.Errorf("protocol %d of a trace", m.Protocol)
	case m.Direction < synclinev1.Direction_DIRECTION_UNSPECIFIED || m.Direction > synclinev1.Direction_DIRECTION_OUT:
		return nil, fmt.Errorf("direction %d of a trace", m.Direction)
	}
	native := s.newTrace()
	*native = timeline.Trace{
		Kind: timeline.TraceKind(m.Kind), Cookie: m.Cookie, Local: local, Peer: peer,
		OldState: int(m.OldState), State: int(m.State), Errno: m.Errno, Reason: m.Reason, Place: m.Place,
		Seq: m.Sequence, Ack: m.Acknowledgment, Flags: timeline.Flags(m.Flags), PayloadLength: int(m.PayloadLength),
		Protocol: int(m.Protocol), Direction: timeline.Direction(m.Direction),
	}
	return native, nil
}

func traceToProto(t *timeline.Trace) *synclinev1.Trace {
	return &synclinev1.Trace{
		Kind: synclinev1.TraceKind(t.Kind), Cookie: t.Cookie,
		LocalAddress: addrPortText(t.Local), PeerAddress: addrPortText(t.Peer),
		OldState: uint32(t.OldState), State: uint32(t.State), Errno: t.Errno, Reason: t.Reason, Place: t.Place,
		Sequence: t.Seq, Acknowledgment: t.Ack, Flags: uint32(t.Flags), PayloadLength: uint32(t.PayloadLength),
		Protocol: uint32(t.Protocol), Direction: synclinev1.Direction(t.Direction),
	}
}
