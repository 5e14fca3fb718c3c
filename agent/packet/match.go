package packet

import (
	"fmt"
	"net/netip"

	synclinev1 "syncline/proto/syncline/v1"
)

// Matcher looks for the one packet that a lane waits for: the count-th that fits. It
// looks at what it is given and at nothing else; a record that stands for several
// segments is one packet. It is not safe for concurrent use.
type Matcher struct {
	want                synclinev1.WatchPacket
	source, destination netip.Addr
	// left is how many more packets must fit. 0: it has been seen.
	left uint32
}

// What WatchPacket.payload may be.
const (
	eitherPayload = 0
	withPayload   = 1
	noPayload     = 2
)

// allFlags are the bits of Packet.flags: FIN to AE.
const allFlags = 0x1ff

// NewMatcher checks what is asked for. An unspecified direction is any, a count of 0 is
// 1. Protocol 0 is any of TCP, UDP, ICMP and ICMPv6, and with a mask of flags TCP. The
// type and the code of ICMP count with protocol 1 or 58 only.
func NewMatcher(w *synclinev1.WatchPacket) (*Matcher, error) {
	m := &Matcher{left: max(w.GetCount(), 1)}
	m.want.Direction, m.want.Protocol = w.GetDirection(), w.GetProtocol()
	m.want.Flags, m.want.Mask, m.want.Payload = w.GetFlags(), w.GetMask(), w.GetPayload()
	m.want.IcmpType, m.want.IcmpCode = w.GetIcmpType(), w.GetIcmpCode()
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("packet: watch: %w", err)
	}
	for _, end := range []struct {
		text string
		to   *netip.Addr
	}{{w.GetSource(), &m.source}, {w.GetDestination(), &m.destination}} {
		if end.text == "" {
			continue
		}
		address, err := netip.ParseAddr(end.text)
		if err != nil {
			return nil, fmt.Errorf("packet: watch: address %q: %w", end.text, err)
		}
		*end.to = address.Unmap().WithZone("")
	}
	if m.source.IsValid() && m.destination.IsValid() && m.source.Is4() != m.destination.Is4() {
		return nil, fmt.Errorf("packet: watch: no packet goes from %v to %v, which is of the other IP version", m.source, m.destination)
	}
	return m, nil
}

func (m *Matcher) check() error {
	w := &m.want
	if w.Mask != 0 && w.Protocol == 0 {
		w.Protocol = protocolTCP
	}
	switch w.Protocol {
	case 0, protocolTCP, protocolUDP:
	case protocolICMP, protocolICMPv6:
		for _, v := range []int32{w.IcmpType, w.IcmpCode} {
			if v < -1 || v > 255 {
				return fmt.Errorf("type %d and code %d of ICMP: each is 0 to 255, or -1 for any", w.IcmpType, w.IcmpCode)
			}
		}
	default:
		return fmt.Errorf("IP protocol %d: packets of 6 (TCP), 17 (UDP), 1 (ICMP) and 58 (ICMPv6) are captured", w.Protocol)
	}
	switch {
	case w.Mask&^allFlags != 0 || w.Flags&^w.Mask != 0:
		return fmt.Errorf("TCP flags %#x under the mask %#x: flags are bits of the mask, and the mask is of %#x", w.Flags, w.Mask, allFlags)
	case w.Mask != 0 && w.Protocol != protocolTCP:
		return fmt.Errorf("TCP flags of IP protocol %d", w.Protocol)
	case w.Payload > noPayload:
		return fmt.Errorf("payload %d: 0 for either, 1 for some, 2 for none", w.Payload)
	case w.Direction < synclinev1.Direction_DIRECTION_UNSPECIFIED || w.Direction > synclinev1.Direction_DIRECTION_OUT:
		return fmt.Errorf("direction %d", w.Direction)
	}
	return nil
}

// Match reports whether p is the count-th packet that fits. It is true once in the life
// of a Matcher.
func (m *Matcher) Match(p *synclinev1.Packet) bool {
	if m.left == 0 || !m.fits(p) {
		return false
	}
	m.left--
	return m.left == 0
}

func (m *Matcher) fits(p *synclinev1.Packet) bool {
	w := &m.want
	return p.ArpOperation == 0 &&
		(w.Direction == synclinev1.Direction_DIRECTION_UNSPECIFIED || w.Direction == p.Direction) &&
		m.carries(p) &&
		p.Flags&w.Mask == w.Flags &&
		(w.Payload == eitherPayload || (w.Payload == withPayload) == (p.PayloadLength > 0)) &&
		is(m.source, p.Source) && is(m.destination, p.Destination)
}

// carries compares protocols, and what only ICMP has.
func (m *Matcher) carries(p *synclinev1.Packet) bool {
	protocol := p.Protocol
	if protocol == 0 {
		protocol = protocolTCP
	}
	w := &m.want
	switch w.Protocol {
	case 0:
		return true
	case protocolICMP, protocolICMPv6:
		return protocol == w.Protocol &&
			(w.IcmpType == -1 || uint32(w.IcmpType) == p.IcmpType) &&
			(w.IcmpCode == -1 || uint32(w.IcmpCode) == p.IcmpCode)
	}
	return protocol == w.Protocol
}

// is compares an address of a packet with the one asked for, if any.
func is(want netip.Addr, got []byte) bool {
	if !want.IsValid() {
		return true
	}
	address, _ := netip.AddrFromSlice(got)
	return address.Unmap() == want
}
