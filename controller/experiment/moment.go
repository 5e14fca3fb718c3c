package experiment

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// momentForms are all ways to write a moment, with what each picks.
var momentForms = []struct {
	name, form   string
	kind         MomentKind
	doc, example string
}{
	{"enter", "enter(lane.call [socket]|label)", EnterCall, "right before the call", "enter(client.connect)"},
	{"return", "return(lane.call [socket]|label) [outcome]", ReturnCall, "right after the call; with an outcome, after one that gave it", "return(client.connect) ok"},
	{"sent", "sent(HOST, packet)", PacketSent, "the packet at that host's tap, on its way out", "sent(A, SYN)"},
	{"received", "received(HOST, packet)", PacketReceived, "the packet at that host's tap, on its way in", "received(B, third ACK)"},
}

// moment reads one moment of an order.
func (p *reading) moment(t phrase) (MomentSelector, bool) {
	const forms = "write enter(client.connect), return(client.connect), sent(A, SYN) or received(B, SYN)"
	name, inner, found := t.cut("(")
	end := strings.LastIndexByte(inner.text, ')')
	if !found || end < 0 {
		p.fault(t.pos(), forms, "%q is no moment", shorten(t.text))
		return MomentSelector{}, false
	}
	tail := inner.from(end + 1).trim()
	inner = inner.slice(0, end).trim()
	for _, f := range momentForms {
		if f.name != name.trim().text {
			continue
		}
		if tail.text != "" && f.kind != ReturnCall {
			p.fault(tail.pos(), "an outcome stands after return(...)", "%q is not understood", shorten(tail.text))
			return MomentSelector{}, false
		}
		if f.kind == PacketSent || f.kind == PacketReceived {
			m, ok := p.packetMoment(f.kind, inner)
			m.Text = t.text
			return m, ok
		}
		p.needs("syscalls", t.pos())
		m, ok := p.callMoment(f.kind, inner)
		if ok && tail.text != "" {
			m.Outcome, ok = p.momentOutcome(m, tail)
		}
		m.Text = t.text
		return m, ok
	}
	p.fault(name.pos(), forms, "unknown moment %q", shorten(name.text))
	return MomentSelector{}, false
}

func (p *reading) momentOutcome(m MomentSelector, t phrase) (*Outcome, bool) {
	o, ok := p.outcomeOf(m, t)
	return &o, ok
}

func (p *reading) packetMoment(kind MomentKind, t phrase) (MomentSelector, bool) {
	host, packet, found := t.cut(",")
	if !found {
		p.fault(t.pos(), "write sent(A, SYN)", "%q does not name a host and a packet", shorten(t.text))
		return MomentSelector{}, false
	}
	host, packet = host.trim(), packet.trim()
	known := p.isRole(host)
	s, ok := p.selector(packet)
	if !known || !ok {
		return MomentSelector{}, false
	}
	end := s.From
	if kind == PacketReceived {
		end = s.To
	}
	if end != "" && end != host.text {
		p.fault(packet.pos(), "the tap of a host sees what that host sends or gets", "%s does not fit host %s", packet.text, host.text)
		return MomentSelector{}, false
	}
	return MomentSelector{Kind: kind, Host: host.text, Packet: s, Text: t.text}, true
}

// laneMeant is what the name of a lane stands for: one lane, or all copies of it.
type laneMeant struct {
	name string
	// lane is the index of the lane, of the first copy if all are meant.
	lane   int
	copies bool
}

// laneOf finds a lane by its name, or by the name that its copies share.
func (p *reading) laneOf(name string) (laneMeant, bool) {
	for i, l := range p.exp.Lanes {
		if l.Name == name {
			return laneMeant{name, i, false}, true
		}
		if l.Base == name && l.Copy > 0 {
			return laneMeant{name, i, true}, true
		}
	}
	return laneMeant{}, false
}

// momentLane is laneOf with a fault for a lane that is not there.
func (p *reading) momentLane(t phrase) (laneMeant, bool) {
	of, ok := p.laneOf(t.text)
	if !ok && !p.vague.lanes {
		var known []string
		for _, l := range p.exp.Lanes {
			name := l.Name
			if l.Copy > 0 {
				name = l.Base
			}
			if !slices.Contains(known, name) {
				known = append(known, name)
			}
		}
		p.fault(t.pos(), suggest(t.text, "lanes", known), "unknown lane %q", shorten(t.text))
	}
	return of, ok
}

// callMoment reads `lane.call`, `lane.call socket` or a label, and finds the one step
// that it picks.
func (p *reading) callMoment(kind MomentKind, t phrase) (MomentSelector, bool) {
	lane, call, dotted := t.cut(".")
	if !dotted {
		return p.labelMoment(kind, t)
	}
	of, ok := p.momentLane(lane)
	if !ok {
		return MomentSelector{}, false
	}
	name, socket, _ := call.cut(" ")
	socket = socket.trim()
	step, ok := p.pickStep(of.lane, name, socket)
	if !ok {
		return MomentSelector{}, false
	}
	m := p.stepMoment(kind, place{of.lane, step}, t)
	m.Lane, m.Copies = of.name, of.copies
	if socket.text != "" {
		m.Socket = socket.text
	}
	return m, true
}

func (p *reading) labelMoment(kind MomentKind, t phrase) (MomentSelector, bool) {
	at, ok := p.labels[t.text]
	if !ok {
		if !p.vague.lanes {
			known := slices.Sorted(maps.Keys(p.labels))
			p.fault(t.pos(), suggest(t.text, "labels", known)+"; or write lane.call", "unknown label %q", shorten(t.text))
		}
		return MomentSelector{}, false
	}
	m := p.stepMoment(kind, at, t)
	m.Label = t.text
	if l := p.exp.Lanes[at.lane]; l.Copy > 0 { // all copies have the label
		m.Lane, m.Copies = l.Base, true
	}
	return m, true
}

func (p *reading) stepMoment(kind MomentKind, at place, t phrase) MomentSelector {
	l := p.exp.Lanes[at.lane]
	s := l.Steps[at.step]
	socket := s.Socket
	if socket == "" {
		socket = s.Makes
	}
	return MomentSelector{Kind: kind, Lane: l.Name, Call: s.Call, Socket: socket, Step: at.step, Text: t.text}
}

// anyRound is the step of a moment, or -1 if it is in a loop and each of its rounds is
// meant.
func (p *reading) anyRound(m MomentSelector) int {
	of, ok := p.laneOf(m.Lane)
	if !ok {
		return m.Step
	}
	steps := p.exp.Lanes[of.lane].Steps
	for i := m.Step + 1; i < len(steps); i++ {
		if steps[i].Pos == steps[m.Step].Pos {
			return -1
		}
	}
	return m.Step
}

// pickStep finds the only step of a lane with this call, and this socket if one is
// named. The rounds of a loop are one step, of which it is the first.
func (p *reading) pickStep(lane int, name, socket phrase) (int, bool) {
	l := p.exp.Lanes[lane]
	picked := p.stepsOf(lane)[name.text]
	if socket.text != "" {
		picked = slices.DeleteFunc(slices.Clone(picked), func(i int) bool {
			s := l.Steps[i]
			return s.Socket != socket.text && s.Makes != socket.text
		})
	}
	switch {
	case len(picked) == 1:
		return picked[0], true
	case p.vague.lanes:
	case len(picked) > 1:
		p.fault(name.pos(), choices(l, picked), "the lane %q has %d steps that are meant by %q", l.Name, len(picked), strings.TrimSpace(name.text+" "+socket.text))
	case len(p.stepsOf(lane)[name.text]) > 0:
		p.fault(socket.pos(), "", "the lane %q has no %s of a socket %q", l.Name, name.text, shorten(socket.text))
	default:
		p.fault(name.pos(), suggest(name.text, "calls of that lane", slices.Sorted(maps.Keys(p.stepsOf(lane)))), "the lane %q has no step %q", l.Name, shorten(name.text))
	}
	return 0, false
}

// choices lists the steps between which an author must choose, and how to.
func choices(l Lane, picked []int) string {
	const most = 6
	var list []string
	sockets := make(map[string]bool)
	for _, index := range picked[:min(most, len(picked))] {
		s := l.Steps[index]
		sockets[s.Socket] = true
		list = append(list, fmt.Sprintf("%s on line %d", shorten(s.Text), s.Pos.Line))
	}
	if len(picked) > most {
		list = append(list, fmt.Sprintf("%d more", len(picked)-most))
	}
	first := l.Steps[picked[0]]
	if len(sockets) == len(picked) && first.Socket != "" {
		return fmt.Sprintf("name the socket, as in %s.%s %s: %s", l.Name, first.Call, first.Socket, strings.Join(list, ", "))
	}
	return fmt.Sprintf("give the one you mean a label with `as`: %s", strings.Join(list, ", "))
}

// stepsOf are the steps of a lane by their call, of the rounds of a loop the first.
func (p *reading) stepsOf(lane int) map[string][]int {
	if p.byCall == nil {
		p.byCall = make([]map[string][]int, len(p.exp.Lanes))
	}
	if p.byCall[lane] == nil {
		p.byCall[lane] = make(map[string][]int)
		seen := make(map[Pos]bool)
		for i, s := range p.exp.Lanes[lane].Steps {
			if !seen[s.Pos] {
				p.byCall[lane][s.Call] = append(p.byCall[lane][s.Call], i)
			}
			seen[s.Pos] = true
		}
	}
	return p.byCall[lane]
}
