package timeline

// findStates finds what brought each end to each of its states.
func (c *Causality) findStates() {
	for ci := range c.ends {
		for end := range 2 {
			v := c.ends[ci][end]
			for i := range v.own.States {
				if i == 0 && v.own.States[i].Moment < 0 {
					// What a socket is before anything happens to it needs no cause.
					continue
				}
				k := c.ofState(v, i)
				if st := &v.own.States[i]; st.exact() && st.Moment >= 0 {
					k = c.note(k)
				}
				c.States = append(c.States, StateCause{EndRef{ci, end}, i, k})
			}
		}
	}
}

func (c *Causality) ofState(v *endView, i int) Cause {
	st := &v.own.States[i]
	if !st.exact() {
		return c.ofInferredState(st)
	}
	at := st.Moment
	return c.ofTracedState(v, st.Name, at)
}

// ofInferredState is the cause of a state that was told from packets, calls or dumps: those.
func (c *Causality) ofInferredState(st *State) Cause {
	k := Cause{Effect: st.Moment, By: st.Moment, Known: Inferred, Ordered: true}
	switch m := st.Moment; {
	case m < 0 && st.Known == KnownOrder:
		k.Rule, k.Effect = ruleStatePassed, -1
	case m < 0:
		return none(-1, "")
	case st.Known == KnownDump:
		k.Rule = ruleStateTimer
		k.By = st.After
	case c.t.Moments[m].Event.Call != nil:
		k.Rule = ruleStateCall
	case c.t.Moments[m].Event.Packet != nil && c.t.Moments[m].Event.Packet.Direction == Out:
		k.Rule = ruleStateSent
	case c.t.Moments[m].Event.Packet != nil:
		k.Rule = ruleStateCame
	default:
		k.Rule = ruleStatePassed
	}
	return k
}

// ofTracedState is the cause of a state that the kernel traced: the last thing before it that
// leads there.
func (c *Causality) ofTracedState(v *endView, name string, at int) Cause {
	call := v.lastCall(at, func(s *callSpan) bool {
		switch name {
		case stateSynSent:
			return s.named("connect", "send", "sendto")
		case stateFinWait1, stateLastAck:
			return s.closes()
		case stateClosed:
			return s.named("close")
		}
		return false
	})
	in := v.lastIn(at, func(s *tapped) bool {
		switch name {
		case stateSynRecv:
			return s.has(SYN)
		case stateEstablished:
			return s.has(ACK) && !s.has(RST)
		case stateCloseWait, stateClosing:
			return s.has(FIN)
		case stateFinWait2:
			return s.has(ACK)
		case stateTimeWait:
			return s.has(FIN) || s.has(ACK)
		case stateClosed:
			return true
		}
		return false
	})
	death := -1
	switch name {
	case stateFinWait1, stateLastAck, stateClosed:
		death = v.death(at)
	}
	by, rule := -1, ruleStateCame
	if in != nil {
		by = in.moment
	}
	if death > by {
		by, rule = death, ruleStateExit
	}
	if call != nil && call.enter > by {
		by, rule = call.enter, ruleStateCall
	}
	switch {
	case name == stateClosed && (by < 0 || c.since(by, at) > soon):
		if last := v.last(at, func(*tapped) bool { return true }); last != nil {
			by = max(by, last.moment)
		}
		return c.by(ruleStateTimer, by, at)
	case by < 0:
		return none(at, "nothing that leads to "+name+" is on record before it")
	case rule == ruleStateExit:
		return c.by(rule, by, at)
	}
	return c.by(rule, by, at).observed()
}
