package timeline

import (
	"net/netip"
	"slices"
	"strings"

	"syncline/controller/clock"
)

// claims finds the connection that each call of a repetition worked on.
type claims struct {
	repetition int
	hosts      int
	owners     *owners
	// forked names the lane that a fork started.
	forked func(fork *Event) string
	// hears reports whether all that a host's tap heard is on record, and traces whether all that
	// its kernel traced of sockets is.
	hears, traces func(host int) bool
	// births are when the sockets of accepted connections were born, as far as kernels traced
	// that.
	births map[dumpKey][]clock.Local
	conns  []*conn
	// byFlow finds them by their addresses, in the order in which they were opened.
	byFlow map[flowKey][]*conn
	// of is the answer: the end that a call worked on.
	of map[*Event]side
	// sockets are the ones that calls worked on or made.
	sockets *sockets
	// doubtful are calls that could have made any of several connections.
	doubtful []*Event
}

// claim assigns the calls, sorted by host and time. Connections that no packet told
// of are added where a call did.
func (cl *claims) claim(calls []*Event) {
	cl.byFlow = make(map[flowKey][]*conn)
	for _, c := range cl.conns {
		cl.index(c)
	}
	cl.sockets = newSockets(calls, cl.forked)
	var late []*Event
	for _, e := range calls {
		if cl.mayConnect(e) && !cl.connect(e) && e.Call.Name == "connect" {
			late = append(late, e)
		}
	}
	for _, e := range late {
		cl.connectLate(e)
	}
	late = late[:0]
	for _, e := range calls {
		if isAccept(e.Call) && e.Call.Result >= 0 && !cl.accept(e) {
			late = append(late, e)
		}
	}
	for _, e := range late {
		cl.acceptLate(e)
	}
	for _, s := range cl.sockets.all {
		cl.follow(s)
	}
}

func (cl *claims) index(c *conn) {
	key := keyOf(c.ends[0].Address, c.ends[1].Address)
	cl.byFlow[key] = append(cl.byFlow[key], c)
}

func isAccept(c *Call) bool { return c.Name == "accept" || c.Name == "accept4" }

// mayConnect reports whether a call may open a TCP connection: connect(2), and
// sendto(2) on a socket that has none yet, which TCP Fast Open allows (RFC 7413).
func (cl *claims) mayConnect(e *Event) bool {
	s := cl.sockets.on[e]
	if s == nil {
		return e.Call.Name == "connect"
	}
	return !s.other && (e.Call.Name == "connect" || e.Call.Name == "sendto" && s.stream && s.claimedBefore(e) == nil)
}

// connect finds the connection that a connect(2) opened: of its addresses, with its
// first packet while the call was running.
func (cl *claims) connect(e *Event) bool {
	local, peer := endsOfConnect(e)
	c, end := cl.opened(e, local, peer)
	if c != nil {
		cl.take(c, end, e, cl.sockets.on[e], e.Call.Socket)
	}
	return c != nil
}

func endsOfConnect(e *Event) (local, peer netip.AddrPort) {
	local, peer = plain(e.Call.Local), plain(e.Call.Peer)
	if !peer.IsValid() || peer.Port() == 0 {
		peer = target(e.Call.Arguments)
	}
	return local, peer
}

// connectLate finds the connection of a connect(2) that opened none while it ran: it
// asked how an earlier one on the same socket got on, or its SYN left after it had
// returned, as those of a socket that does not block may (an address that must be
// resolved first, TCP Fast Open), or no tap saw any.
func (cl *claims) connectLate(e *Event) {
	local, peer := endsOfConnect(e)
	s := cl.sockets.on[e]
	if s != nil {
		if c := s.claimedBefore(e); c != nil && (c.ends[0].Address == peer || c.ends[1].Address == peer) {
			cl.of[e] = side{c.conn, c.address}
			return
		}
	}
	if !local.IsValid() || local.Port() == 0 || !peer.IsValid() || peer.Port() == 0 || local.Addr().IsUnspecified() {
		return
	}
	goesOn := e.Call.Result == 0 || goesOnAfter(e.Call)
	if goesOn {
		for _, c := range cl.byFlow[keyOf(local, peer)] {
			first := c.first[e.Host]
			if c.ends[0].Address == local && c.ends[1].Address == peer && !c.claimed[0] && first != nil && first.At > e.At {
				cl.take(c, 0, e, s, e.Call.Socket)
				return
			}
		}
	}
	if c := cl.translated(e, 0, local, peer); c != nil {
		c.ends[0].Bound = local
		cl.take(c, 0, e, s, e.Call.Socket)
		return
	}
	if e.Call.Result == 0 || cl.waited(e) {
		cl.take(cl.form(local, peer), 0, e, s, e.Call.Socket)
	}
}

// goesOnAfter reports whether a connect(2) that returned an error, or was ended by the
// lab, leaves a socket that is still connecting.
func goesOnAfter(c *Call) bool {
	const eintr, einprogress, ealready = 4, 115, 114
	switch c.Errno {
	case eintr, einprogress, ealready:
		return true
	}
	return c.EndedBy == EndedByTimeout || c.EndedBy == EndedByCancel
}

// waited reports whether a connect(2) of which no packet left was in SYN_SENT all the
// same: the kernel had a SYN to send, and a firewall or a neighbour that does not
// answer kept it from the wire. One that fails without that returns at once.
func (cl *claims) waited(e *Event) bool {
	return goesOnAfter(e.Call) || e.Call.Result < 0 && e.Call.Return-e.At >= waitsAtLeast
}

// opened looks for the connection and the end of it that a connect opened. A
// connect that failed may have lost its own address; then it has to be the only one
// that fits.
func (cl *claims) opened(e *Event, local, peer netip.AddrPort) (*conn, int) {
	if local.Port() == 0 || local.Addr().IsUnspecified() {
		return cl.openedFromSomewhere(e, local.Port(), peer)
	}
	for _, c := range cl.byFlow[keyOf(local, peer)] {
		for i := range c.ends {
			if c.ends[i].Address == local && c.ends[1-i].Address == peer && c.mayOpen(e, i) {
				return c, i
			}
		}
	}
	return nil, -1
}

// openedFromSomewhere looks for the only connection that a connect can have opened
// whose socket has lost its address. A refused one keeps its port on Linux; 0 is any.
func (cl *claims) openedFromSomewhere(e *Event, port uint16, peer netip.AddrPort) (found *conn, end int) {
	for _, c := range cl.conns {
		for i := range c.ends {
			if port != 0 && c.ends[i].Address.Port() != port {
				continue
			}
			if c.ends[1-i].Address != peer || c.ends[i].Host != e.Host || i == 1 && !c.crossed || !c.mayOpen(e, i) {
				continue
			}
			if found != nil {
				cl.doubtful = append(cl.doubtful, e)
				return nil, -1
			}
			found, end = c, i
		}
	}
	return found, end
}

// mayOpen reports whether an end is still without its call, and opened while e ran.
func (c *conn) mayOpen(e *Event, end int) bool {
	return !c.claimed[end] && c.openedDuring(e, end)
}

// openedDuring reports whether the connection's first packet at the host of a call
// is not outside the call.
func (c *conn) openedDuring(e *Event, end int) bool {
	if c.crossed {
		if at, ok := c.sentAt(end); ok {
			return at >= e.At-slackOf(c.first[e.Host]) && at <= e.Call.Return+slackOf(c.first[e.Host])
		}
	}
	first := c.first[e.Host]
	if first == nil {
		return true
	}
	return first.At >= e.At-slackOf(first) && first.At <= e.Call.Return+slackOf(first)
}

func slackOf(e *Event) clock.Local {
	if e == nil || e.Packet == nil {
		return 0
	}
	return clock.Local(e.Packet.Err)
}

// accept finds the connection that an accept(2) took: the first of its addresses
// that nobody took and that had begun when the call returned.
func (cl *claims) accept(e *Event) bool {
	local, peer := plain(e.Call.Local), plain(e.Call.Peer)
	var fit []*conn
	for _, c := range cl.byFlow[keyOf(local, peer)] {
		if c.claimed[1] || c.ends[1].Address != local || c.ends[0].Address != peer || c.refused() || c.abandoned(cl.hears, e.Host) {
			continue
		}
		if c.begunBefore(e) {
			fit = append(fit, c)
		}
	}
	if len(fit) == 0 {
		return false
	}
	cl.take(cl.everSocket(fit, e.Host), 1, e, cl.sockets.makes[e], e.Call.Makes)
	return true
}

// refused reports whether the server answered with a reset and never with a SYN: then
// there was no socket that an accept could have returned.
func (c *conn) refused() bool {
	return !c.ends[1].HasISN && slices.ContainsFunc(c.packets, func(e *Event) bool {
		return e.Packet.Flags&RST != 0 && c.direction(e.Packet) == 1
	})
}

// abandoned reports whether the client reset the connection, and nothing that it sent before
// or after can have completed the handshake: then no accept has returned it either. Of what
// left the client only that counts which came to a server whose tap has all that did. Where
// neither tap has all, what completed it may be what is missing. An end that sent data or a
// FIN was open.
func (c *conn) abandoned(hears func(host int) bool, server int) bool {
	heard := hears(server)
	if !heard && !hears(c.ends[0].Host) {
		return false
	}
	reset := false
	for _, e := range c.packets {
		if c.direction(e.Packet) != 0 {
			if e.Packet.PayloadLength > 0 || e.Packet.Flags&FIN != 0 {
				return false
			}
			continue
		}
		if heard && e.Host != server && c.first[server] != nil {
			continue
		}
		if e.Packet.Flags&SYN != 0 {
			if e.Packet.PayloadLength > 0 {
				return false
			}
			continue
		}
		if e.Packet.Flags&RST == 0 {
			return false
		}
		reset = true
	}
	return reset
}

// acceptLate finds the connection of an accept(2) whose addresses no packet has: one
// whose ports were translated, or one that no tap saw.
func (cl *claims) acceptLate(e *Event) {
	local, peer := plain(e.Call.Local), plain(e.Call.Peer)
	if local.Port() == 0 || peer.Port() == 0 {
		return
	}
	c := cl.translated(e, 1, local, peer)
	if c == nil {
		c = cl.form(peer, local)
	} else {
		c.ends[1].Bound = local
	}
	cl.take(c, 1, e, cl.sockets.makes[e], e.Call.Makes)
}

// translated finds the connection of a socket whose port the host itself rewrites
// between the socket and the tap: redirect on the way in, masquerade on the way out.
// On the wire it has another port of the same address, one that no socket of the run
// has, and the same peer. It must be the only one; where more fit a warning says so.
func (cl *claims) translated(e *Event, end int, local, peer netip.AddrPort) (found *conn) {
	for _, c := range cl.conns {
		own := c.ends[end].Address
		if c.claimed[end] || c.ends[1-end].Address != peer || own.Addr() != local.Addr() || own.Port() == local.Port() {
			continue
		}
		if c.ends[end].Host != e.Host || c.first[e.Host] == nil || cl.owners.named(cl.repetition, own) {
			continue
		}
		if end == 0 && !c.openedDuring(e, end) || end == 1 && !c.begunBefore(e) {
			continue
		}
		if found != nil {
			cl.doubtful = append(cl.doubtful, e)
			return nil
		}
		found = c
	}
	return found
}

// begunBefore reports whether the connection may have begun when a call returned.
func (c *conn) begunBefore(e *Event) bool {
	first := c.first[e.Host]
	return first == nil || first.At <= e.Call.Return+slackOf(first)
}

// form makes a connection that only calls tell of.
func (cl *claims) form(client, server netip.AddrPort) *conn {
	c := newConn(client, server, cl.hosts)
	c.repetition = cl.repetition
	for i := range c.ends {
		c.ends[i].Host = cl.owners.of(cl.repetition, c.ends[i].Address)
	}
	cl.conns = append(cl.conns, c)
	cl.index(c)
	return c
}

// take gives an end of a connection to the call that made it, and so to its socket.
// The end that called connect is the client where no SYN says who is.
func (cl *claims) take(c *conn, end int, e *Event, s *sock, name string) {
	c.claimed[end] = true
	c.ends[end].Host = e.Host
	c.ends[end].Lane, c.ends[end].Socket = e.Call.Lane, name
	cl.of[e] = side{c, c.ends[end].Address}
	if s != nil {
		s.claims = append(s.claims, claim{side{c, c.ends[end].Address}, e})
		c.ends[end].Names = s.namesFrom(SocketName{e.Call.Lane, name})
	}
	if end == 1 && e.Call.Name == "connect" && !c.ends[0].HasISN && !c.claimed[0] {
		c.turn()
	}
}

// turn exchanges the ends.
func (c *conn) turn() {
	c.ends[0], c.ends[1] = c.ends[1], c.ends[0]
	c.claimed[0], c.claimed[1] = c.claimed[1], c.claimed[0]
	for i := range c.transits {
		c.transits[i].from = 1 - c.transits[i].from
	}
}

// follow gives every other call on a socket to its connection: those before the first
// connect, back to socket(2), to the first one.
func (cl *claims) follow(s *sock) {
	if len(s.claims) == 0 {
		return
	}
	current := s.claims[0].side
	for _, e := range s.calls {
		if own, ok := cl.of[e]; ok {
			current = own
		} else {
			cl.of[e] = current
		}
	}
}

// target is the address in the arguments of a connect, the zero value if there is
// none: "10.0.0.2:8080".
func target(arguments string) netip.AddrPort {
	for field := range strings.FieldsFuncSeq(arguments, func(r rune) bool { return r == ' ' || r == ',' }) {
		if a, err := netip.ParseAddrPort(field); err == nil {
			return plain(a)
		}
	}
	return netip.AddrPort{}
}

// byStart keeps connections in the order in which they were opened.
func byStart(conns []*conn) {
	slices.SortStableFunc(conns, func(a, b *conn) int {
		if a.ends[0].Address == b.ends[0].Address && a.ends[1].Address == b.ends[1].Address {
			return compareStart(a, b)
		}
		if x := a.ends[0].Address.Compare(b.ends[0].Address); x != 0 {
			return x
		}
		return a.ends[1].Address.Compare(b.ends[1].Address)
	})
}
