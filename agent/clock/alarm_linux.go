package clock

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// alarm is a timer that never fires by itself, and whose reading ends as soon as somebody
// sets CLOCK_REALTIME (timerfd_create(2), TFD_TIMER_CANCEL_ON_SET). One goroutine waits for it.
type alarm struct {
	fd   int
	file *os.File
}

func newAlarm() (*alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("timerfd_create(CLOCK_REALTIME): %w", err)
	}
	a := &alarm{fd: fd, file: os.NewFile(uintptr(fd), "timerfd")}
	if err := a.arm(); err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

// arm sets the timer to a moment that does not come. Setting the clock between a reading
// and this goes unheard; the next look at the clocks finds it all the same. The kernel says
// ECANCELED then, and has set the timer nevertheless.
func (a *alarm) arm() error {
	never := unix.ItimerSpec{Value: unix.NsecToTimespec(math.MaxInt64)}
	err := unix.TimerfdSettime(a.fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &never, nil)
	if err != nil && !errors.Is(err, unix.ECANCELED) {
		return fmt.Errorf("timerfd_settime(TFD_TIMER_CANCEL_ON_SET): %w", err)
	}
	return nil
}

// wait returns when the clock was set, after a time, or when ctx is done.
func (a *alarm) wait(ctx context.Context, atMost time.Duration) error {
	if err := a.file.SetReadDeadline(time.Now().Add(atMost)); err != nil {
		return fmt.Errorf("set the deadline of a timerfd: %w", err)
	}
	// Before ctx is looked at, so that its end shortens this deadline or is seen here.
	stop := context.AfterFunc(ctx, func() { _ = a.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var expired [8]byte
	_, err := a.file.Read(expired[:])
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil
	case errors.Is(err, unix.ECANCELED):
		return a.arm()
	case err != nil:
		return fmt.Errorf("read a timerfd: %w", err)
	}
	return errors.New("read a timerfd: it fired, though its moment is in the year 2262")
}

func (a *alarm) close() error { return a.file.Close() }
