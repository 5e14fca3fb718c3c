// Package controller is the part of syncline that agents dial and operators ask.
//
// A Controller plans an experiment, starts its lanes on the agents, keeps every
// event they send, and computes timelines from what it kept. Whatever must not be
// lost goes through package store before anyone is told that it is safe; who is
// connected right now stays in memory.
//
// Every controller of a cluster answers; the one that leads has the agents, and runs the
// runs. See DESIGN.md, and reign for what that means.
//
// Shutdown, in order: the leadership is handed over, if there is anybody to take it; the
// runs at work stop, and are left unfinished for the next leader, or the next start, to end;
// then the streams end, which makes agents go to the next leader, or end their parts and
// keep what they recorded; then the store closes, after the last one that could
// write to it; the port it shares with the other controllers closes last.
package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"syncline/controller/archive"
	"syncline/controller/peer"
	"syncline/controller/port"
	"syncline/controller/store"
	"syncline/proto/identity"
	synclinev1 "syncline/proto/syncline/v1"
)

// Protocol is the newest version of the agents' protocol that this controller speaks.
//
//	1  the first
//	2  chunks of version 4; Arm says which repetition comes next
//	3  chunks of version 5; clock probes, and what happens to the clocks of a host
//	4  control streams that go on where they broke, and leases; what an earlier start of
//	   an agent has left
const Protocol = 4

// oldestProtocol is the oldest version that it speaks. An agent of version 2 takes part in
// runs without clock probes.
const oldestProtocol = 2

// heartbeat is how often agents say that they live.
const heartbeat = 2 * time.Second

// unansweredLimit is how many of them in a row go without an answer before an agent takes
// this controller for gone, and looks for the next leader: within 8 s. A lease is longer.
const unansweredLimit = 3

// stopLimit bounds the polite part of a shutdown.
const stopLimit = 3 * time.Second

// Config is what a controller is told at its start.
type Config struct {
	// Dir holds all that the controller keeps.
	Dir     string
	Version string
	// Lease is how long agents go on with a run without word of the controller, and how
	// long a run waits for an agent that was lost; 0 is 15 s.
	Lease time.Duration
	// Identity is the controller's certificate, by which it knows its callers over TCP. Who may open
	// the file of a Unix socket that it serves on is an operator.
	Identity *identity.Credentials
	// Dev is in the place of Identity: plain text, on loopback addresses and Unix sockets only,
	// and nobody is asked who he is.
	Dev bool
	// Advertise is where the other controllers of the cluster reach this one, HOST:PORT; "":
	// this one stands alone. Dir must have been given to a cluster before, see
	// store.BeginCluster and store.JoinCluster.
	Advertise string
	// Listener is the port that agents, operators and, with Advertise, the other controllers
	// dial. Nil: only those of Serve. The controller closes it.
	Listener net.Listener
	// Election and Promotion are as in store.Config.
	Election  time.Duration
	Promotion store.Promotion
	// Log must not be nil.
	Log *slog.Logger
	// Archive is the URL of the bucket that runs are put into, see package archive; "": there
	// is none.
	Archive string
	// Quota is how many bytes the chunks of all runs may have together before the oldest
	// leave, into the archive or for good; 0: as many as there are.
	Quota uint64
	// CacheBytes is how much of archived runs is kept at hand on this node; 0:
	// archive.DefaultCacheBytes.
	CacheBytes int64
}

// Controller keeps the lab. Make it with Open, then call Serve once.
type Controller struct {
	cfg      Config
	store    *store.Store
	sessions *sessions
	records  *records
	shelf    *shelf
	keeping  *retention
	// archiving holds one token: that of whoever archives a run.
	archiving chan struct{}
	// checking holds a token for each chunk of events that is looked through: there are no more than
	// processors, however many agents send.
	checking  chan struct{}
	readiness *readiness
	metrics   *metrics

	// life ends when Serve's context does.
	life    context.Context
	endLife context.CancelFunc
	working sync.WaitGroup
	// serving is closed, by served, when agents may come for the first time.
	serving chan struct{}
	served  sync.Once
	// peers are the other controllers; port is what this node shares with them. Both are nil
	// where there are none.
	peers *peer.Client
	port  *port.Port
	// portEnded is closed when the port accepts no more, and has an error before if that was
	// not wanted. It is nil where there is no port.
	portEnded chan error

	// creating makes the look for busy agents and the start of a run one step.
	creating sync.Mutex

	mu sync.Mutex
	// reign is nil while this node does not lead.
	reign   *reign
	runners map[string]*runner
	// listeners are of the sessions of clock probes that belong to no run.
	listeners []*probeListener
	closing   bool
}

// Open opens what the controller keeps. The caller must call Serve or Close.
func Open(cfg Config) (*Controller, error) {
	if cfg.Archive != "" {
		if err := archive.CheckURL(cfg.Archive); err != nil {
			return nil, err
		}
	}
	if cfg.CacheBytes == 0 {
		cfg.CacheBytes = archive.DefaultCacheBytes
	}
	switch {
	case cfg.Dev == (cfg.Identity != nil):
		return nil, errors.New("a controller has either a certificate or --dev, plain text on this machine alone")
	case cfg.Identity != nil:
		if err := cfg.Identity.Require(identity.Controller); err != nil {
			return nil, err
		}
	}
	if cfg.Lease <= 0 {
		cfg.Lease = defaultLease
	}
	c := &Controller{sessions: newSessions(), runners: map[string]*runner{}, archiving: make(chan struct{}, 1), checking: make(chan struct{}, runtime.GOMAXPROCS(0)), serving: make(chan struct{})}
	c.metrics = newMetrics(c)
	storeConfig, err := c.storeConfig(cfg)
	if err != nil {
		return nil, err
	}
	// The port has to accept before the store can reach the others.
	c.open()
	st, err := store.Open(storeConfig)
	if err != nil {
		return nil, errors.Join(err, c.closePort())
	}
	if cfg.Advertise == "" && !st.Alone() {
		err := fmt.Errorf("%s is of node %s, which is one of several controllers of cluster %s and would wait for the others for ever: start it with --advertise HOST:PORT, where they reach it",
			cfg.Dir, st.ID(), st.Identity().Cluster)
		return nil, errors.Join(err, st.Close())
	}
	// Logs of several nodes are read together.
	cfg.Log = cfg.Log.With("node", st.ID())
	cache, err := archive.OpenCache(filepath.Join(cfg.Dir, "cache"), cfg.CacheBytes)
	if err != nil {
		return nil, errors.Join(err, st.Close(), c.closePort())
	}
	c.cfg, c.store = cfg, st
	c.life, c.endLife = context.WithCancel(context.Background())
	c.shelf = newShelf(c.life, st, cache, cfg.Archive, cfg.Version)
	c.records = newRecords(c.shelf, cfg.Version)
	c.keeping = &retention{controller: c, quota: cfg.Quota, log: cfg.Log}
	c.readiness = &readiness{probe: c.ready, log: cfg.Log, life: c.life}
	return c, nil
}

// Close closes the store of a controller that never served.
func (c *Controller) Close() error {
	c.endLife()
	return errors.Join(c.shelf.close(), c.store.Close(), c.closePort())
}

// Serve answers agents and operators on all listeners, and Config.Listener, until ctx is
// done or one of them fails; it closes them and the store before it returns. Runs that an
// earlier leader left unfinished are brought to an honest end when this node leads.
func (c *Controller) Serve(ctx context.Context, listeners ...net.Listener) error {
	server, err := c.prepare(listeners)
	if err != nil {
		for _, l := range listeners {
			err = errors.Join(err, l.Close())
		}
		return errors.Join(err, c.Close())
	}
	switch {
	case c.port != nil:
		listeners = append(listeners, c.port.GRPC())
	case c.cfg.Listener != nil:
		listeners = append(listeners, c.cfg.Listener)
	}
	leading := make(chan error, 1)
	c.working.Go(func() { leading <- c.store.Lead(c.life, c.lead) })
	c.working.Go(func() { c.keeping.run(c.life) })
	c.working.Go(func() { c.keepLeases(c.life) })
	group, ctx := errgroup.WithContext(ctx)
	for _, l := range listeners {
		group.Go(func() error {
			// Who stands alone leads in a moment, and nobody needs to hear that it does not yet.
			if c.port == nil && !c.awaitServing(ctx) {
				return l.Close()
			}
			if err := server.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
				return fmt.Errorf("serve on %s: %w", l.Addr(), err)
			}
			return nil
		})
	}
	group.Go(func() error { return c.end(ctx, server, leading) })
	return errors.Join(group.Wait(), c.shelf.close(), c.store.Close(), c.closePort())
}

// awaitServing reports whether this node came to lead, before ctx was done or the store failed.
func (c *Controller) awaitServing(ctx context.Context) bool {
	select {
	case <-c.serving:
		return true
	case <-c.store.Failed():
	case <-ctx.Done():
	}
	return false
}

// end shuts the server down when it is time to, and says why if nobody wanted it.
func (c *Controller) end(ctx context.Context, server *grpc.Server, leading <-chan error) error {
	var cause error
	select {
	case <-ctx.Done():
	case <-c.store.Failed():
		cause = fmt.Errorf("the store failed, and nothing can be kept any more: %w", c.store.Err())
	case cause = <-leading:
		if err := c.store.Err(); err != nil {
			cause = fmt.Errorf("the store failed, and nothing can be kept any more: %w", err)
		}
	case cause = <-c.portEnded:
	}
	c.shutdown(server)
	return cause
}

// open begins to accept on the port that is shared with the other controllers.
func (c *Controller) open() {
	if c.port == nil {
		return
	}
	c.portEnded = make(chan error, 1)
	go func() {
		defer close(c.portEnded)
		if err := c.port.Run(); err != nil {
			c.portEnded <- err
		}
	}()
}

// closePort closes what is shared with the other controllers, after the last one that uses it.
func (c *Controller) closePort() error {
	if c.port == nil {
		return nil
	}
	err := errors.Join(c.port.Close(), c.peers.Close())
	// An error of it was taken before, or is of no interest any more.
	for range c.portEnded {
	}
	return err
}

// prepare makes the server. Nothing is served yet.
func (c *Controller) prepare(listeners []net.Listener) (*grpc.Server, error) {
	if c.cfg.Dev {
		if c.cfg.Listener != nil {
			listeners = append(listeners, c.cfg.Listener)
		}
		for _, l := range listeners {
			if err := identity.CheckDev(l.Addr()); err != nil {
				return nil, err
			}
		}
	}
	server := c.server()
	served := server.GetServiceInfo()
	return server, errors.Join(checkAccess(served), checkAnswers(served))
}

// stopped is what callers are told when the controller ends: the cause, if it is not
// that somebody wanted it to.
func (c *Controller) stopped() error {
	if err := c.store.Err(); err != nil {
		return status.Errorf(codes.Unavailable, "the controller stops, because its store failed: %v", err)
	}
	if err := c.leads(); err != nil {
		return err
	}
	return status.Error(codes.Unavailable, "the controller is shutting down")
}

func (c *Controller) shutdown(server *grpc.Server) {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	// The others then need not notice first that this one is gone.
	c.store.HandOver()
	c.endLife()
	c.working.Wait()
	c.sessions.end()
	stopped := make(chan struct{})
	go func() { server.GracefulStop(); close(stopped) }()
	select {
	case <-stopped:
	case <-time.After(stopLimit):
		server.Stop()
		<-stopped
	}
}

// handshakeLimit bounds how long a stranger can keep a connection that says nothing.
const handshakeLimit = 5 * time.Second

// maxHeaders bounds the headers of a call; ours have some hundred bytes.
const maxHeaders = 16 << 10

func (c *Controller) server() *grpc.Server {
	creds, guard := identity.Dev(), guard{log: c.cfg.Log}
	if !c.cfg.Dev {
		creds = c.cfg.Identity.Server()
	}
	server := grpc.NewServer(
		grpc.Creds(creds),
		grpc.ConnectionTimeout(handshakeLimit),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.ChainUnaryInterceptor(guard.unary, c.answerUnary),
		grpc.ChainStreamInterceptor(guard.stream, c.answerStream),
		// The agents' keepalive is every 10 s, idle or not; dead agents are noticed
		// within 15 s.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
		grpc.MaxRecvMsgSize(maxSightsMessage),
		grpc.ForceServerCodecV2(newBoundedCodec()),
		grpc.MaxConcurrentStreams(1000),
	)
	c.peerServer().Register(server)
	synclinev1.RegisterClusterServiceServer(server, &clusterService{controller: c})
	synclinev1.RegisterLinkServiceServer(server, &linkService{controller: c})
	synclinev1.RegisterRunServiceServer(server, &runService{runReader: runReader{records: c.records}, controller: c})
	synclinev1.RegisterAgentServiceServer(server, &agentService{controller: c})
	synclinev1.RegisterTimelineServiceServer(server, &timelineService{timelineReader: timelineReader{records: c.records}, controller: c})
	healthv1.RegisterHealthServer(server, newHealthService(c, server))
	reflection.Register(server)
	return server
}

// runner finds the goroutine of a run; nil if none works on it.
func (c *Controller) runner(id string) *runner {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.runners[id]
}

// busy names the unfinished run an agent plays in, "" if none. A run that is sealed
// has its agents a moment longer, until its goroutine has released them; whoever saw
// the seal may start the next run at once, so that moment is waited for.
func (c *Controller) busy(ctx context.Context, agent string) string {
	for {
		id, over := c.player(agent)
		if over == nil {
			return ""
		}
		if run, ok := c.store.Run(id); !ok || !run.State.Final() {
			return id
		}
		select {
		case <-over:
		case <-ctx.Done():
			return id
		}
	}
}

// player finds the run whose goroutine has an agent, and the channel that is closed
// when it has let go of it; nil if none has.
func (c *Controller) player(agent string) (id string, over <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, r := range c.runners {
		if r.plays(agent) {
			return id, r.over
		}
	}
	return "", nil
}

// tell brings news of an agent to every run it plays in, and to the session of clock probes
// that they are of.
func (c *Controller) tell(n news) {
	c.tellListeners(n)
	c.tellRuns(n)
}

func (c *Controller) tellListeners(n news) {
	c.mu.Lock()
	var listening []*probeListener
	for _, l := range c.listeners {
		if l.concerns(n) {
			listening = append(listening, l)
		}
	}
	c.mu.Unlock()
	for _, l := range listening {
		select {
		case l.inbox <- n:
		case <-l.over:
		}
	}
}

func (c *Controller) tellRuns(n news) {
	c.mu.Lock()
	var concerned []*runner
	for _, r := range c.runners {
		if r.plays(n.agent) {
			concerned = append(concerned, r)
		}
	}
	c.mu.Unlock()
	for _, r := range concerned {
		r.hear(n)
	}
}
