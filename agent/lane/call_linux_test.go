package lane

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// both runs a test for lanes in this process and for lanes in their own.
func both(t *testing.T, test func(t *testing.T, home func(*synclinev1.Lane) *synclinev1.Lane)) {
	t.Run("here", func(t *testing.T) { test(t, func(l *synclinev1.Lane) *synclinev1.Lane { return l }) })
	t.Run("own process", func(t *testing.T) { test(t, own) })
}

func TestNonblockingConnect(t *testing.T) {
	both(t, func(t *testing.T, home func(*synclinev1.Lane) *synclinev1.Lane) {
		s := newStage(t)
		s.play(home(listening(v4, accept("a", "s"), expects(hear("a", 9), brings("hi")))),
			home(newTestLane("client", wait("server", "ready"), socket("c"), nonblock("c", true),
				expects(connect("c", v4), fails(unix.EINPROGRESS)),
				expects(poll("c", unix.POLLOUT, -1), is(unix.POLLOUT)),
				expects(pending("c"), is(0)),
				expects(hear("c", 1), fails(unix.EAGAIN)),
				say("c", "hi"), nonblock("c", false),
				expects(recv("c", 1), zero))))
		s.ok()
		want := []string{"wait(server.ready) 0", "c = socket(AF_INET, SOCK_STREAM, 0)", "nonblock(c on) 0",
			"connect(c " + v4 + ") EINPROGRESS", "poll(c OUT) 4", "getsockopt(c SOL_SOCKET, SO_ERROR) 0",
			"recv(c 1 bytes) EAGAIN", "send(c 2 bytes) 2", "nonblock(c off) 0", "recv(c 1 bytes) 0", "close(c) 0 by lab"}
		if diff := cmp.Diff(want, s.summaries("client")); diff != "" {
			t.Errorf("client (-want +got):\n%s", diff)
		}
		if got := s.call("client", "poll").Shown; got != "OUT" {
			t.Errorf("the events are shown as %q", got)
		}
		if c := s.call("server", "recv"); string(c.Data) != "hi" || c.Shown != `"hi"` {
			t.Errorf("received %q, shown %s", c.Data, c.Shown)
		}
	})
}

func TestNonblockingConnectRefused(t *testing.T) {
	s := newStage(t)
	all := uint32(unix.POLLIN | unix.POLLOUT | unix.POLLRDHUP)
	s.play(newTestLane("client", socketOf("c", unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0),
		expects(connect("c", v4), fails(unix.EINPROGRESS)),
		expects(poll("c", all, time.Minute), is(unix.POLLIN|unix.POLLOUT|unix.POLLERR|unix.POLLHUP|unix.POLLRDHUP)),
		expects(pending("c"), is(int64(unix.ECONNREFUSED))),
		expects(pending("c"), is(0))))
	s.ok()
	if got := s.call("client", "poll").Shown; got != "IN|OUT|ERR|HUP|RDHUP" {
		t.Errorf("the events are shown as %q", got)
	}
	if c := s.call("client", "getsockopt"); c.Shown != "ECONNREFUSED" || len(c.Data) != 4 || c.Result != int64(unix.ECONNREFUSED) {
		t.Errorf("SO_ERROR is %v", c)
	}
}

func TestPollLimits(t *testing.T) {
	s := newStage(t)
	const limit = 25 * time.Millisecond
	s.play(newTestLane("client", udp("u"),
		expects(poll("u", unix.POLLIN, limit), is(0)),
		expects(within(poll("u", unix.POLLIN, -1), limit), timeout),
		expects(poll("u", unix.POLLIN, 0), is(0)),
		closeOf("u"), expects(poll("u", unix.POLLIN, -1), is(unix.POLLNVAL))))
	s.ok()
	for _, i := range []int{1, 2} {
		e := s.calls["client"][i]
		if took := time.Duration(e.GetCall().ReturnNs - e.TimeNs); took < limit*9/10 {
			t.Errorf("poll %d took %v, the limit is %v", i, took, limit)
		}
	}
}

// What a poll or an option brought is named as experiments name it.
func TestOutcomesOfValuesAreNamed(t *testing.T) {
	for _, c := range []struct {
		step *synclinev1.Step
		want string
	}{
		{expects(poll("u", unix.POLLOUT, 0), is(unix.POLLIN|unix.POLLHUP)), "expected IN|HUP, got OUT"},
		{expects(pending("u"), is(int64(unix.ECONNREFUSED))), "expected ECONNREFUSED, got 0"},
		{expects(getsockopt("u", unix.SOL_SOCKET, unix.SO_TYPE, 4, synclinev1.OptionKind_OPTION_KIND_INT), is(1)), "expected 1, got 2"},
		{expects(getsockopt("u", unix.IPPROTO_TCP, unix.TCP_NODELAY, 4, synclinev1.OptionKind_OPTION_KIND_INT), okay),
			"expected ok, got EOPNOTSUPP (operation not supported)"},
	} {
		s := newStage(t)
		s.play(newTestLane("client", udp("u"), c.step))
		if got := s.calls["client"][1].GetCall().Failure; got != c.want {
			t.Errorf("failure %q, want %q", got, c.want)
		}
	}
}

func TestOptionsAreRead(t *testing.T) {
	s := newStage(t)
	s.play(newTestLane("client", socket("c"),
		getsockopt("c", unix.SOL_SOCKET, unix.SO_TYPE, 4, synclinev1.OptionKind_OPTION_KIND_INT),
		linger("c", 7), getsockopt("c", unix.SOL_SOCKET, unix.SO_LINGER, 8, synclinev1.OptionKind_OPTION_KIND_LINGER),
		setsockopt("c", unix.SOL_SOCKET, unix.SO_RCVTIMEO, 1, 500_000),
		getsockopt("c", unix.SOL_SOCKET, unix.SO_RCVTIMEO, 16, synclinev1.OptionKind_OPTION_KIND_TIMEVAL),
		expects(getsockopt("c", unix.IPPROTO_TCP, unix.TCP_CONGESTION, 16, synclinev1.OptionKind_OPTION_KIND_NAME), brings("cubic", "reno", "bbr")),
		getsockopt("c", unix.SOL_SOCKET, unix.SO_COOKIE, 8, synclinev1.OptionKind_OPTION_KIND_BYTES)))
	s.ok()
	var shown []string
	for _, e := range s.calls["client"] {
		if c := e.GetCall(); c.Name == "getsockopt" {
			shown = append(shown, c.Arguments+": "+c.Shown)
		}
	}
	congestion, err := os.ReadFile("/proc/sys/net/ipv4/tcp_congestion_control")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"SOL_SOCKET, SO_TYPE: 1",
		"SOL_SOCKET, SO_LINGER: {l_onoff=1, l_linger=7}",
		"SOL_SOCKET, SO_RCVTIMEO: 1.5s",
		"IPPROTO_TCP, TCP_CONGESTION: " + strings.TrimSpace(string(congestion)),
	}
	if diff := cmp.Diff(want, shown[:4]); diff != "" {
		t.Errorf("options (-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(shown[4], "SOL_SOCKET, SO_COOKIE: [") {
		t.Errorf("a cookie is shown as %s", shown[4])
	}
}

func TestDatagrams(t *testing.T) {
	both(t, func(t *testing.T, home func(*synclinev1.Lane) *synclinev1.Lane) {
		s := newStage(t)
		s.play(home(newTestLane("server", udp("s"), bind("s", v4), signalOf("ready"),
			expects(recvfrom("s", 100), brings("ping")), expects(recvfrom("s", 2, unix.MSG_TRUNC), is(5)))),
			home(newTestLane("client", wait("server", "ready"), udp("c"), sendto("c", v4, "ping"),
				connect("c", v4), say("c", "again"), getsockname("c"), getpeername("c"))))
		s.ok()
		sent, received := s.call("client", "sendto"), s.call("server", "recvfrom")
		// A socket that was not bound has a port from then on, and the address of every packet.
		if port, any := strings.CutPrefix(sent.LocalAddress, "0.0.0.0:"); !any || received.PeerAddress != "127.0.0.1:"+port || sent.PeerAddress != "" {
			t.Errorf("sent from %q to %q, received from %q", sent.LocalAddress, sent.PeerAddress, received.PeerAddress)
		}
		if sent.Arguments != "4 bytes, "+v4 {
			t.Errorf("sendto is shown as %q", sent.Arguments)
		}
		if cut := s.calls["server"][4].GetCall(); string(cut.Data) != "ag" || cut.Arguments != "2 bytes, MSG_TRUNC" {
			t.Errorf("the datagram that was too long is %q, of recvfrom(%s)", cut.Data, cut.Arguments)
		}
		name, peer := s.call("client", "getsockname"), s.call("client", "getpeername")
		if !strings.HasPrefix(name.LocalAddress, "127.0.0.1:") || name.Shown != name.LocalAddress || name.PeerAddress != "" {
			t.Errorf("getsockname says %q, shown %q", name.LocalAddress, name.Shown)
		}
		if peer.PeerAddress != v4 || peer.LocalAddress != "" || peer.Shown != v4 {
			t.Errorf("getpeername says %q", peer.PeerAddress)
		}
	})
}

// An ICMP port unreachable becomes the errno of the next call on a connected socket.
func TestDatagramToNobody(t *testing.T) {
	s := newStage(t)
	s.play(newTestLane("client", udp("c"), connect("c", v4), say("c", "x"), expects(recv("c", 1), fails(unix.ECONNREFUSED)),
		say("c", "x"), expects(poll("c", unix.POLLIN, time.Minute), is(unix.POLLERR)),
		expects(pending("c"), is(int64(unix.ECONNREFUSED))),
		sendto("c", v4, "x"), expects(say("c", "x"), fails(unix.ECONNREFUSED))))
	s.ok()
}

func TestEachDestinationIsAskedFor(t *testing.T) {
	s := newStage(t)
	s.allow.Allow = refuseAll
	for name, l := range map[string]*synclinev1.Lane{
		"sendto to 127.0.0.1:8080 is not allowed: no": newTestLane("client", udp("c"), sendto("c", v4, "x")),
		"sendto to 127.0.0.1:0 is not allowed: no": newTestLane("client", socketOf("c", unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP),
			sendto("c", "127.0.0.1", "x")),
	} {
		delete(s.calls, "client")
		delete(s.errs, "client")
		s.play(l)
		if c := s.calls["client"][1].GetCall(); c.Failure != name {
			t.Errorf("failure %q, want %q", c.Failure, name)
		}
	}
	delete(s.calls, "client")
	delete(s.errs, "client")
	s.play(newTestLane("client", socketOf("c", unix.AF_UNIX, unix.SOCK_STREAM, 0), expects(connect("c", "unix:x"), fails(unix.ECONNREFUSED))))
	s.ok()
}

func TestUnixStream(t *testing.T) {
	both(t, func(t *testing.T, home func(*synclinev1.Lane) *synclinev1.Lane) {
		s := newStage(t)
		stream := func(name string) *synclinev1.Step { return socketOf(name, unix.AF_UNIX, unix.SOCK_STREAM, 0) }
		s.play(
			home(newTestLane("server", stream("s"), bind("s", "unix:door"), listen("s", 1), signalOf("ready"), accept("a", "s"),
				expects(recv("a", 10), brings("hello")), expects(recv("a", 10), is(0)))),
			home(newTestLane("client", wait("server", "ready"), stream("c"), connect("c", "unix:door"), say("c", "hello"),
				getpeername("c"), getsockname("c"))))
		s.ok()
		if c := s.call("server", "bind"); c.LocalAddress != "unix:door" || c.Arguments != "unix:door" {
			t.Errorf("bound to %q as %q", c.LocalAddress, c.Arguments)
		}
		if c := s.call("client", "connect"); c.PeerAddress != "unix:door" || c.LocalAddress != "" {
			t.Errorf("connected from %q to %q", c.LocalAddress, c.PeerAddress)
		}
		if c := s.call("client", "getpeername"); c.PeerAddress != "unix:door" {
			t.Errorf("the peer is %q", c.PeerAddress)
		}
	})
}

func TestUnixNames(t *testing.T) {
	s := newStage(t)
	s.play(newTestLane("client", socketOf("c", unix.AF_UNIX, unix.SOCK_STREAM, 0), bind("c", "unix:"+strings.Repeat("x", 98))))
	s.ok()
	delete(s.errs, "client")
	s.play(newTestLane("client", socketOf("c", unix.AF_UNIX, unix.SOCK_STREAM, 0), bind("c", "unix:"+strings.Repeat("x", 99))))
	if err := s.errs["client"]; err == nil || !strings.Contains(err.Error(), "the name of a Unix socket has 1 to 98 bytes, found 99") {
		t.Errorf("error %v", err)
	}
}

// echo is an ICMP echo request (RFC 792) with its checksum.
func echo() string {
	b := []byte{8, 0, 0, 0, 0x12, 0x34, 0, 1, 'l', 'a', 'b', '!'}
	sum := uint32(0)
	for i := 0; i < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	sum = ^(sum>>16 + sum&0xffff)
	b[2], b[3] = byte(sum>>8), byte(sum)
	return string(b)
}

func TestEcho(t *testing.T) {
	s := newStage(t)
	s.play(newTestLane("client", socketOf("r", unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP),
		bind("r", "127.0.0.1"), sendto("r", "127.0.0.1", echo()),
		recvfrom("r", 1500), recvfrom("r", 1500))) // loopback shows the request too
	s.ok()
	reply := s.calls["client"][4].GetCall()
	if len(reply.Data) != 32 || reply.Data[20] != 0 || !bytes.Equal(reply.Data[24:], []byte(echo())[4:]) {
		t.Errorf("the reply is % x", reply.Data)
	}
	if reply.PeerAddress != "127.0.0.1" || s.call("client", "bind").LocalAddress != "127.0.0.1" {
		t.Errorf("it came from %q to %q", reply.PeerAddress, s.call("client", "bind").LocalAddress)
	}
	if reply.Shown != "" {
		t.Errorf("binary data is shown as %s", reply.Shown)
	}
}

func TestMultipathTCP(t *testing.T) {
	s := newStage(t)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_MPTCP)
	if err != nil {
		t.Skipf("this kernel has no MPTCP: %v (CONFIG_MPTCP, sysctl net.mptcp.enabled)", err)
	}
	unix.Close(fd)
	mptcp := func(name string) *synclinev1.Step {
		return socketOf(name, unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP)
	}
	server, client := listening(v4, accept("a", "s"), expects(recv("a", 10), brings("hello"))), dialling(v4, say("c", "hello"))
	server.Steps[0], client.Steps[1] = mptcp("s"), mptcp("c")
	s.play(server, client)
	s.ok()
	s.checkAddresses(v4)
	if got := s.call("client", "socket").Arguments; got != "AF_INET, SOCK_STREAM, IPPROTO_MPTCP" {
		t.Errorf("the socket is %s", got)
	}
}

func TestInfo(t *testing.T) {
	s := newStage(t)
	s.play(listening(v4, info("s"), accept("a", "s"), recv("a", 1)), dialling(v4, info("c"), say("c", "x"), closeOf("c"),
		expects(info("c"), fails(unix.EBADF))))
	s.ok()
	c := s.call("client", "info")
	if len(c.Data) < 104 || len(c.Data) > tcpInfoSize || c.Data[0] != unix.BPF_TCP_ESTABLISHED {
		t.Errorf("%d bytes of tcp_info, state %d", len(c.Data), c.Data[0])
	}
	if !strings.HasPrefix(c.Shown, "ESTABLISHED rtt ") || !strings.HasSuffix(c.Shown, " retransmits 0") {
		t.Errorf("shown as %q", c.Shown)
	}
	if got := s.call("server", "info").Shown; !strings.HasPrefix(got, "LISTEN ") {
		t.Errorf("a listener is shown as %q", got)
	}
}

// A connection that was reset in the queue has no peer any more for getpeername(2), but
// accept(2) still says whose it was.
func TestAcceptOfAResetConnectionSaysWhoseItWas(t *testing.T) {
	s := newStage(t)
	s.play(listening(v4, wait("client", "gone"), accept("a", "s"), expects(getpeername("a"), fails(unix.ENOTCONN)), expects(recv("a", 1), fails(unix.ECONNRESET))),
		dialling(v4, linger("c", 0), closeOf("c"), signalOf("gone")))
	s.ok()
	accepted, connected := s.call("server", "accept"), s.call("client", "connect")
	if accepted.PeerAddress == "" || accepted.PeerAddress != connected.LocalAddress {
		t.Errorf("accepted from %q, connected from %q", accepted.PeerAddress, connected.LocalAddress)
	}
}

// The FIN leaves with the last descriptor, dup(2).
func TestDup(t *testing.T) {
	s := newStage(t)
	s.play(listening(v4, accept("a", "s"), expects(within(recv("a", 1), 30*time.Millisecond), timeout), signalOf("silent"),
		expects(recv("a", 1), is(0))),
		dialling(v4, dup("d", "c"), closeOf("c"), expects(say("c", "x"), fails(unix.EBADF)), wait("server", "silent"), closeOf("d")))
	s.ok()
	d := s.call("client", "dup")
	if d.Fd == int32(d.Result) || d.Result < 0 {
		t.Errorf("dup of %d made %d", d.Fd, d.Result)
	}
	if got := s.summaries("client")[3]; got != "d = dup(c)" {
		t.Errorf("dup is %s", got)
	}
}

func TestReceivedDataIsJudged(t *testing.T) {
	long := strings.Repeat("abcdefgh", 20)
	s := newStage(t)
	s.play(listening(v4, accept("a", "s"), expects(hear("a", 5, unix.MSG_PEEK), brings("hello")),
		expects(recv("a", 5), brings("no", "hello")), expects(hear("a", 160, unix.MSG_WAITALL), brings(long)),
		expects(recv("a", 5), brings("world"))),
		dialling(v4, say("c", "hello", unix.MSG_MORE), say("c", long), say("c", "\x00\x01")))
	if got := s.call("client", "send").Arguments; got != "5 bytes, MSG_MORE" {
		t.Errorf("send is shown as %q", got)
	}
	whole := s.calls["server"][7].GetCall()
	if len(whole.Data) != MaxReported || whole.Shown != `"`+long[:64]+`" … 160 bytes` {
		t.Errorf("%d bytes reported, shown as %s", len(whole.Data), whole.Shown)
	}
	if got := s.calls["server"][8].GetCall().Failure; got != `expected "world", got hex(0001)` {
		t.Errorf("failure %q", got)
	}
}

// A socket that does not block takes a part and says so; that is no interruption.
func TestShortSendThatDoesNotBlock(t *testing.T) {
	s := newStage(t)
	s.play(listening(v4, wait("client", "sent")), dialling(v4, nonblock("c", true),
		within(send("c", full), time.Nanosecond),
		// The peer may have made room meanwhile.
		expects(within(send("c", 1<<20), time.Nanosecond), &synclinev1.Outcome{Ok: true, Errnos: []uint32{uint32(unix.EAGAIN)}}), signalOf("sent")))
	s.ok()
	if c := s.call("client", "send"); c.EndedBy != synclinev1.EndedBy_ENDED_BY_KERNEL || c.Result <= 0 || c.Result >= full {
		t.Errorf("the send ended by %v with %d", c.EndedBy, c.Result)
	}
}

func TestFastOpenSaysWhereItGoes(t *testing.T) {
	s := newStage(t)
	s.play(listening(v4, accept("a", "s"), expects(recv("a", 9), brings("early"))),
		newTestLane("client", wait("server", "ready"), socket("c"), sendto("c", v4, "early", unix.MSG_FASTOPEN)))
	s.ok()
	if c := s.call("client", "sendto"); c.PeerAddress != v4 || c.Arguments != "5 bytes, MSG_FASTOPEN, "+v4 {
		t.Errorf("sendto(%s) has the peer %q", c.Arguments, c.PeerAddress)
	}
}

func TestMadeTellsWhichSocketItIs(t *testing.T) {
	both(t, func(t *testing.T, home func(*synclinev1.Lane) *synclinev1.Lane) {
		s := newStage(t)
		made := map[string]Socket{}
		s.allow.Made = func(m Socket) {
			s.mu.Lock()
			defer s.mu.Unlock()
			made[m.Lane+"."+m.Name] = m
		}
		s.play(home(listening(v4, accept("a", "s"), dup("d", "a"))), home(dialling(v4)))
		s.ok()
		if len(made) != 4 {
			t.Fatalf("told of %v", made)
		}
		a, d := made["server.a"], made["server.d"]
		if a.Inode == 0 || a.Cookie == 0 || a.Inode != d.Inode || a.Cookie != d.Cookie || a.Inode == made["server.s"].Inode {
			t.Errorf("a is %v, its duplicate %v", a, d)
		}
		if ours := !home(newTestLane("any")).OwnProcess; ours != (a.Descriptor >= 0) || ours && a.Descriptor == d.Descriptor {
			t.Errorf("a is descriptor %d, its duplicate %d", a.Descriptor, d.Descriptor)
		}
		if a.Domain != unix.AF_INET || a.Type != unix.SOCK_STREAM {
			t.Errorf("a is a socket of domain %d, type %d", a.Domain, a.Type)
		}
	})
}

func TestChanges(t *testing.T) {
	both(t, func(t *testing.T, home func(*synclinev1.Lane) *synclinev1.Lane) {
		s := newStage(t)
		var made []string
		s.allow.Change = func(_ context.Context, lane, name string, undo bool) error {
			if name == "wrong" {
				return errors.New("it cannot be made")
			}
			made = append(made, lane+" "+name+" "+onOff(!undo))
			return nil
		}
		s.play(home(newTestLane("server", apply("cut"), undo("cut"), apply("wrong"))))
		if diff := cmp.Diff([]string{"server cut on", "server cut off"}, made); diff != "" {
			t.Errorf("changes (-want +got):\n%s", diff)
		}
		if err := s.errs["server"]; err == nil || err.Error() != "lane server, step 3, apply: it cannot be made" {
			t.Errorf("error %v", err)
		}
		if diff := cmp.Diff([]string{"apply(cut) 0", "undo(cut) 0"}, s.summaries("server")[:2]); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
	})
}

func TestStartDelay(t *testing.T) {
	both(t, func(t *testing.T, home func(*synclinev1.Lane) *synclinev1.Lane) {
		s := newStage(t)
		const gap = 30 * time.Millisecond
		lanes := []*synclinev1.Lane{home(newTestLane("client[1]", signalOf("x"))), home(newTestLane("client[2]", signalOf("x")))}
		lanes[1].StartDelayNs = int64(gap)
		began := nanotime()
		s.play(append(lanes, newTestLane("all", waitAll("x", "client[1]", "client[2]")))...)
		s.ok()
		second := s.event("client[2]", "signal").TimeNs
		if d := time.Duration(second - began); d < gap {
			t.Errorf("the second began after %v, not before %v was asked for", d, gap)
		}
		if all := s.call("all", "wait"); all.ReturnNs < second || all.Arguments != "all client.x" {
			t.Errorf("wait(%s) returned %v after the last signal", all.Arguments, time.Duration(all.ReturnNs-second))
		}
	})
}

func waitAll(name, lane string, more ...string) *synclinev1.Step {
	s := wait(lane, name)
	s.GetWait().MoreLanes = more
	return s
}
