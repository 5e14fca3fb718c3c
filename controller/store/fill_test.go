package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// trio is nodes on disks that may fail, whose log keeps next to nothing behind a snapshot,
// so that a node that was away is sent the snapshot. Their numbers are 0 to 2.
type trio struct {
	*cluster
	disks [3]*badDisk

	changing sync.Mutex
	// change is what happens to chunks on their way from a node to another.
	change func(from int, c *Chunk) error
}

// source gets chunks from the nodes of the same process.
type source struct {
	*trio
	to int
}

func (s source) Fetch(ctx context.Context, from Peer, want Wanted, yield func(Chunk) error) error {
	of, err := others{s.cluster, s.to}.at(from)
	if err != nil {
		return err
	}
	s.changing.Lock()
	change := s.change
	s.changing.Unlock()
	return of.Serve(ctx, want, func(c Chunk) error {
		c.Data = bytes.Clone(c.Data)
		if change != nil {
			if err := change(s.number(from.Address), &c); err != nil {
				return err
			}
		}
		return yield(c)
	})
}

func (c *trio) changes(change func(from int, c *Chunk) error) {
	c.changing.Lock()
	defer c.changing.Unlock()
	c.change = change
}

// newTrio is two nodes that run, and the place for a third.
func newTrio(t testing.TB) *trio {
	c := &trio{disks: [3]*badDisk{{}, {}, {}}}
	c.cluster = newTunedCluster(t, 2, func(i int, cfg *Config) {
		cfg.SnapshotEvery, cfg.ScrubRate, cfg.files, cfg.Source = 1, -1, c.disks[i], source{c, i}
	})
	c.add()
	return c
}

// complete waits until a node has applied n chunks of a run and has all of their bytes.
func (c *trio) complete(i int, run string, n uint64) {
	c.t.Helper()
	c.until(fmt.Sprintf("node %d has all of %d chunks", i+1, n), func() bool {
		r, _ := c.nodes[i].Run(run)
		return r.Chunks == n && c.nodes[i].Inventory().Complete()
	})
}

// withRun is a trio whose first two nodes have chunks, and a log that does not.
func withRun(t testing.TB, agents, chunks int) (*trio, Run) {
	t.Helper()
	c := newTrio(t)
	lead := c.nodes[c.leader()]
	run := createRun(t, lead)
	for seq := 1; seq <= chunks; seq++ {
		for a := range agents {
			appendChunk(t, lead, chunk(run.ID, fmt.Sprint("vm", a+1), uint64(seq)))
		}
	}
	for i := range 2 {
		c.complete(i, run.ID, uint64(agents*chunks))
		if err := c.nodes[i].Snapshot(); err != nil {
			t.Fatal(err)
		}
	}
	return c, run
}

// same compares nodes with the first.
func (c *trio) same(nodes ...int) {
	c.t.Helper()
	for _, i := range nodes {
		c.until(fmt.Sprintf("node %d has applied what node 1 has", i+1), func() bool {
			return c.nodes[i].fsm.appliedIndex() >= c.nodes[0].fsm.appliedIndex()
		})
	}
	want, files := contentOf(c.t, c.nodes[0]), filesIn(c.t, c.dirs[0]+"/"+runsDir)
	for _, i := range nodes {
		if diff := cmp.Diff(want, contentOf(c.t, c.nodes[i]), compareContent); diff != "" {
			c.t.Errorf("nodes 1 and %d differ:\n%s", i+1, diff)
		}
		if diff := cmp.Diff(files, filesIn(c.t, c.dirs[i]+"/"+runsDir)); diff != "" {
			c.t.Errorf("files of nodes 1 and %d differ:\n%s", i+1, diff)
		}
	}
}

// TestBlankNodeIsFilled: a third node begins with nothing, is sent a snapshot, and fetches the
// files; and knows after a restart that it has them, and after the loss of its inventory
// finds out.
func TestBlankNodeIsFilled(t *testing.T) {
	c, run := withRun(t, 3, 20)
	c.join(2)
	c.complete(2, run.ID, 60)
	c.voters(3)
	c.same(1, 2)
	if i := c.nodes[2].Inventory(); i.Fetched == 0 || i.Damaged != 0 || i.Chunks != 60 {
		t.Errorf("%+v, want 60 chunks, some of them fetched, none damaged", i)
	}
	for _, without := range []bool{false, true} {
		c.stop(2)
		if without {
			if err := os.Remove(filepath.Join(c.dirs[2], runsDir, inventoryName)); err != nil {
				t.Fatal(err)
			}
		}
		c.start(2)
		c.complete(2, run.ID, 60)
		if i := c.nodes[2].Inventory(); i.Fetched != 0 {
			t.Errorf("inventory gone %v: it fetched %d chunks that it had", without, i.Fetched)
		}
	}
	lead := c.nodes[c.leader()]
	for seq := uint64(21); seq <= 25; seq++ {
		appendChunk(t, lead, chunk(run.ID, "vm1", seq))
	}
	for i := range 3 {
		c.complete(i, run.ID, 65)
	}
	c.same(1, 2)
}

// TestReadsBeforeTheFilesAreThere: a node has the index, and nobody gives it the files: a
// read says so, and the node has no vote. Then the others do: a read is answered with
// their bytes, while its disk takes none, and they do not count as there.
func TestReadsBeforeTheFilesAreThere(t *testing.T) {
	c, run := withRun(t, 2, 10)
	c.changes(func(int, *Chunk) error { return errors.New("not now") })
	c.disks[2].on("write", ".chunks", syscall.ENOSPC)
	c.join(2)
	s := c.nodes[2]
	c.until("the third node has the index", func() bool { r, _ := s.Run(run.ID); return r.Chunks == 20 })
	err := s.Chunks(run.ID, func(Chunk) error { return nil })
	if !errors.Is(err, ErrAbsent) || errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "not now") {
		t.Errorf("%v, want ErrAbsent and what the nodes said", err)
	}
	c.changes(nil)
	var got []Chunk
	if err := s.Chunks(run.ID, func(c Chunk) error { got = append(got, c); return nil }); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(chunksOf(t, c.nodes[0], run.ID), got, compareContent); diff != "" {
		t.Errorf("it gives other chunks:\n%s", diff)
	}
	if i := s.Inventory(); i.LackingChunks != 20 || i.Complete() || s.Report().Complete {
		t.Errorf("%+v: want all 20 chunks lacking", i)
	}
	if servers, _ := s.servers(); len(voters(servers)) != 2 {
		t.Errorf("%v: a node without the files votes", servers)
	}
	if err := s.Err(); err != nil {
		t.Errorf("the node stopped for a disk that could not take what it fetches: %v", err)
	}
	c.disks[2].set(nil)
	s.fsm.wakeFiller()
	c.complete(2, run.ID, 20)
	c.voters(3)
	c.same(2)
}

// TestLyingNode: a node that sends other bytes than were committed is not believed, and
// the next one is asked.
func TestLyingNode(t *testing.T) {
	c, run := withRun(t, 1, 10)
	lead := c.leader()
	c.changes(func(from int, ch *Chunk) error {
		if from == lead && ch.Sequence > 2 {
			ch.Data[0] ^= 1
			ch.CRC32C = Checksum(ch.Data)
		}
		return nil
	})
	c.join(2)
	c.complete(2, run.ID, 10)
	c.same(2)
}

// TestSnapshotsKeepWhatIsLacking: a node that lacks files takes snapshots and is started
// again, and still knows what it lacks.
func TestSnapshotsKeepWhatIsLacking(t *testing.T) {
	c, run := withRun(t, 2, 10)
	c.disks[2].on("write", "vm1-1.chunks", syscall.ENOSPC)
	c.join(2)
	c.until("the third node lacks vm1's 10 chunks, and has vm2's", func() bool {
		i := c.nodes[2].Inventory()
		return i.Chunks == 20 && i.LackingChunks == 10
	})
	for range 2 {
		// Raft takes no snapshot while the last entry is one of membership.
		must[bool](t)(true, c.nodes[c.leader()].PutAgent(t.Context(), Agent{Name: "vm1"}))
		c.until("the third node takes a snapshot", func() bool { return c.nodes[2].Snapshot() == nil })
		c.stop(2)
		c.start(2)
		if i := c.nodes[2].Inventory(); i.LackingChunks != 10 || i.Damaged != 0 {
			t.Errorf("%+v: want 10 chunks lacking after a restart, none damaged", i)
		}
	}
	if got := c.nodes[2].Lacking(100); len(got) != 10 || got[0].Agent != "vm1" || !strings.HasSuffix(got[0].File, "vm1-1.chunks") {
		t.Errorf("lacking: %+v", got)
	}
	c.disks[2].set(nil)
	c.nodes[2].fsm.wakeFiller()
	c.complete(2, run.ID, 20)
	c.same(2)
}

// TestNodeThatWasAway has chunks from before, which are not fetched again.
func TestNodeThatWasAway(t *testing.T) {
	c, run := withRun(t, 1, 10)
	c.join(2)
	c.complete(2, run.ID, 10)
	c.voters(3)
	c.stop(2)
	lead := c.nodes[c.leader()]
	for seq := uint64(11); seq <= 30; seq++ {
		appendChunk(t, lead, chunk(run.ID, "vm1", seq))
	}
	for i := range 2 {
		c.complete(i, run.ID, 30)
		if err := c.nodes[i].Snapshot(); err != nil {
			t.Fatal(err)
		}
	}
	c.start(2)
	c.complete(2, run.ID, 30)
	c.same(1, 2)
	if i := c.nodes[2].Inventory(); i.Fetched == 0 || i.Fetched > 20 {
		t.Errorf("%+v: want at most the 20 new chunks fetched", i)
	}
}
