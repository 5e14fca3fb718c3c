package agent

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"

	"syncline/agent/clock"
	"syncline/agent/environment"
	"syncline/agent/setup"
	"syncline/agent/spool"
	synclinev1 "syncline/proto/syncline/v1"
)

// runs are all runs this agent still has something of. It outlives connections to
// the controller. Safe for concurrent use.
type runs struct {
	cfg Config
	// host is what changes this host for runs and takes it back.
	host *setup.Host
	// probes are the sessions of clock probes.
	probes *probes

	mu          sync.Mutex
	byID        map[string]*run
	link        *link
	line        *controlLine
	incarnation uint64
	connections uint64
	wake        chan struct{}
	closed      bool
	// ended are the epochs of runs that were here, by id, and endedIDs their order.
	ended    map[string]uint64
	endedIDs []string
	// boot is CLOCK_BOOTTIME; tests have another one.
	boot func() int64
	// leaving are runs that are forgotten as soon as they have ended.
	leaving sync.WaitGroup

	// spool is nil in tests that keep nothing. past is what earlier starts have left in it,
	// gone what is to be dropped from it; both are guarded by mu.
	spool *spool.Spool
	// spoolFS is the file system of a test's spool; nil is that of the process.
	spoolFS spool.FS
	past    []*past
	gone    []*spool.Stream
	// toSpool and spoolNow have room for one token each; see keepSpooling.
	toSpool, spoolNow chan struct{}
}

func newRuns(cfg Config, incarnation uint64) *runs {
	rs := &runs{cfg: cfg, incarnation: incarnation, byID: map[string]*run{}, ended: map[string]uint64{}, boot: bootNow, wake: make(chan struct{}), toSpool: make(chan struct{}, 1), spoolNow: make(chan struct{}, 1)}
	rs.probes = &probes{runs: rs, byName: map[string]*probeSession{}}
	return rs
}

// handle acts on one message of the controller without blocking on a run's work.
// An error means that the controller broke the protocol.
func (rs *runs) handle(m *synclinev1.ControlResponse) error {
	switch m := m.Message.(type) {
	case *synclinev1.ControlResponse_Prepare:
		rs.prepare(m.Prepare)
	case *synclinev1.ControlResponse_Arm:
		rs.do(m.Arm.RunId, m.Arm.Epoch, func(r *run) { r.arm(m.Arm) })
	case *synclinev1.ControlResponse_Start:
		rs.do(m.Start.RunId, m.Start.Epoch, func(r *run) { r.start(m.Start) })
	case *synclinev1.ControlResponse_Signal:
		rs.do(m.Signal.RunId, m.Signal.Epoch, func(r *run) { r.signal(m.Signal) })
	case *synclinev1.ControlResponse_LaneEnded:
		rs.do(m.LaneEnded.RunId, m.LaneEnded.Epoch, func(r *run) { r.laneEnded(m.LaneEnded) })
	case *synclinev1.ControlResponse_Configure:
		rs.do(m.Configure.RunId, m.Configure.Epoch, func(r *run) { r.configure(m.Configure) })
	case *synclinev1.ControlResponse_Meeting:
		rs.do(m.Meeting.RunId, m.Meeting.Epoch, func(r *run) { r.meeting(m.Meeting) })
	case *synclinev1.ControlResponse_ClockPing:
		rs.send(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_ClockPong{ClockPong: &synclinev1.ClockPong{
			Id: m.ClockPing.Id, TimeNs: clock.Now(),
		}}})
	case *synclinev1.ControlResponse_OpenProbes:
		rs.probes.open(m.OpenProbes)
	case *synclinev1.ControlResponse_StartProbes:
		rs.probes.start(m.StartProbes)
	case *synclinev1.ControlResponse_StopProbes:
		rs.probes.stop(m.StopProbes)
	case *synclinev1.ControlResponse_Settle:
		rs.do(m.Settle.RunId, m.Settle.Epoch, func(r *run) { r.settle(m.Settle) })
	case *synclinev1.ControlResponse_Drain:
		rs.do(m.Drain.RunId, m.Drain.Epoch, func(r *run) { r.drain(m.Drain) })
	case *synclinev1.ControlResponse_Finish:
		rs.do(m.Finish.RunId, m.Finish.Epoch, func(r *run) { r.finish("") })
	case *synclinev1.ControlResponse_Release:
		rs.released(m.Release)
	case *synclinev1.ControlResponse_Lease:
		rs.do(m.Lease.RunId, m.Lease.Epoch, func(r *run) { r.renew(m.Lease) })
	case *synclinev1.ControlResponse_Cancel:
		if !rs.cancelPast(m.Cancel) {
			rs.do(m.Cancel.RunId, m.Cancel.Epoch, func(r *run) { r.cancelled(m.Cancel) })
		}
	default:
		return fmt.Errorf("a message of kind %T is unknown to this agent, version %s", m, rs.cfg.Version)
	}
	return nil
}

// prepare makes a run, unless another one is at work: two runs at once would
// disturb each other's times.
func (rs *runs) prepare(p *synclinev1.Prepare) {
	answer := &synclinev1.Prepared{RunId: p.RunId, Epoch: p.Epoch, Capabilities: capabilities(), Environment: environment.OfRun(p, environment.Config{Version: rs.cfg.Version, TestClock: rs.cfg.TestClock.String()})}
	tappable := slices.ContainsFunc(answer.Capabilities, func(c *synclinev1.Capability) bool {
		return c.Source == synclinev1.Source_SOURCE_PACKETS && c.Available
	})
	if err := rs.admit(p, tappable); err != nil {
		answer.Error = err.Error()
	}
	rs.send(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Prepared{Prepared: answer}})
}

// admit begins a run. What takes the disk, or the host, is done without mu: messages about what
// is under way, chunks and heartbeats do not wait for it. It is called by the one goroutine that
// receives, so no other run comes in between.
func (rs *runs) admit(p *synclinev1.Prepare, tappable bool) error {
	if err := rs.mayBegin(p.RunId); err != nil {
		return err
	}
	if err := checkRequirements(rs.cfg.Name, p.Requirements); err != nil {
		return err
	}
	if err := rs.clean(); err != nil {
		return err
	}
	r, err := newRun(rs, p, tappable)
	if err != nil {
		return err
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.byID[p.RunId] = r
	return nil
}

// mayBegin says why a run cannot begin here now.
func (rs *runs) mayBegin(id string) error {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.closed {
		return fmt.Errorf("agent %s is shutting down", rs.cfg.Name)
	}
	for other, r := range rs.byID {
		if other != id && r.working() {
			return fmt.Errorf("agent %s is busy with run %s", rs.cfg.Name, other)
		}
	}
	if rs.byID[id] != nil || len(rs.pastOf(id)) > 0 {
		return fmt.Errorf("agent %s has run %s already", rs.cfg.Name, id)
	}
	if epoch, was := rs.ended[id]; was {
		return fmt.Errorf("agent %s has had run %s already, in epoch %d, and begins it once", rs.cfg.Name, id, epoch)
	}
	return nil
}

// cancelPast answers for a run of an earlier start: it is over, with so much.
func (rs *runs) cancelPast(c *synclinev1.Cancel) bool {
	rs.mu.Lock()
	all := rs.pastOf(c.RunId)
	known := rs.byID[c.RunId] != nil
	rs.mu.Unlock()
	rs.tellPast(all)
	return len(all) > 0 && !known
}

// clean takes back what an earlier run could not: a run must not measure a host that
// another one has changed. Nearly always there is nothing.
func (rs *runs) clean() error {
	if rs.host == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), undoLimit)
	defer cancel()
	err := rs.host.UndoAll(ctx, func(made *synclinev1.ChangeMade) {
		rs.cfg.Log.Warn("took back what an earlier run had changed", "change", made.Text)
	})
	if err != nil {
		return fmt.Errorf("agent %s could not take back what an earlier run has changed on its host: %w", rs.cfg.Name, err)
	}
	return nil
}

// released forgets a run that is sealed, if whoever says so may still lead it.
func (rs *runs) released(m *synclinev1.Release) {
	rs.mu.Lock()
	r := rs.byID[m.RunId]
	rs.mu.Unlock()
	if r == nil || r.lead(m.Epoch) {
		rs.forget(m.RunId)
	}
}

// do finds a run and acts on it. A message for a run that is unknown, or of an
// older epoch, came from a controller that no longer leads; it is logged and left.
func (rs *runs) do(id string, epoch uint64, act func(*run)) {
	rs.mu.Lock()
	r := rs.byID[id]
	rs.mu.Unlock()
	switch {
	case r == nil:
		rs.cfg.Log.Warn("message for an unknown run", "run", id)
	case r.lead(epoch):
		act(r)
	}
}

// send hands a message to the controller, now or as soon as the connection is back. It is
// dropped if there was none yet, or if the controller keeps no line and there is none now.
func (rs *runs) send(m *synclinev1.ControlRequest) {
	rs.mu.Lock()
	l, line := rs.link, rs.line
	rs.mu.Unlock()
	m = outgoing(rs.cfg.TestClock, m)
	switch {
	case line != nil:
		line.say(m)
	case l != nil:
		l.send(m)
	}
}

// control is this host's end and the other end of the connection to the controller;
// zero if there is none, or if it is a Unix socket.
func (rs *runs) control() (local, remote netip.AddrPort) {
	rs.mu.Lock()
	l := rs.link
	rs.mu.Unlock()
	if l == nil {
		return local, remote
	}
	p, ok := peer.FromContext(l.stream.Context())
	if !ok {
		return local, remote
	}
	return tcpAddress(p.LocalAddr), tcpAddress(p.Addr)
}

func tcpAddress(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		at := t.AddrPort()
		return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	}
	return netip.AddrPort{}
}

// attach makes l the way to the controller, and repeats what it may have missed:
// which runs are finished, and with how much.
func (rs *runs) attach(l *link) {
	rs.mu.Lock()
	rs.link = l
	all := rs.list()
	past := rs.past
	rs.mu.Unlock()
	for _, r := range all {
		r.repeatFinished()
	}
	rs.tellPast(past)
}

func (rs *runs) detach() {
	rs.mu.Lock()
	rs.link = nil
	rs.mu.Unlock()
	rs.probes.abandon()
}

// disconnected ends the runs that have no lease to go on with.
func (rs *runs) disconnected() {
	rs.mu.Lock()
	all := rs.list()
	rs.mu.Unlock()
	for _, r := range all {
		if r.plan.LeaseNs <= 0 {
			r.finish("the connection to the controller was lost")
		}
	}
}

// abandon ends the work of every run, and keeps what they recorded.
func (rs *runs) abandon(cause string) {
	rs.mu.Lock()
	all := rs.list()
	rs.mu.Unlock()
	for _, r := range all {
		r.finish(cause)
	}
}

// close ends everything and waits for it.
func (rs *runs) close() {
	rs.mu.Lock()
	rs.closed = true
	all := rs.list()
	rs.mu.Unlock()
	for _, r := range all {
		r.finish("the agent is shutting down")
	}
	for _, r := range all {
		<-r.done
	}
	rs.leaving.Wait()
	rs.probes.close()
}

// forget drops a run that the controller has sealed, or does not know.
func (rs *runs) forget(id string) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.forgetPast(id)
	rs.pokeSpool(false)
	r := rs.byID[id]
	if r == nil {
		return
	}
	if !r.stream.empty() {
		rs.cfg.Log.Warn("events dropped: their run is sealed without them, or unknown to the controller", "run", id)
	}
	r.finish("the controller is through with the run")
	select {
	case <-r.done:
		rs.remove(r)
		return
	default:
	}
	// Until its lanes and taps have ended it keeps the host to itself.
	rs.leaving.Go(func() {
		<-r.done
		rs.mu.Lock()
		defer rs.mu.Unlock()
		rs.remove(r)
	})
}

// maxEnded bounds the runs of which the agent remembers that it had them.
const maxEnded = 4096

// remove forgets a run that has ended. The caller holds mu.
func (rs *runs) remove(r *run) {
	delete(rs.byID, r.plan.RunId)
	rs.ended[r.plan.RunId] = r.newestEpoch()
	rs.endedIDs = append(rs.endedIDs, r.plan.RunId)
	if len(rs.endedIDs) > maxEnded {
		delete(rs.ended, rs.endedIDs[0])
		rs.endedIDs = rs.endedIDs[1:]
	}
	if r.stream.spool != nil {
		rs.gone = append(rs.gone, r.stream.spool)
		rs.pokeSpool(false)
	}
}

// list returns the runs in the order of their ids. The caller holds mu.
func (rs *runs) list() []*run {
	all := make([]*run, 0, len(rs.byID))
	for _, r := range rs.byID {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *run) int { return cmp.Compare(a.plan.RunId, b.plan.RunId) })
	return all
}

func (rs *runs) ids() []string {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	var ids []string
	for _, r := range rs.list() {
		ids = append(ids, r.plan.RunId)
	}
	for _, p := range rs.past {
		ids = append(ids, p.stream.run)
	}
	return ids
}

// changed is closed at the next new chunk.
func (rs *runs) changed() <-chan struct{} {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return rs.wake
}

func (rs *runs) notify() {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	close(rs.wake)
	rs.wake = make(chan struct{})
}

func (rs *runs) newConnection() uint64 {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.connections++
	return rs.connections
}

// unsent is a chunk that was not sent on a connection yet, those of earlier starts first.
func (rs *runs) unsent(connection uint64) *synclinev1.Chunk {
	rs.mu.Lock()
	all := rs.list()
	past := rs.past
	rs.mu.Unlock()
	for _, p := range past {
		c, damaged := p.stream.unsent(connection)
		if damaged != nil {
			rs.damaged(p, damaged)
		}
		if c != nil {
			return c
		}
	}
	for _, r := range all {
		c, damaged := r.stream.unsent(connection)
		if damaged != nil {
			r.lose(damaged)
		}
		if c != nil {
			return c
		}
	}
	return nil
}

// damaged says that chunks of an earlier start cannot be read after all.
func (rs *runs) damaged(p *past, cause error) {
	rs.cfg.Log.Error("chunks of the spool cannot be read any more", "run", p.stream.run, "cause", cause)
	rs.mu.Lock()
	p.finished = proto.CloneOf(p.finished)
	p.finished.Gap = joined(p.finished.Gap, cause.Error())
	rs.mu.Unlock()
	rs.tellPast([]*past{p})
}

// acknowledged drops a chunk that the controller has, or will never take.
func (rs *runs) acknowledged(ack *synclinev1.UploadResponse) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	s := rs.streamOf(ack.RunId, ack.Incarnation)
	if s == nil {
		return
	}
	if ack.Rejected != "" {
		rs.cfg.Log.Error("chunk rejected", "run", ack.RunId, "chunk", ack.Sequence, "cause", ack.Rejected)
	}
	s.drop(ack.Sequence)
	rs.pokeSpool(false)
}

// streamOf finds a stream; nil if there is none. The caller holds mu.
func (rs *runs) streamOf(run string, incarnation uint64) *stream {
	if r := rs.byID[run]; r != nil && incarnation == rs.incarnation {
		return r.stream
	}
	for _, p := range rs.pastOf(run) {
		if p.stream.incarnation == incarnation {
			return p.stream
		}
	}
	return nil
}

// joined puts one more cause behind others.
func joined(text, more string) string {
	if text == "" {
		return more
	}
	return text + "; " + more
}
