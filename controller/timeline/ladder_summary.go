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
		closed, reset := b.closing(number-1, causes.Timeline()), b.lastReset(number-1, causes)
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
		text := countOf(more, "more connection")
		if b.opts.Choosing != "" {
			text += ": " + b.opts.Choosing
		}
		b.l.Summary = append(b.l.Summary, text+".")
	}
	if text := b.longestBlocked(causes); text != "" {
		b.l.Summary = append(b.l.Summary, text)
	}
}

// firstOf is the moment of the first segment with one of the flags that an end sent, -1 if
// there is none.
func (t *Timeline) firstOf(c *Connection, end int, flags Flags) int {
	for i := range c.Segments {
		s := &c.Segments[i]
		if s.FromClient == (end == ClientEnd) && t.Packet(&Transmission{Segment: *s}).Flags&flags != 0 {
			return (&Transmission{Segment: *s}).First()
		}
	}
	return -1
}

// closing says which end of a connection closed it first, empty if no packet of it is on
// record.
func (b *ladderer) closing(connection int, t *Timeline) string {
	if len(t.Connections[connection].Segments) == 0 {
		return ""
	}
	k := t.closure(connection)
	if !k.by[ClientEnd].isFIN() && !k.by[ServerEnd].isFIN() && (k.by[ClientEnd].moment < 0 || k.by[ServerEnd].moment < 0) {
		return b.broken(connection)
	}
	switch k.kind {
	case closeCrossed:
		return fmt.Sprintf("%s and %s closed at once: neither FIN acknowledges the other's.%s",
			b.endName(connection, ClientEnd), b.endName(connection, ServerEnd), b.lingers(connection))
	case closeUnknown:
		why := "the record does not order what they sent"
		if client, server := k.by[ClientEnd], k.by[ServerEnd]; t.knewOf(client, server) && t.knewOf(server, client) {
			why = "each FIN on record acknowledges the other's"
		}
		return fmt.Sprintf("Whether %s or %s closed first cannot be told: %s.", b.endName(connection, ClientEnd), b.endName(connection, ServerEnd), why)
	}
	first, second := k.by[k.end], k.by[1-k.end]
	name, other := b.endName(connection, k.end), b.endHost(connection, 1-k.end)
	switch {
	case second.moment < 0:
		return fmt.Sprintf("%s closed first, as far as the record tells: its FIN%s, and no FIN of %s is in it.", name, b.left(first.moment), other)
	case first.flags == 0:
		return fmt.Sprintf("%s ended it first, and no FIN and no RST of it told %s: it was CLOSED%s, %s's %s%s.",
			name, other, b.at(first.moment), other, endingText(second), b.left(second.moment))
	case !first.isFIN():
		return fmt.Sprintf("%s ended it first: its RST%s, %s's %s%s.", name, b.left(first.moment), other, endingText(second), b.left(second.moment))
	case !second.isFIN():
		return fmt.Sprintf("%s closed first, as far as the record tells: its FIN%s, and no FIN of %s is in it.", name, b.left(first.moment), other)
	}
	return fmt.Sprintf("%s closed first: its FIN%s, %s's%s.%s", name, b.left(first.moment), other, b.left(second.moment), b.lingers(connection))
}

// endingText is what an end sent to end its connection.
func endingText(e ending) string {
	if e.isFIN() {
		return "FIN"
	}
	return "RST"
}

// broken is closing where no end sent a FIN.
func (b *ladderer) broken(connection int) string {
	c := &b.t.Connections[connection]
	first, end := -1, -1
	for e := range 2 {
		if r := b.t.firstOf(c, e, RST); r >= 0 && (end < 0 || r < first) {
			first, end = r, e
		}
	}
	answered := b.t.firstOf(c, ServerEnd, SYN) >= 0
	opening := b.t.firstOf(c, ClientEnd, SYN) >= 0
	switch {
	case end < 0 && opening && !answered:
		return fmt.Sprintf("It was never answered, as far as the record tells: no SYN+ACK and no RST of %s is in it.", b.endHost(connection, ServerEnd))
	case end < 0:
		return "No FIN and no RST of it is on record."
	case end == ServerEnd && opening && !answered:
		return fmt.Sprintf("It was not opened: %s answered the SYN with a RST%s.", b.endHost(connection, end), b.at(first))
	}
	return fmt.Sprintf("No FIN of it is on record: %s sent a RST%s.", b.endName(connection, end), b.at(first))
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

// at is when a moment was, as the time column has it, with its ± where two clocks meet; empty
// if there is no time.
func (b *ladderer) at(moment int) string {
	at, err := b.time(&b.t.Moments[moment])
	if err >= clock.Unbounded {
		return ""
	}
	text := " at " + b.l.text(at)
	if b.showsErr(b.lane[b.t.Moments[moment].Event.Host], err) {
		text += " ±" + b.l.number(b.l.roundUp(err))
		if b.l.Zero == ZeroWall {
			text += " " + b.l.Unit.String()
		}
	}
	if b.l.Zero != ZeroWall || b.l.LocalTimes {
		text += " " + b.l.Unit.String()
	}
	return text
}
