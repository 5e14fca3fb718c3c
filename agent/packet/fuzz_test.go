package packet

import (
	"bytes"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	synclinev1 "syncline/proto/syncline/v1"
)

// FuzzDecode: no frame makes the decoder panic or read beyond it, and it agrees with
// gopacket, which was written by others, on every frame that both can read.
func FuzzDecode(f *testing.F) {
	for _, s := range []frame{
		{ethertypes: ethernet4, from: client4, to: server4, tcpOptions: []byte{2, 4, 5, 0xb4}, payload: 4},
		{ethertypes: ethernet4, from: client4, to: server4, ipOptions: make([]byte, 4), trailer: 6},
		{ethertypes: ethernet6, from: client6, to: server6, payload: 4},
		{ethertypes: ethernet6, from: client6, to: server6, extensions: []byte{43, 60}},
		{ethertypes: ethernet6, from: client6, to: server6, extensions: []byte{0, 44}, payload: 1},
		{ethertypes: []uint16{etherVLAN, etherIPv4}, from: client4, to: server4},
		{ethertypes: ethernet4, from: client4, to: server4, protocol: protocolUDP, payload: 4, trailer: 14},
		{ethertypes: ethernet6, from: client6, to: server6, extensions: []byte{60}, protocol: protocolUDP, payload: 4},
	} {
		f.Add(s.bytes(), uint8(3), uint16(0))
	}
	for _, c := range messageCases {
		f.Add(c.frame.bytes(), uint8(0), uint16(0))
		f.Add(c.frame.bare().bytes(), uint8(200), uint16(5))
	}
	flows := testFlows(true, true)
	f.Fuzz(func(t *testing.T, frame []byte, snap uint8, cut uint16) {
		for _, link := range []int{0, ethernetHeader} {
			var p synclinev1.Packet
			if err := (decoder{link, int(snap)}).decode(frame, uint32(len(frame))+uint32(cut), &p); err != nil {
				continue
			}
			checkPayload(t, &p, int(snap))
			// What the record says is of the run passes the filter, if it was sent to the
			// host alone.
			if cut == 0 && flows.holds(&p) && run(t, link, &flows, int(snap), frame) == 0 {
				t.Errorf("the filter refuses %v", &p)
			}
			if link == ethernetHeader && cut == 0 {
				compare(t, frame, &p)
			}
		}
	})
}

func checkPayload(t *testing.T, p *synclinev1.Packet, snap int) {
	if p.Protocol == protocolICMP || p.Protocol == protocolICMPv6 {
		snap = max(snap, quoteLength)
	}
	if len(p.Payload) > snap || uint32(len(p.Payload)) > p.PayloadLength {
		t.Errorf("%d bytes of %d kept with snap length %d", len(p.Payload), p.PayloadLength, snap)
	}
}

// oracle is gopacket's view of a frame.
type oracle struct {
	arp   layers.ARP
	ip4   layers.IPv4
	ip6   layers.IPv6
	tcp   layers.TCP
	udp   layers.UDP
	icmp4 layers.ICMPv4
	icmp6 layers.ICMPv6
	last  gopacket.LayerType
	whole bool
}

// read reports false for a frame that gopacket cannot read to the end.
func (o *oracle) read(frame []byte) bool {
	var (
		eth  layers.Ethernet
		tag  layers.Dot1Q
		skip layers.IPv6ExtensionSkipper
		seen []gopacket.LayerType
	)
	parser := gopacket.NewDecodingLayerParser(layers.LayerTypeEthernet,
		&eth, &tag, &o.arp, &o.ip4, &o.ip6, &skip, &o.tcp, &o.udp, &o.icmp4, &o.icmp6)
	parser.IgnoreUnsupported = true
	if err := parser.DecodeLayers(frame, &seen); err != nil || len(seen) == 0 {
		return false
	}
	o.last, o.whole = seen[len(seen)-1], !parser.Truncated
	return true
}

func compare(t *testing.T, frame []byte, p *synclinev1.Packet) {
	var o oracle
	if !o.read(frame) {
		return
	}
	payload := -1
	switch o.last {
	case layers.LayerTypeTCP:
		payload = compareTCP(t, &o.tcp, p)
	case layers.LayerTypeUDP:
		payload = compareUDP(t, &o, p)
	case layers.LayerTypeICMPv4:
		payload = compareICMP(t, protocolICMP, uint16(o.icmp4.TypeCode), o.icmp4.BaseLayer, p)
	case layers.LayerTypeICMPv6:
		payload = compareICMP(t, protocolICMPv6, uint16(o.icmp6.TypeCode), o.icmp6.BaseLayer, p)
	case layers.LayerTypeARP:
		if uint32(o.arp.Operation) != p.ArpOperation || !bytes.Equal(o.arp.SourceProtAddress, p.Source) || !bytes.Equal(o.arp.DstProtAddress, p.Destination) {
			t.Errorf("gopacket reads %+v, we %+v", &o.arp, p)
		}
		return
	default:
		return
	}
	if o.whole && payload >= 0 && payload != int(p.PayloadLength) {
		t.Errorf("%d bytes of payload, want %d", p.PayloadLength, payload)
	}
	compareNetwork(t, &o, p)
}

func compareTCP(t *testing.T, tcp *layers.TCP, p *synclinev1.Packet) (payload int) {
	if p.Protocol != 0 || uint32(tcp.SrcPort) != p.SourcePort || uint32(tcp.DstPort) != p.DestinationPort || tcp.Seq != p.Sequence ||
		tcp.Ack != p.Acknowledgment || uint32(tcp.Window) != p.Window || uint32(tcp.Urgent) != p.Urgent {
		t.Errorf("gopacket reads %+v, we %+v", tcp, p)
	}
	if flags := tcp.Contents[13]; p.Flags&0xff != uint32(flags) || tcp.NS != (p.Flags&256 != 0) {
		t.Errorf("flags %#x, want %#x and AE %v", p.Flags, flags, tcp.NS)
	}
	if !bytes.Equal(p.Options, tcp.Contents[tcpHeader:]) {
		t.Errorf("options %x, want %x", p.Options, tcp.Contents[tcpHeader:])
	}
	return len(tcp.Payload)
}

func compareUDP(t *testing.T, o *oracle, p *synclinev1.Packet) (payload int) {
	if p.Protocol != protocolUDP || uint32(o.udp.SrcPort) != p.SourcePort || uint32(o.udp.DstPort) != p.DestinationPort {
		t.Errorf("gopacket reads %+v, we %+v", &o.udp, p)
	}
	if o.udp.Length < udpHeader {
		// A jumbogram to gopacket, whatever IP says.
		return -1
	}
	return len(o.udp.Payload)
}

func compareICMP(t *testing.T, protocol uint32, typeCode uint16, base layers.BaseLayer, p *synclinev1.Packet) (payload int) {
	if p.Protocol != protocol || p.IcmpType != uint32(typeCode>>8) || p.IcmpCode != uint32(typeCode&0xff) {
		t.Errorf("gopacket reads type and code %#04x, we %+v", typeCode, p)
	}
	// What gopacket takes for the header is 8 bytes of ICMP, and 4 of ICMPv6.
	all := append(bytes.Clone(base.Contents), base.Payload...)
	if len(all) >= icmpHeader {
		if rest := uint32(all[4])<<24 | uint32(all[5])<<16 | uint32(all[6])<<8 | uint32(all[7]); rest != p.IcmpRest {
			t.Errorf("rest %#x, want %#x", p.IcmpRest, rest)
		}
	}
	return max(len(all)-icmpHeader, 0)
}

func compareNetwork(t *testing.T, o *oracle, p *synclinev1.Packet) {
	if len(p.Source) == 4 {
		ip := &o.ip4
		if !bytes.Equal(p.Source, ip.SrcIP) || !bytes.Equal(p.Destination, ip.DstIP) || p.Ttl != uint32(ip.TTL) ||
			p.IpId != uint32(ip.Id) || p.TrafficClass != uint32(ip.TOS) || p.DontFragment != (ip.Flags&layers.IPv4DontFragment != 0) {
			t.Errorf("gopacket reads %+v, we %+v", ip, p)
		}
		return
	}
	ip := &o.ip6
	if !bytes.Equal(p.Source, ip.SrcIP) || !bytes.Equal(p.Destination, ip.DstIP) || p.Ttl != uint32(ip.HopLimit) ||
		p.IpId != ip.FlowLabel || p.TrafficClass != uint32(ip.TrafficClass) {
		t.Errorf("gopacket reads %+v, we %+v", ip, p)
	}
}
