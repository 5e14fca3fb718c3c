package controller

import (
	"regexp"
	"slices"

	"syncline/controller/experiment"
	"syncline/controller/timeline"
)

// countsDatagrams are the kernel's counters in which clock probes would show: all but those
// of TCP.
var countsDatagrams = regexp.MustCompile(`\b(Ip|Icmp|IcmpMsg|Udp|UdpLite|IpExt|Ip6|Icmp6|Udp6)\.`)

// seesProbes reports whether clock probes would be seen in what an experiment judges: they
// make hosts ask for each other's link addresses, and move counters that are not TCP's.
func seesProbes(exp *experiment.Experiment) bool {
	if slices.Contains(exp.Observe, string(timeline.ARP)) {
		return true
	}
	return slices.ContainsFunc(exp.Expect, func(e experiment.Expectation) bool {
		return e.Counter != nil && countsDatagrams.MatchString(e.Counter.Name) || e.That != nil && countsDatagrams.MatchString(e.That.Source)
	})
}

// quietFor reports whether some of the agents play in a run that would see probes.
func (c *Controller) quietFor(p *probing) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.runners {
		if r.quiet && slices.ContainsFunc(p.hosts, func(h *probeHost) bool { return r.plays(h.agent) }) {
			return true
		}
	}
	return false
}
