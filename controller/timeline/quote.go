package timeline

import (
	"encoding/binary"
	"net/netip"
)

// quote is what an ICMP error says of the packet that it is about: as much of it as
// every error has, which is its IP header and eight bytes (RFC 792, RFC 4443 2.4).
type quote struct {
	source, destination netip.AddrPort
	protocol            int
	// seq is that of a TCP segment.
	seq uint32
}

// Types of ICMP and ICMPv6 that this package tells apart.
const (
	icmpUnreachable  = 3
	icmpSourceQuench = 4
	icmpRedirect     = 5
	icmpTimeExceeded = 11
	icmpParameter    = 12
	// icmpFragmentation is the code of icmpUnreachable that asks for smaller packets.
	icmpFragmentation = 4

	icmp6Unreachable  = 1
	icmp6TooBig       = 2
	icmp6TimeExceeded = 3
	icmp6Parameter    = 4
	icmp6Solicitation = 135
	icmp6Advert       = 136
)

// isICMPError reports whether a packet is an ICMP message about another packet.
func (p *Packet) isICMPError() bool {
	switch p.Protocol {
	case ProtocolICMP:
		switch p.ICMPType {
		case icmpUnreachable, icmpSourceQuench, icmpRedirect, icmpTimeExceeded, icmpParameter:
			return p.ARP == 0
		}
	case ProtocolICMPv6:
		return p.ARP == 0 && p.ICMPType >= icmp6Unreachable && p.ICMPType <= icmp6Parameter
	}
	return false
}

// quoted reads the packet that an ICMP error is about. ok is false if this is no
// error, or if it quotes too little to tell.
func (p *Packet) quoted() (q quote, ok bool) {
	if !p.isICMPError() {
		return quote{}, false
	}
	var source, destination netip.Addr
	var rest []byte
	if p.Protocol == ProtocolICMP {
		source, destination, q.protocol, rest = quotedIPv4(p.Payload)
	} else {
		source, destination, q.protocol, rest = quotedIPv6(p.Payload)
	}
	if len(rest) < 8 || q.protocol != ProtocolTCP && q.protocol != ProtocolUDP {
		return quote{}, false
	}
	q.source = plain(netip.AddrPortFrom(source, binary.BigEndian.Uint16(rest)))
	q.destination = plain(netip.AddrPortFrom(destination, binary.BigEndian.Uint16(rest[2:])))
	if q.protocol == ProtocolTCP {
		q.seq = binary.BigEndian.Uint32(rest[4:])
	}
	return q, true
}

// quotedSource is who sent the packet that an ICMP error is about, zero if that is not
// told.
func quotedSource(p *Packet) netip.AddrPort {
	q, _ := p.quoted()
	return q.source
}

func quotedIPv4(b []byte) (source, destination netip.Addr, protocol int, rest []byte) {
	const shortest = 20
	if len(b) < shortest || b[0]>>4 != 4 {
		return
	}
	header := int(b[0]&15) * 4
	// Another fragment than the first has no ports.
	if header < shortest || len(b) < header || binary.BigEndian.Uint16(b[6:])&0x1fff != 0 {
		return
	}
	source, destination = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	return source, destination, int(b[9]), b[header:]
}

// quotedIPv6 reads a quoted packet without extension headers; one with them is told
// by nobody.
func quotedIPv6(b []byte) (source, destination netip.Addr, protocol int, rest []byte) {
	const header = 40
	if len(b) < header || b[0]>>4 != 6 {
		return
	}
	source, destination = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	return source, destination, int(b[6]), b[header:]
}

// solicited is the address that a neighbour solicitation asks for, which goes to a
// group of many (RFC 4861 4.3); zero if this is none.
func (p *Packet) solicited() netip.Addr {
	if p.Protocol != ProtocolICMPv6 || p.ARP != 0 || p.ICMPType != icmp6Solicitation || len(p.Payload) < 16 {
		return netip.Addr{}
	}
	return netip.AddrFrom16([16]byte(p.Payload[:16])).Unmap()
}
