package timeline

import (
	"fmt"

	"syncline/controller/experiment"
)

// closingNotes are about how connections end.
var closingNotes = []noteKind{
	{"closed-first", "which end closed first, and who holds TIME_WAIT", []string{"RFC 9293 3.6", "RFC 9293 3.9.2"}, (*noter).closedFirst},
	{"crossed-fins", "two FINs that crossed on the way", []string{"RFC 9293 3.6", "RFC 9293 3.10.7.4"}, (*noter).crossedFINs},
	{"three-packets", "the ACK of a FIN that travelled with the other FIN", []string{"RFC 9293 3.6"}, (*noter).threePackets},
	{"half-closed", "how long one side went on after the other had closed", []string{"RFC 9293 3.6", "shutdown(2)"}, (*noter).halfClosed},
	{"close-returned-early", "close() returned before its FIN had arrived", []string{"close(2)", "RFC 9293 3.6"}, (*noter).closeReturned},
	{"end-of-file", "how soon recv() returned 0 after the FIN had come", []string{"recv(2)", "RFC 9293 3.10.7.4"}, (*noter).endOfFile},
	{"fin-not-read", "a FIN that the kernel had acknowledged long before anybody closed", []string{"RFC 9293 3.6"}, (*noter).finUnread},
	{"fin-repeated", "how often and when a FIN was sent", []string{"RFC 6298 5", "tcp(7) tcp_orphan_retries"}, (*noter).finRepeated},
	{"reset-unread", "a RST in place of a FIN since data were unread", []string{"RFC 2525 2.17", "RFC 9293 3.10.4"}, (*noter).resetUnread},
	{"reset-linger", "a RST in place of a FIN since SO_LINGER was 0", []string{"socket(7) SO_LINGER"}, (*noter).resetLinger},
	{"reset-listener", "connections that were reset since nobody had accepted them", []string{"listen(2)", "RFC 9293 3.10.4"}, (*noter).resetListener},
	{"reset-data-after-close", "data that came after close() and were answered with a RST", []string{"RFC 1122 4.2.2.13"}, (*noter).resetData},
	{"reset-no-connection", "a RST for a connection that the host does not have", []string{"RFC 9293 3.5.1", "RFC 9293 3.10.7.1"}, (*noter).resetStranger},
	{"reset-by-listener", "a RST of a listener for what opens no connection", []string{"RFC 9293 3.10.7.2", "RFC 9293 3.5.2"}, (*noter).resetStray},
	{"reset-firewall", "a RST that a firewall made, not TCP", []string{"nft(8) reject"}, (*noter).resetFirewall},
	{"no-time-wait", "a connection of which nobody holds TIME_WAIT, since a RST ended it", []string{"RFC 9293 3.10.7.4", "RFC 1337"}, (*noter).noTimeWait},
	{"process-gone", "a kernel that closed the sockets of a process that ended", []string{"exit(3)", "close(2)", "signal(7)"}, (*noter).processGone},
	{"linger-waited", "close() that waited for its FIN to be acknowledged, or for a time", []string{"socket(7) SO_LINGER"}, (*noter).lingerWaited},
}

// recordNotes are about what the record itself says of order and loss.
var recordNotes = []noteKind{
	{"lost", "packets that were lost on the way", []string{"RFC 9293 3.8"}, (*noter).lost},
	{"duplicated", "packets that the network delivered twice", []string{"RFC 9293 3.4"}, (*noter).duplicated},
	{"impossible", "packets that arrived before they left, by the clocks", nil, (*noter).impossible},
	{"lab-limit", "calls that the lab ended, not the kernel", nil, (*noter).labLimit},
}

// fins are the first FINs that the ends sent and that came to them, nil where there is none.
func fins(own, peer *endView) (sent, came *tapped) {
	return own.sentFirst(isFIN), own.cameFirst(isFIN)
}

// isFirst reports whether an end surely closed first, with a FIN: before the other ended the
// connection in any way, or where the other never did and its taps would have seen it.
func (n *noter) isFirst(own, peer *endView) bool {
	k := n.t.closure(own.ref.Connection)
	// Of a FIN that no tap saw leave there is only an arrival, and no moment of this end.
	if k.kind != closeFirst || k.end != own.ref.End || !k.by[k.end].isFIN() || own.sentFirst(isFIN) == nil {
		return false
	}
	return k.by[1-k.end].moment >= 0 || !n.deaf(peer.host)
}

// last is the last state of an end, nil if it has none or if it is in doubt.
func (n *noter) last(v *endView) *State {
	states := v.own.States
	if len(states) == 0 || n.t.StateDoubt(v.ref.Connection, v.ref.End) != "" {
		return nil
	}
	return &states[len(states)-1]
}

// who is an end as notes call it: its lane and its host.
func (n *noter) who(v *endView) string {
	if v.own.Lane == "" {
		return n.hostOr(v)
	}
	return fmt.Sprintf("%s on %s", v.own.Lane, n.name(v.host))
}

func (n *noter) closedFirst() {
	n.eachEnd(func(ci int, own, peer *endView) {
		if !n.isFirst(own, peer) {
			return
		}
		fin := own.sentFirst(isFIN)
		text := fmt.Sprintf("%s closed first", n.who(own))
		at := -1
		if s := n.last(own); s != nil && s.Name == stateTimeWait {
			text += ", and so it is the end that holds TIME_WAIT"
			at = s.Moment
		}
		n.say(ci, text+".", fin.moment, at)
	})
}

func (n *noter) crossedFINs() {
	n.eachPair(func(ci int, client, server *endView) {
		a, x := fins(client, server)
		b, y := fins(server, client)
		if a == nil || b == nil || x == nil || y == nil || !n.ordered(a.moment, x.moment) || !n.ordered(b.moment, y.moment) {
			return
		}
		text := "The two FINs crossed: each end had closed before it knew of the other"
		if s, r := n.last(client), n.last(server); s != nil && r != nil && s.Name == stateTimeWait && r.Name == stateTimeWait {
			text += ", and both hold TIME_WAIT"
		}
		n.say(ci, text+".", a.moment, b.moment, x.moment, y.moment)
	})
}

func (n *noter) threePackets() {
	n.eachEnd(func(ci int, own, peer *endView) {
		if !n.isFirst(own, peer) {
			return
		}
		fin, answer := own.sentFirst(isFIN), peer.sentFirst(isFIN)
		came := peer.cameFirst(isFIN)
		if answer == nil || came == nil || !acks(answer.p, fin.end()-1) {
			return
		}
		// Nothing may have acknowledged the FIN before.
		if peer.sentFirst(func(s *tapped) bool { return s.moment < answer.moment && acks(s.p, fin.end()-1) }) != nil || n.deaf(peer.host) {
			return
		}
		n.say(ci, fmt.Sprintf("The ACK of the FIN and the FIN of %s travelled together: three packets end the connection, not four.", n.hostOr(peer)), fin.moment, answer.moment)
	})
}

func (n *noter) halfClosed() {
	n.eachEnd(func(ci int, own, peer *endView) {
		came, sent := peer.cameFirst(isFIN), peer.sentFirst(isFIN)
		if came == nil || sent == nil || !n.isFirst(own, peer) || n.c.since(came.moment, sent.moment) < atOnce {
			return
		}
		took, ok := n.took(came.moment, sent.moment)
		if !ok {
			return
		}
		bytes := 0
		for i := range peer.sights {
			if s := &peer.sights[i]; s.out && s.moment > came.moment && s.moment <= sent.moment && s.s.Copy == 0 {
				bytes += s.p.PayloadLength
			}
		}
		text := fmt.Sprintf("The connection was half closed for %s: %s had the FIN of %s, and closed its own side only then", took, n.hostOr(peer), n.hostOr(own))
		if bytes > 0 {
			text += fmt.Sprintf("; meanwhile it sent %s", countOf(bytes, "byte"))
		}
		n.say(ci, text+".", came.moment, sent.moment)
	})
}

func (n *noter) closeReturned() {
	n.eachEnd(func(ci int, own, peer *endView) {
		came := peer.cameFirst(isFIN)
		fin, k := n.by(own, ruleCloseFIN)
		if came == nil || fin == nil || fin.p.Seq != came.p.Seq {
			return
		}
		call := own.lastCall(fin.moment, func(s *callSpan) bool { return s.enter == k.By })
		if call == nil || call.leave < 0 || !n.ordered(call.leave, came.moment) {
			return
		}
		if took, ok := n.took(call.leave, came.moment); ok && took != spanText(0) {
			n.say(ci, fmt.Sprintf("%s returned %s before its FIN came to %s: the kernel ends the connection without the application.", caller(call), took, n.hostOr(peer)), call.leave, came.moment)
		}
	})
}

func (n *noter) endOfFile() {
	n.eachBlocked([]*Rule{ruleReadEnd}, func(b *BlockedCall, s *callSpan, ci int) {
		if took, ok := n.took(b.By, b.Effect); ok {
			n.say(ci, fmt.Sprintf("%s returned 0, the end of the stream, %s after the FIN had come; it had waited %s.", caller(s), took, spanText(b.Nanoseconds)), b.By, b.Effect)
		}
	})
}

func (n *noter) finUnread() {
	n.eachEnd(func(ci int, own, peer *endView) {
		came := own.cameFirst(isFIN)
		ack, _ := n.by(own, ruleACKFIN)
		if came == nil || ack == nil {
			return
		}
		read := own.lastCallSince(came.moment, len(n.t.Moments), func(s *callSpan) bool {
			return s.named("recv") && s.call.Result == 0 && s.call.Errno == 0
		})
		if read == nil || read.enter < ack.moment || n.c.since(ack.moment, read.enter) < atOnce {
			return
		}
		if took, ok := n.took(ack.moment, read.enter); ok {
			n.say(ci, fmt.Sprintf("%s acknowledged the FIN %s before %s asked for it: the kernel needs no application for that.", n.name(own.host), took, caller(read)), ack.moment, read.enter)
		}
	})
}

func (n *noter) finRepeated() {
	n.eachEnd(func(ci int, own, peer *endView) {
		first := own.sentFirst(isFIN)
		if first == nil {
			return
		}
		all := own.sameFIN(first)
		if len(all) < 2 {
			return
		}
		n.sayAgain(all, ci, fmt.Sprintf("The FIN of %s was sent %s, %s apart%s.", n.name(own.host), timesText(len(all)), n.gaps(all), n.fates(all, own, peer)))
	})
}

func (n *noter) resetUnread() {
	n.eachEnd(func(ci int, own, _ *endView) {
		rst, k := n.by(own, ruleCloseUnread)
		if rst == nil {
			return
		}
		bytes := own.unread(k.By)
		if bytes == 0 {
			return
		}
		n.say(ci, fmt.Sprintf("The RST came because %s left unread when %s called close(): a FIN would say that all had arrived well.", bytesWere(int(bytes)), n.who(own)), k.By, rst.moment)
	})
}

func (n *noter) resetLinger() {
	n.eachEnd(func(ci int, own, peer *endView) {
		rst, k := n.by(own, ruleLingerZero)
		if rst == nil {
			return
		}
		text := fmt.Sprintf("%s had set SO_LINGER to 0 seconds: close() sent a RST in place of a FIN", n.who(own))
		at := -1
		for i := range peer.calls {
			if s := &peer.calls[i]; experiment.ErrnoName(s.call.Errno) == "ECONNRESET" && s.leave >= 0 && n.ordered(k.By, s.leave) {
				text += fmt.Sprintf(", and %s failed with ECONNRESET", caller(s))
				at = s.leave
				break
			}
		}
		n.say(ci, text+".", k.By, rst.moment, at)
	})
}

func (n *noter) resetListener() {
	byCall := make(map[int][]int)
	var order []int
	n.eachEnd(func(ci int, own, _ *endView) {
		rst, k := n.by(own, ruleListenerReset)
		if rst == nil {
			return
		}
		if byCall[k.By] == nil {
			order = append(order, k.By)
		}
		byCall[k.By] = append(byCall[k.By], rst.moment)
	})
	for _, by := range order {
		resets := byCall[by]
		ci := -1
		if len(resets) == 1 {
			ci = n.t.Moments[resets[0]].Connection
		}
		n.say(ci, fmt.Sprintf("The listener was closed with %s in its queue that nobody had accepted: its kernel reset %s.",
			countOf(len(resets), "connection"), map[bool]string{true: "it", false: "them"}[len(resets) == 1]), append([]int{by}, resets...)...)
	}
}

func (n *noter) resetData() {
	n.eachEnd(func(ci int, own, _ *endView) {
		if rst, k := n.by(own, ruleDataClosed); rst != nil {
			p := n.t.Moments[k.By].Event.Packet
			n.say(ci, fmt.Sprintf("%s came to %s after its socket was closed, and nobody could read that any more: the answer was a RST.", countOf(p.PayloadLength, "byte"), n.who(own)), k.By, rst.moment)
		}
	})
}

func (n *noter) resetStranger() {
	n.eachEnd(func(ci int, own, _ *endView) {
		if rst, k := n.by(own, ruleNoConnection); rst != nil {
			n.say(ci, fmt.Sprintf("%s had no connection any more to which the %s belonged, so its kernel answered with a RST.",
				n.name(own.host), n.t.Moments[k.By].Event.Packet.Flags), k.By, rst.moment)
		}
	})
}

func (n *noter) resetStray() {
	n.eachEnd(func(ci int, own, _ *endView) {
		if rst, k := n.by(own, ruleListenerStray); rst != nil {
			n.say(ci, fmt.Sprintf("The %s met a listener of %s, and not the connection that it belonged to: the kernel answered with a RST.",
				n.t.Moments[k.By].Event.Packet.Flags, n.name(own.host)), k.By, rst.moment)
		}
	})
}

func (n *noter) resetFirewall() {
	n.eachEnd(func(ci int, own, _ *endView) {
		if rst, k := n.by(own, ruleFirewallReset); rst != nil {
			n.say(ci, fmt.Sprintf("The RST of %s is its firewall's and not TCP's: no socket decided this.", n.name(own.host)), k.By, rst.moment)
		}
	})
}

func (n *noter) noTimeWait() {
	n.eachPair(func(ci int, client, server *endView) {
		a, b := n.last(client), n.last(server)
		if a == nil || b == nil || a.Name != stateClosed || b.Name != stateClosed {
			return
		}
		for _, v := range []*endView{client, server} {
			for i := range v.own.States {
				if v.own.States[i].Name == stateTimeWait {
					return
				}
			}
		}
		wasOpen := func(v *endView) bool {
			for i := range v.own.States {
				if v.own.States[i].Name == stateEstablished {
					return true
				}
			}
			return false
		}
		rst := client.cameFirst(func(s *tapped) bool { return s.has(RST) })
		if rst == nil {
			rst = server.cameFirst(func(s *tapped) bool { return s.has(RST) })
		}
		if rst == nil || !wasOpen(client) || !wasOpen(server) {
			return
		}
		n.say(ci, "Nobody holds TIME_WAIT: a RST ended the connection at both ends, and its addresses are free at once.", rst.moment)
	})
}

func (n *noter) processGone() {
	n.eachEnd(func(ci int, own, _ *endView) {
		out, k := n.by(own, ruleExitFIN, ruleExitReset)
		if out == nil || k.By < 0 {
			return
		}
		text := fmt.Sprintf("The process of %s ended, and its kernel closed the socket for it", n.who(own))
		if took, ok := n.took(k.By, out.moment); ok {
			if e := n.t.Moments[k.By].Event; e.Call != nil && e.Call.Name == "kill" {
				text += fmt.Sprintf(": the %s left %s after kill()", kindOf(out.p), took)
			}
		}
		n.say(ci, text+".", k.By, out.moment)
	})
}

func (n *noter) lingerWaited() {
	n.eachBlocked([]*Rule{ruleLingered, ruleLingerTimeout}, func(b *BlockedCall, s *callSpan, ci int) {
		why := "until its FIN was acknowledged"
		if b.Rule == ruleLingerTimeout {
			why = "until the time of SO_LINGER was over"
		}
		n.say(ci, fmt.Sprintf("%s waited %s, %s.", caller(s), spanText(b.Nanoseconds), why), b.Enter, b.Effect)
	})
}

// bytesWere is a number of bytes as the subject of a sentence.
func bytesWere(bytes int) string {
	if bytes == 1 {
		return "1 byte was"
	}
	return fmt.Sprintf("%d bytes were", bytes)
}

// lost is said once a connection and direction.
func (n *noter) lost() {
	n.eachEnd(func(ci int, own, peer *endView) {
		var all []*tapped
		for i := range own.sights {
			if s := &own.sights[i]; s.out && s.s.Lost {
				all = append(all, s)
			}
		}
		if len(all) == 0 {
			return
		}
		n.say(ci, fmt.Sprintf("%s from %s never came to %s: lost on the way, or dropped before the tap there.",
			countOf(len(all), "packet"), n.name(own.host), n.hostOr(peer)), momentsOf(all)...)
	})
}

func (n *noter) duplicated() {
	n.eachEnd(func(ci int, own, _ *endView) {
		var all []*tapped
		for i := range own.sights {
			if s := &own.sights[i]; !s.out && s.s.Duplicate {
				all = append(all, s)
			}
		}
		if len(all) > 0 {
			n.say(ci, fmt.Sprintf("The network delivered %s to %s twice.", countOf(len(all), "packet"), n.name(own.host)), momentsOf(all)...)
		}
	})
}

func (n *noter) impossible() {
	for _, tr := range n.t.Transmissions() {
		if tr.Impossible {
			n.say(tr.Connection, fmt.Sprintf("A packet came to %s before it left %s, by every offset that the clocks allow: a stamp or a clock of one of the two is wrong.",
				n.t.hostName(n.t.Moments[tr.Arrival].Event.Host), n.t.hostName(n.t.Moments[tr.Departure].Event.Host)), tr.Departure, tr.Arrival)
		}
	}
}

func (n *noter) labLimit() {
	n.eachBlocked([]*Rule{ruleLabTimeout, ruleLabCancel}, func(b *BlockedCall, s *callSpan, ci int) {
		if b.Lab {
			return
		}
		n.say(ci, fmt.Sprintf("%s was ended by the lab after %s, not by the kernel: what it waited for had not come.", caller(s), spanText(b.Nanoseconds)), b.Enter, b.Effect)
	})
}
