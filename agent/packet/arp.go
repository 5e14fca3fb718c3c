package packet

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/net/bpf"

	synclinev1 "syncline/proto/syncline/v1"
)

const (
	// arpAddresses is where the addresses of ARP begin.
	arpAddresses = 8
	arpRequest   = 1
	arpReply     = 2
)

// arp takes requests and replies for IPv4 (RFC 826), whatever the hardware, and leaves
// X 16 bytes before their end.
func (p *program) arp() {
	p.label(isARP)
	p.add(bpf.LoadIndirect{Off: 2, Size: 2})
	p.when(bpf.JumpNotEqual, etherIPv4, reject)
	p.add(bpf.LoadIndirect{Off: 5, Size: 1})
	p.when(bpf.JumpNotEqual, 4, reject)
	p.add(bpf.LoadIndirect{Off: 6, Size: 2})
	p.when(bpf.JumpEqual, 0, reject)
	p.when(bpf.JumpGreaterThan, 2, reject)
	p.set(inProtocol, aboutARP)
	p.add(bpf.LoadIndirect{Off: 4, Size: 1})
	p.store(inHardware)
	p.add(bpf.ALUOpX{Op: bpf.ALUOpAdd}, bpf.TAX{}, bpf.LoadIndirect{Off: 8, Size: 4})
	p.store(inSource)
	p.load(inHardware)
	p.add(bpf.ALUOpX{Op: bpf.ALUOpAdd}, bpf.TAX{}, bpf.LoadIndirect{Off: 12, Size: 4})
	p.store(inDestination)
	p.jump(endsIPv4)
}

// arp reads a request or a reply for IPv4 at the start of h: two hardware addresses of
// one length, each before its protocol address.
func arp(h []byte, p *synclinev1.Packet) error {
	if len(h) < arpAddresses {
		return errTruncated
	}
	network, hardware := binary.BigEndian.Uint16(h[2:]), int(h[4])
	operation := uint32(binary.BigEndian.Uint16(h[6:]))
	if network != etherIPv4 || h[5] != 4 || operation != arpRequest && operation != arpReply {
		return fmt.Errorf("ARP operation %d for protocol %#04x with addresses of %d bytes", operation, network, h[5])
	}
	sender := arpAddresses + hardware
	target := sender + 4 + hardware
	if len(h) < target+4 {
		return errTruncated
	}
	p.ArpOperation = operation
	p.Source, p.Destination = h[sender:sender+4:sender+4], h[target:target+4:target+4]
	return nil
}
