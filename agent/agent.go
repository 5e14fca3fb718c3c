// Package agent is the part of syncline that runs on every host of the lab.
//
// An Agent dials its controller and is told what to do: it runs lanes, listens to
// the packets of a run's flows, joins both into one numbered stream of events per
// run and sends that in chunks. It keeps a chunk, on disk if that takes longer, until
// the controller has committed it. It opens no port but those of clock probes, which answer nobody but
// the other agents of a session, and connects its sockets to no address but those of
// the run's own hosts.
//
// Shutdown, in order: lanes are cancelled first, since they open sockets; then the
// captures close, since what the lanes did last is still in their rings; then the
// streams are cut into their last chunks; then the streams to the controller end.
// A controller that is lost for longer than it has leased a run does the first three and keeps
// the chunks for the next one.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"syncline/agent/clock"
	"syncline/agent/packet"
	"syncline/agent/setup"
	"syncline/agent/spool"
	"syncline/proto/identity"
	synclinev1 "syncline/proto/syncline/v1"
)

// Versions of the protocol that this agent speaks.
const (
	protocolMin = 3
	protocolMax = 4
)

// Config is what an agent is told at its start.
type Config struct {
	// Controllers are where to dial, as gRPC names targets: "HOST:PORT" or, in development,
	// "unix:PATH". Of several the next one is tried when one cannot be reached.
	Controllers []string
	// Identity is the agent's certificate, which says its name.
	Identity *identity.Credentials
	// Dev is in the place of Identity: plain text, over loopback and Unix sockets only.
	Dev bool
	// Name of this host in the lab; unique. Empty: that of the certificate, which it must be
	// in any case if there is one.
	Name   string
	Labels map[string]string
	// Addresses are what experiments mean by this host, the first of each family
	// above all. Empty: those of the host's interfaces.
	Addresses []string
	Version   string
	// PendingBytes bounds the encoded events that wait in memory for the controller;
	// 0 is 64 MiB. Those that are in the spool need not be there too. What does not fit is
	// counted and reported as lost.
	PendingBytes int
	// SpoolBytes bounds what waits on the disk; 0 is 1 GiB. From 80 % on no run is begun,
	// at 95 % the one at work is ended.
	SpoolBytes int64
	// RingBytes is the size of each interface's capture ring; 0 is that of package packet.
	// What a ring has no room for is counted and reported as lost.
	RingBytes int
	// State is the directory of what must outlive the agent: the journal of changes to
	// the host, and the spool of events that the controller does not have yet. Made if it
	// is missing; two agents cannot share one.
	State string
	// TestClock is what the host's clocks are made to look like; nil leaves them as they are.
	// It is refused outside of a lab made by deploy/netlab.
	TestClock *clock.Test
	// Log must not be nil.
	Log *slog.Logger
}

// Agent is one host's agent. Make it with New, then call Run once.
type Agent struct {
	cfg   Config
	hello *synclinev1.Hello
	runs  *runs
}

// New checks the configuration and reads what the host is.
func New(cfg Config) (*Agent, error) {
	if err := cfg.identify(); err != nil {
		return nil, err
	}
	if len(cfg.Controllers) == 0 {
		return nil, errors.New("an agent needs the address of its controller")
	}
	if cfg.State == "" {
		return nil, errors.New("an agent needs a directory for its state")
	}
	if cfg.RingBytes != 0 && (cfg.RingBytes < packet.MinRingBytes || cfg.RingBytes > packet.MaxRingBytes) {
		return nil, fmt.Errorf("a capture ring of %d bytes; it can have %d to %d", cfg.RingBytes, packet.MinRingBytes, packet.MaxRingBytes)
	}
	if cfg.SpoolBytes != 0 && cfg.SpoolBytes < spool.MinQuota {
		return nil, fmt.Errorf("a spool of %d bytes; it needs %d at least", cfg.SpoolBytes, spool.MinQuota)
	}
	if cfg.TestClock != nil {
		if err := inLab(); err != nil {
			return nil, fmt.Errorf("test clock %s: %w", cfg.TestClock, err)
		}
		cfg.TestClock = cfg.TestClock.Started(time.Now().UnixNano())
		cfg.Log.Warn("every time of this agent is of a clock that does not exist", "test_clock", cfg.TestClock.String())
	}
	if cfg.PendingBytes == 0 {
		cfg.PendingBytes = 64 << 20
	}
	hello, err := describeHost(cfg)
	if err != nil {
		return nil, err
	}
	cfg.Addresses = hello.Addresses
	return &Agent{cfg: cfg, hello: hello, runs: newRuns(cfg, hello.Incarnation)}, nil
}

// identify checks who the agent is, and gives it the name that its certificate has.
func (cfg *Config) identify() error {
	if cfg.Dev == (cfg.Identity != nil) {
		return errors.New("an agent has either a certificate or --dev, plain text on this machine alone")
	}
	if cfg.Dev {
		if cfg.Name == "" {
			return errors.New("an agent needs a name")
		}
		return nil
	}
	if err := cfg.Identity.Require(identity.Agent); err != nil {
		return err
	}
	who := cfg.Identity.Identity()
	if cfg.Name != "" && cfg.Name != who.Name {
		return fmt.Errorf("the certificate is of %v, and the agent is to be called %s: leave out --name, or issue a certificate for it (syncline pki issue agent %[2]s)", who, cfg.Name)
	}
	cfg.Name = who.Name
	return nil
}

// Run keeps the agent connected until ctx is done, and returns nil then. It dials
// again after a lost connection, with growing pauses; it gives up only when the
// controller refuses this agent for good.
func (a *Agent) Run(ctx context.Context) (err error) {
	if err := spool.MakeDir(a.cfg.State); err != nil {
		return fmt.Errorf("agent %s: make the directory of its state: %w", a.cfg.Name, err)
	}
	host, err := setup.Open(a.cfg.State, a.cfg.Log)
	if err != nil {
		return fmt.Errorf("agent %s: %w", a.cfg.Name, err)
	}
	for _, undone := range host.Recovered() {
		a.cfg.Log.Warn("took back what an earlier start of this agent had changed", "change", undone)
	}
	a.runs.host = host
	defer func() { err = errors.Join(err, host.Close()) }()
	if err := a.runs.openSpool(); err != nil {
		return fmt.Errorf("agent %s: %w", a.cfg.Name, err)
	}
	a.hello.Incarnation = a.runs.incarnation
	// Not ctx: what runs leave when they are ended has to come to the disk.
	keeping, stopKeeping := context.WithCancel(context.Background())
	var kept sync.WaitGroup
	kept.Go(func() { a.runs.keepSpooling(keeping) })
	kept.Go(func() { a.runs.keepLeases(keeping) })
	defer func() {
		a.runs.close()
		stopKeeping()
		kept.Wait()
		err = errors.Join(err, a.runs.spool.Close())
	}()
	pause := newBackoff()
	known := controllers{all: a.cfg.Controllers}
	for {
		controller := known.current()
		welcomed, err := a.connect(ctx, controller)
		a.runs.disconnected()
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, errOutdated) {
			a.cfg.Log.Info("connecting again with the new certificate", "controller", controller)
			continue
		}
		switch status.Code(err) {
		case codes.InvalidArgument, codes.FailedPrecondition, codes.PermissionDenied:
			return fmt.Errorf("controller %s refuses agent %s: %s", controller, a.cfg.Name, status.Convert(err).Message())
		}
		if known.ended(welcomed, err) {
			pause = newBackoff()
		}
		wait := pause.next()
		a.cfg.Log.Warn("not connected", "controller", controller, "cause", plainCause(err), "retry_in", wait.Round(time.Millisecond).String())
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// connect serves one connection to the controller until it ends. Control and
// Upload each get a TCP connection of their own, so that the flow control of a
// flood of events never holds back a start, a signal or a cancel.
func (a *Agent) connect(ctx context.Context, controller string) (welcomed bool, err error) {
	control, err := a.dial(controller)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, control.Close()) }()
	upload, err := a.dial(controller)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, upload.Close()) }()

	group, ctx := errgroup.WithContext(ctx)
	l, err := a.open(ctx, controller, synclinev1.NewLinkServiceClient(control))
	if err != nil {
		group.Go(func() error { return err })
		return false, group.Wait()
	}
	a.cfg.Log.Info("connected", "controller", controller, "as", a.cfg.Name)
	group.Go(func() error { return l.transmit(ctx) })
	group.Go(func() error { return l.watch(ctx) })
	// Before anything is received that wants an answer.
	a.runs.attach(l)
	defer a.runs.detach()
	group.Go(func() error { return l.receive(a.runs) })
	group.Go(func() error { return a.runs.upload(ctx, synclinev1.NewLinkServiceClient(upload)) })
	return true, group.Wait()
}

// dialLimit bounds the making of a connection, with its handshake. It is short of a lease, and
// of the time in which a run waits for its agents, so that there is time for other controllers.
const dialLimit = 3 * time.Second

func (a *Agent) dial(controller string) (*grpc.ClientConn, error) {
	creds := identity.Dev()
	if !a.cfg.Dev {
		creds = a.cfg.Identity.Client()
	}
	conn, err := grpc.NewClient(controller,
		grpc.WithTransportCredentials(creds),
		// A dead peer is noticed within 15 s even when no packet comes back; the heartbeats
		// of the control stream are sooner, where the controller answers them.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second, PermitWithoutStream: true}),
		// One that takes connections and is stopped must not keep the agent from the others.
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: grpcbackoff.DefaultConfig, MinConnectTimeout: dialLimit}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20)),
	)
	if err != nil {
		return nil, fmt.Errorf("dial controller %s: %w", controller, err)
	}
	return conn, nil
}

// plainCause is the last and plainest part of an error of gRPC.
func plainCause(err error) string {
	var st interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &st) {
		return err.Error()
	}
	text := st.GRPCStatus().Message()
	for _, wrapping := range []string{"while dialing: ", "authentication handshake failed: "} {
		if _, inner, ok := strings.Cut(text, wrapping); ok {
			return strings.TrimSuffix(inner, `"`)
		}
	}
	return text
}

// backoff grows from 100 ms to 5 s, each pause spread by ±25 % so that the agents
// of a lab do not come back all at once.
type backoff struct{ d time.Duration }

func newBackoff() *backoff { return &backoff{d: 100 * time.Millisecond} }

func (b *backoff) next() time.Duration {
	d := b.d
	b.d = min(2*b.d, 5*time.Second)
	return time.Duration(float64(d) * (0.75 + 0.5*rand.Float64()))
}
