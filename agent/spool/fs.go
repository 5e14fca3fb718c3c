package spool

import "io"

// FS is the file system that a spool lies on: one directory, without others in it.
// Names are of files in it.
type FS interface {
	// Create makes a file that does not exist yet.
	Create(name string) (File, error)
	// Open opens a file for reading and writing.
	Open(name string) (File, error)
	Remove(name string) error
	// List returns the names of all files.
	List() ([]string, error)
	// Sync puts on the disk which files there are: what Create and Remove did.
	Sync() error
	// Lock takes the lock that a file stands for, and holds it until it is closed or the
	// process dies; ErrInUse if somebody has it.
	Lock(name string) (io.Closer, error)
	// Free is how many bytes can still be written, about.
	Free() (int64, error)
	Close() error
}

// File is an open file. ReadAt and WriteAt may be called at the same time.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	Truncate(size int64) error
	// Sync is fsync(2).
	Sync() error
}
