package timeline

import (
	"fmt"
	"slices"
	"strings"

	"syncline/controller/experiment"
)

// findBlocked finds the calls that had to wait, and what let each return.
//
// A call had to wait if its result was not to be had when it was entered: what brought the
// result about lies between its entry and its return, or the lab, a signal or a time-out
// ended it. Where nothing on record says either, it did if it took longer than any call
// takes for its own work (atOnce).
func (c *Causality) findBlocked() {
	for h := range c.hosts {
		for i := range c.hosts[h].calls {
			s := &c.hosts[h].calls[i]
			if s.leave < 0 || !s.mayWait() {
				continue
			}
			w := &wait{c: c, host: h, s: s, took: int64(s.call.Return - c.t.Moments[s.leave].Event.At)}
			if ref, ok := c.endOf(s); ok {
				w.v = c.ends[ref.Connection][ref.End]
			}
			k, waited := w.find()
			if !waited {
				continue
			}
			c.note(k)
			c.Blocked = append(c.Blocked, BlockedCall{Enter: s.enter, Nanoseconds: w.took, Lab: ofLab(s.call), Cause: k})
		}
	}
	sortBlocked(c.Blocked)
}

// mayWait reports whether a call is one of those that can wait for somebody else.
func (s *callSpan) mayWait() bool {
	return s.named("connect", "accept", "recv", "recvfrom", "send", "sendto", "poll", "wait", "meet", "close")
}

// wait is one call that may have had to wait.
type wait struct {
	c    *Causality
	host int
	s    *callSpan
	// v is the end that it worked on, nil if it is none's.
	v    *endView
	took int64
}

// find finds what let the call return; waited is false if it did not have to wait.
func (w *wait) find() (k Cause, waited bool) {
	s := w.s
	switch s.call.EndedBy {
	case EndedByTimeout:
		return w.timer(ruleLabTimeout).observed(), true
	case EndedByCancel:
		return w.c.by(ruleLabCancel, -1, s.leave), true
	case EndedByDeath:
		return w.killed(), true
	}
	var by Cause
	switch s.call.Name {
	case "connect":
		by = w.connect()
	case "accept":
		by = w.accept()
	case "recv", "recvfrom":
		by = w.recv()
	case "send", "sendto":
		by = w.send()
	case "close":
		return w.lingers()
	case "poll":
		by = w.poll()
	case "wait":
		by = w.lab()
	case "meet":
		by = w.meet()
	}
	switch {
	case by.Rule != nil:
		return by, true
	case w.took >= atOnce && by.Why != wasThere:
		return none(s.leave, by.Why), true
	}
	return Cause{}, false
}

// wasThere is said of a call whose result was there when it was entered: then it did not wait,
// however long it took.
const wasThere = "what it asked for was there"

func isReady() Cause { return Cause{Why: wasThere} }

// timer is a rule of a timer that ran from the entry of the call.
func (w *wait) timer(rule *Rule) Cause { return w.c.by(rule, w.s.enter, w.s.leave) }

// came is a rule of a packet that came while the call ran.
func (w *wait) came(rule *Rule, in *tapped) Cause {
	k := w.c.by(rule, in.moment, w.s.leave)
	if w.woken(in.moment) {
		return k.observed()
	}
	return k
}

// woken reports whether the kernel said that who waits for the socket is woken, between a
// moment and the return of the call.
func (w *wait) woken(since int) bool {
	if w.v == nil {
		return false
	}
	for _, i := range w.v.traces {
		if tr := w.c.t.Moments[i].Event.Trace; tr.Kind == TraceReady && i > since && w.c.notAfter(i, w.s.leave) {
			return true
		}
	}
	return false
}

func (w *wait) killed() Cause {
	s := w.s
	kill := w.c.lastCall(w.c.hosts[w.host].calls, s.leave, func(k *callSpan) bool {
		return k.named("kill") && strings.HasPrefix(k.call.Arguments, s.call.Lane)
	})
	if kill != nil {
		return w.c.by(ruleKilled, kill.enter, s.leave).observed()
	}
	return w.c.by(ruleKilled, -1, s.leave)
}

// error is what ended a call on a connection that failed, by its errno: the zero value if that
// says nothing of waiting.
func (w *wait) error() Cause {
	switch experiment.ErrnoName(w.s.call.Errno) {
	case "ECONNREFUSED", "ECONNRESET", "EPIPE", "ECONNABORTED":
		if in := w.firstIn(func(s *tapped) bool { return s.has(RST) }); in != nil {
			rule := ruleResetEnds
			if w.s.named("connect") {
				rule = ruleRefused
			}
			return w.came(rule, in).observed()
		}
		return w.icmp()
	case "EHOSTUNREACH", "ENETUNREACH", "EACCES", "EPROTO", "ENOPROTOOPT", "EOPNOTSUPP", "EMSGSIZE":
		if k := w.icmp(); k.Rule != nil {
			return k
		}
		return w.noNeighbour()
	case "ETIMEDOUT":
		return w.gaveUp()
	case "EAGAIN", "EINPROGRESS":
		if w.took >= atOnce {
			return w.timer(ruleSocketTimeout)
		}
	}
	return Cause{}
}

// firstIn is the first packet that came to the call's end while it ran, and that fits; nil if
// there is none.
func (w *wait) firstIn(fits func(*tapped) bool) *tapped {
	if w.v == nil {
		return nil
	}
	if all := w.v.within(w.s, fits); len(all) > 0 {
		return all[0]
	}
	return nil
}

// icmp is an ICMP error that came while the call ran, about what its end sent.
func (w *wait) icmp() Cause {
	if w.v == nil {
		return Cause{}
	}
	// One that comes while the socket is in use is kept as what to report later; the last ends
	// the call.
	for _, i := range slices.Backward(w.v.icmp) {
		if i > w.s.enter && w.c.notAfter(i, w.s.leave) {
			return w.c.by(ruleICMPEnds, i, w.s.leave)
		}
	}
	return Cause{}
}

// noNeighbour is the last question for a link address that nobody answered, while the call ran.
func (w *wait) noNeighbour() Cause {
	for _, i := range slices.Backward(w.c.hosts[w.host].packets) {
		p := w.c.t.Moments[i].Event.Packet
		if i > w.s.enter && i < w.s.leave && p.Direction == Out && asked(p).IsValid() {
			return w.c.by(ruleNoNeighbour, i, w.s.leave)
		}
	}
	return Cause{}
}

// gaveUp is the last packet that an end sent in vain before its call told of it.
func (w *wait) gaveUp() Cause {
	if w.v == nil {
		return w.timer(ruleTimeoutEnds)
	}
	last := w.v.last(w.s.leave, func(s *tapped) bool { return s.out && !s.has(RST) })
	switch {
	case last == nil || last.moment < w.s.enter && w.s.named("connect"):
		// The SYN never left: it waited for its neighbour, or something kept it.
		return w.timer(ruleConnectTimeout)
	case w.s.named("connect"):
		return w.c.by(ruleConnectTimeout, last.moment, w.s.leave)
	}
	return w.c.by(ruleTimeoutEnds, last.moment, w.s.leave)
}

func (w *wait) connect() Cause {
	switch {
	case w.s.call.Errno != 0:
		return w.error()
	case w.v == nil:
		return w.local()
	}
	if !w.v.own.HasISN {
		return Cause{}
	}
	all := w.v.within(w.s, func(s *tapped) bool { return s.has(ACK) && !s.has(RST) && acks(s.p, w.v.own.ISN) })
	if len(all) == 0 {
		return Cause{}
	}
	in := all[0]
	if at := w.v.own.established(); at >= 0 {
		// Where the SYNs crossed, more than one acknowledges ours.
		for _, s := range all {
			if s.moment < at {
				in = s
			}
		}
	}
	return w.came(ruleConnected, in).observed()
}

// established is the moment at which the kernel traced that an end came to ESTABLISHED, -1 if
// it did not.
func (e *End) established() int {
	for i := range e.States {
		if s := &e.States[i]; s.Name == stateEstablished && s.exact() {
			return s.Moment
		}
	}
	return -1
}

func (w *wait) accept() Cause {
	switch {
	case w.s.call.Errno != 0:
		return w.acceptError()
	case w.v == nil:
		return w.local()
	}
	in, rule := w.completing()
	switch {
	case in == nil:
		return Cause{Why: "what completed the handshake is not on record"}
	case w.s.enter >= 0 && in.moment < w.s.enter:
		return isReady()
	}
	return w.came(rule, in).observed()
}

// completing is the packet that put the connection of an accept(2) into the queue.
func (w *wait) completing() (*tapped, *Rule) {
	established := w.v.own.established()
	if !w.v.own.HasISN {
		return nil, nil
	}
	var found *tapped
	isn := w.v.own.ISN
	sent := false
	for i := range w.v.sights {
		s := &w.v.sights[i]
		if s.moment > w.s.leave && !w.c.notAfter(s.moment, w.s.leave) {
			break
		}
		sent = sent || s.out && s.has(SYN|ACK)
		if s.out || !sent || s.p.Flags&(ACK|RST|SYN) != ACK || !acks(s.p, isn) {
			continue
		}
		if found == nil || established >= 0 && s.moment < established {
			found = s
		}
		if established < 0 || s.moment > established {
			break
		}
	}
	rule := ruleAccepted
	if found != nil && found.p.PayloadLength > 0 && w.v.option("TCP_DEFER_ACCEPT", found.moment) != nil {
		rule = ruleAcceptedData
	}
	// With a Fast Open cookie the SYN itself was enough.
	syn := w.v.last(w.s.leave, func(s *tapped) bool { return !s.out && s.p.Flags&(SYN|ACK) == SYN })
	if syn != nil && syn.p.PayloadLength > 0 && (found == nil || !w.c.notAfter(found.moment, w.s.leave)) {
		return syn, ruleAcceptedEarly
	}
	if syn != nil && syn.p.PayloadLength > 0 && w.synTaken(syn) {
		return syn, ruleAcceptedEarly
	}
	return found, rule
}

// synTaken reports whether the server acknowledged the data of a SYN with its SYN+ACK.
func (w *wait) synTaken(syn *tapped) bool {
	answer := func(s *tapped) bool { return s.out && s.has(SYN|ACK) && acks(s.p, syn.p.Seq+1) }
	for i := range w.v.sights {
		if answer(&w.v.sights[i]) {
			return true
		}
	}
	return false
}

// acceptError is what ended an accept(2) that gave no connection.
func (w *wait) acceptError() Cause {
	s := w.s
	if other := w.c.lastCall(w.c.hosts[w.host].calls, s.leave, func(k *callSpan) bool {
		return k.enter > s.enter && k.named("shutdown", "close") && k.call.Lane != s.call.Lane
	}); other != nil {
		return w.c.by(ruleListenerShut, other.enter, s.leave)
	}
	return w.error()
}

func (w *wait) recv() Cause {
	s := w.s
	switch {
	case w.v == nil:
		return w.datagram()
	case s.call.Errno != 0:
		return w.error()
	case s.call.Result == 0:
		return w.readEnd()
	}
	return w.readData()
}

func (w *wait) readEnd() Cause {
	fin := func(s *tapped) bool { return s.has(FIN) }
	if in := w.firstIn(fin); in != nil {
		return w.came(ruleReadEnd, in).observed()
	}
	if w.s.enter >= 0 && w.v.lastIn(w.s.enter, fin) != nil {
		return isReady()
	}
	if in := w.firstIn(func(s *tapped) bool { return isDataFIN(s.p) }); in != nil {
		return w.came(ruleReadEndMPTCP, in)
	}
	other := w.c.lastCall(w.c.hosts[w.host].calls, w.s.leave, func(k *callSpan) bool {
		return k.named("shutdown") && k.enter > w.s.enter && strings.Contains(k.call.Arguments, "RD") && w.v.own.named(k.call.Lane, k.call.Socket)
	})
	switch {
	case other != nil:
		return w.c.by(ruleReadShut, other.enter, w.s.leave)
	case w.v.lastCall(w.s.enter, func(k *callSpan) bool { return k.named("shutdown") && k.carries("RD") }) != nil:
		return isReady()
	}
	if in := w.firstIn(func(s *tapped) bool { return s.has(RST) }); in != nil {
		return w.came(ruleResetEnds, in)
	}
	return Cause{}
}

// isDataFIN reports whether a segment ends the data of MPTCP, RFC 8684 3.3.
func isDataFIN(p *Packet) bool {
	const sequenceSignal, fin = 2, 0x10
	data, ok := optionOf(p.Options, optionMPTCP)
	return ok && len(data) > 1 && data[0]>>4 == sequenceSignal && data[1]&fin != 0
}

// readData finds the packet with the bytes that the call waited for.
func (w *wait) readData() Cause {
	data := w.v.within(w.s, func(s *tapped) bool {
		return s.p.PayloadLength > 0 && !s.has(SYN) || s.has(SYN) && s.p.PayloadLength > 0
	})
	if len(data) == 0 {
		if w.s.enter >= 0 && w.v.unread(w.s.enter) > 0 {
			return isReady()
		}
		return Cause{}
	}
	before := int64(0)
	if w.s.enter >= 0 {
		before = w.v.unread(w.s.enter)
	}
	all := w.s.carries("MSG_WAITALL")
	switch {
	case all && before >= w.s.call.Result, !all && before > 0:
		return isReady()
	case all:
		return w.came(ruleReadAll, data[len(data)-1]).observed()
	}
	return w.came(ruleRead, data[0]).observed()
}

// datagram is what a recv on a socket that is no TCP waited for.
func (w *wait) datagram() Cause {
	s := w.s
	port := plain(s.call.Local).Port()
	for _, i := range w.c.hosts[w.host].packets {
		if s.enter >= 0 && i < s.enter || !w.c.notAfter(i, s.leave) {
			continue
		}
		p := w.c.t.Moments[i].Event.Packet
		switch {
		case p.Direction != In || p.ARP != 0:
		case s.call.Errno != 0 && p.isICMPError():
			return w.c.by(ruleICMPEnds, i, s.leave).observed()
		case s.call.Errno == 0 && p.Protocol == ProtocolUDP && (port == 0 || p.Destination.Port() == port):
			return w.c.by(ruleDatagramCame, i, s.leave).observed()
		case s.call.Errno == 0 && port == 0 && (isEcho(p) || isEchoReply(p)):
			return w.c.by(ruleDatagramCame, i, s.leave).observed()
		}
	}
	return w.local()
}

// local is the call at the other end of a local socket that let this one return: such sockets
// send no packets.
func (w *wait) local() Cause {
	s := w.s
	other := w.c.lastCall(w.c.hosts[w.host].calls, s.leave, func(k *callSpan) bool {
		return k.call.Lane != s.call.Lane && k.named("connect", "accept", "send", "sendto", "close", "shutdown") && k.enter > s.enter
	})
	if other == nil || !w.isUnix(s.call) {
		return Cause{}
	}
	return w.c.by(ruleLocalPeer, other.enter, s.leave)
}

// isUnix reports whether a call works on a local socket: one without an address of IP, in a
// lane that made one.
func (w *wait) isUnix(call *Call) bool {
	if call.Local.IsValid() || call.Peer.IsValid() {
		return false
	}
	for _, k := range w.c.hosts[w.host].calls {
		if k.named("socket") && k.call.Lane == call.Lane && strings.Contains(k.call.Arguments, "AF_UNIX") {
			return true
		}
	}
	return false
}

func (w *wait) send() Cause {
	switch {
	case w.v == nil:
		return Cause{}
	case w.s.call.Errno != 0 && w.took < atOnce:
		return Cause{}
	case w.s.call.Errno != 0:
		return w.error()
	case w.took < atOnce:
		return Cause{}
	}
	// Only acknowledgments make room: a call that none came to found it, and one all of
	// whose bytes had left before the first came did too.
	acked := w.v.within(w.s, func(s *tapped) bool { return s.has(ACK) && !s.has(RST) })
	switch {
	case len(acked) == 0, w.hadLeft(acked[0].moment):
		return isReady()
	case acked[0].has(SYN):
		return w.came(ruleSendOpen, acked[0])
	}
	return w.c.by(ruleSendRoom, acked[len(acked)-1].moment, w.s.leave)
}

// hadLeft reports whether the last byte that a send(2) wrote had left before a moment.
func (w *wait) hadLeft(before int) bool {
	for _, x := range w.v.writesOf() {
		if x.leave != w.s.leave {
			continue
		}
		out := w.v.last(before, func(s *tapped) bool {
			return s.out && s.p.PayloadLength > 0 && int32(s.end()-w.v.own.ISN-x.to) >= 0
		})
		return w.v.own.HasISN && out != nil
	}
	return false
}

// lingers is what let a close(2) return that waits: only one with SO_LINGER does, and not if
// its time is 0.
func (w *wait) lingers() (Cause, bool) {
	if w.v == nil || w.took < atOnce || w.s.enter < 0 {
		return Cause{}, false
	}
	seconds := lingerTime(w.v.option("SO_LINGER", w.s.enter))
	if seconds == 0 {
		return Cause{}, false
	}
	fin := w.v.last(w.s.leave, func(s *tapped) bool { return s.out && s.has(FIN) })
	if fin != nil {
		if in := w.firstIn(func(s *tapped) bool { return acks(s.p, fin.end()-1) }); in != nil {
			return w.came(ruleLingered, in), true
		}
		if in := w.firstIn(func(s *tapped) bool { return s.has(RST) }); in != nil {
			return w.came(ruleResetEnds, in), true
		}
	}
	if w.took < seconds*int64(Seconds) {
		return none(w.s.leave, "neither had all been acknowledged nor was the time of SO_LINGER over"), true
	}
	return w.timer(ruleLingerTimeout), true
}

// lingerTime is the number of seconds that a call gave SO_LINGER, 0 if it set none: "{1, 2}".
func lingerTime(s *callSpan) int64 {
	if s == nil {
		return 0
	}
	var on, seconds int64
	_, value, ok := strings.Cut(s.call.Arguments, "{")
	if !ok {
		return 0
	}
	if _, err := fmt.Sscanf(value, "%d, %d}", &on, &seconds); err != nil || on == 0 {
		return 0
	}
	return seconds
}

func (w *wait) poll() Cause {
	s := w.s
	if s.call.Errno == 0 && s.call.Result == 0 {
		if w.took < atOnce {
			return Cause{}
		}
		return w.timer(rulePollTimeout).observed()
	}
	if in := w.firstIn(func(*tapped) bool { return true }); in != nil {
		return w.came(rulePolled, in)
	}
	if k := w.icmp(); k.Rule != nil {
		return k
	}
	// Of a listener, what put a connection into its queue.
	for ci := range w.c.ends {
		v := w.c.ends[ci][ServerEnd]
		if v.host != w.host || !v.listens(s.call.Lane, s.call.Socket) {
			continue
		}
		if all := v.within(s, func(in *tapped) bool { return in.p.Flags&(SYN|ACK|RST) == ACK }); len(all) > 0 {
			return w.c.by(rulePolled, all[0].moment, s.leave)
		}
	}
	return Cause{}
}
