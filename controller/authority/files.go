package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"syncline/proto/identity"
)

// Write writes what its owner needs into dir: NAME.crt, NAME.key if the key was made here,
// and ca.crt if it is not there. It replaces nothing: a certificate of the same name
// is an error, and so is the ca.crt of another authority.
func (i *Issued) Write(dir string) (identity.Files, error) {
	files := identity.Beside(filepath.Join(dir, i.Identity.Name+".crt"))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return files, err
	}
	if err := i.writeAuthority(files.CA); err != nil {
		return files, err
	}
	for _, name := range []string{files.Cert, files.Key} {
		if _, err := os.Lstat(name); err == nil {
			return files, fmt.Errorf("%s is there already: renew it with --renew, or write to another directory with --to", name)
		} else if !errors.Is(err, os.ErrNotExist) {
			return files, err
		}
	}
	if i.Key != nil {
		text, err := encodeKey(i.Key)
		if err != nil {
			return files, err
		}
		if err := writeNew(files.Key, text, 0o600); err != nil {
			return files, err
		}
	}
	return files, writeNew(files.Cert, encodeCertificate(i.Certificate), 0o644)
}

// Renew replaces the certificate NAME.crt in dir by this one, which is for the same key
// and the same owner. Processes that use the files go on with the new one by themselves.
func (i *Issued) Renew(dir string) (identity.Files, error) {
	files := identity.Beside(filepath.Join(dir, i.Identity.Name+".crt"))
	if err := i.writeAuthority(files.CA); err != nil {
		return files, err
	}
	old, err := readCertificate(files.Cert)
	if err != nil {
		return files, err
	}
	who, err := identity.FromCertificate(old)
	if err != nil {
		return files, fmt.Errorf("%s: %w", files.Cert, err)
	}
	if who != i.Identity {
		return files, fmt.Errorf("%s is of %v, and would become one of %v: write to another directory with --to", files.Cert, who, i.Identity)
	}
	if key, ok := old.PublicKey.(*ecdsa.PublicKey); !ok || !key.Equal(i.Certificate.PublicKey) {
		return files, fmt.Errorf("%s is for another key", files.Cert)
	}
	return files, replace(files.Cert, encodeCertificate(i.Certificate), 0o644)
}

// PublicKeyOf reads for which key NAME.crt in dir was issued, to renew it.
func PublicKeyOf(dir, name string) (crypto.PublicKey, error) {
	cert, err := readCertificate(filepath.Join(dir, name+".crt"))
	if err != nil {
		return nil, err
	}
	return cert.PublicKey, nil
}

// ReadPublicKey reads an owner's public key: PEM, PKIX (RFC 5280, 4.1).
func ReadPublicKey(name string) (crypto.PublicKey, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return parsePublicKey(name, text)
}

func parsePublicKey(name string, text []byte) (crypto.PublicKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, fmt.Errorf("%s has no public key in PEM (-----BEGIN PUBLIC KEY-----): openssl pkey -in KEY -pubout makes one", name)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if err := checkPublic(key); err != nil {
		return nil, err
	}
	return key, nil
}

// writeAuthority puts the authority's certificate beside the owner's.
func (i *Issued) writeAuthority(name string) error {
	there, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return writeNew(name, encodeCertificate(i.authority), 0o644)
	} else if err != nil {
		return err
	}
	certs, err := identity.ParseCertificates(there)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, c := range certs {
		if c.Equal(i.authority) {
			return nil
		}
	}
	return fmt.Errorf("%s is the certificate of another authority (%q): write to another directory with --to", name, certs[0].Subject)
}

func readCertificate(name string) (*x509.Certificate, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	certs, err := identity.ParseCertificates(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return certs[0], nil
}

// readKey reads the authority's private key.
func readKey(name string) (*ecdsa.PrivateKey, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%s is open to others (mode %04o), and whoever reads it can be anybody: chmod 600 %s if nobody has, else make a new authority", name, mode, name)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return parseKey(name, text)
}

func parseKey(name string, text []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("%s has no private key in PEM", name)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	private, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s has a key of the type %T; an authority's is ECDSA", name, key)
	}
	return private, nil
}

// encodeKey is a private key as PEM (PKCS #8, RFC 5958).
func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), nil
}

// writeNew writes a file that must not exist. link(2) gives it its name only when it is
// whole, and fails if somebody else was faster.
func writeNew(name string, text []byte, mode os.FileMode) error {
	return place(name, text, mode, os.Link)
}

// replace writes a file in the place of another, which is there until the new one is whole.
func replace(name string, text []byte, mode os.FileMode) error {
	return place(name, text, mode, os.Rename)
}

func place(name string, text []byte, mode os.FileMode, put func(from, to string) error) (err error) {
	// CreateTemp opens it for its owner alone.
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer func() {
		// After a rename it is gone.
		if rerr := os.Remove(f.Name()); rerr != nil && !errors.Is(rerr, os.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
	}()
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := put(f.Name(), name); err != nil {
		return err
	}
	return syncDir(filepath.Dir(name))
}

// syncDir makes a new name outlive a crash (fsync(2)).
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
