package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// gonePrefix begins the names of directories that are being removed. No run is called so.
const gonePrefix = ".gone-"

// Sweep removes the files of runs that have left, and returns how many bytes they had. It
// returns an error, and goes on with the others, for what cannot be removed. It writes a
// snapshot if it must: until one has the run as one that left, a restart would begin with
// an older one that refers to the files. Every node has to sweep for itself; one call at a
// time.
//
// What is read at the moment is left for the next call. A directory of a run that the state
// machine does not know is never touched: if somebody lost the log and kept the chunks,
// they are all that there is.
func (s *Store) Sweep() (freed int64, err error) {
	waiting, err := s.fsm.mark(s.lastSnapshot(), &s.readers)
	errs := []error{err}
	if waiting {
		if err := s.Snapshot(); err != nil {
			errs = append(errs, fmt.Errorf("before the files of runs that left are removed: %w", err))
		} else {
			_, err := s.fsm.mark(s.lastSnapshot(), &s.readers)
			errs = append(errs, err)
		}
	}
	freed, err = s.fsm.removeMarked()
	if err := errors.Join(append(errs, err)...); err != nil {
		return freed, fmt.Errorf("remove the files of runs that left: %w", err)
	}
	return freed, nil
}

// lastSnapshot is the index of the newest entry that a durable snapshot covers.
func (s *Store) lastSnapshot() uint64 {
	n, err := strconv.ParseUint(s.raft.Stats()["last_snapshot_index"], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// mark takes the directories of runs that left from their names, as far as the newest
// snapshot allows, and reports if some have to wait for the next one. While it looks no
// entry is applied, so none that it takes comes into use.
func (m *machine) mark(snapshot uint64, readers *readers) (waiting bool, err error) {
	entries, err := os.ReadDir(m.files.dir)
	if err != nil {
		return false, err
	}
	var errs []error
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), gonePrefix) || !e.IsDir() {
			continue
		}
		later, err := m.markOne(e.Name(), snapshot, readers)
		waiting = waiting || later
		errs = append(errs, err)
	}
	return waiting, errors.Join(errs...)
}

func (m *machine) markOne(id string, snapshot uint64, readers *readers) (waiting bool, err error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	r := m.runs[id]
	if r == nil || r.Here() {
		return false, nil
	}
	if r.left > snapshot {
		return true, nil
	}
	return false, readers.unlessRead(id, func() error {
		return m.files.disk.Rename(filepath.Join(m.files.dir, id), filepath.Join(m.files.dir, gonePrefix+id))
	})
}

// removeMarked removes what mark has taken.
func (m *machine) removeMarked() (freed int64, err error) {
	entries, err := os.ReadDir(m.files.dir)
	errs := []error{err}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), gonePrefix) {
			continue
		}
		name := filepath.Join(m.files.dir, e.Name())
		size, err := sizeBelow(name)
		errs = append(errs, err)
		if err := m.files.disk.RemoveAll(name); err != nil {
			errs = append(errs, err)
			continue
		}
		freed += size
	}
	return freed, errors.Join(errs...)
}

// sizeBelow is how many bytes the files below a directory have.
func sizeBelow(dir string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		sum += info.Size()
		return nil
	})
	return sum, err
}
