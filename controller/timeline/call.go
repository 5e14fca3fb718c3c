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
	conns      []*conn
	// byFlow finds them by their addresses, in the order in which they were opened.
	byFlow map[flowKey][]*conn
	// of is the answer: the connection of a call.
	of map[*Event]*conn
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
	for _, e := range calls {
		if e.Call.Name == "connect" {
			cl.connect(e)
		}
	}
	for _, e := range calls {
		if isAccept(e.Call) {
			cl.accept(e)
		}
	}
	cl.follow(calls)
}

func (cl *claims) index(c *conn) {
	key := keyOf(c.ends[0].Address, c.ends[1].Address)
	cl.byFlow[key] = append(cl.byFlow[key], c)
}

func isAccept(c *Call) bool { return c.Name == "accept" || c.Name == "accept4" }

// connect finds the connection that a connect(2) opened: of its addresses, with its
// first packet while the call was running.
func (cl *claims) connect(e *Event) {
	local, peer := plain(e.Call.Local), plain(e.Call.Peer)
	if !peer.IsValid() || peer.Port() == 0 {
		peer = target(e.Call.Arguments)
	}
	if c, end := cl.opened(e, local, peer); c != nil {
		cl.take(c, end, e, e.Call.Socket)
		return
	}
	if e.Call.Result == 0 && local.Port() != 0 && peer.Port() != 0 {
		c := cl.form(local, peer)
		cl.take(c, 0, e, e.Call.Socket)
	}
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
func (cl *claims) accept(e *Event) {
	local, peer := plain(e.Call.Local), plain(e.Call.Peer)
	if e.Call.Result < 0 || local.Port() == 0 || peer.Port() == 0 {
		return
	}
	for _, c := range cl.byFlow[keyOf(local, peer)] {
		if c.claimed[1] || c.ends[1].Address != local || c.ends[0].Address != peer {
			continue
		}
		first := c.first[e.Host]
		if first == nil || first.At <= e.Call.Return+slackOf(first) {
			cl.take(c, 1, e, e.Call.Makes)
			return
		}
	}
	cl.take(cl.form(peer, local), 1, e, e.Call.Makes)
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

// take gives an end of a connection to the call that made it. The end that called
// connect is the client where no SYN says who is.
func (cl *claims) take(c *conn, end int, e *Event, socket string) {
	c.claimed[end] = true
	c.ends[end].Host = e.Host
	c.ends[end].Lane, c.ends[end].Socket = e.Call.Lane, socket
	cl.of[e] = c
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

// socketName is a socket of the experiment: names are a lane's own.
type socketName struct {
	host         int
	lane, socket string
}

// follow gives every other call to the connection of its socket: from the call that
// made the socket to its close.
func (cl *claims) follow(calls []*Event) {
	current := make(map[socketName]*conn)
	before := make(map[socketName][]*Event)
	for _, e := range calls {
		on := socketName{e.Host, e.Call.Lane, e.Call.Socket}
		makes := socketName{e.Host, e.Call.Lane, e.Call.Makes}
		c := cl.of[e]
		switch {
		case c != nil && isAccept(e.Call):
			current[makes] = c
		case c != nil:
			current[on] = c
			for _, earlier := range before[on] {
				cl.of[earlier] = c
			}
			delete(before, on)
		case e.Call.Name == "socket":
			delete(current, makes)
			before[makes] = []*Event{e}
		case e.Call.Socket == "" || isAccept(e.Call):
		case current[on] != nil:
			cl.of[e] = current[on]
		default:
			before[on] = append(before[on], e)
		}
		if e.Call.Name == "close" {
			delete(current, on)
			delete(before, on)
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
