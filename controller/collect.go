package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"syncline/controller/store"
	synclinev1 "syncline/proto/syncline/v1"
)

// bring takes a run to its final state: every agent ends its part and says how
// much it recorded, the chunks arrive, the run is sealed. The cause is nil for a
// run that came to its own end. What is known to be missing is written into the
// run, and a run with anything missing is never sealed as complete.
//
// A seal that the store cannot take now is tried until it can: a run must never be
// left without anyone who works on it.
//
// A controller that is shutting down has little time: what has not arrived by then
// is missing, unless the next controller finds the run unfinished; so it is left
// unfinished for that one.
func (r *runner) bring(ctx context.Context, cause error) {
	r.unmeasured(cause)
	r.endParts(cause)
	r.await(ctx, r.awaitLimit(cause), r.allFinished)
	if err := r.change(ctx, r.collecting(cause)); err != nil && ctx.Err() == nil {
		r.log.Error("run not marked as collecting", "cause", err)
	}
	r.awaitStored(ctx)
	if ctx.Err() != nil {
		r.log.Warn("run left unfinished; the next leader, or the next start of the controller, ends it")
		return
	}
	for {
		err := r.seal(ctx, cause)
		if err == nil {
			break
		}
		r.log.Error("run not sealed", "cause", err)
		if errors.Is(err, store.ErrTransition) && cause == nil {
			cause = fmt.Errorf("the store does not seal it: %w", err)
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
	r.sendConnected(&synclinev1.ControlResponse{Message: &synclinev1.ControlResponse_Release{Release: &synclinev1.Release{RunId: r.run.ID, Epoch: r.epoch}}})
}

// cancelledPrefix begins the reason of a run that an operator ended, as long as it is not over.
const cancelledPrefix = "cancelled: "

// reasonOf is a cause as whoever takes the run over finds it; "" for a run that came to its own
// end.
func reasonOf(cause error) string {
	var cancelled *cancelledError
	switch {
	case cause == nil:
		return ""
	case errors.As(cause, &cancelled):
		return cancelledPrefix + clip(cancelled.reason)
	}
	return clip(cause.Error())
}

// left is the cause that an earlier leader had to end a run; nil if it had none.
func left(run store.Run) error {
	if reason, ok := strings.CutPrefix(run.Reason, cancelledPrefix); ok {
		return &cancelledError{reason}
	}
	if run.Reason != "" {
		return errors.New(run.Reason)
	}
	return nil
}

// collecting is the change that says how far the run came, and why no further. One that
// never ran its lanes goes to its final state from where it is.
func (r *runner) collecting(cause error) store.RunChange {
	change := store.RunChange{RepetitionsDone: r.done, Variants: slices.Clone(r.variants), Warnings: r.probeWarnings(), Reason: reasonOf(cause)}
	if r.measurement != nil {
		change.Overhead = overheadToStore(r.measurement.overhead)
	}
	if r.run.State == store.Running {
		change.State = store.Collecting
	}
	return change
}

// endParts asks every agent to end its part.
func (r *runner) endParts(cause error) {
	r.ending = &synclinev1.ControlResponse{Message: &synclinev1.ControlResponse_Finish{Finish: &synclinev1.Finish{RunId: r.run.ID, Epoch: r.epoch}}}
	if cause != nil {
		r.ending = &synclinev1.ControlResponse{Message: &synclinev1.ControlResponse_Cancel{Cancel: &synclinev1.Cancel{RunId: r.run.ID, Epoch: r.epoch, Reason: cause.Error()}}}
	}
	r.sendConnected(r.ending)
}

func (r *runner) sendConnected(m *synclinev1.ControlResponse) {
	for _, agent := range r.agents {
		r.controller.sessions.send(agent, m)
	}
}

// awaitLimit is how long agents may take to end their parts. Before a run was
// armed there is nothing to wait for.
func (r *runner) awaitLimit(cause error) time.Duration {
	switch {
	case cause != nil && r.run.State == store.Planned && len(r.prepared) == 0:
		return 0
	case r.configured:
		return lostLimit + undoLimit
	case r.taken:
		return returnLimit
	}
	return lostLimit
}

// await hears news until done, the limit, or the controller's end. A second
// cancel, or an agent that goes and comes, changes nothing any more but who is
// waited for: an agent that comes back is told again to end its part.
func (r *runner) await(ctx context.Context, limit time.Duration, done func() bool) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-r.chunks:
		case <-r.cancels:
		case n := <-r.inbox:
			r.note(n)
		}
	}
}

func (r *runner) note(n news) {
	switch {
	case n.back && r.finished[n.agent] == nil:
		r.controller.sessions.send(n.agent, r.ending)
	case n.message.GetFinished().GetRunId() == r.run.ID:
		r.finished[n.agent] = n.message.GetFinished()
	}
}

// allFinished reports whether every agent that has a part has ended it. Before all have
// answered, only those that did have one.
func (r *runner) allFinished() bool {
	if r.run.State != store.Planned {
		return len(r.finished) == len(r.agents)
	}
	for agent := range r.prepared {
		if r.finished[agent] == nil {
			return false
		}
	}
	return true
}

// allStored reports whether every chunk that a finished agent made is committed.
func (r *runner) allStored() bool {
	streams := r.controller.store.Streams(r.run.ID)
	for agent, f := range r.finished {
		if !whole(streams, agent, f) {
			return false
		}
	}
	return true
}

// whole reports whether all is stored that an agent says it recorded.
func whole(streams []store.Stream, agent string, f *synclinev1.Finished) bool {
	s := streamOf(streams, agent, f.Incarnation)
	return s.Contiguous >= f.LastChunk && s.LastEvent >= f.LastEvent
}

// awaitStored returns when everything has arrived. It does not wait for what will not: an agent that says
// it has a gap, such as chunks that are damaged on its disk, may send the rest for as long as something comes.
func (r *runner) awaitStored(ctx context.Context) {
	for until := time.Now().Add(collectLimit); !r.allStored() && ctx.Err() == nil; {
		limit, before := time.Until(until), r.arrived()
		if limit <= 0 {
			return
		}
		if r.onlyGaps() {
			limit = min(limit, gapSilence)
		}
		r.await(ctx, limit, func() bool { return r.allStored() || r.arrived() > before })
		if r.arrived() == before {
			return
		}
	}
}

// onlyGaps reports whether all whose chunks have not all arrived say that they have a gap.
func (r *runner) onlyGaps() bool {
	streams := r.controller.store.Streams(r.run.ID)
	for agent, f := range r.finished {
		if f.GetGap() == "" && !whole(streams, agent, f) {
			return false
		}
	}
	return true
}

// arrived is how many chunks of the run are stored.
func (r *runner) arrived() (n uint64) {
	for _, s := range r.controller.store.Streams(r.run.ID) {
		n += s.Chunks
	}
	return n
}

// streamOf is what is stored of one start of an agent; the zero Stream if nothing is.
func streamOf(streams []store.Stream, agent string, incarnation uint64) store.Stream {
	for _, s := range streams {
		if s.Agent == agent && s.Incarnation == incarnation {
			return s
		}
	}
	return store.Stream{}
}

// missing says what the run lacks.
func (r *runner) missing(cause error) []string {
	var missing []string
	streams := r.controller.store.Streams(r.run.ID)
	for _, agent := range r.agents {
		f := r.finished[agent]
		s := streamOf(streams, agent, f.GetIncarnation())
		if f.GetGap() != "" {
			missing = append(missing, fmt.Sprintf("%s (%d events in %d chunks of it are stored)", clip(f.Gap), s.Events, s.Chunks))
		}
		switch {
		case f == nil && r.run.State == store.Planned:
		case f == nil:
			missing = append(missing, fmt.Sprintf("agent %s never said how much it recorded", agent))
		case s.Contiguous < f.LastChunk || s.LastEvent < f.LastEvent:
			missing = append(missing, fmt.Sprintf("agent %s recorded %d events in %d chunks, %d in %d arrived", agent, f.LastEvent, f.LastChunk, s.Events, s.Chunks))
		case f.Error != "" && cause == nil:
			missing = append(missing, fmt.Sprintf("agent %s: %s", agent, f.Error))
		}
	}
	if cause != nil {
		missing = append(missing, cause.Error())
	}
	for i, what := range missing {
		missing[i] = clip(what)
	}
	return missing
}

// maxCause bounds what one agent or operator may have written into a run: the causes
// of all of its hosts must fit one entry of the log.
const maxCause = 512

func clip(s string) string {
	if len(s) <= maxCause {
		return s
	}
	return strings.ToValidUTF8(s[:maxCause], "") + "…"
}

// seal gives the run its final state.
func (r *runner) seal(ctx context.Context, cause error) error {
	final := store.Sealing{Epoch: r.run.Epoch, State: store.Sealed, Incomplete: r.missing(cause)}
	var cancelled *cancelledError
	switch {
	case errors.As(cause, &cancelled):
		final.State, final.Reason = store.Cancelled, clip(cancelled.reason)
	case cause != nil:
		final.State, final.Reason = store.Failed, clip(cause.Error())
	case len(final.Incomplete) > 0:
		final.State, final.Reason = store.Failed, final.Incomplete[0]
	}
	run, err := r.controller.store.Seal(ctx, r.run.ID, final)
	if err != nil {
		return err
	}
	r.run = run
	return nil
}

func sortedKeys(m map[string]bool) []string { return slices.Sorted(maps.Keys(m)) }
