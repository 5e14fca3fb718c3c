package timeline

import (
	"fmt"
	"slices"
	"strings"

	"syncline/controller/experiment"
)

// states judges the path of TCP states of a socket: of each copy of a lane, and of
// each connection that the name was used for. The path must match as a whole.
//
// Traces prove states by themselves. Where there are none, states are inferred from the
// packets at the socket's own host and from its calls, so a record with a hole at that host
// leaves a path in doubt, whatever it says. A listening socket has a path of its own, told
// from its traces, else from its calls: CLOSED, LISTEN, CLOSED.
func (tr *trial) states(e *experiment.StatesExpectation) Verdict {
	v := Verdict{Ruling: Pass}
	names := tr.socketNames(&e.Of)
	if len(names) == 0 {
		tr.empty = true
		return Verdict{Ruling: Fail, Reason: "selects nothing: no lane has a socket " + socketSelectorText(&e.Of)}
	}
	nothing := 0
	for _, name := range names {
		paths := tr.pathsOf(&e.Of, name)
		if len(paths) == 0 {
			nothing++
			v = worse(v, tr.absent(fmt.Sprintf("selects nothing: %s was no end of a connection and no listener", name), tr.socketCause(name)))
		}
		for i := range paths {
			one := tr.path(e, name, &paths[i])
			if one.Ruling == v.Ruling && v.Ruling == Pass {
				v.Moments = append(v.Moments, one.Moments...)
			}
			v = worse(v, one)
		}
	}
	tr.empty = nothing == len(names)
	return v
}

// walk is the states of one socket of one connection.
type walk struct {
	states []State
	// doubt says why they may not be right, and where of several connections they are.
	doubt, where string
}

func (tr *trial) pathsOf(sel *experiment.SocketSelector, name SocketName) []walk {
	var paths []walk
	for _, ref := range tr.t.EndsOf(name.Lane, name.Socket) {
		if !tr.isLabelled(sel, ref) {
			continue
		}
		end := tr.t.Connections[ref.Connection].End(ref.End)
		doubt := tr.t.StateDoubt(ref.Connection, ref.End)
		onPackets := gapsOf(Packets, end.Host)
		isProven := tr.t.stateProven(ref)
		if cause := tr.hidden(func(g *gap) bool { return onPackets(g) && !(isProven && g.source == Packets) }); doubt == "" {
			doubt = cause
		}
		if cause := tr.hidden(gapsOf(Syscalls, end.Host)); doubt == "" {
			doubt = cause
		}
		paths = append(paths, walk{end.States, doubt, tr.onConnection(ref.Connection)})
	}
	if len(paths) == 0 {
		if states := tr.listenerStates(name); states != nil {
			states, isProven := tr.t.tracedListener(states)
			doubt := tr.hidden(gapsOf(Syscalls, tr.lanes[name.Lane]))
			if !isProven {
				doubt = tr.listenerDoubt(name)
			}
			paths = append(paths, walk{states: states, doubt: doubt})
		}
	}
	return paths
}

// socketCause is the cause for which a connection of a socket may be missing from the
// record.
func (tr *trial) socketCause(name SocketName) string {
	host := tr.lanes[name.Lane]
	if cause := tr.hidden(gapsOf(Syscalls, host)); cause != "" {
		return cause
	}
	return tr.hidden(gapsOf(Packets, host))
}

func (tr *trial) path(e *experiment.StatesExpectation, name SocketName, p *walk) Verdict {
	v := Verdict{Ruling: Pass}
	var went []string
	for _, s := range p.states {
		went = append(went, s.Name)
		if s.Moment >= 0 {
			v.Moments = append(v.Moments, s.Moment)
		}
	}
	if !pathMatches(e.Path, went) {
		v.Ruling = Fail
		v.Reason = fmt.Sprintf("%s%s went %s, expected %s", name, p.where, strings.Join(went, ", "), strings.Join(e.Path, ", "))
	}
	if p.doubt != "" {
		return doubted(v, p.doubt)
	}
	return v
}

// pathMatches matches states against a pattern in which "..." is any number of them.
func pathMatches(pattern, went []string) bool {
	// at holds which terms of the pattern may come next.
	at := make([]bool, len(pattern)+1)
	at[0] = true
	pass := func() {
		for i := range pattern {
			if at[i] && pattern[i] == "..." {
				at[i+1] = true
			}
		}
	}
	pass()
	for _, state := range went {
		next := make([]bool, len(pattern)+1)
		for i := range pattern {
			switch {
			case !at[i]:
			case pattern[i] == "...":
				next[i] = true
			case pattern[i] == state:
				next[i+1] = true
			}
		}
		at = next
		pass()
	}
	return at[len(pattern)]
}

// listenerStates is the path of a listening socket, nil if the socket never listened.
// The lab's own close of a socket that its lane left open counts as any other.
func (tr *trial) listenerStates(name SocketName) []State {
	var states []State
	listened := false
	for i := range tr.t.Moments {
		m := &tr.t.Moments[i]
		c := m.Event.Call
		if c == nil || m.Edge != Return || c.Errno != 0 || c.EndedBy != EndedByKernel || c.Lane != name.Lane {
			continue
		}
		switch {
		case c.Name == "socket" && c.Makes == name.Socket:
			states = []State{inferred(stateClosed, i, KnownCall)}
		case c.Name == "listen" && c.Socket == name.Socket && !listened:
			listened = true
			if len(states) == 0 {
				states = []State{inferred(stateClosed, -1, KnownOrder)}
			}
			states = append(states, inferred(stateListen, i, KnownCall))
		case listened && c.Socket == name.Socket && (c.Name == "close" || c.Name == "shutdown" && c.Arguments != "WR"):
			if states[len(states)-1].Name == stateListen {
				states = append(states, inferred(stateClosed, i, KnownCall))
			}
		}
	}
	if !listened {
		return nil
	}
	return states
}

// listenerDoubt is why a listener may not be closed when its name is: another
// descriptor of it may be open.
func (tr *trial) listenerDoubt(name SocketName) string {
	for i := range tr.exp.Lanes {
		if tr.exp.Lanes[i].ForkedBy == name.Lane {
			return fmt.Sprintf("lane %s may hold it as well", tr.exp.Lanes[i].Name)
		}
	}
	for _, c := range tr.calls {
		if c.Name == "dup" && c.Lane == name.Lane && c.Socket == name.Socket {
			return fmt.Sprintf("%s may hold it as well", SocketName{name.Lane, c.Makes})
		}
	}
	return tr.hidden(gapsOf(Syscalls, tr.lanes[name.Lane]))
}

// final judges the states of sockets when all lanes had ended, as sock_diag(7) showed
// them. A socket that it did not show is CLOSED, if nothing is known to be missing.
func (tr *trial) final(e *experiment.FinalExpectation) Verdict {
	v := Verdict{Ruling: Pass}
	nothing, all := 0, 0
	for i := range e.Of {
		for _, name := range tr.socketNames(&e.Of[i]) {
			all++
			one, empty := tr.finalOf(e.State, &e.Of[i], name)
			if empty {
				nothing++
			}
			if one.Ruling == v.Ruling && v.Ruling == Pass {
				v.Moments = append(v.Moments, one.Moments...)
			}
			v = worse(v, one)
		}
	}
	tr.empty = nothing == all
	if all == 0 {
		return Verdict{Ruling: Fail, Reason: "selects nothing: no lane has such a socket"}
	}
	return v
}

// finalOf judges one socket, on all connections it was used for.
func (tr *trial) finalOf(want string, sel *experiment.SocketSelector, name SocketName) (v Verdict, empty bool) {
	v = Verdict{Ruling: Pass}
	found := false
	for _, ref := range tr.t.EndsOf(name.Lane, name.Socket) {
		if !tr.isLabelled(sel, ref) {
			continue
		}
		found = true
		c := &tr.t.Connections[ref.Connection]
		own, peer := c.End(ref.End), c.End(1-ref.End)
		if at := tr.t.succeeded(ref); at >= 0 {
			// What the dump shows between these addresses is the later connection.
			one := decide(want == stateClosed, want != stateClosed, fmt.Sprintf("%s was no more in the end (CLOSED), its addresses were used again; expected %s", name, want))
			one.Moments = []int{at}
			v = worse(v, one)
			continue
		}
		v = worse(v, tr.finalState(want, name, own.Host, func(s *SocketState) bool {
			return plain(s.Local) == plain(own.socketAddress()) && plain(s.Peer) == plain(peer.Address)
		}))
	}
	if found {
		return v, false
	}
	for _, l := range tr.listeners(&experiment.SocketSelector{Lane: name.Lane, Socket: name.Socket}) {
		found = true
		v = worse(v, tr.finalState(want, name, l.host, func(s *SocketState) bool { return s.Peer.Port() == 0 && l.has(s.Local) }))
	}
	if found {
		return v, false
	}
	return tr.absent(fmt.Sprintf("selects nothing: %s was no end of a connection and no listener", name), tr.socketCause(name)), true
}

func (tr *trial) finalState(want string, name SocketName, host int, is func(*SocketState) bool) Verdict {
	if host < 0 {
		return Verdict{Ruling: CannotTell, Reason: fmt.Sprintf("%s is on no host of the run", name)}
	}
	at := -1
	for i := range tr.t.Moments {
		e := tr.t.Moments[i].Event
		if e.Socket != nil && e.Socket.Final && e.Host == host && is(e.Socket) {
			at = i
		}
	}
	if at >= 0 {
		have := StateName(tr.t.Moments[at].Event.Socket.State)
		v := decide(have == want, have != want, fmt.Sprintf("%s was %s in the end, expected %s", name, have, want))
		v.Moments = []int{at}
		return v
	}
	v := decide(want == stateClosed, want != stateClosed, fmt.Sprintf("%s was no more in the end (CLOSED), expected %s", name, want))
	if cause := tr.dumpCause(host); cause != "" {
		return doubted(v, cause)
	}
	return v
}

// dumpCause is the cause for which a socket may be missing from the last dump of a
// host's sockets.
func (tr *trial) dumpCause(host int) string {
	if !slices.Contains(tr.exp.Observe, string(TCPStates)) {
		return "the experiment does not observe tcp-states"
	}
	touches := gapsOf(TCPStates, host)
	return tr.hidden(func(g *gap) bool {
		// A dump rests on no trace.
		return touches(g) && g.kind != gapBusy && !(g.loss != nil && g.loss.Source == Tracepoints)
	})
}
