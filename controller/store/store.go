// Package store keeps what the cluster must not lose: agents, runs, chunks of
// events, seals. It is a raft node, the state machine behind it and the files that
// hold the chunks, and the only importer of hashicorp/raft.
//
// A mutation is one entry of the log. It returns after the entry was committed,
// that is, written and fsynced by a majority of the nodes, and applied here: what a
// method has acknowledged survives the loss of power. Every mutation may be
// repeated after an error without harm; see ErrNotLeader and ErrUnknownOutcome.
//
// Reads answer from what this node has applied, without a message to the others.
// All methods of a Store may be called concurrently. DESIGN.md has the order of
// events from a call to its acknowledgement, and the formats of the files.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// Peer is a node of the cluster that a Store is first started with.
type Peer struct {
	ID      string
	Address string
}

// Config says where a Store lives and who its peers are.
type Config struct {
	// Dir holds everything; it is made with mode 0700 if it is not there.
	Dir string
	// ID of this node within the cluster. Empty: the one in Dir, made up at the
	// first start and then kept.
	ID string
	// Transport to the other nodes; Close closes it. Nil: a single node that
	// opens no port.
	Transport raft.Transport
	// Peers of a cluster that starts for the first time, this node among them. They
	// are looked at only while Dir holds no state. Empty: this node alone.
	Peers []Peer
	// Log takes the messages of raft and of the store. Nil: none.
	Log *slog.Logger
	// Election is how long a follower waits for its leader before it stands for
	// election, and the base of all other time-outs. Zero: 1 s with a Transport,
	// 50 ms without, where there is nobody to wait for.
	Election time.Duration
	// Stall is how long a write to the log may take before the node gives up: a
	// leader whose disk hangs still sends heartbeats and would block the cluster.
	// Zero: 10 s.
	Stall time.Duration
	// SnapshotEvery is how many entries make a snapshot worth while. Zero: 2048.
	SnapshotEvery uint64
}

// Store is one node. Open makes it, Close ends it.
type Store struct {
	id   string
	fsm  *machine
	raft *raft.Raft
	logs *raftboltdb.BoltStore
	lock *os.File
	// transport is that of the Config.
	transport raft.Transport
	fault     *fault
	log       *slog.Logger
	now       func() time.Time
	readers   readers

	// mu guards closed. Proposals hold it shared while they register in inflight, so
	// that Close never waits for one that comes late.
	mu       sync.RWMutex
	closed   bool
	inflight sync.WaitGroup

	closeOnce sync.Once
	closeErr  error
}

const (
	logCacheEntries = 64
	trailingLogs    = 1024
	snapshotsKept   = 2
	openTimeout     = time.Second
	proposeTimeout  = 10 * time.Second
	drainTimeout    = 5 * time.Second
)

// Open starts the node in cfg.Dir. It refuses a directory that another Store uses,
// and one whose snapshot refers to chunks that are not there.
func Open(cfg Config) (*Store, error) {
	cfg = cfg.withDefaults()
	if err := os.MkdirAll(filepath.Join(cfg.Dir, runsDir), 0o700); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &Store{lock: lock, transport: cfg.Transport, log: cfg.Log, now: time.Now, fault: newFault(cfg.Log)}
	if err := s.start(cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("open store in %s: %w", cfg.Dir, err), s.release())
	}
	return s, nil
}

func (cfg Config) withDefaults() Config {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Election == 0 {
		cfg.Election = time.Second
		if cfg.Transport == nil {
			cfg.Election = 50 * time.Millisecond
		}
	}
	if cfg.Stall == 0 {
		cfg.Stall = 10 * time.Second
	}
	if cfg.SnapshotEvery == 0 {
		cfg.SnapshotEvery = 2048
	}
	return cfg
}

// start opens what is in the directory and joins it into a raft node.
func (s *Store) start(cfg Config) error {
	var err error
	if s.id, err = nodeID(cfg.Dir, cfg.ID); err != nil {
		return err
	}
	s.logs, err = raftboltdb.New(raftboltdb.Options{
		Path:        filepath.Join(cfg.Dir, "log.db"),
		BoltOptions: &bbolt.Options{Timeout: openTimeout, FreelistType: bbolt.FreelistMapType},
	})
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	logger := newLogger(cfg.Log)
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(cfg.Dir, snapshotsKept, logger)
	if err != nil {
		return fmt.Errorf("open the snapshots: %w", err)
	}
	watched := &watchedLog{LogStore: s.logs, StableStore: s.logs, fault: s.fault, stall: cfg.Stall}
	cache, err := raft.NewLogCache(logCacheEntries, watched)
	if err != nil {
		return fmt.Errorf("cache of the log: %w", err)
	}
	transport := cfg.Transport
	if transport == nil {
		_, transport = raft.NewInmemTransport(raft.ServerAddress(s.id))
	}
	conf := raftConfig(cfg, s.id)
	conf.Logger = logger
	if err := bootstrap(conf, cfg.Peers, cache, watched, snapshots, transport); err != nil {
		return err
	}
	s.fsm = newMachine(filepath.Join(cfg.Dir, runsDir), s.fault)
	s.raft, err = newRaft(conf, s.fsm, cache, watched, snapshots, transport)
	if err != nil {
		return err
	}
	s.fault.stops(s.raft)
	return nil
}

func raftConfig(cfg Config, id string) *raft.Config {
	conf := raft.DefaultConfig()
	conf.LocalID = raft.ServerID(id)
	conf.HeartbeatTimeout = cfg.Election
	conf.ElectionTimeout = cfg.Election
	conf.LeaderLeaseTimeout = cfg.Election / 2
	conf.CommitTimeout = max(cfg.Election/20, time.Millisecond)
	conf.SnapshotThreshold = cfg.SnapshotEvery
	conf.SnapshotInterval = 30 * time.Second
	conf.TrailingLogs = min(trailingLogs, cfg.SnapshotEvery)
	conf.NoLegacyTelemetry = true
	return conf
}

// bootstrap writes the first configuration of the cluster, once.
func bootstrap(conf *raft.Config, peers []Peer, logs raft.LogStore, stable raft.StableStore, snapshots raft.SnapshotStore, transport raft.Transport) error {
	has, err := raft.HasExistingState(logs, stable, snapshots)
	if err != nil {
		return fmt.Errorf("look for existing state: %w", err)
	}
	if has {
		return nil
	}
	if len(peers) == 0 {
		peers = []Peer{{ID: string(conf.LocalID), Address: string(transport.LocalAddr())}}
	}
	var first raft.Configuration
	for _, p := range peers {
		first.Servers = append(first.Servers, raft.Server{ID: raft.ServerID(p.ID), Address: raft.ServerAddress(p.Address)})
	}
	if err := raft.BootstrapCluster(conf, logs, stable, snapshots, transport, first); err != nil {
		return fmt.Errorf("write the first configuration: %w", err)
	}
	return nil
}

// newRaft starts the node. The library goes on with an older snapshot if the newest
// cannot be restored, and panics if the log does not reach back to it; both would
// hide the reason, so both are errors here.
func newRaft(conf *raft.Config, fsm *machine, logs raft.LogStore, stable raft.StableStore, snapshots raft.SnapshotStore, transport raft.Transport) (node *raft.Raft, err error) {
	defer func() {
		if r := recover(); r != nil {
			node, err = nil, errors.Join(fmt.Errorf("the log does not continue the snapshot: %v", r), fsm.restored())
		}
	}()
	node, err = raft.NewRaft(conf, fsm, logs, stable, snapshots, transport)
	if bad := fsm.restored(); bad != nil {
		if node != nil {
			bad = errors.Join(bad, node.Shutdown().Error())
		}
		return nil, bad
	}
	if err != nil {
		return nil, fmt.Errorf("start raft: %w", err)
	}
	return node, nil
}

// ID is the name of this node within the cluster.
func (s *Store) ID() string { return s.id }

// Failed is closed when the node has stopped for good because going on could lose
// or falsify data: the log could not be written, a chunk file could not be written,
// or the log holds what this program cannot apply. Err then says why. The owner
// should exit; all that was acknowledged is there at the next Open.
func (s *Store) Failed() <-chan struct{} { return s.fault.failed }

// Err is why Failed was closed, nil before.
func (s *Store) Err() error { return s.fault.Err() }

// Close ends the node. It is idempotent. The order matters: no new proposal is
// taken; those under way are given time to be answered, since raft forgets to
// answer what its state machine had not reached when it is shut down; raft stops,
// and with it the state machine, so that nothing writes any more; then the log and
// the chunk files are closed; the directory is unlocked last.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		s.drain()
		s.closeErr = s.release()
	})
	return s.closeErr
}

// drain waits for the proposals under way, unless the node has failed.
func (s *Store) drain() {
	done := make(chan struct{})
	go func() { s.inflight.Wait(); close(done) }()
	limit := time.NewTimer(drainTimeout)
	defer limit.Stop()
	select {
	case <-done:
	case <-s.fault.failed:
	case <-limit.C:
	}
}

func (s *Store) release() error {
	var errs []error
	if s.raft != nil {
		errs = append(errs, s.fault.shutdown(s.raft))
	}
	// Raft has closed the transport's listener, and leaves its pooled connections
	// open for ever.
	if t, ok := s.transport.(interface{ CloseStreams() }); ok {
		t.CloseStreams()
	}
	if s.logs != nil {
		errs = append(errs, s.logs.Close())
	}
	if s.fsm != nil {
		errs = append(errs, s.fsm.files.closeAll())
	}
	errs = append(errs, s.lock.Close())
	return errors.Join(errs...)
}

// WaitLeader returns when this node leads the cluster and has applied everything
// that was committed before: from then on mutations can be made and reads are not
// behind. With other nodes it may wait for as long as one of them leads.
func (s *Store) WaitLeader(ctx context.Context) error {
	seen := make(chan raft.Observation, 1)
	observer := raft.NewObserver(seen, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.RaftState)
		return ok
	})
	s.raft.RegisterObserver(observer)
	defer s.raft.DeregisterObserver(observer)
	for {
		for s.raft.State() == raft.Leader && ctx.Err() == nil {
			if s.await(ctx, s.raft.Barrier(proposeTimeout)) == nil {
				return nil
			}
		}
		if s.raft.State() == raft.Shutdown && s.Err() == nil {
			return errors.New("wait for leadership: the store is closed")
		}
		select {
		case <-seen:
		case <-s.fault.failed:
			return fmt.Errorf("wait for leadership: %w", s.Err())
		case <-ctx.Done():
			return fmt.Errorf("wait for leadership: %w", context.Cause(ctx))
		}
	}
}

// Leading reports whether this node leads the cluster, as far as it knows.
func (s *Store) Leading() bool { return s.raft.State() == raft.Leader }

// Leader is the id of the node that leads, as far as this one knows; empty if it
// knows of none.
func (s *Store) Leader() string {
	_, id := s.raft.LeaderWithID()
	return string(id)
}

// Snapshot writes a snapshot now, and lets raft drop the log before it. Raft does
// the same by itself every Config.SnapshotEvery entries.
func (s *Store) Snapshot() error {
	err := s.raft.Snapshot().Error()
	if err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return fmt.Errorf("write a snapshot: %w", err)
	}
	return nil
}
