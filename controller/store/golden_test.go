package store

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var writeGolden = flag.Bool("store.golden", false, "write testdata/v1 again; v0 is never written again, and v1 not once it was released")

// Data directories as versions of this program left them: with runs, one of them sealed, a
// snapshot of part of it, and a log with the rest.
//
//	v0  before there were clusters: no inventory, no checksum of log entries, no
//	    disk.uuid and no cluster; the snapshot is raft.FileSnapshotStore's
//	v1  with all of them
var goldens = []string{"v0", "v1"}

// describe is what a store has, for people.
func describe(t testing.TB, s *Store) string {
	t.Helper()
	var b strings.Builder
	for _, a := range s.Agents() {
		fmt.Fprintf(&b, "agent %s labels %v addresses %v incarnation %d\n", a.Name, a.Labels, a.Addresses, a.Incarnation)
	}
	for _, run := range s.Runs() {
		fmt.Fprintf(&b, "run %s of %s, %s %q, epoch %d, %d chunks, %d events, seal %.8x\n", run.ID, run.Experiment, run.State, run.Reason, run.Epoch, run.Chunks, run.Events, run.Seal)
		for _, c := range chunksOf(t, s, run.ID) {
			fmt.Fprintf(&b, "  %s, incarnation %d: chunk %d, events from %d, %d bytes, CRC-32C %08x\n", c.Agent, c.Incarnation, c.Sequence, c.FirstEvent, len(c.Data), c.CRC32C)
		}
	}
	return b.String()
}

// goldenFill makes what is in the directories.
func goldenFill(t testing.TB, s *Store) {
	t.Helper()
	small := func(run, agent string, seq uint64) Chunk {
		c := chunk(run, agent, seq)
		c.Data = c.Data[:40+10*seq]
		c.CRC32C = Checksum(c.Data)
		return c
	}
	if err := s.PutAgent(t.Context(), Agent{Name: "vm1", Labels: map[string]string{"os": "linux"}, Addresses: []string{"10.0.0.1"}, Incarnation: 3}); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"r-1", "r-2"} {
		must[Run](t)(s.CreateRun(t.Context(), "request "+id, Run{ID: id, Experiment: "handshake", Source: []byte("name: handshake\n"), Repetitions: 2, Hosts: []RunHost{{Name: "A", Agent: "vm1"}}}))
	}
	for seq := uint64(1); seq <= 2; seq++ {
		appendChunk(t, s, small("r-1", "vm1", seq))
		appendChunk(t, s, small("r-2", "VM 2", seq))
	}
	must[Run](t)(s.Seal(t.Context(), "r-2", Sealing{Epoch: 1, State: Cancelled, Reason: "an operator asked"}))
	if err := s.Snapshot(); err != nil {
		t.Fatal(err)
	}
	for seq := uint64(3); seq <= 4; seq++ {
		appendChunk(t, s, small("r-1", "vm1", seq))
	}
}

// TestGoldenDirectories opens directories of all formats there ever were, and goes on in
// them.
func TestGoldenDirectories(t *testing.T) {
	if *writeGolden {
		rewriteGolden(t, "v1")
	}
	want := string(must[[]byte](t)(os.ReadFile(filepath.Join("testdata", "content.golden"))))
	for _, version := range goldens {
		t.Run(version, func(t *testing.T) {
			dir := copyOf(t, filepath.Join("testdata", version))
			s := open(t, dir)
			if diff := cmp.Diff(want, describe(t, s)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if err := s.WaitComplete(t.Context()); err != nil {
				t.Error(err)
			}
			if i := s.Inventory(); i.Damaged != 0 || i.Fetched != 0 {
				t.Errorf("%+v: want none damaged", i)
			}
			if s.ID() != "node-1" {
				t.Errorf("it is node %s", s.ID())
			}
			appendChunk(t, s, chunk("r-1", "vm1", 5))
			if err := s.Snapshot(); err != nil {
				t.Error(err)
			}
			s = reopen(t, s, dir)
			if got := len(chunksOf(t, s, "r-1")); got != 5 {
				t.Errorf("%d chunks of r-1 after another one and a restart, want 5", got)
			}
		})
	}
}

func rewriteGolden(t *testing.T, version string) {
	dir := filepath.Join("testdata", version)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	s := must[*Store](t)(Open(Config{Dir: dir, ID: "node-1", Cluster: "lab", SnapshotEvery: 1, ScrubRate: -1}))
	wait(t, s)
	goldenFill(t, s)
	text := describe(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	remove(t, filepath.Join(dir, "lock"))
	if err := os.WriteFile(filepath.Join("testdata", "content.golden"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestGoldenFormats holds the formats of the files in v1 to the bytes that they have: a
// program that writes others must raise a version.
func TestGoldenFormats(t *testing.T) {
	dir := filepath.Join("testdata", "v1")
	st := newStream("r-1", streamKey{"vm1", 1})
	want := string(st.header())
	for seq := uint64(1); seq <= 4; seq++ {
		c := chunk("r-1", "vm1", seq)
		c.Data = c.Data[:40+10*seq]
		c.CRC32C = Checksum(c.Data)
		want += string(frame(&c))
	}
	if got := string(must[[]byte](t)(os.ReadFile(filepath.Join(dir, runsDir, "r-1", "vm1-1.chunks")))); got != want {
		t.Errorf("the chunk file has %q, this program writes %q", got, want)
	}
	b := must[[]byte](t)(os.ReadFile(filepath.Join(dir, runsDir, inventoryName)))
	if got := string(must[stock](t)(parseInventory(b)).format()); got != string(b) {
		t.Errorf("the inventory is %q, this program writes %q", b, got)
	}
	b = must[[]byte](t)(os.ReadFile(damagedFile(t, dir, "snapshots/*/meta.json")))
	if got := string(must[[]byte](t)(must[*storedMeta](t)(parseMeta(b)).format())); got != string(b) {
		t.Errorf("meta.json is %s, this program writes %s", b, got)
	}
}
