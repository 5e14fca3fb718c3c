package store

import (
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// slowWrite is how long a write to the log may take without being counted and logged.
const slowWrite = 250 * time.Millisecond

// Writes counts what was written to raft's log and to its vote, each with its fsyncs.
type Writes struct {
	// Count is of those that have returned, Slow of those that took longer than 250 ms.
	Count, Slow uint64
	// Longest is the longest of them.
	Longest time.Duration
}

// LogWrites counts what this node has written to its log since Open.
func (s *Store) LogWrites() Writes {
	s.watched.mu.Lock()
	defer s.watched.mu.Unlock()
	return s.watched.writes
}

// watchedLog turns every error of the log, and every write that hangs, into a
// fault. Heartbeats do not touch the disk, so without it a leader that cannot write would
// lead for ever.
type watchedLog struct {
	raft.LogStore
	raft.StableStore
	fault *fault
	log   *slog.Logger
	stall time.Duration
	// wrote is Config.Wrote.
	wrote func(time.Duration)
	// running: the node has been started, and only goroutines of the library write terms.
	running atomic.Bool

	mu     sync.Mutex
	writes Writes
}

func newWatchedLog(logs interface {
	raft.LogStore
	raft.StableStore
}, fault *fault, cfg Config) *watchedLog {
	w := &watchedLog{LogStore: logs, StableStore: logs, fault: fault, log: cfg.Log, stall: cfg.Stall, wrote: cfg.Wrote}
	if cfg.disk != nil {
		w.LogStore = cfg.disk(logs)
	}
	return w
}

func (w *watchedLog) watch(what string, write func() error) error {
	answer := w.fault.expect(what, w.stall)
	began := time.Now()
	err := write()
	answer.meet()
	w.count(what, time.Since(began))
	if err != nil {
		err = fmt.Errorf("%s: %w", what, err)
		w.fault.fail(err)
	}
	return err
}

func (w *watchedLog) count(what string, took time.Duration) {
	w.mu.Lock()
	w.writes.Count++
	w.writes.Longest = max(w.writes.Longest, took)
	slow := took > slowWrite
	if slow {
		w.writes.Slow++
	}
	n := w.writes.Slow
	w.mu.Unlock()
	if w.wrote != nil {
		w.wrote(took)
	}
	if slow {
		w.log.Warn("the disk is slow", "what", what, "took", took, "limit", slowWrite, "times", n)
	}
}

// StoreLog is StoreLogs of one.
func (w *watchedLog) StoreLog(log *raft.Log) error {
	return w.watch("write the log", func() error { return w.LogStore.StoreLog(log) })
}

// StoreLogs writes and fsyncs entries.
func (w *watchedLog) StoreLogs(logs []*raft.Log) error {
	return w.watch("write the log", func() error { return w.LogStore.StoreLogs(logs) })
}

// DeleteRange drops entries from min to max.
func (w *watchedLog) DeleteRange(min, max uint64) error {
	return w.watch("shorten the log", func() error { return w.LogStore.DeleteRange(min, max) })
}

// Set writes a value of raft's own, its vote.
func (w *watchedLog) Set(key, val []byte) error {
	return w.watch("write raft's vote", func() error { return w.StableStore.Set(key, val) })
}

// SetUint64 writes a number of raft's own, its term. The library has no other way than to panic when it
// cannot. By then the fault has begun to stop the node, so the library's goroutine ends here, as it
// would by Shutdown, and the reason is told as any other.
func (w *watchedLog) SetUint64(key []byte, val uint64) error {
	err := w.watch("write raft's term", func() error { return w.StableStore.SetUint64(key, val) })
	if err != nil && w.running.Load() {
		runtime.Goexit()
	}
	return err
}
