package experiment

import (
	"slices"
	"strings"
)

// This file reads which packet is meant.

// Flag bits as package timeline has them.
const (
	fin = 1 << iota
	syn
	rst
	psh
	ack
	urg
	ece
	cwr
	ae
)

// flagNames are in the order in which hints list them.
var flagNames = []string{"SYN", "ACK", "FIN", "RST", "PSH", "URG", "ECE", "CWR", "AE"}

var flagBits = map[string]uint16{"FIN": fin, "SYN": syn, "RST": rst, "PSH": psh, "ACK": ack, "URG": urg, "ECE": ece, "CWR": cwr, "AE": ae}

// optional are the flags that are not looked at unless they are named.
const optional = psh | urg | ece | cwr | ae

// tcpOption is one row of the table of options that a packet can be picked by. Only
// some have a value to compare.
type tcpOption struct {
	name, doc string
	most      int
}

var tcpOptions = []tcpOption{
	{"MSS", "maximum segment size, RFC 9293 3.7.1, in bytes", 1<<16 - 1},
	{"WS", "window scale, RFC 7323 2, the shift", 14},
	{"SACK", "SACK permitted in a SYN, SACK blocks elsewhere, RFC 2018", -1},
	{"TS", "timestamps, RFC 7323 3", -1},
	{"TFO", "fast open, with or without a cookie, RFC 7413", -1},
	{"MD5", "MD5 signature, RFC 2385", -1},
	{"MPTCP", "multipath TCP of any kind, RFC 8684", -1},
}

func tcpOptionNames() []string {
	names := make([]string, len(tcpOptions))
	for i, o := range tcpOptions {
		names[i] = o.name
	}
	return names
}

// packetWord is one row of the table of what a packet is described by.
type packetWord struct{ form, doc, example string }

var packetWords = []packetWord{
	{"A>B", "from one role to another", "A>B SYN"},
	{"FLAG+FLAG", "exactly these of SYN, ACK, FIN and RST, and at least these of PSH, URG, ECE, CWR and AE", "SYN+ECE+CWR"},
	{"any", "at least the named flags", "any RST"},
	{"packet", "whatever the flags", "any packet B>A"},
	{"third ACK", "the ACK that completes the handshake", "third ACK"},
	{"retransmitted", "not the first transmission of these sequence numbers", "retransmitted A>B SYN"},
	{"data, no data", "with payload, without", "A>B ACK no data"},
	{"length N", "so many bytes of payload", "A>B packet length 1448"},
	{"window N", "the window field as it is sent, before scaling", "B>A ACK window 0"},
	{"with OPTION", "with TCP options, joined by +; MSS and WS may have a value", "SYN with MSS=1460+WS=7+SACK"},
	{"without OPTION", "without TCP options or flags, joined by +", "SYN without TS+ECE"},
	{"UDP", "a UDP datagram", "A>B UDP length 5"},
	{"ICMP, ICMP T, ICMP T/C", "an ICMP message, its type, its code", "B>A ICMP 3/3"},
	{"ICMPv6, ICMPv6 T/C", "an ICMPv6 message", "B>A ICMPv6 1/4"},
	{"ARP request, ARP reply", "ARP (RFC 826)", "A>B ARP request"},
}

// Protocols of IP.
const (
	ipprotoICMP   = 1
	ipprotoUDP    = 17
	ipprotoICMPv6 = 58
)

// selecting is a packet on its way to a PacketSelector.
type selecting struct {
	*reading
	s     PacketSelector
	words []phrase
	// seen are the parts that were there, by what they are about.
	seen map[string]bool
}

// maxWords bounds the words that describe a packet.
const maxWords = 24

// selector reads which packet is meant: words in any order, each part once.
func (p *reading) selector(t phrase) (PacketSelector, bool) {
	r := selecting{
		reading: p, words: t.fields(), seen: make(map[string]bool),
		s: PacketSelector{Text: t.text, AnyFlags: true, Protocol: ipprotoTCP, ICMPType: -1, ICMPCode: -1, Length: -1, Window: -1},
	}
	before := len(p.faults)
	if n := len(r.words); n == 0 || n > maxWords {
		p.fault(t.pos(), "write A>B SYN+ACK, FIN, data, or any packet", "a packet is described by 1 to %d words, found %d", maxWords, n)
		return r.s, false
	}
	for len(r.words) > 0 && len(p.faults) == before {
		w := r.words[0]
		r.words = r.words[1:]
		r.word(w)
	}
	if len(p.faults) == before {
		r.finish(t)
	}
	ok := len(p.faults) == before
	if ok {
		p.needs(r.s.source(), t.pos())
	}
	return r.s, ok
}

// once faults a part that was there before.
func (r *selecting) once(w phrase, what string) bool {
	if r.seen[what] {
		r.fault(w.pos(), "", "%q stands there twice", shorten(what))
		return false
	}
	r.seen[what] = true
	return true
}

func (r *selecting) word(w phrase) {
	switch w.text {
	case "any", "packet", "third", "retransmitted":
		r.once(w, w.text)
		return
	case "data":
		r.payload(w, true)
		return
	case "no":
		if next, ok := r.next(); !ok || next.text != "data" {
			r.fault(w.pos(), "write `no data`", "`no` is of data")
			return
		}
		r.payload(w, false)
		return
	case "length":
		r.s.Length = r.number(w, 1<<20)
		return
	case "window":
		r.s.Window = r.number(w, 1<<16-1)
		return
	case "with", "without":
		r.options(w)
		return
	case "UDP", "ICMP", "ICMPv6", "ARP":
		r.protocol(w)
		return
	}
	if strings.Contains(w.text, ">") {
		r.direction(w)
		return
	}
	r.flags(w)
}

// next takes the next word.
func (r *selecting) next() (phrase, bool) {
	if len(r.words) == 0 {
		return phrase{}, false
	}
	w := r.words[0]
	r.words = r.words[1:]
	return w, true
}

func (r *selecting) payload(w phrase, wanted bool) {
	if r.once(w, "data") {
		r.s.Data = &wanted
	}
}

// number reads the number that follows a word.
func (r *selecting) number(w phrase, most int) int {
	t, ok := r.next()
	if !ok {
		r.fault(w.end(), "write `"+w.text+" 100`", "the number is missing")
		return 0
	}
	if !r.once(w, w.text) {
		return 0
	}
	return r.reading.number(t, w.text, 0, most)
}

func (r *selecting) protocol(w phrase) {
	if !r.once(w, "protocol") {
		return
	}
	r.s.Protocol = map[string]int{"UDP": ipprotoUDP, "ICMP": ipprotoICMP, "ICMPv6": ipprotoICMPv6}[w.text]
	if w.text == "ARP" {
		kinds := []string{"request", "reply"}
		t, ok := r.next()
		if !ok {
			r.fault(w.end(), "write ARP request or ARP reply", "ARP of what kind?")
			return
		}
		if r.s.ARP = slices.Index(kinds, t.text) + 1; r.s.ARP == 0 {
			r.fault(t.pos(), suggest(t.text, "kinds", kinds), "unknown kind of ARP %q", shorten(t.text))
		}
		return
	}
	if w.text == "UDP" || len(r.words) == 0 || r.words[0].text[0] < '0' || r.words[0].text[0] > '9' {
		return
	}
	t, _ := r.next()
	kind, code, coded := t.cut("/")
	r.s.ICMPType = r.reading.number(kind, "the type of ICMP", 0, 255)
	if coded {
		r.s.ICMPCode = r.reading.number(code, "the code of ICMP", 0, 255)
	}
}

func (r *selecting) direction(w phrase) {
	if !r.once(w, "direction") {
		return
	}
	from, to, _ := w.cut(">")
	r.isRole(from)
	r.isRole(to)
	r.s.From, r.s.To = from.text, to.text
}

func (r *selecting) flags(w phrase) {
	if r.seen["flags"] {
		r.fault(w.pos(), "join flags by +: SYN+ACK", "%q comes after the flags", shorten(w.text))
		return
	}
	r.seen["flags"], r.s.AnyFlags = true, false
	for rest, more := w, true; more; {
		var name phrase
		name, rest, more = rest.cut("+")
		bit, ok := flagBits[name.text]
		switch {
		case !ok:
			r.fault(name.pos(), suggestWord(name.text), "%q is no flag", shorten(name.text))
			return
		case r.s.Flags&bit != 0:
			r.fault(name.pos(), "", "the flag %s is named twice", name.text)
			return
		}
		r.s.Flags |= bit
	}
}

// suggestWord is the hint for a word of which nobody can tell what it is.
func suggestWord(word string) string {
	const others = "any, packet, third, retransmitted, data, no data, length, window, with, without, UDP, ICMP, ICMPv6, ARP"
	if c := Closest(word, append(strings.Split(others, ", "), flagNames...)); c != "" && !slices.Contains(flagNames, c) {
		return "did you mean \"" + c + "\"? " + knownNames("flags", flagNames) + "; also: " + others
	}
	return suggest(word, "flags", flagNames) + "; also: " + others
}

// options reads what follows with and without: names joined by + or commas.
func (r *selecting) options(w phrase) {
	if !r.once(w, w.text) {
		return
	}
	for more := true; more; {
		t, ok := r.next()
		if !ok {
			r.fault(w.end(), "write `"+w.text+" TS`; "+knownNames("options", tcpOptionNames()), "the name of an option is missing")
			return
		}
		for rest, joined := t, true; joined; {
			var name phrase
			name, rest, joined = rest.cut("+")
			more = false
			if list, comma := strings.CutSuffix(name.text, ","); comma {
				name, more = name.slice(0, len(list)), true
			}
			if w.text == "with" && !r.with(name) || w.text == "without" && !r.without(name) {
				return
			}
		}
	}
}

func (r *selecting) with(t phrase) bool {
	name, value, valued := t.cut("=")
	i := slices.IndexFunc(tcpOptions, func(o tcpOption) bool { return o.name == name.text })
	switch {
	case i < 0:
		r.fault(t.pos(), suggest(name.text, "options", tcpOptionNames()), "unknown TCP option %q", shorten(name.text))
		return false
	case slices.ContainsFunc(r.s.Options, func(o TCPOption) bool { return o.Name == name.text }):
		r.fault(t.pos(), "", "the option %s is named twice", name.text)
		return false
	case valued && tcpOptions[i].most < 0:
		r.fault(value.pos(), "", "the option %s has no value to compare", name.text)
		return false
	}
	o := TCPOption{Name: name.text, Value: -1}
	if valued {
		o.Value = r.reading.number(value, name.text, 0, tcpOptions[i].most)
	}
	r.s.Options = append(r.s.Options, o)
	return true
}

func (r *selecting) without(t phrase) bool {
	if bit, ok := flagBits[t.text]; ok {
		r.s.Without |= bit
		return true
	}
	if !slices.Contains(tcpOptionNames(), t.text) {
		known := append(tcpOptionNames(), flagNames...)
		r.fault(t.pos(), suggest(t.text, "options and flags", known), "unknown TCP option %q", shorten(t.text))
		return false
	}
	r.s.NoOptions = append(r.s.NoOptions, t.text)
	return true
}

// finish checks the parts against each other.
func (r *selecting) finish(t phrase) {
	s := &r.s
	s.Third, s.Copy = r.seen["third"], r.seen["retransmitted"]
	tcp := s.Protocol == ipprotoTCP
	switch {
	case !tcp && (r.seen["flags"] || s.Third || s.Copy || s.Window >= 0 || len(s.Options) > 0 || len(s.NoOptions) > 0 || s.Without != 0):
		r.fault(t.pos(), "", "flags, options, the window and retransmissions are those of TCP, and %q is another protocol", shorten(t.text))
	case s.ARP != 0 && (s.Data != nil || s.Length >= 0):
		r.fault(t.pos(), "", "ARP carries no payload")
	case s.Third && (s.AnyFlags || s.Flags != ack):
		r.fault(t.pos(), "write third ACK", "only the ACK that completes the handshake is the third")
	case s.Flags&s.Without != 0:
		r.fault(t.pos(), "", "%q asks for a flag and for its absence", shorten(t.text))
	case slices.ContainsFunc(s.Options, func(o TCPOption) bool { return slices.Contains(s.NoOptions, o.Name) }):
		r.fault(t.pos(), "", "%q asks for an option and for its absence", shorten(t.text))
	case s.Data != nil && s.Length >= 0 && *s.Data != (s.Length > 0):
		r.fault(t.pos(), "", "the length %d contradicts whether there is data", s.Length)
	}
	// RFC 9293 3.10.7: a RST carries ACK or not, depending on what it answers; every
	// FIN of a synchronised connection carries ACK, and people leave it away. Where only
	// flags are named that are else not looked at, the others stay open too.
	main := s.Flags &^ optional
	s.Contains = !s.AnyFlags && (r.seen["any"] || main == fin || main == rst || main == 0)
}

// source is where such packets are on record.
func (s *PacketSelector) source() string {
	switch {
	case s.ARP != 0:
		return arpSource
	case s.Protocol == ipprotoICMP || s.Protocol == ipprotoICMPv6:
		return icmpSource
	}
	return packetSource
}

// tcp reports whether a segment of TCP is meant.
func (s *PacketSelector) tcp() bool { return s.ARP == 0 && s.Protocol == ipprotoTCP }
