package store

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// badDisk is the file system with faults. A fault is asked before each operation that
// writes.
type badDisk struct {
	systemDisk
	mu    sync.Mutex
	fault func(op, name string, n int) (do int, err error)
	// ops are all operations so far, as "sync vm1-1.chunks".
	ops []string
}

// set puts a fault in place; nil: none.
func (d *badDisk) set(fault func(op, name string, n int) (int, error)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = fault
}

// on fails one kind of operation on files whose name ends so.
func (d *badDisk) on(op, suffix string, err error) {
	d.set(func(o, name string, n int) (int, error) {
		if o == op && strings.HasSuffix(name, suffix) {
			return 0, err
		}
		return n, nil
	})
}

func (d *badDisk) ask(op, name string, n int) (int, error) {
	d.mu.Lock()
	fault := d.fault
	d.ops = append(d.ops, op+" "+filepath.Base(name))
	d.mu.Unlock()
	if fault == nil {
		return n, nil
	}
	do, err := fault(op, name, n)
	if err != nil {
		err = &fs.PathError{Op: op, Path: name, Err: err}
	}
	return do, err
}

// count is how often an operation was asked for.
func (d *badDisk) count(op string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, o := range d.ops {
		if o == op {
			n++
		}
	}
	return n
}

func (d *badDisk) OpenFile(name string, flag int, perm fs.FileMode) (file, error) {
	if _, err := d.ask("open", name, 0); err != nil {
		return nil, err
	}
	f, err := d.systemDisk.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &badFile{file: f, disk: d}, nil
}

func (d *badDisk) Rename(from, to string) error {
	if _, err := d.ask("rename", to, 0); err != nil {
		return err
	}
	return d.systemDisk.Rename(from, to)
}

type badFile struct {
	file
	disk *badDisk
}

func (f *badFile) Write(b []byte) (int, error) {
	do, err := f.disk.ask("write", f.Name(), len(b))
	if err != nil {
		n, short := f.file.Write(b[:do])
		return n, errors.Join(err, short)
	}
	return f.file.Write(b)
}

func (f *badFile) WriteAt(b []byte, at int64) (int, error) {
	do, err := f.disk.ask("write", f.Name(), len(b))
	if err != nil {
		n, short := f.file.WriteAt(b[:do], at)
		return n, errors.Join(err, short)
	}
	return f.file.WriteAt(b, at)
}

func (f *badFile) ReadAt(b []byte, at int64) (int, error) {
	if _, err := f.disk.ask("read", f.Name(), len(b)); err != nil {
		return 0, err
	}
	return f.file.ReadAt(b, at)
}

func (f *badFile) Sync() error {
	if _, err := f.disk.ask("sync", f.Name(), 0); err != nil {
		return err
	}
	return f.file.Sync()
}

// openOn starts a single node on a disk.
func openOn(t testing.TB, dir string, d disk) *Store {
	t.Helper()
	s := must[*Store](t)(Open(Config{Dir: dir, files: d, ScrubRate: -1, Log: testLog(t)}))
	t.Cleanup(func() { s.Close() })
	wait(t, s)
	return s
}

// TestNamesAreDurableBeforeAnythingIsAcknowledged: the log is of no use if a loss of power takes its
// name, so a directory whose names cannot be fsynced is not opened.
func TestNamesAreDurableBeforeAnythingIsAcknowledged(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "node")
	// One that joins has its files of identity before, and nothing else would fsync the directory.
	if _, err := BeginCluster(dir, "n1", "lab"); err != nil {
		t.Fatal(err)
	}
	d := &badDisk{}
	d.on("sync", "/node", syscall.EIO)
	if s, err := Open(Config{Dir: dir, files: d, ScrubRate: -1}); !errors.Is(err, syscall.EIO) {
		t.Errorf("a directory that cannot be fsynced is opened: %v", err)
		if err == nil {
			s.Close()
		}
	}
	d.set(nil)
	openOn(t, dir, d)
	if d.count("sync node") == 0 {
		t.Error("the directory was not fsynced")
	}
}

// TestDiskFaults: what a full or failing disk does to a node that appends, and that all
// it had acknowledged is there when the disk is well again.
func TestDiskFaults(t *testing.T) {
	for name, tc := range map[string]struct {
		op, file string
		err      error
		// part is how much of a write is done before it fails.
		part int
	}{
		"full at write":    {op: "write", file: ".chunks", err: syscall.ENOSPC},
		"error at write":   {op: "write", file: ".chunks", err: syscall.EIO},
		"short write":      {op: "write", file: ".chunks", err: syscall.ENOSPC, part: 17},
		"cannot be opened": {op: "open", file: ".chunks", err: syscall.EROFS},
	} {
		t.Run(name, func(t *testing.T) {
			dir, d := t.TempDir(), &badDisk{}
			s := openOn(t, dir, d)
			run := createRun(t, s)
			for seq := uint64(1); seq <= 3; seq++ {
				appendChunk(t, s, chunk(run.ID, "vm1", seq))
			}
			d.set(func(op, file string, n int) (int, error) {
				if op == tc.op && strings.HasSuffix(file, tc.file) {
					return tc.part, tc.err
				}
				return n, nil
			})
			_, err := s.AppendChunk(t.Context(), chunk(run.ID, "vm2", 1))
			if !errors.Is(err, ErrUnknownOutcome) {
				t.Errorf("%v, want ErrUnknownOutcome: the log has the chunk", err)
			}
			failed(t, s)
			if err := s.Err(); !errors.Is(err, tc.err) || !strings.Contains(err.Error(), "vm2-1.chunks") {
				t.Errorf("the reason is %v, want %v and the file", err, tc.err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			d.set(nil)
			s = openOn(t, dir, d)
			if got := len(chunksOf(t, s, run.ID)); got != 4 {
				t.Errorf("%d chunks on a disk that is well again, want 4", got)
			}
			if i := s.Inventory(); !i.Complete() {
				t.Errorf("%+v: it is not complete", i)
			}
		})
	}
}

// TestFsyncIsNotTriedAgain: after an fsync that failed the node stops, whichever file it
// was for, and asks for none a second time.
func TestFsyncIsNotTriedAgain(t *testing.T) {
	dir, d := t.TempDir(), &badDisk{}
	s := openOn(t, dir, d)
	run := createRun(t, s)
	appendChunk(t, s, chunk(run.ID, "vm1", 1))
	d.on("sync", ".chunks", syscall.EIO)
	if err := s.Snapshot(); err == nil || !strings.Contains(err.Error(), "fsync") {
		t.Errorf("a snapshot of chunks that may not be on the disk: %v", err)
	}
	failed(t, s)
	if n := d.count("sync vm1-1.chunks"); n != 1 {
		t.Errorf("%d fsyncs of the file, want one", n)
	}
	if err := s.Err(); !errors.Is(err, syscall.EIO) {
		t.Errorf("the reason is %v, want EIO", err)
	}
	d.set(nil)
	s.Close()
	s = openOn(t, dir, d)
	if got := len(chunksOf(t, s, run.ID)); got != 1 {
		t.Errorf("%d chunks after a restart, want 1", got)
	}
}

// TestSnapshotOnABadDisk: a snapshot that cannot be written leaves the node running, with
// the older snapshot and the whole log.
func TestSnapshotOnABadDisk(t *testing.T) {
	for _, tc := range []struct {
		op, file string
		err      error
	}{
		{"write", snapshotState, syscall.ENOSPC},
		{"sync", snapshotState, syscall.EIO},
		{"write", snapshotMeta + ".tmp", syscall.ENOSPC},
		{"sync", snapshotMeta + ".tmp", syscall.EIO},
		{"rename", snapshotMeta, syscall.ENOSPC},
		{"write", inventoryName + ".tmp", syscall.ENOSPC},
	} {
		t.Run(tc.op+" "+tc.file, func(t *testing.T) {
			dir, d := t.TempDir(), &badDisk{}
			s := openOn(t, dir, d)
			run := createRun(t, s)
			appendChunk(t, s, chunk(run.ID, "vm1", 1))
			if err := s.Snapshot(); err != nil {
				t.Fatal(err)
			}
			appendChunk(t, s, chunk(run.ID, "vm1", 2))
			d.on(tc.op, tc.file, tc.err)
			if err := s.Snapshot(); err == nil {
				t.Error("a snapshot on a disk that fails is no error")
			}
			d.set(nil)
			appendChunk(t, s, chunk(run.ID, "vm1", 3))
			if err := s.Err(); err != nil {
				t.Fatalf("the node stopped: %v", err)
			}
			names := must[[]snapshotName](t)(s.snapshots.names())
			if len(names) != 1 {
				t.Errorf("snapshots %v, want the first alone", names)
			}
			s.Close()
			s = openOn(t, dir, d)
			if got := len(chunksOf(t, s, run.ID)); got != 3 {
				t.Errorf("%d chunks after a restart, want 3", got)
			}
		})
	}
}

// TestSlowDisk: a disk that answers late delays what is appended and changes nothing else.
func TestSlowDisk(t *testing.T) {
	dir, d := t.TempDir(), &badDisk{}
	s := openOn(t, dir, d)
	run := createRun(t, s)
	appendChunk(t, s, chunk(run.ID, "vm1", 1))
	begun, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	d.set(func(op, name string, n int) (int, error) {
		if op == "write" && strings.HasSuffix(name, ".chunks") {
			once.Do(func() { close(begun) })
			<-release
		}
		return n, nil
	})
	done := make(chan error, 1)
	go func() {
		_, err := s.AppendChunk(t.Context(), chunk(run.ID, "vm1", 2))
		done <- err
	}()
	<-begun
	select {
	case err := <-done:
		t.Errorf("acknowledged with %v before it was written", err)
	default:
	}
	if got := chunksOf(t, s, run.ID); len(got) != 1 {
		t.Errorf("%d chunks can be read before the second is written", len(got))
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := chunksOf(t, s, run.ID); !slices.ContainsFunc(got, func(c Chunk) bool { return c.Sequence == 2 }) {
		t.Error("the chunk is not there")
	}
}

// TestDiskThatHangs: a write of a chunk that does not return stops the node, which would
// else lead on and apply nothing.
func TestDiskThatHangs(t *testing.T) {
	dir, d := t.TempDir(), &badDisk{}
	s := must[*Store](t)(Open(Config{Dir: dir, files: d, ScrubRate: -1, Stall: 200 * time.Millisecond}))
	wait(t, s)
	run := createRun(t, s)
	release := make(chan struct{})
	d.set(func(op, name string, n int) (int, error) {
		if op == "write" && strings.HasSuffix(name, ".chunks") {
			<-release
		}
		return n, nil
	})
	if _, err := s.AppendChunk(t.Context(), chunk(run.ID, "vm1", 1)); !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("%v, want ErrUnknownOutcome", err)
	}
	failed(t, s)
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), "vm1-1.chunks: the disk has not answered") {
		t.Errorf("the reason is %v", err)
	}
	close(release)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	s = openOn(t, dir, &badDisk{})
	if got := len(chunksOf(t, s, run.ID)); got != 1 {
		t.Errorf("%d chunks after a restart, want the one in the log", got)
	}
}
