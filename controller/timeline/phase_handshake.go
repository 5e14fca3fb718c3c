package timeline

import (
	"slices"
	"strings"
)

// handshake finds the phases of opening: RFC 9293 3.5.
func (f *phaseFinder) handshake() {
	c := &f.t.Connections[f.connection]
	for _, p := range f.connects() {
		f.phases = append(f.phases, p.Parts...)
	}
	enter, leave := f.call(ClientEnd, isConnect)
	syn := f.first(ClientEnd, true, -1, hasFlags(SYN|ACK, SYN))
	if enter >= 0 && syn > enter {
		f.addUnlessPart("connect.syn_out", ClientEnd, enter, syn)
	}
	from, to := f.t.answeredSYN(c)
	f.addUnlessPart("connect.rtt", ClientEnd, from, to)
	f.refused(c)
	if last := f.last(ClientEnd, hasFlags(SYN|ACK, SYN)); last != syn {
		f.add("syn.retrying", ClientEnd, syn, last)
	}
	third := f.third(c)
	f.add("handshake.server", ServerEnd, f.first(ServerEnd, false, -1, hasFlags(SYN|ACK, SYN)), third)
	f.accepted(third)
	if leave >= 0 && succeeded(f.t.Moments[leave].Event.Call) {
		data := f.first(ClientEnd, false, leave, func(p *Packet) bool { return p.PayloadLength > 0 })
		f.add("first_byte", ClientEnd, leave, data)
	}
}

// addUnlessPart notes a phase that may be there already, as a part of a connect.
func (f *phaseFinder) addUnlessPart(name string, end, from, to int) {
	if !slices.ContainsFunc(f.phases, func(p Phase) bool { return p.Name == name && p.From == from && p.To == to }) {
		f.add(name, end, from, to)
	}
}

// refused finds how long a refusal took: from the client's only SYN to the reset that
// acknowledges exactly it, RFC 9293 3.10.7.1.
func (f *phaseFinder) refused(c *Connection) {
	syns := f.segments(ClientEnd, true, hasFlags(SYN|ACK, SYN))
	refusal := f.first(ClientEnd, false, -1, func(p *Packet) bool {
		return p.Flags&(RST|ACK|SYN) == RST|ACK && c.Client.HasISN && !c.Server.HasISN && p.Ack == c.Client.ISN+1
	})
	if refusal < 0 {
		return
	}
	sent := -1
	for _, s := range syns {
		if s.Departure < refusal {
			sent = s.Departure
		}
	}
	if len(syns) == 1 {
		f.addUnlessPart("connect.refused", ClientEnd, sent, refusal)
	}
}

// accepted finds the phases of the accept(2) that took the connection: what it waited for
// the connection, or the connection for it. third is the moment at which the connection was
// complete, -1 if that is not on record.
func (f *phaseFinder) accepted(third int) {
	enter, leave := f.call(ServerEnd, func(c *Call) bool { return isAccept(c) && succeeded(c) })
	if third < 0 || leave <= third {
		return
	}
	f.add("accept.wait", ServerEnd, third, leave)
	if enter < 0 {
		return
	}
	part := func(name, whole string, from, to int) {
		p := f.phase(name, ServerEnd, from, to)
		p.Whole = whole
		f.phases = append(f.phases, p)
	}
	if enter > third {
		part("accept.queued", "accept.wait", third, enter)
		part("accept.wakeup", "accept.wait", enter, leave)
		return
	}
	part("accept.idle", "accept.blocked", enter, third)
	part("accept.wakeup", "accept.blocked", third, leave)
}

// third is the arrival of the ACK that completed the handshake, -1 if none is on
// record: the moment at which the server became ESTABLISHED.
func (f *phaseFinder) third(c *Connection) int {
	for _, s := range c.Server.States {
		switch {
		case s.Name != stateEstablished || s.Moment < 0:
		case f.t.Moments[s.Moment].Event.Packet != nil:
			return s.Moment
		case s.exact():
			return f.thirdBefore(c, s.Moment)
		}
	}
	if len(c.Server.States) > 0 || !c.Server.HasISN {
		return -1
	}
	return f.first(ServerEnd, false, -1, func(p *Packet) bool {
		return p.Flags&(SYN|RST|ACK) == ACK && p.Ack == c.Server.ISN+1
	})
}

// thirdBefore is the third ACK where the moment is traced at which TCP took it. What had
// come before the last SYN+ACK left was not taken; a listener that waits for data
// (TCP_DEFER_ACCEPT) does not take a bare one.
func (f *phaseFinder) thirdBefore(c *Connection, taken int) int {
	if !c.Server.HasISN {
		return -1
	}
	sent := -1
	for next := sent; ; sent = next {
		if next = f.first(ServerEnd, true, sent, hasFlags(SYN|ACK, SYN|ACK)); next < 0 || next > taken {
			break
		}
	}
	covers := func(p *Packet) bool { return p.Flags&(RST|ACK) == ACK && int32(p.Ack-c.Server.ISN) >= 1 }
	came := f.first(ServerEnd, false, sent, covers)
	full := f.first(ServerEnd, false, sent, func(p *Packet) bool { return covers(p) && sequenceLength(p) > 0 })
	if full > came && full < taken && f.waitsForData(c.Server.Host) {
		came = full
	}
	if came > taken {
		return -1
	}
	return came
}

// waitsForData reports whether a listener of a host has TCP_DEFER_ACCEPT.
func (f *phaseFinder) waitsForData(host int) bool {
	if f.memory.deferring == nil {
		f.memory.deferring = make(map[int]bool)
		for i := range f.t.Moments {
			e := f.t.Moments[i].Event
			if c := e.Call; c != nil && c.Name == "setsockopt" && c.Errno == 0 && strings.Contains(c.Arguments, "TCP_DEFER_ACCEPT") {
				f.memory.deferring[e.Host] = true
			}
		}
	}
	return f.memory.deferring[host]
}

// last is the last moment at which an end's tap saw a packet leave that fits.
func (f *phaseFinder) last(end int, fits func(*Packet) bool) int {
	found := -1
	for {
		next := f.first(end, true, found, fits)
		if next < 0 {
			return found
		}
		found = next
	}
}
