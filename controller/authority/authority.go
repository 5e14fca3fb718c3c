// Package authority is a cluster's certificate authority: it makes the certificates by
// which controllers, agents, operators and viewers know each other (package
// proto/identity).
//
// It is a directory with two files, which need be on no machine of the lab: whoever
// has ca.key can be anybody. Keys are ECDSA P-256. A certificate of the authority may sign
// those of owners and no further authorities (path length 0, RFC 5280, 4.2.1.9).
//
// No file is ever replaced but a certificate that is renewed. What is written is
// complete or not there, also after a crash.
package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"syncline/proto/identity"
)

// The files of an authority.
const (
	CertFile = "ca.crt"
	keyFile  = "ca.key"
)

const day = 24 * time.Hour

// life is how long an authority is valid.
const life = 3650 * day

// early is how long before it is issued a certificate is valid. Hosts of a lab are set apart
// by minutes, and a virtual machine that wakes from a snapshot is behind: it would refuse a new
// certificate as one of the future. It gives nothing away, since before it was issued
// nobody had the key.
const early = time.Hour

// Lifetime is how long certificates of a role are valid if nobody says otherwise: services
// must not stop in the middle of a term, people come by again.
func Lifetime(role identity.Role) time.Duration {
	if role == identity.Operator || role == identity.Viewer {
		return 90 * day
	}
	return 365 * day
}

// Authority issues certificates. It is safe for concurrent use.
type Authority struct {
	cluster string
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
	now     func() time.Time
}

// Create makes the authority of a new cluster in dir, which is made if it is missing. It fails
// if there is one already.
func Create(dir, cluster string) (*Authority, error) { return create(dir, cluster, time.Now) }

func create(dir, cluster string, now func() time.Time) (*Authority, error) {
	if err := identity.CheckCluster(cluster); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	// The key is written first. Without a certificate it is the rest of a Create that was cut
	// short, and of no use to anybody.
	for _, name := range []string{CertFile, keyFile} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return nil, fmt.Errorf("%s is there already; an authority is never replaced, since all its certificates would be worthless: choose another directory", filepath.Join(dir, name))
		} else if !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	a := &Authority{cluster: cluster, key: key, now: now}
	template, err := a.template(pkix.Name{CommonName: "syncline authority of " + cluster}, identity.ClusterURI(cluster), life)
	if err != nil {
		return nil, err
	}
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.MaxPathLenZero = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	if a.cert, err = sign(template, template, key.Public(), key); err != nil {
		return nil, err
	}
	keyText, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	if err := writeNew(filepath.Join(dir, keyFile), keyText, 0o600); err != nil {
		return nil, err
	}
	return a, writeNew(filepath.Join(dir, CertFile), encodeCertificate(a.cert), 0o644)
}

// Open opens the authority that Create has made in dir.
func Open(dir string) (*Authority, error) { return open(dir, time.Now) }

func open(dir string, now func() time.Time) (*Authority, error) {
	text, err := os.ReadFile(filepath.Join(dir, CertFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("no authority in %s: %w\nMake one with: syncline pki init %s", dir, err, dir)
	} else if err != nil {
		return nil, err
	}
	certs, err := identity.ParseCertificates(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, CertFile), err)
	}
	// Others are of authorities that came before, which certificates may still be of.
	a := &Authority{cert: certs[0], now: now}
	if a.cluster, err = identity.ClusterFromAuthority(a.cert); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, CertFile), err)
	}
	if a.key, err = readKey(filepath.Join(dir, keyFile)); err != nil {
		return nil, err
	}
	if !a.key.PublicKey.Equal(a.cert.PublicKey) {
		return nil, fmt.Errorf("%s is not the key of %s: they are of two authorities", filepath.Join(dir, keyFile), CertFile)
	}
	return a, nil
}

// Cluster is the id of the authority's cluster.
func (a *Authority) Cluster() string { return a.cluster }

// Certificate is the authority's own. Nobody may change it.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// Request is for whom a certificate is to be.
type Request struct {
	Role identity.Role
	Name string
	// Lifetime is how long it is valid from now; 0 is Lifetime(Role).
	Lifetime time.Duration
	// PublicKey is the owner's. If it is nil a key is made.
	PublicKey crypto.PublicKey
}

// Issued is a new certificate.
type Issued struct {
	Identity    identity.Identity
	Certificate *x509.Certificate
	// Key is its private key; nil if the owner has it.
	Key *ecdsa.PrivateKey
	// authority is what has signed it.
	authority *x509.Certificate
}

// Issue makes a certificate.
func (a *Authority) Issue(r Request) (*Issued, error) {
	who := identity.Identity{Cluster: a.cluster, Role: r.Role, Name: r.Name}
	if err := who.Check(); err != nil {
		return nil, err
	}
	switch {
	case r.Name == "ca":
		return nil, errors.New(`nobody can be called "ca": that is the name of the authority's own files`)
	case strings.HasPrefix(r.Name, identity.SocketPrefix):
		return nil, fmt.Errorf("nobody can be called %s: names that begin with %s are those of users who come over a Unix socket", r.Name, identity.SocketPrefix)
	}
	if r.Lifetime == 0 {
		r.Lifetime = Lifetime(r.Role)
	}
	if err := a.covers(r.Lifetime); err != nil {
		return nil, err
	}
	issued := &Issued{Identity: who, authority: a.cert}
	if r.PublicKey == nil {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("make a key: %w", err)
		}
		issued.Key, r.PublicKey = key, key.Public()
	} else if err := checkPublic(r.PublicKey); err != nil {
		return nil, err
	}
	template, err := a.template(pkix.Name{CommonName: r.Name, OrganizationalUnit: []string{r.Role.String()}}, who.URI(), r.Lifetime)
	if err != nil {
		return nil, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.BasicConstraintsValid = true
	template.ExtKeyUsage = usages(r.Role)
	issued.Certificate, err = sign(template, a.cert, r.PublicKey, a.key)
	return issued, err
}

// covers refuses lifetimes that make no sense: of a chain, all must be valid.
func (a *Authority) covers(lifetime time.Duration) error {
	now := a.now()
	switch end := now.Add(lifetime); {
	case lifetime < time.Minute:
		return fmt.Errorf("a lifetime of %v; give a minute at least", lifetime)
	case now.Before(a.cert.NotBefore):
		return fmt.Errorf("the authority is not valid before %s, and the clock here says %s: set the clock", a.cert.NotBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case end.After(a.cert.NotAfter):
		return fmt.Errorf("a lifetime of %v ends at %s, after that of the authority (%s): ask for a shorter one, or make a new authority with syncline pki init",
			lifetime, end.UTC().Format(time.RFC3339), a.cert.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// usages are what certificates of a role are for. Controllers are dialled, and dial each other.
func usages(role identity.Role) []x509.ExtKeyUsage {
	if role == identity.Controller {
		return []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	return []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
}

// checkPublic refuses keys that package crypto/tls would not use in TLS 1.3, or that are weak.
func checkPublic(key crypto.PublicKey) error {
	if k, ok := key.(*ecdsa.PublicKey); ok && k.Curve == elliptic.P256() {
		return nil
	}
	return fmt.Errorf("a public key of the type %T; certificates are issued for ECDSA P-256: openssl ecparam -name prime256v1 -genkey", key)
}

// template is what all certificates have in common.
func (a *Authority) template(subject pkix.Name, uri string, lifetime time.Duration) (*x509.Certificate, error) {
	name, err := url.Parse(uri)
	if err != nil {
		return nil, err
	}
	// RFC 5280, 4.1.2.2: unique and at most 20 bytes. 128 random bits are both, without a
	// count that somebody would have to keep.
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
	if err != nil {
		return nil, fmt.Errorf("draw a serial number: %w", err)
	}
	now := a.now()
	return &x509.Certificate{
		// It must be positive.
		SerialNumber: serial.Add(serial, big.NewInt(1)), Subject: subject, URIs: []*url.URL{name},
		NotBefore: now.Add(-early), NotAfter: now.Add(lifetime),
	}, nil
}

// sign makes the certificate and reads it back, so that what is handed out is what others
// will read.
func sign(template, parent *x509.Certificate, public crypto.PublicKey, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate of %q: %w", template.Subject, err)
	}
	return x509.ParseCertificate(raw)
}

// encodeCertificate is a certificate as PEM.
func encodeCertificate(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}
