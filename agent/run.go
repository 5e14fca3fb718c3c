package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"syncline/agent/clock"
	"syncline/agent/kernel"
	"syncline/agent/lane"
	"syncline/agent/packet"
	"syncline/agent/spool"
	synclinev1 "syncline/proto/syncline/v1"
)

// drainLimit bounds the reading of a tap that is to be silent: a flow that never
// falls silent is an error of the run, not a reason to wait for ever.
const drainLimit = 8 * time.Second

// undoLimit bounds taking back what a run has changed on the host.
const undoLimit = 30 * time.Second

// loopback4 is what Linux sends from to any other address of the loopback interface.
var loopback4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// maxLanes bounds the lanes of a repetition on this host: each is a thread.
const maxLanes = 256

// closeLimit bounds the reading of what is left in the rings when they are closed.
const closeLimit = 3 * time.Second

// run is this host's part of one run. Steps that take time are done one after the
// other by work; signals, ends of lanes and cancels act at once.
type run struct {
	runs *runs
	plan *synclinev1.Prepare
	// tappable is what the agent told the controller: packets can be had here.
	tappable bool
	log      *slog.Logger
	stream   *stream
	own      netip.Addr
	// hosts are the addresses of all hosts of the run, peers those of the others.
	hosts   []netip.Addr
	peers   []netip.Addr
	flows   kernel.Flows
	changes *changes

	// ctx ends when the run has finished; it carries the capture and the stream.
	ctx    context.Context
	cancel context.CancelFunc
	// steps ends when the run is to end early: whatever a job waits for then does not
	// matter any more.
	steps     context.Context
	stopSteps context.CancelFunc
	jobs      chan func()
	// done is closed when the run has finished: the stream is whole.
	done chan struct{}
	// keeping ends with stopKeeping; see keepClocks.
	keeping     sync.WaitGroup
	stopKeeping context.CancelFunc
	// unprobed is set when the run has ended and gets no session of probes any more. It is
	// guarded by probes.mu.
	unprobed bool

	mu         sync.Mutex
	repetition *repetition
	// number is the repetition that events belong to. It moves on when this host has
	// read its taps to their end, not when its own lanes start: a host whose start
	// comes late may hear another one's first packet before. No host starts the next
	// repetition before all have read their taps, so no packet is counted to the
	// wrong one. Before an Arm with other sources it stays until the taps are closed.
	number uint32
	// counters are those of the kernel before the next repetition.
	counters kernel.Counters
	// sharing is set while other hosts of the run are traced here too.
	sharing   *sharing
	finishing bool
	finished  *synclinev1.Finished
	// gap is what was recorded and is lost, and why.
	gap string
	// epoch is the newest that a controller has named, started the repetition whose lanes
	// were started last: each is started once.
	epoch   uint64
	started uint32
	lease   lease

	// early are packets of a repetition that this host has not heard of yet, and
	// overlooked is how many more of them there were than could be kept for its watches.
	early      []*synclinev1.Event
	overlooked int

	// sources are those asked for now; see rearm.
	sources []synclinev1.Source

	// Owned by work; others read capture with mu held.
	capture *packet.Capture
	tapping sync.WaitGroup
	tapErr  error
	tracing tracing
	// armedFor is the repetition that the taps were opened for, 0 for the whole run.
	armedFor uint32
}

// repetition is one pass through this host's lanes.
type repetition struct {
	number  uint32
	board   *lane.Board
	look    *lookout
	sampler *sampler
	cancel  context.CancelFunc
	lanes   sync.WaitGroup
}

// newRun reads the plan and starts the run's goroutines; they end with finish.
func newRun(rs *runs, plan *synclinev1.Prepare, tappable bool) (*run, error) {
	r := &run{
		runs: rs, plan: plan, tappable: tappable,
		log:    rs.cfg.Log.With("run", plan.RunId),
		jobs:   make(chan func(), 16),
		done:   make(chan struct{}),
		number: 1, sources: plan.Sources, epoch: plan.Epoch,
		stream: &stream{
			run: plan.RunId, agent: rs.cfg.Name, incarnation: rs.incarnation,
			limit: rs.cfg.PendingBytes, clock: rs.cfg.TestClock,
		},
	}
	if plan.LeaseNs > 0 {
		r.lease.renew(rs.boot(), plan.LeaseNs)
	}
	r.stream.wake = func() {
		rs.notify()
		rs.pokeSpool(r.stream.urgentToSpool())
	}
	for _, h := range plan.Hosts {
		address, err := netip.ParseAddr(h.Address)
		if err != nil {
			return nil, fmt.Errorf("address of host %s: %w", h.Host, err)
		}
		r.flows.Addresses = append(r.flows.Addresses, address)
		if h.Host == plan.Host {
			r.own = address
		} else {
			r.peers = append(r.peers, address)
		}
		if h.Address6 == "" {
			continue
		}
		if address, err = netip.ParseAddr(h.Address6); err != nil {
			return nil, fmt.Errorf("IPv6 address of host %s: %w", h.Host, err)
		}
		r.flows.Addresses = append(r.flows.Addresses, address)
		if h.Host != plan.Host {
			r.peers = append(r.peers, address)
		}
	}
	if !r.own.IsValid() {
		return nil, fmt.Errorf("the plan names no address for host %s", plan.Host)
	}
	r.hosts = slices.Clone(r.flows.Addresses)
	if r.own.Is4() && r.own.IsLoopback() && !slices.Contains(r.hosts, loopback4) {
		// Sockets that nobody has bound are of the run too.
		r.flows.Addresses = append(r.flows.Addresses, loopback4)
	}
	for _, p := range plan.Flows.GetPorts() {
		if p == 0 || p > 65535 {
			return nil, fmt.Errorf("the plan names port %d", p)
		}
		r.flows.Ports = append(r.flows.Ports, uint16(p))
	}
	for _, p := range plan.Flows.GetRanges() {
		if p.Low == 0 || p.High > 65535 || p.Low > p.High {
			return nil, fmt.Errorf("the plan names ports %d to %d", p.Low, p.High)
		}
		r.flows.Ranges = append(r.flows.Ranges, kernel.PortRange{Low: uint16(p.Low), High: uint16(p.High)})
	}
	if rs.spool != nil {
		var err error
		if r.stream.spool, err = rs.spool.Begin(spool.Identity{
			ID: spool.ID{Run: plan.RunId, Incarnation: rs.incarnation}, Agent: rs.cfg.Name, Epoch: plan.Epoch,
		}); err != nil {
			return nil, fmt.Errorf("agent %s takes no new run: %w", rs.cfg.Name, err)
		}
	}
	r.changes = r.newChanges()
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.steps, r.stopSteps = context.WithCancel(r.ctx)
	r.keepClocks()
	go r.work()
	return r, nil
}

// work does the run's jobs in order until finish has been done.
func (r *run) work() {
	defer close(r.done)
	var cutting sync.WaitGroup
	cutting.Go(func() { r.stream.keepCutting(r.ctx) })
	defer cutting.Wait()
	defer r.cancel()
	for job := range r.jobs {
		job()
	}
}

// working reports whether the run still has the host to itself. What is left of a
// finished one are events on their way; the controller may send the next run as soon
// as it has heard of the end, which can be before work has returned.
func (r *run) working() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.finished == nil
}

// later queues a job, unless the run is finishing. The controller sends one step
// at a time, so a full queue is a controller that has lost its way.
func (r *run) later(job func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.finishing {
		return
	}
	select {
	case r.jobs <- job:
	default:
		r.log.Error("step dropped: too many steps at once")
	}
}

func (r *run) emit(events ...*synclinev1.Event) {
	r.mu.Lock()
	number := r.number
	r.mu.Unlock()
	r.stream.add(number, events...)
}

// mark notes a moment of a repetition, or of the run itself: 0.
func (r *run) mark(repetition uint32, kind synclinev1.MarkKind, detail string, frames uint64) {
	r.stream.add(repetition, &synclinev1.Event{
		TimeNs: clock.Now(),
		Fact:   &synclinev1.Event_Mark{Mark: &synclinev1.Mark{Kind: kind, Detail: detail, Frames: frames}},
	})
}

// arm opens the taps and listens to the kernel's tracepoints. The answer is sent when
// every packet and every state from then on is seen.
func (r *run) arm(m *synclinev1.Arm) {
	if !r.leased() {
		return
	}
	r.later(func() {
		answer := &synclinev1.Armed{RunId: r.plan.RunId, Epoch: r.newestEpoch(), Before: r.usage()}
		err := r.rearm(m)
		if err == nil {
			err = r.openTaps()
		}
		if err == nil {
			err = r.openTracer()
		}
		if err == nil {
			err = r.readCounters()
		}
		if err != nil {
			answer.Error = err.Error()
		}
		answer.After = r.usage()
		r.runs.send(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Armed{Armed: answer}})
	})
}

func (r *run) openTaps() error {
	sources := r.watching()
	if !slices.ContainsFunc(sources, heardOnTaps) {
		return nil
	}
	if !r.tappable {
		for _, s := range sources {
			if heardOnTaps(s) {
				r.mark(r.armedFor, synclinev1.MarkKind_MARK_KIND_SOURCE_MISSING, sourceName(s), 0)
			}
		}
		return nil
	}
	interfaces, err := packet.Interfaces(r.own, r.flows.Addresses)
	if err != nil {
		return fmt.Errorf("find the interfaces between the hosts of the run: %w", err)
	}
	capture, err := packet.Open(packet.Config{
		Interfaces: interfaces, Addresses: r.flows.Addresses, Ports: r.flows.Ports, Ranges: r.portRanges(),
		ICMP:       slices.Contains(sources, synclinev1.Source_SOURCE_ICMP),
		ARP:        slices.Contains(sources, synclinev1.Source_SOURCE_ARP),
		SnapLength: int(r.plan.SnapLength), Prompt: r.plan.Prompt, RingBytes: r.runs.cfg.RingBytes, Clock: r.runs.cfg.TestClock,
	})
	if err != nil {
		return fmt.Errorf("open the capture on %s: %w", strings.Join(interfaces, ", "), err)
	}
	r.mu.Lock()
	r.capture = capture
	r.mu.Unlock()
	r.tapping.Go(func() {
		r.tapErr = capture.Run(r.ctx, r.heard)
	})
	r.mark(r.armedFor, synclinev1.MarkKind_MARK_KIND_ARMED, strings.Join(interfaces, ", "), 0)
	return nil
}

// heardOnTaps reports whether a source is had from packets at the host's taps.
func heardOnTaps(s synclinev1.Source) bool {
	return s == synclinev1.Source_SOURCE_PACKETS || s == synclinev1.Source_SOURCE_ICMP || s == synclinev1.Source_SOURCE_ARP
}

// sourceName is a source as experiments spell it: "accept-queue".
func sourceName(s synclinev1.Source) string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(s.String(), "SOURCE_"), "_", "-"))
}

func (r *run) portRanges() []packet.PortRange {
	var ranges []packet.PortRange
	for _, p := range r.flows.Ranges {
		ranges = append(ranges, packet.PortRange(p))
	}
	return ranges
}

// heard takes packets from the taps: they are on record first, then those who wait
// for one are told. What comes before this host has heard of the repetition that it is
// of waits for that: another host's first packet may be here before the start is.
func (r *run) heard(events []*synclinev1.Event) {
	r.emit(events...)
	if !r.plan.Prompt {
		return // nobody waits for a packet
	}
	r.mu.Lock()
	rep := r.repetition
	if rep == nil || rep.number != r.number {
		kept := min(len(events), max(maxEarly-len(r.early), 0))
		r.early = append(r.early, events[:kept]...)
		r.overlooked += len(events) - kept
		rep = nil
	}
	r.mu.Unlock()
	if rep != nil {
		rep.look.heard(events)
	}
}

// maxEarly bounds the packets that wait for the start of their repetition.
const maxEarly = 4096

// newestEpoch is the newest that a controller has named.
func (r *run) newestEpoch() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.epoch
}

// lead takes the epoch that a message carries, 0 if it carries none. It reports whether the
// message is of a controller that may still lead the run.
func (r *run) lead(epoch uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if epoch != 0 && epoch < r.epoch {
		r.log.Warn("message of an older epoch refused", "epoch", epoch, "ours", r.epoch)
		return false
	}
	r.epoch = max(r.epoch, epoch)
	return true
}

// begin reports whether a repetition may be started: once, and in order.
func (r *run) begin(repetition uint32) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if repetition <= r.started {
		r.log.Error("start refused: its lanes were started already", "repetition", repetition, "last", r.started)
		return false
	}
	r.started = repetition
	return true
}

// start runs the lanes of one repetition, each on a thread of its own. What cannot be
// started ends every lane with the reason.
func (r *run) start(s *synclinev1.Start) {
	if !r.leased() || !r.begin(s.Repetition) {
		return
	}
	ctx, cancel := context.WithCancel(r.ctx)
	rep := &repetition{number: s.Repetition, board: lane.NewBoard(s.LaneNames), cancel: cancel}
	rep.sampler = &sampler{flows: r.flows, sources: r.watching(), emit: r.emit}
	look, err := newLookout(s.Watches, accepted(s.Lanes), func(w *synclinev1.Watch) { r.sighted(rep, w) }, func(w *synclinev1.Watch, err error) { r.missed(rep, w, err) })
	rep.look = look
	if rep.sampler.has(synclinev1.Source_SOURCE_TCP_STATES) {
		look.ended = rep.sampler.ended
	}
	r.mu.Lock()
	if r.finishing {
		r.mu.Unlock()
		cancel()
		return
	}
	if r.repetition != nil {
		r.repetition.cancel()
	}
	// Whatever the taps hear from now on is looked at after what came early.
	look.hearing.Lock()
	early, overlooked := r.early, r.overlooked
	r.early, r.overlooked = nil, 0
	r.repetition, r.number = rep, s.Repetition
	rep.sampler.before = r.counters
	r.mu.Unlock()
	look.look(early)
	if blind := r.blind(); blind != nil {
		look.overlook(blind)
	} else if overlooked > 0 {
		look.overlook(fmt.Errorf("%d packets were here before the start of the repetition was, beyond the %d that an agent keeps until then", overlooked, maxEarly))
	}
	look.hearing.Unlock()
	r.mark(s.Repetition, synclinev1.MarkKind_MARK_KIND_REPETITION_BEGIN, "", 0)
	if err == nil && len(s.Lanes) > maxLanes {
		err = fmt.Errorf("%d lanes; an agent runs at most %d at once", len(s.Lanes), maxLanes)
	}
	if err != nil {
		for _, l := range s.Lanes {
			r.laneEndedHere(rep, l.Name, err)
		}
		return
	}
	rep.sampler.begin(ctx)
	if r.own.IsLoopback() {
		keepApart(s.Lanes, r.runs.cfg.Name)
	}
	group := r.group(ctx, rep, s.Lanes)
	rep.lanes.Go(func() { group.Run(ctx) })
}

// blind says why this host hears no packets, nil if it does.
func (r *run) blind() error {
	r.mu.Lock()
	deaf := r.capture == nil
	r.mu.Unlock()
	if !deaf {
		return nil
	}
	if err := packet.Available(); err != nil {
		return err
	}
	return errors.New("packets are not among the sources that are observed now")
}

// group is the lanes of one repetition with all they need of the agent.
func (r *run) group(ctx context.Context, rep *repetition, lanes []*synclinev1.Lane) *lane.Group {
	shared := r.shared()
	g := &lane.Group{
		Config: lane.Config{
			Board: rep.board,
			Allow: r.allow,
			Emit: func(e *synclinev1.Event) {
				// The event is the stream's once it is emitted.
				rep.look.called(e.GetCall())
				if shared != nil && e.GetCall() != nil {
					shared.called(e.GetCall())
				}
				r.emit(e)
			},
			Signalled: func(lane, name string) { r.signalled(rep, lane, name) },
			Arrived: func(lane, meeting string) {
				r.runs.send(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Arrived{Arrived: &synclinev1.Arrived{
					RunId: r.plan.RunId, Repetition: rep.number, Meeting: meeting, Lane: lane,
				}}})
			},
			Change:  func(ctx context.Context, _, name string, undo bool) error { return r.changes.named(ctx, name, undo) },
			TCPInfo: slices.Contains(r.watching(), synclinev1.Source_SOURCE_TCP_INFO),
		},
		Lanes: lanes,
		Ended: func(lane string, err error) { r.laneEndedHere(rep, lane, err) },
	}
	if len(rep.look.states) > 0 {
		g.Made = func(s lane.Socket) { rep.look.made(ctx, s) }
	}
	return g
}

// laneEndedHere tells this host's lanes and the controller that a lane is through.
// One that a step of the experiment killed has not failed.
func (r *run) laneEndedHere(rep *repetition, name string, err error) {
	failure := ""
	if err != nil && !errors.Is(err, lane.ErrKilled) {
		failure = err.Error()
	}
	rep.board.End(name, failure)
	r.runs.send(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_LaneEnded{LaneEnded: &synclinev1.LaneEnded{
		RunId: r.plan.RunId, Repetition: rep.number, Lane: name, Failure: failure,
	}}})
}

// signalled brings a signal of this host to the others.
func (r *run) signalled(rep *repetition, lane, name string) {
	r.emitSignal(lane, name, true)
	r.runs.send(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Signal{Signal: &synclinev1.SignalSent{
		RunId: r.plan.RunId, Repetition: rep.number, Lane: lane, Name: name,
	}}})
}

// sighted releases those who wait for what a watch has seen.
func (r *run) sighted(rep *repetition, w *synclinev1.Watch) {
	rep.board.Post("", w.Id)
	r.signalled(rep, "", w.Id)
}

// missed ends the waits for what a watch can never see any more, on every host.
func (r *run) missed(rep *repetition, w *synclinev1.Watch, err error) {
	reason := fmt.Sprintf("agent %s cannot see any more what %s waits for: %v", r.runs.cfg.Name, w.Text, err)
	rep.board.Fail(w.Id, reason)
	r.runs.send(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Signal{Signal: &synclinev1.SignalSent{
		RunId: r.plan.RunId, Repetition: rep.number, Name: w.Id, Failure: reason,
	}}})
}

// meeting releases the lanes of a meeting.
func (r *run) meeting(m *synclinev1.Meeting) {
	if rep := r.current(m.Repetition); rep != nil {
		rep.board.Release(m.Name, r.runs.cfg.TestClock.HostMonotonic(m.AtNs), m.Error)
	}
}

// allow is the agent's own rule on where it connects: to the hosts of the run, on
// the ports of its flows, and nowhere else. Port 0 is a raw socket's.
func (r *run) allow(to netip.AddrPort) error {
	if !slices.Contains(r.hosts, to.Addr().Unmap()) {
		return fmt.Errorf("agent %s connects to the hosts of the run only, and %s is none of them", r.runs.cfg.Name, to.Addr())
	}
	within := func(ports kernel.PortRange) bool { return ports.Low <= to.Port() && to.Port() <= ports.High }
	if to.Port() != 0 && !slices.Contains(r.flows.Ports, to.Port()) && !slices.ContainsFunc(r.flows.Ranges, within) {
		return fmt.Errorf("agent %s connects to the ports of the run only, and %d is none of them", r.runs.cfg.Name, to.Port())
	}
	return nil
}

func (r *run) emitSignal(lane, name string, sent bool) {
	r.emit(&synclinev1.Event{
		TimeNs: clock.Now(),
		Fact:   &synclinev1.Event_Signal{Signal: &synclinev1.Signal{Lane: lane, Name: name, Sent: sent}},
	})
}

// current is the repetition with a number, nil if that is not the one at work.
func (r *run) current(number uint32) *repetition {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.repetition == nil || r.repetition.number != number {
		return nil
	}
	return r.repetition
}

// signal brings a signal of another host to this host's lanes. The event comes
// first, so that its time is not after what the signal sets going.
func (r *run) signal(s *synclinev1.SignalSent) {
	rep := r.current(s.Repetition)
	switch {
	case rep == nil:
	case s.Failure != "":
		rep.board.Fail(s.Name, s.Failure)
	default:
		r.emitSignal(s.Lane, s.Name, false)
		rep.board.Post(s.Lane, s.Name)
	}
}

func (r *run) laneEnded(l *synclinev1.LaneEnded) {
	if rep := r.current(l.Repetition); rep != nil {
		rep.board.End(l.Lane, l.Failure)
	}
}

// settle answers when the kernel has nothing more to send for the run's flows.
func (r *run) settle(s *synclinev1.Settle) {
	r.later(func() {
		ctx, cancel := context.WithTimeout(r.steps, time.Duration(s.TimeoutNs))
		defer cancel()
		answer := &synclinev1.Quiet{RunId: r.plan.RunId, Repetition: s.Repetition}
		if err := r.changes.undoNamed(ctx); err != nil {
			answer.Busy = append(answer.Busy, err.Error())
		}
		busy, err := kernel.Quiet(ctx, r.flows)
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			answer.Busy = append(answer.Busy, err.Error())
		}
		for _, b := range busy {
			answer.Busy = append(answer.Busy, b.String())
		}
		if len(answer.Busy) > 0 {
			r.mark(s.Repetition, synclinev1.MarkKind_MARK_KIND_NOT_QUIET, strings.Join(answer.Busy, "; "), 0)
		}
		r.runs.send(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Quiet{Quiet: answer}})
	})
}

// drain answers when every packet of the repetition, and what the kernel has told of it,
// is an event.
func (r *run) drain(d *synclinev1.Drain) {
	r.later(func() {
		answer := &synclinev1.Drained{RunId: r.plan.RunId, Repetition: d.Repetition}
		err := r.readTaps(r.steps, drainLimit, time.Duration(d.SilenceNs))
		if err == nil {
			err = r.readTracer(r.steps)
		}
		if rep := r.current(d.Repetition); rep != nil {
			// Its lanes have ended: nobody waits for its watches any more, and what they
			// would see belongs to no repetition.
			rep.cancel()
			rep.look.looking.Wait()
		}
		if rep := r.current(d.Repetition); err == nil && rep != nil {
			err = rep.sampler.end()
		}
		if err == nil {
			err = r.readCounters()
		}
		if err != nil {
			answer.Error = err.Error()
		} else {
			r.mark(d.Repetition, synclinev1.MarkKind_MARK_KIND_REPETITION_END, "", 0)
			r.pass(d)
		}
		if d.Flush {
			answer.LastEvent = r.stream.flush()
		}
		r.runs.send(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Drained{Drained: answer}})
	})
}

// pass moves on to the next repetition, unless other taps are opened before that.
func (r *run) pass(d *synclinev1.Drain) {
	if d.Hold {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.number = d.Repetition + 1
}

func (r *run) readTaps(ctx context.Context, limit, silence time.Duration) error {
	if r.capture == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := r.capture.Drain(ctx, silence); err != nil {
		return fmt.Errorf("read the taps to their end: %w", err)
	}
	return nil
}

// cancelled ends a repetition's lanes, or the whole run.
func (r *run) cancelled(c *synclinev1.Cancel) {
	if c.Repetition == 0 {
		r.finish(c.Reason)
		return
	}
	if rep := r.current(c.Repetition); rep != nil {
		rep.cancel()
	}
}

// finish ends the run once: lanes first, then taps, then the stream. It returns at
// once; done tells when it is through. The cause is empty for a run that came to
// its own end.
func (r *run) finish(cause string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if cause != "" {
		r.stopSteps()
		if r.repetition != nil {
			r.repetition.cancel()
		}
	}
	if r.finishing {
		return
	}
	r.finishing = true
	if cause != "" {
		r.log.Warn("run ended early", "cause", cause)
	}
	last := r.repetition
	go func() {
		r.jobs <- func() { r.end(last, cause) }
		close(r.jobs)
	}()
}

func (r *run) end(last *repetition, cause string) {
	if last != nil {
		last.lanes.Wait()
		last.cancel()
		last.look.looking.Wait()
	}
	final := &synclinev1.Finished{
		RunId: r.plan.RunId, Epoch: r.newestEpoch(), Incarnation: r.runs.incarnation, Error: cause,
	}
	var err error
	r.mu.Lock()
	if lost := r.leaseCause(); r.lease.out && cause != lost {
		// What its lanes lack is not what the run asked for.
		final.Error = strings.TrimPrefix(cause+"; "+lost, "; ")
	}
	alone := r.lease.out
	r.mu.Unlock()
	if alone {
		// While the taps still hear it.
		final.Error += r.endOrphans()
	}
	cause = final.Error
	if last != nil {
		err = last.sampler.endQueues()
	}
	// A cancel must not keep the host changed.
	ctx, cancel := context.WithTimeout(context.Background(), undoLimit)
	defer cancel()
	err = errors.Join(err, r.changes.undo(ctx), r.closeTaps(), r.closeTracer())
	switch {
	case err != nil && cause == "":
		final.Error = err.Error()
	case err != nil:
		final.Error = cause + "; " + err.Error()
	}
	r.runs.probes.endOf(r)
	r.clocksKept()
	final.LastEvent, final.LastChunk = r.stream.finish()
	r.mu.Lock()
	final.Gap = r.gap
	r.finished = final
	r.mu.Unlock()
	r.repeatFinished()
	r.runs.pokeSpool(false)
}

// lose notes that chunks which had been recorded cannot be read back.
func (r *run) lose(cause error) {
	r.log.Error("chunks of the spool cannot be read any more", "cause", cause)
	r.mu.Lock()
	r.gap = joined(r.gap, cause.Error())
	if r.finished != nil {
		r.finished = proto.CloneOf(r.finished)
		r.finished.Gap = r.gap
	}
	r.mu.Unlock()
	r.repeatFinished()
}

// closeTaps reads what is left in the rings, then closes them.
func (r *run) closeTaps() error {
	if r.capture == nil {
		return nil
	}
	err := r.readTaps(r.ctx, closeLimit, 0)
	err = errors.Join(err, r.capture.Close())
	r.tapping.Wait()
	// Only now can no packet come any more.
	frames, _ := r.capture.Frames()
	if r.tapErr != nil && !errors.Is(r.tapErr, context.Canceled) {
		err = errors.Join(err, r.tapErr)
	}
	r.mark(r.armedFor, synclinev1.MarkKind_MARK_KIND_CLOSED, "", frames)
	return err
}

// repeatFinished tells the controller how much the stream holds, if it is whole.
func (r *run) repeatFinished() {
	r.mu.Lock()
	final := r.finished
	r.mu.Unlock()
	if final != nil {
		r.runs.send(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Finished{Finished: final}})
	}
}
