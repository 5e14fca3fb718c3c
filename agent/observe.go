package agent

import (
	"context"
	"errors"
	"slices"

	"syncline/agent/clock"
	"syncline/agent/kernel"
	synclinev1 "syncline/proto/syncline/v1"
)

// sampler reads what the kernel shows of a repetition beside packets and calls: its
// counters before and after, the queues of listeners while it runs, the sockets that
// are left. It belongs to the run's jobs.
type sampler struct {
	flows   kernel.Flows
	sources []synclinev1.Source
	emit    func(...*synclinev1.Event)
	// before are the counters as the repetition before left them, see run.counters.
	before kernel.Counters
	// queues ends with stop; its error is the loss of the source.
	queues  chan error
	stopped context.CancelFunc
}

func (s *sampler) has(source synclinev1.Source) bool { return slices.Contains(s.sources, source) }

// begin begins to sample queues.
func (s *sampler) begin(ctx context.Context) {
	if s.has(synclinev1.Source_SOURCE_ACCEPT_QUEUE) {
		ctx, s.stopped = context.WithCancel(ctx)
		s.queues = make(chan error, 1)
		watch := &kernel.QueueWatch{Flows: s.flows}
		go func() { s.queues <- watch.Run(ctx, func(e *synclinev1.Event) { s.emit(e) }) }()
	}
}

// end stops sampling and reports what is left. It may be called without begin.
func (s *sampler) end() error {
	err := s.endQueues()
	if s.has(synclinev1.Source_SOURCE_COUNTERS) && s.before.Values != nil {
		after, cerr := kernel.ReadCounters()
		if err = errors.Join(err, cerr); cerr == nil {
			s.emit(&synclinev1.Event{TimeNs: after.Ended, Fact: &synclinev1.Event_Counters{Counters: kernel.Delta(s.before, after)}})
		}
		s.before = kernel.Counters{}
	}
	if s.has(synclinev1.Source_SOURCE_TCP_STATES) {
		sockets, derr := kernel.Dump(s.flows)
		if err = errors.Join(err, derr); derr == nil {
			now := clock.Now()
			for _, state := range kernel.Final(sockets) {
				s.emit(&synclinev1.Event{TimeNs: now, Fact: &synclinev1.Event_SocketState{SocketState: state}})
			}
		}
	}
	return err
}

// ended reports that a socket is gone, and when it was there last. No packet and no trace
// tells of the end of what is left of a connection: TIME_WAIT, and the FIN_WAIT2 of an
// orphan.
func (s *sampler) ended(seen kernel.Sighting) {
	if seen.WasNs == 0 || !seen.Remote.IsValid() {
		return
	}
	shown := func(at int64, state kernel.State) *synclinev1.Event {
		return &synclinev1.Event{TimeNs: at, Fact: &synclinev1.Event_SocketState{SocketState: &synclinev1.SocketState{
			LocalAddress: seen.Local.String(), PeerAddress: seen.Remote.String(), State: uint32(state),
		}}}
	}
	s.emit(shown(seen.WasNs, seen.Was), shown(seen.TimeNs, seen.State))
}

func (s *sampler) endQueues() error {
	if s.queues == nil {
		return nil
	}
	s.stopped()
	err := <-s.queues
	s.queues = nil
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// readCounters keeps the counters for the repetition that comes next. It is done
// before this host answers that it is ready for that one, and not when its own lanes
// start: a host whose start comes late has heard another one's packets by then.
func (r *run) readCounters() error {
	if !slices.Contains(r.watching(), synclinev1.Source_SOURCE_COUNTERS) {
		return nil
	}
	read, err := kernel.ReadCounters()
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.counters = read
	r.mu.Unlock()
	return nil
}
