package probe

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// stranger is a socket on the client's host that is nobody's in the session.
type stranger struct {
	t  *testing.T
	fd int
	at netip.AddrPort
}

func newStranger(t *testing.T, h *host, at netip.AddrPort) *stranger {
	t.Helper()
	s := &stranger{t: t}
	h.do(func() (err error) {
		if s.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
			return err
		}
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return err
		}
		return unix.Bind(s.fd, sockaddr(at))
	})
	t.Cleanup(func() { unix.Close(s.fd) })
	bound, err := unix.Getsockname(s.fd)
	if err != nil {
		t.Fatal(err)
	}
	s.at = addrPort(bound)
	return s
}

func (s *stranger) send(to netip.AddrPort, b []byte) {
	s.t.Helper()
	if err := unix.Sendto(s.fd, b, 0, sockaddr(to)); err != nil {
		s.t.Fatal(err)
	}
}

// heard reads all that has come to the stranger.
func (s *stranger) heard() (n int) {
	s.t.Helper()
	var b [2 * Size]byte
	for {
		_, _, err := unix.Recvfrom(s.fd, b[:], unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return n
		case err != nil:
			s.t.Fatal(err)
		default:
			n++
		}
	}
}

// One whom the session does not know gets no answer, whatever is sent: not random bytes, not
// what another key has sealed, not copies of what was right once.
func TestStrangersAreNotAnswered(t *testing.T) {
	p := newPair(t)
	// A is played by the test, which so knows all that A would send.
	a := newStranger(t, p.client, netip.AddrPortFrom(client4, 0))
	other := newStranger(t, p.client, netip.AddrPortFrom(client4, 0))
	b := join(t, p.server, "B", nil, server4)
	to := b.Endpoints()[0].Address
	b.run(b.plan(10, Peer{Host: "A", Endpoints: []Endpoint{{experiment, a.at}}}))

	k := newKey(secret(1), "r-1")
	seal := func(k *key, d datagram) []byte {
		var out [Size]byte
		d.path = experiment
		k.seal(&out, &d)
		return out[:]
	}
	named := func(k *key, kind byte, from, to string, exchange uint64) []byte {
		return seal(k, datagram{kind: kind, sender: k.name("host", from), receiver: k.name("host", to), exchange: exchange})
	}
	request := named(k, kindRequest, "A", "B", 2000)
	// counted waits until so many datagrams were taken in, right or wrong.
	sent := uint64(0)
	counted := func() Counts {
		t.Helper()
		deadline := newDeadline(t)
		for {
			n := b.Counts()
			if n.Refused+n.Answered+n.Replayed+n.Throttled+n.Unasked == sent {
				return n
			}
			deadline.check("%d datagrams to be taken in; %+v", sent, n)
			b.kick()
		}
	}
	say := func(from *stranger, what []byte) {
		t.Helper()
		from.send(to, what)
		sent++
	}

	say(a, request)
	if n := counted(); n.Answered != 1 || n.Refused != 0 {
		t.Fatalf("the right request: %+v", n)
	}
	if n := a.heard(); n != 1 {
		t.Fatalf("A heard %d replies to its request", n)
	}

	var elsewhere [Size]byte
	k.seal(&elsewhere, &datagram{kind: kindRequest, path: control, sender: k.name("host", "A"), receiver: k.name("host", "B"), exchange: 2001})
	refused := 0
	for what, d := range map[string][]byte{
		"another secret":         named(newKey(secret(2), "r-1"), kindRequest, "A", "B", 2001),
		"another session":        named(newKey(secret(1), "r-2"), kindRequest, "A", "B", 2001),
		"a host that is not in":  named(k, kindRequest, "C", "B", 2001),
		"for another host":       named(k, kindRequest, "A", "C", 2001),
		"its own":                named(k, kindRequest, "B", "B", 2001),
		"no kind":                named(k, 3, "A", "B", 2001),
		"a bit too short":        request[:Size-1],
		"a bit too long":         append(append([]byte{}, request...), 0),
		"much too long":          append(append([]byte{}, request...), make([]byte, 1000)...),
		"nothing":                {},
		"no authentication":      append(append([]byte{}, request[:authenticated]...), make([]byte, Size-authenticated)...),
		"of another path":        elsewhere[:],
		"the magic number alone": {'s', 'y', 'l', 'p'},
	} {
		say(a, d)
		say(other, d)
		refused += 2
		if n := counted(); n.Refused != uint64(refused) || n.Answered != 1 {
			t.Errorf("%s: %+v, want %d refused", what, n, refused)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		d := make([]byte, random.IntN(3*Size))
		for i := range d {
			d[i] = byte(random.Uint32())
		}
		say(other, d)
		refused++
		if refused%20 == 0 {
			counted()
		}
	}
	if n := counted(); n.Refused != uint64(refused) {
		t.Errorf("random bytes: %+v, want %d refused", n, refused)
	}

	// What is right and was there before, or is too old to tell, or is a reply.
	for range 20 {
		say(other, request)
		say(a, request)
		say(a, named(k, kindRequest, "A", "B", 2000-windowSize))
		say(a, named(k, kindReply, "A", "B", 2000))
	}
	if n := counted(); n.Replayed != 60 || n.Unasked != 20 || n.Answered != 1 {
		t.Errorf("copies: %+v, want 60 replayed and 20 replies that nobody waits for", n)
	}
	if n, m := a.heard(), other.heard(); n != 0 || m != 0 {
		t.Errorf("to all that A heard %d answers, the stranger %d", n, m)
	}

	// A request that A made and somebody else sends is answered to A.
	say(other, named(k, kindRequest, "A", "B", 2001))
	if n := counted(); n.Elsewhere == 0 || n.Answered != 2 {
		t.Errorf("from elsewhere: %+v", n)
	}
	if n, m := a.heard(), other.heard(); n != 1 || m != 0 {
		t.Errorf("A heard %d answers, the one who sent it %d", n, m)
	}

	// A itself gets no more than the rate and a burst.
	for i := range uint64(200) {
		say(a, named(k, kindRequest, "A", "B", 2002+i))
		if i%20 == 19 {
			counted()
		}
	}
	n := counted()
	if heard := uint64(a.heard()); n.Throttled < 100 || heard != n.Answered-2 || n.Throttled+n.Answered != 202 {
		t.Errorf("a flood of A's own: %+v, and it heard %d", n, heard)
	}
	stop(b)
	if n := len(sights(b.events, in, false)); uint64(n) != b.Counts().Answered {
		t.Errorf("%d requests are told of %+v", n, b.Counts())
	}

	// After the end nothing is answered, and no ICMP error either.
	other.send(to, named(k, kindRequest, "A", "B", 9000))
	if err := b.Run(context.Background(), b.plan(10)); err == nil {
		t.Error("it runs twice")
	}
	if n := other.heard(); n != 0 {
		t.Errorf("%d answers after the end", n)
	}
}

// Two probers cannot be made to talk to each other: a reply is never answered.
func TestRepliesAreNotAnswered(t *testing.T) {
	p := newPair(t)
	a, b := join(t, p.client, "A", nil, client4), join(t, p.server, "B", nil, server4)
	a.run(a.plan(10, b.peer(false)))
	b.run(b.plan(10, a.peer(false)))
	k := newKey(secret(1), "r-1")
	from := newStranger(t, p.client, netip.AddrPortFrom(client4, 0))
	d := datagram{kind: kindReply, path: experiment, sender: k.name("host", "A"), receiver: k.name("host", "B"), exchange: 7}
	var out [Size]byte
	k.seal(&out, &d)
	from.send(b.Endpoints()[0].Address, out[:])
	deadline := newDeadline(t)
	for b.Counts().Unasked == 0 {
		deadline.check("the reply; %+v", b.Counts())
		b.kick()
	}
	stop(a, b)
	if n := a.Counts(); n != (Counts{}) {
		t.Errorf("A: %+v", n)
	}
	if n := b.Counts(); n != (Counts{Unasked: 1, Elsewhere: 1}) {
		t.Errorf("B: %+v", n)
	}
}

// A flood of refused datagrams does not keep the exchanges from going on.
func TestExchangesGoOnInAFlood(t *testing.T) {
	p := newPair(t)
	p.acquaint(t, client4, server4)
	a, b := join(t, p.client, "A", nil, client4), join(t, p.server, "B", nil, server4)
	a.run(a.plan(20, b.peer(true)))
	b.run(b.plan(20, a.peer(false)))
	from := newStranger(t, p.client, netip.AddrPortFrom(client4, 0))
	ctx, cancel := context.WithCancel(context.Background())
	flooded := make(chan int)
	go func() {
		n := 0
		for ; ctx.Err() == nil; n++ {
			if err := unix.Sendto(from.fd, make([]byte, Size), 0, sockaddr(b.Endpoints()[0].Address)); err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
				t.Error(err)
				break
			}
		}
		flooded <- n
	}()
	a.until("replies", replies(8))
	cancel()
	n := <-flooded
	stop(a, b)
	check(t, flights(t, a, b, false))
	// The kernel has one limit for what waits in the socket, stamps of departures included:
	// those that had no room are lost, and counted.
	there, orphans := paired(t, b, a, true)
	// Where the stamp had no room the agent's own readings bound the departure.
	var unstamped uint64
	there = slices.DeleteFunc(there, func(f flight) bool {
		left, came := f.left.GetProbe(), f.came.GetProbe()
		if left.Origin != agent {
			return false
		}
		unstamped++
		if took := f.came.TimeNs - f.left.TimeNs; took+left.ErrorNs+came.ErrorNs <= 0 {
			t.Errorf("it took %d ns:\n%v\n%v", took, f.left, f.came)
		}
		return true
	})
	check(t, there)
	counts := b.Counts()
	if uint64(len(orphans))+unstamped > counts.Lost {
		t.Errorf("%d replies came that never left, and %d left without a stamp, of %+v", len(orphans), unstamped, counts)
	}
	if counts.Refused == 0 || counts.Refused+counts.Lost < uint64(n)*9/10 || counts.Refused+counts.Lost > uint64(n)+2*a.Counts().Asked {
		t.Errorf("of %d of a flood %d are counted as refused, and %d had no room", n, counts.Refused, counts.Lost)
	}
	t.Logf("of %d of a flood %d were looked at; %+v at A", n, counts.Refused, a.Counts())
}
