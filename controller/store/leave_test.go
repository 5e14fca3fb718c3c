package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	logv1 "syncline/proto/syncline/log/v1"
)

// there is an archive that nobody looks into.
var there = Archive{URL: "s3://lab", Manifest: "manifests/r-1.json", SHA256: bytes.Repeat([]byte{7}, 32)}

// sealedRun makes a run with chunks and seals it.
func sealedRun(t *testing.T, s *Store, id string, chunks int) Run {
	t.Helper()
	ctx := t.Context()
	must[Run](t)(s.CreateRun(ctx, "make "+id, Run{ID: id}))
	for i := range chunks {
		must[bool](t)(s.AppendChunk(ctx, chunk(id, "vm1", uint64(i+1))))
	}
	return must[Run](t)(s.Seal(ctx, id, Sealing{Epoch: 1, State: Failed}))
}

func filesOf(t *testing.T, dir, run string) bool {
	t.Helper()
	_, err := os.Stat(filepath.Join(dir, runsDir, run))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

func noChunks(t *testing.T, s *Store, id string, want error) {
	t.Helper()
	if err := s.Chunks(id, func(Chunk) error { return nil }); !errors.Is(err, want) {
		t.Errorf("chunks of run %s: %v, want %v", id, err, want)
	}
}

// TestArchivedRunLeaves archives one run and removes another. Their descriptions stay, the
// files go, also at a start from a snapshot of before and from one of after; a third run
// has all of its chunks throughout.
func TestArchivedRunLeaves(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	ctx := t.Context()
	one, two := sealedRun(t, s, "r-1", 3), sealedRun(t, s, "r-2", 2)
	stays := sealedRun(t, s, "r-3", 2)
	// A restart before the next snapshot begins with this one, which refers to all files.
	if err := s.Snapshot(); err != nil {
		t.Fatal(err)
	}
	archived := must[Run](t)(s.ArchiveRun(ctx, "r-1", one.Seal, there))
	removed := must[Run](t)(s.RemoveRun(ctx, "r-2", "quota"))
	if archived.Here() || archived.Archive.URL != "s3://lab" || archived.Archive.AtNs == 0 || archived.Chunks != 3 || removed.Here() || removed.Removed.Reason != "quota" || removed.Events != two.Events {
		t.Fatalf("the runs are %+v and %+v", archived, removed)
	}
	again := must[Run](t)(s.ArchiveRun(ctx, "r-1", one.Seal, Archive{URL: "file:///other", Manifest: "m", SHA256: there.SHA256}))
	if diff := cmp.Diff(archived, again, cmp.AllowUnexported(Run{})); diff != "" {
		t.Errorf("archiving it again changed it (-before +after):\n%s", diff)
	}

	look := func(when string) {
		t.Helper()
		for _, want := range []Run{archived, removed, stays} {
			got, ok := s.Run(want.ID)
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(Run{})); !ok || diff != "" {
				t.Errorf("%s, run %s (-want +got):\n%s", when, want.ID, diff)
			}
		}
		noChunks(t, s, "r-1", ErrArchived)
		noChunks(t, s, "r-2", ErrRemoved)
		n := 0
		if err := s.Chunks("r-3", func(Chunk) error { n++; return nil }); err != nil || n != 2 {
			t.Errorf("%s, run r-3 has %d chunks: %v", when, n, err)
		}
	}
	restart := func() {
		t.Helper()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir)
	}
	look("at once")
	restart()
	look("after a start from the snapshot before")
	freed, err := s.Sweep()
	if err != nil || freed == 0 || filesOf(t, dir, "r-1") || filesOf(t, dir, "r-2") || !filesOf(t, dir, "r-3") {
		t.Fatalf("a sweep freed %d bytes: %v; files there: %v, %v, %v", freed, err, filesOf(t, dir, "r-1"), filesOf(t, dir, "r-2"), filesOf(t, dir, "r-3"))
	}
	look("after the sweep")
	restart()
	look("after a start from the snapshot of the sweep")
	if freed, err := s.Sweep(); err != nil || freed != 0 {
		t.Errorf("a second sweep freed %d bytes: %v", freed, err)
	}
	if _, err := s.AppendChunk(ctx, chunk("r-1", "vm1", 1)); !errors.Is(err, ErrSealed) {
		t.Errorf("a chunk that comes once more: %v", err)
	}
	// An archived run that is deleted is one that was removed.
	gone := must[Run](t)(s.RemoveRun(ctx, "r-1", "no use"))
	if gone.Removed.Reason != "no use" || gone.Archive.URL == "" {
		t.Errorf("the run is %+v", gone)
	}
	noChunks(t, s, "r-1", ErrRemoved)
}

// TestSweepSparesReaders holds a run open while it leaves.
func TestSweepSparesReaders(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	sealedRun(t, s, "r-1", 2)
	n := 0
	err := s.Chunks("r-1", func(Chunk) error {
		n++
		if n == 1 {
			must[Run](t)(s.RemoveRun(t.Context(), "r-1", "quota"))
			if freed, err := s.Sweep(); err != nil || freed != 0 {
				t.Errorf("a sweep freed %d bytes under a reader: %v", freed, err)
			}
		}
		return nil
	})
	if err != nil || n != 2 {
		t.Errorf("%d chunks were read: %v", n, err)
	}
	if freed, err := s.Sweep(); err != nil || freed == 0 || filesOf(t, dir, "r-1") {
		t.Errorf("the next sweep freed %d bytes: %v", freed, err)
	}
}

// TestOnlySealedRunsLeave refuses everything else, for ever.
func TestOnlySealedRunsLeave(t *testing.T) {
	s := open(t, t.TempDir())
	ctx := t.Context()
	must[Run](t)(s.CreateRun(ctx, "q", Run{ID: "r-1"}))
	sealed := sealedRun(t, s, "r-2", 1)
	refused := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	_, err := s.ArchiveRun(ctx, "r-1", nil, there)
	refused("archive a run that goes on", err, ErrTransition)
	_, err = s.RemoveRun(ctx, "r-1", "")
	refused("remove a run that goes on", err, ErrTransition)
	_, err = s.RemoveRun(ctx, "r-9", "")
	refused("remove no run", err, ErrUnknownRun)
	_, err = s.ArchiveRun(ctx, "r-2", there.SHA256, there)
	refused("archive with another seal", err, ErrInvalid)
	_, err = s.ArchiveRun(ctx, "r-2", sealed.Seal, Archive{URL: "s3://lab", Manifest: "m", SHA256: []byte{1}})
	refused("archive without a hash", err, ErrInvalid)
	must[Run](t)(s.RemoveRun(ctx, "r-2", strings.Repeat("x", 2*maxReasonBytes)))
	_, err = s.ArchiveRun(ctx, "r-2", sealed.Seal, there)
	refused("archive what was removed", err, ErrRemoved)
}

// TestNewRunsTakeThePlaceOfRemovedOnes fills the state with runs. The oldest that was
// removed makes place, and none that was not.
func TestNewRunsTakeThePlaceOfRemovedOnes(t *testing.T) {
	m := machineIn(t, t.TempDir())
	index := uint64(0)
	do := func(e *logv1.Entry) result {
		index++
		e.Version, e.IssuedAtNs = entryVersion, int64(index)
		return m.Apply(logOf(t, index, e)).(result)
	}
	create := func(n int) result {
		id := fmt.Sprintf("r-%d", n)
		return do(&logv1.Entry{RequestId: "make " + id, Command: &logv1.Entry_CreateRun{CreateRun: &logv1.CreateRun{Run: runToLog(Run{ID: id})}}})
	}
	for n := range MaxRuns {
		if res := create(n); res.err != nil {
			t.Fatal(res.err)
		}
	}
	if res := create(MaxRuns); !errors.Is(res.err, ErrTooMany) || !strings.Contains(res.err.Error(), "syncline delete run") {
		t.Fatalf("one run more: %v", res.err)
	}
	for _, id := range []string{"r-7", "r-5"} {
		do(&logv1.Entry{Command: &logv1.Entry_SealRun{SealRun: sealingToLog(id, Sealing{Epoch: 1, State: Failed})}})
		if res := do(&logv1.Entry{Command: &logv1.Entry_RemoveRun{RemoveRun: &logv1.RemoveRun{RunId: id}}}); res.err != nil {
			t.Fatal(res.err)
		}
	}
	for n := range 2 {
		if res := create(MaxRuns + n); res.err != nil {
			t.Fatal(res.err)
		}
		if gone := []string{"r-5", "r-7"}[n]; m.runs[gone] != nil || m.requests["make "+gone] != "" || slices.Contains(m.order, gone) || len(m.order) != MaxRuns {
			t.Errorf("run %s did not make place", gone)
		}
	}
	if res := create(MaxRuns + 2); !errors.Is(res.err, ErrTooMany) {
		t.Errorf("one run more: %v", res.err)
	}
}

// TestSweepTouchesNothingUnknown leaves a directory of a run of which the log knows nothing.
func TestSweepTouchesNothingUnknown(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if err := os.MkdirAll(filepath.Join(dir, runsDir, "r-77"), 0o700); err != nil {
		t.Fatal(err)
	}
	if freed, err := s.Sweep(); err != nil || freed != 0 || !filesOf(t, dir, "r-77") {
		t.Errorf("a sweep freed %d bytes: %v", freed, err)
	}
}

// TestEveryNodeLetsGo archives a run while one of three nodes lacks half of its chunks and
// cannot write them. All nodes come to the same state and free their disks, the one that
// lacked some asks for them no more, and nobody takes another for one whose state differs.
func TestEveryNodeLetsGo(t *testing.T) {
	c, run := withRun(t, 2, 10)
	c.disks[2].on("write", "vm1-1.chunks", syscall.ENOSPC)
	c.join(2)
	c.until("the third node lacks vm1's chunks", func() bool { return c.nodes[2].Inventory().LackingChunks == 10 })
	ctx := t.Context()
	lead := c.nodes[c.leader()]
	sealed := must[Run](t)(lead.Seal(ctx, run.ID, Sealing{Epoch: run.Epoch, State: Failed}))
	must[Run](t)(lead.ArchiveRun(ctx, run.ID, sealed.Seal, there))
	for i, s := range c.nodes[:3] {
		c.until(fmt.Sprintf("node %d knows that the run left, and lacks nothing", i+1), func() bool {
			r, _ := s.Run(run.ID)
			return !r.Here() && s.Inventory().Complete()
		})
		// Raft takes no snapshot while the last entry is one of membership.
		c.until(fmt.Sprintf("node %d has freed its disk", i+1), func() bool {
			must[bool](t)(true, c.nodes[c.leader()].PutAgent(ctx, Agent{Name: "vm1"}))
			_, err := s.Sweep()
			return err == nil && !filesOf(t, c.dirs[i], run.ID)
		})
		noChunks(t, s, run.ID, ErrArchived)
	}
	c.voters(3)
	index := must[uint64](t)(c.nodes[c.leader()].ReadIndex(ctx))
	var hashes [3]stateHash
	for i, s := range c.nodes[:3] {
		c.until(fmt.Sprintf("node %d has applied entry %d", i+1, index), func() bool { return s.fsm.appliedIndex() >= index })
		s.fsm.mu.Lock()
		hashes[i] = s.fsm.hash()
		s.fsm.mu.Unlock()
	}
	if hashes[0] != hashes[1] || hashes[0] != hashes[2] {
		t.Errorf("the states are %x", hashes)
	}
}
