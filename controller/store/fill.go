package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// filler gets what this node lacks: after it was sent a snapshot, which brings the index
// and no bytes; after a start without an inventory; and when bytes turned out to be
// damaged. For each chunk it looks first if the right bytes are in the file already,
// then in this node's log, then at the other nodes. It writes a chunk to its place in
// the file, and counts it as there after an fsync.
//
// It overwrites in place. The bytes it replaces are wrong or none, those beside them are
// not touched, and a crash in the middle leaves bytes that are wrong still, which are
// noticed by their checksum. A new file in place of the old would lose what the state
// machine appends to the old one meanwhile.
type filler struct {
	store *Store
	// retry is how long it waits before it tries again what it could not get.
	retry time.Duration
}

const (
	// fillBytes and fillChunks bound what is asked for at once, and written between two
	// fsyncs.
	fillBytes  = 32 << 20
	fillChunks = 8192
	// Between two tries of what nobody could give.
	retryFirst = time.Second
	retryLast  = time.Minute
)

// run fills until ctx is done.
func (f *filler) run(ctx context.Context) {
	m := f.store.fsm
	for {
		f.pass(ctx)
		var again <-chan time.Time
		var timer *time.Timer
		if !m.complete() {
			f.retry = min(max(2*f.retry, retryFirst), retryLast)
			timer = time.NewTimer(f.retry)
			again = timer.C
		} else {
			f.retry = 0
		}
		select {
		case <-m.lack:
			f.retry = 0
		case <-again:
		case <-ctx.Done():
		}
		if timer != nil {
			timer.Stop()
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// pass tries once to get all that is lacking.
func (f *filler) pass(ctx context.Context) {
	m := f.store.fsm
	m.mu.RLock()
	todo := m.lackingStreams()
	m.mu.RUnlock()
	unsaved := 0
	for _, st := range todo {
		if ctx.Err() != nil {
			return
		}
		n, err := f.fill(ctx, st)
		unsaved += n
		if err != nil && ctx.Err() == nil {
			m.explain(st, err)
		}
		if unsaved >= 4*fillChunks {
			f.save()
			unsaved = 0
		}
	}
	if unsaved > 0 {
		f.save()
	}
}

// save writes the inventory down, so that what is here now need not be read again after
// a restart.
func (f *filler) save() {
	if err := f.store.fsm.saveStock(); err != nil {
		f.store.log.Warn("the inventory is out of date; after a restart more than needed is read again", "reason", err)
	}
}

// explain keeps why a stream is still not complete.
func (m *machine) explain(st *stream, why error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if st.lacking == nil {
		return
	}
	if st.why != why.Error() {
		m.fault.log.Error("chunks are not on this node and cannot be fetched now",
			"run", st.run, "agent", st.key.agent, "chunks", st.lacking.count(), "reason", why)
	}
	st.why = why.Error()
}

// fill gets what a stream lacks, and returns how many chunks that were.
func (f *filler) fill(ctx context.Context, st *stream) (filled int, err error) {
	m := f.store.fsm
	b, from := m.batch(st, 0)
	if len(b.refs) == 0 {
		return 0, nil
	}
	into, err := openChunkFile(m.files.disk, m.files.dir, st)
	if err != nil {
		return 0, fmt.Errorf("open the file of chunks to fetch: %w", err)
	}
	defer func() { err = errors.Join(err, into.Close()) }()
	if checkHeader(into, st) != nil {
		if _, err := into.WriteAt(st.header(), 0); err != nil {
			return 0, fmt.Errorf("write the header of a chunk file: %w", err)
		}
	}
	var why error
	for len(b.refs) > 0 && ctx.Err() == nil {
		n, err := f.fillBatch(ctx, into, b)
		filled += n
		if err != nil {
			why = err
		}
		if from < 0 {
			break
		}
		b, from = m.batch(st, from)
	}
	return filled, why
}

// batch is some of the chunks that a stream lacks.
type batch struct {
	*stream
	refs []chunkRef
	// places are where in the stream's list the chunks are, logged which of them the log
	// may have.
	places map[uint64]int
	logged []bool
}

// batch takes the next chunks that a stream lacks, from a place on; next is -1 behind
// the last. There are none if the stream is not part of the state any more.
func (m *machine) batch(st *stream, from int) (b batch, next int) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	b = batch{stream: st, places: map[uint64]int{}}
	if m.streamOf(st.run, st.key) != st {
		return b, -1
	}
	bytes := int64(0)
	i := st.lacking.next(from)
	for ; i >= 0 && len(b.refs) < fillChunks && bytes < fillBytes; i = st.lacking.next(i + 1) {
		ref := st.chunks[i]
		b.refs = append(b.refs, ref)
		b.places[ref.sequence] = i
		b.logged = append(b.logged, i >= st.logged)
		bytes += int64(ref.length)
	}
	return b, i
}

// fillBatch gets some chunks of a stream into its file, makes them durable and counts
// them as there.
func (f *filler) fillBatch(ctx context.Context, into file, b batch) (int, error) {
	m := f.store.fsm
	var got []int
	var lost, logged []chunkRef
	for i, ref := range b.refs {
		if _, err := readChunk(into, b.stream, ref); err == nil {
			got = append(got, b.places[ref.sequence])
		} else if b.logged[i] {
			logged = append(logged, ref)
		} else {
			lost = append(lost, ref)
		}
	}
	put := func(ref chunkRef, c Chunk) error {
		if _, err := into.WriteAt(frame(&c), ref.offset); err != nil {
			return fmt.Errorf("write a fetched chunk: %w", err)
		}
		got = append(got, b.places[ref.sequence])
		return nil
	}
	var why error
	if len(logged) > 0 {
		rest, err := f.store.fromLog(ctx, b.stream, logged, put)
		if err != nil {
			return 0, fmt.Errorf("look for chunks in the log: %w", err)
		}
		lost = append(lost, rest...)
	}
	if len(lost) > 0 {
		_, why = f.store.fromNodes(ctx, b.stream, lost, put)
	}
	if len(got) == 0 {
		return 0, why
	}
	if err := f.sync(into, b.stream); err != nil {
		if m.left(b.stream) {
			return 0, nil // Its files are being removed.
		}
		m.fault.fail(err)
		return 0, err
	}
	m.filled(b.stream, got)
	return len(got), why
}

// left reports whether a stream is no part of the state any more.
func (m *machine) left(st *stream) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.streamOf(st.run, st.key) != st
}

// sync makes what was written durable. As with all fsyncs here, there is no second try.
func (f *filler) sync(into file, st *stream) error {
	m := f.store.fsm
	m.mu.RLock()
	size := st.size
	m.mu.RUnlock()
	if err := into.Sync(); err != nil {
		return fmt.Errorf("fsync fetched chunks: %w", err)
	}
	for _, dir := range []string{filepath.Dir(m.path(st)), m.files.dir} {
		if err := syncPath(m.files.disk, dir); err != nil {
			return fmt.Errorf("fsync fetched chunks: %w", err)
		}
	}
	m.mu.Lock()
	st.synced = max(st.synced, size)
	m.mu.Unlock()
	return nil
}
