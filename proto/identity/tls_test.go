package identity_test

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"syncline/proto/identity"
)

// loopback is both ends of a TCP connection.
func loopback(t testing.TB) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if near, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return near, far
}

// TestWhoMaySpeakWhat is every role at both ends of every protocol.
func TestWhoMaySpeakWhat(t *testing.T) {
	c := newCluster(t, "lab-1")
	server := c.open(identity.Controller, "ctl1")
	for _, role := range identity.Roles {
		client := c.open(role, "peer-"+role.String())
		for _, protocol := range []identity.Protocol{identity.GRPCProtocol, identity.RaftProtocol} {
			serverErr, clientErr := shake(t, server.ServerConfig(identity.GRPCProtocol, identity.RaftProtocol), client.ClientConfig(protocol.Name), server, client)
			what := role.String() + " dials " + protocol.Name
			if protocol.Name == identity.GRPC || role == identity.Controller {
				if serverErr != nil || clientErr != nil {
					t.Errorf("%s: server %v, client %v", what, serverErr, clientErr)
				}
				continue
			}
			wantError(t, what+": server", serverErr, role.String()+" peer-", "of cluster lab-1", "for the role controller")
			wantError(t, what+": client", clientErr, "refuses", "by its role, its cluster or its authority")
		}
		// As a server: only a controller is one.
		if role == identity.Controller {
			continue
		}
		serverErr, clientErr := shake(t, client.ServerConfig(identity.GRPCProtocol), server.ClientConfig(identity.GRPC), client, server)
		wantError(t, role.String()+" as a server: client", clientErr, role.String()+" peer-", "for the role controller")
		wantError(t, role.String()+" as a server: server", serverErr, "refuses")
	}
}

func TestExpired(t *testing.T) {
	c := newCluster(t, "lab-1")
	server := openAt(t, c.issue(identity.Controller, "ctl1", 24*time.Hour), discard(), at(2*time.Hour))
	client := openAt(t, c.issue(identity.Agent, "vm1", time.Hour), discard(), time.Now)
	serverErr, clientErr := shake(t, server.ServerConfig(identity.GRPCProtocol), client.ClientConfig(identity.GRPC), server, client)
	wantError(t, "server", serverErr, "agent vm1 of cluster lab-1 has expired at 20", "the clock here says 20", "pki issue agent vm1 --renew")
	wantError(t, "client", clientErr, "the other side says", "expired", "it is valid from 20", "the clock here says 20", "pki issue agent vm1 --renew")

	// The other way round: a server that has expired by its client's clock.
	old := openAt(t, c.issue(identity.Controller, "ctl2", time.Hour), discard(), time.Now)
	late := openAt(t, c.issue(identity.Agent, "vm2", 24*time.Hour), discard(), at(2*time.Hour))
	serverErr, clientErr = shake(t, old.ServerConfig(identity.GRPCProtocol), late.ClientConfig(identity.GRPC), old, late)
	wantError(t, "client", clientErr, "controller ctl2 of cluster lab-1 has expired at 20", "the clock here says 20")
	wantError(t, "server", serverErr, "the other side")

	// A clock that is behind by more than the start of a certificate lies in the past.
	behind := openAt(t, c.issue(identity.Agent, "vm3", time.Hour), discard(), at(-30*time.Minute))
	if behind.Identity().Name != "vm3" {
		t.Error("a clock half an hour behind refuses a new certificate")
	}
	_, err := c.issue(identity.Agent, "vm4", time.Hour).OpenAt(discard(), at(-2*time.Hour))
	wantError(t, "a clock two hours behind", err, "not valid before 20", "set the clock")
	_, err = c.issue(identity.Agent, "vm5", time.Hour).OpenAt(discard(), at(2*time.Hour))
	wantError(t, "one's own certificate", err, "vm5.crt: the certificate of agent vm5", "has expired at")
}

func TestOtherAuthority(t *testing.T) {
	ours, theirs := newCluster(t, "lab-1"), newCluster(t, "lab-1")
	server, client := ours.open(identity.Controller, "ctl1"), theirs.open(identity.Agent, "vm1")
	serverErr, clientErr := shake(t, server.ServerConfig(identity.GRPCProtocol), client.ClientConfig(identity.GRPC), server, client)
	// The client looks first, and ends it.
	wantError(t, "client", clientErr, "controller ctl1 of cluster lab-1", "not signed by the authority in this side's ca.crt")
	wantError(t, "server", serverErr, "refuses")

	// A client that trusts the server's authority with a certificate of another one.
	config := trusting(client)
	serverErr, clientErr = shake(t, server.ServerConfig(identity.GRPCProtocol), config, server, client)
	wantError(t, "server", serverErr, "agent vm1 of cluster lab-1", "not signed by the authority in this side's ca.crt")
	wantError(t, "client", clientErr, "does not know the authority that signed", "agent vm1")
}

// TestOtherCluster has two clusters whose sides trust both authorities: the name still counts.
func TestOtherCluster(t *testing.T) {
	one, two := newCluster(t, "lab-1"), newCluster(t, "lab-2")
	serverFiles, clientFiles := one.issue(identity.Controller, "ctl1", time.Hour), two.issue(identity.Agent, "vm1", time.Hour)
	both := append(readFile(t, serverFiles.CA), readFile(t, clientFiles.CA)...)
	write(t, serverFiles.CA, both)
	write(t, clientFiles.CA, both)
	server, client := openAt(t, serverFiles, discard(), time.Now), openAt(t, clientFiles, discard(), time.Now)
	serverErr, clientErr := shake(t, server.ServerConfig(identity.GRPCProtocol), client.ClientConfig(identity.GRPC), server, client)
	wantError(t, "client", clientErr, "controller ctl1 of cluster lab-1", "this side is of cluster lab-2")
	wantError(t, "server", serverErr, "refuses")

	config := trusting(client)
	serverErr, clientErr = shake(t, server.ServerConfig(identity.GRPCProtocol), config, server, client)
	wantError(t, "server", serverErr, "agent vm1 of cluster lab-2", "this side is of cluster lab-1")
	wantError(t, "client", clientErr, "refuses", "by its role, its cluster or its authority")
}

func TestNoCertificate(t *testing.T) {
	c := newCluster(t, "lab-1")
	server, client := c.open(identity.Controller, "ctl1"), c.open(identity.Agent, "vm1")
	config := client.ClientConfig(identity.GRPC)
	config.GetClientCertificate = nil
	serverErr, clientErr := shake(t, server.ServerConfig(identity.GRPCProtocol), config, server, client)
	wantError(t, "server", serverErr, "no certificate", "--tls-cert")
	wantError(t, "client", clientErr, "no certificate", "--tls-cert")
}

func TestProtocolsMustBeNamed(t *testing.T) {
	c := newCluster(t, "lab-1")
	server, client := c.open(identity.Controller, "ctl1"), c.open(identity.Agent, "vm1")
	for what, protocols := range map[string][]string{"none": nil, "another": {"http/1.1"}} {
		config := trusting(client)
		config.NextProtos = protocols
		serverErr, clientErr := shake(t, server.ServerConfig(identity.GRPCProtocol), config, server, client)
		if serverErr == nil || clientErr == nil {
			t.Errorf("%s: server %v, client %v, want both to fail", what, serverErr, clientErr)
		}
	}
	// A server that speaks something else.
	other := server.ServerConfig(identity.Protocol{Name: "http/1.1", Roles: identity.Roles})
	_, clientErr := shake(t, other, client.ClientConfig(identity.GRPC), server, client)
	wantError(t, "client", clientErr, "ALPN")
}

func TestOldVersionsAreRefused(t *testing.T) {
	c := newCluster(t, "lab-1")
	server, client := c.open(identity.Controller, "ctl1"), c.open(identity.Agent, "vm1")
	config := client.ClientConfig(identity.GRPC)
	config.MinVersion, config.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if serverErr, clientErr := shake(t, server.ServerConfig(identity.GRPCProtocol), config, server, client); serverErr == nil || clientErr == nil {
		t.Errorf("TLS 1.2: server %v, client %v, want both to fail", serverErr, clientErr)
	}
}

// TestResumedSessionsAreChecked resumes a session of a certificate that was good at first.
func TestResumedSessionsAreChecked(t *testing.T) {
	c := newCluster(t, "lab-1")
	server, client := c.open(identity.Controller, "ctl1"), c.open(identity.Agent, "vm1")
	config := client.ClientConfig(identity.GRPC)
	config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	config.ServerName = "ctl1"
	resumed := false
	inner := config.VerifyConnection
	config.VerifyConnection = func(s tls.ConnectionState) error { resumed = s.DidResume; return inner(s) }
	serving := server.ServerConfig(identity.GRPCProtocol, identity.RaftProtocol)
	for i, want := range []bool{false, true} {
		if serverErr, clientErr := shake(t, serving, config, server, client); serverErr != nil || clientErr != nil {
			t.Fatalf("handshake %d: server %v, client %v", i, serverErr, clientErr)
		}
		if resumed != want {
			t.Fatalf("handshake %d: resumed %v, want %v", i, resumed, want)
		}
	}
	// The same session, for a protocol that the agent may not speak.
	config.NextProtos = []string{identity.Raft}
	config.VerifyConnection = func(s tls.ConnectionState) error { resumed = s.DidResume; return nil }
	serverErr, _ := shake(t, serving, config, server, client)
	wantError(t, "a resumed session for raft", serverErr, "for the role controller")
	if !resumed {
		t.Error("the session was not resumed; the test shows nothing")
	}
}

// BenchmarkHandshake is what both ends of one connection cost together, TCP included.
func BenchmarkHandshake(b *testing.B) {
	c := newCluster(b, "lab-1")
	creds := map[identity.Role]*identity.Credentials{}
	for _, role := range []identity.Role{identity.Controller, identity.Agent} {
		files := c.issue(role, role.String(), time.Hour)
		// Files that were written a moment ago are read at every handshake.
		for _, name := range []string{files.Cert, files.Key, files.CA} {
			if err := os.Chtimes(name, time.Time{}, time.Now().Add(-time.Minute)); err != nil {
				b.Fatal(err)
			}
		}
		creds[role] = openAt(b, files, discard(), time.Now)
	}
	b.Run("tls", func(b *testing.B) {
		server, client := creds[identity.Controller].ServerConfig(identity.GRPCProtocol), creds[identity.Agent].ClientConfig(identity.GRPC)
		began := cpuTime(b)
		defer func() { b.ReportMetric(float64((cpuTime(b)-began).Microseconds())/float64(b.N), "cpu-µs/op") }()
		for b.Loop() {
			if serverErr, clientErr := shake(b, server, client, nil, nil); serverErr != nil || clientErr != nil {
				b.Fatal(serverErr, clientErr)
			}
		}
	})
	b.Run("tcp-alone", func(b *testing.B) {
		for b.Loop() {
			near, far := loopback(b)
			if _, err := far.Write([]byte{1}); err != nil {
				b.Fatal(err)
			}
			if _, err := near.Read(make([]byte, 1)); err != nil {
				b.Fatal(err)
			}
			near.Close()
			far.Close()
		}
	})
	b.Run("look-at-files", func(b *testing.B) {
		for b.Loop() {
			creds[identity.Agent].Expires()
		}
	})
}

// cpuTime is what this process has used of processors (getrusage(2)).
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// BenchmarkBytes is what encryption costs of a stream of bytes over loopback, beside plain TCP.
func BenchmarkBytes(b *testing.B) {
	c := newCluster(b, "lab-1")
	server, client := c.open(identity.Controller, "ctl1"), c.open(identity.Agent, "vm1")
	const size = 32 << 20
	var times [2]time.Duration
	for b.Loop() {
		for i := range times {
			near, far := loopback(b)
			if i == 1 {
				near, far = tls.Client(near, client.ClientConfig(identity.GRPC)), tls.Server(far, server.ServerConfig(identity.GRPCProtocol))
			}
			ended := make(chan error, 1)
			go func() {
				_, err := io.CopyN(far, far, 1)
				if err == nil {
					_, err = io.CopyN(io.Discard, far, size)
				}
				ended <- err
			}()
			// The handshake is no part of it.
			if _, err := near.Write([]byte{1}); err != nil {
				b.Fatal(err)
			}
			if _, err := near.Read(make([]byte, 1)); err != nil {
				b.Fatal(err)
			}
			began, block := time.Now(), make([]byte, 64<<10)
			for range size / len(block) {
				if _, err := near.Write(block); err != nil {
					b.Fatal(err)
				}
			}
			if err := <-ended; err != nil {
				b.Fatal(err)
			}
			times[i] += time.Since(began)
			near.Close()
			far.Close()
		}
	}
	for i, what := range []string{"plain-MB/s", "tls-MB/s"} {
		b.ReportMetric(size*float64(b.N)/1e6/times[i].Seconds(), what)
	}
	b.ReportMetric(times[1].Seconds()/times[0].Seconds(), "tls/plain")
	b.ReportMetric(0, "ns/op")
}
