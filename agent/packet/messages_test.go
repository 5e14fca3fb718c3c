package packet

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	synclinev1 "syncline/proto/syncline/v1"
)

var (
	router4 = addrPort("10.0.0.254", 0)
	router6 = addrPort("fd00::fe", 0)
	other4  = addrPort("10.0.0.3", 8080)
	other6  = addrPort("fd00::3", 8080)
	group6  = addrPort("ff02::1:ff00:2", 0)
	none6   = addrPort("::", 0)
)

func icmp4(from, to netip.AddrPort, message []byte) frame {
	return frame{ethertypes: ethernet4, from: from, to: to, protocol: protocolICMP, message: message}
}

func icmp6(from, to netip.AddrPort, message []byte) frame {
	return frame{ethertypes: ethernet6, from: from, to: to, protocol: protocolICMPv6, message: message}
}

// neighbourMessage asks for, or tells of, a target.
func neighbourMessage(kind byte, target netip.AddrPort) []byte {
	return icmpMessage(kind, 0, append(target.Addr().AsSlice(), 1, 1, 2, 0, 0, 0, 0, 1)...)
}

// messageCase is a frame that is no TCP and no UDP, and who wants it.
type messageCase struct {
	frame frame
	// icmp and arp say which of the two sources it is of.
	icmp, arp bool
	// group is whether it may have been received for a group.
	group bool
	// foreign is what passes the kernel's filter, and not the reader's look at the quote.
	foreign bool
}

var messageCases = map[string]messageCase{
	"echo":                             {frame: icmp4(client4, server4, icmpMessage(8, 0, 1, 2, 3)), icmp: true},
	"echo reply":                       {frame: icmp4(server4, client4, icmpMessage(0, 0)), icmp: true},
	"echo from elsewhere":              {frame: icmp4(other4, client4, icmpMessage(8, 0)), icmp: true},
	"timestamp":                        {frame: icmp4(client4, server4, icmpMessage(13, 0)), icmp: true},
	"timestamp from elsewhere":         {frame: icmp4(other4, client4, icmpMessage(13, 0))},
	"four bytes":                       {frame: icmp4(client4, server4, icmpMessage(8, 0)[:4]), icmp: true},
	"three bytes":                      {frame: icmp4(client4, server4, icmpMessage(8, 0)[:3])},
	"port unreachable":                 {frame: icmp4(server4, client4, icmpMessage(3, 3, quoted(client4, server4)...)), icmp: true},
	"time exceeded at a router":        {frame: icmp4(router4, client4, icmpMessage(11, 0, quoted(client4, server4)...)), icmp: true},
	"redirect to a router":             {frame: icmp4(client4, router4, icmpMessage(5, 1, quoted(server4, client4)...)), icmp: true},
	"source quench":                    {frame: icmp4(router4, client4, icmpMessage(4, 0, quoted(client4, server4)...)), icmp: true},
	"parameter problem":                {frame: icmp4(router4, client4, icmpMessage(12, 0, quoted(client4, server4)...)), icmp: true},
	"error about others":               {frame: icmp4(router4, client4, icmpMessage(3, 1, quoted(client4, other4)...)), icmp: true, foreign: true},
	"error that quotes too little":     {frame: icmp4(router4, client4, icmpMessage(3, 1, quoted(client4, server4)[:19]...)), icmp: true, foreign: true},
	"error that quotes no packet":      {frame: icmp4(router4, client4, icmpMessage(3, 1, make([]byte, 28)...)), icmp: true, foreign: true},
	"error between others":             {frame: icmp4(router4, other4, icmpMessage(3, 1, quoted(client4, server4)...))},
	"error to the host itself":         {frame: icmp4(client4, client4, icmpMessage(3, 1, quoted(client4, server4)...)), icmp: true},
	"later fragment of ICMP":           {frame: frame{ethertypes: ethernet4, from: client4, to: server4, protocol: protocolICMP, message: icmpMessage(8, 0), fragment: 5}},
	"first fragment of ICMP":           {frame: frame{ethertypes: ethernet4, from: client4, to: server4, protocol: protocolICMP, message: icmpMessage(8, 0), fragment: 0x2000}, icmp: true},
	"tagged":                           {frame: frame{ethertypes: []uint16{etherVLAN, etherIPv4}, from: client4, to: server4, protocol: protocolICMP, message: icmpMessage(8, 0)}, icmp: true},
	"IGMP":                             {frame: frame{ethertypes: ethernet4, from: client4, to: server4, protocol: 2, message: icmpMessage(8, 0)}},
	"ICMPv6 echo":                      {frame: icmp6(client6, server6, icmpMessage(128, 0, 1, 2, 3)), icmp: true},
	"ICMPv6 echo reply from elsewhere": {frame: icmp6(other6, client6, icmpMessage(129, 0)), icmp: true},
	"ICMPv6 port unreachable":          {frame: icmp6(server6, client6, icmpMessage(1, 4, quoted6(client6, server6)...)), icmp: true},
	"packet too big at a router":       {frame: icmp6(router6, client6, icmpMessage(2, 0, quoted6(client6, server6)...)), icmp: true},
	"ICMPv6 error about others":        {frame: icmp6(router6, client6, icmpMessage(1, 0, quoted6(other6, client6)...)), icmp: true, foreign: true},
	"ICMPv6 behind extensions":         {frame: frame{ethertypes: ethernet6, from: client6, to: server6, extensions: []byte{0, 60}, protocol: protocolICMPv6, message: icmpMessage(128, 0)}, icmp: true},
	"redirect over IPv6":               {frame: icmp6(client6, server6, icmpMessage(137, 0)), icmp: true},
	"router advertisement":             {frame: icmp6(router6, client6, icmpMessage(134, 0))},
	"multicast listener report":        {frame: icmp6(client6, addrPort("ff02::16", 0), icmpMessage(143, 0))},
	"ICMPv6 error between others":      {frame: icmp6(router6, other6, icmpMessage(1, 0, quoted6(client6, server6)...))},
	"solicitation":                     {frame: icmp6(client6, group6, neighbourMessage(135, server6)), arp: true, group: true},
	"solicitation to the host":         {frame: icmp6(client6, server6, neighbourMessage(135, server6)), arp: true, group: true},
	"solicitation by a router":         {frame: icmp6(router6, group6, neighbourMessage(135, server6)), arp: true, group: true},
	"address detection":                {frame: icmp6(none6, group6, neighbourMessage(135, addrPort("fd00:0:0:7::1", 0))), arp: true, group: true},
	"solicitation for others":          {frame: icmp6(router6, group6, neighbourMessage(135, other6))},
	"advertisement":                    {frame: icmp6(server6, client6, neighbourMessage(136, server6)), arp: true, group: true},
	"advertisement by a router":        {frame: icmp6(router6, client6, neighbourMessage(136, router6)), arp: true, group: true},
	"ARP request":                      {frame: arpFrame(1, 6, "10.0.0.1", "10.0.0.2"), arp: true, group: true},
	"ARP reply":                        {frame: arpFrame(2, 6, "10.0.0.2", "10.0.0.1"), arp: true, group: true},
	"ARP by a router":                  {frame: arpFrame(1, 6, "10.0.0.254", "10.0.0.2"), arp: true, group: true},
	"ARP probe":                        {frame: arpFrame(1, 6, "0.0.0.0", "10.0.0.1"), arp: true, group: true},
	"ARP over long hardware":           {frame: arpFrame(1, 20, "10.0.0.1", "10.0.0.2"), arp: true, group: true},
	"ARP without hardware":             {frame: arpFrame(1, 0, "10.0.0.1", "10.0.0.2"), arp: true, group: true},
	"ARP between others":               {frame: arpFrame(1, 6, "10.0.0.254", "10.0.0.3")},
	"reverse ARP":                      {frame: arpFrame(3, 6, "10.0.0.1", "10.0.0.2")},
	"ARP of operation 0":               {frame: arpFrame(0, 6, "10.0.0.1", "10.0.0.2")},
}

// bare is the frame without its link header.
func (f frame) bare() frame {
	f.ethertypes = nil
	return f
}

func TestFilterOfMessages(t *testing.T) {
	for name, c := range messageCases {
		t.Run(name, func(t *testing.T) {
			for _, f := range everyFlows() {
				want := c.icmp && f.icmp || c.arp && f.arp
				for link, frame := range map[int]frame{ethernetHeader: c.frame, 0: c.frame.bare()} {
					if len(c.frame.ethertypes) > 1 && link == 0 {
						continue
					}
					b := frame.bytes()
					if got := run(t, link, &f, 0, b) > 0; got != want {
						t.Errorf("ICMP %v, ARP %v, link header of %d: accepted %v", f.icmp, f.arp, link, got)
					}
					if got := f.arp && runAs(t, link, &f, 0, b, true) > 0; got != (want && c.group && f.arp) {
						t.Errorf("ICMP %v, ARP %v, link header of %d, to a group: accepted %v", f.icmp, f.arp, link, got)
					}
					if !want {
						continue
					}
					p := decodeKept(t, &f, link, 0, b)
					if f.holds(p) == c.foreign || f.certain(p) && c.foreign {
						t.Errorf("held %v, certain %v, foreign %v", f.holds(p), f.certain(p), c.foreign)
					}
				}
			}
		})
	}
}

// decodeKept decodes what the filter keeps of a frame.
func decodeKept(t interface{ Fatal(...any) }, f *flows, link, snap int, b []byte) *synclinev1.Packet {
	kept := min(run(t, link, f, snap, b), len(b))
	p := new(synclinev1.Packet)
	if err := (decoder{link: link, snap: snap}).decode(b[:kept], uint32(len(b)), p); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestQuotesAreKept: what an error quotes is kept whatever the snap length, in both
// families, and what echo carries is payload like any other.
func TestQuotesAreKept(t *testing.T) {
	f := testFlows(true, true)
	long := frame{from: client6, to: server6, extensions: []byte{0, 60}, payload: 1000}.bytes()
	for name, c := range map[string]struct {
		frame frame
		snap  int
		want  int
	}{
		"quote":             {icmp4(server4, client4, icmpMessage(3, 3, quoted(client4, server4)...)), 0, 28},
		"long quote":        {icmp4(router4, client4, icmpMessage(11, 0, frame{from: client4, to: server4, ipOptions: make([]byte, 40), payload: 400}.bytes()...)), 0, quoteLength},
		"longer snap":       {icmp6(router6, client6, icmpMessage(2, 0, long...)), 500, 500},
		"IPv6 quote":        {icmp6(router6, client6, icmpMessage(2, 0, long...)), 0, quoteLength},
		"echo":              {icmp4(client4, server4, icmpMessage(8, 0, make([]byte, 56)...)), 0, 0},
		"echo, snap length": {icmp6(client6, server6, icmpMessage(128, 0, make([]byte, 56)...)), 10, 10},
		"neighbour":         {icmp6(client6, group6, neighbourMessage(135, server6)), 0, 24},
	} {
		b := c.frame.bytes()
		p := decodeKept(t, &f, ethernetHeader, c.snap, b)
		_, message := c.frame.last()
		if len(p.Payload) != c.want || int(p.PayloadLength) != len(message)-icmpHeader || !slices.Equal(p.Payload, message[icmpHeader:icmpHeader+c.want]) {
			t.Errorf("%s: %d bytes kept of %d: %x", name, len(p.Payload), p.PayloadLength, p.Payload)
		}
	}
}

func TestDecodeMessages(t *testing.T) {
	d := decoder{link: ethernetHeader, snap: 4}
	for name, c := range map[string]struct {
		frame frame
		want  *synclinev1.Packet
	}{
		"UDP": {
			frame{ethertypes: ethernet4, from: client4, to: server4, protocol: protocolUDP, payload: 6, trailer: 12},
			&synclinev1.Packet{
				WireLength: 14 + 20 + 8 + 6 + 12, Source: []byte{10, 0, 0, 1}, Destination: []byte{10, 0, 0, 2}, Ttl: 63, IpId: 0xabcd, TrafficClass: 0x2e,
				Protocol: protocolUDP, SourcePort: 40000, DestinationPort: 8080, PayloadLength: 6, Payload: []byte{1, 2, 3, 4},
			},
		},
		"fragmentation needed": {
			icmp4(server4, client4, icmpMessage(3, 4, quoted(client4, server4)...)),
			&synclinev1.Packet{
				WireLength: 14 + 20 + 8 + 28, Source: []byte{10, 0, 0, 2}, Destination: []byte{10, 0, 0, 1}, Ttl: 63, IpId: 0xabcd, TrafficClass: 0x2e,
				Protocol: protocolICMP, IcmpType: 3, IcmpCode: 4, IcmpRest: 0x01020304, PayloadLength: 28, Payload: quoted(client4, server4),
			},
		},
		"ICMP without a rest": {
			icmp4(server4, client4, icmpMessage(8, 1)[:6]),
			&synclinev1.Packet{
				WireLength: 14 + 20 + 6, Source: []byte{10, 0, 0, 2}, Destination: []byte{10, 0, 0, 1}, Ttl: 63, IpId: 0xabcd, TrafficClass: 0x2e,
				Protocol: protocolICMP, IcmpType: 8, IcmpCode: 1,
			},
		},
		"ICMPv6 echo": {
			icmp6(client6, server6, icmpMessage(128, 0, 9, 8, 7, 6, 5)),
			&synclinev1.Packet{
				WireLength: 14 + 40 + 8 + 5, Source: client6.Addr().AsSlice(), Destination: server6.Addr().AsSlice(), Ttl: 63, IpId: 0x12345, TrafficClass: 0x2e,
				Protocol: protocolICMPv6, IcmpType: 128, IcmpRest: 0x01020304, PayloadLength: 5, Payload: []byte{9, 8, 7, 6},
			},
		},
		"ARP": {
			arpFrame(2, 6, "10.0.0.2", "10.0.0.1"),
			&synclinev1.Packet{WireLength: 14 + 28, Source: []byte{10, 0, 0, 2}, Destination: []byte{10, 0, 0, 1}, ArpOperation: 2},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got synclinev1.Packet
			b := c.frame.bytes()
			if err := d.decode(b, uint32(len(b)), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, &got, protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestDatagramLength: the length of UDP itself is that of all fragments, or nonsense.
func TestDatagramLength(t *testing.T) {
	for said, want := range map[uint16]uint32{8 + 100: 100, 8 + 50: 50, 8: 0, 8 + 3000: 100, 7: 100, 0: 100} {
		b := frame{from: client4, to: server4, protocol: protocolUDP, payload: 100}.bytes()
		b[ipv4Header+4], b[ipv4Header+5] = byte(said>>8), byte(said)
		var p synclinev1.Packet
		if err := (decoder{}).decode(b, uint32(len(b)), &p); err != nil || p.PayloadLength != want {
			t.Errorf("a datagram of %d in one of 108: %d bytes of payload, want %d: %v", said, p.PayloadLength, want, err)
		}
	}
}

func TestDecodeRefusesEveryCutOfAMessage(t *testing.T) {
	for _, f := range []frame{
		{ethertypes: ethernet4, from: client4, to: server4, protocol: protocolUDP},
		{ethertypes: ethernet6, from: client6, to: server6, protocol: protocolUDP, extensions: []byte{0}},
		icmp4(client4, server4, icmpMessage(8, 0)),
		icmp4(client4, server4, icmpMessage(8, 0)[:5]),
		icmp6(client6, server6, icmpMessage(128, 0)),
		arpFrame(1, 6, "10.0.0.1", "10.0.0.2"),
	} {
		whole := f.bytes()
		for n := range whole {
			var p synclinev1.Packet
			if err := (decoder{link: ethernetHeader}).decode(whole[:n], uint32(len(whole)), &p); err == nil {
				t.Errorf("%d of %d bytes of headers are enough: %v", n, len(whole), &p)
			}
		}
	}
}

// TestFilterAndDecoderAgreeOnMessages: of any message, what the filter lets through the
// decoder can read, and the flows hold it unless it is an error that quotes others;
// what the flows hold, the filter lets through.
func TestFilterAndDecoderAgreeOnMessages(t *testing.T) {
	v4 := []netip.AddrPort{client4, server4, other4, router4}
	v6 := []netip.AddrPort{client6, server6, other6, router6, none6, group6}
	rapid.Check(t, func(t *rapid.T) {
		f := testFlows(rapid.Bool().Draw(t, "ICMP"), rapid.Bool().Draw(t, "ARP"))
		end := func(of []netip.AddrPort, name string) netip.AddrPort { return rapid.SampledFrom(of).Draw(t, name) }
		var crafted frame
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			behind := quoted(end(v4, "quoted from"), end(v4, "quoted to"))
			crafted = icmp4(end(v4, "from"), end(v4, "to"), icmpMessage(rapid.ByteMax(20).Draw(t, "type"), 0, behind...))
		case 1:
			behind := quoted6(end(v6, "quoted from"), end(v6, "quoted to"))
			crafted = icmp6(end(v6, "from"), end(v6, "to"), icmpMessage(rapid.Byte().Draw(t, "type"), 0, behind...))
		case 2:
			kind := rapid.ByteRange(133, 137).Draw(t, "type")
			crafted = icmp6(end(v6, "from"), end(v6, "to"), neighbourMessage(kind, end(v6, "target")))
		case 3:
			operation, hardware := rapid.Uint16Max(4).Draw(t, "operation"), rapid.IntRange(0, 255).Draw(t, "hardware")
			crafted = arpFrame(operation, hardware, end(v4, "sender").Addr().String(), end(v4, "target").Addr().String())
		}
		b := crafted.bytes()
		snap := rapid.IntRange(0, 40).Draw(t, "snap length")
		var whole synclinev1.Packet
		held := (decoder{link: ethernetHeader, snap: 1000}).decode(b, uint32(len(b)), &whole) == nil && f.holds(&whole)
		kept := min(run(t, ethernetHeader, &f, snap, b), len(b))
		if held && kept == 0 {
			t.Fatalf("the filter refuses what the flows hold: %v", &whole)
		}
		if kept == 0 {
			return
		}
		p := decodeKept(t, &f, ethernetHeader, snap, b)
		if f.holds(p) != held {
			t.Fatalf("the flows hold the packet: %v, and what the filter kept of it: %v", held, f.holds(p))
		}
		if !held && !(quoting(p.Protocol, p.IcmpType) && f.ends(p.Source, p.Destination) == 1) {
			t.Fatalf("the filter lets through what is foreign: %v", p)
		}
	})
}
