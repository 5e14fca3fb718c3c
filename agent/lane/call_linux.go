package lane

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// perform makes the call of one step and writes what came of it into its record.
func (l *lane) perform(r *record, o *op) {
	var err error
	switch c := o.step.Call.(type) {
	case *synclinev1.Step_Signal:
		l.signal(r, c.Signal.GetName())
	case *synclinev1.Step_Wait:
		err = l.wait(r, o, c.Wait)
	case *synclinev1.Step_Sleep:
		err = l.sleep(r, o, c.Sleep.GetDurationNs())
	default:
		err = l.system(r, o)
	}
	if err != nil {
		r.call.Failure = err.Error()
		return
	}
	r.call.Failure = l.judge(o.step, &r.call)
}

// refuse records a call that the lab did not make. Nothing ended it.
func (l *lane) refuse(r *record, err error) error {
	now := nanotime()
	r.event.TimeNs, r.call.ReturnNs, r.call.Result = now, now, -1
	return err
}

// system makes a system call on a socket.
func (l *lane) system(r *record, o *op) error {
	if o.socket != none {
		r.call.Fd = l.fd(o.socket)
	}
	if o.call.trap == unix.SYS_CONNECT && l.cfg.Allow != nil {
		if err := l.cfg.Allow(o.target); err != nil {
			return l.refuse(r, fmt.Errorf("connect to %v is not allowed: %w", o.target, err))
		}
	}
	err := l.limited(r, o)
	if r.call.EndedBy == synclinev1.EndedBy_ENDED_BY_UNSPECIFIED {
		return err
	}
	switch {
	case o.call.trap == unix.SYS_CLOSE:
		l.closed(o.socket)
	case o.makesSocket():
		l.keep(r, o)
	}
	l.readAddresses(r, o)
	return err
}

// limited makes the call under the step's own limit, if it has one.
func (l *lane) limited(r *record, o *op) error {
	limit := o.step.GetTimeoutNs()
	if limit <= 0 {
		l.enter(r, o, 0)
		return nil
	}
	deadline := nanotime() + limit
	if err := l.alarm.arm(deadline); err != nil {
		return l.refuse(r, err)
	}
	l.enter(r, o, deadline)
	return l.alarm.disarm()
}

// enter goes into the kernel and comes back. deadline is when the alarm was set for,
// 0 if it was not.
func (l *lane) enter(r *record, o *op, deadline int64) {
	l.call = o.call
	if o.call.trap != unix.SYS_SOCKET && o.call.trap != unix.SYS_CLOCK_NANOSLEEP {
		l.call.a[0] = uintptr(r.call.Fd)
	}
	s := stamped(&l.call)
	runtime.KeepAlive(o)
	runtime.KeepAlive(l)
	r.event.TimeNs, r.call.ReturnNs = s.enter, s.at
	r.call.Result, r.call.Errno = s.result, uint32(s.errno)
	r.call.EndedBy = synclinev1.EndedBy_ENDED_BY_KERNEL
	if l.interrupted(o, &s) {
		r.call.EndedBy = l.interruptedBy(s.at, deadline)
	}
	if r.call.EndedBy != synclinev1.EndedBy_ENDED_BY_KERNEL {
		r.call.Errno = 0
	}
}

// interrupted reports whether a signal cut the call short: EINTR, or a send that went
// in part, which a blocking socket does only then or when the connection broke.
func (l *lane) interrupted(o *op, s *stamps) bool {
	if s.errno != 0 {
		return s.errno == syscall.EINTR
	}
	return o.call.trap == unix.SYS_SENDTO && uint64(s.result) < uint64(o.call.a[2])
}

// interruptedBy tells whose signal it was. Only the alarm's can be, and the alarm
// rings only when the deadline is over or the repetition is. If neither is so, then the
// kernel says EINTR for a reason of its own (SIGCONT after SIGSTOP, see signal(7)).
func (l *lane) interruptedBy(at, deadline int64) synclinev1.EndedBy {
	switch {
	case deadline != 0 && at >= deadline:
		return synclinev1.EndedBy_ENDED_BY_TIMEOUT
	case l.alarm.cancelled.Load():
		return synclinev1.EndedBy_ENDED_BY_CANCEL
	}
	return synclinev1.EndedBy_ENDED_BY_KERNEL
}

// fd is the descriptor a name stands for. A name whose socket is closed, or was never
// made, stands for -1, which the kernel answers with EBADF: the number it once had may
// belong to another thread by now.
func (l *lane) fd(name int) int32 {
	if i := l.sockets[name]; i != none {
		return l.made[i].fd
	}
	return -1
}

// closed notes that the descriptor is gone. Linux frees it whatever close(2) returns;
// EBADF comes only of one that was gone before.
func (l *lane) closed(name int) {
	if i := l.sockets[name]; i != none {
		l.made[i].fd = -1
	}
}

// keep gives a name to what the call made; to nothing, if it failed.
func (l *lane) keep(r *record, o *op) {
	if r.call.Result < 0 {
		if o.makes != none {
			l.sockets[o.makes] = none
		}
		return
	}
	l.made = append(l.made, descriptor{fd: int32(r.call.Result), name: r.call.Makes})
	if o.makes != none {
		l.sockets[o.makes] = len(l.made) - 1
	}
	if o.call.trap == unix.SYS_SOCKET {
		r.call.Fd = int32(r.call.Result)
	}
}

// readAddresses asks for the addresses that the call may have changed, after it was
// stamped. Those of an accept are the new socket's.
func (l *lane) readAddresses(r *record, o *op) {
	fd := r.call.Fd
	if o.call.trap == unix.SYS_ACCEPT4 {
		fd = int32(r.call.Result)
	}
	if fd < 0 {
		return
	}
	if o.local {
		r.call.LocalAddress = addressOf(unix.SYS_GETSOCKNAME, fd)
	}
	if o.peer {
		r.call.PeerAddress = addressOf(unix.SYS_GETPEERNAME, fd)
	}
}

// sleep keeps the thread in clock_nanosleep(2) until a moment, not for a time: a process
// that was stopped and continued sleeps no longer for it.
func (l *lane) sleep(r *record, o *op, duration int64) error {
	l.until = unix.NsecToTimespec(nanotime() + duration)
	o.call = syscallArgs{trap: unix.SYS_CLOCK_NANOSLEEP, a: [6]uintptr{
		unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, uintptr(unsafe.Pointer(&l.until)),
	}}
	return l.limited(r, o)
}

// signal posts a signal of this lane.
func (l *lane) signal(r *record, name string) {
	r.event.TimeNs = nanotime()
	l.cfg.Board.Post(l.name, name)
	if l.cfg.Signalled != nil {
		l.cfg.Signalled(l.name, name)
	}
	r.call.ReturnNs = nanotime()
	r.call.EndedBy = synclinev1.EndedBy_ENDED_BY_KERNEL
}

// wait blocks on the board.
func (l *lane) wait(r *record, o *op, c *synclinev1.WaitCall) error {
	r.event.TimeNs = nanotime()
	ended, err := l.cfg.Board.wait(l.ctx, c.GetLane(), c.GetSignal(), time.Duration(o.step.GetTimeoutNs()))
	r.call.ReturnNs = nanotime()
	r.call.EndedBy = ended
	if err != nil || ended != synclinev1.EndedBy_ENDED_BY_KERNEL {
		r.call.Result = -1
	}
	return err
}

// judge compares a call with the outcome its author named, or with success if none was
// named. It returns "" if the outcome was met. The end of the repetition meets none.
func (l *lane) judge(step *synclinev1.Step, c *synclinev1.Call) string {
	if met(step.Outcome, c) {
		return ""
	}
	return "expected " + expected(step.Outcome) + ", got " + l.got(step, c)
}

func met(o *synclinev1.Outcome, c *synclinev1.Call) bool {
	success := c.EndedBy == synclinev1.EndedBy_ENDED_BY_KERNEL && c.Errno == 0
	switch {
	case o == nil || success && o.Ok:
		return success
	case success:
		return slices.Contains(o.Values, c.Result)
	case c.EndedBy == synclinev1.EndedBy_ENDED_BY_TIMEOUT:
		return o.Timeout
	}
	return c.Errno != 0 && slices.Contains(o.Errnos, c.Errno)
}

// expected shows an outcome the way the experiment writes it.
func expected(o *synclinev1.Outcome) string {
	if o == nil {
		return "success"
	}
	var parts []string
	if o.Ok {
		parts = append(parts, "ok")
	}
	for _, v := range o.Values {
		parts = append(parts, fmt.Sprint(v))
	}
	for _, e := range o.Errnos {
		parts = append(parts, errnoName(e))
	}
	if o.Timeout {
		parts = append(parts, "timeout")
	}
	return strings.Join(parts, " or ")
}

func (l *lane) got(step *synclinev1.Step, c *synclinev1.Call) string {
	partly := ""
	if c.Result > 0 {
		partly = fmt.Sprintf(" after %d bytes", c.Result)
	}
	switch {
	case c.EndedBy == synclinev1.EndedBy_ENDED_BY_TIMEOUT:
		return fmt.Sprintf("timeout (%v)%s", time.Duration(step.TimeoutNs), partly)
	case c.EndedBy == synclinev1.EndedBy_ENDED_BY_CANCEL:
		return "the end of the repetition" + partly
	case c.Errno != 0:
		return fmt.Sprintf("%s (%v)", errnoName(c.Errno), syscall.Errno(c.Errno))
	}
	return fmt.Sprint(c.Result)
}

func errnoName(e uint32) string {
	if name := unix.ErrnoName(syscall.Errno(e)); name != "" {
		return name
	}
	return fmt.Sprintf("errno %d", e)
}
