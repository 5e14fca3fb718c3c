package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// fault ends a node whose promises can no longer be kept. The library would go on:
// a leader whose log cannot be written becomes a follower and stands again, and a
// follower forgets which entries it has.
type fault struct {
	log    *slog.Logger
	failed chan struct{} // closed by the first call of fail

	mu sync.Mutex
	// dir is where the reason is left for the next start, by the node called name.
	dir, name string
	// left is closed when it is there; nil before there is one.
	left     chan struct{}
	err      error
	node     *raft.Raft
	shutting raft.Future
	// wire is closed by a fault: raft's heartbeats end with its main goroutine only, which
	// may be the one that hangs.
	wire io.Closer
}

func newFault(log *slog.Logger) *fault {
	return &fault{log: log, failed: make(chan struct{})}
}

// stops names the node that a fault ends, now if there was one already, and its way to the others;
// nil: it has none.
func (f *fault) stops(node *raft.Raft, wire io.Closer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.node, f.wire = node, wire
	if f.err != nil {
		f.silence()
	}
}

// silence begins to stop the node, and cuts it off.
func (f *fault) silence() {
	if f.node != nil {
		f.begin(f.node)
	}
	if f.wire != nil {
		// It waits for connections to end, and fail must not.
		go f.wire.Close()
	}
}

// fail records the first reason and begins to stop raft, without waiting for it:
// fail is called from raft's own goroutines.
func (f *fault) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return
	}
	f.err = err
	f.log.Error("the store stops", "reason", err)
	if f.dir != "" {
		// The disk may be what hangs, so nobody waits for it but for a while; see leave.
		f.left = make(chan struct{})
		go func() {
			defer close(f.left)
			f.leaveReason(f.dir, f.name, err)
		}()
	}
	f.silence()
	close(f.failed)
}

// Err is the first reason.
func (f *fault) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// begin tells raft to stop, once: only the future of the first call waits.
func (f *fault) begin(node *raft.Raft) raft.Future {
	if f.shutting == nil {
		f.shutting = node.Shutdown()
	}
	return f.shutting
}

// stop begins to stop raft.
func (f *fault) stop(node *raft.Raft) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.begin(node)
}

// shutdown stops raft and returns when its goroutines are gone.
func (f *fault) shutdown(node *raft.Raft) error {
	f.mu.Lock()
	future := f.begin(node)
	f.mu.Unlock()
	var err error
	done := make(chan struct{})
	go func() { err = future.Error(); close(done) }()
	if !f.patient(done) {
		return fmt.Errorf("%w after %v", errStuck, stuckLimit)
	}
	return stopped(err)
}

// patient waits until done is closed, and after a fault for stuckLimit at most: what failed may be a
// disk that hangs, and whoever would close done may hang on it. A fault may come while it
// waits. It reports whether done was closed.
func (f *fault) patient(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-f.failed:
	}
	limit := time.NewTimer(stuckLimit)
	defer limit.Stop()
	select {
	case <-done:
		return true
	case <-limit.C:
		return false
	}
}

// stuckLimit is how long Close waits for raft after a fault.
const stuckLimit = 2 * time.Second

// errStuck: raft cannot be stopped, since a write of it has not returned. Only the end of the
// process ends it.
var errStuck = errors.New("stop raft: the disk still does not answer; end the process")

func stopped(err error) error {
	if err != nil {
		return fmt.Errorf("stop raft: %w", err)
	}
	return nil
}

// Files with the reason of a failure: that of the last life, and that of the one before.
const (
	reasonFile    = "failed"
	oldReasonFile = "failed.before"
	reasonMagic   = "syncline failure 1"
)

// keepsReasonIn makes fail leave its reason in a directory. The reason that a life before left
// there is logged and put aside.
func (f *fault) keepsReasonIn(dir, node string) error {
	name := filepath.Join(dir, reasonFile)
	b, err := os.ReadFile(name)
	switch {
	case err == nil:
		f.log.Warn("the node stopped with a failure before", "file", filepath.Join(dir, oldReasonFile), "reason", string(b[:min(len(b), maxReasonBytes)]))
		if err := os.Rename(name, filepath.Join(dir, oldReasonFile)); err != nil {
			return fmt.Errorf("put the reason of the last failure aside: %w", err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("read the reason of the last failure: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dir, f.name = dir, node
	return nil
}

// expectSlices is in how many parts an expectation waits.
const expectSlices = 10

// expectation is of an answer of the disk within some time in which this process ran: one that
// was stopped, or whose machine was, finds the time gone and the disk without guilt. So it
// waits in parts, and a part counts once however long it took.
type expectation struct {
	mu    sync.Mutex
	timer *time.Timer
	left  int
	met   bool
}

// expect fails the node if the expectation that it returns is not met in time: a disk that
// does not answer holds up everything behind it, and heartbeats would go on.
func (f *fault) expect(what string, limit time.Duration) *expectation {
	e := &expectation{left: expectSlices}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.timer = time.AfterFunc(limit/expectSlices, func() {
		if e.passed(limit / expectSlices) {
			f.fail(fmt.Errorf("%s: the disk has not answered for %v", what, limit))
		}
	})
	return e
}

// passed counts a part, and reports whether it was the last.
func (e *expectation) passed(part time.Duration) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.met {
		return false
	}
	if e.left--; e.left > 0 {
		e.timer.Reset(part)
	}
	return e.left == 0
}

// meet says that the disk has answered.
func (e *expectation) meet() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.met = true
	e.timer.Stop()
}

// leave waits until the reason of a failure is written down, for stuckLimit at most.
func (f *fault) leave() {
	f.mu.Lock()
	left := f.left
	f.mu.Unlock()
	if left == nil {
		return
	}
	limit := time.NewTimer(stuckLimit)
	defer limit.Stop()
	select {
	case <-left:
	case <-limit.C:
	}
}

func (f *fault) leaveReason(dir, node string, reason error) {
	if err := writeFile(dir, reasonFile, reasonText(time.Now(), node, reason)); err != nil {
		f.log.Error("the reason of the failure could not be kept", "error", err)
	}
}

// reasonText is the file. People read it, and no program does more with it than to log it.
func reasonText(at time.Time, node string, reason error) []byte {
	return fmt.Appendf(nil, "%s\ntime %s\nnode %s\n%s\n", reasonMagic, at.UTC().Format(time.RFC3339Nano), node, reason)
}
