package experiment

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// waitState reads `client.c is SYN_SENT`.
func (p *reading) waitState(of, state phrase) WaitArgs {
	lane, socket, found := of.cut(".")
	if !found {
		p.fault(of.pos(), "write wait(client.c is SYN_SENT)", "%q names no lane and socket", shorten(of.text))
		return WaitArgs{}
	}
	st, ok1 := p.tcpState(state)
	name, ok2 := p.laneName(lane, false, "")
	if !ok1 || !ok2 {
		return WaitArgs{}
	}
	base, _, _ := strings.Cut(name, "[")
	s := p.findScript(base)
	if known, guess := p.socketNames(s); !known[socket.text] {
		if !guess {
			p.fault(socket.pos(), suggest(socket.text, "sockets of that lane", slices.Sorted(maps.Keys(known))), "the lane %q makes no socket %q", base, shorten(socket.text))
		}
		return WaitArgs{}
	}
	return p.watch(Watch{
		Text: fmt.Sprintf("%s.%s is %s", name, socket.text, st.name),
		Host: s.lane.Host, Lane: name, Socket: socket.text, State: st.number, Pos: of.pos(),
	})
}

// socketNames are those that a lane makes or inherits; guess is set if there may be
// more.
func (p *reading) socketNames(s *script) (names map[string]bool, guess bool) {
	if s.sockets == nil {
		s.sockets = make(map[string]bool)
		if by := p.findScript(s.lane.ForkedBy); by != nil { // in a circle: the empty map of s ends it
			inherited, _ := p.socketNames(by)
			maps.Copy(s.sockets, inherited)
		}
		s.each(func(a *action, _ int) {
			if a.step.Makes != "" {
				s.sockets[a.step.Makes] = true
			}
		})
	}
	by := p.findScript(s.lane.ForkedBy)
	return s.sockets, s.vague || s.lane.ForkedBy != "" && (by == nil || by.vague)
}

// waitPacket reads `sent(A, FIN)` or `received(B, A>B SYN) 3 times`.
func (p *reading) waitPacket(t phrase) WaitArgs {
	open := strings.IndexByte(t.text, '(')
	inside, rest, ok := p.cutParentheses(t, open)
	if !ok {
		return WaitArgs{}
	}
	kind := PacketReceived
	if t.text[:open] == "sent" {
		kind = PacketSent
	}
	m, ok := p.packetMoment(kind, inside.trim())
	count, ok2 := p.times(rest.trim())
	if !ok || !ok2 {
		return WaitArgs{}
	}
	if what := tooFine(m.Packet); what != "" {
		p.fault(inside.pos(), "a wait tells packets by direction, flags, data and ICMP", "a wait cannot look for %s", what)
		return WaitArgs{}
	}
	return p.watch(Watch{
		Text: strings.TrimSpace(t.text), Host: m.Host, Packet: &m.Packet, Sent: kind == PacketSent, Count: count, Pos: t.pos(),
	})
}

// tooFine names what a host does not look at while lanes run, "" if there is nothing.
func tooFine(s PacketSelector) string {
	switch {
	case s.Third:
		return "the third ACK"
	case s.Copy:
		return "a retransmission"
	case len(s.Options) > 0 || len(s.NoOptions) > 0:
		return "TCP options"
	case s.Length >= 0:
		return "a length"
	case s.Window >= 0:
		return "a window"
	case s.ARP != 0:
		return "ARP"
	}
	return ""
}

// times reads `3 times`; nothing is once.
func (p *reading) times(t phrase) (int, bool) {
	if t.text == "" {
		return 1, true
	}
	n, found := strings.CutSuffix(t.text, "times")
	if !found {
		n, found = strings.CutSuffix(t.text, "time")
	}
	if !found {
		p.fault(t.pos(), "write `3 times` behind the packet", "%q is not understood", shorten(t.text))
		return 0, false
	}
	before := len(p.faults)
	return p.number(t.slice(0, len(n)).trim(), "how many times", 1, MaxSteps), len(p.faults) == before
}

// watch gives a watch its id, which is its text: what is looked for twice is one watch,
// and the record of a wait shows what was waited for.
func (p *reading) watch(w Watch) WaitArgs {
	for _, known := range p.exp.Watches {
		if known.Text == w.Text {
			return WaitArgs{Watch: known.ID}
		}
	}
	if len(p.exp.Watches) == MaxWatches {
		p.fault(w.Pos, "", "more than %d things to look out for", MaxWatches)
		return WaitArgs{}
	}
	w.ID = w.Text
	p.exp.Watches = append(p.exp.Watches, w)
	return WaitArgs{Watch: w.ID}
}
