package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"syncline/controller/experiment"
	"syncline/controller/store"
	synclinev1 "syncline/proto/syncline/v1"
)

// Limits on how long agents may take. Nothing is ever waited for without one.
const (
	// answerLimit bounds an agent's answer to a step that costs it no time.
	answerLimit = 10 * time.Second
	// graceLimit is what the other lanes get to end by themselves after one failed.
	graceLimit = time.Second
	// settleLimit bounds the wait for sockets to leave all states but LISTEN and
	// TIME_WAIT. An orphan in FIN_WAIT2 stays 60 s and is reported instead.
	settleLimit = 5 * time.Second
	// silence is how long no packet of the flows may have been seen before a
	// repetition is over. By then no socket of the run could send any more; this is
	// for what was still on its way. It suits paths of up to about 5 ms one way.
	silence = 10 * time.Millisecond
	// drainAnswerLimit bounds a drain, which has a limit of its own at the agent.
	drainAnswerLimit = 15 * time.Second
	// undoLimit bounds what an agent changes back at the end of a run: interfaces that
	// come up again take the longest.
	undoLimit = 40 * time.Second
	// lostLimit is how long a lost agent may take to come back with its events.
	lostLimit = 10 * time.Second
	// returnLimit is how long agents may take to find the next leader. One that lost the last
	// leader without a word notices within 8 s, and may dial two others in vain, for 3 s each,
	// before it finds the next; what is left is for what it has yet to end.
	returnLimit = 20 * time.Second
	// collectLimit bounds the arrival of chunks after every agent has finished.
	collectLimit = 60 * time.Second
	// gapSilence is how long nothing may come of agents that say they have a gap: as long as a lease.
	gapSilence = 15 * time.Second
	// progressEvery is how often the count of repetitions is committed.
	progressEvery = 200 * time.Millisecond
)

// news is what a run hears of one of its agents.
type news struct {
	agent   string
	message *synclinev1.ControlRequest
	// back and gone: its control stream has opened, has ended.
	back, gone bool
}

// lostError says that an agent was lost while it was needed.
type lostError struct{ agent string }

func (e *lostError) Error() string { return fmt.Sprintf("agent %s was lost", e.agent) }

// cancelledError says that an operator ended the run.
type cancelledError struct{ reason string }

func (e *cancelledError) Error() string { return e.reason }

// runner is the goroutine of one run. Its fields belong to that goroutine, but for
// the channels and what is said to be fixed.
type runner struct {
	controller *Controller
	log        *slog.Logger
	// run as it was last committed. Its ID and Hosts' agents are fixed; epoch is that in
	// which this runner has it, and is fixed.
	run   store.Run
	epoch uint64
	// experiment is the first variant in its first repetition.
	experiment *experiment.Experiment
	agents     []string

	inbox chan news
	// over is closed, by launch, when nobody empties inbox any more.
	over chan struct{}
	// chunks holds a token when a chunk of the run was committed.
	chunks  chan struct{}
	cancels chan string

	finished map[string]*synclinev1.Finished
	// ending is what the agents were told to end their parts with; nil before.
	ending *synclinev1.ControlResponse
	// taken is set if an earlier leader, or an earlier start, had the run.
	taken bool
	// prepared are the agents that keep the run until it is ended there.
	prepared map[string]bool
	// absent is an agent that something could not be sent to.
	absent string
	// recorded is, by agent, the last event of the repetition that was drained last.
	recorded map[string]uint64
	// configured is set once hosts were changed: the next variant then undoes it.
	configured bool
	clocks     *agentClocks
	// probes is nil before the clocks are probed, and in a run that does not ask for it.
	probes *probing
	// quiet is set if the experiment would see clock probes. It is fixed.
	quiet bool
	// loud are closed when the measurements are over that had to end for the run. They
	// are fixed.
	loud []<-chan struct{}
	// unprobed is, by agent, why it cannot take part in clock probes; empty if it can.
	unprobed map[string]string
	// probesBegan is when the session was begun.
	probesBegan time.Time
	// failure is why the first lane failed that did in the repetition at work.
	failure string
	// measurement is nil unless the run is to measure what watching it costs.
	measurement *measurement
	// variants are as the log will hear of them with the next progress.
	variants []store.RunVariant
	// done counts the repetitions that are through; committed is when the log last
	// heard of it.
	done      int
	committed time.Time
}

// newRunner prepares the goroutine of a run; exp is nil for one that is only to be
// brought to its end.
func newRunner(c *Controller, run store.Run, exp *experiment.Experiment) *runner {
	r := &runner{
		controller: c, run: run, epoch: run.Epoch, experiment: exp,
		log:      c.cfg.Log.With("run", run.ID),
		inbox:    make(chan news, 1024),
		over:     make(chan struct{}),
		chunks:   make(chan struct{}, 1),
		cancels:  make(chan string, 1),
		finished: map[string]*synclinev1.Finished{},
		prepared: map[string]bool{},
		recorded: map[string]uint64{},
		unprobed: map[string]string{},
		clocks:   newAgentClocks(run.Hosts),
		done:     run.RepetitionsDone,
		variants: slices.Clone(run.Variants),
	}
	if exp != nil {
		r.quiet = seesProbes(exp)
	}
	if o := overheadFromStore(run.Overhead); o != nil {
		r.measurement = &measurement{overhead: o}
	}
	for _, h := range run.Hosts {
		r.agents = append(r.agents, h.Agent)
	}
	return r
}

// plays reports whether an agent takes part. Safe for concurrent use.
func (r *runner) plays(agent string) bool { return slices.Contains(r.agents, agent) }

// hear takes news, from any goroutine. The run reads them until it ends.
func (r *runner) hear(n news) {
	if n.message.GetHeartbeat() != nil {
		return
	}
	select {
	case r.inbox <- n:
	case <-r.over:
	}
}

// stored says that a chunk was committed, from any goroutine.
func (r *runner) stored() {
	select {
	case r.chunks <- struct{}{}:
	default:
	}
}

// cancel ends the run early, from any goroutine.
func (r *runner) cancel(reason string) {
	select {
	case r.cancels <- reason:
	default:
	}
}

// live takes a run from its plan to its seal.
func (r *runner) live(ctx context.Context) {
	err := r.play(ctx)
	if err != nil {
		r.log.Warn("run ended early", "cause", err)
	}
	r.bring(ctx, err)
}

// bury brings a run to its end that an earlier leader, or an earlier start of the controller,
// left unfinished. Lanes are never started again, so a run whose lanes were at work has
// failed. One whose events were being collected lacks nothing but those.
func (r *runner) bury(ctx context.Context) {
	r.taken = true
	cause := left(r.run)
	if cause == nil && r.run.State != store.Collecting {
		what := "the controller restarted"
		if r.controller.port != nil {
			what = fmt.Sprintf("its controller was lost, and %s took over,", r.controller.store.ID())
		}
		cause = fmt.Errorf("%s in repetition %d of %d", what, min(r.run.RepetitionsDone+1, r.run.Repetitions), r.run.Repetitions)
	}
	r.log.Info("run taken over", "state", r.run.State.String(), "epoch", r.epoch, "cause", cause)
	r.bring(ctx, cause)
}

// play runs every repetition of every variant, and then those that measure what that
// cost.
func (r *runner) play(ctx context.Context) error {
	r.awaitHush(ctx)
	if err := r.prepare(ctx); err != nil {
		return err
	}
	if err := r.startProbes(ctx); err != nil {
		return err
	}
	if err := r.arm(ctx); err != nil {
		return err
	}
	if err := r.awaitFirstProbes(ctx); err != nil {
		return err
	}
	for v := range r.experiment.Variants {
		if err := r.playVariant(ctx, v); err != nil {
			return err
		}
	}
	// What measures is of no timeline, and bare is to be bare.
	if err := r.stopProbes(ctx); err != nil {
		return err
	}
	return r.measure(ctx)
}

// prepare asks every agent if it can take part, and records what each can see.
func (r *runner) prepare(ctx context.Context) error {
	for _, h := range r.run.Hosts {
		r.send(h.Agent, &synclinev1.ControlResponse{Message: &synclinev1.ControlResponse_Prepare{Prepare: r.plan(h)}})
	}
	hosts := slices.Clone(r.run.Hosts)
	environments := map[string]*synclinev1.Environment{}
	err := r.gather(ctx, "prepare", answerLimit, func(n news) (bool, error) {
		p := n.message.GetPrepared()
		if p.GetRunId() != r.run.ID {
			return false, nil
		}
		if p.Error != "" {
			return false, errors.New(p.Error)
		}
		r.prepared[n.agent] = true
		r.unprobed[n.agent] = probesLacking(p.Capabilities)
		for i := range hosts {
			if hosts[i].Agent == n.agent {
				hosts[i].Capabilities = observed(capabilitiesFromProto(p.Capabilities), r.experiment.Observe)
				environments[hosts[i].Name] = p.Environment
			}
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	if err := r.keepEnvironments(ctx, environments); err != nil {
		return err
	}
	return r.change(ctx, store.RunChange{State: store.Prepared, Hosts: hosts})
}

// keepEnvironments commits what the hosts are like, of those that said it.
func (r *runner) keepEnvironments(ctx context.Context, by map[string]*synclinev1.Environment) error {
	for _, h := range r.run.Hosts {
		if by[h.Name] == nil {
			continue
		}
		e, err := environmentToStore(h.Name, by[h.Name])
		if err != nil {
			return err
		}
		if err := r.controller.store.PutEnvironment(ctx, r.run.ID, r.run.Epoch, e); err != nil {
			return err
		}
	}
	return nil
}

// observed keeps the capabilities for the sources that the experiment asks for.
func observed(all []store.Capability, sources []string) []store.Capability {
	var kept []store.Capability
	for _, s := range sources {
		i := slices.IndexFunc(all, func(c store.Capability) bool { return c.Source == s })
		if i < 0 {
			kept = append(kept, store.Capability{Source: s, Reason: "the agent did not say that it has them"})
			continue
		}
		kept = append(kept, all[i])
	}
	return kept
}

func (r *runner) plan(h store.RunHost) *synclinev1.Prepare {
	p := &synclinev1.Prepare{RunId: r.run.ID, Epoch: r.run.Epoch, Host: h.Name, Flows: &synclinev1.Flows{}}
	for _, s := range r.experiment.Observe {
		if source := sourceToProto(s); source != synclinev1.Source_SOURCE_UNSPECIFIED {
			p.Sources = append(p.Sources, source)
		}
	}
	for _, other := range r.run.Hosts {
		p.Hosts = append(p.Hosts, &synclinev1.HostAddress{Host: other.Name, Agent: other.Agent, Address: other.Address, Address6: other.Address6})
		p.Flows.Addresses = append(p.Flows.Addresses, other.Address)
		if other.Address6 != "" {
			p.Flows.Addresses = append(p.Flows.Addresses, other.Address6)
		}
	}
	ports, ranges := r.experiment.Ports()
	for _, port := range ports {
		p.Flows.Ports = append(p.Flows.Ports, uint32(port))
	}
	for _, rg := range ranges {
		p.Flows.Ranges = append(p.Flows.Ranges, &synclinev1.PortRange{Low: uint32(rg.Low), High: uint32(rg.High)})
	}
	p.Prompt = r.waitsForPackets()
	if r.controller.sessions.hasLine(h.Agent) {
		p.LeaseNs = int64(r.controller.cfg.Lease)
	}
	p.Requirements = part{exp: r.experiment, role: h.Name}.requirements()
	return p
}

// waitsForPackets reports whether a lane of any variant waits for a packet.
func (r *runner) waitsForPackets() bool {
	for v := range r.experiment.Variants {
		// A variant that cannot be planned fails the run when its turn comes.
		exp, err := r.experiment.At(v, 1)
		if err != nil {
			continue
		}
		if _, waits := packetWait(exp); waits {
			return true
		}
	}
	return false
}

// arm opens the taps of every host before any lane makes its first call.
func (r *runner) arm(ctx context.Context) error {
	r.sendAll(&synclinev1.ControlResponse{Message: &synclinev1.ControlResponse_Arm{Arm: &synclinev1.Arm{RunId: r.run.ID, Epoch: r.run.Epoch}}})
	err := r.gather(ctx, "arm", answerLimit, func(n news) (bool, error) {
		a := n.message.GetArmed()
		if a.GetRunId() != r.run.ID {
			return false, nil
		}
		if a.Error != "" {
			return false, fmt.Errorf("agent %s: %s", n.agent, a.Error)
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	return r.change(ctx, store.RunChange{State: store.Running, Warnings: r.probeWarnings()})
}

// repeat runs all lanes once, then waits until nothing more can come of them:
// first every host's kernel has nothing left to send, then every tap has been
// silent for a while and is read to its end. The two steps are apart because a
// host that is quiet itself may still receive what another one sends.
func (r *runner) repeat(ctx context.Context, exp *experiment.Experiment, n int) error {
	if len(exp.Meetings) > 0 {
		if err := r.readClocks(ctx); err != nil {
			return err
		}
	}
	if err := r.lanes(ctx, exp, n); err != nil {
		return err
	}
	r.sendAll(&synclinev1.ControlResponse{Message: &synclinev1.ControlResponse_Settle{Settle: &synclinev1.Settle{
		RunId: r.run.ID, Epoch: r.run.Epoch, Repetition: uint32(n), TimeoutNs: int64(settleLimit),
	}}})
	err := r.gather(ctx, "settle", settleLimit+answerLimit, func(m news) (bool, error) {
		q := m.message.GetQuiet()
		return q.GetRunId() == r.run.ID && q.GetRepetition() == uint32(n), nil
	})
	if err != nil {
		return err
	}
	r.sendAll(&synclinev1.ControlResponse{Message: &synclinev1.ControlResponse_Drain{Drain: &synclinev1.Drain{
		RunId: r.run.ID, Epoch: r.run.Epoch, Repetition: uint32(n), SilenceNs: int64(silence),
		Flush: exp.Repeat.UntilReproduced > 0 || r.measuring(), Hold: r.measuring(),
	}}})
	clear(r.recorded)
	return r.gather(ctx, "drain", drainAnswerLimit, func(m news) (bool, error) {
		d := m.message.GetDrained()
		if d.GetRunId() != r.run.ID || d.GetRepetition() != uint32(n) {
			return false, nil
		}
		if d.Error != "" {
			return false, fmt.Errorf("agent %s: %s", m.agent, d.Error)
		}
		r.recorded[m.agent] = d.LastEvent
		return true, nil
	})
}

// lanes starts the lanes of a repetition and waits for all of them. It relays
// signals and ends between the hosts, and does nothing else to a lane that goes
// its way. When one fails, or the repetition's time is up, the rest is cancelled.
func (r *runner) lanes(ctx context.Context, exp *experiment.Experiment, n int) error {
	meetings := r.newMeetings(exp, n)
	left, err := r.startLanes(exp, n)
	if err != nil {
		return err
	}
	timeout := time.NewTimer(exp.Repeat.Timeout)
	defer timeout.Stop()
	cancelled := false
	cancel := func(reason string, grace time.Duration) {
		r.sendAll(&synclinev1.ControlResponse{Message: &synclinev1.ControlResponse_Cancel{Cancel: &synclinev1.Cancel{RunId: r.run.ID, Epoch: r.epoch, Repetition: uint32(n), Reason: reason}}})
		cancelled = true
		timeout.Reset(grace)
	}
	failed := false
	for len(left) > 0 {
		m, err := r.next(ctx, timeout.C)
		switch {
		case errors.Is(err, errTimeout) && cancelled:
			return fmt.Errorf("lanes %s did not end when they were cancelled", strings.Join(sortedKeys(left), ", "))
		case errors.Is(err, errTimeout) && failed:
			cancel("another lane failed", answerLimit)
			continue
		case errors.Is(err, errTimeout):
			cancel(fmt.Sprintf("the repetition took longer than %v", exp.Repeat.Timeout), answerLimit)
			continue
		case err != nil:
			return err
		}
		if a := m.message.GetArrived(); a.GetRunId() == r.run.ID && a.GetRepetition() == uint32(n) {
			if r.runs(exp, m.agent, a.Lane) {
				meetings.arrived(a.Meeting, a.Lane)
			}
			continue
		}
		if e := m.message.GetLaneEnded(); e.GetRunId() == r.run.ID && e.GetRepetition() == uint32(n) && r.runs(exp, m.agent, e.GetLane()) {
			meetings.ended(e.Lane)
		}
		if r.relay(m, exp, n, left) && !failed && !cancelled {
			failed = true
			timeout.Reset(graceLimit)
		}
	}
	return nil
}

// startLanes sends every host its lanes, and returns the names of all. Nothing is sent
// if a part cannot be said.
func (r *runner) startLanes(exp *experiment.Experiment, n int) (map[string]bool, error) {
	r.failure = ""
	left := map[string]bool{}
	var names []string
	for _, l := range exp.Lanes {
		left[l.Name] = true
		names = append(names, l.Name)
	}
	starts := make([]*synclinev1.Start, len(r.run.Hosts))
	for i, h := range r.run.Hosts {
		p := part{exp, h.Name, r.run.Hosts}
		lanes, err := p.lanes()
		if err != nil {
			return nil, err
		}
		watches, err := p.watches()
		if err != nil {
			return nil, err
		}
		starts[i] = &synclinev1.Start{
			RunId: r.run.ID, Epoch: r.run.Epoch, Repetition: uint32(n), Lanes: lanes, LaneNames: names, Watches: watches,
		}
	}
	for i, h := range r.run.Hosts {
		r.send(h.Agent, &synclinev1.ControlResponse{Message: &synclinev1.ControlResponse_Start{Start: starts[i]}})
	}
	return left, nil
}

// relay brings a signal or the end of a lane to the other hosts. It reports
// whether a lane failed.
func (r *runner) relay(m news, exp *experiment.Experiment, n int, left map[string]bool) (failed bool) {
	var on *synclinev1.ControlResponse
	switch {
	case m.message.GetSignal().GetRunId() == r.run.ID && m.message.GetSignal().GetRepetition() == uint32(n) && r.signals(exp, m.agent, m.message.GetSignal()):
		signal := proto.CloneOf(m.message.GetSignal())
		signal.Epoch = r.epoch
		on = &synclinev1.ControlResponse{Message: &synclinev1.ControlResponse_Signal{Signal: signal}}
	case m.message.GetLaneEnded().GetRunId() == r.run.ID && m.message.GetLaneEnded().GetRepetition() == uint32(n) && r.runs(exp, m.agent, m.message.GetLaneEnded().GetLane()):
		ended := proto.CloneOf(m.message.GetLaneEnded())
		ended.Epoch = r.epoch
		delete(left, ended.Lane)
		if failed = ended.Failure != ""; failed && r.failure == "" {
			r.failure = clip(fmt.Sprintf("lane %s: %s", ended.Lane, ended.Failure))
		}
		on = &synclinev1.ControlResponse{Message: &synclinev1.ControlResponse_LaneEnded{LaneEnded: ended}}
	default:
		return false
	}
	for _, agent := range r.agents {
		if agent != m.agent {
			r.send(agent, on)
		}
	}
	return failed
}

// signals reports whether a signal is an agent's to give: of one of its lanes, or of a
// watch of its host.
func (r *runner) signals(exp *experiment.Experiment, agent string, s *synclinev1.SignalSent) bool {
	if s.Lane != "" {
		return r.runs(exp, agent, s.Lane)
	}
	return slices.ContainsFunc(exp.Watches, func(w experiment.Watch) bool { return w.ID == s.Name && r.playsHost(agent, w.Host) })
}

func (r *runner) playsHost(agent, role string) bool {
	return slices.ContainsFunc(r.run.Hosts, func(h store.RunHost) bool { return h.Name == role && h.Agent == agent })
}

// runs reports whether a lane is one of an agent's own.
func (r *runner) runs(exp *experiment.Experiment, agent, lane string) bool {
	for _, l := range exp.Lanes {
		if l.Name == lane {
			return r.playsHost(agent, l.Host)
		}
	}
	return false
}

var errTimeout = errors.New("timeout")

// next returns the next message of an agent. A lost agent, an operator's cancel
// and the controller's own end are errors.
func (r *runner) next(ctx context.Context, timeout <-chan time.Time) (news, error) {
	for {
		if r.absent != "" {
			return news{}, &lostError{r.absent}
		}
		select {
		case <-ctx.Done():
			return news{}, errors.New("the controller was shut down")
		case reason := <-r.cancels:
			return news{}, &cancelledError{reason}
		case <-timeout:
			return news{}, errTimeout
		case n := <-r.inbox:
			r.hearProbes(n)
			if err := r.fatal(n); err != nil {
				return news{}, err
			}
			if n.message != nil && n.message.GetFinished() == nil {
				return n, nil
			}
		}
	}
}

// fatal is why a run cannot go on after some news: the agent is gone, or has ended its
// part.
func (r *runner) fatal(n news) error {
	if n.gone {
		return &lostError{n.agent}
	}
	if f := n.message.GetFinished(); f.GetRunId() == r.run.ID {
		r.finished[n.agent] = f
		return fmt.Errorf("agent %s ended its part: %s", n.agent, f.Error)
	}
	return nil
}

// gather waits until take has accepted a message of every agent.
func (r *runner) gather(ctx context.Context, step string, limit time.Duration, take func(news) (bool, error)) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	left := map[string]bool{}
	for _, a := range r.agents {
		left[a] = true
	}
	for len(left) > 0 {
		n, err := r.next(ctx, timer.C)
		if errors.Is(err, errTimeout) {
			return fmt.Errorf("agent %s did not answer %s within %v", strings.Join(sortedKeys(left), ", "), step, limit)
		}
		if err != nil {
			return err
		}
		accepted, err := take(n)
		if err != nil {
			return err
		}
		if accepted {
			delete(left, n.agent)
		}
	}
	return nil
}

// send hands a message to an agent. That there is none is the next thing the run
// hears: the agent may have gone before the run listened.
func (r *runner) send(agent string, m *synclinev1.ControlResponse) {
	if !r.controller.sessions.send(agent, m) {
		r.absent = agent
	}
}

func (r *runner) sendAll(m *synclinev1.ControlResponse) {
	for _, agent := range r.agents {
		r.send(agent, m)
	}
}

// change commits a change of the run.
func (r *runner) change(ctx context.Context, change store.RunChange) error {
	change.Epoch = r.run.Epoch
	run, err := r.controller.store.ChangeRun(ctx, r.run.ID, change)
	if err != nil {
		return fmt.Errorf("commit the state of the run: %w", err)
	}
	r.run = run
	return nil
}
