package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	logv1 "syncline/proto/syncline/log/v1"
)

// Wanted names chunks of one stream.
type Wanted struct {
	RunID       string
	Agent       string
	Incarnation uint64
	Sequences   []uint64
}

// Source gets chunks from another node of the cluster. What it gives is compared with
// the index, so it need not be trusted, and it may give less than was asked for.
type Source interface {
	// Fetch asks a node for chunks and gives yield those that it has, in any order, until
	// yield returns an error. It returns when there are no more, and must return soon
	// after ctx is done. It is called by several goroutines at once.
	Fetch(ctx context.Context, from Peer, want Wanted, yield func(Chunk) error) error
}

// silenceLimit is how long a node may be silent before another is asked.
const silenceLimit = 10 * time.Second

// Serve gives yield the chunks that another node asks for, those of them that are whole
// here, read and compared with their checksums. It is the other end of a Source, and
// asks no other node itself.
func (s *Store) Serve(ctx context.Context, want Wanted, yield func(Chunk) error) error {
	st, refs, err := s.fsm.refsOf(want)
	if err != nil {
		return err
	}
	from, err := readChunkFile(s.fsm.files.disk, s.fsm.path(st))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read chunks for another node: %w", err)
	}
	defer from.Close()
	for _, ref := range refs {
		if err := ctx.Err(); err != nil {
			return err
		}
		c, err := readChunk(from, st, ref)
		if err != nil {
			// Not news if it never was here.
			s.fsm.found(st.run, st.key, ref.sequence, err)
			continue
		}
		if err := yield(c); err != nil {
			return err
		}
	}
	return nil
}

// refsOf finds those of the wanted chunks that are committed.
func (m *machine) refsOf(want Wanted) (*stream, []chunkRef, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	key := streamKey{want.Agent, want.Incarnation}
	st := m.streamOf(want.RunID, key)
	if st == nil {
		return nil, nil, fmt.Errorf("read chunks of %q, incarnation %d, in run %q for another node: %w", want.Agent, want.Incarnation, want.RunID, ErrUnknownRun)
	}
	refs := make([]chunkRef, 0, len(want.Sequences))
	for _, seq := range want.Sequences {
		if ref, ok := st.find(seq); ok {
			refs = append(refs, ref)
		}
	}
	return &stream{key: key, run: st.run, name: st.name}, refs, nil
}

// others are the other nodes, the leader first. A node that is just being sent its first
// snapshot knows its leader and not yet the members.
func (s *Store) others() ([]Peer, error) {
	future := s.raft.GetConfiguration()
	if err := future.Error(); err != nil {
		return nil, fmt.Errorf("ask for the nodes of the cluster: %w", err)
	}
	var out []Peer
	leader := s.LeaderPeer()
	if leader.ID != "" && leader.ID != s.id {
		out = append(out, leader)
	}
	for _, server := range future.Configuration().Servers {
		if id := string(server.ID); id != s.id && id != leader.ID {
			out = append(out, Peer{ID: id, Address: string(server.Address)})
		}
	}
	return out, nil
}

// fromNodes asks the other nodes, one after the other, for chunks, and gives yield each
// once. It returns the references of those that nobody gave, and why.
func (s *Store) fromNodes(ctx context.Context, st *stream, refs []chunkRef, yield func(chunkRef, Chunk) error) (rest []chunkRef, why error) {
	if s.cfg.Source == nil {
		return refs, errors.New("this node knows no other node to fetch it from")
	}
	nodes, err := s.others()
	if err != nil {
		return refs, err
	}
	if len(nodes) == 0 {
		return refs, errors.New("there is no other node in the cluster to fetch it from")
	}
	for _, node := range nodes {
		if len(refs) == 0 || ctx.Err() != nil {
			break
		}
		var err error
		if refs, err = s.fromNode(ctx, node, st, refs, yield); err != nil {
			if fatal := (*yieldError)(nil); errors.As(err, &fatal) {
				return refs, fatal.err
			}
			why = errors.Join(why, fmt.Errorf("node %s: %w", node.ID, err))
		} else if len(refs) > 0 {
			why = errors.Join(why, fmt.Errorf("node %s: %w", node.ID, ErrAbsent))
		}
	}
	if len(refs) == 0 {
		return nil, nil
	}
	return refs, errors.Join(why, ctx.Err())
}

// yieldError is an error of whoever takes the chunks, and of no node.
type yieldError struct{ err error }

func (e *yieldError) Error() string { return e.err.Error() }
func (e *yieldError) Unwrap() error { return e.err }

var errSilent = fmt.Errorf("it was silent for %v", silenceLimit)

// fromNode asks one node.
func (s *Store) fromNode(ctx context.Context, node Peer, st *stream, refs []chunkRef, yield func(chunkRef, Chunk) error) (rest []chunkRef, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(silenceLimit, func() { cancel(errSilent) })
	defer silence.Stop()

	missing := make(map[uint64]chunkRef, len(refs))
	want := Wanted{RunID: st.run, Agent: st.key.agent, Incarnation: st.key.incarnation, Sequences: make([]uint64, 0, len(refs))}
	for _, ref := range refs {
		missing[ref.sequence] = ref
		want.Sequences = append(want.Sequences, ref.sequence)
	}
	err = s.cfg.Source.Fetch(ctx, node, want, func(c Chunk) error {
		silence.Reset(silenceLimit)
		ref, ok := missing[c.Sequence]
		if !ok {
			return fmt.Errorf("it sent chunk %d of %s, which nobody asked for", c.Sequence, st.key.agent)
		}
		if Checksum(c.Data) != c.CRC32C || !ref.is(&c) {
			return fmt.Errorf("it sent chunk %d of %s with other bytes than were committed: %w", c.Sequence, st.key.agent, ErrDamaged)
		}
		c.RunID, c.Agent, c.Incarnation = st.run, st.key.agent, st.key.incarnation
		if err := yield(ref, c); err != nil {
			return &yieldError{err}
		}
		delete(missing, c.Sequence)
		s.fsm.counts.fetched.Add(1)
		return nil
	})
	for _, ref := range refs {
		if _, ok := missing[ref.sequence]; ok {
			rest = append(rest, ref)
		}
	}
	if err != nil && ctx.Err() != nil {
		err = errors.Join(err, context.Cause(ctx))
	}
	return rest, err
}

// fromLog looks for chunks in what the log of this node still has, and gives yield those
// that it finds.
func (s *Store) fromLog(ctx context.Context, st *stream, refs []chunkRef, yield func(chunkRef, Chunk) error) (rest []chunkRef, err error) {
	return chunksInLog(ctx, s.logs, st, refs, yield)
}

// chunksInLog gives yield those of some chunks whose entries a log still has, and returns the
// others.
func chunksInLog(ctx context.Context, logs raft.LogStore, st *stream, refs []chunkRef, yield func(chunkRef, Chunk) error) (rest []chunkRef, err error) {
	first, err := logs.FirstIndex()
	if err != nil {
		return refs, err
	}
	last, err := logs.LastIndex()
	if err != nil {
		return refs, err
	}
	missing := make(map[uint64]chunkRef, len(refs))
	for _, ref := range refs {
		missing[ref.sequence] = ref
	}
	for i := first; i <= last && len(missing) > 0 && ctx.Err() == nil && i > 0; i++ {
		var log raft.Log
		if err := logs.GetLog(i, &log); errors.Is(err, raft.ErrLogNotFound) {
			continue // Dropped meanwhile.
		} else if err != nil {
			return refs, err
		}
		entry := new(logv1.Entry)
		if log.Type != raft.LogCommand || proto.Unmarshal(log.Data, entry) != nil || entry.GetAppendChunk() == nil {
			continue
		}
		c := chunkFromLog(entry.GetAppendChunk())
		ref, ok := missing[c.Sequence]
		if !ok || c.RunID != st.run || c.Agent != st.key.agent || c.Incarnation != st.key.incarnation || !ref.is(&c) {
			continue
		}
		if err := yield(ref, c); err != nil {
			return refs, err
		}
		delete(missing, c.Sequence)
	}
	for _, ref := range refs {
		if _, ok := missing[ref.sequence]; ok {
			rest = append(rest, ref)
		}
	}
	return rest, nil
}
