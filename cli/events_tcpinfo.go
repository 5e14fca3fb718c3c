package cli

import (
	"encoding/binary"
	"fmt"
	"time"

	"syncline/controller/timeline"
)

// Where struct tcp_info has what a person looks at first, in bytes
// (include/uapi/linux/tcp.h). It only ever grows at its end.
const (
	infoState       = 0
	infoRetransmits = 2
	infoUnacked     = 24
	infoSacked      = 28
	infoRTT         = 68
	infoRTTVar      = 72
	infoCwnd        = 80
	infoTotal       = 100
)

// describeTCPInfo is struct tcp_info in a few words: the state, and of a connection its
// round-trip time, congestion window and retransmissions, of a listener its accept queue.
// It is "" for nothing, and leaves out what an older kernel did not fill in. Agents and
// those who read what they recorded are little-endian.
func describeTCPInfo(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	state := timeline.StateName(int(b[infoState]))
	text := stateWord(uint32(b[infoState]))
	word := func(at int, form func(uint32) string) {
		if at+4 <= len(b) {
			text += form(binary.LittleEndian.Uint32(b[at:]))
		}
	}
	number := func(before string) func(uint32) string {
		return func(n uint32) string { return fmt.Sprintf("%s%d", before, n) }
	}
	switch state {
	case "LISTEN":
		// Of a listener these two are the accept queue and the backlog (tcp_get_info).
		word(infoUnacked, number(" queue "))
		word(infoSacked, number(" of "))
		return text
	case "CLOSED":
		return text
	}
	word(infoRTT, func(n uint32) string { return " rtt " + microseconds(n) })
	word(infoRTTVar, func(n uint32) string { return "±" + microseconds(n) })
	word(infoCwnd, number(" cwnd "))
	if len(b) > infoRetransmits && b[infoRetransmits] != 0 {
		text += fmt.Sprintf(" unanswered %d", b[infoRetransmits])
	}
	word(infoTotal, number(" retrans "))
	return text
}

func microseconds(n uint32) string { return (time.Duration(n) * time.Microsecond).String() }
