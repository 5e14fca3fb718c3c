package experiment

import (
	"fmt"
	"slices"
)

// sockets follows which sockets a lane has while its steps are written out.
type sockets struct {
	// all are in the order of their making; a name that is made again after its
	// close stands here once.
	all []socketLife
	// at is where each name stands in all.
	at map[string]int
	// guess: names that are not known may be sockets of the lane that forks this one.
	guess bool
}

type socketLife struct {
	name string
	// kind is that of its socket call, which accept and dup hand on; zero if a fault
	// hides it.
	kind SocketArgs
	// made and closed are lines; 0 is not yet.
	made, closed int
}

func newSockets(s *script) sockets {
	out := sockets{at: make(map[string]int), guess: s.guess}
	for _, life := range s.inherited {
		out.add(life)
	}
	return out
}

func (l *sockets) add(life socketLife) {
	l.at[life.name] = len(l.all)
	l.all = append(l.all, life)
}

func (l *sockets) find(name string) *socketLife {
	i, ok := l.at[name]
	if !ok {
		return nil
	}
	return &l.all[i]
}

// living are those that can be used now.
func (l *sockets) living() []socketLife {
	return slices.DeleteFunc(slices.Clone(l.all), func(s socketLife) bool { return s.closed != 0 })
}

func (l *sockets) openNames() []string {
	var names []string
	for _, s := range l.living() {
		names = append(names, s.name)
	}
	return names
}

// follow checks the sockets of one step and notes what it does to them.
func (l *sockets) follow(p *reading, s *Step, c callText) {
	var life socketLife
	if s.Socket != "" {
		life = l.use(p, s, c.args[0].pos())
		p.fitAddress(s, life, c)
	}
	if s.Makes != "" {
		l.make(p, s, life.kind, c.makes.pos())
	}
}

func (l *sockets) use(p *reading, s *Step, at Pos) socketLife {
	known := l.find(s.Socket)
	switch {
	case known == nil:
		if !l.guess {
			hint := ""
			if p.hints() {
				hint = suggest(s.Socket, "sockets", l.openNames())
			}
			p.fault(at, hint, "the lane has made no socket %q before this step", shorten(s.Socket))
		}
		return socketLife{}
	case known.closed == s.Pos.Line && s.Round > 1:
		p.fault(at, "make it in the loop too, or close it after the loop", "the socket %q was closed here in the round before", s.Socket)
	case known.closed != 0:
		p.fault(at, "", "the socket %q was closed on line %d", s.Socket, known.closed)
	case s.Call == "close":
		known.closed = s.Pos.Line
	}
	return *known
}

// make gives a name to what socket, accept or dup makes; from is the kind of the socket
// that the latter two work on.
func (l *sockets) make(p *reading, s *Step, from SocketArgs, at Pos) {
	life := socketLife{name: s.Makes, made: s.Pos.Line, kind: from}
	if args, ok := s.Args.(SocketArgs); ok {
		life.kind = args
	}
	known := l.find(s.Makes)
	switch {
	case known == nil:
		l.add(life)
	case known.closed == 0 && known.made == s.Pos.Line && s.Round > 1:
		p.fault(at, fmt.Sprintf("end each round with close(%s)", s.Makes), "the socket %q is still open when the next round makes it", s.Makes)
	case known.closed == 0:
		p.fault(at, "close it first, or take another name", "the socket %q of line %d is still open", s.Makes, known.made)
	default:
		*known = life
	}
}
