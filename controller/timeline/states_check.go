package timeline

import (
	"fmt"
	"time"

	"syncline/controller/clock"
)

// Lives of sockets that nobody can hold open any longer: TCP_TIMEWAIT_LEN of Linux.
const timeWaitLasts = clock.Local(60 * time.Second)

// check holds the states of an end against the kernel's own word, and answers what
// speaks against them, as a sentence without its full stop; empty if nothing does.
func (a *assembly) check(p *path) string {
	if against := a.checkFinal(p); against != "" {
		return against
	}
	for i := 1; i < len(p.states); i++ {
		from, to := p.states[i-1].Name, p.states[i].Name
		// What the kernel itself traced is a finding: see checkLives.
		if !inDiagram(from, to) && !p.states[i].exact() {
			return fmt.Sprintf("%s went from %s to %s, a transition that RFC 9293 does not have", a.endName(p.own), from, to)
		}
	}
	return ""
}

// endName names an end for people: "client.c on A".
func (a *assembly) endName(e *End) string {
	name := e.Address.String()
	if e.Lane != "" {
		name = e.Lane + "." + e.Socket
	}
	return name + " on " + a.name(e.Host)
}

// checkFinal compares the last state with the dump at the end of the repetition, and
// completes the path where the dump alone can.
func (a *assembly) checkFinal(p *path) string {
	if p.final == nil {
		return a.checkAbsent(p)
	}
	shown := StateName(p.final.dump.State)
	if end := len(p.states) - 1; p.closedFrom(shown) && p.states[end].Known == KnownPacket && p.states[end].Moment < p.final.moment {
		// The packet that seemed to end it did not come to TCP.
		p.states = p.states[:end]
	}
	now := p.now()
	switch {
	case shown == "":
		return fmt.Sprintf("sock_diag(7) shows %s in state %d, which has no name", a.endName(p.own), p.final.dump.State)
	case shown == now:
		if s := &p.states[len(p.states)-1]; !s.exact() {
			s.Known = KnownDump
			if s.By < 0 {
				s.By = p.final.moment
			}
		}
		return ""
	case p.final.moment < p.lastMoment():
		// The connection went on after the dump.
		return ""
	case p.blind != "" && (now == "" || leadsTo(now, shown)):
		p.enter(shown, p.final.moment, KnownDump)
		return ""
	case now == "":
		now = "no state at all"
	}
	return fmt.Sprintf("sock_diag(7) shows %s in %s at the end, but its %s say %s", a.endName(p.own), shown, p.witness(), now)
}

// witness is what the last state rests on.
func (p *path) witness() string {
	if n := len(p.states); n > 0 && p.states[n-1].exact() {
		return "traces"
	}
	return "packets and calls"
}

// lastMoment is the last moment that brought about a state, -1 if none did.
func (p *path) lastMoment() int {
	last := -1
	for _, s := range p.states {
		last = max(last, s.Moment)
	}
	return last
}

// checkAbsent is about an end that the last dump does not show, though one was made.
func (a *assembly) checkAbsent(p *path) string {
	now := p.now()
	dump := a.dumps[p.own.Host]
	if now == stateClosed && dump > p.lastMoment() {
		// The socket was not there any more.
		if s := &p.states[len(p.states)-1]; !s.exact() && s.By < 0 {
			s.By = dump
		}
	}
	if now == "" || now == stateClosed || dump < p.lastMoment() || dump < 0 {
		return ""
	}
	last := p.states[len(p.states)-1]
	switch now {
	case stateEstablished, stateCloseWait, stateSynSent:
	case stateTimeWait:
		if last.Moment >= 0 && a.t.Moments[dump].Local-a.t.Moments[last.Moment].Local >= timeWaitLasts {
			p.enter(stateClosed, dump, KnownDump)
			return ""
		}
	default:
		// A request socket, and a socket that no process has, end by themselves.
		p.enter(stateClosed, dump, KnownDump)
		return ""
	}
	return fmt.Sprintf("sock_diag(7) shows no socket of %s at the end, but its %s say %s", a.endName(p.own), p.witness(), now)
}

// lastDumps are, by host, the moment of the last line of its dump at the end of the
// repetition, -1 if that is not on record, and by socket the last line that shows it. A dump
// of no socket at all leaves nothing.
func (a *assembly) lastDumps() (last []int, of map[dumpKey]int) {
	last, of = make([]int, len(a.t.Hosts)), make(map[dumpKey]int)
	for h := range last {
		last[h] = -1
	}
	for i := range a.t.Moments {
		if e := a.t.Moments[i].Event; e.Socket != nil && e.Socket.Final {
			last[e.Host] = i
			of[dumpKey{e.Host, plain(e.Socket.Local), plain(e.Socket.Peer)}] = i
		}
	}
	return last, of
}
