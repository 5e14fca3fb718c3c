package store

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// disk is the file system, as far as the store itself writes files: those of chunks,
// snapshots, the inventory and the id. There are two: the one of the system, and
// that of tests, which is slow, full or fails. The log is a file of bbolt's own.
type disk interface {
	// OpenFile is os.OpenFile.
	OpenFile(name string, flag int, perm fs.FileMode) (file, error)
	// MkdirAll is os.MkdirAll.
	MkdirAll(name string, perm fs.FileMode) error
	// Stat is os.Stat.
	Stat(name string) (fs.FileInfo, error)
	// Rename is os.Rename: the new name has either file, never none and never a part.
	Rename(from, to string) error
	// RemoveAll is os.RemoveAll.
	RemoveAll(name string) error
}

// file is an open file of a disk, as os.File. Sync is fsync(2): when it fails, the
// kernel may have dropped the pages and reports success the next time, so that
// nobody may call it again and go on.
type file interface {
	io.Reader
	io.Writer
	io.ReaderAt
	io.WriterAt
	io.Closer
	Name() string
	Stat() (fs.FileInfo, error)
	Sync() error
	Truncate(size int64) error
}

// systemDisk is the file system of the system.
type systemDisk struct{}

func (systemDisk) OpenFile(name string, flag int, perm fs.FileMode) (file, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		// A nil *os.File in an interface would not be nil.
		return nil, err
	}
	return f, nil
}

func (systemDisk) MkdirAll(name string, perm fs.FileMode) error { return os.MkdirAll(name, perm) }
func (systemDisk) Stat(name string) (fs.FileInfo, error)        { return os.Stat(name) }
func (systemDisk) Rename(from, to string) error                 { return os.Rename(from, to) }
func (systemDisk) RemoveAll(name string) error                  { return os.RemoveAll(name) }

// syncPath fsyncs a file, or a directory and with it the names in it.
func syncPath(d disk, name string) error {
	f, err := d.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// makeDir makes a directory, if it is not there, whose name outlives a crash.
func makeDir(name string) error {
	if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(name, 0o700); err != nil {
		return err
	}
	return syncPath(systemDisk{}, filepath.Dir(name))
}

// writeFile is putFile on the file system.
func writeFile(dir, name string, data []byte) error { return putFile(systemDisk{}, dir, name, data) }

// putFile makes a file that is whole or not there after a crash.
func putFile(d disk, dir, name string, data []byte) error {
	tmp := filepath.Join(dir, name+".tmp")
	f, err := d.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, d.RemoveAll(tmp))
	}
	if err := d.Rename(tmp, filepath.Join(dir, name)); err != nil {
		return err
	}
	return syncPath(d, dir)
}

// readFile reads a whole file of at most limit bytes.
func readFile(d disk, name string, limit int64) ([]byte, error) {
	f, err := d.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errTooLong}
	}
	return b, nil
}

var errTooLong = errors.New("it is longer than such a file can be")
