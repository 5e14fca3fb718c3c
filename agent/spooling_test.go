package agent

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"syncline/agent/spool"
	synclinev1 "syncline/proto/syncline/v1"
)

// spoolingRuns are runs of an agent with a spool, and what starts another agent on the same
// directory once this one is stopped, or has died: nothing but its files is left then.
type spoolingRuns struct {
	*runs
	t   *testing.T
	cfg Config
	// stopped is set once the spool is closed.
	stopped bool
}

func startSpooling(t *testing.T, cfg Config) *spoolingRuns {
	t.Helper()
	rs := &spoolingRuns{runs: newRuns(cfg, 1), t: t, cfg: cfg}
	if err := rs.openSpool(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(rs.stop)
	return rs
}

// stop is what Run does at its end.
func (rs *spoolingRuns) stop() {
	if rs.stopped {
		return
	}
	rs.stopped = true
	rs.close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	rs.keepSpooling(ctx)
	if err := rs.spool.Close(); err != nil {
		rs.t.Error(err)
	}
}

// died is another start on a copy of the files as they are now, as after kill -9.
func (rs *spoolingRuns) died() *spoolingRuns {
	rs.t.Helper()
	cfg := rs.cfg
	cfg.State = rs.t.TempDir()
	if err := os.CopyFS(cfg.State, os.DirFS(rs.cfg.State)); err != nil {
		rs.t.Fatal(err)
	}
	return startSpooling(rs.t, cfg)
}

func spoolConfig(t *testing.T) Config {
	return Config{Name: "vm1", PendingBytes: 64 << 20, State: t.TempDir(), Log: slog.New(slog.DiscardHandler)}
}

func prepareOf(id string) *synclinev1.Prepare {
	return &synclinev1.Prepare{RunId: id, Epoch: 5, Host: "A", Hosts: []*synclinev1.HostAddress{{Host: "A", Agent: "vm1", Address: "127.0.0.1"}}}
}

func (rs *spoolingRuns) begin(id string) *run {
	rs.t.Helper()
	if err := rs.admit(prepareOf(id), false); err != nil {
		rs.t.Fatal(err)
	}
	return rs.byID[id]
}

// record makes n chunks of a run.
func (r *run) record(n int) {
	for i := range n {
		r.stream.add(1, signalEvent(i))
		r.stream.finish()
	}
}

// uploaded are the chunks that an agent would send, by their stream and number.
func (rs *spoolingRuns) uploaded(connection uint64) (all []*synclinev1.Chunk) {
	for c := rs.unsent(connection); c != nil; c = rs.unsent(connection) {
		all = append(all, c)
	}
	return all
}

func (rs *spoolingRuns) acknowledge(all ...*synclinev1.Chunk) {
	for _, c := range all {
		rs.acknowledged(&synclinev1.UploadResponse{RunId: c.RunId, Incarnation: c.Incarnation, Sequence: c.Sequence})
	}
}

// What an agent had on its disk when it died is sent by its next start, as the chunks of the
// earlier one, and how much that was, and that something is lost.
func TestNextStartSendsTheSpool(t *testing.T) {
	first := startSpooling(t, spoolConfig(t))
	r := first.begin("r-1")
	r.record(3)
	sent := first.uploaded(1)
	first.acknowledge(sent[0])
	first.spoolAll(false)
	r.record(1) // in memory alone

	next := first.died()
	if ids := next.ids(); len(ids) != 1 || ids[0] != "r-1" || next.incarnation <= first.incarnation {
		t.Fatalf("the next start names %v, and is incarnation %d", ids, next.incarnation)
	}
	got := next.uploaded(1)
	if len(got) != 2 || got[0].Sequence != 2 || got[1].Sequence != 3 || got[0].Incarnation != first.incarnation || string(got[0].Data) != string(sent[1].Data) || got[0].Crc32C != sent[1].Crc32C || got[0].FirstEvent != sent[1].FirstEvent || got[0].Agent != "vm1" {
		t.Fatalf("it sends %v", got)
	}
	f := next.past[0].finished
	if f.RunId != "r-1" || f.Epoch != 5 || f.Incarnation != first.incarnation || f.LastChunk != 3 || f.LastEvent < 3 || f.Error == "" || !strings.Contains(f.Gap, "agent vm1 was killed, or its host went down") {
		t.Errorf("it says %v", f)
	}
	if err := next.admit(prepareOf("r-1"), false); err == nil {
		t.Error("a run of an earlier start was begun again")
	}
	if !next.cancelPast(&synclinev1.Cancel{RunId: "r-1"}) || next.cancelPast(&synclinev1.Cancel{RunId: "r-2"}) {
		t.Error("it does not answer for what it has, or for what it has not")
	}
	next.acknowledge(got...)
	if left := next.uploaded(2); len(left) > 0 {
		t.Errorf("acknowledged, and sent again: %v", left)
	}
	next.forget("r-1")
	next.spoolAll(false)
	if left := next.died(); len(left.ids()) > 0 {
		t.Errorf("forgotten, and named by the next start: %v", left.ids())
	}
}

// An agent that is stopped in order leaves all that was not acknowledged, and how its runs
// ended: nothing is lost.
func TestStoppedAgentLeavesEverything(t *testing.T) {
	cfg := spoolConfig(t)
	first := startSpooling(t, cfg)
	r := first.begin("r-1")
	r.record(2)
	first.stop()
	next := startSpooling(t, cfg)
	f := next.past[0].finished
	if f.Gap != "" || f.Error != "the agent is shutting down" || f.LastChunk != r.finished.LastChunk || f.LastEvent != r.finished.LastEvent {
		t.Errorf("it says %v, was %v", f, r.finished)
	}
	if got := next.uploaded(1); uint64(len(got)) != f.LastChunk {
		t.Errorf("%d chunks are left of %d", len(got), f.LastChunk)
	}
}

// A run whose chunks are all acknowledged before the disk's turn comes leaves nothing there.
func TestAcknowledgedChunksAreNotWritten(t *testing.T) {
	rs := startSpooling(t, spoolConfig(t))
	r := rs.begin("r-1")
	r.record(5)
	rs.acknowledge(rs.uploaded(1)...)
	rs.spoolAll(false)
	if segments, err := filepath.Glob(filepath.Join(rs.cfg.State, "spool", "*.segment")); err != nil || len(segments) > 0 {
		t.Errorf("files %v, %v", segments, err)
	}
	// The numbers that are not there are not missing to the next start.
	r.record(1)
	rs.spoolAll(false)
	next := rs.died()
	if f := next.past[0].finished; f.LastChunk != 6 || strings.Contains(f.Gap, "damaged") {
		t.Errorf("it says %v", f)
	}
	if got := next.uploaded(1); len(got) != 1 || got[0].Sequence != 6 {
		t.Errorf("it sends %v", got)
	}
}

// With the disk, memory need not hold what waits: it is read from there when its turn
// comes, and nothing is lost where memory alone would not do.
func TestMemoryIsBoundedByTheDisk(t *testing.T) {
	cfg := spoolConfig(t)
	cfg.PendingBytes = 400
	rs := startSpooling(t, cfg)
	r := rs.begin("r-1")
	const chunks = 40
	for range chunks {
		r.record(1)
		rs.spoolAll(false)
		if r.stream.parcels.bytes > cfg.PendingBytes/2 {
			t.Fatalf("%d bytes are in memory, of %d", r.stream.parcels.bytes, cfg.PendingBytes)
		}
	}
	got := rs.uploaded(1)
	if len(got) != chunks {
		t.Fatalf("%d chunks, want %d", len(got), chunks)
	}
	for i, c := range got {
		if c.Sequence != uint64(i+1) || c.RunId != "r-1" || len(c.Data) == 0 {
			t.Fatalf("chunk %d is %v", i+1, c)
		}
	}
	if again := rs.uploaded(2); len(again) != chunks {
		t.Errorf("%d chunks on the next connection", len(again))
	}
	rs.acknowledge(got...)
	if p := r.stream.parcels; p.bytes != 0 || p.unspooled != 0 || len(p.waiting) != 0 {
		t.Errorf("after all are acknowledged: %+v", p)
	}
}

// Damage of what waits on the disk is in the end of the run.
func TestDamagedChunksAreInTheEnd(t *testing.T) {
	cfg := spoolConfig(t)
	cfg.PendingBytes = 2
	rs := startSpooling(t, cfg)
	r := rs.begin("r-1")
	r.record(3)
	rs.spoolAll(false)
	flip(t, filepath.Join(cfg.State, "spool"))
	if got := rs.uploaded(1); len(got) != 2 {
		t.Errorf("%d chunks are sent of 3, one of them damaged", len(got))
	}
	r.finish("")
	<-r.done
	if !strings.Contains(r.finished.Gap, "damaged on the disk") {
		t.Errorf("the run ended as %v", r.finished)
	}
	next := rs.died()
	if f := next.past[0].finished; !strings.Contains(f.Gap, "damaged on the disk of agent vm1: chunks 2 of 3") {
		t.Errorf("the next start says %v", f)
	}
}

// flip changes a bit of the second chunk in a spool with one segment.
func flip(t *testing.T, dir string) {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(dir, "*.segment"))
	if err != nil || len(segments) != 1 {
		t.Fatalf("segments %v, %v", segments, err)
	}
	b, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	// Of the frames the first is the identity, the third chunk 2.
	for range 3 {
		at += strings.Index(string(b[at+1:]), "SPFM") + 1
	}
	b[at+80] ^= 1
	if err := os.WriteFile(segments[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// At 80 % no run is begun, at 95 % the one at work is ended, with the cause, and all that it
// recorded and its end are on the disk.
func TestFullSpoolEndsTheRun(t *testing.T) {
	cfg := spoolConfig(t)
	cfg.SpoolBytes = spool.MinQuota
	rs := startSpooling(t, cfg)
	r := rs.begin("r-1")
	for !r.over() {
		r.record(1)
		rs.spoolAll(false)
	}
	<-r.done
	if f := r.finished; !strings.Contains(f.Error, "is full") || !strings.Contains(f.Error, "of 65536 bytes used") {
		t.Errorf("the run ended as %v", f)
	}
	if err := rs.admit(prepareOf("r-2"), false); err == nil || !strings.Contains(err.Error(), "takes no new run") {
		t.Errorf("another run: %v", err)
	}
	rs.stop()
	next := startSpooling(t, cfg)
	f := next.past[0].finished
	if f.Gap != "" || !strings.Contains(f.Error, "is full") || f.LastChunk != r.finished.LastChunk {
		t.Errorf("the next start says %v", f)
	}
	got := next.uploaded(1)
	if uint64(len(got)) != f.LastChunk {
		t.Errorf("it has %d chunks of %d", len(got), f.LastChunk)
	}
	next.acknowledge(got...)
	next.forget("r-1")
	next.spoolAll(false)
	if err := next.admit(prepareOf("r-2"), false); err != nil {
		t.Errorf("a run after there is room again: %v", err)
	}
}

func (r *run) over() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.finishing
}

// failing is a file system whose fsync fails.
type failing struct{ spool.FS }

func (f failing) Create(name string) (spool.File, error) {
	made, err := f.FS.Create(name)
	if strings.HasSuffix(name, ".segment") {
		return failingFile{made}, err
	}
	return made, err
}

type failingFile struct{ spool.File }

func (failingFile) Sync() error { return syscall.EIO }

// A disk that fails ends the run, and lets none begin. What is in memory is sent all the same.
func TestFailedDiskEndsTheRun(t *testing.T) {
	cfg := spoolConfig(t)
	dir, err := spool.OpenDir(filepath.Join(cfg.State, "spool"))
	if err != nil {
		t.Fatal(err)
	}
	rs := &spoolingRuns{runs: newRuns(cfg, 1), t: t, cfg: cfg}
	rs.spoolFS = failing{dir}
	if err := rs.openSpool(); err != nil {
		t.Fatal(err)
	}
	defer rs.stop()
	r := rs.begin("r-1")
	r.record(3)
	rs.spoolAll(false)
	<-r.done
	if f := r.finished; !strings.Contains(f.Error, "fsync") || !strings.Contains(f.Error, "input/output error") || !strings.Contains(f.Error, "start the agent anew") {
		t.Errorf("the run ended as %v", f)
	}
	if err := rs.admit(prepareOf("r-2"), false); err == nil || !strings.Contains(err.Error(), "input/output error") {
		t.Errorf("another run: %v", err)
	}
	if got := rs.uploaded(1); uint64(len(got)) != r.finished.LastChunk {
		t.Errorf("%d chunks are sent of %d", len(got), r.finished.LastChunk)
	}
}

// Two agents cannot share a directory.
func TestOneAgentToAState(t *testing.T) {
	cfg := spoolConfig(t)
	startSpooling(t, cfg)
	if err := newRuns(cfg, 1).openSpool(); !errors.Is(err, spool.ErrInUse) || !strings.Contains(err.Error(), "spool") {
		t.Errorf("a second agent: %v", err)
	}
}
