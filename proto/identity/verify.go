package identity

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// verify finds out whose a certificate is: chain, times and cluster. between are
// certificates from it to the authority that the peer has shown besides.
func (l *loaded) verify(cert *x509.Certificate, between []*x509.Certificate, now time.Time) (Identity, error) {
	intermediates := x509.NewCertPool()
	for _, c := range between {
		intermediates.AddCert(c)
	}
	_, err := cert.Verify(x509.VerifyOptions{
		Roots: l.roots, Intermediates: intermediates, CurrentTime: now,
		// What it may be used for is asked by role, with words for it.
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return Identity{}, refusal(cert, err, now)
	}
	who, err := FromCertificate(cert)
	if err != nil {
		return Identity{}, err
	}
	if who.Cluster != l.identity.Cluster {
		return Identity{}, fmt.Errorf("the certificate is of %v, and this side is of cluster %s: use the certificate and the address of the same cluster", who, l.identity.Cluster)
	}
	return who, nil
}

// admit checks that one whose certificate was verified may do what he wants to.
func admit(cert *x509.Certificate, who Identity, usage x509.ExtKeyUsage, what string, roles []Role) error {
	if !slices.Contains(roles, who.Role) {
		return fmt.Errorf("the certificate is of %v, and %s is for the role %s: syncline pki issue makes one", who, what, roleList(roles))
	}
	if !slices.Contains(cert.ExtKeyUsage, usage) {
		return fmt.Errorf("the certificate of %v is not made for %s (extended key usage): issue it again with syncline pki issue %v %s --renew", who, what, who.Role, who.Name)
	}
	return nil
}

// refusal says in words why the chain of a certificate does not hold, with the times and
// the clock, and what to do.
func refusal(cert *x509.Certificate, err error, now time.Time) error {
	name, renew := claimed(cert)
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		at := invalid.Cert
		if at == nil {
			at = cert
		}
		subject := "the certificate of " + name
		if !bytes.Equal(at.Raw, cert.Raw) {
			subject, renew = fmt.Sprintf("the authority %q", at.Subject), "make a new authority with syncline pki init"
		}
		if now.Before(at.NotBefore) {
			return fmt.Errorf("%s is not valid before %s, and the clock here says %s: set the clock", subject, moment(at.NotBefore), moment(now))
		}
		return fmt.Errorf("%s has expired at %s, and the clock here says %s: %s, or set the clock if it is wrong", subject, moment(at.NotAfter), moment(now), renew)
	case errors.As(err, &unknown):
		return fmt.Errorf("the certificate, which claims to be of %s, is not signed by the authority in this side's ca.crt: both sides need certificates of one syncline pki init", name)
	}
	return fmt.Errorf("the certificate, which claims to be of %s: %w", name, err)
}

// claimed is whose a certificate says it is, and the command that makes a new one.
func claimed(cert *x509.Certificate) (name, renew string) {
	who, err := FromCertificate(cert)
	if err != nil {
		return fmt.Sprintf("%.200q", cert.Subject), "issue a new one with syncline pki issue"
	}
	return who.String(), fmt.Sprintf("issue a new one with syncline pki issue %v %s --renew", who.Role, who.Name)
}

// moment is a wall-clock time for people.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
