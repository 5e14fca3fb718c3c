package store

import (
	"errors"
	"fmt"
	"io/fs"
)

// chunkReader reads the chunks of one stream for somebody, and gets what is not whole
// here from elsewhere.
type chunkReader struct {
	store *Store
	// st has the chunks in the order in which they are read.
	st *stream
	// file is nil if there is none.
	file file
	// ahead has chunks that were got from elsewhere together with an earlier one.
	ahead map[uint64]Chunk
}

// readAhead bounds what is got from elsewhere at once.
const readAhead = 4 << 20

func (s *Store) openStream(st *stream) (*chunkReader, error) {
	r := &chunkReader{store: s, st: st, ahead: map[uint64]Chunk{}}
	f, err := readChunkFile(s.fsm.files.disk, s.fsm.path(st))
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	r.file = f
	return r, nil
}

func (r *chunkReader) close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}

// read returns the chunk at a place of the list.
func (r *chunkReader) read(i int) (Chunk, error) {
	ref := r.st.chunks[i]
	if c, ok := r.ahead[ref.sequence]; ok {
		delete(r.ahead, ref.sequence)
		return c, nil
	}
	m := r.store.fsm
	err := fmt.Errorf("%s: %w: there is no such file", m.path(r.st), ErrDamaged)
	if r.file != nil {
		var c Chunk
		if c, err = readChunk(r.file, r.st, ref); err == nil {
			return c, nil
		}
	}
	if !m.found(r.st.run, r.st.key, ref.sequence, err) && !m.wasHere(r.st, ref.sequence) {
		err = fmt.Errorf("%s at offset %d: chunk %d: %w", m.path(r.st), ref.offset, ref.sequence, ErrAbsent)
	}
	why := r.elsewhere(i)
	c, ok := r.ahead[ref.sequence]
	if !ok {
		return Chunk{}, fmt.Errorf("%w; and nowhere else: %w", err, why)
	}
	delete(r.ahead, ref.sequence)
	return c, nil
}

// elsewhere gets the chunk at a place, and with it those next to it that this node lacks
// too.
func (r *chunkReader) elsewhere(i int) error {
	refs := r.store.fsm.lackingOf(r.st, i)
	take := func(ref chunkRef, c Chunk) error {
		r.ahead[ref.sequence] = c
		return nil
	}
	refs, why := r.store.fromNodes(r.store.life, r.st, refs, take)
	if len(refs) == 0 {
		return nil
	}
	_, err := r.store.fromLog(r.store.life, r.st, refs, take)
	return errors.Join(why, err)
}

// lackingOf returns the chunk at a place of a reader's list, and those behind it that
// this node lacks, up to readAhead bytes.
func (m *machine) lackingOf(st *stream, from int) []chunkRef {
	m.mu.RLock()
	defer m.mu.RUnlock()
	refs, bytes := []chunkRef{st.chunks[from]}, int64(st.chunks[from].length)
	live := m.streamOf(st.run, st.key)
	for _, ref := range st.chunks[from+1:] {
		if live == nil || bytes >= readAhead {
			break
		}
		if at, ok := live.place(ref.sequence); ok && live.lacking.has(at) {
			refs = append(refs, ref)
			bytes += int64(ref.length)
		}
	}
	return refs
}

// wasHere reports whether a chunk that is lacking was right once.
func (m *machine) wasHere(st *stream, sequence uint64) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	live := m.streamOf(st.run, st.key)
	if live == nil {
		return false
	}
	i, ok := live.place(sequence)
	return ok && live.damaged.has(i)
}
