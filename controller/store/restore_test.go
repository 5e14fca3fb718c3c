package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// raised is what a store has after it was restored: the epochs of runs that nobody had ended are
// higher.
func raised(c content) content {
	for i := range c.Runs {
		if c.Runs[i].Seal == nil {
			c.Runs[i].Epoch += restoredEpochs
		}
	}
	return c
}

func wantContent(t testing.TB, s *Store, want content) {
	t.Helper()
	if diff := cmp.Diff(want, contentOf(t, s), compareContent); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestRestoreBackup restores a backup with runs of every kind, goes on in it, and lets a blank node
// join.
func TestRestoreBackup(t *testing.T) {
	t.Parallel()
	old := open(t, t.TempDir())
	run := fill(t, old)
	sealedRun(t, old, "r-sealed", 3)
	sealedRun(t, old, "r-removed", 2)
	must[Run](t)(old.RemoveRun(t.Context(), "r-removed", "quota"))
	made := must[Run](t)(old.CreateRun(t.Context(), "make it", Run{Experiment: "handshake"}))
	taken := must[Run](t)(old.TakeRun(t.Context(), run.ID))
	var backup bytes.Buffer
	var progress []uint64
	b := must[Backup](t)(old.Backup(t.Context(), &backup, BackupConfig{Progress: func(done, all uint64) { progress = append(progress, done, all) }}))
	if n := len(progress); n == 0 || progress[n-2] != b.Bytes || progress[n-1] != b.Bytes {
		t.Errorf("the progress was %v, of %d bytes", progress, b.Bytes)
	}
	// What comes after it is not in it.
	appendChunk(t, old, chunk(run.ID, "vm1", 6))

	c := newEmptyCluster(t)
	node := c.add()
	restored := must[Restored](t)(Restore(t.Context(), &backup, RestoreConfig{Dir: c.dirs[node], Node: c.peers[node].ID, Cluster: c.pki.cluster, Log: testLog(t)}))
	if diff := cmp.Diff([]string{run.ID, made.ID}, restored.Unfinished); diff != "" || restored.Lost != nil || restored.Cluster != c.pki.cluster || restored.Disk == old.identity.Disk {
		t.Errorf("%+v; unfinished (-want +got):\n%s", restored, diff)
	}
	s := c.start(node)
	c.leader()
	want := contentOfHere(t, old)
	want.Chunks[run.ID] = nil // compared below
	if now, _ := s.Run(run.ID); now.Epoch != taken.Epoch+restoredEpochs {
		t.Errorf("the run is in epoch %d, and was in %d", now.Epoch, taken.Epoch)
	}
	if n := len(chunksOf(t, s, run.ID)); n != 15 {
		t.Errorf("run %s has %d chunks", run.ID, n)
	}
	if diff := cmp.Diff(want.Chunks["r-sealed"], chunksOf(t, s, "r-sealed"), compareContent); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	noChunks(t, s, "r-removed", ErrRemoved)
	// A request that was answered before makes nothing now.
	if again := must[Run](t)(s.CreateRun(t.Context(), "make it", Run{Experiment: "handshake"})); again.ID != made.ID {
		t.Errorf("a request of before made run %s, and had made %s", again.ID, made.ID)
	}
	appendChunk(t, s, chunk(run.ID, "vm2", 6))

	blank := c.add()
	c.join(blank)
	c.voters(2)
	if err := c.node(blank).WaitComplete(t.Context()); err != nil {
		t.Error(err)
	}
	wantContentHere(t, c.node(blank), contentOfHere(t, s))
}

// newEmptyCluster is a cluster without nodes.
func newEmptyCluster(t testing.TB) *cluster {
	c := &trio{cluster: &cluster{t: t, pki: newTestPKI(t), wires: newWires()}}
	c.tune = func(i int, cfg *Config) { cfg.Source = source{c, i} }
	t.Cleanup(c.close)
	return c.cluster
}

// contentOfHere is contentOf without the chunks of runs that left.
func contentOfHere(t testing.TB, s *Store) content {
	t.Helper()
	c := content{Agents: s.Agents(), Runs: s.Runs(), Streams: map[string][]Stream{}, Chunks: map[string][]Chunk{}}
	for _, run := range c.Runs {
		if run.Here() {
			c.Streams[run.ID], c.Chunks[run.ID] = s.Streams(run.ID), chunksOf(t, s, run.ID)
		}
	}
	return c
}

func wantContentHere(t testing.TB, s *Store, want content) {
	t.Helper()
	if diff := cmp.Diff(want, contentOfHere(t, s), compareContent); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestRestoreData restores from a directory as a node was killed in it: with a snapshot, the chunks
// it refers to, and entries behind it.
func TestRestoreData(t *testing.T) {
	for _, version := range goldens {
		t.Run(version, func(t *testing.T) {
			from := copyOf(t, filepath.Join("testdata", version))
			s := open(t, copyOf(t, from))
			want := raised(contentOf(t, s))
			dir := t.TempDir()
			got := must[Restored](t)(RestoreData(t.Context(), from, RestoreConfig{Dir: dir, Node: "node-2", Log: testLog(t)}))
			if got.From.Chunks != 6 || got.From.Node != "node-1" || len(got.Unfinished) != 1 {
				t.Errorf("%+v", got)
			}
			wantContent(t, open(t, dir), want)
		})
	}
	t.Run("killed", func(t *testing.T) {
		from := t.TempDir()
		s := must[*Store](t)(Open(Config{Dir: from, ID: "ctl1", Cluster: "lab", Log: testLog(t), SnapshotEvery: 1 << 20}))
		wait(t, s)
		run := fill(t, s)
		if err := s.Snapshot(); err != nil {
			t.Fatal(err)
		}
		for seq := uint64(6); seq <= 150; seq++ {
			appendChunk(t, s, chunk(run.ID, "vm1", seq))
		}
		want := raised(contentOf(t, s))
		if _, err := RestoreData(t.Context(), from, RestoreConfig{Dir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "in use by another controller") {
			t.Errorf("a directory in use: %v", err)
		}
		if err := s.end(false); err != nil {
			t.Fatal(err)
		}
		// The name stays with the disk.
		if _, err := RestoreData(t.Context(), from, RestoreConfig{Dir: t.TempDir(), Node: "ctl1"}); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "stays with that disk") {
			t.Errorf("a name of before: %v", err)
		}
		// What the file lacks, the log may still have.
		if err := os.Truncate(filepath.Join(from, runsDir, chunkFileName(run.ID, streamKey{"vm1", 1})), 100); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		got := must[Restored](t)(RestoreData(t.Context(), from, RestoreConfig{Dir: dir, Node: "ctl4", Log: testLog(t)}))
		if got.Cluster != "lab" {
			t.Errorf("it is cluster %q", got.Cluster)
		}
		wantContent(t, open(t, dir), want)
	})
	t.Run("lacking", func(t *testing.T) {
		from := copyOf(t, filepath.Join("testdata", "v1"))
		remove(t, filepath.Join(from, runsDir, "r-2"))
		dir := t.TempDir()
		if _, err := RestoreData(t.Context(), from, RestoreConfig{Dir: dir, Node: "node-2"}); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "2 of them, of 1 runs") {
			t.Errorf("without two chunks: %v", err)
		}
		got := must[Restored](t)(RestoreData(t.Context(), from, RestoreConfig{Dir: dir, Node: "node-2", Incomplete: true}))
		if diff := cmp.Diff([]Lost{{RunID: "r-2", Missing: 2, Chunks: 2}}, got.Lost); diff != "" || got.From.Missing != 2 {
			t.Errorf("%+v (-want +got):\n%s", got, diff)
		}
		s := open(t, dir)
		noChunks(t, s, "r-2", ErrRemoved)
		if n := len(chunksOf(t, s, "r-1")); n != 4 {
			t.Errorf("%d chunks of r-1", n)
		}
	})
	t.Run("no data", func(t *testing.T) {
		from := t.TempDir()
		if _, err := RestoreData(t.Context(), from, RestoreConfig{Dir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "no data directory of a controller") {
			t.Errorf("an empty directory: %v", err)
		}
		if left := must[[]os.DirEntry](t)(os.ReadDir(from)); len(left) != 0 {
			t.Errorf("it has %v now", left)
		}
	})
}

// TestRestoreRefuses refuses directories that have something in them, and leaves them as they are.
func TestRestoreRefuses(t *testing.T) {
	golden := must[[]byte](t)(os.ReadFile(filepath.Join("testdata", backupGolden)))
	for _, name := range []string{"id", "log.db", ".hidden", "runs"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Restore(t.Context(), bytes.NewReader(golden), RestoreConfig{Dir: dir}); !errors.Is(err, ErrNotEmpty) || !strings.Contains(err.Error(), name) {
			t.Errorf("a directory with %s: %v", name, err)
		}
		if left := must[[]os.DirEntry](t)(os.ReadDir(dir)); len(left) != 1 {
			t.Errorf("a directory with %s has %v now", name, left)
		}
	}
	dir := t.TempDir()
	if _, err := Restore(t.Context(), bytes.NewReader(golden), RestoreConfig{Dir: dir, Node: "node-1"}); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "node-1 is the name of a node of cluster lab") {
		t.Errorf("a name of before: %v", err)
	}
	if _, err := Restore(t.Context(), bytes.NewReader(golden), RestoreConfig{Dir: dir, Node: "Node 1"}); err == nil {
		t.Error("a bad name is taken")
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("interrupted")
	_, err := Restore(ctx, bytes.NewReader(golden), RestoreConfig{Dir: dir, Progress: func(uint64, uint64) { cancel(stop) }})
	if !errors.Is(err, stop) {
		t.Errorf("interrupted: %v", err)
	}
	// In another cluster no node of this one is known.
	must[Restored](t)(Restore(t.Context(), bytes.NewReader(golden), RestoreConfig{Dir: dir, Node: "node-1", Cluster: "lab-2"}))
	s := open(t, dir)
	if err := s.settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if nodes := s.Nodes(); len(nodes) != 1 || nodes[0].ID != "node-1" || s.Identity().Cluster != "lab-2" {
		t.Errorf("cluster %s knows %v", s.Identity().Cluster, nodes)
	}
}

// restoreDirEnv makes the test binary a child that restores what comes from its standard input
// into that directory.
const restoreDirEnv = "SYNCLINE_STORE_RESTORE_DIR"

func restoreChild(dir string) {
	_, err := Restore(context.Background(), os.Stdin, RestoreConfig{Dir: dir, Progress: func(done, _ uint64) { fmt.Println(done) }})
	fmt.Println(err)
	os.Exit(1)
}

// TestRestoreKilled kills a process that restores, when a part of the chunks is in place: nobody
// takes what is there for a node, until it was removed.
func TestRestoreKilled(t *testing.T) {
	golden := must[[]byte](t)(os.ReadFile(filepath.Join("testdata", backupGolden)))
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0])
	child.Env = append(os.Environ(), restoreDirEnv+"="+dir)
	in := must[*os.File](t)(pipeTo(child))
	defer in.Close()
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	// All but the end, which the child waits for.
	must[int](t)(in.Write(golden[:len(golden)-20]))
	line := make([]byte, 1)
	must[int](t)(out.Read(line))
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the child ended with %v", err)
	}

	refused := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, ErrNotEmpty) || !strings.Contains(err.Error(), "being restored") {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err = Open(Config{Dir: dir})
	refused("open", err)
	_, err = BeginCluster(dir, "", "")
	refused("begin a cluster", err)
	_, err = Identify(dir, "")
	refused("join", err)
	_, err = RestoreData(t.Context(), dir, RestoreConfig{Dir: t.TempDir()})
	refused("restore from it", err)
	_, err = Restore(t.Context(), bytes.NewReader(golden), RestoreConfig{Dir: dir})
	refused("restore", err)
	for _, e := range must[[]os.DirEntry](t)(os.ReadDir(dir)) {
		remove(t, filepath.Join(dir, e.Name()))
	}
	must[Restored](t)(Restore(t.Context(), bytes.NewReader(golden), RestoreConfig{Dir: dir}))
	if n := len(chunksOf(t, open(t, dir), "r-1")); n != 4 {
		t.Errorf("%d chunks of r-1", n)
	}
}

// pipeTo makes a pipe to the standard input of a child.
func pipeTo(child *exec.Cmd) (*os.File, error) {
	r, w, err := os.Pipe()
	child.Stdin = r
	return w, err
}

// TestRestoreOnABadDisk: an error of any call to the disk is told, and leaves the directory empty.
func TestRestoreOnABadDisk(t *testing.T) {
	golden := must[[]byte](t)(os.ReadFile(filepath.Join("testdata", backupGolden)))
	for n := 0; ; n++ {
		dir := t.TempDir()
		d, calls := &badDisk{}, 0
		d.set(func(_, _ string, do int) (int, error) {
			if calls++; calls > n {
				return 0, syscall.EIO
			}
			return do, nil
		})
		_, err := Restore(t.Context(), bytes.NewReader(golden), RestoreConfig{Dir: dir, files: d})
		if calls <= n {
			if err != nil {
				t.Errorf("with %d calls to the disk: %v", calls, err)
			}
			if n < 20 {
				t.Errorf("it took %d calls to the disk only", n)
			}
			return
		}
		if !errors.Is(err, syscall.EIO) {
			t.Fatalf("call %d to the disk failed: %v", n+1, err)
		}
		if left := must[[]os.DirEntry](t)(os.ReadDir(dir)); len(left) != 1 || left[0].Name() != lockFile {
			t.Fatalf("call %d to the disk failed, and the directory has %v", n+1, left)
		}
	}
}
