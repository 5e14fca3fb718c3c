package timeline

import (
	"fmt"
	"slices"
	"strings"

	"syncline/controller/clock"
)

// noteKind is a kind of note, and how its notes are found.
type noteKind struct {
	name NoteKind
	// about says what such a note tells, for the help of a view.
	about   string
	sources []string
	find    func(*noter)
}

// NoteKinds are the names of all kinds of notes, in the order in which a view lists them.
func NoteKinds() []NoteKind {
	var names []NoteKind
	for i := range noteKinds {
		names = append(names, noteKinds[i].name)
	}
	return names
}

// About says what a note of a kind tells, empty if there is no such kind.
func (k NoteKind) About() string {
	for i := range noteKinds {
		if noteKinds[i].name == k {
			return noteKinds[i].about
		}
	}
	return ""
}

// noteKinds are all kinds of notes.
var noteKinds = slices.Concat(openingNotes, dataNotes, closingNotes, recordNotes)

// noter collects the notes of one repetition.
type noter struct {
	c     *Causality
	t     *Timeline
	kind  *noteKind
	notes []Note
}

func newNoter(c *Causality) *noter { return &noter{c: c, t: c.t} }

// say makes a note of the kind that is being looked for.
func (n *noter) say(connection int, text string, moments ...int) {
	moments = slices.DeleteFunc(moments, func(m int) bool { return m < 0 })
	slices.Sort(moments)
	n.notes = append(n.notes, Note{
		Kind: n.kind.name, Text: text, Moments: slices.Compact(moments), Connection: connection, Sources: n.kind.sources,
	})
}

// eachPair goes through the connections: the client's end and the server's.
func (n *noter) eachPair(do func(ci int, client, server *endView)) {
	for ci := range n.c.ends {
		do(ci, n.c.ends[ci][ClientEnd], n.c.ends[ci][ServerEnd])
	}
}

// eachEnd goes through the ends of all connections whose host is one of the run's.
func (n *noter) eachEnd(do func(ci int, own, peer *endView)) {
	for ci := range n.c.ends {
		for end := range 2 {
			if n.c.ends[ci][end].host >= 0 {
				do(ci, n.c.ends[ci][end], n.c.ends[ci][1-end])
			}
		}
	}
}

// took is the time from one moment to another as a note tells it: ok is false if they surely
// were not in this order, or if nothing bounds the time.
func (n *noter) took(from, to int) (text string, ok bool) {
	if from < 0 || to < 0 {
		return "", false
	}
	before, known := n.t.Certain(from, to)
	if !known || !before {
		return "", false
	}
	lo, hi := n.t.Apart(from, to)
	if hi >= clock.Unbounded || hi < 0 {
		return "", false
	}
	lo = max(lo, 0)
	ns, err := lo+(hi-lo)/2, (hi-lo+1)/2
	switch {
	case n.t.Moments[from].Event.Host == n.t.Moments[to].Event.Host:
		// One clock: what is left is the error of a packet's stamp, below what is shown.
		return spanText(max(int64(n.t.Moments[to].Local-n.t.Moments[from].Local), 0)), true
	case err >= ns:
		return "at most " + spanText(hi), true
	}
	return fmt.Sprintf("%s ±%s", spanText(ns), spanText(err)), true
}

// name is a host as notes call it.
func (n *noter) name(host int) string { return n.t.hostName(host) }

// caller is a call as notes name it: "connect() of client".
func caller(s *callSpan) string { return s.call.Name + "() of " + s.call.Lane }

// call is the first call of an end by some name that has both its moments and fits, nil if
// there is none.
func (v *endView) call(name string, fits func(*Call) bool) *callSpan {
	for i := range v.calls {
		if s := &v.calls[i]; s.call.Name == name && s.enter >= 0 && s.leave >= 0 && fits(s.call) {
			return s
		}
	}
	return nil
}

// sentFirst is the first packet that an end sent, and that fits, nil if there is none.
func (v *endView) sentFirst(fits func(*tapped) bool) *tapped { return v.first(true, fits) }

// cameFirst is the first packet that came to an end and that fits, nil if there is none.
func (v *endView) cameFirst(fits func(*tapped) bool) *tapped { return v.first(false, fits) }

func (v *endView) first(out bool, fits func(*tapped) bool) *tapped {
	for i := range v.sights {
		if s := &v.sights[i]; s.out == out && fits(s) {
			return s
		}
	}
	return nil
}

func isSYN(s *tapped) bool    { return s.p.Flags&(SYN|ACK|RST) == SYN }
func isSYNACK(s *tapped) bool { return s.p.Flags&(SYN|ACK|RST) == SYN|ACK }
func isFIN(s *tapped) bool    { return s.p.Flags&(FIN|RST) == FIN }

// same lists the transmissions of what a packet carries that are known to have left, that packet
// first.
func (v *endView) same(first *tapped) []*tapped {
	var all []*tapped
	for i := range v.sights {
		s := &v.sights[i]
		if s.out && s.s.Departure >= 0 && s.moment >= first.moment && s.p.Seq == first.p.Seq && s.p.Flags&(SYN|FIN|RST) == first.p.Flags&(SYN|FIN|RST) && sequenceLength(s.p) > 0 {
			all = append(all, s)
		}
	}
	return all
}

// sameFIN lists the transmissions of an end's FIN that are known to have left, alone or with
// data before it: Linux joins what it sends again (tcp_retrans_try_collapse), and a FIN goes
// with the last of it.
func (v *endView) sameFIN(first *tapped) []*tapped {
	var all []*tapped
	for i := range v.sights {
		if s := &v.sights[i]; s.out && s.s.Departure >= 0 && s.moment >= first.moment && isFIN(s) && s.end() == first.end() {
			all = append(all, s)
		}
	}
	return all
}

// gaps are the times between packets of one host, as a list: "1.01 s and 2.02 s".
func (n *noter) gaps(all []*tapped) string {
	var texts []string
	for i := 1; i < len(all); i++ {
		texts = append(texts, spanText(n.c.since(all[i-1].moment, all[i].moment)))
	}
	return listed(texts)
}

// listed joins texts as a sentence does.
func listed(texts []string) string {
	if len(texts) < 2 {
		return strings.Join(texts, "")
	}
	last := len(texts) - 1
	return strings.Join(texts[:last], ", ") + " and " + texts[last]
}

// timesText is a number of times in words.
func timesText(n int) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return fmt.Sprintf("%d times", n)
}

func momentsOf(all []*tapped) []int {
	var moments []int
	for _, s := range all {
		moments = append(moments, s.moment)
	}
	return moments
}

// by is the first packet of an end whose cause is by one of some rules, nil if there is none.
func (n *noter) by(v *endView, rules ...*Rule) (*tapped, Cause) {
	for i := range v.sights {
		s := &v.sights[i]
		if k, ok := n.c.of[s.moment]; s.out && ok && k.Rule != nil && slices.Contains(rules, k.Rule) {
			return s, k
		}
	}
	return nil, Cause{}
}

// allBy are all packets of an end whose cause is by a rule.
func (n *noter) allBy(v *endView, rule *Rule) []*tapped {
	var all []*tapped
	for i := range v.sights {
		if k, ok := n.c.of[v.sights[i].moment]; v.sights[i].out && ok && k.Rule == rule {
			all = append(all, &v.sights[i])
		}
	}
	return all
}

// deaf is why packets of a host may be missing from the record: then nothing is said of what
// was not seen.
func (n *noter) deaf(host int) bool { return host < 0 || n.t.Complete(host, Packets) != "" }
