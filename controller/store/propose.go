package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	logv1 "syncline/proto/syncline/log/v1"
)

// PutAgent remembers an agent, in place of what was known of one of that name.
func (s *Store) PutAgent(ctx context.Context, a Agent) error {
	entry := &logv1.Entry{Command: &logv1.Entry_PutAgent{PutAgent: &logv1.PutAgent{Agent: agentToLog(a)}}}
	_, err := s.propose(ctx, "remember agent "+a.Name, entry)
	return err
}

// CreateRun commits a run in state Planned, its epoch 1 unless run says more. The
// same request id gives the same run, whatever run says then. It makes up an id if
// run has none; State, CreatedNs, EndedNs, Seal and the counts of run are not
// looked at.
func (s *Store) CreateRun(ctx context.Context, requestID string, run Run) (Run, error) {
	if requestID == "" || len(requestID) > maxRequestBytes {
		return Run{}, fmt.Errorf("create a run: %w: a request id of %d bytes, 1 to %d are needed to make a retry safe", ErrInvalid, len(requestID), maxRequestBytes)
	}
	madeUp := run.ID == ""
	for {
		if madeUp {
			run.ID = "r-" + randomHex(4)
		}
		if err := run.check(); err != nil {
			return Run{}, fmt.Errorf("create a run: %w", err)
		}
		entry := &logv1.Entry{RequestId: requestID, Command: &logv1.Entry_CreateRun{CreateRun: &logv1.CreateRun{Run: runToLog(run)}}}
		res, err := s.propose(ctx, "create run "+run.ID, entry)
		if madeUp && errors.Is(err, ErrExists) {
			continue
		}
		return res.run, err
	}
}

// ChangeRun moves a run along, and returns it as it is then. A change to the state
// a run is in already changes nothing, so that a repeated request is no error.
func (s *Store) ChangeRun(ctx context.Context, id string, change RunChange) (Run, error) {
	entry := &logv1.Entry{Command: &logv1.Entry_ChangeRun{ChangeRun: changeToLog(id, change)}}
	res, err := s.propose(ctx, "change run "+id, entry)
	return res.run, err
}

// TakeRun makes the epoch of a run one more, in one entry and whatever the epoch is, and returns
// the run. Who takes a run over begins with this: what anybody else proposes about the
// run from then on is ErrEpoch.
func (s *Store) TakeRun(ctx context.Context, id string) (Run, error) {
	entry := &logv1.Entry{Command: &logv1.Entry_TakeRun{TakeRun: &logv1.TakeRun{RunId: id, NodeId: s.id}}}
	res, err := s.propose(ctx, "take run "+id+" over", entry)
	return res.run, err
}

// PutEnvironment keeps with a run what one of its hosts was like, in place of what was
// kept of that host. epoch must be the run's, and the run not be over.
func (s *Store) PutEnvironment(ctx context.Context, id string, epoch uint64, e Environment) error {
	what := fmt.Sprintf("keep the environment of host %s with run %s", e.Host, id)
	if err := e.check(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	entry := &logv1.Entry{Command: &logv1.Entry_PutEnvironment{PutEnvironment: &logv1.PutEnvironment{
		RunId: id, Epoch: epoch, Environment: environmentToLog(e),
	}}}
	_, err := s.propose(ctx, what, entry)
	return err
}

// Seal ends a run: it hashes its chunks and takes no more of them. A run that is to
// be Sealed must be Collecting and have no gap in any stream. A sealed run is
// returned as it is.
func (s *Store) Seal(ctx context.Context, id string, sealing Sealing) (Run, error) {
	entry := &logv1.Entry{Command: &logv1.Entry_SealRun{SealRun: sealingToLog(id, sealing)}}
	res, err := s.propose(ctx, "seal run "+id, entry)
	return res.run, err
}

// AppendChunk keeps a chunk, and reports if it was kept before: chunks are told
// apart by (run, agent, incarnation, sequence) for ever. Many calls at once share
// the fsyncs of the log. c.Data must not change before it returns.
func (s *Store) AppendChunk(ctx context.Context, c Chunk) (duplicate bool, err error) {
	if err := c.check(); err != nil {
		return false, fmt.Errorf("append chunk: %w", err)
	}
	entry := &logv1.Entry{Command: &logv1.Entry_AppendChunk{AppendChunk: chunkToLog(c)}}
	res, err := s.propose(ctx, fmt.Sprintf("append chunk %d of %s to run %s", c.Sequence, c.Agent, c.RunID), entry)
	return res.duplicate, err
}

// propose commits one entry and returns what the state machine made of it. Every
// error but that of the state machine is ErrNotLeader, ErrBusy or
// ErrUnknownOutcome.
func (s *Store) propose(ctx context.Context, what string, entry *logv1.Entry) (result, error) {
	entry.Version = versionOf(entry)
	entry.IssuedAtNs = s.now().UnixNano()
	if err := sign(ctx, entry); err != nil {
		return result{}, fmt.Errorf("%s: %w", what, err)
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(entry)
	if err != nil {
		return result{}, fmt.Errorf("%s: %w: %w", what, ErrInvalid, err)
	}
	if len(data) > maxEntryBytes {
		return result{}, fmt.Errorf("%s: %w: an entry of %d bytes, at most %d are allowed", what, ErrInvalid, len(data), maxEntryBytes)
	}
	if err := ctx.Err(); err != nil {
		return result{}, fmt.Errorf("%s: %w", what, err)
	}
	if err := s.gate(entry); err != nil {
		return result{}, fmt.Errorf("%s: %w", what, err)
	}
	if !s.enter() {
		return result{}, fmt.Errorf("%s: %w: the store is closed", what, ErrNotLeader)
	}
	defer s.inflight.Done()
	future := s.raft.Apply(data, enqueueLimit(ctx))
	if err := s.await(ctx, future); err != nil {
		return result{}, fmt.Errorf("%s: %w", what, s.classify(err))
	}
	res := future.Response().(result)
	if res.err != nil {
		return res, fmt.Errorf("%s: %w", what, res.err)
	}
	return res, nil
}

// enter registers a proposal, unless the store is closed.
func (s *Store) enter() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return false
	}
	s.inflight.Add(1)
	return true
}

// enqueueLimit bounds how long a proposal waits to be taken; raft takes no context.
func enqueueLimit(ctx context.Context) time.Duration {
	limit := proposeTimeout
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline))
	}
	return max(limit, time.Millisecond)
}

// await waits for a future, the end of ctx, or the node's failure: raft that is
// shut down leaves some futures without an answer.
func (s *Store) await(ctx context.Context, future raft.Future) error {
	answered := make(chan error, 1)
	go func() { answered <- future.Error() }()
	select {
	case err := <-answered:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.fault.failed:
		return s.Err()
	}
}

// classify says what an error of raft means for the caller. What raft refuses before
// it proposes is safe to repeat anywhere; of all else nobody knows how it ended.
func (s *Store) classify(err error) error {
	switch {
	case slices.ContainsFunc([]error{raft.ErrNotLeader, raft.ErrLeadershipTransferInProgress}, func(e error) bool { return errors.Is(err, e) }):
		if leader := s.Leader(); leader != "" {
			return fmt.Errorf("%w: %s does", ErrNotLeader, leader)
		}
		return fmt.Errorf("%w: an election is under way", ErrNotLeader)
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return ErrBusy
	}
	return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
}
