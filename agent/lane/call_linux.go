package lane

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// perform makes the call of one step and writes what came of it into its record.
func (l *lane) perform(r *record, o *op) {
	var err error
	l.received = nil
	switch c := o.step.GetCall().(type) {
	case *synclinev1.Step_Signal:
		l.signal(r, c.Signal.GetName())
	case *synclinev1.Step_Sleep:
		err = l.sleep(r, o, c.Sleep.GetDurationNs())
	case *synclinev1.Step_Meet:
		err = l.meet(r, o)
	case *synclinev1.Step_Fork:
		err = l.fork(r, o, c.Fork.GetLane())
	case *synclinev1.Step_Wait, *synclinev1.Step_Kill, *synclinev1.Step_Apply, *synclinev1.Step_Undo:
		l.began(r)
		err = l.ended(r, l.world.ask(l.ctx, o.step))
	default:
		err = l.system(r, o)
	}
	if err != nil {
		r.call.Failure = err.Error()
		return
	}
	r.call.Failure = judge(o.step, &r.call, l.received)
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
		l.flight.fd = int64(r.call.Fd)
	}
	if o.asks {
		if err := l.world.allow(o.target); err != nil {
			return l.refuse(r, fmt.Errorf("%s to %v is not allowed: %w", o.name, o.target, err))
		}
	}
	l.complete(o, r.call.Fd)
	err := l.limited(r, o)
	if r.call.EndedBy == synclinev1.EndedBy_ENDED_BY_UNSPECIFIED {
		return err
	}
	if l.info != nil {
		l.info.read(&r.call, o)
	}
	switch {
	case o.call.trap == unix.SYS_CLOSE:
		l.closed(o.socket)
	case o.makesSocket:
		l.keep(r, o)
	}
	l.readAddresses(r, o)
	l.readAnswer(r, o)
	return err
}

// complete fills in what only the moment of the call knows.
func (l *lane) complete(o *op, fd int32) {
	switch c := o.step.GetCall().(type) {
	case *synclinev1.Step_Nonblock:
		o.call.a[2] = uintptr(statusFlags(fd) &^ unix.O_NONBLOCK)
		if c.Nonblock.GetOn() {
			o.call.a[2] |= unix.O_NONBLOCK
		}
	case *synclinev1.Step_Poll:
		// poll(2) does not look at a negative descriptor at all; of one that no process can
		// have it says POLLNVAL, as it would of one that was closed.
		if fd < 0 {
			fd = math.MaxInt32
		}
		l.poll = unix.PollFd{Fd: fd, Events: int16(c.Poll.GetEvents())}
		o.call.a[0], o.call.a[2] = uintptr(unsafe.Pointer(&l.poll)), 0
		if limit := c.Poll.GetTimeoutNs(); limit >= 0 {
			l.until = unix.NsecToTimespec(wholeMilliseconds(limit))
			o.call.a[2] = uintptr(unsafe.Pointer(&l.until))
		}
	}
}

// wholeMilliseconds rounds up to what poll(2) takes.
func wholeMilliseconds(ns int64) int64 {
	const ms = int64(time.Millisecond)
	if rest := ns % ms; rest != 0 && ns <= 1<<63-1-ms {
		ns += ms - rest
	}
	return ns
}

// statusFlags are those of fcntl(2), F_GETFL; 0 of a descriptor that is none, for
// which the call that follows fails with EBADF.
func statusFlags(fd int32) int {
	flags, _, errno := unix.RawSyscall(unix.SYS_FCNTL, uintptr(fd), unix.F_GETFL, 0)
	if errno != 0 {
		return 0
	}
	return int(flags)
}

// slack is how long a thread first has from setting its alarm to entering the kernel,
// in nanoseconds.
const slack = 20_000

// limited makes the call under the step's own limit, if it has one. The limit counts
// from the stamp of the entry and a slack longer: a call that it ends took no less. A
// thread that comes later, because it was preempted, sets its alarm again, with twice the
// slack. At the end of the repetition the alarm rings all the time, and no limit matters.
func (l *lane) limited(r *record, o *op) error {
	limit := o.step.GetTimeoutNs()
	if limit <= 0 {
		l.enter(r, o, 0, whenever)
		return nil
	}
	for slack := int64(slack); ; slack *= 2 {
		latest := nanotime() + slack
		deadline := latest + limit
		if err := l.alarm.arm(deadline); err != nil {
			return l.refuse(r, err)
		}
		if l.alarm.cancelled.Load() {
			latest = whenever
		}
		if l.enter(r, o, deadline, latest) {
			return l.alarm.disarm()
		}
	}
}

// enter goes into the kernel and comes back, unless it would be later than latest; it
// reports whether it went. deadline is when the alarm was set for, 0 if it was not.
func (l *lane) enter(r *record, o *op, deadline, latest int64) bool {
	l.call = o.call
	if o.onSocket && o.call.trap != unix.SYS_PPOLL {
		l.call.a[0] = uintptr(r.call.Fd)
	}
	s := stamped(&l.call, l.flight, latest)
	runtime.KeepAlive(o)
	runtime.KeepAlive(l)
	if s.late {
		return false
	}
	r.event.TimeNs, r.call.ReturnNs = s.enter, s.at
	r.call.Result, r.call.Errno = s.result, uint32(s.errno)
	r.call.EndedBy = synclinev1.EndedBy_ENDED_BY_KERNEL
	if by := l.interruptedBy(s.at, deadline); by != synclinev1.EndedBy_ENDED_BY_KERNEL && l.interrupted(o, &s) {
		r.call.EndedBy, r.call.Errno = by, 0
	}
	return true
}

// interrupted reports whether a signal cut the call short: EINTR, or a call that went
// in part, where a blocking socket does that only then or when the connection broke.
func (l *lane) interrupted(o *op, s *stamps) bool {
	if s.errno != 0 {
		return s.errno == syscall.EINTR
	}
	flags := o.call.a[3]
	switch {
	case uint64(s.result) >= uint64(o.call.a[2]) || flags&unix.MSG_DONTWAIT != 0:
		return false
	case o.call.trap == unix.SYS_RECVFROM && flags&unix.MSG_WAITALL == 0:
		return false
	case o.call.trap == unix.SYS_SENDTO || o.call.trap == unix.SYS_RECVFROM:
		return statusFlags(int32(l.call.a[0]))&unix.O_NONBLOCK == 0
	}
	return false
}

// interruptedBy tells whose signal there can have been until a moment. Only the alarm's
// can be, and the alarm rings only when the deadline is over or the repetition is. If
// neither is so, then the kernel says EINTR for a reason of its own (SIGCONT after
// SIGSTOP, see signal(7)).
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
	d := descriptor{fd: int32(r.call.Result), name: r.call.Makes, kind: o.kind}
	l.made = append(l.made, d)
	if o.makes != none {
		l.sockets[o.makes] = len(l.made) - 1
		l.tell(d)
	}
	if o.call.trap == unix.SYS_SOCKET {
		r.call.Fd = int32(r.call.Result)
	}
}

// tell says which socket a name stands for now, to those who want to know.
func (l *lane) tell(d descriptor) {
	if l.watched {
		l.world.made(identify(l.name, d))
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
		r.call.LocalAddress = addressOf(unix.SYS_GETSOCKNAME, fd, o.kind)
	}
	if o.peer {
		r.call.PeerAddress = addressOf(unix.SYS_GETPEERNAME, fd, o.kind)
	}
}

// readAnswer writes down what the kernel put into the lane's memory.
func (l *lane) readAnswer(r *record, o *op) {
	c := &r.call
	if c.Result < 0 {
		return
	}
	switch call := o.step.GetCall().(type) {
	case *synclinev1.Step_Accept:
		// Of a connection that was reset in the queue getpeername(2) no longer tells it.
		c.PeerAddress = formatFor(o.kind, l.plan.address[:min(o.length, sockaddrSize)])
	case *synclinev1.Step_Recv:
		l.readData(c, o)
	case *synclinev1.Step_Recvfrom:
		l.readData(c, o)
		c.PeerAddress = formatFor(o.kind, l.plan.address[:min(o.length, sockaddrSize)])
	case *synclinev1.Step_Getsockname:
		c.LocalAddress = formatFor(o.kind, l.plan.address[:min(o.length, sockaddrSize)])
		c.Shown = c.LocalAddress
	case *synclinev1.Step_Getpeername:
		c.PeerAddress = formatFor(o.kind, l.plan.address[:min(o.length, sockaddrSize)])
		c.Shown = c.PeerAddress
	case *synclinev1.Step_Getsockopt:
		l.readOption(c, o, call.Getsockopt.GetKind())
	case *synclinev1.Step_Info:
		c.Data = append([]byte(nil), l.answer(o)...)
		c.Shown = formatTCPInfo(c.Data)
	case *synclinev1.Step_Poll:
		// ppoll counts descriptors; there is one, and its events say more.
		c.Result = int64(uint16(l.poll.Revents))
		c.Shown = maskNames(pollEvents, uint32(c.Result))
	}
}

// readData keeps the beginning of what was received. The kernel may tell of more bytes
// than it wrote (MSG_TRUNC).
func (l *lane) readData(c *synclinev1.Call, o *op) {
	l.received = o.memory[:min(c.Result, int64(len(o.memory)))]
	if len(l.received) == 0 {
		return
	}
	c.Data = append([]byte(nil), l.received[:min(len(l.received), MaxReported)]...)
	if isText(c.Data) {
		c.Shown = formatData(l.received)
	}
}

// answer is what the kernel wrote where it was told the length.
func (l *lane) answer(o *op) []byte { return o.memory[:min(int(o.length), len(o.memory))] }

// readOption makes the value of an option that is a number the result of the call, which
// is always 0 otherwise.
func (l *lane) readOption(c *synclinev1.Call, o *op, k synclinev1.OptionKind) {
	value := l.answer(o)
	c.Data = append([]byte(nil), value...)
	c.Shown = formatOption(k, value)
	switch k {
	case synclinev1.OptionKind_OPTION_KIND_INT, synclinev1.OptionKind_OPTION_KIND_ERRNO:
		if len(value) == 4 {
			c.Result = int64(nativeInt(value))
		}
	case synclinev1.OptionKind_OPTION_KIND_NAME:
		value = optionText(value)
	}
	l.received = value
}

// sleep keeps the thread in clock_nanosleep(2) until a moment, not for a time: a process
// that was stopped and continued sleeps no longer for it.
func (l *lane) sleep(r *record, o *op, duration int64) error {
	l.sleepUntil(o, nanotime()+duration)
	return l.limited(r, o)
}

// sleepUntil makes the op sleep until a moment of CLOCK_MONOTONIC.
func (l *lane) sleepUntil(o *op, moment int64) {
	l.until = unix.NsecToTimespec(moment)
	o.call = syscallArgs{trap: unix.SYS_CLOCK_NANOSLEEP, a: [6]uintptr{
		unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, uintptr(unsafe.Pointer(&l.until)),
	}}
}

// began stamps the beginning of a call that the kernel does not know.
func (l *lane) began(r *record) {
	r.event.TimeNs = nanotime()
	l.flight.enter = r.event.TimeNs
}

// ended stamps the end of such a call, and writes down what came of it.
func (l *lane) ended(r *record, a answer) error {
	r.call.ReturnNs = nanotime()
	r.call.Result, r.call.Errno, r.call.EndedBy = a.Value, a.Errno, a.EndedBy
	if a.Failure != "" {
		return errors.New(a.Failure)
	}
	return nil
}

// signal posts a signal of this lane.
func (l *lane) signal(r *record, name string) {
	l.began(r)
	l.world.post(name)
	// Without an answer there can be no failure.
	_ = l.ended(r, succeeded(0))
}

// fork passes the open sockets that have names to another lane, in the order of their
// creation, and starts it.
func (l *lane) fork(r *record, o *op, target string) error {
	var inherited []descriptor
	for i, d := range l.made {
		if d.fd >= 0 && d.name != "" && l.names(i) {
			inherited = append(inherited, d)
		}
	}
	l.began(r)
	return l.ended(r, l.world.fork(l.ctx, target, time.Duration(o.step.GetTimeoutNs()), inherited))
}

// names reports whether the name of a descriptor still stands for it: a later call may
// have given the name to another.
func (l *lane) names(made int) bool {
	for _, i := range l.sockets {
		if i == made {
			return true
		}
	}
	return false
}
