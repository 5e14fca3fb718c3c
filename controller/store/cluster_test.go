package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
)

// cluster is nodes on loopback TCP, each in a directory of its own.
type cluster struct {
	t     testing.TB
	dirs  []string
	peers []Peer
	nodes []*Store
}

const clusterElection = 300 * time.Millisecond

func newCluster(t testing.TB, n int) *cluster {
	t.Helper()
	c := &cluster{t: t, nodes: make([]*Store, n)}
	transports := make([]raft.Transport, n)
	for i := range n {
		transports[i] = c.transport("127.0.0.1:0")
		c.dirs = append(c.dirs, t.TempDir())
		c.peers = append(c.peers, Peer{ID: fmt.Sprint("n", i+1), Address: string(transports[i].LocalAddr())})
	}
	for i := range n {
		c.start(i, transports[i])
	}
	return c
}

func (c *cluster) transport(address string) raft.Transport {
	c.t.Helper()
	tr, err := raft.NewTCPTransportWithConfig(address, nil, &raft.NetworkTransportConfig{
		MaxPool: 3, Timeout: 10 * time.Second, MaxRPCsInFlight: 1, MsgpackUseNewTimeFormat: true, Logger: newLogger(testLog(c.t)),
	})
	return must[raft.Transport](c.t)(tr, err)
}

func (c *cluster) start(i int, tr raft.Transport) {
	c.t.Helper()
	s := must[*Store](c.t)(Open(Config{Dir: c.dirs[i], ID: c.peers[i].ID, Transport: tr, Peers: c.peers, Election: clusterElection}))
	c.t.Cleanup(func() { s.Close() })
	c.nodes[i] = s
}

// leader waits until one of the nodes leads.
func (c *cluster) leader() int {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	found := make(chan int, len(c.nodes))
	var wg sync.WaitGroup
	for i, s := range c.nodes {
		if s != nil {
			wg.Go(func() {
				if s.WaitLeader(ctx) == nil {
					found <- i
					cancel()
				}
			})
		}
	}
	wg.Wait()
	select {
	case i := <-found:
		return i
	default:
		c.t.Fatal("no leader after 20 s")
		return 0
	}
}

// settle waits until a node has n chunks of a run.
func (c *cluster) settle(i int, run string, n uint64) {
	c.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		changed := c.nodes[i].Changed()
		r, _ := c.nodes[i].Run(run)
		if r.Chunks == n {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			c.t.Fatalf("node %d has %d of %d chunks after 20 s", i+1, r.Chunks, n)
		}
	}
}

func TestThreeNodes(t *testing.T) {
	c := newCluster(t, 3)
	first := c.leader()
	run := createRun(t, c.nodes[first])
	for seq := uint64(1); seq <= 20; seq++ {
		appendChunk(t, c.nodes[first], chunk(run.ID, "vm1", seq))
	}

	other := (first + 1) % 3
	if err := c.nodes[other].PutAgent(t.Context(), Agent{Name: "vm1"}); !errors.Is(err, ErrNotLeader) || !strings.Contains(err.Error(), c.peers[first].ID) {
		t.Errorf("a follower answered %v, want ErrNotLeader and the leader's id", err)
	}

	if err := c.nodes[first].Close(); err != nil {
		t.Fatal(err)
	}
	c.nodes[first] = nil
	second := c.leader()
	// The new leader knows what the old one acknowledged, and the client's retry.
	if !appendChunk(t, c.nodes[second], chunk(run.ID, "vm1", 20)) {
		t.Error("the new leader does not know a chunk that was acknowledged")
	}
	for seq := uint64(21); seq <= 40; seq++ {
		appendChunk(t, c.nodes[second], chunk(run.ID, "vm1", seq))
	}
	must[Run](t)(c.nodes[second].Seal(t.Context(), run.ID, Sealing{Epoch: run.Epoch, State: Failed, Reason: "test"}))

	c.start(first, c.transport(c.peers[first].Address))
	var want content
	for i := range c.nodes {
		c.settle(i, run.ID, 40)
		c.settleSeal(i, run.ID)
		got := contentOf(t, c.nodes[i])
		if i == 0 {
			want = got
		}
		if diff := cmp.Diff(want, got, compareContent); diff != "" {
			t.Errorf("nodes 1 and %d differ:\n%s", i+1, diff)
		}
		if diff := cmp.Diff(filesIn(t, c.dirs[0]+"/"+runsDir), filesIn(t, c.dirs[i]+"/"+runsDir)); diff != "" {
			t.Errorf("files of nodes 1 and %d differ:\n%s", i+1, diff)
		}
	}
}

func (c *cluster) settleSeal(i int, run string) {
	c.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		changed := c.nodes[i].Changed()
		if r, _ := c.nodes[i].Run(run); r.Seal != nil {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			c.t.Fatalf("node %d has no seal after 20 s", i+1)
		}
	}
}

// TestWithoutMajority stops two of three nodes: the third must not acknowledge.
func TestWithoutMajority(t *testing.T) {
	c := newCluster(t, 3)
	last := c.leader()
	run := createRun(t, c.nodes[last])
	for i, s := range c.nodes {
		if i != last {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := c.nodes[last].AppendChunk(ctx, chunk(run.ID, "vm1", 1))
	if !errors.Is(err, ErrUnknownOutcome) && !errors.Is(err, ErrNotLeader) {
		t.Errorf("alone, it answered %v, want ErrUnknownOutcome", err)
	}
	if got, _ := c.nodes[last].Run(run.ID); got.Chunks != 0 {
		t.Error("a chunk without a majority was applied")
	}
}
