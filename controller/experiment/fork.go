package experiment

// resolveForks finds which lane forks which: a forked lane is forked once, by the lane
// that it names, and runs on the host of that.
func (p *reading) resolveForks() {
	forked := make(map[string]Pos)
	var failed []*script // what these do is known all the same
	for _, s := range p.scripts {
		before := len(p.faults)
		s.each(func(a *action, rounds int) {
			if fork, ok := a.step.Args.(ForkArgs); ok {
				p.checkFork(s, fork, a, rounds, forked)
			}
		})
		if len(p.faults) > before {
			failed = append(failed, s)
		}
	}
	for _, s := range p.scripts {
		if s.lane.ForkedBy == "" {
			continue
		}
		by := p.findScript(s.lane.ForkedBy)
		if by == nil {
			if !p.vague.laneNames {
				p.fault(s.forkedBy.pos(), suggest(s.lane.ForkedBy, "lanes", p.laneNames()), "unknown lane %q", shorten(s.lane.ForkedBy))
			}
			s.vague = true
			continue
		}
		if _, ok := forked[s.lane.Base]; !ok && !by.vague {
			p.fault(s.forkedBy.pos(), "write `fork("+s.lane.Base+")` among its steps", "the lane %q never forks %q", by.lane.Base, s.lane.Base)
			s.vague = true
		}
		p.forkHost(s)
	}
	for _, s := range failed {
		s.vague = true
	}
}

// forkHost gives a forked lane the host of the first lane of its line.
func (p *reading) forkHost(s *script) {
	first := s
	for range p.scripts {
		if first.lane.ForkedBy == "" {
			s.lane.Host = first.lane.Host
			return
		}
		if first = p.findScript(first.lane.ForkedBy); first == nil {
			return // that it is not there has been said
		}
	}
	p.fault(s.forkedBy.pos(), "the first of them is started by the repetition: leave its `forked_by` away", "the lane %q is forked by lanes that it forks itself", s.lane.Base)
	s.vague = true
}

// checkFork faults a fork of what is not to be forked here, or not so often.
func (p *reading) checkFork(s *script, fork ForkArgs, a *action, rounds int, forked map[string]Pos) {
	at := a.text.args[0].pos()
	child := p.findScript(fork.Lane)
	first, again := forked[fork.Lane]
	switch {
	case child == nil:
		if !p.vague.laneNames {
			p.fault(at, suggest(fork.Lane, "lanes", p.laneNames()), "unknown lane %q", shorten(fork.Lane))
		}
		return
	case child.lane.ForkedBy == "":
		p.fault(at, "write `forked_by: "+s.lane.Base+"` in that lane, and no host", "the lane %q is started by the repetition, not by a fork", fork.Lane)
	case child.lane.ForkedBy != s.lane.Base:
		p.fault(at, "", "the lane %q is forked by %q, not by %q", fork.Lane, child.lane.ForkedBy, s.lane.Base)
	case s.copies > 0:
		p.fault(at, "let a lane without copies fork", "%s of %q would each fork %q; a lane is forked once", copiesText(s.copies), s.lane.Base, fork.Lane)
	case rounds > 1:
		p.fault(at, "write a lane for each fork", "%d rounds would each fork %q; a lane is forked once", rounds, fork.Lane)
	case again:
		p.fault(at, "", "the lane %q is forked on line %d already", fork.Lane, first.Line)
	}
	forked[fork.Lane] = at
}

// checkKill faults the kill of a lane that has no process of its own on this host.
func (p *reading) checkKill(s *script, kill KillArgs, at phrase) {
	name, ok := p.laneName(at, false, "")
	if !ok {
		return
	}
	base := name
	if m := copyOf.FindStringSubmatch(name); m != nil {
		base = m[1]
	}
	victim := p.findScript(base)
	switch {
	case victim == s:
		p.fault(at.pos(), "let another lane of the host do it", "a lane cannot kill its own process")
	case !victim.lane.OwnProcess:
		p.fault(at.pos(), "write `process: own` in that lane", "the lane %q runs in the agent's process, which nobody kills", base)
	case victim.lane.Host != s.lane.Host && victim.lane.Host != "" && s.lane.Host != "":
		p.fault(at.pos(), "let a lane of that host do it", "the lane %q runs on host %s, and %q on %s: kill(2) works on one host", base, victim.lane.Host, s.lane.Base, s.lane.Host)
	}
}
