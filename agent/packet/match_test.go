package packet

import (
	"strings"
	"testing"

	synclinev1 "syncline/proto/syncline/v1"
)

const (
	in  = synclinev1.Direction_DIRECTION_IN
	out = synclinev1.Direction_DIRECTION_OUT
)

// seen is a packet from 10.0.0.1 to 10.0.0.2.
func seen(change func(*synclinev1.Packet)) *synclinev1.Packet {
	p := &synclinev1.Packet{Direction: out, Source: []byte{10, 0, 0, 1}, Destination: []byte{10, 0, 0, 2}}
	change(p)
	return p
}

func TestMatcher(t *testing.T) {
	packets := map[string]*synclinev1.Packet{
		"SYN":           seen(func(p *synclinev1.Packet) { p.Flags = 2 }),
		"SYN in":        seen(func(p *synclinev1.Packet) { p.Flags, p.Direction = 2, in }),
		"SYN+ACK":       seen(func(p *synclinev1.Packet) { p.Flags, p.Source, p.Destination = 18, p.Destination, p.Source }),
		"SYN with data": seen(func(p *synclinev1.Packet) { p.Flags, p.PayloadLength = 2, 5 }),
		"ACK":           seen(func(p *synclinev1.Packet) { p.Flags = 16 }),
		"TCP by number": seen(func(p *synclinev1.Packet) { p.Flags, p.Protocol = 16, 6 }),
		"SYN over IPv6": seen(func(p *synclinev1.Packet) {
			p.Flags, p.Source, p.Destination = 2, client6.Addr().AsSlice(), server6.Addr().AsSlice()
		}),
		"UDP":         seen(func(p *synclinev1.Packet) { p.Protocol, p.PayloadLength = 17, 5 }),
		"ICMP 3/3":    seen(func(p *synclinev1.Packet) { p.Protocol, p.IcmpType, p.IcmpCode = 1, 3, 3 }),
		"ICMP 3/4":    seen(func(p *synclinev1.Packet) { p.Protocol, p.IcmpType, p.IcmpCode = 1, 3, 4 }),
		"ICMP 0/0":    seen(func(p *synclinev1.Packet) { p.Protocol = 1 }),
		"ICMPv6 3/0":  seen(func(p *synclinev1.Packet) { p.Protocol, p.IcmpType = 58, 3 }),
		"ARP request": seen(func(p *synclinev1.Packet) { p.ArpOperation = 1 }),
	}
	for name, c := range map[string]struct {
		watch *synclinev1.WatchPacket
		want  string
	}{
		"any":              {&synclinev1.WatchPacket{}, "SYN,SYN in,SYN+ACK,SYN with data,ACK,TCP by number,SYN over IPv6,UDP,ICMP 3/3,ICMP 3/4,ICMP 0/0,ICMPv6 3/0"},
		"TCP":              {&synclinev1.WatchPacket{Protocol: 6}, "SYN,SYN in,SYN+ACK,SYN with data,ACK,TCP by number,SYN over IPv6"},
		"SYN, not ACK":     {&synclinev1.WatchPacket{Protocol: 6, Flags: 2, Mask: 18}, "SYN,SYN in,SYN with data,SYN over IPv6"},
		"flags mean TCP":   {&synclinev1.WatchPacket{Flags: 0, Mask: 2}, "ACK,TCP by number"},
		"sent":             {&synclinev1.WatchPacket{Direction: out, Protocol: 6, Flags: 2, Mask: 2, Payload: 2}, "SYN,SYN+ACK,SYN over IPv6"},
		"received":         {&synclinev1.WatchPacket{Direction: in}, "SYN in"},
		"source":           {&synclinev1.WatchPacket{Protocol: 6, Source: "10.0.0.2"}, "SYN+ACK"},
		"IPv4 in IPv6":     {&synclinev1.WatchPacket{Protocol: 6, Source: "::ffff:10.0.0.2"}, "SYN+ACK"},
		"destination":      {&synclinev1.WatchPacket{Destination: "fd00::2"}, "SYN over IPv6"},
		"payload":          {&synclinev1.WatchPacket{Payload: 1}, "SYN with data,UDP"},
		"UDP":              {&synclinev1.WatchPacket{Protocol: 17, IcmpType: 300}, "UDP"},
		"ICMP 3":           {&synclinev1.WatchPacket{Protocol: 1, IcmpType: 3, IcmpCode: -1}, "ICMP 3/3,ICMP 3/4"},
		"ICMP 3/4":         {&synclinev1.WatchPacket{Protocol: 1, IcmpType: 3, IcmpCode: 4}, "ICMP 3/4"},
		"any ICMP":         {&synclinev1.WatchPacket{Protocol: 1, IcmpType: -1, IcmpCode: -1}, "ICMP 3/3,ICMP 3/4,ICMP 0/0"},
		"echo reply":       {&synclinev1.WatchPacket{Protocol: 1}, "ICMP 0/0"},
		"time exceeded, 6": {&synclinev1.WatchPacket{Protocol: 58, IcmpType: 3, IcmpCode: -1}, "ICMPv6 3/0"},
	} {
		t.Run(name, func(t *testing.T) {
			want := make(map[string]bool)
			for _, n := range strings.Split(c.want, ",") {
				want[n] = true
			}
			for n, p := range packets {
				m, err := NewMatcher(c.watch)
				if err != nil {
					t.Fatal(err)
				}
				if got := m.Match(p); got != want[n] {
					t.Errorf("%s fits: %v", n, got)
				}
			}
		})
	}
}

func TestMatcherCounts(t *testing.T) {
	m, err := NewMatcher(&synclinev1.WatchPacket{Protocol: 6, Count: 3})
	if err != nil {
		t.Fatal(err)
	}
	tcp := seen(func(p *synclinev1.Packet) { p.Flags = 2 })
	udp := seen(func(p *synclinev1.Packet) { p.Protocol = 17 })
	var got []bool
	for _, p := range []*synclinev1.Packet{tcp, udp, tcp, udp, tcp, tcp, tcp} {
		got = append(got, m.Match(p))
	}
	for i, v := range got {
		if v != (i == 4) {
			t.Errorf("the third of its kind is packet 4, and matched are %v", got)
			break
		}
	}
}

func TestMatcherRefuses(t *testing.T) {
	for say, w := range map[string]*synclinev1.WatchPacket{
		"IP protocol 132":       {Protocol: 132},
		`address "B"`:           {Source: "B"},
		"other IP version":      {Source: "10.0.0.1", Destination: "fd00::1"},
		"flags are bits":        {Flags: 2},
		"the mask is of 0x1ff":  {Mask: 0x200},
		"TCP flags of IP proto": {Protocol: 17, Mask: 2},
		"payload 3":             {Payload: 3},
		"direction 7":           {Direction: 7},
		"type 256 and code -1":  {Protocol: 1, IcmpType: 256, IcmpCode: -1},
		"type 3 and code -2":    {Protocol: 58, IcmpType: 3, IcmpCode: -2},
	} {
		if m, err := NewMatcher(w); err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("%v gives %v and %v, want an error that says %q", w, m, err, say)
		}
	}
}
