package controller

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"syncline/controller/store"
	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

const (
	// planProbeTime is how long clocks are probed for a plan, at the rate of the run, and
	// planProbeHosts how many hosts at most: a plan is to be there at once.
	planProbeTime  = 200 * time.Millisecond
	planProbeHosts = pairAllUpTo
	// planPoints is at how many moments the error is looked at whose median a plan tells.
	planPoints = 21
	// planRunEvents bounds the runs that are read for what they knew of their clocks.
	planRunEvents = 200_000
)

// planClocks says how well the clocks of each pair of hosts will be known: the hosts that
// agents are bound to. One clock is known exactly; others are probed now, for a moment; what
// that does not tell the last whole run of the same file on the same agents may.
func (c *Controller) planClocks(ctx context.Context, plan *synclinev1.Plan, p planned, q *synclinev1.PlanExperimentRequest, hosts []store.RunHost) error {
	wanted, err := probingWanted(q.Probing, len(hosts))
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	known := map[hostPair]clockKnown{}
	for i := range hosts {
		for j := i + 1; j < len(hosts); j++ {
			switch {
			case hosts[i].Agent == "" || hosts[j].Agent == "":
			case hosts[i].ClockID == hosts[j].ClockID:
				known[hostPair{i, j}] = clockKnown{known: true, by: "same clock"}
			default:
				known[hostPair{i, j}] = clockKnown{}
			}
		}
	}
	if err := c.foretellClocks(ctx, known, q, hosts, wanted); err != nil {
		return err
	}
	for i := range hosts {
		for j := i + 1; j < len(hosts); j++ {
			k, ok := known[hostPair{i, j}]
			if !ok {
				continue
			}
			m := &synclinev1.PlanClock{Host: hosts[i].Name, Peer: hosts[j].Name, By: k.by}
			if k.known {
				m.ErrorNs = &k.err
			}
			plan.Clocks = append(plan.Clocks, m)
		}
	}
	if plan.ClockDoubts, err = clockDoubts(p.exp, known); err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	return nil
}

// foretellClocks fills in the pairs of which nothing is known yet.
func (c *Controller) foretellClocks(ctx context.Context, known map[hostPair]clockKnown, q *synclinev1.PlanExperimentRequest, hosts []store.RunHost, wanted store.Probing) error {
	if !openPairs(known) {
		return nil
	}
	why, err := c.probeForPlan(ctx, known, hosts, wanted)
	if err != nil || !openPairs(known) {
		return err
	}
	id, errs := c.lastRunsClocks(ctx, q, hosts, wanted)
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	for pair, k := range known {
		if k.known {
			continue
		}
		if ns, ok := errs[pair]; ok {
			known[pair] = clockKnown{err: ns, known: true, by: "run " + id}
			continue
		}
		known[pair] = clockKnown{by: why}
	}
	return nil
}

func openPairs(known map[hostPair]clockKnown) bool {
	for _, k := range known {
		if !k.known {
			return true
		}
	}
	return false
}

// probeForPlan probes the hosts of a plan for a moment. why is what kept it from telling of
// the pairs that are still open; the error is that of a caller who has gone, or of a
// controller that ends.
func (c *Controller) probeForPlan(ctx context.Context, known map[hostPair]clockKnown, hosts []store.RunHost, wanted store.Probing) (why string, err error) {
	if wanted.Off {
		return "the run is not to probe", nil
	}
	p := &probing{session: newProbeSession(), wanted: wanted}
	var places []int
	for i, h := range hosts {
		a, ok := c.store.Agent(h.Agent)
		at := c.sessions.get(h.Agent)
		if ok && at != nil {
			p.hosts, places = append(p.hosts, newProbeHost(h.Name, a, at)), append(places, i)
		}
	}
	switch {
	case len(p.hosts) > planProbeHosts:
		return fmt.Sprintf("a plan probes %d hosts at most; a run does probe", planProbeHosts), nil
	case !p.needed():
		return firstOf(p.warnings(), "the agents are gone"), nil
	}
	if err := c.probeNow(ctx, p, planProbeTime); errors.Is(err, errManyProbings) {
		return err.Error(), nil
	} else if err != nil {
		return "", c.probeStatus(ctx, err)
	}
	var names []string
	for _, h := range p.hosts {
		names = append(names, h.name)
	}
	errs, err := clockErrors(names, func(reference string) (*synclinev1.ClockReport, error) {
		return reportOn(p, reference, planPoints)
	})
	if err != nil {
		// Nobody saw anything of the others: the warnings say why.
		return firstOf(p.warnings(), err.Error()), nil
	}
	for pair, ns := range errs {
		if at := pairOf(places[pair.a], places[pair.b]); !known[at].known {
			known[at] = clockKnown{err: ns, known: true, by: "probed just now"}
		}
	}
	return firstOf(p.warnings(), "no probe of theirs was answered"), nil
}

func firstOf(all []string, otherwise string) string {
	if len(all) > 0 {
		return all[0]
	}
	return otherwise
}

// lastRunsClocks is what the newest whole run of the same file by the same agents knew of
// its clocks, by all it had; a run that is not to probe is foretold by one that did not. No
// errs: there was none, or it cannot be read any more.
func (c *Controller) lastRunsClocks(ctx context.Context, q *synclinev1.PlanExperimentRequest, hosts []store.RunHost, wanted store.Probing) (id string, errs map[hostPair]int64) {
	for _, run := range c.store.Runs() {
		// One that is archived is not fetched for this.
		if run.State != store.Sealed || !run.Here() || run.Events > planRunEvents || !bytes.Equal(run.Source, q.Source) || !samePlayers(run.Hosts, hosts) ||
			wanted.Off && run.Probing.Rate > 0 {
			continue
		}
		b, err := c.records.cache.builder(ctx, run)
		if err != nil {
			c.cfg.Log.Warn("a plan does without an earlier run", "run", run.ID, "cause", err)
			return "", nil
		}
		var names []string
		for _, h := range run.Hosts {
			names = append(names, h.Name)
		}
		errs, err := clockErrors(names, func(reference string) (*synclinev1.ClockReport, error) {
			of, err := b.WithReference(reference)
			if err != nil {
				return nil, err
			}
			report, err := of.ClockReport(planPoints)
			if err != nil {
				return nil, err
			}
			return clockReportToProto(report, b.hosts), nil
		})
		if err != nil && !errors.Is(err, timeline.ErrNoEvents) {
			c.cfg.Log.Warn("a plan does without the clocks of an earlier run", "run", run.ID, "cause", err)
		}
		return run.ID, errs
	}
	return "", nil
}

// samePlayers reports whether the same agents play the same roles.
func samePlayers(a, b []store.RunHost) bool {
	return slices.EqualFunc(a, b, func(x, y store.RunHost) bool { return x.Name == y.Name && x.Agent == y.Agent })
}
