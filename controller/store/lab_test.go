package store

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"syncline/controller/port"
	"syncline/proto/identity"
)

// cluster is nodes on loopback, each in a directory of its own, on TLS over TCP through a port
// that they would share with gRPC. Between each two is a wire that a test may cut.
type cluster struct {
	t     testing.TB
	dirs  []string
	peers []Peer
	nodes []*Store
	ports []*port.Port
	pki   *testPKI
	wires *wires
	// tune changes the Config of nodes that are started.
	tune func(i int, cfg *Config)

	serving sync.WaitGroup
	// mu guards nodes, which the test's goroutine alone changes.
	mu sync.Mutex
}

const (
	clusterElection = 500 * time.Millisecond
	// patience is how long a test waits for what should come much sooner.
	patience = 30 * time.Second
)

// newCluster begins a cluster with one node, lets the others join, and waits until all vote.
func newCluster(t testing.TB, n int) *cluster { return newTunedCluster(t, n, nil) }

func newTunedCluster(t testing.TB, n int, tune func(i int, cfg *Config)) *cluster {
	t.Helper()
	if t, ok := t.(*testing.T); ok {
		// Such tests wait more than they work.
		t.Parallel()
	}
	c := &cluster{t: t, pki: newTestPKI(t), wires: newWires(), tune: tune}
	t.Cleanup(c.close)
	for range n {
		c.add()
	}
	c.start(0)
	c.leader()
	for i := 1; i < n; i++ {
		c.join(i)
	}
	c.voters(n)
	return c
}

// add makes a directory and an address for one more node, and returns its number.
func (c *cluster) add() int {
	c.t.Helper()
	l := must[net.Listener](c.t)(net.Listen("tcp", "127.0.0.1:0"))
	address := l.Addr().String()
	l.Close()
	i := len(c.nodes)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dirs = append(c.dirs, c.t.TempDir())
	c.peers = append(c.peers, Peer{ID: fmt.Sprint("n", i+1), Address: address})
	c.nodes, c.ports = append(c.nodes, nil), append(c.ports, nil)
	return i
}

// config is that of a node whose port listens already.
func (c *cluster) config(i int) Config {
	c.t.Helper()
	l := must[net.Listener](c.t)(listenAgain(c.peers[i].Address))
	p := port.New(l, port.Config{TLS: c.pki.server(c.peers[i].ID)})
	c.ports[i] = p
	c.serving.Go(func() { p.Run() })
	cfg := Config{
		Dir: c.dirs[i], ID: c.peers[i].ID, Election: clusterElection, Cluster: c.pki.cluster, Version: "test",
		Log:       testLog(c.t).With("node", c.peers[i].ID),
		Promotion: Promotion{Stable: 50 * time.Millisecond},
		Network: &Network{
			Listener: p.Raft(), Address: c.peers[i].Address, Node: c.pki.node,
			Dial: func(ctx context.Context, address string) (net.Conn, error) { return c.dial(ctx, i, address) },
		},
		Others: others{c, i},
	}
	if c.tune != nil {
		c.tune(i, &cfg)
	}
	return cfg
}

// listenAgain listens where a node listened before, whose connections may still be going away.
func listenAgain(address string) (net.Listener, error) {
	deadline := time.Now().Add(5 * time.Second)
	for {
		l, err := net.Listen("tcp", address)
		if err == nil || time.Now().After(deadline) {
			return l, err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (c *cluster) start(i int) *Store {
	c.t.Helper()
	s := must[*Store](c.t)(Open(c.config(i)))
	c.set(i, s)
	return s
}

// join lets the leader take node i in, and starts it.
func (c *cluster) join(i int) {
	c.t.Helper()
	if err := c.tryJoin(i); err != nil {
		c.t.Fatal(err)
	}
	c.start(i)
}

func (c *cluster) tryJoin(i int) error {
	id, err := Identify(c.dirs[i], c.peers[i].ID)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	var name string
	err = c.onLeader(ctx, func(s *Store) (err error) {
		name, err = s.Join(ctx, Node{ID: id.Node, Disk: id.Disk, Address: c.peers[i].Address, EntryVersion: entryVersion})
		return err
	})
	if err != nil {
		return err
	}
	return JoinCluster(c.dirs[i], name)
}

// onLeader does something on the leader, and again if that was not the leader after all.
func (c *cluster) onLeader(ctx context.Context, do func(*Store) error) error {
	for {
		err := error(ErrNotLeader)
		for _, s := range c.all() {
			if s != nil && s.Leading() {
				if err = do(s); err == nil {
					return nil
				}
			}
		}
		if ctx.Err() != nil || !errors.Is(err, ErrNotLeader) && !errors.Is(err, ErrUnknownOutcome) && !errors.Is(err, ErrBusy) {
			return err
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (c *cluster) all() []*Store {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.nodes)
}

// append keeps a chunk on whichever node leads, as an agent does: again until it is acknowledged.
func (c *cluster) append(ch Chunk) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	if err := c.onLeader(ctx, func(s *Store) error { _, err := s.AppendChunk(ctx, ch); return err }); err != nil {
		c.t.Fatal(err)
	}
}

// voters waits until n nodes have a vote.
func (c *cluster) voters(n int) {
	c.t.Helper()
	c.until(fmt.Sprint(n, " nodes have a vote, and all know it"), func() bool {
		for _, s := range c.nodes {
			if s == nil {
				continue
			}
			if servers, _ := s.servers(); len(voters(servers)) != n {
				return false
			}
		}
		return true
	})
}

// until looks until something holds.
func (c *cluster) until(what string, holds func() bool) {
	c.t.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			c.t.Fatalf("after %v it is still not so that %s", patience, what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// leader waits until one of the nodes leads, and has applied all there was.
func (c *cluster) leader() int {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	found := make(chan int, len(c.nodes))
	var wg sync.WaitGroup
	for i, s := range c.nodes {
		if s != nil {
			wg.Go(func() {
				if s.WaitLeader(ctx) == nil {
					found <- i
					cancel()
				}
			})
		}
	}
	wg.Wait()
	select {
	case i := <-found:
		return i
	default:
		c.t.Fatalf("no leader after %v", patience)
		return 0
	}
}

// stop ends a node as SIGTERM does; kill ends it with nothing handed over.
func (c *cluster) stop(i int) { c.end(i, true) }
func (c *cluster) kill(i int) { c.end(i, false) }

func (c *cluster) end(i int, handOver bool) {
	c.t.Helper()
	if c.nodes[i] == nil {
		return
	}
	if !handOver {
		c.ports[i].Close()
	}
	if err := c.nodes[i].end(handOver); err != nil {
		c.t.Errorf("close node %d: %v", i+1, err)
	}
	c.ports[i].Close()
	c.set(i, nil)
}

func (c *cluster) set(i int, s *Store) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[i] = s
}

func (c *cluster) node(i int) *Store {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[i]
}

func (c *cluster) close() {
	c.wires.healAll()
	var wg sync.WaitGroup
	for i, s := range c.nodes {
		if s != nil {
			wg.Go(func() { s.end(false) })
			c.ports[i].Close()
		}
	}
	wg.Wait()
	c.serving.Wait()
}

// number is that of a node by its address.
func (c *cluster) number(address string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.IndexFunc(c.peers, func(p Peer) bool { return p.Address == address })
}

func (c *cluster) dial(ctx context.Context, from int, address string) (net.Conn, error) {
	conn, err := c.wires.dial(ctx, from, c.number(address), address)
	if err != nil {
		return nil, err
	}
	secure := tls.Client(conn, c.pki.client(c.peers[from].ID))
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}

// others asks the nodes of the same process, if there is a wire to them.
type others struct {
	c    *cluster
	from int
}

func (o others) at(of Peer) (*Store, error) {
	i := o.c.number(of.Address)
	if i < 0 || o.c.wires.isCut(o.from, i) || o.c.wires.isCut(i, o.from) {
		return nil, fmt.Errorf("node %s at %s cannot be reached", of.ID, of.Address)
	}
	s := o.c.node(i)
	if s == nil {
		return nil, fmt.Errorf("node %s at %s is not there", of.ID, of.Address)
	}
	return s, nil
}

func (o others) Report(_ context.Context, of Peer) (Report, error) {
	s, err := o.at(of)
	if err != nil {
		return Report{}, err
	}
	return s.Report(), nil
}

func (o others) ReadIndex(ctx context.Context, leader Peer) (uint64, error) {
	s, err := o.at(leader)
	if err != nil {
		return 0, err
	}
	return s.LeaderReadIndex(ctx)
}

// wires are the ways between nodes, each direction on its own. A wire that is cut is a black
// hole: what is written is lost, and nothing arrives, until it is healed, which resets the
// connections, as bytes are missing from them.
type wires struct {
	mu    sync.Mutex
	cuts  map[[2]int]bool
	conns map[*wire]struct{}
}

func newWires() *wires { return &wires{cuts: map[[2]int]bool{}, conns: map[*wire]struct{}{}} }

func (w *wires) isCut(from, to int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cuts[[2]int{from, to}]
}

// cut loses what goes from one node to another.
func (w *wires) cut(from, to int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cuts[[2]int{from, to}] = true
}

func (w *wires) heal(from, to int) {
	w.mu.Lock()
	delete(w.cuts, [2]int{from, to})
	var broken []*wire
	for k := range w.conns {
		if k.lossy && (k.from == from && k.to == to || k.from == to && k.to == from) {
			broken = append(broken, k)
		}
	}
	w.mu.Unlock()
	for _, k := range broken {
		k.Close()
	}
}

func (w *wires) healAll() {
	w.mu.Lock()
	cuts := w.cuts
	w.cuts = map[[2]int]bool{}
	w.mu.Unlock()
	for k := range cuts {
		w.heal(k[0], k[1])
	}
}

// isolate cuts a node from all others, both ways.
func (c *cluster) isolate(i int) {
	for j := range c.nodes {
		if j != i {
			c.wires.cut(i, j)
			c.wires.cut(j, i)
		}
	}
}

func (w *wires) dial(ctx context.Context, from, to int, address string) (net.Conn, error) {
	if w.isCut(from, to) || w.isCut(to, from) {
		// As long as SYNs go unanswered.
		<-ctx.Done()
		return nil, ctx.Err()
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	k := &wire{Conn: conn, of: w, from: from, to: to}
	w.mu.Lock()
	w.conns[k] = struct{}{}
	w.mu.Unlock()
	return k, nil
}

// wire is a connection from the node that dialled.
type wire struct {
	net.Conn
	of       *wires
	from, to int
	lossy    bool // guarded by of.mu
}

// lost reports whether a direction is cut, and remembers that bytes are missing.
func (k *wire) lost(from, to int) bool {
	k.of.mu.Lock()
	defer k.of.mu.Unlock()
	if k.of.cuts[[2]int{from, to}] {
		k.lossy = true
	}
	return k.of.cuts[[2]int{from, to}]
}

func (k *wire) Write(b []byte) (int, error) {
	if k.lost(k.from, k.to) {
		return len(b), nil
	}
	return k.Conn.Write(b)
}

func (k *wire) Read(b []byte) (int, error) {
	for {
		n, err := k.Conn.Read(b)
		if err != nil || !k.lost(k.to, k.from) {
			return n, err
		}
	}
}

func (k *wire) Close() error {
	k.of.mu.Lock()
	delete(k.of.conns, k)
	k.of.mu.Unlock()
	return k.Conn.Close()
}

// testPKI is a CA and the certificates of nodes, named as certificates of the product are.
type testPKI struct {
	t       testing.TB
	cluster string
	ca      *x509.Certificate
	key     *ecdsa.PrivateKey
	pool    *x509.CertPool

	mu    sync.Mutex
	certs map[string]tls.Certificate
}

func newTestPKI(t testing.TB) *testPKI {
	t.Helper()
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))
	ca := must[*x509.Certificate](t)(x509.ParseCertificate(der))
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	return &testPKI{t: t, cluster: "lab", ca: ca, key: key, pool: pool, certs: map[string]tls.Certificate{}}
}

func (p *testPKI) certificate(node string) tls.Certificate {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c, ok := p.certs[node]; ok {
		return c
	}
	key := must[*ecdsa.PrivateKey](p.t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	name := &url.URL{Scheme: "spiffe", Host: p.cluster, Path: "/controller/" + node}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(int64(len(p.certs) + 2)), NotAfter: time.Now().Add(time.Hour), URIs: []*url.URL{name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der := must[[]byte](p.t)(x509.CreateCertificate(rand.Reader, template, p.ca, &key.PublicKey, p.key))
	c := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	p.certs[node] = c
	return c
}

func (p *testPKI) server(node string) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{p.certificate(node)}, ClientCAs: p.pool, ClientAuth: tls.RequireAndVerifyClientCert,
		MinVersion: tls.VersionTLS13, NextProtos: []string{identity.GRPC, identity.Raft},
	}
}

func (p *testPKI) client(node string) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{p.certificate(node)}, MinVersion: tls.VersionTLS13, NextProtos: []string{identity.Raft},
		// The name of the host does not matter: who it is, the URI says.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: p.pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
			return err
		},
	}
}

// node reads the node's name from its certificate.
func (p *testPKI) node(conn net.Conn) (string, error) {
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return "", errors.New("no TLS")
	}
	for _, u := range secure.ConnectionState().PeerCertificates[0].URIs {
		if name, ok := strings.CutPrefix(u.Path, "/controller/"); ok && u.Host == p.cluster {
			return name, nil
		}
	}
	return "", errors.New("no controller of this cluster")
}

// settle waits until a node has n chunks of a run.
func (c *cluster) settle(i int, run string, n uint64) {
	c.t.Helper()
	c.until(fmt.Sprintf("node %d has %d chunks", i+1, n), func() bool {
		r, _ := c.nodes[i].Run(run)
		return r.Chunks == n
	})
}

func (c *cluster) settleSeal(i int, run string) {
	c.t.Helper()
	c.until(fmt.Sprintf("node %d has the seal", i+1), func() bool {
		r, _ := c.nodes[i].Run(run)
		return r.Seal != nil
	})
}

var _ raft.Transport = (*transport)(nil)
