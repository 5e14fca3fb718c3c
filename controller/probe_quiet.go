package controller

import (
	"context"
	"regexp"
	"slices"
	"time"

	"syncline/controller/experiment"
	"syncline/controller/timeline"
)

var (
	// countsDatagrams are the kernel's counters in which clock probes would show: all but
	// those of TCP.
	countsDatagrams = regexp.MustCompile(`\b(Ip|Icmp|IcmpMsg|Udp|UdpLite|IpExt|Ip6|Icmp6|Udp6)\.`)
	// readsCounters is where an expression reads counters of a host, and picksTCP where it
	// picks one of TCP's of them by its name.
	readsCounters = regexp.MustCompile(`\bcounters\s*\(`)
	picksTCP      = regexp.MustCompile(`\bcounters\s*\([^()]*\)\s*\[\s*["'](Tcp|TcpExt|MPTcpExt)\.\w+["']\s*\]`)
)

// seesProbes reports whether clock probes would be seen in what some variant of an
// experiment judges: they make hosts ask for each other's link addresses, are answered by ICMP
// where a rule rejects them, and move counters that are not TCP's.
func seesProbes(exp *experiment.Experiment) bool {
	for v := range exp.Variants {
		// A variant that cannot be planned fails the run when its turn comes.
		if of, err := exp.At(v, 1); err == nil && variantSeesProbes(of) {
			return true
		}
	}
	return false
}

func variantSeesProbes(exp *experiment.Experiment) bool {
	if slices.Contains(exp.Observe, string(timeline.ARP)) || slices.Contains(exp.Observe, string(timeline.ICMP)) && rejects(exp) {
		return true
	}
	return slices.ContainsFunc(exp.Expect, func(e experiment.Expectation) bool {
		return e.Counter != nil && countsDatagrams.MatchString(e.Counter.Name) || e.That != nil && thatSeesProbes(e.That.Source)
	})
}

// thatSeesProbes reports whether an expression could tell from counters that there were
// probes: unless it picks TCP's by their names, it may look at all.
func thatSeesProbes(source string) bool {
	return countsDatagrams.MatchString(source) || readsCounters.MatchString(picksTCP.ReplaceAllString(source, ""))
}

// rejects reports whether a rule of the experiment, at any time, answers what it refuses.
func rejects(exp *experiment.Experiment) bool {
	return slices.ContainsFunc(slices.Concat(exp.Setups, exp.Changes), func(s experiment.Setup) bool {
		return slices.ContainsFunc(s.Changes, func(c experiment.Change) bool {
			return c.Firewall != nil && c.Firewall.Action == experiment.FirewallReject
		})
	})
}

// quietFor reports whether some of the agents play in a run that would see probes. The
// caller holds mu.
func (c *Controller) quietFor(agents []string) bool {
	for _, r := range c.runners {
		if r.quiet && slices.ContainsFunc(agents, r.plays) {
			return true
		}
	}
	return false
}

// hush has the measurements end that probe agents of a run that would see them, and
// leaves to the run to wait for that. The caller holds mu; the run is among the runners.
func (c *Controller) hush(r *runner) {
	if !r.quiet {
		return
	}
	for _, l := range c.listeners {
		if !l.quiet && slices.ContainsFunc(l.agents, r.plays) {
			l.quiet = true
			l.silenced <- r.run.ID
			r.loud = append(r.loud, l.over)
		}
	}
}

// awaitHush waits until the measurements that the run has ended are over.
func (r *runner) awaitHush(ctx context.Context) {
	timer := time.NewTimer(probesOpenLimit + probesStopLimit)
	defer timer.Stop()
	for _, over := range r.loud {
		select {
		case <-over:
		case <-ctx.Done():
			return
		case <-timer.C:
			r.log.Warn("clock probes of a measurement have not ended; the run may see them")
			return
		}
	}
}
