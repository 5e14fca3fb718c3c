package packet

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"syncline/agent/clock"
	synclinev1 "syncline/proto/syncline/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const port = 8080

// record is a capture that runs, and what it has emitted.
type record struct {
	*Capture
	t      testing.TB
	cancel context.CancelFunc
	ended  chan error

	mu     sync.Mutex
	events []*synclinev1.Event
}

func (h *host) record(cfg Config) *record {
	h.t.Helper()
	return start(h.t, h.open(cfg))
}

func start(t testing.TB, c *Capture) *record {
	ctx, cancel := context.WithCancel(t.Context())
	r := &record{Capture: c, t: t, cancel: cancel, ended: make(chan error, 1)}
	go func() {
		r.ended <- c.Run(ctx, func(events []*synclinev1.Event) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.events = append(r.events, events...)
		})
	}()
	return r
}

func (r *record) drain() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Second)
	defer cancel()
	if err := r.Drain(ctx, 5*time.Millisecond); err != nil {
		r.t.Fatal(err)
	}
}

func (r *record) stop() {
	r.t.Helper()
	r.cancel()
	if err := <-r.ended; err != nil {
		r.t.Fatal(err)
	}
}

func (r *record) all() []*synclinev1.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*synclinev1.Event(nil), r.events...)
}

func (r *record) packets() (list []*synclinev1.Packet) {
	for _, e := range r.all() {
		if p := e.GetPacket(); p != nil {
			list = append(list, p)
		}
	}
	return list
}

func (r *record) lost() (n uint64) {
	for _, e := range r.all() {
		n += e.GetLoss().GetCount()
	}
	return n
}

// checkWhole asserts the contract: emitted + lost = passed, by the kernel's count.
func (r *record) checkWhole() {
	r.t.Helper()
	passed, lost := r.Frames()
	if got := r.lost(); got != lost {
		r.t.Errorf("Loss events report %d frames, Frames says %d", got, lost)
	}
	if emitted := uint64(len(r.packets())); emitted+lost != passed {
		r.t.Errorf("%d packets emitted and %d lost, but %d passed the filter", emitted, lost, passed)
	}
}

func (p *pair) config() Config {
	return Config{Interfaces: []string{"eth0"}, Addresses: p.addresses(), Ports: []uint16{port}}
}

func (p *pair) listen(address netip.Addr) net.Listener {
	p.server.t.Helper()
	var l net.Listener
	p.server.do(func() (err error) {
		l, err = net.Listen("tcp", netip.AddrPortFrom(address, port).String())
		return err
	})
	p.server.t.Cleanup(func() { l.Close() })
	return l
}

// exchange is one connection: handshake, a request and its answer, close by the
// client, then by the server. It returns when both ends have read the other's FIN.
func (p *pair) exchange(address netip.Addr, request, answer int) {
	t := p.client.t
	t.Helper()
	l := p.listen(address)
	defer l.Close()
	served := make(chan error, 1)
	go func() { served <- serve(l, request, answer) }()
	var conn net.Conn
	p.client.do(func() (err error) {
		conn, err = net.Dial("tcp", l.Addr().String())
		return err
	})
	defer conn.Close()
	if _, err := conn.Write(make([]byte, request)); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, conn); err != nil || n != int64(answer) {
		t.Fatalf("the client read %d bytes of %d: %v", n, answer, err)
	}
	if err := <-served; err != nil {
		t.Fatal(err)
	}
}

func serve(l net.Listener, request, answer int) error {
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.ReadFull(conn, make([]byte, request)); err != nil {
		return err
	}
	if _, err := conn.Write(make([]byte, answer)); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, conn)
	return err
}

// segment is what both taps must agree on.
type segment struct {
	From, To      netip.AddrPort
	Seq, Ack      uint32
	Flags, Window uint32
	Options       string
	Length        uint32
	IPID          uint32
}

func segmentOf(p *synclinev1.Packet) segment {
	from, _ := netip.AddrFromSlice(p.Source)
	to, _ := netip.AddrFromSlice(p.Destination)
	return segment{
		From: netip.AddrPortFrom(from, uint16(p.SourcePort)),
		To:   netip.AddrPortFrom(to, uint16(p.DestinationPort)),
		Seq:  p.Sequence, Ack: p.Acknowledgment, Flags: p.Flags, Window: p.Window,
		Options: string(p.Options), Length: p.PayloadLength, IPID: p.IpId,
	}
}

// split gives the segments of one tap by direction, each in the tap's order.
func split(packets []*synclinev1.Packet) (out, in []segment) {
	for _, p := range packets {
		if p.Direction == synclinev1.Direction_DIRECTION_OUT {
			out = append(out, segmentOf(p))
		} else {
			in = append(in, segmentOf(p))
		}
	}
	return out, in
}

func TestBothTapsSeeTheSameSegments(t *testing.T) {
	p := newPair(t)
	for _, address := range []netip.Addr{p.server4, p.server6} {
		t.Run(address.String(), func(t *testing.T) {
			client, server := p.client.record(p.config()), p.server.record(p.config())
			p.exchange(address, 100, 200)
			client.drain()
			server.drain()
			sent, got := split(client.packets())
			answered, heard := split(server.packets())
			if d := cmp.Diff(sent, heard, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); d != "" {
				t.Errorf("client's OUT (-) and server's IN (+) differ:\n%s", d)
			}
			if d := cmp.Diff(answered, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); d != "" {
				t.Errorf("server's OUT (-) and client's IN (+) differ:\n%s", d)
			}
			// SYN, ACK, data and FIN at the least.
			if len(sent) < 4 || sent[0].Flags != 2 {
				t.Errorf("the client's tap saw %d segments out, the first with flags %#x", len(sent), sent[0].Flags)
			}
			client.stop()
			server.stop()
			client.checkWhole()
			server.checkWhole()
		})
	}
}

func TestEventsSayWhatTheKernelSays(t *testing.T) {
	p := newPair(t)
	cfg := p.config()
	cfg.SnapLength = 7
	before := clock.Now()
	r := p.client.record(cfg)
	p.exchange(p.server4, 100, 0)
	r.drain()
	after := clock.Now()
	for _, e := range r.all() {
		packet := e.GetPacket()
		if packet == nil {
			continue
		}
		if e.TimeNs+packet.ErrorNs < before || e.TimeNs-packet.ErrorNs > after {
			t.Errorf("stamp %d ± %d is outside the test, %d to %d", e.TimeNs, packet.ErrorNs, before, after)
		}
		if packet.ErrorNs <= 0 || packet.ErrorNs > int64(time.Millisecond) {
			t.Errorf("a stamp has an error of %d ns", packet.ErrorNs)
		}
		if now := time.Now().UnixNano(); packet.RealtimeNs > now || packet.RealtimeNs < now-int64(time.Minute) {
			t.Errorf("realtime %d is not of this minute", packet.RealtimeNs)
		}
		headers := uint32(ethernetHeader + ipv4Header + tcpHeader + len(packet.Options))
		if packet.WireLength != headers+packet.PayloadLength {
			t.Errorf("%d bytes on the wire, but %d of headers and %d of payload", packet.WireLength, headers, packet.PayloadLength)
		}
		if want := min(packet.PayloadLength, 7); uint32(len(packet.Payload)) != want {
			t.Errorf("%d bytes of %d kept, want %d", len(packet.Payload), packet.PayloadLength, want)
		}
		if packet.Ttl != 64 || packet.Interface != "eth0" || packet.Segments != 1 {
			t.Errorf("ttl %d, interface %s, %d segments", packet.Ttl, packet.Interface, packet.Segments)
		}
	}
}

func TestOffloadedSegmentsAreCounted(t *testing.T) {
	p := newPair(t)
	r := p.client.record(p.config())
	p.exchange(p.server4, 1<<20, 0)
	r.drain()
	// 1500 of MTU, less 40 of headers, less 12 of the timestamps option.
	const mss = 1448
	var first, last uint32
	large := 0
	for _, packet := range r.packets() {
		if want := max((packet.PayloadLength+mss-1)/mss, 1); packet.Segments != want {
			t.Errorf("%d bytes of payload are %d segments, want %d", packet.PayloadLength, packet.Segments, want)
		}
		if packet.Segments > 1 {
			large++
		}
		if packet.Direction != synclinev1.Direction_DIRECTION_OUT {
			continue
		}
		if packet.Flags&2 != 0 {
			first = packet.Sequence + 1
			last = first
		}
		// By sequence number, since a busy machine makes TCP retransmit.
		if end := packet.Sequence + packet.PayloadLength; packet.PayloadLength > 0 && int32(end-last) > 0 {
			last = end
		}
	}
	if large == 0 {
		t.Error("no record stands for more than one segment; is TSO off on veth?")
	}
	if last-first != 1<<20 {
		t.Errorf("the tap saw %d bytes of payload, want %d", last-first, 1<<20)
	}
}

func TestLoopbackShowsEachPacketTwice(t *testing.T) {
	h := newHost(t)
	own := netip.MustParseAddr("127.0.0.1")
	r := h.record(Config{Interfaces: []string{"lo"}, Addresses: []netip.Addr{own}, Ports: []uint16{port}})
	p := &pair{client: h, server: h}
	p.exchange(own, 10, 10)
	r.drain()
	out, in := split(r.packets())
	if d := cmp.Diff(out, in, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); d != "" || len(out) < 6 {
		t.Errorf("lo showed %d OUT; OUT (-) and IN (+) differ:\n%s", len(out), d)
	}
}

func TestNothingForeignEnters(t *testing.T) {
	p := newPair(t)
	cfg := p.config()
	cfg.Ports = []uint16{port + 1}
	otherPort := p.client.record(cfg)
	cfg = p.config()
	cfg.Addresses = []netip.Addr{p.client4, p.server6}
	otherAddress := p.client.record(cfg)
	p.exchange(p.server4, 100, 100)
	for name, r := range map[string]*record{"port": otherPort, "address": otherAddress} {
		r.drain()
		if passed, _ := r.Frames(); passed != 0 {
			t.Errorf("%d frames of another %s passed the filter", passed, name)
		}
	}
}

func TestOverflowIsCountedExactly(t *testing.T) {
	p := newPair(t)
	cfg := p.config()
	cfg.RingBytes = MinRingBytes
	small := p.client.open(cfg)
	whole := p.client.record(p.config())
	for range 20 {
		p.exchange(p.server4, 100, 100)
	}
	whole.drain()
	want := uint64(len(whole.packets()))
	if passed, _ := small.Frames(); passed != want {
		t.Errorf("%d frames passed the stalled capture, %d the other", passed, want)
	}
	r := start(t, small)
	r.drain()
	passed, lost := r.Frames()
	if passed != want || lost == 0 || lost == passed {
		t.Errorf("%d passed and %d lost, want %d passed and a part of it lost", passed, lost, want)
	}
	r.checkWhole()
	checkLosses(t, r)
}

func checkLosses(t *testing.T, r *record) {
	t.Helper()
	for _, e := range r.all() {
		if l := e.GetLoss(); l != nil && (l.Where != "capture ring of eth0" || l.SinceNs >= e.TimeNs || l.SinceNs == 0) {
			t.Errorf("loss of %d in %q between %d and %d", l.Count, l.Where, l.SinceNs, e.TimeNs)
		}
	}
}

func TestDrainKnowsTheLastPacket(t *testing.T) {
	p := newPair(t)
	r := p.client.record(p.config())
	for range 20 {
		p.exchange(p.server4, 10, 10)
		// The client's last segment is the ACK of the server's FIN; only Drain can
		// know that it has become an event.
		r.drain()
		passed, _ := r.Frames()
		if got := uint64(len(r.packets())); got != passed {
			t.Fatalf("after drain %d of %d packets are events", got, passed)
		}
	}
}

func TestDrainFailsWithTheReason(t *testing.T) {
	p := newPair(t)
	r := p.client.record(p.config())
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := r.Drain(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("drain with no time: %v", err)
	}
	r.stop()
	if err := r.Drain(t.Context(), time.Hour); err == nil {
		t.Error("drain after Run has ended says that it saw an hour's silence")
	}
}

func TestCloseEndsRun(t *testing.T) {
	p := newPair(t)
	r := p.client.record(p.config())
	p.exchange(p.server4, 10, 10)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-r.ended; err != nil {
		t.Fatal(err)
	}
	r.checkWhole()
	if err := r.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	if err := r.Run(t.Context(), func([]*synclinev1.Event) {}); err == nil {
		t.Error("Run after Close succeeds")
	}
}

func TestNoDescriptorIsLeaked(t *testing.T) {
	p := newPair(t)
	before := descriptors(t)
	for range 10 {
		r := p.client.record(p.config())
		r.drain()
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		bad := p.config()
		bad.Interfaces = []string{"eth0", "none0"}
		p.client.do(func() error {
			if _, err := Open(bad); err == nil {
				return errors.New("opened a capture on an interface that is not there")
			}
			return nil
		})
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestRefusalSaysWhatToDo(t *testing.T) {
	err := refused(unix.EPERM)
	var u *Unavailable
	if !errors.Is(err, ErrUnavailable) || !errors.Is(err, unix.EPERM) || !errors.As(err, &u) || u.Remedy == "" {
		t.Errorf("EPERM of socket(2) becomes %v", err)
	}
	if err := refused(unix.EMFILE); errors.Is(err, ErrUnavailable) || !errors.Is(err, unix.EMFILE) {
		t.Errorf("EMFILE of socket(2) becomes %v", err)
	}
}

func TestInterfacesOfThePath(t *testing.T) {
	p := newPair(t)
	loopback := netip.MustParseAddr("127.0.0.2")
	for _, c := range []struct {
		own   netip.Addr
		peers []netip.Addr
		want  []string
	}{
		{p.client4, []netip.Addr{p.server4}, []string{"eth0"}},
		{p.client6, []netip.Addr{p.server6, p.server4}, []string{"eth0"}},
		{p.client4, []netip.Addr{p.client4, p.server4}, []string{"lo", "eth0"}},
		{loopback, []netip.Addr{netip.MustParseAddr("127.0.0.3")}, []string{"lo"}},
	} {
		p.client.do(func() error {
			got, err := Interfaces(c.own, c.peers)
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("interfaces from %v to %v:\n%s", c.own, c.peers, d)
			}
			return err
		})
	}
	p.client.do(func() error {
		if got, err := Interfaces(p.server4, []netip.Addr{p.server4}); err == nil {
			t.Errorf("the peer's address passes for an own one: %v", got)
		}
		return nil
	})
}
