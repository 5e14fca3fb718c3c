package timeline

import (
	"fmt"
	"net/netip"
)

// findOthers finds what made each packet leave that is no TCP.
func (c *Causality) findOthers() {
	c.others = make(map[int]Cause)
	for i := range c.t.Others {
		tr := &c.t.Others[i]
		c.others[tr.First()] = c.ofOther(tr)
	}
}

func (c *Causality) ofOther(tr *Transmission) Cause {
	p, at := c.t.Packet(tr), tr.First()
	host := tr.From
	if tr.Departure >= 0 {
		host = c.t.Moments[tr.Departure].Event.Host
	}
	switch {
	case host < 0:
		return none(at, fmt.Sprintf("no host of the run has %s", addressText(p.Source)))
	case tr.Departure < 0 && c.t.Complete(host, Packets) != "":
		return none(at, c.t.Complete(host, Packets))
	case tr.Departure < 0:
		return none(at, fmt.Sprintf("no tap of %s saw it leave: something on the way made it", c.t.hostName(host)))
	case p.ARP == 1, p.Protocol == ProtocolICMPv6 && p.ARP == 0 && p.ICMPType == icmp6Solicitation:
		return c.asks(host, at, p)
	case p.ARP != 0, p.Protocol == ProtocolICMPv6 && p.ICMPType == icmp6Advert:
		return c.answersNeighbour(host, at, p)
	case p.isICMPError():
		return c.icmpError(host, at, p)
	case isEchoReply(p):
		return c.echoes(host, at, p)
	}
	return c.datagram(host, at, p)
}

// asked is the address that a packet asks the link address of.
func asked(p *Packet) netip.Addr {
	switch {
	case p.ARP == 1:
		return p.Destination.Addr().Unmap()
	case p.ARP == 0:
		return p.solicited()
	}
	return netip.Addr{}
}

// asksFor reports whether a packet asks for the link address of an address.
func asksFor(p *Packet, a netip.Addr) bool { return a.IsValid() && asked(p) == a.Unmap() }

// answersFor reports whether a packet tells the link address of an address.
func answersFor(p *Packet, a netip.Addr) bool {
	switch {
	case p.ARP > 1:
		return p.Source.Addr().Unmap() == a.Unmap()
	case p.ARP == 0 && p.Protocol == ProtocolICMPv6 && p.ICMPType == icmp6Advert && len(p.Payload) >= 16:
		return netip.AddrFrom16([16]byte(p.Payload[:16])).Unmap() == a.Unmap()
	}
	return false
}

// lastPacket is the last packet of a host before a moment that fits, of TCP or not; -1 if there
// is none.
func (c *Causality) lastPacket(host, before int, fits func(int, *Packet) bool) int {
	for i := before - 1; i >= 0; i-- {
		m := &c.t.Moments[i]
		if m.Event.Host == host && m.Event.Packet != nil && fits(i, m.Event.Packet) {
			return i
		}
	}
	return -1
}

// asks is the cause of a question for a link address.
func (c *Causality) asks(host, at int, p *Packet) Cause {
	whom := asked(p)
	question := c.lastPacket(host, at, func(_ int, q *Packet) bool { return q.Direction == Out && asksFor(q, whom) })
	answer := c.lastPacket(host, at, func(_ int, q *Packet) bool { return q.Direction == In && answersFor(q, whom) })
	talk := c.lastPacket(host, at, func(_ int, q *Packet) bool {
		return asked(q) == netip.Addr{} && (plain(q.Source).Addr() == whom || plain(q.Destination).Addr() == whom)
	})
	call := c.lastCall(c.hosts[host].calls, at, func(s *callSpan) bool { return c.sendsTo(s, whom) })
	if question > answer && c.since(question, at) < 200*soon && (call == nil || call.enter < question) {
		return c.by(ruleAskAgain, question, at)
	}
	// A packet that cannot leave yet is on no tap: what would send it was called, or came.
	arrival := c.lastPacket(host, at, func(_ int, q *Packet) bool {
		return q.Direction == In && asked(q) == netip.Addr{} && plain(q.Source).Addr() == whom
	})
	near := func(i int) bool { return i >= 0 && c.since(i, at) < soon }
	switch {
	case call != nil && near(call.enter) && call.enter > arrival:
		return c.by(ruleAsk, call.enter, at)
	case near(arrival) && !near(answer):
		return c.by(ruleAsk, arrival, at)
	case call != nil && near(call.enter):
		return c.by(ruleAsk, call.enter, at)
	case talk >= 0:
		return c.by(ruleAskCheck, talk, at)
	case question >= 0:
		return c.by(ruleAskAgain, question, at)
	case call != nil:
		return c.by(ruleAsk, call.enter, at)
	}
	return none(at, fmt.Sprintf("nothing that %s would send to %s is on record", c.t.hostName(host), whom))
}

// sendsTo reports whether a call may make its host send something to an address.
func (c *Causality) sendsTo(s *callSpan, whom netip.Addr) bool {
	if !s.named("connect", "send", "sendto", "close", "shutdown") {
		return false
	}
	if plain(s.call.Peer).Addr() == whom || target(s.call.Arguments).Addr() == whom {
		return true
	}
	if ref, ok := c.endOf(s); ok {
		return c.t.Connections[ref.Connection].End(1-ref.End).Address.Addr() == whom
	}
	return s.carries(whom.String())
}

// answersNeighbour is the cause of an answer to a question for a link address.
func (c *Causality) answersNeighbour(host, at int, p *Packet) Cause {
	question := c.lastPacket(host, at, func(_ int, q *Packet) bool { return q.Direction == In && answersFor(p, asked(q)) && asked(q).IsValid() })
	if question < 0 {
		return none(at, "no question that it would answer is on record")
	}
	return c.by(ruleAnswer, question, at).observed()
}

// icmpError is the cause of an ICMP error: the packet that it quotes.
func (c *Causality) icmpError(host, at int, p *Packet) Cause {
	rule := ruleICMPError
	switch {
	case isTooBig(p):
		rule = ruleTooBig
	case p.Protocol == ProtocolICMP && p.ICMPType == icmpUnreachable && p.ICMPCode == 3,
		p.Protocol == ProtocolICMPv6 && p.ICMPType == icmp6Unreachable && p.ICMPCode == 4:
		rule = ruleUDPRefused
	}
	q, ok := p.quoted()
	if !ok {
		return none(at, "it does not say what it is about")
	}
	if q.protocol == ProtocolTCP && rule == ruleUDPRefused {
		rule = ruleICMPError
	}
	isAbout := func(o *Packet) bool {
		return plain(o.Source) == q.source && plain(o.Destination) == q.destination &&
			(q.protocol == ProtocolTCP) == o.TCP() && (q.protocol != ProtocolTCP || q.seq-o.Seq < max(sequenceLength(o), 1))
	}
	if about := c.lastPacket(host, at, func(_ int, o *Packet) bool { return isAbout(o) }); about >= 0 {
		return c.by(rule, about, at).observed()
	}
	// A host on the way need not have a tap on the link by which it came.
	for i := at - 1; i >= 0; i-- {
		if e := c.t.Moments[i].Event; e.Packet != nil && e.Packet.Direction == Out && isAbout(e.Packet) {
			return c.by(rule, i, at)
		}
	}
	return none(at, "the packet that it is about is not on record")
}

// Types of echo messages, RFC 792 and RFC 4443.
const (
	icmpEchoReply  = 0
	icmpEcho       = 8
	icmp6Echo      = 128
	icmp6EchoReply = 129
)

func isEchoReply(p *Packet) bool {
	return p.ARP == 0 && (p.Protocol == ProtocolICMP && p.ICMPType == icmpEchoReply || p.Protocol == ProtocolICMPv6 && p.ICMPType == icmp6EchoReply)
}

func isEcho(p *Packet) bool {
	return p.ARP == 0 && (p.Protocol == ProtocolICMP && p.ICMPType == icmpEcho || p.Protocol == ProtocolICMPv6 && p.ICMPType == icmp6Echo)
}

// echoes is the cause of an echo reply: the request with its identifier and number.
func (c *Causality) echoes(host, at int, p *Packet) Cause {
	request := c.lastPacket(host, at, func(_ int, q *Packet) bool {
		return q.Direction == In && isEcho(q) && q.ICMPRest == p.ICMPRest && q.Source.Addr() == p.Destination.Addr()
	})
	if request < 0 {
		return none(at, "no echo request that it would answer is on record")
	}
	return c.by(ruleEcho, request, at).observed()
}

// datagram is the cause of a packet that a call on a socket sent.
func (c *Causality) datagram(host, at int, p *Packet) Cause {
	call := c.lastCall(c.hosts[host].calls, at, func(s *callSpan) bool { return s.named("send", "sendto") && c.mayBe(s, p) })
	if call == nil {
		if why := c.t.Complete(host, Syscalls); why != "" {
			return none(at, why)
		}
		return none(at, "no send() on record sent it")
	}
	k := c.by(ruleDatagram, call.enter, at)
	for _, i := range c.hosts[host].packets {
		if q := c.t.Moments[i].Event.Packet; i > call.enter && i < at && q.Direction == In && answersFor(q, p.Destination.Addr()) {
			k = c.by(ruleNeighbourPacket, i, at)
		}
	}
	if k.Rule == ruleDatagram {
		return k.observed()
	}
	return k
}

// mayBe reports whether a packet may be what a call sent.
func (c *Causality) mayBe(s *callSpan, p *Packet) bool {
	if ref, ok := c.endOf(s); ok && ref.Connection >= 0 {
		return false
	}
	if local := plain(s.call.Local); local.Port() != 0 && p.Protocol == ProtocolUDP && local.Port() != p.Source.Port() {
		return false
	}
	if to := target(s.call.Arguments); to.IsValid() && to.Port() != 0 && p.Protocol == ProtocolUDP && to != plain(p.Destination) {
		return false
	}
	return p.Protocol != ProtocolUDP || s.call.Result == int64(p.PayloadLength)
}
