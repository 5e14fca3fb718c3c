package timeline

import "fmt"

// fellSilent is what says that a socket went on after the last of its traces, as a clause,
// though none is known to be lost; empty if it is at rest in the state that this has
// brought it to. Kernels run no tracer that would interrupt itself, and count only some of
// those that they leave out: for a stretch of packets, changes of state may reach nobody.
//
// So the last traced state needs another witness, since no next step can prove it: the last
// dump, or the packets and calls.
func (a *assembly) fellSilent(p *path, was []State, l *life) string {
	last := l.steps[len(l.steps)-1]
	dump := a.dumps[p.own.Host]
	switch {
	case p.final != nil && p.final.moment > last.moment && StateName(p.final.dump.State) != last.to:
		return fmt.Sprintf("sock_diag(7) shows it in %s at the end", stateText(p.final.dump.State))
	case p.final == nil && dump > last.moment:
		return "sock_diag(7) does not show it at the end"
	case l.lastSaid(a.t) != "" && l.lastSaid(a.t) != last.to:
		return fmt.Sprintf("a later trace shows it in %s", l.lastSaid(a.t))
	case l.failed(a.t):
		return "a later trace tells of an error that ends a socket"
	case len(was) > 0 && leadsTo(last.to, was[len(was)-1].Name):
		return fmt.Sprintf("its packets and calls say %s", pathText(was))
	case p.blind != "" && (p.final == nil || p.final.moment < last.moment):
		return "what would tell whether it stayed there is not on record"
	}
	return ""
}

// goOn completes a path whose traces stop early with what was inferred, and answers why that
// may not be right.
func (a *assembly) goOn(p *path, was []State, l *life, why string) (doubt string) {
	traced := p.states
	text := a.find("the kernel traced %s no further than %s, but %s, and no trace is known to be lost",
		a.endName(p.own), l.steps[len(l.steps)-1].to, why)
	p.states, p.proven = was, false
	agrees := p.pin(l)
	if p.blind != "" {
		return p.blind + "; " + text
	}
	if !agrees || !isWithin(traced, p.states) {
		return text
	}
	return ""
}
