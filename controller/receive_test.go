package controller

import (
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	synclinev1 "syncline/proto/syncline/v1"
)

// What would take much more room decoded than it has on the wire is not decoded.
func TestLargeMessagesAreBounded(t *testing.T) {
	stopped := func(events, padding int) *synclinev1.ControlRequest {
		s := &synclinev1.ProbesStopped{Session: "p", Error: string(make([]byte, padding))}
		for range events {
			s.Events = append(s.Events, &synclinev1.Event{})
		}
		return &synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_ProbesStopped{ProbesStopped: s}}
	}
	hello := func(size int) *synclinev1.ControlRequest {
		return &synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Hello{Hello: &synclinev1.Hello{Name: string(make([]byte, size))}}}
	}
	of := func(all ...proto.Message) (b []byte) {
		for _, m := range all {
			one, err := proto.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			b = append(b, one...)
		}
		return b
	}
	for name, c := range map[string]struct {
		data []byte
		into proto.Message
		ok   bool
	}{
		"all sights":          {of(stopped(maxSights, 0)), &synclinev1.ControlRequest{}, true},
		"all sights, large":   {of(stopped(maxSights, maxSightsMessage-1<<18)), &synclinev1.ControlRequest{}, true},
		"a sight more":        {of(stopped(maxSights+1, 0)), &synclinev1.ControlRequest{}, false},
		"4 million sights":    {of(stopped(4<<20-100, 0)), &synclinev1.ControlRequest{}, false},
		"sights in two parts": {of(stopped(maxSights, 0), stopped(1, 0)), &synclinev1.ControlRequest{}, false},
		"sights and more":     {of(stopped(1, maxMessage), hello(1)), &synclinev1.ControlRequest{}, false},
		"a hello":             {of(hello(maxMessage - 100)), &synclinev1.ControlRequest{}, true},
		"a large hello":       {of(hello(maxMessage)), &synclinev1.ControlRequest{}, false},
		"a large file":        {of(&synclinev1.CreateRunRequest{Source: make([]byte, maxMessage)}), &synclinev1.CreateRunRequest{}, false},
		"damaged":             {append(of(stopped(1, 1<<17)), 0xff), &synclinev1.ControlRequest{}, false},
	} {
		if err := newBoundedCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(c.data)}, c.into); (err == nil) != c.ok {
			t.Errorf("%s: %d bytes: %v", name, len(c.data), err)
		}
	}
}
