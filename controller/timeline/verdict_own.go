package timeline

import (
	"fmt"
	"slices"
	"strings"

	"syncline/controller/clock"
)

// belonging says whose a connection is.
type belonging int

const (
	// ours: a call of the experiment worked on it.
	ours belonging = iota + 1
	// unclear: no call on record did, but one may have: calls are missing from the
	// record, or a call is there of which nobody knows what it opened.
	unclear
	// foreign: somebody else's traffic between the hosts of the run.
	foreign
)

// ownership tells the experiment's own connections from those that merely were
// there. It is worked out once for a timeline and then only read.
type ownership struct {
	t *Timeline
	// of is by connection, and why says for an unclear one what makes it so.
	of  []belonging
	why []string
	// seen holds which hosts' taps saw a connection, and the moment of its first
	// packet there.
	seen map[sight]int
	// opened and accepted are the connections whose connect and accept is on record.
	opened, accepted map[int]bool
	// homeless are calls that must have had a connection and are given none: a
	// connect, and an accept that succeeded. sockets are the ones they worked on.
	homeless []*Event
	sockets  map[socketName]*Event
	// others are sockets that are not TCP: their calls have no connection.
	others map[socketName]bool
	// left counts the connections that no call is of; it is 0 if all are meant.
	left int
}

// sight is a connection at one host's tap.
type sight struct{ connection, host int }

func newOwnership(t *Timeline, gaps []gap) *ownership {
	o := &ownership{
		t: t, of: make([]belonging, len(t.Connections)), why: make([]string, len(t.Connections)),
		seen: make(map[sight]int), opened: make(map[int]bool), accepted: make(map[int]bool),
		sockets: make(map[socketName]*Event), others: make(map[socketName]bool),
	}
	connects := 0
	for i := range t.Moments {
		m := &t.Moments[i]
		switch {
		case m.Event.Packet != nil && m.Connection >= 0:
			o.noteSight(sight{m.Connection, m.Event.Host}, i)
		case m.Event.Call != nil && m.Edge == Enter:
			o.noteCall(m)
			if m.Event.Call.Name == "connect" && !o.others[socketName{m.Event.Host, m.Event.Call.Lane, m.Event.Call.Socket}] {
				connects++
			}
		}
	}
	o.rest(gaps, connects)
	return o
}

func (o *ownership) noteSight(s sight, moment int) {
	if _, ok := o.seen[s]; !ok {
		o.seen[s] = moment
	}
}

// mayBeTCP reports whether the arguments of a socket(2) are those of a TCP socket, or
// tell nothing.
func mayBeTCP(arguments string) bool {
	for _, other := range []string{"AF_UNIX", "SOCK_DGRAM", "SOCK_RAW"} {
		if strings.Contains(arguments, other) {
			return false
		}
	}
	return true
}

func (o *ownership) noteCall(m *Moment) {
	c := m.Event.Call
	on, makes := socketName{m.Event.Host, c.Lane, c.Socket}, socketName{m.Event.Host, c.Lane, c.Makes}
	switch {
	case c.Name == "socket":
		o.others[makes] = !mayBeTCP(c.Arguments)
	case o.others[on]:
		if c.Makes != "" {
			o.others[makes] = true
		}
	case m.Connection >= 0:
		o.of[m.Connection] = ours
		o.opened[m.Connection] = o.opened[m.Connection] || c.Name == "connect"
		o.accepted[m.Connection] = o.accepted[m.Connection] || isAccept(c)
	case c.Name == "connect":
		o.homeless = append(o.homeless, m.Event)
		o.sockets[on] = m.Event
	case isAccept(c) && c.Result >= 0:
		o.homeless = append(o.homeless, m.Event)
		o.sockets[makes] = m.Event
	}
}

// rest rules on the connections that no call on record is of. Where no call has a
// connection, none is unclear and nothing on record connects, the experiment watches
// what others do: all of it is meant.
func (o *ownership) rest(gaps []gap, connects int) {
	watching := connects == 0 && !slices.Contains(o.of, ours)
	for i := range o.of {
		if o.of[i] != 0 {
			continue
		}
		o.left++
		o.of[i] = foreign
		if o.why[i] = o.doubt(i, gaps); o.why[i] != "" {
			o.of[i], watching = unclear, false
		}
	}
	if watching {
		o.left = 0
		for i := range o.of {
			o.of[i] = ours
		}
	}
}

// doubt is the cause for which a connection without calls may be the experiment's
// all the same, empty if it is not.
func (o *ownership) doubt(connection int, gaps []gap) string {
	for _, e := range o.homeless {
		if o.mayBe(e, connection) {
			return fmt.Sprintf("%s of lane %s may be of it", callText(e.Call), e.Call.Lane)
		}
	}
	c := &o.t.Connections[connection]
	var causes []string
	for i := range gaps {
		g := &gaps[i]
		touches := g.host < 0 || g.host == c.Client.Host || g.host == c.Server.Host
		if touches && g.hidesCalls() {
			causes = append(causes, g.text)
		}
	}
	return strings.Join(causes, "; ")
}

// hidesCalls reports whether calls that were made may be absent because of the gap.
// A busy socket sends packets and calls nothing.
func (g *gap) hidesCalls() bool {
	return g.hides() && g.kind != gapBusy && (g.source == "" || g.source == Syscalls)
}

// mayBe reports whether a homeless call may have been the one that opened or
// accepted a connection.
func (o *ownership) mayBe(e *Event, connection int) bool {
	c := &o.t.Connections[connection]
	if isAccept(e.Call) {
		return c.Server.Host == e.Host && !o.accepted[connection]
	}
	if o.opened[connection] {
		return false
	}
	peer := plain(e.Call.Peer)
	if !peer.IsValid() || peer.Port() == 0 {
		peer = target(e.Call.Arguments)
	}
	for _, ends := range [][2]*End{{&c.Client, &c.Server}, {&c.Server, &c.Client}} {
		if ends[0].Host == e.Host && (!peer.IsValid() || ends[1].Address == peer) {
			return o.beganDuring(e, connection)
		}
	}
	return false
}

// beganDuring reports whether the first packet of a connection at the host of a call
// is not outside the call, by that host's clocks.
func (o *ownership) beganDuring(e *Event, connection int) bool {
	first, ok := o.seen[sight{connection, e.Host}]
	if !ok {
		return true
	}
	p := o.t.Moments[first].Event
	slack := max(slackOf(p), clock.Local(0))
	return p.At >= e.At-slack && p.At <= e.Call.Return+slack
}

// homelessCall is the call that should have given a connection to the socket that e
// works on or makes, nil if that socket has its connection or needs none.
func (o *ownership) homelessCall(e *Event) *Event {
	if isAccept(e.Call) && e.Call.Result < 0 {
		return nil
	}
	name := socketName{e.Host, e.Call.Lane, e.Call.Socket}
	if e.Call.Makes != "" {
		name.socket = e.Call.Makes
	}
	return o.sockets[name]
}

// fits reports whether a connection can have a packet with these ends at the tap of
// a host. Empty roles stand for any host.
func (o *ownership) fits(connection int, from, to string, tap int, d Direction) bool {
	if _, ok := o.seen[sight{connection, tap}]; !ok {
		c := &o.t.Connections[connection]
		if c.Client.Host != tap && c.Server.Host != tap {
			return false
		}
	}
	c := &o.t.Connections[connection]
	for _, ends := range [][2]int{{c.Client.Host, c.Server.Host}, {c.Server.Host, c.Client.Host}} {
		if from != "" && o.t.hostName(ends[0]) != from || to != "" && o.t.hostName(ends[1]) != to {
			continue
		}
		at := ends[0]
		if d == In {
			at = ends[1]
		}
		passing := tap != ends[0] && tap != ends[1]
		if at == tap || passing {
			return true
		}
	}
	return false
}

// warning says how many connections are none of the experiment's. It is empty if
// there is none, and if all there are may be the experiment's: then nothing is told
// apart.
func (o *ownership) warning() string {
	count := make(map[belonging]int)
	for _, b := range o.of {
		count[b]++
	}
	if o.left == 0 || count[ours]+count[foreign] == 0 {
		return ""
	}
	text := "1 connection belongs to no call of this experiment"
	if o.left > 1 {
		text = fmt.Sprintf("%d connections belong to no call of this experiment", o.left)
	}
	switch count[unclear] {
	case 0:
		return text + ": order and packets leave them out, never does not."
	case o.left:
		return text + " that is on record, but may be its own all the same."
	}
	return text + fmt.Sprintf(" that is on record; %d of them may be its own all the same, order and packets leave the others out.", count[unclear])
}
