package packet

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// messageFields are what tshark is asked of a packet that is no TCP.
var messageFields = []string{
	"frame.len", "ip.src", "ipv6.src", "arp.src.proto_ipv4", "ip.dst", "ipv6.dst", "arp.dst.proto_ipv4", "ip.ttl", "ipv6.hlim",
	"arp.opcode", "icmp.type", "icmpv6.type", "icmp.code", "icmpv6.code", "udp.srcport", "udp.dstport", "udp.length",
	"icmp.ident", "icmpv6.echo.identifier",
}

// TestMessagesAgreeWithTshark hears what goes before and after a refused datagram, and
// echo, as Wireshark's own capture program does.
func TestMessagesAgreeWithTshark(t *testing.T) {
	needTshark(t)
	p := newPair(t)
	file := filepath.Join(t.TempDir(), "eth0.pcapng")
	finish := p.client.dumpcap(file, "arp or udp or icmp or icmp6")
	r := p.client.record(p.withAll())
	for _, to := range []netip.Addr{p.server4, p.server6} {
		if err := p.client.datagram(netip.AddrPortFrom(to, port), 300); !errors.Is(err, unix.ECONNREFUSED) {
			t.Fatal(err)
		}
		p.client.ping(to)
	}
	r.drain()
	var ours []string
	for _, packet := range r.packets() {
		ours = append(ours, messageOf(packet))
	}
	var theirs []string
	for deadline := time.Now().Add(10 * time.Second); len(theirs) < len(ours) && time.Now().Before(deadline); {
		theirs = readMessages(t, file)
	}
	finish()
	// Two of the neighbour, datagram, error, echo, reply, in each family.
	if d := cmp.Diff(readMessages(t, file), ours); d != "" || len(ours) < 12 {
		t.Errorf("%d packets; tshark (-) and the capture (+) differ:\n%s", len(ours), d)
	}
}

// ping sends an echo request through a raw socket, and waits for the reply.
func (h *host) ping(to netip.Addr) {
	h.t.Helper()
	h.do(func() error {
		family, protocol, kind := unix.AF_INET6, protocolICMPv6, byte(icmpv6Echo)
		var peer unix.Sockaddr = &unix.SockaddrInet6{Addr: to.As16()}
		if to.Is4() {
			family, protocol, kind = unix.AF_INET, protocolICMP, icmpEcho
			peer = &unix.SockaddrInet4{Addr: to.As4()}
		}
		fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}); err != nil {
			return err
		}
		request := []byte{kind, 0, 0, 0, 0x12, 0x34, 0, 1}
		request[2], request[3] = checksum(request)
		if err := unix.Sendto(fd, request, 0, peer); err != nil {
			return err
		}
		_, _, err = unix.Recvfrom(fd, make([]byte, 100), 0)
		return err
	})
}

// checksum is that of RFC 1071, for ICMP; the kernel makes that of ICMPv6.
func checksum(b []byte) (high, low byte) {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	sum = ^(sum&0xffff + sum>>16)
	return byte(sum >> 8), byte(sum)
}

// readMessages leaves out the hosts' own chatter over link-local addresses.
func readMessages(t *testing.T, file string) (list []string) {
	t.Helper()
	for _, f := range tshark(file, messageFields) {
		if len(f) != len(messageFields) {
			t.Fatalf("tshark gives %d fields: %q", len(f), f)
		}
		line := messageLine{
			wire: number(t, f[0]), from: f[1] + f[2], to: f[4] + f[5], ttl: f[7] + f[8], arp: f[9],
			kind: f[10] + f[11], code: f[12] + f[13], identifier: f[17] + f[18],
		}
		if line.arp != "" {
			line.from, line.to = f[3], f[6]
		}
		if line.kind == "" && f[16] != "" {
			line.ports, line.length = f[14]+" > "+f[15], number(t, f[16])-udpHeader
		}
		if strings.HasPrefix(line.from, "10.9.") || strings.HasPrefix(line.from, "fd09::") {
			list = append(list, fmt.Sprintf("%+v", line))
		}
	}
	return list
}

// messageLine is one packet as both tell of it.
type messageLine struct {
	wire            uint64
	from, to, ttl   string
	arp, kind, code string
	identifier      string
	ports           string
	length          uint64
}

func messageOf(p *synclinev1.Packet) string {
	from, _ := netip.AddrFromSlice(p.Source)
	to, _ := netip.AddrFromSlice(p.Destination)
	line := messageLine{wire: uint64(p.WireLength), from: from.String(), to: to.String()}
	switch {
	case p.ArpOperation != 0:
		line.arp = fmt.Sprint(p.ArpOperation)
		return fmt.Sprintf("%+v", line)
	case p.Protocol == protocolUDP:
		line.ports, line.length = fmt.Sprintf("%d > %d", p.SourcePort, p.DestinationPort), uint64(p.PayloadLength)
	default:
		line.kind, line.code = fmt.Sprint(p.IcmpType), fmt.Sprint(p.IcmpCode)
		if echo(p) {
			line.identifier = identifierOf(p)
		}
	}
	line.ttl = fmt.Sprint(p.Ttl)
	return fmt.Sprintf("%+v", line)
}

// identifierOf is the upper half of an echo's rest, as tshark writes it.
func identifierOf(p *synclinev1.Packet) string {
	if p.Protocol == protocolICMP {
		return fmt.Sprint(p.IcmpRest >> 16)
	}
	return fmt.Sprintf("0x%04x", p.IcmpRest>>16)
}
