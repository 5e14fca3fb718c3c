package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// snapshotBytes of chunks since the last snapshot make the next one due: they are
	// what a restart reads from the log again.
	snapshotBytes = 32 << 20
	// snapshotPause is the least time between two of them.
	snapshotPause = time.Second / 4
)

// beginUpkeep starts what goes on beside raft for as long as the store is open: fetching
// what is lacking, reading files over again, snapshots when there is enough for one.
func (s *Store) beginUpkeep(cfg Config) {
	tasks := []func(context.Context){
		(&filler{store: s}).run,
		(&scrubber{store: s, rate: cfg.ScrubRate}).run,
		s.snapWhenDue,
	}
	for _, run := range tasks {
		s.tasks.Go(func() { run(s.life) })
	}
}

// endUpkeep returns when all of it has stopped, or hangs after a fault.
func (s *Store) endUpkeep() error {
	s.endLife()
	done := make(chan struct{})
	go func() { s.tasks.Wait(); close(done) }()
	if !s.fault.patient(done) {
		return fmt.Errorf("stop what goes on beside raft: %w", errStuck)
	}
	return nil
}

// snapWhenDue takes a snapshot when enough bytes were applied.
func (s *Store) snapWhenDue(ctx context.Context) {
	for {
		select {
		case <-s.fsm.due:
		case <-s.fault.failed:
			return
		case <-ctx.Done():
			return
		}
		err := s.raft.Snapshot().Error()
		if err != nil && !errors.Is(err, raft.ErrRaftShutdown) && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
			s.log.Warn("no snapshot could be taken; the log grows", "reason", err)
		}
		if !pause(ctx, snapshotPause) {
			return
		}
	}
}

// pause waits, and reports whether ctx is not done.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
