package agent

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	synclinev1 "syncline/proto/syncline/v1"
)

// maxWaiting bounds the traces that wait for the calls that tell whose they are.
const maxWaiting = 1 << 16

// closedState is the state of the kernel's own sockets, which it answers from for those
// that are gone: TCP_CLOSE.
const closedState = 7

// sharing sorts what the kernel tells of a network namespace in which several hosts of
// the run are: each of their tracers hears all of it. An event is told by the host whose
// own the local end is, and all hosts decide alike. Addresses decide but for 127.0.0.1 and
// the unspecified ones, which any host may have; there ports decide, of which a lane's
// calls on its own sockets have told by the end of the repetition.
//
// Its methods are safe for concurrent use.
type sharing struct {
	// here are the addresses of the run in this namespace, and others those that are not
	// this host's own.
	here   []netip.Addr
	others map[netip.Addr]bool
	// at127 is true if 127.0.0.1 is this host's own address.
	at127 bool
	emit  func(...*synclinev1.Event)
	// unsure is told once a repetition of events that each of the hosts tells.
	unsure func(events int)

	mu sync.Mutex
	// ports are those of this host's sockets at addresses of any host, in this repetition
	// and the one before.
	ports, before map[uint16]bool
	waiting       []*synclinev1.Event
	// lost are those for which there was no room: of this host or of another.
	lost lostEvents
}

// shares finds out whether another host of the run is in this network namespace; nil if
// none is.
func (r *run) shares() (*sharing, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list this host's addresses, to learn if others of the run are here: %w", err)
	}
	here := func(a netip.Addr) bool {
		return slices.ContainsFunc(all, func(i net.Addr) bool {
			n, ok := i.(*net.IPNet)
			return ok && (n.IP.Equal(a.AsSlice()) || n.IP.IsLoopback() && n.Contains(a.AsSlice()))
		})
	}
	if !slices.ContainsFunc(r.peers, here) {
		return nil, nil
	}
	s := &sharing{others: map[netip.Addr]bool{}, at127: r.own == loopback4, ports: map[uint16]bool{}, emit: r.emit}
	for _, a := range r.flows.Addresses {
		if here(a) {
			s.here = append(s.here, a)
		}
	}
	for _, a := range r.peers {
		s.others[a.Unmap().WithZone("")] = true
	}
	s.unsure = func(events int) {
		r.mark(r.armedFor, synclinev1.MarkKind_MARK_KIND_SOURCE_REDUCED, fmt.Sprintf(
			"%s: other hosts of the run are in this network namespace, and of %d events nobody can tell whose they are: each host tells them",
			sourceName(synclinev1.Source_SOURCE_TCP_STATES), events), 0)
	}
	return s, nil
}

// called learns the port of one of this host's sockets.
func (s *sharing) called(c *synclinev1.Call) {
	local, err := netip.ParseAddrPort(c.GetLocalAddress())
	// Unix sockets have no port, and most calls bring no address.
	if err != nil || local.Port() == 0 || !anybodys(local.Addr()) {
		return
	}
	s.mu.Lock()
	s.ports[local.Port()] = true
	s.mu.Unlock()
}

// anybodys are the addresses that tell nothing: Linux sends from 127.0.0.1 to any other
// address of the loopback interface, and a socket may be at all addresses.
func anybodys(a netip.Addr) bool {
	return a.IsUnspecified() || a.Unmap() == loopback4 || a == netip.IPv6Loopback()
}

// told emits what is this host's, and keeps what calls have to decide.
func (s *sharing) told(events ...*synclinev1.Event) {
	mine := make([]*synclinev1.Event, 0, len(events))
	s.mu.Lock()
	for _, e := range events {
		t := e.GetTrace()
		if t == nil {
			mine = append(mine, e)
			continue
		}
		arrived(t)
		local, err := netip.ParseAddrPort(t.LocalAddress)
		switch a := local.Addr(); {
		case (err != nil || anybodys(a)) && len(s.waiting) < maxWaiting:
			s.waiting = append(s.waiting, e)
		case err != nil || anybodys(a):
			s.lost.add(1, e.TimeNs, e.TimeNs)
		case !s.others[a]:
			mine = append(mine, e)
		}
	}
	s.mu.Unlock()
	s.emit(mine...)
}

// arrived gives a drop the end that it was dropped at. On its way out a packet has the
// socket that it is from, be it one of the kernel's own; without any, it was on its way in.
func arrived(t *synclinev1.Trace) {
	if t.Kind != synclinev1.TraceKind_TRACE_KIND_DROP || t.Direction != synclinev1.Direction_DIRECTION_UNSPECIFIED {
		return
	}
	switch {
	case t.State == 0:
		t.LocalAddress, t.PeerAddress = t.PeerAddress, t.LocalAddress
		t.Direction = synclinev1.Direction_DIRECTION_IN
	case t.State == closedState && t.Cookie == 0:
		t.Direction = synclinev1.Direction_DIRECTION_OUT
	}
}

// settle decides what still waits. It is called when the calls of a repetition are on
// record, before the next begins.
func (s *sharing) settle() {
	s.decide()
	s.mu.Lock()
	s.before, s.ports = s.ports, map[uint16]bool{}
	s.mu.Unlock()
}

// decide emits what waits and is this host's by its port, or by that which its socket has
// in another event. What has no port at all each host tells.
func (s *sharing) decide() {
	s.mu.Lock()
	waiting := s.waiting
	s.waiting = nil
	ofCookie := map[uint64]uint16{}
	for _, e := range waiting {
		if t := e.GetTrace(); t.Cookie != 0 && port(t) != 0 {
			ofCookie[t.Cookie] = port(t)
		}
	}
	var mine []*synclinev1.Event
	if s.lost.count > 0 {
		mine = append(mine, s.lost.event(losing{source: synclinev1.Source_SOURCE_TRACEPOINTS}, fmt.Sprintf("the %d traces that wait for the calls that tell whose they are, of several hosts in this network namespace", maxWaiting)))
		s.lost = lostEvents{}
	}
	unsure := 0
	for _, e := range waiting {
		p := port(e.GetTrace())
		if p == 0 {
			p = ofCookie[e.GetTrace().Cookie]
		}
		if p == 0 {
			unsure++
		}
		// A packet to a port of 127.0.0.1 that no socket has is its host's.
		nobodys := s.at127 && e.GetTrace().Cookie == 0
		if p == 0 || s.ports[p] || s.before[p] || nobodys {
			mine = append(mine, e)
		}
	}
	s.mu.Unlock()
	s.emit(mine...)
	if unsure > 0 {
		s.unsure(unsure)
	}
}

// port is that of the local end, 0 if the kernel has not chosen one.
func port(t *synclinev1.Trace) uint16 {
	local, err := netip.ParseAddrPort(t.LocalAddress)
	if err != nil {
		return 0
	}
	return local.Port()
}

// share has the tracer's events sorted from now on, or with nil no more.
func (r *run) share(s *sharing) {
	r.mu.Lock()
	r.sharing = s
	r.mu.Unlock()
}

// shared is nil unless hosts of the run are together in a namespace that is traced.
func (r *run) shared() *sharing {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sharing
}
