package peer_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"syncline/controller/peer"
	"syncline/controller/port"
	"syncline/controller/store"
	"syncline/proto/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a controller as far as the others see it: a port with raft and gRPC behind it, without
// TLS, which a host may use to talk to itself.
type node struct {
	store  *store.Store
	client *peer.Client
	peer   store.Peer
}

// listen opens a port for a node whose store is opened with what it returns.
func listen(t *testing.T, id string) (cfg store.Config, client *peer.Client, serve func(*store.Store) *node) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := port.New(l, port.Config{})
	ran := make(chan error, 1)
	go func() { ran <- p.Run() }()
	client = peer.NewClient(insecure.NewCredentials())
	cfg = store.Config{
		Dir: t.TempDir(), ID: id, Election: 300 * time.Millisecond, Others: client, Source: client, Version: "v" + id,
		Network:   &store.Network{Listener: p.Raft(), Address: l.Addr().String()},
		Promotion: store.Promotion{Stable: 50 * time.Millisecond},
	}
	t.Cleanup(func() {
		p.Close()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		client.Close()
	})
	return cfg, client, func(s *store.Store) *node {
		server := grpc.NewServer(grpc.Creds(identity.Dev()))
		peer.Server{Store: s}.Register(server)
		go server.Serve(p.GRPC())
		t.Cleanup(func() {
			server.Stop()
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return &node{store: s, client: client, peer: store.Peer{ID: id, Address: cfg.Network.Address}}
	}
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
func join(t *testing.T, ctx context.Context, id string, at string) *node {
	t.Helper()
	cfg, client, serve := listen(t, id)
	own, err := store.Identify(cfg.Dir, id)
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := client.Join(ctx, at, store.Node{ID: id, Disk: own.Disk, Address: cfg.Network.Address, EntryVersion: store.EntryVersion, Version: cfg.Version})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.JoinCluster(cfg.Dir, cluster); err != nil {
		t.Fatal(err)
	}
	return serve(open(t, cfg))
}

func TestThreeControllersOnOnePortEach(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cfg, _, serve := listen(t, "n1")
	first := serve(open(t, cfg))
	if err := first.store.WaitLeader(ctx); err != nil {
		t.Fatal(err)
	}
	second := join(t, ctx, "n2", first.peer.Address)
	// The third asks a follower, which names the leader.
	third := join(t, ctx, "n3", second.peer.Address)

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
	cfg, client, serve := listen(t, "n1")
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
