// Package port shares one TCP port between gRPC and raft.
//
// A Port accepts, finishes the TLS handshake, and hands each connection by the protocol that
// was agreed on (ALPN, RFC 7301) to one of two listeners. What strangers can cost is
// bounded: unfinished handshakes in number, in number from one address, and in time. A
// connection that is dropped for one of these limits is counted and never blocks another.
//
// Who may speak what is not decided here but by the tls.Config (see Config.TLS) and by what is
// behind the listeners.
package port

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"syncline/proto/identity"
)

// Config is what a Port needs to know. Zero fields are the defaults.
type Config struct {
	// TLS is for the server's side of each connection; its NextProtos must be identity.GRPC,
	// identity.Raft or both. Nil: plain text, where the first byte tells raft from HTTP/2. Only for a
	// listener that this host alone can reach.
	TLS *tls.Config
	// Handshake is how long a client may take until the protocol is known: 5 s.
	Handshake time.Duration
	// Unfinished bounds the connections whose protocol is not known yet: 64, and 8 from one
	// address.
	Unfinished, UnfinishedPerAddress int
	// Log takes what is refused, at most once a second. Nil: none.
	Log *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Handshake == 0 {
		c.Handshake = 5 * time.Second
	}
	if c.Unfinished == 0 {
		c.Unfinished = 64
	}
	if c.UnfinishedPerAddress == 0 {
		c.UnfinishedPerAddress = 8
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// backlog is how many connections wait for a listener to accept them.
const backlog = 64

// Counts are of connections, since the Port was made.
type Counts struct {
	// Accepted by the kernel; given to gRPC, and to raft.
	Accepted, GRPC, Raft uint64
	// Crowded: dropped since too many handshakes were unfinished. Refused: the handshake
	// failed. Unclaimed: dropped since nobody accepted them.
	Crowded, Refused, Unclaimed uint64
}

// Port shares a listener. Make it with New; Run serves it, and Close ends it.
type Port struct {
	cfg      Config
	listener net.Listener
	grpc     *branch
	raft     *branch
	// stop ends handshakes.
	stop context.Context
	end  context.CancelFunc

	mu         sync.Mutex
	unfinished map[netip.Addr]int
	total      int
	counts     Counts
	logged     time.Time
	// silent counts what was not logged since.
	silent int
}

// New shares l, which Close closes.
func New(l net.Listener, cfg Config) *Port {
	p := &Port{cfg: cfg.withDefaults(), listener: l, unfinished: map[netip.Addr]int{}}
	p.stop, p.end = context.WithCancel(context.Background())
	p.grpc, p.raft = newBranch(l.Addr()), newBranch(l.Addr())
	return p
}

// GRPC is the listener of gRPC. Closing it closes no other part of the port.
func (p *Port) GRPC() net.Listener { return p.grpc }

// Raft is the listener of raft.
func (p *Port) Raft() net.Listener { return p.raft }

// Counts returns the counts so far.
func (p *Port) Counts() Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts
}

// Close ends the port: it accepts no more, drops unfinished handshakes, and closes both
// listeners. Connections that were accepted from them live on. It is idempotent.
func (p *Port) Close() error {
	p.end()
	p.grpc.Close()
	p.raft.Close()
	if err := p.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close the port %s: %w", p.listener.Addr(), err)
	}
	return nil
}

// Run accepts until the port is closed, and returns when every handshake it began has ended.
func (p *Port) Run() error {
	var handshakes sync.WaitGroup
	defer handshakes.Wait()
	defer p.Close()
	var delay time.Duration
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			if p.stop.Err() != nil {
				return nil
			}
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("accept on %s: %w", p.listener.Addr(), err)
			}
			// Out of descriptors, or the client went away: the port itself is sound.
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			p.refuse(nil, fmt.Errorf("accept: %w", err))
			select {
			case <-time.After(delay):
			case <-p.stop.Done():
			}
			continue
		}
		delay = 0
		from, ok := p.begin(conn)
		if !ok {
			conn.Close()
			continue
		}
		handshakes.Go(func() { p.dispatch(conn, from) })
	}
}

// begin takes a place for a handshake, if there is one.
func (p *Port) begin(conn net.Conn) (netip.Addr, bool) {
	from := addressOf(conn)
	p.mu.Lock()
	p.counts.Accepted++
	ok := p.total < p.cfg.Unfinished && p.unfinished[from] < p.cfg.UnfinishedPerAddress
	if ok {
		p.total++
		p.unfinished[from]++
	} else {
		p.counts.Crowded++
	}
	p.mu.Unlock()
	if !ok {
		p.report("too many handshakes are unfinished", conn, nil)
	}
	return from, ok
}

func (p *Port) finish(from netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total--
	if p.unfinished[from]--; p.unfinished[from] == 0 {
		delete(p.unfinished, from)
	}
}

// addressOf is the address that limits count by. IPv6 hosts have a whole /64.
func addressOf(conn net.Conn) netip.Addr {
	ap, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return netip.Addr{} // a unix socket: all its clients are one
	}
	addr := ap.Addr().Unmap().WithZone("")
	if addr.Is6() {
		prefix, err := addr.Prefix(64)
		if err == nil {
			return prefix.Addr()
		}
	}
	return addr
}

// dispatch finishes the handshake and hands the connection on.
func (p *Port) dispatch(conn net.Conn, from netip.Addr) {
	ctx, cancel := context.WithTimeout(p.stop, p.cfg.Handshake)
	defer cancel()
	ready, protocol, err := p.handshake(ctx, conn)
	p.finish(from)
	if err != nil {
		if p.stop.Err() == nil {
			p.refuse(conn, err)
		}
		conn.Close()
		return
	}
	to, count := p.grpc, &p.counts.GRPC
	if protocol == identity.Raft {
		to, count = p.raft, &p.counts.Raft
	}
	// Counted before anybody can have used it.
	p.mu.Lock()
	taken := to.offer(ready)
	if !taken {
		count = &p.counts.Unclaimed
	}
	*count++
	p.mu.Unlock()
	if !taken {
		p.report("nobody accepts it", conn, nil)
		ready.Close()
	}
}

func (p *Port) handshake(ctx context.Context, conn net.Conn) (net.Conn, string, error) {
	if p.cfg.TLS == nil {
		return p.peek(ctx, conn)
	}
	secure := tls.Server(conn, p.cfg.TLS)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, "", fmt.Errorf("TLS handshake: %w", err)
	}
	protocol := secure.ConnectionState().NegotiatedProtocol
	if protocol != identity.GRPC && protocol != identity.Raft {
		return nil, "", fmt.Errorf("the client asked for none of the protocols %q and %q (ALPN)", identity.GRPC, identity.Raft)
	}
	return secure, protocol, nil
}

// raftByte begins each connection for raft, and http2Byte each for gRPC ("PRI * HTTP/2.0", RFC
// 9113, section 3.4).
const (
	raftByte  = 'S'
	http2Byte = 'P'
)

// peek finds out what a client speaks without TLS. Both protocols have the client speak first.
func (p *Port) peek(ctx context.Context, conn net.Conn) (net.Conn, string, error) {
	deadline, _ := ctx.Deadline()
	conn.SetReadDeadline(deadline)
	closing := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	r := bufio.NewReaderSize(conn, 16)
	first, err := r.Peek(1)
	if !closing() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, "", fmt.Errorf("wait for the first byte: %w", err)
	}
	conn.SetReadDeadline(time.Time{})
	peeked := &peekedConn{Conn: conn, r: r}
	switch first[0] {
	case raftByte:
		return peeked, identity.Raft, nil
	case http2Byte:
		return peeked, identity.GRPC, nil
	}
	return nil, "", fmt.Errorf("the first byte is %#02x, which is neither that of HTTP/2 nor that of raft; this port speaks plain text, and a client that begins with TLS (0x16) has to be told so", first[0])
}

// peekedConn gives the peeked bytes first.
type peekedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *peekedConn) Read(b []byte) (int, error) {
	if c.r.Buffered() > 0 {
		return c.r.Read(b)
	}
	return c.Conn.Read(b)
}

func (p *Port) refuse(conn net.Conn, err error) {
	p.mu.Lock()
	p.counts.Refused++
	p.mu.Unlock()
	p.report("refused", conn, err)
}

// report logs what happened to a connection, at most once a second: strangers must not fill the
// disk.
func (p *Port) report(what string, conn net.Conn, err error) {
	p.mu.Lock()
	now := time.Now()
	if now.Sub(p.logged) < time.Second {
		p.silent++
		p.mu.Unlock()
		return
	}
	silent := p.silent
	p.logged, p.silent = now, 0
	p.mu.Unlock()
	args := []any{"reason", what, "port", p.listener.Addr().String(), "others", silent}
	if conn != nil {
		args = append(args, "from", conn.RemoteAddr().String())
	}
	if err != nil {
		args = append(args, "error", err)
	}
	p.cfg.Log.Warn("a connection is dropped", args...)
}

// branch is one of the two listeners.
type branch struct {
	addr   net.Addr
	queue  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func newBranch(addr net.Addr) *branch {
	return &branch{addr: addr, queue: make(chan net.Conn, backlog), closed: make(chan struct{})}
}

// offer hands a connection over, unless the listener is closed or too many wait.
func (b *branch) offer(conn net.Conn) bool {
	select {
	case <-b.closed:
		return false
	default:
	}
	select {
	case b.queue <- conn:
	default:
		return false
	}
	select {
	case <-b.closed:
		// Close may have emptied the queue before.
		b.empty()
	default:
	}
	return true
}

// Accept returns the next connection, its handshake done.
func (b *branch) Accept() (net.Conn, error) {
	select {
	case <-b.closed:
		return nil, net.ErrClosed
	default:
	}
	select {
	case conn := <-b.queue:
		return conn, nil
	case <-b.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and drops what waits. It is idempotent.
func (b *branch) Close() error {
	b.once.Do(func() { close(b.closed) })
	b.empty()
	return nil
}

func (b *branch) empty() {
	for {
		select {
		case conn := <-b.queue:
			conn.Close()
		default:
			return
		}
	}
}

// Addr is that of the shared listener.
func (b *branch) Addr() net.Addr { return b.addr }
