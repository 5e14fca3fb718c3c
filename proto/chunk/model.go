package chunk

import (
	"net/netip"
	"strings"

	synclinev1 "syncline/proto/syncline/v1"
)

// model is what both sides remember of the events before, and predict from. It
// begins empty with every chunk.
type model struct {
	number     uint64
	repetition uint32
	// time is time_ns of the last event of any kind.
	time int64
	// ahead is CLOCK_REALTIME minus CLOCK_MONOTONIC as last seen.
	ahead int64

	lane  string
	lanes map[string]*laneModel
	steps map[stepKey]*callModel
	port  uint64

	packetTime  int64
	packetError int64
	flows       []flow
	flowIndex   map[flowKey]uint64
	newFlow     flow
	shapes      map[shapeKey]*shape
	captured    uint64
	// scratch holds the options of the packet being written.
	scratch []byte

	frames uint64
}

// laneModel is where a lane stands: a step begins right after the step before it
// returned.
type laneModel struct {
	step   uint32
	thread uint32
	at     int64
}

// stepKey is a place in an experiment. Repetition after repetition the same call is
// made there, so the call before is the best prediction.
type stepKey struct {
	lane  string
	step  uint32
	byLab bool
}

func (m *model) reset() {
	*m = model{
		lanes:     clearMap(m.lanes),
		steps:     clearMap(m.steps),
		flows:     m.flows[:0],
		flowIndex: clearMap(m.flowIndex),
		shapes:    clearMap(m.shapes),
		scratch:   m.scratch,
	}
}

func clearMap[K comparable, V any](m map[K]V) map[K]V {
	if m == nil {
		return make(map[K]V)
	}
	clear(m)
	return m
}

// callModel is what a call was when it was last made.
type callModel struct {
	name, socket, makes, label, arguments string
	fd                                    int32
	result                                int64
	errno                                 uint32
	endedBy                               synclinev1.EndedBy
	local, peer, failure                  string
}

// call carries a step of a lane.
func (c *codec) call(ev *synclinev1.Event, call *synclinev1.Call) {
	c.unknown(call)
	c.text(colCallLane, &call.Lane, c.lane)
	c.lane = utf8Text(call.Lane)
	lane := c.lanes[c.lane]
	if lane == nil {
		lane = &laneModel{step: ^uint32(0), at: c.time}
		c.lanes[c.lane] = lane
	}
	c.u32(colCallStep, &call.Step, lane.step+1)
	c.flag(colCallByLab, &call.ByLab, false)
	c.i64(colCallEntry, &ev.TimeNs, lane.at)
	c.i64(colCallDuration, &call.ReturnNs, ev.TimeNs)
	c.u32(colCallThread, &call.Thread, lane.thread)
	*lane = laneModel{step: call.Step, thread: call.Thread, at: call.ReturnNs}

	key := stepKey{c.lane, call.Step, call.ByLab}
	last := c.steps[key]
	if last == nil {
		last = new(callModel)
		c.steps[key] = last
	}
	c.callFields(call, last)
	*last = callModel{
		name: call.Name, socket: call.Socket, makes: call.Makes, label: call.Label, arguments: call.Arguments,
		fd: call.Fd, result: call.Result, errno: call.Errno, endedBy: call.EndedBy,
		local: call.LocalAddress, peer: call.PeerAddress, failure: call.Failure,
	}
}

// callFields carries the fields that are the same in every repetition, as a rule.
func (c *codec) callFields(call *synclinev1.Call, last *callModel) {
	c.text(colCallName, &call.Name, last.name)
	c.text(colCallSocket, &call.Socket, last.socket)
	c.text(colCallMakes, &call.Makes, last.makes)
	c.text(colCallLabel, &call.Label, last.label)
	c.text(colCallArguments, &call.Arguments, last.arguments)
	i32(c, colCallFD, &call.Fd, last.fd)
	c.i64(colCallResult, &call.Result, last.result)
	c.u32(colCallErrno, &call.Errno, last.errno)
	i32(c, colCallEndedBy, &call.EndedBy, last.endedBy)
	c.addressText(&call.LocalAddress, last.local)
	c.addressText(&call.PeerAddress, last.peer)
	c.text(colCallFailure, &call.Failure, last.failure)
}

// How an address field is carried, in colCallAddress. Other values are those of
// text, plus addressNew.
const (
	addressSame  = 0 // as predicted
	addressMoved = 1 // the predicted host with another port
	addressNew   = 2 // text follows
)

// addressText carries "IP:port". The port of a client changes with every connection
// while its host does not, so the two are split where the text is exactly what
// netip.AddrPort prints.
func (c *codec) addressText(v *string, predicted string) {
	last, splits := canonical(predicted)
	var how uint64
	var port uint64
	if !c.decoding {
		how = addressNew
		if *v == predicted {
			how = addressSame
		} else if now, ok := canonical(*v); ok && splits && now.Addr() == last.Addr() {
			how, port = addressMoved, uint64(now.Port())
		}
	}
	switch how = c.raw(colCallAddress, how); how {
	case addressSame:
		*v = predicted
	case addressMoved:
		c.u64(colCallAddressPort, &port, c.port)
		c.port = port
		if port > 0xffff || !splits {
			c.fail("an address with port %d", port)
			return
		}
		*v = netip.AddrPortFrom(last.Addr(), uint16(port)).String()
	case addressNew:
		c.text(colCallAddress, v, predicted)
	default:
		c.fail("an address carried in way %d", how)
	}
}

// maxAddress is more than the longest "[IP%zone]:port" has, zones of Linux being
// names of interfaces.
const maxAddress = 80

// canonical parses "IP:port" and reports whether it prints as the very same text.
func canonical(s string) (netip.AddrPort, bool) {
	if len(s) > maxAddress {
		return netip.AddrPort{}, false
	}
	a, err := netip.ParseAddrPort(s)
	return a, err == nil && a.String() == s
}

// utf8Text is the string as a decoder will have it.
func utf8Text(s string) string { return strings.ToValidUTF8(s, "?") }

// fact carries the kinds that are rare.
func (c *codec) fact(ev *synclinev1.Event) {
	switch f := ev.Fact.(type) {
	case *synclinev1.Event_Signal:
		c.signal(orEmpty(f.Signal))
	case *synclinev1.Event_Mark:
		c.mark(orEmpty(f.Mark))
	case *synclinev1.Event_Loss:
		c.loss(ev, orEmpty(f.Loss))
	case *synclinev1.Event_ClockSample:
		c.clockSample(ev, orEmpty(f.ClockSample))
	case *synclinev1.Event_ClockStep:
		c.clockStep(ev, orEmpty(f.ClockStep))
	}
}

func (c *codec) signal(s *synclinev1.Signal) {
	c.unknown(s)
	c.text(colFactText, &s.Lane, "")
	c.text(colFactText, &s.Name, "")
	c.flag(colFactValue, &s.Sent, false)
}

func (c *codec) mark(m *synclinev1.Mark) {
	c.unknown(m)
	i32(c, colFactValue, &m.Kind, 0)
	c.text(colFactText, &m.Detail, "")
	c.u64(colFactValue, &m.Frames, c.frames)
	c.frames = m.Frames
}

func (c *codec) loss(ev *synclinev1.Event, l *synclinev1.Loss) {
	c.unknown(l)
	i32(c, colFactValue, &l.Source, 0)
	c.u64(colFactValue, &l.Count, 0)
	c.i64(colFactValue, &l.SinceNs, ev.TimeNs)
	c.text(colFactText, &l.Where, "")
}

func (c *codec) clockSample(ev *synclinev1.Event, s *synclinev1.ClockSample) {
	c.unknown(s)
	c.realtime(colFactValue, &s.RealtimeNs, ev.TimeNs)
	c.i64(colFactValue, &s.ErrorNs, 0)
}

func (c *codec) clockStep(ev *synclinev1.Event, s *synclinev1.ClockStep) {
	c.unknown(s)
	c.i64(colFactValue, &s.StepNs, 0)
	c.i64(colFactValue, &s.SinceNs, ev.TimeNs)
}

// realtime carries a CLOCK_REALTIME stamp of the moment timeNs: the distance of the
// two clocks changes only as fast as CLOCK_REALTIME is slewed or stepped.
func (c *codec) realtime(col column, v *int64, timeNs int64) {
	c.i64(col, v, timeNs+c.ahead)
	c.ahead = *v - timeNs
}
