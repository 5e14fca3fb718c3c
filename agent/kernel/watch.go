package kernel

import (
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// Pauses between two looks of a StateWatch: by the socket's own addresses or
// descriptor, in microseconds of work; and by a walk over all sockets of the machine,
// while nothing else is known of it.
const (
	findPause = 500 * time.Microsecond
	walkPause = time.Millisecond
)

// StateWatch waits until the kernel shows a TCP state of one socket. It looks every
// half millisecond, so a shorter stay in the state may be missed. If what it sees then
// can only be reached through the wanted state, the state counts as passed: ESTABLISHED
// after CLOSE tells of SYN_SENT. TIME_WAIT tells of neither FIN_WAIT2 nor CLOSING, and
// a socket that is gone tells of nothing but CLOSED.
//
//   - Close means that the socket has been in another state, and is in none now;
//     or that it is gone. One that was just made is not closed yet.
//   - SynRecv of a listener means one of its request sockets. Of connections that it has
//     taken nothing is said: they are sockets of their own.
//   - TimeWait means the mini socket that stays when the socket itself is closed.
//
// The zero value of Cookie is no socket. Set the fields before Run; Found alone may be
// called while Run is under way.
type StateWatch struct {
	// Cookie names the socket: SocketCookie, asked as soon as it was made.
	Cookie uint64
	// Descriptor of the socket in this process, -1 if another process has it. It is
	// looked through, never kept: the lane may close it at any time, and another
	// socket may get its number.
	Descriptor int
	// Accepted says that the socket came from accept(2), and began in SYN_RECV.
	Accepted bool
	Wanted   State

	mu            sync.Mutex
	local, remote netip.AddrPort
}

// Found tells the addresses of a socket that was connected, which spares Run the
// search for a socket of another process; and if it is not there any more, Run knows
// that it was. Any goroutine may call it at any time.
func (w *StateWatch) Found(local, remote netip.AddrPort) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.local = netip.AddrPortFrom(local.Addr().Unmap().WithZone(""), local.Port())
	w.remote = netip.AddrPortFrom(remote.Addr().Unmap().WithZone(""), remote.Port())
}

func (w *StateWatch) addresses() (local, remote netip.AddrPort) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.local, w.remote
}

// Sighting is how a StateWatch saw what it looked for.
type Sighting struct {
	// TimeNs is CLOCK_MONOTONIC right after the look: the state was reached before.
	TimeNs int64
	// State that was seen: the wanted one, or one that it must have passed.
	State State
	// Was is the state that the last look before showed, of a socket that was there then,
	// and WasNs CLOCK_MONOTONIC right before that look: the socket had not left the state
	// yet. WasNs is 0 if no look showed any.
	Was   State
	WasNs int64
	// Local and Remote are the socket's addresses, not valid if they are not known.
	Local, Remote netip.AddrPort
}

// MissedError says that a socket cannot come to the wanted state any more.
type MissedError struct {
	Wanted State
	// Seen are the states that were seen, in order.
	Seen []State
}

func (e *MissedError) Error() string {
	return fmt.Sprintf("the socket is gone and was not seen in %v, only in %v: it was there for less than %v, or never",
		e.Wanted, e.Seen, findPause)
}

// path follows one socket on the diagram.
type path struct {
	wanted State
	// last is where the socket was at the last look, or began.
	last State
	seen []State
}

func newPath(wanted State, accepted bool) path {
	p := path{wanted: wanted, last: Close}
	if accepted {
		p.last = SynRecv
	}
	return p
}

// step takes the path to what was seen now, and reports whether the wanted state was
// reached on the way. A socket that was connected, as somebody else knows, is no new
// one when it is seen in Close first.
func (p *path) step(now State, connected bool) bool {
	from := p.last
	p.last = now
	if now != from || len(p.seen) == 0 {
		p.seen = append(p.seen, now)
	}
	switch {
	case p.wanted == Close:
		return now == Close && (from != Close || connected)
	case now == Close:
		// An accepted socket has its SYN_RECV behind it.
		return from == p.wanted
	case from != now && !leads(from, now, 0):
		// Connected anew: what was before is of another connection.
		from = Close
	}
	return passed(from, now, p.wanted)
}
