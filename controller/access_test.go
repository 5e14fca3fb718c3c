package controller

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"syncline/controller/authority"
	"syncline/proto/identity"
	synclinev1 "syncline/proto/syncline/v1"
)

// guarded is a controller that knows its callers, on TCP and on a Unix socket.
type guarded struct {
	t               testing.TB
	pki             string
	authority       *authority.Authority
	address, socket string
	log             *testLog
	served          map[string]grpc.ServiceInfo
}

func newGuarded(t testing.TB) *guarded {
	t.Helper()
	g := &guarded{t: t, pki: t.TempDir(), log: &testLog{}}
	var err error
	if g.authority, err = authority.Create(g.pki, "lab-1"); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(g.log, nil))
	own, err := g.issue(identity.Controller, "ctl1").Open(log)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Open(Config{Dir: t.TempDir(), Version: "test", Identity: own, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	g.served = c.server().GetServiceInfo()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	socket, err := net.Listen("unix", filepath.Join(g.pki, "s"))
	if err != nil {
		t.Fatal(err)
	}
	g.address, g.socket = tcp.Addr().String(), "unix:"+socket.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- c.Serve(ctx, tcp, socket) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	// It serves when its store can commit.
	up, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := g.dial(g.socket, identity.Socket()).Invoke(up, healthv1.Health_Check_FullMethodName, &emptypb.Empty{}, &emptypb.Empty{}, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *guarded) issue(role identity.Role, name string) identity.Files {
	g.t.Helper()
	issued, err := g.authority.Issue(authority.Request{Role: role, Name: name})
	if err != nil {
		g.t.Fatal(err)
	}
	files, err := issued.Write(g.pki)
	if err != nil {
		g.t.Fatal(err)
	}
	return files
}

// until makes a certificate that is valid until a moment, which no authority of ours would
// issue for one that is past or near.
func (g *guarded) until(role identity.Role, name string, end time.Time) identity.Files {
	g.t.Helper()
	files := g.issue(role, name)
	certs, err := identity.ParseCertificates(g.read(files.Cert))
	if err != nil {
		g.t.Fatal(err)
	}
	block, _ := pem.Decode(g.read(filepath.Join(g.pki, "ca.key")))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		g.t.Fatal(err)
	}
	uri, err := url.Parse(identity.Identity{Cluster: "lab-1", Role: role, Name: name}.URI())
	if err != nil {
		g.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(end.UnixNano()), NotBefore: end.Add(-time.Hour), NotAfter: end, URIs: []*url.URL{uri},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: certs[0].ExtKeyUsage,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, g.authority.Certificate(), certs[0].PublicKey, key.(*ecdsa.PrivateKey))
	if err != nil {
		g.t.Fatal(err)
	}
	if err := os.WriteFile(files.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), 0o644); err != nil {
		g.t.Fatal(err)
	}
	return files
}

func (g *guarded) read(name string) []byte {
	g.t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		g.t.Fatal(err)
	}
	return text
}

func (g *guarded) open(files identity.Files) credentials.TransportCredentials {
	g.t.Helper()
	creds, err := files.Open(slog.New(slog.DiscardHandler))
	if err != nil {
		g.t.Fatal(err)
	}
	return creds.Client()
}

func (g *guarded) dial(target string, creds credentials.TransportCredentials) *grpc.ClientConn {
	g.t.Helper()
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(creds))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { conn.Close() })
	return conn
}

// call calls a method with nothing in the request, and returns what came of it; a stream's
// first answer is enough.
func call(ctx context.Context, conn *grpc.ClientConn, method string, info grpc.MethodInfo) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if !info.IsClientStream && !info.IsServerStream {
		return conn.Invoke(ctx, method, &emptypb.Empty{}, &emptypb.Empty{})
	}
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: info.IsServerStream, ClientStreams: info.IsClientStream}, method)
	if err != nil {
		return err
	}
	if !info.IsClientStream {
		if err := stream.SendMsg(&emptypb.Empty{}); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	return stream.RecvMsg(&emptypb.Empty{})
}

// methods are what a controller serves, by full name.
func (g *guarded) methods() map[string]grpc.MethodInfo {
	all := map[string]grpc.MethodInfo{}
	for service, info := range g.served {
		for _, m := range info.Methods {
			all["/"+service+"/"+m.Name] = m
		}
	}
	return all
}

// TestAccess calls every method as everybody, and holds what comes of it against
// testdata/access.txt: a line a method, with those who are let through.
func TestAccess(t *testing.T) {
	g := newGuarded(t)
	callers := map[string]*grpc.ClientConn{"socket": g.dial(g.socket, identity.Socket())}
	for _, role := range identity.Roles {
		callers[role.String()] = g.dial(g.address, g.open(g.issue(role, "x-"+role.String())))
	}
	var got strings.Builder
	methods := g.methods()
	for _, method := range slices.Sorted(maps.Keys(methods)) {
		fmt.Fprintf(&got, "%-62s", strings.TrimPrefix(method, "/"))
		for _, caller := range []string{"controller", "agent", "operator", "viewer", "socket"} {
			err := call(t.Context(), callers[caller], method, methods[method])
			switch text := status.Convert(err).Message(); {
			case status.Code(err) == codes.PermissionDenied && strings.Contains(text, "may not call"):
			case status.Code(err) == codes.PermissionDenied, status.Code(err) == codes.Unauthenticated, status.Code(err) == codes.Unavailable, status.Code(err) == codes.DeadlineExceeded:
				t.Errorf("%s as %s: %v", method, caller, err)
			default:
				fmt.Fprintf(&got, " %s", caller)
			}
		}
		got.WriteByte('\n')
	}
	want := string(g.read("testdata/access.txt"))
	if got.String() != want {
		t.Errorf("who may call what is\n%s\nwant\n%s", got.String(), want)
	}
}

// TestStrangers has those whom the handshake stops: they reach no method at all.
func TestStrangers(t *testing.T) {
	g, other := newGuarded(t), newGuarded(t)
	expired := g.until(identity.Operator, "late", time.Now().Add(2*time.Second))
	late := g.open(expired)
	strangers := map[string]struct {
		creds credentials.TransportCredentials
		text  string
	}{
		"another authority": {other.open(other.issue(identity.Operator, "eve")), "not signed by the authority"},
		"plain text":        {identity.Dev(), "hangs up on plain text"},
		"expired":           {late, "expired"},
	}
	// Until it has expired by the clock of everybody.
	await(t, "the certificate expires", func() bool { return expiredNow(t, g, expired) })
	for what, s := range strangers {
		conn := g.dial(g.address, s.creds)
		for method, info := range g.methods() {
			err := call(t.Context(), conn, method, info)
			if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), s.text) {
				t.Errorf("%s calls %s: %v, want it refused with %q", what, method, err, s.text)
			}
		}
	}
}

func expiredNow(t *testing.T, g *guarded, files identity.Files) bool {
	t.Helper()
	certs, err := identity.ParseCertificates(g.read(files.Cert))
	if err != nil {
		t.Fatal(err)
	}
	return time.Now().After(certs[0].NotAfter)
}

// await polls an observable until it holds.
func await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: still not so", what)
		}
	}
}

// agent is a fake agent that shows a certificate.
func (g *guarded) agent(creds credentials.TransportCredentials, name string) *fakeAgent {
	f := (&testController{t: g.t, conn: g.dial(g.address, creds)}).newFake("client", "10.0.0.1")
	f.hello.Name = name
	return f
}

// TestAnAgentIsWhoItsCertificateSays holds that no agent does anything in another's name.
func TestAnAgentIsWhoItsCertificateSays(t *testing.T) {
	g := newGuarded(t)
	creds := g.open(g.issue(identity.Agent, "vm1"))
	err := g.agent(creds, "vm2").dial()
	if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), `calls itself "vm2", and its certificate is of agent vm1`) {
		t.Errorf("an agent under another's name: %v", err)
	}
	vm1 := g.agent(creds, "vm1")
	if err := vm1.dial(); err != nil {
		t.Fatal(err)
	}
	foreign := vm1.chunkOf("r-1", 1, mark(1, 1, synclinev1.MarkKind_MARK_KIND_REPETITION_BEGIN))
	foreign.Agent = "vm2"
	if _, err := vm1.upload(foreign); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a chunk in another's name: %v", err)
	}
	if rejected, err := vm1.upload(vm1.chunkOf("r-1", 1, mark(1, 1, synclinev1.MarkKind_MARK_KIND_REPETITION_BEGIN))); err != nil || !strings.Contains(rejected, "no such run") {
		t.Errorf("a chunk of its own, of no run: rejected %q, %v", rejected, err)
	}
}

// TestAStreamEndsWithItsCertificate has an agent whose certificate expires while its
// stream is open.
func TestAStreamEndsWithItsCertificate(t *testing.T) {
	g := newGuarded(t)
	short := g.agent(g.open(g.until(identity.Agent, "vm1", time.Now().Add(2*time.Second))), "vm1")
	if err := short.dial(); err != nil {
		t.Fatal(err)
	}
	_, err := short.stream.Recv()
	if status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "has expired at") || !strings.Contains(err.Error(), "pki issue agent vm1 --renew") {
		t.Errorf("the stream ended with %v", err)
	}
	await(t, "the log tells of it", func() bool { return strings.Contains(g.log.String(), "a stream was ended") })
}

func TestAccessTableIsWhole(t *testing.T) {
	served := newGuarded(t).served
	if err := checkAccess(served); err != nil {
		t.Fatal(err)
	}
	more := maps.Clone(served)
	more["syncline.v1.NewService"] = grpc.ServiceInfo{Methods: []grpc.MethodInfo{{Name: "DoAnything"}}}
	if err := checkAccess(more); err == nil || !strings.Contains(err.Error(), "nobody may call /syncline.v1.NewService/DoAnything") {
		t.Errorf("a service without rules: %v", err)
	}
	less := maps.Clone(served)
	delete(less, "syncline.v1.LinkService")
	if err := checkAccess(less); err == nil || !strings.Contains(err.Error(), "LinkService/Control, which is not served") {
		t.Errorf("rules without a service: %v", err)
	}
}

// TestWithoutTLSOnlyHere holds that a controller serves plain text nowhere but on its own
// machine, and only when it is told to.
func TestWithoutTLSOnlyHere(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	if _, err := Open(Config{Dir: t.TempDir(), Log: log}); err == nil || !strings.Contains(err.Error(), "either a certificate or --dev") {
		t.Errorf("neither: %v", err)
	}
	g := newGuarded(t)
	agent, err := g.issue(identity.Agent, "vm1").Open(log)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Dir: t.TempDir(), Log: log, Identity: agent}); err == nil || !strings.Contains(err.Error(), "role controller") {
		t.Errorf("an agent's certificate: %v", err)
	}
	if _, err := Open(Config{Dir: t.TempDir(), Log: log, Identity: agent, Dev: true}); err == nil {
		t.Error("both: no error")
	}
	c, err := Open(Config{Dir: t.TempDir(), Log: log, Dev: true})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Serve(t.Context(), l); err == nil || !strings.Contains(err.Error(), "loopback addresses and Unix sockets only") {
		t.Errorf("plain text to everybody: %v", err)
	}
}
