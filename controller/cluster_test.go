package controller

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"syncline/controller/authority"
	"syncline/controller/experiment"
	"syncline/controller/peer"
	"syncline/controller/store"
	"syncline/proto/identity"
	synclinev1 "syncline/proto/syncline/v1"
)

// testCluster is three controllers of one process, with certificates, on loopback.
type testCluster struct {
	t         testing.TB
	pki       string
	authority *authority.Authority
	nodes     []*testNode
	// issued are the certificates by role and name.
	issued map[string]identity.Files
	// conns are the connections by address and certificate.
	conns map[string]*grpc.ClientConn
}

// testNode is one of them.
type testNode struct {
	*Controller
	id, address string
	log         *testLog
	// stop ends it, and waits until it has ended.
	stop func()
}

const clusterPatience = 60 * time.Second

func newTestCluster(t testing.TB) *testCluster {
	t.Helper()
	c := &testCluster{t: t, pki: t.TempDir(), issued: map[string]identity.Files{}, conns: map[string]*grpc.ClientConn{}}
	t.Cleanup(func() {
		for _, conn := range c.conns {
			conn.Close()
		}
	})
	var err error
	if c.authority, err = authority.Create(c.pki, "lab-1"); err != nil {
		t.Fatal(err)
	}
	first := c.add("")
	c.until("the first leads", func() bool { return first.reigning() != nil })
	c.add(first.address)
	c.add(first.address)
	c.until("all vote", func() bool {
		voters := 0
		for _, m := range first.store.Cluster(t.Context()).Members {
			if m.Voter && m.Err == nil {
				voters++
			}
		}
		return voters == 3
	})
	return c
}

// add starts a controller that joins the one at an address; "": it begins the cluster.
func (c *testCluster) add(at string) *testNode {
	c.t.Helper()
	n := &testNode{id: fmt.Sprintf("ctl%d", len(c.nodes)+1), log: &testLog{}}
	own, err := c.issue(identity.Controller, n.id).Open(slog.New(slog.DiscardHandler))
	if err != nil {
		c.t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	n.address = l.Addr().String()
	dir := c.t.TempDir()
	if at == "" {
		if _, err := store.BeginCluster(dir, n.id, "lab-1"); err != nil {
			c.t.Fatal(err)
		}
	} else {
		c.join(dir, n, at, own.Client())
	}
	n.Controller, err = Open(Config{
		Dir: dir, Version: "test", Identity: own, Advertise: n.address, Listener: l,
		Election: 500 * time.Millisecond, Promotion: store.Promotion{Stable: 50 * time.Millisecond, Contact: time.Second},
		Log: slog.New(slog.NewTextHandler(n.log, nil)),
	})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := n.Serve(ctx); err != nil {
			c.t.Errorf("%s: %v", n.id, err)
		}
	}()
	n.stop = func() { stop(); <-ended }
	c.t.Cleanup(n.stop)
	c.nodes = append(c.nodes, n)
	return n
}

// join is syncline cluster join.
func (c *testCluster) join(dir string, n *testNode, at string, creds credentials.TransportCredentials) {
	c.t.Helper()
	identified, err := store.Identify(dir, n.id)
	if err != nil {
		c.t.Fatal(err)
	}
	others := peer.NewClient(creds)
	cluster, err := others.Join(c.t.Context(), at, store.Node{ID: n.id, Disk: identified.Disk, Address: n.address, EntryVersion: store.EntryVersion, Version: "test"})
	if err := errors.Join(err, others.Close()); err != nil {
		c.t.Fatal(err)
	}
	if err := store.JoinCluster(dir, cluster); err != nil {
		c.t.Fatal(err)
	}
}

func (c *testCluster) issue(role identity.Role, name string) identity.Files {
	c.t.Helper()
	key := fmt.Sprint(role, "/", name)
	if files, ok := c.issued[key]; ok {
		return files
	}
	issued, err := c.authority.Issue(authority.Request{Role: role, Name: name})
	if err != nil {
		c.t.Fatal(err)
	}
	files, err := issued.Write(c.pki)
	if err != nil {
		c.t.Fatal(err)
	}
	c.issued[key] = files
	return files
}

// as is a connection to a node with a certificate.
func (c *testCluster) as(role identity.Role, name string, n *testNode) *grpc.ClientConn {
	c.t.Helper()
	key := fmt.Sprint(role, "/", name, "@", n.address)
	if conn := c.conns[key]; conn != nil {
		return conn
	}
	own, err := c.issue(role, name).Open(slog.New(slog.DiscardHandler))
	if err != nil {
		c.t.Fatal(err)
	}
	conn, err := grpc.NewClient(n.address, grpc.WithTransportCredentials(own.Client()))
	if err != nil {
		c.t.Fatal(err)
	}
	c.conns[key] = conn
	return conn
}

func (c *testCluster) until(what string, holds func() bool) {
	c.t.Helper()
	deadline := time.Now().Add(clusterPatience)
	for !holds() {
		if time.Now().After(deadline) {
			for _, n := range c.nodes {
				c.t.Logf("%s:\n%s", n.id, n.log)
			}
			c.t.Fatalf("%s: still not so after %v", what, clusterPatience)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// leader is who leads as all know it, and followers are the others.
func (c *testCluster) leader() (leader *testNode, followers []*testNode) {
	c.t.Helper()
	c.until("all know one leader", func() bool {
		leader, followers = nil, nil
		for _, n := range c.nodes {
			if n.reigning() != nil {
				leader = n
			} else {
				followers = append(followers, n)
			}
		}
		if leader == nil || len(followers) != len(c.nodes)-1 {
			return false
		}
		for _, n := range followers {
			if n.store.LeaderPeer().ID != leader.id {
				return false
			}
		}
		return true
	})
	return leader, followers
}

// transfer hands the leadership to a node, by an operator's word to any.
func (c *testCluster) transfer(by *grpc.ClientConn, to *testNode) {
	c.t.Helper()
	c.until(to.id+" leads", func() bool {
		// It is refused while the next leader has not caught up.
		_, err := synclinev1.NewClusterServiceClient(by).TransferLeadership(c.t.Context(), &synclinev1.TransferLeadershipRequest{To: to.id, Force: true})
		if err != nil && status.Code(err) != codes.FailedPrecondition && status.Code(err) != codes.Unavailable {
			c.t.Fatal(err)
		}
		return to.reigning() != nil
	})
}

// TestCluster has one cluster for all that any node answers, and the change of who leads.
func TestCluster(t *testing.T) {
	c := newTestCluster(t)
	for _, part := range []struct {
		name string
		test func(*testing.T, *testCluster)
	}{
		{"agents are told who leads", agentsAreTold},
		{"a second hop is refused", secondHop},
		{"the leader sees who called", callerIsKept},
		{"a request made at any node is made once", madeOnce},
		{"reads at a follower see what was acknowledged", readsAreFresh},
		{"a stream goes on with the next leader", streamGoesOn},
		{"runs are taken over", runsAreTakenOver},
		{"a backup has what was acknowledged", backupsAreWhole},
		// It ends the cluster.
		{"nobody answers without a majority", withoutMajority},
	} {
		t.Run(part.name, func(t *testing.T) {
			now := *c
			now.t = t
			part.test(t, &now)
		})
	}
}

// agentsAreTold: an agent that comes to a follower hears where the leader is, on both of its
// streams.
func agentsAreTold(t *testing.T, c *testCluster) {
	lead, followers := c.leader()
	link := synclinev1.NewLinkServiceClient(c.as(identity.Agent, "vm1", followers[0]))
	control, err := link.Control(t.Context())
	if err == nil {
		_, err = control.Recv()
	}
	upload, uploadErr := link.Upload(t.Context())
	if uploadErr == nil {
		_, uploadErr = upload.Recv()
	}
	for _, err := range []error{err, uploadErr} {
		at, ok := peer.Leader(err)
		if status.Code(err) != codes.Unavailable || !ok || at.ID != lead.id || at.Address != lead.address {
			t.Errorf("a follower answered an agent %v, with the leader %+v; want NOT_LEADER, and %s at %s", err, at, lead.id, lead.address)
		}
	}
}

// forwardedBy is the context of a call that a controller forwards for somebody.
func forwardedBy(ctx context.Context, caller string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "syncline-forwarded", "1", "syncline-caller", caller)
}

// secondHop: a follower that is asked by another controller says who leads, at once, and asks
// nobody: two that take each other for the leader must not go on for ever.
func secondHop(t *testing.T, c *testCluster) {
	lead, followers := c.leader()
	conn := c.as(identity.Controller, followers[0].id, followers[1])
	began := time.Now()
	_, err := synclinev1.NewRunServiceClient(conn).CancelRun(forwardedBy(t.Context(), "spiffe://lab-1/operator/ann"), &synclinev1.CancelRunRequest{Id: "r-none"})
	if at, ok := peer.Leader(err); status.Code(err) != codes.Unavailable || !ok || at.ID != lead.id {
		t.Errorf("a call that was forwarded to a follower was answered %v; want NOT_LEADER, and %s", err, lead.id)
	}
	if took := time.Since(began); took >= answerPatience {
		t.Errorf("it took %v: who forwarded it waits for a leader, and not who was asked", took)
	}
	agents, err := synclinev1.NewAgentServiceClient(conn).WatchAgents(forwardedBy(t.Context(), "spiffe://lab-1/operator/ann"), &synclinev1.WatchAgentsRequest{})
	if err == nil {
		_, err = agents.Recv()
	}
	if _, ok := peer.Leader(err); !ok {
		t.Errorf("a stream that was forwarded to a follower was answered %v; want NOT_LEADER", err)
	}
}

// callerIsKept: what a follower forwards is done in the name of who called there, which the
// leader looks at again; nobody but a controller speaks for others.
func callerIsKept(t *testing.T, c *testCluster) {
	lead, followers := c.leader()
	none := &synclinev1.CancelRunRequest{Id: "r-none"}
	_, err := synclinev1.NewRunServiceClient(c.as(identity.Operator, "ann", followers[0])).CancelRun(t.Context(), none)
	if status.Code(err) != codes.NotFound {
		t.Errorf("an operator at a follower was answered %v, want what the leader says: %v", err, codes.NotFound)
	}
	_, err = synclinev1.NewRunServiceClient(c.as(identity.Viewer, "eve", followers[0])).CancelRun(t.Context(), none)
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("a viewer at a follower was answered %v, want %v", err, codes.PermissionDenied)
	}
	byController := synclinev1.NewRunServiceClient(c.as(identity.Controller, followers[0].id, lead))
	_, err = byController.CancelRun(forwardedBy(t.Context(), "spiffe://lab-1/viewer/eve"), none)
	if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "eve") || !strings.Contains(err.Error(), followers[0].id) {
		t.Errorf("a viewer whose call a controller forwarded was answered %v, want %v with both names", err, codes.PermissionDenied)
	}
	_, err = byController.CancelRun(t.Context(), none)
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("a controller that cancels in its own name was answered %v, want %v", err, codes.PermissionDenied)
	}
	byOperator := synclinev1.NewRunServiceClient(c.as(identity.Viewer, "eve", lead))
	_, err = byOperator.CancelRun(forwardedBy(t.Context(), "spiffe://lab-1/operator/ann"), none)
	if status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "only controllers forward") {
		t.Errorf("a viewer that says it forwards an operator's call was answered %v, want %v", err, codes.Unauthenticated)
	}
}

// runRequest asks for a run that two agents could play.
func runRequest(t testing.TB, id string) *synclinev1.CreateRunRequest {
	t.Helper()
	const name = "basic-open-close"
	source, ok := experiment.Open(name)
	if !ok {
		t.Fatalf("no scenario %s", name)
	}
	return &synclinev1.CreateRunRequest{RequestId: id, FileName: name, Source: source, Repetitions: 1}
}

// planned writes a run into the log that nobody works on.
func plannedRun(t testing.TB, n *testNode, request string) store.Run {
	t.Helper()
	run, err := n.store.CreateRun(t.Context(), request, store.Run{
		ID: newRunID(), Experiment: "x", Repetitions: 3, State: store.Planned,
		Hosts: []store.RunHost{{Name: "A", Agent: "vm1", Address: "10.0.0.1"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// madeOnce: the request that made a run is answered with it by every node, whoever leads by
// then; another request is not.
func madeOnce(t *testing.T, c *testCluster) {
	lead, followers := c.leader()
	made := plannedRun(t, lead, "once")
	ann := c.as(identity.Operator, "ann", followers[0])
	again := func(when string) {
		t.Helper()
		for _, n := range c.nodes {
			answer, err := synclinev1.NewRunServiceClient(c.as(identity.Operator, "ann", n)).CreateRun(t.Context(), runRequest(t, "once"))
			if err != nil || answer.Run.Id != made.ID {
				t.Errorf("%s, the same request at %s: run %q, %v; want %s", when, n.id, answer.GetRun().GetId(), err, made.ID)
			}
		}
	}
	again("under the same leader")
	c.transfer(ann, followers[0])
	again("under the next leader")
	_, err := synclinev1.NewRunServiceClient(ann).CreateRun(t.Context(), runRequest(t, "another"))
	if status.Code(err) != codes.FailedPrecondition {
		t.Errorf("another request was answered %v; want that there are no agents: %v", err, codes.FailedPrecondition)
	}
	answer, err := synclinev1.NewRunServiceClient(ann).ListRuns(t.Context(), &synclinev1.ListRunsRequest{})
	if err != nil || len(answer.Runs) != 1 {
		t.Errorf("%d runs, %v; want the one that was made", len(answer.GetRuns()), err)
	}
}

// readsAreFresh: what was acknowledged at one node is seen at every other one at once, and an
// answer from an old state says how old.
func readsAreFresh(t *testing.T, c *testCluster) {
	lead, _ := c.leader()
	for i := range 10 {
		name := fmt.Sprint("fresh-", i)
		made := plannedRun(t, lead, name)
		for _, n := range c.nodes {
			if _, err := synclinev1.NewRunServiceClient(c.as(identity.Viewer, "eve", n)).GetRun(t.Context(), &synclinev1.GetRunRequest{Id: made.ID}); err != nil {
				t.Errorf("%s, asked for a run that was made before: %v", n.id, err)
			}
		}
	}
	for _, n := range c.nodes {
		var header metadata.MD
		ctx := metadata.AppendToOutgoingContext(t.Context(), StaleKey, "1")
		if _, err := synclinev1.NewRunServiceClient(c.as(identity.Viewer, "eve", n)).ListRuns(ctx, &synclinev1.ListRunsRequest{}, grpc.Header(&header)); err != nil {
			t.Error(err)
		}
		if v := header.Get(BehindKey); len(v) != 1 {
			t.Errorf("%s, asked for what it knows, says %v about how old that is", n.id, header)
		}
	}
}

// backupBy is a backup that a node sends.
func backupBy(ctx context.Context, conn *grpc.ClientConn) ([]byte, error) {
	stream, err := synclinev1.NewClusterServiceClient(conn).SnapshotCluster(ctx, &synclinev1.SnapshotClusterRequest{})
	if err != nil {
		return nil, err
	}
	var all []byte
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, m.Data...)
	}
}

// backupsAreWhole: a backup from any node has all that any node has acknowledged, and a cluster
// that is made of it has it again, chunk by chunk.
func backupsAreWhole(t *testing.T, c *testCluster) {
	lead, _ := c.leader()
	made := plannedRun(t, lead, "backed up")
	data := bytes.Repeat([]byte("events"), 100)
	for _, n := range c.nodes {
		lead, _ := c.leader()
		streams := lead.store.Streams(made.ID)
		sequence := uint64(1)
		if len(streams) > 0 {
			sequence = streams[0].Contiguous + 1
		}
		chunk := store.Chunk{RunID: made.ID, Agent: "vm1", Incarnation: 1, Sequence: sequence, FirstEvent: sequence, Events: 1, Data: data, CRC32C: store.Checksum(data)}
		if _, err := lead.store.AppendChunk(t.Context(), chunk); err != nil {
			t.Fatal(err)
		}
		backup, err := backupBy(t.Context(), c.as(identity.Operator, "ann", n))
		if err != nil {
			t.Fatalf("%s: %v", n.id, err)
		}
		restored, err := store.Restore(t.Context(), bytes.NewReader(backup), store.RestoreConfig{Dir: t.TempDir(), Node: "ctl9"})
		if err != nil || restored.From.Chunks != sequence || restored.From.Node != n.id || restored.Cluster != "lab-1" {
			t.Errorf("a backup of %s, after chunk %d: %+v, %v", n.id, sequence, restored, err)
		}
	}
	if _, err := backupBy(t.Context(), c.as(identity.Viewer, "eve", lead)); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a viewer was answered %v", err)
	}
}

// streamGoesOn: who watches the agents through a follower hears of them from the next leader
// without opening the stream again.
func streamGoesOn(t *testing.T, c *testCluster) {
	_, followers := c.leader()
	asked, next := followers[0], followers[1]
	conn := c.as(identity.Operator, "ann", asked)
	ctx, cancel := context.WithTimeout(t.Context(), clusterPatience)
	defer cancel()
	stream, err := synclinev1.NewAgentServiceClient(conn).WatchAgents(ctx, &synclinev1.WatchAgentsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	c.transfer(conn, next)
	agent := c.hello(next, "vm7")
	for {
		m, err := stream.Recv()
		if err != nil {
			t.Fatalf("the stream ended with the leadership: %v", err)
		}
		if names := fmt.Sprint(m); strings.Contains(names, "vm7") {
			break
		}
	}
	if err := agent.CloseSend(); err != nil {
		t.Error(err)
	}
}

// hello connects an agent to a node that leads.
func (c *testCluster) hello(n *testNode, name string) grpc.BidiStreamingClient[synclinev1.ControlRequest, synclinev1.ControlResponse] {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c.t.Cleanup(cancel)
	stream, err := synclinev1.NewLinkServiceClient(c.as(identity.Agent, name, n)).Control(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := stream.Send(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Hello{Hello: &synclinev1.Hello{
		Name: name, Addresses: []string{"10.0.0.7"}, BootId: "b", Incarnation: 1, ProtocolMin: Protocol, ProtocolMax: Protocol,
	}}}); err != nil {
		c.t.Fatal(err)
	}
	m, err := stream.Recv()
	if err != nil {
		c.t.Fatal(err)
	}
	if m.GetWelcome().GetUnansweredLimit() == 0 {
		c.t.Errorf("the agent was welcomed with %v, and without the promise that heartbeats are answered", m)
	}
	if err := stream.Send(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Heartbeat{Heartbeat: &synclinev1.Heartbeat{}}}); err != nil {
		c.t.Fatal(err)
	}
	if m, err := stream.Recv(); err != nil || m.GetReceipt() == nil {
		c.t.Errorf("a heartbeat was answered %v, %v", m, err)
	}
	return stream
}

// runsAreTakenOver: the next leader has every run that was not over under a new epoch, so that
// the last one can change it no more, and ends it with the reason.
func runsAreTakenOver(t *testing.T, c *testCluster) {
	lead, followers := c.leader()
	next := followers[0]
	run := plannedRun(t, lead, "left")
	reign := lead.reigning()
	c.transfer(c.as(identity.Operator, "ann", followers[1]), next)
	select {
	case <-reign.ctx.Done():
		if cause := context.Cause(reign.ctx); !errors.Is(cause, store.ErrDeposed) {
			t.Errorf("the last leader's reign ended with %v, want %v", cause, store.ErrDeposed)
		}
	case <-time.After(clusterPatience):
		t.Fatal("the last leader goes on")
	}
	c.until("the run is over", func() bool {
		now, ok := next.store.Run(run.ID)
		return ok && now.State.Final()
	})
	now, _ := next.store.Run(run.ID)
	if now.State != store.Failed || now.Epoch <= run.Epoch || !strings.Contains(now.Reason, "its controller was lost, and "+next.id+" took over") {
		t.Errorf("run %+v; want it failed by %s, in a later epoch than %d", now, next.id, run.Epoch)
	}
	if _, err := next.store.ChangeRun(t.Context(), run.ID, store.RunChange{Epoch: run.Epoch, State: store.Prepared}); err == nil {
		t.Error("what the last leader says of the run is still taken")
	}
	if lead.launch(reign, newRunner(lead.Controller, run, nil), (*runner).bury) {
		t.Error("the last leader began to work on a run after its reign")
	}
}

// withoutMajority: a node that has lost the others answers from what it knows when that is
// wanted, and says of everything else that it cannot, and that nobody leads.
func withoutMajority(t *testing.T, c *testCluster) {
	_, followers := c.leader()
	last := followers[0]
	conn := c.as(identity.Operator, "ann", last)
	for _, n := range c.nodes {
		if n != last {
			n.stop()
		}
	}
	// What callers without a deadline wait for is answerPatience; it is cut short here.
	const patience = 300 * time.Millisecond
	for what, ask := range map[string]func(context.Context) error{
		"a read": func(ctx context.Context) error {
			_, err := last.freshen(ctx)
			return err
		},
		"a write": func(ctx context.Context) error {
			_, err := last.byLeader(ctx, &synclinev1.CancelRunRequest{}, synclinev1.RunService_CancelRun_FullMethodName, func(context.Context, any) (any, error) {
				return nil, last.leads()
			})
			return err
		},
	} {
		var err error
		var began time.Time
		// At first it takes the last leader for one that is still there.
		c.until(what+" is answered that nobody leads", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			began, err = time.Now(), ask(ctx)
			at, ok := peer.Leader(err)
			return ok && at.ID == "" && status.Code(err) == codes.Unavailable
		})
		if took := time.Since(began); took < patience {
			t.Errorf("%s was given up after %v; want as long as its caller waits, %v", what, took, patience)
		}
		if what == "a read" && !strings.Contains(err.Error(), "--stale") {
			t.Errorf("a read is answered %v, and not how it is possible all the same", err)
		}
	}
	runs := synclinev1.NewRunServiceClient(conn)
	answer, err := runs.ListRuns(metadata.AppendToOutgoingContext(t.Context(), StaleKey, "1"), &synclinev1.ListRunsRequest{})
	if err != nil || len(answer.Runs) == 0 {
		t.Errorf("what it knows: %d runs, %v", len(answer.GetRuns()), err)
	}
	// A backup of it is the best that there is by now.
	got, err := backupBy(metadata.AppendToOutgoingContext(t.Context(), StaleKey, "1"), conn)
	if b, bad := store.CheckBackup(bytes.NewReader(got), nil); err != nil || bad != nil || b.Runs != uint64(len(answer.Runs)) || b.Node != last.id {
		t.Errorf("a backup of what it knows: %+v, %v, %v", b, err, bad)
	}
	late, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	began := time.Now()
	_, err = runs.CancelRun(late, &synclinev1.CancelRunRequest{Id: "r-none"})
	if _, said := peer.Leader(err); !said && status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("a caller with a deadline of its own was answered %v", err)
	}
	if took := time.Since(began); took >= answerPatience {
		t.Errorf("a caller with a deadline of %v waited for %v", patience, took)
	}
}
