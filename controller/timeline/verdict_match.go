package timeline

import (
	"encoding/binary"
	"slices"

	"syncline/controller/experiment"
)

// significant are the flags that must be exactly those a selector names. PSH says
// when a buffer was flushed, URG, ECE, CWR and AE say things of their own: nobody who
// writes SYN+ACK means to rule on any of them, unless they are named.
const significant = FIN | SYN | RST | ACK

// matches reports whether a selector picks a packet.
func (tr *trial) matches(sel *experiment.PacketSelector, p sighting) bool {
	if sel.From != "" && tr.hostName(p.from) != sel.From {
		return false
	}
	if sel.To != "" && tr.hostName(p.to) != sel.To {
		return false
	}
	if !protocolMatches(sel, p.Packet) {
		return false
	}
	if sel.Data != nil && *sel.Data != (p.PayloadLength > 0) {
		return false
	}
	if sel.Length >= 0 && p.PayloadLength != sel.Length {
		return false
	}
	return !p.TCP() || tr.matchesSegment(sel, p)
}

// protocolMatches compares what kind of packet it is. TCP is meant where nothing is
// said.
func protocolMatches(sel *experiment.PacketSelector, p *Packet) bool {
	switch {
	case sel.ARP != 0 || p.ARP != 0:
		return sel.ARP == p.ARP
	case sel.Protocol == 0 || sel.Protocol == ProtocolTCP:
		return p.TCP()
	case p.TCP() || sel.Protocol != p.Protocol:
		return false
	case p.Protocol == ProtocolUDP:
		return true
	}
	return (sel.ICMPType < 0 || sel.ICMPType == p.ICMPType) && (sel.ICMPCode < 0 || sel.ICMPCode == p.ICMPCode)
}

// matchesSegment compares what only TCP has.
func (tr *trial) matchesSegment(sel *experiment.PacketSelector, p sighting) bool {
	switch {
	case sel.Copy && !p.again,
		sel.Window >= 0 && p.Window != sel.Window,
		p.Flags&Flags(sel.Without) != 0,
		!optionsMatch(sel, p.Options):
		return false
	case sel.Third:
		return tr.completesHandshake(p)
	}
	return sel.AnyFlags || flagsMatch(sel, p.Flags)
}

func flagsMatch(sel *experiment.PacketSelector, have Flags) bool {
	want := Flags(sel.Flags)
	if have&want != want {
		return false
	}
	return sel.Contains || have&significant == want&significant
}

// completesHandshake reports whether a packet is one that can complete the
// handshake, RFC 9293 3.5: from the client, acknowledging exactly the server's SYN.
// The first such packet at a tap is that tap's third ACK, also where it is a segment
// with data because the bare ACK was lost.
func (tr *trial) completesHandshake(p sighting) bool {
	if p.connection < 0 || !p.fromClient || p.Flags&ACK == 0 || p.Flags&(SYN|RST) != 0 {
		return false
	}
	server := &tr.t.Connections[p.connection].Server
	return server.HasISN && p.Ack == server.ISN+1
}

// optionsMatch compares the options of a TCP header.
func optionsMatch(sel *experiment.PacketSelector, raw []byte) bool {
	if len(sel.Options) == 0 && len(sel.NoOptions) == 0 {
		return true
	}
	have := tcpOptions(raw)
	for _, want := range sel.Options {
		if !slices.ContainsFunc(have, func(o tcpOption) bool {
			return o.name == want.Name && (want.Value < 0 || o.value == want.Value)
		}) {
			return false
		}
	}
	for _, name := range sel.NoOptions {
		if slices.ContainsFunc(have, func(o tcpOption) bool { return o.name == name }) {
			return false
		}
	}
	return true
}

// tcpOption is an option by the name that a file gives it; value is -1 where it has
// none that a file can name.
type tcpOption struct {
	name  string
	value int
}

// Kinds of TCP options beside those that the ladder names.
const (
	optionSACK       = 5
	optionMD5        = 19
	optionExperiment = 254
	// fastOpenMagic begins the experimental option that came before 34, RFC 7413 4.1.1.
	fastOpenMagic = 0xf989
)

// tcpOptions reads the options of a TCP header, RFC 9293 3.1, up to the first that is
// malformed: what comes after it means nothing to a receiver either. "SACK" is the
// permission in a SYN and the blocks of any other segment.
func tcpOptions(raw []byte) []tcpOption {
	var all []tcpOption
	for len(raw) > 0 && raw[0] != optionEnd {
		if raw[0] == optionNothing {
			raw = raw[1:]
			continue
		}
		if len(raw) < 2 || raw[1] < 2 || int(raw[1]) > len(raw) {
			return all
		}
		kind, body := raw[0], raw[2:raw[1]]
		raw = raw[raw[1]:]
		if o, ok := readOption(kind, body); ok {
			all = append(all, o)
		}
	}
	return all
}

func readOption(kind byte, body []byte) (tcpOption, bool) {
	switch kind {
	case optionMSS:
		if len(body) == 2 {
			return tcpOption{"MSS", int(binary.BigEndian.Uint16(body))}, true
		}
	case optionWindowScale:
		if len(body) == 1 {
			return tcpOption{"WS", int(body[0])}, true
		}
	case optionSACKPermitted, optionSACK:
		return tcpOption{"SACK", -1}, true
	case optionTimestamps:
		return tcpOption{"TS", -1}, true
	case optionMD5:
		return tcpOption{"MD5", -1}, true
	case optionMPTCP:
		return tcpOption{"MPTCP", -1}, true
	case optionFastOpen:
		return tcpOption{"TFO", -1}, true
	case optionExperiment:
		if len(body) >= 2 && binary.BigEndian.Uint16(body) == fastOpenMagic {
			return tcpOption{"TFO", -1}, true
		}
	}
	return tcpOption{}, false
}
