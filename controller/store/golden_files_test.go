package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// TestGoldenReason: the file with the reason of a failure is written as it was.
func TestGoldenReason(t *testing.T) {
	want := must[[]byte](t)(os.ReadFile(filepath.Join("testdata", "failed.v1")))
	got := reasonText(time.Unix(1795000000, 5e8), "ctl1", errors.New("write the log: the disk has not answered for 5s"))
	if !bytes.Equal(got, want) {
		t.Errorf("it is written as %q, and was %q", got, want)
	}
}

// FuzzIDFiles: the files with the ids of a node and of its disk hold ids, or are damaged; what was
// there is never replaced.
func FuzzIDFiles(f *testing.F) {
	for _, name := range []string{nodeFile, diskFile} {
		f.Add(must[[]byte](f)(os.ReadFile(filepath.Join("testdata", "v1", name))))
	}
	f.Add([]byte("two\nlines\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		for name, read := range map[string]func() (string, error){
			nodeFile: func() (string, error) { return nodeID(dir, "") },
			diskFile: func() (string, error) { return diskID(dir) },
		} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
			id, err := read()
			switch {
			case err == nil && string(bytes.TrimSpace(b)) != id:
				t.Errorf("%s with %q is read as %q", name, b, id)
			case err != nil && len(b) <= maxIDBytes && !errors.Is(err, ErrDamaged):
				t.Errorf("%s with %q: an error without ErrDamaged: %v", name, b, err)
			}
			if again := must[[]byte](t)(os.ReadFile(filepath.Join(dir, name))); !bytes.Equal(again, b) {
				t.Errorf("%s with %q was replaced by %q", name, b, again)
			}
		}
	})
}

// FuzzLogFile: whatever was changed in the file of the log, it is refused, or every entry that is
// read from it is one that was written.
func FuzzLogFile(f *testing.F) {
	golden := must[[]byte](f)(os.ReadFile(filepath.Join("testdata", "v1", logName)))
	written := map[uint64]raft.Log{}
	dir := f.TempDir()
	if err := os.WriteFile(filepath.Join(dir, logName), golden, 0o600); err != nil {
		f.Fatal(err)
	}
	l := must[*checkedLog](f)(openLog(dir, newFault(testLog(f))))
	first, last := must[uint64](f)(l.FirstIndex()), must[uint64](f)(l.LastIndex())
	for i := first; i <= last; i++ {
		var log raft.Log
		if err := l.GetLog(i, &log); err != nil {
			f.Fatal(err)
		}
		written[i] = log
	}
	if err := l.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(0), []byte{1}, uint32(len(golden)))
	f.Add(uint32(16), []byte{0xed, 0xda, 0x0c, 0xed}, uint32(len(golden)))
	f.Add(uint32(8192), bytes.Repeat([]byte{0xff}, 64), uint32(len(golden)))
	f.Add(uint32(0), []byte{}, uint32(4096))
	f.Fuzz(func(t *testing.T, at uint32, change []byte, length uint32) {
		b := bytes.Clone(golden)
		copy(b[int64(at)%int64(len(b)):], change)
		b = b[:min(int64(length), int64(len(b)))]
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, logName), b, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := openLog(dir, newFault(testLog(t)))
		if err != nil {
			return
		}
		defer l.Close()
		for i := first; i <= last; i++ {
			var log raft.Log
			if l.GetLog(i, &log) != nil {
				continue
			}
			want := written[i]
			if log.Index != i || log.Term != want.Term || log.Type != want.Type || !bytes.Equal(log.Data, want.Data) {
				t.Fatalf("entry %d is read as one that nobody wrote: %+v", i, log)
			}
		}
	})
}
