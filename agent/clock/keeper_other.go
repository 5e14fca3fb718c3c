//go:build !linux

package clock

import (
	"context"
	"errors"
	"time"
)

var errLinuxOnly = errors.New("Linux only")

// reader reads the clocks that every system has.
type reader struct {
	clock *Test
	told  bool
}

func (r *reader) read() (now Reading, missing []*Unavailable) {
	if !r.told {
		r.told = true
		for _, what := range []Watched{Steering, Suspends, Leaps} {
			missing = append(missing, &Unavailable{what, errLinuxOnly})
		}
	}
	return Reading{Sample: r.clock.Read()}, missing
}

// alarm is not to be had here.
type alarm struct{}

func newAlarm() (*alarm, error) { return nil, errLinuxOnly }

func (*alarm) wait(context.Context, time.Duration) error { return errLinuxOnly }

func (*alarm) close() error { return nil }
