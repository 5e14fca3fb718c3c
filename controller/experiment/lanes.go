package experiment

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

func (p *reading) lanes(n *node) {
	if n.kind != mapping || len(n.entries) == 0 {
		p.fault(n.place, "write `client: { host: A, do: [...] }`", "lanes is a mapping of names, found %s", n.kind.describe())
		p.vague.lanes = true
		return
	}
	for i, e := range n.entries {
		if i == MaxLanes {
			p.fault(e.key.pos(), "", "more than %d lanes", MaxLanes)
			return
		}
		if !p.isName(e.key, "a lane") {
			p.vague.lanes = true
			continue
		}
		p.exp.Lanes = append(p.exp.Lanes, p.lane(e))
	}
	if !p.vague.lanes {
		p.checkWaits()
	}
}

func (p *reading) lane(e entry) Lane {
	l := Lane{Name: e.key.text, Pos: e.key.pos()}
	values := p.keys(e.value, "key", []string{"host", "do"})
	if host := values["host"]; host == nil {
		p.fault(l.Pos, "write `host: A`", "the lane %q has no host", l.Name)
	} else if t, ok := p.scalar(host, "host"); ok {
		p.isRole(t)
		l.Host = t.text
	}
	steps := values["do"]
	if steps == nil || steps.kind != list || len(steps.items) == 0 {
		p.fault(l.Pos, "write its calls as a list under `do:`", "the lane %q does nothing", l.Name)
		p.vague.lanes = true
		return l
	}
	sockets := sockets{lane: l.Name}
	for _, item := range steps.items {
		if p.steps++; p.steps > MaxSteps {
			p.fault(item.place, "", "more than %d steps", MaxSteps)
			p.vague.lanes = true
			return l
		}
		if s, ok := p.step(item, &sockets); ok {
			p.label(s, place{len(p.exp.Lanes), len(l.Steps)})
			l.Steps = append(l.Steps, s)
		} else {
			p.vague.lanes = true
		}
	}
	return l
}

// step reads one item of a lane.
func (p *reading) step(n *node, sockets *sockets) (Step, bool) {
	if n.kind != scalar {
		p.fault(n.place, "put a step that holds `: ` in quotes as a whole", "a step is one line of text, found %s", n.kind.describe())
		return Step{}, false
	}
	t, ok := p.expand(n.phrase)
	if !ok {
		return Step{}, false
	}
	c, ok := p.cutCall(t)
	if !ok {
		return Step{}, false
	}
	row, ok := findCall(c.name.text)
	if !ok {
		p.fault(c.name.pos(), suggest(c.name.text, "calls", callNames()), "unknown call %q", shorten(c.name.text))
		return Step{}, false
	}
	s := Step{Text: strings.TrimSpace(t.text), Pos: t.pos(), Call: row.name}
	before := len(p.faults)
	p.arguments(&s, row, c)
	if _, ok := s.Args.(WaitArgs); ok {
		p.waitAt[s.Pos] = c.args[0].pos()
	}
	p.extras(&s, c)
	sockets.follow(p, &s, row, c)
	return s, len(p.faults) == before
}

// arguments checks how many there are and reads them.
func (p *reading) arguments(s *Step, row call, c callText) {
	if len(c.args) != len(row.params) {
		p.fault(c.closing, "", "%s takes (%s), found %s", row.name, strings.Join(row.params, ", "), plural(len(c.args), "argument"))
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

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// extras reads what any call can have: timeout=, an outcome, a label.
func (p *reading) extras(s *Step, c callText) {
	if c.timeout != nil {
		s.Timeout = p.duration(*c.timeout, "timeout", time.Microsecond)
	}
	if c.outcome != nil {
		if o, ok := p.outcome(*c.outcome); ok {
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

func (p *reading) label(s Step, at place) {
	if s.Label == "" {
		return
	}
	if _, ok := p.labels[s.Label]; ok {
		p.fault(s.Pos, "labels are unique in the whole file", "the label %q is given twice", s.Label)
		return
	}
	p.labels[s.Label] = at
}

// sockets follows which sockets a lane has while its steps are read.
type sockets struct {
	lane string
	// all are in the order of their making; a name that is made again after its
	// close stands here once.
	all []socketLife
}

type socketLife struct {
	name string
	// domain is that of its socket call, 0 if accept made it.
	domain int
	// made and closed are lines; 0 is not yet.
	made, closed int
}

func (l *sockets) find(name string) *socketLife {
	for i := range l.all {
		if l.all[i].name == name {
			return &l.all[i]
		}
	}
	return nil
}

// open are the names that can be used now.
func (l *sockets) open() []string {
	var names []string
	for _, s := range l.all {
		if s.closed == 0 {
			names = append(names, s.name)
		}
	}
	return names
}

// follow checks the sockets of one step and notes what it does to them.
func (l *sockets) follow(p *reading, s *Step, row call, c callText) {
	if row.onSocket && s.Socket != "" {
		l.use(p, s, c.args[0].pos())
		l.bindable(p, s, c)
	}
	switch {
	case row.makes == mustMake && c.makes.text == "":
		p.fault(c.name.pos(), fmt.Sprintf("write `c = %s(...)`", row.name), "nothing could use this socket without a name")
	case row.makes == makesNone && c.makes.text != "":
		p.fault(c.makes.pos(), "", "%s makes no socket to name", row.name)
	case c.makes.text != "":
		l.make(p, s, c.makes)
	}
}

func (l *sockets) use(p *reading, s *Step, at Pos) {
	known := l.find(s.Socket)
	switch {
	case known == nil:
		p.fault(at, suggest(s.Socket, "sockets", l.open()), "the lane has made no socket %q before this step", shorten(s.Socket))
	case known.closed != 0:
		p.fault(at, "", "the socket %q was closed on line %d", s.Socket, known.closed)
	case s.Call == "close":
		known.closed = s.Pos.Line
	}
}

func (l *sockets) make(p *reading, s *Step, name phrase) {
	s.Makes = name.text
	if !s.Outcome.succeeds() {
		p.fault(name.pos(), "leave the name away", "with this outcome %s makes no socket", s.Call)
	}
	life := socketLife{name: name.text, made: s.Pos.Line}
	if args, ok := s.Args.(SocketArgs); ok {
		life.domain = args.Domain
	}
	known := l.find(name.text)
	switch {
	case known == nil:
		l.all = append(l.all, life)
	case known.closed == 0:
		p.fault(name.pos(), "close it first, or take another name", "the socket %q of line %d is still open", name.text, known.made)
	default:
		*known = life
	}
}

// bindable faults an IPv6 address for a socket of IPv4, unless the author means to
// see it refused. The reverse is no fault: the agent maps an IPv4 address into IPv6.
func (l *sockets) bindable(p *reading, s *Step, c callText) {
	args, ok := s.Args.(BindArgs)
	if !ok || args.Address.Role != "" || args.Address.IP.Is4() || !s.Outcome.succeeds() {
		return
	}
	if known := l.find(s.Socket); known != nil && known.domain == afInet {
		p.fault(c.args[1].pos(), fmt.Sprintf("write %s = socket(tcp6), or 0.0.0.0", s.Socket),
			"the socket %q of line %d is of IPv4 and cannot have the IPv6 address %s", s.Socket, known.made, args.Address.IP)
	}
}

// laneNames are the names of all lanes.
func (p *reading) laneNames() []string {
	names := make([]string, len(p.exp.Lanes))
	for i, l := range p.exp.Lanes {
		names[i] = l.Name
	}
	return names
}

func (p *reading) findLane(name string) (int, bool) {
	i := slices.Index(p.laneNames(), name)
	return i, i >= 0
}

// checkSleeps faults lanes that sleep longer than a repetition may last.
func (p *reading) checkSleeps() {
	for _, l := range p.exp.Lanes {
		var all time.Duration
		for _, s := range l.Steps {
			if sleep, ok := s.Args.(SleepArgs); ok {
				all += sleep.Duration
			}
		}
		if all >= p.exp.Repeat.Timeout {
			p.fault(l.Pos, "raise `repeat: { timeout: ... }`", "the lane %q sleeps %s in all, and a repetition ends after %s", l.Name, brief(all), brief(p.exp.Repeat.Timeout))
		}
	}
}
