package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
)

// otherStores is a Source of stores in this process.
type otherStores struct {
	mu     sync.Mutex
	stores map[string]*Store
	// change is what happens to chunks on their way.
	change func(node string, c *Chunk) error
}

func (o *otherStores) Fetch(ctx context.Context, node string, want Wanted, yield func(Chunk) error) error {
	o.mu.Lock()
	s, change := o.stores[node], o.change
	o.mu.Unlock()
	if s == nil {
		return errors.New("it does not answer")
	}
	return s.Serve(ctx, want, func(c Chunk) error {
		c.Data = bytes.Clone(c.Data)
		if change != nil {
			if err := change(node, &c); err != nil {
				return err
			}
		}
		return yield(c)
	})
}

// trio is three nodes whose log keeps next to nothing behind a snapshot, so that a node
// that was away is sent the snapshot. The nodes are named n1, n2, n3.
type trio struct {
	t     testing.TB
	peers []Peer
	dirs  map[string]string
	disks map[string]*badDisk
	all   otherStores
	first map[string]raft.Transport
}

func newTrio(t testing.TB) *trio {
	c := &trio{t: t, dirs: map[string]string{}, disks: map[string]*badDisk{}, first: map[string]raft.Transport{}}
	c.all.stores = map[string]*Store{}
	for _, id := range []string{"n1", "n2", "n3"} {
		tr := c.transport("127.0.0.1:0")
		c.peers = append(c.peers, Peer{ID: id, Address: string(tr.LocalAddr())})
		c.dirs[id], c.disks[id], c.first[id] = t.TempDir(), &badDisk{}, tr
	}
	t.Cleanup(func() {
		for _, tr := range c.first {
			tr.(io.Closer).Close()
		}
	})
	return c
}

func (c *trio) transport(address string) raft.Transport {
	c.t.Helper()
	tr, err := raft.NewTCPTransportWithConfig(address, nil, &raft.NetworkTransportConfig{
		MaxPool: 3, Timeout: 10 * time.Second, MaxRPCsInFlight: 1, MsgpackUseNewTimeFormat: true, Logger: newLogger(testLog(c.t)),
	})
	return must[raft.Transport](c.t)(tr, err)
}

// start opens a node, on its first transport or on a new one at the same address.
func (c *trio) start(id string) *Store {
	c.t.Helper()
	tr := c.first[id]
	delete(c.first, id)
	for _, p := range c.peers {
		if p.ID == id && tr == nil {
			tr = c.transport(p.Address)
		}
	}
	s := must[*Store](c.t)(Open(Config{
		Dir: c.dirs[id], ID: id, Transport: tr, Peers: c.peers, Election: clusterElection, SnapshotEvery: 1, Source: &c.all,
		ScrubRate: -1, Log: testLog(c.t).With("node", id), disk: c.disks[id],
	}))
	c.t.Cleanup(func() { s.Close() })
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	c.all.stores[id] = s
	return s
}

func (c *trio) stop(id string) {
	c.t.Helper()
	c.all.mu.Lock()
	s := c.all.stores[id]
	delete(c.all.stores, id)
	c.all.mu.Unlock()
	if err := s.Close(); err != nil {
		c.t.Fatal(err)
	}
}

func (c *trio) store(id string) *Store {
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	return c.all.stores[id]
}

// leader waits until one of the nodes that run leads.
func (c *trio) leader() *Store {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	c.all.mu.Lock()
	found := make(chan *Store, len(c.all.stores))
	var wg sync.WaitGroup
	for _, s := range c.all.stores {
		wg.Go(func() {
			if s.WaitLeader(ctx) == nil {
				found <- s
				cancel()
			}
		})
	}
	c.all.mu.Unlock()
	wg.Wait()
	if len(found) == 0 {
		c.t.Fatal("no leader after 20 s")
	}
	return <-found
}

// complete waits until a node has applied n chunks of a run and has all of their bytes.
func (c *trio) complete(id, run string, n uint64) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	s := c.store(id)
	for {
		changed := s.Changed()
		if r, _ := s.Run(run); r.Chunks == n {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			r, _ := s.Run(run)
			c.t.Fatalf("node %s has %d of %d chunks after 20 s", id, r.Chunks, n)
		}
	}
	if err := s.WaitComplete(ctx); err != nil {
		c.t.Fatalf("node %s: %v; %+v", id, err, s.Lacking(3))
	}
}

// withRun is a trio of which n1 and n2 run and have chunks, and a log that does not.
func withRun(t testing.TB, agents, chunks int) (*trio, Run) {
	t.Helper()
	c := newTrio(t)
	c.start("n1")
	c.start("n2")
	lead := c.leader()
	run := createRun(t, lead)
	for seq := 1; seq <= chunks; seq++ {
		for a := range agents {
			appendChunk(t, lead, chunk(run.ID, fmt.Sprint("vm", a+1), uint64(seq)))
		}
	}
	for _, id := range []string{"n1", "n2"} {
		c.complete(id, run.ID, uint64(agents*chunks))
		if err := c.store(id).Snapshot(); err != nil {
			t.Fatal(err)
		}
	}
	return c, run
}

func (c *trio) same(ids ...string) {
	c.t.Helper()
	want, files := contentOf(c.t, c.store("n1")), filesIn(c.t, c.dirs["n1"]+"/"+runsDir)
	for _, id := range ids {
		if diff := cmp.Diff(want, contentOf(c.t, c.store(id)), compareContent); diff != "" {
			c.t.Errorf("n1 and %s differ:\n%s", id, diff)
		}
		if diff := cmp.Diff(files, filesIn(c.t, c.dirs[id]+"/"+runsDir)); diff != "" {
			c.t.Errorf("files of n1 and %s differ:\n%s", id, diff)
		}
	}
}

// TestBlankNodeIsFilled: n3 begins with nothing, is sent a snapshot, and fetches the
// files; and knows after a restart that it has them, and after the loss of its inventory
// finds out.
func TestBlankNodeIsFilled(t *testing.T) {
	c, run := withRun(t, 3, 20)
	c.start("n3")
	c.complete("n3", run.ID, 60)
	c.same("n2", "n3")
	if i := c.store("n3").Inventory(); i.Fetched == 0 || i.Damaged != 0 || i.Chunks != 60 {
		t.Errorf("%+v, want 60 chunks, some of them fetched, none damaged", i)
	}
	for _, without := range []bool{false, true} {
		c.stop("n3")
		if without {
			if err := os.Remove(c.dirs["n3"] + "/" + runsDir + "/" + inventoryName); err != nil {
				t.Fatal(err)
			}
		}
		c.start("n3")
		c.complete("n3", run.ID, 60)
		if i := c.store("n3").Inventory(); i.Fetched != 0 {
			t.Errorf("inventory gone %v: it fetched %d chunks that it had", without, i.Fetched)
		}
	}
	for seq := uint64(21); seq <= 25; seq++ {
		appendChunk(t, c.leader(), chunk(run.ID, "vm1", seq))
	}
	c.complete("n3", run.ID, 65)
	c.complete("n2", run.ID, 65)
	c.complete("n1", run.ID, 65)
	c.same("n2", "n3")
}

// TestReadsBeforeTheFilesAreThere: n3 has the index, and nobody gives it the files: a read
// says so. Then n2 does: a read is answered with its bytes, while the disk of n3 takes
// none, and n3 does not count them as there.
func TestReadsBeforeTheFilesAreThere(t *testing.T) {
	c, run := withRun(t, 2, 10)
	var mu sync.Mutex
	closed := true
	c.all.change = func(node string, _ *Chunk) error {
		mu.Lock()
		defer mu.Unlock()
		if closed {
			return errors.New("not now")
		}
		return nil
	}
	c.disks["n3"].on("write", ".chunks", syscall.ENOSPC)
	s := c.start("n3")
	for {
		changed := s.Changed()
		if r, _ := s.Run(run.ID); r.Chunks == 20 {
			break
		}
		<-changed
	}
	err := s.Chunks(run.ID, func(Chunk) error { return nil })
	if !errors.Is(err, ErrAbsent) || errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "not now") {
		t.Errorf("%v, want ErrAbsent and what the nodes said", err)
	}
	mu.Lock()
	closed = false
	mu.Unlock()
	var got []Chunk
	if err := s.Chunks(run.ID, func(c Chunk) error { got = append(got, c); return nil }); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(chunksOf(t, c.store("n1"), run.ID), got, compareContent); diff != "" {
		t.Errorf("n3 gives other chunks:\n%s", diff)
	}
	if i := s.Inventory(); i.LackingChunks != 20 || i.Complete() {
		t.Errorf("%+v: want all 20 chunks lacking", i)
	}
	if err := s.Err(); err != nil {
		t.Errorf("the node stopped for a disk that could not take what it fetches: %v", err)
	}
	c.disks["n3"].set(nil)
	s.fsm.wakeFiller()
	c.complete("n3", run.ID, 20)
	c.same("n3")
}

// TestLyingNode: a node that sends other bytes than were committed is not believed, and
// the next one is asked.
func TestLyingNode(t *testing.T) {
	c, run := withRun(t, 1, 10)
	lead := c.leader().ID()
	c.all.change = func(node string, ch *Chunk) error {
		if node == lead && ch.Sequence > 2 {
			ch.Data[0] ^= 1
			ch.CRC32C = Checksum(ch.Data)
		}
		return nil
	}
	c.start("n3")
	c.complete("n3", run.ID, 10)
	c.same("n3")
}

// TestSnapshotsKeepWhatIsLacking: a node that lacks files takes snapshots and is started
// again, and still knows what it lacks.
func TestSnapshotsKeepWhatIsLacking(t *testing.T) {
	c, run := withRun(t, 2, 10)
	c.disks["n3"].on("write", "vm1-1.chunks", syscall.ENOSPC)
	c.start("n3")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		s := c.store("n3")
		changed := s.Changed()
		if i := s.Inventory(); i.Chunks == 20 && i.LackingChunks == 10 {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("%+v: want vm1's 10 chunks lacking and vm2's not", s.Inventory())
		}
	}
	for range 2 {
		if err := c.store("n3").Snapshot(); err != nil {
			t.Fatal(err)
		}
		c.stop("n3")
		c.start("n3")
		if i := c.store("n3").Inventory(); i.LackingChunks != 10 || i.Damaged != 0 {
			t.Errorf("%+v: want 10 chunks lacking after a restart, none damaged", i)
		}
	}
	if got := c.store("n3").Lacking(100); len(got) != 10 || got[0].Agent != "vm1" || !strings.HasSuffix(got[0].File, "vm1-1.chunks") {
		t.Errorf("lacking: %+v", got)
	}
	c.disks["n3"].set(nil)
	c.store("n3").fsm.wakeFiller()
	c.complete("n3", run.ID, 20)
	c.same("n3")
}

// TestNodeThatWasAway has chunks from before, which are not fetched again.
func TestNodeThatWasAway(t *testing.T) {
	c, run := withRun(t, 1, 10)
	c.start("n3")
	c.complete("n3", run.ID, 10)
	c.stop("n3")
	lead := c.leader()
	for seq := uint64(11); seq <= 30; seq++ {
		appendChunk(t, lead, chunk(run.ID, "vm1", seq))
	}
	for _, id := range []string{"n1", "n2"} {
		c.complete(id, run.ID, 30)
		if err := c.store(id).Snapshot(); err != nil {
			t.Fatal(err)
		}
	}
	c.start("n3")
	c.complete("n3", run.ID, 30)
	c.same("n2", "n3")
	if i := c.store("n3").Inventory(); i.Fetched == 0 || i.Fetched > 20 {
		t.Errorf("%+v: want at most the 20 new chunks fetched", i)
	}
}
