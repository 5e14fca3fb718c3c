package experiment

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Candidate is an agent that could play a role.
type Candidate struct {
	Name    string
	Labels  map[string]string
	Address netip.Addr
}

// Bind finds an agent for every role; one agent plays one role. chosen names agents
// for roles whose labels should not decide. The same agents give the same binding in
// whatever order they come. The error holds everything that is wrong, one line each.
func (e *Experiment) Bind(agents []Candidate, chosen map[string]string) (map[string]Candidate, error) {
	b := binding{agents: slices.Clone(agents), role: make(map[string]int), agent: make(map[int]string)}
	slices.SortFunc(b.agents, func(x, y Candidate) int { return cmp.Compare(x.Name, y.Name) })
	b.choose(e, chosen)
	for _, h := range e.Hosts {
		if _, done := b.role[h.Name]; done || chosen[h.Name] != "" {
			continue
		}
		if !b.place(e, h, chosen, make(map[int]bool)) {
			b.errs = append(b.errs, b.missing(h))
		}
	}
	if len(b.errs) > 0 {
		return nil, errors.Join(b.errs...)
	}
	out := make(map[string]Candidate, len(b.role))
	for role, i := range b.role {
		out[role] = b.agents[i]
	}
	return out, nil
}

// binding is roles and agents on their way to each other.
type binding struct {
	agents []Candidate
	// role and agent are inverse to each other.
	role  map[string]int
	agent map[int]string
	errs  []error
}

func (b *binding) set(role string, agent int) {
	b.role[role], b.agent[agent] = agent, role
}

// choose binds what the operator has named.
func (b *binding) choose(e *Experiment, chosen map[string]string) {
	var roles []string
	for _, h := range e.Hosts {
		roles = append(roles, h.Name)
	}
	for _, role := range slices.Sorted(maps.Keys(chosen)) {
		if !slices.Contains(roles, role) {
			b.errs = append(b.errs, fmt.Errorf("no host %q in experiment %s to bind an agent to; %s", role, e.Name, suggest(role, "hosts", roles)))
			continue
		}
		i := slices.IndexFunc(b.agents, func(c Candidate) bool { return c.Name == chosen[role] })
		if i < 0 {
			b.errs = append(b.errs, fmt.Errorf("host %s is bound to agent %q, which is not there; %s", role, chosen[role], suggest(chosen[role], "agents", b.names())))
			continue
		}
		if other, taken := b.agent[i]; taken {
			b.errs = append(b.errs, fmt.Errorf("hosts %s and %s are both bound to agent %s; one agent plays one host", other, role, chosen[role]))
			continue
		}
		b.set(role, i)
	}
}

// place finds an agent for a host and moves hosts that were placed before to other
// agents where that is needed (augmenting paths); chosen ones stay.
func (b *binding) place(e *Experiment, h Host, chosen map[string]string, tried map[int]bool) bool {
	for i, c := range b.agents {
		if tried[i] || !c.has(h.Pick) {
			continue
		}
		tried[i] = true
		other, taken := b.agent[i]
		if taken && (chosen[other] != "" || !b.place(e, e.host(other), chosen, tried)) {
			continue
		}
		b.set(h.Name, i)
		return true
	}
	return false
}

func (e *Experiment) host(name string) Host {
	return e.Hosts[slices.IndexFunc(e.Hosts, func(h Host) bool { return h.Name == name })]
}

func (c Candidate) has(labels map[string]string) bool {
	for k, v := range labels {
		if c.Labels[k] != v {
			return false
		}
	}
	return true
}

// missing says why no agent is left for a host.
func (b *binding) missing(h Host) error {
	var there []string
	for i, c := range b.agents {
		plays := ""
		if role, taken := b.agent[i]; taken {
			plays = ", plays " + role
		}
		there = append(there, fmt.Sprintf("%s (%s%s)", c.Name, labelText(c.Labels), plays))
	}
	if len(there) == 0 {
		there = []string{"none"}
	}
	return fmt.Errorf("no agent is left for host %s, which wants %s; agents: %s", h.Name, labelText(h.Pick), strings.Join(there, ", "))
}

func labelText(labels map[string]string) string {
	if len(labels) == 0 {
		return "no labels"
	}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		parts = append(parts, k+"="+labels[k])
	}
	return strings.Join(parts, " ")
}

func (b *binding) names() []string {
	names := make([]string, len(b.agents))
	for i, c := range b.agents {
		names[i] = c.Name
	}
	return names
}
