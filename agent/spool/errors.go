package spool

import (
	"errors"
	"fmt"
)

// Errors that a caller branches on.
var (
	// ErrInUse: another process has the directory.
	ErrInUse = errors.New("another agent uses this directory")
	// ErrClosed: the spool was closed.
	ErrClosed = errors.New("the spool is closed")
	// ErrExists: the stream exists.
	ErrExists = errors.New("the stream is in the spool already")
	// ErrDropped: the stream was dropped.
	ErrDropped = errors.New("the stream was dropped from the spool")
	// ErrNotKept: the chunk is not in the spool: it was acknowledged, or never appended.
	ErrNotKept = errors.New("the chunk is not in the spool")
	// ErrDamaged: what is on the disk is not what was written.
	ErrDamaged = errors.New("damaged on the disk")
	// ErrNewer: a newer version of this program made the file.
	ErrNewer = errors.New("made by a newer version of syncline")
)

// FullError says that there is no room.
type FullError struct {
	Dir string
	// Used and Capacity are as in Spool.Used, Free is what is left, in bytes.
	Used, Capacity, Free int64
	// Err is what the file system said (ENOSPC, EDQUOT); nil if it was not asked.
	Err error
}

func (e *FullError) Error() string {
	text := fmt.Sprintf("the spool %s is full: %d of %d bytes used, %d free; its events go to the controller as soon as it can be reached, or make room on that file system", e.Dir, e.Used, e.Capacity, e.Free)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

func (e *FullError) Unwrap() error { return e.Err }

// FailedError says that the disk failed: what was being written may be lost, and nothing
// more is written until the spool is opened anew.
type FailedError struct {
	// Op is the call that failed, File its file.
	Op, File string
	Err      error
}

func (e *FailedError) Error() string {
	return fmt.Sprintf("the spool has failed and takes nothing more: %s %s: %v; look at the disk (dmesg), then start the agent anew", e.Op, e.File, e.Err)
}

func (e *FailedError) Unwrap() error { return e.Err }

// Hole is a part of a file in which Open found no record.
type Hole struct {
	// File is the name in the directory of the spool. Stream is whose it is, the zero ID if
	// that cannot be told.
	File   string
	Stream ID
	// Offset and Bytes are where, and how much.
	Offset, Bytes int64
	// Promised: the bytes were on the disk once, by what was written after them, so the disk
	// or somebody has changed them. If not, they were being written when the machine
	// died, and were cut off if nothing follows; damage of the very last
	// records of a stream looks the same.
	Promised bool
}

func (h Hole) String() string {
	what := "was being written when the machine died"
	if h.Promised {
		what = "is damaged"
	}
	return fmt.Sprintf("%s: %d bytes from %d of %v: %s", h.File, h.Bytes, h.Offset, h.Stream, what)
}

// Range is the sequence numbers First to Last, both included.
type Range struct{ First, Last uint64 }

func (r Range) String() string {
	if r.First == r.Last {
		return fmt.Sprint(r.First)
	}
	return fmt.Sprintf("%d to %d", r.First, r.Last)
}
