package spool

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

var (
	// errPower is what every call gets once the power is gone.
	errPower = errors.New("the power is gone")
	// errOpen: a descriptor leaked.
	errOpen = errors.New("files are still open")
)

// faulty is a file system in memory that does what disks do at their worst. What was not
// synced may be lost, in parts and in any order, when the power goes.
type faulty struct {
	mu sync.Mutex
	// names are the files as programs see them, stable is as the disk has the directory;
	// changes are creations and removals that were not synced.
	names   map[string]*disk
	stable  map[string]*disk
	changes []change
	locked  bool
	// open is how many files are open.
	open int

	// calls counts the calls that change something. At the call powerAt, from 1, the power
	// goes; 0: never.
	calls, powerAt int
	off            bool
	syncs          int
	// room is how many bytes may be in files; 0: any number.
	room int64
	// failWrite, failSync and failCreate return the error of a call on a file, nil: none.
	failWrite, failSync, failCreate func(name string) error
	// failRead returns the error of reading a byte of a file.
	failRead func(name string, at int64) error
	// held is called in every fsync of a file, without a lock.
	held func()
	// short: a write that finds no room writes what fits.
	short bool
}

// change is a creation (file is set) or a removal.
type change struct {
	name string
	file *disk
}

// disk is the content of a file: synced is what surely is on the disk, and writes are what
// came since.
type disk struct {
	name   string
	now    []byte
	synced []byte
	writes []write
}

// write is a write, or a truncation: data is nil then, and at the new size.
type write struct {
	at   int64
	data []byte
}

// sector is what a disk writes whole or not at all: far less than any real one.
const sector = 32

func newFaulty() *faulty {
	return &faulty{names: map[string]*disk{}, stable: map[string]*disk{}}
}

// step is the beginning of every call that changes something.
func (f *faulty) step() error {
	if f.off {
		return errPower
	}
	f.calls++
	if f.calls == f.powerAt {
		f.off = true
		return errPower
	}
	return nil
}

// restart is the file system after a loss of power: of what was not synced some is there,
// as r says.
func (f *faulty) restart(r *rand.Rand) *faulty {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := newFaulty()
	kept := maps.Clone(f.stable)
	for _, c := range f.changes {
		if r.IntN(2) == 0 {
			continue
		}
		if c.file == nil {
			delete(kept, c.name)
		} else {
			kept[c.name] = c.file
		}
	}
	for _, name := range slices.Sorted(maps.Keys(kept)) {
		b := kept[name].after(r)
		d := &disk{name: name, now: b, synced: slices.Clone(b)}
		g.names[name], g.stable[name] = d, d
	}
	return g
}

// killed is the file system after the death of the process: everything is there.
func (f *faulty) killed() *faulty {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := newFaulty()
	for name, d := range f.names {
		c := &disk{name: name, now: slices.Clone(d.now), synced: slices.Clone(d.now)}
		g.names[name], g.stable[name] = c, c
	}
	return g
}

// after is the content after a loss of power.
func (d *disk) after(r *rand.Rand) []byte {
	b := slices.Clone(d.synced)
	for _, w := range d.writes {
		if w.data == nil {
			if r.IntN(2) == 0 {
				b = resize(b, w.at)
			}
			continue
		}
		// Sectors reach the disk one by one. The size may grow without them.
		if r.IntN(4) == 0 {
			b = resize(b, max(int64(len(b)), w.at+int64(len(w.data))))
		}
		for at := w.at; at < w.at+int64(len(w.data)); {
			end := min((at/sector+1)*sector, w.at+int64(len(w.data)))
			if r.IntN(2) == 0 {
				b = put(b, w.data[at-w.at:end-w.at], at)
			}
			at = end
		}
	}
	return b
}

func resize(b []byte, size int64) []byte {
	if size <= int64(len(b)) {
		return b[:size:size]
	}
	return append(b, make([]byte, size-int64(len(b)))...)
}

func put(b, data []byte, at int64) []byte {
	b = resize(b, max(int64(len(b)), at+int64(len(data))))
	copy(b[at:], data)
	return b
}

func (f *faulty) size() (n int64) {
	for _, d := range f.names {
		n += int64(len(d.now))
	}
	return n
}

func (f *faulty) Create(name string) (File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.step(); err != nil {
		return nil, err
	}
	if f.failCreate != nil {
		if err := f.failCreate(name); err != nil {
			return nil, err
		}
	}
	if f.names[name] != nil {
		return nil, fmt.Errorf("create %s: %w", name, os.ErrExist)
	}
	d := &disk{name: name}
	f.names[name] = d
	f.changes = append(f.changes, change{name, d})
	f.open++
	return &faultyFile{fs: f, disk: d}, nil
}

func (f *faulty) Open(name string) (File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.off {
		return nil, errPower
	}
	if f.names[name] == nil {
		return nil, fmt.Errorf("open %s: %w", name, os.ErrNotExist)
	}
	f.open++
	return &faultyFile{fs: f, disk: f.names[name]}, nil
}

func (f *faulty) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.step(); err != nil {
		return err
	}
	if f.names[name] == nil {
		return fmt.Errorf("remove %s: %w", name, os.ErrNotExist)
	}
	delete(f.names, name)
	f.changes = append(f.changes, change{name, nil})
	return nil
}

func (f *faulty) List() ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.off {
		return nil, errPower
	}
	return slices.Collect(maps.Keys(f.names)), nil
}

func (f *faulty) Sync() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.step(); err != nil {
		return err
	}
	if f.failSync != nil {
		if err := f.failSync("."); err != nil {
			return err
		}
	}
	f.stable, f.changes = maps.Clone(f.names), nil
	return nil
}

func (f *faulty) Lock(string) (io.Closer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.locked {
		return nil, ErrInUse
	}
	f.locked = true
	return closeFunc(func() error { f.mu.Lock(); defer f.mu.Unlock(); f.locked = false; return nil }), nil
}

type closeFunc func() error

func (c closeFunc) Close() error { return c() }

func (f *faulty) Free() (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.room == 0 {
		return 1 << 40, nil
	}
	// A file system keeps some for itself, so that ENOSPC comes all the same.
	return minFree + max(f.room-f.size(), 0), nil
}

// Close comes last: no descriptor is left by then.
func (f *faulty) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open != 0 {
		return fmt.Errorf("%d %w", f.open, errOpen)
	}
	return nil
}

// faultyFile is an open file.
type faultyFile struct {
	fs     *faulty
	disk   *disk
	closed bool
}

func (o *faultyFile) ReadAt(b []byte, at int64) (int, error) {
	o.fs.mu.Lock()
	defer o.fs.mu.Unlock()
	if o.fs.off {
		return 0, errPower
	}
	if at >= int64(len(o.disk.now)) {
		return 0, io.EOF
	}
	n := copy(b, o.disk.now[at:])
	for i := range int64(n) {
		if o.fs.failRead == nil {
			break
		}
		if err := o.fs.failRead(o.disk.name, at+i); err != nil {
			return int(i), err
		}
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (o *faultyFile) WriteAt(b []byte, at int64) (int, error) {
	o.fs.mu.Lock()
	defer o.fs.mu.Unlock()
	err := o.fs.step()
	if err == nil && o.fs.failWrite != nil {
		err = o.fs.failWrite(o.disk.name)
	}
	n := len(b)
	grown := at + int64(n) - int64(len(o.disk.now))
	if left := o.fs.room - o.fs.size(); err == nil && o.fs.room > 0 && grown > 0 && grown > left {
		err = unix.ENOSPC
		n = 0
		if fits := int64(len(b)) - (grown - max(left, 0)); o.fs.short && fits > 0 {
			n = int(fits)
		}
	}
	if err != nil && !errors.Is(err, errPower) && !errors.Is(err, unix.ENOSPC) {
		return 0, err
	}
	if n > 0 {
		// Even a write that the power ends may reach the disk in part.
		data := slices.Clone(b[:n])
		o.disk.now = put(o.disk.now, data, at)
		o.disk.writes = append(o.disk.writes, write{at, data})
	}
	if err != nil {
		return n, err
	}
	return n, nil
}

func (o *faultyFile) Size() (int64, error) {
	o.fs.mu.Lock()
	defer o.fs.mu.Unlock()
	return int64(len(o.disk.now)), nil
}

func (o *faultyFile) Truncate(size int64) error {
	o.fs.mu.Lock()
	defer o.fs.mu.Unlock()
	if err := o.fs.step(); err != nil {
		return err
	}
	o.disk.now = resize(slices.Clone(o.disk.now), size)
	o.disk.writes = append(o.disk.writes, write{at: size})
	return nil
}

func (o *faultyFile) Sync() error {
	if o.fs.held != nil {
		o.fs.held()
	}
	o.fs.mu.Lock()
	defer o.fs.mu.Unlock()
	if err := o.fs.step(); err != nil {
		return err
	}
	o.fs.syncs++
	if o.fs.failSync != nil {
		if err := o.fs.failSync(o.disk.name); err != nil {
			// The kernel says so once and takes the pages for clean.
			o.disk.writes = nil
			return err
		}
	}
	o.disk.synced, o.disk.writes = slices.Clone(o.disk.now), nil
	return nil
}

func (o *faultyFile) Close() error {
	o.fs.mu.Lock()
	defer o.fs.mu.Unlock()
	if o.closed {
		return fmt.Errorf("close %s: %w", o.disk.name, os.ErrClosed)
	}
	o.closed = true
	o.fs.open--
	return nil
}
