package controller

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"syncline/controller/store"
	"syncline/proto/chunk"
	"syncline/proto/identity"
	synclinev1 "syncline/proto/syncline/v1"
)

// Limits on what an agent may say of itself.
const (
	maxLabels      = 64
	maxLabelSize   = 256
	maxAddresses   = 64
	maxFeatures    = 64
	maxFeatureSize = 4096
	maxTestClock   = 512
)

// uploadWindow is how many chunks of one agent are on their way through raft at
// once: enough for raft to commit them in one batch, and a bound on memory.
const uploadWindow = 64

var agentName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// linkService is what agents dial.
type linkService struct {
	synclinev1.UnimplementedLinkServiceServer
	controller *Controller
}

// Control serves one agent until its stream ends.
func (s *linkService) Control(stream grpc.BidiStreamingServer[synclinev1.ControlRequest, synclinev1.ControlResponse]) error {
	c := s.controller
	if err := c.leads(); err != nil {
		return err
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	hello := first.GetHello()
	if err := checkHello(hello); err != nil {
		return err
	}
	if err := checkName(stream.Context(), hello.Name); err != nil {
		return err
	}
	session := &session{
		name: hello.Name, remote: remoteOf(stream.Context()), hello: hello,
		out: make(chan *synclinev1.ControlResponse, 256), gone: make(chan struct{}),
		patience: answerLimit,
	}
	if err := c.sessions.mayAdd(session); err != nil {
		return c.refused(err)
	}
	if err := c.store.PutAgent(stream.Context(), agentFromHello(hello, time.Now())); err != nil {
		return c.storeStatus(err)
	}
	resumed, replaced, err := c.sessions.add(session)
	if err != nil {
		return c.refused(err)
	}
	if replaced != nil {
		c.cfg.Log.Warn("agent does not go on where it was", "agent", hello.Name)
		c.tellRuns(news{agent: hello.Name, gone: true})
	}
	welcome := c.welcome(hello)
	if l := session.line; l != nil {
		welcome.Line, welcome.Resumed, welcome.Received = l.id, resumed, l.received()
		welcome.UnansweredLimit = unansweredLimit
	}
	c.cfg.Log.Info("agent connected", "agent", hello.Name, "from", session.remote, "kernel", hello.Kernel, "goes_on", resumed)
	if !resumed {
		c.tell(news{agent: hello.Name, back: true})
	}
	err = stream.Send(&synclinev1.ControlResponse{Message: &synclinev1.ControlResponse_Welcome{Welcome: welcome}})
	if err == nil {
		c.renew(hello.Name)
		err = s.serve(stream, session)
	}
	if c.sessions.remove(session) {
		c.gone(session, err)
	}
	return err
}

// gone tells that an agent is no longer connected: at once to whoever needs it connected, and
// to its runs when it has been away for a lease.
func (c *Controller) gone(session *session, cause error) {
	agent := session.name
	c.cfg.Log.Info("agent gone", "agent", agent, "cause", status.Convert(cause).Message())
	c.tellListeners(news{agent: agent, gone: true})
	if session.line == nil {
		c.tellRuns(news{agent: agent, gone: true})
		return
	}
	over := func() {
		c.cfg.Log.Warn("agent lost", "agent", agent, "away_for", c.cfg.Lease.String())
		c.tellRuns(news{agent: agent, gone: true})
	}
	if c.sessions.leave(session.line, agent, c.cfg.Lease, over) {
		c.cfg.Log.Warn("agent lost: it has not taken what it was told", "agent", agent)
		c.tellRuns(news{agent: agent, gone: true})
	}
}

// serve carries messages both ways until the stream or the session ends.
func (s *linkService) serve(stream grpc.BidiStreamingServer[synclinev1.ControlRequest, synclinev1.ControlResponse], session *session) error {
	ended := make(chan error, 2)
	// Both return when this handler has: gRPC ends the stream's context then.
	go func() { ended <- s.receive(stream, session) }()
	go func() { ended <- transmit(stream, session) }()
	select {
	case err := <-ended:
		return err
	case <-session.gone:
		if err := s.controller.leads(); err != nil {
			return err
		}
		return status.Error(codes.Unavailable, "the controller has ended this stream")
	}
}

// transmit is the only writer of the stream, once the welcome is sent.
func transmit(stream grpc.BidiStreamingServer[synclinev1.ControlRequest, synclinev1.ControlResponse], session *session) error {
	for {
		m, more := session.next()
		if m == nil {
			select {
			case <-session.gone:
				return nil
			case m = <-session.out:
			case <-more:
				continue
			}
		}
		if err := stream.Send(m); err != nil {
			return err
		}
	}
}

// next is the next message of the session's line; nil if there is none yet, and then more is
// closed when there is. A lease does not wait behind what the line has.
func (s *session) next() (m *synclinev1.ControlResponse, more <-chan struct{}) {
	select {
	case m := <-s.out:
		return m, nil
	default:
	}
	if s.line == nil {
		return nil, nil
	}
	m, ok, more := s.line.out.After(s.sent)
	if !ok {
		return nil, more
	}
	s.sent = m.Number
	return m, nil
}

func (s *linkService) receive(stream grpc.BidiStreamingServer[synclinev1.ControlRequest, synclinev1.ControlResponse], session *session) error {
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		s.controller.sessions.saw(session.name, time.Now())
		if err := s.heard(m, session); err != nil {
			return status.Errorf(codes.Aborted, "agent %s: %v", session.name, err)
		}
	}
}

// heard acts on one message of an agent, once.
func (s *linkService) heard(m *synclinev1.ControlRequest, session *session) error {
	act := func() { s.controller.tell(news{agent: session.name, message: m}) }
	l := session.line
	if l == nil {
		act()
		return nil
	}
	if r := m.GetReceipt(); r != nil {
		return l.out.Received(r.Received)
	}
	if b := m.GetHeartbeat(); b != nil {
		s.receipt(session, l.received())
		return l.out.Received(b.Received)
	}
	receipt, err := l.take(m.Number, act)
	if receipt > 0 {
		s.receipt(session, receipt)
	}
	return err
}

// receipt tells an agent how far its messages were acted on.
func (s *linkService) receipt(session *session, received uint64) {
	s.controller.sessions.hint(session.name, &synclinev1.ControlResponse{Message: &synclinev1.ControlResponse_Receipt{Receipt: &synclinev1.Receipt{Received: received}}})
}

// welcome tells an agent which of its runs nobody waits for any more.
func (c *Controller) welcome(hello *synclinev1.Hello) *synclinev1.Welcome {
	w := &synclinev1.Welcome{Protocol: min(Protocol, hello.ProtocolMax), Controller: "syncline " + c.cfg.Version, HeartbeatNs: int64(heartbeat)}
	for _, id := range hello.RunIds {
		if r, ok := c.store.Run(id); !ok || r.State.Final() {
			w.ForgetRunIds = append(w.ForgetRunIds, id)
		}
	}
	return w
}

func checkHello(h *synclinev1.Hello) error {
	switch {
	case h == nil:
		return status.Error(codes.InvalidArgument, "the first message of an agent must be its hello")
	case !agentName.MatchString(h.Name):
		return status.Errorf(codes.InvalidArgument, "agent name %q: use 1 to 63 letters, digits, dots, dashes and underscores", h.Name)
	case h.ProtocolMin > Protocol || h.ProtocolMax < oldestProtocol:
		return status.Errorf(codes.FailedPrecondition, "this controller speaks versions %d to %d of the protocol, the agent %d to %d; install the same release on both", oldestProtocol, Protocol, h.ProtocolMin, h.ProtocolMax)
	case len(h.Labels) > maxLabels || len(h.Addresses) > maxAddresses:
		return status.Errorf(codes.InvalidArgument, "an agent has at most %d labels and %d addresses", maxLabels, maxAddresses)
	case len(h.TestClock) > maxTestClock:
		return status.Errorf(codes.InvalidArgument, "a test clock is described in at most %d bytes", maxTestClock)
	case len(h.Features) > maxFeatures:
		return status.Errorf(codes.InvalidArgument, "an agent names at most %d features of its host", maxFeatures)
	case len(h.Addresses) == 0:
		return status.Error(codes.InvalidArgument, "the agent has no address; give it one with --address")
	}
	// Two agents without one would seem to share a clock.
	if h.BootId == "" {
		return status.Error(codes.InvalidArgument, "the agent names no boot id")
	}
	for k, v := range h.Labels {
		if len(k)+len(v) > maxLabelSize {
			return status.Errorf(codes.InvalidArgument, "label %.20q…: at most %d bytes", k, maxLabelSize)
		}
	}
	for _, f := range h.Features {
		if len(f.GetName())+len(f.GetReason())+len(f.GetRemedy()) > maxFeatureSize {
			return status.Errorf(codes.InvalidArgument, "feature %.20q…: at most %d bytes", f.GetName(), maxFeatureSize)
		}
	}
	for _, a := range h.Addresses {
		if _, err := netip.ParseAddr(a); err != nil {
			return status.Errorf(codes.InvalidArgument, "address %q of agent %s: %v", a, h.Name, err)
		}
	}
	return nil
}

// checkName holds the name that an agent gives itself against that of its certificate,
// which is what it is: nothing is done in another one's name.
func checkName(ctx context.Context, name string) error {
	caller, err := identity.CallerOf(ctx)
	switch {
	case err != nil:
		return status.Error(codes.Unauthenticated, err.Error())
	case !caller.Dev && name != caller.Name:
		return status.Errorf(codes.PermissionDenied, "the agent calls itself %q, and its certificate is of %v: leave out --name, or give it the certificate of that name", name, caller)
	}
	return nil
}

func remoteOf(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr.String()
	}
	return "somewhere"
}

// Upload commits chunks and acknowledges them in the order in which they came.
// Several are on their way through raft at once.
func (s *linkService) Upload(stream grpc.BidiStreamingServer[synclinev1.UploadRequest, synclinev1.UploadResponse]) error {
	if err := s.controller.leads(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	// inFlight holds one future a chunk, in order. The receiver closes it.
	inFlight := make(chan chan result, uploadWindow)
	received := make(chan error, 1)
	// Recv returns when this handler has: nothing here may wait for it before.
	go func() {
		received <- s.take(ctx, stream, inFlight)
		close(inFlight)
	}()
	for future := range inFlight {
		r := <-future
		if r.err != nil {
			return r.err
		}
		if err := stream.Send(r.ack); err != nil {
			return err
		}
	}
	return <-received
}

type result struct {
	ack *synclinev1.UploadResponse
	err error
}

func (s *linkService) take(ctx context.Context, stream grpc.BidiStreamingServer[synclinev1.UploadRequest, synclinev1.UploadResponse], inFlight chan<- chan result) error {
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = checkName(ctx, m.GetChunk().GetAgent())
		}
		if err != nil {
			return err
		}
		future := make(chan result, 1)
		select {
		case inFlight <- future:
		case <-ctx.Done():
			return ctx.Err()
		}
		go func() { future <- s.commit(ctx, m.Chunk) }()
	}
}

// commit stores one chunk. What can never be stored is answered with a rejection,
// so that the agent does not send it for ever; any other failure ends the stream,
// and the agent comes again.
func (s *linkService) commit(ctx context.Context, c *synclinev1.Chunk) result {
	ack := &synclinev1.UploadResponse{RunId: c.GetRunId(), Incarnation: c.GetIncarnation(), Sequence: c.GetSequence()}
	err := s.controller.checkChunk(ctx, c)
	if err == nil {
		var known bool
		native := chunkFromProto(c)
		if known, err = s.controller.store.AppendChunk(ctx, native); err == nil && !known {
			s.controller.metrics.committed(&native)
		}
	}
	switch {
	case errors.Is(err, store.ErrUnknownOutcome):
		// Whatever else is in its chain: it may be committed, and the agent keeps it until it is.
		return result{err: s.controller.storeStatus(err)}
	case errors.Is(err, store.ErrDamaged):
		return result{err: status.Errorf(codes.DataLoss, "chunk %d of run %s was damaged on its way: %v", c.GetSequence(), c.GetRunId(), err)}
	case errors.Is(err, store.ErrUnknownRun), errors.Is(err, store.ErrSealed), errors.Is(err, store.ErrInvalid), errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrTooMany):
		ack.Rejected = err.Error()
	case err != nil:
		return result{err: s.controller.storeStatus(err)}
	}
	if r := s.controller.runner(c.GetRunId()); r != nil {
		r.stored()
	}
	return result{ack: ack}
}

// checkChunk refuses what no agent of the run can have made: the seal counts what
// the envelope claims, so the claim must be what the chunk holds.
func (c *Controller) checkChunk(ctx context.Context, m *synclinev1.Chunk) error {
	run, err := c.runOf(ctx, m)
	switch {
	case err != nil:
		return err
	case store.Checksum(m.GetData()) != m.GetCrc32C():
		return store.ErrDamaged
	case !slices.ContainsFunc(run.Hosts, func(h store.RunHost) bool { return h.Agent == m.GetAgent() }):
		return fmt.Errorf("%w: agent %q has no part in run %s", store.ErrInvalid, m.GetAgent(), run.ID)
	}
	c.checking <- struct{}{}
	err = checkEvents(m)
	<-c.checking
	if err != nil {
		return fmt.Errorf("%w: %w", store.ErrInvalid, err)
	}
	return nil
}

// checkEvents looks at every event of a chunk.
func checkEvents(m *synclinev1.Chunk) error {
	var space eventSpace
	next := m.GetFirstEvent()
	n, err := chunk.Each(m.GetData(), func(e *synclinev1.Event) error {
		if e.Number != next {
			return fmt.Errorf("chunk %d: event %d stands where %d should", m.GetSequence(), e.Number, next)
		}
		next++
		// What no timeline could be made of must not be sealed as complete.
		native, err := space.fromProto(e)
		if err == nil && native != nil {
			err = native.Check()
		}
		if err != nil {
			return fmt.Errorf("chunk %d: event %d: %w", m.GetSequence(), e.Number, err)
		}
		return nil
	})
	if err == nil && n != int(m.GetEvents()) {
		err = fmt.Errorf("chunk %d claims %d events and holds %d", m.GetSequence(), m.GetEvents(), n)
	}
	return err
}

// runOf finds the run that a chunk is of. What is refused the agent forgets, so that there is no such
// run is said by a node that surely leads, and not by one that has not heard of the run yet.
func (c *Controller) runOf(ctx context.Context, m *synclinev1.Chunk) (store.Run, error) {
	run, ok := c.store.Run(m.GetRunId())
	if ok {
		return run, nil
	}
	if _, err := c.store.LeaderReadIndex(ctx); err != nil {
		return store.Run{}, fmt.Errorf("find run %q: %w", m.GetRunId(), err)
	}
	if run, ok = c.store.Run(m.GetRunId()); !ok {
		return store.Run{}, store.ErrUnknownRun
	}
	return run, nil
}

// refused is why a session did not begin, as gRPC names it.
func (c *Controller) refused(err error) error {
	if errors.Is(err, errNotServed) {
		return c.notLeader(err)
	}
	return status.Error(codes.AlreadyExists, err.Error())
}

// storeStatus is a store's error as gRPC names it.
func (c *Controller) storeStatus(err error) error {
	switch {
	case errors.Is(err, store.ErrNotLeader), errors.Is(err, store.ErrEpoch):
		// A run in another epoch is another leader's.
		return c.notLeader(err)
	case errors.Is(err, store.ErrUnknownOutcome), errors.Is(err, store.ErrBusy):
		return status.Error(codes.Unavailable, err.Error())
	case errors.Is(err, store.ErrTooMany):
		return status.Error(codes.ResourceExhausted, err.Error())
	case errors.Is(err, store.ErrInvalid):
		return status.Error(codes.InvalidArgument, err.Error())
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(err).Err()
	}
	return status.Errorf(codes.Internal, "store: %v", err)
}
