package controller

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	synclinev1 "syncline/proto/syncline/v1"
)

const (
	// maxMessage bounds what anybody may say at once, in bytes, and maxSightsMessage the one
	// message that may be larger: ProbesStopped, with as many sights as an agent keeps.
	maxMessage       = 1 << 20
	maxSightsMessage = 8 << 20
)

// boundedCodec is gRPC's own codec, which refuses messages that would take much more room
// decoded than the port's callers may have. Anybody can call, so it looks before it decodes.
type boundedCodec struct{ encoding.CodecV2 }

func newBoundedCodec() boundedCodec { return boundedCodec{encoding.GetCodecV2(grpcproto.Name)} }

// Unmarshal reads a message of a caller into v.
func (b boundedCodec) Unmarshal(data mem.BufferSlice, v any) error {
	if data.Len() <= maxSights {
		// No message is shorter than the number of its parts.
		return b.CodecV2.Unmarshal(data, v)
	}
	if _, isControl := v.(*synclinev1.ControlRequest); isControl {
		sights, only := sightsIn(data.Materialize())
		if sights > maxSights {
			return fmt.Errorf("%d sights of clock probes in one message, at most %d are taken", sights, maxSights)
		}
		if only {
			return b.CodecV2.Unmarshal(data, v)
		}
	}
	if data.Len() > maxMessage {
		return fmt.Errorf("a message of %d bytes, at most %d are taken", data.Len(), maxMessage)
	}
	return b.CodecV2.Unmarshal(data, v)
}

// sightsIn counts the events in the ProbesStopped of a ControlRequest, and reports whether
// that is all that the message has.
func sightsIn(message []byte) (sights int, only bool) {
	var request synclinev1.ControlRequest
	var answer synclinev1.ProbesStopped
	stopped := request.ProtoReflect().Descriptor().Fields().ByName("probes_stopped").Number()
	events := answer.ProtoReflect().Descriptor().Fields().ByName("events").Number()
	only = true
	each(message, func(number protowire.Number, value []byte) {
		if number != stopped {
			only = false
			return
		}
		each(value, func(number protowire.Number, _ []byte) {
			if number == events {
				sights++
			}
		})
	})
	return sights, only
}

// each calls f with the fields of a message, and for those that are messages themselves with
// their bytes. It ends where the message is damaged, as its decoder will.
func each(message []byte, f func(number protowire.Number, value []byte)) {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return
		}
		message = message[n:]
		var value []byte
		if kind == protowire.BytesType {
			value, n = protowire.ConsumeBytes(message)
		} else {
			n = protowire.ConsumeFieldValue(number, kind, message)
		}
		if n < 0 {
			return
		}
		f(number, value)
		message = message[n:]
	}
}
