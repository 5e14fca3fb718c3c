package experiment

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// phaseRow is one row of the table of phases, which package timeline measures. crosses is
// set for one that begins at one host and ends at another: the clocks' ± is in it.
type phaseRow struct {
	name, from, to, doc string
	crosses             bool
}

// phases are the named intervals of a connection.
var phases = []phaseRow{
	{name: "connect.blocked", from: "enter of connect", to: "its return", doc: "how long connect(2) blocks: a round trip, if all is well"},
	{name: "connect.syn_out", from: "enter of connect", to: "its SYN sent", doc: "what the client's own kernel takes"},
	{name: "connect.syn_again", from: "first SYN sent", to: "SYN sent that is answered", doc: "how long lost SYNs hold connect up; to the last SYN, if none is answered"},
	{name: "connect.syn_transit", from: "SYN sent that is answered", to: "the same SYN received", doc: "the SYN on its way", crosses: true},
	{name: "connect.turnaround", from: "SYN received", to: "SYN+ACK or RST sent", doc: "how long the server's kernel takes to answer"},
	{name: "connect.synack_again", from: "first SYN+ACK sent", to: "SYN+ACK sent that is taken", doc: "how long lost SYN+ACKs hold connect up"},
	{name: "connect.synack_transit", from: "SYN+ACK sent that is taken", to: "the same SYN+ACK received", doc: "the SYN+ACK on its way", crosses: true},
	{name: "connect.rst_transit", from: "RST sent that refuses", to: "the same RST received", doc: "the refusal on its way", crosses: true},
	{name: "connect.wakeup", from: "answer received", to: "return of connect", doc: "how long the client's kernel takes to let connect(2) return: the answer is SYN+ACK, RST or an ICMP error"},
	{name: "connect.rtt", from: "SYN sent", to: "SYN+ACK received", doc: "the round-trip time at the client's tap, which `rtt` stands for"},
	{name: "connect.refused", from: "SYN sent", to: "RST received that refuses it", doc: "how long the refusal takes, there and back"},
	{name: "connect.crossed", from: "last SYN sent", to: "ACK of it received", doc: "a simultaneous open, at the end whose SYN is answered with an ACK alone"},
	{name: "connect.icmp_wait", from: "last SYN sent", to: "ICMP error received", doc: "how long it takes to hear that there is no way, if connect(2) fails for it"},
	{name: "connect.unanswered", from: "last SYN sent", to: "return of connect", doc: "what is left of connect(2) if nothing answers while it runs: it gives up, is cut short, or does not block"},
	{name: "connect.untold", from: "the last step on record", to: "the next one", doc: "a part of a connect(2) of which no step is on record, or not surely"},
	{name: "handshake.server", from: "SYN received", to: "third ACK received", doc: "how long the server holds a request socket (SYN_RECV)"},
	{name: "accept.wait", from: "third ACK received", to: "return of accept", doc: "how long the complete connection waits in the accept queue"},
	{name: "accept.blocked", from: "enter of accept", to: "its return", doc: "how long accept(2) blocks"},
	{name: "accept.idle", from: "enter of accept", to: "third ACK received", doc: "how long accept(2) has waited already when its connection is complete"},
	{name: "accept.queued", from: "third ACK received", to: "enter of accept", doc: "how long the complete connection waits for somebody to call accept(2)"},
	{name: "accept.wakeup", from: "the later of enter of accept and third ACK received", to: "return of accept", doc: "how long accept(2) takes when there is a connection for it"},
	{name: "send.blocked", from: "enter of send", to: "its return", doc: "how long send(2) blocks, each call by itself"},
	{name: "recv.blocked", from: "enter of recv", to: "its return", doc: "how long recv(2) blocks, each call by itself"},
	{name: "first_byte", from: "return of connect", to: "first data received from the server", doc: "how long the client waits for the first byte"},
	{name: "close.blocked", from: "enter of close", to: "its return", doc: "how long close(2) blocks: SO_LINGER makes it"},
	{name: "teardown.fin_out", from: "enter of close or shutdown", to: "first FIN sent", doc: "what the first closer's own kernel takes, and the data that it must send before"},
	{name: "teardown.fin_transit", from: "first FIN sent", to: "the same FIN received", doc: "the first FIN on its way", crosses: true},
	{name: "teardown.half_closed", from: "first FIN received", to: "the receiver's own FIN sent", doc: "how long the connection is open in one direction only"},
	{name: "teardown.fin_acked", from: "first FIN sent", to: "its ACK received", doc: "how long the first FIN is on its way and back"},
	{name: "teardown.fin2_out", from: "enter of close or shutdown", to: "second FIN sent", doc: "what the second closer's own kernel takes, and the data that it must send before"},
	{name: "teardown.fin2_transit", from: "second FIN sent", to: "the same FIN received", doc: "the second FIN on its way", crosses: true},
	{name: "teardown.last_ack", from: "second FIN sent", to: "its ACK received", doc: "how long the second closer is in LAST_ACK, or in CLOSING if the FINs crossed"},
	{name: "teardown.time_wait", from: "beginning of TIME_WAIT", to: "its end", doc: "how long an end holds TIME_WAIT, if its end is on record; of both ends, if the FINs crossed"},
	{name: "teardown.whole", from: "first FIN sent", to: "last ACK of a FIN received", doc: "the teardown from end to end", crosses: true},
	{name: "reset.transit", from: "first RST sent", to: "the same RST received", doc: "the reset of an open connection on its way", crosses: true},
	{name: "reset.noticed", from: "first RST received", to: "return of the first call that says so", doc: "how long the program does not know of the reset"},
	{name: "syn.retrying", from: "first SYN sent", to: "last SYN sent", doc: "how long the kernel tries to connect"},
}

// PhaseCrosses reports whether a phase may begin at one host and end at another, so that what
// is not known of their clocks is in its length.
func PhaseCrosses(name string) bool {
	for _, f := range phases {
		if f.name == name {
			return f.crosses
		}
	}
	return false
}

// PhaseDefinition is what a phase is: from what, to what, and what that tells; ok is false
// if there is none of that name.
func PhaseDefinition(name string) (from, to, meaning string, ok bool) {
	for _, f := range phases {
		if f.name == name {
			return f.from, f.to, f.doc, true
		}
	}
	return "", "", "", false
}

// PhaseNames are the names of all phases, in the order of a connection's life.
func PhaseNames() []string {
	names := make([]string, len(phases))
	for i, f := range phases {
		names[i] = f.name
	}
	return names
}

func (p *reading) phase(n *node) {
	values, ok := p.fields(n, "a phase", []string{"name"}, "of", "within", "at_least", "at_most")
	if !ok {
		return
	}
	before := len(p.faults)
	out := &PhaseExpectation{}
	if t, ok := p.scalar(values["name"], "name"); ok {
		out.Name = t.text
		p.isKnown(t, "phase", PhaseNames())
	}
	if v := values["of"]; v != nil {
		out.Of, _ = p.socketSelector(v)
	}
	p.timeBounds(n, values, &out.Least, &out.Most)
	if len(p.faults) == before && out.Least == nil && out.Most == nil {
		p.fault(n.place, "write `within: [1 rtt, 1 rtt + 2ms]`, `at_least: 80ms` or `at_most: 2 rtt`", "the phase has no bound")
	}
	if len(p.faults) == before {
		p.needs("syscalls", n.place)
		p.needs(packetSource, n.place)
		p.add("phase", n, Expectation{Phase: out})
	}
}

// isKnown faults a name that is not among the known ones.
func (p *reading) isKnown(t phrase, what string, known []string) bool {
	for _, k := range known {
		if k == t.text {
			return true
		}
	}
	p.fault(t.pos(), suggest(t.text, what+"s", known), "unknown %s %q", what, shorten(t.text))
	return false
}

// timeBounds reads within, at_least and at_most into the bounds of a length of time.
func (p *reading) timeBounds(n *node, values map[string]*node, least, most **Span) {
	if within := values["within"]; within != nil {
		if values["at_least"] != nil || values["at_most"] != nil {
			p.fault(within.place, "leave one of them away", "within says at_least and at_most already")
			return
		}
		spans := p.texts(within, "within", (*reading).scalar)
		switch {
		case len(spans) == 2:
			*least, *most = p.span(spans[0]), p.span(spans[1])
		case len(spans) == 1:
			*most = p.span(spans[0])
		default:
			p.fault(within.place, "write `within: [1 rtt, 1 rtt + 2ms]` or `within: 2ms`", "within is one or two times, found %d", len(spans))
		}
	}
	if v := values["at_least"]; v != nil {
		if t, ok := p.scalar(v, "at_least"); ok {
			*least = p.span(t)
		}
	}
	if v := values["at_most"]; v != nil {
		if t, ok := p.scalar(v, "at_most"); ok {
			*most = p.span(t)
		}
	}
	if a, b := *least, *most; a != nil && b != nil && a.RTTs >= b.RTTs && a.Duration >= b.Duration && *a != *b {
		p.fault(n.place, "", "no time is between these bounds: the lower one is greater")
	}
}

// maxRTTs bounds the round trips of a span.
const maxRTTs = 1000

// span reads `1 rtt + 2ms`: times and multiples of the round-trip time, joined by + and
// -. It is nil after a fault.
func (p *reading) span(t phrase) *Span {
	out := &Span{}
	sign, rest := 1.0, t.trim()
	for {
		end := strings.IndexAny(rest.text, "+-")
		term, next := rest, 0.0
		if end >= 0 {
			term = rest.slice(0, end)
			next = 1.0
			if rest.text[end] == '-' {
				next = -1
			}
		}
		if !p.spanTerm(term.trim(), sign, out) {
			return nil
		}
		if end < 0 {
			break
		}
		sign, rest = next, rest.from(end+1)
	}
	if out.RTTs < 0 || out.RTTs == 0 && out.Duration < 0 || out.RTTs > maxRTTs || max(out.Duration, -out.Duration) > MaxDuration {
		p.fault(t.pos(), "", "a time is from 0 to %v and %d rtt, found %q", brief(MaxDuration), maxRTTs, shorten(t.text))
		return nil
	}
	return out
}

func (p *reading) spanTerm(t phrase, sign float64, out *Span) bool {
	if number, ok := strings.CutSuffix(t.text, "rtt"); ok {
		number = strings.TrimSpace(number)
		if number == "" {
			number = "1"
		}
		rtts, err := strconv.ParseFloat(number, 64)
		if err != nil || math.IsNaN(rtts) || rtts < 0 || rtts > maxRTTs {
			p.fault(t.pos(), "write `1 rtt` or `1.5 rtt`", "%q is no multiple of the round-trip time", shorten(t.text))
			return false
		}
		out.RTTs += sign * rtts
		return true
	}
	before := len(p.faults)
	d := p.duration(t, "a time", 0)
	out.Duration += time.Duration(sign) * d
	if max(out.Duration, -out.Duration) > 2*MaxDuration && len(p.faults) == before {
		p.fault(t.pos(), "", "a time is from 0 to %v", brief(MaxDuration))
	}
	return len(p.faults) == before
}

// defaultTolerance is that of gaps, where a file says none.
const defaultTolerance = 0.2

func (p *reading) retransmits(n *node) {
	values, ok := p.fields(n, "retransmits", []string{"of"}, "gaps", "tolerance", "equals", "at_least", "at_most")
	if !ok {
		return
	}
	before := len(p.faults)
	out := &RetransmitsExpectation{Tolerance: defaultTolerance}
	if t, ok := p.scalar(values["of"], "of"); ok {
		out.Packet, ok = p.selector(t)
		if ok && !out.Packet.tcp() {
			p.fault(t.pos(), "", "only TCP retransmits")
		}
		if ok && (out.Packet.Copy || out.Packet.Third) {
			p.fault(t.pos(), "name the packet alone: `of: A>B SYN`", "which packet is retransmitted? %q", t.text)
		}
	}
	if v := values["gaps"]; v != nil {
		p.gaps(v, out)
	}
	if v := values["tolerance"]; v != nil {
		if values["gaps"] == nil {
			p.fault(v.place, "write `gaps: [1s, 2s, ...]` too", "a tolerance is of gaps")
		}
		if t, ok := p.scalar(v, "tolerance"); ok {
			out.Tolerance = p.percent(t)
		}
	}
	out.Bounds = p.bounds(values)
	if len(p.faults) == before && values["gaps"] == nil && out.Bounds == (Bounds{}) {
		p.fault(n.place, "write `gaps: [1s, 2s, ...]`, `equals: 3`, `at_least: 1` or `at_most: 6`", "nothing is said of the retransmissions")
	}
	if len(p.faults) == before {
		p.add("retransmits", n, Expectation{Retransmits: out})
	}
}

// gaps reads `[1s, 2s, ...]`; the dots come last.
func (p *reading) gaps(n *node, out *RetransmitsExpectation) {
	for _, t := range p.texts(n, "gaps", (*reading).scalar) {
		switch {
		case out.More:
			p.fault(t.pos(), "", "the dots come last")
			return
		case t.text == "...":
			out.More = true
		case len(out.Gaps) == MaxTerms:
			p.fault(t.pos(), "", "more than %d gaps", MaxTerms)
			return
		default:
			out.Gaps = append(out.Gaps, p.duration(t, "a gap", time.Microsecond))
		}
	}
	if len(out.Gaps) == 0 {
		p.fault(n.place, "write `gaps: [1s, 2s, ...]`", "there is no gap")
	}
}

// percent reads "20%" as 0.2.
func (p *reading) percent(t phrase) float64 {
	number, found := strings.CutSuffix(t.text, "%")
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if !found || err != nil || !(n >= 0 && n <= 100) {
		p.fault(t.pos(), "write 20%", "a tolerance is from 0%% to 100%%, found %q", shorten(t.text))
		return 0
	}
	return n / 100
}

func (p *reading) spread(n *node) {
	values, ok := p.fields(n, "spread", []string{"of", "at_most"})
	if !ok {
		return
	}
	before := len(p.faults)
	out := &SpreadExpectation{}
	if t, ok := p.scalar(values["of"], "of"); ok {
		var known []string
		for _, m := range p.exp.Meetings {
			known = append(known, m.Name)
		}
		out.Meeting = t.text
		if !p.vague.lanes {
			p.isKnown(t, "meeting", known)
		}
	}
	if t, ok := p.scalar(values["at_most"], "at_most"); ok {
		out.Most = p.duration(t, "at_most", time.Nanosecond)
	}
	if len(p.faults) == before {
		p.needs("syscalls", n.place)
		p.add("spread", n, Expectation{Spread: out})
	}
}
