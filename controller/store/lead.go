package store

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	logv1 "syncline/proto/syncline/log/v1"
)

// Promotion says when a node that joined is given a vote. Zero fields are the defaults.
type Promotion struct {
	// Entries is how far behind its log may be: 250.
	Entries uint64
	// Contact is how long ago it must have answered at most: half the election time-out, which is the
	// leader's lease. Raft's heartbeats are up to a fifth of the time-out apart.
	Contact time.Duration
	// Stable is for how long all of that must have held: 10 s. A node that is promoted too early
	// counts in every majority and holds all of them up.
	Stable time.Duration
}

func (p Promotion) withDefaults(election time.Duration) Promotion {
	if p.Entries == 0 {
		p.Entries = 250
	}
	if p.Contact == 0 {
		p.Contact = election / 2
	}
	if p.Stable == 0 {
		p.Stable = 10 * time.Second
	}
	return p
}

// reign is what a leader remembers from one look to the next, within one term.
type reign struct {
	term uint64
	// settled: the cluster has its id, and this node is in the log.
	settled bool
	// fit says since when each node without a vote could have one.
	fit map[raft.ServerID]time.Time
	// covered is, for each node without a vote that gets its entries from the log, what the newest snapshot
	// had applied when that began: it is sent no later one.
	covered map[raft.ServerID]uint64
	// compared is the last checkpoint that was compared, due when the next was first seen.
	compared uint64
	due      time.Time
	// voters is how many there were when it was warned about them.
	voters int
	// asked is when the other nodes were asked about themselves.
	asked   time.Time
	reports map[string]Report
}

// lead does what a leader has to do beside raft, while this node leads: it gives the cluster
// its id, keeps the nodes in the log, promotes who has caught up, and compares the
// states of the nodes. It looks a few times in each election time-out.
func (s *Store) lead(ctx context.Context) {
	tick := time.NewTicker(max(s.cfg.Election/4, 5*time.Millisecond))
	defer tick.Stop()
	won := s.raft.LeaderCh()
	var now reign
	for {
		select {
		case <-tick.C:
		case <-won:
		case <-s.fault.failed:
			return
		case <-ctx.Done():
			return
		}
		if !s.Leading() {
			continue
		}
		if term := s.raft.CurrentTerm(); now.term != term {
			now = reign{term: term, fit: map[raft.ServerID]time.Time{}, covered: map[raft.ServerID]uint64{}}
		}
		if err := s.reignOn(ctx, &now); err != nil && ctx.Err() == nil && s.Err() == nil && s.Leading() {
			s.log.Warn("a duty of the leader", "error", err)
		}
	}
}

func (s *Store) reignOn(ctx context.Context, now *reign) error {
	if !now.settled {
		if err := s.settle(ctx); err != nil {
			return err
		}
		now.settled = true
	}
	servers, index := s.servers()
	if n := len(voters(servers)); n != now.voters {
		now.voters = n
		for _, w := range voterWarnings(servers) {
			s.log.Warn(w)
		}
	}
	if len(servers) < 2 {
		return nil
	}
	if time.Since(now.asked) >= s.cfg.Election/2 {
		now.asked = time.Now()
		now.reports = s.reportsOf(ctx, servers)
		if err := s.refresh(ctx, now.reports); err != nil {
			return err
		}
	}
	if err := s.promote(ctx, now, servers, index); err != nil {
		return err
	}
	return s.compareStates(ctx, now, servers)
}

// settle writes what a new leader finds missing. In a new cluster that is its id and the first
// node; after a single node was given a network, its address.
func (s *Store) settle(ctx context.Context) error {
	if err := s.await(ctx, s.raft.Barrier(proposeTimeout)); err != nil {
		return err
	}
	s.fsm.mu.RLock()
	cluster := s.fsm.cluster
	s.fsm.mu.RUnlock()
	switch cluster {
	case s.identity.Cluster:
	case "":
		entry := &logv1.Entry{Command: &logv1.Entry_FoundCluster{FoundCluster: &logv1.FoundCluster{ClusterId: s.identity.Cluster}}}
		if _, err := s.propose(ctx, "found cluster "+s.identity.Cluster, entry); err != nil {
			return err
		}
	default:
		err := fmt.Errorf("the log is of cluster %s, and the directory of %s: the file %s was changed, or the log was copied", cluster, s.identity.Cluster, clusterFile)
		s.fault.fail(err)
		return err
	}
	if err := s.putNode(ctx, s.self()); err != nil {
		return err
	}
	servers, index := s.servers()
	if own, is := find(servers, s.id); s.network != nil && is && own.Address != s.ownAddress() {
		if err := s.await(ctx, s.raft.AddVoter(own.ID, s.ownAddress(), index, proposeTimeout)); err != nil {
			return fmt.Errorf("change the address of this node from %s to %s: %w", own.Address, s.ownAddress(), err)
		}
	}
	return nil
}

// self is this node as the others are to know it.
func (s *Store) self() Node {
	return Node{ID: s.id, Disk: s.identity.Disk, Address: string(s.ownAddress()), EntryVersion: entryVersion, Version: s.cfg.Version}
}

// reportsOf asks all other members at once. Who does not answer is not in it.
func (s *Store) reportsOf(ctx context.Context, servers []raft.Server) map[string]Report {
	var mu sync.Mutex
	var wg sync.WaitGroup
	out := map[string]Report{}
	for _, server := range servers {
		if string(server.ID) == s.id {
			continue
		}
		wg.Go(func() {
			r, err := s.ask(ctx, peerOf(server))
			if err != nil {
				s.log.Debug("a node does not say how it is", "node", server.ID, "error", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			out[string(server.ID)] = r
		})
	}
	wg.Wait()
	return out
}

// refresh keeps in the log which program each node runs.
func (s *Store) refresh(ctx context.Context, reports map[string]Report) error {
	for id, r := range reports {
		n, known := s.node(id)
		if !known || n.Disk != r.Disk || n.EntryVersion == r.EntryVersion && n.Version == r.Version {
			continue
		}
		n.EntryVersion, n.Version = r.EntryVersion, r.Version
		if err := s.putNode(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// promote gives a vote to one node that has been fit for it long enough.
func (s *Store) promote(ctx context.Context, now *reign, servers []raft.Server, index uint64) error {
	for _, server := range servers {
		if server.Suffrage == raft.Voter {
			continue
		}
		reason, err := s.unfit(now, server.ID)
		if err != nil {
			return fmt.Errorf("see how far node %s is: %w", server.ID, err)
		}
		if reason != "" {
			if _, was := now.fit[server.ID]; was {
				s.log.Info("a node has fallen behind before it had a vote", "node", server.ID, "reason", reason)
			}
			delete(now.fit, server.ID)
			continue
		}
		since, ok := now.fit[server.ID]
		if !ok {
			now.fit[server.ID] = time.Now()
			continue
		}
		if time.Since(since) < s.cfg.Promotion.Stable {
			continue
		}
		delete(now.fit, server.ID)
		// index makes it a compare-and-swap: nobody changed the configuration since it was read.
		if err := s.await(ctx, s.raft.AddVoter(server.ID, server.Address, index, proposeTimeout)); err != nil {
			return fmt.Errorf("give node %s a vote: %w", server.ID, err)
		}
		s.log.Info("a node has a vote now", "node", server.ID, "stable", s.cfg.Promotion.Stable)
		return nil
	}
	return nil
}

// unfit says why a node cannot be given a vote; empty: it can.
func (s *Store) unfit(now *reign, id raft.ServerID) (string, error) {
	match, contact := s.progress(id, now.term)
	last := s.raft.LastIndex()
	first, err := s.entries.FirstIndex()
	if err != nil {
		return "", err
	}
	if match < first {
		// It is sent the snapshot yet, and with it an index of chunks that it lacks: to go on behind
		// match from the log, raft has to find match in it.
		delete(now.covered, id)
		return fmt.Sprintf("it has entries up to %d, and the log begins at %d", match, first), nil
	}
	covered, ok := now.covered[id]
	if !ok {
		covered = s.fsm.snappedIndex()
		now.covered[id] = covered
	}
	r, answered := now.reports[string(id)]
	switch {
	case contact < 0 || contact > s.cfg.Promotion.Contact:
		return fmt.Sprintf("it last answered %v ago", contact), nil
	case match+s.cfg.Promotion.Entries < last:
		return fmt.Sprintf("it has %d of %d entries", match, last), nil
	case !answered:
		return "it does not say how it is", nil
	case r.Applied < covered:
		// What it says of its chunks is from before the snapshot that it was sent.
		return fmt.Sprintf("it has applied entry %d, and the snapshot is of %d", r.Applied, covered), nil
	case !r.Complete:
		return "it does not have all chunks yet", nil
	case r.Failure != "":
		return r.Failure, nil
	}
	return "", nil
}

// compareStates proposes the hash that most voters have of the newest checkpoint, so that who has
// another stops. A node that does not answer compares itself when it applies the entry.
func (s *Store) compareStates(ctx context.Context, now *reign, servers []raft.Server) error {
	own := s.fsm.stateHashes()
	if len(own) == 0 || own[len(own)-1].Index <= now.compared {
		return nil
	}
	newest := own[len(own)-1]
	if now.due.IsZero() {
		now.due = time.Now()
	}
	have := map[stateHash][]string{newest.Hash: {s.id}}
	missing := false
	for _, v := range voters(servers) {
		if string(v.ID) == s.id {
			continue
		}
		its := now.reports[string(v.ID)].Checkpoints
		i := slices.IndexFunc(its, func(c StateHash) bool { return c.Index == newest.Index })
		if i < 0 {
			missing = true
			continue
		}
		have[its[i].Hash] = append(have[its[i].Hash], string(v.ID))
	}
	if missing && time.Since(now.due) < 5*s.cfg.Election {
		return nil
	}
	hash := mostHave(have, len(voters(servers)), newest.Hash)
	if len(have) > 1 {
		s.log.Error("the states of the nodes differ; those that most do not agree with will stop", "index", newest.Index, "hashes", fmt.Sprintf("%x", have))
	}
	now.compared, now.due = newest.Index, time.Time{}
	ids := have[hash]
	slices.Sort(ids)
	entry := &logv1.Entry{Ignorable: true, Command: &logv1.Entry_Checkpoint{Checkpoint: &logv1.Checkpoint{
		Index: newest.Index, Hash: hash[:], NodeIds: ids, Format: hashFormat,
	}}}
	_, err := s.propose(ctx, fmt.Sprintf("compare the states after entry %d", newest.Index), entry)
	return err
}

// mostHave is the hash that a majority of the voters has; own if none has one. What has most of
// those that answered is not enough: it could stop more nodes than it leaves.
func mostHave(have map[stateHash][]string, voters int, own stateHash) stateHash {
	for hash, ids := range have {
		if len(ids) > voters/2 {
			return hash
		}
	}
	return own
}
