package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const port = 8080

var (
	loopback4 = netip.MustParseAddr("127.0.0.1")
	loopback6 = netip.MustParseAddr("::1")
)

// inNamespace runs f in a fresh network namespace with lo up. f's failures are panics
// of its own kind, so that they end it on the thread that it runs on.
func inNamespace(t *testing.T, f func()) {
	t.Helper()
	ended := make(chan any)
	go func() {
		defer func() { ended <- recover() }()
		// Never unlocked: the thread and its namespace die with the goroutine.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			panic(skip{err})
		}
		up("lo")
		f()
	}()
	switch r := (<-ended).(type) {
	case nil:
	case skip:
		t.Skipf("make a network namespace: %v (run the test as root, or in `unshare -Urn`)", r.err)
	default:
		t.Fatal(r)
	}
}

type skip struct{ err error }

// alongside runs f on another thread in the calling thread's namespace. The answer
// waits for it, and fails as f did.
func alongside(f func()) (wait func()) {
	ns := must(os.Open("/proc/thread-self/ns/net"))
	ended := make(chan any, 1)
	go func() {
		defer func() { ended <- recover() }()
		runtime.LockOSThread()
		check(unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET))
		check(ns.Close())
		f()
	}()
	return func() {
		if r := <-ended; r != nil {
			panic(r)
		}
	}
}

// waitUntil polls an observable until it holds.
func waitUntil(what string, holds func() bool) {
	deadline := time.Now().Add(5 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			panic("still not so: " + what)
		}
		runtime.Gosched()
	}
}

// must ends the test's thread on an error.
func must[T any](v T, err error) T {
	check(err)
	return v
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func up(name string) { check(netlink.LinkSetUp(must(netlink.LinkByName(name)))) }

// end is a blocking TCP socket that close closes once.
type end int

func tcp(family int) end {
	return end(must(unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)))
}

func (e end) write(text string) error {
	_, err := unix.Write(int(e), []byte(text))
	return err
}

func (e end) close() { check(unix.Close(int(e))) }

func sockaddr(a netip.Addr, port int) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Port: port, Addr: a.As4()}
	}
	return &unix.SockaddrInet6{Port: port, Addr: a.As16()}
}

func listener(a netip.Addr) end {
	family := unix.AF_INET6
	if a.Is4() {
		family = unix.AF_INET
	}
	l := tcp(family)
	check(unix.Bind(int(l), sockaddr(a, port)))
	check(unix.Listen(int(l), 16))
	return l
}

func dial(a netip.Addr) end {
	family := unix.AF_INET6
	if a.Is4() {
		family = unix.AF_INET
	}
	c := tcp(family)
	check(unix.Connect(int(c), sockaddr(a, port)))
	return c
}

func (e end) accept() end {
	fd, _, err := unix.Accept4(int(e), unix.SOCK_CLOEXEC)
	return end(must(fd, err))
}

func flowsOf(addresses ...netip.Addr) Flows {
	return Flows{Addresses: addresses, Ports: []uint16{port}}
}

// waitFor looks until the states of the run's busy sockets are the wanted ones, since
// the peer's segments arrive when they do.
func waitFor(addresses []netip.Addr, want ...State) []Socket {
	slices.Sort(want)
	deadline := time.Now().Add(5 * time.Second)
	for {
		busy := must(Busy(flowsOf(addresses...)))
		var got []State
		for _, s := range busy {
			got = append(got, s.State)
		}
		slices.Sort(got)
		if slices.Equal(got, want) {
			return busy
		}
		if time.Now().After(deadline) {
			panic(fmt.Sprintf("busy are %v, want %v", busy, want))
		}
		runtime.Gosched()
	}
}

func TestStatesOfAConnection(t *testing.T) {
	for _, a := range []netip.Addr{loopback4, loopback6} {
		t.Run(a.String(), func(t *testing.T) {
			inNamespace(t, func() {
				all := []netip.Addr{a}
				l := listener(a)
				waitFor(all)
				c := dial(a)
				// The server's end is in the listener's queue, and busy before accept.
				waitFor(all, Established, Established)
				s := l.accept()
				check(unix.Shutdown(int(c), unix.SHUT_WR))
				waitFor(all, FinWait2, CloseWait)
				s.close()
				// The client is in TIME_WAIT, the server's end is gone.
				waitFor(all)
				c.close()
				l.close()
			})
		})
	}
}

func TestOrphanInFinWait2IsBusy(t *testing.T) {
	inNamespace(t, func() {
		all := []netip.Addr{loopback4}
		l := listener(loopback4)
		c := dial(loopback4)
		s := l.accept()
		c.close()
		for _, b := range waitFor(all, FinWait2, CloseWait) {
			if b.State == FinWait2 && b.Inode != 0 {
				panic("the orphan has an inode")
			}
		}
		s.close()
		waitFor(all)
		l.close()
	})
}

func TestRequestSocketIsBusy(t *testing.T) {
	inNamespace(t, func() {
		l := listener(loopback4)
		// The third ACK alone does not make a full socket then, tcp(7).
		check(unix.SetsockoptInt(int(l), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 30))
		c := dial(loopback4)
		waitFor([]netip.Addr{loopback4}, Established, SynRecv)
		c.close()
		l.close()
	})
}

func TestSynSentIsBusy(t *testing.T) {
	inNamespace(t, func() {
		check(netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth1"}))
		up("eth0")
		up("eth1")
		check(netlink.AddrAdd(must(netlink.LinkByName("eth0")), must(netlink.ParseAddr("10.9.0.1/24"))))
		own, absent := netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.0.2")
		c := tcp(unix.AF_INET)
		check(unix.SetNonblock(int(c), true))
		if err := unix.Connect(int(c), sockaddr(absent, port)); !errors.Is(err, unix.EINPROGRESS) {
			panic(err)
		}
		b := waitFor([]netip.Addr{own, absent}, SynSent)
		if got := b[0].String(); !strings.HasPrefix(got, "SYN_SENT 10.9.0.1:") || !strings.HasSuffix(got, " 10.9.0.2:8080") {
			panic(got)
		}
		waitFor([]netip.Addr{own})
		c.close()
		waitFor([]netip.Addr{own, absent})
	})
}

func TestIPv4OfAnIPv6SocketIsFound(t *testing.T) {
	inNamespace(t, func() {
		l := listener(netip.IPv6Unspecified())
		c := dial(loopback4)
		waitFor([]netip.Addr{loopback4}, Established, Established)
		waitFor([]netip.Addr{netip.MustParseAddr("::ffff:127.0.0.1")}, Established, Established)
		c.close()
		l.close()
	})
}

func TestOthersSocketsAreNotTheRuns(t *testing.T) {
	inNamespace(t, func() {
		l := listener(loopback4)
		c := dial(loopback4)
		if b := must(Busy(Flows{Addresses: []netip.Addr{loopback4}, Ports: []uint16{port + 1}})); len(b) != 0 {
			panic(fmt.Sprint("of another port: ", b))
		}
		if b := must(Busy(flowsOf(loopback6))); len(b) != 0 {
			panic(fmt.Sprint("of another address: ", b))
		}
		c.close()
		l.close()
	})
}

func TestManySocketsInOneDump(t *testing.T) {
	const connections = 300
	inNamespace(t, func() {
		l := tcp(unix.AF_INET)
		check(unix.Bind(int(l), sockaddr(loopback4, port)))
		check(unix.Listen(int(l), connections))
		var want []State
		var ends []end
		for range connections {
			ends = append(ends, dial(loopback4), l.accept())
			want = append(want, Established, Established)
		}
		waitFor([]netip.Addr{loopback4}, want...)
		for _, e := range ends {
			e.close()
		}
		waitFor([]netip.Addr{loopback4})
		l.close()
	})
}

func TestQuiet(t *testing.T) {
	inNamespace(t, func() {
		all := flowsOf(loopback4)
		l := listener(loopback4)
		c := dial(loopback4)
		s := l.accept()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		busy, err := Quiet(ctx, all)
		if len(busy) != 2 || !errors.Is(err, context.DeadlineExceeded) {
			panic(fmt.Sprintf("two open ends: %v, %v", busy, err))
		}
		closed := make(chan struct{})
		timer := time.AfterFunc(5*time.Millisecond, func() {
			c.close()
			s.close()
			close(closed)
		})
		defer timer.Stop()
		if busy, err := Quiet(t.Context(), all); len(busy) != 0 || err != nil {
			panic(fmt.Sprintf("both ends closed: %v, %v", busy, err))
		}
		select {
		case <-closed:
		default:
			panic("quiet before both ends were closed")
		}
		l.close()
	})
}

func TestNoDescriptorIsLeaked(t *testing.T) {
	before := must(os.ReadDir("/proc/self/fd"))
	for range 20 {
		must(Busy(flowsOf(loopback4)))
		must(Quiet(t.Context(), Flows{Addresses: []netip.Addr{loopback4}, Ports: []uint16{1}}))
	}
	if after := must(os.ReadDir("/proc/self/fd")); len(after) != len(before) {
		t.Errorf("%d descriptors before, %d after", len(before), len(after))
	}
}

func TestAnswersOfTheKernel(t *testing.T) {
	everything := func(Socket) bool { return true }
	if _, done, err := answer(message(messageDone, make([]byte, 4)), nil, everything); !done || err != nil {
		t.Errorf("the end of a dump: %v, %v", done, err)
	}
	refusal := []byte{0xff, 0xff, 0xff, 0xff} // -EPERM
	_, _, err := answer(message(messageError, refusal), nil, everything)
	if errno, ok := errors.AsType[errnoError](err); !ok || unix.Errno(errno) != unix.EPERM {
		t.Errorf("a refusal: %v", err)
	}
	m := make([]byte, diagMessage)
	m[0], m[1], m[5] = familyIPv4, uint8(LastAck), 80
	copy(m[8:], []byte{10, 0, 0, 1})
	copy(m[24:], []byte{10, 0, 0, 2})
	got, done, err := answer(append(message(20, m), message(messageDone, make([]byte, 4))...), nil, everything)
	want := []Socket{{State: LastAck, Local: netip.MustParseAddrPort("10.0.0.1:80"), Remote: netip.MustParseAddrPort("10.0.0.2:0")}}
	if d := cmp.Diff(fmt.Sprint(want), fmt.Sprint(got)); d != "" || !done || err != nil {
		t.Errorf("one socket: %v, %v\n%s", done, err, d)
	}
}

// message puts a netlink header before a body.
func message(kind byte, body []byte) []byte {
	m := make([]byte, messageHeader, messageHeader+len(body))
	m[0], m[4] = byte(messageHeader+len(body)), kind
	return append(m, body...)
}

func FuzzAnswer(f *testing.F) {
	f.Add(message(messageDone, make([]byte, 4)))
	f.Add(message(messageError, []byte{1, 0, 0, 0}))
	f.Add(message(20, make([]byte, diagMessage)))
	f.Fuzz(func(t *testing.T, datagram []byte) {
		sockets, done, err := answer(datagram, nil, func(Socket) bool { return true })
		if len(sockets) > len(datagram)/diagMessage {
			t.Errorf("%d sockets in %d bytes", len(sockets), len(datagram))
		}
		if !done && err == nil && len(datagram) > 0 && len(sockets) == 0 {
			t.Error("a datagram that says nothing is taken for an answer")
		}
	})
}

// BenchmarkBusyWhenQuiet is what one look costs at the end of a repetition.
func BenchmarkBusyWhenQuiet(b *testing.B) {
	for b.Loop() {
		if _, err := Busy(flowsOf(loopback4)); err != nil {
			b.Fatal(err)
		}
	}
}
