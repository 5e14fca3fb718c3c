package setup

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// end is one end of a packet, by where its port is in the transport header.
type end uint32

const (
	source      end = 0
	destination end = 2
)

// The register that all expressions use, one after the other.
const register = 1

// expressions are the rule as the kernel runs it: conditions, a counter, a verdict.
func (r *rule) expressions() ([]expr.Any, error) {
	c := r.change
	all, err := matchAddresses(c)
	if err != nil {
		return nil, err
	}
	if c.GetProtocol() != 0 {
		all = append(all, matchProtocol(byte(c.GetProtocol()))...)
	}
	if c.GetPort() != 0 {
		all = append(all, matchPort(destination, uint16(c.GetPort()))...)
	}
	if c.GetSourcePort() != 0 {
		all = append(all, matchPort(source, uint16(c.GetSourcePort()))...)
	}
	if c.GetMask() != 0 {
		all = append(all, matchFlags(uint16(c.GetFlags()), uint16(c.GetMask()))...)
	}
	if icmp := c.GetProtocol() == unix.IPPROTO_ICMP || c.GetProtocol() == unix.IPPROTO_ICMPV6; icmp && c.GetIcmpType() >= 0 {
		all = append(all,
			&expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: []byte{byte(c.GetIcmpType())}})
	}
	if c.GetLongerThan() != 0 {
		all = append(all, matchLonger(c.GetLongerThan())...)
	}
	states, err := matchStates(c)
	if err != nil {
		return nil, err
	}
	end, err := verdict(c)
	if err != nil {
		return nil, err
	}
	all = append(append(all, states...), &expr.Counter{})
	return append(all, end...), nil
}

func matchAddresses(c *synclinev1.FirewallChange) ([]expr.Any, error) {
	var all []expr.Any
	var families []bool
	for _, side := range []struct {
		end  end
		text string
	}{{source, c.GetSource()}, {destination, c.GetDestination()}} {
		if side.text == "" {
			continue
		}
		prefix, err := parseMatch(side.text)
		if err != nil {
			return nil, err
		}
		families = append(families, prefix.Addr().Is4())
		all = append(all, matchAddress(side.end, prefix)...)
	}
	if len(families) == 2 && families[0] != families[1] {
		return nil, fmt.Errorf("no packet is from %s to %s: they are of two families", c.GetSource(), c.GetDestination())
	}
	return all, nil
}

// parseMatch takes an address or a network.
func parseMatch(text string) (netip.Prefix, error) {
	if prefix, err := netip.ParsePrefix(text); err == nil {
		return prefix.Masked(), nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("address %q: %w", text, err)
	}
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen()), nil
}

func matchAddress(e end, prefix netip.Prefix) []expr.Any {
	// Source and destination address of struct iphdr, of struct ipv6hdr.
	family, offset, length := byte(unix.NFPROTO_IPV4), uint32(12), uint32(4)
	if prefix.Addr().Is6() {
		family, offset, length = unix.NFPROTO_IPV6, 8, 16
	}
	if e == destination {
		offset += length
	}
	mask := make([]byte, length)
	for i := range prefix.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: register},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: []byte{family}},
		&expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length},
		&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: length, Mask: mask, Xor: make([]byte, length)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: prefix.Addr().AsSlice()},
	}
}

func matchProtocol(protocol byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: []byte{protocol}},
	}
}

func matchPort(e end, port uint16) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: uint32(e), Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: binary.BigEndian.AppendUint16(nil, port)},
	}
}

// matchFlags looks at bytes 12 and 13 of the TCP header: the data offset, AE (once NS)
// and the eight flags.
func matchFlags(flags, mask uint16) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: 12, Len: 2},
		&expr.Bitwise{
			SourceRegister: register, DestRegister: register, Len: 2,
			Mask: binary.BigEndian.AppendUint16(nil, mask), Xor: []byte{0, 0},
		},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: binary.BigEndian.AppendUint16(nil, flags)},
	}
}

// matchLonger compares the packet's length, at these hooks from the IP header on. The
// kernel compares bytes, so the most significant one is to come first.
func matchLonger(than uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyLEN, Register: register},
		&expr.Byteorder{SourceRegister: register, DestRegister: register, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: expr.CmpOpGt, Register: register, Data: binary.BigEndian.AppendUint32(nil, than)},
	}
}

var trackingStates = map[string]uint32{
	"new": expr.CtStateBitNEW, "established": expr.CtStateBitESTABLISHED, "related": expr.CtStateBitRELATED, "invalid": expr.CtStateBitINVALID,
}

// matchStates asks connection tracking. To ask at all is what turns it on.
func matchStates(c *synclinev1.FirewallChange) ([]expr.Any, error) {
	mask := uint32(0)
	for _, name := range c.GetStates() {
		bit, ok := trackingStates[name]
		if !ok {
			return nil, fmt.Errorf("state %q of connection tracking: new, established, related and invalid are known", name)
		}
		mask |= bit
	}
	load := &expr.Ct{Key: expr.CtKeySTATE, Register: register}
	switch {
	case mask != 0:
		return []expr.Any{
			load,
			&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: 4, Mask: bytes32(mask), Xor: bytes32(0)},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: register, Data: bytes32(0)},
		}, nil
	case c.GetIdleTimeoutNs() != 0:
		return []expr.Any{load}, nil
	}
	return nil, nil
}

// NFT_REJECT_* of linux/netfilter/nf_tables.h. The ICMPX codes stand for the codes of
// both families.
const (
	rejectTCPReset = 1
	rejectICMPX    = 2

	icmpxNoRoute = 0
	icmpxPort    = 1
	icmpxHost    = 2
	icmpxAdmin   = 3
)

var rejections = map[string]expr.Reject{
	"":                      {Type: rejectICMPX, Code: icmpxPort},
	"icmp-port-unreachable": {Type: rejectICMPX, Code: icmpxPort},
	"icmp-host-unreachable": {Type: rejectICMPX, Code: icmpxHost},
	"icmp-net-unreachable":  {Type: rejectICMPX, Code: icmpxNoRoute},
	"icmp-admin-prohibited": {Type: rejectICMPX, Code: icmpxAdmin},
	"tcp-reset":             {Type: rejectTCPReset},
}

func verdict(c *synclinev1.FirewallChange) ([]expr.Any, error) {
	if port := c.GetRedirectPort(); port != 0 {
		return rewritePort(expr.NATTypeDestNAT, port), nil
	}
	if port := c.GetMasqueradePort(); port != 0 {
		return rewritePort(expr.NATTypeSourceNAT, port), nil
	}
	if c.GetIdleTimeoutNs() != 0 && c.GetAction() == synclinev1.FirewallChange_ACTION_ACCEPT {
		// To track a connection says nothing of its packets: the next rule is asked.
		return nil, nil
	}
	switch c.GetAction() {
	case synclinev1.FirewallChange_ACTION_DROP:
		return []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}, nil
	case synclinev1.FirewallChange_ACTION_ACCEPT:
		return []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}, nil
	case synclinev1.FirewallChange_ACTION_REJECT:
		with, ok := rejections[c.GetRejectWith()]
		if !ok {
			return nil, fmt.Errorf("reject with %q: tcp-reset, icmp-port-unreachable, icmp-host-unreachable, icmp-net-unreachable and icmp-admin-prohibited are known", c.GetRejectWith())
		}
		return []expr.Any{&with}, nil
	}
	return nil, fmt.Errorf("action %v is not known: the agent is older than the controller", c.GetAction())
}

// rewritePort leaves the addresses as they are.
func rewritePort(kind expr.NATType, port uint32) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: register, Data: binary.BigEndian.AppendUint16(nil, uint16(port))},
		&expr.NAT{Type: kind, Family: unix.NFPROTO_INET, RegProtoMin: register, Specified: true},
	}
}
