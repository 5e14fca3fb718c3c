package store

import (
	"fmt"
	"log/slog"
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

	mu       sync.Mutex
	err      error
	node     *raft.Raft
	shutting raft.Future
}

func newFault(log *slog.Logger) *fault {
	return &fault{log: log, failed: make(chan struct{})}
}

// stops names the node that a fault ends, now if there was one already.
func (f *fault) stops(node *raft.Raft) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.node = node
	if f.err != nil {
		f.begin(node)
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
	if f.node != nil {
		f.begin(f.node)
	}
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

// shutdown stops raft and returns when its goroutines are gone.
func (f *fault) shutdown(node *raft.Raft) error {
	f.mu.Lock()
	future := f.begin(node)
	f.mu.Unlock()
	if err := future.Error(); err != nil {
		return fmt.Errorf("stop raft: %w", err)
	}
	return nil
}

// watchedLog turns every error of the log, and every write that hangs, into a
// fault.
type watchedLog struct {
	raft.LogStore
	raft.StableStore
	fault *fault
	stall time.Duration
}

func (w *watchedLog) watch(what string, write func() error) error {
	timer := time.AfterFunc(w.stall, func() {
		w.fault.fail(fmt.Errorf("%s: the disk has not answered for %v", what, w.stall))
	})
	err := write()
	timer.Stop()
	if err != nil {
		err = fmt.Errorf("%s: %w", what, err)
		w.fault.fail(err)
	}
	return err
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

// SetUint64 writes a number of raft's own, its term.
func (w *watchedLog) SetUint64(key []byte, val uint64) error {
	return w.watch("write raft's term", func() error { return w.StableStore.SetUint64(key, val) })
}
