package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// ErrDeposed is the cause of the end of a reign's context when another node may lead.
var ErrDeposed = errors.New("this node does not lead the cluster any more")

// Lead calls work whenever this node leads the cluster and has applied all that was committed
// before. The context of work is done, with ErrDeposed for its cause, as soon as this node
// has stopped to lead in that term, also if it leads again in a later one at once; work is to
// return then, and is not called again before. Another node may lead before this one has
// noticed: what must not be done twice has to go through the log.
//
// Lead returns when ctx is done, with nil, or when the node has failed or is closed.
func (s *Store) Lead(ctx context.Context, work func(context.Context)) error {
	seen, stop := s.observeState()
	defer stop()
	for {
		if term, ok := s.crowned(ctx); ok {
			s.reign(ctx, term, seen, work)
			continue
		}
		if s.raft.State() == raft.Shutdown && s.Err() == nil && ctx.Err() == nil {
			return errors.New("wait for leadership: the store is closed")
		}
		select {
		case <-seen:
		case <-s.fault.failed:
			return fmt.Errorf("wait for leadership: %w", s.Err())
		case <-ctx.Done():
			return nil
		}
	}
}

// observeState sends when this node begins or ceases to lead, until stop. The library gives an
// observation up if nobody takes it; one that waits says enough, so whoever gets it looks at
// the present state.
func (s *Store) observeState() (seen <-chan raft.Observation, stop func()) {
	c := make(chan raft.Observation, 1)
	observer := raft.NewObserver(c, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.RaftState)
		return ok
	})
	s.raft.RegisterObserver(observer)
	return c, func() { s.raft.DeregisterObserver(observer) }
}

// crowned reports whether this node leads in a term, and has applied what was committed
// before it.
func (s *Store) crowned(ctx context.Context) (term uint64, ok bool) {
	for s.Err() == nil && ctx.Err() == nil {
		// The term first: a barrier of a later one says nothing about it.
		term := s.raft.CurrentTerm()
		if !s.Leading() {
			return 0, false
		}
		if s.await(ctx, s.raft.Barrier(proposeTimeout)) == nil && s.leadsIn(term) {
			return term, true
		}
		// The leadership is being lost, or handed over.
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return 0, false
}

// leadsIn reports whether this node leads in a term: who lost the leadership in a term never has
// it again in that one.
func (s *Store) leadsIn(term uint64) bool {
	return s.Leading() && s.raft.CurrentTerm() == term
}

// reign calls work for one term, and watches over it.
func (s *Store) reign(ctx context.Context, term uint64, seen <-chan raft.Observation, work func(context.Context)) {
	reign, end := context.WithCancelCause(ctx)
	defer end(nil)
	var working sync.WaitGroup
	defer working.Wait()
	working.Go(func() { work(reign) })
	for s.leadsIn(term) {
		select {
		case <-seen:
		case <-s.fault.failed:
			end(s.Err())
			return
		case <-ctx.Done():
			return
		}
	}
	end(ErrDeposed)
}

// HandOver tries to give the leadership to another node that votes, for some seconds at
// most, before this one ends: the others need not notice then that it is gone. It does
// nothing on a node that does not lead, or that no other could follow.
func (s *Store) HandOver() { s.handOver() }
