// Package kernel sees inside: it asks the kernel what a run's sockets, queues and
// counters are.
//
//   - Busy and Quiet: a repetition is over when no socket of its flows may send any
//     more, on any host. Dump lists them all, and EndOrphans ends those that nobody holds.
//   - StateWatch waits for a TCP state of one socket.
//   - QueueWatch samples listeners' queues.
//   - ReadCounters and Delta say which of the host's counters moved.
//
// Sockets come from sock_diag(7), which needs no privilege and covers what no
// descriptor shows: orphans that their process has closed, and connections that
// still wait in a listener's queue. Everything is about the network namespace of the
// calling thread. A dump is not one instant: a socket is seen as it is when the dump
// comes to it, so that new connections must have ended before the answer means
// anything.
//
// DESIGN.md has the costs, and what a look every so often can miss.
package kernel

import (
	"fmt"
	"net/netip"
)

// State is a TCP state by the kernel's number, net/tcp_states.h.
type State uint8

// TCP states, RFC 9293 3.3.2.
const (
	Established State = iota + 1
	SynSent
	SynRecv
	FinWait1
	FinWait2
	TimeWait
	Close
	CloseWait
	LastAck
	Listen
	Closing
	// newSynRecv is a request socket. The kernel reports it as SYN_RECV.
	newSynRecv
)

var stateNames = [...]string{
	Established: "ESTABLISHED", SynSent: "SYN_SENT", SynRecv: "SYN_RECV", FinWait1: "FIN_WAIT1",
	FinWait2: "FIN_WAIT2", TimeWait: "TIME_WAIT", Close: "CLOSE", CloseWait: "CLOSE_WAIT",
	LastAck: "LAST_ACK", Listen: "LISTEN", Closing: "CLOSING", newSynRecv: "SYN_RECV",
}

// String is the name that netstat(8) prints.
func (s State) String() string {
	if int(s) < len(stateNames) && stateNames[s] != "" {
		return stateNames[s]
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// Socket is one TCP socket of this host.
type Socket struct {
	State State
	// Local and Remote; an IPv4 connection of an IPv6 socket has IPv4 addresses.
	Local, Remote netip.AddrPort
	// Inode names the socket in /proc/PID/fd. 0 for an orphan, which has no process,
	// and for a connection that was not accepted yet.
	Inode uint32
	// Cookie is the number the kernel gives a socket for its whole life, TIME_WAIT
	// included: SO_COOKIE. The kernel makes it when it is first asked for.
	Cookie uint64
	// Interface is the index of the link the socket is bound to, 0 if none.
	Interface uint32
	// RecvQueue and SendQueue are bytes that the process has not read and the peer not
	// acknowledged. Of a listener they are connections that wait for accept(2), and the
	// backlog: tcp(7), ss(8).
	RecvQueue, SendQueue uint32
}

// String is "FIN_WAIT1 10.0.0.1:40312 10.0.0.2:8080".
func (s Socket) String() string {
	return fmt.Sprintf("%v %v %v", s.State, s.Local, s.Remote)
}
