package spool

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Stream is what is kept of one run and one start of the agent.
type Stream struct {
	Identity
	spool *Spool
	// recovered: it was there at Open. It is fixed.
	recovered bool

	// serial is in the names of its files.
	serial uint64
	head   File
	// What follows belongs to whoever writes: kept is the watermark on the disk, counter
	// that of the last one written.
	kept    mark
	counter uint64

	// Guarded by Spool.mu; segments are changed by whoever writes alone.
	segments []*segment
	index    map[uint64]entry
	mark     mark
	highest  mark
	end      *End
	missing  []Range
	dropped  bool
}

func newStream(s *Spool, of Identity) *Stream {
	return &Stream{Identity: of, spool: s, index: map[uint64]entry{}}
}

// Recovered reports whether the stream was there when the spool was opened: its agent died,
// or was stopped.
func (st *Stream) Recovered() bool { return st.recovered }

// Append keeps chunks. When it returns nil they are on the disk. With an error none of them
// is in the spool: a *FullError if there is no room for them, a *FailedError if the disk
// failed.
//
// The slices belong to the spool until it returns.
func (st *Stream) Append(chunks ...Chunk) error {
	for _, c := range chunks {
		if err := c.check(); err != nil {
			return fmt.Errorf("spool chunk %d of %v: %w", c.Sequence, st.ID, err)
		}
	}
	if len(chunks) == 0 {
		return nil
	}
	if err := st.spool.commit(&request{stream: st, chunks: chunks}); err != nil {
		return fmt.Errorf("spool chunks %d to %d of %v: %w", chunks[0].Sequence, chunks[len(chunks)-1].Sequence, st.ID, err)
	}
	return nil
}

// Acknowledge says that the controller has committed a chunk and all before it, and which
// is the last event of it. It only remembers that; Reclaim makes the room free.
func (st *Stream) Acknowledge(chunk, lastEvent uint64) {
	st.spool.mu.Lock()
	defer st.spool.mu.Unlock()
	if chunk <= st.mark.chunk || chunk > maxNumber || lastEvent > maxNumber {
		return
	}
	if chunk-st.mark.chunk <= uint64(len(st.index)) {
		// Acknowledged one by one, many thousands take no longer than their number.
		for n := st.mark.chunk + 1; n <= chunk; n++ {
			delete(st.index, n)
		}
	} else {
		maps.DeleteFunc(st.index, func(sequence uint64, _ entry) bool { return sequence <= chunk })
	}
	// The events of chunks go on where those before ended.
	st.mark = mark{chunk, max(st.mark.event, lastEvent)}
	st.highest = mark{max(st.highest.chunk, st.mark.chunk), max(st.highest.event, st.mark.event)}
}

// Acknowledged is the watermark: this chunk and all before it are committed. 0: none.
func (st *Stream) Acknowledged() uint64 {
	st.spool.mu.Lock()
	defer st.spool.mu.Unlock()
	return st.mark.chunk
}

// Reclaim removes the files of which everything is acknowledged. The watermark is on the
// disk before the first of them goes. It costs nothing if there is none.
func (st *Stream) Reclaim() error {
	if len(st.reclaimable(st.Acknowledged())) == 0 {
		return nil
	}
	if err := st.spool.commit(&request{stream: st, reclaim: true}); err != nil {
		return fmt.Errorf("make room in the spool of %v: %w", st.ID, err)
	}
	return nil
}

// reclaimable are the segments that nobody needs any more below a watermark. The one that is
// being written to stays, until the stream has ended.
func (st *Stream) reclaimable(mark uint64) []*segment {
	st.spool.mu.Lock()
	defer st.spool.mu.Unlock()
	var free []*segment
	for i, g := range st.segments {
		active := i == len(st.segments)-1 && !g.full
		if g.highest <= mark && (!active || st.end != nil) {
			free = append(free, g)
		}
	}
	return free
}

// keepMark puts the watermark on the disk, if it has moved.
func (st *Stream) keepMark() error {
	err := st.spool.commit(&request{stream: st, keep: true})
	if err != nil && !errors.Is(err, ErrDropped) {
		return fmt.Errorf("keep the watermark of %v: %w", st.ID, err)
	}
	return nil
}

// Finish keeps how the stream ended. It needs no room. Of two ends the first one holds.
func (st *Stream) Finish(end End) error {
	if err := st.spool.commit(&request{stream: st, end: &end}); err != nil {
		return fmt.Errorf("spool the end of %v: %w", st.ID, err)
	}
	return nil
}

// Drop forgets the stream: whatever it still holds is removed, and does not come back. An
// error says that some of it may be there at the next Open; the stream is of no use all
// the same.
func (st *Stream) Drop() error {
	if err := st.spool.commit(&request{stream: st, drop: true}); err != nil {
		return fmt.Errorf("drop %v from the spool: %w", st.ID, err)
	}
	return nil
}

// End is how the stream ended; ok is false if nobody has said so: the agent died before.
func (st *Stream) End() (end End, ok bool) {
	st.spool.mu.Lock()
	defer st.spool.mu.Unlock()
	if st.end == nil {
		return end, false
	}
	return *st.end, true
}

// Highest is the largest sequence number that is known of, and its last event: kept,
// acknowledged, or in the end.
func (st *Stream) Highest() (chunk, lastEvent uint64) {
	st.spool.mu.Lock()
	defer st.spool.mu.Unlock()
	return st.highest.chunk, st.highest.event
}

// Missing are the chunks that were there once, by the numbers of those around them, and
// cannot be read, in order: those that were acknowledged are not among them.
func (st *Stream) Missing() []Range {
	st.spool.mu.Lock()
	defer st.spool.mu.Unlock()
	var missing []Range
	for _, r := range st.missing {
		if r.Last > st.mark.chunk {
			missing = append(missing, Range{max(r.First, st.mark.chunk+1), r.Last})
		}
	}
	return missing
}

// Content is a chunk without its data.
type Content struct {
	Sequence, FirstEvent uint64
	Events               uint32
	// Bytes is the size of its data.
	Bytes int
}

// Contents are the chunks that can be read, in order.
func (st *Stream) Contents() []Content {
	st.spool.mu.Lock()
	defer st.spool.mu.Unlock()
	all := make([]Content, 0, len(st.index))
	for _, n := range slices.Sorted(maps.Keys(st.index)) {
		e := st.index[n]
		all = append(all, Content{Sequence: n, FirstEvent: e.first, Events: e.events, Bytes: e.bytes})
	}
	return all
}

// Read reads a chunk and verifies it. ErrNotKept: it is not there, or not any more.
// ErrDamaged: it was, and is among Missing from now on.
func (st *Stream) Read(sequence uint64) (Chunk, error) {
	s := st.spool
	s.files.RLock()
	defer s.files.RUnlock()
	s.mu.Lock()
	e, ok := st.index[sequence]
	// The files of a stream that is not dropped now stay open until files is let go.
	dropped := st.dropped
	err := s.err()
	s.mu.Unlock()
	switch {
	case errors.Is(err, ErrClosed):
		return Chunk{}, err
	case !ok || dropped:
		return Chunk{}, fmt.Errorf("chunk %d of %v: %w", sequence, st.ID, ErrNotKept)
	}
	c, err := e.read(sequence)
	if err == nil {
		return c, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if sequence <= st.mark.chunk {
		return Chunk{}, fmt.Errorf("chunk %d of %v: %w", sequence, st.ID, ErrNotKept)
	}
	if _, ok := st.index[sequence]; ok {
		delete(st.index, sequence)
		st.missing = addRange(st.missing, sequence)
	}
	return Chunk{}, fmt.Errorf("chunk %d of %v, %s at %d: %w", sequence, st.ID, e.segment.name, e.offset, err)
}

// read reads a chunk from its file. An error wraps ErrDamaged.
func (e entry) read(sequence uint64) (Chunk, error) {
	b := make([]byte, e.size)
	if n, err := e.segment.file.ReadAt(b, e.offset); n < len(b) {
		return Chunk{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	body, _, err := parseFrame(b, e.segment.serial, e.offset)
	if err != nil {
		return Chunk{}, err
	}
	c, err := parseChunk(body)
	if err == nil && c.Sequence != sequence {
		err = fmt.Errorf("%w: chunk %d in its place", ErrDamaged, c.Sequence)
	}
	return c.Chunk, err
}

// addRange adds one number to ranges in order.
func addRange(all []Range, n uint64) []Range {
	all = append(all, Range{n, n})
	slices.SortFunc(all, func(a, b Range) int {
		if a.First < b.First {
			return -1
		}
		return 1
	})
	merged := all[:1]
	for _, r := range all[1:] {
		if last := &merged[len(merged)-1]; r.First <= last.Last+1 {
			last.Last = max(last.Last, r.Last)
		} else {
			merged = append(merged, r)
		}
	}
	return merged
}

// closeFiles closes what is open. The caller holds Spool.files.
func (st *Stream) closeFiles() error {
	var errs []error
	if st.head != nil {
		errs = append(errs, st.head.Close())
		st.head = nil
	}
	for _, g := range st.segments {
		errs = append(errs, g.file.Close())
	}
	return errors.Join(errs...)
}
