package timeline

import (
	"fmt"
	"slices"

	"syncline/controller/clock"
)

// summaryMost is how many connections a summary tells of, one by one.
const summaryMost = 3

// summarize says in words who closed each connection first, why its last packet was a
// RST, and which call was blocked longest.
func (b *ladderer) summarize(causes *Causality) {
	told := 0
	for i := range b.l.Connections {
		number := b.l.Connections[i].Number
		closed, reset := b.closing(number-1), b.lastReset(number-1, causes)
		if closed == "" && reset == "" {
			continue
		}
		if told++; told > summaryMost {
			continue
		}
		lead := ""
		if len(b.l.Connections) > 1 {
			lead = fmt.Sprintf("#%d: ", number)
		}
		text := lead + closed
		if closed != "" && reset != "" {
			text += " "
		}
		b.l.Summary = append(b.l.Summary, text+reset)
	}
	if more := told - summaryMost; more > 0 {
		b.l.Summary = append(b.l.Summary, countOf(more, "more connection")+": choose with --conn.")
	}
	if text := b.longestBlocked(causes); text != "" {
		b.l.Summary = append(b.l.Summary, text)
	}
}

// ending is what an end did first to end its connection.
type ending struct {
	// moment is its departure, or its arrival where no tap saw it leave; -1 if it did nothing.
	moment int
}

// firstOf is the first segment with one of the flags that an end sent.
func (t *Timeline) firstOf(c *Connection, end int, flags Flags) ending {
	for i := range c.Segments {
		s := &c.Segments[i]
		if s.FromClient != (end == ClientEnd) || t.Packet(&Transmission{Segment: *s}).Flags&flags == 0 {
			continue
		}
		return ending{(&Transmission{Segment: *s}).First()}
	}
	return ending{-1}
}

// closing says which end of a connection closed it first, empty if no packet of it is on
// record.
func (b *ladderer) closing(connection int) string {
	c := &b.t.Connections[connection]
	if len(c.Segments) == 0 {
		return ""
	}
	client, server := b.t.firstOf(c, ClientEnd, FIN), b.t.firstOf(c, ServerEnd, FIN)
	switch {
	case client.moment < 0 && server.moment < 0:
		return b.broken(connection)
	case server.moment < 0:
		return b.closedAlone(connection, ClientEnd, client)
	case client.moment < 0:
		return b.closedAlone(connection, ServerEnd, server)
	}
	first, second, end := client, server, ClientEnd
	switch knows := [2]bool{b.knowsOf(client, server), b.knowsOf(server, client)}; knows {
	case [2]bool{false, false}:
		return fmt.Sprintf("%s and %s closed at once: neither FIN acknowledges the other's.%s",
			b.endName(connection, ClientEnd), b.endName(connection, ServerEnd), b.lingers(connection))
	case [2]bool{true, true}:
		return fmt.Sprintf("Whether %s or %s closed first cannot be told: each FIN on record acknowledges the other's.",
			b.endName(connection, ClientEnd), b.endName(connection, ServerEnd))
	case [2]bool{true, false}:
		first, second, end = server, client, ServerEnd
	}
	return fmt.Sprintf("%s closed first: its FIN%s, %s's%s.%s", b.endName(connection, end), b.left(first.moment),
		b.endHost(connection, 1-end), b.left(second.moment), b.lingers(connection))
}

// knowsOf reports whether whoever sent a FIN had taken the other's: it acknowledges that.
// Numbers tell it however little is known of the clocks.
func (b *ladderer) knowsOf(own, other ending) bool {
	p, q := b.t.Moments[own.moment].Event.Packet, b.t.Moments[other.moment].Event.Packet
	return p.Flags&ACK != 0 && int32(p.Ack-q.Seq-uint32(q.PayloadLength)) > 0
}

// closedAlone is closing where one end alone sent a FIN.
func (b *ladderer) closedAlone(connection, end int, first ending) string {
	return fmt.Sprintf("%s closed first, as far as the record tells: its FIN%s, and no FIN of %s is in it.", b.endName(connection, end), b.left(first.moment), b.endHost(connection, 1-end))
}

// broken is closing where no end sent a FIN.
func (b *ladderer) broken(connection int) string {
	c := &b.t.Connections[connection]
	first, end := ending{-1}, -1
	for e := range 2 {
		if r := b.t.firstOf(c, e, RST); r.moment >= 0 && (end < 0 || r.moment < first.moment) {
			first, end = r, e
		}
	}
	answered := b.t.firstOf(c, ServerEnd, SYN).moment >= 0
	opening := b.t.firstOf(c, ClientEnd, SYN).moment >= 0
	switch {
	case end < 0 && opening && !answered:
		return fmt.Sprintf("It was never answered, as far as the record tells: no SYN+ACK and no RST of %s is in it.", b.endHost(connection, ServerEnd))
	case end < 0:
		return "No FIN and no RST of it is on record."
	case end == ServerEnd && opening && !answered:
		return fmt.Sprintf("It was not opened: %s answered the SYN with a RST%s.", b.endHost(connection, end), b.at(first.moment))
	}
	return fmt.Sprintf("No FIN of it is on record: %s sent a RST%s.", b.endName(connection, end), b.at(first.moment))
}

// lingers says which ends are in TIME_WAIT at the end of the repetition.
func (b *ladderer) lingers(connection int) string {
	text := ""
	for end := range 2 {
		own := b.t.Connections[connection].End(end)
		if n := len(own.States); n > 0 && own.States[n-1].Name == stateTimeWait && own.StatesDoubt == "" {
			text += fmt.Sprintf(" %s is left in TIME_WAIT.", b.endHost(connection, end))
		}
	}
	return text
}

// lastReset says why the last packet of a connection was a RST; empty if it was none.
func (b *ladderer) lastReset(connection int, causes *Causality) string {
	c := &b.t.Connections[connection]
	last := len(c.Segments) - 1
	if last < 0 {
		return ""
	}
	s := &c.Segments[last]
	if b.t.Packet(&Transmission{Segment: *s}).Flags&RST == 0 {
		return ""
	}
	end := ServerEnd
	if s.FromClient {
		end = ClientEnd
	}
	i := slices.IndexFunc(causes.Packets, func(p PacketCause) bool { return p.Connection == connection && p.Number == last })
	if i < 0 || causes.Packets[i].Rule == nil {
		return fmt.Sprintf("The last packet is a RST of %s; why is not on record.", b.endHost(connection, end))
	}
	return fmt.Sprintf("The last packet is a RST of %s: %s.", b.endHost(connection, end), causes.Packets[i].Rule.Text)
}

// longestBlocked says which call was blocked longest, and what released it. The lab's own
// steps do not count.
func (b *ladderer) longestBlocked(causes *Causality) string {
	longest := -1
	for i := range causes.Blocked {
		c := &causes.Blocked[i]
		m := &b.t.Moments[c.Effect]
		if _, shown := b.brackets[m.Event]; shown && !c.Lab && (longest < 0 || c.Nanoseconds > causes.Blocked[longest].Nanoseconds) {
			longest = i
		}
	}
	if longest < 0 {
		return ""
	}
	c := &causes.Blocked[longest]
	e := b.t.Moments[c.Effect].Event
	text := fmt.Sprintf("Blocked longest: %s() of %s on %s, %s.", e.Call.Name, e.Call.Lane, b.t.hostName(e.Host), spanText(c.Nanoseconds))
	if c.Rule == nil {
		return text + " What released it is not on record."
	}
	return text + " Released: " + c.Rule.Text + "."
}

// endName is an end by its host and what it is: "A, the client,".
func (b *ladderer) endName(connection, end int) string {
	name := "the client"
	if end == ServerEnd {
		name = "the server"
	}
	return b.endHost(connection, end) + ", " + name + ","
}

// endHost is the host of an end, or its address if that is no host's of the run.
func (b *ladderer) endHost(connection, end int) string {
	own := b.t.Connections[connection].End(end)
	if own.Host < 0 {
		return own.Address.String()
	}
	return b.t.hostName(own.Host)
}

// left says when something left, or that it is known from its arrival alone.
func (b *ladderer) left(moment int) string {
	if b.t.Moments[moment].Event.Packet.Direction == In {
		return " came" + b.at(moment)
	}
	return " left" + b.at(moment)
}

// at is when a moment was, as the time column has it; empty if there is no time.
func (b *ladderer) at(moment int) string {
	at, err := b.time(&b.t.Moments[moment])
	if err >= clock.Unbounded {
		return ""
	}
	text := " at " + b.l.text(at)
	if b.l.Zero != ZeroWall || b.l.LocalTimes {
		text += " " + b.l.Unit.String()
	}
	return text
}
