package lane

import (
	"context"
	"fmt"
	"sync"
	"time"

	synclinev1 "syncline/proto/syncline/v1"
)

// Board holds the signals of one repetition, and which lanes are through. Lanes of
// this host wait on it; the agent posts what it hears from other hosts. All methods
// are safe for concurrent use and none but wait blocks.
type Board struct {
	mu    sync.Mutex
	lanes map[string]*laneState
}

// laneState is what the board knows of one lane. Its channels are closed by Board
// alone, with Board.mu held, and at most once.
type laneState struct {
	signals map[string]chan struct{}
	posted  map[string]bool
	ended   chan struct{}
	through bool
	failure string
}

// NewBoard makes a board for the lanes of one repetition, on whatever host they are.
func NewBoard(lanes []string) *Board {
	b := &Board{lanes: make(map[string]*laneState, len(lanes))}
	for _, name := range lanes {
		b.lanes[name] = &laneState{
			signals: make(map[string]chan struct{}),
			posted:  make(map[string]bool),
			ended:   make(chan struct{}),
		}
	}
	return b
}

// Post notes that a lane has signalled, and releases those who wait for it. Posting
// again changes nothing. A lane the board does not know is ignored: none can wait for it.
func (b *Board) Post(lane, name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.lanes[lane]
	if l == nil || l.posted[name] {
		return
	}
	l.posted[name] = true
	close(l.signal(name))
}

// End notes that a lane is through and will signal no more; failure is empty if all
// its outcomes were met. Waits for signals it never gave fail. Only the first End of
// a lane counts.
func (b *Board) End(lane, failure string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.lanes[lane]
	if l == nil || l.through {
		return
	}
	l.through = true
	l.failure = failure
	close(l.ended)
}

// signal is the channel that closes when the lane signals. Board.mu is held.
func (l *laneState) signal(name string) chan struct{} {
	c := l.signals[name]
	if c == nil {
		c = make(chan struct{})
		l.signals[name] = c
	}
	return c
}

// wait blocks until the lane has signalled, is through, the limit ran out (0: none) or
// ctx is done. A signal that is there counts first, whatever else is true by then.
func (b *Board) wait(ctx context.Context, lane, name string, limit time.Duration) (synclinev1.EndedBy, error) {
	b.mu.Lock()
	l := b.lanes[lane]
	if l == nil {
		b.mu.Unlock()
		return synclinev1.EndedBy_ENDED_BY_UNSPECIFIED, fmt.Errorf("no lane %s takes part in this repetition", lane)
	}
	posted := l.signal(name)
	b.mu.Unlock()

	var late <-chan time.Time
	if limit > 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		late = timer.C
	}
	ended := synclinev1.EndedBy_ENDED_BY_KERNEL
	select {
	case <-posted:
	case <-l.ended:
	case <-late:
		ended = synclinev1.EndedBy_ENDED_BY_TIMEOUT
	case <-ctx.Done():
		ended = synclinev1.EndedBy_ENDED_BY_CANCEL
	}
	return b.verdict(lane, name, ended)
}

// verdict looks once more after a wait: select picks at random among what is true.
func (b *Board) verdict(lane, name string, ended synclinev1.EndedBy) (synclinev1.EndedBy, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.lanes[lane]
	switch {
	case l.posted[name]:
		return synclinev1.EndedBy_ENDED_BY_KERNEL, nil
	case ended != synclinev1.EndedBy_ENDED_BY_KERNEL:
		return ended, nil
	case l.failure != "":
		return ended, fmt.Errorf("lane %s ended before it signalled %s: %s", lane, name, l.failure)
	}
	return ended, fmt.Errorf("lane %s ended before it signalled %s", lane, name)
}
