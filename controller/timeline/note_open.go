package timeline

import (
	"fmt"

	"syncline/controller/clock"
	"syncline/controller/experiment"
)

// openingNotes are about how connections begin.
var openingNotes = []noteKind{
	{"accept-waited", "how long accept() had been waiting when the SYN came", []string{"accept(2)", "RFC 9293 3.5"}, (*noter).acceptWaited},
	{"queued-before-accept", "a connection that was complete before accept() was called", []string{"listen(2)", "RFC 9293 3.5"}, (*noter).queuedBefore},
	{"connect-returns-first", "connect() returned before accept() did", []string{"RFC 9293 3.5", "connect(2)", "accept(2)"}, (*noter).connectFirst},
	{"returns-unordered", "which of connect() and accept() returned first cannot be told", []string{"RFC 9293 3.5"}, (*noter).returnsUnordered},
	{"connect-is-a-round-trip", "how much of connect()'s time was the round trip of SYN and SYN+ACK", []string{"connect(2)", "RFC 9293 3.5"}, (*noter).roundTrip},
	{"neighbour-first", "the SYN had to wait for the neighbour's link address", []string{"RFC 826", "RFC 4861 7.2", "RFC 1122 2.3.2.2"}, (*noter).neighbourFirst},
	{"syn-repeated", "how often and when the SYN was sent", []string{"RFC 6298 5", "tcp(7) tcp_syn_retries"}, (*noter).synRepeated},
	{"synack-repeated", "how often and when the SYN+ACK was sent", []string{"RFC 6298 5", "tcp(7) tcp_synack_retries"}, (*noter).synackRepeated},
	{"refused", "a SYN for a port that nobody listens on", []string{"RFC 9293 3.10.7.1", "connect(2) ECONNREFUSED"}, (*noter).refused},
	{"queue-full", "a third ACK that met a full accept queue", []string{"listen(2)", "tcp(7) tcp_abort_on_overflow"}, (*noter).queueFull},
	{"crossed-syns", "two SYNs that crossed on the way", []string{"RFC 9293 3.5"}, (*noter).crossedSYNs},
	{"fast-open", "a SYN that took data along", []string{"RFC 7413", "tcp(7)"}, (*noter).fastOpen},
	{"port-reused", "a connection between the same two addresses as one before it", []string{"RFC 9293 3.10.7.4", "RFC 6191"}, (*noter).portReused},
	{"nonblocking-connect", "connect() did not wait for the handshake", []string{"connect(2) EINPROGRESS"}, (*noter).nonblockingConnect},
}

// accepted is the call that accepted the server's end, nil if none did.
func accepted(server *endView) *callSpan {
	return server.call("accept", func(c *Call) bool { return c.Result >= 0 && c.Errno == 0 })
}

// connected is the connect(2) of the client's end that succeeded, nil if there is none.
func connected(client *endView) *callSpan { return client.call("connect", succeeded) }

func (n *noter) acceptWaited() {
	n.eachPair(func(ci int, _, server *endView) {
		accept, syn := accepted(server), server.cameFirst(isSYN)
		if accept == nil || syn == nil {
			return
		}
		if took, ok := n.took(accept.enter, syn.moment); ok {
			n.say(ci, fmt.Sprintf("%s had been waiting %s when the SYN came.", caller(accept), took), accept.enter, syn.moment)
		}
	})
}

func (n *noter) queuedBefore() {
	n.eachPair(func(ci int, _, server *endView) {
		accept := accepted(server)
		if accept == nil {
			return
		}
		w := &wait{c: n.c, host: server.host, s: accept, v: server}
		ack, rule := w.completing()
		if ack == nil || rule == ruleAcceptedEarly {
			return
		}
		took, ok := n.took(ack.moment, accept.enter)
		if !ok {
			return
		}
		text := fmt.Sprintf("The connection was complete %s before %s was called: the kernel does the handshake, accept() only takes the result from the queue", took, caller(accept))
		if bytes := server.unread(accept.enter); bytes > 0 {
			text += fmt.Sprintf("; %s there already", bytesWere(int(bytes)))
		}
		n.say(ci, text+".", ack.moment, accept.enter)
	})
}

func (n *noter) connectFirst() {
	n.eachPair(func(ci int, client, server *endView) {
		connect, accept := connected(client), accepted(server)
		if connect == nil || accept == nil {
			return
		}
		took, ok := n.took(connect.leave, accept.leave)
		if before, known := n.t.Certain(accept.enter, connect.leave); !ok || took == spanText(0) || known && !before {
			// An accept() that was called only afterwards is another note's.
			return
		}
		n.say(ci, fmt.Sprintf("%s returned %s before %s did: the client is through when the SYN+ACK has come, the server when the third segment has.",
			caller(connect), took, caller(accept)), connect.leave, accept.leave)
	})
}

func (n *noter) returnsUnordered() {
	n.eachPair(func(ci int, client, server *endView) {
		connect, accept := connected(client), accepted(server)
		if connect == nil || accept == nil {
			return
		}
		if _, known := n.t.Certain(connect.leave, accept.leave); known {
			return
		}
		text := fmt.Sprintf("Whether %s or %s returned first cannot be told", caller(connect), caller(accept))
		if ns, err := n.t.length(connect.leave, accept.leave); err < clock.Unbounded {
			text += fmt.Sprintf(": by the clocks they are %s ±%s apart", spanText(magnitude(ns)), spanText(err))
		}
		n.say(ci, text+".", connect.leave, accept.leave)
	})
}

func (n *noter) roundTrip() {
	n.eachPair(func(ci int, client, _ *endView) {
		connect := connected(client)
		if connect == nil {
			return
		}
		from, to := n.t.answeredSYN(&n.t.Connections[ci])
		took, ok := n.took(connect.enter, connect.leave)
		trip, ok2 := n.took(from, to)
		if !ok || !ok2 || !n.ordered(connect.enter, from) || !n.ordered(to, connect.leave) {
			return
		}
		n.say(ci, fmt.Sprintf("%s took %s; %s of it was the way of the SYN and back, with the server's answer.", caller(connect), took, trip), connect.enter, from, to, connect.leave)
	})
}

// ordered reports whether one moment surely was not after another.
func (n *noter) ordered(a, b int) bool {
	if a < 0 || b < 0 {
		return false
	}
	before, known := n.t.Certain(a, b)
	return known && before
}

func (n *noter) neighbourFirst() {
	n.eachPair(func(ci int, client, _ *endView) {
		syn, k := n.by(client, ruleNeighbourPacket)
		if syn == nil || !isSYN(syn) {
			return
		}
		connect := client.lastCall(syn.moment, func(s *callSpan) bool { return s.named("connect", "send", "sendto") })
		if connect == nil {
			return
		}
		if took, ok := n.took(connect.enter, syn.moment); ok {
			n.say(ci, fmt.Sprintf("The SYN left %s after %s was called: %s first had to ask for the link address of its neighbour.", took, caller(connect), n.name(client.host)), connect.enter, k.By, syn.moment)
		}
	})
}

func (n *noter) synRepeated() {
	n.eachEnd(func(ci int, own, peer *endView) {
		first := own.sentFirst(isSYN)
		if first == nil {
			return
		}
		all := own.same(first)
		if len(all) < 2 {
			return
		}
		n.sayAgain(all, ci, fmt.Sprintf("The SYN was sent %s, %s apart%s.", timesText(len(all)), n.gaps(all), n.fates(all, own, peer)))
	})
}

func (n *noter) synackRepeated() {
	n.eachEnd(func(ci int, own, peer *endView) {
		first := own.sentFirst(isSYNACK)
		if first == nil {
			return
		}
		all := own.same(first)
		if len(all) < 2 {
			return
		}
		text := fmt.Sprintf("The SYN+ACK was sent %s, %s apart", timesText(len(all)), n.gaps(all))
		if ack := own.cameFirst(func(s *tapped) bool { return s.p.Flags&(SYN|ACK|RST) == ACK && s.moment < all[1].moment }); ack != nil && own.ref.End == ServerEnd {
			text += "; a third ACK had come before, and did not count"
			if _, tr, ok := n.t.Drop(ack.s); ok {
				text += " (" + tr.DropText() + ")"
			}
		} else {
			text += n.fates(all, own, peer)
		}
		n.say(ci, text+".", momentsOf(all)...)
	})
}

func (n *noter) refused() {
	n.eachPair(func(ci int, client, server *endView) {
		if server.host < 0 {
			return
		}
		rst, k := n.by(server, ruleNoSocket)
		if rst == nil {
			return
		}
		text := fmt.Sprintf("Nobody listened on port %d of %s: its kernel answered the SYN with a RST", server.own.Address.Port(), n.name(server.host))
		if took, ok := n.took(k.By, rst.moment); ok {
			text += " after " + took
		}
		connect := client.call("connect", func(c *Call) bool { return c.Errno != 0 })
		at := -1
		if connect != nil {
			text += fmt.Sprintf(", and %s failed with %s", caller(connect), experiment.ErrnoName(connect.call.Errno))
			at = connect.leave
		}
		n.say(ci, text+".", k.By, rst.moment, at)
	})
}

func (n *noter) queueFull() {
	n.eachPair(func(ci int, _, server *endView) {
		if server.host < 0 {
			return
		}
		if rst, k := n.by(server, ruleOverflowReset); rst != nil {
			n.say(ci, "The third ACK met a full accept queue, and tcp_abort_on_overflow had the kernel answer with a RST.", k.By, rst.moment)
			return
		}
		ack := server.cameFirst(func(s *tapped) bool {
			if s.p.Flags&(SYN|ACK|RST) != ACK {
				return false
			}
			_, tr, ok := n.t.Drop(s.s)
			return ok && tr.Reason == "TCP_LISTEN_OVERFLOW"
		})
		if ack == nil {
			return
		}
		drop, _, _ := n.t.Drop(ack.s)
		n.say(ci, fmt.Sprintf("The third ACK met a full accept queue and was dropped at %s: the client is connected, and its server does not know.", n.name(server.host)), ack.moment, drop)
	})
}

func (n *noter) crossedSYNs() {
	n.eachPair(func(ci int, client, server *endView) {
		a, b := client.sentFirst(isSYN), server.sentFirst(isSYN)
		if a == nil || b == nil {
			return
		}
		// Crossed: each had left before the other came.
		x, y := client.cameFirst(isSYN), server.cameFirst(isSYN)
		if x == nil || y == nil || !n.ordered(a.moment, x.moment) || !n.ordered(b.moment, y.moment) {
			return
		}
		n.say(ci, fmt.Sprintf("The two SYNs crossed: %s and %s both connected, nobody listened and nobody accepted, and it is one connection.", n.name(client.host), n.name(server.host)),
			a.moment, b.moment, x.moment, y.moment)
	})
}

func (n *noter) fastOpen() {
	n.eachPair(func(ci int, client, server *endView) {
		syn := client.sentFirst(isSYN)
		if syn == nil || syn.p.PayloadLength == 0 {
			return
		}
		answer := client.cameFirst(isSYNACK)
		if answer == nil {
			return
		}
		size := countOf(syn.p.PayloadLength, "byte")
		if !acks(answer.p, syn.p.Seq+uint32(syn.p.PayloadLength)) {
			n.say(ci, fmt.Sprintf("The SYN took %s along, and the SYN+ACK acknowledged the SYN alone: they had to be sent again.", size), syn.moment, answer.moment)
			return
		}
		text := fmt.Sprintf("The SYN took %s along, and the SYN+ACK acknowledged them: a round trip was saved", size)
		read := server.call("recv", func(c *Call) bool { return c.Result > 0 })
		third := server.cameFirst(func(s *tapped) bool { return s.p.Flags&(SYN|ACK|RST) == ACK })
		if read != nil && third != nil && n.ordered(read.leave, third.moment) {
			text += "; " + caller(read) + " had them before the handshake was done"
		}
		n.say(ci, text+".", syn.moment, answer.moment)
	})
}

func (n *noter) portReused() {
	for ci := range n.c.ends {
		client := n.c.ends[ci][ClientEnd]
		syn := client.sentFirst(isSYN)
		if syn == nil {
			continue
		}
		old := client.lastAmong(syn.moment, func(s *tapped) bool { return !s.has(RST) })
		if old == nil {
			continue
		}
		took, ok := n.took(old.moment, syn.moment)
		if !ok {
			continue
		}
		n.say(ci, fmt.Sprintf("%s and %s had a connection before, whose last packet %s saw %s before this SYN: the same two addresses are used again.",
			client.own.Address, client.peer.Address, n.name(client.host), took), old.moment, syn.moment)
	}
}

func (n *noter) nonblockingConnect() {
	n.eachPair(func(ci int, client, _ *endView) {
		connect := client.call("connect", func(c *Call) bool { return experiment.ErrnoName(c.Errno) == "EINPROGRESS" })
		answer := client.cameFirst(isSYNACK)
		if connect == nil || answer == nil {
			return
		}
		if took, ok := n.took(connect.leave, answer.moment); ok {
			n.say(ci, fmt.Sprintf("%s returned EINPROGRESS %s before the SYN+ACK came: it did not wait for the handshake.", caller(connect), took), connect.leave, answer.moment)
		}
	})
}
