package identity

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
)

// Server gives a gRPC server what it needs to know its callers; CallerOf tells of
// each call. Of connections:
//
//   - over TCP, it makes the handshake with ServerConfig(GRPCProtocol);
//   - a *tls.Conn, or what wraps one, stays as it is: a listener of several protocols has made
//     its handshake;
//   - over a Unix socket, it stays in plain text. Who may open the socket's file is an operator:
//     permissions of files are what says who he is, and his name is SocketPrefix and his uid.
//
// Callers who are refused are logged: ten, and then one a second.
func (c *Credentials) Server() credentials.TransportCredentials {
	return &serverCredentials{own: c, config: c.ServerConfig(GRPCProtocol), refused: &refusals{log: c.log}}
}

// SocketPrefix begins the names of operators who come over a Unix socket; nobody is issued
// a certificate with such a name.
const SocketPrefix = "uid-"

type serverCredentials struct {
	own     *Credentials
	config  *tls.Config
	refused *refusals
}

// ServerHandshake is called by gRPC with a deadline set on the connection.
func (s *serverCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if socket, ok := raw.(*net.UnixConn); ok {
		who := Identity{Cluster: s.own.Identity().Cluster, Role: Operator, Name: userOf(socket)}
		return raw, infoOf(Caller{Identity: who}), nil
	}
	conn, ok := raw.(secured)
	if !ok {
		conn = tls.Server(raw, s.config)
	}
	info, err := s.shake(conn)
	if err != nil {
		s.refused.tell(raw.RemoteAddr(), err)
		return nil, nil, errors.Join(err, shut(raw))
	}
	return conn, info, nil
}

// secured is what is asked of a *tls.Conn.
type secured interface {
	net.Conn
	Handshake() error
	ConnectionState() tls.ConnectionState
}

func (s *serverCredentials) shake(conn secured) (credentials.AuthInfo, error) {
	if err := conn.Handshake(); err != nil {
		return nil, s.own.Explain(err)
	}
	return peerOf(conn)
}

// peerOf is who a handshake found at the other end.
func peerOf(conn secured) (credentials.AuthInfo, error) {
	state := conn.ConnectionState()
	if state.NegotiatedProtocol != GRPC {
		return nil, fmt.Errorf("a connection for %q came to gRPC", state.NegotiatedProtocol)
	}
	if len(state.PeerCertificates) == 0 {
		return nil, errors.New(noCertificate)
	}
	cert := state.PeerCertificates[0]
	who, err := FromCertificate(cert)
	if err != nil {
		return nil, err
	}
	return infoOf(Caller{Identity: who, Expires: cert.NotAfter}), nil
}

func infoOf(caller Caller) authInfo {
	level := credentials.PrivacyAndIntegrity
	if caller.Dev {
		level = credentials.NoSecurity
	}
	return authInfo{credentials.CommonAuthInfo{SecurityLevel: level}, caller}
}

func (s *serverCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("identity: the credentials of a server do not dial")
}

func (s *serverCredentials) Info() credentials.ProtocolInfo          { return tlsInfo }
func (s *serverCredentials) Clone() credentials.TransportCredentials { clone := *s; return &clone }
func (s *serverCredentials) OverrideServerName(string) error         { return errNoNames }

var (
	tlsInfo    = credentials.ProtocolInfo{SecurityProtocol: "tls"}
	errNoNames = errors.New("identity: names of hosts are not looked at")
)

// refusals logs who is refused: ten, and then one a second, so that a flood of strangers
// cannot fill a disk. Safe for concurrent use.
type refusals struct {
	log *slog.Logger
	mu  sync.Mutex
	// paid is until when lines are paid for; each costs a second, of which ten are lent.
	paid    time.Time
	skipped int
}

func (r *refusals) tell(from net.Addr, cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if r.paid.Before(now) {
		r.paid = now
	}
	if r.paid.Sub(now) > 9*time.Second {
		r.skipped++
		return
	}
	r.paid = r.paid.Add(time.Second)
	level := slog.LevelWarn
	if errors.Is(cause, io.EOF) {
		// Somebody looked if the port is open.
		level = slog.LevelDebug
	}
	r.log.Log(context.Background(), level, "a caller was refused", "from", from.String(), "cause", cause, "others_not_told", r.skipped)
	r.skipped = 0
}

// Client gives a gRPC client the handshake with a controller of the cluster: TLS, as
// ClientConfig(GRPC) has it.
func (c *Credentials) Client() credentials.TransportCredentials {
	return &clientCredentials{own: c, config: c.ClientConfig(GRPC)}
}

type clientCredentials struct {
	own    *Credentials
	config *tls.Config
}

// ClientHandshake ends when the server has spoken. In TLS 1.3 the client is done before
// the server has looked at its certificate (RFC 8446, 2); what it writes then to one that
// has refused it would be answered with a RST, and the reason could be lost. A server of
// HTTP/2 speaks without being asked (RFC 9113, 3.4), and gRPC would wait for that anyway.
func (d *clientCredentials) ClientHandshake(ctx context.Context, _ string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn := tls.Client(raw, d.config)
	first, err := greet(ctx, conn)
	if err != nil {
		return nil, nil, errors.Join(d.own.Explain(err), shut(raw))
	}
	info, err := peerOf(conn)
	if err != nil {
		return nil, nil, errors.Join(err, shut(raw))
	}
	return &greeted{conn, first}, info, nil
}

// shut closes a connection, unless the handshake has done so when its time was over.
func shut(conn net.Conn) error {
	if err := conn.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// greet makes the handshake and waits for the first bytes of the server.
func greet(ctx context.Context, conn *tls.Conn) (first []byte, err error) {
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	// A deadline in the past ends the Read (package net).
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	first = make([]byte, 512)
	n, err := conn.Read(first)
	if !stop() {
		return nil, errors.Join(ctx.Err(), err)
	}
	return first[:n], err
}

// greeted is a connection of which the first bytes have been read. Reads are made by one
// goroutine, as gRPC makes them.
type greeted struct {
	*tls.Conn
	first []byte
}

func (g *greeted) Read(b []byte) (int, error) {
	if len(g.first) > 0 {
		n := copy(b, g.first)
		g.first = g.first[n:]
		return n, nil
	}
	return g.Conn.Read(b)
}

func (d *clientCredentials) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("identity: the credentials of a client do not serve")
}

func (d *clientCredentials) Info() credentials.ProtocolInfo          { return tlsInfo }
func (d *clientCredentials) Clone() credentials.TransportCredentials { clone := *d; return &clone }
func (d *clientCredentials) OverrideServerName(string) error         { return errNoNames }
