package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// system is the directory of a spool on the file system of the process. Names are opened
// beneath it, so that none leads out of it.
type system struct {
	root *os.Root
}

// OpenDir makes a directory, for the process's user alone, and opens it: the FS that a spool
// has if it is told no other. That the directory is there is on the disk too.
func OpenDir(dir string) (FS, error) {
	if err := MakeDir(dir); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &system{root: root}, nil
}

// MakeDir makes a directory, for the process's user alone, and those above it that are
// missing, and syncs each that got a new entry: what is in a directory is of no use after a
// loss of power if its own name is gone.
func MakeDir(dir string) error {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		return &fs.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
	}
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	above := filepath.Dir(dir)
	if err := MakeDir(above); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(above)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (s *system) Create(name string) (File, error) {
	return s.open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

func (s *system) Open(name string) (File, error) { return s.open(name, os.O_RDWR) }

func (s *system) open(name string, flags int) (File, error) {
	f, err := s.root.OpenFile(name, flags, 0o600)
	if err != nil {
		return nil, err
	}
	return systemFile{f}, nil
}

func (s *system) Remove(name string) error { return s.root.Remove(name) }

func (s *system) List() ([]string, error) {
	d, err := s.root.Open(".")
	if err != nil {
		return nil, err
	}
	names, err := d.Readdirnames(-1)
	return names, errors.Join(err, d.Close())
}

func (s *system) Sync() error {
	d, err := s.root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (s *system) Lock(name string) (io.Closer, error) {
	f, err := s.root.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock(f); err != nil {
		return nil, errors.Join(fmt.Errorf("flock %s: %w", name, err), f.Close())
	}
	return f, nil
}

func (s *system) Free() (int64, error) { return free(s.root) }

func (s *system) Close() error { return s.root.Close() }

// systemFile adds to an os.File what File asks for.
type systemFile struct{ *os.File }

func (f systemFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
