package store

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	logv1 "syncline/proto/syncline/log/v1"
)

// TestHashIsOfTheState compares the hash that was kept up to date with one of everything, whatever
// entries came, in whatever batches: a command that touch forgets shows here.
func TestHashIsOfTheState(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := machineIn(t, t.TempDir())
		all := entries.Draw(rt, "all")
		for i, e := range all {
			before, last := m.hash(), i == len(all)-1
			var was []byte
			if last {
				was = digestOf(t, m)
			}
			m.Apply(logOf(t, uint64(i+1), e))
			kept := m.hash()
			m.touchAll()
			for _, r := range m.runs {
				r.chunkSum = setSum{}
				for _, st := range r.streams {
					st.hashed = 0
				}
			}
			if whole := m.hash(); kept != whole {
				rt.Fatalf("entry %d (%v): the hash was kept as %x, and is %x", i, e, kept, whole)
			}
			if last && before == kept && string(withoutApplied(was)) != string(withoutApplied(digestOf(t, m))) {
				rt.Fatalf("entry %d (%v) changed the state, and not its hash", i, e)
			}
		}
	})
}

// withoutApplied is a snapshot without its end, which says what the last entry was.
func withoutApplied(snapshot []byte) []byte {
	s, err := readSnapshot(strings.NewReader(string(snapshot)))
	if err != nil {
		return []byte(err.Error())
	}
	m := newMachine("none", nil)
	m.state = s
	m.applied = 0
	var b strings.Builder
	if err := m.capture().write(&b); err != nil {
		return []byte(err.Error())
	}
	return []byte(b.String())
}

// TestMostHave: only a majority of the voters may call the others' states wrong. With less the leader
// proposes its own, so that it is not the answers that came first that decide who stops.
func TestMostHave(t *testing.T) {
	own, a, b := stateHash{1}, stateHash{2}, stateHash{3}
	for _, tc := range []struct {
		have   map[stateHash][]string
		voters int
		want   stateHash
	}{
		{map[stateHash][]string{own: {"n1"}}, 1, own},
		{map[stateHash][]string{own: {"n1"}, a: {"n2", "n3"}}, 3, a},
		{map[stateHash][]string{own: {"n1"}, a: {"n2"}}, 3, own},
		{map[stateHash][]string{own: {"n1"}, a: {"n2", "n3"}}, 5, own},
		{map[stateHash][]string{own: {"n1"}, a: {"n2", "n3"}, b: {"n4", "n5"}}, 5, own},
		{map[stateHash][]string{own: {"n1", "n2"}, a: {"n3", "n4"}}, 4, own},
		{map[stateHash][]string{own: {"n1", "n2"}, a: {"n3", "n4", "n5"}}, 5, a},
	} {
		if got := mostHave(tc.have, tc.voters, own); got != tc.want {
			t.Errorf("%d voters, of which %v answered: %x, want %x", tc.voters, tc.have, got[:1], tc.want[:1])
		}
	}
}

func TestNodeWhoseStateDiffersStops(t *testing.T) {
	c := newTunedCluster(t, 3, func(_ int, cfg *Config) { cfg.checkpoints = 50 })
	lead := c.leader()
	run := createRun(t, c.nodes[lead])
	for n := uint64(1); n <= 100; n++ {
		c.append(chunk(run.ID, "vm1", n))
	}
	c.until("the states were compared", func() bool {
		for _, s := range c.nodes {
			if len(s.Report().Checkpoints) == 0 {
				return false
			}
		}
		return true
	})
	for i, s := range c.nodes {
		if s.Err() != nil {
			t.Fatalf("node %d stopped with a sound state: %v", i+1, s.Err())
		}
	}

	// A bit flips in the memory of the leader: the other two are right.
	bad := c.leader()
	m := c.nodes[bad].fsm
	m.mu.Lock()
	m.runs[run.ID].RepetitionsDone ^= 1
	m.touchAll()
	m.mu.Unlock()
	for n := uint64(101); c.nodes[bad].Err() == nil; n++ {
		c.append(chunk(run.ID, "vm1", n))
		if n > 1000 {
			t.Fatal("after 900 entries nobody has noticed")
		}
	}
	if err := c.nodes[bad].Err(); !strings.Contains(err.Error(), "is not that of "+strings.Join(others2(c, bad), ", ")) {
		t.Errorf("the reason is %v", err)
	}
	for i, s := range c.nodes {
		if i != bad && s.Err() != nil {
			t.Errorf("node %d, whose state is right, stopped: %v", i+1, s.Err())
		}
	}
	c.leader2(bad)
}

func others2(c *cluster, but int) (ids []string) {
	for i, p := range c.peers {
		if i != but {
			ids = append(ids, p.ID)
		}
	}
	return ids
}

// TestCheckpointsAreAtTheSameEntries: raft's own entries do not come to the state machine, and
// whether one lies on the boundary must not matter, nor a snapshot between.
func TestCheckpointsAreAtTheSameEntries(t *testing.T) {
	put := func(i uint64) *raft.Log {
		return logOf(t, i, &logv1.Entry{Version: 1, IssuedAtNs: int64(i), Command: &logv1.Entry_PutAgent{PutAgent: &logv1.PutAgent{Agent: &logv1.Agent{Name: fmt.Sprint("vm", i%7), Incarnation: i}}}})
	}
	machines := make([]*machine, 2)
	for i := range machines {
		machines[i] = machineIn(t, t.TempDir())
		machines[i].every = 10
	}
	for i := uint64(1); i <= 95; i++ {
		if i%10 == 0 || i%10 == 3 {
			continue // raft's own
		}
		machines[0].Apply(put(i))
		machines[1].Apply(put(i))
		if i == 47 {
			dir := t.TempDir()
			next := throughSnapshot(t, machines[1], dir)
			next.every = 10
			next.checked = 40
			machines[1] = next
		}
	}
	all, late := machines[0].stateHashes(), machines[1].stateHashes()
	if len(all) != 9 || all[8].Index != 90 {
		t.Fatalf("%d checkpoints: %+v", len(all), all)
	}
	if len(late) != 5 || late[0].Index != 50 {
		t.Fatalf("%d checkpoints after a snapshot at 47", len(late))
	}
	for i, c := range late {
		if c != all[i+4] {
			t.Errorf("entry %d: %x, and %x after a snapshot", c.Index, all[i+4].Hash, c.Hash)
		}
	}

	wrong := all[8].Hash
	wrong[0]++
	res := machines[0].Apply(logOf(t, 96, &logv1.Entry{Version: 2, Ignorable: true, Command: &logv1.Entry_Checkpoint{Checkpoint: &logv1.Checkpoint{Index: 90, Hash: wrong[:], NodeIds: []string{"n2", "n3"}, Format: hashFormat + 1}}})).(result)
	if res.err != nil || machines[0].fault.Err() != nil {
		t.Errorf("a hash of another format stopped the node: %v", machines[0].fault.Err())
	}
	machines[0].Apply(logOf(t, 97, &logv1.Entry{Version: 2, Ignorable: true, Command: &logv1.Entry_Checkpoint{Checkpoint: &logv1.Checkpoint{Index: 90, Hash: wrong[:], NodeIds: []string{"n2", "n3"}, Format: hashFormat}}}))
	if err := machines[0].fault.Err(); err == nil || !strings.Contains(err.Error(), "after entry 90") || !strings.Contains(err.Error(), "n2, n3") {
		t.Errorf("the reason is %v", err)
	}
}

func TestSnapshotOfAnotherStateIsRefused(t *testing.T) {
	m := machineIn(t, t.TempDir())
	m.Apply(logOf(t, 1, &logv1.Entry{Version: 1, Command: &logv1.Entry_PutAgent{PutAgent: &logv1.PutAgent{Agent: &logv1.Agent{Name: "vm1"}}}}))
	s := m.capture()
	// As if a part of the state had been forgotten when the snapshot was written.
	s.agents = nil
	var b strings.Builder
	if err := s.write(&b); err != nil {
		t.Fatal(err)
	}
	if _, err := readSnapshot(strings.NewReader(b.String())); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "hash") {
		t.Errorf("a snapshot that lacks an agent: %v, want ErrDamaged", err)
	}
}

func TestIgnorableEntryOfANewerProgramIsSkipped(t *testing.T) {
	unknown := append(must[[]byte](t)(proto.Marshal(&logv1.Entry{Version: 9, Ignorable: true, IssuedAtNs: 99})), 0xaa, 0x06, 0x00)
	m := machineIn(t, t.TempDir())
	res := m.Apply(&raft.Log{Index: 17, Term: 3, Type: raft.LogCommand, Data: unknown}).(result)
	if res.err != nil || m.fault.Err() != nil {
		t.Fatalf("%v, %v", res.err, m.fault.Err())
	}
	if m.time != 99 || m.applied != 17 {
		t.Errorf("time %d, applied %d: the entry should count", m.time, m.applied)
	}
}

func TestGateWaitsForTheLastNode(t *testing.T) {
	s := open(t, t.TempDir())
	if err := s.settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	entry := &logv1.Entry{Version: entryVersion + 1, Command: &logv1.Entry_PutAgent{}}
	if err := s.gate(entry); !errors.Is(err, ErrTooOld) || !strings.Contains(err.Error(), s.ID()) {
		t.Errorf("an entry that this node could not apply: %v, want ErrTooOld and its name", err)
	}
	entry.Ignorable = true
	if err := s.gate(entry); err != nil {
		t.Errorf("an entry that may be skipped: %v", err)
	}
	s.fsm.mu.Lock()
	n := s.fsm.nodes[s.ID()]
	n.EntryVersion++
	s.fsm.nodes[s.ID()] = n
	s.fsm.mu.Unlock()
	entry.Ignorable = false
	if err := s.gate(entry); err != nil {
		t.Errorf("after the upgrade: %v", err)
	}
}
