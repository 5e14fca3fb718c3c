package timeline

import (
	"fmt"
	"slices"
	"strconv"

	"syncline/controller/clock"
)

// Arrow is one packet on its way between two lanes.
type Arrow struct {
	// Connection and Segment index the timeline; Segment is -1 for a packet that is no
	// TCP, and so is Connection, unless it is an ICMP error about a segment of one. Other
	// indexes Timeline.Others then, and is -1 for TCP.
	Connection, Segment, Other int
	// From and To are lanes; -1 if no host of the run has the address.
	From, To int
	// Departure and Arrival are rows, -1 if that tap did not see it. Label is the row
	// after the departure that has room for the delay, -1 if there is none.
	Departure, Label, Arrival int
	// Words tell the packet, the most important first: "SYN+ACK", "s0", "a1",
	// "mss1460". Sequence numbers count from the initial one of their direction. A
	// renderer short of room drops words from the end.
	Words []string
	// Delayed is true if both ends were seen and both clocks are tied. Delay is then
	// the time on the way, surely within DelayErr, in nanoseconds.
	Delayed         bool
	Delay, DelayErr int64
	// As in Segment.
	Lost, Duplicate, Impossible, Ambiguous bool
	Copy                                   int
	// DuplicateACK counts the duplicate acknowledgments (RFC 5681) up to and with this one
	// that say the same; 0 if it is none.
	DuplicateACK int
	// Reset is true for a RST and for an ICMP error: they end what others began.
	Reset bool
	// Reason is the kernel's own name of why it sent a RST: "NO_SOCKET"; empty if it did not
	// say.
	Reason string
	// Told is true if the kernel itself said that it sent this again. Otherwise Copy is
	// known from the sequence numbers.
	Told bool
	// Taken is true for a RST of which the receiver's kernel said that it accepted it. False
	// says nothing.
	Taken bool
	// Dropped is true if a kernel said that it dropped the packet: see LadderDrop.
	Dropped bool
}

// layArrows makes an arrow for each transmission of which a shown moment is an end.
func (b *ladderer) layArrows(shown []int) {
	seen := make(map[int]bool)
	for _, i := range shown {
		seen[i] = true
	}
	most := len(b.t.Others)
	for ci := range b.t.Connections {
		most += len(b.t.Connections[ci].Segments)
	}
	most = min(most, 2*len(shown))
	b.l.Arrows, b.ways = make([]Arrow, 0, most), make([]*Segment, 0, most)
	for ci := range b.t.Connections {
		if !b.opts.isShown(ci) {
			continue
		}
		c := &b.t.Connections[ci]
		for si := range c.Segments {
			if s := &c.Segments[si]; seen[s.Departure] || seen[s.Arrival] {
				b.layArrow(s, b.arrow(ci, si))
			}
		}
	}
	for i := range b.t.Others {
		if s := &b.t.Others[i].Segment; seen[s.Departure] || seen[s.Arrival] {
			b.layArrow(s, b.otherArrow(i))
		}
	}
}

func (b *ladderer) layArrow(s *Segment, a Arrow) {
	for _, end := range []int{s.Departure, s.Arrival} {
		if end >= 0 {
			b.arrows[end] = append(b.arrows[end], len(b.l.Arrows))
		}
	}
	b.ways = append(b.ways, s)
	b.l.Arrows = append(b.l.Arrows, a)
}

func (b *ladderer) arrow(connection, segment int) Arrow {
	c := &b.t.Connections[connection]
	s := &c.Segments[segment]
	from, to := c.Server.Host, c.Client.Host
	if s.FromClient {
		from, to = to, from
	}
	a := b.wayArrow(s, from, to)
	p := b.t.Packet(&Transmission{Segment: *s})
	a.Connection, a.Segment, a.Other = connection, segment, -1
	a.Reset = p.Flags&RST != 0
	a.Words = packetWords(p, c, s)
	if a.DuplicateACK = b.duplicateACKs(connection)[segment]; a.DuplicateACK > 0 {
		a.Words = slices.Insert(a.Words, 1, fmt.Sprintf("D%d", a.DuplicateACK))
	}
	return a
}

// duplicateACKs are those of a connection, counted once.
func (b *ladderer) duplicateACKs(connection int) []int {
	if b.again == nil {
		b.again = make(map[int][]int)
	}
	counts, ok := b.again[connection]
	if !ok {
		counts = b.t.duplicateACKs(&b.t.Connections[connection])
		b.again[connection] = counts
	}
	return counts
}

func (b *ladderer) otherArrow(i int) Arrow {
	tr := &b.t.Others[i]
	a := b.wayArrow(&tr.Segment, tr.From, tr.To)
	p := b.t.Packet(tr)
	a.Connection, a.Segment, a.Other = tr.Connection, -1, i
	a.Reset = p.isICMPError()
	a.Words = otherWords(p)
	return a
}

// wayArrow is what the arrows of all protocols have in common.
func (b *ladderer) wayArrow(s *Segment, from, to int) Arrow {
	a := Arrow{
		From: b.laneOf(from), To: b.laneOf(to), Departure: -1, Label: -1, Arrival: -1,
		Lost: s.Lost, Duplicate: s.Duplicate, Impossible: s.Impossible, Ambiguous: s.Ambiguous, Copy: s.Copy,
	}
	if s.Departure >= 0 && s.Arrival >= 0 && s.OneWayErr < clock.Unbounded {
		a.Delayed, a.Delay, a.DelayErr = true, s.OneWay, s.OneWayErr
	}
	return a
}

// endArrows notes the row at which a packet's moment stands, and returns the first
// arrow that has an end there, -1 if none has.
func (b *ladderer) endArrows(moment, row int) int {
	for _, i := range b.arrows[moment] {
		if b.ways[i].Departure == moment {
			b.l.Arrows[i].Departure = row
		} else {
			b.l.Arrows[i].Arrival = row
		}
	}
	if len(b.arrows[moment]) == 0 {
		return -1
	}
	return b.arrows[moment][0]
}

// packetWords tell a packet in short.
func packetWords(p *Packet, c *Connection, s *Segment) []string {
	own, other := &c.Server, &c.Client
	if s.FromClient {
		own, other = other, own
	}
	words := []string{p.Flags.String()}
	if s.Copy > 0 {
		words = append(words, fmt.Sprintf("R%d", s.Copy))
	}
	if s.Duplicate {
		words = append(words, "×2")
	}
	if p.Window == 0 && p.Flags&(ACK|SYN|RST) == ACK {
		words = append(words, "win0")
	}
	words = append(words, "s"+relative(p.Seq, own))
	if p.Flags&ACK != 0 {
		words = append(words, "a"+relative(p.Ack, other))
	}
	if p.PayloadLength > 0 {
		words = append(words, fmt.Sprintf("len%d", p.PayloadLength))
	}
	if sack := sackWord(p.Options, p.Ack, other); sack != "" && p.Flags&SYN == 0 {
		words = append(words, sack)
	}
	if p.Flags&SYN != 0 {
		words = append(words, optionWords(p.Options)...)
	}
	return words
}

// relative counts a sequence number from the initial one, modulo 2^32 as RFC 9293
// 3.4 does; it is absolute if that is not known.
func relative(n uint32, from *End) string {
	if from.HasISN {
		n -= from.ISN
	}
	return strconv.FormatUint(uint64(n), 10)
}

// Kinds of TCP options, from the registry of IANA.
const (
	optionEnd           = 0
	optionNothing       = 1
	optionMSS           = 2
	optionWindowScale   = 3
	optionSACKPermitted = 4
	optionTimestamps    = 8
	optionMPTCP         = 30
	optionFastOpen      = 34
)

// optionWords tell the options of a SYN in short: "mss1460 ws7 sack ts". They come
// from the wire: what does not parse ends the list with "?".
func optionWords(options []byte) []string {
	var words []string
	for len(options) > 0 {
		kind := options[0]
		if kind == optionEnd {
			return words
		}
		if kind == optionNothing {
			options = options[1:]
			continue
		}
		if len(options) < 2 || options[1] < 2 || int(options[1]) > len(options) {
			return append(words, "?")
		}
		if word := optionWord(kind, options[2:options[1]]); word != "" {
			words = append(words, word)
		}
		options = options[options[1]:]
	}
	return words
}

func optionWord(kind byte, data []byte) string {
	switch {
	case kind == optionMSS && len(data) == 2:
		return fmt.Sprintf("mss%d", int(data[0])<<8|int(data[1]))
	case kind == optionWindowScale && len(data) == 1:
		return fmt.Sprintf("ws%d", data[0])
	case kind == optionSACKPermitted:
		return "sack"
	case kind == optionTimestamps:
		return "ts"
	case kind == optionMPTCP:
		return "mptcp"
	case kind == optionFastOpen:
		return "tfo"
	}
	return ""
}

// warnImpossible adds a sentence for each arrow that no offset inside the bounds
// explains.
func (b *ladderer) warnImpossible() {
	for i := range b.l.Arrows {
		a := &b.l.Arrows[i]
		if !a.Impossible {
			continue
		}
		from, to := b.laneName(a.From), b.laneName(a.To)
		b.l.Warnings = append(b.l.Warnings, fmt.Sprintf(
			"impossible: %s>%s %s arrived %s before it left, and no offset inside the bounds explains it; a stamp or a clock of %s or %s is wrong",
			from, to, a.Words[0], spanText(-a.Delay), from, to))
	}
}

func (b *ladderer) laneName(lane int) string {
	if lane < 0 {
		return "?"
	}
	return b.l.Lanes[lane].Name
}
