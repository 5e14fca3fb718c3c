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
)

// Config says where a Store lives and how it reaches the others.
type Config struct {
	// Dir holds everything; it is made with mode 0700 if it is not there.
	Dir string
	// ID of this node within the cluster. Empty: the one in Dir, made up at the
	// first start and then kept.
	ID string
	// Cluster is the id of the cluster that is begun in an empty Dir; what is there must be
	// of it. Empty: a random one, or the one that is there. A Dir that JoinCluster has
	// marked waits for the leader of its cluster instead of beginning one.
	Cluster string
	// Network to the other nodes. Nil: a single node that opens no port.
	Network *Network
	// Others asks the other nodes what raft does not tell; needed with a Network.
	Others Others
	// Version of the program, for people who compare nodes.
	Version string
	// Promotion says when a node that joined is given a vote.
	Promotion Promotion
	// Log takes the messages of raft and of the store. Nil: none.
	Log *slog.Logger
	// Election is how long a follower waits for its leader before it stands for
	// election, and the base of all other time-outs. Zero: 1 s with a Network,
	// 50 ms without, where there is nobody to wait for.
	Election time.Duration
	// Stall is how long a write to the log or a chunk file may take before the node gives up: a
	// leader whose disk hangs still sends heartbeats and would block the cluster.
	// Zero: 5 s.
	Stall time.Duration
	// Wrote, if it is set, is told how long every write to the log took, with its fsyncs. It
	// must return at once.
	Wrote func(took time.Duration)
	// SnapshotEvery is how many entries make a snapshot worth while. Zero: 2048. 32 MiB
	// of chunks do too.
	SnapshotEvery uint64
	// Source gets chunks from other nodes. Nil: what this node lacks stays lacking.
	Source Source
	// ScrubRate is how many bytes a second of the files are read over again to find
	// damage before it is all there is. Zero: 4 MiB. Negative: none.
	ScrubRate int64

	// checkpoints is how many entries lie between two checkpoints; zero: checkpointEvery.
	checkpoints uint64
	// disk is put between raft and its log; nil: nothing.
	disk func(raft.LogStore) raft.LogStore
	// files is where the files are, but for the log and the identity. Nil: the file system.
	files disk
}

// Store is one node. Open makes it, Close ends it.
type Store struct {
	id       string
	identity Identity
	cfg      Config
	fsm      *machine
	raft     *raft.Raft
	logs     *checkedLog
	// entries is the log as raft reads it.
	entries raft.LogStore
	watched *watchedLog
	lock    *os.File
	// network is nil on a single node.
	network  *network
	wire     *transport
	contacts *contacts
	fault    *fault
	log      *slog.Logger
	now      func() time.Time
	readers  readers

	// stopDuties ends the goroutine that does what a leader has to do.
	stopDuties context.CancelFunc
	duties     sync.WaitGroup

	snapshots *snapshotStore
	// life is done when the store closes; tasks are what goes on until then.
	life    context.Context
	endLife context.CancelFunc
	tasks   sync.WaitGroup

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
	defaultStall    = 5 * time.Second
)

// Open starts the node in cfg.Dir. It refuses a directory that another Store uses, and
// one with a log or a snapshot that is damaged. Chunks that are committed and not in it
// are fetched from cfg.Source; see Store.Inventory.
func Open(cfg Config) (*Store, error) {
	cfg = cfg.withDefaults()
	if err := makeDir(cfg.Dir); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(cfg.Dir, runsDir), 0o700); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &Store{
		lock: lock, cfg: cfg, log: cfg.Log, now: time.Now, fault: newFault(cfg.Log),
		contacts: newContacts(),
	}
	s.life, s.endLife = context.WithCancel(context.Background())
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
		if cfg.Network == nil {
			cfg.Election = 50 * time.Millisecond
		}
	}
	if cfg.Stall == 0 {
		cfg.Stall = defaultStall
	}
	if cfg.checkpoints == 0 {
		cfg.checkpoints = checkpointEvery
	}
	cfg.Promotion = cfg.Promotion.withDefaults(cfg.Election)
	if cfg.SnapshotEvery == 0 {
		cfg.SnapshotEvery = 2048
	}
	if cfg.files == nil {
		cfg.files = systemDisk{}
	}
	return cfg
}

// start opens what is in the directory and joins it into a raft node.
func (s *Store) start(cfg Config) error {
	var err error
	if s.identity, err = Identify(cfg.Dir, cfg.ID); err != nil {
		return err
	}
	s.id = s.identity.Node
	// Logs of several nodes are read together.
	cfg.Log = cfg.Log.With("node", s.id)
	s.log, s.fault.log = cfg.Log, cfg.Log
	if cfg.Network != nil && cfg.Others == nil {
		return errors.New("a network without a way to ask the other nodes: set Config.Others")
	}
	if err := s.fault.keepsReasonIn(cfg.Dir, s.id); err != nil {
		return err
	}
	if s.logs, err = openLog(cfg.Dir, s.fault); err != nil {
		return err
	}
	if err := s.logs.isOf(s.identity); err != nil {
		return err
	}
	logger := newLogger(cfg.Log)
	snapshots, err := openSnapshots(cfg.files, cfg.Dir, cfg.Log)
	if err != nil {
		return fmt.Errorf("open the snapshots: %w", err)
	}
	s.snapshots = snapshots
	// Bolt fsyncs its file and not the name of it: without this a loss of power could take the
	// whole log of a new node, and with it what it has acknowledged.
	if err := syncPath(cfg.files, cfg.Dir); err != nil {
		return fmt.Errorf("make the names of the log and of the directories durable: %w", err)
	}
	s.watched = newWatchedLog(s.logs, s.fault, cfg)
	if s.entries, err = raft.NewLogCache(logCacheEntries, s.watched); err != nil {
		return fmt.Errorf("cache of the log: %w", err)
	}
	conf := raftConfig(cfg, s.id)
	conf.Logger = logger
	s.fsm = newMachineOn(cfg.files, filepath.Join(cfg.Dir, runsDir), s.fault)
	s.fsm.every, s.fsm.stall = cfg.checkpoints, cfg.Stall
	snapshots.broken, snapshots.fatal = s.fsm.notRestored, s.fault.fail
	if err := s.fsm.startable(s.logs, snapshots); err != nil {
		return err
	}
	if err := s.begin(conf, snapshots); err != nil {
		return err
	}
	if err := s.logs.belongsTo(s.identity); err != nil {
		return err
	}
	s.raft, err = newRaft(conf, s.fsm, s.entries, s.watched, snapshots, s.transport(cfg))
	if err != nil {
		return err
	}
	s.watched.running.Store(true)
	if s.network == nil {
		s.fault.stops(s.raft, nil)
	} else {
		s.fault.stops(s.raft, s.wire)
		s.network.serves(s)
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stopDuties = stop
	s.duties.Go(func() { s.lead(ctx) })
	s.beginUpkeep(cfg)
	return nil
}

// transport is the way to the other nodes; a single node has none.
func (s *Store) transport(cfg Config) raft.Transport {
	if cfg.Network == nil {
		_, t := raft.NewInmemTransport(raft.ServerAddress(s.id))
		return t
	}
	s.network = newNetwork(*cfg.Network, s.identity, cfg.Log, s.fault.fail)
	s.wire = s.network.transport(cfg.Log, s.contacts)
	return s.wire
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
	// The owner decides when a node ends, also one that has removed itself.
	conf.ShutdownOnRemove = false
	return conf
}

// begin makes an empty directory the first node of a cluster, unless it is to join one. Several
// nodes that began together could begin two clusters, so one begins and the others join.
func (s *Store) begin(conf *raft.Config, snapshots raft.SnapshotStore) error {
	has, err := raft.HasExistingState(s.entries, s.watched, snapshots)
	if err != nil {
		return fmt.Errorf("look for existing state: %w", err)
	}
	if s.identity.Cluster == "" {
		// A directory with state and no cluster is of before there were clusters.
		s.identity.Cluster = s.cfg.Cluster
		if s.identity.Cluster == "" {
			s.identity.Cluster = "c-" + randomHex(16)
		}
		if !validClusterID(s.identity.Cluster) {
			return fmt.Errorf("cluster id %q: 1 to %d lower-case letters, digits, '-' and '.', please", s.identity.Cluster, MaxNameBytes)
		}
		if err := writeCluster(s.cfg.Dir, s.identity.Cluster, false); err != nil {
			return err
		}
	}
	if s.cfg.Cluster != "" && s.cfg.Cluster != s.identity.Cluster {
		return fmt.Errorf("the directory belongs to cluster %s, and this node is configured for %s: give each cluster a directory of its own", s.identity.Cluster, s.cfg.Cluster)
	}
	if has || s.identity.Joined {
		return nil
	}
	first := raft.Configuration{Servers: []raft.Server{{ID: conf.LocalID, Address: s.ownAddress()}}}
	// The transport is only asked for its own name there.
	_, transport := raft.NewInmemTransport(s.ownAddress())
	if err := raft.BootstrapCluster(conf, s.entries, s.watched, snapshots, transport, first); err != nil {
		return fmt.Errorf("write the first configuration: %w", err)
	}
	return nil
}

// ownAddress is where the others find this node. A single node has its id for an address, which
// nobody dials.
func (s *Store) ownAddress() raft.ServerAddress {
	if s.cfg.Network == nil {
		return raft.ServerAddress(s.id)
	}
	return raft.ServerAddress(s.cfg.Network.Address)
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
		// Raft's error has lost the one that it is about.
		return nil, errors.Join(fmt.Errorf("start raft: %w", err), fsm.fault.Err())
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
// answer what its state machine had not reached when it is shut down; leadership is
// handed over, so that the others need not wait for an election; fetching and reading
// over again end, since they ask raft for the other nodes; raft stops,
// and with it the state machine, so that nothing writes any more; then the log and
// the chunk files are closed; the directory is unlocked last.
func (s *Store) Close() error { return s.end(true) }

// end is Close. Without handing over it is as if the process had been killed, but for
// what it had in its hands.
func (s *Store) end(handOver bool) error {
	s.closeOnce.Do(func() {
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		if handOver {
			s.drain()
			s.handOver()
		}
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
	defer s.fault.leave()
	if err := s.endUpkeep(); err != nil {
		errs = append(errs, err)
	}
	if s.stopDuties != nil {
		s.stopDuties()
		s.duties.Wait()
	}
	if s.raft != nil {
		s.fault.stop(s.raft)
	}
	if s.wire != nil {
		// Raft waits for the calls that are under way, and a peer that stands still would hold
		// them up.
		errs = append(errs, s.wire.Close(), s.network.Close())
	} else if s.cfg.Network != nil {
		s.cfg.Network.Listener.Close()
	}
	if s.raft != nil {
		err := s.fault.shutdown(s.raft)
		if errors.Is(err, errStuck) {
			// Its goroutine may still write: what it writes to stays open and locked until the
			// process ends.
			return errors.Join(append(errs, err)...)
		}
		errs = append(errs, err)
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
	seen, stop := s.observeState()
	defer stop()
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
func (s *Store) Leader() string { return s.LeaderPeer().ID }

// LeaderPeer is the node that leads, as far as this one knows; the zero Peer if it knows of
// none.
func (s *Store) LeaderPeer() Peer {
	address, id := s.raft.LeaderWithID()
	return Peer{ID: string(id), Address: string(address)}
}

// Identity is that of the directory.
func (s *Store) Identity() Identity { return s.identity }

// Snapshot writes a snapshot now, and lets raft drop the log before it. Raft does
// the same by itself every Config.SnapshotEvery entries.
func (s *Store) Snapshot() error {
	err := s.raft.Snapshot().Error()
	if err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return fmt.Errorf("write a snapshot: %w", err)
	}
	return nil
}
