package timeline

import (
	"fmt"
	"slices"
	"strings"

	"syncline/controller/clock"
)

// inferred is a state that nobody saw the socket come to.
func inferred(name string, moment int, known string) State {
	s := State{Name: name, Moment: moment, Known: known, After: -1, By: -1}
	if known == KnownDump {
		s.By = moment
	}
	return s
}

// traced is a state at the very moment at which the socket came to it.
func traced(name string, moment int) State {
	return State{Name: name, Moment: moment, Known: KnownTraced, After: -1, By: -1}
}

// exact reports whether the state's Moment is the one at which the socket came to it.
func (s *State) exact() bool { return s.Known == KnownTraced && s.After < 0 && s.By < 0 }

// follow puts the kernel's own word in the place of what was inferred of an end, and
// answers why the states may not be right all the same; empty if nothing speaks against
// them.
//
// A chain of transitions without a hole proves itself, whatever else is lost: each step
// names the state it comes from. Three things it does not show, and the inferred path
// completes them: SYN_RECV is of a request socket, before there is a socket to trace, and
// TIME_WAIT and the FIN_WAIT2 of an orphan are of a small socket, to which the traced one
// hands over as it goes to CLOSE. Where the chain has a hole, the inferred path stands, and
// takes the moments that the steps give it. A chain that stops before CLOSED shows nothing
// of what came after it: see fellSilent.
func (a *assembly) follow(p *path, l *life) (doubt string) {
	loss := a.evidence.lost(l.host, a.repetition, a.until(l, p.own, p.peer), Tracepoints)
	hole := l.hole(len(p.states) > 0 && p.states[0].Name == stateClosed)
	if hole != "" || !l.ended() && (loss != "" || a.evidence.complete(l.host, a.repetition, Tracepoints) != "") {
		agrees := p.pin(l)
		switch {
		case hole != "" && loss == "":
			return a.find("the kernel traced %s with a hole, and no trace is known to be lost: %s", a.endName(p.own), hole)
		case p.blind != "" && loss != "":
			return p.blind + "; " + loss
		case p.blind == "" && !agrees:
			return a.find("some traces of %s are missing, and those on record do not fit what its packets and calls say: %s", a.endName(p.own), pathText(p.states))
		}
		return p.blind
	}
	was := p.states
	p.states, doubt = p.retrace(l)
	p.proven = doubt == ""
	if !l.ended() {
		if why := a.fellSilent(p, was, l); why != "" {
			return a.goOn(p, was, l, why)
		}
	}
	if p.blind == "" && !isWithin(was, p.states) {
		against := a.find("the kernel traced %s as %s, but its packets and calls say %s", a.endName(p.own), pathText(p.states), pathText(was))
		if p.denies(was) {
			p.proven = false
			return against
		}
	}
	return doubt
}

// find notes what is against a path, and answers it.
func (a *assembly) find(format string, args ...any) string {
	text := fmt.Sprintf(format, args...)
	a.against = append(a.against, strings.ToUpper(text[:1])+text[1:]+".")
	return text
}

// pin gives inferred states the moments at which the kernel says they began. A step to
// CLOSED is not the CLOSED that the socket began in, and one that hands over to a small
// socket is none of CLOSED at all. What a step leaps over was no state, whatever the
// tap heard. It reports whether the path has all that the traces tell.
func (p *path) pin(l *life) (agrees bool) {
	agrees = true
	next := 0
	for _, s := range l.steps {
		if s.from == stateListen || s.handsOver() {
			continue
		}
		to := next
		for to < len(p.states) && (p.states[to].Name != s.to || to == 0 && s.to == stateClosed) {
			to++
		}
		if to == len(p.states) {
			agrees = false
			continue
		}
		p.states[to] = traced(s.to, s.moment)
		for from := to - 2; from >= 0; from-- {
			if p.states[from].Name == s.from {
				p.states = slices.Delete(p.states, from+1, to)
				to = from + 1
				break
			}
		}
		next = to + 1
	}
	if said := l.lastSaid(p.t); said != "" && said != p.now() {
		agrees = false
	}
	return agrees
}

// handsOver reports whether it is a step with which a small socket may take over.
func (s *step) handsOver() bool {
	return s.to == stateClosed && (s.from == stateFinWait2 || s.from == stateClosing)
}

// retrace is the path that a chain of steps without a hole proves, completed at both ends.
func (p *path) retrace(l *life) (states []State, doubt string) {
	steps := l.steps
	switch steps[0].from {
	case stateClosed:
		states = append(states, p.closedAtFirst())
	default:
		states = append(states, p.requested(steps[0]))
		if steps[0].from == stateListen {
			steps = steps[1:]
		}
	}
	for i, s := range steps {
		if i == len(steps)-1 && s.handsOver() {
			since := -1
			if i > 0 {
				since = steps[i-1].moment
			}
			tail, doubt := p.handOver(l, s, since)
			if doubt == "" && p.blind != "" {
				doubt = p.doubtAfter(s, since, tail)
			}
			return slices.Concat(p.unfold(states, tail), tail), doubt
		}
		states = append(states, traced(s.to, s.moment))
	}
	return states, ""
}

// closedAtFirst is the state of a socket that is going to connect.
func (p *path) closedAtFirst() State {
	if len(p.states) > 0 && p.states[0].Name == stateClosed {
		return p.states[0]
	}
	return inferred(stateClosed, -1, KnownOrder)
}

// requested is the SYN_RECV of a request socket, which began before the accepted socket's
// first step. With Fast Open there is a socket as soon as the SYN is there, and the step
// is the very moment.
func (p *path) requested(first step) State {
	if i := slices.IndexFunc(p.states, func(s State) bool { return s.Name == stateSynRecv }); i >= 0 && p.states[i].Moment >= 0 {
		if s := p.states[i]; s.Moment < first.moment || first.from != stateListen {
			if p.blind != "" {
				// A SYN that came before may be missing.
				s.After = -1
			}
			return s
		}
		if p.blind == "" {
			return traced(stateSynRecv, first.moment)
		}
		// The SYN+ACK on record may not be the first.
	}
	s := inferred(stateSynRecv, -1, KnownOrder)
	if first.from == stateListen {
		s.Moment, s.Known, s.By = first.moment, KnownTraced, first.moment
	}
	return s
}

// handOver tells what a socket became that the trace shows going from FIN_WAIT2 or CLOSING
// to CLOSE with its last step, after the one at since: a small socket in TIME_WAIT, a small
// one that is still in FIN_WAIT2 for an orphan, or nothing.
func (p *path) handOver(l *life, s step, since int) (tail []State, doubt string) {
	wait := slices.IndexFunc(p.states, func(s State) bool { return s.Name == stateTimeWait })
	switch {
	case l.aborted(p.t, since, s):
		return []State{traced(stateClosed, s.moment)}, ""
	case p.blind != "" && (wait < 0 || !p.waits(s)):
		return p.handOverBlind(s, since)
	case s.from == stateFinWait2 && wait < 0:
		return p.orphaned(s, since), ""
	case wait < 0 && p.closedFrom(s.from):
		return []State{traced(stateClosed, s.moment)}, ""
	case wait >= 0 && (s.from == stateClosing || (p.states[wait].Moment <= s.moment || p.blind != "") && !p.mayBeOrphan(s, since, wait)):
		// Where packets are missing, the FIN on record may be one that was sent again.
		return slices.Concat([]State{traced(stateTimeWait, s.moment)}, p.states[wait+1:]), ""
	case wait >= 0:
		tail = slices.Clone(p.states[wait:])
		if p.blind != "" {
			tail[0].After = -1
		}
		tail[0].After = max(tail[0].After, since)
		if tail[0].By >= 0 {
			tail[0].By = max(tail[0].By, s.moment)
		}
		return tail, ""
	case p.acked.atLeast(p.fin.n) && p.fin.known:
		return []State{traced(stateTimeWait, s.moment)}, ""
	}
	return []State{traced(stateClosed, s.moment)}, ""
}

// doubtAfter is what cannot be told of a small socket where packets may be missing: whether
// the FIN_WAIT2 before it was a state or passed within one segment, and how it ended. The
// last dump shows one that has not.
func (p *path) doubtAfter(s step, since int, tail []State) string {
	isWaiting := len(tail) > 0 && tail[0].Name == stateTimeWait
	switch {
	case isWaiting && since >= 0 && s.from == stateFinWait2 && p.t.Moments[s.moment].Local-p.t.Moments[since].Local < handsOverWithin:
		return fmt.Sprintf("the kernel let go of its socket as soon as it came to FIN_WAIT2, and what would tell whether one segment brought both is not on record: %s", p.blind)
	case len(tail) > 1 && tail[len(tail)-1].Known == KnownPacket:
		return fmt.Sprintf("the reset that seems to end it may be of another connection, which is not all on record: %s", p.blind)
	case len(tail) > 0 && tail[len(tail)-1].Name == stateClosed:
		return ""
	case p.final == nil || p.final.moment < s.moment:
		return fmt.Sprintf("what would tell how it ended is not on record: %s", p.blind)
	}
	return ""
}

// waits reports whether what is on record proves TIME_WAIT, whatever is missing: the FIN
// that it takes was acknowledged by the end itself. An acknowledgment of its own FIN is no
// proof, since it may not have reached TCP.
func (p *path) waits(s step) bool {
	return s.from == stateFinWait2 && p.peerFIN.known && p.told.atLeast(p.peerFIN.n)
}

// handsOverWithin is longer than the kernel takes, in nanoseconds, from the step to FIN_WAIT2
// until it hands an orphan over: it does both with one segment.
const handsOverWithin = clock.Local(1_000_000)

// mayBeOrphan reports whether the small socket that took over with a step, the one after the
// step at since, may still have been in FIN_WAIT2, though the tap had heard the peer's FIN
// before. That of an orphan takes over when its FIN is acknowledged, or within close(2), and
// a tap hears packets that come at once before TCP has dealt with the first. One segment
// that has both goes to TIME_WAIT.
func (p *path) mayBeOrphan(s step, since, wait int) bool {
	if p.blind == "" && (wait == 0 || p.states[wait-1].Name == stateFinWait1) {
		return false
	}
	at, unknown := p.t.Moments[s.moment].Local, p.own.Lane == "" || p.deaf
	closed, closing := unknown, unknown
	for i := range p.clues {
		if f := &p.clues[i]; f.call != nil && f.last && f.edge == Enter && f.moment < s.moment {
			closed, closing = true, closing || at < f.call.Return
		}
	}
	atOnce := since < 0 || at-p.t.Moments[since].Local < handsOverWithin
	return closing || closed && (atOnce || p.states[wait].Moment < since)
}

// orphaned is what becomes of the small socket of an orphan, to which no FIN came.
func (p *path) orphaned(s step, since int) []State {
	if !p.closedFrom(s.from) {
		return nil
	}
	closed := p.states[len(p.states)-1]
	closed.After = max(closed.After, since)
	if closed.By >= 0 {
		closed.By = max(closed.By, s.moment)
	}
	return []State{closed}
}

// closedFrom reports whether the inferred path ends with the step from a state to CLOSED.
func (p *path) closedFrom(state string) bool {
	end := len(p.states) - 1
	return end > 0 && p.states[end].Name == stateClosed && p.states[end-1].Name == state
}

// handOverBlind is handOver where packets that would tell may be missing: the last dump
// tells as well.
func (p *path) handOverBlind(s step, since int) (tail []State, doubt string) {
	if p.final != nil && p.final.moment > s.moment {
		switch shown := StateName(p.final.dump.State); {
		case shown == stateTimeWait && s.from == stateClosing:
			return []State{traced(stateTimeWait, s.moment)}, ""
		case shown == stateTimeWait:
			wait := inferred(stateTimeWait, p.final.moment, KnownDump)
			wait.After = since
			return []State{wait}, ""
		case shown == stateFinWait2 && s.from == stateFinWait2:
			return nil, ""
		}
	}
	return nil, fmt.Sprintf("the kernel let go of its socket in %s, and what would tell whether for TIME_WAIT is not on record: %s", s.from, p.blind)
}

// unfold leaves out the FIN_WAIT2 that Linux passes through while it deals with one
// segment that both acknowledges its FIN and has the peer's: RFC 9293 goes from FIN-WAIT-1
// to TIME-WAIT at once (figure 5, note 2), and no other socket can tell the difference. The
// step stays a moment of the timeline.
func (p *path) unfold(states, tail []State) []State {
	n := len(states)
	if p.blind != "" || n < 2 || len(tail) == 0 || tail[0].Name != stateTimeWait || !tail[0].exact() || states[n-1].Name != stateFinWait2 || states[n-2].Name != stateFinWait1 {
		return states
	}
	for i := 1; i < len(p.states); i++ {
		if p.states[i-1].Name == stateFinWait1 && p.states[i].Name == stateTimeWait {
			return states[:n-1]
		}
	}
	return states
}

// isWithin reports whether all of some states come, in order, in others: then the others
// only know more.
func isWithin(some, others []State) bool {
	i := 0
	for _, s := range others {
		if i < len(some) && some[i].Name == s.Name {
			i++
		}
	}
	return i == len(some)
}

// denies reports whether a traced path leaves out what the end's own packets prove: data
// or a FIN that it sent. Whether TCP has taken what the tap heard, and which of two FINs
// that crossed was first, the tap cannot know and the trace can.
func (p *path) denies(was []State) bool {
	have := func(states []State, names ...string) bool {
		return slices.ContainsFunc(states, func(s State) bool { return slices.Contains(names, s.Name) })
	}
	if p.fin.known && !have(p.states, stateFinWait1, stateLastAck) {
		return true
	}
	return have(was, stateEstablished) && !have(p.states, stateEstablished)
}

func pathText(states []State) string {
	names := make([]string, len(states))
	for i, s := range states {
		names[i] = s.Name
	}
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}

// checkLives reports each traced transition that RFC 9293 does not have.
func (a *assembly) checkLives(lives []*life, ends map[EndRef]*life) {
	names := make(map[*life]string)
	for ref, l := range ends {
		names[l] = a.endName(a.t.Connections[ref.Connection].End(ref.End))
	}
	for _, l := range lives {
		name, ok := names[l]
		if !ok {
			name = l.name(a)
		}
		for _, s := range l.steps {
			if !inDiagram(s.from, s.to) {
				at := &a.t.Moments[s.moment]
				a.find("the kernel moved %s from %s to %s at %s, a transition that RFC 9293 does not have",
					name, s.from, s.to, a.sinceZero(at.Event.Host, at.Local))
			}
		}
	}
}

// checkUntraced says so where there is no trace of an end though its host traced.
func (a *assembly) checkUntraced(p *path) {
	if !a.tracing[p.own.Host] || p.own.Lane == "" || a.evidence.lost(p.own.Host, a.repetition, a.repetition, Tracepoints) != "" {
		return
	}
	if slices.ContainsFunc(p.states, func(s State) bool { return s.Name == stateEstablished }) {
		a.find("the kernel of %s traced the states of sockets, but none of %s, which its packets and calls say went %s",
			a.name(p.own.Host), a.endName(p.own), pathText(p.states))
	}
}
