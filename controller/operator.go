package controller

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"syncline/controller/experiment"
	"syncline/controller/store"
	synclinev1 "syncline/proto/syncline/v1"
)

// maxRepetitions bounds what one run may be asked to do.
const maxRepetitions = 100_000

// runService answers operators about runs.
type runService struct {
	runReader
	controller *Controller
}

// ValidateExperiment parses and checks a file.
func (s *runService) ValidateExperiment(_ context.Context, q *synclinev1.ValidateExperimentRequest) (*synclinev1.ValidateExperimentResponse, error) {
	exp, err := parse(q.Source, experiment.Options{FileName: q.FileName})
	if err != nil {
		return nil, err
	}
	return &synclinev1.ValidateExperimentResponse{Experiment: exp.Name}, nil
}

// parse reads an experiment file; its errors become field violations.
func parse(source []byte, opts experiment.Options) (*experiment.Experiment, error) {
	exp, err := experiment.Parse(source, opts)
	name := opts.FileName
	var all experiment.Errors
	if !errors.As(err, &all) {
		return exp, err
	}
	bad := &errdetails.BadRequest{}
	for _, e := range all {
		bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{
			Field:       fmt.Sprintf("%s:%d:%d", name, e.Pos.Line, e.Pos.Column),
			Description: e.Message,
		})
	}
	st, detailErr := status.Newf(codes.InvalidArgument, "%s: %s", name, err).WithDetails(bad)
	if detailErr != nil {
		return nil, status.Errorf(codes.InvalidArgument, "%s: %s", name, err)
	}
	return nil, st.Err()
}

// CreateRun binds the roles of an experiment to agents, commits the run and starts
// it.
func (s *runService) CreateRun(ctx context.Context, q *synclinev1.CreateRunRequest) (*synclinev1.CreateRunResponse, error) {
	c := s.controller
	in := c.reigning()
	if in == nil {
		return nil, c.leads()
	}
	if q.RequestId == "" {
		return nil, status.Error(codes.InvalidArgument, "a run needs a request id, so that asking twice makes one run")
	}
	p, err := planExperiment(q.Source, q.Repetitions, experiment.Options{FileName: q.FileName, Set: q.Set, Cases: q.Cases})
	if err != nil {
		return nil, err
	}
	exp := p.exp
	overhead, err := plannedOverhead(exp, int(q.OverheadRounds))
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	probing, err := probingWanted(q.Probing, len(exp.Hosts))
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	c.creating.Lock()
	defer c.creating.Unlock()
	if made, ok := c.store.RunOf(q.RequestId); ok {
		return &synclinev1.CreateRunResponse{Run: runToProto(made)}, nil
	}
	if err := c.keeping.admit(); err != nil {
		return nil, status.Errorf(codes.ResourceExhausted, "no new run is taken: %v", err)
	}
	bound, err := exp.Bind(c.candidates(), q.Bindings)
	if err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	if lacking, err := c.lacking(exp, bound); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	} else if len(lacking) > 0 {
		return nil, status.Error(codes.FailedPrecondition, strings.Join(lacking, "\n"))
	}
	run := store.Run{
		ID: newRunID(), Experiment: exp.Name, FileName: q.FileName, Source: q.Source, Bindings: q.Bindings, State: store.Planned, Epoch: 1,
		Repetitions: p.repetitions, Variants: p.variants, Set: q.Set, Cases: q.Cases, Runs: int(q.Repetitions),
		Overhead: overheadToStore(overhead), Probing: probing,
	}
	for _, h := range exp.Hosts {
		b := bound[h.Name]
		if other := c.busy(ctx, b.Name); other != "" {
			return nil, status.Error(codes.FailedPrecondition, busyText(b.Name, other))
		}
		run.Hosts = append(run.Hosts, c.runHost(h.Name, b))
	}
	created, err := c.create(in, q.RequestId, run)
	if err != nil {
		return nil, c.storeStatus(err)
	}
	if !c.launch(in, newRunner(c, created, exp), (*runner).live) {
		return nil, c.stopped()
	}
	return &synclinev1.CreateRunResponse{Run: runToProto(created)}, nil
}

// create commits a run. Whoever asked for it may be gone meanwhile: a run that was perhaps
// committed must not stay without anybody who works on it, so it is tried until there is
// an answer, or somebody else leads, who will find the run if it is there.
func (c *Controller) create(in *reign, requestID string, run store.Run) (store.Run, error) {
	for {
		created, err := c.store.CreateRun(in.ctx, requestID, run)
		if in.ctx.Err() != nil || !errors.Is(err, store.ErrUnknownOutcome) && !errors.Is(err, store.ErrBusy) {
			return created, err
		}
		c.cfg.Log.Warn("it is not known if a run was made; trying again", "run", run.ID, "cause", err)
		pause(in.ctx, 100*time.Millisecond)
	}
}

// candidates are the agents that are connected now, by their first address.
func (c *Controller) candidates() []experiment.Candidate {
	var all []experiment.Candidate
	for _, a := range c.store.Agents() {
		if at := c.sessions.get(a.Name); at == nil || at.hello.Incarnation != a.Incarnation {
			continue
		}
		// The address was checked when the agent said hello.
		all = append(all, experiment.Candidate{Name: a.Name, Labels: a.Labels, Address: netip.MustParseAddr(a.Addresses[0])})
	}
	return all
}

func (c *Controller) runHost(role string, b experiment.Candidate) store.RunHost {
	h := store.RunHost{Name: role, Agent: b.Name, Address: b.Address.String()}
	if a, ok := c.store.Agent(b.Name); ok {
		h.Kernel, h.ClockID, h.TestClock = a.Kernel, a.ClockID, a.TestClock
		if b.Address.Is4() {
			h.Address6 = firstIPv6(a.Addresses)
		}
	}
	return h
}

// firstIPv6 is the first IPv6 address of an agent, "" if it has none. The addresses
// were checked when the agent said hello.
func firstIPv6(addresses []string) string {
	for _, a := range addresses {
		if ip := netip.MustParseAddr(a); ip.Is6() && !ip.Is4In6() {
			return a
		}
	}
	return ""
}

// newRunID is short enough to type and long enough not to meet another one: 32
// bits of randomness. The store refuses an id that is taken.
func newRunID() string {
	var b [4]byte
	rand.Read(b[:])
	return "r-" + hex.EncodeToString(b[:])
}

// GetRun returns one run, with the file of its experiment if that is asked for.
func (s *runReader) GetRun(_ context.Context, q *synclinev1.GetRunRequest) (*synclinev1.GetRunResponse, error) {
	r, err := s.records.find(q.Id)
	if err != nil {
		return nil, err
	}
	answer := &synclinev1.GetRunResponse{Run: withEnvironments(r)}
	if q.WithSource {
		answer.Source = r.Source
	}
	return answer, nil
}

// ListRuns returns all runs, the newest first.
func (s *runReader) ListRuns(context.Context, *synclinev1.ListRunsRequest) (*synclinev1.ListRunsResponse, error) {
	list := &synclinev1.ListRunsResponse{}
	for _, r := range s.records.Runs() {
		list.Runs = append(list.Runs, runToProto(r))
	}
	return list, nil
}

// WatchRun follows a run to its final state.
func (s *runService) WatchRun(q *synclinev1.WatchRunRequest, stream grpc.ServerStreamingServer[synclinev1.WatchRunResponse]) error {
	var last store.Run
	for first := true; ; first = false {
		changed := s.controller.store.Changed()
		r, err := s.records.find(q.Id)
		if err != nil {
			return err
		}
		if first || r.State != last.State || r.RepetitionsDone != last.RepetitionsDone || !bytes.Equal(r.Overhead, last.Overhead) {
			if err := stream.Send(&synclinev1.WatchRunResponse{Run: runToProto(r)}); err != nil {
				return err
			}
			last = r
		}
		if r.State.Final() {
			return nil
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		case <-s.controller.life.Done():
			return s.controller.stopped()
		}
	}
}

// CancelRun ends a run early. That somebody wants it to is in the log before this returns, so that
// a leader that takes the run over ends it as cancelled, too. It may be repeated.
func (s *runService) CancelRun(ctx context.Context, q *synclinev1.CancelRunRequest) (*synclinev1.CancelRunResponse, error) {
	r, err := s.records.find(q.Id)
	if err != nil {
		return nil, err
	}
	if r.State == store.Cancelled {
		return &synclinev1.CancelRunResponse{Run: runToProto(r)}, nil
	}
	runner := s.controller.runner(q.Id)
	if r.State.Final() || runner == nil {
		return nil, status.Errorf(codes.FailedPrecondition, "run %s is over: %s", r.ID, r.State)
	}
	cause := &cancelledError{q.Reason}
	if cause.reason == "" {
		cause.reason = "cancelled by an operator"
	}
	r, err = s.controller.store.ChangeRun(ctx, q.Id, store.RunChange{Epoch: runner.epoch, Reason: reasonOf(cause)})
	switch {
	case errors.Is(err, store.ErrTransition):
		return nil, status.Errorf(codes.FailedPrecondition, "run %s is over: %s", r.ID, r.State)
	case err != nil:
		return nil, s.controller.storeStatus(err)
	}
	runner.cancel(cause.reason)
	return &synclinev1.CancelRunResponse{Run: runToProto(r)}, nil
}

// ListEvents sends the raw events of a run.
func (s *runReader) ListEvents(q *synclinev1.ListEventsRequest, stream grpc.ServerStreamingServer[synclinev1.ListEventsResponse]) error {
	run, err := s.records.find(q.RunId)
	if err != nil {
		return err
	}
	// Those that only measured have events, too.
	if last := overheadFromStore(run.Overhead).GetLast(); q.Repetition <= uint32(run.Repetitions) || q.Repetition > last {
		if err := hasRepetition(run, q.Repetition); err != nil {
			return err
		}
	}
	err = decodeChunks(s.records, q.RunId, func(c store.Chunk, events []*synclinev1.Event) error {
		if q.Repetition != 0 {
			events = ofRepetition(events, q.Repetition)
		}
		if len(events) == 0 {
			return nil
		}
		return stream.Send(&synclinev1.ListEventsResponse{Agent: c.Agent, Incarnation: c.Incarnation, Events: events})
	})
	return readStatus(err)
}

// hasRepetition refuses a repetition that a run was never to have; 0 is all.
func hasRepetition(run store.Run, n uint32) error {
	if uint64(n) <= uint64(run.Repetitions) {
		return nil
	}
	if o := overheadFromStore(run.Overhead); n >= o.GetFirst() && n <= o.GetLast() {
		return status.Errorf(codes.NotFound, "repetition %d of run %s only measured what watching costs and has no timeline; its events: syncline events %[2]s@%[1]d", n, run.ID)
	}
	return status.Errorf(codes.NotFound, "run %s has %d repetitions, no repetition %d", run.ID, run.Repetitions, n)
}

func ofRepetition(events []*synclinev1.Event, n uint32) []*synclinev1.Event {
	var kept []*synclinev1.Event
	for _, e := range events {
		if e.Repetition == n {
			kept = append(kept, e)
		}
	}
	return kept
}

// agentService answers operators about agents.
type agentService struct {
	synclinev1.UnimplementedAgentServiceServer
	controller *Controller
}

// ListAgents returns every agent that ever was here, by name.
func (s *agentService) ListAgents(context.Context, *synclinev1.ListAgentsRequest) (*synclinev1.ListAgentsResponse, error) {
	return &synclinev1.ListAgentsResponse{Agents: s.controller.agents()}, nil
}

// WatchAgents follows comings and goings until the operator leaves.
func (s *agentService) WatchAgents(_ *synclinev1.WatchAgentsRequest, stream grpc.ServerStreamingServer[synclinev1.WatchAgentsResponse]) error {
	in := s.controller.reigning()
	if in == nil {
		return s.controller.leads()
	}
	for {
		changed := s.controller.sessions.watch()
		if err := stream.Send(&synclinev1.WatchAgentsResponse{Agents: s.controller.agents()}); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		case <-in.ctx.Done():
			return s.controller.notLeader(store.ErrDeposed)
		}
	}
}

func (c *Controller) agents() []*synclinev1.Agent {
	var all []*synclinev1.Agent
	for _, a := range c.store.Agents() {
		p := agentToProto(a)
		if c.sessions.get(a.Name) != nil {
			p.State = synclinev1.AgentState_AGENT_STATE_READY
		}
		if at := c.sessions.lastSeen(a.Name); !at.IsZero() {
			p.LastSeenNs = at.UnixNano()
		}
		all = append(all, p)
	}
	return all
}
