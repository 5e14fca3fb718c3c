package store

import (
	"context"
	"fmt"
	"time"
)

// Status is how this node does, by its own account. Nobody else is asked for it.
type Status struct {
	// State is raft's: "leader", "follower", "candidate", "shutdown".
	State string
	Term  uint64
	// Last is the newest entry of the log here, Commit the newest that this node knows to be
	// committed, Applied the newest that the state machine has applied.
	Last, Commit, Applied uint64
	// Snapshot is the newest entry that a snapshot here covers; 0: there is none. SnapshotAt
	// is when it was written, by CLOCK_REALTIME of this host.
	Snapshot   uint64
	SnapshotAt time.Time
	// Voters and Members count the nodes of the cluster, as far as this one knows.
	Voters, Members int
	// Contact is how long ago the leader was heard of; 0 on the leader itself, and negative
	// if none was ever.
	Contact time.Duration
}

var raftStates = [...]string{"follower", "candidate", "leader", "shutdown"}

// Status says how this node does.
func (s *Store) Status() Status {
	servers, _ := s.servers()
	out := Status{
		State: raftStates[s.raft.State()], Term: s.raft.CurrentTerm(), Last: s.raft.LastIndex(), Commit: s.raft.CommitIndex(),
		Applied: s.fsm.appliedIndex(), Snapshot: s.lastSnapshot(), Voters: len(voters(servers)), Members: len(servers), Contact: -1,
	}
	if names, err := s.snapshots.names(); err == nil && len(names) > 0 {
		out.SnapshotAt = time.UnixMilli(int64(names[0].time))
	}
	switch last := s.raft.LastContact(); {
	case s.Leading():
		out.Contact = 0
	case !last.IsZero():
		out.Contact = time.Since(last)
	}
	return out
}

// Ready returns nil when this node can commit at the moment, or reach a leader that can.
// The leader finds out by committing an entry, with the fsyncs of every other: nothing less
// tells that its disk answers. It is an entry of raft's own, of which the state machine
// learns nothing. Elsewhere the leader is asked, and must find that a majority follows it;
// a leader whose disk hangs stops by itself, see Config.Stall.
func (s *Store) Ready(ctx context.Context) error {
	if err := s.Err(); err != nil {
		return fmt.Errorf("the store has stopped: %w", err)
	}
	if !s.Leading() {
		_, err := s.ReadIndex(ctx)
		return err
	}
	if !s.enter() {
		return fmt.Errorf("commit an entry: %w: the store is closed", ErrNotLeader)
	}
	defer s.inflight.Done()
	if err := s.await(ctx, s.raft.Barrier(enqueueLimit(ctx))); err != nil {
		return fmt.Errorf("commit an entry: %w", s.classify(err))
	}
	return nil
}
