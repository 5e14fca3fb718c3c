package lane

import (
	"fmt"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// interrupt is the signal that ends a blocked call. It is a real-time signal that
// neither the Go runtime nor libc uses.
const interrupt = unix.Signal(63)

// repeat is how often the signal comes until the lane has taken notice, in
// nanoseconds. The first one may come just before the thread enters the kernel and
// be handled there, with nothing to interrupt.
const repeat = 1_000_000

// sigevThreadID is SIGEV_THREAD_ID of timer_create(2): the signal goes to one thread.
const sigevThreadID = 4

// saRestart is SA_RESTART of sigaction(2).
const saRestart = 0x10000000

// alarm interrupts the calls of one thread, by a POSIX timer that sends it a signal.
// Arming costs a system call on the lane's own thread, and no goroutine has to be
// scheduled for it to go off. A lane without limits only looks at cancelled.
type alarm struct {
	timer int32
	// cancelled is set before the timer is armed for good by ring.
	cancelled atomic.Bool
}

// newAlarm makes an alarm for the thread it is called on, which must be locked.
func newAlarm() (*alarm, error) {
	if err := interruptible(); err != nil {
		return nil, err
	}
	if err := blockOtherSignals(); err != nil {
		return nil, err
	}
	event := struct {
		value  uintptr
		signo  int32
		notify int32
		thread int32
		_      [44]byte
	}{signo: int32(interrupt), notify: sigevThreadID, thread: int32(unix.Gettid())}
	a := &alarm{}
	_, _, errno := unix.RawSyscall(unix.SYS_TIMER_CREATE, unix.CLOCK_MONOTONIC,
		uintptr(unsafe.Pointer(&event)), uintptr(unsafe.Pointer(&a.timer)))
	if errno != 0 {
		return nil, fmt.Errorf("timer_create: %w (a lane needs one POSIX timer; see RLIMIT_SIGPENDING)", errno)
	}
	return a, nil
}

// arm makes the alarm go off at a moment of CLOCK_MONOTONIC, and then again and again
// until disarm. Only the lane's thread may call it, before it looks at cancelled.
func (a *alarm) arm(deadline int64) error { return a.aim(deadline, repeat) }

// disarm ends what arm began. No signal comes after it: one that is pending is
// delivered before the thread is back in user space.
func (a *alarm) disarm() error { return a.aim(0, 0) }

// aim sets the timer for the lane, and puts right what it may have undone of a ring
// that came at the same time.
func (a *alarm) aim(at, interval int64) error {
	if err := a.set(at, interval); err != nil {
		return err
	}
	if a.cancelled.Load() {
		return a.set(1, repeat)
	}
	return nil
}

// ring makes the alarm go off now, and until close. Any goroutine may call it.
func (a *alarm) ring() error {
	a.cancelled.Store(true)
	return a.set(1, repeat)
}

// close frees the timer. Nothing may be called after it.
func (a *alarm) close() error {
	if _, _, errno := unix.RawSyscall(unix.SYS_TIMER_DELETE, uintptr(a.timer), 0, 0); errno != 0 {
		return fmt.Errorf("timer_delete: %w", errno)
	}
	return nil
}

func (a *alarm) set(at, interval int64) error {
	spec := struct{ interval, value unix.Timespec }{
		unix.NsecToTimespec(interval), unix.NsecToTimespec(at),
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_TIMER_SETTIME, uintptr(a.timer),
		unix.TIMER_ABSTIME, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("timer_settime: %w", errno)
	}
	return nil
}

// sigaction is the kernel's struct sigaction (not libc's), of every architecture but MIPS.
type sigaction struct {
	handler  uintptr
	flags    uintptr
	restorer uintptr
	mask     uint64
}

// interruptible installs the handler of the interrupt signal, once for the process
// and for good. The handler is the runtime's own, which finds nobody listening and
// returns; only its SA_RESTART is taken away, with which the kernel would go on with
// the call. Signal dispositions belong to the process, hence the one global.
var interruptible = sync.OnceValue(func() error {
	signal.Notify(make(chan os.Signal, 1), interrupt)
	var action sigaction
	if err := rtSigaction(syscall.Signal(interrupt), nil, &action); err != nil {
		return err
	}
	action.flags &^= saRestart
	return rtSigaction(syscall.Signal(interrupt), &action, nil)
})

func rtSigaction(s syscall.Signal, set, old *sigaction) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(s),
		uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), unsafe.Sizeof(set.mask), 0, 0)
	if errno != 0 {
		return fmt.Errorf("rt_sigaction of signal %d: %w", int(s), errno)
	}
	return nil
}

// kept are the signals that stay unblocked on a lane's thread, beside the interrupt:
// those a thread brings upon itself, and those that libc and the runtime send to each
// thread and wait for (setuid(2) for all threads).
var kept = []syscall.Signal{
	unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP, unix.SIGSYS, 32, 33, 34,
}

// blockOtherSignals makes the interrupt the only signal that can end a call of this
// thread. The one that would otherwise come all the time is the runtime's SIGURG, by
// which it preempts goroutines: its SA_RESTART does not help calls that the kernel
// never restarts, such as recv(2) on a socket with SO_RCVTIMEO (see signal(7)). The
// lane's goroutine is then preempted only where it calls functions, often enough.
func blockOtherSignals() error {
	var set unix.Sigset_t
	for i := range set.Val {
		set.Val[i] = ^set.Val[i]
	}
	for _, s := range append(kept, interrupt) {
		word := uint(unsafe.Sizeof(set.Val[0])) * 8
		set.Val[(uint(s)-1)/word] &^= 1 << ((uint(s) - 1) % word)
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &set, nil); err != nil {
		return fmt.Errorf("rt_sigprocmask: %w", err)
	}
	return nil
}
