package packet

import (
	"fmt"

	"golang.org/x/net/bpf"
)

// Offsets and numbers of RFC 791, RFC 768, RFC 8200, RFC 9293 and IEEE 802.1Q that the
// filter and the decoder share.
const (
	ethernetHeader = 14
	vlanTag        = 4

	etherIPv4   = 0x0800
	etherARP    = 0x0806
	etherIPv6   = 0x86dd
	etherVLAN   = 0x8100
	etherVLANAD = 0x88a8

	protocolHopByHop    = 0
	protocolICMP        = 1
	protocolTCP         = 6
	protocolUDP         = 17
	protocolRouting     = 43
	protocolFragment    = 44
	protocolICMPv6      = 58
	protocolDestination = 60

	ipv4Header     = 20
	ipv6Header     = 40
	fragmentHeader = 8
	tcpHeader      = 20
	udpHeader      = 8
	icmpHeader     = 8
	// icmpStart is what ICMP has at the least: type, code, checksum.
	icmpStart = 4
)

// maxExtensions is how many IPv6 extension headers may stand before the last one.
// A classic BPF program has no loop, so each costs instructions. RFC 8200 4.1 asks
// for each kind at most once, but for destination options, which may come twice.
const maxExtensions = 5

// directions is the head of every filter: only what this host received for itself or
// sent (SKF_AD_PKTTYPE), and nothing of others' that a promiscuous interface hears.
// With groups, broadcasts and multicasts that were received go on too: neighbours are
// asked for by those. PACKET_HOST is 0, PACKET_BROADCAST 1, PACKET_MULTICAST 2 and
// PACKET_OUTGOING 4, packet(7).
func directions(groups bool) []bpf.Instruction {
	if !groups {
		return []bpf.Instruction{
			bpf.LoadExtension{Num: bpf.ExtType},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 2},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: 4, SkipTrue: 1},
			bpf.RetConstant{Val: 0},
		}
	}
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 4, SkipTrue: 3},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 1, SkipTrue: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 2, SkipTrue: 3},
		bpf.RetConstant{Val: 0},
		bpf.LoadConstant{Dst: bpf.RegA, Val: 0},
		bpf.Jump{Skip: 1},
		bpf.LoadConstant{Dst: bpf.RegA, Val: 1},
		bpf.StoreScratch{Src: bpf.RegA, N: inGroup},
	}
}

// filter is the program that accepts the flows' packets on an interface whose frames
// begin with link bytes of header, and cuts them snap bytes behind the last header.
// X holds the offset of the header at hand throughout.
func filter(link int, f *flows, snap int) []bpf.Instruction {
	p := program{labels: make(map[string]int), jumps: make(map[int]string)}
	if link == 0 {
		p.networkOnly(f)
	} else {
		p.ethernet(f)
	}
	if f.arp {
		p.arp()
	}
	p.ipv4(f)
	p.ipv6(f)
	p.transport(f, snap)
	if f.icmp {
		p.icmp(f)
	}
	if f.icmp || f.arp {
		p.icmpv6(f)
		p.messages(snap)
	}
	p.label(reject)
	p.add(bpf.RetConstant{Val: 0})
	return p.link()
}

// networkOnly tells what a packet is where no link header says so. ARP begins with a
// type of hardware, whose upper byte is 0.
func (p *program) networkOnly(f *flows) {
	p.add(bpf.LoadConstant{Dst: bpf.RegX, Val: 0}, bpf.LoadAbsolute{Off: 0, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4})
	p.when(bpf.JumpEqual, 4, isIPv4)
	p.when(bpf.JumpEqual, 6, isIPv6)
	if f.arp {
		p.when(bpf.JumpEqual, 0, isARP)
	}
	p.jump(reject)
}

// ethernet looks behind one 802.1Q tag: a device that cannot insert the tag itself
// gets, and shows to its tap, frames in which the kernel has put it already.
func (p *program) ethernet(f *flows) {
	p.add(bpf.LoadConstant{Dst: bpf.RegX, Val: ethernetHeader}, bpf.LoadAbsolute{Off: ethernetHeader - 2, Size: 2})
	p.ethertype(f)
	p.when(bpf.JumpEqual, etherVLAN, "tagged")
	p.when(bpf.JumpEqual, etherVLANAD, "tagged")
	p.jump(reject)
	p.label("tagged")
	p.add(bpf.LoadConstant{Dst: bpf.RegX, Val: ethernetHeader + vlanTag}, bpf.LoadAbsolute{Off: ethernetHeader + vlanTag - 2, Size: 2})
	p.ethertype(f)
	p.jump(reject)
}

func (p *program) ethertype(f *flows) {
	p.when(bpf.JumpEqual, etherIPv4, isIPv4)
	p.when(bpf.JumpEqual, etherIPv6, isIPv6)
	if f.arp {
		p.when(bpf.JumpEqual, etherARP, isARP)
	}
}

// ipv4 goes on where the protocol says. The ports, and the type of ICMP, stand in the
// first fragment only, so that later ones are refused.
func (p *program) ipv4(f *flows) {
	p.label(isIPv4)
	p.add(bpf.LoadIndirect{Off: 6, Size: 2})
	p.when(bpf.JumpBitsSet, 0x1fff, reject)
	p.add(bpf.LoadIndirect{Off: 9, Size: 1})
	p.store(inProtocol)
	p.add(bpf.LoadIndirect{Off: 12, Size: 4})
	p.store(inSource)
	p.add(bpf.LoadIndirect{Off: 16, Size: 4})
	p.store(inDestination)
	p.add(bpf.LoadIndirect{Off: 0, Size: 1})
	p.when(bpf.JumpLessThan, 4<<4|ipv4Header/4, reject)
	p.when(bpf.JumpGreaterThan, 4<<4|15, reject)
	p.add(
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 15},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 2},
		bpf.ALUOpX{Op: bpf.ALUOpAdd},
		bpf.TAX{},
	)
	p.label(endsIPv4)
	p.ends(func(end int, held string) {
		p.load([]int{inSource, inDestination}[end])
		p.member(f.ipv4, held)
	})
	p.when(bpf.JumpEqual, 0, reject)
	p.load(inProtocol)
	p.when(bpf.JumpEqual, protocolTCP, transport)
	p.when(bpf.JumpEqual, protocolUDP, transport)
	if f.icmp {
		p.when(bpf.JumpEqual, protocolICMP, isICMP)
	}
	if f.arp {
		p.when(bpf.JumpNotEqual, aboutARP, reject)
		p.add(bpf.TXA{}, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: 16}, bpf.RetA{})
	}
	p.jump(reject)
}

// ends counts the addresses that are of the run. check jumps to held if one end's is,
// and falls through otherwise. The count is in memory afterwards, and in A.
func (p *program) ends(check func(end int, held string)) {
	p.set(inEnds, 0)
	for end := range 2 {
		held, counted := fmt.Sprint(len(p.code), " held"), fmt.Sprint(len(p.code), " counted")
		check(end, held)
		p.load(inEnds)
		p.jump(counted)
		p.label(held)
		p.load(inEnds)
		p.add(bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: 1})
		p.store(inEnds)
		p.label(counted)
	}
}

func (p *program) ipv6(f *flows) {
	p.label(isIPv6)
	p.add(bpf.LoadIndirect{Off: 0, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4})
	p.when(bpf.JumpNotEqual, 6, reject)
	if f.anyIPv6 {
		p.set(inEnds, 2)
	} else {
		p.ends(func(end int, held string) { p.ipv6Address(f.ipv6, 8+16*uint32(end), held) })
	}
	// Neighbour discovery may be about an address of the run and between others.
	if !f.arp {
		p.when(bpf.JumpEqual, 0, reject)
	}
	p.add(bpf.LoadIndirect{Off: 6, Size: 1})
	p.store(inProtocol)
	p.advance(ipv6Header)
	for i := range maxExtensions {
		p.extension(f, i)
	}
	p.last(f)
	p.jump(reject)
}

// ipv6Address jumps if the address at an offset is of one of the prefixes, and falls
// through otherwise.
func (p *program) ipv6Address(of []prefix, offset uint32, to string) {
	for _, group := range of {
		next := fmt.Sprint(len(p.code), " not this prefix")
		for w, word := range group.upper {
			p.add(bpf.LoadIndirect{Off: offset + 4*uint32(w), Size: 4})
			p.when(bpf.JumpNotEqual, word, next)
		}
		p.add(bpf.LoadIndirect{Off: offset + 12, Size: 4})
		p.member(group.lower, to)
		p.label(next)
	}
}

// last jumps if no further IPv6 extension header comes. The protocol is in A then.
func (p *program) last(f *flows) {
	p.load(inProtocol)
	p.when(bpf.JumpEqual, protocolTCP, transport)
	p.when(bpf.JumpEqual, protocolUDP, transport)
	if f.icmp || f.arp {
		p.when(bpf.JumpEqual, protocolICMPv6, isICMPv6)
	}
}

// extension passes over one IPv6 extension header. The protocol of the header that X
// points to is in memory, before and after.
func (p *program) extension(f *flows, number int) {
	options, fragment, next := fmt.Sprint("options ", number), fmt.Sprint("fragment ", number), fmt.Sprint("next ", number)
	p.last(f)
	p.when(bpf.JumpEqual, protocolHopByHop, options)
	p.when(bpf.JumpEqual, protocolRouting, options)
	p.when(bpf.JumpEqual, protocolDestination, options)
	p.when(bpf.JumpEqual, protocolFragment, fragment)
	p.jump(reject)

	p.label(options)
	p.add(bpf.LoadIndirect{Off: 0, Size: 1})
	p.store(inProtocol)
	p.add(
		bpf.LoadIndirect{Off: 1, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 3},
		bpf.ALUOpX{Op: bpf.ALUOpAdd},
		bpf.TAX{},
	)
	p.jump(next)

	p.label(fragment)
	p.add(bpf.LoadIndirect{Off: 2, Size: 2})
	p.when(bpf.JumpGreaterThan, 7, reject)
	p.add(bpf.LoadIndirect{Off: 0, Size: 1})
	p.store(inProtocol)
	p.advance(fragmentHeader)
	p.label(next)
}

// toGroup rejects what was sent to a group.
func (p *program) toGroup(f *flows) {
	if f.arp {
		p.load(inGroup)
		p.when(bpf.JumpNotEqual, 0, reject)
	}
}

// transport accepts TCP and UDP between two hosts of the run with one of the ports on
// either side. What it returns is how much of the frame the kernel keeps: all headers
// and snap bytes of payload.
func (p *program) transport(f *flows, snap int) {
	const accept = "accept"
	p.label(transport)
	p.load(inEnds)
	p.when(bpf.JumpNotEqual, 2, reject)
	p.toGroup(f)
	p.add(bpf.LoadIndirect{Off: 0, Size: 2})
	p.member(f.ports, accept)
	p.add(bpf.LoadIndirect{Off: 2, Size: 2})
	p.member(f.ports, accept)
	p.jump(reject)
	p.label(accept)
	p.load(inProtocol)
	p.when(bpf.JumpEqual, protocolUDP, "udp")
	p.add(
		bpf.LoadIndirect{Off: 12, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 2},
		bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: tcpHeader, SkipTrue: 1},
		bpf.LoadConstant{Dst: bpf.RegA, Val: tcpHeader},
		bpf.ALUOpX{Op: bpf.ALUOpAdd},
		bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: uint32(snap)},
		bpf.RetA{},
	)
	p.label("udp")
	p.keep(udpHeader + snap)
}
