package packet

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
)

// Limits of a kernel filter, so that it stays below BPF_MAXINSNS (4096) with room to
// spare. What exceeds them makes the kernel's filter let more through than the run's
// flows, never less, and each frame is then checked again in user space.
const (
	maxSpans    = 128
	maxPrefixes = 64
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

// flows says which packets belong to the run, in the form that a filter needs.
type flows struct {
	ports []span
	ipv4  []span
	// ipv6 is what the filter checks. With anyIPv6 there were too many prefixes, and
	// it checks no IPv6 address.
	ipv6    []prefix
	anyIPv6 bool
	// exact is false if the kernel's filter lets more through than the run's flows.
	exact bool

	addresses map[netip.Addr]bool
	numbers   map[uint16]bool
}

func newFlows(addresses []netip.Addr, ports []uint16) flows {
	f := flows{addresses: make(map[netip.Addr]bool), numbers: make(map[uint16]bool)}
	var numbers, ipv4 []uint32
	for _, p := range ports {
		f.numbers[p] = true
		numbers = append(numbers, uint32(p))
	}
	upper := make(map[[3]uint32][]uint32)
	for _, a := range addresses {
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
	f.ports, exactPorts = spans(numbers, maxSpans)
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

// holds reports whether a packet belongs to the run. It asks what the filter asks,
// exactly.
func (f *flows) holds(source, destination []byte, sourcePort, destinationPort uint32) bool {
	from, _ := netip.AddrFromSlice(source)
	to, _ := netip.AddrFromSlice(destination)
	return f.addresses[from] && f.addresses[to] &&
		(f.numbers[uint16(sourcePort)] || f.numbers[uint16(destinationPort)])
}
