package timeline

import "slices"

// bounds says of each inferred state between which moments the socket came to it.
//
// A packet that brings a state about is heard on its way in before TCP hears of it, and on
// its way out after TCP has done with it: the state began after the one and before the
// other.
func (p *path) bounds() {
	for i := range p.states {
		s := &p.states[i]
		at := slices.IndexFunc(p.clues, func(f clue) bool { return f.moment == s.Moment })
		if at < 0 {
			continue
		}
		switch f := &p.clues[at]; {
		case f.dump != nil:
			s.After, s.By = p.shown(at), f.moment
		case f.packet != nil && f.out && s.Name == stateClosing:
			// See cross: what had come was read after this had left.
			s.After, s.By = f.moment, p.proof(s.Name, at)
		case f.packet != nil && f.out:
			s.After, s.By = p.cause(s.Name, at), f.moment
		case f.packet != nil && s.Name == stateTimeWait && i > 0 && p.states[i-1].Name == stateClosing:
			// What would show it, an acknowledgment of the peer's FIN, shows no more than CLOSING.
			s.After = f.moment
		case f.packet != nil:
			s.After, s.By = f.moment, p.proof(s.Name, at)
		case f.edge == Enter && s.Name == stateClosed:
			s.By = f.moment
		case f.edge == Enter:
			s.After = f.moment
		default:
			s.After, s.By = p.entry(f.call), f.moment
		}
		if f := &p.clues[at]; s.Name == stateClosed && i > 0 && (f.call != nil || f.packet != nil && f.out) {
			s.After = max(s.After, p.lastSent(at))
		}
	}
	for i := len(p.states) - 2; i >= 0; i-- {
		if s, next := &p.states[i], p.states[i+1].By; next >= 0 && (s.By < 0 || next < s.By) {
			s.By = next
		}
	}
}

// tighten bounds what follows a moment that is known: by then the socket was in no later
// state.
func (p *path) tighten() {
	for i := 1; i < len(p.states); i++ {
		if s, before := &p.states[i], &p.states[i-1]; before.exact() && !s.exact() && s.After < before.Moment {
			s.After = before.Moment
		}
	}
	for i := len(p.states) - 2; i >= 0; i-- {
		if s, next := &p.states[i], &p.states[i+1]; next.exact() && !s.exact() && (s.By < 0 || s.By > next.Moment) && s.Moment != next.Moment {
			s.By = next.Moment
		}
	}
}

// cause is the last moment before clue i, a packet that left, at which the end surely had
// not come to a state yet.
func (p *path) cause(state string, i int) int {
	for j := i - 1; j >= 0; j-- {
		f := &p.clues[j]
		switch state {
		case stateSynSent:
			if f.call != nil && f.edge == Enter && f.call.Name == "connect" {
				return f.moment
			}
		case stateFinWait1, stateLastAck:
			if f.call != nil && f.edge == Enter && (f.last || f.call.Name == "shutdown" && closesOutput(f.call)) {
				return f.moment
			}
		}
	}
	if state == stateSynRecv {
		// The first SYN that came: it may be the one that was taken.
		for j := range i {
			if k := p.clues[j].packet; k != nil && !p.clues[j].out && k.Flags&(SYN|ACK) == SYN {
				return p.clues[j].moment
			}
		}
	}
	return -1
}

// lastSent is the last moment before clue i at which the end sent anything but a reset, -1
// if it sent nothing: a socket in CLOSED does not.
func (p *path) lastSent(i int) int {
	for j := i - 1; j >= 0; j-- {
		if f := &p.clues[j]; f.packet != nil && f.out && f.packet.TCP() && f.packet.Flags&RST == 0 {
			return f.moment
		}
	}
	return -1
}

// proof is the first moment after clue i, a packet that came, at which the end shows that
// it is in a state, -1 if it does not.
func (p *path) proof(state string, i int) int {
	for j := i + 1; j < len(p.clues); j++ {
		if f := &p.clues[j]; p.shows(state, f) {
			return f.moment
		}
	}
	return -1
}

func (p *path) shows(state string, f *clue) bool {
	switch {
	case f.call != nil && f.edge == Return:
		succeeded := f.call.Errno == 0 && f.call.EndedBy <= EndedByKernel
		switch state {
		case stateEstablished:
			return succeeded && (f.call.Name == "connect" || isAccept(f.call) && f.call.Result >= 0)
		case stateCloseWait:
			return succeeded && f.call.Name == "recv" && f.call.Result == 0
		case stateClosed:
			return fatal(f.call)
		}
	case f.packet != nil && f.out:
		k := f.packet
		switch state {
		case stateEstablished:
			return k.Flags&(SYN|RST) == 0
		case stateSynRecv:
			return k.Flags&(SYN|ACK) == SYN|ACK
		case stateCloseWait, stateClosing, stateTimeWait:
			return k.Flags&ACK != 0 && p.peerFIN.known && int32(k.Ack-p.peerFIN.n) >= 0
		}
	}
	return false
}

// shown is the last moment before clue i, a dump, at which another showed the socket in
// another state than that one does; -1 if none did.
func (p *path) shown(i int) int {
	for j := i - 1; j >= 0; j-- {
		if d := p.clues[j].dump; d != nil && d.State != p.clues[i].dump.State {
			return p.clues[j].moment
		}
	}
	return -1
}

// entry is the moment at which a call was entered.
func (p *path) entry(c *Call) int {
	for i := range p.clues {
		if p.clues[i].call == c && p.clues[i].edge == Enter {
			return p.clues[i].moment
		}
	}
	return -1
}
