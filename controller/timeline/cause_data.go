package timeline

import (
	"sort"
	"strings"
)

// written is a call that gave bytes to a socket.
type written struct {
	callSpan
	// from is the number of its first byte in the stream, to that after its last: the first
	// byte of a stream has number 1, as behind a SYN.
	from, to uint32
}

// writesOf are the calls that gave data to the end's socket.
func (v *endView) writesOf() []written {
	next := uint32(1)
	var all []written
	for _, s := range v.calls {
		if s.named("send", "sendto") && s.call.Result > 0 && s.enter >= 0 {
			all = append(all, written{s, next, next + uint32(s.call.Result)})
			next += uint32(s.call.Result)
		}
	}
	return all
}

// carries reports whether a flag is among the arguments of a call.
func (s *callSpan) carries(flag string) bool { return strings.Contains(s.call.Arguments, flag) }

// writeOf is the call that gave the last byte of a segment, nil if none on record did.
func (w *sender) writeOf(s *tapped) *written {
	if !w.own.HasISN {
		return nil
	}
	last := s.p.Seq - w.own.ISN + uint32(s.p.PayloadLength) - 1
	i := sort.Search(len(w.writes), func(i int) bool { return w.writes[i].to > last })
	if i == len(w.writes) || last < w.writes[i].from {
		return nil
	}
	return &w.writes[i]
}

// data finds why a segment with new data left.
func (w *sender) data(s *tapped) Cause {
	write := w.writeOf(s)
	if write == nil {
		return w.dataOfNoCall(s)
	}
	if may, _ := w.c.mayCause(write.enter, s.moment); !may {
		return none(s.moment, "the bytes are those of a send() that was entered later")
	}
	in := w.in(-1)
	if in != nil && in.moment < write.enter {
		in = nil
	}
	before := w.beforeSince(write.enter, func(o *tapped) bool { return o.p.PayloadLength > 0 })
	running := write.leave < 0 || write.leave > s.moment
	switch {
	case in == nil && before == nil, in == nil && running:
		return w.heldBack(write, s)
	case in != nil && in.has(SYN):
		return w.c.by(ruleEstablished, in.moment, s.moment)
	case before != nil && (in == nil || before.moment > in.moment):
		return w.follows(before, write, s)
	case !running && write.leave < in.moment:
		return w.released(in, s)
	case before == nil && w.c.since(write.enter, in.moment) < soon:
		return w.heldBack(write, s)
	}
	return w.released(in, s)
}

// heldBack is the cause of data that nothing released but the call itself, or the end of
// what held them back.
func (w *sender) heldBack(write *written, s *tapped) Cause {
	late := write.leave >= 0 && w.c.since(write.leave, s.moment) > soon
	push := w.lastCallSince(write.enter, s.moment, func(k *callSpan) bool {
		return k.option("TCP_CORK") || k.option("TCP_NODELAY")
	})
	switch {
	case push != nil && (write.leave < 0 || push.enter > write.leave):
		return w.c.by(rulePush, push.enter, s.moment)
	case late && w.window == 0:
		return w.c.by(ruleProbe, w.sights[w.inAt].moment, s.moment)
	case late:
		return w.c.by(ruleCorkTimer, write.enter, s.moment)
	}
	return w.waited(w.c.by(ruleSend, write.enter, s.moment).observed())
}

// follows is the cause of data that left behind others of the same flight.
func (w *sender) follows(before *tapped, write *written, s *tapped) Cause {
	k := w.sent[before.moment]
	switch {
	case k.By == write.enter:
		return w.c.by(ruleSend, write.enter, s.moment).observed()
	case w.c.since(before.moment, s.moment) > soon:
		return w.heldBack(write, s)
	}
	return w.c.by(ruleQueued, before.moment, s.moment)
}

// released is the cause of data that an acknowledgment made room for.
func (w *sender) released(in, s *tapped) Cause {
	if w.c.since(in.moment, s.moment) > 2*soon {
		return w.c.by(ruleCorkTimer, in.moment, s.moment)
	}
	rule := ruleRelease
	all := w.hasUna && w.hasNext && w.una == w.next
	switch {
	case w.windowBefore == 0 && w.window > 0:
		rule = ruleWindowOpens
	case all && s.p.PayloadLength < w.largest()-len(s.p.Options) && w.wasOutstanding(in):
		rule = ruleNagle
	}
	return w.c.by(rule, in.moment, s.moment)
}

// largest is the payload of the largest segment that the peer takes, by the MSS of its SYN,
// RFC 9293 3.7.1; 536 if it gave none.
func (w *sender) largest() int {
	const usual = 536
	for i := range w.sights {
		s := &w.sights[i]
		if s.out || !s.has(SYN) {
			continue
		}
		if data, ok := optionOf(s.p.Options, optionMSS); ok && len(data) == 2 {
			return int(data[0])<<8 | int(data[1])
		}
	}
	return usual
}

// wasOutstanding reports whether a packet that came acknowledges something new.
func (w *sender) wasOutstanding(in *tapped) bool {
	sent := w.before(func(o *tapped) bool { return o.moment < in.moment && sequenceLength(o.p) > 0 && !o.has(SYN) })
	return sent != nil && in.has(ACK) && int32(in.p.Ack-sent.p.Seq) > 0
}

// dataOfNoCall is the cause of data that no call on record wrote.
func (w *sender) dataOfNoCall(s *tapped) Cause {
	if in := w.in(w.outAt); !w.own.HasISN && in != nil && w.c.since(in.moment, s.moment) < soon {
		// Which bytes these are nobody knows.
		return w.c.by(ruleRelease, in.moment, s.moment)
	}
	return none(s.moment, w.noCall("send()"))
}

// again finds why a segment was sent again.
func (w *sender) again(s *tapped) Cause {
	before := w.before(func(o *tapped) bool {
		n := sequenceLength(o.p)
		return n > 0 && s.p.Seq-o.p.Seq < n
	})
	if before == nil {
		return none(s.moment, "it is sent again, and the time before is not on record")
	}
	k := w.againAfter(before, s)
	if w.told(s, TraceRetransmit, TraceRetransmitSYNACK) != nil {
		k = k.observed()
	}
	return k
}

func (w *sender) againAfter(before, s *tapped) Cause {
	for _, i := range w.icmp {
		if i > before.moment && i < s.moment && isTooBig(w.c.t.Moments[i].Event.Packet) && w.c.since(i, s.moment) < soon {
			return w.c.by(ruleSmaller, i, s.moment)
		}
	}
	in := w.in(-1)
	if in != nil && in.moment < before.moment {
		in = nil
	}
	switch {
	case in != nil && before.has(SYN) && in.has(SYN|ACK):
		return w.c.by(ruleFallback, in.moment, s.moment)
	case in != nil && in.has(ACK) && w.c.since(in.moment, s.moment) < soon/2 && !w.isCoincidence(before, in, s):
		if in.p.Ack == s.p.Seq && w.repeats(in) {
			return w.c.by(ruleFast, in.moment, s.moment)
		}
		return w.c.by(ruleRecovery, in.moment, s.moment)
	}
	rule := ruleRTO
	if s.s.Copy == 1 && w.early(before, s) {
		rule = ruleProbeLoss
	}
	return w.c.by(rule, before.moment, s.moment)
}

// isCoincidence reports whether a packet that came shortly before a retransmission cannot have
// set it off: it acknowledges nothing new, repeats nothing and came once.
func (w *sender) isCoincidence(before, in, s *tapped) bool {
	return in.p.PayloadLength > 0 && !acks(in.p, before.p.Seq) && !w.repeats(in)
}

// repeats reports whether an acknowledgment says again what one before it said, or lists
// what came beyond a gap (RFC 2018).
func (w *sender) repeats(in *tapped) bool {
	if _, ok := optionOf(in.p.Options, optionSACK); ok {
		return true
	}
	other := w.lastIn(in.moment, func(*tapped) bool { return true })
	return other != nil && other.has(ACK) && other.p.Ack == in.p.Ack && in.p.PayloadLength == 0 && other.p.Window == in.p.Window
}

// isTooBig reports whether an ICMP error asks for smaller packets.
func isTooBig(p *Packet) bool {
	return p.Protocol == ProtocolICMP && p.ICMPType == icmpUnreachable && p.ICMPCode == icmpFragmentation ||
		p.Protocol == ProtocolICMPv6 && p.ICMPType == icmp6TooBig
}
