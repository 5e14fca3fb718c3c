package store

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// streamKey names a stream within its run.
type streamKey struct {
	agent       string
	incarnation uint64
}

func (k streamKey) compare(o streamKey) int {
	return cmp.Or(cmp.Compare(k.agent, o.agent), cmp.Compare(k.incarnation, o.incarnation))
}

// chunkRef is where a chunk lies in its file, and what is known without reading it.
type chunkRef struct {
	sequence   uint64
	firstEvent uint64
	events     uint32
	length     uint32
	crc        uint32
	// offset is that of the frame, length that of the data.
	offset int64
	digest [sha256.Size]byte
}

func refOf(c *Chunk, offset int64) chunkRef {
	return chunkRef{
		sequence: c.Sequence, firstEvent: c.FirstEvent, events: c.Events, length: uint32(len(c.Data)),
		crc: c.CRC32C, offset: offset, digest: sha256.Sum256(c.Data),
	}
}

func (r *chunkRef) same(c *Chunk) bool {
	digest := sha256.Sum256(c.Data)
	return r.firstEvent == c.FirstEvent && r.events == c.Events && bytes.Equal(r.digest[:], digest[:])
}

// is reports whether c is the chunk that was committed.
func (r *chunkRef) is(c *Chunk) bool {
	return c.Sequence == r.sequence && c.CRC32C == r.crc && uint32(len(c.Data)) == r.length && r.same(c)
}

// stream is the index of one chunk file. Its chunks are in the order of the file,
// which is that of the log.
type stream struct {
	key  streamKey
	run  string
	name string // of the file, below the directory of runs

	chunks []chunkRef
	// moved has the places of chunks that came out of turn; chunk n of all others is at
	// place n-1.
	moved map[uint64]int
	// size is the length of the file that the chunks account for. The file itself may
	// be longer: what a crash left there is compared or cut when it is written over.
	size int64
	// synced is how much of it is known to be on the disk, but for what is lacking.
	synced int64
	// lacking marks chunks, by their places, whose bytes are not known to be in the file
	// here and on the disk: not yet fetched, not yet looked at, or damaged.
	lacking marks
	// damaged marks those of them that were right once. why is why the rest is still
	// lacking after the last attempt to get it.
	damaged marks
	why     string
	// logged is how many chunks the newest whole snapshot covers. The log may have those
	// behind, and surely has them until there is another snapshot.
	logged int
	// hashed is how many of the chunks are in the run's chunkSum.
	hashed int

	events, bytes         uint64
	contiguous, lastEvent uint64
}

func newStream(run string, key streamKey) *stream {
	st := &stream{key: key, run: run, name: chunkFileName(run, key)}
	st.size = int64(len(st.header()))
	return st
}

func (s *stream) find(sequence uint64) (chunkRef, bool) {
	i, ok := s.place(sequence)
	if !ok {
		return chunkRef{}, false
	}
	return s.chunks[i], true
}

// place is where in chunks the one of a number is.
func (s *stream) place(sequence uint64) (int, bool) {
	if i := sequence - 1; i < uint64(len(s.chunks)) && s.chunks[i].sequence == sequence {
		return int(i), true
	}
	i, ok := s.moved[sequence]
	return i, ok
}

// add makes a chunk known that lies at the end of the file.
func (s *stream) add(ref chunkRef) {
	if ref.sequence != uint64(len(s.chunks))+1 {
		if s.moved == nil {
			s.moved = map[uint64]int{}
		}
		s.moved[ref.sequence] = len(s.chunks)
	}
	s.chunks = append(s.chunks, ref)
	s.size = ref.end()
	s.events += uint64(ref.events)
	s.bytes += uint64(ref.length)
	for {
		next, ok := s.find(s.contiguous + 1)
		if !ok || next.firstEvent != s.lastEvent+1 {
			return
		}
		s.contiguous++
		s.lastEvent += uint64(next.events)
	}
}

func (r *chunkRef) end() int64 { return r.offset + frameHeaderSize + int64(r.length) }

// sorted returns the chunks by sequence.
func (s *stream) sorted() []chunkRef {
	refs := slices.Clone(s.chunks)
	slices.SortFunc(refs, func(a, b chunkRef) int { return cmp.Compare(a.sequence, b.sequence) })
	return refs
}

func (s *stream) describe() Stream {
	out := Stream{
		Agent: s.key.agent, Incarnation: s.key.incarnation, Chunks: uint64(len(s.chunks)), Events: s.events, Bytes: s.bytes,
		Contiguous: s.contiguous, LastEvent: s.lastEvent,
	}
	next := uint64(1)
	for _, ref := range s.sorted() {
		if ref.sequence > next {
			out.Gaps = append(out.Gaps, Gap{First: next, Last: ref.sequence - 1})
		}
		next = ref.sequence + 1
	}
	return out
}

// keys returns the streams of a run in the order of (agent, incarnation).
func (r *runRecord) keys() []streamKey {
	keys := make([]streamKey, 0, len(r.streams))
	for key := range r.streams {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, streamKey.compare)
	return keys
}

// digest is the seal of a run; see Digest.
func (r *runRecord) digest() []byte {
	d := NewDigest()
	for _, key := range r.keys() {
		for _, ref := range r.streams[key].sorted() {
			d.add(key, ref)
		}
	}
	return d.Sum()
}

// Digest computes the seal of a run from its chunks, added in the order of (agent,
// incarnation, sequence). It is the SHA-256 over, for each chunk: the length of the
// agent's name and the name, incarnation, sequence, number of the first event,
// number of events, and the SHA-256 of the data; numbers are 8 bytes, big-endian.
type Digest struct{ buf []byte }

// NewDigest begins a digest.
func NewDigest() *Digest { return &Digest{buf: []byte("syncline seal 1\n")} }

// Add adds a chunk, its data included.
func (d *Digest) Add(c *Chunk) {
	d.add(streamKey{c.Agent, c.Incarnation}, refOf(c, 0))
}

func (d *Digest) add(key streamKey, ref chunkRef) {
	d.buf = binary.BigEndian.AppendUint64(d.buf, uint64(len(key.agent)))
	d.buf = append(d.buf, key.agent...)
	for _, v := range []uint64{key.incarnation, ref.sequence, ref.firstEvent, uint64(ref.events)} {
		d.buf = binary.BigEndian.AppendUint64(d.buf, v)
	}
	d.buf = append(d.buf, ref.digest[:]...)
}

// Sum is the seal of the chunks added so far.
func (d *Digest) Sum() []byte {
	sum := sha256.Sum256(d.buf)
	return sum[:]
}
