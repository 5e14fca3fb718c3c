package timeline

import (
	"fmt"
	"strconv"
)

// otherWords tell a packet that is no TCP in short, the most important first.
func otherWords(p *Packet) []string {
	switch {
	case p.ARP == 1:
		return []string{"ARP", "who-has", p.Destination.Addr().String()}
	case p.ARP != 0:
		return []string{"ARP", "reply", p.Source.Addr().String()}
	case p.Protocol == ProtocolUDP:
		return []string{"UDP", countOf(p.PayloadLength, "byte"), "to", strconv.Itoa(int(p.Destination.Port()))}
	case p.Protocol == ProtocolICMP, p.Protocol == ProtocolICMPv6:
		return icmpWords(p)
	}
	return []string{fmt.Sprintf("protocol %d", p.Protocol), countOf(p.PayloadLength, "byte")}
}

func countOf(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func icmpWords(p *Packet) []string {
	name, names := "ICMP", icmpNames
	if p.Protocol == ProtocolICMPv6 {
		name, names = "ICMPv6", icmp6Names
	}
	words := []string{fmt.Sprintf("%s %d/%d", name, p.ICMPType, p.ICMPCode)}
	text, ok := names[icmpKind{p.ICMPType, p.ICMPCode}]
	if !ok {
		text, ok = names[icmpKind{p.ICMPType, anyCode}]
	}
	if ok {
		words = append(words, text)
	}
	if target := p.solicited(); target.IsValid() {
		words = append(words, target.String())
	}
	return words
}

// icmpKind is a type and a code, or anyCode.
type icmpKind struct{ kind, code int }

const anyCode = -1

// icmpNames are those of RFC 792, RFC 1122 3.2.2 and RFC 1812 5.2.7, in short.
var icmpNames = map[icmpKind]string{
	{0, anyCode}: "echo reply", {8, anyCode}: "echo request",
	{3, 0}: "network unreachable", {3, 1}: "host unreachable", {3, 2}: "protocol unreachable", {3, 3}: "port unreachable",
	{3, 4}: "fragmentation needed", {3, 5}: "source route failed", {3, 6}: "network unknown", {3, 7}: "host unknown",
	{3, 9}: "network prohibited", {3, 10}: "host prohibited", {3, 13}: "administratively prohibited",
	{3, anyCode}: "destination unreachable", {4, anyCode}: "source quench", {5, anyCode}: "redirect",
	{11, 0}: "TTL exceeded", {11, 1}: "reassembly time exceeded", {11, anyCode}: "time exceeded", {12, anyCode}: "parameter problem",
}

// icmp6Names are those of RFC 4443 and RFC 4861, in short.
var icmp6Names = map[icmpKind]string{
	{128, anyCode}: "echo request", {129, anyCode}: "echo reply",
	{1, 0}: "no route", {1, 1}: "administratively prohibited", {1, 2}: "beyond scope", {1, 3}: "address unreachable",
	{1, 4}: "port unreachable", {1, 5}: "source address failed policy", {1, 6}: "route rejected", {1, anyCode}: "destination unreachable",
	{2, anyCode}: "packet too big", {3, 0}: "hop limit exceeded", {3, anyCode}: "time exceeded", {4, anyCode}: "parameter problem",
	{icmp6Solicitation, anyCode}: "neighbour solicitation", {icmp6Advert, anyCode}: "neighbour advertisement",
}
