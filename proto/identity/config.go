package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
)

// Names of protocols, as ALPN has them.
const (
	// GRPC is HTTP/2 (RFC 9113), which is what gRPC speaks.
	GRPC = "h2"
	// Raft is what controllers replicate their log with.
	Raft = "syncline-raft/1"
)

// Protocol is one that a port speaks, and who may speak it.
type Protocol struct {
	Name  string
	Roles []Role
}

// GRPCProtocol is gRPC for everybody of the cluster. Which methods each role may call is the
// matter of who answers them.
var GRPCProtocol = Protocol{GRPC, Roles}

// RaftProtocol is for controllers alone.
var RaftProtocol = Protocol{Raft, []Role{Controller}}

// ServerConfig is how a controller's port speaks TLS. A connection that its handshake
// leaves standing has one of the protocols (ConnectionState.NegotiatedProtocol) and, as the
// first of its PeerCertificates, that of somebody of this cluster who may speak it; that
// is checked of resumed sessions too. It panics without a protocol.
func (c *Credentials) ServerConfig(protocols ...Protocol) *tls.Config {
	if len(protocols) == 0 {
		panic("identity: a server needs at least one protocol")
	}
	names := make([]string, len(protocols))
	for i, p := range protocols {
		names[i] = p.Name
	}
	base := tls.Config{MinVersion: tls.VersionTLS13, NextProtos: names, Time: c.now}
	server := base.Clone()
	server.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		now := c.current()
		mine := base.Clone()
		mine.Certificates = []tls.Certificate{now.pair}
		// Package tls checks the chain itself, which tells the caller what is wrong with it (alerts
		// of RFC 8446, 6.2); of a resumed session it takes the word of the first handshake.
		mine.ClientAuth = tls.RequireAndVerifyClientCert
		mine.ClientCAs = now.roots
		mine.VerifyConnection = func(state tls.ConnectionState) error {
			for _, p := range protocols {
				if p.Name == state.NegotiatedProtocol {
					return c.check(now, state, x509.ExtKeyUsageClientAuth, "to speak "+p.Name+" here", p.Roles)
				}
			}
			return fmt.Errorf("the caller names no protocol of this port (%s; ALPN): is it a syncline?", strings.Join(names, ", "))
		}
		return mine, nil
	}
	return server
}

// ClientConfig is how a port is dialled for one of its protocols. A connection whose
// handshake has ended is to a controller of this cluster. Its host's name is not
// looked at, so neither is tls.Config.ServerName needed.
func (c *Credentials) ClientConfig(protocol string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{protocol},
		Time:       c.now,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &c.current().pair, nil
		},
		// Package tls would check the name of the host and the authorities of the system. What
		// counts is checked below instead, of every connection.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			if state.NegotiatedProtocol != protocol {
				return fmt.Errorf("the other side does not speak %s (ALPN): is it a controller of syncline?", protocol)
			}
			return c.check(c.current(), state, x509.ExtKeyUsageServerAuth, "to be dialled", []Role{Controller})
		},
	}
}

// check looks at who is at the other end.
func (c *Credentials) check(own *loaded, state tls.ConnectionState, usage x509.ExtKeyUsage, what string, roles []Role) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New(noCertificate)
	}
	cert := state.PeerCertificates[0]
	who, err := own.verify(cert, state.PeerCertificates[1:], c.now())
	if err != nil {
		return err
	}
	return admit(cert, who, usage, what, roles)
}

const noCertificate = "the other side has shown no certificate: give it one with --tls-cert, made by syncline pki issue"
