package timeline

import (
	"fmt"

	"syncline/controller/experiment"
)

// dataNotes are about data, acknowledgments and windows.
var dataNotes = []noteKind{
	{"data-repeated", "how often and when the same data were sent", []string{"RFC 6298 5"}, (*noter).dataRepeated},
	{"delayed-ack", "how long an ACK was held back", []string{"RFC 1122 4.2.3.2", "RFC 5681 4.2"}, (*noter).delayedACK},
	{"nagle", "how long a small segment waited for an acknowledgment", []string{"RFC 9293 3.7.4", "tcp(7) TCP_NODELAY"}, (*noter).nagle},
	{"zero-window", "how long the receiver's window was 0", []string{"RFC 9293 3.8.6"}, (*noter).zeroWindow},
	{"window-probes", "how often the sender asked whether the window is still 0", []string{"RFC 9293 3.8.6.1"}, (*noter).windowProbes},
	{"keepalive", "probes that asked whether the peer is still there", []string{"RFC 9293 3.8.4", "tcp(7) TCP_KEEPIDLE"}, (*noter).keepalive},
	{"send-blocked", "send() that had to wait for room", []string{"send(2)", "socket(7) SO_SNDBUF"}, (*noter).sendBlocked},
	{"send-returned-early", "send() returned before its data had arrived", []string{"send(2)", "RFC 9293 3.10.2"}, (*noter).sendReturned},
	{"path-mtu", "an ICMP message that made segments smaller", []string{"RFC 1191", "RFC 8201"}, (*noter).pathMTU},
	{"gave-up", "a call that ended since nothing was acknowledged", []string{"RFC 9293 3.8.3", "tcp(7) ETIMEDOUT"}, (*noter).gaveUp},
	{"woken-late", "a call that returned long after what it waited for had come", []string{"sched(7)"}, (*noter).wokenLate},
	{"icmp-ended", "a call that an ICMP error ended", []string{"RFC 1122 4.2.3.9", "RFC 5927 4"}, (*noter).icmpEnded},
}

func (n *noter) dataRepeated() {
	n.eachEnd(func(ci int, own, peer *endView) {
		sent := make(map[uint32][]*tapped)
		var again []uint32
		for i := range own.sights {
			s := &own.sights[i]
			if !s.out || s.s.Departure < 0 || s.p.PayloadLength == 0 || s.p.Flags&(SYN|RST) != 0 {
				continue
			}
			all := sent[s.p.Seq]
			if len(all) > 0 && s.p.PayloadLength < all[0].p.PayloadLength {
				// Only a part of it is sent again.
				continue
			}
			if len(all) == 1 {
				again = append(again, s.p.Seq)
			}
			sent[s.p.Seq] = append(sent[s.p.Seq], s)
		}
		for _, seq := range again {
			all := sent[seq]
			n.sayAgain(all, ci, fmt.Sprintf("%s sent the same %s %s, %s apart%s.", n.name(own.host), countOf(all[0].p.PayloadLength, "byte"), timesText(len(all)), n.gaps(all), n.fates(all, own, peer)))
		}
	})
}

func (n *noter) delayedACK() {
	n.eachEnd(func(ci int, own, _ *endView) {
		for _, s := range n.allBy(own, ruleACKDelayed) {
			k := n.c.of[s.moment]
			took, ok := n.took(k.By, s.moment)
			if !ok {
				continue
			}
			n.say(ci, fmt.Sprintf("%s held its ACK back for %s, in case there were data to send it with.", n.name(own.host), took), k.By, s.moment)
		}
	})
}

func (n *noter) nagle() {
	n.eachEnd(func(ci int, own, _ *endView) {
		w := &sender{endView: own}
		w.writes = own.writesOf()
		for _, s := range n.allBy(own, ruleNagle) {
			write := w.writeOf(s)
			if write == nil {
				continue
			}
			k := n.c.of[s.moment]
			if took, ok := n.took(write.leave, s.moment); ok {
				n.say(ci, fmt.Sprintf("%s of %s waited %s in the kernel until what was sent before them was acknowledged (Nagle's algorithm).",
					countOf(s.p.PayloadLength, "byte"), write.call.Lane, took), write.leave, k.By, s.moment)
			}
		}
	})
}

// zeroWindow finds each time between the first announcement of a window of 0 and the next of a
// wider one, as the sender heard them.
func (n *noter) zeroWindow() {
	n.eachEnd(func(ci int, own, peer *endView) {
		var shut *tapped
		for i := range own.sights {
			s := &own.sights[i]
			if s.out || s.p.Flags&(ACK|SYN|RST) != ACK {
				continue
			}
			switch {
			case s.p.Window == 0 && shut == nil:
				shut = s
			case s.p.Window > 0 && shut != nil:
				if took, ok := n.took(shut.moment, s.moment); ok {
					n.say(ci, fmt.Sprintf("%s had no room left: for %s its window was 0, as %s heard it.", n.hostOr(peer), took, n.name(own.host)), shut.moment, s.moment)
				}
				shut = nil
			}
		}
	})
}

// hostOr is the name of an end's host, or its address if that is no host of the run.
func (n *noter) hostOr(v *endView) string {
	if v.host < 0 {
		return v.own.Address.String()
	}
	return n.name(v.host)
}

func (n *noter) windowProbes() {
	n.eachEnd(func(ci int, own, _ *endView) {
		all := n.allBy(own, ruleProbe)
		if len(all) == 0 {
			return
		}
		text := fmt.Sprintf("%s asked %s whether the window is still 0", n.name(own.host), timesText(len(all)))
		if took, ok := n.took(n.c.of[all[0].moment].By, all[0].moment); ok {
			text += fmt.Sprintf(", the first time %s after it had heard so", took)
		}
		n.say(ci, text+".", momentsOf(all)...)
	})
}

func (n *noter) keepalive() {
	n.eachEnd(func(ci int, own, peer *endView) {
		all := n.allBy(own, ruleKeepalive)
		if len(all) == 0 {
			return
		}
		answered := 0
		for _, s := range all {
			for i := range own.sights {
				if in := &own.sights[i]; !in.out && in.moment > s.moment && in.has(ACK) && !in.has(RST) {
					if n.c.since(s.moment, in.moment) < 20*soon {
						answered++
					}
					break
				}
			}
		}
		text := fmt.Sprintf("%s asked %s whether %s is still there (keepalive)", n.name(own.host), timesText(len(all)), n.hostOr(peer))
		if len(all) > 1 {
			text += ", " + n.gaps(all) + " apart"
		}
		switch {
		case answered == len(all):
			text += ", and was answered each time"
		case answered == 0 && !n.deaf(own.host):
			text += ", and heard nothing"
		default:
			text += fmt.Sprintf(", and was answered %s", timesText(answered))
		}
		n.say(ci, text+".", momentsOf(all)...)
	})
}

// eachBlocked goes through the calls that were blocked and that a rule let return.
func (n *noter) eachBlocked(rules []*Rule, do func(b *BlockedCall, s *callSpan, ci int)) {
	for i := range n.c.Blocked {
		b := &n.c.Blocked[i]
		for _, rule := range rules {
			if b.Rule == rule {
				m := &n.t.Moments[b.Effect]
				do(b, &callSpan{b.Enter, b.Effect, m.Event.Call}, m.Connection)
			}
		}
	}
}

func (n *noter) sendBlocked() {
	n.eachBlocked([]*Rule{ruleSendRoom}, func(b *BlockedCall, s *callSpan, ci int) {
		n.say(ci, fmt.Sprintf("%s was blocked for %s: its %s did not fit into the send buffer until the peer had acknowledged some.",
			caller(s), spanText(b.Nanoseconds), countOf(int(s.call.Result), "byte")), b.Enter, b.By, b.Effect)
	})
}

// sendReturned is said once a connection: of the first send() whose return surely was before its
// last byte arrived.
func (n *noter) sendReturned() {
	n.eachEnd(func(ci int, own, peer *endView) {
		if !own.own.HasISN {
			return
		}
		at := 0
		for _, x := range own.writesOf() {
			var came *tapped
			for ; at < len(peer.sights) && came == nil; at++ {
				if s := &peer.sights[at]; !s.out && s.p.PayloadLength > 0 && int32(s.p.Seq+uint32(s.p.PayloadLength)-own.own.ISN-x.to) >= 0 {
					came = s
				}
			}
			if came != nil {
				// It may hold the last byte of the next call as well.
				at--
			}
			if x.leave < 0 || came == nil || !n.ordered(x.leave, came.moment) {
				continue
			}
			took, ok := n.took(x.leave, came.moment)
			if !ok || took == spanText(0) {
				continue
			}
			n.say(ci, fmt.Sprintf("%s returned %s before its last byte came to %s: the kernel had taken the data, and that is all that send() says.",
				caller(&x.callSpan), took, n.hostOr(peer)), x.leave, came.moment)
			return
		}
	})
}

func (n *noter) pathMTU() {
	n.eachEnd(func(ci int, own, _ *endView) {
		s, k := n.by(own, ruleSmaller)
		if s == nil {
			return
		}
		before := own.last(k.By, func(o *tapped) bool { return o.out && o.p.PayloadLength > 0 })
		if before == nil || before.p.PayloadLength <= s.p.PayloadLength {
			return
		}
		n.say(ci, fmt.Sprintf("A segment of %s was too big for a link on the way; %s was told so by ICMP, and sent it again with %s.",
			countOf(before.p.PayloadLength, "byte"), n.name(own.host), countOf(s.p.PayloadLength, "byte")), before.moment, k.By, s.moment)
	})
}

func (n *noter) gaveUp() {
	n.eachBlocked([]*Rule{ruleTimeoutEnds, ruleConnectTimeout}, func(b *BlockedCall, s *callSpan, ci int) {
		if b.By < 0 || n.t.Moments[b.By].Event.Packet == nil {
			return
		}
		took, ok := n.took(b.By, b.Effect)
		if !ok {
			return
		}
		n.say(ci, fmt.Sprintf("%s failed with %s after %s: %s after the last packet that was sent in vain TCP gave up.",
			caller(s), experiment.ErrnoName(s.call.Errno), spanText(b.Nanoseconds), took), b.By, b.Effect)
	})
}

func (n *noter) icmpEnded() {
	n.eachBlocked([]*Rule{ruleICMPEnds}, func(b *BlockedCall, s *callSpan, ci int) {
		took, ok := n.took(b.By, b.Effect)
		if !ok {
			return
		}
		words := otherWords(n.t.Moments[b.By].Event.Packet)
		what := words[0]
		if len(words) > 1 {
			what += " (" + words[1] + ")"
		}
		n.say(ci, fmt.Sprintf("%s ended with %s %s after %s had come.", caller(s), experiment.ErrnoName(s.call.Errno), took, what), b.By, b.Effect)
	})
}

// wokenLate is of calls that returned a millisecond or more after the packet that let them.
func (n *noter) wokenLate() {
	rules := []*Rule{ruleConnected, ruleAccepted, ruleRead, ruleReadAll, ruleReadEnd}
	n.eachBlocked(rules, func(b *BlockedCall, s *callSpan, ci int) {
		if b.By < 0 || n.t.Moments[b.By].Event.Host != n.t.Moments[b.Effect].Event.Host || n.c.since(b.By, b.Effect) < atOnce {
			return
		}
		took, ok := n.took(b.By, b.Effect)
		if !ok {
			return
		}
		n.say(ci, fmt.Sprintf("%s returned %s after what it waited for had come: so long its thread took to be woken and to get a CPU.", caller(s), took), b.By, b.Effect)
	})
}
