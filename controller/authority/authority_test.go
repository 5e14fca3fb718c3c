package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"syncline/proto/identity"
)

func newAuthority(t *testing.T) (*Authority, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "pki")
	a, err := Create(dir, "lab-1")
	if err != nil {
		t.Fatal(err)
	}
	return a, dir
}

func wantMode(t *testing.T, name string, want os.FileMode) {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != want {
		t.Errorf("%s has mode %04o, want %04o", name, got, want)
	}
}

func wantError(t *testing.T, err error, part string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), part) {
		t.Errorf("error %v, want one with %q", err, part)
	}
}

func TestCreateAndOpen(t *testing.T) {
	a, dir := newAuthority(t)
	wantMode(t, dir, 0o700)
	wantMode(t, filepath.Join(dir, "ca.key"), 0o600)
	wantMode(t, filepath.Join(dir, "ca.crt"), 0o644)
	c := a.Certificate()
	if !c.IsCA || c.MaxPathLen != 0 || !c.MaxPathLenZero || c.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign {
		t.Errorf("the authority's certificate: CA %v, path length %d, usage %b", c.IsCA, c.MaxPathLen, c.KeyUsage)
	}
	if k, ok := c.PublicKey.(*ecdsa.PublicKey); !ok || k.Curve != elliptic.P256() {
		t.Errorf("its key is %T", c.PublicKey)
	}
	again, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if again.Cluster() != "lab-1" || !again.Certificate().Equal(c) {
		t.Errorf("Open gives cluster %q", again.Cluster())
	}
}

func TestNothingIsReplaced(t *testing.T) {
	a, dir := newAuthority(t)
	before := readAll(t, dir)
	_, err := Create(dir, "lab-2")
	wantError(t, err, "is there already")

	issued, err := a.Issue(Request{Role: identity.Agent, Name: "vm1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := issued.Write(dir); err != nil {
		t.Fatal(err)
	}
	written := readAll(t, dir)
	for name, text := range before {
		if written[name] != text {
			t.Errorf("%s has changed", name)
		}
	}
	if len(written) != len(before)+2 {
		t.Errorf("files %d, want two more than %d", len(written), len(before))
	}
	second, err := a.Issue(Request{Role: identity.Operator, Name: "vm1"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = second.Write(dir)
	wantError(t, err, "is there already")
	other, _ := newAuthority(t)
	foreign, err := other.Issue(Request{Role: identity.Agent, Name: "vm2"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = foreign.Write(dir)
	wantError(t, err, "of another authority")
	if _, err := second.Renew(dir); err == nil {
		t.Error("an agent's certificate was replaced by an operator's")
	}
	for name, text := range readAll(t, dir) {
		if written[name] != text {
			t.Errorf("%s has changed", name)
		}
	}
}

// readAll is what a directory holds; leftovers of writing would be in it.
func readAll(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(text)
	}
	return all
}

func TestIssue(t *testing.T) {
	a, dir := newAuthority(t)
	roots := x509.NewCertPool()
	roots.AddCert(a.Certificate())
	serials := map[string]bool{}
	for _, role := range identity.Roles {
		name := "x-" + role.String()
		issued, err := a.Issue(Request{Role: role, Name: name, Lifetime: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		c := issued.Certificate
		if who, err := identity.FromCertificate(c); err != nil || who != (identity.Identity{Cluster: "lab-1", Role: role, Name: name}) {
			t.Errorf("%v: the certificate is of %v (%v)", role, who, err)
		}
		if _, err := c.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
			t.Errorf("%v: as a client: %v", role, err)
		}
		if serves := slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth); serves != (role == identity.Controller) {
			t.Errorf("%v: made for serving: %v", role, serves)
		}
		if c.IsCA || c.KeyUsage != x509.KeyUsageDigitalSignature {
			t.Errorf("%v: CA %v, usage %b", role, c.IsCA, c.KeyUsage)
		}
		if bits := c.SerialNumber.BitLen(); bits < 90 || serials[c.SerialNumber.String()] {
			t.Errorf("%v: serial number %v of %d bits", role, c.SerialNumber, bits)
		}
		serials[c.SerialNumber.String()] = true
		if life := c.NotAfter.Sub(c.NotBefore); life != time.Hour+early {
			t.Errorf("%v: valid for %v", role, life)
		}
		files, err := issued.Write(dir)
		if err != nil {
			t.Fatal(err)
		}
		wantMode(t, files.Key, 0o600)
		if _, err := files.Open(nil); err != nil {
			t.Errorf("%v: %v", role, err)
		}
	}
}

func TestIssueRefuses(t *testing.T) {
	a, _ := newAuthority(t)
	for what, r := range map[string]struct {
		request Request
		part    string
	}{
		"no role":          {Request{Name: "vm1"}, "no role"},
		"a path":           {Request{Role: identity.Agent, Name: "../vm1"}, "name"},
		"the authority":    {Request{Role: identity.Agent, Name: "ca"}, "authority's own files"},
		"a user":           {Request{Role: identity.Operator, Name: "uid-0"}, "over a Unix socket"},
		"too long":         {Request{Role: identity.Agent, Name: "vm1", Lifetime: 11 * 365 * day}, "after that of the authority"},
		"in the past":      {Request{Role: identity.Agent, Name: "vm1", Lifetime: -time.Hour}, "a minute at least"},
		"another key type": {Request{Role: identity.Agent, Name: "vm1", PublicKey: "secret"}, "ECDSA P-256"},
		"another curve":    {Request{Role: identity.Agent, Name: "vm1", PublicKey: &mustKey(t, elliptic.P384()).PublicKey}, "ECDSA P-256"},
	} {
		if _, err := a.Issue(r.request); err == nil || !strings.Contains(err.Error(), r.part) {
			t.Errorf("%s: error %v, want one with %q", what, err, r.part)
		}
	}
	behind := *a
	behind.now = func() time.Time { return time.Now().Add(-2 * early) }
	_, err := behind.Issue(Request{Role: identity.Agent, Name: "vm1"})
	wantError(t, err, "set the clock")
	_, err = Create(t.TempDir(), "Lab 1")
	wantError(t, err, "cluster id")
}

func mustKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestIssueForAKeyMadeElsewhere is how an owner keeps his key to himself, and renews.
func TestIssueForAKeyMadeElsewhere(t *testing.T) {
	a, _ := newAuthority(t)
	key := mustKey(t, elliptic.P256())
	raw, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	name := filepath.Join(dir, "vm1.pub")
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: raw}), 0o644); err != nil {
		t.Fatal(err)
	}
	public, err := ReadPublicKey(name)
	if err != nil {
		t.Fatal(err)
	}
	issued, err := a.Issue(Request{Role: identity.Agent, Name: "vm1", PublicKey: public})
	if err != nil {
		t.Fatal(err)
	}
	files, err := issued.Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(files.Key); !os.IsNotExist(err) {
		t.Errorf("a key was written: %v", err)
	}
	old, err := os.ReadFile(files.Cert)
	if err != nil {
		t.Fatal(err)
	}
	if public, err = PublicKeyOf(dir, "vm1"); err != nil {
		t.Fatal(err)
	}
	renewed, err := a.Issue(Request{Role: identity.Agent, Name: "vm1", PublicKey: public})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := renewed.Renew(dir); err != nil {
		t.Fatal(err)
	}
	now, err := os.ReadFile(files.Cert)
	if err != nil {
		t.Fatal(err)
	}
	if string(now) == string(old) || !renewed.Certificate.PublicKey.(*ecdsa.PublicKey).Equal(&key.PublicKey) {
		t.Error("the certificate was not renewed for the same key")
	}
	if err := os.WriteFile(name, []byte("no key"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = ReadPublicKey(name)
	wantError(t, err, "no public key in PEM")
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	_, err := Open(t.TempDir())
	wantError(t, err, "syncline pki init")

	_, dir := newAuthority(t)
	if err := os.Chmod(filepath.Join(dir, "ca.key"), 0o640); err != nil {
		t.Fatal(err)
	}
	_, err = Open(dir)
	wantError(t, err, "open to others (mode 0640)")

	_, one := newAuthority(t)
	_, two := newAuthority(t)
	if err := os.Rename(filepath.Join(one, "ca.key"), filepath.Join(two, "ca.key")); err != nil {
		t.Fatal(err)
	}
	_, err = Open(two)
	wantError(t, err, "of two authorities")

	a, three := newAuthority(t)
	issued, err := a.Issue(Request{Role: identity.Agent, Name: "vm1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(three, "ca.crt"), encodeCertificate(issued.Certificate), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = Open(three)
	wantError(t, err, "not of a cluster's authority")
}
