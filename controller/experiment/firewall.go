package experiment

import (
	"slices"
	"time"
)

// firewallForm is a rule as a person reads it. An ACTION is one of firewallActions.
const firewallForm = "ACTION [in|out] [PROTOCOL[/PORT]] [from HOST] [to HOST] [sport N] [flags SYN+ACK] [type N] [longer than N] [state new] [with REASON]"

// firewallActions are what a rule begins with. Those that rewrite a port, and the one
// that only tracks connections, let packets pass.
var firewallActions = []struct {
	name, doc string
	action    FirewallAction
}{
	{"drop", "Packets vanish.", FirewallDrop},
	{"reject", "Packets vanish and are answered; `with` says how.", FirewallReject},
	{"accept", "Packets pass, and rules further down do not see them.", FirewallAccept},
	{"redirect", "`redirect to 8081 tcp/80`: packets for port 80 get to port 8081 of this host.", FirewallAccept},
	{"masquerade", "`masquerade to 4000 udp/53`: packets for a peer's port 53 leave from port 4000; the direction is out.", FirewallAccept},
	{"track", "`track tcp/80 idle 2s`: connections are tracked, and forgotten when nothing was seen of them for so long.", FirewallAccept},
}

// firewallProtocols are the numbers of IP; 0 is any.
var firewallProtocols = map[string]int{"tcp": ipprotoTCP, "udp": ipprotoUDP, "icmp": ipprotoICMP, "icmp6": ipprotoICMPv6, "any": 0}

// rejectReasons are how a packet can be answered, the first if nothing is said.
var rejectReasons = []string{"icmp-port-unreachable", "icmp-host-unreachable", "icmp-net-unreachable", "icmp-admin-prohibited", "tcp-reset"}

// trackStates are those of connection tracking.
var trackStates = []string{"new", "established", "invalid"}

// icmpTypes are the types that have a name here, by protocol.
var icmpTypes = map[int]map[string]int{
	ipprotoICMP:   {"echo-reply": 0, "unreachable": 3, "redirect": 5, "echo-request": 8, "time-exceeded": 11},
	ipprotoICMPv6: {"unreachable": 1, "packet-too-big": 2, "time-exceeded": 3, "echo-request": 128, "echo-reply": 129},
}

// ruleReader reads the words of one rule, each part once.
type ruleReader struct {
	p     *reading
	rule  FirewallRule
	verb  string
	words []phrase
	seen  []string
	// portAt, … are where the rule says so.
	portAt, flagsAt, typeAt, reasonAt phrase
}

// firewall reads one rule.
func (p *reading) firewall(t phrase) (Change, bool) {
	before := len(p.faults)
	r := &ruleReader{p: p, rule: FirewallRule{ICMPType: -1}, words: t.fields()}
	if !r.action(t) {
		return Change{}, false
	}
	for len(r.words) > 0 && len(p.faults) == before {
		r.part()
	}
	if len(p.faults) == before {
		r.check(t)
	}
	return Change{Firewall: &r.rule}, len(p.faults) == before
}

func (r *ruleReader) action(t phrase) bool {
	var known []string
	word := r.next()
	for _, a := range firewallActions {
		if a.name == word.text {
			r.verb, r.rule.Action = a.name, a.action
			return true
		}
		known = append(known, a.name)
	}
	if word.text == "" {
		word = t
	}
	r.p.fault(word.pos(), suggest(word.text, "actions", known)+"; a rule is "+firewallForm, "unknown action %q", shorten(word.text))
	return false
}

// next takes a word; it is empty, and has no place, when there is none.
func (r *ruleReader) next() phrase {
	if len(r.words) == 0 {
		return phrase{columns: []int32{0}}
	}
	w := r.words[0]
	r.words = r.words[1:]
	return w
}

// after takes the word that must follow another.
func (r *ruleReader) after(key phrase, what string) (phrase, bool) {
	if len(r.words) == 0 {
		r.p.fault(key.end(), "a rule is "+firewallForm, "%s is missing after %q", what, key.text)
		return phrase{}, false
	}
	return r.next(), true
}

// once faults a part that stands there twice.
func (r *ruleReader) once(part string, at phrase) bool {
	if slices.Contains(r.seen, part) {
		r.p.fault(at.pos(), "", "the rule says its %s twice", part)
		return false
	}
	r.seen = append(r.seen, part)
	return true
}

// part reads the next part of the rule.
func (r *ruleReader) part() {
	w := r.next()
	switch w.text {
	case "in", "out":
		if r.once("direction", w) {
			r.rule.Out = w.text == "out"
		}
	case "from":
		if t, ok := r.after(w, "a host"); ok && r.once("source", w) {
			r.rule.From = r.host(t)
		}
	case "to":
		r.to(w)
	case "sport":
		if t, ok := r.after(w, "a port"); ok && r.once("source port", w) {
			r.rule.SourcePort, r.portAt = r.port(t), w
		}
	case "flags":
		if r.once("flags", w) {
			r.flags(w)
		}
	case "type":
		if t, ok := r.after(w, "a number"); ok && r.once("type", w) {
			r.typeAt = t
		}
	case "longer":
		r.longer(w)
	case "state":
		if r.once("state", w) {
			r.states(w)
		}
	case "with":
		if t, ok := r.after(w, "a reason"); ok && r.once("reason", w) {
			r.reason(t)
		}
	case "idle":
		if t, ok := r.after(w, "a time"); ok && r.once("idle time", w) {
			r.rule.IdleTimeout = r.p.duration(t, "idle", time.Second)
			if r.rule.IdleTimeout%time.Second != 0 {
				r.p.fault(t.pos(), "", "connection tracking counts whole seconds, found %q", shorten(t.text))
			}
			r.reasonAt = w
		}
	default:
		r.protocol(w)
	}
}

// protocol reads tcp, tcp/80 or tcp/$port+1.
func (r *ruleReader) protocol(w phrase) {
	name, port, found := w.cut("/")
	number, ok := firewallProtocols[name.text]
	if !ok {
		known := []string{"tcp", "udp", "icmp", "icmp6", "any", "in", "out", "from", "to", "sport", "flags", "type", "longer", "state", "with"}
		r.p.fault(w.pos(), suggest(name.text, "words", known), "%q is not understood in a rule", shorten(w.text))
		return
	}
	if !r.once("protocol", w) {
		return
	}
	r.rule.Protocol = number
	if found {
		r.rule.Port, r.portAt = r.port(port), port
	}
}

func (r *ruleReader) port(t phrase) uint16 { return uint16(r.p.number(t, "a port", 1, 65535)) }

// host reads a role or an IP address.
func (r *ruleReader) host(t phrase) Address {
	a, ok := r.p.hostAddress(t)
	if !ok {
		r.p.fault(t.pos(), knownNames("roles", r.p.roles()), "%q is neither a role nor an IP address", shorten(t.text))
		return Address{}
	}
	if a.Role != "" {
		r.p.isRole(t)
	}
	a.NoPort = true
	return a
}

// to reads where packets go, or of a rewriting rule the new port.
func (r *ruleReader) to(w phrase) {
	t, ok := r.after(w, "a host")
	if !ok {
		return
	}
	rewrites := r.verb == "redirect" || r.verb == "masquerade"
	switch {
	case rewrites && isArithmetic(t.text):
		if !r.once("new port", w) {
			return
		}
		if r.verb == "redirect" {
			r.rule.RedirectPort = r.port(t)
		} else {
			r.rule.MasqueradePort = r.port(t)
		}
	case r.once("destination", w):
		r.rule.To = r.host(t)
	}
}

// flags reads `SYN+ACK`, `SYN without ACK` and `any RST`, by the rule of packets: of
// SYN, ACK, FIN and RST exactly these, or with any at least; FIN and RST alone leave
// open whether ACK is set.
func (r *ruleReader) flags(key phrase) {
	r.flagsAt = key
	w, ok := r.after(key, "a flag")
	if !ok {
		return
	}
	some := w.text == "any"
	if some {
		if w, ok = r.after(w, "a flag"); !ok {
			return
		}
	}
	set, ok := r.flagNames(w)
	if !ok {
		return
	}
	var clear uint16
	if len(r.words) > 0 && r.words[0].text == "without" {
		key := r.next()
		if w, ok = r.after(key, "a flag"); !ok {
			return
		}
		if clear, ok = r.flagNames(w); !ok {
			return
		}
		if set&clear != 0 {
			r.p.fault(w.pos(), "", "a flag is asked for and excluded")
			return
		}
	}
	r.rule.Flags, r.rule.Mask = set, set|clear
	if !some {
		r.rule.Mask |= fin | syn | rst
		if set != fin && set != rst {
			r.rule.Mask |= ack
		}
	}
}

// flagNames reads flags joined by +.
func (r *ruleReader) flagNames(w phrase) (uint16, bool) {
	var flags uint16
	for rest, more := w, true; more; {
		var name phrase
		name, rest, more = rest.cut("+")
		bit, ok := flagBits[name.text]
		if !ok {
			r.p.fault(name.pos(), suggest(name.text, "flags", flagNames), "%q is no flag", shorten(name.text))
			return 0, false
		}
		flags |= bit
	}
	return flags, true
}

func (r *ruleReader) longer(w phrase) {
	than, ok := r.after(w, "`than`")
	if !ok || !r.once("length", w) {
		return
	}
	if than.text != "than" {
		r.p.fault(than.pos(), "write longer than 1000", "%q is not understood", shorten(than.text))
		return
	}
	if n, ok := r.after(than, "a number of bytes"); ok {
		r.rule.LongerThan = r.p.number(n, "a length in bytes", 1, 65535)
	}
}

// states reads `new` or `new or established`.
func (r *ruleReader) states(key phrase) {
	for {
		w, ok := r.after(key, "a state")
		if !ok {
			return
		}
		if !slices.Contains(trackStates, w.text) {
			r.p.fault(w.pos(), suggest(w.text, "states", trackStates), "unknown state of a connection %q", shorten(w.text))
			return
		}
		r.rule.States = append(r.rule.States, w.text)
		if len(r.words) == 0 || r.words[0].text != "or" {
			return
		}
		key = r.next()
	}
}

func (r *ruleReader) reason(t phrase) {
	r.reasonAt = t
	if !slices.Contains(rejectReasons, t.text) {
		r.p.fault(t.pos(), suggest(t.text, "reasons", rejectReasons), "unknown reason %q", shorten(t.text))
		return
	}
	r.rule.RejectWith = t.text
}

// check finds parts of a rule that do not fit each other.
func (r *ruleReader) check(t phrase) {
	p, rule := r.p, &r.rule
	ports := rule.Protocol == ipprotoTCP || rule.Protocol == ipprotoUDP
	if rule.Mask != 0 && !slices.Contains(r.seen, "protocol") {
		rule.Protocol = ipprotoTCP
	}
	switch {
	case r.portAt.columns != nil && !ports:
		p.fault(r.portAt.pos(), "write tcp/80 or udp/53", "only tcp and udp have ports")
	case rule.Mask != 0 && rule.Protocol != ipprotoTCP:
		p.fault(r.flagsAt.pos(), "", "only tcp has flags")
	case rule.RejectWith == "tcp-reset" && rule.Protocol != ipprotoTCP:
		p.fault(r.reasonAt.pos(), "write reject tcp/80 with tcp-reset", "only tcp can be answered by a reset")
	case rule.RejectWith != "" && rule.Action != FirewallReject:
		p.fault(r.reasonAt.pos(), "write reject", "only reject has a reason")
	case r.verb == "redirect" && rule.RedirectPort == 0, r.verb == "masquerade" && rule.MasqueradePort == 0:
		p.fault(t.end(), "write "+r.verb+" to 8081 tcp/80", "%s does not say to which port", r.verb)
	case (r.verb == "redirect" || r.verb == "masquerade") && !ports:
		p.fault(t.pos(), "write "+r.verb+" to 8081 tcp/80", "%s is for tcp or udp", r.verb)
	case r.verb == "track" && (rule.IdleTimeout == 0 || !ports):
		p.fault(t.pos(), "write track tcp/80 idle 2s", "track needs tcp or udp, and an idle time")
	case r.verb != "track" && rule.IdleTimeout != 0:
		p.fault(r.reasonAt.pos(), "write track tcp/80 idle 2s", "only track has an idle time")
	case r.typeAt.columns != nil:
		r.icmpType()
	}
	if rule.Action == FirewallReject && rule.RejectWith == "" {
		rule.RejectWith = rejectReasons[0]
	}
	if r.verb == "masquerade" && !slices.Contains(r.seen, "direction") {
		rule.Out = true
	}
	six := rule.Protocol == ipprotoICMPv6
	rule.From.Six, rule.To.Six = six && rule.From.Role != "", six && rule.To.Role != ""
}

// icmpType reads a type once the protocol is known, by its number or its name.
func (r *ruleReader) icmpType() {
	names, ok := icmpTypes[r.rule.Protocol]
	if !ok {
		r.p.fault(r.typeAt.pos(), "write drop icmp type 3", "only icmp and icmp6 have a type")
		return
	}
	if n, ok := names[r.typeAt.text]; ok {
		r.rule.ICMPType = n
		return
	}
	if !isArithmetic(r.typeAt.text) {
		var known []string
		for name := range names {
			known = append(known, name)
		}
		slices.Sort(known)
		r.p.fault(r.typeAt.pos(), suggest(r.typeAt.text, "types", known)+"; or write a number", "unknown type %q", shorten(r.typeAt.text))
		return
	}
	r.rule.ICMPType = r.p.number(r.typeAt, "a type", 0, 255)
}
