package cli

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"syncline/proto/identity"
)

// pkiSchema names the form of what `syncline pki show -o json` prints.
const pkiSchema = "syncline.pki/1"

// shownCertificate is what pki show tells of one certificate.
type shownCertificate struct {
	File    string `json:"file"`
	Cluster string `json:"cluster,omitempty"`
	// Role is one of the lab's, or authority.
	Role      string    `json:"role,omitempty"`
	Name      string    `json:"name,omitempty"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	UsedAs    []string  `json:"used_as,omitempty"`
	Serial    string    `json:"serial"`
	SHA256    string    `json:"sha256"`
	SignedBy  string    `json:"signed_by"`
	// Problems are why it cannot be used here and now.
	Problems []string `json:"problems,omitempty"`
}

func (a *app) pkiShowCommand() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "show FILE...",
		Short: "Show whose certificates are, until when, and if they can be used",
		Long: `Show certificates: whose they are, until when they are valid, what they are for. Each
is held against the clock, against ca.crt beside it, and against its key if that is
beside it too.

Exit: 0 all can be used, 1 one cannot, and the reason is told.`,
		Example: `  syncline pki show pki/*.crt
  syncline pki show /etc/syncline/tls.crt -o json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return unknownFormat(output, "text", "json")
			}
			var all []shownCertificate
			for _, file := range args {
				shown, err := showFile(file, time.Now())
				if err != nil {
					return usage("%w", err)
				}
				all = append(all, shown...)
			}
			if err := a.writeCertificates(all, output); err != nil {
				return err
			}
			for _, s := range all {
				if len(s.Problems) > 0 {
					return &exitError{code: exitFailed}
				}
			}
			return nil
		},
	}
	formatFlag(c, &output, "text", "json")
	return c
}

// showFile reads the certificates of a file: one, or those of an authority.
func showFile(file string, now time.Time) ([]shownCertificate, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	certs, err := identity.ParseCertificates(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var all []shownCertificate
	for _, c := range certs {
		s := showCertificate(c, now)
		s.File = file
		if !c.IsCA {
			s.Problems = append(s.Problems, besides(file, text, c)...)
		}
		all = append(all, s)
	}
	return all, nil
}

// showCertificate is what a certificate says of itself, and what the clock says to it.
func showCertificate(c *x509.Certificate, now time.Time) shownCertificate {
	sum := sha256.Sum256(c.Raw)
	s := shownCertificate{
		NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(), Serial: c.SerialNumber.Text(16),
		SHA256: hex.EncodeToString(sum[:]), SignedBy: c.Issuer.CommonName,
	}
	for _, use := range c.ExtKeyUsage {
		switch use {
		case x509.ExtKeyUsageServerAuth:
			s.UsedAs = append(s.UsedAs, "server")
		case x509.ExtKeyUsageClientAuth:
			s.UsedAs = append(s.UsedAs, "client")
		}
	}
	if cluster, err := identity.ClusterFromAuthority(c); err == nil {
		s.Cluster, s.Role = cluster, "authority"
	} else if who, err := identity.FromCertificate(c); err == nil {
		s.Cluster, s.Role, s.Name = who.Cluster, who.Role.String(), who.Name
	} else {
		s.Problems = append(s.Problems, err.Error())
	}
	switch {
	case now.Before(c.NotBefore):
		s.Problems = append(s.Problems, "not valid before "+inUTC(c.NotBefore)+", and the clock here says "+inUTC(now)+": set the clock")
	case now.After(c.NotAfter):
		s.Problems = append(s.Problems, "expired, and the clock here says "+inUTC(now)+": issue a new one, or set the clock")
	}
	return s
}

// besides holds a certificate against the files that belong to it, as far as they are
// there.
func besides(file string, text []byte, c *x509.Certificate) (problems []string) {
	files := identity.Beside(file)
	if ca, err := os.ReadFile(files.CA); err == nil {
		if err := signedBy(c, ca); err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", files.CA, err))
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		problems = append(problems, err.Error())
	}
	key, err := os.ReadFile(files.Key)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		// The key is elsewhere, or somebody else's, as it should be.
	case err != nil:
		problems = append(problems, err.Error())
	default:
		if _, err := tls.X509KeyPair(text, key); err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", files.Key, err))
		}
	}
	return problems
}

// signedBy checks that one of the authority's certificates has signed another one.
func signedBy(c *x509.Certificate, ca []byte) error {
	authorities, err := identity.ParseCertificates(ca)
	if err != nil {
		return err
	}
	for _, at := range authorities {
		if bytes.Equal(at.RawSubject, c.RawIssuer) && c.CheckSignatureFrom(at) == nil {
			return nil
		}
	}
	return errors.New("this authority has not signed the certificate")
}

func (a *app) writeCertificates(all []shownCertificate, output string) error {
	if output == "json" {
		e := json.NewEncoder(a.Out)
		e.SetIndent("", "  ")
		return e.Encode(map[string]any{"schema": pkiSchema, "certificates": all})
	}
	s := newSheet(a.Out)
	for i, c := range all {
		if i > 0 {
			s.blank()
		}
		describeCertificate(s, c, time.Now())
	}
	return s.to(a.Out)
}

// describeCertificate writes one certificate: whose it is, and below it what else is known.
func describeCertificate(s *sheet, c shownCertificate, now time.Time) {
	const at = 13
	switch {
	case c.Role == "":
		s.line("%s: nobody of a lab", filepath.Base(c.File))
	case c.Name == "":
		s.line("%s of cluster %s", c.Role, c.Cluster)
	default:
		s.line("%s %s of cluster %s", c.Role, c.Name, c.Cluster)
	}
	s.item("  file", at, c.File)
	s.item("  valid", at, fmt.Sprintf("%s to %s, %s", inUTC(c.NotBefore), inUTC(c.NotAfter), left(c.NotAfter.Sub(now))))
	for i, use := range c.UsedAs {
		if i == 0 {
			s.item("  used as", at, use)
		} else {
			s.item("", at, use)
		}
	}
	s.item("  signed by", at, c.SignedBy)
	s.item("  serial", at, c.Serial)
	s.item("  SHA-256", at, c.SHA256)
	for _, p := range c.Problems {
		s.item("  ✗", at, p)
	}
}

// left is how long there is until a moment, for people.
func left(d time.Duration) string {
	switch {
	case d <= 0:
		return "over"
	case d < 48*time.Hour:
		return fmt.Sprintf("%d hours left", int(d.Hours()))
	}
	return fmt.Sprintf("%d days left", int(d.Hours()/24))
}
