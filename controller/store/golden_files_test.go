package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
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

// TestNewerChunkFile: a chunk file of a later version is neither read nor written to, and what is
// said is which version it has; with a damaged header it is a damaged file as any other.
func TestNewerChunkFile(t *testing.T) {
	dir := copyOf(t, filepath.Join("testdata", "v1"))
	name := filepath.Join(dir, runsDir, "r-1", "vm1-1.chunks")
	st := newStream("r-1", streamKey{"vm1", 1})
	header := st.header()
	newer := bytes.Clone(header)
	newer[4] = 2
	damaged := bytes.Clone(newer)
	binary.LittleEndian.PutUint32(newer[len(newer)-4:], Checksum(newer[:len(newer)-4]))
	put := func(head []byte) {
		t.Helper()
		b := must[[]byte](t)(os.ReadFile(name))
		if err := os.WriteFile(name, append(bytes.Clone(head), b[len(head):]...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(damaged)
	s := open(t, dir)
	if n := len(chunksOf(t, s, "r-1")); n != 4 {
		t.Errorf("%d chunks behind a damaged header", n)
	}
	put(newer)
	before := must[[]byte](t)(os.ReadFile(name))
	const want = "vm1-1.chunks: its version is 2, and this program reads 1; start the version of the program that wrote it, or a newer one"
	refused := func(what string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused("read", s.Chunks("r-1", func(Chunk) error { return nil }))
	refused("serve", s.Serve(t.Context(), Wanted{RunID: "r-1", Agent: "vm1", Incarnation: 1, Sequences: []uint64{1}}, func(Chunk) error { return nil }))
	refused("back up", func() error { _, err := s.Backup(t.Context(), io.Discard, BackupConfig{}); return err }())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// A chunk for it stops the node, which cannot say that it has it.
	again := must[*Store](t)(Open(Config{Dir: dir, Log: testLog(t), ScrubRate: -1}))
	wait(t, again)
	_, err := again.AppendChunk(t.Context(), chunk("r-1", "vm1", 5))
	refused("append", err)
	refused("go on", again.Err())
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	if after := must[[]byte](t)(os.ReadFile(name)); !bytes.Equal(after, before) {
		t.Error("the file was written to")
	}
}
