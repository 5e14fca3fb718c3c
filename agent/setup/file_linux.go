package setup

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// rewriteAt is the size at which a journal with changes that stand is written anew.
// Repetitions that apply and undo a change add two lines each.
const rewriteAt = 1 << 20

// file is the journal on disk. Its user holds Host.mu.
type file struct {
	dir  string
	here place
	// lock is held for the life of the Host, and by nobody after its process.
	lock *os.File
	f    *os.File
	size int64
	// stale: a write failed, so that the text is not what the ledger is. The next
	// write is of all that stands.
	stale bool
}

// openFile locks the journal and reads it. All that it makes belongs to the
// process's user alone: what the journal says is done to the host.
func openFile(dir string, here place) (*file, []byte, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("make the directory of the journal of changes: %w", err)
	}
	f := &file{dir: dir, here: here}
	text, err := f.open()
	if err != nil {
		return nil, nil, errors.Join(err, f.close())
	}
	return f, text, nil
}

func (f *file) open() (text []byte, err error) {
	if f.lock, err = os.OpenFile(filepath.Join(f.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, fmt.Errorf("open the lock of the journal of changes: %w", err)
	}
	err = unix.Flock(int(f.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("%s: %w: stop the other agent, or give this one a directory of its own", f.dir, ErrInUse)
	}
	if err != nil {
		return nil, fmt.Errorf("flock %s: %w", f.lock.Name(), err)
	}
	if f.f, err = os.OpenFile(f.name(), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600); err != nil {
		return nil, fmt.Errorf("open the journal of changes: %w", err)
	}
	if text, err = io.ReadAll(io.LimitReader(f.f, maxJournal+1)); err != nil {
		return nil, fmt.Errorf("read the journal of changes: %w", err)
	}
	if len(text) > maxJournal {
		return nil, fmt.Errorf("%s is larger than %d bytes: %w", f.name(), maxJournal, errDamaged)
	}
	f.size = int64(len(text))
	return text, nil
}

func (f *file) name() string { return filepath.Join(f.dir, "journal") }

// write appends r and returns when it is on the disk. l is the ledger as it is with r.
func (f *file) write(r record, l *ledger) error {
	if len(l.entries) == 0 {
		return f.clear()
	}
	if f.stale || f.size > rewriteAt && f.size > 4*f.live(l) {
		return f.rewrite(l)
	}
	text, err := r.line()
	if f.size == 0 {
		first, placeErr := record{Place: &f.here}.line()
		text, err = append(first, text...), errors.Join(err, placeErr)
	}
	if err != nil {
		return fmt.Errorf("encode a record of the journal of changes: %w", err)
	}
	n, err := f.f.Write(text)
	f.size += int64(n)
	if err == nil {
		err = f.f.Sync()
	}
	if err != nil {
		f.stale = true
		return fmt.Errorf("write to the journal of changes (no change is made without it): %w", err)
	}
	return nil
}

// clear empties the journal: no change stands.
func (f *file) clear() error {
	if err := f.f.Truncate(0); err != nil {
		f.stale = true
		return fmt.Errorf("empty the journal of changes: %w", err)
	}
	f.size, f.stale = 0, false
	return nil
}

// live estimates the size of the journal if it were written anew.
func (f *file) live(l *ledger) int64 {
	n := int64(0)
	for _, e := range l.entries {
		for _, s := range e.Saved {
			n += 64 + int64(len(s.Name))
			for _, old := range s.Old {
				n += int64(len(old))
			}
		}
	}
	return n
}

// rewrite puts a journal of what stands in the place of the old one, at once.
func (f *file) rewrite(l *ledger) (err error) {
	f.stale = true
	text, err := record{Place: &f.here}.line()
	for _, e := range l.entries {
		line, lineErr := record{Made: e}.line()
		text, err = append(text, line...), errors.Join(err, lineErr)
	}
	if err != nil {
		return fmt.Errorf("encode the journal of changes: %w", err)
	}
	next, err := os.OpenFile(f.name()+".new", os.O_CREATE|os.O_RDWR|os.O_APPEND|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write the journal of changes anew: %w", err)
	}
	_, err = next.Write(text)
	if err == nil {
		err = next.Sync()
	}
	if err == nil {
		err = os.Rename(next.Name(), f.name())
	}
	if err == nil {
		err = syncDir(f.dir)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write the journal of changes anew (no change is made without it): %w", err), next.Close())
	}
	// The old file has no name any more, and nothing to lose.
	f.f.Close()
	f.f, f.size, f.stale = next, int64(len(text)), false
	return nil
}

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (f *file) close() error {
	var errs []error
	for _, open := range []*os.File{f.f, f.lock} {
		if open != nil {
			errs = append(errs, open.Close())
		}
	}
	return errors.Join(errs...)
}
