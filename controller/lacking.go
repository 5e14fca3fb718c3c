package controller

import (
	"cmp"
	"fmt"

	"syncline/controller/experiment"
	synclinev1 "syncline/proto/syncline/v1"
)

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
