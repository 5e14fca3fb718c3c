package controller

import (
	"context"
	"errors"
	"time"

	"syncline/controller/store"
)

// Limits of clock probes. A run is held up by them no longer than this, and never ended.
const (
	// probesOpenLimit bounds the answer to OpenProbes: agents open sockets, no more.
	probesOpenLimit = 2 * time.Second
	// probesMeetLimit is how long after their begin the first repetition waits for every
	// pair's first exchange.
	probesMeetLimit = 250 * time.Millisecond
	// probesStopLimit bounds the last exchanges, for which agents wait 100 ms themselves.
	probesStopLimit = 2 * time.Second
)

// startProbes begins to probe the clocks of the run's hosts. What keeps hosts from it is a
// warning of the run and not its end: the segments of the experiment bound the clocks, too.
func (r *runner) startProbes(ctx context.Context) error {
	if r.run.Probing.Off || r.run.Probing == (store.Probing{}) {
		return nil
	}
	r.probes = &probing{session: r.run.ID, run: r.run.ID, wanted: r.run.Probing, quiet: r.quiet, connected: connectedRoles(r.experiment)}
	for _, h := range r.run.Hosts {
		host := &probeHost{name: h.Name, agent: h.Agent, clock: h.ClockID, lacks: r.unprobed[h.Agent]}
		if s := r.controller.sessions.get(h.Agent); s != nil {
			host.addresses = probeAddresses(s)
		}
		r.probes.hosts = append(r.probes.hosts, host)
	}
	r.tell(r.probes.open())
	if err := r.awaitProbes(ctx, "OpenProbes", probesOpenLimit, r.probes.opening); err != nil {
		return err
	}
	r.tell(r.probes.start())
	r.probesBegan = time.Now()
	return nil
}

// awaitFirstProbes lets the first repetition begin when every pair has had an exchange, so
// that its clocks are bounded from both sides, or when that has taken long enough.
func (r *runner) awaitFirstProbes(ctx context.Context) error {
	if r.probes == nil {
		return nil
	}
	timer := time.NewTimer(time.Until(r.probesBegan.Add(probesMeetLimit)))
	defer timer.Stop()
	for r.probes.meeting() {
		if _, err := r.next(ctx, timer.C); errors.Is(err, errTimeout) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}

// stopProbes ends the session before the agents' streams are cut: its last exchange bounds
// the clocks at the end of the last repetition. A run that ends in another way is
// cancelled at its agents, which ends their part in the session, too.
func (r *runner) stopProbes(ctx context.Context) error {
	if r.probes == nil {
		return nil
	}
	r.tell(r.probes.stop())
	return r.awaitProbes(ctx, "StopProbes", probesStopLimit, r.probes.stopping)
}

// awaitProbes waits for the answers of agents, and goes on without those that do not come.
func (r *runner) awaitProbes(ctx context.Context, step string, limit time.Duration, left func() []string) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for len(left()) > 0 {
		if _, err := r.next(ctx, timer.C); errors.Is(err, errTimeout) {
			r.probes.late(step, limit, left())
		} else if err != nil {
			return err
		}
	}
	return nil
}

func (r *runner) tell(all []toAgent) {
	for _, m := range all {
		r.send(m.agent, m.message)
	}
}

func (r *runner) hearProbes(n news) {
	if r.probes != nil {
		r.probes.hear(n)
	}
}

// probeWarnings are what the run says of its clock probes so far.
func (r *runner) probeWarnings() []string {
	if r.probes == nil {
		return nil
	}
	return r.probes.warnings()
}
