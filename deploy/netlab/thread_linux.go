package netlab

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// errGoexit is what a caller of spend sees when fn ended its goroutine instead of
// returning, as a failing test does.
var errGoexit = errors.New("netlab: the function ended its goroutine without returning")

// spend runs fn on an OS thread of its own and waits for it. The thread ends with
// fn, so fn may leave it in any namespace. The main thread of the process cannot
// end and would hold the namespace for ever (and show it as /proc/PID/ns/net), so
// if the scheduler offers it, it is kept busy while fn runs on another.
func spend(fn func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			result <- spend(fn)
			runtime.UnlockOSThread()
			return
		}
		err := errGoexit
		defer func() { result <- err }()
		err = fn()
	}()
	return <-result
}

// newNamespace moves the calling thread into a new network namespace and returns a
// descriptor of it. The thread must be one of spend's.
func newNamespace() (*os.File, error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, privileged("unshare(CLONE_NEWNET)", err)
	}
	f, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("netlab: open the new namespace: %w", err)
	}
	return f, nil
}

// privileged wraps the error of a system call that only a privileged process may
// make, and says so if that is what the kernel minded.
func privileged(call string, err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("netlab: %s: %w: %w; %s", call, err, ErrPrivilege, Remedy)
	}
	return fmt.Errorf("netlab: %s: %w", call, err)
}
