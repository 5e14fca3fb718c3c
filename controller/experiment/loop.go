package experiment

import (
	"fmt"
	"strings"
	"time"
)

// action is one item of `do` as it was read: a step, or a loop of such.
type action struct {
	at Pos
	// rounds and do are those of a loop; of a step rounds is 0.
	rounds int
	do     []*action
	step   Step
	row    call
	text   callText
}

// maxText bounds the bytes of the steps of a file, loops and copies written out: a lane
// travels to its agent in one message.
const maxText = 1 << 20

// actions reads the items of `do`.
func (p *reading) actions(items []*node) []*action {
	var out []*action
	for _, item := range items {
		if p.items++; p.items > MaxSteps {
			if p.items == MaxSteps+1 {
				p.fault(item.place, "", "more than %d steps", MaxSteps)
			}
			return out
		}
		var a *action
		ok := false
		if item.value("repeat") != nil || item.value("do") != nil {
			a, ok = p.loop(item)
		} else {
			a, ok = p.step(item)
		}
		if ok {
			out = append(out, a)
		}
	}
	return out
}

// loop reads `{ repeat: 3, do: [...] }`.
func (p *reading) loop(n *node) (*action, bool) {
	a := &action{at: n.place, rounds: 1}
	values := p.keys(n, "key", []string{"repeat", "do"})
	if repeat := values["repeat"]; repeat == nil {
		p.fault(n.place, "write `{ repeat: 3, do: [...] }`", "the loop does not say how often")
	} else if t, ok := p.scalar(repeat, "repeat"); ok {
		a.rounds = p.number(t, "repeat", 1, MaxSteps)
	}
	steps := values["do"]
	if steps == nil || steps.kind != list || len(steps.items) == 0 {
		p.fault(n.place, "write `{ repeat: 3, do: [...] }`", "the loop does nothing")
		return nil, false
	}
	a.do = p.actions(steps.items)
	return a, len(a.do) > 0
}

// step reads one call. One with faults is kept as far as it goes: the steps that follow
// it may use what it makes.
func (p *reading) step(n *node) (*action, bool) {
	if n.kind != scalar {
		p.fault(n.place, "put a step that holds `: ` in quotes as a whole; a loop is `{ repeat: 3, do: [...] }`", "a step is one line of text, found %s", n.kind.describe())
		return nil, false
	}
	t, ok := p.expand(n.phrase)
	if !ok {
		return nil, false
	}
	a := &action{at: t.pos()}
	if a.text, ok = p.cutCall(t); !ok {
		return nil, false
	}
	if a.row, ok = findCall(a.text.name.text); !ok {
		hint := ""
		if p.hints() {
			hint = suggest(a.text.name.text, "calls", callNames())
		}
		p.fault(a.text.name.pos(), hint, "unknown call %q", shorten(a.text.name.text))
		a.step = Step{Pos: t.pos(), Makes: a.text.makes.text}
		return a, true
	}
	a.step = Step{Text: strings.TrimSpace(t.text), Pos: t.pos(), Call: a.row.name}
	p.arguments(&a.step, a.row, a.text)
	p.extras(&a.step, a.text)
	p.makes(a)
	return a, true
}

// arguments checks how many there are and reads them.
func (p *reading) arguments(s *Step, row call, c callText) {
	if len(c.args) > len(row.params) || len(c.args) < len(row.params)-row.optional {
		p.fault(c.closing, "", "%s takes %s, found %s", row.name, row.arguments(), plural(len(c.args), "argument"))
		return
	}
	args := c.args
	for i, a := range args {
		if a.text == "" {
			p.fault(a.pos(), "", "the %s is missing", row.params[i])
			return
		}
	}
	if row.onSocket {
		s.Socket = args[0].text
		args = args[1:]
	}
	if row.read != nil {
		s.Args = row.read(p, args)
	}
}

// arguments are those of the call as a person reads them: "(socket, data[, flags])".
func (c call) arguments() string {
	var b strings.Builder
	for i, param := range c.params {
		separator := ""
		if i > 0 {
			separator = ", "
		}
		if i >= len(c.params)-c.optional {
			fmt.Fprintf(&b, "[%s%s]", separator, param)
		} else {
			b.WriteString(separator + param)
		}
	}
	return "(" + b.String() + ")"
}

// extras reads what any call can have: timeout=, an outcome, a label.
func (p *reading) extras(s *Step, c callText) {
	if c.timeout != nil {
		s.Timeout = p.duration(*c.timeout, "timeout", time.Microsecond)
	}
	if c.outcome != nil {
		if o, ok := p.outcomeIn(*c.outcome, formsOf(s)); ok {
			s.Outcome = &o
			if o.Timeout && c.timeout == nil {
				p.fault(c.outcome.pos(), "write timeout=2s among the arguments", "the outcome timeout needs the lab's own limit")
			}
		}
	}
	if c.label != nil {
		s.Label = c.label.text
	}
}

// formsOf are the outcomes that a call of this kind can have.
func formsOf(s *Step) outcomeForms {
	return outcomeForms{
		data:   s.Call == "recv" || s.Call == "recvfrom",
		events: s.Call == "poll",
		option: optionOf(s.Args),
	}
}

// makes checks that a step names what it makes, if it makes something.
func (p *reading) makes(a *action) {
	c, s := a.text, &a.step
	switch {
	case a.row.makes == makesNone && c.makes.text != "":
		p.fault(c.makes.pos(), "", "%s makes no socket to name", a.row.name)
	case !s.Outcome.succeeds() && c.makes.text != "":
		p.fault(c.makes.pos(), "leave the name away", "with this outcome %s makes no socket", s.Call)
	case a.row.makes == mustMake && c.makes.text == "" && s.Outcome.succeeds():
		p.fault(c.name.pos(), fmt.Sprintf("write `c = %s`", shorten(s.Text)), "nothing could use this socket without a name")
	}
	s.Makes = c.makes.text
}

// each calls yield with every step of a script, and with how often loops repeat it.
func (s *script) each(yield func(a *action, rounds int)) { eachOf(s.do, 1, yield) }

func eachOf(do []*action, rounds int, yield func(*action, int)) {
	for _, a := range do {
		if a.rounds == 0 {
			yield(a, rounds)
			continue
		}
		eachOf(a.do, min(rounds*a.rounds, MaxSteps), yield)
	}
}

// write writes the steps of a script out, after those of the lane that forks it, and
// follows its sockets.
func (p *reading) write(s *script) {
	if s.written {
		return
	}
	s.written = true
	if s.lane.ForkedBy != "" {
		s.guess = true // until the lane that forks it comes to the fork
		if by := p.findScript(s.lane.ForkedBy); by != nil {
			p.write(by)
		}
	}
	w := &writing{p: p, script: s, sockets: newSockets(s), applied: make(inForce)}
	before := len(p.faults)
	w.all(s.do, 0)
	s.vague = s.vague || len(p.faults) > before
}

// writing is a script on its way to the steps of a lane.
type writing struct {
	p       *reading
	script  *script
	applied inForce
	sockets
}

// all writes one round of a loop, or the lane itself; it is not ok after a fault that
// the next round would only repeat.
func (w *writing) all(do []*action, round int) bool {
	for _, a := range do {
		if a.rounds == 0 {
			if !w.one(a, round) {
				return false
			}
			continue
		}
		rounds := a.rounds
		if w.script.vague {
			rounds = 1
		}
		before := len(w.p.faults)
		for r := 1; r <= rounds && len(w.p.faults) == before; r++ {
			if !w.all(a.do, r) {
				return false
			}
		}
	}
	return true
}

// one writes one step; it is not ok beyond the limits of a file.
func (w *writing) one(a *action, round int) bool {
	p, copies := w.p, max(1, w.script.copies)
	s := a.step
	s.Round = round
	if !p.fitsLimits(&s, copies) {
		w.script.vague = true
		return false
	}
	w.follow(p, &s, a.text)
	if len(a.text.args) > 0 {
		w.change(&s, a.text.args[0].pos())
	}
	if fork, ok := s.Args.(ForkArgs); ok {
		if child := p.findScript(fork.Lane); child != nil {
			child.inherited, child.guess = w.living(), w.script.vague
		}
	}
	w.script.lane.Steps = append(w.script.lane.Steps, s)
	return true
}

// fitsLimits counts a step of so many lanes; it is not ok if the file is too long.
func (p *reading) fitsLimits(s *Step, copies int) bool {
	p.steps += copies
	p.textSize += copies * len(s.Text)
	p.sent += copies * dataSize(s)
	switch {
	case p.overLimit:
	case p.steps > MaxSteps:
		p.fault(s.Pos, "", "more than %d steps, loops and copies written out", MaxSteps)
	case p.textSize > maxText:
		p.fault(s.Pos, "write shorter ones, or fewer", "the steps hold more than %d bytes of text, loops and copies written out", maxText)
	case p.sent > MaxData:
		p.fault(s.Pos, "", "the sends of a file hold at most %d bytes together, loops and copies written out", MaxData)
	default:
		return true
	}
	p.overLimit = true
	return false
}

// dataSize is how many bytes of data travel with a step.
func dataSize(s *Step) int {
	n := 0
	switch args := s.Args.(type) {
	case SendArgs:
		n = len(args.Data)
	case SendToArgs:
		n = len(args.Data)
	}
	if s.Outcome != nil {
		for _, d := range s.Outcome.Data {
			n += len(d)
		}
	}
	return n
}
