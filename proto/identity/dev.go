package identity

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"google.golang.org/grpc/credentials"
)

// Dev is plain text between processes of one machine, for development and tests: nobody
// shows who he is. Both ends refuse a connection that is not between two loopback
// addresses or over a Unix socket, whatever address they were told.
func Dev() credentials.TransportCredentials { return plain{} }

// Socket is for operators on the controller's own host: plain text over a Unix socket, whose
// file's permissions say who may open it. It refuses everything else.
func Socket() credentials.TransportCredentials { return plain{socketOnly: true} }

type plain struct{ socketOnly bool }

func (p plain) ClientHandshake(_ context.Context, _ string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := p.shake(conn)
	if err != nil {
		return nil, nil, err
	}
	return &plainConn{Conn: conn}, info, nil
}

// plainConn knows what a server of TLS does with plain text: it hangs up without a word.
// One of HTTP/2 speaks at once (RFC 9113, 3.4).
type plainConn struct {
	net.Conn
	heard bool
}

func (c *plainConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.heard = true
	}
	if err != nil && !c.heard && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, net.ErrClosed) {
		err = fmt.Errorf("the other side hangs up on plain text (%w): if it speaks TLS, give a certificate with --tls-cert and leave out --dev", err)
	}
	return n, err
}

func (p plain) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return p.shake(conn)
}

func (p plain) shake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if err := p.check(conn); err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	return conn, infoOf(Caller{Dev: true}), nil
}

func (p plain) check(conn net.Conn) error {
	if p.socketOnly {
		if _, ok := conn.(*net.UnixConn); !ok {
			return fmt.Errorf("%v is no Unix socket, and nothing but a Unix socket is without TLS: give a certificate with --tls-cert", conn.RemoteAddr())
		}
		return nil
	}
	for _, a := range []net.Addr{conn.LocalAddr(), conn.RemoteAddr()} {
		if err := CheckDev(a); err != nil {
			return err
		}
	}
	return nil
}

// CheckDev refuses addresses that plain text must not be spoken on.
func CheckDev(a net.Addr) error {
	switch a := a.(type) {
	case *net.UnixAddr:
		return nil
	case *net.TCPAddr:
		if a.IP.IsLoopback() {
			return nil
		}
	}
	return fmt.Errorf("--dev is plain text, and for loopback addresses and Unix sockets only, which %v is not: leave --dev out and give a certificate with --tls-cert", a)
}

func (plain) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "insecure"}
}
func (p plain) Clone() credentials.TransportCredentials { return p }
func (plain) OverrideServerName(string) error           { return errNoNames }
