package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Network is how a node reaches the others, and they it. Package port gives a listener that shares
// its port with gRPC.
type Network struct {
	// Listener gives connections that other nodes dialled, TLS and all. Close closes it.
	Listener net.Listener
	// Address is where the others reach this node.
	Address string
	// Dial opens a connection to the address of another node. Nil: plain TCP, for a
	// network that is this host alone.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Node says by its certificate which node is at the other end of a connection that was
	// accepted or dialled. Nil: nodes are believed.
	Node func(net.Conn) (string, error)
}

// What raft's transport is set up with.
const (
	// rpcTimeout is how long a call of raft may take: beyond it the connection is dropped, and
	// with it whatever a stopped peer left half done.
	rpcTimeout = 10 * time.Second
	// maxPool is how many idle connections are kept to each peer: heartbeats, entries and votes
	// go their own ways.
	maxPool = 3
	// helloTimeout bounds the exchange of names.
	helloTimeout = 5 * time.Second
	// maxHellos bounds the connections whose names are not known yet.
	maxHellos = 32
)

// membership is what the network asks the node about the cluster. Raft starts with the
// network and before it can be asked, so it comes later.
type membership interface {
	// member reports whether a node belongs to the present configuration. known is false
	// while there is none, as on a node that joins.
	member(id string) (is, known bool)
	// disk is the recorded disk of a node; empty: none is.
	disk(id string) string
}

// network is raft's StreamLayer. Both ends of each connection say who they are before raft uses
// it, so that a wiped node, another cluster or a stranger never has part in it.
type network struct {
	Network
	self Identity
	log  *slog.Logger
	// lost is told why this node must not go on: the cluster knows it with another disk.
	lost func(error)

	accepted chan net.Conn
	closed   chan struct{} // closed by Close
	serving  sync.WaitGroup

	mu      sync.Mutex
	members membership
	streams map[net.Conn]struct{}
	done    bool
	// refused is the last reason that was logged, and when: a node that is refused comes
	// again many times a second.
	refused   string
	refusedAt time.Time
}

func newNetwork(n Network, self Identity, log *slog.Logger, lost func(error)) *network {
	return &network{
		Network: n, self: self, log: log.With("component", "network"), lost: lost,
		accepted: make(chan net.Conn), closed: make(chan struct{}), streams: map[net.Conn]struct{}{},
	}
}

// transport begins to accept, and returns raft's transport over the network.
func (n *network) transport(log *slog.Logger, contacts *contacts) *transport {
	n.serving.Go(n.serve)
	return &transport{
		contacts: contacts,
		NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream: n, MaxPool: maxPool, Timeout: rpcTimeout, Logger: newLogger(log),
			// Overlapping calls gain nothing here, and can wedge a follower.
			MaxRPCsInFlight:         1,
			MsgpackUseNewTimeFormat: true,
		}),
	}
}

// serves names whom to ask about the cluster. Before, every connection is refused.
func (n *network) serves(m membership) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.members = m
}

func (n *network) membership() membership {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.members
}

// serve accepts until the listener is closed.
func (n *network) serve() {
	places := make(chan struct{}, maxHellos)
	for {
		conn, err := n.Listener.Accept()
		if err != nil {
			if n.isClosed() || errors.Is(err, net.ErrClosed) {
				return
			}
			n.log.Warn("accept a connection for raft", "error", err)
			select {
			case <-time.After(10 * time.Millisecond):
				continue
			case <-n.closed:
				return
			}
		}
		select {
		case places <- struct{}{}:
			n.serving.Go(func() {
				defer func() { <-places }()
				n.welcome(conn)
			})
		default:
			n.log.Warn("a connection for raft is dropped, since too many have not said who they are", "from", conn.RemoteAddr(), "limit", maxHellos)
			conn.Close()
		}
	}
}

// welcome hears who is calling, and gives the connection to raft or refuses it.
func (n *network) welcome(conn net.Conn) {
	if !n.track(conn) {
		return
	}
	conn.SetDeadline(time.Now().Add(helloTimeout))
	h, err := readHello(conn)
	if err != nil {
		n.log.Warn("a connection for raft is dropped", "from", conn.RemoteAddr(), "error", err)
		n.drop(conn)
		return
	}
	reason := n.refusal(conn, h)
	err = writeAnswer(conn, reason)
	if reason != "" || err != nil {
		if n.isNews(h.from + ": " + reason) {
			n.log.Warn("a connection for raft is refused", "node", h.from, "from", conn.RemoteAddr(), "reason", reason, "error", err)
		}
		n.drop(conn)
		if n.isLost(h, reason) {
			n.lost(fmt.Errorf("%w: node %s says: %s", ErrOtherDisk, h.from, reason))
		}
		return
	}
	conn.SetDeadline(time.Time{})
	select {
	case n.accepted <- &raftStream{Conn: conn, of: n}:
	case <-n.closed:
		n.drop(conn)
	}
}

// isNews reports whether a refusal is another one than the last, or that was long ago.
func (n *network) isNews(refusal string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if refusal == n.refused && time.Since(n.refusedAt) < 10*time.Second {
		return false
	}
	n.refused, n.refusedAt = refusal, time.Now()
	return true
}

// isLost reports whether a node of this very cluster looks for this very node on another disk. Who
// that is, the certificate has said.
func (n *network) isLost(h hello, refusal string) bool {
	return refusal == n.lostReason(h) && refusal != ""
}

// lostReason is why a node that lost its disk takes no part; empty: it has not.
func (n *network) lostReason(h hello) string {
	if h.cluster != n.self.Cluster || h.to != n.self.Node || h.toDisk == "" || h.toDisk == n.self.Disk {
		return ""
	}
	return fmt.Sprintf("node %s has lost its disk: the cluster knows %s, and this is %s; remove it from the cluster, and join with an empty directory under a new id", n.self.Node, h.toDisk, n.self.Disk)
}

// refusal says why a connection is not taken; empty: it is.
func (n *network) refusal(conn net.Conn, h hello) string {
	if n.Node != nil {
		name, err := n.Node(conn)
		if err != nil {
			return fmt.Sprintf("the certificate is not that of a node: %v", err)
		}
		if name != h.from {
			return fmt.Sprintf("the certificate is of node %s, and the caller says it is %s", name, h.from)
		}
	}
	switch {
	case h.cluster != n.self.Cluster:
		return fmt.Sprintf("this node belongs to cluster %s, not to %s", n.self.Cluster, h.cluster)
	case h.to != n.self.Node:
		return fmt.Sprintf("this is node %s, not %s: two nodes have one address", n.self.Node, h.to)
	}
	if reason := n.lostReason(h); reason != "" {
		return reason
	}
	members := n.membership()
	if members == nil {
		return fmt.Sprintf("node %s is starting", n.self.Node)
	}
	if is, known := members.member(h.from); known && !is {
		return fmt.Sprintf("node %s is not a member of the cluster, as far as %s knows", h.from, n.self.Node)
	}
	if disk := members.disk(h.from); disk != "" && disk != h.fromDisk {
		return fmt.Sprintf("node %s has lost its disk: the cluster knows %s, and it has %s; remove it from the cluster, and join with an empty directory under a new id", h.from, disk, h.fromDisk)
	}
	return ""
}

// Accept gives raft the next connection whose other end is known.
func (n *network) Accept() (net.Conn, error) {
	select {
	case conn := <-n.accepted:
		return conn, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

// Addr is the address that the others know.
func (n *network) Addr() net.Addr { return nodeAddr(n.Address) }

type nodeAddr string

func (nodeAddr) Network() string  { return "tcp" }
func (a nodeAddr) String() string { return string(a) }

// target is how a node and its address go through raft's transport, which has one string for
// both.
func target(id raft.ServerID, address raft.ServerAddress) raft.ServerAddress {
	return raft.ServerAddress(string(id) + "@" + string(address))
}

// Dial opens a connection to a target, and returns it once the other end has accepted it.
func (n *network) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	id, address, ok := strings.Cut(string(to), "@")
	if !ok {
		return nil, fmt.Errorf("dial node %s: the target names no node; this is a bug of the store", to)
	}
	members := n.membership()
	if members == nil {
		return nil, fmt.Errorf("dial node %s: this node is starting", id)
	}
	ctx, cancel := context.WithTimeout(context.Background(), min(timeout, helloTimeout))
	defer cancel()
	conn, err := n.dial(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("dial node %s: %w", id, err)
	}
	if !n.track(conn) {
		return nil, fmt.Errorf("dial node %s: %w", id, net.ErrClosed)
	}
	if err := n.introduce(ctx, conn, id, members.disk(id)); err != nil {
		n.drop(conn)
		return nil, fmt.Errorf("dial node %s at %s: %w", id, address, err)
	}
	return &raftStream{Conn: conn, of: n}, nil
}

func (n *network) dial(ctx context.Context, address string) (net.Conn, error) {
	if n.Network.Dial != nil {
		return n.Network.Dial(ctx, address)
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", address)
}

// introduce says who this node is and whom it looks for.
func (n *network) introduce(ctx context.Context, conn net.Conn, id, disk string) error {
	if n.Node != nil {
		name, err := n.Node(conn)
		if err != nil {
			return fmt.Errorf("the certificate is not that of a node: %w", err)
		}
		if name != id {
			return fmt.Errorf("the certificate is of node %s", name)
		}
	}
	b, err := hello{cluster: n.self.Cluster, from: n.self.Node, fromDisk: n.self.Disk, to: id, toDisk: disk}.marshal()
	if err != nil {
		return err
	}
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	if _, err := conn.Write(b); err != nil {
		return err
	}
	refusal, err := readAnswer(conn)
	if err != nil {
		return fmt.Errorf("wait for its answer: %w", err)
	}
	if refusal != "" {
		return fmt.Errorf("it refuses: %s", refusal)
	}
	conn.SetDeadline(time.Time{})
	return nil
}

// Close ends the listener and every connection: raft's transport would wait on some for ever.
func (n *network) Close() error {
	n.mu.Lock()
	if n.done {
		n.mu.Unlock()
		return nil
	}
	n.done = true
	close(n.closed)
	streams := n.streams
	n.streams = nil
	n.mu.Unlock()
	err := n.Listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	for conn := range streams {
		conn.Close()
	}
	n.serving.Wait()
	return err
}

func (n *network) isClosed() bool {
	select {
	case <-n.closed:
		return true
	default:
		return false
	}
}

// track makes Close close a connection. It closes it now if Close was before.
func (n *network) track(conn net.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.done {
		conn.Close()
		return false
	}
	n.streams[conn] = struct{}{}
	return true
}

func (n *network) drop(conn net.Conn) error {
	n.mu.Lock()
	delete(n.streams, conn)
	n.mu.Unlock()
	return conn.Close()
}

// raftStream is a connection that raft uses.
type raftStream struct {
	net.Conn
	of *network
}

// Close closes the connection and forgets it.
func (s *raftStream) Close() error { return s.of.drop(s.Conn) }
