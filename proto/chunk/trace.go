package chunk

import (
	"strings"

	synclinev1 "syncline/proto/syncline/v1"
)

// traceShape tells traces apart by what they say, whatever socket they are about.
type traceShape struct {
	kind            synclinev1.TraceKind
	oldState, state uint32
}

// tracedSocket is what the last trace of a socket said.
type tracedSocket struct {
	cookie      uint64
	shape       traceShape
	local, peer string
	// Of the last segment that a trace was about.
	sequence, acknowledgment uint32
}

// traceModel is the last trace of a shape.
type traceModel struct {
	local, peer   string
	errno         uint32
	reason, place string
	// segment says that it was about one.
	segment                 bool
	flags, length, protocol uint32
	direction               synclinev1.Direction
}

// trace carries what the kernel said at a tracepoint. Sockets of one role go through the
// same traces, so the shape of a trace is predicted as what last followed the one before
// it of its socket.
func (c *codec) trace(ev *synclinev1.Event, t *synclinev1.Trace) {
	c.unknown(t)
	c.i64(colTraceTime, &ev.TimeNs, c.traceTime)
	c.traceTime = ev.TimeNs
	s := c.tracedSocket(t)
	if s == nil {
		return
	}
	next := c.followers[s.shape]
	i32(c, colTraceKind, &t.Kind, next.kind)
	c.u32(colTraceOldState, &t.OldState, next.oldState)
	c.u32(colTraceState, &t.State, next.state)
	shape := traceShape{t.Kind, t.OldState, t.State}
	c.followers[s.shape] = shape
	s.shape = shape
	last := c.traceShapes[shape]
	if last == nil {
		last = new(traceModel)
		c.traceShapes[shape] = last
	}
	c.addressText(&t.LocalAddress, tracedAddress(s.local, last.local))
	c.addressText(&t.PeerAddress, tracedAddress(s.peer, last.peer))
	s.local, s.peer = t.LocalAddress, t.PeerAddress
	c.u32(colTraceErrno, &t.Errno, last.errno)
	c.text(colTraceReason, &t.Reason, last.reason)
	c.text(colTracePlace, &t.Place, last.place)
	c.segment(t, s, last)
	i32(c, colTraceDirection, &t.Direction, last.direction)
	*last = traceModel{
		local: t.LocalAddress, peer: t.PeerAddress, errno: t.Errno, reason: t.Reason, place: t.Place,
		segment: t.Sequence != 0 || t.Acknowledgment != 0,
		flags:   t.Flags, length: t.PayloadLength, protocol: t.Protocol, direction: t.Direction,
	}
}

// segment carries the segment that a trace is about, if its kind has one.
func (c *codec) segment(t *synclinev1.Trace, s *tracedSocket, last *traceModel) {
	var sequence, acknowledgment uint32
	if last.segment {
		sequence, acknowledgment = s.sequence, s.acknowledgment
	}
	c.u32(colTraceSequence, &t.Sequence, sequence)
	c.u32(colTraceAck, &t.Acknowledgment, acknowledgment)
	c.u32(colTraceFlags, &t.Flags, last.flags)
	c.u32(colTraceLength, &t.PayloadLength, last.length)
	c.u32(colTraceProtocol, &t.Protocol, last.protocol)
	if t.Sequence != 0 || t.Acknowledgment != 0 {
		s.sequence, s.acknowledgment = t.Sequence, t.Acknowledgment
	}
}

// tracedAddress is what an address is expected to be: that of the socket's last trace,
// unless the socket had none or only a part of it, a port of 0. Then it is like that of
// another socket at this point.
func tracedAddress(own, other string) string {
	if own == "" || strings.HasSuffix(own, ":0") {
		return other
	}
	return own
}

// tracedSocket carries the cookie of a trace: how many sockets ago it was first told of,
// from 1, or 0 and the cookie of one that is new. Cookies are given out upwards. It
// returns nil after an error.
func (c *codec) tracedSocket(t *synclinev1.Trace) *tracedSocket {
	newest := uint64(len(c.traced))
	var back uint64
	if !c.decoding {
		if i, ok := c.tracedIndex[t.Cookie]; ok {
			back = newest - i
		}
	}
	back = c.raw(colTraceSocket, back)
	switch {
	case back > newest:
		c.fail("a trace of socket %d of %d", back, newest)
		return nil
	case back == 0:
		c.u64(colTraceCookie, &t.Cookie, c.cookie+1)
		c.cookie = t.Cookie
		if !c.decoding {
			c.tracedIndex[t.Cookie] = newest
		}
		c.traced = append(c.traced, tracedSocket{cookie: t.Cookie})
		return &c.traced[newest]
	}
	s := &c.traced[newest-back]
	t.Cookie = s.cookie
	return s
}
