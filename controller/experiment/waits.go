package experiment

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// waitForms are all ways to write what wait is for.
var waitForms = []struct{ form, doc, example string }{
	{"wait(lane.signal)", "That lane gave that signal.", "wait(server.listening)"},
	{"wait(client[2].signal)", "One copy of a lane gave it.", "wait(client[2].settled)"},
	{"wait(all lane.signal)", "All copies of a lane gave it.", "wait(all client.settled)"},
	{"wait(lane.socket is STATE)", "The kernel has that socket in that TCP state.", "wait(client.c is ESTABLISHED)"},
	{"wait(sent(HOST, packet))", "That packet left the host, at its tap. It is told by direction, flags, data and ICMP alone.", "wait(sent(A, SYN))"},
	{"wait(received(HOST, packet) N times)", "That packet arrived at the host for the N-th time.", "wait(received(B, A>B SYN) 3 times)"},
}

// place is a step of a lane, by index.
type place struct{ lane, step int }

// resolve finds what the steps of each lane say of other lanes, of changes and of
// meetings, and fills their arguments in before they are written out.
func (p *reading) resolve() {
	p.resolveForks()
	p.checkSignals()
	var failed []*script // what these do is known all the same
	for _, s := range p.scripts {
		before := len(p.faults)
		s.each(func(a *action, rounds int) {
			switch args := a.step.Args.(type) {
			case WaitArgs:
				a.step.Args = p.wait(s, a.text.args[0])
			case KillArgs:
				p.checkKill(s, args, a.text.args[0])
			case MeetArgs:
				p.comeTo(s, a, args.Name, rounds)
			case ApplyArgs:
				p.checkChange(s, args.Name, a.text.args[0])
			case UndoArgs:
				p.checkChange(s, args.Name, a.text.args[0])
				p.checkUndo(args.Name, a.text.args[0])
			}
		})
		if len(p.faults) > before {
			failed = append(failed, s)
		}
	}
	for _, s := range failed {
		s.vague = true
	}
	p.checkMeetings()
}

func (p *reading) findScript(base string) *script {
	for _, s := range p.scripts {
		if s.lane.Base == base {
			return s
		}
	}
	return nil
}

// checkSignals faults signals that a lane gives twice.
func (p *reading) checkSignals() {
	for _, s := range p.scripts {
		given := make(map[string]int)
		s.each(func(a *action, rounds int) {
			signal, ok := a.step.Args.(SignalArgs)
			if !ok {
				return
			}
			line, again := given[signal.Name]
			switch {
			case again:
				p.fault(a.at, fmt.Sprintf("a wait could not tell it from the one on line %d", line),
					"the lane %q gives the signal %q twice", s.lane.Base, signal.Name)
			case rounds > 1:
				p.fault(a.at, "give it before or after the loop", "the lane %q gives the signal %q in each of %d rounds; a lane gives a signal once", s.lane.Base, signal.Name, rounds)
			default:
				given[signal.Name] = a.at.Line
			}
		})
	}
}

// signals are the names that a lane gives, in its order.
func (s *script) signals() []string {
	if s.given == nil {
		s.given = make(map[string]bool)
		s.each(func(a *action, _ int) {
			if signal, ok := a.step.Args.(SignalArgs); ok && !s.given[signal.Name] {
				s.given[signal.Name] = true
				s.gives = append(s.gives, signal.Name)
			}
		})
	}
	return s.gives
}

// wait reads what a lane waits for, in one of the waitForms.
func (p *reading) wait(s *script, t phrase) WaitArgs {
	if strings.HasPrefix(t.text, "sent(") || strings.HasPrefix(t.text, "received(") {
		return p.waitPacket(t)
	}
	if of, state, ok := t.cut(" is "); ok {
		return p.waitState(of.trim(), state.trim())
	}
	rest, all := t, false
	if strings.HasPrefix(t.text, "all ") {
		rest, all = t.from(len("all ")).trim(), true
	}
	lane, signal, found := rest.cut(".")
	if !found {
		p.fault(t.pos(), "write wait(server.listening), wait(all client.done), wait(client.c is SYN_SENT) or wait(sent(A, SYN))", "%q names no lane and signal", shorten(t.text))
		return WaitArgs{}
	}
	return p.waitSignal(s, lane, signal, all)
}

// waitSignal finds the lanes that a wait is for, and the signal.
func (p *reading) waitSignal(s *script, lane, signal phrase, all bool) WaitArgs {
	name, ok := p.laneName(lane, all, "all "+lane.text)
	if !ok {
		return WaitArgs{}
	}
	base, _, _ := strings.Cut(name, "[")
	of := p.findScript(base)
	if known := of.signals(); !of.given[signal.text] {
		if !of.vague {
			hint := ""
			if p.hints() {
				hint = suggest(signal.text, "signals of that lane", known)
			}
			p.fault(lane.pos(), hint, "the lane %q never gives the signal %q", base, shorten(signal.text))
		}
		return WaitArgs{}
	}
	w := WaitArgs{Lane: name, Signal: signal.text}
	if all && of.copies > 0 {
		w.Lanes = p.copyNames(of)
	}
	return w
}

// copyNames are the names of all copies of a lane, made once.
func (p *reading) copyNames(s *script) []string {
	if s.names == nil {
		for i := range s.copies {
			s.names = append(s.names, copyName(s.lane.Base, i+1))
		}
	}
	return s.names
}

var copyOf = regexp.MustCompile(`^(.*)\[(\d{1,6})\]$`)

// laneName reads the name of one lane, client[2] for a copy, or of all copies of one if
// all is set. A name without a number is that of a lane without copies; together is how
// all copies are written, empty if only one can be meant.
func (p *reading) laneName(t phrase, all bool, together string) (string, bool) {
	base, number := t, 0
	if m := copyOf.FindStringSubmatch(t.text); m != nil {
		base = t.slice(0, len(m[1]))
		number, _ = strconv.Atoi(m[2]) // at most six digits
	} else if i := strings.IndexByte(t.text, '['); i >= 0 {
		p.fault(t.at(i), "write client[2]", "%q names no copy of a lane", shorten(t.text))
		return "", false
	}
	s := p.findScript(base.text)
	switch {
	case s == nil:
		if !p.vague.laneNames {
			hint := ""
			if p.hints() {
				hint = suggest(base.text, "lanes", p.laneNames())
			}
			p.fault(t.pos(), hint, "unknown lane %q", shorten(base.text))
		}
		return "", false
	case base.text != t.text && all:
		p.fault(t.pos(), "write `all "+base.text+"`, or one copy without `all`", "%q is one copy, not all", t.text)
	case base.text != t.text && s.copies == 0:
		p.fault(t.pos(), "write "+base.text, "the lane %q has no copies", base.text)
	case base.text != t.text && (number < 1 || number > s.copies):
		p.fault(t.pos(), "", "the lane %q has %s, counted from 1", base.text, copiesText(s.copies))
	case base.text == t.text && s.copies > 0 && !all:
		hint := "write one of them: " + copyName(base.text, 1)
		if together != "" {
			hint = fmt.Sprintf("write `%s`, or one of them: %s", together, copyName(base.text, 1))
		}
		p.fault(t.pos(), hint, "the lane %q has %s", base.text, copiesText(s.copies))
	default:
		return t.text, true
	}
	return "", false
}

func copiesText(n int) string {
	if n == 1 {
		return "1 copy"
	}
	return fmt.Sprintf("%d copies", n)
}
