package clock

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// lookEvery is how often a Keeper looks at the clocks, unless it is woken before.
	lookEvery = 50 * time.Millisecond
	// recordEvery is how often a reading goes into the record.
	recordEvery = 10 * time.Second
)

// Keeper watches the clocks of this host, and tells what happens to them. It sets none.
//
// CLOCK_REALTIME is compared with CLOCK_MONOTONIC as soon as the kernel says that it was set,
// and every 50 ms besides, since what is set through a time namespace's or a hypervisor's
// back door, or by a test clock, is not said. CLOCK_BOOTTIME beside it shows that the host was
// suspended, CLOCK_MONOTONIC_RAW that the rate was changed.
type Keeper struct {
	// Clock is the test clock of this host; nil: none.
	Clock *Test
	// Sampled gets a reading at the start, every ten seconds and at the end, and with it how small
	// a change of rate since the one before has surely been told, or will be (Watcher.Steady); 0: nobody
	// could tell. That takes some seconds after the reading. Changed gets what happened, at once, but for
	// a change of rate, which takes a second to be measured;
	// Missing what cannot be watched here, each once. All are called on the goroutine of Run,
	// hold it up while they last, and must not be nil.
	Sampled func(now Reading, steadyPPB int64)
	Changed func(Change)
	Missing func(*Unavailable)
}

// Watched names what a Keeper looks out for.
type Watched string

// What a Keeper looks out for, beside steps of CLOCK_REALTIME, which it always finds.
const (
	// Settings is being told by the kernel that CLOCK_REALTIME was set.
	Settings Watched = "settings of CLOCK_REALTIME as they are made"
	// Steering is how CLOCK_MONOTONIC is steered.
	Steering Watched = "changes of the clock's rate"
	Suspends Watched = "suspends"
	// Leaps is telling leap seconds from other steps.
	Leaps Watched = "leap seconds"
)

// ErrUnavailable is what errors.Is finds in an *Unavailable.
var ErrUnavailable = errors.New("cannot be watched here")

// Unavailable says what of the clocks cannot be watched on this host, by this process.
type Unavailable struct {
	What Watched
	// Reason is the call that was refused, with its errno.
	Reason error
}

func (u *Unavailable) Error() string {
	return fmt.Sprintf("%s %v: %v", u.What, ErrUnavailable, u.Reason)
}

func (u *Unavailable) Unwrap() []error { return []error{ErrUnavailable, u.Reason} }

// Run watches until ctx is done. It can be called once.
func (k *Keeper) Run(ctx context.Context) {
	bell, err := newAlarm()
	if err != nil {
		k.Missing(&Unavailable{Settings, err})
	} else {
		defer func() { _ = bell.close() }()
	}
	reader := reader{clock: k.Clock}
	var watcher Watcher
	var waiting []Reading
	recorded, blind := int64(0), false
	for first := true; ; first = false {
		now, missing := reader.read()
		for _, m := range missing {
			k.Missing(m)
			blind = true
		}
		for _, c := range watcher.Add(now) {
			k.Changed(c)
		}
		last := ctx.Err() != nil
		if first || last || now.Monotonic-recorded >= int64(recordEvery) {
			recorded = now.Monotonic
			waiting = append(waiting, now)
		}
		if last {
			break
		}
		waiting = k.sample(&watcher, waiting, blind)
		bell = k.wait(ctx, bell)
	}
	for _, c := range watcher.End() {
		k.Changed(c)
	}
	k.sample(&watcher, waiting, blind)
}

// sample hands on the readings of which is known how steady the clock was up to them, and
// answers with the rest.
func (k *Keeper) sample(w *Watcher, waiting []Reading, blind bool) []Reading {
	for len(waiting) > 0 {
		steady, ok := w.Steady(waiting[0].Monotonic)
		switch {
		case blind:
			steady = 0
		case !ok:
			return waiting
		}
		k.Sampled(waiting[0], steady)
		waiting = waiting[1:]
	}
	return nil
}

// wait passes the time to the next look, and answers with the alarm, nil from when on it
// fails.
func (k *Keeper) wait(ctx context.Context, bell *alarm) *alarm {
	if bell != nil {
		err := bell.wait(ctx, lookEvery)
		if err == nil {
			return bell
		}
		k.Missing(&Unavailable{Settings, err})
		// Nobody waits for it any more.
		_ = bell.close()
	}
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return nil
}
