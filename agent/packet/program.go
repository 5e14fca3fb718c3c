package packet

import "golang.org/x/net/bpf"

// The program's labels that are used in more than one function.
const (
	reject    = "reject"
	isARP     = "arp"
	isIPv4    = "ipv4"
	isIPv6    = "ipv6"
	endsIPv4  = "ipv4 ends"
	isICMP    = "icmp"
	isICMPv6  = "icmpv6"
	transport = "transport"
	quote     = "quote"
	message   = "message"
)

// The program's scratch memory. The kernel refuses a program that may read a word
// before it has written it.
const (
	// inProtocol is the protocol of the header that X points to, aboutARP for ARP.
	inProtocol = iota
	// inGroup is 1 for a frame to a group that was received, else 0.
	inGroup
	// inEnds is how many of the two addresses are of the run.
	inEnds
	inSource
	inDestination
	inHardware
)

// aboutARP is no protocol of IP.
const aboutARP = 256

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

// load puts a word of scratch memory into A; store puts A there.
func (p *program) load(from int) { p.add(bpf.LoadScratch{Dst: bpf.RegA, N: from}) }
func (p *program) store(to int)  { p.add(bpf.StoreScratch{Src: bpf.RegA, N: to}) }
func (p *program) set(to int, value uint32) {
	p.add(bpf.LoadConstant{Dst: bpf.RegA, Val: value})
	p.store(to)
}

// advance moves X by a constant.
func (p *program) advance(by uint32) {
	p.add(bpf.TXA{}, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: by}, bpf.TAX{})
}

// keep ends the program: the frame is kept up to so many bytes behind X.
func (p *program) keep(bytes int) {
	p.add(bpf.TXA{}, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: uint32(bytes)}, bpf.RetA{})
}
