package store

import (
	"context"
	"errors"
	"io/fs"
	"runtime"
	"time"
)

// scrubber reads everything that is on this node's disk over and over, slowly, and
// compares it with its checksums: a bit that rots in a file nobody reads would else be
// found when the last good copy is gone. What is damaged is marked, and fetched by the
// filler. Snapshots are read too; one that is damaged is replaced by a new one.
//
// It drops the file's clean pages from the cache before it reads them, since what is
// cached says nothing about the disk, and runs on a thread of its own with idle I/O
// priority where the system has one.
type scrubber struct {
	store *Store
	// rate is in bytes a second; 0 means scrubRate, less than that not at all.
	rate int64
	// owed is how many bytes were read since the last pause.
	owed int64
}

const (
	scrubRate = 4 << 20
	// scrubBurst is how much is read between two pauses: few wake-ups disturb a
	// measurement less than many.
	scrubBurst = 1 << 20
	// scrubRest is between two passes.
	scrubRest = time.Minute
)

func (s *scrubber) run(ctx context.Context) {
	if s.rate < 0 {
		return
	}
	if s.rate == 0 {
		s.rate = scrubRate
	}
	// The thread ends with the goroutine, since it is not unlocked.
	runtime.LockOSThread()
	beIdle()
	for pause(ctx, scrubRest) {
		if err := s.pass(ctx); err != nil && ctx.Err() == nil {
			s.store.log.Warn("files could not be read over again", "reason", err)
		}
	}
}

// pass reads everything once.
func (s *scrubber) pass(ctx context.Context) error {
	m := s.store.fsm
	var errs []error
	for _, st := range m.allStreams() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		errs = append(errs, s.stream(ctx, st))
	}
	return errors.Join(append(errs, s.snapshots())...)
}

// allStreams are copies of all streams, with the chunks that should be here.
func (m *machine) allStreams() []*stream {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var out []*stream
	for _, id := range m.order {
		r := m.runs[id]
		for _, key := range r.keys() {
			st := r.streams[key]
			out = append(out, &stream{key: key, run: st.run, name: st.name, chunks: st.chunks[:len(st.chunks):len(st.chunks)]})
		}
	}
	return out
}

// stream reads one chunk file.
func (s *scrubber) stream(ctx context.Context, st *stream) error {
	m := s.store.fsm
	f, err := readChunkFile(m.files.disk, m.path(st))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil {
		for _, ref := range st.chunks {
			m.found(st.run, st.key, ref.sequence, err)
		}
		return nil
	}
	defer f.Close()
	if err := checkHeader(f, st); err != nil && len(st.chunks) > 0 {
		// Nothing is read by it; the file is of no use elsewhere without it.
		m.fault.log.Error("the header of a chunk file is damaged; it is written again", "reason", err)
		m.counts.damaged.Add(1)
		if err := m.putHeader(st); err != nil {
			return err
		}
		m.counts.repaired.Add(1)
	}
	for _, ref := range st.chunks {
		n := frameHeaderSize + int64(ref.length)
		dropCached(f, ref.offset, n)
		_, err := readChunk(f, st, ref)
		if err != nil {
			m.found(st.run, st.key, ref.sequence, err)
		}
		m.counts.scrubbed.Add(uint64(n))
		if !s.spend(ctx, n) {
			return ctx.Err()
		}
	}
	return nil
}

// spend pauses for as long as what was read takes at the rate, and reports whether ctx is
// not done.
func (s *scrubber) spend(ctx context.Context, n int64) bool {
	if s.owed += n; s.owed < scrubBurst {
		return ctx.Err() == nil
	}
	d := time.Duration(float64(s.owed) / float64(s.rate) * float64(time.Second))
	s.owed = 0
	return pause(ctx, d)
}

// putHeader writes the header of a stream's file over what is there.
func (m *machine) putHeader(st *stream) error {
	f, err := openChunkFile(m.files.disk, m.files.dir, st)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(st.header(), 0)
	if err == nil {
		if err = f.Sync(); err != nil {
			m.fault.fail(err)
		}
	}
	return errors.Join(err, f.Close())
}

// snapshots reads the snapshots, and has a new one written if one is damaged.
func (s *scrubber) snapshots() error {
	bad, why := s.store.snapshots.verify()
	if len(bad) == 0 {
		return why
	}
	s.store.fsm.counts.damaged.Add(uint64(len(bad)))
	s.store.log.Error("a snapshot is damaged; a new one is written", "reason", why)
	if err := s.store.raft.Snapshot().Error(); err != nil {
		return err
	}
	for _, name := range bad {
		if err := s.store.snapshots.remove(name); err != nil {
			return err
		}
		s.store.fsm.counts.repaired.Add(1)
	}
	return nil
}
