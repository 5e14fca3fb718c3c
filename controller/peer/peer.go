// Package peer is how controllers ask each other what raft does not tell: how a node sees
// itself, an index to read at, to be let in. It is gRPC on the same port as raft.
//
// Which node calls, and that it is a controller at all, is for the certificate to say; see
// Server.Caller.
package peer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"syncline/controller/store"
	synclinev1 "syncline/proto/syncline/v1"
)

// What an error says in its ErrorInfo when a node that does not lead was asked for what only the
// leader can do.
const (
	Domain          = "syncline"
	ReasonNotLeader = "NOT_LEADER"
	metaLeader      = "leader"
	metaLeaderID    = "leader_id"
)

// NotLeader is the error of a node that does not lead. leader is who does, the zero Peer if nobody
// is known to. Nothing was done; the caller asks again there.
func NotLeader(leader store.Peer, err error) error {
	st := status.New(codes.Unavailable, err.Error())
	info := &errdetails.ErrorInfo{Reason: ReasonNotLeader, Domain: Domain, Metadata: map[string]string{metaLeader: leader.Address, metaLeaderID: leader.ID}}
	with, detailErr := st.WithDetails(info)
	if detailErr != nil {
		return st.Err()
	}
	return with.Err()
}

// Leader returns who leads instead, if that is what an error is about. The Peer is zero if the
// node that was asked knew of no leader.
func Leader(err error) (store.Peer, bool) {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.Reason == ReasonNotLeader && info.Domain == Domain {
			return store.Peer{ID: info.Metadata[metaLeaderID], Address: info.Metadata[metaLeader]}, true
		}
	}
	return store.Peer{}, false
}

// said is an error of a call in the words of whoever said it: the other node, or the kernel
// that did not reach it. gRPC wraps them twice.
type said struct{ err error }

func (s said) Error() string {
	text := status.Convert(s.err).Message()
	if _, inner, ok := strings.Cut(text, "while dialing: "); ok {
		return strings.TrimSuffix(inner, `"`)
	}
	return text
}

func (s said) Unwrap() error { return s.err }

// Client asks other controllers. It keeps one connection to each address for calls, and
// one for files; it is safe for concurrent use. It implements store.Others and store.Source.
type Client struct {
	credentials credentials.TransportCredentials
	options     []grpc.DialOption

	mu     sync.Mutex
	conns  map[target]*grpc.ClientConn
	closed bool
}

var _ store.Others = (*Client)(nil)

// NewClient returns a client with the credentials of this node, whose server side must have the
// role of a controller. More options may say how to dial.
func NewClient(c credentials.TransportCredentials, more ...grpc.DialOption) *Client {
	return &Client{credentials: c, options: more, conns: map[target]*grpc.ClientConn{}}
}

// Close closes all connections. Calls that are under way fail.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	var errs []error
	for _, conn := range c.conns {
		errs = append(errs, conn.Close())
	}
	c.conns = nil
	return errors.Join(errs...)
}

func (c *Client) at(address string) (synclinev1.PeerServiceClient, error) {
	conn, err := c.conn(calls, address)
	if err != nil {
		return nil, err
	}
	return synclinev1.NewPeerServiceClient(conn), nil
}

// purpose is what a connection is for: files have one of their own, so that a gigabyte of
// them delays no call.
type purpose int

const (
	calls purpose = iota
	bulk
	forwarded
)

// maxForwarded bounds one message of a call that was forwarded.
const maxForwarded = 16 << 20

// Conn is the connection to a controller for calls that are forwarded to it. Close of the
// Client closes it.
func (c *Client) Conn(address string) (*grpc.ClientConn, error) { return c.conn(forwarded, address) }

// redial is how often a node is dialled that does not answer.
var redial = backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second}

type target struct {
	purpose
	address string
}

func (c *Client) conn(p purpose, address string) (*grpc.ClientConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errors.New("the connections to the other controllers are closed")
	}
	conn := c.conns[target{p, address}]
	if conn == nil {
		var err error
		// "passthrough" leaves the address as it is: no proxy, no service configuration.
		if conn, err = grpc.NewClient("passthrough:///"+address, append([]grpc.DialOption{
			grpc.WithTransportCredentials(c.credentials),
			// A node that comes back is asked soon, and one that is gone without a word is noticed.
			grpc.WithConnectParams(grpc.ConnectParams{Backoff: redial, MinConnectTimeout: 2 * time.Second}),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxForwarded)),
		}, c.options...)...); err != nil {
			return nil, fmt.Errorf("connect to %s: %w", address, err)
		}
		c.conns[target{p, address}] = conn
	}
	return conn, nil
}

// Report asks a node about itself.
func (c *Client) Report(ctx context.Context, of store.Peer) (store.Report, error) {
	to, err := c.at(of.Address)
	if err != nil {
		return store.Report{}, err
	}
	r, err := to.Report(ctx, &synclinev1.ReportRequest{})
	if err != nil {
		return store.Report{}, fmt.Errorf("ask node %s at %s about itself: %w", of.ID, of.Address, said{err})
	}
	return reportFrom(r)
}

// ReadIndex asks the leader for an index to read at.
func (c *Client) ReadIndex(ctx context.Context, leader store.Peer) (uint64, error) {
	to, err := c.at(leader.Address)
	if err != nil {
		return 0, err
	}
	r, err := to.ReadIndex(ctx, &synclinev1.ReadIndexRequest{})
	if err != nil {
		if other, ok := Leader(err); ok {
			return 0, fmt.Errorf("%w: node %s says that %q leads", store.ErrNotLeader, leader.ID, other.ID)
		}
		return 0, fmt.Errorf("ask node %s at %s for an index to read at: %w", leader.ID, leader.Address, said{err})
	}
	return r.Index, nil
}

// joinPatience is how long Join waits for a cluster to elect a leader, and joinPause how long
// between two questions.
const (
	joinPatience = 30 * time.Second
	joinPause    = 100 * time.Millisecond
)

// Join asks to be let in, beginning at any member's address, and returns the id of the cluster. The
// members know n by the address in it. It follows to the leader, and waits while there is
// none, for 30 s at most.
func (c *Client) Join(ctx context.Context, address string, n store.Node) (cluster string, err error) {
	ctx, cancel := context.WithTimeout(ctx, joinPatience)
	defer cancel()
	for {
		to, err := c.at(address)
		if err != nil {
			return "", err
		}
		r, err := to.Join(ctx, &synclinev1.JoinRequest{NodeId: n.ID, Address: n.Address, Disk: n.Disk, EntryVersion: n.EntryVersion, Version: n.Version})
		if err == nil {
			return r.ClusterId, nil
		}
		leader, ok := Leader(err)
		if !ok {
			return "", fmt.Errorf("ask %s to let node %s join: %w", address, n.ID, said{err})
		}
		if leader.Address != "" {
			address = leader.Address
		}
		select {
		case <-time.After(joinPause):
		case <-ctx.Done():
			return "", fmt.Errorf("ask %s to let node %s join: %w; the cluster has had no leader for %v", address, n.ID, said{err}, joinPatience)
		}
	}
}

// reportFrom checks what another node says before it is believed.
func reportFrom(r *synclinev1.ReportResponse) (store.Report, error) {
	out := store.Report{
		Identity: store.Identity{Node: r.NodeId, Disk: r.Disk, Cluster: r.ClusterId},
		Version:  r.Version, EntryVersion: r.EntryVersion, Term: r.Term, Commit: r.CommitIndex, Applied: r.AppliedIndex,
		State: r.State, Complete: r.Complete, Failure: r.Failure,
	}
	for _, c := range r.Checkpoints {
		if len(c.Hash) != sha256.Size {
			return store.Report{}, fmt.Errorf("node %s reports a checkpoint with a hash of %d bytes", r.NodeId, len(c.Hash))
		}
		out.Checkpoints = append(out.Checkpoints, store.StateHash{Index: c.Index, Hash: [sha256.Size]byte(c.Hash)})
	}
	return out, nil
}
