package identity_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"syncline/proto/identity"
)

// served is a gRPC server that notes who called last.
type served struct {
	address string
	callers chan string
}

func serve(t *testing.T, l net.Listener, creds credentials.TransportCredentials) *served {
	t.Helper()
	s := &served{address: l.Addr().String(), callers: make(chan string, 16)}
	note := func(ctx context.Context) {
		caller, err := identity.CallerOf(ctx)
		if err != nil {
			s.callers <- err.Error()
			return
		}
		s.callers <- caller.String()
	}
	server := grpc.NewServer(grpc.Creds(creds), grpc.ConnectionTimeout(5*time.Second),
		grpc.UnaryInterceptor(func(ctx context.Context, q any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			note(ctx)
			return next(ctx, q)
		}),
		grpc.StreamInterceptor(func(q any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			note(stream.Context())
			return next(q, stream)
		}))
	healthv1.RegisterHealthServer(server, health.NewServer())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func dial(t *testing.T, target string, creds credentials.TransportCredentials) healthv1.HealthClient {
	t.Helper()
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return healthv1.NewHealthClient(conn)
}

func ask(t *testing.T, client healthv1.HealthClient) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, err := client.Check(ctx, &healthv1.HealthCheckRequest{})
	return err
}

func TestCallersAreKnown(t *testing.T) {
	c := newCluster(t, "lab-1")
	server, agent := c.open(identity.Controller, "ctl1"), c.open(identity.Agent, "vm1")
	s := serve(t, listen(t, "tcp", "127.0.0.1:0"), server.Server())
	if err := ask(t, dial(t, s.address, agent.Client())); err != nil {
		t.Fatal(err)
	}
	if got, want := <-s.callers, "agent vm1 of cluster lab-1"; got != want {
		t.Errorf("the caller is %q, want %q", got, want)
	}

	// A listener that has made the handshake already, as one for several protocols does.
	inner := listen(t, "tcp", "127.0.0.1:0")
	s = serve(t, tls.NewListener(inner, server.ServerConfig(identity.GRPCProtocol, identity.RaftProtocol)), server.Server())
	if err := ask(t, dial(t, s.address, agent.Client())); err != nil {
		t.Fatal(err)
	}
	if got, want := <-s.callers, "agent vm1 of cluster lab-1"; got != want {
		t.Errorf("behind another listener the caller is %q, want %q", got, want)
	}

	// The Unix socket: who may open its file is an operator.
	path := filepath.Join(t.TempDir(), "s")
	s = serve(t, listen(t, "unix", path), server.Server())
	if err := ask(t, dial(t, "unix:"+path, identity.Socket())); err != nil {
		t.Fatal(err)
	}
	if got, want := <-s.callers, fmt.Sprintf("operator uid-%d of cluster lab-1", os.Getuid()); got != want {
		t.Errorf("on the socket the caller is %q, want %q", got, want)
	}
}

// TestRefusalsReachTheCaller holds that whoever is refused hears why through gRPC.
func TestRefusalsReachTheCaller(t *testing.T) {
	c := newCluster(t, "lab-1")
	var log said
	server := openAt(t, c.issue(identity.Controller, "ctl1", 24*time.Hour), log.log(), at(2*time.Hour))
	agent := openAt(t, c.issue(identity.Agent, "vm1", time.Hour), discard(), time.Now)
	s := serve(t, listen(t, "tcp", "127.0.0.1:0"), server.Server())
	wantError(t, "an expired agent", ask(t, dial(t, s.address, agent.Client())), "the other side says", "vm1.crt", "expired", "the clock here says")
	if !strings.Contains(log.String(), "agent vm1 of cluster lab-1 has expired") {
		t.Errorf("the server's log: %s", log.String())
	}
	wantError(t, "plain text to TLS", ask(t, dial(t, s.address, identity.Dev())), "hangs up on plain text", "--tls-cert")

	dev := serve(t, listen(t, "tcp", "127.0.0.1:0"), identity.Dev())
	wantError(t, "TLS to plain text", ask(t, dial(t, dev.address, agent.Client())), "does not speak TLS", "--dev")
}

// TestReloadWhileAStreamLives renews both ends' certificates under an open stream, and
// replaces the authority for the next connection.
func TestReloadWhileAStreamLives(t *testing.T) {
	c := newCluster(t, "lab-1")
	serverFiles, agentFiles := c.issue(identity.Controller, "ctl1", time.Hour), c.issue(identity.Agent, "vm1", time.Hour)
	server, agent := openAt(t, serverFiles, discard(), time.Now), openAt(t, agentFiles, discard(), time.Now)
	health := health.NewServer()
	l := listen(t, "tcp", "127.0.0.1:0")
	g := grpc.NewServer(grpc.Creds(server.Server()))
	healthv1.RegisterHealthServer(g, health)
	ended := make(chan error, 1)
	go func() { ended <- g.Serve(l) }()
	defer func() { g.Stop(); <-ended }()

	stream, err := dial(t, l.Addr().String(), agent.Client()).Watch(t.Context(), &healthv1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	next := func() healthv1.HealthCheckResponse_ServingStatus {
		m, err := stream.Recv()
		if err != nil {
			t.Fatalf("the stream ended: %v", err)
		}
		return m.Status
	}
	if got := next(); got != healthv1.HealthCheckResponse_SERVING {
		t.Fatalf("status %v", got)
	}
	before := shown(t, server)
	c.renew(identity.Controller, "ctl1")
	c.renew(identity.Agent, "vm1")
	if err := ask(t, dial(t, l.Addr().String(), agent.Client())); err != nil {
		t.Fatalf("a new connection after both were renewed: %v", err)
	}
	if shown(t, server) == before {
		t.Error("the server still shows its old certificate")
	}
	health.SetServingStatus("", healthv1.HealthCheckResponse_NOT_SERVING)
	if got := next(); got != healthv1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("on the old stream: status %v", got)
	}

	// Another authority of the same cluster: who has the old one's certificate is refused.
	other := newCluster(t, "lab-1")
	replaced := other.issue(identity.Controller, "ctl1", time.Hour)
	write(t, serverFiles.CA, readFile(t, replaced.CA))
	write(t, serverFiles.Key, readFile(t, replaced.Key))
	write(t, serverFiles.Cert, readFile(t, replaced.Cert))
	wantError(t, "the old authority's agent", ask(t, dial(t, l.Addr().String(), agent.Client())), "controller ctl1", "not signed by the authority")
	serverErr, _ := shake(t, server.ServerConfig(identity.GRPCProtocol), trusting(agent), server, agent)
	wantError(t, "an agent that asks for no authority", serverErr, "agent vm1 of cluster lab-1", "not signed by the authority")
	if err := ask(t, dial(t, l.Addr().String(), other.open(identity.Agent, "vm1").Client())); err != nil {
		t.Errorf("the new authority's agent: %v", err)
	}
	health.SetServingStatus("", healthv1.HealthCheckResponse_SERVING)
	if got := next(); got != healthv1.HealthCheckResponse_SERVING {
		t.Errorf("on the old stream: status %v", got)
	}
}

// trusting dials whoever answers, so that the server's own check is seen.
func trusting(creds *identity.Credentials) *tls.Config {
	config := creds.ClientConfig(identity.GRPC)
	config.VerifyConnection = nil
	return config
}

func TestPlainTextStaysOnThisMachine(t *testing.T) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	var outside string
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && n.IP.To4() != nil {
			outside = n.IP.String()
		}
	}
	if outside == "" {
		t.Skip("this machine has no IPv4 address but loopback's; the refusal of others cannot be tried")
	}
	s := serve(t, listen(t, "tcp", net.JoinHostPort(outside, "0")), identity.Dev())
	wantError(t, "the client", ask(t, dial(t, s.address, identity.Dev())), "--dev is plain text", outside)
	// The server looks for itself: a client that does not is cut off.
	if err := ask(t, dial(t, s.address, insecure.NewCredentials())); err == nil {
		t.Error("the server speaks plain text outside of loopback")
	}
	select {
	case who := <-s.callers:
		t.Errorf("a call of %s came through", who)
	default:
	}

	local := serve(t, listen(t, "tcp", "127.0.0.1:0"), identity.Dev())
	if err := ask(t, dial(t, local.address, identity.Dev())); err != nil {
		t.Error(err)
	}
	if got := <-local.callers; !strings.Contains(got, "--dev") {
		t.Errorf("the caller is %q", got)
	}
	wantError(t, "socket credentials over TCP", ask(t, dial(t, local.address, identity.Socket())), "no Unix socket", "--tls-cert")
	if err := identity.CheckDev(&net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err == nil {
		t.Error("an address of another network is taken for one of plain text")
	}
	if _, err := identity.CallerOf(t.Context()); err == nil {
		t.Error(errors.New("a context of no call has a caller"))
	}
}
