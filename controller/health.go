package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"syncline/controller/store"
)

// Times of readiness.
const (
	// readyLimit is within which a node that is ready commits.
	readyLimit = 2 * time.Second
	// readyFresh is how long an answer is good for, so that many who ask cost no more than
	// one.
	readyFresh = time.Second
	// watchEvery is how often those are looked after who watch.
	watchEvery = 2 * time.Second
)

// Reasons why a node is not ready, for machines. Metrics have a series for each.
const (
	reasonStopped  = "stopped"   // the store has failed, the process is about to end
	reasonNoLeader = "no_leader" // no node leads, or none that a majority follows
	reasonSlow     = "slow"      // nothing was committed within readyLimit
	reasonFailed   = "failed"    // anything else
)

var unreadyReasons = []string{reasonStopped, reasonNoLeader, reasonSlow, reasonFailed}

// errSlow: the probe has not come back in time.
var errSlow = fmt.Errorf("nothing was committed within %v", readyLimit)

// readiness finds out whether this node can commit, when somebody asks: nobody who asks
// costs nothing. At most one probe is under way, however long it takes and however many ask; it is
// safe for concurrent use.
type readiness struct {
	// probe commits something, or finds out that this node can have it committed.
	probe func(context.Context) error
	log   *slog.Logger
	// life ends the probe.
	life context.Context

	mu sync.Mutex
	// at is when err was found out.
	at  time.Time
	err error
	// under is the probe under way, nil if there is none.
	under *readyProbe
}

// readyProbe is one probe. err is set when done is closed.
type readyProbe struct {
	began time.Time
	done  chan struct{}
	err   error
}

// check returns nil if this node can commit, or could a moment ago.
func (r *readiness) check(ctx context.Context) error {
	p, err, known := r.begin()
	if known {
		return err
	}
	limit := time.NewTimer(time.Until(p.began.Add(readyLimit)))
	defer limit.Stop()
	select {
	case <-p.done:
		return p.err
	case <-limit.C:
		err := fmt.Errorf("%w; the probe began %v ago", errSlow, time.Since(p.began).Round(time.Millisecond))
		r.note(err, false)
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// begin returns what is known, or else the probe under way, which it begins if there is none.
func (r *readiness) begin() (p *readyProbe, err error, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.under == nil && !r.at.IsZero() && time.Since(r.at) < readyFresh {
		return nil, r.err, true
	}
	if r.under == nil {
		p := &readyProbe{began: time.Now(), done: make(chan struct{})}
		r.under = p
		go func() {
			p.err = r.probe(r.life)
			r.note(p.err, true)
			close(p.done)
		}()
	}
	return r.under, nil, false
}

// note keeps an answer, and logs it if it is another one than before. over is whether the
// probe has come back.
func (r *readiness) note(err error, over bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.err
	first := r.at.IsZero()
	r.at, r.err = time.Now(), err
	if over {
		r.under = nil
	}
	switch {
	case r.life.Err() != nil:
	case err != nil && (was == nil || unreadyReason(was) != unreadyReason(err)):
		r.log.Error("not ready: this node cannot commit", "reason", unreadyReason(err), "cause", err)
	case err == nil && was != nil && !first:
		r.log.Info("ready again")
	}
}

// unreadyReason is one of unreadyReasons.
func unreadyReason(err error) string {
	switch {
	case errors.Is(err, errSlow), errors.Is(err, store.ErrBusy):
		return reasonSlow
	case errors.Is(err, store.ErrNotLeader):
		return reasonNoLeader
	case errors.Is(err, errStopped):
		return reasonStopped
	}
	return reasonFailed
}

// errStopped: the store has failed.
var errStopped = errors.New("the store has stopped")

// ready is the probe of a controller.
func (c *Controller) ready(ctx context.Context) error {
	if err := c.store.Err(); err != nil {
		return fmt.Errorf("%w: %w", errStopped, err)
	}
	return c.store.Ready(ctx)
}

// healthService answers gRPC's health protocol
// (https://github.com/grpc/grpc/blob/master/doc/health-checking.md). Every service of the
// controller needs a node that can commit, so they all have its answer, as has "". The
// service "live" is served as long as the process is of use at all.
type healthService struct {
	healthv1.UnimplementedHealthServer
	controller *Controller
	services   []string
}

// liveService is served until the store fails.
const liveService = "live"

func newHealthService(c *Controller, server *grpc.Server) *healthService {
	s := &healthService{controller: c, services: []string{"", liveService}}
	for name := range server.GetServiceInfo() {
		s.services = append(s.services, name)
	}
	return s
}

func (s *healthService) of(ctx context.Context, service string) healthv1.HealthCheckResponse_ServingStatus {
	if !slices.Contains(s.services, service) {
		return healthv1.HealthCheckResponse_SERVICE_UNKNOWN
	}
	var err error
	if service == liveService {
		err = s.controller.store.Err()
	} else {
		err = s.controller.readiness.check(ctx)
	}
	if err != nil {
		return healthv1.HealthCheckResponse_NOT_SERVING
	}
	return healthv1.HealthCheckResponse_SERVING
}

// Check implements healthv1.HealthServer.
func (s *healthService) Check(ctx context.Context, q *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	is := s.of(ctx, q.Service)
	if is == healthv1.HealthCheckResponse_SERVICE_UNKNOWN {
		return nil, status.Errorf(codes.NotFound, "no service %q", q.Service)
	}
	return &healthv1.HealthCheckResponse{Status: is}, nil
}

// List implements healthv1.HealthServer.
func (s *healthService) List(ctx context.Context, _ *healthv1.HealthListRequest) (*healthv1.HealthListResponse, error) {
	all := &healthv1.HealthListResponse{Statuses: map[string]*healthv1.HealthCheckResponse{}}
	for _, name := range s.services {
		all.Statuses[name] = &healthv1.HealthCheckResponse{Status: s.of(ctx, name)}
	}
	return all, nil
}

// Watch implements healthv1.HealthServer.
func (s *healthService) Watch(q *healthv1.HealthCheckRequest, stream grpc.ServerStreamingServer[healthv1.HealthCheckResponse]) error {
	last := healthv1.HealthCheckResponse_UNKNOWN
	every := time.NewTicker(watchEvery)
	defer every.Stop()
	for {
		if is := s.of(stream.Context(), q.Service); is != last {
			if err := stream.Send(&healthv1.HealthCheckResponse{Status: is}); err != nil {
				return err
			}
			last = is
		}
		select {
		case <-every.C:
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		case <-s.controller.life.Done():
			return s.controller.stopped()
		}
	}
}
