package setup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

func TestSysctlIsWrittenAndReadBack(t *testing.T) {
	p := newPair(t)
	o := p.a.opened(t.TempDir())
	read := func() (text []byte) {
		p.a.do(func() (err error) { text, err = os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); return err })
		return text
	}
	before := read()
	p.a.apply(o, p.target(), "x", sysctl("net.ipv4.ip_local_port_range", "40000 40001"))
	if got := string(read()); got != "40000\t40001\n" {
		t.Errorf("changed: %q", got)
	}
	p.a.undo(o, "x")
	if got := read(); !bytes.Equal(got, before) {
		t.Errorf("undone: %q, was %q", got, before)
	}
}

func TestSysctlOfAnInterface(t *testing.T) {
	p := newPair(t)
	o := p.a.opened(t.TempDir())
	p.a.do(func() error {
		return netlink.LinkModify(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}})
	})
	p.a.do(func() error {
		link, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return errors.Join(netlink.LinkSetDown(link), netlink.LinkSetName(link, "lo.1"), netlink.LinkSetUp(link))
	})
	p.a.apply(o, p.target(), "x", sysctl("net.ipv4.conf.lo/1.rp_filter", "2"))
	p.a.do(func() error {
		text, err := os.ReadFile("/proc/sys/net/ipv4/conf/lo.1/rp_filter")
		if string(text) != "2\n" {
			t.Errorf("rp_filter is %q", text)
		}
		return err
	})
}

func TestSysctlsThatAreRefused(t *testing.T) {
	p := newPair(t)
	o := p.a.opened(t.TempDir())
	for _, row := range []struct{ name, value, want string }{
		{"kernel.panic", "1", "only those below net."},
		{"net", "1", "only those below net."},
		{"net..ipv4.tcp_syncookies", "1", "is no name"},
		{"net.//.kernel.panic", "1", "is no name"},
		{"net.ipv4.route.flush", "1", "could not be put back"},
		{"net.ipv4.there_is_none", "1", "has no sysctl"},
		{"net.netfilter.nf_conntrack_max", "1", "of the whole machine"},
		{"net.ipv4.tcp_syncookies", "1\n2", "one line"},
		{"net.ipv4.tcp_syncookies", "red", "invalid argument"},
	} {
		err := p.a.try(func() error {
			return o.Apply(context.Background(), p.target(), &synclinev1.Setup{Changes: []*synclinev1.Change{sysctl(row.name, row.value)}}, nil)
		})
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
	optional := sysctl("net.ipv4.there_is_none", "1")
	optional.GetSysctl().IfPresent = true
	p.a.do(func() error {
		return o.Apply(context.Background(), p.target(), &synclinev1.Setup{Changes: []*synclinev1.Change{optional}},
			func(c *synclinev1.ChangeMade) { t.Errorf("%s is reported", c.GetText()) })
	})
	journalEmpty(t, o)
}

func TestRoutesThatRefuse(t *testing.T) {
	p := newPair(t)
	o := p.a.opened(t.TempDir())
	p.b.listen(netip.AddrPortFrom(p.b4, 9))
	p.b.listen(netip.AddrPortFrom(p.b6, 9))
	for _, row := range []struct {
		kind string
		to   netip.Addr
		want unix.Errno
	}{
		{"unreachable", p.b4, unix.EHOSTUNREACH}, {"prohibit", p.b4, unix.EACCES}, {"blackhole", p.b4, unix.EINVAL},
		{"unreachable", p.b6, unix.EHOSTUNREACH}, {"prohibit", p.b6, unix.EACCES}, {"blackhole", p.b6, unix.EINVAL},
	} {
		to := netip.PrefixFrom(row.to, row.to.BitLen()).String()
		p.a.apply(o, p.target(), "x", routed(&synclinev1.RouteChange{Destination: to, Kind: row.kind}))
		if _, err := p.a.dial(netip.AddrPortFrom(row.to, 9), patience); !errors.Is(err, row.want) {
			t.Errorf("%s %v: %v, want %v", row.kind, row.to, err, row.want)
		}
		p.a.undo(o, "x")
		if _, err := p.a.dial(netip.AddrPortFrom(row.to, 9), patience); err != nil {
			t.Errorf("after %s %v: %v", row.kind, row.to, err)
		}
	}
}

func TestMetricsOfARoute(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		t.Run(fmt.Sprint("IPv6 ", v6), func(t *testing.T) {
			p := newPair(t)
			o := p.a.opened(t.TempDir())
			to := p.b4
			if v6 {
				to = p.b6
			}
			l := p.b.listen(netip.AddrPortFrom(to, 9))
			p.a.apply(o, p.target(), "x", routed(&synclinev1.RouteChange{
				Destination: netip.PrefixFrom(to, to.BitLen()).String(), Kind: "unicast",
				Mtu: 1300, Advmss: 500, Initcwnd: 3, RtoMinMs: 40,
			}))
			c, err := p.a.dial(netip.AddrPortFrom(to, 9), patience)
			if err != nil {
				t.Fatal(err)
			}
			s, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			near, far := info(t, c), info(t, s)
			// An MTU of 1300 leaves 1300 less IP, less TCP, less 12 bytes of timestamps.
			overhead := uint32(20 + 20 + 12)
			if v6 {
				overhead += 20
			}
			if near.Pmtu != 1300 || near.Snd_mss != 1300-overhead {
				t.Errorf("path MTU %d, MSS %d; want 1300, %d", near.Pmtu, near.Snd_mss, 1300-overhead)
			}
			if far.Snd_mss != 500-12 {
				t.Errorf("b sends segments of %d bytes, want 500 less the timestamps'", far.Snd_mss)
			}
			if near.Snd_cwnd != 3 {
				t.Errorf("congestion window %d, want 3", near.Snd_cwnd)
			}
			if near.Rto < 40_000 || near.Rto >= 200_000 {
				t.Errorf("retransmission timeout %d µs, want 40 ms and something", near.Rto)
			}
		})
	}
}

func info(t *testing.T, c net.Conn) *unix.TCPInfo {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var i *unix.TCPInfo
	var infoErr error
	err = raw.Control(func(fd uintptr) { i, infoErr = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	if err := errors.Join(err, infoErr); err != nil {
		t.Fatal(err)
	}
	return i
}

// What is sent to a neighbour nowhere never arrives; the next datagram does.
func TestNeighbourNowhere(t *testing.T) {
	p := newPair(t)
	o := p.a.opened(t.TempDir())
	for _, to := range []netip.Addr{p.b4, p.b6} {
		var l net.PacketConn
		p.b.do(func() (err error) { l, err = net.ListenPacket("udp", netip.AddrPortFrom(to, 9).String()); return err })
		var c net.Conn
		p.a.do(func() (err error) { c, err = net.Dial("udp", netip.AddrPortFrom(to, 9).String()); return err })
		p.a.apply(o, p.target(), "x", neighboured(to.String(), true))
		send(t, c, "lost")
		p.a.undo(o, "x")
		send(t, c, "found")
		if got := receive(t, l); got != "found" {
			t.Errorf("%v received %q first", to, got)
		}
		c.Close()
		l.Close()
	}
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, l net.PacketConn) string {
	t.Helper()
	if err := l.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 2048)
	n, _, err := l.ReadFrom(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

func TestNeighboursAreForgotten(t *testing.T) {
	p := newPair(t)
	o := p.a.opened(t.TempDir())
	p.b.listen(netip.AddrPortFrom(p.b4, 9))
	if _, err := p.a.dial(netip.AddrPortFrom(p.b4, 9), patience); err != nil {
		t.Fatal(err)
	}
	known := func() (found bool) {
		p.a.do(func() error {
			all, err := neighbours()
			for _, n := range all {
				// The kernel keeps a deleted entry as failed while it is in use.
				found = found || n.address == p.b4 && n.state&unix.NUD_FAILED == 0
			}
			return err
		})
		return found
	}
	if !known() {
		t.Fatal("a does not know b after a connection")
	}
	made := 0
	p.a.do(func() error {
		return o.Apply(context.Background(), p.target(), &synclinev1.Setup{Changes: []*synclinev1.Change{neighboured("", false)}},
			func(*synclinev1.ChangeMade) { made++ })
	})
	if known() || made != 1 {
		t.Errorf("known: %v, reported %d times", known(), made)
	}
}

func TestLinkMTU(t *testing.T) {
	p := newPair(t)
	o := p.a.opened(t.TempDir())
	var c net.Conn
	p.a.do(func() (err error) { c, err = net.Dial("udp", netip.AddrPortFrom(p.b4, 9).String()); return err })
	defer c.Close()
	raw, err := c.(*net.UDPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var optErr error
	err = raw.Control(func(fd uintptr) {
		optErr = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
	})
	if err := errors.Join(err, optErr); err != nil {
		t.Fatal(err)
	}
	p.a.apply(o, p.target(), "x", linked("mtu 1400", &synclinev1.LinkChange{Mtu: 1400}))
	if _, err := c.Write(make([]byte, 1401-28)); !errors.Is(err, unix.EMSGSIZE) {
		t.Errorf("1401 bytes of IP: %v, want EMSGSIZE", err)
	}
	p.a.undo(o, "x")
	if _, err := c.Write(make([]byte, 1401-28)); err != nil {
		t.Errorf("after undo: %v", err)
	}
}

// 160 kB at 2.56 Mbit/s take half a second, less the bucket; without a limit, no time.
func TestLinkRate(t *testing.T) {
	p := newPair(t)
	o := p.a.opened(t.TempDir())
	l := p.b.listen(netip.AddrPortFrom(p.b4, 9))
	const size = 160_000
	pass := func() time.Duration {
		c, err := p.a.dial(netip.AddrPortFrom(p.b4, 9), patience)
		if err != nil {
			t.Fatal(err)
		}
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		begun := time.Now()
		if _, err := c.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(s, make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		return time.Since(begun)
	}
	p.a.apply(o, p.target(), "x", linked("rate 2560kbit", &synclinev1.LinkChange{Rate: 2_560_000}))
	if took := pass(); took < 400*time.Millisecond || took > 5*time.Second {
		t.Errorf("took %v, want half a second", took)
	}
	p.a.undo(o, "x")
	if took := pass(); took > 300*time.Millisecond {
		t.Errorf("took %v after undo", took)
	}
}

func TestLinkDown(t *testing.T) {
	p := newPair(t, true)
	o := p.a.opened(t.TempDir())
	p.b.listen(netip.AddrPortFrom(p.b4, 9))
	before := p.b.snapshot()
	p.a.apply(o, p.target(), "x", linked("down", &synclinev1.LinkChange{Down: true}))
	if _, err := p.a.dial(netip.AddrPortFrom(p.b4, 9), patience); !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("connect: %v, want ENETUNREACH", err)
	}
	p.b.await("b to see no carrier", func() (bool, error) {
		l, err := netlink.LinkByName("eth0")
		return err == nil && l.Attrs().OperState != netlink.OperUp, err
	})
	p.a.undo(o, "x")
	if _, err := p.a.dial(netip.AddrPortFrom(p.b4, 9), patience); err != nil {
		t.Errorf("connect after undo: %v", err)
	}
	p.b.await("b to settle", settled)
	unchanged(t, before, p.b.snapshot())
}

func TestAddresses(t *testing.T) {
	p := newPair(t)
	o := p.a.opened(t.TempDir())
	bind := func(a netip.Addr) error {
		return p.a.try(func() error {
			l, err := net.Listen("tcp", netip.AddrPortFrom(a, 0).String())
			if err != nil {
				return err
			}
			return l.Close()
		})
	}
	six := mustAddr("fd09::9")
	p.a.apply(o, p.target(), "add", addressed(p.a2.String()+"/24", false), addressed("fd09::9/64", false))
	p.a.apply(o, p.target(), "remove", addressed(p.a4.String(), true), addressed(p.a6.String()+"/64", true))
	for _, row := range []struct {
		address netip.Addr
		want    error
	}{{p.a4, unix.EADDRNOTAVAIL}, {p.a6, unix.EADDRNOTAVAIL}, {six, nil}} {
		if err := bind(row.address); !errors.Is(err, row.want) {
			t.Errorf("bind %v: %v, want %v", row.address, err, row.want)
		}
	}
	p.a.undo(o, "add")
	p.a.undo(o, "remove")
	for _, row := range []struct {
		address netip.Addr
		want    error
	}{{p.a4, nil}, {p.a6, nil}, {p.a2, unix.EADDRNOTAVAIL}, {six, unix.EADDRNOTAVAIL}} {
		if err := bind(row.address); !errors.Is(err, row.want) {
			t.Errorf("bind %v after undo: %v, want %v", row.address, err, row.want)
		}
	}
}

// What would cut the agent off from its controller is refused.
func TestTheControllerIsKept(t *testing.T) {
	p := newPair(t)
	o := p.a.opened(t.TempDir())
	target := p.target()
	target.Control = netip.AddrPortFrom(p.a4, 40000)
	target.Controller = netip.AddrPortFrom(p.b4, 7000)
	before := p.a.snapshot()
	for _, c := range []*synclinev1.Change{
		linked("down", &synclinev1.LinkChange{Down: true}),
		addressed(p.a4.String(), true),
		routed(&synclinev1.RouteChange{Destination: "10.9.0.0/24", Kind: "blackhole"}),
		neighboured(p.b4.String(), true),
	} {
		err := p.a.try(func() error {
			return o.Apply(context.Background(), target, &synclinev1.Setup{Changes: []*synclinev1.Change{c}}, nil)
		})
		if err == nil || !strings.Contains(err.Error(), "controller") {
			t.Errorf("%s: %v", c.GetText(), err)
		}
	}
	unchanged(t, before, p.a.snapshot())
}

func TestChangesThatCannotBe(t *testing.T) {
	p := newPair(t)
	o := p.a.opened(t.TempDir())
	p.a.do(func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.QdiscReplace(netlink.NewHtb(netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT}))
	})
	before := p.a.snapshot()
	stranger := p.target()
	stranger.Own = mustAddr("192.0.2.1")
	for _, row := range []struct {
		target Target
		change *synclinev1.Change
		want   string
	}{
		{p.target(), &synclinev1.Change{}, "older than the controller"},
		{p.target(), linked("rate", &synclinev1.LinkChange{Rate: 1e6}), "tc qdisc del dev eth0 root"},
		{p.target(), linked("rate", &synclinev1.LinkChange{Rate: 7}), "8 is the least"},
		{p.target(), linked("nothing", &synclinev1.LinkChange{}), "says none of"},
		{p.target(), linked("mtu", &synclinev1.LinkChange{Mtu: 1 << 20}), "MTU"},
		{stranger, linked("down", &synclinev1.LinkChange{Down: true}), "192.0.2.1"},
		{Target{}, linked("down", &synclinev1.LinkChange{Down: true}), "no address in the run"},
		{p.target(), addressed(p.a4.String()+"/24", false), "already"},
		{p.target(), addressed(p.a2.String(), false), "10.77.0.9/24"},
		{p.target(), addressed(p.a2.String(), true), "has no address"},
		{p.target(), addressed("x", true), `"x"`},
		{p.target(), neighboured("x", true), `"x"`},
		{p.target(), routed(&synclinev1.RouteChange{Destination: "10.9.0.2", Kind: "unicast"}), "10.77.0.2/32"},
		{p.target(), routed(&synclinev1.RouteChange{Destination: "10.9.0.1/32", Kind: "unreachable"}), "this host itself"},
		{p.target(), routed(&synclinev1.RouteChange{Destination: "10.8.0.0/24", Kind: "scenic"}), `"scenic"`},
		{p.target(), routed(&synclinev1.RouteChange{Destination: "10.8.0.0/24", Kind: "unicast", Gateway: "x"}), `"x"`},
		{p.target(), routed(&synclinev1.RouteChange{Destination: "10.8.0.0/24", Kind: "unicast", Gateway: "fd09::2"}), "another family"},
		{p.target(), routed(&synclinev1.RouteChange{Destination: "10.8.0.0/24", Kind: "unicast", Gateway: "10.200.0.1"}), "gateway"},
	} {
		err := p.a.try(func() error {
			return o.Apply(context.Background(), row.target, &synclinev1.Setup{Changes: []*synclinev1.Change{row.change}}, nil)
		})
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.change.GetText(), err, row.want)
		}
	}
	unchanged(t, before, p.a.snapshot())
}
