package packet

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"google.golang.org/protobuf/testing/protocmp"

	synclinev1 "syncline/proto/syncline/v1"
)

func TestDecode(t *testing.T) {
	// A kind-3 option of length 0 makes no sense, and stays what it is.
	options := []byte{2, 4, 5, 0xb4, 3, 0, 0, 0}
	for name, c := range map[string]struct {
		frame frame
		want  *synclinev1.Packet
	}{
		"IPv4": {
			frame{ethertypes: ethernet4, from: client4, to: server4, fragment: 0x4000, ipOptions: []byte{7, 99, 1, 1}, tcpOptions: options, payload: 6, trailer: 3},
			&synclinev1.Packet{
				WireLength: 14 + 24 + 28 + 6 + 3, Source: []byte{10, 0, 0, 1}, Destination: []byte{10, 0, 0, 2},
				Ttl: 63, IpId: 0xabcd, TrafficClass: 0x2e, DontFragment: true,
			},
		},
		"IPv6 with a tag": {
			frame{ethertypes: []uint16{etherVLAN, etherIPv6}, from: client6, to: server6, extensions: []byte{protocolHopByHop, protocolDestination}, tcpOptions: options, payload: 6},
			&synclinev1.Packet{
				WireLength: 18 + 40 + 8 + 16 + 28 + 6, Source: client6.Addr().AsSlice(), Destination: server6.Addr().AsSlice(),
				Ttl: 63, IpId: 0x12345, TrafficClass: 0x2e,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.want.SourcePort, c.want.DestinationPort = 40000, 8080
			c.want.Sequence, c.want.Acknowledgment = 0xfffffff0, 0x01020304
			// AE, ACK, SYN.
			c.want.Flags, c.want.Window, c.want.Urgent = 256|16|2, 0xfaf0, 7
			c.want.Options, c.want.PayloadLength, c.want.Payload = options, 6, []byte{1, 2, 3, 4}
			var got synclinev1.Packet
			b := c.frame.bytes()
			if err := (decoder{link: ethernetHeader, snap: 4}).decode(b, uint32(len(b)), &got); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, &got, protocmp.Transform()); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestDecodeBigTCP: a packet of more than 64 KiB has no length in its IP header.
func TestDecodeBigTCP(t *testing.T) {
	for version, f := range map[int]frame{4: {from: client4, to: server4}, 6: {from: client6, to: server6}} {
		b := f.bytes()
		if version == 4 {
			b[2], b[3] = 0, 0
		} else {
			b[4], b[5] = 0, 0
		}
		var p synclinev1.Packet
		if err := (decoder{}).decode(b, uint32(len(b)+100_000), &p); err != nil || p.PayloadLength != 100_000 {
			t.Errorf("IPv%d: %d bytes of payload, want 100000: %v", version, p.PayloadLength, err)
		}
	}
}

func TestDecodeRefusesEveryCut(t *testing.T) {
	for _, f := range []frame{
		{ethertypes: ethernet4, from: client4, to: server4, ipOptions: make([]byte, 8), tcpOptions: make([]byte, 8)},
		{ethertypes: []uint16{etherVLAN, etherIPv6}, from: client6, to: server6, extensions: []byte{0, 43, 44, 60}, tcpOptions: make([]byte, 8)},
	} {
		whole := f.bytes()
		for n := range whole {
			var p synclinev1.Packet
			if err := (decoder{link: ethernetHeader}).decode(whole[:n], uint32(len(whole)), &p); err == nil {
				t.Errorf("%d of %d bytes of headers are enough", n, len(whole))
			}
		}
	}
}

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
	} {
		f.Add(s.bytes(), uint8(3), uint16(0))
	}
	f.Fuzz(func(t *testing.T, frame []byte, snap uint8, cut uint16) {
		for _, link := range []int{0, ethernetHeader} {
			var p synclinev1.Packet
			if err := (decoder{link, int(snap)}).decode(frame, uint32(len(frame))+uint32(cut), &p); err != nil {
				continue
			}
			if len(p.Payload) > int(snap) || uint32(len(p.Payload)) > p.PayloadLength {
				t.Errorf("%d bytes of %d kept with snap length %d", len(p.Payload), p.PayloadLength, snap)
			}
			if link == ethernetHeader && cut == 0 {
				compare(t, frame, &p)
			}
		}
	})
}

func compare(t *testing.T, frame []byte, p *synclinev1.Packet) {
	var (
		eth  layers.Ethernet
		tag  layers.Dot1Q
		ip4  layers.IPv4
		ip6  layers.IPv6
		skip layers.IPv6ExtensionSkipper
		tcp  layers.TCP
		seen []gopacket.LayerType
	)
	parser := gopacket.NewDecodingLayerParser(layers.LayerTypeEthernet, &eth, &tag, &ip4, &ip6, &skip, &tcp)
	if err := parser.DecodeLayers(frame, &seen); err != nil || len(seen) == 0 || seen[len(seen)-1] != layers.LayerTypeTCP {
		return
	}
	if uint32(tcp.SrcPort) != p.SourcePort || uint32(tcp.DstPort) != p.DestinationPort || tcp.Seq != p.Sequence ||
		tcp.Ack != p.Acknowledgment || uint32(tcp.Window) != p.Window || uint32(tcp.Urgent) != p.Urgent {
		t.Errorf("gopacket reads %+v, we %+v", tcp, p)
	}
	if flags := tcp.Contents[13]; p.Flags&0xff != uint32(flags) || tcp.NS != (p.Flags&256 != 0) {
		t.Errorf("flags %#x, want %#x and AE %v", p.Flags, flags, tcp.NS)
	}
	if !bytes.Equal(p.Options, tcp.Contents[tcpHeader:]) {
		t.Errorf("options %x, want %x", p.Options, tcp.Contents[tcpHeader:])
	}
	if !parser.Truncated && len(tcp.Payload) != int(p.PayloadLength) {
		t.Errorf("%d bytes of payload, want %d", p.PayloadLength, len(tcp.Payload))
	}
	switch {
	case len(p.Source) == 4:
		if !bytes.Equal(p.Source, ip4.SrcIP) || !bytes.Equal(p.Destination, ip4.DstIP) || p.Ttl != uint32(ip4.TTL) ||
			p.IpId != uint32(ip4.Id) || p.TrafficClass != uint32(ip4.TOS) || p.DontFragment != (ip4.Flags&layers.IPv4DontFragment != 0) {
			t.Errorf("gopacket reads %+v, we %+v", ip4, p)
		}
	default:
		if !bytes.Equal(p.Source, ip6.SrcIP) || !bytes.Equal(p.Destination, ip6.DstIP) || p.Ttl != uint32(ip6.HopLimit) ||
			p.IpId != ip6.FlowLabel || p.TrafficClass != uint32(ip6.TrafficClass) {
			t.Errorf("gopacket reads %+v, we %+v", ip6, p)
		}
	}
}
