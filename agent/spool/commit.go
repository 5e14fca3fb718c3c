package spool

import (
	"errors"
	"fmt"
)

const lockName = "lock"

func headName(stream uint64) string { return fmt.Sprintf("%016x.head", stream) }

func segmentName(stream, serial uint64) string {
	return fmt.Sprintf("%016x-%016x.segment", stream, serial)
}

// request is one change of what is on the disk: exactly one of its fields besides stream is
// set.
type request struct {
	stream  *Stream
	begin   bool
	chunks  []Chunk
	keep    bool
	reclaim bool
	end     *End
	drop    bool

	// placed are its chunks in the files; publish, if it is set, is done with mu held once
	// all is on the disk.
	placed  []placed
	publish func()
	err     error
	// turn gets one value: true if the receiver is to write now, false if its own request
	// was written.
	turn chan bool
}

// placed is where a chunk was written.
type placed struct {
	sequence uint64
	entry    entry
}

// commit has a request written and waits until it is on the disk. One of those who wait
// writes for all that came meanwhile, so that they share an fsync; the next one is
// written by the first of those who came since.
func (s *Spool) commit(r *request) error {
	r.turn = make(chan bool, 1)
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	s.queue = append(s.queue, r)
	if s.writing {
		s.mu.Unlock()
		if !<-r.turn {
			return r.err
		}
		s.mu.Lock()
	}
	s.writing = true
	batch := s.queue
	s.queue = nil
	s.mu.Unlock()

	s.write(batch)

	s.mu.Lock()
	if len(s.queue) > 0 {
		s.queue[0].turn <- true
	} else {
		s.writing = false
		s.idle.Broadcast()
	}
	s.mu.Unlock()
	for _, other := range batch {
		if other != r {
			other.turn <- false
		}
	}
	return r.err
}

// batch is what is to be synced before requests are answered. It belongs to whoever
// writes.
type batch struct {
	spool *Spool
	// dirty are the files with their names, created says that the directory is too.
	dirty   map[File]string
	created bool
	// written are the segments that were written to.
	written map[*segment]bool
	// marked, ended and dropped are the streams whose watermark, end and drop are among
	// what is to be synced. Until then nothing is on the disk for sure, so none of them
	// is written twice: both watermarks would be torn by one loss of power.
	marked, ended, dropped map[*Stream]bool
}

func (s *Spool) newBatch() *batch {
	return &batch{spool: s, dirty: map[File]string{}, written: map[*segment]bool{}, marked: map[*Stream]bool{}, ended: map[*Stream]bool{}, dropped: map[*Stream]bool{}}
}

// write writes requests, syncs once, and publishes them. Only one goroutine is in it.
func (s *Spool) write(requests []*request) {
	b := s.newBatch()
	for _, r := range requests {
		s.mu.Lock()
		r.err = s.failed
		dropped := r.stream.dropped || b.dropped[r.stream]
		s.mu.Unlock()
		switch {
		case r.err != nil:
		case dropped:
			r.err = ErrDropped
		default:
			r.err = b.stage(r)
		}
	}
	if err := b.sync(); err != nil {
		s.fail(err)
	}
	s.mu.Lock()
	for g := range b.written {
		g.durable = g.size
	}
	for _, r := range requests {
		if r.err == nil {
			r.err = s.failed
		}
		if r.err == nil {
			r.done()
		} else if r.begin && s.streams[r.stream.ID] == r.stream {
			delete(s.streams, r.stream.ID)
			if r.stream.head != nil {
				s.unmade = append(s.unmade, r.stream.head)
			}
		}
	}
	s.mu.Unlock()
	for _, r := range requests {
		if r.err == nil {
			r.err = s.remove(r)
		}
	}
}

// fail makes an error of the disk that of the spool. The first one holds.
func (s *Spool) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = err
	}
}

// done makes known what is on the disk now. The caller holds mu.
func (r *request) done() {
	st := r.stream
	for _, p := range r.placed {
		p.entry.segment.highest = max(p.entry.segment.highest, p.sequence)
		if _, twice := st.index[p.sequence]; !twice && p.sequence > st.mark.chunk {
			st.index[p.sequence] = p.entry
		}
		if p.sequence > st.highest.chunk {
			st.highest = mark{p.sequence, max(st.highest.event, p.entry.first+uint64(p.entry.events)-1)}
		}
	}
	if r.publish != nil {
		r.publish()
	}
}

// sync puts all that was written on the disk.
func (b *batch) sync() error {
	for f, name := range b.dirty {
		if err := f.Sync(); err != nil {
			return &FailedError{Op: "fsync", File: name, Err: err}
		}
	}
	if b.created {
		if err := b.spool.fs.Sync(); err != nil {
			return &FailedError{Op: "fsync", File: b.spool.dir, Err: err}
		}
	}
	return nil
}

// stage writes a request without syncing it.
func (b *batch) stage(r *request) error {
	switch {
	case r.begin:
		return b.stageBegin(r)
	case r.chunks != nil:
		return b.stageChunks(r)
	case r.end != nil:
		return b.stageEnd(r)
	case r.drop:
		return b.stageMark(r, true)
	}
	return b.stageMark(r, false)
}

// stageBegin makes the head of a stream.
func (b *batch) stageBegin(r *request) error {
	s, st := b.spool, r.stream
	s.mu.Lock()
	if s.streams[st.ID] != nil {
		s.mu.Unlock()
		return ErrExists
	}
	s.streams[st.ID] = st
	s.serial++
	st.serial = s.serial
	s.mu.Unlock()
	return b.create(headName(st.serial), newHead(st.Identity, st.serial), &st.head)
}

// create makes a file and writes its beginning; if that fails nothing of it is left.
func (b *batch) create(name string, text []byte, file *File) error {
	s := b.spool
	f, err := s.fs.Create(name)
	if err != nil {
		return b.refuse("create", name, err)
	}
	if _, err := f.WriteAt(text, 0); err != nil {
		return errors.Join(b.refuse("write", name, err), f.Close(), s.fs.Remove(name))
	}
	b.dirty[f], b.created = name, true
	s.mu.Lock()
	s.used += int64(len(text))
	s.mu.Unlock()
	*file = f
	return nil
}

// refuse is what an error of making or writing a file means: there is no room, or the disk
// has failed.
func (b *batch) refuse(op, name string, err error) error {
	if noRoom(err) {
		used, capacity, freeErr := b.spool.Used()
		return errors.Join(&FullError{Dir: b.spool.dir, Used: used, Capacity: capacity, Free: capacity - used, Err: fmt.Errorf("%s %s: %w", op, name, err)}, freeErr)
	}
	failed := &FailedError{Op: op, File: name, Err: err}
	b.spool.fail(failed)
	return failed
}

// stageMark writes the watermark over the older of the two places. Of several in a batch
// the first is written, and a drop over it in the same place.
func (b *batch) stageMark(r *request, drop bool) error {
	s, st := b.spool, r.stream
	s.mu.Lock()
	m := st.mark
	s.mu.Unlock()
	if !drop && (m == st.kept || b.marked[st]) {
		return nil
	}
	counter := st.counter
	if !b.marked[st] {
		counter++
	}
	if err := b.overwrite(st, markPlace(counter), markBody(counter, m, drop)); err != nil {
		return err
	}
	st.counter = counter
	b.marked[st], b.dropped[st] = true, drop
	r.publish = func() {
		st.kept = m
		if drop {
			st.dropped = true
			delete(s.streams, st.ID)
		}
	}
	return nil
}

// stageEnd writes how a stream ended, in the place that it has had from the beginning.
func (b *batch) stageEnd(r *request) error {
	s, st := b.spool, r.stream
	s.mu.Lock()
	ended := st.end != nil || b.ended[st]
	s.mu.Unlock()
	if ended {
		return nil
	}
	if err := b.overwrite(st, endAtOff, r.end.body()); err != nil {
		return err
	}
	b.ended[st] = true
	r.publish = func() {
		st.end = r.end
		st.highest = mark{max(st.highest.chunk, r.end.LastChunk), max(st.highest.event, r.end.LastEvent)}
	}
	return nil
}

func (b *batch) overwrite(st *Stream, at int64, body []byte) error {
	frame := appendFrame(nil, body, st.serial, at)
	if _, err := st.head.WriteAt(frame, at); err != nil {
		return b.refuse("write", headName(st.serial), err)
	}
	b.dirty[st.head] = headName(st.serial)
	return nil
}

// stageChunks writes chunks behind each other, in as many segments as they need. If there
// is no room for one of them, nothing of the others is left.
func (b *batch) stageChunks(r *request) error {
	s, st := b.spool, r.stream
	s.mu.Lock()
	acknowledged := st.mark
	s.mu.Unlock()
	before := map[*segment]int64{}
	err := b.fits(r.chunks)
	for i := 0; i < len(r.chunks) && err == nil; {
		var g *segment
		if g, err = b.active(st, before); err == nil {
			i, err = b.fill(r, g, i, acknowledged)
		}
	}
	if err == nil {
		return nil
	}
	r.placed = nil
	for g, size := range before {
		err = errors.Join(err, b.takeBack(g, size))
	}
	return err
}

// fits says whether there is room for chunks.
func (b *batch) fits(chunks []Chunk) error {
	used, capacity, err := b.spool.Used()
	if err != nil {
		return err
	}
	need := int64(0)
	for _, c := range chunks {
		need += frameSize(chunkFixed + len(c.Data))
	}
	if used+need > capacity {
		return &FullError{Dir: b.spool.dir, Used: used, Capacity: capacity, Free: capacity - used}
	}
	return nil
}

// active is the segment that a stream is written to, a new one if it is full. Its size is
// noted in before.
func (b *batch) active(st *Stream, before map[*segment]int64) (*segment, error) {
	s := b.spool
	if n := len(st.segments); n > 0 {
		g := st.segments[n-1]
		if !g.full && g.size < s.segment {
			if _, noted := before[g]; !noted {
				before[g] = g.size
			}
			return g, nil
		}
	}
	s.mu.Lock()
	s.serial++
	g := &segment{serial: s.serial, name: segmentName(st.serial, s.serial)}
	s.mu.Unlock()
	text := newSegment(st.Identity, g.serial)
	if err := b.create(g.name, text, &g.file); err != nil {
		return nil, err
	}
	g.size = int64(len(text))
	before[g] = g.size
	s.mu.Lock()
	for _, older := range st.segments {
		older.full = true
	}
	st.segments = append(st.segments, g)
	s.mu.Unlock()
	return g, nil
}

// fill writes chunks from i on to a segment until it is full, in one write, and says which
// is the next.
func (b *batch) fill(r *request, g *segment, i int, acknowledged mark) (next int, err error) {
	s := b.spool
	var text []byte
	var body []byte
	for ; i < len(r.chunks) && g.size+int64(len(text)) < s.segment; i++ {
		c := r.chunks[i]
		at := g.size + int64(len(text))
		body = chunkRecord{Chunk: c, acknowledged: acknowledged, durable: g.durable}.appendBody(body[:0])
		text = appendFrame(text, body, g.serial, at)
		r.placed = append(r.placed, placed{c.Sequence, entry{segment: g, offset: at, size: g.size + int64(len(text)) - at, first: c.FirstEvent, events: c.Events, bytes: len(c.Data)}})
	}
	b.dirty[g.file], b.written[g] = g.name, true
	if _, err := g.file.WriteAt(text, g.size); err != nil {
		return i, b.refuse("write", g.name, err)
	}
	g.size += int64(len(text))
	s.mu.Lock()
	s.used += int64(len(text))
	s.mu.Unlock()
	return i, nil
}

// takeBack cuts off what a request has written to a segment. What cannot be cut off is
// left, and nothing is written behind it: the next Open sees that nobody was promised it.
func (b *batch) takeBack(g *segment, size int64) error {
	s := b.spool
	err := g.file.Truncate(size)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		g.full = true
		return fmt.Errorf("truncate %s to %d: %w", g.name, size, err)
	}
	s.used -= g.size - size
	g.size = size
	return nil
}

// remove removes the files that a request has made useless, once it is on the disk.
func (s *Spool) remove(r *request) error {
	st := r.stream
	switch {
	case r.drop:
		return s.removeStream(st)
	case r.reclaim:
		return s.removeSegments(st, st.reclaimable(st.kept.chunk))
	}
	return nil
}

// removeSegments removes segments of a stream. Those that were synced below the watermark,
// or dropped, may come back with the power: they are removed again then.
func (s *Spool) removeSegments(st *Stream, gone []*segment) error {
	s.files.Lock()
	defer s.files.Unlock()
	var errs []error
	for _, g := range gone {
		s.mu.Lock()
		for i, kept := range st.segments {
			if kept == g {
				st.segments = append(st.segments[:i:i], st.segments[i+1:]...)
				break
			}
		}
		s.used -= g.size
		s.mu.Unlock()
		errs = append(errs, g.file.Close(), s.fs.Remove(g.name))
	}
	return errors.Join(errs...)
}

// removeStream removes what is left of a stream that was dropped: its head when the segments
// are surely gone, since they would be a stream again without it. All is closed in any case.
func (s *Spool) removeStream(st *Stream) error {
	s.mu.Lock()
	all := st.segments
	s.mu.Unlock()
	err := s.removeSegments(st, all)
	if err == nil {
		if err = s.fs.Sync(); err != nil {
			err = &FailedError{Op: "fsync", File: s.dir, Err: err}
			s.fail(err)
		}
	}
	s.files.Lock()
	defer s.files.Unlock()
	closeErr := st.head.Close()
	st.head = nil
	if err != nil {
		return errors.Join(err, closeErr)
	}
	s.mu.Lock()
	s.used -= headSize
	s.mu.Unlock()
	return errors.Join(closeErr, s.fs.Remove(headName(st.serial)))
}
