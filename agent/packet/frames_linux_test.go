package packet

import (
	order "cmp"
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
	"google.golang.org/protobuf/testing/protocmp"

	"syncline/agent/clock"
	synclinev1 "syncline/proto/syncline/v1"
)

// inject sends a crafted frame from the server's eth0 to the client's.
func (p *pair) inject(frame []byte) {
	p.server.t.Helper()
	var to net.HardwareAddr
	p.client.do(func() error {
		device, err := net.InterfaceByName("eth0")
		if err == nil {
			to = device.HardwareAddr
		}
		return err
	})
	p.injectTo(to, frame)
}

// injectTo is inject to another address of the link.
func (p *pair) injectTo(to net.HardwareAddr, frame []byte) {
	p.server.t.Helper()
	copy(frame, to)
	p.server.do(func() error {
		device, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: device.Index})
	})
}

// crafted is a frame from the pair's server to its client.
func (p *pair) crafted() frame {
	return frame{ethertypes: ethernet4, from: netip.AddrPortFrom(p.server4, port), to: netip.AddrPortFrom(p.client4, 40000)}
}

// await drains until n frames have passed, since what was injected arrives when it does,
// and once more, so that all that have passed are events.
func (r *record) await(n uint64) {
	r.t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		r.drain()
		passed, _ := r.Frames()
		if passed >= n {
			r.drain()
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("%d frames passed, want %d", passed, n)
		}
	}
}

func TestUndecodableFrameIsALoss(t *testing.T) {
	p := newPair(t)
	r := p.client.record(p.config())
	bad := p.crafted().bytes()
	bad[ethernetHeader+ipv4Header+12] = 4 << 4 // a TCP header of 16 bytes
	p.inject(bad)
	p.inject(p.crafted().bytes())
	r.await(2)
	if passed, lost := r.Frames(); passed < 2 || lost != 1 {
		t.Errorf("%d passed and %d lost, want at least 2 and exactly 1", passed, lost)
	}
	r.checkWhole()
	for _, e := range r.all() {
		if l := e.GetLoss(); l != nil && (l.Count != 1 || l.Where != "undecodable frame on eth0" || l.Source != synclinev1.Source_SOURCE_PACKETS) {
			t.Errorf("reported as %v", l)
		}
	}
}

// TestTagIsPartOfTheWire: the sender's tap sees the 802.1Q tag in the frame, the
// receiver's beside it; both count it.
func TestTagIsPartOfTheWire(t *testing.T) {
	p := newPair(t)
	client, server := p.client.record(p.config()), p.server.record(p.config())
	f := p.crafted()
	f.ethertypes = []uint16{etherVLAN, etherIPv4}
	f.payload = 20
	b := f.bytes()
	p.inject(b)
	for name, r := range map[string]*record{"receiver": client, "sender": server} {
		r.await(1)
		if got := r.packets()[0]; int(got.WireLength) != len(b) || got.PayloadLength != 20 {
			t.Errorf("%s: %d bytes on the wire, %d of payload, want %d and 20", name, got.WireLength, got.PayloadLength, len(b))
		}
	}
}

func TestOthersFramesAreRefused(t *testing.T) {
	p := newPair(t)
	r := p.client.record(p.config())
	p.client.do(func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.SetPromiscOn(link)
	})
	p.server.do(func() error {
		// A neighbour entry of our own making: frames to the client go to nobody's MAC.
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.NeighSet(&netlink.Neigh{
			LinkIndex: link.Attrs().Index, State: netlink.NUD_PERMANENT, IP: p.client4.AsSlice(),
			HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 99},
		})
	})
	heard := p.server.record(p.config())
	var fd int
	p.server.do(func() (err error) {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		err = unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: p.client4.As4()})
		if errors.Is(err, unix.EINPROGRESS) {
			return nil
		}
		return fmt.Errorf("connect to a host that does not hear: %w", err)
	})
	defer unix.Close(fd)
	heard.await(1)
	r.drain()
	if passed, _ := r.Frames(); passed != 0 {
		t.Errorf("%d frames for another host passed", passed)
	}
}

func TestInterfaceWithoutLinkHeader(t *testing.T) {
	h := newHost(t)
	own, peer := netip.MustParseAddr("10.8.0.1"), netip.MustParseAddr("10.8.0.2")
	var wire *os.File
	h.do(func() (err error) {
		wire, err = tun(own)
		return err
	})
	defer wire.Close()
	r := h.record(Config{Interfaces: []string{"tun0"}, Addresses: []netip.Addr{own, peer}, Ports: []uint16{port}})
	var fd int
	h.do(func() (err error) {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: peer.As4()}); !errors.Is(err, unix.EINPROGRESS) {
			return err
		}
		return nil
	})
	defer unix.Close(fd)
	in := frame{from: netip.AddrPortFrom(peer, port), to: netip.AddrPortFrom(own, 1), payload: 10}.bytes()
	if _, err := wire.Write(in); err != nil {
		t.Fatal(err)
	}
	r.await(2)
	var out, got *synclinev1.Packet
	for _, packet := range r.packets() {
		if packet.Direction == synclinev1.Direction_DIRECTION_OUT && out == nil {
			out = packet
		} else if packet.Direction == synclinev1.Direction_DIRECTION_IN {
			got = packet
		}
	}
	if out == nil || out.Flags != 2 || out.WireLength != uint32(ipv4Header+tcpHeader+len(out.Options)) {
		t.Errorf("the SYN that the kernel sent: %v", out)
	}
	if got == nil || got.PayloadLength != 10 || got.WireLength != uint32(len(in)) || got.Segments != 1 {
		t.Errorf("the packet that was written to the tunnel: %v", got)
	}
}

// tun makes a TUN device with an address, up.
func tun(own netip.Addr) (*os.File, error) {
	link := &netlink.Tuntap{
		LinkAttrs: netlink.LinkAttrs{Name: "tun0"}, Mode: netlink.TUNTAP_MODE_TUN,
		Flags: unix.IFF_NO_PI, NonPersist: true, Queues: 1,
	}
	if err := netlink.LinkAdd(link); err != nil {
		return nil, fmt.Errorf("make tun0: %w", err)
	}
	address, err := netlink.ParseAddr(netip.PrefixFrom(own, 24).String())
	if err != nil {
		return nil, err
	}
	if err := netlink.AddrAdd(link, address); err != nil {
		return nil, err
	}
	return link.Fds[0], netlink.LinkSetUp(link)
}

// TestCookedTapAgrees: an interface of an unknown kind has its link header stripped;
// all else is as on a raw tap, but for the size of offloaded segments, which is then
// the interface's.
func TestCookedTapAgrees(t *testing.T) {
	p := newPair(t)
	raw := p.client.record(p.config())
	c := p.client.open(p.config())
	p.client.do(func() error {
		device, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		if err := c.rings[0].close(); err != nil {
			return err
		}
		c.rings[0], err = openRingAs(unix.SOCK_DGRAM, 0, device, &c.flows, shapeOf(&Config{}))
		return err
	})
	cooked := start(t, c)
	p.exchange(p.server4, 100_000, 10)
	raw.drain()
	cooked.drain()
	ignore := protocmp.IgnoreFields(&synclinev1.Packet{}, "wire_length", "segments", "realtime_ns", "error_ns")
	// Where a packet goes out on one processor while one comes in on the other, each tap
	// may get to see either first.
	if d := cmp.Diff(byContent(raw.packets()), byContent(cooked.packets()), protocmp.Transform(), ignore); d != "" {
		t.Errorf("raw (-) and cooked (+) tap differ:\n%s", d)
	}
	for i, packet := range cooked.packets() {
		if large := packet.PayloadLength > 1460; large != (packet.Segments > 1) {
			t.Errorf("packet %d: %d bytes in %d segments", i, packet.PayloadLength, packet.Segments)
		}
	}
}

// byContent sorts packets of one connection by what they say and not by when.
func byContent(packets []*synclinev1.Packet) []*synclinev1.Packet {
	slices.SortStableFunc(packets, func(a, b *synclinev1.Packet) int {
		return order.Or(
			order.Compare(a.Direction, b.Direction), order.Compare(a.Sequence, b.Sequence),
			order.Compare(a.PayloadLength, b.PayloadLength), order.Compare(a.Flags, b.Flags),
			order.Compare(a.Acknowledgment, b.Acknowledgment), order.Compare(a.Window, b.Window),
		)
	})
	return packets
}

// TestKernelTakesTheLargestFilter: it counts the instructions, and checks that no word
// of scratch memory is read before it is written.
func TestKernelTakesTheLargestFilter(t *testing.T) {
	p := newPair(t)
	cfg := largestFlows()
	cfg.Interfaces = []string{"eth0"}
	if err := p.client.open(cfg).Close(); err != nil {
		t.Error(err)
	}
	for _, sources := range [][2]bool{{false, false}, {true, false}, {false, true}} {
		cfg.ICMP, cfg.ARP = sources[0], sources[1]
		if err := p.client.open(cfg).Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestAddressesTooManyForTheKernel: user space then refuses what is foreign, and the
// count of frames knows nothing of it.
func TestAddressesTooManyForTheKernel(t *testing.T) {
	p := newPair(t)
	cfg := p.config()
	cfg.Addresses = []netip.Addr{p.client4, p.client6, p.server6}
	for i := range 1000 {
		// Every second address of 10.9.0.0/21: the server's is in no gap that is kept.
		cfg.Addresses = append(cfg.Addresses, netip.AddrFrom4([4]byte{10, 9, byte(2 * i >> 8), byte(2*i | 1)}))
	}
	r := p.client.record(cfg)
	p.exchange(p.server4, 10, 10)
	p.exchange(p.server6, 10, 10)
	r.drain()
	for _, packet := range r.packets() {
		if len(packet.Source) != 16 {
			t.Errorf("a packet of a foreign host is an event: %v", packet)
		}
	}
	if len(r.packets()) < 6 || r.counts[0].foreign < 6 {
		t.Errorf("%d packets and %d foreign frames", len(r.packets()), r.counts[0].foreign)
	}
	r.checkWhole()
}

// TestStampAcrossAStep: where the clock was stepped, the bound holds all the time in
// which the packet can have been stamped.
func TestStampAcrossAStep(t *testing.T) {
	var moves clock.Map
	const second = int64(time.Second)
	real := 1_700_000_000 * second
	moves.Add(clock.Sample{Monotonic: 100 * second, Realtime: real, Err: 50})
	r := ring{floor: 100 * second}
	now := clock.Sample{Monotonic: 101 * second, Realtime: real + second, Err: 50}
	moves.Add(now)
	at, bound := r.monotonic(&moves, now, real+second/2)
	if at != 100*second+second/2 || bound > 200 || r.floor != at-bound {
		t.Errorf("without a step: %d ± %d, floor %d", at, bound, r.floor)
	}
	now = clock.Sample{Monotonic: 102 * second, Realtime: real + 3600*second, Err: 50}
	if moves.Add(now) == nil {
		t.Fatal("an hour is no step")
	}
	at, bound = r.monotonic(&moves, now, real+2*second-second/10)
	if low, high := at-bound, at+bound; low > r.floor || high < now.Monotonic {
		t.Errorf("with a step: %d to %d does not hold %d to %d", low, high, r.floor, now.Monotonic)
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := Config{Interfaces: []string{"eth0"}, Addresses: []netip.Addr{netip.IPv6Loopback()}, Ports: []uint16{1}}
	if err := good.check(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Config){
		"a range": func(c *Config) { c.Ranges = []PortRange{{1, 65535}} }, "ICMP": func(c *Config) { c.ICMP = true }, "ARP": func(c *Config) { c.ARP = true },
	} {
		other := good
		other.Ports = nil
		change(&other)
		if err := other.check(); err != nil {
			t.Errorf("%s without a port: %v", name, err)
		}
	}
	for name, spoil := range map[string]func(*Config){
		"no interface": func(c *Config) { c.Interfaces = nil }, "no address": func(c *Config) { c.Addresses = nil },
		"no port": func(c *Config) { c.Ports = nil }, "range backwards": func(c *Config) { c.Ranges = []PortRange{{2, 1}} }, "large snap length": func(c *Config) { c.SnapLength = MaxSnapLength + 1 },
		"negative snap length": func(c *Config) { c.SnapLength = -1 }, "large ring": func(c *Config) { c.RingBytes = MaxRingBytes + 1 },
		"small ring": func(c *Config) { c.RingBytes = 1 },
	} {
		bad := good
		spoil(&bad)
		if _, err := Open(bad); err == nil {
			t.Errorf("%s passes", name)
		}
	}
}

func TestSegments(t *testing.T) {
	for _, c := range []struct{ payload, size, want uint32 }{
		{0, 0, 1}, {0, 1448, 1}, {1448, 1448, 1}, {1449, 1448, 2}, {65160, 1448, 45}, {9000, 0, 1},
	} {
		if got := segments(c.payload, c.size); got != c.want {
			t.Errorf("%d bytes in segments of %d: %d, want %d", c.payload, c.size, got, c.want)
		}
	}
}

// TestBlocksHoldFrames: for every allowed size there are at least two blocks, each
// a multiple of a page with room for the largest frame.
func TestBlocksHoldFrames(t *testing.T) {
	for _, snap := range []int{0, 1500, MaxSnapLength} {
		for _, ring := range []int{MinRingBytes, MinRingBytes + 1, 1 << 20, DefaultRingBytes, MaxRingBytes} {
			size := blockSize(ring, snap)
			if size%os.Getpagesize() != 0 || size < snap+1024 || size > ring && ring > 1<<20 {
				t.Errorf("ring of %d with snap length %d: blocks of %d", ring, snap, size)
			}
		}
	}
}
