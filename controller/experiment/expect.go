package experiment

import (
	"regexp"
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
			"The segments of each connection, all of them and in order; ... stands for any number. See Packets.", (*reading).packets},
		{"states", "states: { client.c: [CLOSED, SYN_SENT, ESTABLISHED, ...] }",
			"The TCP states that the end of a connection passes, all of them and in order; ... stands for any number.", (*reading).states},
		{"order", "order: [enter(client.connect) < sent(A, SYN)]",
			"Moments of calls and packets of any host, each not after the next. See Order.", (*reading).order},
		{"phase", "phase: { name: connect.blocked, of: client.c, within: [1 rtt, 1 rtt + 2ms] }",
			"How long a phase of each connection lasts, or of one: within, at_least, at_most. See Phases.", (*reading).phase},
		{"count", "count: { of: return(client.connect) ok, before: enter(server.accept), equals: 1 }",
			"How many packets there are, or calls that were entered or returned: equals, at_least, at_most.", (*reading).countNoun},
		{"retransmits", "retransmits: { of: A>B SYN, gaps: [1s, 2s, ...], tolerance: 20% }",
			"The transmissions of a segment after its first: the time between two, and how many: equals, at_least, at_most.", (*reading).retransmits},
		{"drop", "drop: { of: A>B SYN, host: B, reason: NETFILTER_DROP }",
			"Packets that the kernel of a host, or of any, dropped, for a reason, by the kernel's own name, or for any: equals, at_least, at_most; without them at least 1. What a kernel discards without calling it a drop is none: a SYN for a full queue.", (*reading).drop},
		{"counter", "counter: { host: B, name: TcpExt.ListenOverflows, increases: true }",
			"How far a counter of the kernel moved: increases, equals, at_least, at_most. See Counters.", (*reading).counter},
		{"queue", "queue: { of: server.s, peak: 2 }",
			"The longest that the accept queue of a listening socket was; peak is a number, or { at_least: 1, at_most: 2 }.", (*reading).queue},
		{"result", "result: { of: client.connect, errno: ECONNREFUSED }",
			"What a call returned: ok, value, errno, data or ended_by; and how long it took. See Result.", (*reading).result},
		{"never", "never: any RST",
			"Packets that no tap may see; also { packet: any RST, after: MOMENT, before: MOMENT }.", (*reading).never},
		{"final", "final: { TIME_WAIT: [client.c] }",
			"The state in which sockets are when the repetition is over; CLOSED is no socket.", (*reading).final},
		{"precondition", "precondition: [enter(client.close) < received(A, FIN)]",
			"An order without which the repetition is not what the file is about: everything else is not reproduced then, and not failed.", (*reading).precondition},
		{"spread", "spread: { of: go, at_most: 10us }",
			"How far apart a meeting released its lanes.", (*reading).spread},
		{"that", `that: "size(packets) < 20"`,
			"What the nouns do not cover: an expression in CEL that is true. See That.", (*reading).that},
	}
}

func nounNames() []string {
	var names []string
	for _, row := range nouns() {
		names = append(names, row.name)
	}
	return names
}

// Keys of an expectation beside its noun.
const (
	whenKey       = "when"
	allowEmptyKey = "allow_empty"
)

// itemKeys are what an item of expect may have.
func itemKeys() []string {
	return slices.Concat(nounNames(), readyNames(), []string{whenKey, allowEmptyKey})
}

// expect reads a list of expectations, or a mapping of `always` and `when CASE` to
// such lists.
func (p *reading) expect(n *node) {
	switch n.kind {
	case list:
		p.expectations(n)
	case mapping:
		p.expectWhen(n)
	default:
		p.fault(n.place, "write each as an item: `- never: any RST`", "expect is a list, found %s", n.kind.describe())
	}
	if len(p.exp.Expect) > MaxExpect {
		p.fault(n.place, "", "%d expectations; at most %d are judged", len(p.exp.Expect), MaxExpect)
	}
}

func (p *reading) expectWhen(n *node) {
	for _, e := range n.entries {
		after, conditional := strings.CutPrefix(e.key.text, "when ")
		switch {
		case e.key.text == "always":
			p.expectList(e)
		case conditional:
			c, ok := p.condition(e.key.from(len(e.key.text) - len(after)))
			if ok && p.holds(c) {
				p.expectList(e)
			}
		case slices.Contains(itemKeys(), e.key.text):
			p.fault(e.key.pos(), "write it as an item: `- "+e.key.text+": ...`", "expect is a list, or a mapping of `always` and `when CASE` to lists")
		default:
			known := []string{"always", "when CASE"}
			p.fault(e.key.pos(), suggest(e.key.text, "keys", known), "unknown key %q", shorten(e.key.text))
		}
	}
}

func (p *reading) expectList(e entry) {
	if e.value.kind != list {
		p.fault(e.value.place, "write each as an item: `- never: any RST`", "%q has a list of expectations, found %s", shorten(e.key.text), e.value.kind.describe())
		return
	}
	p.expectations(e.value)
}

func (p *reading) expectations(n *node) {
	for _, item := range n.items {
		p.item(item)
	}
}

// item reads one expectation: a noun, or a ready-made one with or without an argument.
func (p *reading) item(n *node) {
	if n.kind == scalar {
		t, ok := p.scalar(n, "an expectation")
		if !ok {
			return
		}
		row, ready := findReady(t.text)
		switch {
		case ready:
			p.ready(row, n)
		case slices.Contains(nounNames(), t.text):
			p.fault(t.pos(), "write `- "+t.text+": ...`", "the expectation %q says nothing of what is expected", t.text)
		default:
			p.fault(t.pos(), suggest(t.text, "ready-made expectations", readyNames())+"; others are `- noun: ...`", "unknown expectation %q", shorten(t.text))
		}
		return
	}
	if n.kind != mapping {
		p.fault(n.place, knownNames("expectations", itemKeys()), "an expectation is `- noun: ...`, found %s", n.kind.describe())
		return
	}
	values := p.keys(n, "expectation", itemKeys())
	first := len(p.exp.Expect)
	read := false
	for _, row := range nouns() {
		if value := values[row.name]; value != nil {
			row.read(p, value)
			read = true
		}
	}
	for _, row := range readies {
		if value := values[row.name]; value != nil {
			p.ready(row, value)
			read = true
		}
	}
	if !read && len(n.entries) == len(values) {
		p.fault(n.place, knownNames("expectations", itemKeys()), "this says nothing of what is expected")
	}
	p.limit(p.exp.Expect[first:], values)
}

// limit applies what stands beside a noun: when it is expected, and whether it may
// select nothing.
func (p *reading) limit(expectations []Expectation, values map[string]*node) {
	if v := values[allowEmptyKey]; v != nil {
		t, ok := p.scalar(v, allowEmptyKey)
		if ok && t.text != "true" && t.text != "false" {
			p.fault(t.pos(), "", "allow_empty is true or false, found %q", shorten(t.text))
		}
		for i := range expectations {
			expectations[i].AllowEmpty = t.text == "true"
		}
	}
	v := values[whenKey]
	if v == nil {
		return
	}
	kernel, host, ok := p.kernelCondition(v)
	for i := range expectations {
		if ok {
			expectations[i].Kernel, expectations[i].KernelHost = kernel, host
			expectations[i].Text += ", when: " + p.line(v)
		}
	}
}

// kernelCondition reads `{ kernel: ">= 6.12", host: B }`.
func (p *reading) kernelCondition(n *node) (ranges []KernelRange, host string, ok bool) {
	before := len(p.faults)
	values := p.keys(n, "key", []string{"kernel", "host"})
	kernel := values["kernel"]
	if kernel == nil {
		if len(p.faults) == before {
			p.fault(n.place, "write `when: { kernel: \">= 6.12\" }`", "a condition is about a kernel")
		}
		return nil, "", false
	}
	for _, t := range p.texts(kernel, "kernel", (*reading).scalar) {
		for _, part := range splitCommas(t) {
			if r, ok := p.kernelRange(part); ok {
				ranges = append(ranges, r)
			}
		}
	}
	if v := values["host"]; v != nil {
		if t, ok := p.scalar(v, "host"); ok && p.isRole(t) {
			host = t.text
		}
	}
	return ranges, host, len(p.faults) == before
}

// add appends an expectation; its text is the noun with what the file says of it.
func (p *reading) add(name string, n *node, e Expectation) {
	e.Text, e.Pos = name+": "+p.line(n), n.place
	p.exp.Expect = append(p.exp.Expect, e)
}

// line is a value on one line, its variables replaced but for the fresh ones, so that
// it is the same in every repetition.
func (p *reading) line(n *node) string {
	var parts []string
	switch n.kind {
	case scalar:
		before := len(p.faults)
		p.asWritten = true
		t, _ := p.expand(n.phrase)
		p.asWritten = false
		p.faults = p.faults[:before]
		return strings.Join(strings.Fields(t.text), " ")
	case list:
		for _, item := range n.items {
			parts = append(parts, p.line(item))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case mapping:
		for _, e := range n.entries {
			parts = append(parts, e.key.text+": "+p.line(e.value))
		}
		return "{ " + strings.Join(parts, ", ") + " }"
	}
	return ""
}

// fields reads the mapping of a noun: the values below known keys, of which required
// must be there. It is not ok after a fault.
func (p *reading) fields(n *node, what string, required []string, others ...string) (map[string]*node, bool) {
	before := len(p.faults)
	known := append(slices.Clone(required), others...)
	if n.kind != mapping {
		p.fault(n.place, knownNames("keys", known), "%s is a mapping, found %s", what, n.kind.describe())
		return nil, false
	}
	values := p.keys(n, "key", known)
	for _, key := range required {
		if values[key] == nil && !misspelt(n, key, known) {
			p.fault(n.place, knownNames("keys", known), "%s needs the key %q", what, key)
		}
	}
	return values, len(p.faults) == before
}

// Expanded is what is expected of a repetition, one noun a line: ready-made
// expectations are written out.
func (e *Experiment) Expanded() []string {
	texts := make([]string, len(e.Expect))
	for i, expectation := range e.Expect {
		texts[i] = expectation.Text
	}
	return texts
}

func (p *reading) packets(n *node) {
	of := SocketSelector{}
	pattern := n
	if n.kind == mapping {
		values, ok := p.fields(n, "packets", []string{"of", "pattern"})
		if !ok {
			return
		}
		if of, ok = p.socketSelector(values["of"]); !ok {
			return
		}
		pattern = values["pattern"]
	}
	before := len(p.faults)
	terms := p.texts(pattern, "packets", (*reading).scalar)
	if pattern.kind == list && len(pattern.items) == 0 || len(terms) > MaxTerms {
		p.fault(pattern.place, "", "a pattern has from 1 to %d terms, found %d", MaxTerms, len(terms))
		return
	}
	out := &PacketsExpectation{Of: of}
	foreign, named := false, false
	for _, t := range terms {
		if t.text == "..." {
			out.Pattern = append(out.Pattern, PacketTerm{Any: true})
			continue
		}
		if s, ok := p.selector(t); ok {
			out.Pattern = append(out.Pattern, PacketTerm{Packet: s})
			foreign, named = foreign || !s.tcp(), true
		}
	}
	if foreign && of.Text != "" {
		p.fault(n.place, "leave `of` away: such a pattern is over all packets of the repetition", "a connection has packets of TCP only")
	}
	if len(p.faults) == before {
		if !named { // what names packets needs the sources of these, which selector asks for
			p.needs(packetSource, n.place)
		}
		p.add("packets", n, Expectation{Packets: out})
	}
}

func (p *reading) never(n *node) {
	if n.kind == mapping {
		p.neverBetween(n)
		return
	}
	for _, item := range items(n) {
		for _, t := range p.texts(item, "never", (*reading).scalar) {
			if s, ok := p.selector(t); ok {
				p.add("never", item, Expectation{Never: &NeverExpectation{Packet: s}})
			}
		}
	}
}

// items are those of a list, and the value itself of anything else.
func items(n *node) []*node {
	if n.kind == list {
		return n.items
	}
	return []*node{n}
}

func (p *reading) neverBetween(n *node) {
	values, ok := p.fields(n, "never", []string{"packet"}, "after", "before")
	if !ok {
		return
	}
	t, ok := p.scalar(values["packet"], "packet")
	if !ok {
		return
	}
	s, ok := p.selector(t)
	out := &NeverExpectation{Packet: s}
	if p.between(values, &out.After, &out.Before) && ok {
		p.add("never", n, Expectation{Never: out})
	}
}

// between reads the moments of `after` and `before`, where they are.
func (p *reading) between(values map[string]*node, after, before **MomentSelector) bool {
	faults := len(p.faults)
	for _, limit := range []struct {
		key string
		to  **MomentSelector
	}{{"after", after}, {"before", before}} {
		v := values[limit.key]
		if v == nil {
			continue
		}
		t, ok := p.scalar(v, limit.key)
		if !ok {
			continue
		}
		if m, ok := p.moment(t); ok {
			*limit.to = &m
		}
	}
	return len(p.faults) == faults
}

func (p *reading) order(n *node) {
	for _, item := range items(n) {
		for _, t := range p.texts(item, "order", (*reading).scalar) {
			if moments := p.chain(t); moments != nil {
				p.add("order", item, Expectation{Order: &OrderExpectation{moments}})
			}
		}
	}
}

func (p *reading) precondition(n *node) {
	for _, item := range items(n) {
		for _, t := range p.texts(item, "precondition", (*reading).scalar) {
			if moments := p.chain(t); moments != nil {
				p.add("precondition", item, Expectation{Precondition: &PreconditionExpectation{OrderExpectation{moments}}})
			}
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

// kernelRelease is what a release is compared by: up to three numbers.
var kernelRelease = regexp.MustCompile(`^[0-9]{1,4}(\.[0-9]{1,4}){0,2}$`)

// kernelRange reads ">= 6.12".
func (p *reading) kernelRange(t phrase) (KernelRange, bool) {
	for _, comparison := range []string{"<=", ">=", "<", ">", "="} {
		rest, ok := strings.CutPrefix(t.text, comparison)
		if !ok {
			continue
		}
		release := strings.TrimSpace(rest)
		if !kernelRelease.MatchString(release) {
			break
		}
		return KernelRange{Comparison: comparison, Release: release}, true
	}
	p.fault(t.pos(), "write >= 6.12; the comparisons are <, <=, =, >= and >", "%q compares no release of a kernel", shorten(t.text))
	return KernelRange{}, false
}
