package netlab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const dirPrefix = "syncline-lab-"

// dir is a lab's temporary directory. Its descriptor carries an flock(2) from birth
// to removal; a directory whose lock is free belongs to a maker that died.
type dir struct {
	path string
	lock *os.File
}

// makeDir makes and locks a directory. A sweep of another process may take the
// directory in the instant before it is locked; then makeDir makes another.
func makeDir() (*dir, error) {
	for {
		path, err := os.MkdirTemp("", dirPrefix)
		if err != nil {
			return nil, fmt.Errorf("netlab: make the lab's directory: %w", err)
		}
		lock, err := lockDir(path)
		if err == nil {
			return &dir{path: path, lock: lock}, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, os.ErrNotExist) {
			return nil, errors.Join(err, os.Remove(path))
		}
	}
}

// lockDir takes the lock of a directory that is this user's, without following a
// link that a stranger may have put there. Its error is EWOULDBLOCK if another holds
// the lock and ErrNotExist if the directory went meanwhile.
func lockDir(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("netlab: open the lab's directory: %w", err)
	}
	if err := lockOwn(f, path); err != nil {
		f.Close()
		return nil, fmt.Errorf("netlab: lock %s: %w", path, err)
	}
	return f, nil
}

func lockOwn(f *os.File, path string) error {
	var opened, named unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &opened); err != nil {
		return err
	}
	if int(opened.Uid) != os.Geteuid() {
		return fmt.Errorf("it belongs to user %d: %w", opened.Uid, os.ErrPermission)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return err
	}
	if err := unix.Lstat(path, &named); err != nil {
		return err
	}
	if named.Ino != opened.Ino || named.Dev != opened.Dev {
		return os.ErrNotExist
	}
	return nil
}

// remove deletes the directory and then gives up its lock, in that order, so that
// no sweep meets half of it.
func (d *dir) remove() error {
	return errors.Join(os.RemoveAll(d.path), d.lock.Close())
}

// Sweep removes the directories of labs whose maker and processes are all gone, of
// this user only, and returns their paths. New and NewLoopback do it first. It is
// safe at any time, also while other processes make and close labs.
func Sweep() ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	if err != nil {
		return nil, fmt.Errorf("netlab: look for stale directories: %w", err)
	}
	var removed []string
	var failed []error
	for _, path := range paths {
		switch ok, err := sweepOne(path); {
		case err != nil:
			failed = append(failed, err)
		case ok:
			removed = append(removed, path)
		}
	}
	return removed, errors.Join(failed...)
}

// sweepOne reports whether it removed the directory. That it is in use, is gone, is
// another user's, or is no directory is no error.
func sweepOne(path string) (bool, error) {
	lock, err := lockDir(path)
	switch {
	case err == nil:
		d := dir{path: path, lock: lock}
		return true, d.remove()
	case errors.Is(err, unix.EWOULDBLOCK), errors.Is(err, os.ErrNotExist),
		errors.Is(err, os.ErrPermission), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return false, nil
	}
	return false, err
}
