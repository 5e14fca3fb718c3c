package chunk

import synclinev1 "syncline/proto/syncline/v1"

// probeShape tells sights of probes apart by what repeats: who the other host is, which
// way the datagram went, and on which path.
type probeShape struct {
	peer      string
	path      synclinev1.ProbePath
	direction synclinev1.Direction
	reply     bool
}

// probeModel is the last sight of a shape.
type probeModel struct {
	exchange uint64
	// stride is by how much its exchange was above that of the one before: an agent that
	// asks several peers in turn numbers them through.
	stride   uint64
	origin   synclinev1.StampOrigin
	error    int64
	realtime bool
}

// probeStep is what came after a shape when it was last seen, and how long after it.
type probeStep struct {
	shape probeShape
	gap   int64
}

// probe carries a sight of a clock probe. Agents probe by turns, so the shape is
// predicted as what last followed the one before it, and so is the time in between:
// a round trip, the time at the answering host, or the rest of the period.
func (c *codec) probe(ev *synclinev1.Event, p *synclinev1.Probe) {
	c.unknown(p)
	next := c.probeSteps[c.probed]
	c.i64(colProbeTime, &ev.TimeNs, c.probeTime+next.gap)
	c.text(colProbePeer, &p.Peer, next.shape.peer)
	i32(c, colProbePath, &p.Path, next.shape.path)
	i32(c, colProbeDirection, &p.Direction, next.shape.direction)
	c.flag(colProbeReply, &p.Reply, next.shape.reply)

	shape := probeShape{utf8Text(p.Peer), p.Path, p.Direction, p.Reply}
	c.probeSteps[c.probed] = probeStep{shape, ev.TimeNs - c.probeTime}
	c.probed, c.probeTime = shape, ev.TimeNs
	last := c.probes[shape]
	if last == nil {
		last = &probeModel{realtime: true, origin: synclinev1.StampOrigin_STAMP_ORIGIN_KERNEL}
		c.probes[shape] = last
	}
	exchange := last.exchange
	c.u64(colProbeExchange, &p.Exchange, exchange+last.stride)
	i32(c, colProbeOrigin, &p.Origin, last.origin)
	c.probeRealtime(ev, p, last.realtime)
	c.i64(colProbeError, &p.ErrorNs, last.error)
	*last = probeModel{
		exchange: p.Exchange, stride: p.Exchange - exchange, origin: p.Origin, error: p.ErrorNs, realtime: p.RealtimeNs != 0,
	}
}

// probeRealtime carries the stamp itself, 0 if it is not of CLOCK_REALTIME.
func (c *codec) probeRealtime(ev *synclinev1.Event, p *synclinev1.Probe, realtime bool) {
	var predicted int64
	if realtime {
		predicted = ev.TimeNs + c.ahead
	}
	c.i64(colProbeRealtime, &p.RealtimeNs, predicted)
	if p.RealtimeNs != 0 {
		c.ahead = p.RealtimeNs - ev.TimeNs
	}
}
