package packet

import (
	"testing"

	"github.com/google/go-cmp/cmp"
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
