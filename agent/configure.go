package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"syncline/agent/clock"
	"syncline/agent/setup"
	synclinev1 "syncline/proto/syncline/v1"
)

// changes are what a run has changed on this host. Its methods are called by the
// run's jobs, one after the other, but for named, which lanes call.
type changes struct {
	host   *setup.Host
	target setup.Target
	emit   func(*synclinev1.ChangeMade)
	// goingDown is told before an interface is taken down.
	goingDown func()
	// byName are the changes that lanes may apply; configure sets a new map.
	mu     sync.Mutex
	byName map[string]*synclinev1.Setup
}

// configure undoes what the run has changed so far, and makes what it is asked for.
func (c *changes) configure(ctx context.Context, m *synclinev1.Configure) error {
	if err := c.undo(ctx); err != nil {
		return err
	}
	byName := map[string]*synclinev1.Setup{}
	for _, s := range m.Changes {
		if s.Name == "" {
			return errors.New("the controller sent a change for lanes to apply that has no name")
		}
		byName[s.Name] = s
	}
	c.mu.Lock()
	c.byName = byName
	c.mu.Unlock()
	for _, s := range m.Setups {
		c.warn(s)
		if err := c.host.Apply(ctx, c.target, s, c.emit); err != nil {
			return errors.Join(err, c.undo(ctx))
		}
	}
	return nil
}

// named applies one change for a lane, or takes it back.
func (c *changes) named(ctx context.Context, name string, undo bool) error {
	s := c.changes()[name]
	switch {
	case s == nil:
		return fmt.Errorf("this host has no change %s", name)
	case undo:
		return c.host.Undo(ctx, name, c.emit)
	}
	c.warn(s)
	return c.host.Apply(ctx, c.target, s, c.emit)
}

// warn tells the taps that the lab itself takes their interface down.
func (c *changes) warn(s *synclinev1.Setup) {
	if slices.ContainsFunc(s.Changes, func(c *synclinev1.Change) bool { return c.GetLink().GetDown() }) {
		c.goingDown()
	}
}

func (c *changes) changes() map[string]*synclinev1.Setup {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byName
}

// undoNamed takes back what lanes applied and left in place.
func (c *changes) undoNamed(ctx context.Context) error {
	var errs []error
	for name := range c.changes() {
		if err := c.host.Undo(ctx, name, c.emit); !errors.Is(err, setup.ErrNotApplied) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// undo takes back everything.
func (c *changes) undo(ctx context.Context) error {
	if c.changes() == nil {
		return nil // nothing was ever to be changed
	}
	if err := c.host.UndoAll(ctx, c.emit); err != nil {
		return fmt.Errorf("take back what the run changed on this host: %w", err)
	}
	return nil
}

// newChanges prepares what a run may change; nothing is changed yet.
func (r *run) newChanges() *changes {
	c := &changes{
		host: r.runs.host,
		target: setup.Target{
			Own: r.own, Peers: r.peers, RunID: r.plan.RunId,
		},
	}
	c.goingDown = func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.capture != nil {
			r.capture.ExpectDown()
		}
	}
	c.emit = func(made *synclinev1.ChangeMade) {
		e := &synclinev1.Event{TimeNs: clock.Now(), Fact: &synclinev1.Event_Change{Change: made}}
		if made.Undone && made.Name == "" {
			// It stood for many repetitions; its end is of none of them.
			r.stream.add(0, e)
			return
		}
		r.emit(e)
	}
	return c
}

// configure answers when the host is as the variant asks for.
func (r *run) configure(m *synclinev1.Configure) {
	if !r.leased() {
		return
	}
	r.later(func() {
		answer := &synclinev1.Configured{RunId: r.plan.RunId, Epoch: r.newestEpoch()}
		// What must stay untouched, so that the controller can take all this back.
		r.changes.target.Control, r.changes.target.Controller = r.runs.control()
		err := r.changes.configure(r.steps, m)
		if err == nil {
			err = r.readCounters() // what the changes did to them is nobody's
		}
		if err != nil {
			answer.Error = err.Error()
		}
		r.runs.send(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Configured{Configured: answer}})
	})
}

// checkRequirements says what of a plan does not hold on this host, all of it.
func checkRequirements(agent string, all []*synclinev1.Requirement) error {
	var errs []error
	for _, q := range all {
		if err := setup.Check(q); err != nil {
			errs = append(errs, fmt.Errorf("agent %s does not meet %q: %w", agent, q.Text, err))
		}
	}
	return errors.Join(errs...)
}
