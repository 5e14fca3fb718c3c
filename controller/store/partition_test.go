package store

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
)

var faults = flag.Bool("store.faults", false, "run the tests that kill nodes and cut wires for a minute or two")

func onlyWithFaults(t *testing.T) {
	if !*faults {
		t.Skip("it takes long; run it with -store.faults")
	}
}

// load appends from a few streams at once to whichever node leads, and remembers what was
// acknowledged.
type load struct {
	c     *cluster
	run   string
	stop  context.CancelFunc
	done  sync.WaitGroup
	mu    sync.Mutex
	acked map[string]uint64
	// change is closed when something was acknowledged.
	change chan struct{}
}

const loadStreams = 4

func (c *cluster) load(run string) *load {
	ctx, stop := context.WithCancel(c.t.Context())
	l := &load{c: c, run: run, stop: stop, acked: map[string]uint64{}, change: make(chan struct{})}
	for i := range loadStreams {
		agent := fmt.Sprint("vm", i+1)
		l.done.Go(func() {
			for n := uint64(1); ctx.Err() == nil; n++ {
				ch := chunk(run, agent, n)
				if err := c.onLeader(ctx, func(s *Store) error { return appendWithin(ctx, s, ch) }); err != nil {
					if ctx.Err() == nil {
						c.t.Errorf("append chunk %d of %s: %v", n, agent, err)
					}
					return
				}
				l.mu.Lock()
				l.acked[agent] = n
				close(l.change)
				l.change = make(chan struct{})
				l.mu.Unlock()
			}
		})
	}
	c.t.Cleanup(func() { stop(); l.done.Wait() })
	return l
}

// appendWithin gives a leader that cannot commit a second, and says that the outcome is not known
// then.
func appendWithin(ctx context.Context, s *Store, ch Chunk) error {
	within, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err := s.AppendChunk(within, ch)
	if err != nil && within.Err() != nil {
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	return err
}

func (l *load) total() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	var n uint64
	for _, acked := range l.acked {
		n += acked
	}
	return n
}

// more waits until n more chunks are acknowledged.
func (l *load) more(n uint64) {
	l.c.t.Helper()
	want := l.total() + n
	l.c.until(fmt.Sprint(n, " more chunks are acknowledged"), func() bool { return l.total() >= want })
}

// check ends the load, and makes sure that every node has every chunk that was acknowledged, and
// that all have the same state.
func (l *load) check() {
	t := l.c.t
	t.Helper()
	l.stop()
	l.done.Wait()
	lead := l.c.leader()
	want := l.c.nodes[lead].fsm.appliedIndex()
	var first stateHash
	for i, s := range l.c.nodes {
		if s == nil {
			continue
		}
		l.c.until(fmt.Sprintf("node %d has applied entry %d", i+1, want), func() bool { return s.fsm.appliedIndex() >= want })
		l.checkNode(i, s)
	}
	l.c.until("all nodes have the same state", func() bool {
		var hashes []stateHash
		var indices []uint64
		for _, s := range l.c.nodes {
			if s == nil {
				continue
			}
			s.fsm.mu.Lock()
			hashes, indices = append(hashes, s.fsm.hash()), append(indices, s.fsm.applied)
			s.fsm.mu.Unlock()
		}
		for i := range hashes {
			if indices[i] != indices[0] {
				return false // one applies still
			}
			if hashes[i] != hashes[0] {
				t.Fatalf("the same %d entries, and other states: %x", indices[0], hashes)
			}
		}
		first = hashes[0]
		return true
	})
	t.Logf("%d chunks acknowledged, state %x on all nodes", l.total(), first[:6])
}

func (l *load) checkNode(i int, s *Store) {
	t := l.c.t
	t.Helper()
	have := map[string]map[uint64]bool{}
	for _, ch := range chunksOf(t, s, l.run) {
		if have[ch.Agent] == nil {
			have[ch.Agent] = map[uint64]bool{}
		}
		if have[ch.Agent][ch.Sequence] {
			t.Errorf("node %d has chunk %d of %s twice", i+1, ch.Sequence, ch.Agent)
		}
		have[ch.Agent][ch.Sequence] = true
		if diff := cmp.Diff(chunk(l.run, ch.Agent, ch.Sequence).CRC32C, ch.CRC32C); diff != "" {
			t.Errorf("node %d, chunk %d of %s: other bytes", i+1, ch.Sequence, ch.Agent)
		}
	}
	for agent, acked := range l.acked {
		for n := uint64(1); n <= acked; n++ {
			if !have[agent][n] {
				t.Errorf("node %d lacks chunk %d of %s, which was acknowledged", i+1, n, agent)
			}
		}
	}
}

func TestIsolatedLeader(t *testing.T) {
	c := newCluster(t, 3)
	old := c.leader()
	run := createRun(t, c.nodes[old])
	l := c.load(run.ID)
	l.more(20)
	c.isolate(old)
	// Its lease has not ended, so it leads as far as it knows; and it cannot know.
	if _, err := c.nodes[old].LeaderReadIndex(limited(t, 2*clusterElection)); err == nil {
		t.Error("a leader that nobody hears says that its reads are up to date")
	}
	c.leader2(old)
	l.more(20)

	within := limited(t, 2*clusterElection)
	if _, err := c.nodes[old].ReadIndex(within); err == nil {
		t.Error("a leader that is cut off says that its reads are up to date")
	}
	if got := c.nodes[old].Staleness(); got.Applied == 0 || got.Contact < 0 {
		t.Errorf("it does not know how far behind it is: %+v", got)
	}
	if err := c.nodes[old].PutAgent(limited(t, 2*clusterElection), Agent{Name: "lost"}); err == nil {
		t.Error("a leader that is cut off acknowledged")
	}
	c.wires.healAll()
	c.until("the old leader follows", func() bool { return c.nodes[old].Leader() != "" && !c.nodes[old].Leading() })
	seen := l.total()
	if _, err := c.nodes[old].ReadIndex(limited(t, patience)); err != nil {
		t.Fatal(err)
	}
	if r, _ := c.nodes[old].Run(run.ID); r.Chunks < seen {
		t.Errorf("%d chunks were acknowledged before a read, which saw %d", seen, r.Chunks)
	}
	l.check()
}

// TestOneWay cuts one direction only: the leader is heard and hears nothing, or the other way round.
func TestOneWay(t *testing.T) {
	onlyWithFaults(t)
	c := newCluster(t, 3)
	lead := c.leader()
	l := c.load(createRun(t, c.nodes[lead]).ID)
	l.more(10)
	for _, inward := range []bool{true, false} {
		lead := c.leader()
		for i := range c.nodes {
			if i != lead && inward {
				c.wires.cut(i, lead)
			} else if i != lead {
				c.wires.cut(lead, i)
			}
		}
		c.leader2(lead)
		l.more(10)
		c.wires.healAll()
		l.more(10)
	}
	l.check()
}

func TestFiveNodesKilledAndStarted(t *testing.T) {
	onlyWithFaults(t)
	c := newCluster(t, 5)
	l := c.load(createRun(t, c.nodes[c.leader()]).ID)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 7))
	for range 3 {
		l.more(20)
		// The leader and one more die at once, and the other three go on.
		first := c.leader()
		second := (first + 1 + r.IntN(4)) % 5
		c.kill(first)
		c.kill(second)
		l.more(20)
		c.start(first)
		c.start(second)
	}
	l.more(20)
	for i := range c.nodes {
		c.kill(i)
	}
	for i := range c.nodes {
		c.start(i)
	}
	l.more(20)
	l.check()
}

func TestJoinWhileWriting(t *testing.T) {
	onlyWithFaults(t)
	c := newTunedCluster(t, 1, func(_ int, cfg *Config) { cfg.SnapshotEvery = 50 })
	l := c.load(createRun(t, c.nodes[0]).ID)
	l.more(200)
	for range 2 {
		c.join(c.add())
		l.more(20)
	}
	c.voters(3)
	l.more(20)
	l.check()
}

// hanging is a log on a disk that stops answering when it is told to.
type hanging struct {
	raft.LogStore
	mu   sync.Mutex
	wait chan struct{}
}

func (h *hanging) StoreLogs(logs []*raft.Log) error {
	h.mu.Lock()
	wait := h.wait
	h.mu.Unlock()
	if wait != nil {
		<-wait
	}
	return h.LogStore.StoreLogs(logs)
}

func (h *hanging) hang() (release func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	wait := make(chan struct{})
	h.wait = wait
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.wait = nil
		close(wait)
	}
}

// TestStalledDisk hangs the disk of the leader: its heartbeats would go on, and nothing be kept.
func TestStalledDisk(t *testing.T) {
	disks := make([]*hanging, 3)
	c := newTunedCluster(t, 3, func(i int, cfg *Config) {
		cfg.Stall = time.Second
		cfg.disk = func(s raft.LogStore) raft.LogStore {
			disks[i] = &hanging{LogStore: s}
			return disks[i]
		}
	})
	lead := c.leader()
	l := c.load(createRun(t, c.nodes[lead]).ID)
	l.more(10)
	began := time.Now()
	release := disks[lead].hang()
	stalled := c.nodes[lead]
	failed(t, stalled)
	if err := stalled.Err(); !strings.Contains(err.Error(), "has not answered for 1s") {
		t.Errorf("the reason is %v", err)
	}
	c.leader2(lead)
	l.more(10)
	t.Logf("writes are taken again %v after the disk hung", time.Since(began))

	// The process would be ended now. Close says that it cannot wait for the disk.
	if err := stalled.end(true); !errors.Is(err, errStuck) {
		t.Errorf("closing a node whose disk hangs: %v, want errStuck", err)
	}
	release()
	stalled.fault.shutting.Error()
	if err := errors.Join(stalled.logs.Close(), stalled.fsm.files.closeAll(), stalled.lock.Close()); err != nil {
		t.Fatal(err)
	}
	c.ports[lead].Close()
	c.set(lead, nil)
	text := string(must[[]byte](t)(os.ReadFile(c.dirs[lead] + "/" + reasonFile)))
	if !strings.HasPrefix(text, reasonMagic+"\n") || !strings.Contains(text, "has not answered") {
		t.Errorf("the file %s holds %q", reasonFile, text)
	}
	c.start(lead)
	if again := string(must[[]byte](t)(os.ReadFile(c.dirs[lead] + "/" + oldReasonFile))); again != text {
		t.Errorf("the next start left %q in %s", again, oldReasonFile)
	}
	l.more(10)
	l.check()
}
