// Package controller is the part of syncline that agents dial and operators ask.
//
// A Controller plans an experiment, starts its lanes on the agents, keeps every
// event they send, and computes timelines from what it kept. Whatever must not be
// lost goes through package store before anyone is told that it is safe; who is
// connected right now stays in memory.
//
// Shutdown, in order: the runs at work stop first, and are left unfinished for the
// next start to end; then the streams end, which makes agents end their parts and
// keep what they recorded; then the store closes, after the last one that could
// write to it.
package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
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
	"syncline/controller/store"
	"syncline/proto/identity"
	synclinev1 "syncline/proto/syncline/v1"
)

// Protocol is the newest version of the agents' protocol that this controller speaks.
//
//	1  the first
//	2  chunks of version 4; Arm says which repetition comes next
//	3  chunks of version 5; clock probes, and what happens to the clocks of a host
const Protocol = 3

// oldestProtocol is the oldest version that it speaks. An agent of version 2 takes part in
// runs without clock probes.
const oldestProtocol = 2

// heartbeat is how often agents say that they live.
const heartbeat = 2 * time.Second

// stopLimit bounds the polite part of a shutdown.
const stopLimit = 3 * time.Second

// Config is what a controller is told at its start.
type Config struct {
	// Dir holds all that the controller keeps.
	Dir     string
	Version string
	// Identity is the controller's certificate, by which it knows its callers over TCP. Who may open
	// the file of a Unix socket that it serves on is an operator.
	Identity *identity.Credentials
	// Dev is in the place of Identity: plain text, on loopback addresses and Unix sockets only,
	// and nobody is asked who he is.
	Dev bool
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
	readiness *readiness
	metrics   *metrics

	// life is the context of runs; it ends when Serve's does.
	life    context.Context
	endLife context.CancelFunc
	working sync.WaitGroup

	// creating makes the look for busy agents and the start of a run one step.
	creating sync.Mutex

	mu      sync.Mutex
	runners map[string]*runner
	// listeners are of the sessions of clock probes that belong to no run.
	listeners []*probeListener
	closing   bool
}

// Open opens what the controller keeps. The caller must call Serve or Close.
func Open(cfg Config) (*Controller, error) {
	switch {
	case cfg.Dev == (cfg.Identity != nil):
		return nil, errors.New("a controller has either a certificate or --dev, plain text on this machine alone")
	case cfg.Identity != nil:
		if err := cfg.Identity.Require(identity.Controller); err != nil {
			return nil, err
		}
	}
	if cfg.Archive != "" {
		if err := archive.CheckURL(cfg.Archive); err != nil {
			return nil, err
		}
	}
	if cfg.CacheBytes == 0 {
		cfg.CacheBytes = archive.DefaultCacheBytes
	}
	c := &Controller{sessions: newSessions(), runners: map[string]*runner{}, archiving: make(chan struct{}, 1)}
	c.metrics = newMetrics(c)
	st, err := store.Open(store.Config{Dir: cfg.Dir, Log: cfg.Log, Wrote: func(took time.Duration) { c.metrics.logWrites.Observe(took.Seconds()) }})
	if err != nil {
		return nil, err
	}
	// Logs of several nodes are read together.
	cfg.Log = cfg.Log.With("node", st.ID())
	cache, err := archive.OpenCache(filepath.Join(cfg.Dir, "cache"), cfg.CacheBytes)
	if err != nil {
		return nil, errors.Join(err, st.Close())
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
	return errors.Join(c.shelf.close(), c.store.Close())
}

// Serve answers agents and operators on all listeners until ctx is done or one of
// them fails; it closes them and the store before it returns. Runs that an earlier
// controller left unfinished are brought to an honest end.
func (c *Controller) Serve(ctx context.Context, listeners ...net.Listener) error {
	server, err := c.prepare(ctx, listeners)
	if err != nil {
		for _, l := range listeners {
			err = errors.Join(err, l.Close())
		}
		return errors.Join(err, c.Close())
	}
	c.resume()
	c.working.Go(func() { c.keeping.run(c.life) })
	group, ctx := errgroup.WithContext(ctx)
	for _, l := range listeners {
		group.Go(func() error {
			if err := server.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
				return fmt.Errorf("serve on %s: %w", l.Addr(), err)
			}
			return nil
		})
	}
	group.Go(func() error {
		select {
		case <-ctx.Done():
		case <-c.store.Failed():
			c.shutdown(server)
			return fmt.Errorf("the store failed, and nothing can be kept any more: %w", c.store.Err())
		}
		c.shutdown(server)
		return nil
	})
	return errors.Join(group.Wait(), c.shelf.close(), c.store.Close())
}

// prepare makes the server, and waits until the store can commit. Nothing is served yet.
func (c *Controller) prepare(ctx context.Context, listeners []net.Listener) (*grpc.Server, error) {
	if c.cfg.Dev {
		for _, l := range listeners {
			if err := identity.CheckDev(l.Addr()); err != nil {
				return nil, err
			}
		}
	}
	server := c.server()
	if err := checkAccess(server.GetServiceInfo()); err != nil {
		return nil, err
	}
	if err := c.store.WaitLeader(ctx); err != nil {
		return nil, fmt.Errorf("wait until the store can commit: %w", err)
	}
	return server, nil
}

// stopped is what callers are told when the controller ends: the cause, if it is not
// that somebody wanted it to.
func (c *Controller) stopped() error {
	if err := c.store.Err(); err != nil {
		return status.Errorf(codes.Unavailable, "the controller stops, because its store failed: %v", err)
	}
	return status.Error(codes.Unavailable, "the controller is shutting down")
}

func (c *Controller) shutdown(server *grpc.Server) {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
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
		grpc.UnaryInterceptor(guard.unary),
		grpc.StreamInterceptor(guard.stream),
		// The agents' keepalive is every 10 s, idle or not; dead agents are noticed
		// within 15 s.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
		grpc.MaxRecvMsgSize(maxSightsMessage),
		grpc.ForceServerCodecV2(newBoundedCodec()),
		grpc.MaxConcurrentStreams(1000),
	)
	synclinev1.RegisterLinkServiceServer(server, &linkService{controller: c})
	synclinev1.RegisterRunServiceServer(server, &runService{runReader: runReader{records: c.records}, controller: c})
	synclinev1.RegisterAgentServiceServer(server, &agentService{controller: c})
	synclinev1.RegisterTimelineServiceServer(server, &timelineService{timelineReader: timelineReader{records: c.records}, controller: c})
	healthv1.RegisterHealthServer(server, newHealthService(c, server))
	reflection.Register(server)
	return server
}

// resume brings runs that no one works on any more to an end.
func (c *Controller) resume() {
	for _, r := range c.store.Runs() {
		if !r.State.Final() {
			c.launch(newRunner(c, r, nil), (*runner).bury)
		}
	}
}

// launch gives a run its goroutine. It fails if the controller is closing.
func (c *Controller) launch(r *runner, life func(*runner, context.Context)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return false
	}
	c.runners[r.run.ID] = r
	c.hush(r)
	c.working.Go(func() {
		defer close(r.over)
		life(r, c.life)
		c.mu.Lock()
		delete(c.runners, r.run.ID)
		c.mu.Unlock()
	})
	return true
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
	c.mu.Lock()
	var listening []*probeListener
	for _, l := range c.listeners {
		if l.concerns(n) {
			listening = append(listening, l)
		}
	}
	var concerned []*runner
	for _, r := range c.runners {
		if r.plays(n.agent) {
			concerned = append(concerned, r)
		}
	}
	c.mu.Unlock()
	for _, l := range listening {
		select {
		case l.inbox <- n:
		case <-l.over:
		}
	}
	for _, r := range concerned {
		r.hear(n)
	}
}
