package port

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"

	"syncline/proto/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serverTLS is a configuration with a certificate of its own.
func serverTLS(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		MinVersion:   tls.VersionTLS13, NextProtos: []string{identity.GRPC, identity.Raft},
	}
}

func clientTLS(protocols ...string) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: protocols}
}

// serve runs a port on loopback until the test ends.
func serve(t *testing.T, cfg Config) (*Port, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := New(l, cfg)
	ran := make(chan error, 1)
	go func() { ran <- p.Run() }()
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
	return p, l.Addr().String()
}

// health serves gRPC's health service behind a port.
func serveHealth(t *testing.T, p *Port, seen chan<- credentials.AuthInfo) {
	t.Helper()
	s := grpc.NewServer(grpc.Creds(handshaken{}), grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		if from, ok := peer.FromContext(ctx); ok && seen != nil {
			seen <- from.AuthInfo
		}
		return next(ctx, req)
	}))
	healthv1.RegisterHealthServer(s, health.NewServer())
	go s.Serve(p.GRPC())
	t.Cleanup(s.Stop)
}

func ask(t *testing.T, address string, c credentials.TransportCredentials) error {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(c))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err = healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{})
	return err
}

// echo answers one connection for raft with what it says.
func echo(t *testing.T, p *Port) {
	t.Helper()
	go func() {
		for {
			conn, err := p.Raft().Accept()
			if err != nil {
				return
			}
			io.Copy(conn, conn)
			conn.Close()
		}
	}()
}

func say(t *testing.T, conn net.Conn, text string) string {
	t.Helper()
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if c, ok := conn.(interface{ CloseWrite() error }); ok {
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	b, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestBothProtocolsOnOnePort(t *testing.T) {
	p, address := serve(t, Config{TLS: serverTLS(t)})
	seen := make(chan credentials.AuthInfo, 1)
	serveHealth(t, p, seen)
	echo(t, p)
	if err := ask(t, address, credentials.NewTLS(clientTLS())); err != nil {
		t.Fatal(err)
	}
	info, ok := (<-seen).(credentials.TLSInfo)
	if !ok || info.State.NegotiatedProtocol != identity.GRPC || info.SecurityLevel != credentials.PrivacyAndIntegrity {
		t.Errorf("gRPC was told %+v of the handshake", info)
	}
	conn, err := tls.Dial("tcp", address, clientTLS(identity.Raft))
	if err != nil {
		t.Fatal(err)
	}
	if got := say(t, conn, "SLR1 hello"); got != "SLR1 hello" {
		t.Errorf("raft's end heard %q", got)
	}
	if got := p.Counts(); got.GRPC != 1 || got.Raft != 1 || got.Accepted != 2 {
		t.Errorf("%+v", got)
	}
}

func TestPlainTextIsToldApartByItsFirstByte(t *testing.T) {
	p, address := serve(t, Config{})
	serveHealth(t, p, nil)
	echo(t, p)
	if err := ask(t, address, insecure.NewCredentials()); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if got := say(t, conn, "SLR1 hello"); got != "SLR1 hello" {
		t.Errorf("raft's end heard %q", got)
	}
	if err := ask(t, address, credentials.NewTLS(clientTLS())); err == nil {
		t.Error("TLS was spoken on a plain port")
	}
	if got := p.Counts(); got.GRPC != 1 || got.Raft != 1 || got.Refused == 0 {
		t.Errorf("%+v", got)
	}
}

// dropped waits until the other end has closed a connection.
func dropped(t *testing.T, conn net.Conn) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.Copy(io.Discard, conn); err != nil && errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the connection is open after 20 s")
	} else if e, ok := err.(net.Error); ok && e.Timeout() {
		t.Errorf("the connection is open after 20 s")
	}
	conn.Close()
}

func TestBadClientsCostNothing(t *testing.T) {
	config := serverTLS(t)
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if state.NegotiatedProtocol == identity.Raft {
			return errors.New("not today")
		}
		return nil
	}
	p, address := serve(t, Config{TLS: config, Handshake: 300 * time.Millisecond})
	serveHealth(t, p, nil)

	silent, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	garbage, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := garbage.Write([]byte(strings.Repeat("GET / HTTP/1.1\r\n", 100))); err != nil {
		t.Fatal(err)
	}
	dropped(t, silent)
	dropped(t, garbage)
	// crypto/tls lets a client of HTTP/1.1 through to a server of HTTP/2.
	old, err := tls.Dial("tcp", address, clientTLS("http/1.1"))
	if err != nil {
		t.Fatal(err)
	}
	dropped(t, old)
	if conn, err := tls.Dial("tcp", address, clientTLS("ssh")); err == nil {
		t.Error("a protocol that is not spoken here was agreed on")
		conn.Close()
	}
	none, err := tls.Dial("tcp", address, clientTLS())
	if err != nil {
		t.Fatal(err)
	}
	dropped(t, none)
	checked, err := tls.Dial("tcp", address, clientTLS(identity.Raft))
	if err != nil {
		t.Fatal(err)
	}
	dropped(t, checked)
	if got := p.Counts(); got.Refused != 6 || got.Raft != 0 || got.Accepted != 6 {
		t.Errorf("%+v", got)
	}
	if err := ask(t, address, credentials.NewTLS(clientTLS())); err != nil {
		t.Error(err)
	}
}

// TestCrowd opens more connections than one address may have and says nothing on any: others are
// served meanwhile.
func TestCrowd(t *testing.T) {
	p, address := serve(t, Config{TLS: serverTLS(t), Handshake: time.Minute, UnfinishedPerAddress: 3})
	serveHealth(t, p, nil)
	from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	var crowd []net.Conn
	for range 3 {
		conn, err := from.Dial("tcp", address)
		if err != nil {
			t.Skipf("no second loopback address to dial from: %v", err)
		}
		crowd = append(crowd, conn)
	}
	for p.Counts().Accepted < 3 {
		time.Sleep(time.Millisecond)
	}
	fourth, err := from.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	dropped(t, fourth)
	if err := ask(t, address, credentials.NewTLS(clientTLS())); err != nil {
		t.Errorf("a crowd from one address keeps others out: %v", err)
	}
	if got := p.Counts(); got.Crowded != 1 {
		t.Errorf("%+v", got)
	}
	for _, conn := range crowd {
		conn.Close()
	}
}

func TestNobodyAccepts(t *testing.T) {
	p, address := serve(t, Config{TLS: serverTLS(t)})
	if err := p.Raft().Close(); err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", address, clientTLS(identity.Raft))
	if err != nil {
		t.Fatal(err)
	}
	dropped(t, conn)
	if got := p.Counts(); got.Unclaimed != 1 {
		t.Errorf("%+v", got)
	}
	if _, err := p.Raft().Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed listener answers %v", err)
	}
}

func TestCloseDropsWhatWaits(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := New(l, Config{TLS: serverTLS(t), Handshake: time.Hour})
	ran := make(chan error, 1)
	go func() { ran <- p.Run() }()
	silent, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	waiting, err := tls.Dial("tcp", l.Addr().String(), clientTLS(identity.Raft))
	if err != nil {
		t.Fatal(err)
	}
	for p.Counts().Raft < 1 {
		time.Sleep(time.Millisecond)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ran; err != nil {
		t.Error(err)
	}
	dropped(t, silent)
	dropped(t, waiting)
	if err := p.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
}
