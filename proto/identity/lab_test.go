package identity_test

import (
	"bytes"
	"crypto/tls"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"syncline/controller/authority"
	"syncline/proto/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is an authority and the directory of what it has issued.
type cluster struct {
	t   testing.TB
	dir string
	*authority.Authority
}

func newCluster(t testing.TB, id string) *cluster {
	t.Helper()
	dir := t.TempDir()
	a, err := authority.Create(dir, id)
	if err != nil {
		t.Fatal(err)
	}
	return &cluster{t, dir, a}
}

// issue writes the files of a new certificate.
func (c *cluster) issue(role identity.Role, name string, lifetime time.Duration) identity.Files {
	c.t.Helper()
	issued, err := c.Issue(authority.Request{Role: role, Name: name, Lifetime: lifetime})
	if err != nil {
		c.t.Fatal(err)
	}
	files, err := issued.Write(c.dir)
	if err != nil {
		c.t.Fatal(err)
	}
	return files
}

// open issues a certificate and opens its files, by the real clock.
func (c *cluster) open(role identity.Role, name string) *identity.Credentials {
	c.t.Helper()
	return openAt(c.t, c.issue(role, name, 24*time.Hour), discard(), time.Now)
}

func openAt(t testing.TB, files identity.Files, log *slog.Logger, now func() time.Time) *identity.Credentials {
	t.Helper()
	creds, err := files.OpenAt(log, now)
	if err != nil {
		t.Fatal(err)
	}
	return creds
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// at is a clock that is ahead of the real one.
func at(ahead time.Duration) func() time.Time {
	return func() time.Time { return time.Now().Add(ahead) }
}

// said is a log that can be read. Safe for concurrent use.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (s *said) log() *slog.Logger { return slog.New(slog.NewTextHandler(s, nil)) }

// shake makes a handshake over loopback and one byte each way, and returns what each end
// says of it, in the words of its Explain.
func shake(t testing.TB, server, client *tls.Config, serverOwn, clientOwn *identity.Credentials) (serverErr, clientErr error) {
	t.Helper()
	near, far := loopback(t)
	defer near.Close()
	defer far.Close()
	ended := make(chan error, 1)
	go func() {
		conn := tls.Server(far, server)
		err := conn.Handshake()
		if err == nil {
			_, err = conn.Write([]byte{1})
		}
		if err != nil {
			far.Close()
		}
		ended <- err
	}()
	conn := tls.Client(near, client)
	err := conn.Handshake()
	if err == nil {
		// In TLS 1.3 the server's refusal comes after the client's handshake.
		_, err = conn.Read(make([]byte, 1))
	}
	near.Close()
	serverErr, clientErr = <-ended, err
	if serverOwn != nil {
		serverErr = serverOwn.Explain(serverErr)
	}
	if clientOwn != nil {
		clientErr = clientOwn.Explain(clientErr)
	}
	return serverErr, clientErr
}

func wantError(t testing.TB, what string, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error, want one with %q", what, parts)
		return
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("%s: %q, want %q in it", what, err, p)
		}
	}
}

// write replaces a file as careful programs do, by another one of its name.
func write(t testing.TB, name string, text []byte) {
	t.Helper()
	mode := os.FileMode(0o644)
	if filepath.Ext(name) == ".key" {
		mode = 0o600
	}
	if err := os.WriteFile(name+".new", text, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
