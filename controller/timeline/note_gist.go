package timeline

import (
	"fmt"
	"strings"

	"syncline/controller/experiment"
)

// Kinds of the notes of Gist.
const (
	GistFailed  NoteKind = "gist-not-connected"
	GistCloser  NoteKind = "gist-closed-first"
	GistReset   NoteKind = "gist-last-packet"
	GistBlocked NoteKind = "gist-longest-wait"
)

// gistConnections is of how many connections Gist speaks one by one; of more it counts.
const gistConnections = 3

// Gist says of a repetition what a reader asks first, for the head of a view: why a connection
// did not come about, who closed first, why the last packet was a RST, and which call waited
// longest, and for what. It says nothing that is not known, so it may be empty. The
// sentences are in that order, and not in that of their moments.
func (c *Causality) Gist() []Note {
	n := newNoter(c)
	n.gist(GistFailed, n.notConnected)
	n.gist(GistCloser, n.closer)
	n.gist(GistReset, n.lastReset)
	n.longestWait()
	return n.notes
}

// Gist is Causality.Gist.
func (t *Timeline) Gist() []Note { return t.Causes().Gist() }

// sentence is what is to be said of one connection; an empty text says nothing.
type sentence struct {
	// text has no full stop, and begins in small letters where no name begins it.
	text    string
	moments []int
	sources []string
}

// gist says the same of several connections in one sentence, and of few one by one.
func (n *noter) gist(kind NoteKind, of func(ci int) sentence) {
	var order []string
	said := make(map[string][]int)
	first := make(map[string]sentence)
	for ci := range n.c.ends {
		s := of(ci)
		if s.text == "" {
			continue
		}
		if said[s.text] == nil {
			order, first[s.text] = append(order, s.text), s
		}
		said[s.text] = append(said[s.text], ci)
	}
	for i, text := range order {
		all := said[text]
		ci, where := all[0], ""
		switch {
		case len(all) > 1:
			where, ci = fmt.Sprintf("On %d of %d connections ", len(all), len(n.c.ends)), -1
		case len(n.c.ends) > 1:
			where = fmt.Sprintf("On connection %d ", ci+1)
		}
		if i == gistConnections {
			rest := 0
			for _, more := range order[i:] {
				rest += len(said[more])
			}
			n.notes = append(n.notes, Note{Kind: kind, Text: fmt.Sprintf("On %s it was otherwise.", countOf(rest, "more connection")), Moments: first[text].moments, Connection: -1})
			return
		}
		whole := where + text + "."
		if where == "" {
			whole = strings.ToUpper(whole[:1]) + whole[1:]
			if startsWithName(text) {
				whole = text + "."
			}
		}
		s := first[text]
		n.notes = append(n.notes, Note{Kind: kind, Text: whole, Moments: s.moments, Connection: ci, Sources: s.sources})
	}
}

// startsWithName reports whether a sentence begins with a call or a lane, whose name is left
// as it is.
func startsWithName(text string) bool {
	first, _, _ := strings.Cut(text, " ")
	return strings.HasSuffix(first, "()") || !strings.HasPrefix(text, "the ") && !strings.HasPrefix(text, "both ") && !strings.HasPrefix(text, "nobody ")
}

// notConnected is why a connection was never there: the call that failed, and the rule that let
// it return.
func (n *noter) notConnected(ci int) sentence {
	client := n.c.ends[ci][ClientEnd]
	connect := client.call("connect", func(c *Call) bool {
		switch experiment.ErrnoName(c.Errno) {
		case "EINPROGRESS", "EALREADY", "EISCONN":
			return false
		}
		return !succeeded(c)
	})
	switch {
	case connect == nil || connected(client) != nil:
		return sentence{}
	case connect.call.EndedBy == EndedByTimeout, connect.call.EndedBy == EndedByCancel:
		return sentence{caller(connect) + " had no answer until the lab ended it", []int{connect.leave}, []string{"connect(2)"}}
	}
	k, ok := n.c.of[connect.leave]
	if !ok || k.Rule == nil {
		return sentence{fmt.Sprintf("%s failed with %s", caller(connect), shortResult(connect.call)), []int{connect.leave}, nil}
	}
	s := sentence{fmt.Sprintf("%s failed with %s: %s", caller(connect), shortResult(connect.call), k.Rule.Text), []int{connect.leave}, k.Rule.Sources}
	if k.By >= 0 {
		if before, ok := n.c.of[k.By]; ok && before.By >= 0 && before.Rule == ruleTravel {
			if sent, ok := n.c.of[before.By]; ok && sent.Rule != nil {
				s.text += ", and " + sent.Rule.Text
			}
		}
	}
	return s
}

// closer is which end closed first.
func (n *noter) closer(ci int) sentence {
	k := n.t.closure(ci)
	switch k.kind {
	case closeNone:
		return sentence{}
	case closeCrossed:
		return sentence{"both ends closed before either knew of the other: the FINs crossed", []int{k.by[ClientEnd].moment, k.by[ServerEnd].moment}, []string{"RFC 9293 3.6"}}
	case closeUnknown:
		return sentence{"who closed first cannot be told", []int{k.by[ClientEnd].moment, k.by[ServerEnd].moment}, nil}
	}
	own, peer, first := n.c.ends[ci][k.end], n.c.ends[ci][1-k.end], k.by[k.end]
	alone := k.by[1-k.end].moment < 0
	if own.host < 0 || alone && (!first.isFIN() || n.deaf(peer.host)) {
		return sentence{}
	}
	text := n.who(own)
	if base, _, isCopy := copyOf(own.own.Lane); isCopy && len(n.c.ends) > 1 {
		text = fmt.Sprintf("%s on %s", base, n.name(own.host))
	}
	switch {
	case first.flags == 0:
		text += fmt.Sprintf(" ended it first, and no FIN and no RST of it told %s", n.hostOr(peer))
	case !first.isFIN():
		text += " ended it first, with a RST"
	default:
		text += " closed first"
		if s := n.last(own); s != nil && s.Name == stateTimeWait {
			text += " and holds TIME_WAIT"
		}
	}
	return sentence{text, []int{first.moment}, []string{"RFC 9293 3.6"}}
}

// lastReset is why the last packet of a connection was a RST.
func (n *noter) lastReset(ci int) sentence {
	c := &n.t.Connections[ci]
	if len(c.Segments) == 0 {
		return sentence{}
	}
	last := &c.Segments[len(c.Segments)-1]
	tr := Transmission{Segment: *last}
	if n.t.Packet(&tr).Flags&RST == 0 {
		return sentence{}
	}
	from := &c.Server
	if last.FromClient {
		from = &c.Client
	}
	who := from.Address.String()
	if from.Host >= 0 {
		who = n.name(from.Host)
	}
	k, ok := n.c.of[tr.First()]
	if !ok || k.Rule == nil {
		return sentence{fmt.Sprintf("the last packet was a RST from %s, and nothing on record says why", who), []int{tr.First()}, nil}
	}
	return sentence{fmt.Sprintf("the last packet was a RST from %s: %s", who, k.Rule.Text), []int{tr.First()}, k.Rule.Sources}
}

// longestWait is the call that was blocked longest; the lab's own steps are none.
func (n *noter) longestWait() {
	var longest *BlockedCall
	for i := range n.c.Blocked {
		b := &n.c.Blocked[i]
		if !b.Lab && (longest == nil || b.Nanoseconds > longest.Nanoseconds) {
			longest = b
		}
	}
	if longest == nil {
		return
	}
	m := &n.t.Moments[longest.Effect]
	s := &callSpan{longest.Enter, longest.Effect, m.Event.Call}
	text := fmt.Sprintf("%s waited longest, %s", caller(s), spanText(longest.Nanoseconds))
	var sources []string
	if longest.Rule != nil {
		text += ": " + longest.Rule.Text
		sources = longest.Rule.Sources
	} else {
		text += "; for what is not known"
	}
	n.notes = append(n.notes, Note{Kind: GistBlocked, Text: text + ".", Moments: []int{longest.Effect}, Connection: m.Connection, Sources: sources})
}
