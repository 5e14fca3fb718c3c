package experiment

import (
	"slices"
	"strings"
)

// tcpState is one row of the table of states: the name and the number that Linux has
// for it (include/net/tcp_states.h), and the names that others have for it.
type tcpState struct {
	name   string
	number int
	others []string
}

var tcpStates = []tcpState{
	{"CLOSED", 7, []string{"CLOSE"}},
	{"LISTEN", 10, nil},
	{"SYN_SENT", 2, nil},
	{"SYN_RECV", 3, []string{"SYN_RECEIVED", "NEW_SYN_RECV"}},
	{"ESTABLISHED", 1, []string{"ESTAB"}},
	{"FIN_WAIT1", 4, []string{"FIN_WAIT_1"}},
	{"FIN_WAIT2", 5, []string{"FIN_WAIT_2"}},
	{"CLOSE_WAIT", 8, nil},
	{"CLOSING", 11, nil},
	{"LAST_ACK", 9, nil},
	{"TIME_WAIT", 6, nil},
}

func tcpStateNames() []string {
	names := make([]string, len(tcpStates))
	for i, s := range tcpStates {
		names[i] = s.name
	}
	return names
}

// tcpState finds a state by any of its names, those of RFC 9293 with dashes among them.
func (p *reading) tcpState(t phrase) (tcpState, bool) {
	name := strings.ReplaceAll(t.text, "-", "_")
	for _, s := range tcpStates {
		if s.name == name || slices.Contains(s.others, name) {
			return s, true
		}
	}
	p.fault(t.pos(), suggest(t.text, "states", tcpStateNames()), "unknown TCP state %q", shorten(t.text))
	return tcpState{}, false
}

const socketHint = "write lane.socket, as in client.c, or the label of a call"

// socketSelector reads `client.c`, `client[2].c` or a label.
func (p *reading) socketSelector(n *node) (SocketSelector, bool) {
	t, ok := p.scalar(n, "a socket")
	if !ok {
		return SocketSelector{}, false
	}
	return p.socketOf(t)
}

func (p *reading) socketOf(t phrase) (SocketSelector, bool) {
	lane, socket, dotted := t.cut(".")
	if !dotted {
		m, ok := p.labelMoment(ReturnCall, t)
		if ok && m.Socket == "" {
			p.fault(t.pos(), socketHint, "the call with the label %q works on no socket", t.text)
			return SocketSelector{}, false
		}
		return SocketSelector{Lane: m.Lane, Socket: m.Socket, Label: t.text, Text: t.text}, ok
	}
	of, ok := p.momentLane(lane)
	if !ok {
		return SocketSelector{}, false
	}
	known := p.socketsOf(of.lane)
	if !slices.Contains(known, socket.text) {
		if !p.vague.lanes {
			p.fault(socket.pos(), suggest(socket.text, "sockets", known), "the lane %q has no socket %q", lane.text, shorten(socket.text))
		}
		return SocketSelector{}, false
	}
	return SocketSelector{Lane: of.name, Socket: socket.text, Text: t.text}, true
}

// socketsOf are the names of the sockets of a lane, those of the lane that forks it
// among them.
func (p *reading) socketsOf(lane int) []string {
	var names []string
	l := p.exp.Lanes[lane]
	if l.ForkedBy != "" {
		if parent, ok := p.momentLane(flat(l.ForkedBy, l.Pos)); ok && parent.lane != lane {
			names = p.socketsMade(parent.lane)
		}
	}
	for _, name := range p.socketsMade(lane) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func (p *reading) socketsMade(lane int) []string {
	var names []string
	for _, s := range p.exp.Lanes[lane].Steps {
		if s.Makes != "" && !slices.Contains(names, s.Makes) {
			names = append(names, s.Makes)
		}
	}
	return names
}

// states reads a path for each of several sockets.
func (p *reading) states(n *node) {
	if n.kind != mapping || len(n.entries) == 0 {
		p.fault(n.place, "write `states: { client.c: [CLOSED, SYN_SENT, ...] }`", "states is a mapping of sockets to paths, found %s", n.kind.describe())
		return
	}
	p.needs(stateSource, n.place)
	for _, e := range n.entries {
		before := len(p.faults)
		out := &StatesExpectation{}
		if key, ok := p.expand(e.key); ok {
			out.Of, _ = p.socketOf(key)
		}
		path := p.texts(e.value, "a path of states", (*reading).scalar)
		if len(p.faults) == before && (len(path) == 0 || len(path) > MaxTerms) {
			p.fault(e.value.place, "", "a path has from 1 to %d states, found %d", MaxTerms, len(path))
		}
		for _, t := range path {
			if t.text == "..." {
				out.Path = append(out.Path, t.text)
			} else if s, ok := p.tcpState(t); ok {
				out.Path = append(out.Path, s.name)
			}
		}
		if len(p.faults) == before {
			one := &node{kind: mapping, place: e.key.pos(), entries: []entry{e}}
			p.add("states", one, Expectation{States: out})
		}
	}
}

// final reads the sockets of each of several states.
func (p *reading) final(n *node) {
	if n.kind != mapping || len(n.entries) == 0 {
		p.fault(n.place, "write `final: { TIME_WAIT: [client.c] }`", "final is a mapping of states to sockets, found %s", n.kind.describe())
		return
	}
	p.needs(stateSource, n.place)
	for _, e := range n.entries {
		before := len(p.faults)
		out := &FinalExpectation{}
		if s, ok := p.tcpState(e.key); ok {
			out.State = s.name
		}
		for _, t := range p.texts(e.value, "the sockets of a state", (*reading).scalar) {
			if of, ok := p.socketOf(t); ok {
				out.Of = append(out.Of, of)
			}
		}
		if len(p.faults) == before && len(out.Of) == 0 {
			p.fault(e.value.place, socketHint, "no socket is named")
		}
		if len(p.faults) == before {
			one := &node{kind: mapping, place: e.key.pos(), entries: []entry{e}}
			p.add("final", one, Expectation{Final: out})
		}
	}
}

func (p *reading) queue(n *node) {
	values, ok := p.fields(n, "queue", []string{"of", "peak"})
	if !ok {
		return
	}
	before := len(p.faults)
	out := &QueueExpectation{}
	if of, ok := p.socketSelector(values["of"]); ok {
		out.Of = of
		p.listens(of, values["of"])
	}
	peak := values["peak"]
	if peak.kind == mapping {
		bounds := p.keys(peak, "key", []string{"equals", "at_least", "at_most"})
		out.Peak = p.bounds(bounds)
		if len(p.faults) == before && out.Peak == (Bounds{}) {
			p.fault(peak.place, "write `peak: 2` or `peak: { at_least: 1, at_most: 2 }`", "the peak has no bound")
		}
	} else if t, ok := p.scalar(peak, "peak"); ok {
		equals := int64(p.number(t, "peak", 0, 1<<31-1))
		out.Peak.Equals = &equals
	}
	if len(p.faults) == before {
		p.needs("accept-queue", n.place)
		p.add("queue", n, Expectation{Queue: out})
	}
}

// listens faults a socket that no call of its lane makes a listening one.
func (p *reading) listens(of SocketSelector, n *node) {
	lane, ok := p.laneOf(of.Lane)
	if !ok || p.vague.lanes {
		return
	}
	for _, i := range p.stepsOf(lane.lane)["listen"] {
		if p.exp.Lanes[lane.lane].Steps[i].Socket == of.Socket {
			return
		}
	}
	p.fault(n.place, "", "the lane %q never listens on the socket %q: it has no accept queue", of.Lane, of.Socket)
}
