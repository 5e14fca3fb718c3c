package store

import (
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func serversOf(n int) []raft.Server {
	var out []raft.Server
	for _, id := range []raft.ServerID{"n1", "n2", "n3", "n4", "n5"}[:n] {
		out = append(out, raft.Server{ID: id, Suffrage: raft.Voter})
	}
	return out
}

// TestOldAnswersProveNothing: an answer to a call that began before the read is no evidence that
// this node leads now. The library's VerifyLeader takes it for one, as a leader that was
// stopped and finds such answers waiting would notice.
func TestOldAnswersProveNothing(t *testing.T) {
	c := newContacts()
	since := time.Now()
	before, after := since.Add(-time.Millisecond), since.Add(time.Millisecond)
	confirmed := func(n int) bool { return c.confirms(serversOf(n), "n1", 7, since) }
	if !confirmed(1) {
		t.Error("a node alone needs nobody")
	}
	c.heard("n2", 7, 7, before, 3)
	c.heard("n3", 7, 7, before, 3)
	if confirmed(3) {
		t.Error("answers to calls of before the read confirm the leader")
	}
	c.heard("n2", 7, 8, after, 3)
	if confirmed(3) {
		t.Error("a node that knows of a later term confirms the leader")
	}
	c.heard("n3", 6, 6, after, 3)
	if confirmed(3) {
		t.Error("an answer of an earlier term confirms the leader")
	}
	c.heard("n2", 7, 7, after, 3)
	if !confirmed(3) || confirmed(5) {
		t.Errorf("two of three: %v, two of five: %v", confirmed(3), confirmed(5))
	}
	c.heard("n3", 7, 7, after, 3)
	if !confirmed(5) {
		t.Error("three of five do not confirm the leader")
	}
	five := serversOf(5)
	five[1].Suffrage = raft.Nonvoter
	five[3].Suffrage = raft.Nonvoter
	if !c.confirms(five, "n1", 7, since) {
		t.Error("two of three voters do not confirm the leader")
	}
	five[2].Suffrage = raft.Nonvoter
	five[3].Suffrage = raft.Voter
	if c.confirms(five, "n1", 7, since) {
		t.Error("nodes without a vote confirm the leader")
	}
}

func TestReadsSeeWhatWasAcknowledged(t *testing.T) {
	c := newCluster(t, 3)
	for n := uint64(1); n <= 30; n++ {
		c.putWhoeverLeads(n)
		s := c.nodes[n%3]
		if _, err := s.ReadIndex(limited(t, patience)); err != nil {
			if errors.Is(err, ErrNotLeader) {
				continue // an election on a busy machine
			}
			t.Fatal(err)
		}
		if a, _ := s.Agent("vm1"); a.Incarnation != n {
			t.Errorf("node %d read %d after %d was acknowledged", n%3+1, a.Incarnation, n)
		}
		if got := s.Staleness(); got.Leader.ID == "" || got.Applied == 0 || got.Contact < 0 {
			t.Errorf("%+v", got)
		}
	}
	// A read of a new leader waits until it knows what is committed.
	lead := c.leader()
	c.putWhoeverLeads(99)
	if err := c.nodes[lead].Transfer(limited(t, patience), ""); err != nil {
		t.Fatal(err)
	}
	next := c.nodes[c.leader2(lead)]
	if _, err := next.ReadIndex(limited(t, patience)); err != nil {
		t.Fatal(err)
	}
	if a, _ := next.Agent("vm1"); a.Incarnation != 99 {
		t.Errorf("a new leader reads %d, 99 was acknowledged", a.Incarnation)
	}
}

// TestReadOfASingleNodeAfterASnapshot: the log may hold nothing that the state machine will
// ever be given.
func TestReadOfASingleNodeAfterASnapshot(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	run := fill(t, s)
	for range 3 {
		if err := s.Snapshot(); err != nil {
			t.Fatal(err)
		}
		s = reopen(t, s, dir)
		if _, err := s.ReadIndex(limited(t, patience)); err != nil {
			t.Fatal(err)
		}
		if r, ok := s.Run(run.ID); !ok || r.Chunks != 15 {
			t.Errorf("%d chunks", r.Chunks)
		}
	}
}

// TestIndexOfASnapshot: a snapshot that covers all that was acknowledged leaves a reader on another
// node an index to wait for all the same. Zero, which every node has applied, would be none.
func TestIndexOfASnapshot(t *testing.T) {
	s := open(t, t.TempDir())
	fill(t, s)
	acknowledged := s.fsm.appliedIndex()
	for _, what := range []string{"a snapshot", "a snapshot, and an entry of raft's own behind it"} {
		if err := s.Snapshot(); err != nil {
			t.Fatal(err)
		}
		if index, err := s.LeaderReadIndex(limited(t, patience)); err != nil || index < acknowledged {
			t.Errorf("after %s others read at entry %d, and %d was acknowledged: %v", what, index, acknowledged, err)
		}
		if err := s.raft.Barrier(0).Error(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReadIndexOfALeaderWithASnapshot: a follower waits for the entry that the leader names, also when
// the leader's snapshot covers it.
func TestReadIndexOfALeaderWithASnapshot(t *testing.T) {
	c := newCluster(t, 3)
	for n := uint64(1); n <= 3; n++ {
		c.putWhoeverLeads(n)
		lead := c.leader()
		if err := c.nodes[lead].Snapshot(); err != nil {
			t.Fatal(err)
		}
		wrote := c.nodes[lead].fsm.appliedIndex()
		index, err := c.nodes[lead].LeaderReadIndex(limited(t, patience))
		if errors.Is(err, ErrNotLeader) {
			continue // an election on a busy machine
		}
		if err != nil {
			t.Fatal(err)
		}
		if index < wrote {
			t.Errorf("with a snapshot at entry %d, a follower would wait for entry %d", wrote, index)
		}
		if _, err := c.nodes[(lead+1)%3].ReadIndex(limited(t, patience)); err != nil && !errors.Is(err, ErrNotLeader) {
			t.Fatal(err)
		}
	}
}

func TestSlowDiskIsCounted(t *testing.T) {
	var disk *hanging
	s, err := Open(Config{Dir: t.TempDir(), disk: func(l raft.LogStore) raft.LogStore { disk = &hanging{LogStore: l}; return disk }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	wait(t, s)
	before := s.LogWrites()
	release := disk.hang()
	time.AfterFunc(2*slowWrite, release)
	if err := s.PutAgent(t.Context(), Agent{Name: "vm1"}); err != nil {
		t.Fatal(err)
	}
	after := s.LogWrites()
	if after.Slow <= before.Slow || after.Longest < slowWrite || after.Count <= before.Count {
		t.Errorf("%+v, then %+v: a write of half a second should be counted as slow", before, after)
	}
	if s.Err() != nil {
		t.Errorf("a slow disk stopped the node: %v", s.Err())
	}
}
