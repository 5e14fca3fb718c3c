package timeline

import (
	"fmt"
	"net/netip"
	"slices"
)

// homes finds which end of which connection each life is of.
//
// A socket has a cookie and a connection has addresses and a first sequence number; what
// joins them are the addresses, which the kernel fills in bit by bit, and time: ports are
// used again within a run. A connect(2) that ran while the socket went to SYN_SENT is its
// own; otherwise an opening socket is that of the next SYN that leaves, and an accepted
// one that of the last opening its host had seen.
type homes struct {
	a *assembly
	// byAddress are the ends that a host may call by two addresses, in the order of their
	// connections, and byPeer those that an opening socket without a port may be.
	byAddress map[dumpKey][]EndRef
	byPeer    map[dumpKey][]EndRef
	// opened is the first moment at which an end's own tap saw a packet of it.
	opened map[EndRef]int
	// connects are the calls that open an end: entry and return.
	connects map[EndRef][][2]int
	// accepts are the returns of the calls that accepted an end.
	accepts map[EndRef]int
	// closes are the returns of the calls that closed an end for the last time.
	closes map[EndRef]int
	taken  map[EndRef]*life
}

// settle gives each life its end, and each of its moments the connection.
func (a *assembly) settle(lives []*life) map[EndRef]*life {
	h := &homes{
		a: a, byAddress: make(map[dumpKey][]EndRef), byPeer: make(map[dumpKey][]EndRef),
		opened: make(map[EndRef]int), connects: make(map[EndRef][][2]int), accepts: make(map[EndRef]int), closes: make(map[EndRef]int), taken: make(map[EndRef]*life),
	}
	h.noteEnds()
	h.noteMoments()
	for _, l := range lives {
		if len(l.steps) == 0 || l.listens() || l.isBirth() {
			continue
		}
		if ref, ok := h.of(l); ok {
			h.taken[ref] = l
			for _, s := range l.steps {
				a.t.Moments[s.moment].Connection = ref.Connection
			}
			for _, i := range l.others {
				a.t.Moments[i].Connection = ref.Connection
			}
		}
	}
	a.disputed = h.dispute(lives)
	return h.taken
}

func addressOnly(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr(), 0) }

func (h *homes) noteEnds() {
	for ci := range h.a.t.Connections {
		for end := range 2 {
			own, peer := h.a.t.Connections[ci].End(end), h.a.t.Connections[ci].End(1-end)
			h.note(dumpKey{own.Host, own.socketAddress(), peer.Address}, EndRef{ci, end})
		}
	}
}

func (h *homes) note(key dumpKey, ref EndRef) {
	if !slices.Contains(h.byAddress[key], ref) {
		h.byAddress[key] = append(h.byAddress[key], ref)
	}
	key.own = addressOnly(key.own)
	if !slices.Contains(h.byPeer[key], ref) {
		h.byPeer[key] = append(h.byPeer[key], ref)
	}
}

func (h *homes) noteMoments() {
	entered := make(map[*Event]int)
	for i := range h.a.t.Moments {
		m := &h.a.t.Moments[i]
		switch e := m.Event; {
		case e.Call != nil && m.Edge == Enter:
			entered[e] = i
		case e.Call != nil:
			ref, ok := h.a.sides[i]
			if !ok {
				continue
			}
			if isAccept(e.Call) && e.Call.Result >= 0 {
				h.accepts[ref] = i
			}
			if h.a.lastCloses[e] {
				h.closes[ref] = i
			}
			if e.Call.Name == "connect" {
				h.connects[ref] = append(h.connects[ref], [2]int{entered[e], i})
			}
			if e.Call.Local.Port() != 0 && e.Call.Peer.Port() != 0 {
				// What the socket itself calls its ends, where the host translates either.
				h.note(dumpKey{e.Host, plain(e.Call.Local), plain(e.Call.Peer)}, ref)
			}
		case e.Packet != nil && m.Connection >= 0 && m.Segment >= 0:
			for end := range 2 {
				ref := EndRef{m.Connection, end}
				if _, seen := h.opened[ref]; !seen && h.a.t.Connections[m.Connection].End(end).Host == e.Host {
					h.opened[ref] = i
				}
			}
		}
	}
}

// of is the end that a life is of.
func (h *homes) of(l *life) (EndRef, bool) {
	opens := l.steps[0].from == stateClosed
	// Of a socket whose step to SYN_SENT is lost the next one may tell as well.
	connects := opens || l.steps[0].from == stateSynSent
	candidates := h.byAddress[dumpKey{l.host, l.local, l.peer}]
	whole := l.local.Port() != 0 && l.peer.Port() != 0
	if !whole && opens {
		candidates = h.byPeer[dumpKey{l.host, addressOnly(l.local), l.peer}]
	}
	began := l.steps[0].moment
	if connects {
		var running []EndRef
		for _, ref := range candidates {
			if slices.ContainsFunc(h.connects[ref], func(c [2]int) bool { return c[0] <= began && began <= c[1] }) {
				running = append(running, ref)
			}
		}
		if len(running) == 1 {
			return h.free(running[0], l)
		}
	}
	if !whole {
		return EndRef{}, false
	}
	ref, ok := h.nearest(candidates, l, opens)
	if !ok {
		return EndRef{}, false
	}
	return h.free(ref, l)
}

// dispute finds the ends whose accept(2) returned when another socket between the same
// addresses had been born already: ports are used again, and where packets are missing the
// calls may have been given to the wrong connection.
func (h *homes) dispute(lives []*life) map[EndRef]string {
	disputed := make(map[EndRef]string)
	for _, refs := range h.byAddress {
		for i, ref := range refs {
			accepted, ok := h.accepts[ref]
			if ok && ref.End == ServerEnd && slices.ContainsFunc(refs[i+1:], func(later EndRef) bool { return h.mayBe(later, accepted) }) {
				own, peer := h.a.t.Connections[ref.Connection].End(ServerEnd), h.a.t.Connections[ref.Connection].End(ClientEnd)
				disputed[ref] = fmt.Sprintf("two connections had been opened between %s and %s when accept(2) returned one, and nobody can tell which it was", own.Address, peer.Address)
			}
		}
	}
	for _, later := range lives {
		if len(later.steps) == 0 || later.steps[0].from == stateClosed || later.peer.Port() == 0 {
			continue
		}
		key := dumpKey{later.host, later.local, later.peer}
		for _, ref := range h.byAddress[key] {
			l, accepted := h.taken[ref], h.accepts[ref]
			if l != nil && l != later && l.steps[0].moment < later.steps[0].moment && later.steps[0].moment < accepted {
				disputed[ref] = fmt.Sprintf("two sockets had been between %s and %s when accept(2) returned it, and nobody can tell which it was", later.local, later.peer)
			}
		}
	}
	return disputed
}

// mayBe reports whether a server's end may have been what a call accepted that returned at a
// moment, which another is said to be.
func (h *homes) mayBe(ref EndRef, moment int) bool {
	opened, seen := h.opened[ref]
	_, accepted := h.accepts[ref]
	return ref.End == ServerEnd && (seen && opened < moment || !seen && !accepted)
}

// free answers an end that no life has yet. A request may make a socket that fails before
// it is anybody's, and another after that.
func (h *homes) free(ref EndRef, l *life) (EndRef, bool) {
	has := h.taken[ref]
	return ref, has == nil || has.isStillborn() && l.steps[0].moment > has.steps[len(has.steps)-1].moment
}

// nearest is the candidate that opened next after a life began, and before its next step,
// or last before. If one or more may have whose opening no tap of their host saw, nobody knows
// which; if there is none but one such, it is that.
func (h *homes) nearest(candidates []EndRef, l *life, after bool) (best EndRef, found bool) {
	began, next := l.steps[0].moment, len(h.a.t.Moments)
	if len(l.steps) > 1 {
		next = l.steps[1].moment
	}
	at := -1
	var unseen []EndRef
	for _, ref := range candidates {
		opened, seen := h.opened[ref]
		if seen && !after && opened > began && h.a.t.Moments[opened].Event.Packet.Flags&SYN == 0 {
			// It had opened before, unheard.
			seen = false
		}
		if after && (h.entersAfter(ref, began) || h.closedBefore(ref, began)) {
			continue
		}
		if h.acceptedBefore(ref, l) || l.steps[0].from == stateSynSent && (h.closedBefore(ref, began) || h.connectedBefore(ref, began)) {
			continue
		}
		switch {
		case !seen:
			unseen = append(unseen, ref)
		case after && opened > began && opened < next && (at < 0 || opened < at), !after && opened < began && opened > at:
			best, at, found = ref, opened, true
		}
	}
	switch {
	case len(unseen) == 0:
		return best, found
	case found || len(unseen) > 1:
		return EndRef{}, false
	}
	return unseen[0], true
}

// acceptedBefore reports whether an end was accepted before a life was born, which then is not
// its own. Where the birth is not on record the first step that is may come long after accept(2).
func (h *homes) acceptedBefore(ref EndRef, l *life) bool {
	accepted, ok := h.accepts[ref]
	return ok && accepted < l.steps[0].moment && (l.steps[0].from == stateListen || l.steps[0].from == stateSynRecv && !h.mayBeFastOpen(ref))
}

// mayBeFastOpen reports whether a server's end may have been accepted in SYN_RECV: its SYN had
// data (RFC 7413), or is not on record.
func (h *homes) mayBeFastOpen(ref EndRef) bool {
	opened, seen := h.opened[ref]
	if !seen {
		return true
	}
	k := h.a.t.Moments[opened].Event.Packet
	return k.Flags&(SYN|ACK) != SYN || k.PayloadLength > 0
}

// connectedBefore reports whether a connect(2) of an end had succeeded before a moment: no socket
// that is in SYN_SENT then is its own.
func (h *homes) connectedBefore(ref EndRef, moment int) bool {
	return slices.ContainsFunc(h.connects[ref], func(c [2]int) bool {
		call := h.a.t.Moments[c[1]].Event.Call
		return c[1] < moment && call.Result == 0 && call.Errno == 0 && call.EndedBy <= EndedByKernel
	})
}

// closedBefore reports whether an end was closed before a moment: no socket that begins to open
// then is its own.
func (h *homes) closedBefore(ref EndRef, moment int) bool {
	closed, ok := h.closes[ref]
	return ok && closed < moment
}

// entersAfter reports whether the first connect(2) of an end was entered after a moment: no
// socket that had begun to open then is its own.
func (h *homes) entersAfter(ref EndRef, moment int) bool {
	calls := h.connects[ref]
	return len(calls) > 0 && !slices.ContainsFunc(calls, func(c [2]int) bool { return c[0] <= moment })
}
