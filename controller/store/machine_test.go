package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	logv1 "syncline/proto/syncline/log/v1"
)

func machineIn(t testing.TB, dir string) *machine {
	t.Helper()
	m := newMachine(dir, newFault(slog.New(slog.DiscardHandler)))
	t.Cleanup(func() { m.files.closeAll() })
	return m
}

func logOf(t testing.TB, index uint64, entry *logv1.Entry) *raft.Log {
	t.Helper()
	return &raft.Log{Index: index, Term: 1, Type: raft.LogCommand, Data: must[[]byte](t)(proto.Marshal(entry))}
}

// digestOf is the whole state as a snapshot writes it.
func digestOf(t testing.TB, m *machine) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := m.capture().write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// entries draws commands that mostly hit each other: few names, few numbers.
var entries = rapid.Custom(func(t *rapid.T) []*logv1.Entry {
	out := make([]*logv1.Entry, rapid.IntRange(1, 40).Draw(t, "entries"))
	for i := range out {
		out[i] = drawEntry(t)
	}
	return out
})

func drawEntry(t *rapid.T) *logv1.Entry {
	run := rapid.SampledFrom([]string{"r-1", "r-1", "r-2", "R 3"}).Draw(t, "run")
	agent := rapid.SampledFrom([]string{"vm1", "vm2", "../../x", ""}).Draw(t, "agent")
	small := func(what string) uint64 { return rapid.Uint64Range(0, 4).Draw(t, what) }
	e := &logv1.Entry{
		Version: entryVersion, IssuedAtNs: rapid.Int64Range(-5, 1000).Draw(t, "time"),
		RequestId: rapid.SampledFrom([]string{"", "", "", "q1", "q2", "q3"}).Draw(t, "request"), ClientId: rapid.SampledFrom([]string{"", "c"}).Draw(t, "client"),
	}
	if rapid.IntRange(0, 19).Draw(t, "a day later") == 0 {
		e.IssuedAtNs += int64(requestLife)
	}
	switch rapid.IntRange(0, 15).Draw(t, "command") {
	case 11:
		e.Command = &logv1.Entry_TakeRun{TakeRun: &logv1.TakeRun{RunId: run}}
	case 12:
		disk := rapid.SampledFrom([]string{"11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222", "x"}).Draw(t, "disk")
		e.Command = &logv1.Entry_PutNode{PutNode: &logv1.PutNode{Node: &logv1.Node{Id: rapid.SampledFrom([]string{"n1", "n2", "N"}).Draw(t, "node"), Disk: disk, EntryVersion: uint32(small("version"))}}}
	case 13:
		e.Command = &logv1.Entry_FoundCluster{FoundCluster: &logv1.FoundCluster{ClusterId: rapid.SampledFrom([]string{"c1", "c2", "C"}).Draw(t, "cluster")}}
	case 0:
		e.Command = &logv1.Entry_PutAgent{PutAgent: &logv1.PutAgent{Agent: agentToLog(Agent{Name: agent, Incarnation: small("incarnation"), Labels: map[string]string{"a": "1", "b": "2", "c": "3"}})}}
	case 1, 2:
		e.Command = &logv1.Entry_CreateRun{CreateRun: &logv1.CreateRun{Run: runToLog(Run{ID: run, Bindings: map[string]string{"A": "x", "B": "y"}, Hosts: []RunHost{{Name: "A"}, {Name: "B"}}, Probing: Probing{Rate: int(small("rate"))}})}}
	case 3, 4:
		e.Command = &logv1.Entry_ChangeRun{ChangeRun: changeToLog(run, RunChange{Epoch: 1, State: RunState(rapid.IntRange(0, 8).Draw(t, "state")), RepetitionsDone: int(small("done")), Incomplete: []string{"x"}, Warnings: []string{"w"}})}
	case 14:
		// The seal of a run without chunks; of others it is refused.
		e.Command = &logv1.Entry_ArchiveRun{ArchiveRun: &logv1.ArchiveRun{RunId: run, Seal: NewDigest().Sum(), Archive: archiveToLog(there)}}
	case 15:
		e.Command = &logv1.Entry_RemoveRun{RemoveRun: &logv1.RemoveRun{RunId: run, Reason: agent}}
	case 6:
		host := rapid.SampledFrom([]string{"A", "B", "C", ""}).Draw(t, "host")
		e.Command = &logv1.Entry_PutEnvironment{PutEnvironment: &logv1.PutEnvironment{RunId: run, Epoch: 1, Environment: &logv1.HostEnvironment{Host: host, Data: []byte{byte(small("environment"))}}}}
	case 5:
		e.Command = &logv1.Entry_SealRun{SealRun: sealingToLog(run, Sealing{Epoch: 1, State: RunState(rapid.IntRange(0, 8).Draw(t, "state"))})}
	default:
		c := chunk(run, agent, small("sequence"))
		c.Incarnation = small("incarnation")
		c.Data = c.Data[:10+small("data")]
		c.CRC32C = Checksum(c.Data)
		e.Command = &logv1.Entry_AppendChunk{AppendChunk: chunkToLog(c)}
	}
	return e
}

// TestSameEntriesSameState applies the same entries one by one, in batches, over the
// files that a first life left behind, and with a snapshot and a restore between any
// two, and compares every answer, the states and the files.
func TestSameEntriesSameState(t *testing.T) {
	base := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		dirs := [2]string{filepath.Join(base, fmt.Sprint(n), "a"), filepath.Join(base, fmt.Sprint(n), "b")}
		for _, dir := range dirs {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				rt.Fatal(err)
			}
		}
		all := entries.Draw(rt, "all")
		restoreAt := rapid.IntRange(0, len(all)).Draw(rt, "restore at")
		var logs []*raft.Log
		for i, e := range all {
			logs = append(logs, logOf(t, uint64(i+1), e))
		}
		batch := machineIn(t, dirs[0])
		want := batch.ApplyBatch(logs)
		replay := machineIn(t, dirs[0])
		replay.ApplyBatch(logs)

		single := machineIn(t, dirs[1])
		for i, log := range logs {
			if i == restoreAt {
				single = throughSnapshot(t, single, dirs[1])
			}
			got := single.Apply(log).(result)
			if answerText(got) != answerText(want[i].(result)) {
				rt.Fatalf("entry %d (%v): answer %s alone, %s in a batch", i, all[i], answerText(got), answerText(want[i].(result)))
			}
		}
		state := digestOf(t, batch)
		if !bytes.Equal(state, digestOf(t, single)) || !bytes.Equal(state, digestOf(t, replay)) {
			rt.Fatal("the same entries gave different states")
		}
		if diff := cmp.Diff(filesIn(t, dirs[0]), filesIn(t, dirs[1])); diff != "" {
			rt.Fatalf("the same entries gave different files:\n%s", diff)
		}
	})
}

func answerText(r result) string {
	return fmt.Sprintf("%+v duplicate %v error %v", r.run, r.duplicate, r.err)
}

// throughSnapshot is a node that starts from the snapshot of another on its files.
func throughSnapshot(t testing.TB, m *machine, dir string) *machine {
	t.Helper()
	snap := must[raft.FSMSnapshot](t)(m.Snapshot())
	sink := &memorySink{}
	if err := snap.Persist(sink); err != nil {
		t.Fatal(err)
	}
	next := machineIn(t, dir)
	if err := next.Restore(io.NopCloser(&sink.Buffer)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(digestOf(t, m), digestOf(t, next)) {
		t.Fatal("a restored state differs from the one of its snapshot")
	}
	return next
}

type memorySink struct{ bytes.Buffer }

func (*memorySink) ID() string    { return "memory" }
func (*memorySink) Cancel() error { return nil }
func (*memorySink) Close() error  { return nil }

// filesIn returns every file below a directory by name, but the inventory: what a node
// knows to be on its disk is its own.
func filesIn(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), inventoryName) {
			return err
		}
		b, err := os.ReadFile(name)
		out[strings.TrimPrefix(name, dir)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestEntryOfANewerProgramStopsTheNode(t *testing.T) {
	for name, data := range map[string][]byte{
		"newer version":   must[[]byte](t)(proto.Marshal(&logv1.Entry{Version: entryVersion + 1, Command: &logv1.Entry_PutAgent{}})),
		"unknown command": append(must[[]byte](t)(proto.Marshal(&logv1.Entry{Version: 1, IssuedAtNs: 99})), 0xaa, 0x06, 0x00),
		"garbage":         {0xff, 0xff, 0xff},
	} {
		m := machineIn(t, t.TempDir())
		before := digestOf(t, m)
		res := m.Apply(&raft.Log{Index: 17, Term: 3, Type: raft.LogCommand, Data: data}).(result)
		if !errors.Is(res.err, errHalted) {
			t.Errorf("%s: answer %v, want errHalted", name, res.err)
		}
		select {
		case <-m.fault.failed:
		default:
			t.Errorf("%s: the node goes on", name)
		}
		if err := m.fault.Err(); err == nil || !strings.Contains(err.Error(), "log entry 17 of term 3") {
			t.Errorf("%s: the reason does not name the entry: %v", name, err)
		}
		good := logOf(t, 18, &logv1.Entry{Version: 1, Command: &logv1.Entry_PutAgent{PutAgent: &logv1.PutAgent{Agent: &logv1.Agent{Name: "vm1"}}}})
		if res := m.Apply(good).(result); !errors.Is(res.err, errHalted) || !bytes.Equal(before, digestOf(t, m)) {
			t.Errorf("%s: what came after was applied", name)
		}
		if _, err := m.Snapshot(); err == nil {
			t.Errorf("%s: a stopped node makes snapshots", name)
		}
	}
}

// FuzzApply: whatever is in the log, the state machine applies it, or refuses it, or
// stops the node with the state as it was; and no file appears outside its
// directory.
func FuzzApply(f *testing.F) {
	for _, e := range []*logv1.Entry{
		{Version: 1, Command: &logv1.Entry_CreateRun{CreateRun: &logv1.CreateRun{Run: &logv1.Run{Id: "r-2"}}}},
		{Version: 1, Command: &logv1.Entry_AppendChunk{AppendChunk: chunkToLog(chunk("r-1", "../x", 1))}},
		{Version: 1, Command: &logv1.Entry_SealRun{SealRun: &logv1.SealRun{RunId: "r-1", Epoch: 1, State: 6}}},
		{Version: 1, Command: &logv1.Entry_ChangeRun{ChangeRun: changeToLog("r-1", RunChange{Epoch: 1, State: Prepared})}},
		{Version: 1, Command: &logv1.Entry_PutAgent{}},
		{Version: 9},
	} {
		f.Add(must[[]byte](f)(proto.Marshal(e)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		base := t.TempDir()
		m := machineIn(t, filepath.Join(base, "runs"))
		m.Apply(logOf(t, 1, &logv1.Entry{Version: 1, Command: &logv1.Entry_CreateRun{CreateRun: &logv1.CreateRun{Run: &logv1.Run{Id: "r-1"}}}}))
		before := digestOf(t, m)
		m.Apply(&raft.Log{Index: 2, Type: raft.LogCommand, Data: data})
		after := digestOf(t, m)
		if m.fault.Err() != nil && !bytes.Equal(before, after) {
			t.Error("an entry that stopped the node changed its state")
		}
		if _, err := readSnapshot(bytes.NewReader(after)); err != nil {
			t.Errorf("the state cannot be restored: %v", err)
		}
		for name := range filesIn(t, base) {
			if !strings.HasPrefix(name, "/runs/r-1/") {
				t.Errorf("file %s", name)
			}
		}
	})
}

// FuzzSnapshot: a snapshot is read as it was written, or refused.
func FuzzSnapshot(f *testing.F) {
	m := machineIn(f, f.TempDir())
	f.Add(digestOf(f, m))
	m.Apply(logOf(f, 1, &logv1.Entry{Version: 1, RequestId: "q", Command: &logv1.Entry_CreateRun{CreateRun: &logv1.CreateRun{Run: &logv1.Run{Id: "r-1"}}}}))
	m.Apply(logOf(f, 2, &logv1.Entry{Version: 1, Command: &logv1.Entry_AppendChunk{AppendChunk: chunkToLog(chunk("r-1", "vm1", 1))}}))
	m.Apply(logOf(f, 3, &logv1.Entry{Version: 1, Command: &logv1.Entry_PutAgent{PutAgent: &logv1.PutAgent{Agent: &logv1.Agent{Name: "vm1"}}}}))
	f.Add(digestOf(f, m))
	f.Fuzz(func(t *testing.T, data []byte) {
		// Most of what a fuzzer makes has a wrong checksum; give it the right one, so
		// that the records are reached.
		for _, in := range [][]byte{data, withChecksum(data)} {
			s, err := readSnapshot(bytes.NewReader(in))
			if err != nil {
				continue
			}
			m := machineIn(t, "none")
			m.state = s
			again := must[state](t)(readSnapshot(bytes.NewReader(digestOf(t, m))))
			m2 := machineIn(t, "none")
			m2.state = again
			if !bytes.Equal(digestOf(t, m), digestOf(t, m2)) {
				t.Error("a snapshot of a restored state restores to another state")
			}
		}
	})
}

func withChecksum(b []byte) []byte {
	if len(b) < 4 {
		return b
	}
	b = bytes.Clone(b[:len(b)-4])
	sum := Checksum(b)
	return append(b, byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24))
}

// FuzzFrame: a frame is the chunk that was written, or damaged.
func FuzzFrame(f *testing.F) {
	c := chunk("r-1", "vm1", 3)
	f.Add(frame(&c))
	f.Add(frame(&c)[:40])
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseFrame(b)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("an error without ErrDamaged: %v", err)
			}
			return
		}
		if !bytes.Equal(frame(&c), b) {
			t.Fatal("a frame that was read is written differently")
		}
	})
}

func TestSnapshotCutOrChangedIsRefused(t *testing.T) {
	m := machineIn(t, t.TempDir())
	m.Apply(logOf(t, 1, &logv1.Entry{Version: 1, Command: &logv1.Entry_PutAgent{PutAgent: &logv1.PutAgent{Agent: &logv1.Agent{Name: "vm1"}}}}))
	whole := digestOf(t, m)
	for i := range whole {
		if _, err := readSnapshot(bytes.NewReader(whole[:i])); err == nil {
			t.Errorf("the first %d of %d bytes were taken", i, len(whole))
		}
		b := bytes.Clone(whole)
		b[i] ^= 1
		if _, err := readSnapshot(bytes.NewReader(b)); err == nil {
			t.Errorf("a bit flipped in byte %d went unnoticed", i)
		}
	}
	if _, err := readSnapshot(bytes.NewReader(append(whole, 0))); err == nil {
		t.Error("a byte after the end went unnoticed")
	}
}

func TestChunkFileNames(t *testing.T) {
	seen := map[string]string{}
	for _, agent := range []string{"vm1", "VM1", "vm.1", "..", "../x", "a/b", "a%2fb", "vm1-2", "ü", "\x00"} {
		for _, inc := range []uint64{1, 12} {
			name := chunkFileName("r-1", streamKey{agent, inc})
			if other, ok := seen[strings.ToLower(name)]; ok {
				t.Errorf("%q and %q share %s", agent, other, name)
			}
			seen[strings.ToLower(name)] = agent
			if filepath.Dir(name) != "r-1" || !filepath.IsLocal(name) {
				t.Errorf("agent %q leads to %s", agent, name)
			}
		}
	}
	long := chunkFileName("r-1", streamKey{strings.Repeat("Ü", MaxNameBytes/2), ^uint64(0)})
	if n := len(filepath.Base(long)); n > 255 {
		t.Errorf("a name of %d bytes, file systems take 255", n)
	}
}
