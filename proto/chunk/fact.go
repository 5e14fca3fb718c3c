package chunk

import synclinev1 "syncline/proto/syncline/v1"

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
	case *synclinev1.Event_Counters:
		c.countersMoved(ev, orEmpty(f.Counters))
	case *synclinev1.Event_Queue:
		c.acceptQueue(orEmpty(f.Queue))
	case *synclinev1.Event_SocketState:
		c.state(orEmpty(f.SocketState))
	case *synclinev1.Event_Change:
		c.change(orEmpty(f.Change))
	case *synclinev1.Event_LaneProcess:
		c.laneProcess(orEmpty(f.LaneProcess))
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
	c.rawClock(ev, s)
}

func (c *codec) clockStep(ev *synclinev1.Event, s *synclinev1.ClockStep) {
	c.unknown(s)
	c.i64(colFactValue, &s.StepNs, 0)
	c.i64(colFactValue, &s.SinceNs, ev.TimeNs)
	i32(c, colStepChange, &s.Change, 0)
	c.i64(colStepRate, &s.RatePpb, 0)
	c.i64(colStepRateBefore, &s.RateBeforePpb, 0)
}

// sampleModel is where CLOCK_MONOTONIC_RAW was in the last sample.
type sampleModel struct {
	read bool
	// ahead is CLOCK_MONOTONIC_RAW minus CLOCK_MONOTONIC, and gained what that had grown
	// by since the sample before: samples are taken at even times.
	ahead, gained int64
	error         int64
	steady        uint64
}

// rawClock carries the reading of CLOCK_MONOTONIC_RAW, if there is one, and how well the
// rate was watched.
func (c *codec) rawClock(ev *synclinev1.Event, s *synclinev1.ClockSample) {
	last := c.sample
	var predicted int64
	if last.read {
		predicted = ev.TimeNs + last.ahead + last.gained
	}
	c.i64(colSampleRaw, &s.RawNs, predicted)
	c.i64(colSampleRawError, &s.RawErrorNs, last.error)
	c.u64(colSampleSteady, &s.SteadyPpb, last.steady)
	c.sample = sampleModel{read: s.RawNs != 0, ahead: s.RawNs - ev.TimeNs, error: s.RawErrorNs, steady: s.SteadyPpb}
	if last.read && c.sample.read {
		c.sample.gained = c.sample.ahead - last.ahead
	}
}

// realtime carries a CLOCK_REALTIME stamp of the moment timeNs: the distance of the
// two clocks changes only as fast as CLOCK_REALTIME is slewed or stepped.
func (c *codec) realtime(col column, v *int64, timeNs int64) {
	c.i64(col, v, timeNs+c.ahead)
	c.ahead = *v - timeNs
}

// counterModel is a counter of the last Counters.
type counterModel struct {
	name  string
	delta int64
}

// countersMoved carries a list of counters, each predicted as the one at its place in
// the list before: the same repetition moves the same counters.
func (c *codec) countersMoved(ev *synclinev1.Event, m *synclinev1.Counters) {
	c.unknown(m)
	c.i64(colFactValue, &m.SinceNs, ev.TimeNs)
	n := uint64(len(m.Counters))
	c.u64(colFactValue, &n, uint64(len(c.counters)))
	for i := uint64(0); i < n && c.err == nil; i++ {
		if c.decoding {
			m.Counters = append(m.Counters, new(synclinev1.Counter))
		}
		if i == uint64(len(c.counters)) {
			c.counters = append(c.counters, counterModel{})
		}
		c.counter(orEmpty(m.Counters[i]), &c.counters[i])
	}
	if c.err == nil {
		c.counters = c.counters[:n]
	}
}

func (c *codec) counter(m *synclinev1.Counter, last *counterModel) {
	c.unknown(m)
	c.text(colFactText, &m.Name, last.name)
	c.i64(colFactValue, &m.Delta, last.delta)
	*last = counterModel{m.Name, m.Delta}
}

// queueModel is the last accept queue.
type queueModel struct {
	address                 string
	length, limit, requests uint32
}

func (c *codec) acceptQueue(q *synclinev1.Queue) {
	c.unknown(q)
	last := &c.queue
	c.addressText(&q.Address, last.address)
	c.u32(colFactValue, &q.Length, last.length)
	c.u32(colFactValue, &q.Limit, last.limit)
	c.u32(colFactValue, &q.Requests, last.requests)
	*last = queueModel{q.Address, q.Length, q.Limit, q.Requests}
}

// socketModel is the last socket of sock_diag(7).
type socketModel struct {
	local, peer string
	state       uint32
	final       bool
}

func (c *codec) state(s *synclinev1.SocketState) {
	c.unknown(s)
	last := &c.socketState
	c.addressText(&s.LocalAddress, last.local)
	c.addressText(&s.PeerAddress, last.peer)
	c.u32(colFactValue, &s.State, last.state)
	c.flag(colFactValue, &s.Final, last.final)
	*last = socketModel{s.LocalAddress, s.PeerAddress, s.State, s.Final}
}

func (c *codec) change(m *synclinev1.ChangeMade) {
	c.unknown(m)
	c.text(colFactText, &m.Text, "")
	c.text(colFactText, &m.Name, "")
	c.flag(colFactValue, &m.Undone, false)
}

func (c *codec) laneProcess(p *synclinev1.LaneProcess) {
	c.unknown(p)
	c.text(colFactText, &p.Lane, "")
	c.u32(colFactValue, &p.Process, 0)
	c.flag(colFactValue, &p.Gone, false)
	c.u32(colFactValue, &p.Signal, 0)
}
