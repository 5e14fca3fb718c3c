package chunk

import synclinev1 "syncline/proto/syncline/v1"

// kind is what an event is about: the number of its field in the oneof, 0 for none.
type kind uint64

const (
	kindCall        kind = 10
	kindPacket      kind = 11
	kindSignal      kind = 12
	kindMark        kind = 13
	kindLoss        kind = 14
	kindClockSample kind = 15
	kindClockStep   kind = 16
	kindCounters    kind = 17
	kindQueue       kind = 18
	kindSocketState kind = 19
	kindChange      kind = 20
	kindLaneProcess kind = 21
	kindTrace       kind = 22
	kindProbe       kind = 23
)

// newestKind is the last kind that a version has.
func newestKind(version byte) kind {
	switch version {
	case 1:
		return kindClockStep
	case 2:
		return kindLaneProcess
	case 3, 4:
		return kindTrace
	}
	return kindProbe
}

// event carries one event. A fact of a newer schema is among the unknown fields of
// the event, whose kind is then 0.
func (c *codec) event(ev *synclinev1.Event) {
	k := kind(c.raw(colKind, uint64(kindOf(ev))))
	c.u64(colNumber, &ev.Number, c.number+1)
	c.number = ev.Number
	c.repetitionOf(ev, k)
	c.unknown(ev)
	if c.decoding {
		c.makeFact(ev, k)
	}
	switch fact := ev.Fact.(type) {
	case *synclinev1.Event_Call:
		c.call(ev, orEmpty(fact.Call))
	case *synclinev1.Event_Packet:
		c.packet(ev, orEmpty(fact.Packet))
	case *synclinev1.Event_Trace:
		c.trace(ev, orEmpty(fact.Trace))
	case *synclinev1.Event_Probe:
		c.probe(ev, orEmpty(fact.Probe))
	default:
		c.i64(colFactTime, &ev.TimeNs, c.time)
		c.fact(ev)
	}
	c.time = ev.TimeNs
}

// repetitionOf carries the repetition. Probes go on through all repetitions and belong to
// none, and come between events that do.
func (c *codec) repetitionOf(ev *synclinev1.Event, k kind) {
	if k == kindProbe {
		c.u32(colRepetition, &ev.Repetition, 0)
		return
	}
	c.u32(colRepetition, &ev.Repetition, c.repetition)
	c.repetition = ev.Repetition
}

// orEmpty stands in for a fact that is set to nil, which the wire cannot tell from
// an empty one.
func orEmpty[T any](p *T) *T {
	if p == nil {
		return new(T)
	}
	return p
}

func kindOf(ev *synclinev1.Event) kind {
	switch ev.Fact.(type) {
	case *synclinev1.Event_Call:
		return kindCall
	case *synclinev1.Event_Packet:
		return kindPacket
	case *synclinev1.Event_Signal:
		return kindSignal
	case *synclinev1.Event_Mark:
		return kindMark
	case *synclinev1.Event_Loss:
		return kindLoss
	case *synclinev1.Event_ClockSample:
		return kindClockSample
	case *synclinev1.Event_ClockStep:
		return kindClockStep
	case *synclinev1.Event_Counters:
		return kindCounters
	case *synclinev1.Event_Queue:
		return kindQueue
	case *synclinev1.Event_SocketState:
		return kindSocketState
	case *synclinev1.Event_Change:
		return kindChange
	case *synclinev1.Event_LaneProcess:
		return kindLaneProcess
	case *synclinev1.Event_Trace:
		return kindTrace
	case *synclinev1.Event_Probe:
		return kindProbe
	}
	return 0
}

// makeFact gives ev the empty fact that the decoder then fills.
func (c *codec) makeFact(ev *synclinev1.Event, k kind) {
	if k > newestKind(c.version) {
		c.fail("an event of kind %d in version %d", k, c.version)
		return
	}
	if c.scratch != nil && c.scratch.fact(ev, k) {
		return
	}
	switch k {
	case 0:
	case kindCall:
		ev.Fact = &synclinev1.Event_Call{Call: new(synclinev1.Call)}
	case kindPacket:
		ev.Fact = &synclinev1.Event_Packet{Packet: new(synclinev1.Packet)}
	case kindSignal:
		ev.Fact = &synclinev1.Event_Signal{Signal: new(synclinev1.Signal)}
	case kindMark:
		ev.Fact = &synclinev1.Event_Mark{Mark: new(synclinev1.Mark)}
	case kindLoss:
		ev.Fact = &synclinev1.Event_Loss{Loss: new(synclinev1.Loss)}
	case kindClockSample:
		ev.Fact = &synclinev1.Event_ClockSample{ClockSample: new(synclinev1.ClockSample)}
	case kindClockStep:
		ev.Fact = &synclinev1.Event_ClockStep{ClockStep: new(synclinev1.ClockStep)}
	case kindCounters:
		ev.Fact = &synclinev1.Event_Counters{Counters: new(synclinev1.Counters)}
	case kindQueue:
		ev.Fact = &synclinev1.Event_Queue{Queue: new(synclinev1.Queue)}
	case kindSocketState:
		ev.Fact = &synclinev1.Event_SocketState{SocketState: new(synclinev1.SocketState)}
	case kindChange:
		ev.Fact = &synclinev1.Event_Change{Change: new(synclinev1.ChangeMade)}
	case kindLaneProcess:
		ev.Fact = &synclinev1.Event_LaneProcess{LaneProcess: new(synclinev1.LaneProcess)}
	case kindTrace:
		ev.Fact = &synclinev1.Event_Trace{Trace: new(synclinev1.Trace)}
	case kindProbe:
		ev.Fact = &synclinev1.Event_Probe{Probe: new(synclinev1.Probe)}
	default:
		c.fail("an event of kind %d", k)
	}
}
