package experiment

import (
	"fmt"
	"slices"
	"strings"
)

// noun is one row of the table of expectations.
type noun struct {
	name, form, doc string
	// read appends to the expectations what one value asks for.
	read func(*reading, *node)
}

// nouns are all that can be expected. The function is not a variable because the
// readers refer back to it.
func nouns() []noun {
	return []noun{
		{"packets", "packets: [A>B SYN, B>A SYN+ACK, ...]",
			"The segments of each connection, all of them and in order; ... stands for any number.", (*reading).packets},
		{"order", "order: [enter(client.connect) < sent(A, SYN)]",
			"Moments of calls and packets of any host, each not after the next. See Order.", (*reading).order},
		{"result", "result: { of: client.connect, errno: ECONNREFUSED }",
			"What a call returned: ok, value, errno or ended_by. See Result.", (*reading).result},
		{"never", "never: any RST",
			"Segments that no tap may see.", (*reading).never},
	}
}

func (p *reading) expect(n *node) {
	if n.kind != list {
		p.fault(n.place, "write each as an item: `- never: any RST`", "expect is a list, found %s", n.kind.describe())
		return
	}
	var known []string
	for _, row := range nouns() {
		known = append(known, row.name)
	}
	for _, item := range n.items {
		if item.kind != mapping {
			p.fault(item.place, knownNames("expectations", known), "an expectation is `- noun: ...`, found %s", item.kind.describe())
			continue
		}
		values := p.keys(item, "expectation", known)
		for _, row := range nouns() {
			if value := values[row.name]; value != nil {
				row.read(p, value)
			}
		}
	}
	if len(p.exp.Expect) > MaxExpect {
		p.fault(n.place, "", "%d expectations; at most %d are judged", len(p.exp.Expect), MaxExpect)
	}
}

func (p *reading) add(e Expectation) { p.exp.Expect = append(p.exp.Expect, e) }

func (p *reading) packets(n *node) {
	p.needs("packets", n.place)
	terms := p.texts(n, "packets", (*reading).scalar)
	if n.kind == list && len(n.items) == 0 || len(terms) > MaxTerms {
		p.fault(n.place, "", "a pattern has from 1 to %d terms, found %d", MaxTerms, len(terms))
		return
	}
	pattern := &PacketsExpectation{}
	var texts []string
	for _, t := range terms {
		texts = append(texts, t.text)
		if t.text == "..." {
			pattern.Pattern = append(pattern.Pattern, PacketTerm{Any: true})
			continue
		}
		if s, ok := p.selector(t); ok {
			pattern.Pattern = append(pattern.Pattern, PacketTerm{Packet: s})
		}
	}
	p.add(Expectation{Text: "packets: [" + strings.Join(texts, ", ") + "]", Pos: n.place, Packets: pattern})
}

func (p *reading) never(n *node) {
	p.needs("packets", n.place)
	for _, t := range p.texts(n, "never", (*reading).scalar) {
		if s, ok := p.selector(t); ok {
			p.add(Expectation{Text: "never: " + t.text, Pos: t.pos(), Never: &NeverExpectation{Packet: s}})
		}
	}
}

func (p *reading) order(n *node) {
	for _, t := range p.texts(n, "order", (*reading).scalar) {
		moments := p.chain(t)
		if moments != nil {
			p.add(Expectation{Text: "order: " + t.text, Pos: t.pos(), Order: &OrderExpectation{moments}})
		}
	}
}

// chain reads moments joined by <, <= or ≤, which all mean "not after": two stamps of
// one clock may be equal. It is nil after a fault.
func (p *reading) chain(t phrase) []MomentSelector {
	before := len(p.faults)
	var moments []MomentSelector
	for _, part := range splitChain(t) {
		if m, ok := p.moment(part); ok {
			moments = append(moments, m)
		}
		if len(moments) > MaxMoments {
			p.fault(part.pos(), "", "more than %d moments", MaxMoments)
			break
		}
	}
	if len(p.faults) > before {
		return nil
	}
	if len(moments) < 2 {
		p.fault(t.pos(), "write enter(client.connect) < sent(A, SYN)", "an order has two moments or more")
		return nil
	}
	return moments
}

func splitChain(t phrase) []phrase {
	var parts []phrase
	start := 0
	for i := 0; i < len(t.text); i++ {
		size := 0
		switch {
		case strings.HasPrefix(t.text[i:], "<="):
			size = 2
		case t.text[i] == '<':
			size = 1
		case strings.HasPrefix(t.text[i:], "≤"):
			size = len("≤")
		}
		if size > 0 {
			parts = append(parts, t.slice(start, i).trim())
			start = i + size
			i = start - 1
		}
	}
	return append(parts, t.from(start).trim())
}

func (p *reading) result(n *node) {
	p.needs("syscalls", n.place)
	forms := []string{"ok", "value", "errno", "ended_by"}
	values := p.keys(n, "key", append([]string{"of"}, forms...))
	of := values["of"]
	if of == nil {
		p.fault(n.place, "write `of: client.connect`, or `of:` and a label", "a result is of a call")
		return
	}
	var form string
	for _, f := range forms {
		if values[f] != nil && form != "" {
			p.fault(values[f].place, "join what is accepted by `or`", "a result says %s or %s, not both", form, f)
			return
		}
		if values[f] != nil {
			form = f
		}
	}
	if form == "" {
		p.fault(n.place, knownNames("forms", forms), "the result does not say what is expected")
		return
	}
	t, ok1 := p.scalar(of, "of")
	v, ok2 := p.scalar(values[form], form)
	if !ok1 || !ok2 {
		return
	}
	m, ok1 := p.callMoment(ReturnCall, t)
	outcome, ok2 := p.resultOutcome(form, v)
	if ok1 && ok2 {
		text := fmt.Sprintf("result: { of: %s, %s: %s }", t.text, form, v.text)
		p.add(Expectation{Text: text, Pos: n.place, Result: &ResultExpectation{Of: m, Outcome: outcome}})
	}
}

// resultOutcome reads `ok: true`, `value: 0`, `errno: ENAME or ENAME`, `ended_by: lab timeout`.
func (p *reading) resultOutcome(form string, v phrase) (Outcome, bool) {
	switch form {
	case "ok":
		if v.text != "true" {
			p.fault(v.pos(), "write `ok: true`, or the errno that is expected", "ok is true, found %q", shorten(v.text))
		}
		return Outcome{OK: true}, v.text == "true"
	case "ended_by":
		if v.text != "lab timeout" {
			p.fault(v.pos(), "write `ended_by: lab timeout`", "unknown end %q", shorten(v.text))
		}
		return Outcome{Timeout: true}, v.text == "lab timeout"
	}
	out, ok := p.outcome(v)
	if !ok {
		return out, false
	}
	fits := !out.OK && !out.Timeout && (form == "value") == (len(out.Errnos) == 0) && (form == "errno") == (len(out.Values) == 0)
	if !fits {
		p.fault(v.pos(), "write `value: 0` or `errno: ECONNREFUSED`", "%q is no %s", shorten(v.text), form)
	}
	return out, fits
}

// flag bits as package timeline has them.
const (
	fin = 1 << iota
	syn
	rst
	psh
	ack
)

var flagBits = map[string]uint16{"FIN": fin, "SYN": syn, "RST": rst, "ACK": ack}

var flagNames = []string{"SYN", "ACK", "FIN", "RST"}

// selector reads which packet is meant: words in any order, each once.
//
//	[any|third] [A>B] [FLAG+FLAG...|packet] [data|no data]
func (p *reading) selector(t phrase) (PacketSelector, bool) {
	s := PacketSelector{Text: t.text, AnyFlags: true}
	before := len(p.faults)
	words := t.fields()
	if most := 6; len(words) == 0 || len(words) > most {
		p.fault(t.pos(), "write A>B SYN+ACK, FIN, data, or any packet", "a packet is described by 1 to %d words, found %d", most, len(words))
		return s, false
	}
	anyWord := false
	for i := 0; i < len(words); i++ {
		w := words[i]
		if slices.ContainsFunc(words[:i], func(earlier phrase) bool { return earlier.text == w.text }) {
			p.fault(w.pos(), "", "%q stands there twice", shorten(w.text))
			return s, false
		}
		switch {
		case w.text == "any":
			anyWord = true
		case w.text == "packet":
		case w.text == "third":
			s.Third = true
		case w.text == "data" || w.text == "no" && i+1 < len(words) && words[i+1].text == "data":
			wanted := w.text == "data"
			s.Data = &wanted
			if !wanted {
				i++
			}
		case strings.Contains(w.text, ">"):
			p.direction(w, &s)
		default:
			p.flags(w, &s)
		}
	}
	if s.Third && (s.AnyFlags || s.Flags != ack) {
		p.fault(t.pos(), "write third ACK", "only the ACK that completes the handshake is the third")
	}
	s.Contains = s.Contains || anyWord && !s.AnyFlags
	return s, len(p.faults) == before
}

func (p *reading) direction(w phrase, s *PacketSelector) {
	from, to, _ := w.cut(">")
	if s.From != "" {
		p.fault(w.pos(), "", "a packet has one direction")
		return
	}
	p.isRole(from)
	p.isRole(to)
	s.From, s.To = from.text, to.text
}

func (p *reading) flags(w phrase, s *PacketSelector) {
	if !s.AnyFlags {
		p.fault(w.pos(), "join flags by +: SYN+ACK", "%q comes after the flags", shorten(w.text))
		return
	}
	s.AnyFlags = false
	for rest, more := w, true; more; {
		var name phrase
		name, rest, more = rest.cut("+")
		bit, ok := flagBits[name.text]
		switch {
		case !ok:
			p.fault(name.pos(), suggest(name.text, "flags", flagNames)+"; also: any, third, packet, data, no data", "%q is no flag", shorten(name.text))
			return
		case s.Flags&bit != 0:
			p.fault(name.pos(), "", "the flag %s is named twice", name.text)
			return
		}
		s.Flags |= bit
	}
	// RFC 9293 3.10.7: a RST carries ACK or not, depending on what it answers; every
	// FIN of a synchronised connection carries ACK, and people leave it away.
	s.Contains = s.Flags == fin || s.Flags == rst
}
