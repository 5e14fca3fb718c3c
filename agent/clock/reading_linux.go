package clock

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// reader reads all clocks of this host, those steps added that a test clock has.
type reader struct {
	clock *Test
	// without are the readings that failed once, and are not tried again.
	noRaw, noBoot, noKernel bool
}

// read looks at all clocks. missing are those that cannot be read here, each told once.
func (r *reader) read() (now Reading, missing []*Unavailable) {
	now.Sample = r.clock.Read()
	var err error
	if !r.noRaw {
		if now.Raw, err = beside(unix.CLOCK_MONOTONIC_RAW); err != nil {
			r.noRaw = true
			missing = append(missing, &Unavailable{Steering, fmt.Errorf("clock_gettime(CLOCK_MONOTONIC_RAW): %w", err)})
		}
	}
	if !r.noBoot {
		if now.Boot, err = beside(unix.CLOCK_BOOTTIME); err != nil {
			r.noBoot = true
			missing = append(missing, &Unavailable{Suspends, fmt.Errorf("clock_gettime(CLOCK_BOOTTIME): %w", err)})
		}
	}
	if !r.noKernel {
		if now.Kernel, err = discipline(); err != nil {
			r.noKernel = true
			missing = append(missing, &Unavailable{Leaps, fmt.Errorf("adjtimex(modes=0): %w", err)})
		}
	}
	return now, missing
}

// beside reads a clock between two readings of CLOCK_MONOTONIC, several times, and answers
// with the narrowest.
func beside(id int32) (*Pair, error) {
	var best *Pair
	for range sandwiches {
		before := nanotime()
		var value unix.Timespec
		if err := unix.ClockGettime(id, &value); err != nil {
			return nil, err
		}
		after := nanotime()
		p := Pair{Monotonic: before + (after-before)/2, Value: value.Nano(), Err: (after - before + 1) / 2}
		if best == nil || p.Err < best.Err {
			best = &p
		}
	}
	return best, nil
}

// nominalTick is the length of a tick in microseconds, of which USER_HZ are a second:
// adjtimex(2), tick.
const nominalTick = 10_000

func discipline() (*Discipline, error) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return nil, err
	}
	d := &Discipline{
		// freq has 16 bits behind the point of its parts per million.
		Rate: int64(t.Freq)*1000>>16 + (int64(t.Tick)-nominalTick)*100_000,
		TAI:  int64(t.Tai),
	}
	switch {
	case t.Status&unix.STA_INS != 0:
		d.Leap = -1e9
	case t.Status&unix.STA_DEL != 0:
		d.Leap = 1e9
	}
	d.Leaping = state == unix.TIME_OOP || state == unix.TIME_WAIT
	return d, nil
}
