package timeline

import (
	"fmt"
	"slices"
	"strings"

	"syncline/controller/clock"
	"syncline/controller/experiment"
)

// rtt is the round-trip time of a connection, in nanoseconds; doubt says why it is not
// known.
func (tr *trial) rtt(connection int) (l length, doubt string) {
	if connection < 0 {
		return l, "there is no connection whose round-trip time it is measured by"
	}
	c := &tr.t.Connections[connection]
	ns, err, ok := tr.t.RTT(connection)
	if !ok {
		ns, err, ok = tr.refusal(connection)
	}
	if !ok {
		return l, "the round-trip time is not known: no SYN and its answer are on record for " + tr.connectionText(connection)
	}
	touches := gapsOf(Packets, c.Client.Host)
	if cause := tr.causeOf(func(g *gap) bool { return touches(g) && (g.kind == gapLoss || g.kind == gapStep) }); cause != "" {
		return l, "the round-trip time is in doubt: " + cause
	}
	return length{ns - err, ns + err}, ""
}

// refusal is the round-trip time of a connection that was refused: from the departure
// of its only SYN to the arrival of the reset that acknowledges exactly it, RFC 9293
// 3.10.7.1, at the client's own tap.
func (tr *trial) refusal(connection int) (ns, err int64, ok bool) {
	c := &tr.t.Connections[connection]
	from, to := -1, -1
	for i := range c.Segments {
		s := &c.Segments[i]
		p := tr.t.Moments[placeOf(s)].Event.Packet
		switch {
		case s.FromClient && p.Flags&(SYN|ACK) == SYN:
			if from >= 0 || s.Departure < 0 {
				return 0, 0, false
			}
			from = s.Departure
		case !s.FromClient && to < 0 && p.Flags&(RST|ACK) == RST|ACK && c.Client.HasISN && p.Ack == c.Client.ISN+1:
			to = s.Arrival
		}
	}
	if from < 0 || to < 0 {
		return 0, 0, false
	}
	lo, hi := tr.causes.apart(from, to)
	return lo + (hi-lo)/2, (hi - lo + 1) / 2, true
}

// phase judges how long a phase lasted, wherever it is: on every connection of the
// experiment, or on those of one socket, and as often as it came. All must be within
// the limits.
func (tr *trial) phase(e *experiment.PhaseExpectation) Verdict {
	v := Verdict{Ruling: Pass}
	seen, doubt := 0, ""
	for connection := -1; connection < len(tr.t.Connections); connection++ {
		why := tr.doubtOf(connection)
		if why == foreignText {
			continue
		}
		for _, p := range tr.t.Phases(connection) {
			if p.Name != e.Name || !tr.isPhaseOf(&e.Of, connection, &p) {
				continue
			}
			one := tr.onePhase(e, connection, &p)
			if why != "" {
				doubt, one = why, tr.unlessOthers(one, why)
			} else {
				seen++
			}
			if severity(one.Ruling) == severity(v.Ruling) {
				v.Moments = append(v.Moments, one.Moments...)
			}
			v = worse(v, one)
		}
	}
	cause := tr.phaseCause(e)
	switch {
	case seen > 0 && v.Ruling == Pass && cause != "":
		return doubted(v, cause)
	case seen > 0 || v.Ruling != Pass:
		return v
	case doubt != "":
		return doubted(v, doubt)
	}
	tr.empty = true
	what := "no phase " + e.Name
	if e.Of != (experiment.SocketSelector{}) {
		what += " of " + socketSelectorText(&e.Of)
	}
	return tr.absent("selects nothing: "+what, tr.hidden(func(*gap) bool { return true }))
}

// isPhaseOf reports whether a phase is one of a socket. A phase of calls is of the end
// that made them; one between packets is of both.
func (tr *trial) isPhaseOf(sel *experiment.SocketSelector, connection int, p *Phase) bool {
	if *sel == (experiment.SocketSelector{}) {
		return true
	}
	for _, at := range []int{p.From, p.To} {
		if c := tr.t.Moments[at].Event.Call; c != nil {
			return tr.isCallOn(sel, c)
		}
	}
	for _, ref := range tr.endsOf(sel) {
		// A part of a call is of the end that made it.
		if ref.Connection == connection && (p.Whole == "" || ref.End == p.End) {
			return true
		}
	}
	return false
}

// isCallOn reports whether a call worked on a socket, or made it.
func (tr *trial) isCallOn(sel *experiment.SocketSelector, c *Call) bool {
	if sel.Label != "" && c.Label == sel.Label {
		return true
	}
	for _, name := range tr.socketNames(sel) {
		if c.Lane == name.Lane && (c.Socket == name.Socket || c.Makes == name.Socket) {
			return true
		}
	}
	return false
}

// onePhase judges one interval.
func (tr *trial) onePhase(e *experiment.PhaseExpectation, connection int, p *Phase) Verdict {
	l := length{-clock.Unbounded, clock.Unbounded}
	if p.Err < clock.Unbounded {
		l = length{p.Nanoseconds - p.Err, p.Nanoseconds + p.Err}
	}
	tr.causes.dispute(p.From, p.To)
	v := tr.lasted(l, e.Least, e.Most, connection)
	v.Moments = []int{p.From, p.To}
	if v.Ruling != Pass {
		v.Reason = fmt.Sprintf("%s%s took %s", e.Name, tr.phaseOf(connection, p), v.Reason)
	}
	if cause := tr.momentsCause(p.From, p.To); cause != "" && v.Ruling == Fail {
		return doubted(v, cause)
	}
	return v
}

// phaseOf names whose phase it is: the lane of its call, or the connection.
func (tr *trial) phaseOf(connection int, p *Phase) string {
	for _, at := range []int{p.From, p.To} {
		if c := tr.t.Moments[at].Event.Call; c != nil {
			return " of lane " + c.Lane
		}
	}
	return tr.onConnection(connection)
}

// momentsCause is the cause for which an interval may have begun or ended at another
// moment than the record says, or its clocks may have been moved in between.
func (tr *trial) momentsCause(from, to int) string {
	a, b := &tr.t.Moments[from], &tr.t.Moments[to]
	calls := a.Event.Packet == nil && b.Event.Packet == nil
	return tr.causeOf(func(g *gap) bool {
		switch {
		case g.kind == gapStep:
			return stepTouches(g, a, b) || stepTouches(g, b, a)
		case g.kind == gapBusy && calls:
			return false
		}
		return tr.touchesMoment(g, a) || tr.touchesMoment(g, b)
	})
}

func (tr *trial) touchesMoment(g *gap, m *Moment) bool {
	source := Syscalls
	if m.Event.Packet != nil {
		source = Packets
	}
	return gapsOf(source, m.Event.Host)(g)
}

// phaseCause is the cause for which a phase of this name may be missing from the
// record, or be another than it seems.
func (tr *trial) phaseCause(e *experiment.PhaseExpectation) string {
	call, blocked := strings.CutSuffix(e.Name, ".blocked")
	var hosts []int
	for i := range tr.exp.Lanes {
		lane := &tr.exp.Lanes[i]
		if !blocked || slices.ContainsFunc(lane.Steps, func(s experiment.Step) bool { return strings.HasPrefix(s.Call, call) }) {
			hosts = append(hosts, tr.lanes[lane.Name])
		}
	}
	calls, packets := gapsOf(Syscalls, hosts...), gapsOf(Packets)
	return tr.causeOf(func(g *gap) bool {
		if blocked {
			return calls(g) && g.kind != gapBusy && g.kind != gapStep
		}
		return calls(g) || packets(g)
	})
}
