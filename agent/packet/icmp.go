package packet

import (
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/net/bpf"

	synclinev1 "syncline/proto/syncline/v1"
)

// Types of ICMP (RFC 792) and ICMPv6 (RFC 4443, RFC 4861).
const (
	icmpEchoReply    = 0
	icmpUnreachable  = 3
	icmpSourceQuench = 4
	icmpRedirect     = 5
	icmpEcho         = 8
	icmpTimeExceeded = 11
	icmpParameter    = 12

	// All types below are errors.
	icmpv6Informational = 128
	icmpv6Echo          = 128
	icmpv6EchoReply     = 129
	icmpv6Solicitation  = 135
	icmpv6Advertisement = 136
)

// icmpErrors are the types of ICMP that quote the packet they are about.
var icmpErrors = []uint32{icmpUnreachable, icmpSourceQuench, icmpRedirect, icmpTimeExceeded, icmpParameter}

// quoteLength is how much is kept of a packet that an ICMP error quotes, and of a
// neighbour message, whatever the snap length: the longest IPv4 header with eight
// bytes behind it, or an IPv6 header with extensions and a whole TCP header.
const quoteLength = 128

// quoting reports whether ICMP of a type has in it the packet that it is about.
func quoting(protocol, kind uint32) bool {
	if protocol == protocolICMPv6 {
		return kind < icmpv6Informational
	}
	return slices.Contains(icmpErrors, kind)
}

// neighbour reports whether a type of ICMPv6 is what ARP is for IPv4.
func neighbour(kind uint32) bool { return kind == icmpv6Solicitation || kind == icmpv6Advertisement }

func echo(p *synclinev1.Packet) bool {
	if p.Protocol == protocolICMPv6 {
		return p.IcmpType == icmpv6Echo || p.IcmpType == icmpv6EchoReply
	}
	return p.IcmpType == icmpEcho || p.IcmpType == icmpEchoReply
}

// icmp accepts all ICMP between two hosts of the run, and with one of them at one end
// echo and what quotes a packet, which the reader looks into. At least one end is of
// the run here.
func (p *program) icmp(f *flows) {
	p.label(isICMP)
	p.toGroup(f)
	p.icmpType()
	for _, t := range icmpErrors {
		p.when(bpf.JumpEqual, t, quote)
	}
	p.when(bpf.JumpEqual, icmpEcho, message)
	p.when(bpf.JumpEqual, icmpEchoReply, message)
	p.load(inEnds)
	p.when(bpf.JumpEqual, 2, message)
	p.jump(reject)
}

// icmpType puts the type of ICMP into A, if the checksum is there too.
func (p *program) icmpType() {
	p.add(bpf.LoadIndirect{Off: 0, Size: icmpStart}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 24})
}

// icmpv6 is icmp for ICMPv6, with neighbour discovery by its own rule.
func (p *program) icmpv6(f *flows) {
	const discovery = "neighbour discovery"
	p.label(isICMPv6)
	p.icmpType()
	for _, t := range []uint32{icmpv6Solicitation, icmpv6Advertisement} {
		p.when(bpf.JumpEqual, t, discovery)
	}
	if f.icmp {
		p.toGroup(f)
		p.load(inEnds)
		p.when(bpf.JumpEqual, 0, reject)
		p.icmpType()
		p.when(bpf.JumpLessThan, icmpv6Informational, quote)
		p.when(bpf.JumpEqual, icmpv6Echo, message)
		p.when(bpf.JumpEqual, icmpv6EchoReply, message)
		p.load(inEnds)
		p.when(bpf.JumpEqual, 2, message)
	}
	p.jump(reject)
	p.label(discovery)
	if f.arp {
		p.load(inEnds)
		p.when(bpf.JumpNotEqual, 0, quote)
		p.ipv6Address(f.ipv6, icmpHeader, quote)
	}
	p.jump(reject)
}

// messages keeps ICMP up to where its payload is of use.
func (p *program) messages(snap int) {
	p.label(quote)
	p.keep(icmpHeader + max(snap, quoteLength))
	p.label(message)
	p.keep(icmpHeader + snap)
}

// icmp reads ICMP or ICMPv6 at the start of h. The packet has rest bytes from there on.
// A message that ends within its first eight bytes is one without the last four.
func (d decoder) icmp(h []byte, rest int, p *synclinev1.Packet) error {
	if len(h) < min(icmpHeader, max(rest, icmpStart)) {
		return errTruncated
	}
	if rest < icmpStart {
		return fmt.Errorf("ICMP of %d bytes", rest)
	}
	p.IcmpType, p.IcmpCode = uint32(h[0]), uint32(h[1])
	if rest < icmpHeader {
		return nil
	}
	p.IcmpRest = binary.BigEndian.Uint32(h[4:])
	snap := d.snap
	if quoting(p.Protocol, p.IcmpType) || p.Protocol == protocolICMPv6 && neighbour(p.IcmpType) {
		snap = max(snap, quoteLength)
	}
	d.payload(h, icmpHeader, rest, snap, p)
	return nil
}
