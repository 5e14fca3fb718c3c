package packet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// withAll is the pair's config with every source of packets.
func (p *pair) withAll() Config {
	cfg := p.config()
	cfg.ICMP, cfg.ARP = true, true
	return cfg
}

// say tells a packet in a few words, as its host saw it.
func say(p *synclinev1.Packet) string {
	from, _ := netip.AddrFromSlice(p.Source)
	to, _ := netip.AddrFromSlice(p.Destination)
	var what string
	switch {
	case p.ArpOperation != 0:
		what = fmt.Sprintf("ARP %d", p.ArpOperation)
	case p.Protocol == protocolUDP:
		what = fmt.Sprintf("UDP to %d, %d bytes", p.DestinationPort, p.PayloadLength)
	case p.Protocol == protocolICMP:
		what = fmt.Sprintf("ICMP %d/%d", p.IcmpType, p.IcmpCode)
	case p.Protocol == protocolICMPv6:
		what = fmt.Sprintf("ICMPv6 %d/%d", p.IcmpType, p.IcmpCode)
	default:
		what = fmt.Sprintf("TCP to %d, flags %#x", p.DestinationPort, p.Flags)
	}
	return fmt.Sprintf("%v > %v %s", from, to, what)
}

// sayAll is what went one way.
func sayAll(packets []*synclinev1.Packet, way synclinev1.Direction) (list []string) {
	for _, p := range packets {
		if p.Direction == way {
			list = append(list, say(p))
		}
	}
	return list
}

// datagram sends bytes from a host to a port, and answers with what the socket says
// then: the errno that an ICMP error set on it, for a while waited for.
func (h *host) datagram(to netip.AddrPort, size int) error {
	h.t.Helper()
	var conn net.Conn
	h.do(func() (err error) {
		conn, err = net.Dial("udp", to.String())
		return err
	})
	defer conn.Close()
	if _, err := conn.Write(slices.Repeat([]byte{'x'}, size)); err != nil {
		return err
	}
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		h.t.Fatal(err)
	}
	_, err := conn.Read(make([]byte, 1))
	return err
}

// TestRefusedDatagram: the neighbour is asked for, the datagram goes, and the peer's
// kernel sends back what nobody took. Both taps see the same.
func TestRefusedDatagram(t *testing.T) {
	for name, c := range map[string]struct {
		to   func(*pair) netip.Addr
		want []string
	}{
		"IPv4": {func(p *pair) netip.Addr { return p.server4 }, []string{
			"10.9.0.1 > 10.9.0.2 ARP 1",
			"10.9.0.2 > 10.9.0.1 ARP 2",
			"10.9.0.1 > 10.9.0.2 UDP to 8080, 5 bytes",
			"10.9.0.2 > 10.9.0.1 ICMP 3/3",
		}},
		"IPv6": {func(p *pair) netip.Addr { return p.server6 }, []string{
			"fd09::1 > ff02::1:ff00:2 ICMPv6 135/0",
			"fd09::2 > fd09::1 ICMPv6 136/0",
			"fd09::1 > fd09::2 UDP to 8080, 5 bytes",
			"fd09::2 > fd09::1 ICMPv6 1/4",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t)
			taps := map[string]*record{"client": p.client.record(p.withAll()), "server": p.server.record(p.withAll())}
			bare := p.client.record(p.config())
			if err := p.client.datagram(netip.AddrPortFrom(c.to(p), port), 5); !errors.Is(err, unix.ECONNREFUSED) {
				t.Fatalf("a datagram to a closed port: %v", err)
			}
			for name, r := range taps {
				r.drain()
				var got []string
				for _, packet := range r.packets() {
					got = append(got, say(packet))
				}
				if d := cmp.Diff(c.want, exchanged(got)); d != "" {
					t.Errorf("%s (-want +got):\n%s", name, d)
				}
				checkQuote(t, r)
				r.stop()
				r.checkWhole()
			}
			bare.drain()
			if got := sayAll(bare.packets(), synclinev1.Direction_DIRECTION_OUT); !slices.Equal(got, c.want[2:3]) || len(bare.packets()) != 1 {
				t.Errorf("without ICMP and ARP: %v", bare.packets())
			}
		})
	}
}

// exchanged leaves out what kernels may do besides: ask again, when the answer takes
// long, and check some seconds later that a neighbour is still there.
func exchanged(packets []string) []string {
	packets = slices.Compact(packets)
	return packets[:min(len(packets), 4)]
}

// checkQuote: the error has in it the datagram's addresses and ports.
func checkQuote(t *testing.T, r *record) {
	t.Helper()
	var datagram, refusal *synclinev1.Packet
	for _, p := range r.packets() {
		switch {
		case p.Protocol == protocolUDP:
			datagram = p
		case quoting(p.Protocol, p.IcmpType) && p.Protocol != 0:
			refusal = p
		}
	}
	if datagram == nil || refusal == nil {
		t.Fatal("no datagram, or no error")
	}
	var quote synclinev1.Packet
	if err := (decoder{}).decode(refusal.Payload, refusal.PayloadLength, &quote); err != nil {
		t.Fatalf("what the error quotes is no packet: %v", err)
	}
	if say(&quote) != say(datagram) || quote.SourcePort != datagram.SourcePort || quote.IpId != datagram.IpId {
		t.Errorf("the error quotes %v, and the datagram was %v", &quote, datagram)
	}
}

// TestErrorsOfRouters: an error about a packet of the run is of the run, whoever sends
// it; one about others is in no count.
func TestErrorsOfRouters(t *testing.T) {
	p := newPair(t)
	r := p.client.record(p.withAll())
	client := netip.AddrPortFrom(p.client4, 40000)
	router, server := addrPort("10.9.0.254", 0), netip.AddrPortFrom(p.server4, port)
	mine := icmp4(router, client, icmpMessage(3, 1, quoted(client, server)...))
	others := icmp4(router, client, icmpMessage(3, 1, quoted(client, addrPort("192.0.2.1", 53))...))
	p.inject(others.bytes())
	p.inject(mine.bytes())
	r.await(1)
	r.stop()
	if got := sayAll(r.packets(), in); !slices.Equal(got, []string{"10.9.0.254 > 10.9.0.1 ICMP 3/1"}) {
		t.Errorf("the tap saw %q", got)
	}
	if passed, lost := r.Frames(); passed != 1 || lost != 0 || r.counts[0].foreign != 1 {
		t.Errorf("%d passed, %d lost, %d foreign, want 1, 0 and 1", passed, lost, r.counts[0].foreign)
	}
	r.checkWhole()
}

// TestNobodyAnswers: ARP is asked in vain, and the kernel then tells of the datagram
// that never left over lo, by ICMP from the host to itself.
func TestNobodyAnswers(t *testing.T) {
	p := newPair(t)
	nobody := netip.MustParseAddr("10.9.0.77")
	p.client.do(func() error {
		for name, value := range map[string]string{"retrans_time_ms": "20", "mcast_solicit": "2"} {
			if err := os.WriteFile("/proc/sys/net/ipv4/neigh/eth0/"+name, []byte(value), 0); err != nil {
				return err
			}
		}
		return nil
	})
	cfg := p.withAll()
	cfg.Interfaces = []string{"lo", "eth0"}
	cfg.Addresses = append(cfg.Addresses, nobody)
	r, peer := p.client.record(cfg), p.server.record(cfg)
	p.client.do(func() error { return sendFrom(netip.AddrPortFrom(p.client4, 40000), netip.AddrPortFrom(nobody, port)) })
	// Two requests, and the error twice, as lo shows everything.
	r.await(4)
	request, told := "10.9.0.1 > 10.9.0.77 ARP 1", "10.9.0.1 > 10.9.0.1 ICMP 3/1"
	got := sayAll(r.packets(), out)
	slices.Sort(got)
	if d := cmp.Diff([]string{told, request, request}, got); d != "" {
		t.Errorf("sent (-want +got):\n%s", d)
	}
	if got := sayAll(r.packets(), in); !slices.Equal(got, []string{told}) {
		t.Errorf("received %q", got)
	}
	peer.drain()
	if got := sayAll(peer.packets(), in); !slices.Equal(got, []string{request, request}) {
		t.Errorf("the other host heard %q", got)
	}
	checkQuoteOfNobody(t, r)
	r.stop()
	r.checkWhole()
}

func checkQuoteOfNobody(t *testing.T, r *record) {
	t.Helper()
	for _, p := range r.packets() {
		if p.Protocol == protocolICMP && (p.Interface != "lo" || len(p.Payload) < 28) {
			t.Errorf("the error came over %s with a quote of %d bytes", p.Interface, len(p.Payload))
		}
	}
}

// TestLoopbackMessages: a lab of loopback addresses is heard too.
func TestLoopbackMessages(t *testing.T) {
	h := newHost(t)
	one, two := netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.3")
	r := h.record(Config{Interfaces: []string{"lo"}, Addresses: []netip.Addr{one, two}, Ports: []uint16{port}, ICMP: true, ARP: true})
	h.do(func() error { return sendFrom(netip.AddrPortFrom(one, 40000), netip.AddrPortFrom(two, port)) })
	r.drain()
	want := []string{"127.0.0.2 > 127.0.0.3 UDP to 8080, 5 bytes", "127.0.0.3 > 127.0.0.2 ICMP 3/3"}
	for _, way := range []synclinev1.Direction{out, in} {
		if d := cmp.Diff(want, sayAll(r.packets(), way)); d != "" {
			t.Errorf("%v (-want +got):\n%s", way, d)
		}
	}
	r.stop()
	r.checkWhole()
}

func sendFrom(from, to netip.AddrPort) error {
	conn, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(from), net.UDPAddrFromAddrPort(to))
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte("hello"))
	return err
}

// TestRangesOfPorts: a run whose port moves on with each repetition.
func TestRangesOfPorts(t *testing.T) {
	p := newPair(t)
	cfg := p.config()
	cfg.Ports, cfg.Ranges = nil, []PortRange{{20000, 20999}}
	r := p.client.record(cfg)
	sockets := []uint16{19999, 20000, 20500, 20999, 21000}
	for _, to := range sockets {
		if err := p.client.datagram(netip.AddrPortFrom(p.server4, to), int(to)%7); !errors.Is(err, unix.ECONNREFUSED) {
			t.Fatal(err)
		}
	}
	r.drain()
	var want []string
	for _, to := range sockets[1:4] {
		want = append(want, fmt.Sprintf("10.9.0.1 > 10.9.0.2 UDP to %d, %d bytes", to, int(to)%7))
	}
	if d := cmp.Diff(want, sayAll(r.packets(), out)); d != "" || len(r.packets()) != 3 {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestFragmentedDatagram: of its fragments the first has the ports, and only that one
// is of the run.
func TestFragmentedDatagram(t *testing.T) {
	p := newPair(t)
	client, server := p.client.record(p.config()), p.server.record(p.config())
	for _, to := range []netip.Addr{p.server4, p.server6} {
		if err := p.client.datagram(netip.AddrPortFrom(to, port), 4000); !errors.Is(err, unix.ECONNREFUSED) {
			t.Fatal(err)
		}
	}
	want := []string{
		fmt.Sprintf("10.9.0.1 > 10.9.0.2 UDP to 8080, %d bytes", 1500-ipv4Header-udpHeader),
		fmt.Sprintf("fd09::1 > fd09::2 UDP to 8080, %d bytes", 1448-udpHeader),
	}
	for way, r := range map[synclinev1.Direction]*record{out: client, in: server} {
		r.drain()
		if d := cmp.Diff(want, sayAll(r.packets(), way)); d != "" {
			t.Errorf("%v (-want +got):\n%s", way, d)
		}
		r.stop()
		r.checkWhole()
	}
}

// TestSegmentedDatagrams: UDP_SEGMENT makes one record of many datagrams, and segments
// says how many. A kernel before 6.2 cannot tell their size and drops the record from
// the ring, which is then a loss like any other.
func TestSegmentedDatagrams(t *testing.T) {
	p := newPair(t)
	r := p.client.record(p.config())
	p.client.do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT, 1000); err != nil {
			return fmt.Errorf("UDP_SEGMENT: %w", err)
		}
		return unix.Sendto(fd, make([]byte, 4500), 0, &unix.SockaddrInet4{Port: port, Addr: p.server4.As4()})
	})
	r.drain()
	r.stop()
	passed, lost := r.Frames()
	r.checkWhole()
	if lost > 0 {
		t.Skipf("%d of %d frames lost: this kernel cannot tell the size of UDP segments", lost, passed)
	}
	var datagrams, bytes uint32
	for _, packet := range r.packets() {
		datagrams += packet.Segments
		bytes += packet.PayloadLength
	}
	if datagrams != 5 || bytes != 4500 {
		t.Errorf("%d datagrams with %d bytes in %d records, want 5 with 4500", datagrams, bytes, passed)
	}
}

// TestMatcherSeesTheRefusal: a watch on a packet, as a lane's wait uses it, needs no
// drain: a prompt capture makes the packet an event by itself.
func TestMatcherSeesTheRefusal(t *testing.T) {
	p := newPair(t)
	cfg := p.withAll()
	cfg.Prompt = true
	m, err := NewMatcher(&synclinev1.WatchPacket{
		Direction: in, Protocol: protocolICMP, Source: p.server4.String(), IcmpType: 3, IcmpCode: -1, Count: 2,
	})
	if err != nil {
		t.Fatal(err)
	}
	c := p.client.open(cfg)
	seen, ended := make(chan *synclinev1.Packet, 10), make(chan error, 1)
	go func() {
		ended <- c.Run(t.Context(), func(events []*synclinev1.Event) {
			for _, e := range events {
				if packet := e.GetPacket(); packet != nil && m.Match(packet) {
					seen <- packet
				}
			}
		})
	}()
	for range 3 {
		if err := p.client.datagram(netip.AddrPortFrom(p.server4, port), 5); !errors.Is(err, unix.ECONNREFUSED) {
			t.Fatal(err)
		}
	}
	select {
	case packet := <-seen:
		if say(packet) != "10.9.0.2 > 10.9.0.1 ICMP 3/3" {
			t.Errorf("matched %s", say(packet))
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the second refusal was not seen")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if len(seen) > 0 {
		t.Error("matched twice")
	}
}

// TestBroadcastOfOthers: a promiscuous host that hears ARP between others records none.
func TestBroadcastOfOthers(t *testing.T) {
	p := newPair(t)
	r := p.client.record(p.withAll())
	others := arpFrame(1, 6, "10.9.0.254", "10.9.0.253").bytes()
	mine := arpFrame(1, 6, "10.9.0.254", "10.9.0.1").bytes()
	for _, f := range [][]byte{others, mine} {
		p.injectTo(net.HardwareAddr{255, 255, 255, 255, 255, 255}, f)
	}
	p.client.do(func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.SetPromiscOn(link)
	})
	p.injectTo(net.HardwareAddr{2, 0, 0, 0, 0, 99}, mine)
	r.await(1)
	r.stop()
	if got := sayAll(r.packets(), in); !slices.Equal(got, []string{"10.9.0.254 > 10.9.0.1 ARP 1"}) {
		t.Errorf("the tap saw %q", got)
	}
	r.checkWhole()
}
