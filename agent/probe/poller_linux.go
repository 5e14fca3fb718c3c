package probe

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// poller waits for sockets, without a thread of its own.
//
// The poller of Go's runtime takes a descriptor that has an error and nothing else for
// broken, and that is what a stamp on the error queue looks like. So the sockets are in an
// epoll(7) instance of their own, and the runtime watches that one, which never has an error.
// A thread in poll(2) would do too, and cost more processor time: the runtime looks after
// every thread that stays in a system call.
//
// The sockets are watched only while there is nothing to do. As a datagram leaves, the kernel
// takes its stamp and wakes whoever watches the socket for it, and only then hands the
// datagram on: that would make every way look a microsecond or two longer than it is.
type poller struct {
	file *os.File
	raw  syscall.RawConn
	fd   int
	// wake is an eventfd(2) that ends the waiting.
	wake    int
	sockets []*socket
	ready   [4]unix.EpollEvent
}

func newPoller() (*poller, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("probe: %w", os.NewSyscallError("eventfd", err))
	}
	p := &poller{wake: wake, fd: -1}
	if p.fd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, errors.Join(fmt.Errorf("probe: %w", os.NewSyscallError("epoll_create1", err)), p.close())
	}
	// That is how os.NewFile knows what to hand to the runtime's poller.
	if err := unix.SetNonblock(p.fd, true); err != nil {
		return nil, errors.Join(fmt.Errorf("probe: %w", os.NewSyscallError("fcntl(F_SETFL)", err)), p.close())
	}
	p.file = os.NewFile(uintptr(p.fd), "epoll")
	if p.raw, err = p.file.SyscallConn(); err == nil {
		// A descriptor that the runtime cannot poll says so here.
		err = p.file.SetReadDeadline(time.Time{})
	}
	if err == nil {
		err = p.watch(unix.EPOLL_CTL_ADD, wake, unix.EPOLLIN)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("probe: watch an epoll instance: %w", err), p.close())
	}
	return p, nil
}

// watchAll watches the sockets, or does so no more.
func (p *poller) watchAll(op int, events uint32) error {
	for _, s := range p.sockets {
		if err := p.watch(op, s.fd, events); err != nil {
			return fmt.Errorf("probe: watch %v: %w", s.local, err)
		}
	}
	return nil
}

func (p *poller) watch(op, fd int, events uint32) error {
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.fd, op, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}))
}

// wait blocks until it is kicked, or the time is up, or a departure was stamped, or, if prompt
// is set, a datagram came.
func (p *poller) wait(atMost time.Duration, prompt bool) (err error) {
	if atMost <= 0 {
		// What is ready is found by looking.
		return nil
	}
	// EPOLLERR comes unasked.
	events := uint32(0)
	if prompt {
		events = unix.EPOLLIN
	}
	if err := p.watchAll(unix.EPOLL_CTL_ADD, events); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.watchAll(unix.EPOLL_CTL_DEL, 0)) }()
	if err := p.file.SetReadDeadline(time.Now().Add(atMost)); err != nil {
		return fmt.Errorf("probe: set the time to wait: %w", err)
	}
	var failed error
	err = p.raw.Read(func(uintptr) (done bool) {
		var n int
		n, failed = p.look()
		return n > 0 || failed != nil
	})
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("probe: wait for datagrams: %w", err)
	}
	return failed
}

// look asks what is ready, and takes back the kicks.
func (p *poller) look() (n int, err error) {
	err = retry(func() error {
		n, err = unix.EpollWait(p.fd, p.ready[:], 0)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("probe: %w", os.NewSyscallError("epoll_wait", err))
	}
	for _, r := range p.ready[:max(n, 0)] {
		if int(r.Fd) == p.wake {
			if err := p.rest(); err != nil {
				return 0, err
			}
		}
		for _, s := range p.sockets {
			s.stamped = s.stamped || int(r.Fd) == s.fd && r.Events&unix.EPOLLERR != 0
		}
	}
	return n, nil
}

// rest takes back all kicks.
func (p *poller) rest() error {
	var count [8]byte
	if _, err := unix.Read(p.wake, count[:]); err != nil && !errors.Is(err, unix.EAGAIN) {
		return fmt.Errorf("probe: read the eventfd: %w", err)
	}
	return nil
}

// kick ends the waiting of now, or the next one. Any goroutine may call it, before close.
func (p *poller) kick() {
	one := [8]byte{1, 1, 1, 1, 1, 1, 1, 1}
	// EAGAIN means that the counter is full, and so the wait returns anyway.
	_, _ = unix.Write(p.wake, one[:])
}

func (p *poller) close() error {
	var err error
	switch {
	case p.file != nil:
		err = p.file.Close()
	case p.fd >= 0:
		err = unix.Close(p.fd)
	}
	return errors.Join(err, unix.Close(p.wake))
}
