package store

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"google.golang.org/protobuf/proto"

	logv1 "syncline/proto/syncline/log/v1"
)

// A backup is all that a cluster keeps, in one file that depends on nothing else: the magic
// "SLBK", a version u32, then parts. Numbers are little-endian.
//
//	part  kind u8, length u32, data, CRC-32C of all of that u32
//
// The parts are, in this order: a head; pieces of a snapshot ("SLSN"), which is the state with
// the index of all chunks; then for each stream, as the snapshot has them, its chunks in the order
// of the log; the end, with the SHA-256 of all bytes before it.
//
//	'H'  BackupHead
//	'S'  a piece of the snapshot
//	'C'  place of the stream u32, place of the chunk in it u32, its frame as in a chunk file
//	'M'  BackupMissing, in the place of a chunk that no node had
//	'E'  BackupEnd
//
// Nothing follows the end.
const (
	backupMagic   = "SLBK"
	backupVersion = 1

	partHead    = 'H'
	partState   = 'S'
	partChunk   = 'C'
	partMissing = 'M'
	partEnd     = 'E'

	// statePiece is how much of the snapshot a part has.
	statePiece = 256 << 10
	// maxPart bounds the data of a part: the greatest chunk with its frame and its place.
	maxPart = MaxChunkBytes + frameHeaderSize + 8
)

// Backup says what is in a backup.
type Backup struct {
	// Cluster is whose state it is, Node which node wrote it, with a program of Version, and
	// Written when by the wall clock of that node.
	Cluster, Node, Version string
	Written                time.Time
	// AppliedIndex is the last entry of the log that is in it, Term not before that entry's.
	AppliedIndex, Term uint64
	Runs               uint64
	// Chunks and Bytes are all that the state refers to, Bytes of the chunks' data; Missing
	// of the chunks are not in it, since no node had them.
	Chunks, Bytes, Missing uint64
}

func (b *Backup) toLog() *logv1.BackupHead {
	return &logv1.BackupHead{
		ClusterId: b.Cluster, NodeId: b.Node, Version: b.Version, WrittenNs: b.Written.UnixNano(),
		Term: b.Term, AppliedIndex: b.AppliedIndex, Runs: b.Runs, Chunks: b.Chunks, Bytes: b.Bytes,
	}
}

func backupFromLog(h *logv1.BackupHead) Backup {
	return Backup{
		Cluster: h.ClusterId, Node: h.NodeId, Version: h.Version, Written: time.Unix(0, h.WrittenNs),
		Term: h.Term, AppliedIndex: h.AppliedIndex, Runs: h.Runs, Chunks: h.Chunks, Bytes: h.Bytes,
	}
}

// partWriter writes the parts of a backup. After an error it writes nothing more.
type partWriter struct {
	to    *bufio.Writer
	sum   hash.Hash
	parts uint64
	err   error
}

func newPartWriter(to io.Writer) *partWriter {
	w := &partWriter{to: bufio.NewWriterSize(to, statePiece), sum: sha256.New()}
	w.bytes(binary.LittleEndian.AppendUint32([]byte(backupMagic), backupVersion))
	return w
}

func (w *partWriter) bytes(b []byte) {
	if w.err == nil {
		_, w.err = w.to.Write(b)
		w.sum.Write(b)
	}
}

// part writes a part of one or more slices, one after the other.
func (w *partWriter) part(kind byte, data ...[]byte) error {
	n := 0
	for _, d := range data {
		n += len(d)
	}
	head := binary.LittleEndian.AppendUint32([]byte{kind}, uint32(n))
	crc := Checksum(head)
	w.bytes(head)
	for _, d := range data {
		crc = addChecksum(crc, d)
		w.bytes(d)
	}
	w.bytes(binary.LittleEndian.AppendUint32(nil, crc))
	w.parts++
	return w.err
}

func (w *partWriter) message(kind byte, m proto.Message) error {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return err
	}
	return w.part(kind, b)
}

// Write writes a piece of the snapshot.
func (w *partWriter) Write(b []byte) (int, error) {
	for at := 0; at < len(b); at += statePiece {
		if err := w.part(partState, b[at:min(at+statePiece, len(b))]); err != nil {
			return at, err
		}
	}
	return len(b), nil
}

func (w *partWriter) end(chunks, missing uint64) error {
	end := &logv1.BackupEnd{Parts: w.parts, Chunks: chunks, Missing: missing, Sha256: w.sum.Sum(nil)}
	if err := w.message(partEnd, end); err != nil {
		return err
	}
	return w.to.Flush()
}

// partReader reads the parts of a backup, whoever wrote it. Errors have ErrDamaged in their
// chain where the bytes are to blame.
type partReader struct {
	from  *bufio.Reader
	sum   hash.Hash
	parts uint64
	// kind and data are the part that was read last, and not taken yet; kind is 0 if there
	// is none.
	kind byte
	data []byte
	// before is the SHA-256 of all bytes before the end, once that was read.
	before []byte
}

// openBackup reads the beginning of a backup.
func openBackup(from io.Reader) (*partReader, Backup, error) {
	r := &partReader{from: bufio.NewReaderSize(from, statePiece), sum: sha256.New()}
	b := make([]byte, 8)
	if err := r.read(b); err != nil {
		return nil, Backup{}, err
	}
	if string(b[:4]) != backupMagic {
		return nil, Backup{}, fmt.Errorf("%w: it does not begin with %q: it is no backup of a cluster, which is made by: syncline cluster snapshot", ErrDamaged, backupMagic)
	}
	if v := binary.LittleEndian.Uint32(b[4:]); v != backupVersion {
		return nil, Backup{}, fmt.Errorf("its version is %d, and this program reads %d; take the version of the program that wrote it, or a newer one", v, backupVersion)
	}
	head := new(logv1.BackupHead)
	if err := r.message(partHead, head); err != nil {
		return nil, Backup{}, err
	}
	return r, backupFromLog(head), nil
}

func (r *partReader) read(b []byte) error {
	_, err := io.ReadFull(r.from, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends early", ErrDamaged)
	}
	if err != nil {
		return err
	}
	r.sum.Write(b)
	return nil
}

// peek reads the next part, and returns its kind.
func (r *partReader) peek() (kind byte, err error) {
	if r.kind != 0 {
		return r.kind, nil
	}
	if next, err := r.from.Peek(1); err == nil && next[0] == partEnd {
		r.before = r.sum.Sum(nil)
	}
	head := make([]byte, 5)
	if err := r.read(head); err != nil {
		return 0, err
	}
	n := binary.LittleEndian.Uint32(head[1:])
	if n > maxPart {
		return 0, fmt.Errorf("%w: part %d has %d bytes", ErrDamaged, r.parts, n)
	}
	data, sum := make([]byte, n), make([]byte, 4)
	if err := r.read(data); err != nil {
		return 0, err
	}
	if err := r.read(sum); err != nil {
		return 0, err
	}
	if got, want := addChecksum(Checksum(head), data), binary.LittleEndian.Uint32(sum); got != want {
		return 0, fmt.Errorf("%w: CRC-32C of part %d is %08x, it says %08x", ErrDamaged, r.parts, got, want)
	}
	r.parts++
	r.kind, r.data = head[0], data
	return r.kind, nil
}

// take returns the data of the part that peek saw.
func (r *partReader) take() []byte {
	data := r.data
	r.kind, r.data = 0, nil
	return data
}

// message takes the next part, which must be of a kind.
func (r *partReader) message(kind byte, m proto.Message) error {
	got, err := r.peek()
	if err != nil {
		return err
	}
	if got != kind {
		return fmt.Errorf("%w: part %d is of kind %q, and %q belongs there", ErrDamaged, r.parts-1, got, kind)
	}
	return r.unmarshal(m)
}

func (r *partReader) unmarshal(m proto.Message) error {
	if err := proto.Unmarshal(r.take(), m); err != nil {
		return fmt.Errorf("%w: part %d: %w", ErrDamaged, r.parts-1, err)
	}
	return nil
}

// state reads the snapshot, and holds what the head says against it.
func (r *partReader) state(head Backup) (state, error) {
	s, err := readSnapshot(&stateReader{parts: r})
	if err != nil {
		return state{}, fmt.Errorf("its state: %w", err)
	}
	if is := s.summary(); is.AppliedIndex != head.AppliedIndex || is.Runs != head.Runs || is.Chunks != head.Chunks || is.Bytes != head.Bytes {
		return state{}, fmt.Errorf("%w: its state has %d runs with %d chunks of %d bytes after entry %d, and its head says %d, %d, %d and %d",
			ErrDamaged, is.Runs, is.Chunks, is.Bytes, is.AppliedIndex, head.Runs, head.Chunks, head.Bytes, head.AppliedIndex)
	}
	return s, nil
}

// stateReader gives the pieces of the snapshot as one, until a part of another kind.
type stateReader struct {
	parts *partReader
	rest  []byte
}

func (s *stateReader) Read(b []byte) (int, error) {
	for len(s.rest) == 0 {
		kind, err := s.parts.peek()
		if err != nil {
			return 0, err
		}
		if kind != partState {
			return 0, io.EOF
		}
		s.rest = s.parts.take()
	}
	n := copy(b, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// chunks gives found every chunk and missing every one that is missing, with its place in one of
// the streams, then checks the end. A chunk is compared with the index first.
func (r *partReader) chunks(streams []*stream, found func(st *stream, place int, c Chunk) error, missing func(st *stream, place int, why string) error) error {
	have := make([]marks, len(streams))
	// take finds a chunk by its places, once.
	take := func(s, place uint32) (*stream, error) {
		if int64(s) >= int64(len(streams)) || int64(place) >= int64(len(streams[s].chunks)) || !have[s].set(int(place)) {
			return nil, fmt.Errorf("%w: part %d is of chunk %d in stream %d, which is not in the index, or was there before", ErrDamaged, r.parts-1, place, s)
		}
		return streams[s], nil
	}
	var count, lost uint64
	for {
		kind, err := r.peek()
		if err != nil {
			return err
		}
		switch kind {
		case partChunk:
			data := r.take()
			if len(data) < 8 {
				return fmt.Errorf("%w: part %d is a chunk of %d bytes", ErrDamaged, r.parts-1, len(data))
			}
			place := binary.LittleEndian.Uint32(data[4:])
			st, err := take(binary.LittleEndian.Uint32(data), place)
			if err != nil {
				return err
			}
			c, err := parseFrame(data[8:])
			if err != nil {
				return fmt.Errorf("part %d: %w", r.parts-1, err)
			}
			if !st.chunks[place].is(&c) {
				return fmt.Errorf("%w: part %d is another chunk than the index has there", ErrDamaged, r.parts-1)
			}
			c.RunID, c.Agent, c.Incarnation = st.run, st.key.agent, st.key.incarnation
			if err := found(st, int(place), c); err != nil {
				return err
			}
			count++
		case partMissing:
			m := new(logv1.BackupMissing)
			if err := r.unmarshal(m); err != nil {
				return err
			}
			st, err := take(m.Stream, m.Place)
			if err != nil {
				return err
			}
			if err := missing(st, int(m.Place), m.Reason); err != nil {
				return err
			}
			lost++
		case partEnd:
			return r.finish(streams, count, lost)
		default:
			return fmt.Errorf("%w: part %d is of kind %q, which this program does not know; take the version of the program that wrote it, or a newer one", ErrDamaged, r.parts-1, kind)
		}
	}
}

// finish checks that what the end says of the whole is so, and that nothing follows.
func (r *partReader) finish(streams []*stream, chunks, missing uint64) error {
	parts := r.parts - 1
	end := new(logv1.BackupEnd)
	if err := r.unmarshal(end); err != nil {
		return err
	}
	all := uint64(0)
	for _, st := range streams {
		all += uint64(len(st.chunks))
	}
	switch {
	case end.Parts != parts || end.Chunks != chunks || end.Missing != missing:
		return fmt.Errorf("%w: it has %d parts, %d chunks and misses %d, and its end says %d, %d and %d", ErrDamaged, parts, chunks, missing, end.Parts, end.Chunks, end.Missing)
	case chunks+missing != all:
		return fmt.Errorf("%w: it has %d of the %d chunks of its index, and does not say why", ErrDamaged, chunks, all)
	case !bytes.Equal(end.Sha256, r.before):
		return fmt.Errorf("%w: SHA-256 of the whole is %.8x, its end says %.8x", ErrDamaged, r.before, end.Sha256)
	}
	if _, err := r.from.ReadByte(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: bytes after its end", ErrDamaged)
	}
	return nil
}

// CheckBackup reads a backup to its end, and returns what is in it. Every checksum is compared,
// and every chunk with the index. progress, which may be nil, is told how many of all bytes of
// chunks were read.
func CheckBackup(from io.Reader, progress func(done, all uint64)) (Backup, error) {
	r, b, err := openBackup(from)
	if err != nil {
		return Backup{}, fmt.Errorf("read the backup: %w", err)
	}
	s, err := r.state(b)
	if err != nil {
		return b, fmt.Errorf("read the backup: %w", err)
	}
	count := counter{all: b.Bytes, tell: progress}
	err = r.chunks(s.streams(), func(st *stream, place int, _ Chunk) error {
		count.add(st.chunks[place])
		return nil
	}, func(st *stream, place int, _ string) error {
		b.Missing++
		count.add(st.chunks[place])
		return nil
	})
	if err != nil {
		return b, fmt.Errorf("read the backup: %w", err)
	}
	return b, nil
}

// counter tells somebody how far a copy is.
type counter struct {
	done, all uint64
	tell      func(done, all uint64)
}

func (c *counter) add(ref chunkRef) {
	c.done += uint64(ref.length)
	if c.tell != nil {
		c.tell(c.done, c.all)
	}
}

// streams are those of all runs, in the order of a snapshot.
func (s *state) streams() []*stream {
	var out []*stream
	for _, id := range s.order {
		r := s.runs[id]
		for _, key := range r.keys() {
			out = append(out, r.streams[key])
		}
	}
	return out
}
