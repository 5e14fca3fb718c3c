package timeline

import (
	"slices"
	"strings"
)

// sock is one socket of a host: what socket(2) or accept(2) made. dup(2) and fork give
// it further names; it lives until the last is closed.
type sock struct {
	names []SocketName
	// calls that worked on it, by all its names, in order of time; not accept(2), which
	// works on the queue of a listener.
	calls []*Event
	// stream: a TCP socket, by the arguments of socket(2). other: surely none.
	stream, other bool
	// claims are the connections that it was an end of, in order.
	claims []claim
	// closed is the close(2) of its last name, nil if that is not on record.
	closed *Event
}

// defers reports whether the socket was told to hand on connections only once there
// are data (TCP_DEFER_ACCEPT, tcp(7)), and listens whether it is bound to a port.
func (s *sock) defers() bool {
	on := false
	for _, e := range s.calls {
		if value, ok := strings.CutPrefix(e.Call.Arguments, "IPPROTO_TCP, TCP_DEFER_ACCEPT, "); ok && e.Call.Name == "setsockopt" && e.Call.Errno == 0 {
			on = value != "0"
		}
	}
	return on
}

func (s *sock) listens(port uint16) bool {
	for _, e := range s.calls {
		if e.Call.Name == "bind" && (e.Call.Local.Port() == port || target(e.Call.Arguments).Port() == port) {
			return true
		}
	}
	return false
}

// claim is the call that gave a socket its connection.
type claim struct {
	side
	event *Event
}

// claimedBefore is the last connection that a call before e gave the socket, nil if
// there is none.
func (s *sock) claimedBefore(e *Event) *side {
	for _, c := range slices.Backward(s.claims) {
		if compareEvents(c.event, e) < 0 {
			return &c.side
		}
	}
	return nil
}

// namesFrom are the socket's names, one of them first.
func (s *sock) namesFrom(first SocketName) []SocketName {
	names := []SocketName{first}
	for _, n := range s.names {
		if n != first {
			names = append(names, n)
		}
	}
	return names
}

// sockets are the sockets of all calls of a repetition.
type sockets struct {
	all []*sock
	// on has the socket that a call worked on, makes the one that it made or named.
	on, makes map[*Event]*sock
	current   map[socketName]*sock
	// forked names the lane that a fork started, empty if that is not known.
	forked func(fork *Event) string
}

// socketName is a socket's name at a host.
type socketName struct {
	host         int
	lane, socket string
}

// newSockets follows the names of sockets through the calls, sorted by host and time.
func newSockets(calls []*Event, forked func(fork *Event) string) *sockets {
	s := &sockets{on: make(map[*Event]*sock), makes: make(map[*Event]*sock), current: make(map[socketName]*sock), forked: forked}
	for _, e := range calls {
		s.note(e)
	}
	return s
}

func (s *sockets) note(e *Event) {
	c := e.Call
	on := socketName{e.Host, c.Lane, c.Socket}
	makes := socketName{e.Host, c.Lane, c.Makes}
	switch {
	case c.Name == "socket":
		made := s.add(makes)
		made.stream = strings.Contains(c.Arguments, "SOCK_STREAM") && !strings.Contains(c.Arguments, "AF_UNIX")
		made.other = !made.stream && strings.Contains(c.Arguments, "SOCK_") || strings.Contains(c.Arguments, "AF_UNIX")
		made.calls = append(made.calls, e)
		s.on[e], s.makes[e] = made, made
		return
	case isAccept(c):
		s.on[e] = s.current[on]
		if c.Result >= 0 && c.Errno == 0 {
			made := s.add(makes)
			made.stream = true
			s.makes[e] = made
		}
		return
	case c.Name == "fork":
		s.fork(e)
		return
	case c.Socket == "":
		return
	}
	sock := s.current[on]
	if sock == nil {
		// Its making is not on record.
		sock = s.add(on)
	}
	sock.calls = append(sock.calls, e)
	s.on[e] = sock
	switch c.Name {
	case "dup":
		if c.Errno == 0 {
			s.bind(makes, sock)
			s.makes[e] = sock
		}
	case "close":
		s.close(on, sock, e)
	}
}

// add makes a new socket with a name.
func (s *sockets) add(name socketName) *sock {
	made := &sock{}
	s.all = append(s.all, made)
	s.bind(name, made)
	return made
}

func (s *sockets) bind(name socketName, sock *sock) {
	s.current[name] = sock
	given := SocketName{name.lane, name.socket}
	if name.socket != "" && !slices.Contains(sock.names, given) {
		sock.names = append(sock.names, given)
	}
}

// close takes a name away. The socket lives on as long as it has another.
func (s *sockets) close(name socketName, sock *sock, e *Event) {
	delete(s.current, name)
	for _, other := range s.current {
		if other == sock {
			return
		}
	}
	sock.closed = e
}

// fork gives the forked lane the sockets of the lane that forked it.
func (s *sockets) fork(e *Event) {
	forked := s.forked(e)
	if e.Call.Errno != 0 || e.Call.Result < 0 || forked == "" {
		return
	}
	var held []socketName
	for name := range s.current {
		if name.host == e.Host && name.lane == e.Call.Lane {
			held = append(held, name)
		}
	}
	slices.SortFunc(held, func(a, b socketName) int { return strings.Compare(a.socket, b.socket) })
	for _, name := range held {
		s.bind(socketName{e.Host, forked, name.socket}, s.current[name])
	}
}
