// Package lane runs the lanes of an experiment: system calls on sockets, one after
// another, on an OS thread that does nothing else.
//
// Every call is a real, blocking system call. It is stamped with CLOCK_MONOTONIC
// right before the thread enters the kernel and right after it is back, and is made
// once: nothing is retried, no socket is made non-blocking, no socket option is set
// that the experiment did not ask for. A call that blocks can be ended by the lab's
// limit or by the end of the repetition, which leaves its socket as it is and is
// never mistaken for an errno. A lane leaves no descriptor open.
//
// A Group runs all lanes that one host has in one repetition. Those that can be killed,
// are forked or have limits of their own live in processes of their own, which are this
// very program: its main function calls Child before anything else.
//
// The calls are Linux's. Elsewhere the package builds, and Run returns an error.
// DESIGN.md tells about threads, stamps, signals and processes.
package lane

import (
	"context"
	"errors"
	"net/netip"

	synclinev1 "syncline/proto/syncline/v1"
)

// MaxReceive is the most bytes one recv may ask for: the buffer is set aside before
// the lane's first call.
const MaxReceive = 64 << 20

// MaxOption is the most bytes one getsockopt may ask for.
const MaxOption = 4096

// MaxReported is how many of the bytes that were received become part of the event.
const MaxReported = 64

// MaxInherited is how many sockets one fork can pass on: a message takes so many
// descriptors (SCM_MAX_FD, unix(7)).
const MaxInherited = 253

// ErrUnsupported is how lanes end where there is no Linux.
var ErrUnsupported = errors.New("lanes run on Linux only")

// ErrKilled is how a lane ends whose process was killed by a step of the experiment:
// the steps it had left are not made, and nothing failed.
var ErrKilled = errors.New("killed by a step of the experiment")

// Config is all a lane needs. Its functions are called on the lane's thread, between
// two calls of the lane, and delay the next one. For a lane in a process of its own they
// are called here all the same, on goroutines of the group. Functions of several lanes
// run at the same time.
type Config struct {
	// Lane must not change while it runs.
	Lane *synclinev1.Lane
	// Board has the signals of the repetition, and must know the lane.
	Board *Board
	// Prepare is called before everything else, with the thread already locked, and
	// may change the thread: setns(2), sched_setaffinity(2). The thread dies with the
	// lane; a process of the lane is started by such a thread and inherits what was
	// done to it. Nil does nothing; an error ends the lane.
	Prepare func() error
	// Allow is asked before each connect and sendto, with the address the kernel will
	// be given; its port is 0 for a raw socket. Unix sockets, which stay on the host,
	// are not asked for. Its error is the failure of the call, which is not made then.
	// Nil allows all.
	Allow func(netip.AddrPort) error
	// Emit takes each call once it is through, in order, and the births and deaths of
	// processes. A meeting that a system call follows is told together with that call.
	// The event is the receiver's from then on; TimeNs and Fact are set, number and
	// repetition are not. It must not block.
	Emit func(*synclinev1.Event)
	// Signalled tells of each signal of the lane, right after it was posted on Board,
	// so that other hosts can be told. It must not block. Nil does nothing.
	Signalled func(lane, name string)
	// Arrived tells that the lane has come to a meeting. Whoever hears it answers with
	// Board.Release once the instant is known. It must not block. Nil refuses meetings.
	Arrived func(lane, meeting string)
	// Change makes a change of the host that the experiment names, or takes it back,
	// and returns when that is done; ctx ends with the step's limit or the repetition.
	// Nil refuses changes.
	Change func(ctx context.Context, lane, name string, undo bool) error
	// TCPInfo has TCP_INFO read of a lane's own TCP socket after each call on it, once the
	// call is stamped; it becomes part of the call's event. Of an accept it is that of the
	// new socket. It delays the lane's next call by the getsockopt(2).
	TCPInfo bool
	// Made tells of each socket that got a name, after the call that made it; of a
	// forked lane also of those it began with. It must not block. Nil does nothing, and
	// costs nothing.
	Made func(Socket)
}

// Socket tells which socket a name of a lane stands for, in a way that holds in every
// process.
type Socket struct {
	Lane, Name string
	// Inode is st_ino of fstat(2): what sock_diag(7) calls idiag_inode as long as a
	// descriptor is open.
	Inode uint64
	// Cookie is SO_COOKIE: no other socket of this boot has it. 0 if the kernel has none.
	Cookie uint64
	// Descriptor is its number in this process, -1 if the lane has a process of its own.
	// The lane may close it at any moment, and another socket may get the number.
	Descriptor int
	// Domain, Type and Protocol are those of socket(2).
	Domain, Type, Protocol uint32
}

// Group is the lanes that one host runs in one repetition. Its fields must not change
// while it runs.
type Group struct {
	// Config is that of every lane; its Lane is not looked at.
	Config
	Lanes []*synclinev1.Lane
	// Ended is called once for each lane, when its descriptors are closed and its
	// process, if it had one, is gone. The error is nil if every outcome was met, is
	// ErrKilled (errors.Is) if a step killed it, and else says what ended it. Several
	// lanes may end at the same time. Nil does nothing.
	Ended func(lane string, err error)
}
