package timeline

import (
	"fmt"
	"slices"

	"syncline/controller/clock"
)

// Least times, in nanoseconds, after which Linux sends again what is not acknowledged: a
// segment of an established connection (TCP_RTO_MIN), and a SYN+ACK (TCP_TIMEOUT_INIT).
const (
	resendsAfter       = clock.Local(200_000_000)
	resendsSYNACKAfter = clock.Local(1_000_000_000)
)

// supposes notes it if the state that the reset of clue i ends is one that nobody can know
// that it ever was: the acknowledgment which brought it about may have been dropped behind
// the tap, and the end was reset before it would have sent again what it acknowledged.
func (p *path) supposes(i int) {
	s := &p.states[len(p.states)-1]
	from := slices.IndexFunc(p.clues, func(f clue) bool { return f.moment == s.Moment })
	if s.Known != KnownPacket || from < 0 || p.clues[from].out || p.blind != "" {
		return
	}
	reset := p.t.Moments[p.clues[i].moment].Local
	switch {
	case s.Name == stateFinWait2 && reset-p.lastOut(i, FIN) < resendsAfter:
	case p.isUnproven(i):
	default:
		return
	}
	p.supposed = s.Name
}

// isUnproven reports whether nothing shows, up to the reset of clue i, that the third ACK of a
// server's end came to TCP, and the reset came so soon that no SYN+ACK would have left again.
func (p *path) isUnproven(i int) bool {
	reset := p.t.Moments[p.clues[i].moment].Local
	return p.now() == stateEstablished && p.passive && !p.isServed() && reset-p.lastOut(i, SYN) < resendsSYNACKAfter
}

// lastOut is when the end last sent a segment with a flag before clue i.
func (p *path) lastOut(i int, flag Flags) clock.Local {
	for _, f := range slices.Backward(p.clues[:i]) {
		if f.out && f.packet.Flags&flag != 0 {
			return p.t.Moments[f.moment].Local
		}
	}
	return p.t.Moments[p.clues[i].moment].Local
}

// isServed reports whether a call returned the end as open, or it sent what a request does not.
func (p *path) isServed() bool {
	return p.isHeard() || slices.ContainsFunc(p.clues, func(f clue) bool {
		return f.call != nil && (isAccept(f.call) || f.call.Name == "connect") && f.call.Result >= 0
	})
}

// isHeard reports whether the end sent anything but what opens and resets, as no request does.
func (p *path) isHeard() bool {
	return slices.ContainsFunc(p.clues, func(f clue) bool {
		return f.out && f.packet.Flags&(SYN|RST) == 0
	})
}

// doubtSupposed is why a state that is only supposed may never have been; empty if there is
// none, or the kernel traced it.
func (a *assembly) doubtSupposed(p *path) string {
	for i := range p.states {
		if s := &p.states[i]; s.Name == p.supposed && !s.exact() {
			return fmt.Sprintf("nobody can tell whether %s took the acknowledgment that brings %s before it was reset", a.endName(p.own), s.Name)
		}
	}
	return ""
}

// mayHaveGivenUp reports whether the end was last heard of sending again what nobody had
// acknowledged. A socket gives that up in the end, without a packet: a request, or one that no
// process has, without a call as well. What the tap heard last may have been dropped behind it.
func (p *path) mayHaveGivenUp() bool {
	var flag Flags
	switch p.now() {
	case stateEstablished:
		if !p.passive || p.isServed() {
			return false
		}
		flag = SYN
	case stateSynRecv:
		flag = SYN
	case stateFinWait1, stateClosing, stateLastAck:
		flag = FIN
	default:
		return false
	}
	sent := 0
	for _, f := range p.clues {
		if f.out && f.packet.Flags&(flag|RST) == flag {
			sent++
		}
	}
	return sent > 1
}
