package netlab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

func TestHostsReachEachOther(t *testing.T) {
	before := interfaces()
	l := makeLab(t, Config{Hosts: []string{"A", "B", "C", "D", "E", "F", "G", "H"}})
	if diff := cmp.Diff(before, interfaces()); diff != "" {
		t.Errorf("the caller's links changed (-before +after):\n%s", diff)
	}
	for _, server := range l.Hosts() {
		serve(t, server)
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
}

// serve answers each connection to port 7 of the host with the host's name and the
// address that the connection came from.
func serve(t *testing.T, h *Host) {
	t.Helper()
	listener, err := h.Listen("tcp", ":7")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			from := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
			fmt.Fprintf(c, "%s greets %v", h.Name, from)
			c.Close()
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-done
	})
}

func greet(t *testing.T, client, server *Host, address netip.Addr) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	c, err := client.Dial(ctx, "tcp", netip.AddrPortFrom(address, 7).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	greeting, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	own := client.Address
	if address.Is6() {
		own = client.Address6
	}
	if want := fmt.Sprintf("%s greets %v", server.Name, own); string(greeting) != want {
		t.Errorf("host %s to %v: got %q, want %q", client.Name, address, greeting, want)
	}
}

func TestAddressesFollowTheSubnets(t *testing.T) {
	l := makeLab(t, Config{
		Hosts:   []string{"client", "server"},
		Subnet:  netip.MustParsePrefix("192.0.2.8/29"),
		Subnet6: netip.MustParsePrefix("2001:db8:7::/64"),
		MTU:     1400,
	})
	for i, h := range l.Hosts() {
		want4 := netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", 9+i))
		want6 := netip.MustParseAddr(fmt.Sprintf("2001:db8:7::%d", 1+i))
		if h.Address != want4 || hasIPv6() && h.Address6 != want6 {
			t.Errorf("host %s has %v and %v, want %v and %v", h.Name, h.Address, h.Address6, want4, want6)
		}
		err := h.Do(func() error {
			link, err := net.InterfaceByName(h.Interface)
			if err != nil {
				return err
			}
			wantMAC := fmt.Sprintf("02:73:79:6e:63:%02x", i+1)
			if link.MTU != 1400 || link.HardwareAddr.String() != wantMAC {
				t.Errorf("host %s: MTU %d and address %v, want 1400 and %s", h.Name, link.MTU, link.HardwareAddr, wantMAC)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestProcessesLiveOnTheirHost(t *testing.T) {
	l := makeLab(t, Config{Hosts: []string{"A", "B"}})
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{own: true}
	for _, h := range l.Hosts() {
		var p *Process
		r := outcome(t, ourselves("sleeper"), func(cmd *exec.Cmd) (err error) {
			p, err = h.Start(cmd)
			return err
		})
		if seen[r.Namespace] {
			t.Errorf("host %s is in %s, which another has too", h.Name, r.Namespace)
		}
		seen[r.Namespace] = true
		if diff := cmp.Diff([]string{"ctl0", "eth0", "lo"}, r.Interfaces); diff != "" {
			t.Errorf("links of host %s (-want +got):\n%s", h.Name, diff)
		}
		if p.PID() != r.PIDs[0] {
			t.Errorf("PID is %d, the process says %d", p.PID(), r.PIDs[0])
		}
	}
	if now, err := os.Readlink("/proc/self/ns/net"); err != nil || now != own {
		t.Errorf("this process moved from %s to %s (%v)", own, now, err)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	w := newWitness(t)
	dirs := labDirs(t)
	l := makeLab(t, Config{Hosts: []string{"A", "B"}})
	var pids []int
	for _, role := range []string{"sleeper", "parent"} {
		for _, h := range l.Hosts() {
			r := outcome(t, ourselves(role), func(cmd *exec.Cmd) error {
				_, err := h.Start(cmd)
				return err
			})
			pids = append(pids, r.PIDs...)
		}
	}
	if err := os.WriteFile(filepath.Join(l.Dir(), "spool"), []byte("events"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := w.watchAllOf(t, os.Getpid()); n != 3 {
		t.Fatalf("the lab holds %d namespaces, want the two hosts and the switch", n)
	}
	for range 2 {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, pid := range pids {
		// The children of a "parent" are reaped by whoever inherits them.
		await(t, fmt.Sprintf("process %d is gone", pid), func() bool { return !alive(pid) })
	}
	// Close itself has waited for the hosts; only the switch may still be on its way.
	if n := w.remaining(t); n > 1 {
		t.Errorf("%d namespaces exist after Close", n)
	}
	await(t, "the switch is gone", func() bool { return w.remaining(t) == 0 })
	if diff := cmp.Diff(dirs, labDirs(t)); diff != "" {
		t.Errorf("directories (-before +after):\n%s", diff)
	}
}

func TestNothingWorksAfterClose(t *testing.T) {
	l := makeLab(t, Config{Hosts: []string{"A"}})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	h := l.Host("A")
	if err := h.Do(func() error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("Do after Close: %v", err)
	}
	if _, err := h.Start(ourselves("sleeper")); !errors.Is(err, ErrClosed) {
		t.Errorf("Start after Close: %v", err)
	}
	if _, err := h.Listen("tcp", ":0"); !errors.Is(err, ErrClosed) {
		t.Errorf("Listen after Close: %v", err)
	}
}

func TestCloseKillsWhatIgnoresSIGTERM(t *testing.T) {
	l, err := New(Config{Hosts: []string{"A"}, Grace: 500 * time.Millisecond})
	if errors.Is(err, ErrPrivilege) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	var p *Process
	outcome(t, ourselves("stubborn"), func(cmd *exec.Cmd) (err error) {
		p, err = l.Host("A").Start(cmd)
		return err
	})
	if err := l.Close(); err == nil || !strings.Contains(err.Error(), "was killed") {
		t.Errorf("Close says %v, want that it had to kill", err)
	}
	var exit *exec.ExitError
	if err := p.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != unix.SIGKILL {
		t.Errorf("the process ended with %v, want SIGKILL", err)
	}
}

func TestCloseNamesWhatHoldsAHost(t *testing.T) {
	l, err := New(Config{Hosts: []string{"A", "B"}, Grace: 2 * time.Second})
	if errors.Is(err, ErrPrivilege) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	listener, err := l.Host("B").Listen("tcp", ":7")
	if err != nil {
		t.Fatal(err)
	}
	w := newWitness(t)
	w.watchAllOf(t, os.Getpid())
	var held *HeldError
	if err := l.Close(); !errors.As(err, &held) {
		t.Fatalf("Close with an open listener: %v, want a HeldError", err)
	}
	if held.Host != "B" || len(held.By) != 1 || held.By[0].PID != os.Getpid() || held.By[0].Descriptor < 0 {
		t.Errorf("held: %v, want host B by a descriptor of this process", held)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	await(t, "every namespace is gone", func() bool { return w.remaining(t) == 0 })
}

func TestCloseDestroysOrphans(t *testing.T) {
	for _, network := range []string{"tcp4", "tcp6"} {
		t.Run(network, func(t *testing.T) {
			l := makeLab(t, Config{Hosts: []string{"A", "B"}})
			server := l.Host("B").Address
			if network == "tcp6" {
				server = l.Host("B").Address6
			}
			if !server.IsValid() {
				t.Skip("the kernel runs without IPv6; boot it without ipv6.disable=1")
			}
			orphan(t, l, network, netip.AddrPortFrom(server, 7).String())
			started := time.Now()
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			t.Logf("closed in %v", time.Since(started))
		})
	}
}

// orphan leaves a socket at A that nobody has open and that waits for an answer to
// its FIN for minutes: the path to B is cut first.
func orphan(t *testing.T, l *Lab, network, server string) {
	t.Helper()
	listener, err := l.Host("B").Listen(network, server)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	c, err := l.Host("A").Dial(ctx, network, server)
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	ports, err := l.fabric.ports()
	if err != nil {
		t.Fatal(err)
	}
	for _, port := range ports {
		if err := l.fabric.links.LinkSetDown(port); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(c.Close(), accepted.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestNoOffloads(t *testing.T) {
	for _, off := range []bool{false, true} {
		l := makeLab(t, Config{Hosts: []string{"A", "B"}, NoOffloads: off})
		want := uint32(1)
		if off {
			want = 0
		}
		for _, h := range l.Hosts() {
			err := h.Do(func() error {
				for _, feature := range []uint32{unix.ETHTOOL_GTSO, unix.ETHTOOL_GGSO, unix.ETHTOOL_GTXCSUM} {
					if got, err := ethtool(h.Interface, feature, 0); err != nil || got != want {
						t.Errorf("NoOffloads %v: command %#x at host %s gives %d (%v), want %d",
							off, feature, h.Name, got, err, want)
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		}
	}
}

func TestNoHostEverHasTheMainThread(t *testing.T) {
	l, err := NewLoopback(Config{Hosts: []string{"A"}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	// As many at once as it takes for the scheduler to offer every thread it has.
	var all errgroup.Group
	for range 64 {
		all.Go(func() error {
			return l.Host("A").Do(func() error {
				if unix.Gettid() == unix.Getpid() {
					return errors.New("this is the main thread, which cannot end")
				}
				return nil
			})
		})
	}
	if err := all.Wait(); err != nil {
		t.Error(err)
	}
}

func BenchmarkNewAndClose(b *testing.B) {
	for _, hosts := range []int{2, 8} {
		b.Run(fmt.Sprintf("hosts=%d", hosts), func(b *testing.B) {
			cfg := Config{}
			for i := range hosts {
				cfg.Hosts = append(cfg.Hosts, fmt.Sprint("host", i))
			}
			var closing time.Duration
			for b.Loop() {
				l, err := New(cfg)
				if errors.Is(err, ErrPrivilege) {
					b.Skip(err)
				}
				if err != nil {
					b.Fatal(err)
				}
				started := time.Now()
				if err := l.Close(); err != nil {
					b.Fatal(err)
				}
				closing += time.Since(started)
			}
			b.ReportMetric(closing.Seconds()*1e3/float64(b.N), "close-ms/op")
		})
	}
}

func TestDoReportsGoexit(t *testing.T) {
	l, err := NewLoopback(Config{Hosts: []string{"A"}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Host("A").Do(func() error { runtime.Goexit(); return nil }); !errors.Is(err, errGoexit) {
		t.Errorf("got %v, want errGoexit", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	many := make([]string, 255)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	for name, cfg := range map[string]Config{
		"no host":        {},
		"too many hosts": {Hosts: many},
		"empty name":     {Hosts: []string{""}},
		"name twice":     {Hosts: []string{"A", "A"}},
		"small subnet":   {Hosts: []string{"A", "B", "C"}, Subnet: netip.MustParsePrefix("192.0.2.0/30")},
		"IPv6 as IPv4":   {Hosts: []string{"A"}, Subnet: DefaultSubnet6},
		"small MTU":      {Hosts: []string{"A"}, MTU: 576},
		"negative grace": {Hosts: []string{"A"}, Grace: -1},
	} {
		if _, err := New(cfg); err == nil || !strings.HasPrefix(err.Error(), "netlab: ") {
			t.Errorf("%s: New says %v, want an error of the configuration", name, err)
		}
	}
}

func TestNamesAreRefused(t *testing.T) {
	l, err := NewLoopback(Config{Hosts: []string{"A"}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := l.Host("A").Listen("tcp", "localhost:0"); err == nil {
		t.Error("Listen took a name")
	}
	if _, err := l.Host("A").Dial(context.Background(), "tcp", "localhost:7"); err == nil {
		t.Error("Dial took a name")
	}
}
