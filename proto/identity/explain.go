package identity

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
)

// Explain says in words what went wrong with a handshake, and what to do about it. What it
// does not know it returns as it is. The chain of errors stays.
func (c *Credentials) Explain(err error) error {
	var chain *tls.CertificateVerificationError
	if errors.As(err, &chain) && len(chain.UnverifiedCertificates) > 0 {
		return &explained{refusal(chain.UnverifiedCertificates[0], chain.Err, c.now()).Error(), err}
	}
	var plain tls.RecordHeaderError
	if errors.As(err, &plain) && strings.Contains(plain.Msg, "does not look like a TLS handshake") {
		return &explained{"the other side does not speak TLS: does it run with --dev, or is it no syncline at all?", err}
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		if said, ok := c.alert(op.Err.Error()); ok {
			return &explained{said, err}
		}
	}
	switch {
	case err == nil:
		return nil
	case strings.Contains(err.Error(), "client didn't provide a certificate"):
		return &explained{noCertificate, err}
	case errors.Is(err, io.EOF):
		return &explained{"the other side ended the connection in the middle of the handshake (EOF): does it run with --dev, or is it no syncline at all?", err}
	}
	return err
}

// alert is what the other side means by an alert of TLS (RFC 8446, 6.2). Of package tls
// its text is all there is: the type has no name outside.
func (c *Credentials) alert(text string) (said string, ok bool) {
	leaf := c.current().leaf()
	who, renew := claimed(leaf)
	mine := fmt.Sprintf("%s (%s)", c.files.Cert, who)
	switch strings.TrimPrefix(text, "tls: ") {
	case "expired certificate":
		return fmt.Sprintf("the other side says that %s is expired or not valid yet; it is valid from %s to %s, and the clock here says %s: %s, or set the clocks",
			mine, moment(leaf.NotBefore), moment(leaf.NotAfter), moment(c.now()), renew), true
	case "unknown certificate authority":
		return fmt.Sprintf("the other side does not know the authority that signed %s: both sides need certificates of one syncline pki init", mine), true
	case "bad certificate":
		return fmt.Sprintf("the other side refuses %s: by its role, its cluster or its authority; what the other side says itself tells which", mine), true
	case "certificate required":
		return noCertificate, true
	case "no application protocol":
		return "the other side speaks none of our protocols (ALPN): is it a controller of syncline?", true
	case "protocol version not supported":
		return "the other side does not speak TLS 1.3: is it a controller of syncline?", true
	}
	return "", false
}

// explained is an error in other words.
type explained struct {
	said string
	err  error
}

func (e *explained) Error() string { return e.said }
func (e *explained) Unwrap() error { return e.err }
