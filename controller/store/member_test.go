package store

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func limited(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestNodeWithoutVoteIsPromotedWhenItIsFit(t *testing.T) {
	c := newTunedCluster(t, 1, func(i int, cfg *Config) { cfg.Promotion = Promotion{Stable: 100 * time.Millisecond} })
	i := c.add()
	if err := c.tryJoin(i); err != nil {
		t.Fatal(err)
	}
	// It is a member and not there yet: no vote, and the cluster goes on without it.
	if err := c.nodes[0].PutAgent(limited(t, patience), Agent{Name: "vm1"}); err != nil {
		t.Fatalf("a node that joined and did not come holds up the others: %v", err)
	}
	cl := c.nodes[0].Cluster(t.Context())
	if len(cl.Members) != 2 || cl.Members[1].Voter || cl.Members[1].Err == nil || cl.ID != "lab" {
		t.Errorf("%+v", cl)
	}
	s := must[*Store](t)(Open(c.config(i)))
	missing := newStream("r-none", streamKey{"vm1", 1})
	lack := func(does bool) {
		s.fsm.mu.Lock()
		defer s.fsm.mu.Unlock()
		delete(s.fsm.incomplete, missing)
		if does {
			s.fsm.incomplete[missing] = struct{}{}
		}
	}
	lack(true)
	c.set(i, s)
	c.until("the node has caught up", func() bool {
		match, _ := c.nodes[0].progress("n2", c.nodes[0].raft.CurrentTerm())
		return match > 0 && s.fsm.appliedIndex() >= c.nodes[0].fsm.appliedIndex()
	})
	time.Sleep(300 * time.Millisecond) // in which it must not be promoted
	if servers, _ := s.servers(); len(voters(servers)) != 1 {
		t.Error("a node that lacks chunks was given a vote")
	}
	lack(false)
	c.voters(2)
	if w := c.nodes[0].Cluster(t.Context()).Warnings; len(w) != 1 || !strings.Contains(w[0], "2 voters") {
		t.Errorf("warnings of two voters: %q", w)
	}
}

// TestSnapshotsHoldUpNoVote: a leader that has a new snapshot at each look gives a vote all the same.
func TestSnapshotsHoldUpNoVote(t *testing.T) {
	c := newTunedCluster(t, 1, func(i int, cfg *Config) { cfg.Promotion = Promotion{Stable: time.Second} })
	leads := c.nodes[0]
	ctx, stop := context.WithCancel(t.Context())
	var working sync.WaitGroup
	defer working.Wait()
	defer stop()
	working.Go(func() {
		for n := uint64(1); ctx.Err() == nil; n++ {
			err := leads.PutAgent(ctx, Agent{Name: "vm1", Incarnation: n})
			if err == nil {
				err = leads.Snapshot()
			}
			if err != nil && ctx.Err() == nil {
				t.Error(err)
				return
			}
		}
	})
	c.join(c.add())
	c.voters(2)
}

// TestWipedDisk: who comes back under its old name with an empty disk takes no part.
func TestWipedDisk(t *testing.T) {
	c := newCluster(t, 3)
	lead := c.leader()
	wiped := (lead + 1) % 3
	run := createRun(t, c.nodes[lead])
	c.append(chunk(run.ID, "vm1", 1))
	c.kill(wiped)
	id := c.peers[wiped].ID
	if err := os.RemoveAll(c.dirs[wiped]); err != nil {
		t.Fatal(err)
	}

	if err := c.tryJoin(wiped); !errors.Is(err, ErrOtherDisk) || !strings.Contains(err.Error(), "under a new id") {
		t.Errorf("a wiped disk may join: %v", err)
	}
	// Somebody begins a cluster of one in the empty directory, at the old address and with a
	// good certificate; and somebody else marks the directory as joined.
	for _, mark := range []bool{false, true} {
		if err := os.RemoveAll(c.dirs[wiped]); err != nil {
			t.Fatal(err)
		}
		if mark {
			must[Identity](t)(Identify(c.dirs[wiped], id))
			if err := JoinCluster(c.dirs[wiped], c.pki.cluster); err != nil {
				t.Fatal(err)
			}
		}
		s := c.start(wiped)
		for n := uint64(2); n < 20; n++ {
			c.append(chunk(run.ID, "vm1", n))
		}
		failed(t, s)
		if err := s.Err(); !errors.Is(err, ErrOtherDisk) || !strings.Contains(err.Error(), "under a new id") {
			t.Errorf("it stopped with %v", err)
		}
		if _, ok := s.Run(run.ID); ok {
			t.Error("a wiped node was given entries")
		}
		c.kill(wiped)
	}

	lead = c.leader()
	if err := c.nodes[lead].Remove(limited(t, patience), id, false); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(c.dirs[wiped]); err != nil {
		t.Fatal(err)
	}
	if err := c.tryJoin(wiped); !errors.Is(err, ErrOtherDisk) {
		t.Errorf("removed, a wiped disk may take its old id: %v", err)
	}
	c.mu.Lock()
	c.peers[wiped].ID = "n4"
	c.mu.Unlock()
	if err := os.RemoveAll(c.dirs[wiped]); err != nil {
		t.Fatal(err)
	}
	c.join(wiped)
	c.voters(3)
	c.settle(wiped, run.ID, 19)
}

// leader2 waits for a leader among all nodes but one.
func (c *cluster) leader2(but int) int {
	c.t.Helper()
	out := -1
	c.until("one of the others leads", func() bool {
		for i, s := range c.nodes {
			if i != but && s != nil && s.Leading() {
				out = i
			}
		}
		return out >= 0
	})
	return out
}

func TestRemove(t *testing.T) {
	c := newCluster(t, 3)
	lead := c.leader()
	ctx := limited(t, patience)
	s := c.nodes[lead]
	one, two := (lead+1)%3, (lead+2)%3

	if err := s.Remove(ctx, c.peers[lead].ID, false); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "transfer") {
		t.Errorf("the leader removed itself: %v", err)
	}
	if err := s.Remove(ctx, "n9", false); !errors.Is(err, ErrInvalid) {
		t.Errorf("a node that is none was removed: %v", err)
	}
	if err := c.nodes[one].Remove(ctx, c.peers[two].ID, false); !errors.Is(err, ErrNotLeader) {
		t.Errorf("a follower removed a node: %v", err)
	}

	c.kill(one)
	c.until("the leader misses it", func() bool {
		_, contact := s.progress(raft.ServerID(c.peers[one].ID), s.raft.CurrentTerm())
		return contact > clusterElection
	})
	if err := s.Remove(ctx, c.peers[two].ID, false); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "2 are needed") {
		t.Errorf("without %s and %s nothing could be decided, and one was removed: %v", c.peers[one].ID, c.peers[two].ID, err)
	}
	if err := s.Remove(ctx, c.peers[one].ID, false); err != nil {
		t.Fatalf("the node that is gone cannot be removed: %v", err)
	}
	// It comes back and is not let in, also as one that stands for election.
	gone := c.start(one)
	time.Sleep(3 * clusterElection)
	if gone.Leader() != "" || c.leader2(one) != lead {
		t.Errorf("a removed node has leader %q, the others %s", gone.Leader(), c.peers[c.leader2(one)].ID)
	}
	c.kill(one)

	if err := s.Transfer(ctx, c.peers[two].ID); err != nil {
		t.Fatal(err)
	}
	if got := c.leader(); got != two {
		t.Errorf("node %d leads after a transfer to %d", got+1, two+1)
	}
	s = c.nodes[two]
	if err := s.Remove(ctx, c.peers[lead].ID, false); err != nil {
		t.Fatal(err)
	}
	for _, force := range []bool{false, true} {
		if err := s.Remove(ctx, c.peers[two].ID, force); !errors.Is(err, ErrRefused) {
			t.Errorf("forced %v, the last voter was removed: %v", force, err)
		}
	}
	if err := s.PutAgent(ctx, Agent{Name: "vm1"}); err != nil {
		t.Errorf("the last node keeps nothing any more: %v", err)
	}
}

func TestRemovedLeaderHandsOver(t *testing.T) {
	c := newCluster(t, 3)
	lead := c.leader()
	if err := c.nodes[lead].Remove(limited(t, patience), c.peers[lead].ID, true); err != nil {
		t.Fatal(err)
	}
	if got := c.leader2(lead); got == lead {
		t.Error("it leads on")
	}
	c.until("the removed node knows that it does not lead", func() bool { return !c.nodes[lead].Leading() })
	if err := c.nodes[lead].PutAgent(limited(t, patience), Agent{Name: "vm1"}); !errors.Is(err, ErrNotLeader) {
		t.Errorf("the removed node answers %v, want ErrNotLeader", err)
	}
}

func TestTransfer(t *testing.T) {
	c := newCluster(t, 3)
	for range 3 {
		lead := c.leader()
		to := (lead + 1) % 3
		began := time.Now()
		if err := c.nodes[lead].Transfer(limited(t, patience), c.peers[to].ID); err != nil {
			t.Fatal(err)
		}
		if err := c.onLeader(limited(t, patience), func(s *Store) error { return s.PutAgent(t.Context(), Agent{Name: "vm1"}) }); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("a transfer took %v", took)
		} else {
			t.Logf("from the call to the next write: %v", took)
		}
	}
	if err := c.nodes[c.leader()].Transfer(limited(t, patience), "n9"); !errors.Is(err, ErrInvalid) {
		t.Errorf("a transfer to nobody: %v", err)
	}
	// With one of two dead, it goes to the one that answers.
	lead := c.leader()
	dead, alive := (lead+1)%3, (lead+2)%3
	c.kill(dead)
	c.until("the leader misses it", func() bool {
		_, contact := c.nodes[lead].progress(raft.ServerID(c.peers[dead].ID), c.nodes[lead].raft.CurrentTerm())
		return contact > clusterElection
	})
	if err := c.nodes[lead].Transfer(limited(t, patience), ""); err != nil {
		t.Fatal(err)
	}
	if got := c.leader(); got != alive {
		t.Errorf("node %d leads, and %d was dead, %d alive", got+1, dead+1, alive+1)
	}
}

// TestSingleNodeBecomesACluster gives a node of before there were clusters a network.
func TestSingleNodeBecomesACluster(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	run := fill(t, s)
	first := s.Identity()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, pki: newTestPKI(t), wires: newWires()}
	t.Cleanup(c.close)
	c.pki.cluster = first.Cluster
	c.add()
	c.dirs[0], c.peers[0].ID = dir, first.Node
	c.start(0)
	c.leader()
	c.until("its address is in the configuration", func() bool {
		servers, _ := c.nodes[0].servers()
		return string(servers[0].Address) == c.peers[0].Address
	})
	c.add()
	c.peers[1].ID = "n2"
	c.join(1)
	c.voters(2)
	c.settle(1, run.ID, 15)
	if got := c.nodes[1].Nodes(); len(got) != 2 || c.nodes[1].Identity().Cluster != first.Cluster {
		t.Errorf("the second node knows %+v of cluster %s", got, c.nodes[1].Identity().Cluster)
	}
}
