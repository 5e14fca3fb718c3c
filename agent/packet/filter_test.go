package packet

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/bpf"
	"pgregory.net/rapid"

	synclinev1 "syncline/proto/syncline/v1"
)

// frame is a crafted frame, built from the link header up.
type frame struct {
	// ethertypes stand in the link header, a tag's before the network's. Without any
	// there is no link header.
	ethertypes []uint16
	from, to   netip.AddrPort
	// ipOptions and tcpOptions are raw, multiples of four bytes.
	ipOptions, tcpOptions []byte
	// extensions are the IPv6 extension headers, by their protocol number.
	extensions []byte
	// fragment is the IPv4 flags and fragment offset field, or that of an IPv6
	// fragment header.
	fragment uint16
	// protocol is that of the last header; 0 means TCP.
	protocol byte
	// message is all of an ICMP message, or all of an ARP frame behind its link header.
	message []byte
	payload int
	// trailer pads the frame as Ethernet does.
	trailer int
}

func (f frame) bytes() []byte {
	var b []byte
	if len(f.ethertypes) > 0 {
		b = make([]byte, 12)
		for i, e := range f.ethertypes {
			if i > 0 {
				b = append(b, 0, 100)
			}
			b = binary.BigEndian.AppendUint16(b, e)
		}
	}
	if !f.from.IsValid() {
		return append(append(b, f.message...), make([]byte, f.trailer)...)
	}
	protocol, last := f.last()
	if f.from.Addr().Is4() {
		b = f.ipv4(b, protocol, len(last))
	} else {
		b = f.ipv6(b, protocol, len(last))
	}
	return append(append(b, last...), make([]byte, f.trailer)...)
}

// last is what stands behind IP, and its protocol.
func (f frame) last() (byte, []byte) {
	switch f.protocol {
	case protocolUDP:
		return f.protocol, f.udp()
	case protocolICMP, protocolICMPv6:
		return f.protocol, f.message
	case 0:
		return protocolTCP, f.tcp()
	}
	return f.protocol, f.tcp()
}

func (f frame) udp() []byte {
	var b []byte
	b = binary.BigEndian.AppendUint16(b, f.from.Port())
	b = binary.BigEndian.AppendUint16(b, f.to.Port())
	b = binary.BigEndian.AppendUint16(b, uint16(udpHeader+f.payload))
	b = append(b, 0xab, 0xcd)
	return f.fill(b)
}

// fill appends the payload.
func (f frame) fill(b []byte) []byte {
	for i := range f.payload {
		b = append(b, byte(i+1))
	}
	return b
}

// icmpMessage is one with a rest of 0x01020304 and what stands behind it.
func icmpMessage(kind, code byte, behind ...byte) []byte {
	return append([]byte{kind, code, 0xab, 0xcd, 1, 2, 3, 4}, behind...)
}

// quoted is the start of a packet, as an ICMP error has it.
func quoted(from, to netip.AddrPort) []byte { return frame{from: from, to: to}.bytes()[:28] }

func quoted6(from, to netip.AddrPort) []byte { return frame{from: from, to: to}.bytes()[:60] }

// arpFrame is a request or a reply with hardware addresses of a length.
func arpFrame(operation uint16, hardware int, sender, target string) frame {
	b := []byte{0, 1, 8, 0, byte(hardware), 4}
	b = binary.BigEndian.AppendUint16(b, operation)
	for _, a := range []string{sender, target} {
		b = append(b, make([]byte, hardware)...)
		b = append(b, netip.MustParseAddr(a).AsSlice()...)
	}
	return frame{ethertypes: []uint16{etherARP}, message: b}
}

func (f frame) ipv4(b []byte, protocol byte, rest int) []byte {
	header := ipv4Header + len(f.ipOptions)
	b = append(b, 4<<4|byte(header/4), 0x2e)
	b = binary.BigEndian.AppendUint16(b, uint16(header+rest))
	b = binary.BigEndian.AppendUint16(b, 0xabcd)
	b = binary.BigEndian.AppendUint16(b, f.fragment)
	b = append(b, 63, protocol, 0, 0)
	b = append(b, f.from.Addr().AsSlice()...)
	b = append(b, f.to.Addr().AsSlice()...)
	return append(b, f.ipOptions...)
}

func (f frame) ipv6(b []byte, protocol byte, rest int) []byte {
	var chain []byte
	next := protocol
	for i := len(f.extensions) - 1; i >= 0; i-- {
		header := []byte{next, 0, 0, 0, 0, 0, 0, 0}
		if f.extensions[i] == protocolFragment {
			binary.BigEndian.PutUint16(header[2:], f.fragment)
		} else if i%2 == 1 {
			header = append(header, make([]byte, 8)...)
			header[1] = 1
		}
		chain = append(header, chain...)
		next = f.extensions[i]
	}
	b = append(b, 6<<4|0x2, 0xe1, 0x23, 0x45)
	b = binary.BigEndian.AppendUint16(b, uint16(len(chain)+rest))
	b = append(b, next, 63)
	b = append(b, f.from.Addr().AsSlice()...)
	b = append(b, f.to.Addr().AsSlice()...)
	return append(b, chain...)
}

func (f frame) tcp() []byte {
	var b []byte
	b = binary.BigEndian.AppendUint16(b, f.from.Port())
	b = binary.BigEndian.AppendUint16(b, f.to.Port())
	b = binary.BigEndian.AppendUint32(b, 0xfffffff0)
	b = binary.BigEndian.AppendUint32(b, 0x01020304)
	b = append(b, byte(tcpHeader+len(f.tcpOptions))/4<<4|1, 0x12, 0xfa, 0xf0, 0, 0, 0, 7)
	return f.fill(append(b, f.tcpOptions...))
}

// headers is how many bytes of the frame stand before the payload.
func (f frame) headers() int { return len(f.bytes()) - f.payload - f.trailer }

func addrPort(a string, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(a), port)
}

var (
	ethernet4 = []uint16{etherIPv4}
	ethernet6 = []uint16{etherIPv6}
	client4   = addrPort("10.0.0.1", 40000)
	server4   = addrPort("10.0.0.2", 8080)
	client6   = addrPort("fd00::1", 40000)
	server6   = addrPort("fd00::2", 8080)
)

// testFlows are those of a run that asks for ICMP and ARP, or not.
func testFlows(icmp, arp bool) flows {
	return newFlows(&Config{
		Addresses: []netip.Addr{client4.Addr(), server4.Addr(), client6.Addr(), server6.Addr(), netip.MustParseAddr("fd00:0:0:7::1")},
		Ports:     []uint16{8080, 8081, 9000}, Ranges: []PortRange{{9100, 9199}, {65535, 65535}},
		ICMP: icmp, ARP: arp,
	})
}

// everyFlows are all four.
func everyFlows() (list []flows) {
	for i := range 4 {
		list = append(list, testFlows(i&1 != 0, i&2 != 0))
	}
	return list
}

// run is the verdict on a frame to or from this host.
func run(t interface{ Fatal(...any) }, link int, f *flows, snap int, frame []byte) int {
	return runAs(t, link, f, snap, frame, false)
}

// runAs is the verdict on a frame, of which only the kernel knows if it was received
// for a group.
func runAs(t interface{ Fatal(...any) }, link int, f *flows, snap int, frame []byte, group bool) int {
	code := filter(link, f, snap)
	if group {
		code = append([]bpf.Instruction{bpf.LoadConstant{Dst: bpf.RegA, Val: 1}, bpf.StoreScratch{Src: bpf.RegA, N: inGroup}}, code...)
	}
	vm, err := bpf.NewVM(code)
	if err != nil {
		t.Fatal(err)
	}
	n, err := vm.Run(frame)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestFilterAcceptsTheFlows(t *testing.T) {
	for name, frame := range map[string]frame{
		"SYN":                      {ethertypes: ethernet4, from: client4, to: server4, tcpOptions: make([]byte, 20)},
		"answer":                   {ethertypes: ethernet4, from: server4, to: client4},
		"payload":                  {ethertypes: ethernet4, from: client4, to: server4, payload: 100},
		"padding":                  {ethertypes: ethernet4, from: client4, to: server4, trailer: 6},
		"IPv4 options":             {ethertypes: ethernet4, from: client4, to: server4, ipOptions: make([]byte, 40), tcpOptions: make([]byte, 40), payload: 9},
		"next port of a run":       {ethertypes: ethernet4, from: client4, to: addrPort("10.0.0.2", 8081)},
		"single port":              {ethertypes: ethernet4, from: client4, to: addrPort("10.0.0.2", 9000)},
		"don't fragment":           {ethertypes: ethernet4, from: client4, to: server4, fragment: 0x4000},
		"first fragment":           {ethertypes: ethernet4, from: client4, to: server4, fragment: 0x2000},
		"tag":                      {ethertypes: []uint16{etherVLAN, etherIPv4}, from: client4, to: server4, payload: 1},
		"service tag":              {ethertypes: []uint16{etherVLANAD, etherIPv6}, from: client6, to: server6, payload: 1},
		"no link header":           {from: client4, to: server4, payload: 3},
		"IPv6":                     {ethertypes: ethernet6, from: client6, to: server6, payload: 30},
		"IPv6, no link header":     {from: client6, to: server6},
		"IPv6, another /96":        {ethertypes: ethernet6, from: addrPort("fd00:0:0:7::1", 8080), to: client6},
		"hop-by-hop":               {ethertypes: ethernet6, from: client6, to: server6, extensions: []byte{protocolHopByHop}},
		"all extensions":           {ethertypes: ethernet6, from: client6, to: server6, extensions: []byte{protocolHopByHop, protocolDestination, protocolRouting, protocolFragment, protocolDestination}, payload: 5},
		"first fragment over IPv6": {ethertypes: ethernet6, from: client6, to: server6, extensions: []byte{protocolFragment}, fragment: 1},
		"begin of a range":         {ethertypes: ethernet4, from: client4, to: addrPort("10.0.0.2", 9100)},
		"end of a range":           {ethertypes: ethernet6, from: addrPort("fd00::1", 9199), to: addrPort("fd00::2", 1)},
		"last port":                {ethertypes: ethernet4, from: client4, to: addrPort("10.0.0.2", 65535)},
		"UDP":                      {ethertypes: ethernet4, from: client4, to: server4, protocol: protocolUDP, payload: 100},
		"UDP, IPv4 options":        {from: server4, to: client4, protocol: protocolUDP, ipOptions: make([]byte, 8)},
		"UDP over IPv6":            {ethertypes: ethernet6, from: client6, to: server6, protocol: protocolUDP, payload: 3},
		"UDP behind an extension":  {ethertypes: ethernet6, from: client6, to: server6, extensions: []byte{protocolHopByHop}, protocol: protocolUDP},
		"UDP, first fragment":      {ethertypes: ethernet4, from: client4, to: server4, protocol: protocolUDP, fragment: 0x2000, payload: 1000},
	} {
		t.Run(name, func(t *testing.T) {
			link := 0
			if len(frame.ethertypes) > 0 {
				link = ethernetHeader
			}
			for _, f := range everyFlows() {
				for _, snap := range []int{0, 2, 1000} {
					// A verdict beyond the frame's end keeps all of it.
					want := min(frame.headers()+snap, len(frame.bytes()))
					if got := min(run(t, link, &f, snap, frame.bytes()), len(frame.bytes())); got != want {
						t.Errorf("snap length %d: keeps %d bytes of %d, want %d", snap, got, len(frame.bytes()), want)
					}
				}
				if f.arp && runAs(t, link, &f, 0, frame.bytes(), true) != 0 {
					t.Error("accepted for a group")
				}
			}
		})
	}
}

func TestFilterRefusesTheRest(t *testing.T) {
	for name, frame := range map[string]frame{
		"SCTP":                      {ethertypes: ethernet4, from: client4, to: server4, protocol: 132},
		"UDP, foreign ports":        {ethertypes: ethernet4, from: client4, to: addrPort("10.0.0.2", 8082), protocol: protocolUDP},
		"UDP, foreign source":       {ethertypes: ethernet4, from: addrPort("10.0.0.3", 40000), to: server4, protocol: protocolUDP},
		"UDP, later fragment":       {ethertypes: ethernet4, from: client4, to: server4, protocol: protocolUDP, fragment: 0x2001},
		"below a range":             {ethertypes: ethernet4, from: client4, to: addrPort("10.0.0.2", 9099)},
		"above a range":             {ethertypes: ethernet4, from: client4, to: addrPort("10.0.0.2", 9200)},
		"port 0":                    {ethertypes: ethernet4, from: addrPort("10.0.0.1", 0), to: addrPort("10.0.0.2", 0)},
		"foreign source":            {ethertypes: ethernet4, from: addrPort("10.0.0.3", 40000), to: server4},
		"foreign destination":       {ethertypes: ethernet4, from: client4, to: addrPort("10.0.0.0", 8080)},
		"foreign ports":             {ethertypes: ethernet4, from: client4, to: addrPort("10.0.0.2", 8082)},
		"port below":                {ethertypes: ethernet4, from: client4, to: addrPort("10.0.0.2", 8079)},
		"later fragment":            {ethertypes: ethernet4, from: client4, to: server4, fragment: 0x2001},
		"last fragment":             {ethertypes: ethernet4, from: client4, to: server4, fragment: 100},
		"ARP":                       {ethertypes: []uint16{0x0806}, from: client4, to: server4},
		"two tags":                  {ethertypes: []uint16{etherVLANAD, etherVLAN, etherIPv4}, from: client4, to: server4},
		"IPv6 by its ethertype":     {ethertypes: ethernet6, from: client4, to: server4},
		"IPv4 by its ethertype":     {ethertypes: ethernet4, from: client6, to: server6},
		"foreign IPv6":              {ethertypes: ethernet6, from: addrPort("fd00::3", 8080), to: server6},
		"foreign IPv6 destination":  {ethertypes: ethernet6, from: client6, to: addrPort("fd00:0:0:7::2", 8080)},
		"foreign /96":               {ethertypes: ethernet6, from: client6, to: addrPort("fd01::2", 8080)},
		"SCTP over IPv6":            {ethertypes: ethernet6, from: client6, to: server6, protocol: 132},
		"SCTP behind an extension":  {ethertypes: ethernet6, from: client6, to: server6, extensions: []byte{protocolHopByHop}, protocol: 132},
		"UDP, foreign IPv6":         {ethertypes: ethernet6, from: addrPort("fd00::3", 8080), to: server6, protocol: protocolUDP},
		"ICMPv6 over IPv4":          {ethertypes: ethernet4, from: client4, to: server4, protocol: protocolICMPv6, message: icmpMessage(128, 0)},
		"ICMP over IPv6":            {ethertypes: ethernet6, from: client6, to: server6, protocol: protocolICMP, message: icmpMessage(8, 0)},
		"later fragment over IPv6":  {ethertypes: ethernet6, from: client6, to: server6, extensions: []byte{protocolFragment}, fragment: 1 << 3},
		"more extensions than fits": {ethertypes: ethernet6, from: client6, to: server6, extensions: []byte{60, 60, 60, 60, 60, 60}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, f := range everyFlows() {
				if got := run(t, ethernetHeader, &f, 0, frame.bytes()); got != 0 {
					t.Errorf("accepted %d bytes; ICMP %v, ARP %v", got, f.icmp, f.arp)
				}
			}
		})
	}
}

// TestFilterAgreesWithTheDecoder: what the filter lets through, the decoder can read,
// and the flows hold it; what the flows hold, the filter lets through.
func TestFilterAgreesWithTheDecoder(t *testing.T) {
	f := testFlows(false, false)
	addresses := []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1", "fd00::2", "fd00:0:0:7::1", "fd01::1"}
	ports := rapid.SampledFrom([]uint16{8079, 8080, 8081, 8082, 9000, 40000})
	rapid.Check(t, func(t *rapid.T) {
		from := addrPort(rapid.SampledFrom(addresses).Draw(t, "from"), ports.Draw(t, "source port"))
		to := addrPort(rapid.SampledFrom(addresses).Draw(t, "to"), ports.Draw(t, "destination port"))
		if from.Addr().Is4() != to.Addr().Is4() {
			t.Skip("two families")
		}
		crafted := frame{
			from: from, to: to, payload: rapid.IntRange(0, 50).Draw(t, "payload"),
			ipOptions:  make([]byte, 4*rapid.IntRange(0, 10).Draw(t, "IP options")),
			tcpOptions: make([]byte, 4*rapid.IntRange(0, 10).Draw(t, "TCP options")),
			protocol:   rapid.SampledFrom([]byte{0, protocolUDP}).Draw(t, "protocol"),
			extensions: rapid.SliceOfN(rapid.SampledFrom([]byte{0, 43, 44, 60}), 0, 5).Draw(t, "extensions"),
		}
		b := crafted.bytes()
		kept := min(run(t, 0, &f, 3, b), len(b))
		ends := &synclinev1.Packet{
			Source: from.Addr().AsSlice(), Destination: to.Addr().AsSlice(),
			SourcePort: uint32(from.Port()), DestinationPort: uint32(to.Port()),
		}
		if want := f.holds(ends); (kept > 0) != want {
			t.Fatalf("the filter keeps %d bytes, the flows hold the packet: %v", kept, want)
		}
		if kept == 0 {
			return
		}
		var p synclinev1.Packet
		if err := (decoder{snap: 3}).decode(b[:kept], uint32(len(b)), &p); err != nil {
			t.Fatal(err)
		}
		if int(p.PayloadLength) != crafted.payload || len(p.Payload) != min(crafted.payload, 3) {
			t.Fatalf("payload of %d, %d kept, want %d", p.PayloadLength, len(p.Payload), crafted.payload)
		}
	})
}

// TestFilterFitsTheKernel: however many addresses and ports, the program stays below
// BPF_MAXINSNS, holds every flow, and knows when it lets more through.
func TestFilterFitsTheKernel(t *testing.T) {
	var addresses []netip.Addr
	var ports []uint16
	for i := range 2000 {
		addresses = append(addresses, netip.MustParseAddr(fmt.Sprintf("10.%d.%d.1", i/250, i%250)))
		ports = append(ports, uint16(1000+3*i))
	}
	for i := range maxPrefixes {
		addresses = append(addresses, netip.MustParseAddr(fmt.Sprintf("fd00:%x::1", i)))
	}
	largest := largestFlows()
	flows := newFlows(&largest)
	n := len(directions(true)) + len(filter(ethernetHeader, &flows, 0))
	if n > 4096 || !flows.exact || len(flows.ports) != maxSpans || len(flows.ipv4) != maxSpans || len(flows.ipv6) != maxPrefixes {
		t.Errorf("the largest exact filter has %d instructions for %d, %d and %d spans; exact: %v",
			n, len(flows.ports), len(flows.ipv4), len(flows.ipv6), flows.exact)
	}
	t.Logf("the largest exact filter has %d instructions", n)
	config := Config{Addresses: addresses, Ports: ports, ICMP: true, ARP: true}
	full := newFlows(&config)
	if n := len(directions(true)) + len(filter(ethernetHeader, &full, 0)); n > 4096 || full.exact || full.anyIPv6 {
		t.Errorf("%d instructions, exact: %v, any IPv6: %v", n, full.exact, full.anyIPv6)
	}
	for i := 0; i < 2000; i += 77 {
		inside := frame{ethertypes: ethernet4, from: netip.AddrPortFrom(addresses[i], ports[i]), to: netip.AddrPortFrom(addresses[1999-i], 1)}
		if run(t, ethernetHeader, &full, 0, inside.bytes()) == 0 {
			t.Errorf("refuses %v to %v", inside.from, inside.to)
		}
	}
	config.Addresses = append(addresses, netip.MustParseAddr("fd01::1"))
	more := newFlows(&config)
	anyone := frame{ethertypes: ethernet6, from: addrPort("2001:db8::1", 1000), to: addrPort("2001:db8::2", 1)}
	if !more.anyIPv6 || more.exact || run(t, ethernetHeader, &more, 0, anyone.bytes()) == 0 {
		t.Error("with too many IPv6 addresses the filter still claims to check them")
	}
	consecutive := newFlows(&Config{Ports: []uint16{5, 4, 3, 9, 5}, Ranges: []PortRange{{6, 7}, {65000, 65535}, {65100, 65100}}})
	if d := cmp.Diff([]span{{3, 7}, {9, 9}, {65000, 65535}}, consecutive.ports, cmp.AllowUnexported(span{})); d != "" || !consecutive.exact {
		t.Errorf("spans of 3 to 7, 9, 65000 to 65535:\n%s", d)
	}
}

// largestFlows fill all that a filter checks exactly: as many spans as may be, each of
// two values, which cost more than one.
func largestFlows() Config {
	cfg := Config{ICMP: true, ARP: true}
	for i := range maxSpans {
		low := uint16(1000 + 3*i)
		cfg.Ranges = append(cfg.Ranges, PortRange{low, low + 1})
		for host := range byte(2) {
			cfg.Addresses = append(cfg.Addresses, netip.AddrFrom4([4]byte{10, 1, byte(i), host}))
		}
	}
	for i := range maxPrefixes {
		for host := range 2 {
			cfg.Addresses = append(cfg.Addresses, netip.MustParseAddr(fmt.Sprintf("fd00:%x::%d", i, host)))
		}
	}
	return cfg
}

func TestSpansHoldEveryValue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOf(rapid.OneOf(rapid.Uint32Max(300), rapid.Uint32())).Draw(t, "values")
		limit := rapid.IntRange(1, 20).Draw(t, "limit")
		joined, exact := spans(values, limit)
		if len(joined) > limit {
			t.Fatalf("%d spans, at most %d wanted", len(joined), limit)
		}
		covered := uint64(0)
		for i, s := range joined {
			if s.low > s.high || i > 0 && s.low <= joined[i-1].high {
				t.Fatalf("spans %v are not in order", joined)
			}
			covered += uint64(s.high-s.low) + 1
		}
		distinct := make(map[uint32]bool)
		for _, v := range values {
			distinct[v] = true
			if !within(joined, v) {
				t.Fatalf("%d is in none of %v", v, joined)
			}
		}
		if exact != (covered == uint64(len(distinct))) {
			t.Fatalf("%d values in spans that hold %d; exact: %v", len(distinct), covered, exact)
		}
	})
}

func within(of []span, v uint32) bool {
	for _, s := range of {
		if s.low <= v && v <= s.high {
			return true
		}
	}
	return false
}
