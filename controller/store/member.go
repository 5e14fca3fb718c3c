package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	logv1 "syncline/proto/syncline/log/v1"
)

// MaxMembers bounds the nodes of a cluster. Each entry goes to all of them, and more than five do
// not make it any safer.
const MaxMembers = 9

// Peer is a node and where to reach it.
type Peer struct {
	ID      string
	Address string
}

// Others asks the other nodes what raft does not tell. Package peer does it over gRPC.
type Others interface {
	// Report asks a node about itself.
	Report(ctx context.Context, of Peer) (Report, error)
	// ReadIndex asks the leader for an index to read at; see Store.ReadIndex. A node that
	// does not lead answers with ErrNotLeader in the chain.
	ReadIndex(ctx context.Context, leader Peer) (uint64, error)
}

// Report is how a node sees itself.
type Report struct {
	Identity
	// Version is of its program, EntryVersion the newest version of entries it applies.
	Version      string
	EntryVersion uint32
	Term         uint64
	// Commit and Applied are the last entries that are committed, as far as it knows, and
	// applied.
	Commit, Applied uint64
	// State is "leader", "follower", "candidate" or "stopped".
	State string
	// Complete: every chunk that its index names lies on its own disk, after the entry
	// Applied. A node that has applied nothing is complete.
	Complete    bool
	Checkpoints []StateHash
	// Failure is why it has failed; empty: it has not.
	Failure string
}

// Report is how this node sees itself.
func (s *Store) Report() Report {
	applied, complete := s.fsm.standing()
	r := Report{
		Identity: s.identity, Version: s.cfg.Version, EntryVersion: entryVersion, Term: s.raft.CurrentTerm(),
		Commit: s.raft.CommitIndex(), Applied: applied, State: stateName(s.raft.State()),
		Complete: complete, Checkpoints: s.fsm.stateHashes(),
	}
	if err := s.Err(); err != nil {
		r.Failure = err.Error()
	}
	return r
}

func stateName(state raft.RaftState) string {
	switch state {
	case raft.Leader:
		return "leader"
	case raft.Follower:
		return "follower"
	case raft.Candidate:
		return "candidate"
	}
	return "stopped"
}

// Member is a node of the present configuration.
type Member struct {
	Peer
	// Voter: it takes part in elections and its copy counts. Otherwise it is catching up.
	Voter bool
	// Leader: it leads, as far as the node that was asked knows.
	Leader bool
	// Report is what it says of itself, if Err is nil.
	Report Report
	Err    error
	// Match is the last entry that the leader knows to be on its disk, Contact how long ago it
	// answered the leader. Both are known to the leader alone, and Contact is negative
	// where it is not known.
	Match   uint64
	Contact time.Duration
}

// Cluster is what a node knows of all of them.
type Cluster struct {
	ID      string
	Leader  Peer
	Term    uint64
	Members []Member
	// Warnings say what makes the cluster weaker than its size.
	Warnings []string
}

// askTimeout is how long a node may take to answer about itself.
const askTimeout = time.Second

// Cluster asks every member about itself, for a second at most. It answers on any node, also on
// one that has lost the others: those have an Err then.
func (s *Store) Cluster(ctx context.Context) Cluster {
	servers, _ := s.servers()
	leader, term := s.LeaderPeer(), s.raft.CurrentTerm()
	out := Cluster{ID: s.identity.Cluster, Leader: leader, Term: term, Warnings: voterWarnings(servers), Members: make([]Member, len(servers))}
	var wg sync.WaitGroup
	for i, server := range servers {
		m := Member{Peer: peerOf(server), Voter: server.Suffrage == raft.Voter, Leader: string(server.ID) == leader.ID, Contact: -1}
		if s.Leading() {
			m.Match, m.Contact = s.progress(server.ID, term)
		}
		wg.Go(func() {
			m.Report, m.Err = s.ask(ctx, m.Peer)
			out.Members[i] = m
		})
	}
	wg.Wait()
	slices.SortFunc(out.Members, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// progress is what this node, as leader of a term, knows of a member.
func (s *Store) progress(id raft.ServerID, term uint64) (match uint64, contact time.Duration) {
	if string(id) == s.id {
		return s.raft.LastIndex(), 0
	}
	k, ok := s.contacts.of(id, term)
	if !ok {
		return 0, -1
	}
	return k.match, time.Since(k.last)
}

func (s *Store) ask(ctx context.Context, of Peer) (Report, error) {
	if of.ID == s.id {
		return s.Report(), nil
	}
	if s.cfg.Others == nil {
		return Report{}, errors.New("this node has no network to ask the others")
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	r, err := s.cfg.Others.Report(ctx, of)
	if err == nil && r.Node != of.ID {
		err = fmt.Errorf("%s answers for node %s, not %s", of.Address, r.Node, of.ID)
	}
	return r, err
}

func peerOf(s raft.Server) Peer { return Peer{ID: string(s.ID), Address: string(s.Address)} }

// voterWarnings says what is wrong with a number of voters.
func voterWarnings(servers []raft.Server) []string {
	n := len(voters(servers))
	if n != 2 && n != 4 {
		return nil
	}
	return []string{fmt.Sprintf("%d voters survive the loss of %d, as %d would: add a node, or remove one", n, (n-1)/2, n-1)}
}

func voters(servers []raft.Server) []raft.Server {
	return slices.DeleteFunc(slices.Clone(servers), func(s raft.Server) bool { return s.Suffrage != raft.Voter })
}

// servers is the latest configuration, and the index of the entry that made it.
func (s *Store) servers() ([]raft.Server, uint64) {
	// This future of the library has its answer from the beginning.
	future := s.raft.GetConfiguration()
	if err := future.Error(); err != nil {
		panic(fmt.Sprint("store: the present configuration: ", err))
	}
	return future.Configuration().Servers, future.Index()
}

// Alone reports whether this node is the only one of the present configuration, as far as it knows. One
// that is not, or that waits for a leader to make it a member, needs a network.
func (s *Store) Alone() bool {
	servers, _ := s.servers()
	return len(servers) == 1 && string(servers[0].ID) == s.id
}

// Member reports whether a node belongs to the present configuration, as far as this one knows.
func (s *Store) Member(id string) bool {
	is, _ := s.member(id)
	return is
}

func (s *Store) member(id string) (is, known bool) {
	servers, _ := s.servers()
	_, is = find(servers, id)
	return is, len(servers) > 0
}

func find(servers []raft.Server, id string) (raft.Server, bool) {
	i := slices.IndexFunc(servers, func(s raft.Server) bool { return string(s.ID) == id })
	if i < 0 {
		return raft.Server{}, false
	}
	return servers[i], true
}

func (s *Store) disk(id string) string {
	s.fsm.mu.RLock()
	defer s.fsm.mu.RUnlock()
	return s.fsm.nodes[id].Disk
}

// Nodes returns the nodes that are, or were, members, by id.
func (s *Store) Nodes() []Node {
	s.fsm.mu.RLock()
	defer s.fsm.mu.RUnlock()
	return s.fsm.sortedNodes()
}

// Join makes a node a member without a vote, on the leader. It is given a vote once it has caught
// up; see Promotion. A node that is a member keeps what it is, and gets the address of n.
// A node that is known with another disk is refused with ErrOtherDisk. It returns
// the id of the cluster, for JoinCluster on the node that joins. It may be repeated.
func (s *Store) Join(ctx context.Context, n Node) (cluster string, err error) {
	what := fmt.Sprintf("let node %s at %s join", n.ID, n.Address)
	if err := s.mayJoin(n); err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	// The leader's own disk must be in the log first, or another could take its id.
	if err := s.settle(ctx); err != nil {
		return "", fmt.Errorf("%s: %w", what, s.readError(err))
	}
	// The disk is in the log before the node is in the configuration, so no disk but this
	// ever takes part under that id.
	if err := s.putNode(ctx, n); err != nil {
		return "", err
	}
	servers, index := s.servers()
	have, is := find(servers, n.ID)
	address := raft.ServerAddress(n.Address)
	var future raft.IndexFuture
	switch {
	case is && have.Address == address:
		return s.identity.Cluster, nil
	case is && have.Suffrage == raft.Voter:
		future = s.raft.AddVoter(have.ID, address, index, enqueueLimit(ctx))
	default:
		future = s.raft.AddNonvoter(raft.ServerID(n.ID), address, index, enqueueLimit(ctx))
	}
	if err := s.await(ctx, future); err != nil {
		return "", fmt.Errorf("%s: %w", what, s.classify(err))
	}
	s.log.Info("a node joins", "joins", n.ID, "address", n.Address, "disk", n.Disk)
	return s.identity.Cluster, nil
}

// mayJoin reports why a node cannot join.
func (s *Store) mayJoin(n Node) error {
	if err := n.check(); err != nil {
		return err
	}
	if s.network == nil {
		return fmt.Errorf("%w: node %s was started without a network, and no other node can reach it", ErrInvalid, s.id)
	}
	if !s.Leading() {
		return s.classify(raft.ErrNotLeader)
	}
	if n.EntryVersion < entryVersion {
		return fmt.Errorf("%w: its program applies log entries up to version %d, and the log of this cluster has version %d; install the version of the other nodes", ErrInvalid, n.EntryVersion, entryVersion)
	}
	servers, _ := s.servers()
	if i := slices.IndexFunc(servers, func(o raft.Server) bool { return string(o.Address) == n.Address }); i >= 0 && string(servers[i].ID) != n.ID {
		return fmt.Errorf("%w: %s is the address of node %s", ErrInvalid, n.Address, servers[i].ID)
	}
	if _, is := find(servers, n.ID); !is && len(servers) >= MaxMembers {
		return fmt.Errorf("%w: the cluster has %d nodes, which is the most", ErrTooMany, MaxMembers)
	}
	return nil
}

func (s *Store) putNode(ctx context.Context, n Node) error {
	if have, ok := s.node(n.ID); ok && have == n {
		return nil
	}
	entry := &logv1.Entry{Command: &logv1.Entry_PutNode{PutNode: &logv1.PutNode{Node: nodeToLog(n)}}}
	_, err := s.propose(ctx, "remember node "+n.ID, entry)
	return err
}

func (s *Store) node(id string) (Node, bool) {
	s.fsm.mu.RLock()
	defer s.fsm.mu.RUnlock()
	n, ok := s.fsm.nodes[id]
	return n, ok
}

// ErrRefused: the cluster would be worse off. The message says how, and what to do instead.
var ErrRefused = errors.New("refused")

// Remove takes a node out of the cluster, on the leader. It refuses to remove the leader
// itself, and a node without which the others could not decide anything; force does it
// all the same. The last voter is never removed. What the removed node has on its disk stays
// there; it may join again with it.
func (s *Store) Remove(ctx context.Context, id string, force bool) error {
	what := "remove node " + id
	if !s.Leading() {
		return fmt.Errorf("%s: %w", what, s.classify(raft.ErrNotLeader))
	}
	servers, index := s.servers()
	if _, is := find(servers, id); !is {
		return fmt.Errorf("%s: %w: it is not a member", what, ErrInvalid)
	}
	if err := s.mayRemove(servers, id, force); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := s.await(ctx, s.raft.RemoveServer(raft.ServerID(id), index, enqueueLimit(ctx))); err != nil {
		return fmt.Errorf("%s: %w", what, s.classify(err))
	}
	s.log.Info("a node is removed", "node", id, "forced", force)
	return nil
}

func (s *Store) mayRemove(servers []raft.Server, id string, force bool) error {
	gone, _ := find(servers, id)
	left := slices.DeleteFunc(voters(servers), func(v raft.Server) bool { return string(v.ID) == id })
	if len(left) == 0 {
		return fmt.Errorf("%w: it is the only node with a vote; nothing could be kept any more, nor could a node join", ErrRefused)
	}
	if force {
		return nil
	}
	if id == s.id {
		return fmt.Errorf("%w: it leads the cluster; transfer the leadership first, and ask again", ErrRefused)
	}
	if gone.Suffrage != raft.Voter {
		return nil
	}
	reached := 0
	for _, v := range left {
		if _, contact := s.progress(v.ID, s.raft.CurrentTerm()); contact >= 0 && contact < s.cfg.Election {
			reached++
		}
	}
	if need := len(left)/2 + 1; reached < need {
		return fmt.Errorf("%w: of the %d voters that are left, %d answer, and %d are needed for anything to be kept; start those that do not answer, or remove one of them",
			ErrRefused, len(left), reached, need)
	}
	return nil
}

const (
	// handOverTries and handOverLimit bound how long Close tries to hand leadership over.
	handOverTries = 3
	handOverLimit = 5 * time.Second
)

// Transfer hands the leadership over to a node, or to the best there is if to is empty, and
// returns when this node does not lead any more.
func (s *Store) Transfer(ctx context.Context, to string) error {
	what := "transfer the leadership"
	if !s.Leading() {
		return fmt.Errorf("%s: %w", what, s.classify(raft.ErrNotLeader))
	}
	servers, _ := s.servers()
	if to == "" {
		heir, err := s.heir(servers)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		to = heir
	}
	server, is := find(servers, to)
	switch {
	case !is:
		return fmt.Errorf("%s: %w: node %s is not a member", what, ErrInvalid, to)
	case server.Suffrage != raft.Voter:
		return fmt.Errorf("%s: %w: node %s has no vote yet; it is given one when it has caught up", what, ErrRefused, to)
	case to == s.id:
		return nil
	}
	if err := s.await(ctx, s.raft.LeadershipTransferToServer(server.ID, server.Address)); err != nil {
		return fmt.Errorf("%s to node %s: %w", what, to, err)
	}
	return nil
}

// heir is the node to hand the leadership to: of those with a vote that answer, the one that has the
// most. The library's own choice may be one that has been dead for a while.
func (s *Store) heir(servers []raft.Server) (string, error) {
	var best raft.Server
	var most uint64
	term := s.raft.CurrentTerm()
	for _, v := range voters(servers) {
		match, contact := s.progress(v.ID, term)
		if string(v.ID) != s.id && contact >= 0 && contact < s.cfg.Election && (best.ID == "" || match > most) {
			best, most = v, match
		}
	}
	if best.ID == "" {
		return "", fmt.Errorf("%w: no other node with a vote has answered in the last %v", ErrRefused, s.cfg.Election)
	}
	return string(best.ID), nil
}

// handOver is Transfer to anybody, for a node that ends.
func (s *Store) handOver() {
	ctx, cancel := context.WithTimeout(context.Background(), handOverLimit)
	defer cancel()
	for range handOverTries {
		if !s.Leading() || s.Err() != nil {
			return
		}
		if servers, _ := s.servers(); len(voters(servers)) < 2 {
			return
		}
		err := s.Transfer(ctx, "")
		if err == nil {
			return
		}
		s.log.Warn("the leadership could not be handed over; the others will elect a leader", "error", err)
		if ctx.Err() != nil {
			return
		}
	}
}
