package timeline

import (
	"net/netip"
	"testing"
)

func TestQuoted(t *testing.T) {
	about := Packet{
		Source: netip.MustParseAddrPort("10.0.0.1:40312"), Destination: netip.MustParseAddrPort("10.0.0.2:8080"), Seq: 0xdeadbeef,
	}
	whole := quoteOf(&about)
	options := append(append([]byte{0x46}, whole[1:20]...), append([]byte{1, 1, 1, 0}, whole[20:]...)...)
	fragment := append([]byte(nil), whole...)
	fragment[7] = 9
	six := make([]byte, 48)
	six[0], six[6], six[23], six[39] = 0x60, ProtocolUDP, 1, 2
	six[40], six[41], six[42], six[43] = 0x13, 0x88, 0, 53
	for _, c := range []struct {
		name string
		p    Packet
		want string
	}{
		{"whole", Packet{Protocol: ProtocolICMP, ICMPType: 3, ICMPCode: 3, Payload: whole}, "10.0.0.1:40312"},
		{"with IP options", Packet{Protocol: ProtocolICMP, ICMPType: 11, Payload: options}, "10.0.0.1:40312"},
		{"too short", Packet{Protocol: ProtocolICMP, ICMPType: 3, Payload: whole[:27]}, ""},
		{"a later fragment", Packet{Protocol: ProtocolICMP, ICMPType: 3, Payload: fragment}, ""},
		{"no error", Packet{Protocol: ProtocolICMP, ICMPType: 8, Payload: whole}, ""},
		{"of TCP", Packet{Protocol: ProtocolTCP, Payload: whole}, ""},
		{"IPv6", Packet{Protocol: ProtocolICMPv6, ICMPType: 1, ICMPCode: 4, Payload: six}, "[::1]:5000"},
		{"IPv6 in an error of IPv4", Packet{Protocol: ProtocolICMP, ICMPType: 3, Payload: six}, ""},
	} {
		q, ok := c.p.quoted()
		if ok != (c.want != "") || ok && q.source.String() != c.want {
			t.Errorf("%s: %v %v, want %q", c.name, q, ok, c.want)
		}
	}
	if q, _ := (&Packet{Protocol: ProtocolICMP, ICMPType: 3, Payload: whole}).quoted(); q.seq != 0xdeadbeef || q.destination.Port() != 8080 {
		t.Errorf("%+v", q)
	}
}

// FuzzQuoted reads what any router may send back.
func FuzzQuoted(f *testing.F) {
	f.Add(ProtocolICMP, 3, quoteOf(&Packet{
		Source: netip.MustParseAddrPort("10.0.0.1:40312"), Destination: netip.MustParseAddrPort("10.0.0.2:8080"),
	}))
	f.Add(ProtocolICMPv6, 1, make([]byte, 48))
	f.Fuzz(func(t *testing.T, protocol, kind int, payload []byte) {
		p := Packet{Protocol: protocol, ICMPType: kind, Payload: payload}
		q, ok := p.quoted()
		if ok && (!q.source.IsValid() || !q.destination.IsValid() || !p.isICMPError()) {
			t.Errorf("%+v of %x", q, payload)
		}
		if a := p.solicited(); a.IsValid() && len(payload) < 16 {
			t.Errorf("%s of %x", a, payload)
		}
		otherWords(&p)
	})
}
