package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"syncline/agent/clock"
)

var errNoCookie = errors.New("a watch needs the cookie of its socket: SocketCookie")

// SocketCookie is the number by which the kernel tells a socket from every other one
// since the machine was booted, SO_COOKIE of socket(7).
func SocketCookie(fd int) (uint64, error) {
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		return 0, os.NewSyscallError("getsockopt(SO_COOKIE)", err)
	}
	return cookie, nil
}

// Run returns when the state was seen or passed, when it cannot come any more (a
// *MissedError), or with the cause when ctx is done. The network namespace is that of
// the thread that calls it, throughout.
//
// Of a socket of another process that is in no table of the kernel's, and was not when
// Run first looked, it cannot be told if it is closed or yet to be connected: Run goes on
// looking for it, unless it is Accepted or Found.
func (w *StateWatch) Run(ctx context.Context) (Sighting, error) {
	if w.Cookie == 0 {
		return Sighting{}, errNoCookie
	}
	d, err := openDiag()
	if err != nil {
		return Sighting{}, err
	}
	defer d.close()
	f := follower{watch: w, diag: d, descriptor: w.Descriptor, connected: w.Accepted}
	p := newPath(w.Wanted, w.Accepted)
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	var seen Sighting
	for {
		before := clock.Now()
		at, err := f.look()
		if err != nil {
			return Sighting{}, fmt.Errorf("watch for %v of a socket: %w", w.Wanted, err)
		}
		if at.known && p.step(at.state, f.connected) || at.gone && w.Wanted == Close {
			seen.TimeNs, seen.State = clock.Now(), at.state
			seen.Local, seen.Remote = f.local, f.remote
			return seen, nil
		}
		if at.gone {
			return Sighting{}, &MissedError{Wanted: w.Wanted, Seen: p.seen}
		}
		if at.known && at.state != Close {
			seen.Was, seen.WasNs = at.state, before
		}
		timer.Reset(at.pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return Sighting{}, context.Cause(ctx)
		}
	}
}

// place is what one look has found.
type place struct {
	state State
	// known is false while nothing is known of the socket.
	known bool
	// gone: it will not be seen again.
	gone  bool
	pause time.Duration
}

// follower finds one socket again and again: through its descriptor as long as it
// is open, by the addresses learnt until then, and by its cookie among all sockets.
type follower struct {
	watch *StateWatch
	diag  *diag
	// descriptor is -1 once the process has closed it.
	descriptor int
	// local and remote are those that an exact look can use; link is what the socket
	// is bound to; cookie is that of the TCP socket there, which is not the watched one
	// with MPTCP, whose connection is carried by TCP sockets of the kernel's own.
	local, remote netip.AddrPort
	link          uint32
	cookie        uint64
	// seen in a state once; connected, as the caller knows.
	seen, connected bool
}

func (f *follower) look() (place, error) {
	state, open, err := f.throughDescriptor()
	if err != nil {
		return place{}, err
	}
	if open && state != Close {
		return f.there(state, findPause)
	}
	// What is closed here may be in TIME_WAIT there, its process notwithstanding.
	state, found, err := f.byAddresses()
	if err != nil {
		return place{}, err
	}
	if found {
		return f.there(state, findPause)
	}
	if open {
		return place{state: Close, known: true, pause: findPause}, nil
	}
	state, found, err = f.amongAll()
	if err != nil {
		return place{}, err
	}
	if found {
		return f.there(state, walkPause)
	}
	// It had a descriptor here, which is closed: nothing can connect it again.
	gone := f.watch.Descriptor >= 0
	return place{state: Close, known: f.seen || f.connected || gone, gone: gone, pause: walkPause}, nil
}

// there answers with a state, and looks at the request sockets of a listener if
// those are what is waited for.
func (f *follower) there(state State, pause time.Duration) (place, error) {
	f.seen = true
	if state != Listen || f.watch.Wanted != SynRecv {
		return place{state: state, known: true, pause: pause}, nil
	}
	listener, err := f.diag.dump(listenStates, func(s Socket) bool { return s.Cookie == f.watch.Cookie })
	if err != nil || len(listener) == 0 {
		return place{state: state, known: true, pause: walkPause}, err
	}
	requests, err := f.diag.dump(requestStates, listener[0].takes)
	if err == nil && len(requests) > 0 {
		state = SynRecv
	}
	return place{state: state, known: true, pause: walkPause}, err
}

// throughDescriptor asks the socket itself, if the descriptor is still its own
// before and after.
func (f *follower) throughDescriptor() (state State, open bool, err error) {
	fd := f.descriptor
	if fd < 0 || !f.own(fd) {
		f.descriptor = -1
		return 0, false, nil
	}
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	state = Close
	if err == nil {
		state = State(info.State)
	}
	local, remote := endsOf(fd)
	// Linux before 5.1 does not say; a bound socket is then found by its cookie.
	link, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX)
	if !f.own(fd) {
		f.descriptor = -1
		return 0, false, nil
	}
	if err != nil {
		return 0, true, fmt.Errorf("ask descriptor %d for its TCP state: %w", fd, os.NewSyscallError("getsockopt(TCP_INFO)", err))
	}
	if remote.IsValid() && (local != f.local || remote != f.remote) {
		err = f.learn(local, remote, uint32(link))
	}
	return state, true, err
}

func (f *follower) own(fd int) bool {
	cookie, err := SocketCookie(fd)
	return err == nil && cookie == f.watch.Cookie
}

// learn keeps the addresses of a connection, and whose cookie is found there.
func (f *follower) learn(local, remote netip.AddrPort, link uint32) error {
	f.local, f.remote, f.link, f.cookie = local, remote, link, f.watch.Cookie
	s, found, err := f.diag.find(local, remote, link)
	if found && s.Remote == remote {
		f.cookie = s.Cookie
	}
	return err
}

// byAddresses looks where the socket was last.
func (f *follower) byAddresses() (State, bool, error) {
	if local, remote := f.watch.addresses(); !f.remote.IsValid() && remote.IsValid() {
		f.local, f.remote, f.cookie, f.connected = local, remote, f.watch.Cookie, true
	}
	if !f.remote.IsValid() {
		return 0, false, nil
	}
	s, found, err := f.diag.find(f.local, f.remote, f.link)
	// A listener, or the next connection with the same addresses, is not it.
	return s.State, found && s.Cookie == f.cookie, err
}

// amongAll looks for the cookie among all sockets of the namespace.
func (f *follower) amongAll() (State, bool, error) {
	found, err := f.diag.dump(allStates, func(s Socket) bool { return s.Cookie == f.watch.Cookie })
	if err != nil || len(found) == 0 {
		return 0, false, err
	}
	if s := found[0]; s.State != Listen {
		f.local, f.remote, f.link, f.cookie = s.Local, s.Remote, s.Interface, s.Cookie
	}
	return found[0].State, true, nil
}

// endsOf are getsockname(2) and getpeername(2), not valid while the socket has none.
func endsOf(fd int) (local, remote netip.AddrPort) {
	if a, err := unix.Getsockname(fd); err == nil {
		local = addressOf(a)
	}
	if a, err := unix.Getpeername(fd); err == nil {
		remote = addressOf(a)
	}
	return local, remote
}

func addressOf(a unix.Sockaddr) netip.AddrPort {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}
