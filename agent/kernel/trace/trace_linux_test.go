package trace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"syncline/agent/kernel"
	"syncline/agent/packet"
	synclinev1 "syncline/proto/syncline/v1"
)

// line is a trace as these tests write it: ends by the role of their port, no times,
// no cookies.
func line(e *synclinev1.Event) string {
	tr := e.GetTrace()
	if tr == nil {
		return fmt.Sprint(e)
	}
	name := strings.ToLower(strings.TrimPrefix(tr.Kind.String(), "TRACE_KIND_"))
	s := fmt.Sprintf("%s %s→%s", name, role(tr.LocalAddress), role(tr.PeerAddress))
	switch tr.Kind {
	case synclinev1.TraceKind_TRACE_KIND_STATE:
		s += fmt.Sprintf(" %v %v", kernel.State(tr.OldState), kernel.State(tr.State))
	case synclinev1.TraceKind_TRACE_KIND_ERROR:
		s += " " + unix.ErrnoName(syscall.Errno(tr.Errno))
	case synclinev1.TraceKind_TRACE_KIND_RESET_SENT, synclinev1.TraceKind_TRACE_KIND_DROP:
		s += " " + tr.Reason
	}
	return s
}

// role is an address with its port by role: none, the experiment's, one the kernel chose.
func role(address string) string {
	a := must(netip.ParseAddrPort(address))
	host := a.Addr().String()
	if a.Addr().Is6() {
		host = "[" + host + "]"
	}
	switch a.Port() {
	case 0:
		return host + ":0"
	case port:
		return host + ":port"
	}
	return host + ":any"
}

func lines(events []*synclinev1.Event) (all []string) {
	for _, e := range events {
		all = append(all, line(e))
	}
	return all
}

// statesOf are the states of each socket, by cookie, in the order of their times.
func statesOf(events []*synclinev1.Event) map[uint64][]string {
	paths := map[uint64][]string{}
	sorted := slices.SortedStableFunc(slices.Values(events), func(a, b *synclinev1.Event) int { return int(a.TimeNs - b.TimeNs) })
	for _, e := range sorted {
		tr := e.GetTrace()
		if tr.GetKind() != synclinev1.TraceKind_TRACE_KIND_STATE {
			continue
		}
		if len(paths[tr.Cookie]) == 0 {
			paths[tr.Cookie] = []string{kernel.State(tr.OldState).String()}
		}
		paths[tr.Cookie] = append(paths[tr.Cookie], kernel.State(tr.State).String())
	}
	return paths
}

// pathsOf are the different paths of states, with the number of sockets that took each.
func pathsOf(events []*synclinev1.Event) map[string]int {
	counts := map[string]int{}
	for _, path := range statesOf(events) {
		counts[strings.Join(path, " ")]++
	}
	return counts
}

// converse makes a connection, moves a byte, and closes it at the first end, which waits
// until the other has closed too.
func (p *pair) converse(t testing.TB, l int, to netip.Addr, serverFirst bool) {
	t.Helper()
	c, err := p.client.dial(to, port)
	if err != nil {
		t.Fatal(err)
	}
	a := accept(l)
	first, second := c, a
	if serverFirst {
		first, second = a, c
	}
	var b [1]byte
	must(unix.Write(first, []byte("x")))
	must(unix.Read(second, b[:]))
	check(unix.Shutdown(first, unix.SHUT_WR))
	if n := must(unix.Read(second, b[:])); n != 0 {
		t.Fatalf("read %d bytes instead of the end", n)
	}
	check(unix.Close(second))
	if n := must(unix.Read(first, b[:])); n != 0 {
		t.Fatalf("read %d bytes instead of the end", n)
	}
	check(unix.Close(first))
}

func TestBothClosers(t *testing.T) {
	p := newPair(t)
	state := []synclinev1.TraceKind{synclinev1.TraceKind_TRACE_KIND_STATE}
	client := p.client.watch(t, Config{Flows: p.flows(), Kinds: state})
	server := p.server.watch(t, Config{Flows: p.flows(), Kinds: state})
	for _, to := range []netip.Addr{p.server4, p.server6} {
		for _, serverFirst := range []bool{false, true} {
			l := p.server.listen(to, port)
			p.converse(t, l, to, serverFirst)
			check(unix.Close(l))
			active, passive := "FIN_WAIT1 FIN_WAIT2 CLOSE", "CLOSE_WAIT LAST_ACK CLOSE"
			if serverFirst {
				active, passive = passive, active
			}
			// The last acknowledgement closes the passive end, in its own time.
			want := map[string]int{"CLOSE SYN_SENT ESTABLISHED " + active: 1}
			client.wait(fmt.Sprint(want), func(all []*synclinev1.Event) bool { return cmp.Equal(want, pathsOf(all)) })
			want = map[string]int{"CLOSE LISTEN CLOSE": 1, "LISTEN SYN_RECV ESTABLISHED " + passive: 1}
			server.wait(fmt.Sprint(want), func(all []*synclinev1.Event) bool { return cmp.Equal(want, pathsOf(all)) })
			client.forget()
			server.forget()
		}
	}
}

// A connection to a port where nobody listens tells why at both ends.
func TestRefused(t *testing.T) {
	p := newPair(t)
	client := p.client.watch(t, Config{Flows: p.flows(), Own: []netip.Addr{p.client4}})
	server := p.server.watch(t, Config{Flows: p.flows(), Own: []netip.Addr{p.server4}})
	fd, err := p.client.dial(p.server4, port)
	if !errors.Is(err, unix.ECONNREFUSED) {
		t.Fatalf("connect: %v", err)
	}
	check(unix.Close(fd))
	want := []string{
		"state 10.9.0.1:0→10.9.0.2:port CLOSE SYN_SENT",
		"reset_received 10.9.0.1:any→10.9.0.2:port",
		"state 10.9.0.1:any→10.9.0.2:port SYN_SENT CLOSE",
		"error 10.9.0.1:any→10.9.0.2:port ECONNREFUSED",
		// The socket has been told to forget its peer.
		"destroyed 0.0.0.0:any→10.9.0.2:0",
	}
	if diff := cmp.Diff(want, lines(client.flush())); diff != "" {
		t.Errorf("client (-want +got):\n%s", diff)
	}
	want = []string{
		"reset_sent 10.9.0.2:port→10.9.0.1:any NO_SOCKET",
		"drop 10.9.0.2:port→10.9.0.1:any NO_SOCKET",
	}
	events := server.flush()
	if diff := cmp.Diff(want, lines(events)); diff != "" {
		t.Fatalf("server (-want +got):\n%s", diff)
	}
	for _, e := range events {
		tr := e.GetTrace()
		if tr.Flags != 2 || tr.Sequence == 0 || tr.PayloadLength != 0 || tr.Cookie != 0 {
			t.Errorf("%v is not about the SYN", tr)
		}
	}
	if place := events[1].GetTrace().Place; place != "tcp_v4_rcv" && place != "" {
		t.Errorf("the SYN was dropped in %s", place)
	}
}

// One cookie is a socket's for its whole life, and times are CLOCK_MONOTONIC.
func TestCookiesAndTimes(t *testing.T) {
	p := newPair(t)
	server := p.server.watch(t, Config{Flows: p.flows()})
	l := p.server.listen(p.server4, port)
	begin := now()
	c := must(p.client.dial(p.server4, port))
	a := accept(l)
	cookie := must(unix.GetsockoptUint64(a, unix.SOL_SOCKET, unix.SO_COOKIE))
	listener := must(unix.GetsockoptUint64(l, unix.SOL_SOCKET, unix.SO_COOKIE))
	// The connection can be accepted a moment before it is established.
	server.wait("the connection is ready", func(all []*synclinev1.Event) bool {
		return len(ofKind(all, synclinev1.TraceKind_TRACE_KIND_READY)) == 1
	})
	end := now()
	var got []string
	for _, e := range server.flush() {
		tr := e.GetTrace()
		if tr.State == uint32(kernel.Listen) && tr.OldState == uint32(kernel.Close) {
			continue
		}
		if e.TimeNs < begin || e.TimeNs > end {
			t.Errorf("%v is not between %d and %d", e, begin, end)
		}
		name := map[uint64]string{cookie: "accepted", listener: "listener"}[tr.Cookie]
		got = append(got, name+" "+strings.ToLower(strings.TrimPrefix(tr.Kind.String(), "TRACE_KIND_")))
	}
	want := []string{"accepted state", "accepted state", "listener ready"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	check(unix.Close(c))
	check(unix.Close(a))
	check(unix.Close(l))
}

func now() int64 {
	var ts unix.Timespec
	check(unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts))
	return ts.Nano()
}

// Nothing of another namespace, another port or another address is told.
func TestOthersStayOut(t *testing.T) {
	p := newPair(t)
	stranger := newHost(t)
	elsewhere := p.flows()
	elsewhere.Addresses = []netip.Addr{p.client4, netip.MustParseAddr("10.9.0.77")}
	watches := map[string]*watch{
		"another namespace": stranger.watch(t, Config{Flows: p.flows()}),
		"another port":      p.client.watch(t, Config{Flows: kernel.Flows{Addresses: p.flows().Addresses, Ports: []uint16{port + 1}}}),
		"another address":   p.client.watch(t, Config{Flows: elsewhere}),
		"another host":      p.client.watch(t, Config{Flows: p.flows(), Own: []netip.Addr{p.server4, p.server6}}),
	}
	seen := p.client.watch(t, Config{Flows: kernel.Flows{Addresses: p.flows().Addresses, Ranges: []kernel.PortRange{{Low: port, High: port}}}})
	l := p.server.listen(p.server4, port)
	p.converse(t, l, p.server4, false)
	check(unix.Close(l))
	fd, err := p.client.dial(p.server4, port)
	if !errors.Is(err, unix.ECONNREFUSED) {
		t.Fatal(err)
	}
	check(unix.Close(fd))
	if events := seen.flush(); len(events) < 10 {
		t.Errorf("the run's own events are missing: %q", lines(events))
	}
	for name, w := range watches {
		// Of a refused socket, all that is left in the end is its port.
		events := slices.DeleteFunc(slices.Clone(w.flush()), func(e *synclinev1.Event) bool {
			return name == "another host" && e.GetTrace().Kind == synclinev1.TraceKind_TRACE_KIND_DESTROYED
		})
		if len(events) > 0 {
			t.Errorf("%s: %q", name, lines(events))
		}
	}
}

// A ring that is too small loses, and knows exactly how many.
func TestTinyRing(t *testing.T) {
	const connections, states = 300, 5
	p := newPair(t)
	var tracer *Tracer
	p.client.do(func() (err error) {
		tracer, err = Open(Config{Flows: p.flows(), RingBytes: MinRingBytes, Kinds: []synclinev1.TraceKind{synclinev1.TraceKind_TRACE_KIND_STATE}})
		return err
	})
	defer tracer.Close()
	opened := now()
	l := p.server.listen(p.server4, port)
	for range connections {
		p.converse(t, l, p.server4, false)
	}
	check(unix.Close(l))
	burst := now()
	w := &watch{t: t, tracer: tracer, ended: make(chan error, 1)}
	go func() { w.ended <- tracer.Run(t.Context(), w.take) }()
	var read, lost, interrupted uint64
	for _, e := range w.flush() {
		loss := e.GetLoss()
		switch {
		case loss == nil:
			read++
		case loss.Where == "BPF ring":
			lost += loss.Count
			if loss.Source != synclinev1.Source_SOURCE_TRACEPOINTS || loss.SinceNs > opened || e.TimeNs < burst {
				t.Errorf("loss between %d and %d: %v", opened, burst, e)
			}
		default:
			interrupted += loss.Count
		}
	}
	// An interrupted tracepoint may be of whoever else is on this machine.
	if sum := read + lost; read == 0 || lost == 0 || sum > connections*states || sum+interrupted < connections*states {
		t.Errorf("%d read + %d lost + at most %d of interrupted tracepoints, of %d", read, lost, interrupted, connections*states)
	}
	// With room again, nothing more is lost.
	l = p.server.listen(p.server4, port)
	p.converse(t, l, p.server4, false)
	check(unix.Close(l))
	w.close()
	counts := must(tracer.Counts())
	if counts.Lost != lost || counts.Read <= read || counts.Read > read+states || counts.Submitted != counts.Read ||
		counts.Begun != counts.Submitted+lost || counts.Omitted != 0 {
		t.Errorf("counts %+v, after %d read and %d lost, and a connection", counts, read, lost)
	}
}

// Nothing on a healthy connection is a drop, whatever the kernel frees on its way, and
// neither is what a tap with a full ring does not take.
func TestHealthyDropsNothing(t *testing.T) {
	p := newPair(t)
	for _, h := range []*host{p.client, p.server} {
		h.do(func() error {
			tap, err := packet.Open(packet.Config{Interfaces: []string{"eth0"}, Addresses: p.flows().Addresses, Ports: []uint16{port}, RingBytes: packet.MinRingBytes})
			if err != nil {
				return err
			}
			t.Cleanup(func() {
				if _, lost := tap.Frames(); lost == 0 {
					t.Error("the tap's ring was not full")
				}
				check(tap.Close())
			})
			return nil
		})
	}
	client := p.client.watch(t, Config{Flows: p.flows(), Kinds: []synclinev1.TraceKind{synclinev1.TraceKind_TRACE_KIND_DROP}})
	server := p.server.watch(t, Config{Flows: p.flows(), Kinds: []synclinev1.TraceKind{synclinev1.TraceKind_TRACE_KIND_DROP}})
	for _, to := range []netip.Addr{p.server4, p.server6} {
		l := p.server.listen(to, port)
		for i := range 100 {
			p.converse(t, l, to, i%2 == 0)
		}
		// The FIN meets a socket that its process has closed; and data unread are reset.
		c := must(p.client.dial(to, port))
		a := accept(l)
		check(unix.Close(c))
		check(unix.Close(a))
		c = must(p.client.dial(to, port))
		a = accept(l)
		check(unix.SetsockoptLinger(c, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
		check(unix.Close(c))
		var b [1]byte
		if _, err := unix.Read(a, b[:]); !errors.Is(err, unix.ECONNRESET) {
			t.Fatal(err)
		}
		check(unix.Close(a))
		check(unix.Close(l))
	}
	for name, w := range map[string]*watch{"client": client, "server": server} {
		for _, e := range w.flush() {
			t.Errorf("%s: %v", name, e)
		}
	}
}

// Of an open from both sides, both from and to the same port, TCP drops nothing but the
// SYN+ACKs, having taken what they acknowledge, and says so; the FINs that it throws away
// in the end are no drops.
func TestSimultaneousOpen(t *testing.T) {
	p := newPair(t)
	hosts := []*host{p.client, p.server}
	addresses := []netip.Addr{p.client4, p.server4}
	for _, h := range hosts {
		// Who does not know the other's link address keeps his SYN until he is told.
		h.do(func() error { return os.WriteFile("/proc/sys/net/ipv4/conf/eth0/arp_ignore", []byte("8"), 0) })
	}
	kinds := append(slices.Clone(statesAlone), synclinev1.TraceKind_TRACE_KIND_DROP)
	client := p.client.watch(t, Config{Flows: p.flows(), Kinds: kinds})
	server := p.server.watch(t, Config{Flows: p.flows(), Kinds: kinds})
	var fds [2]int
	for i, h := range hosts {
		h.do(func() error {
			fds[i] = tcp(unix.AF_INET)
			check(unix.Bind(fds[i], sockaddr(addresses[i], port)))
			check(unix.SetNonblock(fds[i], true))
			if err := unix.Connect(fds[i], sockaddr(addresses[1-i], port)); err != unix.EINPROGRESS {
				return fmt.Errorf("connect: %w", err)
			}
			return nil
		})
	}
	link := map[*host]net.HardwareAddr{}
	for _, h := range hosts {
		h.do(func() error {
			l, err := netlink.LinkByName("eth0")
			if err == nil {
				link[h] = l.Attrs().HardwareAddr
			}
			return err
		})
	}
	for i, h := range hosts {
		h.do(func() error {
			l, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			return netlink.NeighSet(&netlink.Neigh{
				LinkIndex: l.Attrs().Index, IP: addresses[1-i].AsSlice(), HardwareAddr: link[hosts[1-i]], State: netlink.NUD_PERMANENT,
			})
		})
	}
	for i, fd := range fds {
		ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		if n := must(unix.Poll(ready, 5000)); n != 1 || must(unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)) != 0 {
			t.Fatalf("end %d is not connected", i)
		}
		check(unix.SetNonblock(fd, false))
	}
	must(unix.Write(fds[0], []byte("x")))
	var b [1]byte
	must(unix.Read(fds[1], b[:]))
	// The second FIN acknowledges the first, and finds a socket that its process has closed.
	check(unix.SetsockoptInt(fds[1], unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0))
	check(unix.Close(fds[0]))
	must(unix.Read(fds[1], b[:]))
	check(unix.Close(fds[1]))
	client.wait("closed", func(all []*synclinev1.Event) bool {
		return cmp.Equal(pathsOf(all), map[string]int{"CLOSE SYN_SENT SYN_RECV ESTABLISHED FIN_WAIT1 FIN_WAIT2 CLOSE": 1})
	})
	server.wait("closed", func(all []*synclinev1.Event) bool {
		return cmp.Equal(pathsOf(all), map[string]int{"CLOSE SYN_SENT SYN_RECV ESTABLISHED CLOSE_WAIT LAST_ACK CLOSE": 1})
	})
	for name, w := range map[string]*watch{"client": client, "server": server} {
		for _, drop := range ofKind(w.flush(), synclinev1.TraceKind_TRACE_KIND_DROP) {
			if drop.Flags != syn|ack || drop.Direction != synclinev1.Direction_DIRECTION_IN {
				t.Errorf("%s: %v", name, drop)
			}
		}
		// What the place of a drop tells, is not told without CAP_SYSLOG.
		if c := must(w.tracer.Counts()); c.Omitted > 0 {
			t.Errorf("%s: %d records of what is no drop", name, c.Omitted)
		}
	}
}

// Without capabilities the error says what to do.
func TestWithoutCapabilities(t *testing.T) {
	ended := make(chan error)
	go func() {
		// Never unlocked: the thread has no capabilities any more.
		runtime.LockOSThread()
		none := [2]unix.CapUserData{}
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		if err := unix.Capset(&header, &none[0]); err != nil {
			ended <- fmt.Errorf("give up capabilities: %w", err)
			return
		}
		_, err := Open(Config{Flows: kernel.Flows{Addresses: []netip.Addr{netip.IPv6Unspecified()}}})
		ended <- err
	}()
	err := <-ended
	var unavailable *Unavailable
	if !errors.Is(err, ErrUnavailable) || !errors.As(err, &unavailable) {
		t.Fatalf("open without capabilities: %v", err)
	}
	if !errors.Is(err, unix.EPERM) || !strings.Contains(unavailable.Reason.Error(), "CAP_BPF") || !strings.Contains(unavailable.Remedy, "CAP_BPF") {
		t.Errorf("%v", err)
	}
}

// What Open refuses, and what order of calls.
func TestMisuse(t *testing.T) {
	p := newPair(t)
	for _, cfg := range []Config{
		{},
		{Flows: p.flows(), RingBytes: 5000},
		{Flows: p.flows(), RingBytes: MaxRingBytes * 2},
		{Flows: p.flows(), Kinds: []synclinev1.TraceKind{99}},
		{Flows: kernel.Flows{Addresses: p.flows().Addresses, Ranges: []kernel.PortRange{{Low: 2, High: 1}}}},
	} {
		if tracer, err := Open(cfg); err == nil || errors.Is(err, ErrUnavailable) {
			t.Errorf("open %+v: %v", cfg, err)
			if tracer != nil {
				tracer.Close()
			}
		}
	}
	w := p.client.watch(t, Config{Flows: p.flows()})
	w.flush()
	if err := w.tracer.Run(t.Context(), w.take); err == nil {
		t.Error("a second Run was let in")
	}
	w.close()
	w.close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := w.tracer.Flush(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("flush after close: %v", err)
	}
}
