package chunk

import (
	"bytes"
	"encoding/binary"

	synclinev1 "syncline/proto/syncline/v1"
)

// flow is one TCP connection, or all UDP between two ports, or all of another
// protocol between two addresses, as the packets of the chunk show it. Side 0 is the
// one that sent the first of them.
type flow struct {
	address [2][]byte
	port    [2]uint32
	side    [2]flowSide
	// protocol is 0 for TCP and for ARP, as in a Packet.
	protocol uint32
	// direction is that of the packets of side 0.
	direction synclinev1.Direction
}

// flowSide is what one end of a flow is expected to send next.
type flowSide struct {
	// next is the sequence number after the last byte sent, SYN and FIN counted
	// (RFC 9293 3.4): what this end sends next, and the other acknowledges.
	next uint32
	ipID uint32
	// tsVal is the last value of the timestamps option (RFC 7323 3.2).
	tsVal uint32
}

// flowKey finds a flow by the dictionary indices of its addresses, in an encoder.
type flowKey struct {
	address  [2]uint64
	port     [2]uint32
	protocol uint32
}

// shapeKey groups packets that look alike whatever connection they belong to: all
// SYNs sent, all ACKs received.
type shapeKey struct {
	protocol  uint32
	direction synclinev1.Direction
	flags     uint32
}

// shape is the last packet of a group.
type shape struct {
	iface         string
	headers       uint32
	segments      uint32
	ttl           uint32
	trafficClass  uint32
	dontFragment  bool
	window        uint32
	urgent        uint32
	options       []byte
	payloadLength uint32
	message       message
}

// message is what ICMP and ARP have that TCP and UDP have not.
type message struct{ icmpType, icmpCode, icmpRest, arpOperation uint32 }

const (
	protocolTCP = 6

	flagFIN = 1
	flagSYN = 2
)

// packet carries a packet as a tap saw it.
func (c *codec) packet(ev *synclinev1.Event, p *synclinev1.Packet) {
	c.unknown(p)
	c.i64(colPacketTime, &ev.TimeNs, c.packetTime)
	c.packetTime = ev.TimeNs
	c.realtime(colPacketRealtime, &p.RealtimeNs, ev.TimeNs)
	c.i64(colPacketError, &p.ErrorNs, c.packetError)
	c.packetError = p.ErrorNs

	f, from := c.flow(p)
	c.direction(p, f, from)
	c.u32(colPacketFlags, &p.Flags, 0)
	s := c.shape(shapeKey{p.Protocol, p.Direction, p.Flags})
	c.network(p, s, &f.side[from])
	c.transport(p, s, f, from)
	c.message(p, s)
}

// direction carries which way the packet went: both sides of a flow go opposite
// ways, and the flows of one host tend to begin the same way.
func (c *codec) direction(p *synclinev1.Packet, f *flow, from int) {
	predicted := f.direction
	if from == 1 {
		predicted = synclinev1.Direction_DIRECTION_IN + synclinev1.Direction_DIRECTION_OUT - predicted
	}
	i32(c, colPacketDirection, &p.Direction, predicted)
	if from == 0 {
		f.direction, c.newFlow.direction = p.Direction, p.Direction
	}
}

// flow carries the addresses and ports of a packet. Its entry in colPacketFlow is
// twice a number plus the side that sent it; the number counts flows back from the
// newest, from 1, and is 0 for a flow that was not seen before.
func (c *codec) flow(p *synclinev1.Packet) (f *flow, from int) {
	var ref uint64
	if !c.decoding {
		ref = c.findFlow(p)
	}
	ref = c.raw(colPacketFlow, ref)
	from = int(ref & 1)
	back := ref >> 1
	if back > uint64(len(c.flows)) || ref == 1 {
		c.fail("a packet of flow %d of %d", back, len(c.flows))
		return new(flow), 0
	}
	if back == 0 {
		return c.addFlow(p), 0
	}
	f = &c.flows[uint64(len(c.flows))-back]
	if c.decoding {
		p.Source, p.Destination = f.address[from], f.address[1-from]
		p.SourcePort, p.DestinationPort = f.port[from], f.port[1-from]
	}
	c.u32(colPacketProtocol, &p.Protocol, f.protocol)
	return f, from
}

// addFlow carries the addresses and ports of a flow's first packet.
func (c *codec) addFlow(p *synclinev1.Packet) *flow {
	last := &c.newFlow
	c.blob(colPacketAddress, &p.Source, last.address[0])
	c.blob(colPacketAddress, &p.Destination, last.address[1])
	c.u32(colPacketPort, &p.SourcePort, last.port[0])
	c.u32(colPacketPort, &p.DestinationPort, last.port[1])
	c.u32(colPacketProtocol, &p.Protocol, last.protocol)
	f := flow{port: [2]uint32{p.SourcePort, p.DestinationPort}, protocol: p.Protocol, direction: last.direction}
	f.address[0] = c.keep(last.address[0], p.Source)
	f.address[1] = c.keep(last.address[1], p.Destination)
	if !c.decoding {
		if key, ok := c.flowKey(p); ok {
			c.flowIndex[key] = uint64(len(c.flows))
		}
	}
	c.flows = append(c.flows, f)
	c.newFlow = f
	return &c.flows[len(c.flows)-1]
}

// findFlow is the entry for a packet in colPacketFlow, in an encoder.
func (c *codec) findFlow(p *synclinev1.Packet) uint64 {
	key, ok := c.flowKey(p)
	if !ok {
		return 0
	}
	newest := uint64(len(c.flows))
	if i, ok := c.flowIndex[key]; ok {
		return (newest - i) << 1
	}
	back := flowKey{[2]uint64{key.address[1], key.address[0]}, [2]uint32{key.port[1], key.port[0]}, key.protocol}
	if i, ok := c.flowIndex[back]; ok {
		return (newest-i)<<1 | 1
	}
	return 0
}

// flowKey reports false for a packet with an address that is in no dictionary: one
// that is new, or empty. Such a packet begins a flow of its own.
func (c *codec) flowKey(p *synclinev1.Packet) (flowKey, bool) {
	src, ok1 := c.blobs.index[string(p.Source)]
	dst, ok2 := c.blobs.index[string(p.Destination)]
	return flowKey{[2]uint64{src, dst}, [2]uint32{p.SourcePort, p.DestinationPort}, p.Protocol}, ok1 && ok2
}

func (c *codec) shape(key shapeKey) *shape {
	s := c.shapes[key]
	if s == nil {
		s = new(shape)
		c.shapes[key] = s
	}
	return s
}

// network carries what is of the link and of IP, and the length of the payload.
func (c *codec) network(p *synclinev1.Packet, s *shape, from *flowSide) {
	c.text(colPacketInterface, &p.Interface, s.iface)
	s.iface = p.Interface
	c.u32(colPacketSegments, &p.Segments, s.segments)
	s.segments = p.Segments
	c.u32(colPacketTTL, &p.Ttl, s.ttl)
	s.ttl = p.Ttl
	c.u32(colPacketTrafficClass, &p.TrafficClass, s.trafficClass)
	s.trafficClass = p.TrafficClass
	c.flag(colPacketDontFragment, &p.DontFragment, s.dontFragment)
	s.dontFragment = p.DontFragment
	// Linux counts the identification of a connected socket's packets up by one, and
	// keeps an IPv6 flow label as it is.
	predicted := from.ipID
	if len(p.Source) == 4 && predicted != 0 {
		predicted = (predicted + 1) & 0xffff
	}
	c.u32(colPacketIPID, &p.IpId, predicted)
	from.ipID = p.IpId
	c.u32(colPacketPayloadLength, &p.PayloadLength, s.payloadLength)
	s.payloadLength = p.PayloadLength
	c.u32(colPacketWireLength, &p.WireLength, s.headers+p.PayloadLength)
	s.headers = p.WireLength - p.PayloadLength
}

// transport carries what is of TCP, and the payload.
func (c *codec) transport(p *synclinev1.Packet, s *shape, f *flow, from int) {
	mine, theirs := &f.side[from], &f.side[1-from]
	c.u32(colPacketSequence, &p.Sequence, mine.next)
	c.u32(colPacketAck, &p.Acknowledgment, theirs.next)
	mine.next = p.Sequence
	if p.Protocol == 0 || p.Protocol == protocolTCP {
		mine.next += p.PayloadLength + p.Flags&flagFIN + p.Flags&flagSYN>>1
	}
	c.u32(colPacketWindow, &p.Window, s.window)
	s.window = p.Window
	c.u32(colPacketUrgent, &p.Urgent, s.urgent)
	s.urgent = p.Urgent
	c.options(p, s, mine, theirs)

	// A snap length cuts long payloads: what is kept is all, or as much as was ever
	// kept before.
	captured := uint64(len(p.Payload))
	most := c.captured[p.Protocol]
	c.u64(colPacketCaptured, &captured, min(uint64(p.PayloadLength), most))
	if captured > most {
		c.captured[p.Protocol] = captured
	}
	c.tail(colPacketPayload, &p.Payload, captured)
}

// message carries what is of ICMP and ARP, if any of it is not zero: four numbers,
// most of which are those of the last such packet.
func (c *codec) message(p *synclinev1.Packet, s *shape) {
	now := message{p.IcmpType, p.IcmpCode, p.IcmpRest, p.ArpOperation}
	has := now != message{}
	c.flag(colPacketMessage, &has, s.message != message{})
	if has {
		c.u32(colPacketMessageField, &now.icmpType, s.message.icmpType)
		c.u32(colPacketMessageField, &now.icmpCode, s.message.icmpCode)
		c.u32(colPacketMessageField, &now.icmpRest, s.message.icmpRest)
		c.u32(colPacketMessageField, &now.arpOperation, s.message.arpOperation)
	}
	s.message = now
	if c.decoding {
		p.IcmpType, p.IcmpCode, p.IcmpRest, p.ArpOperation = now.icmpType, now.icmpCode, now.icmpRest, now.arpOperation
	}
}

// options carries the TCP options as a dictionary entry in which the two numbers of
// the timestamps option are zero, and those two apart.
func (c *codec) options(p *synclinev1.Packet, s *shape, mine, theirs *flowSide) {
	var val, ecr uint32
	rest := p.Options
	if !c.decoding {
		if at := timestamps(rest); at >= 0 {
			rest = append(c.optionsOf[:0], rest...)
			c.optionsOf = rest
			val, ecr = binary.BigEndian.Uint32(rest[at:]), binary.BigEndian.Uint32(rest[at+4:])
			clear(rest[at : at+8])
		}
	}
	c.blob(colPacketOptions, &rest, s.options)
	s.options = c.keep(s.options, rest)
	at := timestamps(rest)
	if at < 0 {
		if c.decoding {
			p.Options = rest
		}
		return
	}
	c.u32(colPacketTSVal, &val, mine.tsVal)
	c.u32(colPacketTSEcr, &ecr, theirs.tsVal)
	mine.tsVal = val
	if c.decoding {
		p.Options = c.newOptions(rest)
		binary.BigEndian.PutUint32(p.Options[at:], val)
		binary.BigEndian.PutUint32(p.Options[at+4:], ecr)
	}
}

// newOptions is a copy of options, in a decoder.
func (c *codec) newOptions(options []byte) []byte {
	if c.scratch == nil {
		return bytes.Clone(options)
	}
	c.optionsOf = append(c.optionsOf[:0], options...)
	return c.optionsOf
}

// maxOptions is the most bytes of options a TCP header has (RFC 9293 3.1).
const maxOptions = 40

// timestamps returns where the eight bytes of the timestamps option (kind 8, length
// 10, RFC 7323 3.2) are in TCP options, -1 if they are nowhere or if these cannot be
// TCP options. Their values do not influence the answer.
func timestamps(options []byte) int {
	if len(options) > maxOptions {
		return -1
	}
	for i := 0; i < len(options); {
		switch options[i] {
		case 0: // end of list
			return -1
		case 1: // no operation
			i++
			continue
		}
		if i+1 >= len(options) || options[i+1] < 2 {
			return -1
		}
		n := int(options[i+1])
		if options[i] == 8 && n == 10 && i+n <= len(options) {
			return i + 2
		}
		i += n
	}
	return -1
}

// keep returns a slice that equals b and stays as it is: old if that is equal, a
// copy in an encoder, whose caller owns b, and b itself in a decoder.
func (c *codec) keep(old, b []byte) []byte {
	switch {
	case bytes.Equal(old, b):
		return old
	case c.decoding:
		return b
	}
	return bytes.Clone(b)
}
