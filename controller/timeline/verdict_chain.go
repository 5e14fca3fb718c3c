package timeline

import (
	"fmt"
	"slices"

	"syncline/controller/experiment"
)

// chain picks the moments of one order, a < b < c.
//
// A call is the first that its selector names. A packet is the first that its
// selector names on one connection, and that connection is never a matter of chance:
//
//  1. It is the connection of the calls beside the packet: of the nearest call of the
//     chain before it and the nearest after it that have one. The calls of a listening
//     socket have none.
//  2. Without such calls, or where the packet's ends (A>B, and the host that sees it)
//     are not those of their connection, it is the connection of the packets before it
//     in the chain, and then of any other call of the chain, as far as the ends allow.
//  3. Where the chain tells nothing, it is the one connection of the experiment that
//     has such a packet.
//
// Where that leaves several connections, those of the packets before it in the chain
// decide; where they do not, the verdict is CannotTell. So a chain is about one
// connection, unless its calls or the ends of its packets say otherwise. A
// retransmission is of the same connection as what it repeats.
type chain struct {
	*trial
	selectors []experiment.MomentSelector
	// at are the moments that are picked, -1 where none is yet.
	at []int
	// causes for which another moment might have been meant.
	doubts []string
}

// pick fills in the moments. The verdict has a ruling only if that cannot be done.
func (c *chain) pick() Verdict {
	c.at = make([]int, len(c.selectors))
	for i := range c.selectors {
		c.at[i] = -1
		if sel := &c.selectors[i]; !ofPacket(sel) {
			if c.at[i] = c.findCall(sel); c.at[i] < 0 {
				return c.selectsNothing(sel, -1)
			}
		}
	}
	for i := range c.selectors {
		if !ofPacket(&c.selectors[i]) {
			continue
		}
		if v := c.pickPacket(i); v.Ruling != 0 {
			return v
		}
	}
	return Verdict{}
}

func ofPacket(sel *experiment.MomentSelector) bool {
	return sel.Kind == experiment.PacketSent || sel.Kind == experiment.PacketReceived
}

// pickPacket picks the i-th moment, a packet.
func (c *chain) pickPacket(i int) Verdict {
	sel := &c.selectors[i]
	if sel.Packet.ARP != 0 || sel.Packet.Protocol != 0 && sel.Packet.Protocol != ProtocolTCP {
		return c.pickOther(i)
	}
	beside := c.callsBeside(i)
	for _, at := range beside {
		if call := c.own.homelessCall(c.t.Moments[at].Event); call != nil && c.t.Moments[at].Connection < 0 {
			return c.ofHomeless(sel, call)
		}
	}
	for _, scope := range [][]int{c.connectionsOf(beside), c.packetsBefore(i), c.connectionsOf(c.calls())} {
		scope = slices.DeleteFunc(scope, func(n int) bool { return !c.fits(sel, n) })
		switch len(scope) {
		case 0:
			continue
		case 1:
			return c.take(i, scope[0])
		}
		if before := intersection(scope, c.packetsBefore(i)); len(before) == 1 {
			return c.take(i, before[0])
		}
		return c.ambiguous(sel, "can be of", len(scope))
	}
	return c.pickAnywhere(i)
}

// pickOther picks a packet that is no TCP: the first that the selector names. An ICMP
// error that quotes a segment of a connection is passed over if the calls beside it
// have another connection, or if the connection is somebody else's.
func (c *chain) pickOther(i int) Verdict {
	sel := &c.selectors[i]
	scope := c.connectionsOf(c.callsBeside(i))
	for at := range c.t.Moments {
		n := c.t.Moments[at].Connection
		if !c.isPicked(sel, at) || n >= 0 && (c.own.of[n] == foreign || len(scope) > 0 && !slices.Contains(scope, n)) {
			continue
		}
		if n >= 0 && c.own.of[n] == unclear {
			c.doubt(c.unclearText(n))
		}
		c.at[i] = at
		return Verdict{}
	}
	return c.selectsNothing(sel, -1)
}

// pickAnywhere picks a packet that only one connection of the experiment has.
func (c *chain) pickAnywhere(i int) Verdict {
	sel := &c.selectors[i]
	var having []int
	for at := range c.t.Moments {
		n := c.t.Moments[at].Connection
		if c.isPicked(sel, at) && n >= 0 && c.own.of[n] != foreign && !slices.Contains(having, n) {
			having = append(having, n)
		}
	}
	switch len(having) {
	case 0:
		return c.selectsNothing(sel, -1)
	case 1:
		if cause := c.hidden(c.gapsAt(sel)); cause != "" && c.rivals(sel, having[0]) {
			c.doubt(fmt.Sprintf("another connection may have had a packet %s: %s", packetSelectorText(&sel.Packet), cause))
		}
		return c.take(i, having[0])
	}
	return c.ambiguous(sel, "matches packets of", len(having))
}

// rivals reports whether another connection could have had the packet as well.
func (c *chain) rivals(sel *experiment.MomentSelector, connection int) bool {
	for n := range c.t.Connections {
		if n != connection && c.own.of[n] != foreign && c.fits(sel, n) {
			return true
		}
	}
	return false
}

// take picks the first packet of a connection that the i-th selector names.
func (c *chain) take(i, connection int) Verdict {
	for at := range c.t.Moments {
		if c.t.Moments[at].Connection == connection && c.isPicked(&c.selectors[i], at) {
			c.at[i] = at
			if c.own.of[connection] == unclear {
				c.doubt(c.unclearText(connection))
			}
			return Verdict{}
		}
	}
	return c.selectsNothing(&c.selectors[i], connection)
}

func (c *chain) doubt(cause string) {
	if !slices.Contains(c.doubts, cause) {
		c.doubts = append(c.doubts, cause)
	}
}

// ofHomeless rules on a packet beside a call whose connection nobody knows.
func (c *chain) ofHomeless(sel *experiment.MomentSelector, call *Event) Verdict {
	for at := range c.t.Moments {
		n := c.t.Moments[at].Connection
		if n >= 0 && c.isPicked(sel, at) && c.own.mayBe(call, n) {
			return Verdict{Ruling: CannotTell, Moments: []int{at}, Reason: fmt.Sprintf(
				"which connection %s of lane %s was for is not known, so nobody can tell whether a packet %s is of it",
				callText(call.Call), call.Call.Lane, packetSelectorText(&sel.Packet))}
		}
	}
	v := c.selectsNothing(sel, -1)
	v.Reason = fmt.Sprintf("%s; %s of lane %s has no connection on record", v.Reason, callText(call.Call), call.Call.Lane)
	return v
}

// callsBeside are the moments of the nearest call before the i-th moment and of the
// nearest after it that are of a connection, or should be.
func (c *chain) callsBeside(i int) []int {
	var beside []int
	for n := i - 1; n >= 0; n-- {
		if c.connected(n) {
			beside = append(beside, c.at[n])
			break
		}
	}
	for n := i + 1; n < len(c.selectors); n++ {
		if c.connected(n) {
			return append(beside, c.at[n])
		}
	}
	return beside
}

// connected reports whether the n-th moment is of a call that has a connection or
// should have one.
func (c *chain) connected(n int) bool {
	if ofPacket(&c.selectors[n]) {
		return false
	}
	m := &c.t.Moments[c.at[n]]
	return m.Connection >= 0 || c.own.homelessCall(m.Event) != nil
}

func (c *chain) calls() []int {
	var calls []int
	for n, at := range c.at {
		if !ofPacket(&c.selectors[n]) {
			calls = append(calls, at)
		}
	}
	return calls
}

// packetsBefore are the connections of the packets before the i-th moment.
func (c *chain) packetsBefore(i int) []int {
	var moments []int
	for n := range i {
		if ofPacket(&c.selectors[n]) {
			moments = append(moments, c.at[n])
		}
	}
	return c.connectionsOf(moments)
}

func (c *chain) connectionsOf(moments []int) []int {
	var all []int
	for _, at := range moments {
		if n := c.t.Moments[at].Connection; n >= 0 && !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	return all
}

func intersection(a, b []int) []int {
	var both []int
	for _, n := range a {
		if slices.Contains(b, n) {
			both = append(both, n)
		}
	}
	return both
}

func (c *chain) fits(sel *experiment.MomentSelector, connection int) bool {
	host, ok := c.hosts[sel.Host]
	return ok && c.own.fits(connection, sel.Packet.From, sel.Packet.To, host, directionOf(sel))
}

// ambiguous is the verdict on a packet that several connections may be meant for.
func (c *chain) ambiguous(sel *experiment.MomentSelector, how string, connections int) Verdict {
	advice := "name a call of the one you mean"
	if sel.Packet.From == "" || sel.Packet.To == "" {
		advice += ", or give the ends: A>B SYN"
	}
	return Verdict{Ruling: CannotTell, Reason: fmt.Sprintf("%s %s %d connections; %s", momentSelectorText(sel), how, connections, advice)}
}
