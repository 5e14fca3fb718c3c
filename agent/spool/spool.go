// Package spool keeps chunks of events on disk until the controller has committed them.
//
// A Spool is a directory of one agent. It holds streams, one for each run and start of
// the agent, and of each stream the chunks that nobody has acknowledged, the watermark
// below which all are committed, and how the stream ended. The contract:
//
//   - What Append has taken without an error is on the disk: it survives the death of the
//     process and of the machine, and Read gives it back unchanged until it is
//     acknowledged. Appends that come at the same time share one fsync(2).
//   - Nothing is served that is not what was appended: each chunk is verified at Open and
//     at every Read. What cannot be read back is told, with its stream and its sequence
//     numbers, as a Hole and as Missing.
//   - The space is bounded. Before it is used up Room refuses new streams (80 %) and
//     Pressed says that those at work should end (95 %). How a stream ended always fits:
//     its place is written when the stream begins.
//   - After an error of fsync(2) the kernel may have thrown the data away and says so only
//     once. It is not tried again: the Spool takes nothing more until it is opened anew,
//     which reads everything.
//
// The bytes of the files, and why they are so, are in DESIGN.md. A Spool and its Streams are
// safe for concurrent use.
package spool

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
)

// Limits of what a spool takes, and defaults.
const (
	// DefaultQuota is the space of a spool that is told no other, in bytes.
	DefaultQuota = 1 << 30
	// MinQuota is the least that a spool can do with: two segments.
	MinQuota = 64 << 10
	// MaxChunk is the largest Data of a chunk, in bytes.
	MaxChunk = 1 << 20
	// MaxName is the longest id of a run, or name of an agent, in bytes.
	MaxName = 256

	defaultSegment = 8 << 20
	maxSegment     = 16 << 20
	// minFree is what must be free on the file system for a new stream to begin.
	minFree = 32 << 20
	// Shares of the capacity, in percent.
	refuseAt = 80
	endAt    = 95
)

// Config is what a spool is told at its start.
type Config struct {
	// Dir is the directory. It is made if it is missing, and belongs to the spool alone.
	Dir string
	// Quota bounds the bytes of all files; 0 is DefaultQuota.
	Quota int64
	// SegmentBytes is the size at which a new file is begun; 0 is 8 MiB, which is also
	// the grain in which space comes free.
	SegmentBytes int64
	// FS is the file system; nil is that of the process.
	FS FS
}

// Spool is an open spool. Make it with Open.
type Spool struct {
	fs      FS
	dir     string
	quota   int64
	segment int64
	lock    io.Closer
	holes   []Hole

	// files is held for reading while a file is read, and for writing while files are
	// closed. It comes before mu.
	files sync.RWMutex

	mu      sync.Mutex
	streams map[ID]*Stream
	// unmade are the heads of streams that did not come to be, since a sync failed. Whether
	// they are on the disk the next Open sees.
	unmade []File
	serial uint64
	// used is the size of all files.
	used int64
	// queue are requests that wait for whoever writes; writing is set while somebody does.
	queue   []*request
	writing bool
	idle    sync.Cond
	failed  error
	closed  bool
}

// ID names a stream: a run, and a start of the agent.
type ID struct {
	Run         string
	Incarnation uint64
}

func (id ID) String() string { return fmt.Sprintf("run %s, incarnation %d", id.Run, id.Incarnation) }

func (id ID) compare(other ID) int {
	return cmp.Or(cmp.Compare(id.Run, other.Run), cmp.Compare(id.Incarnation, other.Incarnation))
}

// Identity is what a stream is of.
type Identity struct {
	ID
	// Agent is the agent's name, as the chunks carry it.
	Agent string
	// Epoch is that of the run when the stream began.
	Epoch uint64
}

// Chunk is one chunk of events. Its Data are opaque here.
type Chunk struct {
	// Sequence numbers the chunks of a stream from 1.
	Sequence uint64
	// FirstEvent is the number of its first event, Events how many there are.
	FirstEvent uint64
	Events     uint32
	// CRC32C is what the agent has said of Data. It is kept, and not looked at.
	CRC32C uint32
	Data   []byte
}

// lastEvent is the number of the last event.
func (c Chunk) lastEvent() uint64 { return c.FirstEvent + uint64(c.Events) - 1 }

// End is how a stream ended.
type End struct {
	// LastEvent and LastChunk are how much it held.
	LastEvent, LastChunk uint64
	// Error is why the run ended early, Gap what the stream lacks for good; empty: nothing.
	Error, Gap string
}

// Open opens the spool in a directory: it takes its lock, reads every byte, cuts off
// what was being written when the process or the machine died, and removes what was
// forgotten. ErrInUse: another process has it. What is damaged is no error here, see Holes
// and Stream.Missing.
//
// The files of a newer version are an error, and are not touched.
func Open(cfg Config) (*Spool, error) {
	s := &Spool{
		dir: cfg.Dir, fs: cfg.FS, quota: cmp.Or(cfg.Quota, DefaultQuota), segment: cmp.Or(cfg.SegmentBytes, defaultSegment),
		streams: map[ID]*Stream{},
	}
	s.idle.L = &s.mu
	if s.quota < MinQuota {
		return nil, fmt.Errorf("spool %s: a quota of %d bytes; it needs at least %d", s.dir, s.quota, MinQuota)
	}
	if s.segment < minSegment || s.segment > maxSegment-MaxChunk-chunkOverhead {
		return nil, fmt.Errorf("spool %s: segments of %d bytes; they can have %d to %d", s.dir, s.segment, minSegment, maxSegment-MaxChunk-chunkOverhead)
	}
	if s.fs == nil {
		system, err := OpenDir(cfg.Dir)
		if err != nil {
			return nil, fmt.Errorf("spool %s: %w", s.dir, err)
		}
		s.fs = system
	}
	lock, err := s.fs.Lock(lockName)
	if err != nil {
		return nil, fmt.Errorf("spool %s: %w", s.dir, errors.Join(err, s.fs.Close()))
	}
	s.lock = lock
	if err := s.recover(); err != nil {
		return nil, fmt.Errorf("spool %s: %w", s.dir, errors.Join(err, s.closeFiles()))
	}
	return s, nil
}

// Streams are the streams that are kept, in the order of their runs: those that were there
// at Open, and those that Begin has made. What was dropped is not among them.
func (s *Spool) Streams() []*Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.streams), func(a, b *Stream) int { return a.ID.compare(b.ID) })
}

// Holes are what Open could not read, file by file.
func (s *Spool) Holes() []Hole { return slices.Clone(s.holes) }

// Used is the size of all files, in bytes, and capacity what they may have: the quota, or
// less if the file system has less.
func (s *Spool) Used() (used, capacity int64, err error) {
	free, err := s.fs.Free()
	if err != nil {
		return 0, 0, fmt.Errorf("spool %s: free space: %w", s.dir, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used, min(s.quota, s.used+free), nil
}

// Room says whether a new stream may begin: nil, a *FullError from 80 % on or if the file
// system has less than 32 MiB free, or why nothing can be written any more.
func (s *Spool) Room() error {
	if err := s.Err(); err != nil {
		return err
	}
	if free, err := s.fs.Free(); err != nil {
		return fmt.Errorf("spool %s: free space: %w", s.dir, err)
	} else if free < minFree {
		used, capacity, _ := s.Used()
		return &FullError{Dir: s.dir, Used: used, Capacity: capacity, Free: free}
	}
	return s.below(refuseAt)
}

// Pressed says whether the streams at work can go on: nil, a *FullError from 95 % on, or
// why nothing can be written any more.
func (s *Spool) Pressed() error {
	if err := s.Err(); err != nil {
		return err
	}
	return s.below(endAt)
}

func (s *Spool) below(percent int64) error {
	used, capacity, err := s.Used()
	if err != nil {
		return err
	}
	if used < capacity/100*percent {
		return nil
	}
	return &FullError{Dir: s.dir, Used: used, Capacity: capacity, Free: capacity - used}
}

// Err is why nothing can be written any more: an error of the disk, or ErrClosed; nil if
// something can.
func (s *Spool) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err()
}

// err is Err for who holds mu.
func (s *Spool) err() error {
	if s.closed {
		return ErrClosed
	}
	return s.failed
}

// Begin makes a stream. Its identity, and the place of its end, are on the disk when it
// returns. It is refused as Room says, and if the stream exists.
func (s *Spool) Begin(of Identity) (*Stream, error) {
	if of.Run == "" || len(of.Run) > MaxName || len(of.Agent) > MaxName {
		return nil, fmt.Errorf("spool %s: a run of %d bytes and an agent of %d; 1 to %d will do", s.dir, len(of.Run), len(of.Agent), MaxName)
	}
	if err := s.Room(); err != nil {
		return nil, err
	}
	st := newStream(s, of)
	if err := s.commit(&request{stream: st, begin: true}); err != nil {
		return nil, fmt.Errorf("begin the stream of %v: %w", of.ID, err)
	}
	return st, nil
}

// Close writes down how far the streams are acknowledged and closes the files. It waits
// for those who write.
func (s *Spool) Close() error {
	var errs []error
	for _, st := range s.Streams() {
		if s.Err() == nil {
			errs = append(errs, st.keepMark())
		}
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	for s.writing {
		s.idle.Wait()
	}
	s.mu.Unlock()
	return errors.Join(append(errs, s.closeFiles())...)
}

func (s *Spool) closeFiles() error {
	s.files.Lock()
	defer s.files.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, st := range s.streams {
		errs = append(errs, st.closeFiles())
	}
	for _, f := range s.unmade {
		errs = append(errs, f.Close())
	}
	return errors.Join(append(errs, s.lock.Close(), s.fs.Close())...)
}
