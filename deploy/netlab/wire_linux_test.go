package netlab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Hosts with wires and a host without one reach each other over both IP versions,
// and are what every other host of a lab is.
func TestHostsReachEachOtherOverWires(t *testing.T) {
	delay := Direction{Delay: 2 * time.Millisecond, Jitter: time.Millisecond}
	l := makeLab(t, Config{
		Hosts: []string{"A", "B", "C", "plain"},
		Wires: map[string]Wire{"A": {Out: delay}, "B": {In: delay}, "C": {}},
	})
	for i, h := range l.Hosts() {
		serve(t, h)
		err := h.Do(func() error {
			link, err := net.InterfaceByName(h.Interface)
			if err != nil {
				return err
			}
			want := fmt.Sprintf("02:73:79:6e:63:%02x 1500", i+1)
			if got := fmt.Sprint(link.HardwareAddr, " ", link.MTU); got != want {
				t.Errorf("host %s has address and MTU %s, want %s", h.Name, got, want)
			}
			if diff := cmp.Diff([]string{"ctl0", "eth0", "lo"}, interfaces()); diff != "" {
				t.Errorf("links of host %s (-want +got):\n%s", h.Name, diff)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	for _, client := range l.Hosts() {
		for _, server := range l.Hosts() {
			for _, address := range []netip.Addr{server.Address, server.Address6} {
				if address.IsValid() {
					greet(t, client, server, address)
				}
			}
		}
	}
	reports, err := l.Wires()
	if err != nil || len(reports) != 3 {
		t.Fatalf("%d reports (%v), want those of A, B and C", len(reports), err)
	}
	for _, r := range reports {
		if r.Out.Delivered == 0 || r.In.Delivered == 0 || r.Missed != 0 {
			t.Errorf("the wire of %s: %+v", r.Host, r)
		}
	}
}

// datagrams has host A send to a socket of B, both with UDP; the caller closes them.
func datagrams(t testing.TB, l *Lab, from, to string) (sender, receiver *net.UDPConn) {
	t.Helper()
	err := errors.Join(
		l.Host(to).Do(func() (err error) {
			receiver, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(l.Host(to).Address, 7)))
			return err
		}),
		l.Host(from).Do(func() (err error) {
			sender, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(l.Host(to).Address, 7)))
			return err
		}),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		sender.Close()
		receiver.Close()
	})
	if err := receiver.SetReadBuffer(1 << 24); err != nil {
		t.Fatal(err)
	}
	return sender, receiver
}

// meet has the two hosts learn each other's hardware address, so that what follows does
// not wait for it.
func meet(t testing.TB, sender, receiver *net.UDPConn) {
	t.Helper()
	if _, err := sender.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	receive(t, receiver, make([]byte, 16))
}

func receive(t testing.TB, c *net.UDPConn, b []byte) []byte {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(deadline)); err != nil {
		t.Fatal(err)
	}
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// mechanisms runs a test with each of them.
func mechanisms(t *testing.T, test func(*testing.T, Mechanism)) {
	for _, m := range []Mechanism{UserSpace, Netem} {
		t.Run(m.String(), func(t *testing.T) {
			if m == Netem && !kernelHasNetem(t) {
				t.Skip("the kernel has no netem: try modprobe sch_netem")
			}
			test(t, m)
		})
	}
}

func kernelHasNetem(t *testing.T) bool {
	t.Helper()
	has, err := makeLab(t, Config{Hosts: []string{"A"}}).fabric.hasNetem()
	if err != nil {
		t.Fatal(err)
	}
	return has
}

// sighting is a datagram of the test at a tap.
type sighting struct {
	number uint32
	at     time.Time
	length int
}

// tap is an AF_PACKET socket at a host's eth0, with the kernel's stamps.
type tap struct {
	t  testing.TB
	fd int
}

func newTap(t testing.TB, h *Host) *tap {
	t.Helper()
	p := &tap{t: t, fd: -1}
	err := h.Do(func() (err error) {
		link, err := net.InterfaceByName(h.Interface)
		if err != nil {
			return err
		}
		// In network byte order.
		const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8
		if p.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return errors.Join(
			unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
			unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1<<24),
			unix.SetsockoptTimeval(p.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(deadline / time.Second)}),
			unix.Bind(p.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: link.Index}),
		)
	})
	t.Cleanup(func() { unix.Close(p.fd) })
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// next is the next UDP datagram for port 7 that the tap sees.
func (p *tap) next() sighting {
	p.t.Helper()
	buffer := make([]byte, maxFrame)
	for {
		const ipv4, udp = 14, 34
		f, at := p.read(buffer)
		if len(f) < udp+12 || !bytes.Equal(f[12:14], []byte{8, 0}) || f[ipv4+9] != unix.IPPROTO_UDP ||
			binary.BigEndian.Uint16(f[udp+2:]) != 7 || bytes.HasPrefix(f[udp+8:], []byte("hell")) {
			continue
		}
		return sighting{binary.BigEndian.Uint32(f[udp+8:]), at, len(f)}
	}
}

func numbered(i int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(i)) }

// awaitStamps sends until the kernel stamps at all taps as packets pass: it begins with that
// some time after a socket has asked for it, and until then it stamps as they are read.
func awaitStamps(t *testing.T, sender *net.UDPConn, taps ...*tap) {
	t.Helper()
	await(t, "the kernel stamps at the taps", func() bool {
		if _, err := sender.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		stamps := true
		for _, p := range taps {
			stamps = p.stamped() && stamps
		}
		return stamps
	})
}

// stamped waits for one frame, reads it, and reports whether the kernel had stamped it before.
func (p *tap) stamped() bool {
	p.t.Helper()
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}, int(deadline/time.Millisecond))
	for err == unix.EINTR {
		n, err = unix.Poll([]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}, int(deadline/time.Millisecond))
	}
	if err != nil || n != 1 {
		p.t.Fatalf("wait for a frame at a tap: %d, %v", n, err)
	}
	before := time.Now()
	_, at := p.read(make([]byte, maxFrame))
	return !at.After(before)
}

// read is the next frame that the tap sees, in b, and its stamp.
func (p *tap) read(b []byte) (frame []byte, at time.Time) {
	p.t.Helper()
	control := make([]byte, 128)
	n, cn, _, _, err := unix.Recvmsg(p.fd, b, control, 0)
	for err == unix.EINTR {
		n, cn, _, _, err = unix.Recvmsg(p.fd, b, control, 0)
	}
	if err != nil {
		p.t.Fatalf("read from a tap: %v", err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:cn])
	if err != nil || len(messages) != 1 {
		p.t.Fatalf("%d control messages, want the stamp alone (%v)", len(messages), err)
	}
	stamp := (*unix.Timespec)(unsafe.Pointer(&messages[0].Data[0]))
	return b[:n], time.Unix(stamp.Unix())
}

// The two ways of a wire have delays of their own, seen by the taps of the hosts.
// Never sooner; later by as much as a busy machine may keep a thread waiting.
func TestWireDelaysEachWayByItsOwn(t *testing.T) {
	const there, back, patience, frames = 5 * time.Millisecond, time.Millisecond, 15 * time.Millisecond, 200
	mechanisms(t, func(t *testing.T, m Mechanism) {
		l := makeLab(t, Config{Hosts: []string{"A", "B"}, Mechanism: m, Wires: map[string]Wire{
			"A": {Out: Direction{Delay: there}, In: Direction{Delay: back}},
		}})
		for _, way := range []struct {
			from, to string
			delay    time.Duration
		}{{"A", "B", there}, {"B", "A", back}} {
			sender, receiver := datagrams(t, l, way.from, way.to)
			meet(t, sender, receiver)
			near, far := newTap(t, l.Host(way.from)), newTap(t, l.Host(way.to))
			awaitStamps(t, sender, near, far)
			var took []time.Duration
			for i := range frames {
				if _, err := sender.Write(numbered(i)); err != nil {
					t.Fatal(err)
				}
				left, came := near.next(), far.next()
				if left.number != uint32(i) || came.number != uint32(i) {
					t.Fatalf("datagram %d left as %d and came as %d", i, left.number, came.number)
				}
				took = append(took, came.at.Sub(left.at))
			}
			slices.Sort(took)
			t.Logf("%s to %s: min %v, median %v, max %v", way.from, way.to, took[0], took[frames/2], took[frames-1])
			if took[0] < way.delay || took[frames/2] > way.delay+patience {
				t.Errorf("%s to %s took %v at least and %v in the median, want %v or a little more",
					way.from, way.to, took[0], took[frames/2], way.delay)
			}
		}
	})
}

// Frames keep their order though each has a delay of its own.
func TestJitterKeepsOrder(t *testing.T) {
	const frames = 3000
	mechanisms(t, func(t *testing.T, m Mechanism) {
		l := makeLab(t, Config{Hosts: []string{"A", "B"}, Mechanism: m, Wires: map[string]Wire{
			"A": {Out: Direction{Delay: 5 * time.Millisecond, Jitter: 5 * time.Millisecond}},
			"B": {In: Direction{Delay: 2 * time.Millisecond, Jitter: time.Millisecond}},
		}})
		if m == Netem {
			stayOnOneProcessor(t)
		}
		sender, receiver := datagrams(t, l, "A", "B")
		meet(t, sender, receiver)
		far := newTap(t, l.Host("B"))
		const window = 100
		for i := 0; i < frames; i += window {
			for j := range window {
				if _, err := sender.Write(numbered(i + j)); err != nil {
					t.Fatal(err)
				}
			}
			for j := range window {
				if got := far.next(); got.number != uint32(i+j) {
					t.Fatalf("datagram %d came in the place of %d", got.number, i+j)
				}
			}
		}
	})
}

// stayOnOneProcessor keeps the rest of the test on one, and with it the timers of
// netem and the backlog of its veth pairs, which keep no order between processors (DESIGN.md,
// Order). The thread ends with the test.
func stayOnOneProcessor(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	var allowed, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		t.Fatal(err)
	}
	for i := 0; one.Count() == 0; i++ {
		if allowed.IsSet(i) {
			one.Set(i)
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
}

func TestReorderingReorders(t *testing.T) {
	const frames = 200
	mechanisms(t, func(t *testing.T, m Mechanism) {
		l := makeLab(t, Config{Hosts: []string{"A", "B"}, Mechanism: m, Wires: map[string]Wire{
			"A": {Out: Direction{Delay: 50 * time.Millisecond, Reorder: 0.2}},
		}})
		sender, receiver := datagrams(t, l, "A", "B")
		meet(t, sender, receiver)
		far := newTap(t, l.Host("B"))
		for i := range frames {
			if _, err := sender.Write(numbered(i)); err != nil {
				t.Fatal(err)
			}
		}
		var came []uint32
		for range frames {
			came = append(came, far.next().number)
		}
		if slices.IsSorted(came) {
			t.Error("all came in order")
		}
		slices.Sort(came)
		if len(slices.Compact(came)) != frames {
			t.Errorf("%d different datagrams came, want %d", len(slices.Compact(came)), frames)
		}
	})
}

// settled waits until nothing is under way and returns the reports by host.
func settled(t testing.TB, l *Lab) map[string]WireReport {
	t.Helper()
	var reports map[string]WireReport
	end := time.Now().Add(deadline)
	for {
		all, err := l.Wires()
		if err != nil {
			t.Fatal(err)
		}
		reports = map[string]WireReport{}
		flying := uint64(0)
		for _, r := range all {
			reports[r.Host] = r
			flying += r.Out.InFlight + r.In.InFlight
		}
		if flying == 0 {
			return reports
		}
		if time.Now().After(end) {
			t.Fatalf("still under way after %v: %+v", deadline, all)
		}
		time.Sleep(time.Millisecond)
	}
}

// linkCounters are the kernel's own for a host's eth0.
func linkCounters(t testing.TB, h *Host) (s netlink.LinkStatistics) {
	t.Helper()
	err := h.Do(func() error {
		link, err := netlink.LinkByName(h.Interface)
		if err == nil {
			s = *link.Attrs().Statistics
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// One frame in ten is lost, within five standard deviations of 10,000, and the
// counts are those of the kernel and of the sockets to the last frame.
func TestLossIsCountedToTheLastFrame(t *testing.T) {
	const frames, loss, window = 10_000, 0.1, 100
	l := makeLab(t, Config{Hosts: []string{"A", "B"}, Mechanism: UserSpace, Wires: map[string]Wire{
		"A": {Out: Direction{Loss: loss}, Seed: 7}, "B": {},
	}})
	sender, receiver := datagrams(t, l, "A", "B")
	neighbour(t, l.Host("A"), l.Host("B"), 2)
	came := 0
	for i := 0; i < frames; i += window {
		for j := range window {
			if _, err := sender.Write(numbered(i + j)); err != nil {
				t.Fatal(err)
			}
		}
		// All have come whose fate is to come, and are in the socket's buffer.
		await(t, "the window has left", func() bool { return settled(t, l)["A"].Out.Taken >= uint64(i+window) })
		settled(t, l)
		came += emptied(t, receiver)
	}
	reports := settled(t, l)
	a, b := reports["A"], reports["B"]
	sigma := math.Sqrt(frames * loss * (1 - loss))
	if off := math.Abs(float64(frames-came) - frames*loss); off > 5*sigma {
		t.Errorf("%d of %d are lost, want %v", frames-came, frames, frames*loss)
	}
	sent, got := linkCounters(t, l.Host("A")), linkCounters(t, l.Host("B"))
	if a.Out.Taken != sent.TxPackets || a.Missed != sent.TxDropped {
		t.Errorf("taken %d and missed %d, the kernel of A says sent %d and dropped %d", a.Out.Taken, a.Missed, sent.TxPackets, sent.TxDropped)
	}
	if b.In.Delivered != got.RxPackets {
		t.Errorf("delivered %d, the kernel of B says received %d", b.In.Delivered, got.RxPackets)
	}
	for _, c := range []Counts{a.Out, a.In, b.Out, b.In} {
		if c.Taken != c.Delivered+c.Lost+c.Overflowed+c.Refused {
			t.Errorf("the counts do not add up: %+v", c)
		}
	}
	// Few other frames have left A: those of IPv6's own.
	if others := int(a.Out.Taken) - frames; others < 0 || others > 50 || int(a.Out.Lost) < frames-came {
		t.Errorf("%d frames besides the datagrams, %d lost of all and %d of the datagrams", others, a.Out.Lost, frames-came)
	}
}

// emptied reads all datagrams that are in a socket's buffer now, and counts them.
func emptied(t testing.TB, c *net.UDPConn) (came int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 16)
	var failed error
	err = raw.Control(func(fd uintptr) {
		for {
			_, _, failed = unix.Recvfrom(int(fd), buffer, unix.MSG_DONTWAIT)
			switch failed {
			case nil:
				came++
			case unix.EINTR:
			default:
				return
			}
		}
	})
	if err != nil || failed != unix.EAGAIN {
		t.Fatalf("read what is in a socket: %v, %v", err, failed)
	}
	return came
}

// neighbour tells a host another's hardware address, the n-th of the lab.
func neighbour(t testing.TB, h, other *Host, n byte) {
	t.Helper()
	setLink(t, h, hostInterface, func(link netlink.Link) error {
		return netlink.NeighSet(&netlink.Neigh{
			LinkIndex: link.Attrs().Index, State: netlink.NUD_PERMANENT,
			IP: other.Address.AsSlice(), HardwareAddr: net.HardwareAddr{2, 's', 'y', 'n', 'c', n},
		})
	})
}

// A megabyte at 10 Mbit/s takes 0.8 s, and no tap sees a record that is more than one
// frame of the wire.
func TestRateAndNoSuperframes(t *testing.T) {
	const megabyte, rate = 1_000_000, 10_000_000
	mechanisms(t, func(t *testing.T, m Mechanism) {
		l := makeLab(t, Config{Hosts: []string{"A", "B"}, Mechanism: m, Wires: map[string]Wire{
			"A": {Out: Direction{Rate: rate}},
		}})
		listener, err := l.Host("B").Listen("tcp4", ":7")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		c, err := l.Host("A").Dial(t.Context(), "tcp4", netip.AddrPortFrom(l.Host("B").Address, 7).String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		accepted, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer accepted.Close()
		before := linkCounters(t, l.Host("A"))
		began := time.Now()
		wrote := make(chan error, 1)
		go func() {
			_, err := c.Write(make([]byte, megabyte))
			wrote <- err
		}()
		if _, err := io.ReadFull(accepted, make([]byte, megabyte)); err != nil {
			t.Fatal(err)
		}
		took := time.Since(began)
		if err := <-wrote; err != nil {
			t.Fatal(err)
		}
		t.Logf("took %v", took)
		if took < megabyte*8*time.Second/rate || took > deadline {
			t.Errorf("a megabyte took %v, want 0.8 s or a little more", took)
		}
		after := linkCounters(t, l.Host("A"))
		if least := uint64(megabyte / 1500); after.TxPackets-before.TxPackets < least {
			t.Errorf("%d frames carried a megabyte, want at least %d", after.TxPackets-before.TxPackets, least)
		}
	})
}

// A burst that the queue has no room for is dropped and counted.
func TestLimitOverflows(t *testing.T) {
	const burst, limit = 100, 10
	mechanisms(t, func(t *testing.T, m Mechanism) {
		l := makeLab(t, Config{Hosts: []string{"A", "B"}, Mechanism: m, Wires: map[string]Wire{
			"A": {Out: Direction{Rate: 1_000_000, Limit: limit}},
		}})
		sender, _ := datagrams(t, l, "A", "B")
		neighbour(t, l.Host("A"), l.Host("B"), 2)
		for range burst {
			if _, err := sender.Write(make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
		}
		await(t, "the burst has left", func() bool { return settled(t, l)["A"].Out.Taken >= burst })
		out := settled(t, l)["A"].Out
		dropped := out.Overflowed + out.Lost
		if dropped == 0 || dropped > burst || out.Delivered < limit || out.Taken != out.Delivered+dropped {
			t.Errorf("of a burst of %d at a queue of %d: %+v", burst, limit, out)
		}
		if m == UserSpace && out.Lost != 0 {
			t.Errorf("%d were lost by chance, want none", out.Lost)
		}
	})
}

// TAPs have the kernel's transmit stamps, as network cards do.
func TestTransmitStamps(t *testing.T) {
	l := makeLab(t, Config{Hosts: []string{"A", "B"}, Mechanism: UserSpace, Wires: map[string]Wire{"A": {}}})
	sender, receiver := datagrams(t, l, "A", "B")
	meet(t, sender, receiver)
	raw, err := sender.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	near := newTap(t, l.Host("A"))
	var stamp time.Time
	err = raw.Control(func(fd uintptr) {
		flags := unix.SOF_TIMESTAMPING_TX_SOFTWARE | unix.SOF_TIMESTAMPING_SOFTWARE
		if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPING, flags); err != nil {
			t.Error(err)
		}
		if _, err := unix.Write(int(fd), numbered(1)); err != nil {
			t.Error(err)
		}
		control := make([]byte, 256)
		// The stamp was made before the write returned.
		_, n, _, _, err := unix.Recvmsg(int(fd), make([]byte, 2048), control, unix.MSG_ERRQUEUE)
		if err != nil {
			t.Errorf("read the stamp: %v", err)
			return
		}
		messages, err := unix.ParseSocketControlMessage(control[:n])
		if err != nil {
			t.Error(err)
		}
		for _, m := range messages {
			if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPING {
				ts := (*unix.Timespec)(unsafe.Pointer(&m.Data[0]))
				stamp = time.Unix(ts.Unix())
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	seen := near.next()
	if off := stamp.Sub(seen.at).Abs(); stamp.IsZero() || off > time.Second {
		t.Errorf("the transmit stamp is %v, the tap's %v", stamp, seen.at)
	}
}

// A host whose link is down refuses frames, and takes them again when it is up; one
// whose link is removed in the midst of traffic harms nobody else.
func TestLinkGoesDuringTraffic(t *testing.T) {
	l := makeLab(t, Config{Hosts: []string{"A", "B", "C"}, Mechanism: UserSpace, Wires: map[string]Wire{
		"A": {Out: Direction{Delay: time.Millisecond}}, "B": {In: Direction{Delay: time.Millisecond}}, "C": {},
	}})
	a, b := l.Host("A"), l.Host("B")
	sender, receiver := datagrams(t, l, "A", "B")
	neighbour(t, a, b, 2)
	meet(t, sender, receiver)
	write := func() {
		t.Helper()
		if _, err := sender.Write(numbered(1)); err != nil {
			t.Fatal(err)
		}
	}
	setLink(t, b, hostInterface, netlink.LinkSetDown)
	await(t, "the link that is down refuses", func() bool { write(); return settled(t, l)["B"].In.Refused > 0 })
	setLink(t, b, hostInterface, netlink.LinkSetUp)
	delivered := settled(t, l)["B"].In.Delivered
	await(t, "the link that is up takes", func() bool { write(); return settled(t, l)["B"].In.Delivered > delivered })

	refused := settled(t, l)["B"].In.Refused
	setLink(t, b, hostInterface, netlink.LinkDel)
	await(t, "the link that is gone refuses", func() bool { write(); return settled(t, l)["B"].In.Refused > refused })
	serve(t, l.Host("C"))
	greet(t, a, l.Host("C"), l.Host("C").Address)
	if reports, err := l.Wires(); err != nil || len(reports) != 3 {
		t.Errorf("%d reports, %v", len(reports), err)
	}
}

// What the lab's own processes say does not go over the wires.
func TestControlNetworkHasNoWire(t *testing.T) {
	nothing := Direction{Loss: 1}
	l := makeLab(t, Config{Hosts: []string{"A", "B"}, Mechanism: UserSpace, Wires: map[string]Wire{
		"A": {Out: nothing, In: nothing}, "B": {Out: nothing, In: nothing},
	}})
	serve(t, l.Host("B"))
	c, err := l.Host("A").Dial(t.Context(), "tcp", netip.AddrPortFrom(l.Host("B").Control, 7).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if greeting, err := io.ReadAll(c); err != nil || len(greeting) == 0 {
		t.Errorf("got %q, %v", greeting, err)
	}
}

func TestWireOfAClosedLab(t *testing.T) {
	l := makeLab(t, Config{Hosts: []string{"A"}, Wires: map[string]Wire{"A": {}}})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Wires(); !errors.Is(err, ErrClosed) {
		t.Errorf("Wires after Close: %v", err)
	}
}

// A lab whose frames are moved by its maker cannot outlive it.
func TestWiresAreNotKept(t *testing.T) {
	l, err := New(Config{Hosts: []string{"A"}, Keep: true, Mechanism: UserSpace, Wires: map[string]Wire{"A": {}}})
	if errors.Is(err, ErrPrivilege) {
		t.Skip(err)
	}
	if err == nil {
		t.Fatal("it was made", l.Close())
	}
}

func TestKilledMakerLeavesNoWire(t *testing.T) {
	w := newWitness(t)
	cmd := ourselves("wired maker")
	r := outcome(t, cmd, (*exec.Cmd).Start)
	if n := w.watchAllOf(t, cmd.Process.Pid); n != 3 {
		t.Fatalf("the maker holds %d namespaces, want the two hosts and the switch", n)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range r.PIDs {
		await(t, fmt.Sprintf("process %d is gone", pid), func() bool { return !alive(pid) })
	}
	await(t, "every namespace is gone", func() bool { return w.remaining(t) == 0 })
	if err := cmd.Wait(); err == nil {
		t.Error("the maker ended well, it should have been killed")
	}
	if err := os.RemoveAll(r.Dir); err != nil {
		t.Error(err)
	}
}

func TestRefusedTAPsSayWhatToDo(t *testing.T) {
	for errno, want := range map[unix.Errno]string{
		unix.EACCES: "read and write access",
		unix.ENOENT: "pass the device through",
		unix.ENODEV: "modprobe tun",
	} {
		err := tunRefused(errno)
		if !errors.Is(err, errno) || errors.Is(err, ErrPrivilege) || !strings.Contains(err.Error(), tunDevice) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", errno, err, want)
		}
	}
}
