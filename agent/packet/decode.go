package packet

import (
	"encoding/binary"
	"errors"
	"fmt"

	synclinev1 "syncline/proto/syncline/v1"
)

// errTruncated is a frame that ends before its headers do.
var errTruncated = errors.New("the frame ends within its headers")

// decoder reads the frames of one interface. It looks at the fixed fields only, all
// of which the filter has located already, and takes TCP options as raw bytes: a
// segment whose options make no sense is a fact to record, not an error.
type decoder struct {
	// link is the length of the link header: that of Ethernet, or 0.
	link int
	// snap is how many bytes of payload to keep.
	snap int
}

// decode fills in what the frame says. wire is the frame's length before the kernel
// cut it. The packet's byte slices point into frame. Segments, and what the ring's
// header says, are the caller's.
func (d decoder) decode(frame []byte, wire uint32, p *synclinev1.Packet) error {
	at, ethertype, err := d.network(frame)
	if err != nil {
		return err
	}
	if int(wire) < len(frame) {
		return fmt.Errorf("%d bytes were kept of a frame of %d", len(frame), wire)
	}
	p.WireLength = wire
	// What stands behind the IP header, by the IP header.
	var rest int
	var protocol byte
	switch ethertype {
	case etherARP:
		return arp(frame[at:], p)
	case etherIPv4:
		at, rest, protocol, err = ipv4(frame, at, int(wire), p)
	case etherIPv6:
		at, rest, protocol, err = ipv6(frame, at, int(wire), p)
	}
	if err != nil {
		return err
	}
	if protocol == protocolTCP {
		return d.tcp(frame[at:], rest, p)
	}
	p.Protocol = uint32(protocol)
	if protocol == protocolUDP {
		return d.udp(frame[at:], rest, p)
	}
	return d.icmp(frame[at:], rest, p)
}

// network finds the header of IP or ARP, and says by an ethertype which it is.
func (d decoder) network(frame []byte) (at int, ethertype uint16, err error) {
	if d.link == 0 {
		return bare(frame)
	}
	at = d.link
	if len(frame) < at {
		return 0, 0, errTruncated
	}
	ethertype = binary.BigEndian.Uint16(frame[at-2:])
	if ethertype == etherVLAN || ethertype == etherVLANAD {
		at += vlanTag
		if len(frame) < at {
			return 0, 0, errTruncated
		}
		ethertype = binary.BigEndian.Uint16(frame[at-2:])
	}
	switch ethertype {
	case etherIPv4, etherIPv6, etherARP:
		return at, ethertype, nil
	}
	return 0, 0, fmt.Errorf("ethertype %#04x", ethertype)
}

// bare is network for a frame without link header. ARP begins with a type of hardware,
// whose upper byte is 0.
func bare(frame []byte) (at int, ethertype uint16, err error) {
	if len(frame) == 0 {
		return 0, 0, errTruncated
	}
	switch version := frame[0] >> 4; version {
	case 0:
		return 0, etherARP, nil
	case 4:
		return 0, etherIPv4, nil
	case 6:
		return 0, etherIPv6, nil
	default:
		return 0, 0, fmt.Errorf("IP version %d", version)
	}
}

// ipv4 reads the IPv4 header at an offset. It answers where the next header is, of what
// protocol, and how many bytes the packet has from there on.
func ipv4(frame []byte, at, wire int, p *synclinev1.Packet) (next, rest int, protocol byte, err error) {
	h := frame[at:]
	if len(h) < ipv4Header {
		return 0, 0, 0, errTruncated
	}
	header := int(h[0]&15) * 4
	if h[0]>>4 != 4 || header < ipv4Header {
		return 0, 0, 0, fmt.Errorf("version and header length %#02x of an IPv4 header", h[0])
	}
	if len(h) < header {
		return 0, 0, 0, errTruncated
	}
	total := int(binary.BigEndian.Uint16(h[2:]))
	if total == 0 {
		// BIG TCP: the packet is longer than the field can say, and is cut into
		// segments before it leaves the host.
		total = wire - at
	}
	fragment := binary.BigEndian.Uint16(h[6:])
	protocol = h[9]
	if protocol != protocolTCP && protocol != protocolUDP && protocol != protocolICMP || fragment&0x1fff != 0 {
		return 0, 0, 0, fmt.Errorf("protocol %d at fragment offset %d", protocol, fragment&0x1fff)
	}
	p.TrafficClass = uint32(h[1])
	p.IpId = uint32(binary.BigEndian.Uint16(h[4:]))
	p.DontFragment = fragment&0x4000 != 0
	p.Ttl = uint32(h[8])
	p.Source, p.Destination = h[12:16:16], h[16:20:20]
	return at + header, total - header, protocol, nil
}

func ipv6(frame []byte, at, wire int, p *synclinev1.Packet) (next, rest int, protocol byte, err error) {
	h := frame[at:]
	if len(h) < ipv6Header {
		return 0, 0, 0, errTruncated
	}
	first := binary.BigEndian.Uint32(h)
	if first>>28 != 6 {
		return 0, 0, 0, fmt.Errorf("version %d of an IPv6 header", first>>28)
	}
	end := at + ipv6Header + int(binary.BigEndian.Uint16(h[4:]))
	if end == at+ipv6Header {
		// BIG TCP, or a jumbogram (RFC 2675): the length is not in this field.
		end = wire
	}
	p.TrafficClass = first >> 20 & 0xff
	p.IpId = first & 0xfffff
	p.Ttl = uint32(h[7])
	p.Source, p.Destination = h[8:24:24], h[24:40:40]
	next, protocol, err = extensions(frame, at+ipv6Header, h[6])
	return next, end - next, protocol, err
}

// extensions passes over IPv6 extension headers, as many as the filter does, and
// answers where the header behind them is and of what protocol.
func extensions(frame []byte, at int, protocol byte) (next int, last byte, err error) {
	for range maxExtensions {
		if !extends(protocol) {
			return at, protocol, nil
		}
		if len(frame) < at+fragmentHeader {
			return 0, 0, errTruncated
		}
		h := frame[at:]
		switch protocol {
		case protocolHopByHop, protocolRouting, protocolDestination:
			at += (int(h[1]) + 1) * 8
		case protocolFragment:
			if offset := binary.BigEndian.Uint16(h[2:]) >> 3; offset != 0 {
				return 0, 0, fmt.Errorf("fragment offset %d", offset)
			}
			at += fragmentHeader
		default:
			return 0, 0, fmt.Errorf("next header %d", protocol)
		}
		protocol = h[0]
		if len(frame) < at {
			return 0, 0, errTruncated
		}
	}
	if extends(protocol) {
		return 0, 0, fmt.Errorf("next header %d behind %d extension headers", protocol, maxExtensions)
	}
	return at, protocol, nil
}

// extends reports whether a next header is none of those that a tap is for.
func extends(next byte) bool {
	return next != protocolTCP && next != protocolUDP && next != protocolICMPv6
}

// tcp reads the TCP header at the start of h. The packet has rest bytes from there
// on; h may be shorter, since the kernel cut it, or longer, since Ethernet pads.
func (d decoder) tcp(h []byte, rest int, p *synclinev1.Packet) error {
	if len(h) < tcpHeader {
		return errTruncated
	}
	header := int(h[12]>>4) * 4
	if header < tcpHeader || header > rest {
		return fmt.Errorf("a TCP header of %d bytes in %d", header, rest)
	}
	if len(h) < header {
		return errTruncated
	}
	p.SourcePort = uint32(binary.BigEndian.Uint16(h))
	p.DestinationPort = uint32(binary.BigEndian.Uint16(h[2:]))
	p.Sequence = binary.BigEndian.Uint32(h[4:])
	p.Acknowledgment = binary.BigEndian.Uint32(h[8:])
	p.Flags = uint32(h[12]&1)<<8 | uint32(h[13])
	p.Window = uint32(binary.BigEndian.Uint16(h[14:]))
	p.Urgent = uint32(binary.BigEndian.Uint16(h[18:]))
	p.Options = h[tcpHeader:header:header]
	d.payload(h, header, rest, d.snap, p)
	return nil
}

// udp reads the UDP header at the start of h. The datagram's own length is that of all
// its fragments, and is believed where it says less than IP.
func (d decoder) udp(h []byte, rest int, p *synclinev1.Packet) error {
	if rest < udpHeader {
		return fmt.Errorf("a UDP header in %d bytes", rest)
	}
	if len(h) < udpHeader {
		return errTruncated
	}
	p.SourcePort = uint32(binary.BigEndian.Uint16(h))
	p.DestinationPort = uint32(binary.BigEndian.Uint16(h[2:]))
	if length := int(binary.BigEndian.Uint16(h[4:])); length >= udpHeader {
		rest = min(rest, length)
	}
	d.payload(h, udpHeader, rest, d.snap, p)
	return nil
}

// payload is what stands behind a header: of rest bytes, snap are kept.
func (d decoder) payload(h []byte, header, rest, snap int, p *synclinev1.Packet) {
	p.PayloadLength = uint32(rest - header)
	kept := min(len(h), rest, header+snap)
	p.Payload = h[header:kept:kept]
}
