package peer_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"syncline/controller/authority"
	"syncline/controller/peer"
	"syncline/controller/port"
	"syncline/controller/store"
	"syncline/proto/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a controller as far as the others see it: a port with raft and gRPC behind it.
type node struct {
	store  *store.Store
	client *peer.Client
	peer   store.Peer
}

// lab is where nodes meet on 127.0.0.1: in plain text, which a host may use to talk to itself, or with a
// certificate for each.
type lab struct {
	*testing.T
	// authority is nil in plain text; pki is its directory.
	authority *authority.Authority
	pki       string
}

// guarded is a lab where everybody shows a certificate.
func guarded(t *testing.T) *lab {
	t.Helper()
	l := &lab{T: t, pki: t.TempDir()}
	var err error
	if l.authority, err = authority.Create(l.pki, "lab-1"); err != nil {
		t.Fatal(err)
	}
	return l
}

// credentials are those of a node; nil in plain text.
func (l *lab) credentials(id string) *identity.Credentials {
	l.Helper()
	if l.authority == nil {
		return nil
	}
	issued, err := l.authority.Issue(authority.Request{Role: identity.Controller, Name: id})
	if err != nil {
		l.Fatal(err)
	}
	files, err := issued.Write(l.pki)
	if err != nil {
		l.Fatal(err)
	}
	own, err := files.Open(slog.New(slog.DiscardHandler))
	if err != nil {
		l.Fatal(err)
	}
	return own
}

// listen opens a port for a node whose store is opened with what it returns.
func (l *lab) listen(id string) (cfg store.Config, client *peer.Client, serve func(*store.Store) *node) {
	l.Helper()
	own := l.credentials(id)
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		l.Fatal(err)
	}
	network := &store.Network{Address: tcp.Addr().String()}
	var portConfig port.Config
	dialling, serving := insecure.NewCredentials(), identity.Dev()
	if own != nil {
		portConfig.TLS = own.ServerConfig(identity.GRPCProtocol, identity.RaftProtocol)
		dialling, serving = own.Client(), own.Server()
		network.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			d := tls.Dialer{Config: own.ClientConfig(identity.Raft)}
			return d.DialContext(ctx, "tcp", address)
		}
		network.Node = nodeOf
	}
	p := port.New(tcp, portConfig)
	network.Listener = p.Raft()
	ran := make(chan error, 1)
	go func() { ran <- p.Run() }()
	client = peer.NewClient(dialling)
	cfg = store.Config{
		Dir: l.TempDir(), ID: id, Election: 300 * time.Millisecond, Others: client, Source: client, Version: "v" + id,
		Network: network, Promotion: store.Promotion{Stable: 50 * time.Millisecond},
	}
	if l.authority != nil {
		cfg.Cluster = l.authority.Cluster()
	}
	l.Cleanup(func() {
		p.Close()
		if err := <-ran; err != nil {
			l.Error(err)
		}
		client.Close()
	})
	return cfg, client, func(s *store.Store) *node {
		server := grpc.NewServer(grpc.Creds(serving))
		answering := peer.Server{Store: s}
		if own != nil {
			answering.Caller = func(ctx context.Context) (string, error) {
				who, err := identity.CallerOf(ctx)
				return who.Name, err
			}
		}
		answering.Register(server)
		go server.Serve(p.GRPC())
		l.Cleanup(func() {
			server.Stop()
			if err := s.Close(); err != nil {
				l.Error(err)
			}
		})
		return &node{store: s, client: client, peer: store.Peer{ID: id, Address: cfg.Network.Address}}
	}
}

// nodeOf is the name in the certificate at the other end of a connection for raft.
func nodeOf(conn net.Conn) (string, error) {
	who, err := identity.FromCertificate(conn.(*tls.Conn).ConnectionState().PeerCertificates[0])
	return who.Name, err
}

func open(t *testing.T, cfg store.Config) *store.Store {
	t.Helper()
	s, err := store.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// join lets a node join as the command does: it asks any member.
func (l *lab) join(ctx context.Context, id string, at string) *node {
	l.Helper()
	cfg, client, serve := l.listen(id)
	own, err := store.Identify(cfg.Dir, id)
	if err != nil {
		l.Fatal(err)
	}
	cluster, err := client.Join(ctx, at, store.Node{ID: id, Disk: own.Disk, Address: cfg.Network.Address, EntryVersion: store.EntryVersion, Version: cfg.Version})
	if err != nil {
		l.Fatal(err)
	}
	if err := store.JoinCluster(cfg.Dir, cluster); err != nil {
		l.Fatal(err)
	}
	return serve(open(l.T, cfg))
}

func TestThreeControllersOnOnePortEach(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	l := &lab{T: t}
	cfg, _, serve := l.listen("n1")
	first := serve(open(t, cfg))
	if err := first.store.WaitLeader(ctx); err != nil {
		t.Fatal(err)
	}
	second := l.join(ctx, "n2", first.peer.Address)
	// The third asks a follower, which names the leader.
	third := l.join(ctx, "n3", second.peer.Address)

	for voters := 0; voters < 3; {
		voters = 0
		c := third.store.Cluster(ctx)
		for _, m := range c.Members {
			if m.Voter && m.Err == nil {
				voters++
			}
		}
		if ctx.Err() != nil {
			t.Fatalf("%d of 3 nodes vote: %+v", voters, c)
		}
	}
	c := third.store.Cluster(ctx)
	for i, m := range c.Members {
		id := fmt.Sprint("n", i+1)
		if m.ID != id || m.Report.Node != id || m.Report.Version != "v"+id || !m.Report.Complete || m.Leader != (i == 0) {
			t.Errorf("member %d: %+v", i, m)
		}
	}

	if err := first.store.PutAgent(ctx, store.Agent{Name: "vm1"}); err != nil {
		t.Fatal(err)
	}
	for _, n := range []*node{first, second, third} {
		if _, err := n.store.ReadIndex(ctx); err != nil {
			t.Fatalf("node %s: %v", n.peer.ID, err)
		}
		if _, ok := n.store.Agent("vm1"); !ok {
			t.Errorf("node %s does not know what was acknowledged before it was asked", n.peer.ID)
		}
	}

	_, err := third.client.ReadIndex(ctx, second.peer)
	if !errors.Is(err, store.ErrNotLeader) || !strings.Contains(err.Error(), "n1") {
		t.Errorf("a follower answered %v, want ErrNotLeader and who leads", err)
	}
}

func TestJoinIsRefusedWithAReason(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cfg, client, serve := (&lab{T: t}).listen("n1")
	first := serve(open(t, cfg))
	if err := first.store.WaitLeader(ctx); err != nil {
		t.Fatal(err)
	}
	const disk = "11111111-1111-4111-8111-111111111111"
	for what, tc := range map[string]struct {
		node store.Node
		code codes.Code
		says string
	}{
		"no name":        {store.Node{Disk: disk, Address: "127.0.0.1:1", EntryVersion: store.EntryVersion}, codes.InvalidArgument, "names no node"},
		"no disk":        {store.Node{ID: "n2", Address: "127.0.0.1:1", EntryVersion: store.EntryVersion}, codes.InvalidArgument, "no UUID"},
		"another's disk": {store.Node{ID: "n1", Disk: disk, Address: "127.0.0.1:1", EntryVersion: store.EntryVersion}, codes.FailedPrecondition, "under a new id"},
		"its address":    {store.Node{ID: "n2", Disk: disk, Address: first.peer.Address, EntryVersion: store.EntryVersion}, codes.InvalidArgument, "is the address of node n1"},
		"an old program": {store.Node{ID: "n2", Disk: disk, Address: "127.0.0.1:1", EntryVersion: 1}, codes.InvalidArgument, "install the version"},
	} {
		_, err := client.Join(ctx, first.peer.Address, tc.node)
		if status.Code(err) != tc.code || !strings.Contains(fmt.Sprint(err), tc.says) || strings.Contains(fmt.Sprint(err), "rpc error") {
			t.Errorf("%s: %v, want %v and %q", what, err, tc.code, tc.says)
		}
	}
	if got := len(first.store.Cluster(ctx).Members); got != 1 {
		t.Errorf("%d members after all were refused, want 1", got)
	}
}

func TestLeaderOf(t *testing.T) {
	want := store.Peer{ID: "n2", Address: "10.0.0.2:7443"}
	got, ok := peer.Leader(peer.NotLeader(want, store.ErrNotLeader))
	if !ok || got != want {
		t.Errorf("%+v, %v", got, ok)
	}
	if _, ok := peer.Leader(status.Error(codes.Unavailable, "x")); ok {
		t.Error("any error that says unavailable names a leader")
	}
}
