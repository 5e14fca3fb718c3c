package store

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

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

	c.stop(first)
	second := c.leader()
	// The new leader knows what the old one acknowledged, and the client's retry.
	if !appendChunk(t, c.nodes[second], chunk(run.ID, "vm1", 20)) {
		t.Error("the new leader does not know a chunk that was acknowledged")
	}
	for seq := uint64(21); seq <= 40; seq++ {
		appendChunk(t, c.nodes[second], chunk(run.ID, "vm1", seq))
	}
	must[Run](t)(c.nodes[second].Seal(t.Context(), run.ID, Sealing{Epoch: run.Epoch, State: Failed, Reason: "test"}))

	c.start(first)
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

// TestWithoutMajority stops two of three nodes: the third must not acknowledge.
func TestWithoutMajority(t *testing.T) {
	c := newCluster(t, 3)
	last := c.leader()
	run := createRun(t, c.nodes[last])
	alone := c.nodes[last]
	for i := range c.nodes {
		if i != last {
			c.kill(i)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := alone.AppendChunk(ctx, chunk(run.ID, "vm1", 1))
	if !errors.Is(err, ErrUnknownOutcome) && !errors.Is(err, ErrNotLeader) {
		t.Errorf("alone, it answered %v, want ErrUnknownOutcome", err)
	}
	if got, _ := c.nodes[last].Run(run.ID); got.Chunks != 0 {
		t.Error("a chunk without a majority was applied")
	}
}
