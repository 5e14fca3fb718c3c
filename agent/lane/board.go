package lane

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	synclinev1 "syncline/proto/syncline/v1"
)

// watches is the lane that the signals of watches are posted for. It has no steps and
// never ends: what a host looks out for may come at any time.
const watches = ""

// Board holds what the lanes of one repetition tell each other: their signals, what
// watches have seen, the instants of meetings, and which lanes are through. Lanes of
// this host wait on it; the agent posts what it hears from other hosts. All methods are
// safe for concurrent use and none but wait and meet blocks.
type Board struct {
	mu       sync.Mutex
	lanes    map[string]*laneState
	meetings map[string]*meeting
}

// laneState is what the board knows of one lane.
type laneState struct {
	posted map[string]bool
	// waiting are those who wait for a signal of the lane, by its name.
	waiting map[string][]*waiter
	through bool
	failure string
	// failed are the watches that see nothing any more, of the lane of watches.
	failed map[string]error
}

// waiter is one wait under way. Its fields belong to Board.mu; done is closed by Board
// alone, when missing is 0 or err is set.
type waiter struct {
	missing int
	err     error
	done    chan struct{}
}

// settle ends the wait if there is nothing more to wait for.
func (w *waiter) settle(err error) {
	if w.over() {
		return
	}
	if w.err = err; err == nil {
		w.missing--
	}
	if w.over() {
		close(w.done)
	}
}

func (w *waiter) over() bool { return w.missing == 0 || w.err != nil }

// meeting is an instant that lanes are released at; known is closed by Release alone.
type meeting struct {
	known chan struct{}
	told  bool
	at    int64
	err   error
}

// NewBoard makes a board for the lanes of one repetition, on whatever host they are.
func NewBoard(lanes []string) *Board {
	b := &Board{
		lanes:    make(map[string]*laneState, len(lanes)+1),
		meetings: make(map[string]*meeting),
	}
	for _, name := range append([]string{watches}, lanes...) {
		b.lanes[name] = &laneState{posted: make(map[string]bool), waiting: make(map[string][]*waiter)}
	}
	return b
}

// Post notes that a lane has signalled, and releases those who wait for it. The lane
// "" is that of the watches; its signals are their ids. Posting again changes nothing.
// A lane the board does not know is ignored: none can wait for it.
func (b *Board) Post(lane, name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.lanes[lane]
	if l == nil || l.posted[name] {
		return
	}
	l.posted[name] = true
	for _, w := range l.waiting[name] {
		w.settle(nil)
	}
	delete(l.waiting, name)
}

// Fail ends the waits for a watch that can never see any more what it looks for, those
// to come too. A watch that has seen it has not failed.
func (b *Board) Fail(watch, reason string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.lanes[watches]
	if l.posted[watch] || l.failed[watch] != nil {
		return
	}
	if l.failed == nil {
		l.failed = make(map[string]error)
	}
	l.failed[watch] = errors.New(reason)
	for _, w := range l.waiting[watch] {
		w.settle(l.failed[watch])
	}
	delete(l.waiting, watch)
}

// End notes that a lane is through and will signal no more; failure is empty if all
// its outcomes were met, or if a step of the experiment killed it. Waits for signals it
// never gave fail. Only the first End of a lane counts.
func (b *Board) End(lane, failure string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.lanes[lane]
	if l == nil || l.through || lane == watches {
		return
	}
	l.through = true
	l.failure = failure
	for name, waiting := range l.waiting {
		for _, w := range waiting {
			w.settle(l.neverGave(lane, name))
		}
	}
	clear(l.waiting)
}

// neverGave says that a lane that is through will not give a signal any more.
func (l *laneState) neverGave(lane, name string) error {
	if l.failure != "" {
		return fmt.Errorf("lane %s ended before it signalled %s: %s", lane, name, l.failure)
	}
	return fmt.Errorf("lane %s ended before it signalled %s", lane, name)
}

// Release tells the lanes that have come, or are still to come, to a meeting at which
// instant of CLOCK_MONOTONIC, in nanoseconds, it takes place; failure, if not empty,
// why it does not. Only the first Release of a meeting counts.
func (b *Board) Release(name string, at int64, failure string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.meeting(name)
	if m.told {
		return
	}
	m.told, m.at = true, at
	if failure != "" {
		m.err = errors.New(failure)
	}
	close(m.known)
}

// meeting is what is known of a meeting. Board.mu is held.
func (b *Board) meeting(name string) *meeting {
	m := b.meetings[name]
	if m == nil {
		m = &meeting{known: make(chan struct{})}
		b.meetings[name] = m
	}
	return m
}

// wait blocks until every one of the lanes has signalled, one of them is through
// without, the limit ran out (0: none) or ctx is done. Signals that are there count
// first, whatever else is true by then.
func (b *Board) wait(ctx context.Context, lanes []string, name string, limit time.Duration) (synclinev1.EndedBy, error) {
	w := &waiter{missing: len(lanes), done: make(chan struct{})}
	if err := b.register(w, lanes, name); err != nil {
		return synclinev1.EndedBy_ENDED_BY_UNSPECIFIED, err
	}
	ended := until(ctx, w.done, limit)
	b.mu.Lock()
	defer b.mu.Unlock()
	if w.over() {
		return synclinev1.EndedBy_ENDED_BY_KERNEL, w.err
	}
	for _, lane := range lanes {
		l := b.lanes[lane]
		l.waiting[name] = slices.DeleteFunc(l.waiting[name], func(other *waiter) bool { return other == w })
	}
	return ended, nil
}

// register makes the waiter wait for what is not there yet.
func (b *Board) register(w *waiter, lanes []string, name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, lane := range lanes {
		if b.lanes[lane] == nil {
			return fmt.Errorf("no lane %s takes part in this repetition", lane)
		}
	}
	for _, lane := range lanes {
		switch l := b.lanes[lane]; {
		case l.posted[name]:
			w.settle(nil)
		case l.through:
			w.settle(l.neverGave(lane, name))
		case l.failed[name] != nil:
			w.settle(l.failed[name])
		default:
			l.waiting[name] = append(l.waiting[name], w)
		}
	}
	return nil
}

// meet blocks until the instant of a meeting is known, the limit ran out (0: none) or
// ctx is done. It returns that instant.
func (b *Board) meet(ctx context.Context, name string, limit time.Duration) (int64, synclinev1.EndedBy, error) {
	b.mu.Lock()
	m := b.meeting(name)
	b.mu.Unlock()
	ended := until(ctx, m.known, limit)
	b.mu.Lock()
	defer b.mu.Unlock()
	if !m.told {
		return 0, ended, nil
	}
	return m.at, synclinev1.EndedBy_ENDED_BY_KERNEL, m.err
}

// until blocks until done is closed, the limit ran out (0: none) or ctx is done, and
// says which. If several are true it is any of them.
func until(ctx context.Context, done <-chan struct{}, limit time.Duration) synclinev1.EndedBy {
	var late <-chan time.Time
	if limit > 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-done:
		return synclinev1.EndedBy_ENDED_BY_KERNEL
	case <-late:
		return synclinev1.EndedBy_ENDED_BY_TIMEOUT
	case <-ctx.Done():
		return synclinev1.EndedBy_ENDED_BY_CANCEL
	}
}
