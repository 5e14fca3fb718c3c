package spool

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// left is what an earlier process has left of one stream. It owns the files that it has:
// adopt takes from it what it closes or makes a stream's.
type left struct {
	serial   uint64
	head     *head
	headFile File
	headSize int64
	// headHoles are its damaged places.
	headHoles []Hole
	segments  []*leftSegment
}

// leftSegment is a segment that was found.
type leftSegment struct {
	segment
	scanned *scanned
	bytes   int64
	// unread: the disk did not give all of it.
	unread bool
}

// recover reads all files. Only what keeps a file from being read at all, and a newer
// version, is an error.
func (s *Spool) recover() error {
	names, err := s.fs.List()
	if err != nil {
		return fmt.Errorf("list the directory: %w", err)
	}
	slices.Sort(names)
	all := map[uint64]*left{}
	for _, name := range names {
		stream, serial, isHead, ok := parseName(name)
		if !ok {
			continue
		}
		l := all[stream]
		if l == nil {
			l = &left{serial: stream}
			all[stream] = l
		}
		s.serial = max(s.serial, stream, serial)
		if isHead {
			err = s.readHead(l, name)
		} else {
			err = s.readSegment(l, name, serial)
		}
		if err != nil {
			return errors.Join(err, closeLeft(all))
		}
	}
	for _, serial := range slices.Sorted(maps.Keys(all)) {
		if err := s.adopt(all[serial]); err != nil {
			return errors.Join(err, closeLeft(all))
		}
		delete(all, serial)
	}
	return nil
}

func closeLeft(all map[uint64]*left) error {
	var errs []error
	for _, l := range all {
		errs = append(errs, l.close())
	}
	return errors.Join(errs...)
}

func (l *left) close() error {
	var errs []error
	if l.headFile != nil {
		errs = append(errs, l.headFile.Close())
	}
	for _, g := range l.segments {
		if g.file != nil {
			errs = append(errs, g.file.Close())
		}
	}
	l.taken()
	return errors.Join(errs...)
}

// taken says that the files are somebody else's now.
func (l *left) taken() { l.headFile, l.segments = nil, nil }

// parseName reads the name of a file. What is not ours is left alone.
func parseName(name string) (stream, serial uint64, isHead, ok bool) {
	if text, is := strings.CutSuffix(name, ".head"); is {
		n, err := strconv.ParseUint(text, 16, 64)
		return n, n, true, err == nil && name == headName(n)
	}
	text, is := strings.CutSuffix(name, ".segment")
	of, own, two := strings.Cut(text, "-")
	stream, err := strconv.ParseUint(of, 16, 64)
	serial, err2 := strconv.ParseUint(own, 16, 64)
	return stream, serial, false, is && two && err == nil && err2 == nil && name == segmentName(stream, serial)
}

func (s *Spool) readHead(l *left, name string) error {
	f, b, size, unread, err := s.readFile(name, headSize)
	if err != nil {
		return err
	}
	l.headFile, l.headSize = f, size
	if unread {
		l.headHoles = append(l.headHoles, Hole{File: name, Bytes: size, Promised: true})
	}
	h, damaged := parseHead(b, l.serial)
	for _, err := range damaged {
		if errors.Is(err, ErrNewer) {
			return fmt.Errorf("%s: %w", name, err)
		}
		l.headHoles = append(l.headHoles, Hole{File: name, Bytes: size})
	}
	l.head = h
	return nil
}

func (s *Spool) readSegment(l *left, name string, serial uint64) error {
	f, b, size, unread, err := s.readFile(name, maxSegment)
	if err != nil {
		return err
	}
	scanned, err := scan(b, serial)
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", name, err), f.Close())
	}
	if size > int64(len(b)) {
		scanned.holes = append(scanned.holes, Hole{Offset: int64(len(b)), Bytes: size - int64(len(b)), Promised: true})
	}
	for i := range scanned.holes {
		scanned.holes[i].File = name
		// A tear can be read; what cannot be may be there again with the next start.
		scanned.holes[i].Promised = scanned.holes[i].Promised || unread
	}
	l.segments = append(l.segments, &leftSegment{
		segment: segment{name: name, serial: serial, file: f, size: size, durable: size}, scanned: scanned, bytes: size, unread: unread,
	})
	return nil
}

// readFile reads a file up to a limit. Pages that the disk does not give are zeros, which
// are no record, and unread says so.
func (s *Spool) readFile(name string, limit int64) (f File, b []byte, size int64, unread bool, err error) {
	if f, err = s.fs.Open(name); err != nil {
		return nil, nil, 0, false, err
	}
	if size, err = f.Size(); err != nil {
		return nil, nil, 0, false, errors.Join(fmt.Errorf("size of %s: %w", name, err), f.Close())
	}
	b = make([]byte, min(size, limit))
	if n, err := f.ReadAt(b, 0); err == nil || errors.Is(err, io.EOF) && n == len(b) {
		return f, b, size, false, nil
	}
	const page = 4096
	for at := 0; at < len(b); at += page {
		part := b[at:min(at+page, len(b))]
		if n, err := f.ReadAt(part, int64(at)); n < len(part) && err != nil {
			clear(part)
			unread = true
		}
	}
	return f, b, size, unread, nil
}

// adopt makes a stream of what was left, or removes it.
func (s *Spool) adopt(l *left) error {
	of, known := l.identity()
	switch {
	case !known && len(l.segments) == 0:
		// Begin was making it and has not returned.
		s.holes = append(s.holes, l.headHoles...)
		return errors.Join(l.close(), s.fs.Remove(headName(l.serial)))
	case !known:
		// Whose these chunks are cannot be told. The files stay for people to look at.
		for _, g := range l.segments {
			s.holes = append(s.holes, Hole{File: g.name, Bytes: g.bytes, Promised: true})
			s.used += g.bytes
		}
		s.used += l.headSize
		return l.close()
	}
	st := newStream(s, of)
	st.recovered, st.serial = true, l.serial
	if err := s.adoptHead(st, l); err != nil {
		return err
	}
	if l.head != nil && l.head.dropped {
		for _, g := range l.segments {
			st.segments = append(st.segments, &g.segment)
			s.used += g.size
		}
		l.taken()
		return s.removeStream(st)
	}
	if err := s.adoptSegments(st, l); err != nil {
		return err
	}
	st.findMissing()
	if s.streams[st.ID] != nil {
		return fmt.Errorf("two streams of %v: %w: %s and %s: move the newer one away", st.ID, ErrDamaged, headName(s.streams[st.ID].serial), headName(st.serial))
	}
	s.streams[st.ID] = st
	l.taken()
	return s.removeSegments(st, st.reclaimable(st.kept.chunk))
}

// identity is what the head says the stream is of, or else one of the segments.
func (l *left) identity() (Identity, bool) {
	if l.head != nil {
		return l.head.identity, true
	}
	for _, g := range l.segments {
		if g.scanned.identity != nil {
			return *g.scanned.identity, true
		}
	}
	return Identity{}, false
}

// adoptHead takes what the head says. One that is missing or cannot be read is made anew.
func (s *Spool) adoptHead(st *Stream, l *left) error {
	for _, h := range l.headHoles {
		h.Stream, h.Promised = st.ID, l.head == nil
		s.holes = append(s.holes, h)
	}
	if l.head != nil && l.headSize == headSize {
		st.head, st.counter, st.kept, st.mark, st.end = l.headFile, l.head.counter, l.head.mark, l.head.mark, l.head.end
		s.used += headSize
		return nil
	}
	return s.remakeHead(st, l)
}

// remakeHead writes a head anew.
func (s *Spool) remakeHead(st *Stream, l *left) (err error) {
	name := headName(st.serial)
	if l.headFile == nil {
		s.holes = append(s.holes, Hole{File: name, Stream: st.ID, Promised: true})
		if l.headFile, err = s.fs.Create(name); err != nil {
			return fmt.Errorf("make the head of %v anew: %w", st.ID, err)
		}
	}
	text := newHead(st.Identity, st.serial)
	if h := l.head; h != nil {
		// It is too short, or too long. What it says is kept.
		st.counter, st.kept, st.mark, st.end = h.counter, h.mark, h.mark, h.end
		copy(text[markPlace(h.counter):], appendFrame(nil, markBody(h.counter, h.mark, h.dropped), st.serial, markPlace(h.counter)))
		if h.end != nil {
			copy(text[endAtOff:], appendFrame(nil, h.end.body(), st.serial, endAtOff))
		}
	}
	st.head = l.headFile
	s.used += headSize
	if err := st.head.Truncate(headSize); err != nil {
		return fmt.Errorf("make %s anew: truncate: %w", name, err)
	}
	if _, err := st.head.WriteAt(text, 0); err != nil {
		return fmt.Errorf("make %s anew: %w", name, err)
	}
	if err := errors.Join(st.head.Sync(), s.fs.Sync()); err != nil {
		return fmt.Errorf("make %s anew: fsync: %w", name, err)
	}
	return nil
}

// adoptSegments indexes the chunks of a stream.
func (s *Spool) adoptSegments(st *Stream, l *left) error {
	for _, g := range l.segments {
		for _, c := range g.scanned.chunks {
			if c.acknowledged.chunk > st.mark.chunk {
				st.mark = c.acknowledged
			}
		}
	}
	st.highest = st.mark
	if st.end != nil {
		st.highest = mark{max(st.highest.chunk, st.end.LastChunk), max(st.highest.event, st.end.LastEvent)}
	}
	for i, g := range l.segments {
		for _, h := range g.scanned.holes {
			h.Stream = st.ID
			s.holes = append(s.holes, h)
		}
		kept, err := s.cut(g)
		if err != nil {
			return err
		}
		if !kept {
			continue
		}
		g.full = g.full || i < len(l.segments)-1
		own := &g.segment
		if g.unread {
			// Whatever else it has is not acknowledged: it goes with its stream.
			own.highest = maxNumber
		}
		for _, c := range g.scanned.chunks {
			own.highest = max(own.highest, c.Sequence)
			if c.Sequence > st.highest.chunk {
				st.highest = mark{c.Sequence, max(st.highest.event, c.lastEvent())}
			}
			if _, twice := st.index[c.Sequence]; !twice && c.Sequence > st.mark.chunk {
				st.index[c.Sequence] = entry{segment: own, offset: c.offset, size: c.size, first: c.FirstEvent, events: c.Events, bytes: c.bytes}
			}
		}
		st.segments = append(st.segments, own)
		s.used += own.size
	}
	return nil
}

// cut takes off the end of a segment what was being written when the machine died. A
// segment with nothing in it is removed. One with a hole is never written to again, and of one
// that the disk did not give nothing is cut off.
func (s *Spool) cut(g *leftSegment) (kept bool, err error) {
	holes := g.scanned.holes
	if g.unread {
		g.full = true
		return true, nil
	}
	if g.scanned.end == 0 {
		f := g.file
		g.file = nil
		return false, errors.Join(f.Close(), s.fs.Remove(g.name))
	}
	if len(holes) == 0 {
		return true, nil
	}
	last := holes[len(holes)-1]
	g.full = true
	if last.Promised || last.Offset != g.scanned.end {
		return true, nil
	}
	if err := g.file.Truncate(last.Offset); err != nil {
		return false, fmt.Errorf("cut %s at %d: %w", g.name, last.Offset, err)
	}
	if err := g.file.Sync(); err != nil {
		return false, fmt.Errorf("cut %s at %d: fsync: %w", g.name, last.Offset, err)
	}
	g.size = last.Offset
	g.full = len(holes) > 1
	return true, nil
}

// findMissing finds the holes in the numbers of the chunks.
func (st *Stream) findMissing() {
	next := st.mark.chunk + 1
	for _, n := range slices.Sorted(maps.Keys(st.index)) {
		if n > next {
			st.missing = append(st.missing, Range{next, n - 1})
		}
		next = n + 1
	}
	if next <= st.highest.chunk {
		st.missing = append(st.missing, Range{next, st.highest.chunk})
	}
}
