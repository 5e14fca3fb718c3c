package timeline

import (
	"fmt"
	"slices"

	"syncline/controller/experiment"
)

// gatherTold notes the traces that are of a segment on record.
func (b *ladderer) gatherTold() {
	note := func(s *Segment) {
		for _, moment := range s.Traces {
			b.told[moment] = true
		}
	}
	for ci := range b.t.Connections {
		for si := range b.t.Connections[ci].Segments {
			note(&b.t.Connections[ci].Segments[si])
		}
	}
	for i := range b.t.Others {
		note(&b.t.Others[i].Segment)
	}
}

// telling reports whether a trace tells what nothing else of the ladder does: something
// was sent that no tap saw, a reset counted where no state says so, a socket has an error
// of which no call that was waiting for it learnt.
func (b *ladderer) telling(moment int) bool {
	m := &b.t.Moments[moment]
	tr := m.Event.Trace
	if tr == nil || b.traced[moment] {
		return false
	}
	switch tr.Kind {
	case TraceRetransmit, TraceRetransmitSYNACK, TraceResetSent:
		return !b.told[moment] && m.Connection >= 0
	case TraceResetReceived:
		return m.Connection >= 0 && !b.closes(m)
	case TraceError:
		return m.Connection >= 0 && tr.Errno != 0 && !b.learnt(m)
	}
	return false
}

// closes reports whether the kernel traced that an end of the moment's connection on its
// host came to CLOSED, which is what a reset that counts does.
func (b *ladderer) closes(m *Moment) bool {
	for i := range b.states {
		p := &b.states[i]
		if p.mark.Exact && p.mark.Connection == m.Connection && p.mark.Name == stateClosed && p.mark.Lane == b.lane[m.Event.Host] {
			return true
		}
	}
	return false
}

// failure is an error that a call on a connection gave, at a host.
type failure struct {
	host, connection int
	errno            uint32
}

// learnt reports whether a call that was open then returned the error.
func (b *ladderer) learnt(m *Moment) bool {
	if b.failures == nil {
		b.failures = make(map[failure][]*Event)
		for i := range b.t.Moments {
			if o := &b.t.Moments[i]; o.Edge == Return && o.Event.Call.Errno != 0 {
				of := failure{o.Event.Host, o.Connection, o.Event.Call.Errno}
				b.failures[of] = append(b.failures[of], o.Event)
			}
		}
	}
	return slices.ContainsFunc(b.failures[failure{m.Event.Host, m.Connection, m.Event.Trace.Errno}], func(e *Event) bool {
		return e.At <= m.Local && m.Local <= e.Call.Return
	})
}

// toldText says what a kernel told, of the host whose lane it stands in.
func toldText(tr *Trace) string {
	switch tr.Kind {
	case TraceRetransmit:
		return fmt.Sprintf("sent again in %s, no tap saw it leave", stateText(tr.State))
	case TraceRetransmitSYNACK:
		return "SYN+ACK sent again, no tap saw it leave"
	case TraceResetSent:
		if tr.Reason != "" {
			return "RST sent, no tap saw it leave: " + tr.Reason
		}
		return "RST sent, no tap saw it leave"
	case TraceResetReceived:
		return "RST accepted"
	}
	return "socket error " + experiment.ErrnoName(tr.Errno)
}
