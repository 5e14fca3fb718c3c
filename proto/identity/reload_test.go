package identity_test

import (
	"crypto/tls"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"syncline/controller/authority"
	"syncline/proto/identity"
)

// clock can be moved. Safe for concurrent use.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// shown is the serial number of the certificate that credentials show now.
func shown(t testing.TB, creds *identity.Credentials) string {
	t.Helper()
	cert, err := creds.ClientConfig(identity.GRPC).GetClientCertificate(&tls.CertificateRequestInfo{})
	if err != nil {
		t.Fatal(err)
	}
	return cert.Leaf.SerialNumber.String()
}

func (c *cluster) renew(role identity.Role, name string) {
	c.t.Helper()
	key, err := authority.PublicKeyOf(c.dir, name)
	if err != nil {
		c.t.Fatal(err)
	}
	issued, err := c.Issue(authority.Request{Role: role, Name: name, Lifetime: time.Hour, PublicKey: key})
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := issued.Renew(c.dir); err != nil {
		c.t.Fatal(err)
	}
}

func TestReload(t *testing.T) {
	c := newCluster(t, "lab-1")
	var log said
	var wall clock
	files := c.issue(identity.Agent, "vm1", time.Hour)
	creds := openAt(t, files, log.log(), wall.now)
	first, good := shown(t, creds), readFile(t, files.Cert)

	c.renew(identity.Agent, "vm1")
	second := shown(t, creds)
	if second == first {
		t.Fatal("the renewed certificate is not shown")
	}
	if !strings.Contains(log.String(), "read a new certificate") {
		t.Errorf("the log does not tell of it: %s", log.String())
	}

	// What cannot be used changes nothing, is told once, and is tried again.
	for what, spoil := range map[string]struct {
		file string
		text []byte
		said string
	}{
		"half a file":       {files.Cert, good[:len(good)/2], "failed to find any PEM data"},
		"no file at all":    {files.Cert, nil, "no such file"},
		"another key":       {files.Key, otherKey(t, c), "private key does not match"},
		"another authority": {files.CA, readFile(t, newCluster(t, "lab-1").issue(identity.Agent, "vm1", time.Hour).CA), "not signed by the authority"},
		"somebody else":     {files.Cert, somebodyElse(t, c, files), "is now of agent vm2"},
	} {
		before, lines := readFile(t, spoil.file), len(log.String())
		if spoil.text == nil {
			if err := os.Remove(spoil.file); err != nil {
				t.Fatal(err)
			}
		} else {
			write(t, spoil.file, spoil.text)
		}
		for range 3 {
			wall.advance(2 * time.Second)
			if got := shown(t, creds); got != second {
				t.Errorf("%s: another certificate is shown", what)
			}
		}
		news := log.String()[lines:]
		if n := strings.Count(news, "\n"); n != 1 || !strings.Contains(news, spoil.said) {
			t.Errorf("%s: the log says in %d lines, want one with %q: %s", what, n, spoil.said, news)
		}
		write(t, spoil.file, before)
		if got := shown(t, creds); got != second {
			t.Errorf("%s: after it was put right another certificate is shown", what)
		}
	}
	c.renew(identity.Agent, "vm1")
	if got := shown(t, creds); got == second {
		t.Error("after all that a good certificate is not taken")
	}
}

// TestReloadSeesWhatStatHides rewrites a file in place within one tick of the file
// system's clock, so that only its content tells.
func TestReloadSeesWhatStatHides(t *testing.T) {
	c := newCluster(t, "lab-1")
	files := c.issue(identity.Agent, "vm1", time.Hour)
	old := readFile(t, files.Cert)
	c.renew(identity.Agent, "vm1")
	renewed := readFile(t, files.Cert)
	if len(old) != len(renewed) {
		t.Skip("the two certificates differ in length; what is tested needs two of one")
	}
	creds := openAt(t, files, discard(), time.Now)
	before := shown(t, creds)
	info, err := os.Stat(files.Cert)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(files.Cert, old, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(files.Cert, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if got := shown(t, creds); got == before {
		t.Error("a change that looks like none to stat(2) is not seen")
	}
}

func otherKey(t *testing.T, c *cluster) []byte {
	return readFile(t, c.issue(identity.Agent, "other", time.Hour).Key)
}

// somebodyElse is a certificate of another name for the key in files.
func somebodyElse(t *testing.T, c *cluster, files identity.Files) []byte {
	t.Helper()
	key, err := authority.PublicKeyOf(c.dir, "vm1")
	if err != nil {
		t.Fatal(err)
	}
	issued, err := c.Issue(authority.Request{Role: identity.Agent, Name: "vm2", Lifetime: time.Hour, PublicKey: key})
	if err != nil {
		t.Fatal(err)
	}
	at, err := issued.Write(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	return readFile(t, at.Cert)
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	c := newCluster(t, "lab-1")
	files := c.issue(identity.Agent, "vm1", time.Hour)
	open := files
	open.Key += ".open"
	if err := os.WriteFile(open.Key, readFile(t, files.Key), 0o644); err != nil {
		t.Fatal(err)
	}
	leafAsCA, keyAsCert, noKey := files, files, files
	leafAsCA.CA, keyAsCert.Cert, noKey.Key = files.Cert, files.Key, files.Key+".none"
	for what, want := range map[string]struct {
		files identity.Files
		parts []string
	}{
		"an open key":              {open, []string{"open to others (mode 0644)", "chmod 600"}},
		"no key":                   {noKey, []string{"private key", "no such file"}},
		"a leaf for the authority": {leafAsCA, []string{"no authority's certificate"}},
		"a key for a certificate":  {keyAsCert, []string{"did find a private key"}},
	} {
		_, err := want.files.OpenAt(discard(), time.Now)
		wantError(t, what, err, want.parts...)
	}
	creds := openAt(t, files, discard(), time.Now)
	wantError(t, "the wrong role", creds.Require(identity.Controller), "agent vm1 of cluster lab-1", "role controller")
	if err := creds.Require(identity.Agent); err != nil {
		t.Error(err)
	}
}
