package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"syncline/agent/kernel/trace"
	synclinev1 "syncline/proto/syncline/v1"
)

// tracing is the tracer of a run while its sources ask for one. It belongs to the run's
// jobs.
type tracing struct {
	tracer *trace.Tracer
	done   sync.WaitGroup
	err    error
}

// tracepoints are what sources take of the kernel.
func tracepoints(sources []synclinev1.Source) (kinds []synclinev1.TraceKind) {
	if slices.Contains(sources, synclinev1.Source_SOURCE_TCP_STATES) {
		kinds = trace.StateKinds()
	}
	if slices.Contains(sources, synclinev1.Source_SOURCE_DROPS) {
		kinds = append(kinds, synclinev1.TraceKind_TRACE_KIND_DROP)
	}
	return kinds
}

// openTracer listens to the kernel's tracepoints if a source rests on them. Where they
// are not to be had, the run goes on without: states are then what packets and calls tell of
// them, and drops are missing.
func (r *run) openTracer() error {
	kinds := tracepoints(r.watching())
	if len(kinds) == 0 {
		return nil
	}
	shared, err := r.shares()
	if err != nil {
		return err
	}
	emit, own := r.emit, r.ownAddresses()
	if shared != nil {
		emit, own = shared.told, shared.here
	}
	tracer, err := trace.Open(trace.Config{Flows: r.flows, Own: own, Kinds: kinds})
	if errors.Is(err, trace.ErrUnavailable) {
		for _, kind := range kinds {
			if told(kind) {
				r.untraced(kind, err.Error())
			}
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("listen to the kernel's tracepoints: %w", err)
	}
	for _, missing := range tracer.Missing() {
		r.untraced(missing.Kind, missing.String())
	}
	r.tracing.tracer = tracer
	r.share(shared)
	r.tracing.done.Go(func() { r.tracing.err = tracer.Run(r.ctx, emit) })
	return nil
}

// told picks one kind of each source, so that a source is reported once.
func told(kind synclinev1.TraceKind) bool {
	return kind == synclinev1.TraceKind_TRACE_KIND_STATE || kind == synclinev1.TraceKind_TRACE_KIND_DROP
}

// untraced notes what a source cannot tell without a tracepoint, and why.
func (r *run) untraced(kind synclinev1.TraceKind, reason string) {
	source, mark := synclinev1.Source_SOURCE_TCP_STATES, synclinev1.MarkKind_MARK_KIND_SOURCE_REDUCED
	if kind == synclinev1.TraceKind_TRACE_KIND_DROP {
		source, mark = synclinev1.Source_SOURCE_DROPS, synclinev1.MarkKind_MARK_KIND_SOURCE_MISSING
	}
	r.log.Warn("the kernel's tracepoints tell less than they could", "source", sourceName(source), "cause", reason)
	r.mark(r.armedFor, mark, sourceName(source)+": "+reason, 0)
}

// ownAddresses are the addresses of the run that are this host's.
func (r *run) ownAddresses() []netip.Addr {
	return slices.DeleteFunc(slices.Clone(r.flows.Addresses), func(a netip.Addr) bool { return slices.Contains(r.peers, a) })
}

// readTracer waits until what the kernel has told so far is on record.
func (r *run) readTracer(ctx context.Context) error {
	if r.tracing.tracer == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, drainLimit)
	defer cancel()
	err := r.tracing.tracer.Flush(ctx)
	if s := r.shared(); s != nil {
		s.settle()
	}
	return err
}

// closeTracer reads what is left in the ring, and stops listening.
func (r *run) closeTracer() error {
	if r.tracing.tracer == nil {
		return nil
	}
	err := r.tracing.tracer.Close()
	r.tracing.done.Wait()
	if s := r.shared(); s != nil {
		s.settle()
		r.share(nil)
	}
	err = errors.Join(err, r.tracing.err)
	r.tracing.tracer, r.tracing.err = nil, nil
	return err
}

// tracedSources are what this process can have of the sources that rest on tracepoints.
func tracedSources() []*synclinev1.Capability {
	missing, err := trace.Probe()
	points := &synclinev1.Capability{Source: synclinev1.Source_SOURCE_TRACEPOINTS, Available: err == nil}
	drops := &synclinev1.Capability{Source: synclinev1.Source_SOURCE_DROPS, Available: err == nil}
	var unavailable *trace.Unavailable
	switch {
	case errors.As(err, &unavailable):
		points.Reason, points.Remedy = unavailable.Reason.Error(), unavailable.Remedy
	case err != nil:
		points.Reason, points.Remedy = err.Error(), "run the agent as root, or on another kernel"
	case len(missing) > 0:
		var reasons []string
		for _, m := range missing {
			reasons = append(reasons, m.String())
		}
		points.Reason, points.Remedy = strings.Join(reasons, "; "), "run a newer Linux to have these too"
	}
	drops.Reason, drops.Remedy = points.Reason, points.Remedy
	if err == nil {
		drops.Reason, drops.Remedy = "", ""
	}
	for _, m := range missing {
		if m.Kind == synclinev1.TraceKind_TRACE_KIND_DROP {
			drops.Available, drops.Reason, drops.Remedy = false, m.Reason.Error(), points.Remedy
		}
	}
	return []*synclinev1.Capability{drops, points}
}
