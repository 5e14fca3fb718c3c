package chunk

import (
	"fmt"
	"sync"

	synclinev1 "syncline/proto/syncline/v1"
)

// scratch is the memory of a decoder whose events nobody keeps: an event, a fact of each kind that
// there are many of, and what they point to.
type scratch struct {
	body  []byte
	event synclinev1.Event
	info  [maxInfo]byte

	call   synclinev1.Event_Call
	packet synclinev1.Event_Packet
	trace  synclinev1.Event_Trace
	probe  synclinev1.Event_Probe
}

func newScratch() *scratch {
	s := new(scratch)
	s.call.Call = new(synclinev1.Call)
	s.packet.Packet = new(synclinev1.Packet)
	s.trace.Trace = new(synclinev1.Trace)
	s.probe.Probe = new(synclinev1.Probe)
	return s
}

// fact gives ev the empty fact of a kind, if it is one of those.
func (s *scratch) fact(ev *synclinev1.Event, k kind) bool {
	switch k {
	case kindCall:
		s.call.Call.Reset()
		ev.Fact = &s.call
	case kindPacket:
		s.packet.Packet.Reset()
		ev.Fact = &s.packet
	case kindTrace:
		s.trace.Trace.Reset()
		ev.Fact = &s.trace
	case kindProbe:
		s.probe.Probe.Reset()
		ev.Fact = &s.probe
	default:
		return false
	}
	return true
}

// eachDecoders are decoders with a scratch. Each keeps a body of at most maxBody bytes.
var eachDecoders = sync.Pool{New: func() any { return &codec{decoding: true, scratch: newScratch()} }}

// Each gives the events of a chunk to visit, one after another, and returns how many there are. It is
// for those who look at events and keep none: an event, and all that it points to but its strings, is
// in memory that the next event is put into. It ends with the first error of visit, as it is, or
// with what Decode would have returned; visit may have seen events by then.
func Each(data []byte, visit func(*synclinev1.Event) error) (events int, err error) {
	c := eachDecoders.Get().(*codec)
	defer eachDecoders.Put(c)
	body, version, err := unseal(data, c.scratch.body[:0])
	if err != nil {
		return 0, err
	}
	c.scratch.body = body
	n, err := c.read(body, version)
	if err != nil {
		return 0, err
	}
	ev := &c.scratch.event
	for i := range n {
		ev.Reset()
		if c.event(ev); c.err != nil {
			return 0, fmt.Errorf("event %d of %d: %w", i+1, n, c.err)
		}
		if err := visit(ev); err != nil {
			return 0, err
		}
	}
	return n, c.finish()
}
