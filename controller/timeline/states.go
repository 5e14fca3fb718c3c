package timeline

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// Names of TCP states as Linux spells them, RFC 9293 3.3.2.
const (
	stateEstablished = "ESTABLISHED"
	stateSynSent     = "SYN_SENT"
	stateSynRecv     = "SYN_RECV"
	stateFinWait1    = "FIN_WAIT1"
	stateFinWait2    = "FIN_WAIT2"
	stateTimeWait    = "TIME_WAIT"
	stateClosed      = "CLOSED"
	stateCloseWait   = "CLOSE_WAIT"
	stateLastAck     = "LAST_ACK"
	stateListen      = "LISTEN"
	stateClosing     = "CLOSING"
)

// stateNames are the kernel's numbers, include/net/tcp_states.h; 12 is a request
// socket, which is in SYN_RECV as well.
var stateNames = [...]string{
	1: stateEstablished, 2: stateSynSent, 3: stateSynRecv, 4: stateFinWait1, 5: stateFinWait2, 6: stateTimeWait,
	7: stateClosed, 8: stateCloseWait, 9: stateLastAck, 10: stateListen, 11: stateClosing, 12: stateSynRecv,
}

// StateName is the name of a kernel's number of a TCP state, "" if it has none.
func StateName(number int) string {
	if number < 1 || number >= len(stateNames) {
		return ""
	}
	return stateNames[number]
}

// diagram has the transitions of RFC 9293 figure 5 and its notes; any state may
// go to CLOSED.
var diagram = map[string][]string{
	stateClosed:      {stateSynSent, stateSynRecv, stateListen},
	stateListen:      {stateSynRecv, stateSynSent},
	stateSynSent:     {stateSynRecv, stateEstablished},
	stateSynRecv:     {stateEstablished, stateFinWait1},
	stateEstablished: {stateFinWait1, stateCloseWait},
	// The direct way to TIME_WAIT is note 2: one segment has the FIN and acknowledges ours.
	stateFinWait1:  {stateFinWait2, stateClosing, stateTimeWait},
	stateFinWait2:  {stateTimeWait},
	stateClosing:   {stateTimeWait},
	stateCloseWait: {stateLastAck},
}

func inDiagram(from, to string) bool {
	return to == stateClosed && from != stateClosed || slices.Contains(diagram[from], to)
}

// leadsTo reports whether a state comes, at some time, after another.
func leadsTo(from, to string) bool {
	for _, next := range diagram[from] {
		if next == to || leadsTo(next, to) && next != from {
			return true
		}
	}
	return to == stateClosed && from != stateClosed
}

// clue is something that an end of a connection saw or did; exactly one of packet, call
// and dump is set.
type clue struct {
	moment int
	packet *Packet
	// out: this end sent the packet.
	out  bool
	call *Call
	edge Edge
	// last marks a close(2) that took the last name of the socket.
	last bool
	dump *SocketState
}

// inferStates fills in the states of every end.
func (a *assembly) inferStates() {
	a.dumps, a.lastDumpOf = a.lastDumps()
	a.findBetween()
	a.blind = make([]string, len(a.t.Hosts))
	for h := range a.blind {
		a.blind[h] = a.blindness(h)
	}
	lives := a.lives()
	ends := a.settle(lives)
	a.noteBlindEnds(ends)
	clues := a.stateClues()
	a.tracing = make([]bool, len(a.t.Hosts))
	for _, l := range lives {
		a.tracing[l.host] = a.tracing[l.host] || len(l.steps) > 0
	}
	a.t.inferred = true
	a.t.proven = make([][2]bool, len(a.t.Connections))
	for ci := range a.t.Connections {
		c := &a.t.Connections[ci]
		for end := range 2 {
			own, peer := c.End(end), c.End(1-end)
			if own.Host < 0 {
				own.StatesDoubt = fmt.Sprintf("no host of the run has %s", own.Address)
				continue
			}
			p := &path{
				t: a.t, own: own, peer: peer, clues: clues[EndRef{ci, end}],
				deaf:    a.evidence.lost(own.Host, a.repetition, a.repetition, Syscalls) != "",
				passive: end == ServerEnd, deferred: a.deferred(EndRef{ci, end}), blind: a.blindTo(EndRef{ci, end}),
			}
			p.walk()
			a.letGo(p, EndRef{ci, end}, ends)
			p.bounds()
			if why := a.disputed[EndRef{ci, end}]; why != "" && (p.blind != "" || p.deaf || ends[EndRef{ci, end}] == nil && !p.isHeard()) {
				own.StatesDoubt = why
			} else {
				own.StatesDoubt = a.judge(p, EndRef{ci, end}, ends)
			}
			a.t.proven[ci][end] = p.proven
			p.tighten()
			own.States = p.states
		}
	}
	a.checkLives(lives, ends)
	a.attach()
}

// judge holds what was inferred of an end against the traces and the dumps, and answers
// why its states may not be right.
func (a *assembly) judge(p *path, ref EndRef, lives map[EndRef]*life) (doubt string) {
	l := lives[ref]
	switch {
	case l != nil:
		doubt = a.follow(p, l)
		a.letGo(p, ref, lives)
	case p.blind != "":
		doubt = p.blind
		if loss := a.evidence.lost(p.own.Host, a.repetition, a.repetition, Tracepoints); loss != "" {
			doubt += "; " + loss
		}
	default:
		a.checkUntraced(p)
	}
	if doubt == "" && !p.proven {
		doubt = a.doubtSupposed(p)
	}
	if doubt == "" && !p.proven && p.final == nil && p.outlived {
		doubt = fmt.Sprintf("nobody can tell whether %s took a reset late, or never: it sent on after it, but acknowledged nothing new", a.endName(p.own))
	}
	if doubt == "" && !p.proven && p.final == nil && a.dumps[p.own.Host] < 0 && p.mayHaveGivenUp() {
		doubt = fmt.Sprintf("%s sent again and again what brought it to %s, and no dump on record tells whether it gave up", a.endName(p.own), p.now())
	}
	if against := a.check(p); against != "" {
		a.against = append(a.against, against+".")
		p.proven = false
		return against
	}
	return doubt
}

// blindness is why packets of a host may be missing from the record, empty if none is.
func (a *assembly) blindness(host int) string {
	if a.experiment != nil && len(a.experiment.Observe) > 0 && !slices.Contains(a.experiment.Observe, string(Packets)) {
		return "the experiment does not observe packets"
	}
	return a.evidence.complete(host, a.repetition, Packets)
}

// noteBlindEnds finds the ends that went on after their repetition, and of which packets
// may be missing from a later one.
func (a *assembly) noteBlindEnds(ends map[EndRef]*life) {
	until := make([]int, len(a.t.Connections))
	for i := range a.t.Moments {
		if m := &a.t.Moments[i]; m.Connection >= 0 && m.Event.Packet != nil {
			until[m.Connection] = max(until[m.Connection], m.Event.Repetition)
		}
	}
	a.blindEnds = make(map[EndRef]string)
	for ci := range a.t.Connections {
		for end := range 2 {
			ref, last := EndRef{ci, end}, until[ci]
			own, peer := a.t.Connections[ci].End(end), a.t.Connections[ci].End(1-end)
			host := own.Host
			if l := ends[ref]; l != nil {
				last = max(last, a.until(l, own, peer))
			}
			if host < 0 || last <= a.repetition {
				continue
			}
			if loss := a.evidence.lost(host, a.repetition+1, last, Packets); loss != "" {
				a.blindEnds[ref] = loss + " in a later repetition, and no end of it is on record before that"
			}
		}
	}
}

// blindTo is why packets of an end may be missing from the record of its own host, empty if
// none is.
func (a *assembly) blindTo(ref EndRef) string {
	host := a.t.Connections[ref.Connection].End(ref.End).Host
	if host >= 0 && a.blind[host] != "" {
		return a.blind[host]
	}
	return a.blindEnds[ref]
}

// dumpKey is by what a dump names the end of a connection.
type dumpKey struct {
	host      int
	own, peer netip.AddrPort
}

// stateClues sorts what is on record by the end that it is of.
func (a *assembly) stateClues() map[EndRef][]clue {
	clues := make(map[EndRef][]clue)
	add := func(ref EndRef, f clue) { clues[ref] = append(clues[ref], f) }
	for ci := range a.t.Connections {
		for end := range 2 {
			clues[EndRef{ci, end}] = a.segmentClues(EndRef{ci, end})
		}
	}
	byAddress := make(map[dumpKey][]EndRef)
	for ci := range a.t.Connections {
		for end := range 2 {
			own, peer := a.t.Connections[ci].End(end), a.t.Connections[ci].End(1-end)
			key := dumpKey{own.Host, own.socketAddress(), peer.Address}
			byAddress[key] = append(byAddress[key], EndRef{ci, end})
		}
	}
	begun := newBeginnings(len(a.t.Connections), len(a.t.Hosts))
	for i := range a.t.Moments {
		m := &a.t.Moments[i]
		begun.note(m, i)
		switch e := m.Event; {
		case e.Call != nil:
			if ref, ok := a.sides[i]; ok {
				add(ref, clue{moment: i, call: e.Call, edge: m.Edge, last: a.lastCloses[e]})
			}
		case e.Packet != nil && m.Connection >= 0 && m.Segment < 0 && e.Packet.Direction == In && e.Packet.isICMPError():
			for end := range 2 {
				if own := a.t.Connections[m.Connection].End(end); own.Host == e.Host && own.Address == quotedSource(e.Packet) {
					add(EndRef{m.Connection, end}, clue{moment: i, packet: e.Packet})
				}
			}
		case e.Socket != nil:
			// Ports may have been used again: the dump is of the last that had begun.
			refs := byAddress[dumpKey{e.Host, plain(e.Socket.Local), plain(e.Socket.Peer)}]
			for _, ref := range begun.lastFirst(refs, e.Host) {
				if !a.isSilent(ref, clues[ref]) {
					add(ref, clue{moment: i, dump: e.Socket})
					break
				}
			}
		}
	}
	for ref := range clues {
		slices.SortStableFunc(clues[ref], func(x, y clue) int { return cmp.Compare(x.moment, y.moment) })
	}
	return clues
}

// isSilent reports whether a server's end answered with nothing but resets, if at all: no
// socket ever was behind it.
func (a *assembly) isSilent(ref EndRef, clues []clue) bool {
	return ref.End == ServerEnd && a.blindTo(ref) == "" && !slices.ContainsFunc(clues, func(f clue) bool {
		return f.call != nil || f.out && f.packet.Flags&RST == 0
	})
}

// segmentClues are the packets that an end sent and received, by its own tap. Where
// that tap has not all of them, what the peer's saw stands for what it must have seen.
func (a *assembly) segmentClues(ref EndRef) []clue {
	c, end := &a.t.Connections[ref.Connection], ref.End
	var clues []clue
	seen := make(map[int]bool)
	blind := c.End(end).Host < 0 || a.blindTo(ref) != ""
	for i := range c.Segments {
		s := &c.Segments[i]
		out := s.FromClient == (end == ClientEnd)
		own, other := s.Arrival, s.Departure
		if out {
			own, other = other, own
		}
		if own < 0 && blind && !s.Lost {
			own = other
		}
		if own < 0 || seen[own] {
			continue
		}
		seen[own] = true
		clues = append(clues, clue{moment: own, packet: a.t.Moments[own].Event.Packet, out: out})
	}
	return clues
}

// deferred reports whether the listener of a server's end had TCP_DEFER_ACCEPT: then
// an ACK without data does not complete the handshake (tcp(7)).
func (a *assembly) deferred(ref EndRef) bool {
	if ref.End != ServerEnd {
		return false
	}
	server := &a.t.Connections[ref.Connection].Server
	return a.deferring[listener{server.Host, a.repetition, server.socketAddress().Port()}]
}

// StateDoubt is why the states of an end may not be as End.States has them: packets are
// missing from the record, or the kernel's own word is against them. It is empty if
// nothing speaks against them. End is ClientEnd or ServerEnd.
func (t *Timeline) StateDoubt(connection, end int) string {
	own := t.Connections[connection].End(end)
	switch {
	case own.StatesDoubt != "" || t.inferred:
		return own.StatesDoubt
	case own.Host < 0:
		return fmt.Sprintf("no host of the run has %s", own.Address)
	}
	return t.Complete(own.Host, Packets)
}

// stateProven reports whether traces alone prove the states of an end, so that packets
// that are missing from the record do not matter to them.
func (t *Timeline) stateProven(ref EndRef) bool {
	return ref.Connection < len(t.proven) && t.proven[ref.Connection][ref.End]
}
