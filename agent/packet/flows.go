package packet

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"

	synclinev1 "syncline/proto/syncline/v1"
)

// Limits of a kernel filter, so that it stays below BPF_MAXINSNS (4096) with room to
// spare. What exceeds them makes the kernel's filter let more through than the run's
// flows, never less, and each frame is then checked again in user space.
const (
	maxSpans    = 128
	maxPrefixes = 48
)

// span is a run of consecutive values, both ends included.
type span struct{ low, high uint32 }

// spans sorts values and joins neighbours. If that leaves more than limit, the spans
// with the smallest gaps between them are joined too and exact is false.
func spans(values []uint32, limit int) (joined []span, exact bool) {
	values = slices.Compact(slices.Sorted(slices.Values(values)))
	smallest := uint32(1)
	joined = join(values, smallest)
	if len(joined) <= limit {
		return joined, true
	}
	gaps := make([]uint32, 0, len(joined)-1)
	for i := 1; i < len(joined); i++ {
		gaps = append(gaps, joined[i].low-joined[i-1].high)
	}
	slices.Sort(gaps)
	// Of n spans, n-limit gaps go; equal gaps go together, which may leave fewer.
	return join(values, gaps[len(joined)-limit-1]), false
}

// join makes spans of ascending values that are at most gap apart.
func join(values []uint32, gap uint32) []span {
	var joined []span
	for _, v := range values {
		if n := len(joined); n > 0 && v-joined[n-1].high <= gap {
			joined[n-1].high = v
			continue
		}
		joined = append(joined, span{v, v})
	}
	return joined
}

// prefix is the set of IPv6 addresses with one upper 96 bits and some lower 32.
type prefix struct {
	upper [3]uint32
	lower []span
}

// portSet has one bit for each port.
type portSet [1 << 16 / 64]uint64

func (s *portSet) add(port uint16) { s[port/64] |= 1 << (port % 64) }

func (s *portSet) has(port uint32) bool { return port < 1<<16 && s[port/64]>>(port%64)&1 != 0 }

// values are the ports of the set, ascending.
func (s *portSet) values() (list []uint32) {
	for i, word := range s {
		for ; word != 0; word &= word - 1 {
			list = append(list, uint32(i*64+bits.TrailingZeros64(word)))
		}
	}
	return list
}

// flows says which packets belong to the run, in the form that a filter needs.
type flows struct {
	ports []span
	ipv4  []span
	// ipv6 is what the filter checks. With anyIPv6 there were too many prefixes, and
	// it checks no IPv6 address.
	ipv6    []prefix
	anyIPv6 bool
	// exact is false if the kernel's filter lets more TCP, UDP and ARP through than the
	// run's flows. What ICMP errors quote it never looks at.
	exact bool
	// icmp and arp are those of Config.
	icmp, arp bool

	addresses map[netip.Addr]bool
	numbers   portSet
}

func newFlows(cfg *Config) flows {
	f := flows{icmp: cfg.ICMP, arp: cfg.ARP, addresses: make(map[netip.Addr]bool)}
	for _, p := range cfg.Ports {
		f.numbers.add(p)
	}
	for _, r := range cfg.Ranges {
		for p := int(r.Low); p <= int(r.High); p++ {
			f.numbers.add(uint16(p))
		}
	}
	var ipv4 []uint32
	upper := make(map[[3]uint32][]uint32)
	for _, a := range cfg.Addresses {
		a = a.Unmap().WithZone("")
		f.addresses[a] = true
		b := a.As16()
		if a.Is4() {
			ipv4 = append(ipv4, binary.BigEndian.Uint32(b[12:]))
			continue
		}
		u := [3]uint32{binary.BigEndian.Uint32(b[:]), binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])}
		upper[u] = append(upper[u], binary.BigEndian.Uint32(b[12:]))
	}
	exactPorts, exactIPv4 := false, false
	f.ports, exactPorts = spans(f.numbers.values(), maxSpans)
	f.ipv4, exactIPv4 = spans(ipv4, maxSpans)
	f.ipv6, f.anyIPv6 = prefixes(upper)
	f.exact = exactPorts && exactIPv4 && !f.anyIPv6
	return f
}

// prefixes orders the IPv6 addresses. If they are too many it gives up: any is true.
func prefixes(upper map[[3]uint32][]uint32) (list []prefix, any bool) {
	total := 0
	for u, lower := range upper {
		s, exact := spans(lower, maxPrefixes)
		total += len(s)
		if !exact || total > maxPrefixes {
			return nil, true
		}
		list = append(list, prefix{u, s})
	}
	slices.SortFunc(list, func(a, b prefix) int {
		return cmp.Or(cmp.Compare(a.upper[0], b.upper[0]), cmp.Compare(a.upper[1], b.upper[1]), cmp.Compare(a.upper[2], b.upper[2]))
	})
	return list, false
}

// certain reports whether a packet that passed the kernel's filter is of the run for
// that alone.
func (f *flows) certain(p *synclinev1.Packet) bool {
	return f.exact && p.Protocol != protocolICMP && p.Protocol != protocolICMPv6
}

// holds reports whether a packet belongs to the run. It asks what the filter asks,
// exactly, and what an ICMP error quotes.
func (f *flows) holds(p *synclinev1.Packet) bool {
	ends := f.ends(p.Source, p.Destination)
	switch {
	case p.ArpOperation != 0:
		return f.arp && ends > 0
	case p.Protocol == protocolICMPv6 && neighbour(p.IcmpType):
		return f.arp && (ends > 0 || f.asks(p))
	case p.Protocol == protocolICMP || p.Protocol == protocolICMPv6:
		return f.icmp && (ends == 2 || ends == 1 && (echo(p) || f.quotes(p)))
	}
	return ends == 2 && (f.numbers.has(p.SourcePort) || f.numbers.has(p.DestinationPort))
}

// ends is how many of two addresses are of the run.
func (f *flows) ends(source, destination []byte) (n int) {
	for _, b := range [2][]byte{source, destination} {
		if a, _ := netip.AddrFromSlice(b); f.addresses[a] {
			n++
		}
	}
	return n
}

// asks reports whether neighbour discovery is about an address of the run: its target
// (RFC 4861 4.3 and 4.4) comes first after the first eight bytes.
func (f *flows) asks(p *synclinev1.Packet) bool {
	return len(p.Payload) >= 16 && f.ends(p.Payload[:16], nil) == 1
}

// quotes reports whether an ICMP error is about a packet between hosts of the run.
func (f *flows) quotes(p *synclinev1.Packet) bool {
	if !quoting(p.Protocol, p.IcmpType) {
		return false
	}
	q := p.Payload
	switch {
	case len(q) >= ipv4Header && q[0]>>4 == 4:
		return f.ends(q[12:16], q[16:20]) == 2
	case len(q) >= ipv6Header && q[0]>>4 == 6:
		return f.ends(q[8:24], q[24:40]) == 2
	}
	return false
}
