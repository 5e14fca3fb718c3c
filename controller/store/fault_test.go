package store

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

func failed(t testing.TB, s *Store) {
	t.Helper()
	select {
	case <-s.Failed():
	case <-time.After(10 * time.Second):
		t.Fatal("the store goes on")
	}
}

func TestLogThatCannotBeWrittenStopsTheNode(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	run := createRun(t, s)
	appendChunk(t, s, chunk(run.ID, "vm1", 1))
	if err := s.logs.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AppendChunk(t.Context(), chunk(run.ID, "vm1", 2)); !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("%v, want ErrUnknownOutcome", err)
	}
	failed(t, s)
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), "write the log") {
		t.Errorf("the reason is %v", err)
	}
	s = reopen(t, s, dir)
	if !appendChunk(t, s, chunk(run.ID, "vm1", 1)) {
		t.Error("what was acknowledged before is gone")
	}
}

// TestTermThatCannotBeWrittenStopsTheNode: the library would panic, and the process end without a word.
func TestTermThatCannotBeWrittenStopsTheNode(t *testing.T) {
	s := open(t, t.TempDir())
	if err := s.logs.Close(); err != nil {
		t.Fatal(err)
	}
	returned, ended := false, make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.watched.SetUint64([]byte("CurrentTerm"), 99)
		returned = true
	}()
	<-ended
	if returned {
		t.Error("the library is given an error, at which it panics")
	}
	failed(t, s)
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), "write raft's term") {
		t.Errorf("the reason is %v", err)
	}
}

func TestChunkFileThatCannotBeWrittenStopsTheNode(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	run := createRun(t, s)
	// A file where the run's directory should be: even root cannot make the other.
	blocker := dir + "/" + runsDir + "/" + run.ID
	if err := os.WriteFile(blocker, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AppendChunk(t.Context(), chunk(run.ID, "vm1", 1)); !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("%v, want ErrUnknownOutcome: the log has the chunk", err)
	}
	failed(t, s)
	if err := errors.Join(s.Close(), os.Remove(blocker)); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if got := len(chunksOf(t, s, run.ID)); got != 1 {
		t.Errorf("%d chunks after the disk was repaired, want the one in the log", got)
	}
}

// stuck is a log on a disk that does not answer until it is released.
type stuck struct {
	raft.LogStore
	raft.StableStore
	release chan struct{}
}

func (s stuck) StoreLogs([]*raft.Log) error {
	<-s.release
	return nil
}

func TestLogThatHangsStopsTheNode(t *testing.T) {
	f := newFault(slog.New(slog.DiscardHandler))
	release := make(chan struct{})
	w := &watchedLog{LogStore: stuck{release: release}, fault: f, stall: time.Millisecond}
	done := make(chan error)
	go func() { done <- w.StoreLogs(nil) }()
	select {
	case <-f.failed:
	case <-time.After(10 * time.Second):
		t.Error("a write hangs, and nobody says so")
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestFaultWhileClosing: a disk may begin to hang when Close waits already, and then nobody would end
// the process.
func TestFaultWhileClosing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFault(slog.New(slog.DiscardHandler))
		hangs := make(chan struct{})
		began := time.Now()
		time.AfterFunc(time.Minute, func() { f.fail(errors.New("the disk has not answered")) })
		if f.patient(hangs) {
			t.Error("what hangs is said to be done")
		}
		if took := time.Since(began); took != time.Minute+stuckLimit {
			t.Errorf("it waited for %v, want %v after the fault", took, stuckLimit)
		}
		close(hangs)
		if !f.patient(hangs) {
			t.Error("what is done is said to hang")
		}
	})
}

// A process that was stopped finds that a timer should have gone off long ago: that is one part of
// what it waits for, and not all of it.
func TestExpectationCountsTheTimeOfTheProcess(t *testing.T) {
	f := newFault(slog.New(slog.DiscardHandler))
	e := f.expect("write", time.Hour)
	for part := range expectSlices {
		if over, last := e.passed(time.Hour), part == expectSlices-1; over != last {
			t.Errorf("part %d of %d: over is %v", part+1, expectSlices, over)
		}
	}
	e.meet()
	met := f.expect("write", time.Hour)
	met.meet()
	for range expectSlices {
		if met.passed(time.Hour) {
			t.Fatal("what was met has failed")
		}
	}
	if err := f.Err(); err != nil {
		t.Error(err)
	}
}

func TestCancelledRequestIsUnknown(t *testing.T) {
	s := open(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.PutAgent(ctx, Agent{Name: "vm1"}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
	if got := s.Agents(); len(got) != 0 {
		t.Errorf("a request that was cancelled before it began left %v", got)
	}
}

func TestClassify(t *testing.T) {
	s := open(t, t.TempDir())
	for err, want := range map[error]error{
		raft.ErrNotLeader:                    ErrNotLeader,
		raft.ErrLeadershipTransferInProgress: ErrNotLeader,
		raft.ErrEnqueueTimeout:               ErrBusy,
		raft.ErrLeadershipLost:               ErrUnknownOutcome,
		raft.ErrRaftShutdown:                 ErrUnknownOutcome,
		context.DeadlineExceeded:             ErrUnknownOutcome,
	} {
		if got := s.classify(err); !errors.Is(got, want) {
			t.Errorf("%v became %v, want %v", err, got, want)
		}
	}
}

func TestLoggerGivesRaftsMessagesToSlog(t *testing.T) {
	var b bytes.Buffer
	l := newLogger(slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelInfo})))
	l.Debug("not shown")
	l.Named("snapshot").With("id", 7).Warn("slow", "took", hclog.Fmt("%d ms", 12))
	got := b.String()
	for _, want := range []string{"level=WARN", "msg=slow", "component=raft", "part=snapshot", "id=7", `took="12 ms"`} {
		if !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
	if strings.Contains(got, "not shown") || l.IsDebug() || !l.IsInfo() || l.GetLevel() != hclog.Info {
		t.Error("levels are not slog's")
	}
}
