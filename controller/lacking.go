package controller

import (
	"cmp"
	"fmt"
	"slices"

	"syncline/controller/experiment"
	synclinev1 "syncline/proto/syncline/v1"
)

// unspoken says what the experiment needs of hosts of which the agents that play them did not
// say if it is there, by the host: "host B: conntrack". Hosts without an agent are left out.
func (c *Controller) unspoken(exp *experiment.Experiment, bound map[string]experiment.Candidate) ([]string, error) {
	needs, err := exp.HostNeeds()
	if err != nil {
		return nil, err
	}
	var all []string
	for _, h := range exp.Hosts {
		s := c.sessions.get(bound[h.Name].Name)
		if s == nil {
			continue
		}
		for _, n := range needs[h.Name] {
			spoken := func(f *synclinev1.Feature) bool { return f.GetName() == n.Name }
			if !slices.ContainsFunc(s.hello.Features, spoken) {
				all = append(all, fmt.Sprintf("host %s: %s", h.Name, n.Name))
			}
		}
	}
	return all, nil
}

// lacking says what agents have not of what the experiment needs of the hosts that they
// play, a line each. What an agent cannot say, and that of one that is not connected, is
// left to the run: a step that the host refuses ends it with the reason.
func (c *Controller) lacking(exp *experiment.Experiment, bound map[string]experiment.Candidate) ([]string, error) {
	needs, err := exp.HostNeeds()
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, h := range exp.Hosts {
		agent := bound[h.Name].Name
		s := c.sessions.get(agent)
		if s == nil {
			continue
		}
		for _, n := range needs[h.Name] {
			for _, f := range s.hello.Features {
				if f.GetName() == n.Name && !f.GetAvailable() {
					lines = append(lines, lackText(h.Name, agent, n, f))
				}
			}
		}
	}
	return lines, nil
}

func lackText(role, agent string, n experiment.HostNeed, f *synclinev1.Feature) string {
	what := "says the file"
	if n.For != "" {
		what = "for " + n.For
	}
	text := fmt.Sprintf("host %s needs %s, %s, and agent %s has it not: %s", role, n.Name, what, agent, cmp.Or(f.GetReason(), "it does not say why"))
	if f.GetRemedy() != "" {
		text += "; " + f.GetRemedy()
	}
	return text
}
