package trace

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"syncline/agent/kernel"
	synclinev1 "syncline/proto/syncline/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const port = 8080

// host is a thread in a network namespace of its own. What it has made lives until
// the thread does, and the test's end ends the thread.
type host struct {
	t    testing.TB
	work chan func()
	ns   *os.File
}

func newHost(t testing.TB) *host {
	t.Helper()
	h := &host{t: t, work: make(chan func())}
	ready := make(chan error)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// Never unlocked: the thread dies with the goroutine, and takes its namespace.
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			h.ns, err = os.Open("/proc/thread-self/ns/net")
		}
		ready <- err
		for f := range h.work {
			f()
		}
	}()
	err := <-ready
	t.Cleanup(func() {
		close(h.work)
		<-ended
		if h.ns != nil {
			h.ns.Close()
		}
	})
	if err != nil {
		t.Skipf("make a network namespace: %v (run the test as root)", err)
	}
	h.do(func() error { return up("lo") })
	return h
}

// do runs f on the host's thread.
func (h *host) do(f func() error) {
	h.t.Helper()
	if err := h.try(f); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) try(f func() error) error {
	done := make(chan error)
	h.work <- func() { done <- f() }
	return <-done
}

func up(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	return nil
}

// pair is two hosts joined by a veth pair, both ends of which are named eth0.
type pair struct {
	client, server   *host
	client4, server4 netip.Addr
	client6, server6 netip.Addr
}

func newPair(t testing.TB) *pair {
	t.Helper()
	p := &pair{
		client: newHost(t), server: newHost(t),
		client4: netip.MustParseAddr("10.9.0.1"), server4: netip.MustParseAddr("10.9.0.2"),
		client6: netip.MustParseAddr("fd09::1"), server6: netip.MustParseAddr("fd09::2"),
	}
	for _, h := range []*host{p.client, p.server} {
		// Duplicate address detection keeps IPv6 waiting for a second.
		h.do(func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0) })
	}
	p.client.do(func() error {
		link := &netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth0",
			PeerNamespace: netlink.NsFd(p.server.ns.Fd()),
		}
		if err := netlink.LinkAdd(link); err != nil {
			return fmt.Errorf("make a veth pair: %w", err)
		}
		return nil
	})
	p.client.do(func() error { return configure(p.client4, p.client6) })
	p.server.do(func() error { return configure(p.server4, p.server6) })
	return p
}

func (p *pair) flows() kernel.Flows {
	return kernel.Flows{Addresses: []netip.Addr{p.client4, p.server4, p.client6, p.server6}, Ports: []uint16{port}}
}

func configure(v4, v6 netip.Addr) error {
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	for _, prefix := range []netip.Prefix{netip.PrefixFrom(v4, 24), netip.PrefixFrom(v6, 64)} {
		address, err := netlink.ParseAddr(prefix.String())
		if err != nil {
			return err
		}
		address.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(link, address); err != nil {
			return fmt.Errorf("add %v: %w", prefix, err)
		}
	}
	return netlink.LinkSetUp(link)
}

// watch is a running tracer and what it has told.
type watch struct {
	t      testing.TB
	tracer *Tracer
	ended  chan error
	mu     sync.Mutex
	events []*synclinev1.Event
}

// watch traces the host until the test ends. It skips the test where this process may
// not, and fails it if the tracer has lost count.
func (h *host) watch(t testing.TB, cfg Config) *watch {
	t.Helper()
	w := &watch{t: t, ended: make(chan error, 1)}
	h.open(t, w, cfg)
	go func() { w.ended <- w.tracer.Run(context.Background(), w.take) }()
	t.Cleanup(func() { w.close() })
	return w
}

// open opens the tracer of a watch. It skips the test where this process may not.
func (h *host) open(t testing.TB, w *watch, cfg Config) {
	t.Helper()
	err := h.try(func() (err error) {
		w.tracer, err = Open(cfg)
		return err
	})
	if errors.Is(err, ErrUnavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(w.tracer.Close()) })
}

func (w *watch) take(events ...*synclinev1.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, events...)
}

func (w *watch) flush() []*synclinev1.Event {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := w.tracer.Flush(ctx); err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.events)
}

// wait waits until what was told is so.
func (w *watch) wait(what string, holds func([]*synclinev1.Event) bool) {
	w.t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for !holds(w.flush()) {
		if time.Now().After(deadline) {
			w.t.Fatalf("still not so: %s; told %q", what, lines(w.flush()))
		}
	}
}

// forget begins anew with what is told.
func (w *watch) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = nil
}

// close ends the tracer, and answers with all events.
func (w *watch) close() []*synclinev1.Event {
	w.t.Helper()
	if err := w.tracer.Close(); err != nil {
		w.t.Errorf("close the tracer: %v", err)
	}
	if w.ended != nil {
		if err := <-w.ended; err != nil {
			w.t.Errorf("run: %v", err)
		}
		w.ended = nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.events)
}

func must[T any](v T, err error) T {
	check(err)
	return v
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func tcp(family int) int {
	return must(unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
}

func sockaddr(a netip.Addr, port int) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Port: port, Addr: a.As4()}
	}
	return &unix.SockaddrInet6{Port: port, Addr: a.As16()}
}

func family(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func listen(a netip.Addr, port, backlog int) int {
	l := tcp(family(a))
	check(unix.SetsockoptInt(l, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	check(unix.Bind(l, sockaddr(a, port)))
	check(unix.Listen(l, backlog))
	return l
}

func (h *host) listen(a netip.Addr, port int) (fd int) {
	h.do(func() error { fd = listen(a, port, 128); return nil })
	return fd
}

func (h *host) dial(a netip.Addr, port int) (fd int, err error) {
	h.do(func() error {
		fd = tcp(family(a))
		err = unix.Connect(fd, sockaddr(a, port))
		return nil
	})
	return fd, err
}

func accept(l int) int {
	fd, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC)
	check(err)
	return fd
}
