package timeline

import (
	"encoding/binary"
	"strings"
)

// duplicateACKs counts, by segment of a connection, the duplicate acknowledgments up to
// and with it that say the same: 0 for a segment that is none.
//
// It is one in the sense of RFC 5681, section 2: the peer has sent data that it does not
// acknowledge, it carries no data itself, neither SYN nor FIN, and repeats the highest
// acknowledgment with the same window.
func (t *Timeline) duplicateACKs(c *Connection) []int {
	counts := make([]int, len(c.Segments))
	var ends [2]ackSide
	for i := range c.Segments {
		s := &c.Segments[i]
		p := t.Packet(&Transmission{Segment: *s})
		own, peer := &ends[ClientEnd], &ends[ServerEnd]
		if !s.FromClient {
			own, peer = peer, own
		}
		if s.Duplicate || s.Departure >= 0 && own.last == s.Departure+1 {
			// It was counted with the same record, or was not sent again.
			continue
		}
		own.last = s.Departure + 1
		if n := sequenceLength(p); n > 0 && (!own.hasSent || int32(p.Seq+n-own.sent) > 0) {
			own.sent, own.hasSent = p.Seq+n, true
		}
		if p.Flags&(ACK|RST) != ACK {
			continue
		}
		bare := p.PayloadLength == 0 && p.Flags&(SYN|FIN) == 0
		switch {
		case !own.hasAck || int32(p.Ack-own.ack) > 0:
			own.ack, own.hasAck, own.again = p.Ack, true, 0
		case bare && p.Ack == own.ack && p.Window == own.window && peer.hasSent && int32(peer.sent-p.Ack) > 0:
			own.again++
			counts[i] = own.again
		}
		own.window = p.Window
	}
	return counts
}

// ackSide is what one end has sent and acknowledged so far.
type ackSide struct {
	sent, ack       uint32
	hasSent, hasAck bool
	window          int
	// again counts repetitions of ack; last is the moment of the last departure, plus 1.
	again, last int
}

// sackWord tells the blocks of a SACK option, RFC 2018 section 3, with numbers relative to the
// initial one of the end whose data they are: "S1461–2921". A block of what ack acknowledges
// already says that it came twice, RFC 2883: "DS1461–2921". The word is empty if there is no
// such option, or one that does not parse.
func sackWord(options []byte, ack uint32, of *End) string {
	for len(options) > 0 {
		kind := options[0]
		if kind == optionEnd {
			return ""
		}
		if kind == optionNothing {
			options = options[1:]
			continue
		}
		if len(options) < 2 || options[1] < 2 || int(options[1]) > len(options) {
			return ""
		}
		if blocks := options[2:options[1]]; kind == optionSACK && len(blocks) >= 8 && len(blocks)%8 == 0 {
			var texts []string
			mark := "S"
			if int32(binary.BigEndian.Uint32(blocks[4:])-ack) <= 0 {
				mark = "DS"
			}
			for ; len(blocks) > 0; blocks = blocks[8:] {
				texts = append(texts, relative(binary.BigEndian.Uint32(blocks), of)+"–"+relative(binary.BigEndian.Uint32(blocks[4:]), of))
			}
			return mark + strings.Join(texts, ",")
		}
		options = options[options[1]:]
	}
	return ""
}
