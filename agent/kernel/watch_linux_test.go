package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"syncline/agent/clock"
)

// look starts a StateWatch on a thread of its own; the answer waits for what it says.
func look(w *StateWatch) func() (Sighting, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	var seen Sighting
	var err error
	wait := alongside(func() {
		defer cancel()
		seen, err = w.Run(ctx)
	})
	return func() (Sighting, error) {
		wait()
		return seen, err
	}
}

// of is a watch for a state of a socket of this process, or as if it were another's.
func of(e end, wanted State, elsewhere bool) *StateWatch {
	w := &StateWatch{Cookie: must(SocketCookie(int(e))), Descriptor: int(e), Wanted: wanted}
	if elsewhere {
		w.Descriptor = -1
	}
	return w
}

func wantSeen(wait func() (Sighting, error), state State) {
	if got := must(wait()); got.State != state || got.TimeNs == 0 {
		panic(fmt.Sprintf("seen in %v at %d, want %v", got.State, got.TimeNs, state))
	}
}

// everyWay runs a test for sockets of this process and of another, over both families.
func everyWay(t *testing.T, f func(a netip.Addr, elsewhere bool)) {
	for _, a := range []netip.Addr{loopback4, loopback6} {
		for _, elsewhere := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v elsewhere=%v", a, elsewhere), func(t *testing.T) {
				inNamespace(t, func() { f(a, elsewhere) })
			})
		}
	}
}

func TestWatchFollowsAConnectionToItsEnd(t *testing.T) {
	everyWay(t, func(a netip.Addr, elsewhere bool) {
		l := listener(a)
		wantSeen(look(of(l, Listen, elsewhere)), Listen)
		family := unix.AF_INET
		if a.Is6() {
			family = unix.AF_INET6
		}
		c := tcp(family)
		established := look(of(c, Established, elsewhere))
		check(unix.Connect(int(c), sockaddr(a, port)))
		s := l.accept()
		wantSeen(established, Established)
		timeWait, gone := look(of(c, TimeWait, elsewhere)), of(s, Close, elsewhere)
		// Whether it looks before the end or after.
		gone.Accepted = true
		closed := look(gone)
		closeWait := look(of(s, CloseWait, elsewhere))
		check(unix.Shutdown(int(c), unix.SHUT_WR))
		wantSeen(look(of(c, FinWait2, elsewhere)), FinWait2)
		wantSeen(closeWait, CloseWait)
		s.close()
		c.close()
		wantSeen(timeWait, TimeWait)
		wantSeen(closed, Close)
		l.close()
	})
}

func TestWatchSeesTimeWaitOfAnOpenDescriptor(t *testing.T) {
	inNamespace(t, func() {
		l := listener(loopback4)
		c := dial(loopback4)
		s := l.accept()
		timeWait := look(of(c, TimeWait, false))
		check(unix.Shutdown(int(c), unix.SHUT_WR))
		wantSeen(look(of(c, FinWait2, false)), FinWait2)
		s.close()
		// The socket itself is CLOSE now; what waits is the mini socket.
		wantSeen(timeWait, TimeWait)
		c.close()
		l.close()
	})
}

func TestWatchSeesRequestSocketsOfAListener(t *testing.T) {
	everyWay(t, func(a netip.Addr, elsewhere bool) {
		l := listener(a)
		check(unix.SetsockoptInt(int(l), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 30))
		request := look(of(l, SynRecv, elsewhere))
		c := dial(a)
		wantSeen(request, SynRecv)
		c.close()
		l.close()
	})
}

func TestWatchSeesSynSentAndItsEnd(t *testing.T) {
	for _, elsewhere := range []bool{false, true} {
		t.Run(fmt.Sprint("elsewhere=", elsewhere), func(t *testing.T) {
			inNamespace(t, func() {
				check(netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth1"}))
				up("eth0")
				up("eth1")
				check(netlink.AddrAdd(must(netlink.LinkByName("eth0")), must(netlink.ParseAddr("10.9.0.1/24"))))
				c := tcp(unix.AF_INET)
				check(unix.SetNonblock(int(c), true))
				synSent, gone := look(of(c, SynSent, elsewhere)), of(c, Close, elsewhere)
				if err := unix.Connect(int(c), sockaddr(netip.MustParseAddr("10.9.0.2"), port)); !errors.Is(err, unix.EINPROGRESS) {
					panic(err)
				}
				wantSeen(synSent, SynSent)
				local, _ := endsOf(int(c))
				gone.Found(local, netip.MustParseAddrPort("10.9.0.2:8080"))
				closed := look(gone)
				c.close()
				wantSeen(closed, Close)
			})
		})
	}
}

func TestWatchTakesWhatMustHavePassed(t *testing.T) {
	inNamespace(t, func() {
		l := listener(loopback4)
		c := dial(loopback4)
		s := l.accept()
		wantSeen(look(of(c, SynSent, false)), Established)
		accepted := of(s, SynRecv, false)
		accepted.Accepted = true
		wantSeen(look(accepted), Established)
		c.close()
		s.close()
		l.close()
	})
}

func TestWatchSaysWhatItMissed(t *testing.T) {
	inNamespace(t, func() {
		l := listener(loopback4)
		c := dial(loopback4)
		s := l.accept()
		w := of(s, FinWait1, false)
		c.close()
		wantSeen(look(of(s, CloseWait, false)), CloseWait)
		waiting := look(w)
		s.close()
		_, err := waiting()
		if missed, ok := errors.AsType[*MissedError](err); !ok || missed.Wanted != FinWait1 || len(missed.Seen) == 0 {
			panic(fmt.Sprint("a socket that is gone: ", err))
		}
		l.close()
	})
}

func TestWatchFindsWhatItIsTold(t *testing.T) {
	inNamespace(t, func() {
		l := listener(loopback4)
		c := dial(loopback4)
		s := l.accept()
		w := of(c, FinWait2, true)
		local, remote := endsOf(int(c))
		w.Found(netip.AddrPortFrom(netip.AddrFrom16(local.Addr().As16()), local.Port()), remote)
		d := must(openDiag())
		defer d.close()
		f := follower{watch: w, diag: d, descriptor: -1}
		if state, found, err := f.byAddresses(); state != Established || !found || err != nil {
			panic(fmt.Sprint("by its addresses: ", state, found, err))
		}
		c.close()
		waiting := look(w)
		wantSeen(waiting, FinWait2)
		s.close()
		l.close()
	})
}

// A descriptor's number is given to the next socket at once.
func TestWatchIsNotDeceivedByADescriptor(t *testing.T) {
	inNamespace(t, func() {
		l := listener(loopback4)
		c := dial(loopback4)
		s := l.accept()
		w := of(c, FinWait2, false)
		c.close()
		other := dial(loopback4)
		if other != c {
			panic(fmt.Sprintf("the next descriptor is %d, not %d", other, c))
		}
		wantSeen(look(w), FinWait2)
		other.close()
		s.close()
		l.close()
	})
}

func TestWatchEndsWithItsContext(t *testing.T) {
	inNamespace(t, func() {
		c := tcp(unix.AF_INET)
		cause := errors.New("the repetition is over")
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(cause)
		// A socket that was just made is CLOSE, and not closed.
		for _, wanted := range []State{Close, SynSent} {
			if _, err := of(c, wanted, false).Run(ctx); !errors.Is(err, cause) {
				panic(err)
			}
		}
		if _, err := (&StateWatch{Wanted: Close}).Run(ctx); !errors.Is(err, errNoCookie) {
			panic(err)
		}
		u := end(must(unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)))
		if _, err := of(u, SynSent, false).Run(context.Background()); !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOPROTOOPT) {
			panic(fmt.Sprint("a UDP socket: ", err))
		}
		u.close()
		c.close()
	})
}

func TestWatchOfMultipathTCP(t *testing.T) {
	inNamespace(t, func() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_MPTCP)
		if err != nil {
			panic(skip{fmt.Errorf("this kernel has no MPTCP: %w", err)})
		}
		c, l := end(fd), end(must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_MPTCP)))
		check(unix.Bind(int(l), sockaddr(loopback4, port)))
		check(unix.Listen(int(l), 1))
		established := look(of(c, Established, false))
		check(unix.Connect(int(c), sockaddr(loopback4, port)))
		wantSeen(established, Established)
		s := l.accept()
		s.close()
		c.close()
		l.close()
	})
}

func TestDumpShowsEveryState(t *testing.T) {
	inNamespace(t, func() {
		l := listener(loopback4)
		c := dial(loopback4)
		s := l.accept()
		c.close()
		s.close()
		d := dial(loopback4)
		other := tcp(unix.AF_INET)
		check(unix.Bind(int(other), sockaddr(loopback4, port+1)))
		check(unix.Listen(int(other), 1))
		want := map[State]int{Listen: 1, Established: 2, TimeWait: 1}
		waitUntil("a listener, two ends and one TIME_WAIT", func() bool {
			got := map[State]int{}
			for _, f := range Final(must(Dump(flowsOf(loopback4)))) {
				got[State(f.State)]++
				if !f.Final || (f.PeerAddress == "") != (State(f.State) == Listen) {
					panic(f.String())
				}
			}
			return fmt.Sprint(got) == fmt.Sprint(want)
		})
		d.close()
		l.close()
		other.close()
	})
}

func BenchmarkWatchLook(b *testing.B) {
	l := tcp(unix.AF_INET)
	check(unix.Bind(int(l), sockaddr(loopback4, 0)))
	check(unix.Listen(int(l), 1))
	at := addressOf(must(unix.Getsockname(int(l))))
	c := tcp(unix.AF_INET)
	check(unix.Connect(int(c), sockaddr(loopback4, int(at.Port()))))
	s := l.accept()
	defer func() { c.close(); s.close(); l.close() }()
	local, remote := endsOf(int(c))
	for _, way := range []string{"descriptor", "addresses", "walk"} {
		b.Run(way, func(b *testing.B) {
			w := of(c, TimeWait, way != "descriptor")
			if way == "addresses" {
				w.Found(local, remote)
			}
			f := follower{watch: w, diag: must(openDiag()), descriptor: w.Descriptor}
			defer f.diag.close()
			for b.Loop() {
				if way == "walk" {
					f.remote = netip.AddrPort{}
				}
				if at := must(f.look()); at.state != Established {
					b.Fatal(at)
				}
			}
		})
	}
}

// The orphan that is left of a connection in FIN_WAIT2 goes by a timer, which nothing tells
// of: the last look that showed it and the first that did not are what is known.
func TestWatchTellsWhenASocketWasThereLast(t *testing.T) {
	inNamespace(t, func() {
		check(os.WriteFile("/proc/sys/net/ipv4/tcp_fin_timeout", []byte("1"), 0))
		l := listener(loopback4)
		c := dial(loopback4)
		s := l.accept()
		local, remote := endsOf(int(c))
		gone := of(c, Close, false)
		gone.Found(local, remote)
		end := look(gone)
		began := clock.Now()
		c.close()
		seen := must(end())
		if seen.Was != FinWait2 || seen.Local != local || seen.Remote != remote {
			panic(fmt.Sprintf("was in %v before, %v to %v; want FIN_WAIT2, %v to %v", seen.Was, seen.Local, seen.Remote, local, remote))
		}
		if seen.WasNs <= began || seen.TimeNs <= seen.WasNs || seen.TimeNs-began < int64(time.Second) {
			panic(fmt.Sprintf("seen %v after the close, and gone %v after it; want about a second, in this order", time.Duration(seen.WasNs-began), time.Duration(seen.TimeNs-began)))
		}
		s.close()
		l.close()
	})
}
