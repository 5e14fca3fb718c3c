package identity

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Files are where a process finds its certificate.
type Files struct {
	// Cert is the certificate, PEM; certificates between it and the authority may follow.
	Cert string
	// Key is its private key, PEM, readable by its owner and at most its group.
	Key string
	// CA has the certificates of the cluster's authority, PEM: one, or the old and the new
	// one while an authority is replaced.
	CA string
}

// Beside names the three files by that of the certificate: its key is beside it under the
// same name with .key, and the authority's certificate is ca.crt in the same directory.
func Beside(cert string) Files {
	return Files{
		Cert: cert,
		Key:  strings.TrimSuffix(cert, filepath.Ext(cert)) + ".key",
		CA:   filepath.Join(filepath.Dir(cert), "ca.crt"),
	}
}

// maxFile bounds what is read of a file; a certificate has less than a thousand bytes.
const maxFile = 1 << 20

// loaded is what was read from the three files at one time. It does not change.
type loaded struct {
	identity Identity
	pair     tls.Certificate
	// roots are the authority's certificates.
	roots *x509.CertPool
}

func (l *loaded) leaf() *x509.Certificate { return l.pair.Leaf }

// load reads the files. What it returns can be used: the key is the certificate's, and the
// certificate the authority's.
func (f Files) load() (*loaded, error) {
	ca, err := read(f.CA)
	if err != nil {
		return nil, fmt.Errorf("the authority's certificate: %w", err)
	}
	roots, err := authorities(ca)
	if err != nil {
		return nil, fmt.Errorf("the authority's certificate %s: %w", f.CA, err)
	}
	cert, err := read(f.Cert)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	key, err := readKey(f.Key)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", f.Cert, f.Key, err)
	}
	who, err := FromCertificate(pair.Leaf)
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", f.Cert, err)
	}
	return &loaded{who, pair, roots}, nil
}

// authorities reads the certificates of an authority.
func authorities(text []byte) (*x509.CertPool, error) {
	certs, err := ParseCertificates(text)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, c := range certs {
		if !c.IsCA {
			return nil, fmt.Errorf("%q is no authority's certificate; it is ca.crt, which syncline pki init makes", c.Subject)
		}
		pool.AddCert(c)
	}
	return pool, nil
}

// ParseCertificates reads the certificates of a PEM file, at least one. Whatever else a
// file has, it is an error: a key in the file that everybody gets is a mistake.
func ParseCertificates(text []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("it has a %s, and should have certificates only", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d of it: %w", len(all)+1, err)
		}
		all = append(all, c)
		text = rest
	}
	if len(all) == 0 {
		return nil, errors.New("it has no certificate in PEM (-----BEGIN CERTIFICATE-----)")
	}
	return all, nil
}

// readKey reads a private key, and refuses one that is not private.
func readKey(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o027 != 0 {
		return nil, fmt.Errorf("%s is open to others (mode %04o): chmod 600 %s, or 640 for a group of its own", name, mode, name)
	}
	return read(name)
}

func read(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s is longer than %d bytes", name, maxFile)
	}
	return text, nil
}

// look is the state of the three files as stat(2) tells it.
type look [3]os.FileInfo

func (f Files) look() (look, error) {
	var l look
	for i, file := range []struct{ what, name string }{{"certificate", f.Cert}, {"private key", f.Key}, {"the authority's certificate", f.CA}} {
		var err error
		if l[i], err = os.Stat(file.name); err != nil {
			return look{}, fmt.Errorf("%s: %w", file.what, err)
		}
	}
	return l, nil
}

// same reports whether no file was replaced, rewritten or opened to others between two looks.
func (l look) same(m look) bool {
	for i := range l {
		a, b := l[i], m[i]
		switch {
		case a == nil || b == nil:
			return false
		case !os.SameFile(a, b), a.Size() != b.Size(), a.Mode() != b.Mode(), !a.ModTime().Equal(b.ModTime()):
			return false
		}
	}
	return true
}
