package lane

import (
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// Spinning begins so long before the instant of a meeting: enough for a thread that
// slept to get a CPU and a processor of the Go scheduler again.
const spin = 300 * time.Microsecond

// meet sleeps until shortly before the instant of the meeting and then looks at the
// clock until it has come. The thread has all it needs to go on at once, and nothing is
// between the instant and its next call: the meeting is reported after that.
func (l *lane) meet(r *record, o *op) error {
	l.began(r)
	a := l.world.ask(l.ctx, o.step)
	if a.Failure != "" || a.EndedBy != synclinev1.EndedBy_ENDED_BY_KERNEL {
		return l.ended(r, a)
	}
	at, latest := a.Value, int64(0)
	if limit := o.step.GetTimeoutNs(); limit > 0 {
		latest = r.event.TimeNs + limit
	}
	if latest != 0 && latest < at {
		by := l.nap(latest)
		if by == synclinev1.EndedBy_ENDED_BY_KERNEL {
			by = synclinev1.EndedBy_ENDED_BY_TIMEOUT
		}
		return l.ended(r, endedBy(by))
	}
	l.hurry()
	if by := l.nap(at - int64(spin)); by != synclinev1.EndedBy_ENDED_BY_KERNEL {
		return l.ended(r, endedBy(by))
	}
	for nanotime() < at {
	}
	return l.ended(r, succeeded(0))
}

// nap sleeps until a moment of CLOCK_MONOTONIC, or until the repetition ends.
func (l *lane) nap(moment int64) synclinev1.EndedBy {
	for nanotime() < moment {
		if l.alarm.cancelled.Load() {
			return synclinev1.EndedBy_ENDED_BY_CANCEL
		}
		l.until = unix.NsecToTimespec(moment)
		// EINTR is the alarm's, or that of a process that was continued.
		_, _, errno := unix.Syscall6(unix.SYS_CLOCK_NANOSLEEP, unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME,
			uintptr(unsafe.Pointer(&l.until)), 0, 0, 0)
		if errno != 0 && errno != unix.EINTR {
			panic(fmt.Sprintf("clock_nanosleep until %d: %v", moment, errno))
		}
	}
	return synclinev1.EndedBy_ENDED_BY_KERNEL
}

// hurry makes the thread one that gets a CPU before all ordinary ones, SCHED_FIFO of
// sched(7), from before the instant of a meeting to the end of the call after it. Where
// the process may not do that (CAP_SYS_NICE), the meeting is as exact as the scheduler
// is, and how exact that was can be seen in its stamps.
func (l *lane) hurry() {
	if l.ordinary != nil {
		return
	}
	ordinary, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		return
	}
	first := &unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1,
		Flags: unix.SCHED_FLAG_RESET_ON_FORK,
	}
	if unix.SchedSetAttr(0, first, 0) == nil {
		l.ordinary = ordinary
	}
}

// calm takes back what hurry did.
func (l *lane) calm() error {
	if l.ordinary == nil {
		return nil
	}
	err := unix.SchedSetAttr(0, l.ordinary, 0)
	l.ordinary = nil
	if err != nil {
		return fmt.Errorf("lane %s: sched_setattr after a meeting: %w", l.name, err)
	}
	return nil
}
