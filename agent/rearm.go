package agent

import (
	"errors"
	"slices"

	synclinev1 "syncline/proto/syncline/v1"
)

// rearm closes the taps and the tracer of the sources until now, so that others can be opened. It is
// how the controller measures what each source costs: the lanes that run before the
// next Arm are watched by these sources alone. No sources: those of the plan stay.
//
// It is a job of the run, between two repetitions.
func (r *run) rearm(sources []synclinev1.Source) error {
	if len(sources) == 0 {
		return nil
	}
	if err := errors.Join(r.closeTaps(), r.closeTracer()); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sources, r.armedFor = slices.Clone(sources), r.number
	r.capture = nil
	return nil
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
