package clock

import "fmt"

// Kind is what happened to the clocks of a host.
type Kind int

// What happens to clocks.
const (
	// Stepped: CLOCK_REALTIME was set or stepped (settimeofday(2), ADJ_SETOFFSET).
	Stepped Kind = iota + 1
	// Leapt: CLOCK_REALTIME was stepped by a leap second.
	Leapt
	// Suspended: CLOCK_MONOTONIC stood still, while time went on.
	Suspended
	// Slewed: the rate of CLOCK_MONOTONIC against CLOCK_MONOTONIC_RAW was changed.
	Slewed
)

func (k Kind) String() string {
	switch k {
	case Stepped:
		return "step"
	case Leapt:
		return "leap second"
	case Suspended:
		return "suspend"
	case Slewed:
		return "slew"
	}
	return fmt.Sprintf("Kind(%d)", int(k))
}

// Change is something that happened to the clocks of a host, at some moment between Since
// and At of CLOCK_MONOTONIC.
type Change struct {
	Kind      Kind
	Since, At int64
	// By is how far CLOCK_REALTIME was stepped against CLOCK_MONOTONIC, or how long the
	// suspend was, in nanoseconds; 0 of a slew.
	By int64
	// Rate is, of a slew, how much faster than CLOCK_MONOTONIC_RAW CLOCK_MONOTONIC goes from
	// then on, and Before how much it did before, in parts per billion.
	Rate, Before int64
}

// Bounds of what is taken for a step. The kernel has both clocks go at one rate to the
// nanosecond, and a step of any size is one; but where a sandbox or a hypervisor makes the
// clocks, they may be pulled apart a little all the time, and that is none.
const (
	smallestStep = 1_000
	// steady is the rate at which the difference of two clocks of one rate is taken to
	// change without a step, as a divisor: 50 ppm.
	steady = 20_000
)

// Watcher finds in the readings of a host's clocks what happened to them. It reads no clock
// itself. The zero value is ready; it is not safe for concurrent use.
type Watcher struct {
	last  *Reading
	rates rates
}

// Add takes the next reading, and tells what it shows. A reading that is not later than the
// last one says nothing.
func (w *Watcher) Add(now Reading) []Change {
	last := w.last
	if last != nil && now.Monotonic <= last.Monotonic {
		return nil
	}
	w.last = &now
	if last == nil {
		w.rates.begin(&now)
		return nil
	}
	found := jumps(last, &now)
	for _, c := range found {
		if c.Kind == Suspended {
			found = append(found, w.rates.close()...)
			before := w.rates.steady
			w.rates = rates{}
			w.rates.begin(&now)
			w.rates.steady.resume(&before)
			return found
		}
	}
	return append(found, w.rates.add(&now, last.Monotonic-last.Err)...)
}

// End tells what is known of a change of rate that is not measured to its end.
func (w *Watcher) End() []Change { return w.rates.close() }

// Steady says how small a change at once of the rate of CLOCK_MONOTONIC would surely have been
// told, or will be, parts per billion: of all moments since the last time it was asked, up to a reading's. It is
// not ok before four seconds after that, or the end: what comes after a change is what shows it.
//
// That is so of changes at least a second away from each other, from suspends and from the ends of the
// watch; of a watch of less than two seconds, of changes in its middle.
func (w *Watcher) Steady(monotonic int64) (ppb int64, ok bool) { return w.rates.steady.upTo(monotonic) }

// jumps are the steps and the suspend between two readings. What a suspend adds to
// CLOCK_REALTIME is no step.
func jumps(last, now *Reading) []Change {
	var found []Change
	slept, sleepErr := int64(0), int64(0)
	if last.Boot != nil && now.Boot != nil {
		by, slack := moved(*last.Boot, *now.Boot)
		if by > slack {
			found = append(found, Change{
				Kind: Suspended, By: by,
				Since: min(last.Monotonic-last.Err, last.Boot.Monotonic-last.Boot.Err),
				At:    max(now.Monotonic+now.Err, now.Boot.Monotonic+now.Boot.Err),
			})
			slept, sleepErr = by, slack
		}
	}
	by, slack := moved(last.pair(), now.pair())
	if by -= slept; abs(by) > slack+sleepErr {
		found = append(found, Change{
			Kind: stepKind(by, slack+sleepErr, last.Kernel, now.Kernel), By: by,
			Since: last.Monotonic - last.Err, At: now.Monotonic + now.Err,
		})
	}
	return found
}

func (s Sample) pair() Pair { return Pair{s.Monotonic, s.Realtime, s.Err} }

// moved is how far a clock that goes at the rate of CLOCK_MONOTONIC went away from it
// between two readings, and by how much it may have done so without a step.
func moved(a, b Pair) (by, slack int64) {
	return b.ahead() - a.ahead(), a.Err + b.Err + (b.Monotonic-a.Monotonic)/steady + smallestStep
}

// stepKind tells a leap second from other steps: it is a second, and was announced, or the
// kernel says that it has just made one.
func stepKind(by, slack int64, last, now *Discipline) Kind {
	const second = int64(1e9)
	if last == nil || now == nil || abs(abs(by)-second) > slack {
		return Stepped
	}
	announced := last.Leap != 0 && (last.Leap < 0) == (by < 0)
	// A second back makes TAI a second more.
	more := now.TAI - last.TAI
	counted := now.Leaping && !last.Leaping || by < 0 && more == 1 || by > 0 && more == -1
	if announced && (now.Leaping || now.Leap == 0) || counted {
		return Leapt
	}
	return Stepped
}
