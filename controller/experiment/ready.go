package experiment

import "slices"

// ready is one row of the table of ready-made expectations, which stand for nouns.
type ready struct {
	name string
	// argument says what follows the name, empty if nothing.
	argument string
	form     string
	doc      string
	// expand makes the nouns. argument is what the author wrote, the zero phrase if
	// there is none; it returns nothing after a fault.
	expand func(p *reading, argument phrase) []expansion
}

// expansion is a noun and what it is given.
type expansion struct {
	noun string
	// texts are a list; below is a mapping of one key to a list, if it is not nil.
	texts []string
	key   string
}

var readies = []ready{
	{"handshake", "", "handshake",
		"Each connection begins with SYN, SYN+ACK and ACK, each sent once.",
		always(expansion{noun: "packets", texts: []string{"SYN", "SYN+ACK", "third ACK", "..."}})},
	{"graceful-teardown", "", "graceful-teardown",
		"Each connection ends by one FIN of either end, both acknowledged; nothing is reset.",
		always(
			expansion{noun: "packets", texts: []string{"...", "FIN", "...", "FIN", "...", "ACK"}},
			expansion{noun: "never", texts: []string{"retransmitted FIN"}},
			expansion{noun: "never", texts: []string{"any RST"}})},
	{"no-rst", "", "no-rst",
		"Nothing is reset.",
		always(expansion{noun: "never", texts: []string{"any RST"}})},
	{"time-wait-on", "HOST", "time-wait-on: A",
		"The ends that the host's lanes have of connections, by connect or accept, are in TIME_WAIT when the repetition is over.",
		(*reading).timeWaitOn},
}

func readyNames() []string {
	names := make([]string, len(readies))
	for i, r := range readies {
		names[i] = r.name
	}
	return names
}

func findReady(name string) (ready, bool) {
	for _, r := range readies {
		if r.name == name {
			return r, true
		}
	}
	return ready{}, false
}

// always is the expansion of a ready-made expectation without an argument.
func always(out ...expansion) func(*reading, phrase) []expansion {
	return func(*reading, phrase) []expansion { return out }
}

// ready reads a ready-made expectation. n is its name, or its argument.
func (p *reading) ready(row ready, n *node) {
	var argument phrase
	named := n.kind == scalar && n.phrase.text == row.name
	switch {
	case row.argument == "" && !named:
		if n.kind == null {
			break // `- no-rst:`
		}
		p.fault(n.place, "write `- "+row.form+"`", "the expectation %q takes no argument", row.name)
		return
	case row.argument != "" && (named || n.kind == null):
		p.fault(n.place, "write `- "+row.form+"`", "the expectation %q needs an argument", row.name)
		return
	case row.argument != "":
		var ok bool
		if argument, ok = p.scalar(n, row.name); !ok {
			return
		}
	}
	first := len(p.exp.Expect)
	for _, e := range row.expand(p, argument) {
		value := &node{kind: list, place: n.place}
		for _, text := range e.texts {
			value.items = append(value.items, &node{kind: scalar, place: n.place, phrase: flat(text, n.place)})
		}
		if e.key != "" {
			value = &node{kind: mapping, place: n.place, entries: []entry{{flat(e.key, n.place), value}}}
		}
		for _, row := range nouns() {
			if row.name == e.noun {
				row.read(p, value)
			}
		}
	}
	p.dropRepeated(first)
}

// dropRepeated leaves those out, of the expectations from first, that are expected
// already.
func (p *reading) dropRepeated(first int) {
	kept := p.exp.Expect[:first]
	for _, e := range p.exp.Expect[first:] {
		if !slices.ContainsFunc(kept, func(other Expectation) bool { return other.Text == e.Text }) {
			kept = append(kept, e)
		}
	}
	p.exp.Expect = kept
}

// timeWaitOn finds the sockets of a host that are ends of TCP connections.
func (p *reading) timeWaitOn(host phrase) []expansion {
	if !p.isRole(host) || p.vague.lanes {
		return nil
	}
	out := expansion{noun: "final", key: "TIME_WAIT"}
	for _, l := range p.exp.Lanes {
		if l.Host != host.text {
			continue
		}
		seen := make(map[string]bool)
		for _, socket := range connectionEnds(l) {
			if !seen[socket] {
				out.texts = append(out.texts, l.Name+"."+socket)
			}
			seen[socket] = true
		}
	}
	if len(out.texts) == 0 {
		p.fault(host.pos(), "", "no lane of host %s connects or accepts", host.text)
		return nil
	}
	return []expansion{out}
}

// connectionEnds are the sockets of a lane that become ends of TCP connections, in the
// order of their steps.
func connectionEnds(l Lane) []string {
	other := make(map[string]bool) // sockets that are not of TCP
	var ends []string
	for _, s := range l.Steps {
		switch args := s.Args.(type) {
		case SocketArgs:
			other[s.Makes] = args.Type != sockStream || args.Domain != afInet && args.Domain != afInet6
		case ConnectArgs:
			if !other[s.Socket] {
				ends = append(ends, s.Socket)
			}
		}
		if s.Call == "accept" && s.Makes != "" && !other[s.Socket] {
			ends = append(ends, s.Makes)
		}
	}
	return ends
}
