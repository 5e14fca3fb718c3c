package packet

import (
	"fmt"

	"golang.org/x/net/bpf"
)

// Offsets and numbers of RFC 791, RFC 8200, RFC 9293 and IEEE 802.1Q that the filter
// and the decoder share.
const (
	ethernetHeader = 14
	vlanTag        = 4

	etherIPv4   = 0x0800
	etherIPv6   = 0x86dd
	etherVLAN   = 0x8100
	etherVLANAD = 0x88a8

	protocolHopByHop    = 0
	protocolTCP         = 6
	protocolRouting     = 43
	protocolFragment    = 44
	protocolDestination = 60

	ipv4Header     = 20
	ipv6Header     = 40
	fragmentHeader = 8
	tcpHeader      = 20
)

// maxExtensions is how many IPv6 extension headers may stand before the TCP header.
// A classic BPF program has no loop, so each costs instructions. RFC 8200 4.1 asks
// for each kind at most once, but for destination options, which may come twice.
const maxExtensions = 5

// The program's labels that are used in more than one function.
const (
	reject = "reject"
	accept = "accept"
	isIPv4 = "ipv4"
	isIPv6 = "ipv6"
	isTCP  = "tcp"
)

// program assembles classic BPF. A conditional jump there reaches 255 instructions
// only, so that each condition skips over an unconditional jump, which reaches any.
type program struct {
	code   []bpf.Instruction
	labels map[string]int
	jumps  map[int]string
}

func (p *program) add(code ...bpf.Instruction) { p.code = append(p.code, code...) }

func (p *program) label(name string) { p.labels[name] = len(p.code) }

func (p *program) jump(to string) {
	p.jumps[len(p.code)] = to
	p.add(bpf.Jump{})
}

// when jumps if the accumulator compares so to value.
func (p *program) when(cond bpf.JumpTest, value uint32, to string) {
	p.add(bpf.JumpIf{Cond: cond, Val: value, SkipFalse: 1})
	p.jump(to)
}

// member jumps if the accumulator is within one of the spans.
func (p *program) member(of []span, to string) {
	for _, s := range of {
		if s.low == s.high {
			p.when(bpf.JumpEqual, s.low, to)
			continue
		}
		p.add(bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: s.low, SkipFalse: 2})
		p.when(bpf.JumpLessOrEqual, s.high, to)
	}
}

// link gives every jump its distance. All jumps are forward.
func (p *program) link() []bpf.Instruction {
	for at, to := range p.jumps {
		p.code[at] = bpf.Jump{Skip: uint32(p.labels[to] - at - 1)}
	}
	return p.code
}

// directions is the head of every filter: only what this host received for itself or
// sent (SKF_AD_PKTTYPE), no broadcast, and nothing of others' that a promiscuous
// interface hears. PACKET_HOST is 0 and PACKET_OUTGOING 4, packet(7).
func directions() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 4, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}
}

// filter is the program that accepts the flows' packets on an interface whose frames
// begin with link bytes of header, and cuts them snap bytes behind the TCP header.
// X holds the offset of the header at hand throughout.
func filter(link int, f *flows, snap int) []bpf.Instruction {
	p := program{labels: make(map[string]int), jumps: make(map[int]string)}
	if link == 0 {
		p.networkOnly()
	} else {
		p.ethernet()
	}
	p.ipv4(f)
	p.ipv6(f)
	p.tcp(f, snap)
	p.label(reject)
	p.add(bpf.RetConstant{Val: 0})
	return p.link()
}

// networkOnly tells IPv4 from IPv6 where no link header says so.
func (p *program) networkOnly() {
	p.add(bpf.LoadConstant{Dst: bpf.RegX, Val: 0}, bpf.LoadAbsolute{Off: 0, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4})
	p.when(bpf.JumpEqual, 4, isIPv4)
	p.when(bpf.JumpEqual, 6, isIPv6)
	p.jump(reject)
}

// ethernet looks behind one 802.1Q tag: a device that cannot insert the tag itself
// gets, and shows to its tap, frames in which the kernel has put it already.
func (p *program) ethernet() {
	p.add(bpf.LoadConstant{Dst: bpf.RegX, Val: ethernetHeader}, bpf.LoadAbsolute{Off: ethernetHeader - 2, Size: 2})
	p.when(bpf.JumpEqual, etherIPv4, isIPv4)
	p.when(bpf.JumpEqual, etherIPv6, isIPv6)
	p.when(bpf.JumpEqual, etherVLAN, "tagged")
	p.when(bpf.JumpEqual, etherVLANAD, "tagged")
	p.jump(reject)
	p.label("tagged")
	p.add(bpf.LoadConstant{Dst: bpf.RegX, Val: ethernetHeader + vlanTag}, bpf.LoadAbsolute{Off: ethernetHeader + vlanTag - 2, Size: 2})
	p.when(bpf.JumpEqual, etherIPv4, isIPv4)
	p.when(bpf.JumpEqual, etherIPv6, isIPv6)
	p.jump(reject)
}

// ipv4 accepts TCP between two hosts of the run. The ports stand in the first
// fragment only, so that later ones are refused.
func (p *program) ipv4(f *flows) {
	p.label(isIPv4)
	p.add(bpf.LoadIndirect{Off: 9, Size: 1})
	p.when(bpf.JumpNotEqual, protocolTCP, reject)
	p.add(bpf.LoadIndirect{Off: 6, Size: 2})
	p.when(bpf.JumpBitsSet, 0x1fff, reject)
	p.add(bpf.LoadIndirect{Off: 12, Size: 4})
	p.member(f.ipv4, "ipv4 destination")
	p.jump(reject)
	p.label("ipv4 destination")
	p.add(bpf.LoadIndirect{Off: 16, Size: 4})
	p.member(f.ipv4, "ipv4 options")
	p.jump(reject)
	p.label("ipv4 options")
	p.add(bpf.LoadIndirect{Off: 0, Size: 1})
	p.when(bpf.JumpLessThan, 4<<4|ipv4Header/4, reject)
	p.when(bpf.JumpGreaterThan, 4<<4|15, reject)
	p.add(
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 15},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 2},
		bpf.ALUOpX{Op: bpf.ALUOpAdd},
		bpf.TAX{},
	)
	p.jump(isTCP)
}

func (p *program) ipv6(f *flows) {
	p.label(isIPv6)
	p.add(bpf.LoadIndirect{Off: 0, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4})
	p.when(bpf.JumpNotEqual, 6, reject)
	if !f.anyIPv6 {
		p.ipv6Address(f.ipv6, 8, "ipv6 destination")
		p.label("ipv6 destination")
		p.ipv6Address(f.ipv6, 24, "ipv6 next")
		p.label("ipv6 next")
	}
	p.add(bpf.LoadIndirect{Off: 6, Size: 1}, bpf.StoreScratch{Src: bpf.RegA, N: 0})
	p.advance(ipv6Header)
	for i := range maxExtensions {
		p.extension(i)
	}
	p.add(bpf.LoadScratch{Dst: bpf.RegA, N: 0})
	p.when(bpf.JumpNotEqual, protocolTCP, reject)
}

// ipv6Address jumps if the address at an offset is of one of the prefixes, and
// rejects the packet otherwise.
func (p *program) ipv6Address(of []prefix, offset uint32, to string) {
	for i, group := range of {
		next := fmt.Sprintf("%s, not %d", to, i)
		for w, word := range group.upper {
			p.add(bpf.LoadIndirect{Off: offset + 4*uint32(w), Size: 4})
			p.when(bpf.JumpNotEqual, word, next)
		}
		p.add(bpf.LoadIndirect{Off: offset + 12, Size: 4})
		p.member(group.lower, to)
		p.label(next)
	}
	p.jump(reject)
}

// extension passes over one IPv6 extension header. The protocol of the header that X
// points to is in M[0], before and after.
func (p *program) extension(number int) {
	options, fragment, next := fmt.Sprint("options ", number), fmt.Sprint("fragment ", number), fmt.Sprint("next ", number)
	p.add(bpf.LoadScratch{Dst: bpf.RegA, N: 0})
	p.when(bpf.JumpEqual, protocolTCP, isTCP)
	p.when(bpf.JumpEqual, protocolHopByHop, options)
	p.when(bpf.JumpEqual, protocolRouting, options)
	p.when(bpf.JumpEqual, protocolDestination, options)
	p.when(bpf.JumpEqual, protocolFragment, fragment)
	p.jump(reject)

	p.label(options)
	p.add(bpf.LoadIndirect{Off: 0, Size: 1}, bpf.StoreScratch{Src: bpf.RegA, N: 0})
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
	p.add(bpf.LoadIndirect{Off: 0, Size: 1}, bpf.StoreScratch{Src: bpf.RegA, N: 0})
	p.advance(fragmentHeader)
	p.label(next)
}

// advance moves X by a constant.
func (p *program) advance(by uint32) {
	p.add(bpf.TXA{}, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: by}, bpf.TAX{})
}

// tcp accepts a packet with one of the ports on either side. What it returns is how
// much of the frame the kernel keeps: all headers and snap bytes of payload.
func (p *program) tcp(f *flows, snap int) {
	p.label(isTCP)
	p.add(bpf.LoadIndirect{Off: 0, Size: 2})
	p.member(f.ports, accept)
	p.add(bpf.LoadIndirect{Off: 2, Size: 2})
	p.member(f.ports, accept)
	p.jump(reject)
	p.label(accept)
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
}
