package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// ReadIndex makes the reads that come after it linearizable: it returns when this node has
// applied all that any node had acknowledged before the call, and says up to which entry
// that goes at least. On the leader that costs a round of messages to the others, elsewhere
// one more to the leader. Without a leader, or with one that cannot reach a majority, it
// fails; what is known here can be read all the same, see Staleness.
func (s *Store) ReadIndex(ctx context.Context) (uint64, error) {
	index, err := s.readIndex(ctx)
	if err != nil {
		return 0, fmt.Errorf("make sure that the read is up to date: %w", err)
	}
	return index, nil
}

func (s *Store) readIndex(ctx context.Context) (uint64, error) {
	if s.Leading() {
		return s.LeaderReadIndex(ctx)
	}
	leader := s.LeaderPeer()
	if leader.ID == "" || leader.ID == s.id || s.cfg.Others == nil {
		return 0, s.classify(raft.ErrNotLeader)
	}
	index, err := s.cfg.Others.ReadIndex(ctx, leader)
	if err != nil {
		return 0, fmt.Errorf("ask node %s, which leads: %w", leader.ID, err)
	}
	return index, s.fsm.await(ctx, index, s.fault)
}

// LeaderReadIndex is ReadIndex for a node that must be the leader; it never asks another one.
//
// The order matters. The term first, to notice at the end if leadership was lost and won again
// meanwhile. An entry of this term must be committed, or the commit index may lie behind
// what an earlier leader acknowledged. Then the commit index, and after it a majority that
// still takes this node for the leader. The library's VerifyLeader alone does not prove that:
// it counts an answer to a heartbeat that was sent before, so a leader that was stopped for
// a while and finds old answers waiting would read the past; and it counts nodes without a
// vote. So each of the majority must
// have answered a call that began after this one.
func (s *Store) LeaderReadIndex(ctx context.Context) (uint64, error) {
	began := time.Now()
	term := s.raft.CurrentTerm()
	if !s.Leading() {
		return 0, s.classify(raft.ErrNotLeader)
	}
	commit, err := s.committedIn(ctx, term)
	if err != nil {
		return 0, err
	}
	for confirmed := false; !confirmed; {
		if err := s.await(ctx, s.raft.VerifyLeader()); err != nil {
			return 0, s.readError(err)
		}
		servers, _ := s.servers()
		confirmed = s.contacts.confirms(servers, raft.ServerID(s.id), term, began)
		if s.raft.CurrentTerm() != term || !s.Leading() {
			return 0, s.classify(raft.ErrNotLeader)
		}
	}
	index, err := s.lastApplicable(commit)
	if err != nil {
		return 0, err
	}
	return index, s.fsm.await(ctx, index, s.fault)
}

// readError is that of a read, which may always be repeated.
func (s *Store) readError(err error) error {
	if errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrLeadershipLost) || errors.Is(err, raft.ErrLeadershipTransferInProgress) {
		return s.classify(raft.ErrNotLeader)
	}
	return err
}

// committedIn returns the commit index once an entry of the leader's term is committed.
func (s *Store) committedIn(ctx context.Context, term uint64) (uint64, error) {
	commit := s.raft.CommitIndex()
	var log raft.Log
	err := s.entries.GetLog(commit, &log)
	if err == nil && log.Term == term {
		return commit, nil
	}
	if err != nil && !errors.Is(err, raft.ErrLogNotFound) {
		return 0, fmt.Errorf("read log entry %d: %w", commit, err)
	}
	// A barrier is an entry of this term.
	if err := s.await(ctx, s.raft.Barrier(enqueueLimit(ctx))); err != nil {
		return 0, s.readError(err)
	}
	return s.raft.CommitIndex(), nil
}

// lastApplicable returns an entry that raft gives to the state machine, and with which all up to an
// index are applied: raft keeps some for itself, and waiting for those would never end. It is
// the last such entry up to the index, as the log tells. Where the log does not go back so far, a snapshot
// covers the index, which the state machine of this node made or was made from: what that has applied by
// now is committed, and behind the index.
func (s *Store) lastApplicable(index uint64) (uint64, error) {
	for ; index > 0; index-- {
		var log raft.Log
		err := s.entries.GetLog(index, &log)
		if errors.Is(err, raft.ErrLogNotFound) {
			return s.fsm.appliedIndex(), nil
		}
		if err != nil {
			return 0, fmt.Errorf("read log entry %d: %w", index, err)
		}
		if log.Type == raft.LogCommand || log.Type == raft.LogConfiguration {
			return index, nil
		}
	}
	return 0, nil
}

// Staleness is how far behind a read of this node may be that does not ask the others.
type Staleness struct {
	Leader Peer
	// Contact is how long ago this node last heard of the leader: what was acknowledged since
	// then may be missing. Zero on the leader itself, negative if it never did.
	Contact time.Duration
	// Applied is the last entry it has applied, Commit the last that it knows to be committed.
	Applied, Commit uint64
}

// Staleness says what a read now would be based on.
func (s *Store) Staleness() Staleness {
	out := Staleness{Leader: s.LeaderPeer(), Applied: s.fsm.appliedIndex(), Commit: s.raft.CommitIndex()}
	if last := s.raft.LastContact(); s.Leading() {
		out.Contact = 0
	} else if last.IsZero() {
		out.Contact = -1
	} else {
		out.Contact = time.Since(last)
	}
	return out
}

func (m *machine) appliedIndex() uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.applied
}

// await returns when the state machine has applied an entry.
func (m *machine) await(ctx context.Context, index uint64, fault *fault) error {
	for {
		m.mu.RLock()
		applied, changed := m.applied, m.changed
		m.mu.RUnlock()
		if applied >= index {
			return nil
		}
		select {
		case <-changed:
		case <-fault.failed:
			return fault.Err()
		case <-ctx.Done():
			return fmt.Errorf("wait for entry %d, %d is applied: %w", index, applied, context.Cause(ctx))
		}
	}
}
