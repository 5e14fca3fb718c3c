package timeline

import (
	"fmt"
	"slices"
	"strings"

	"syncline/controller/experiment"
)

// packets judges that every connection of the experiment matches a pattern, or every
// connection of a socket. One that no call on record is of, and that may be the
// experiment's all the same, is judged as well and can only leave the ruling in doubt.
//
// Every packet that left is one segment, also a retransmission and one that was
// lost on the way, and so is a copy that only the network can have made. What one tap
// recorded as one packet is one, whatever offloads made of it. They stand in the order in which they left. Where that is not known for two packets of
// opposite directions, every order that the record allows is tried, and the ruling
// is definite only if all of them give it.
//
// A pattern that names packets which are no TCP is about all packets of the repetition
// together, TCP of somebody else's apart; of a socket, about the segments of its
// connections and the ICMP errors that quote them.
//
// A connection with events missing never passes. It fails only if no packets that
// may be missing could make it match.
func (tr *trial) packets(e *experiment.PacketsExpectation) Verdict {
	if namesOthers(e.Pattern) {
		return tr.allPackets(e)
	}
	v := Verdict{Ruling: Pass}
	seen, doubt := 0, ""
	for i := range tr.t.Connections {
		if len(tr.t.Connections[i].Segments) == 0 || tr.own.of[i] == foreign || !tr.isConnectionOf(&e.Of, i) {
			continue
		}
		one := tr.connection(e.Pattern, i)
		if tr.own.of[i] == unclear {
			doubt = tr.unclearText(i)
			one = tr.unlessOthers(one, doubt)
		} else {
			seen++
		}
		v.Moments = append(v.Moments, one.Moments...)
		if severity(one.Ruling) > severity(v.Ruling) {
			v.Ruling, v.Reason = one.Ruling, tr.whichConnection(i)+one.Reason
		}
	}
	switch {
	case seen > 0, v.Ruling != Pass:
		return v
	case doubt != "":
		return doubted(v, doubt)
	}
	tr.empty = true
	what := "no packet of a TCP connection"
	if tr.own.left > 0 {
		what += " of this experiment"
	}
	if e.Of != (experiment.SocketSelector{}) {
		what = "no packet of a connection of " + socketSelectorText(&e.Of)
	}
	v.Ruling, v.Reason = Fail, "selects nothing: "+what+" was seen"
	if cause := tr.hidden(gapsOf(Packets)); cause != "" {
		v.Ruling, v.Reason = CannotTell, what+" is on record; "+cause
	}
	return v
}

// namesOthers reports whether a pattern names packets that are no TCP.
func namesOthers(pattern []experiment.PacketTerm) bool {
	return slices.ContainsFunc(pattern, func(t experiment.PacketTerm) bool {
		return !t.Any && (t.Packet.ARP != 0 || t.Packet.Protocol != 0 && t.Packet.Protocol != ProtocolTCP)
	})
}

// isConnectionOf reports whether a connection is one of a socket; of no socket, any is.
func (tr *trial) isConnectionOf(sel *experiment.SocketSelector, connection int) bool {
	if *sel == (experiment.SocketSelector{}) {
		return true
	}
	return slices.ContainsFunc(tr.endsOf(sel), func(ref EndRef) bool { return ref.Connection == connection })
}

// allPackets judges the packets of all connections and those of none together.
func (tr *trial) allPackets(e *experiment.PacketsExpectation) Verdict {
	var sent []*Transmission
	doubt := ""
	for i := range tr.transmissions() {
		one := &tr.sent[i]
		if e.Of != (experiment.SocketSelector{}) && (one.Connection < 0 || !tr.isConnectionOf(&e.Of, one.Connection)) {
			continue
		}
		switch why := tr.doubtOf(one.Connection); why {
		case foreignText:
			continue
		case "":
		default:
			doubt = why
		}
		sent = append(sent, one)
	}
	touches := gapsOfAny([]Source{Packets, ICMP, ARP})
	v := Verdict{}
	if len(sent) == 0 {
		tr.empty = true
		v = tr.absent("selects nothing: no packet was seen", tr.hidden(touches))
	} else {
		v = tr.newWideLattice(sent).judge(e.Pattern, touches)
	}
	if doubt != "" && v.Ruling != CannotTell {
		return doubted(v, doubt)
	}
	return v
}

// unlessOthers takes a fail back that a connection gave which may be nobody's of this
// experiment.
func (tr *trial) unlessOthers(v Verdict, doubt string) Verdict {
	if v.Ruling == Fail {
		return doubted(v, doubt)
	}
	return v
}

// whichConnection begins a reason with the connection it is about, where there is
// more than one.
func (tr *trial) whichConnection(i int) string {
	if len(tr.t.Connections) < 2 {
		return ""
	}
	return tr.connectionText(i) + ": "
}

// connectionText names a connection by its ends, the client's first.
func (tr *trial) connectionText(i int) string {
	c := &tr.t.Connections[i]
	return fmt.Sprintf("%s → %s", c.Client.Address, c.Server.Address)
}

// unclearText says why nobody can tell whether a connection is the experiment's.
func (tr *trial) unclearText(i int) string {
	return fmt.Sprintf("no call on record is of %s, and %s", tr.connectionText(i), tr.own.why[i])
}

// connection judges one connection.
func (tr *trial) connection(pattern []experiment.PacketTerm, i int) Verdict {
	l := tr.newLattice(i)
	return l.judge(pattern, gapsOf(Packets, l.taps...))
}

// judge rules on all orders of some packets, of which those that the gaps touch may not
// be all.
func (l *lattice) judge(pattern []experiment.PacketTerm, touches func(*gap) bool) Verdict {
	tr := l.tr
	cause := tr.hidden(touches)
	if l.blind {
		cause = strings.TrimPrefix(cause+"; no tap stood at one end of the connection", "; ")
	}
	if cause != "" {
		return l.holed(pattern, cause)
	}
	answer := l.try(pattern, false)
	switch {
	case answer.tooMany:
		return Verdict{Ruling: CannotTell, Reason: "the order of the packets is not known, and too many orders are possible to try them all"}
	case answer.match && answer.mismatch:
		return l.uncertain(pattern)
	case answer.match:
		return tr.unlessGap(Verdict{Ruling: Pass}, touches)
	}
	v := l.mismatch(pattern)
	if doubt := tr.causeOf(touches); doubt != "" {
		v.Ruling = CannotTell
		v.Reason += ", but " + doubt
	}
	return v
}

// holed judges a connection of which packets may be missing.
func (l *lattice) holed(pattern []experiment.PacketTerm, cause string) Verdict {
	if answer := l.try(pattern, true); !answer.match && !answer.tooMany {
		return l.mismatch(pattern)
	}
	if answer := l.try(pattern, false); answer.match {
		return Verdict{Ruling: CannotTell, Reason: "nothing on record speaks against it, but " + cause}
	}
	v := l.mismatch(pattern)
	v.Ruling = CannotTell
	v.Reason += ", but " + cause
	return v
}

// mismatch says what the pattern wanted and what was there, in the order of the
// lab's clock. It is for a connection that does not match in that order.
func (l *lattice) mismatch(pattern []experiment.PacketTerm) Verdict {
	at := startOf(pattern, false)
	sequence := l.sequence()
	for n, e := range sequence {
		next := l.advance(pattern, at, e, false)
		if !next.alive() {
			moment := l.moment(e)
			p, _ := l.tr.packetAt(moment)
			return Verdict{Ruling: Fail, Moments: []int{moment}, Reason: fmt.Sprintf("expected %s as %s packet, got %s at %s",
				expectedText(pattern, at), ordinal(n+1), l.tr.packetText(p), l.tr.timeText(moment)+l.tr.labText(moment))}
		}
		at = next
	}
	v := Verdict{Ruling: Fail, Reason: fmt.Sprintf("expected %s as %s packet, but no more came",
		expectedText(pattern, at), ordinal(len(sequence)+1))}
	if len(sequence) > 0 {
		v.Moments = []int{l.moment(sequence[len(sequence)-1])}
	}
	return v
}

// uncertain is the verdict on a connection that matches in one possible order and
// not in another. It names the last pair of packets whose order had to be settled
// to make all the rest agree.
func (l *lattice) uncertain(pattern []experiment.PacketTerm) Verdict {
	const most = 32
	for n := 0; n < most; n++ {
		first, second, ok := l.unsettled()
		if !ok {
			break
		}
		l.settle(first, second)
		if answer := l.try(pattern, false); !answer.match || !answer.mismatch {
			a, b := l.moment(first), l.moment(second)
			return Verdict{Ruling: CannotTell, Moments: []int{a, b},
				Reason: l.tr.undecided(l.leaving(first), l.leaving(second), a, b)}
		}
	}
	return Verdict{Ruling: CannotTell, Reason: "the order of too many packets of opposite directions is not known"}
}

// leaving is a packet with the time it left at.
func (l *lattice) leaving(e element) string {
	moment := l.moment(e)
	p, _ := l.tr.packetAt(moment)
	return l.tr.packetText(p) + " at " + l.tr.timeText(moment)
}

// expectedText lists what the terms that a match has come to would take.
func expectedText(pattern []experiment.PacketTerm, at terms) string {
	var wanted []string
	for i := range pattern {
		if at[i] != live || pattern[i].Any {
			continue
		}
		if text := packetSelectorText(&pattern[i].Packet); !slices.Contains(wanted, text) {
			wanted = append(wanted, text)
		}
	}
	if at[len(pattern)] == live {
		wanted = append(wanted, "nothing more")
	}
	return strings.Join(wanted, " or ")
}

func ordinal(n int) string {
	suffix := "th"
	if n%100 < 11 || n%100 > 13 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return fmt.Sprintf("%d%s", n, suffix)
}
