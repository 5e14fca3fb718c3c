package experiment

import (
	"fmt"
	"slices"
	"strings"
)

// changeKey is one row of the table of what can be changed on a host.
type changeKey struct {
	name, form, doc string
	// read reads the value of the key, for a host, and returns what it changes.
	read func(p *reading, host string, n *node) []Change
}

// changeKeys are all of them.
var changeKeys = []changeKey{
	{"sysctl", "sysctl: { net.ipv4.tcp_syncookies: 0 }",
		"Values below /proc/sys/net, sysctl(8).",
		func(p *reading, _ string, n *node) []Change { return p.sysctls(n, "sysctl", false) }},
	{"sysctl_if_present", "sysctl_if_present: { net.ipv4.tcp_syn_linear_timeouts: 0 }",
		"The same; a kernel that has no such value is left as it is.",
		func(p *reading, _ string, n *node) []Change { return p.sysctls(n, "sysctl_if_present", true) }},
	{"firewall", "firewall: drop tcp/$port",
		"A rule of nftables(8), or a list of them. See Firewall.",
		func(p *reading, _ string, n *node) []Change { return p.each(n, "firewall", (*reading).firewall) }},
	{"route", "route: unreachable A",
		"A route, or a list of them: `unreachable A`, `blackhole A`, `prohibit A`, `A mtu 1000`, `A advmss 500 rto_min 50ms initcwnd 2`, `10.9.0.0/24 via A`.",
		func(p *reading, _ string, n *node) []Change { return p.each(n, "route", (*reading).route) }},
	{"neighbour", "neighbour: nowhere A",
		"What the host knows of link addresses: `flush` or `flush A` forgets them, `nowhere A` gives A one that nobody has.",
		func(p *reading, _ string, n *node) []Change { return p.each(n, "neighbour", (*reading).neighbour) }},
	{"link", "link: { mtu: 1000, rate: 1mbit, offload: off }",
		"The interface of the run's traffic: its MTU, a limit on what it sends, segmentation by the device; `link: down` takes it down.",
		func(p *reading, _ string, n *node) []Change { return p.link(n) }},
	{"address", "address: add 10.9.9.9/24",
		"An address that the interface has more or less: `add 10.9.9.9/24`, `remove 10.9.9.9/24`, or `remove B` on B.",
		func(p *reading, host string, n *node) []Change {
			return p.each(n, "address", func(p *reading, t phrase) (Change, bool) { return p.addressChange(host, t) })
		}},
}

func changeNames() []string {
	names := make([]string, len(changeKeys))
	for i, k := range changeKeys {
		names[i] = k.name
	}
	return names
}

// setup reads `setup: { B: { sysctl: ... } }`.
func (p *reading) setup(n *node) {
	if n.kind == null {
		return
	}
	if n.kind != mapping {
		p.fault(n.place, "write `setup: { B: { sysctl: { net.ipv4.tcp_syncookies: 0 } } }`", "setup is a mapping of hosts, found %s", n.kind.describe())
		return
	}
	for _, e := range n.entries {
		if !p.isRole(e.key) {
			continue
		}
		host := e.key.text
		values := p.keys(e.value, "key", append([]string{"require"}, changeNames()...))
		if v := values["require"]; v != nil {
			p.require(host, v)
		}
		if all := p.changeList(host, e.value); len(all) > 0 {
			p.exp.Setups = append(p.exp.Setups, Setup{Host: host, Changes: all, Pos: e.key.pos()})
		}
	}
}

// changes reads `changes: { cut: { host: B, firewall: ... } }`.
func (p *reading) changes(n *node) {
	if n.kind == null {
		return
	}
	if n.kind != mapping {
		p.fault(n.place, "write `changes: { cut: { host: B, firewall: drop tcp/$port } }`", "changes is a mapping of names, found %s", n.kind.describe())
		p.vague.changes = true
		return
	}
	for i, e := range n.entries {
		if i == MaxChanges {
			p.fault(e.key.pos(), "", "more than %d changes", MaxChanges)
			p.vague.changes = true
			return
		}
		if !p.isName(e.key, "a change") {
			p.vague.changes = true
			continue
		}
		s := Setup{Name: e.key.text, Pos: e.key.pos()}
		values := p.keys(e.value, "key", append([]string{"host"}, changeNames()...))
		if host := values["host"]; host == nil {
			p.fault(s.Pos, "write `host: B`", "the change %q has no host", s.Name)
		} else if t, ok := p.scalar(host, "host"); ok && p.isRole(t) {
			s.Host = t.text
		}
		before := len(p.faults)
		s.Changes = p.changeList(s.Host, e.value)
		if len(s.Changes) == 0 && len(p.faults) == before {
			p.fault(s.Pos, knownNames("keys", changeNames()), "the change %q changes nothing", s.Name)
		}
		p.declare("change", e.key)
		p.exp.Changes = append(p.exp.Changes, s)
	}
}

// changeList reads what is changed on a host, in the order of the file.
func (p *reading) changeList(host string, n *node) []Change {
	var all []Change
	for _, e := range n.entries {
		i := slices.IndexFunc(changeKeys, func(k changeKey) bool { return k.name == e.key.text })
		if i < 0 {
			continue
		}
		for _, c := range changeKeys[i].read(p, host, e.value) {
			if p.changed++; p.changed > MaxChanges {
				if p.changed == MaxChanges+1 {
					p.fault(c.Pos, "", "more than %d changes", MaxChanges)
				}
				return all
			}
			all = append(all, c)
		}
	}
	return all
}

// each reads a text or a list of texts, each a change.
func (p *reading) each(n *node, key string, read func(*reading, phrase) (Change, bool)) []Change {
	var all []Change
	for _, t := range p.texts(n, key, (*reading).scalar) {
		if len(all) > MaxChanges {
			return all
		}
		if c, ok := read(p, t); ok {
			c.Text, c.Pos = key+": "+strings.Join(strings.Fields(t.text), " "), t.pos()
			all = append(all, c)
		}
	}
	return all
}

// sysctls reads `{ net.ipv4.tcp_syncookies: 0 }`.
func (p *reading) sysctls(n *node, key string, ifPresent bool) []Change {
	if n.kind != mapping || len(n.entries) == 0 {
		p.fault(n.place, "write `"+key+": { net.ipv4.tcp_syncookies: 0 }`", "%s is a mapping of names to values, found %s", key, n.kind.describe())
		return nil
	}
	var all []Change
	for _, e := range n.entries {
		name, known := p.sysctlName(e.key)
		value, ok := p.scalar(e.value, "the value of a sysctl")
		if !known || !ok || !p.sysctlValue(value) {
			continue
		}
		all = append(all, Change{
			Text: fmt.Sprintf("%s: %s = %s", key, name, value.text), Pos: e.key.pos(),
			Sysctl: &SysctlChange{Name: name, Value: value.text, IfPresent: ifPresent},
		})
	}
	return all
}

// sysctlName reads a name with dots, in which a slash is a dot of an interface's name
// as in sysctl(8). Only those below net belong to the network namespace of a host.
func (p *reading) sysctlName(t phrase) (string, bool) {
	parts := strings.Split(t.text, ".")
	bad := func(part string) bool {
		return part == "" || strings.Trim(part, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-/@:") != ""
	}
	switch {
	case len(t.text) > maxLabel || len(parts) < 2 || slices.ContainsFunc(parts, bad):
		p.fault(t.pos(), "write net.ipv4.tcp_syncookies", "%q is no name of a sysctl", shorten(t.text))
		return "", false
	case parts[0] != "net":
		p.fault(t.pos(), "the lab changes only what belongs to the network of one host", "the sysctl %q is not below net", shorten(t.text))
		return "", false
	}
	return t.text, true
}

func (p *reading) sysctlValue(t phrase) bool {
	if t.text == "" || len(t.text) > maxValue || strings.ContainsFunc(t.text, func(r rune) bool { return r != '\t' && isControl(r) }) {
		p.fault(t.pos(), "", "the value of a sysctl is one line of 1 to %d bytes", maxValue)
		return false
	}
	return true
}

// checkChange faults the name of a change that a lane cannot make.
func (p *reading) checkChange(s *script, name string, at phrase) {
	p.use("change", name)
	var known []string
	for _, c := range p.exp.Changes {
		if c.Name != name {
			known = append(known, c.Name)
			continue
		}
		if c.Host != s.lane.Host && c.Host != "" && s.lane.Host != "" {
			p.fault(at.pos(), "let a lane of that host do it", "the change %q is one of host %s, and the lane %q runs on %s", name, c.Host, s.lane.Base, s.lane.Host)
		}
		return
	}
	if !p.vague.changes {
		p.fault(at.pos(), suggest(name, "changes", known), "unknown change %q", shorten(name))
	}
}

// checkUndo faults the undoing of what no lane applies.
func (p *reading) checkUndo(name string, at phrase) {
	if slices.ContainsFunc(p.exp.Changes, func(c Setup) bool { return c.Name == name }) && p.appliers(name) == 0 {
		p.fault(at.pos(), "write `apply("+name+")` before it", "no lane applies the change %q", name)
	}
}

// appliers is how many lanes apply or undo a change, copies counted; 0 if none applies
// it.
func (p *reading) appliers(name string) int {
	if n, ok := p.applierCount[name]; ok {
		return n
	}
	n, applied := 0, false
	for _, s := range p.scripts {
		touches := false
		s.each(func(a *action, _ int) {
			applies, undoes := a.step.Args == any(ApplyArgs{name}), a.step.Args == any(UndoArgs{name})
			touches = touches || applies || undoes
			applied = applied || applies
		})
		if touches {
			n += max(1, s.copies)
		}
	}
	if !applied {
		n = 0
	}
	if p.applierCount == nil {
		p.applierCount = make(map[string]int)
	}
	p.applierCount[name] = n
	return n
}

// inForce follows which changes a lane has applied, while its steps are written out. Of
// those that several lanes apply and undo, only the run knows the order.
type inForce map[string]Pos

func (w *writing) change(s *Step, at Pos) {
	switch args := s.Args.(type) {
	case ApplyArgs:
		if first, ok := w.applied[args.Name]; ok && w.p.appliers(args.Name) == 1 {
			w.p.fault(at, "write `undo("+args.Name+")` between them", "the change %q has been in force since line %d", args.Name, first.Line)
		}
		w.applied[args.Name] = s.Pos
	case UndoArgs:
		if _, ok := w.applied[args.Name]; !ok && w.p.appliers(args.Name) == 1 {
			w.p.fault(at, "write `apply("+args.Name+")` before it", "the change %q is not in force here", args.Name)
		}
		delete(w.applied, args.Name)
	}
}
