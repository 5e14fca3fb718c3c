package store

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

// transport is raft's transport, and remembers what its calls show about the followers,
// which the library keeps to itself.
type transport struct {
	*raft.NetworkTransport
	contacts *contacts
}

// AppendEntries sends entries or a heartbeat.
func (t *transport) AppendEntries(id raft.ServerID, address raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	began := time.Now()
	if err := t.NetworkTransport.AppendEntries(id, target(id, address), args, resp); err != nil {
		return err
	}
	match := args.PrevLogEntry
	if n := len(args.Entries); n > 0 {
		match = args.Entries[n-1].Index
	}
	if !resp.Success {
		match = 0
	}
	t.contacts.heard(id, args.Term, resp.Term, began, match)
	return nil
}

// InstallSnapshot sends a snapshot.
func (t *transport) InstallSnapshot(id raft.ServerID, address raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	began := time.Now()
	if err := t.NetworkTransport.InstallSnapshot(id, target(id, address), args, resp, data); err != nil {
		return err
	}
	match := args.LastLogIndex
	if !resp.Success {
		match = 0
	}
	t.contacts.heard(id, args.Term, resp.Term, began, match)
	return nil
}

// RequestVote asks for a vote.
func (t *transport) RequestVote(id raft.ServerID, address raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	return again(func() error { return t.NetworkTransport.RequestVote(id, target(id, address), args, resp) })
}

// RequestPreVote asks if there would be a vote.
func (t *transport) RequestPreVote(id raft.ServerID, address raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	return again(func() error { return t.NetworkTransport.RequestPreVote(id, target(id, address), args, resp) })
}

// TimeoutNow hands leadership over.
func (t *transport) TimeoutNow(id raft.ServerID, address raft.ServerAddress, args *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	return again(func() error { return t.NetworkTransport.TimeoutNow(id, target(id, address), args, resp) })
}

// again repeats a call for as long as it meets connections that the other end has closed. A node
// that was started anew leaves such ones in the pools of the others, and the library gives a
// call up with the first: a candidate lost the vote it would have had, and waited for
// another election time-out. Each of these calls may come twice.
func again(call func() error) error {
	for range maxPool {
		if err := call(); !isHungUp(err) {
			return err
		}
	}
	return call()
}

func isHungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

// contacts are what the calls of this node, as leader, showed of the others.
type contacts struct {
	mu sync.Mutex
	by map[raft.ServerID]contact
}

// contact is what is known of one follower. Times are of this host's monotonic clock.
type contact struct {
	term uint64
	// confirmed is when the latest call began to which the node answered that term is its own
	// term too: at some moment after it the node knew of no later leader.
	confirmed time.Time
	// last is when its latest answer came.
	last time.Time
	// match is the last entry that is known to be on its disk, of those of this term's leader.
	match uint64
}

func newContacts() *contacts { return &contacts{by: map[raft.ServerID]contact{}} }

// heard notes an answer to a call of the leader of a term.
func (c *contacts) heard(id raft.ServerID, term, answered uint64, began time.Time, match uint64) {
	if answered != term {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.by[id]
	if k.term > term {
		return
	}
	if k.term < term {
		k = contact{term: term}
	}
	if began.After(k.confirmed) {
		k.confirmed = began
	}
	k.last = time.Now()
	k.match = max(k.match, match)
	c.by[id] = k
}

// of returns what is known of a node from a term.
func (c *contacts) of(id raft.ServerID, term uint64) (contact, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.by[id]
	return k, ok && k.term == term
}

// confirms reports whether a majority of the voters, self among them, took the leader of a
// term for the leader at some moment after since.
func (c *contacts) confirms(servers []raft.Server, self raft.ServerID, term uint64, since time.Time) bool {
	voters, yes := 0, 0
	for _, s := range servers {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if s.ID == self {
			yes++
		} else if k, ok := c.of(s.ID, term); ok && !k.confirmed.Before(since) {
			yes++
		}
	}
	return yes > voters/2
}
