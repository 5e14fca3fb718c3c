package agent

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"syncline/agent/probe"
	synclinev1 "syncline/proto/syncline/v1"
)

const (
	// maxProbeSessions bounds the sessions of clock probes that an agent takes part in at once.
	maxProbeSessions = 16
	// maxProbeEvents bounds the sights that are kept of a session without a run, and
	// maxProbeBytes those that are told, encoded: a controller takes messages of 8 MiB.
	maxProbeEvents = 1 << 16
	maxProbeBytes  = 7 << 20
)

// Times of sessions; variables for tests.
var (
	// probeLife is how long a session without a run lasts at most.
	probeLife = 2 * time.Minute
	// probeLinger is how long the ports of such a session stay taken after its end, so that
	// what is still on its way to them is not answered with an ICMP error, which would
	// be in the record of a run.
	probeLinger = time.Second
)

// probes are the sessions of clock probes that this host takes part in. Safe for concurrent
// use.
type probes struct {
	runs *runs

	mu     sync.Mutex
	byName map[string]*probeSession
	closed bool
}

// probeSession is one of them. Its goroutine is serve, which has the prober to itself.
type probeSession struct {
	probes *probes
	name   string
	// run gets the sights; nil: they are kept.
	run    *run
	prober *probe.Prober

	// plan has room for the one plan that there can be. leave is closed by the first
	// StopProbes.
	plan  chan probe.Plan
	leave chan struct{}
	// clocks are what happened to the clocks of this host meanwhile, of a session without a
	// run. They belong to the goroutine that keeps them, which serve ends.
	clocks []*synclinev1.Event
	// cancel ends the session at once, with the cause; ended is closed when nothing is left
	// of it.
	cancel context.CancelCauseFunc
	ended  chan struct{}

	mu       sync.Mutex
	begun    bool
	left     bool
	kept     []*synclinev1.Event
	unkept   uint64
	overrode int
}

// open makes the sockets of a session, and answers where they are.
func (ps *probes) open(m *synclinev1.OpenProbes) {
	answer := &synclinev1.ProbesOpened{Session: m.Session}
	endpoints, err := ps.admit(m)
	if err != nil {
		answer.Error = err.Error()
	}
	for _, e := range endpoints {
		answer.Endpoints = append(answer.Endpoints, &synclinev1.ProbeEndpoint{Path: e.Path, Address: e.Address.String()})
	}
	ps.runs.send(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_ProbesOpened{ProbesOpened: answer}})
}

// admit begins a session, which then waits for its plan.
func (ps *probes) admit(m *synclinev1.OpenProbes) ([]probe.Endpoint, error) {
	agent := ps.runs.cfg.Name
	var r *run
	if m.RunId != "" {
		if r = ps.runs.working(m.RunId); r == nil {
			return nil, fmt.Errorf("agent %s has no run %s at work to probe clocks for", agent, m.RunId)
		}
	}
	own, err := ps.addresses(r)
	if err != nil {
		return nil, err
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	switch {
	case ps.closed:
		return nil, fmt.Errorf("agent %s is shutting down", agent)
	case r != nil && r.unprobed:
		return nil, fmt.Errorf("run %s has ended on agent %s", m.RunId, agent)
	case m.Session == "" || len(m.Session) > probe.MaxName:
		return nil, fmt.Errorf("the name of a session of clock probes has %d bytes; 1 to %d will do", len(m.Session), probe.MaxName)
	case ps.byName[m.Session] != nil:
		return nil, fmt.Errorf("agent %s takes part in the clock probes %s already", agent, m.Session)
	case len(ps.byName) >= maxProbeSessions:
		return nil, fmt.Errorf("agent %s takes part in %d sessions of clock probes already; wait for one to end", agent, maxProbeSessions)
	}
	s := &probeSession{
		probes: ps, name: m.Session, run: r,
		plan: make(chan probe.Plan, 1), leave: make(chan struct{}), ended: make(chan struct{}),
	}
	s.prober, err = probe.Open(probe.Config{
		Endpoints: own, Avoid: ps.runs.ofRuns, Clock: ps.runs.cfg.TestClock,
		Emit: s.seen, Met: s.met,
	})
	if err != nil {
		return nil, fmt.Errorf("open sockets for clock probes: %w", err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	s.cancel = cancel
	ps.byName[m.Session] = s
	go s.serve(ctx)
	return s.prober.Endpoints(), nil
}

// addresses are where a session takes probes: at what experiments mean by this host, and,
// if that is another one that others can reach, where the agent reaches its controller
// from.
func (ps *probes) addresses(r *run) ([]probe.Endpoint, error) {
	var own netip.Addr
	switch all := ps.runs.cfg.Addresses; {
	case r != nil:
		own = r.own
	case len(all) == 0:
		return nil, fmt.Errorf("agent %s has no address to take clock probes at; name one with --address", ps.runs.cfg.Name)
	default:
		var err error
		if own, err = netip.ParseAddr(all[0]); err != nil {
			return nil, fmt.Errorf("address of agent %s: %w", ps.runs.cfg.Name, err)
		}
	}
	own = own.Unmap()
	endpoints := []probe.Endpoint{{Path: synclinev1.ProbePath_PROBE_PATH_EXPERIMENT, Address: netip.AddrPortFrom(own, 0)}}
	local, _ := ps.runs.control()
	if c := local.Addr(); c.IsValid() && c != own && !c.IsLoopback() && !c.IsLinkLocalUnicast() {
		endpoints = append(endpoints, probe.Endpoint{Path: synclinev1.ProbePath_PROBE_PATH_CONTROL, Address: netip.AddrPortFrom(c, 0)})
	}
	return endpoints, nil
}

// start gives a session its plan. One that cannot be carried out ends the session, and the
// controller is told.
func (ps *probes) start(m *synclinev1.StartProbes) {
	s := ps.find(m.Session)
	if s == nil {
		ps.unknown(m.Session)
		return
	}
	plan, err := s.read(m)
	if err != nil {
		s.cancel(fmt.Errorf("the clock probes cannot begin: %w", err))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begun {
		ps.runs.cfg.Log.Warn("clock probes were begun twice", "session", s.name)
		return
	}
	s.begun = true
	s.plan <- plan
}

// read takes a plan from the controller. What the prober itself checks is not looked at.
func (s *probeSession) read(m *synclinev1.StartProbes) (plan probe.Plan, err error) {
	plan = probe.Plan{
		Session: m.Session, Host: m.Host, Secret: m.Secret, Rate: int(min(m.Rate, math.MaxInt32)),
		Quiet: m.Quiet || s.run != nil && slices.Contains(s.run.plan.Sources, synclinev1.Source_SOURCE_ARP),
	}
	for _, p := range m.Peers {
		peer := probe.Peer{Host: p.Host, Ask: p.Ask}
		for _, e := range p.Endpoints {
			at, err := netip.ParseAddrPort(e.Address)
			if err != nil {
				return plan, fmt.Errorf("the address of peer %s: %w", p.Host, err)
			}
			at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
			if e.Path == synclinev1.ProbePath_PROBE_PATH_EXPERIMENT && s.run != nil && !slices.Contains(s.run.hosts, at.Addr()) {
				return plan, fmt.Errorf("agent %s probes the hosts of the run only, and %v is none of them", s.probes.runs.cfg.Name, at.Addr())
			}
			peer.Endpoints = append(peer.Endpoints, probe.Endpoint{Path: e.Path, Address: at})
		}
		plan.Peers = append(plan.Peers, peer)
	}
	return plan, nil
}

// stop ends a session in its own time. The answer comes from its goroutine.
func (ps *probes) stop(m *synclinev1.StopProbes) {
	s := ps.find(m.Session)
	if s == nil {
		ps.unknown(m.Session)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left {
		return
	}
	s.left = true
	s.prober.Stop()
	close(s.leave)
}

func (ps *probes) find(session string) *probeSession {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return ps.byName[session]
}

// unknown tells the controller that there is no such session, or none any more.
func (ps *probes) unknown(session string) {
	ps.runs.send(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_ProbesStopped{ProbesStopped: &synclinev1.ProbesStopped{
		Session: session, Error: fmt.Sprintf("agent %s takes part in no clock probes %s", ps.runs.cfg.Name, session),
	}}})
}

// serve is the session's goroutine: it waits for the plan, carries it out, tells the
// controller what came of it, and keeps the ports until nobody can send to them any more.
func (s *probeSession) serve(ctx context.Context) {
	defer close(s.ended)
	defer s.forget()
	life := ctx
	if s.run == nil {
		var cancel context.CancelFunc
		life, cancel = context.WithTimeoutCause(ctx, probeLife, fmt.Errorf("the clock probes ended themselves after %v", probeLife))
		defer cancel()
	}
	kept := s.keepClocks(life)
	err := s.work(life)
	kept()
	if life.Err() != nil {
		err = errors.Join(err, context.Cause(life))
	}
	s.tell(err)
	if s.run == nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, probeLinger)
		defer cancel()
	}
	<-ctx.Done()
}

// keepClocks keeps what happens to the clocks of this host, which is in the record of the run
// where there is one, until the answer is called.
func (s *probeSession) keepClocks(ctx context.Context) (stop func()) {
	if s.run != nil {
		return func() {}
	}
	log := s.probes.runs.cfg.Log.With("session", s.name)
	k := &clockRecord{
		log: log, add: func(e *synclinev1.Event) { s.clocks = append(s.clocks, e) },
		// The samples say so too.
		lacks: func(text string) { log.Debug("clock probes", "lack", text) },
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		k.run(ctx, s.probes.runs.cfg.TestClock)
	}()
	return func() {
		cancel()
		<-ended
	}
}

// work carries out the plan, once it is there, to its end.
func (s *probeSession) work(ctx context.Context) error {
	select {
	case plan := <-s.plan:
		return s.prober.Run(ctx, plan)
	case <-s.leave:
	case <-ctx.Done():
	}
	// Both may have come at once.
	select {
	case plan := <-s.plan:
		return s.prober.Run(ctx, plan)
	default:
		return nil
	}
}

// tell answers StopProbes, or says unasked that the session is over.
func (s *probeSession) tell(err error) {
	counts := s.prober.Counts()
	s.mu.Lock()
	all := slices.Concat(s.inOrder(), s.clocks)
	events, unkept := fitting(all), s.unkept
	unkept += uint64(len(all) - len(events))
	s.mu.Unlock()
	troubles := s.prober.Troubles()
	if err != nil {
		troubles = append([]string{err.Error()}, troubles...)
	}
	s.probes.runs.cfg.Log.Debug("clock probes ended", "session", s.name, "counts", fmt.Sprintf("%+v", counts), "troubles", troubles)
	s.probes.runs.send(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_ProbesStopped{ProbesStopped: &synclinev1.ProbesStopped{
		Session: s.name, Events: events, Lost: counts.Lost + unkept, Refused: counts.Refused, Error: strings.Join(troubles, "; "),
	}}})
}

// forget gives back the ports.
func (s *probeSession) forget() {
	if err := s.prober.Close(); err != nil {
		s.probes.runs.cfg.Log.Error("the sockets of clock probes could not be closed", "session", s.name, "cause", err)
	}
	s.probes.mu.Lock()
	defer s.probes.mu.Unlock()
	delete(s.probes.byName, s.name)
}

// seen takes what the prober has seen.
func (s *probeSession) seen(events []*synclinev1.Event) {
	if s.run != nil {
		s.run.stream.add(0, events...)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range events {
		if e.GetLoss() != nil {
			// It is in the counts.
			continue
		}
		if len(s.kept) < maxProbeEvents {
			s.kept = append(s.kept, e)
			continue
		}
		s.kept[s.overrode%maxProbeEvents] = e
		s.overrode++
		s.unkept++
	}
}

// inOrder are the events that were kept, the oldest first. The caller holds mu.
func (s *probeSession) inOrder() []*synclinev1.Event {
	first := s.overrode % maxProbeEvents
	return slices.Concat(s.kept[min(first, len(s.kept)):], s.kept[:min(first, len(s.kept))])
}

// fitting are the newest events that one message has room for.
func fitting(events []*synclinev1.Event) []*synclinev1.Event {
	// What happened to the clocks comes last, and stays.
	events = events[max(len(events)-maxProbeEvents, 0):]
	size := 0
	for i, e := range slices.Backward(events) {
		// A tag and a length come before each.
		if size += proto.Size(e) + 4; size > maxProbeBytes {
			return events[i+1:]
		}
	}
	return events
}

// met tells the controller that a peer has answered.
func (s *probeSession) met(host string, path synclinev1.ProbePath) {
	s.probes.runs.send(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_ProbesMet{ProbesMet: &synclinev1.ProbesMet{
		Session: s.name, Host: host, Path: path,
	}}})
}

// end ends all sessions of which a condition holds, at once, and waits for that.
func (ps *probes) end(cause error, of func(*probeSession) bool) {
	ps.mu.Lock()
	var ending []*probeSession
	for _, s := range ps.byName {
		if of(s) {
			ending = append(ending, s)
		}
	}
	ps.mu.Unlock()
	for _, s := range ending {
		s.cancel(cause)
	}
	for _, s := range ending {
		<-s.ended
	}
}

// endOf ends the sessions of a run: no sight comes any more.
func (ps *probes) endOf(r *run) {
	ps.mu.Lock()
	r.unprobed = true
	ps.mu.Unlock()
	ps.end(errors.New("the run ended"), func(s *probeSession) bool { return s.run == r })
}

// abandon ends the sessions without a run, since nobody asks for their sights any more.
func (ps *probes) abandon() {
	ps.end(errors.New("the connection to the controller was lost"), func(s *probeSession) bool { return s.run == nil })
}

// close ends what is left, and lets nothing begin any more.
func (ps *probes) close() {
	ps.mu.Lock()
	ps.closed = true
	ps.mu.Unlock()
	ps.end(errors.New("the agent is shutting down"), func(*probeSession) bool { return true })
}

// working is a run that has the host to itself, nil if there is none of that id.
func (rs *runs) working(id string) *run {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if r := rs.byID[id]; r != nil && r.working() {
		return r
	}
	return nil
}

// ofRuns reports whether a port is one of the flows of a run: packets with it are taken for
// the run's.
func (rs *runs) ofRuns(port uint16) bool {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for _, r := range rs.byID {
		if r.working() && r.ofFlows(port) {
			return true
		}
	}
	return false
}

// ofFlows reports whether a port is one of the run's flows.
func (r *run) ofFlows(port uint16) bool {
	if slices.Contains(r.flows.Ports, port) {
		return true
	}
	for _, p := range r.flows.Ranges {
		if p.Low <= port && port <= p.High {
			return true
		}
	}
	return false
}
