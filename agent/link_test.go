package agent

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"

	"syncline/proto/identity"
	synclinev1 "syncline/proto/syncline/v1"
)

// quietController welcomes agents, and then says what its test wants.
type quietController struct {
	synclinev1.UnimplementedLinkServiceServer
	// welcome is what each agent gets.
	welcome *synclinev1.Welcome
	// answers: heartbeats are answered.
	answers bool
	// heartbeats gets one token for each, if there is room; welcomed likewise.
	heartbeats, welcomed chan struct{}
}

func (q *quietController) Control(stream grpc.BidiStreamingServer[synclinev1.ControlRequest, synclinev1.ControlResponse]) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	if err := stream.Send(&synclinev1.ControlResponse{Message: &synclinev1.ControlResponse_Welcome{Welcome: q.welcome}}); err != nil {
		return err
	}
	q.welcomed <- struct{}{}
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		if m.GetHeartbeat() == nil {
			continue
		}
		if q.answers {
			if err := stream.Send(&synclinev1.ControlResponse{Message: &synclinev1.ControlResponse_Receipt{Receipt: &synclinev1.Receipt{}}}); err != nil {
				return err
			}
		}
		select {
		case q.heartbeats <- struct{}{}:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func (q *quietController) Upload(stream grpc.BidiStreamingServer[synclinev1.UploadRequest, synclinev1.UploadResponse]) error {
	<-stream.Context().Done()
	return stream.Context().Err()
}

// serve is its address.
func (q *quietController) serve(t *testing.T) string {
	t.Helper()
	q.heartbeats, q.welcomed = make(chan struct{}), make(chan struct{}, 16)
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(identity.Dev()))
	synclinev1.RegisterLinkServiceServer(server, q)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return "unix:" + l.Addr().String()
}

// runAgent runs an agent until the test is over.
func runAgent(t *testing.T, controllers ...string) {
	t.Helper()
	a, err := New(Config{Controllers: controllers, Dev: true, Name: "vm1", Addresses: []string{"127.0.0.1"}, State: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func within(t *testing.T, what string, happens <-chan struct{}) {
	t.Helper()
	select {
	case <-happens:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s: not within 20 s", what)
	}
}

// A controller that was promised to answer and does not is left for the next of the list. The
// connection is whole: no packet says that something is wrong.
func TestSilentControllerIsLeft(t *testing.T) {
	silent := &quietController{welcome: &synclinev1.Welcome{HeartbeatNs: int64(10 * time.Millisecond), UnansweredLimit: 3, Line: "one"}}
	next := &quietController{welcome: &synclinev1.Welcome{HeartbeatNs: int64(10 * time.Millisecond), UnansweredLimit: 100, Line: "two"}, answers: true}
	runAgent(t, silent.serve(t), next.serve(t))
	within(t, "the agent comes to the first of its controllers", silent.welcomed)
	within(t, "the agent goes on to the next, which answers", next.welcomed)
	// Longer than it may be silent: each answer counts.
	for range 130 {
		within(t, "the agent stays where it is answered", next.heartbeats)
	}
	if len(next.welcomed) > 0 || len(silent.welcomed) > 0 {
		t.Error("the agent did not stay with the controller that answers")
	}
}

// A controller of before that was promised nothing by is stayed with, however silent it is.
func TestOldControllerMayBeSilent(t *testing.T) {
	old := &quietController{welcome: &synclinev1.Welcome{HeartbeatNs: int64(10 * time.Millisecond), Line: "one"}}
	runAgent(t, old.serve(t))
	within(t, "the agent comes", old.welcomed)
	for range 30 {
		within(t, "the agent stays", old.heartbeats)
	}
	if len(old.welcomed) > 0 {
		t.Error("the agent left a controller that never said that it answers")
	}
}
