package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// backupOf is a backup of a store.
func backupOf(t testing.TB, s *Store) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := s.Backup(t.Context(), &b, BackupConfig{}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// backupGolden is a backup as this program wrote it once; it can be read for ever.
const backupGolden = "backup.v1"

var writeBackup = flag.Bool("store.backup", false, "write testdata/backup.v1 again, which may not be done once it was released")

// TestGoldenBackup restores a backup of the directory v1, which has the same content.
func TestGoldenBackup(t *testing.T) {
	name := filepath.Join("testdata", backupGolden)
	if *writeBackup {
		s := open(t, copyOf(t, filepath.Join("testdata", "v1")))
		if err := os.WriteFile(name, backupOf(t, s), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden := must[[]byte](t)(os.ReadFile(name))
	b := must[Backup](t)(CheckBackup(bytes.NewReader(golden), nil))
	if b.Cluster != "lab" || b.Node != "node-1" || b.Runs != 2 || b.Chunks != 6 || b.Missing != 0 || b.Written.Unix() < 1795000000 {
		t.Errorf("it says of itself: %+v", b)
	}
	dir := t.TempDir()
	must[Restored](t)(Restore(t.Context(), bytes.NewReader(golden), RestoreConfig{Dir: dir, Node: "node-2"}))
	s := open(t, dir)
	want := string(must[[]byte](t)(os.ReadFile(filepath.Join("testdata", "content.golden"))))
	want = strings.Replace(want, `planned "", epoch 1,`, `planned "", epoch 1000001,`, 1)
	if diff := cmp.Diff(want, describe(t, s)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// What is written anew has the same parts, but for who wrote it and when.
	again := parts(t, backupOf(t, open(t, copyOf(t, filepath.Join("testdata", "v1")))))
	for i, p := range parts(t, golden) {
		if p[0] == partChunk && !bytes.Equal(p, again[i]) {
			t.Errorf("part %d is %q, this program writes %q", i, p, again[i])
		}
	}
}

// parts cuts a backup into its parts, each from its kind to its checksum.
func parts(t testing.TB, b []byte) (out [][]byte) {
	t.Helper()
	for b = b[8:]; len(b) > 0; {
		n := 9 + int(binary.LittleEndian.Uint32(b[1:]))
		out, b = append(out, b[:n]), b[n:]
	}
	return out
}

// TestDamagedBackups: a backup cut anywhere, with any byte changed, a part left out, repeated or
// exchanged, is refused, and leaves the directory empty.
func TestDamagedBackups(t *testing.T) {
	golden := must[[]byte](t)(os.ReadFile(filepath.Join("testdata", backupGolden)))
	dir := t.TempDir()
	refused := func(what string, at int, b []byte) {
		t.Helper()
		if _, err := CheckBackup(bytes.NewReader(b), nil); err == nil {
			t.Fatalf("%s, at %d: it is called sound", what, at)
		}
		if at%97 != 0 {
			return
		}
		if _, err := Restore(t.Context(), bytes.NewReader(b), RestoreConfig{Dir: dir}); err == nil {
			t.Fatalf("%s, at %d: it is restored", what, at)
		}
		if left := must[[]os.DirEntry](t)(os.ReadDir(dir)); len(left) != 1 || left[0].Name() != lockFile {
			t.Fatalf("%s, at %d: the directory has %v", what, at, left)
		}
	}
	for i := range golden {
		refused("cut", i, golden[:i])
		b := bytes.Clone(golden)
		b[i] ^= 1 << (i % 8)
		refused("flipped", i, b)
	}
	refused("longer", 0, append(bytes.Clone(golden), 0))
	all := parts(t, golden)
	for i := range all {
		refused("without a part", i, slicesJoin(golden[:8], all[:i], all[i+1:]))
		refused("with a part twice", i, slicesJoin(golden[:8], all[:i+1], all[i:]))
		if i > 0 {
			refused("parts exchanged", i, slicesJoin(golden[:8], all[:i-1], [][]byte{all[i], all[i-1]}, all[i+1:]))
		}
	}
}

func slicesJoin(head []byte, lists ...[][]byte) []byte {
	out := bytes.Clone(head)
	for _, list := range lists {
		out = append(out, bytes.Join(list, nil)...)
	}
	return out
}

// TestNewerBackup: a version that this program does not know is named, and not guessed at.
func TestNewerBackup(t *testing.T) {
	b := must[[]byte](t)(os.ReadFile(filepath.Join("testdata", backupGolden)))
	b[4]++
	_, err := CheckBackup(bytes.NewReader(b), nil)
	if err == nil || errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "its version is 2, and this program reads 1; take the version of the program that wrote it, or a newer one") {
		t.Errorf("a newer version: %v", err)
	}
}

// TestBackupOfWhatIsLacking: a chunk that no node has is named, or left out if that was asked
// for; then its run is removed where it is restored, with the reason, and all others are whole.
func TestBackupOfWhatIsLacking(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	sealedRun(t, s, "r-1", 3)
	sealedRun(t, s, "r-2", 2)
	createRun(t, s)
	if err := s.Snapshot(); err != nil {
		t.Fatal(err)
	}
	s.fsm.mu.RLock()
	st := s.fsm.streamOf("r-1", streamKey{"vm1", 1})
	at := st.chunks[1].offset + frameHeaderSize
	s.fsm.mu.RUnlock()
	f := must[*os.File](t)(os.OpenFile(s.fsm.path(st), os.O_RDWR, 0))
	must[int](t)(f.WriteAt([]byte{0x55, 0xaa, 0x55}, at))
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	// The log has the entry still; without it nobody has the chunk.
	first, last := must[uint64](t)(s.logs.FirstIndex()), must[uint64](t)(s.logs.LastIndex())
	if err := s.logs.DeleteRange(first, last-1); err != nil {
		t.Fatal(err)
	}

	var b bytes.Buffer
	if _, err := s.Backup(t.Context(), &b, BackupConfig{}); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "run r-1") {
		t.Fatalf("a backup without one of its chunks: %v", err)
	}
	b.Reset()
	if got := must[Backup](t)(s.Backup(t.Context(), &b, BackupConfig{Incomplete: true})); got.Missing != 1 || got.Chunks != 5 {
		t.Errorf("it has %+v", got)
	}
	if got := must[Backup](t)(CheckBackup(bytes.NewReader(b.Bytes()), nil)); got.Missing != 1 {
		t.Errorf("it is read as %+v", got)
	}
	to := t.TempDir()
	if _, err := Restore(t.Context(), bytes.NewReader(b.Bytes()), RestoreConfig{Dir: to}); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "1 of them, of 1 runs") {
		t.Fatalf("restored as if it were whole: %v", err)
	}
	got := must[Restored](t)(Restore(t.Context(), bytes.NewReader(b.Bytes()), RestoreConfig{Dir: to, Incomplete: true}))
	if diff := cmp.Diff([]Lost{{RunID: "r-1", Missing: 1, Chunks: 3}}, got.Lost); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	again := open(t, to)
	noChunks(t, again, "r-1", ErrRemoved)
	if run, _ := again.Run("r-1"); run.Removed.Reason != "1 of its 3 chunks were nowhere when the cluster was restored" {
		t.Errorf("run r-1: %q", run.Removed.Reason)
	}
	if n := len(chunksOf(t, again, "r-2")); n != 2 {
		t.Errorf("run r-2 has %d chunks", n)
	}
	if err := again.WaitComplete(t.Context()); err != nil {
		t.Error(err)
	}
	if filesOf(t, to, "r-1") {
		t.Error("the files of run r-1 are there")
	}
}

// FuzzBackup: whatever the bytes, a backup is read or refused, and what is read is in the index.
func FuzzBackup(f *testing.F) {
	golden := must[[]byte](f)(os.ReadFile(filepath.Join("testdata", backupGolden)))
	f.Add(golden)
	f.Add(golden[:len(golden)/2])
	f.Add([]byte(backupMagic + "\x02\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, resummed(b)} {
			var read uint64
			got, err := CheckBackup(bytes.NewReader(b), func(done, _ uint64) { read = done })
			if err == nil && read != got.Bytes {
				t.Fatalf("%d bytes of chunks were read of a backup that has %d", read, got.Bytes)
			}
		}
	})
}

// resummed gives every part the right checksum, so that a fuzzer gets behind them.
func resummed(b []byte) []byte {
	out := bytes.Clone(b)
	for at := 8; at+9 <= len(out); {
		n := int64(binary.LittleEndian.Uint32(out[at+1:]))
		if n > int64(len(out)-at-9) {
			break
		}
		end := at + 5 + int(n)
		binary.LittleEndian.PutUint32(out[end:], Checksum(out[at:end]))
		at = end + 4
	}
	return out
}
