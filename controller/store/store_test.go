package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDirEnv); dir != "" {
		appendUntilKilled(dir)
	}
	if dir := os.Getenv(restoreDirEnv); dir != "" {
		restoreChild(dir)
	}
	if job := os.Getenv(gigabyteEnv); job != "" {
		gigabyteChild(job)
	}
	goleak.VerifyTestMain(m)
}

// testLog shows raft's messages when a test fails.
func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// open starts a single node that leads.
func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	wait(t, s)
	return s
}

func wait(t testing.TB, s *Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := s.WaitLeader(ctx); err != nil {
		t.Fatal(err)
	}
}

func reopen(t testing.TB, s *Store, dir string) *Store {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return open(t, dir)
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func createRun(t testing.TB, s *Store) Run {
	t.Helper()
	return must[Run](t)(s.CreateRun(t.Context(), "req-"+randomHex(4), Run{
		Experiment: "handshake", FileName: "handshake.yaml", Source: []byte("name: handshake\n"), Repetitions: 3,
		Hosts:    []RunHost{{Name: "A", Agent: "vm1", Address: "10.0.0.1", Address6: "fd77::1", Capabilities: []Capability{{Source: "packets", Available: true}}}},
		Bindings: map[string]string{"A": "vm1"},
		Set:      map[string]string{"port": "9000"}, Cases: []string{"burst"}, Runs: 3,
		Variants: []RunVariant{{Name: "burst", First: 1, Last: 2}, {Name: "trickle"}},
	}))
}

// chunk makes the chunk of a stream in which each chunk has 10 events.
func chunk(run, agent string, sequence uint64) Chunk {
	r := rand.New(rand.NewPCG(sequence, uint64(len(agent))))
	data := make([]byte, 50+r.IntN(5000))
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	return Chunk{RunID: run, Agent: agent, Incarnation: 1, Sequence: sequence, FirstEvent: 10*sequence - 9, Events: 10, Data: data, CRC32C: Checksum(data)}
}

func appendChunk(t testing.TB, s *Store, c Chunk) bool {
	t.Helper()
	return must[bool](t)(s.AppendChunk(t.Context(), c))
}

func chunksOf(t testing.TB, s *Store, run string) []Chunk {
	t.Helper()
	var out []Chunk
	if err := s.Chunks(run, func(c Chunk) error { out = append(out, c); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

// content is all that a store answers.
type content struct {
	Agents  []Agent
	Runs    []Run
	Streams map[string][]Stream
	Chunks  map[string][]Chunk
}

func contentOf(t testing.TB, s *Store) content {
	t.Helper()
	c := content{Agents: s.Agents(), Runs: s.Runs(), Streams: map[string][]Stream{}, Chunks: map[string][]Chunk{}}
	for _, run := range c.Runs {
		c.Streams[run.ID] = s.Streams(run.ID)
		c.Chunks[run.ID] = chunksOf(t, s, run.ID)
	}
	return c
}

// compareContent compares chunks as a whole, since cmp by itself goes through their
// bytes one by one.
var compareContent = cmp.Options{cmp.AllowUnexported(Run{}), cmpopts.EquateEmpty(), cmp.Comparer(func(a, b Chunk) bool { return reflect.DeepEqual(a, b) })}

func fill(t testing.TB, s *Store) Run {
	t.Helper()
	for _, name := range []string{"vm1", "vm2"} {
		if err := s.PutAgent(t.Context(), Agent{Name: name, Labels: map[string]string{"os": "linux"}, Addresses: []string{"10.0.0.1"}, Incarnation: 3}); err != nil {
			t.Fatal(err)
		}
	}
	run := createRun(t, s)
	for _, agent := range []string{"vm1", "vm2", "../Vm 3"} {
		for seq := uint64(1); seq <= 5; seq++ {
			appendChunk(t, s, chunk(run.ID, agent, seq))
		}
	}
	return run
}

func TestRestartKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s)
	want := contentOf(t, s)
	if n := len(want.Chunks[want.Runs[0].ID]); n != 15 {
		t.Fatalf("%d chunks before the restart", n)
	}
	for _, withSnapshot := range []bool{false, true, false} {
		if withSnapshot {
			if err := s.Snapshot(); err != nil {
				t.Fatal(err)
			}
		}
		s = reopen(t, s, dir)
		if diff := cmp.Diff(want, contentOf(t, s), compareContent); diff != "" {
			t.Fatalf("snapshot %v (-before +after restart):\n%s", withSnapshot, diff)
		}
	}
}

func TestChunkTwiceIsDuplicateForEver(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	run := createRun(t, s)
	c := chunk(run.ID, "vm1", 1)
	if appendChunk(t, s, c) {
		t.Fatal("the first is called a duplicate")
	}
	check := func(when string) {
		t.Helper()
		if !appendChunk(t, s, c) {
			t.Errorf("%s: not called a duplicate", when)
		}
		other := chunk(run.ID, "vm1", 1)
		other.Data[0]++
		other.CRC32C = Checksum(other.Data)
		if _, err := s.AppendChunk(t.Context(), other); !errors.Is(err, ErrConflict) {
			t.Errorf("%s: other bytes of the same number: %v, want ErrConflict", when, err)
		}
	}
	check("at once")
	s = reopen(t, s, dir)
	check("after a restart")
	if err := s.Snapshot(); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s, dir)
	check("after a snapshot")
	sealing := Sealing{Epoch: run.Epoch, State: Failed, Reason: "test"}
	must[Run](t)(s.Seal(t.Context(), run.ID, sealing))
	check("after the seal")
	if _, err := s.AppendChunk(t.Context(), chunk(run.ID, "vm1", 2)); !errors.Is(err, ErrSealed) {
		t.Errorf("a new chunk of a sealed run: %v, want ErrSealed", err)
	}
	if got := len(chunksOf(t, s, run.ID)); got != 1 {
		t.Errorf("%d chunks are stored, want 1", got)
	}
}

func TestAppendRefuses(t *testing.T) {
	s := open(t, t.TempDir())
	run := createRun(t, s)
	for name, tc := range map[string]struct {
		change func(*Chunk)
		want   error
	}{
		"unknown run":  {func(c *Chunk) { c.RunID = "r-none" }, ErrUnknownRun},
		"path as run":  {func(c *Chunk) { c.RunID = "../x" }, ErrInvalid},
		"no agent":     {func(c *Chunk) { c.Agent = "" }, ErrInvalid},
		"sequence 0":   {func(c *Chunk) { c.Sequence = 0 }, ErrInvalid},
		"no events":    {func(c *Chunk) { c.Events = 0 }, ErrInvalid},
		"overflow":     {func(c *Chunk) { c.FirstEvent = ^uint64(0) }, ErrInvalid},
		"too long":     {func(c *Chunk) { c.Data = make([]byte, MaxChunkBytes+1); c.CRC32C = Checksum(c.Data) }, ErrInvalid},
		"wrong digest": {func(c *Chunk) { c.CRC32C++ }, ErrDamaged},
	} {
		c := chunk(run.ID, "vm1", 1)
		tc.change(&c)
		if _, err := s.AppendChunk(t.Context(), c); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
	if got := s.Streams(run.ID); len(got) != 0 {
		t.Errorf("refused chunks left %v", got)
	}
}

func TestCreateRunOncePerRequest(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	first := must[Run](t)(s.CreateRun(t.Context(), "req-1", Run{Experiment: "a"}))
	again := must[Run](t)(s.CreateRun(t.Context(), "req-1", Run{Experiment: "b"}))
	if diff := cmp.Diff(first, again, compareContent); diff != "" {
		t.Errorf("a retry made another run:\n%s", diff)
	}
	if err := s.Snapshot(); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s, dir)
	again = must[Run](t)(s.CreateRun(t.Context(), "req-1", Run{Experiment: "b"}))
	if again.ID != first.ID {
		t.Errorf("after a snapshot, a retry made run %s beside %s", again.ID, first.ID)
	}
	if _, err := s.CreateRun(t.Context(), "req-2", Run{ID: first.ID}); !errors.Is(err, ErrExists) {
		t.Errorf("the same id: %v, want ErrExists", err)
	}
}

func TestRunLife(t *testing.T) {
	s := open(t, t.TempDir())
	run := createRun(t, s)
	change := func(c RunChange) (Run, error) {
		c.Epoch = run.Epoch
		return s.ChangeRun(t.Context(), run.ID, c)
	}
	if _, err := change(RunChange{State: Running}); !errors.Is(err, ErrTransition) {
		t.Errorf("planned to running: %v, want ErrTransition", err)
	}
	for _, state := range []RunState{Prepared, Running, Running} {
		if run := must[Run](t)(change(RunChange{State: state})); run.State != state {
			t.Errorf("state %s, want %s", run.State, state)
		}
	}
	if got := must[Run](t)(change(RunChange{RepetitionsDone: 2})); got.RepetitionsDone != 2 || got.State != Running {
		t.Errorf("%d repetitions done, %s", got.RepetitionsDone, got.State)
	}
	if got := must[Run](t)(change(RunChange{RepetitionsDone: 1, Incomplete: []string{"x", "x"}})); got.RepetitionsDone != 2 || len(got.Incomplete) != 1 {
		t.Errorf("%d repetitions done, %q missing", got.RepetitionsDone, got.Incomplete)
	}
	if got := must[Run](t)(change(RunChange{Warnings: []string{"w", "w"}})); len(got.Warnings) != 1 || len(got.Incomplete) != 1 {
		t.Errorf("warnings %q, missing %q", got.Warnings, got.Incomplete)
	}
	if _, err := s.ChangeRun(t.Context(), run.ID, RunChange{Epoch: 7, State: Collecting}); !errors.Is(err, ErrEpoch) {
		t.Errorf("wrong epoch: %v, want ErrEpoch", err)
	}
	if _, err := s.Seal(t.Context(), run.ID, Sealing{Epoch: run.Epoch, State: Sealed}); !errors.Is(err, ErrTransition) {
		t.Errorf("running to sealed: %v, want ErrTransition", err)
	}
	must[Run](t)(change(RunChange{State: Collecting}))
	appendChunk(t, s, chunk(run.ID, "vm1", 2))
	if _, err := s.Seal(t.Context(), run.ID, Sealing{Epoch: run.Epoch, State: Sealed}); !errors.Is(err, ErrTransition) {
		t.Errorf("sealed with a gap: %v, want ErrTransition", err)
	}
	appendChunk(t, s, chunk(run.ID, "vm1", 1))
	sealed := must[Run](t)(s.Seal(t.Context(), run.ID, Sealing{Epoch: run.Epoch, State: Sealed}))
	if sealed.State != Sealed || sealed.EndedNs < sealed.CreatedNs || sealed.CreatedNs == 0 || sealed.Events != 20 || sealed.Chunks != 2 {
		t.Errorf("sealed: %+v", sealed)
	}
	want := NewDigest()
	for _, c := range chunksOf(t, s, run.ID) {
		want.Add(&c)
	}
	if !bytes.Equal(sealed.Seal, want.Sum()) {
		t.Errorf("seal %x, the chunks give %x", sealed.Seal, want.Sum())
	}
	again := must[Run](t)(s.Seal(t.Context(), run.ID, Sealing{Epoch: run.Epoch, State: Failed}))
	if diff := cmp.Diff(sealed, again, compareContent); diff != "" {
		t.Errorf("sealing twice changed the run:\n%s", diff)
	}
	if _, err := change(RunChange{State: Failed}); !errors.Is(err, ErrTransition) {
		t.Errorf("sealed to failed: %v, want ErrTransition", err)
	}
}

// More warnings than a run keeps are cut, and the store starts again with what is left.
func TestManyWarningsDoNotKeepFromStarting(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	run := createRun(t, s)
	var all []string
	for i := range MaxIncomplete + 100 {
		all = append(all, fmt.Sprint("warning ", i))
	}
	got := must[Run](t)(s.ChangeRun(t.Context(), run.ID, RunChange{Epoch: 1, Warnings: all, Incomplete: all}))
	if len(got.Warnings) != MaxIncomplete+1 || len(got.Incomplete) != MaxIncomplete+1 {
		t.Errorf("%d warnings and %d missing are kept", len(got.Warnings), len(got.Incomplete))
	}
	if err := s.Snapshot(); err != nil {
		t.Fatal(err)
	}
	again, ok := reopen(t, s, dir).Run(run.ID)
	if diff := cmp.Diff(got, again, compareContent); !ok || diff != "" {
		t.Errorf("after a restart (-before +after):\n%s", diff)
	}
}

func TestFailedRunKeepsTakingChunksUntilSealed(t *testing.T) {
	s := open(t, t.TempDir())
	run := createRun(t, s)
	must[Run](t)(s.ChangeRun(t.Context(), run.ID, RunChange{Epoch: 1, State: Cancelled, Reason: "operator"}))
	appendChunk(t, s, chunk(run.ID, "vm1", 3))
	got := must[Run](t)(s.Seal(t.Context(), run.ID, Sealing{Epoch: 1, State: Failed, Reason: "other", Incomplete: []string{"chunks 1-2 of vm1"}}))
	if got.State != Cancelled || got.Reason != "operator" || len(got.Seal) != 32 || len(got.Incomplete) != 1 {
		t.Errorf("%+v", got)
	}
}

func TestStreamsShowGaps(t *testing.T) {
	s := open(t, t.TempDir())
	run := createRun(t, s)
	for _, seq := range []uint64{1, 2, 4, 8, 9} {
		appendChunk(t, s, chunk(run.ID, "vm1", seq))
	}
	got := s.Streams(run.ID)
	want := []Stream{{Agent: "vm1", Incarnation: 1, Chunks: 5, Events: 50, Contiguous: 2, LastEvent: 20, Gaps: []Gap{{3, 3}, {5, 7}}}}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Stream{}, "Bytes")); diff != "" {
		t.Error(diff)
	}
}

func TestManyAppendersShareFsyncs(t *testing.T) {
	s := open(t, t.TempDir())
	run := createRun(t, s)
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for seq := uint64(1); seq <= 20; seq++ {
				if _, err := s.AppendChunk(t.Context(), chunk(run.ID, fmt.Sprintf("vm%d", g), seq)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	for _, st := range s.Streams(run.ID) {
		if st.Contiguous != 20 {
			t.Errorf("%s has %d of 20 chunks", st.Agent, st.Contiguous)
		}
	}
	if got := len(chunksOf(t, s, run.ID)); got != 16*20 {
		t.Errorf("%d chunks, want %d", got, 16*20)
	}
}

func TestChangedMissesNothing(t *testing.T) {
	s := open(t, t.TempDir())
	changed := s.Changed()
	run := createRun(t, s)
	select {
	case <-changed:
	case <-time.After(10 * time.Second):
		t.Fatal("a new run closed no channel")
	}
	changed = s.Changed()
	appendChunk(t, s, chunk(run.ID, "vm1", 1))
	select {
	case <-changed:
	case <-time.After(10 * time.Second):
		t.Fatal("a new chunk closed no channel")
	}
}

func TestDirectoryInUse(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if s, err := Open(Config{Dir: dir}); err == nil {
		s.Close()
		t.Fatal("two stores in one directory")
	} else if !strings.Contains(err.Error(), "in use") {
		t.Errorf("the message does not say why: %v", err)
	}
}

func TestDirectoryOfAnotherNode(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.Close()
	if s, err := Open(Config{Dir: dir, ID: "other"}); err == nil {
		s.Close()
		t.Fatal("a node came back under another name")
	}
}

func TestClosedStoreRefuses(t *testing.T) {
	s := open(t, t.TempDir())
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if err := s.PutAgent(t.Context(), Agent{Name: "vm1"}); !errors.Is(err, ErrNotLeader) {
		t.Errorf("%v, want ErrNotLeader", err)
	}
}

func TestLimits(t *testing.T) {
	st := newState()
	for i := range MaxAgents {
		if err := st.putAgent(Agent{Name: fmt.Sprint("vm", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.putAgent(Agent{Name: "one more"}); !errors.Is(err, ErrTooMany) {
		t.Errorf("%v, want ErrTooMany", err)
	}
	if err := st.putAgent(Agent{Name: "vm7"}); err != nil {
		t.Errorf("an agent that is known: %v", err)
	}
	for i := range MaxRuns {
		if _, err := st.createRun(fmt.Sprint(i), Run{ID: fmt.Sprint("r-", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := st.createRun("more", Run{ID: "r-more"}); !errors.Is(err, ErrTooMany) {
		t.Errorf("%v, want ErrTooMany", err)
	}
}

// chunkFile returns the one chunk file of a directory.
func chunkFileIn(t testing.TB, dir string) string {
	t.Helper()
	names := must[[]string](t)(filepath.Glob(filepath.Join(dir, runsDir, "*", "*.chunks")))
	if len(names) != 1 {
		t.Fatalf("chunk files %q, want one", names)
	}
	return names[0]
}

func TestTornTailIsCut(t *testing.T) {
	for _, tear := range []string{"short", "long", "other bytes", "gone"} {
		t.Run(tear, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			run := createRun(t, s)
			for seq := uint64(1); seq <= 4; seq++ {
				appendChunk(t, s, chunk(run.ID, "vm1", seq))
			}
			want := contentOf(t, s)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			tearFile(t, chunkFileIn(t, dir), tear)
			s = open(t, dir)
			if diff := cmp.Diff(want, contentOf(t, s), compareContent); diff != "" {
				t.Fatalf("(-before +after):\n%s", diff)
			}
			appendChunk(t, s, chunk(run.ID, "vm1", 5))
			if got := len(chunksOf(t, s, run.ID)); got != 5 {
				t.Errorf("%d chunks, want 5", got)
			}
		})
	}
}

// tearFile leaves a file as a crash may: what was not fsynced is the kernel's to
// lose.
func tearFile(t testing.TB, name, how string) {
	t.Helper()
	b := must[[]byte](t)(os.ReadFile(name))
	switch how {
	case "short":
		b = b[:len(b)-7]
	case "long":
		b = append(b, "garbage after the last frame"...)
	case "other bytes":
		clear(b[len(b)/2:])
	case "gone":
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
