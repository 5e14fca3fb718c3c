package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"
)

// ErrAbsent: the bytes of a chunk are committed, and not on this node. They are being
// fetched; another node may have them.
var ErrAbsent = errors.New("not on this node")

// Inventory says how much of what the state refers to this node has, and what became
// of its files since it was opened.
type Inventory struct {
	// Chunks and Bytes are all that the state refers to; Bytes are of the chunks' data.
	Chunks, Bytes uint64
	// LackingChunks and LackingBytes are those of them that are not here: not yet
	// fetched, not yet looked at since the node started, or damaged.
	LackingChunks, LackingBytes uint64
	// AppliedIndex is the last entry of the log that this says something about.
	AppliedIndex uint64

	// Fetched counts chunks that came from other nodes, Damaged those whose bytes were
	// here and are wrong or gone, Repaired those of the damaged that are right again.
	Fetched, Damaged, Repaired uint64
	// Scrubbed is how many bytes were read for no other reason than to check them.
	Scrubbed uint64
}

// Complete reports whether this node has everything that its state refers to. A node
// that has applied nothing is complete too: see AppliedIndex.
func (i Inventory) Complete() bool { return i.LackingChunks == 0 }

// Lacking is a chunk that is committed and not here.
type Lacking struct {
	RunID       string
	Agent       string
	Incarnation uint64
	Sequence    uint64
	// File and Offset are where it belongs.
	File   string
	Offset int64
	// Reason is why it is still not here, empty if nobody has tried to get it yet.
	Reason string
}

// counts are of what became of the files since the node was opened.
type counts struct {
	fetched, damaged, repaired, scrubbed atomic.Uint64
}

// Inventory says what this node has.
func (s *Store) Inventory() Inventory { return s.fsm.inventory() }

func (m *machine) inventory() Inventory {
	m.mu.RLock()
	defer m.mu.RUnlock()
	out := Inventory{
		AppliedIndex: m.applied,
		Fetched:      m.counts.fetched.Load(), Damaged: m.counts.damaged.Load(), Repaired: m.counts.repaired.Load(),
		Scrubbed: m.counts.scrubbed.Load(),
	}
	for _, r := range m.runs {
		if r.Here() {
			out.Chunks += r.Chunks
			out.Bytes += r.Bytes
		}
	}
	for st := range m.incomplete {
		for i := st.lacking.next(0); i >= 0; i = st.lacking.next(i + 1) {
			out.LackingChunks++
			out.LackingBytes += uint64(st.chunks[i].length)
		}
	}
	return out
}

// Lacking returns up to limit of the chunks that are not here, those of one file
// together.
func (s *Store) Lacking(limit int) []Lacking {
	m := s.fsm
	m.mu.RLock()
	defer m.mu.RUnlock()
	var out []Lacking
	for _, st := range m.lackingStreams() {
		for i := st.lacking.next(0); i >= 0 && len(out) < limit; i = st.lacking.next(i + 1) {
			out = append(out, Lacking{
				RunID: st.run, Agent: st.key.agent, Incarnation: st.key.incarnation, Sequence: st.chunks[i].sequence,
				File: m.path(st), Offset: st.chunks[i].offset, Reason: st.why,
			})
		}
	}
	return out
}

// lackingStreams are the streams that are not complete, in the order of runs. The
// caller holds mu.
func (m *machine) lackingStreams() []*stream {
	out := make([]*stream, 0, len(m.incomplete))
	for st := range m.incomplete {
		out = append(out, st)
	}
	place := make(map[string]int, len(m.order))
	for i, id := range m.order {
		place[id] = i
	}
	slices.SortFunc(out, func(a, b *stream) int {
		return cmp.Or(cmp.Compare(place[a.run], place[b.run]), a.key.compare(b.key))
	})
	return out
}

// WaitComplete returns when this node has every chunk that its state refers to.
func (s *Store) WaitComplete(ctx context.Context) error {
	for {
		changed := s.Changed()
		if s.fsm.complete() {
			return nil
		}
		select {
		case <-changed:
		case <-s.fault.failed:
			return fmt.Errorf("wait for all chunks: %w", s.Err())
		case <-ctx.Done():
			i := s.fsm.inventory()
			return fmt.Errorf("wait for all chunks: %d of %d are not here: %w", i.LackingChunks, i.Chunks, context.Cause(ctx))
		}
	}
}

// found notes that a chunk's bytes are not right here, and reports if that is news.
// Whoever fetches is woken.
func (m *machine) found(run string, key streamKey, sequence uint64, why error) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	st := m.streamOf(run, key)
	if st == nil {
		return false
	}
	i, ok := st.place(sequence)
	if !ok || !st.lacking.set(i) {
		return false
	}
	m.incomplete[st] = struct{}{}
	m.counts.damaged.Add(1)
	st.damaged.set(i)
	m.fault.log.Error("a chunk is damaged; it is fetched from another node", "run", run, "agent", key.agent, "chunk", sequence, "reason", why)
	m.wakeFiller()
	return true
}

// standing is the last entry applied, and whether this node has all that its state refers to
// then: of one moment, since a snapshot may be restored between any two.
func (m *machine) standing() (applied uint64, complete bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.applied, len(m.incomplete) == 0
}

// snappedIndex is what the newest snapshot had applied.
func (m *machine) snappedIndex() uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.snapped
}

// complete reports whether this node has all that its state refers to.
func (m *machine) complete() bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.incomplete) == 0
}

// filled notes that the bytes of chunks, by their places, are in the file and on the
// disk.
func (m *machine) filled(st *stream, places []int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, i := range places {
		st.lacking.clear(i)
		if st.damaged.clear(i) {
			m.counts.repaired.Add(1)
			m.fault.log.Info("a damaged chunk is repaired", "run", st.run, "agent", st.key.agent, "chunk", st.chunks[i].sequence)
		}
	}
	if st.lacking.next(0) < 0 {
		st.lacking, st.damaged, st.why = nil, nil, ""
		delete(m.incomplete, st)
	}
	close(m.changed)
	m.changed = make(chan struct{})
}

// shrunk notes that a stream's file ended early when a chunk was appended to it: what
// was behind is gone. The caller holds mu.
func (m *machine) shrunk(st *stream, whole int64) {
	cut := 0
	for i := range st.chunks {
		if st.chunks[i].end() > whole && st.lacking.set(i) {
			st.damaged.set(i)
			cut++
		}
	}
	if cut == 0 {
		return
	}
	m.incomplete[st] = struct{}{}
	m.counts.damaged.Add(uint64(cut))
	m.fault.log.Error("a chunk file is shorter than what was written to it; what is missing is fetched from another node",
		"file", m.path(st), "bytes", whole, "missing chunks", cut)
	m.wakeFiller()
}

// path is the name of a stream's file.
func (m *machine) path(st *stream) string { return filepath.Join(m.files.dir, st.name) }

// streamOf finds a stream, nil if there is none. The caller holds mu.
func (m *machine) streamOf(run string, key streamKey) *stream {
	if r := m.runs[run]; r != nil {
		return r.streams[key]
	}
	return nil
}

func (m *machine) wakeFiller() {
	select {
	case m.lack <- struct{}{}:
	default:
	}
}
