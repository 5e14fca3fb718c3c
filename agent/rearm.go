package agent

import (
	"errors"
	"slices"

	synclinev1 "syncline/proto/syncline/v1"
)

// rearm closes the taps and the tracer of the sources until now, so that others can be
// opened. It is how the controller measures what each source costs: the lanes that run
// before the next Arm are watched by these sources alone. No sources: those of the plan
// stay.
//
// What the old taps have left is of the repetition that they were heard in, or with
// Drain.hold of the one drained last. Only when they are closed does the number move on,
// so none of it is counted to the repetition that the new ones are for, and nobody who
// waits for a packet there is told of one of theirs.
//
// It is a job of the run, between two repetitions.
func (r *run) rearm(m *synclinev1.Arm) error {
	if len(m.Sources) == 0 {
		return nil
	}
	err := errors.Join(r.closeTaps(), r.closeTracer())
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.repetition != nil {
		r.number = max(r.number, r.repetition.number+1)
	}
	if m.Repetition > 0 {
		r.number = m.Repetition
	}
	r.early, r.overlooked = nil, 0
	r.sources, r.armedFor = slices.Clone(m.Sources), r.number
	r.capture = nil
	return err
}

// watching are the sources asked for now. The slice is never written to.
func (r *run) watching() []synclinev1.Source {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sources
}

// usage is what the agent and its machine have used so far; nil where that cannot be
// read, and there is no figure then.
func (r *run) usage() *synclinev1.Usage {
	u, err := readUsage()
	if err != nil {
		r.log.Warn("what watching costs in processor time is not known", "cause", err)
		return nil
	}
	return u
}
