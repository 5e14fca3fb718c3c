package lane

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// Offsets in struct tcp_info, include/uapi/linux/tcp.h.
const (
	infoState         = 0
	infoBytesAcked    = 120
	infoBytesReceived = 128
)

// informed is a stage whose lanes read TCP_INFO.
func informed(t testing.TB) *stage {
	s := newStage(t)
	s.allow.TCPInfo = true
	return s
}

// told is what TCP_INFO was after each call of a lane: its name and the TCP state, "" if
// nothing was read.
func (s *stage) told(lane string) []string {
	var all []string
	for _, e := range s.calls[lane] {
		c := e.GetCall()
		state := ""
		if len(c.TcpInfo) > 0 {
			state = " " + nameOf(tcpStates, uint32(c.TcpInfo[infoState]))
		}
		all = append(all, c.Name+state)
	}
	return all
}

func (s *stage) wasTold(lane string, want ...string) {
	s.t.Helper()
	if got := s.told(lane); !slices.Equal(got, want) {
		s.t.Errorf("lane %s was told %q, want %q", lane, got, want)
	}
}

func TestInfoAtEachCall(t *testing.T) {
	s := informed(t)
	s.play(listening(v4, accept("a", "s"), signalOf("accepted"), recv("a", 5), signalOf("received"),
		expects(recv("a", 1), is(0)), closeOf("a"), signalOf("through")),
		dialling(v4, wait("server", "accepted"), say("c", "hello"), wait("server", "received"), shutdown("c", unix.SHUT_WR),
			wait("server", "through"), expects(recv("c", 1), is(0)), closeOf("c"), expects(say("c", "x"), fails(unix.EBADF))))
	s.ok()
	s.wasTold("server", "socket CLOSED", "bind CLOSED", "listen LISTEN", "signal",
		"accept ESTABLISHED", "signal", "recv ESTABLISHED", "signal", "recv CLOSE_WAIT", "close", "signal", "close")
	// After its FIN is acknowledged, and the peer's is there, the client is in TIME_WAIT,
	// and the socket that has a descriptor is closed (tcp_time_wait).
	s.wasTold("client", "wait", "socket CLOSED", "connect ESTABLISHED", "wait", "send ESTABLISHED", "wait",
		"shutdown "+s.shutdownState(), "wait", "recv CLOSED", "close", "send")
	if got := binary.NativeEndian.Uint64(s.calls["client"][8].GetCall().TcpInfo[infoBytesAcked:]); got != 5+2 {
		t.Errorf("%d bytes were acknowledged at the client, want hello, SYN and FIN", got)
	}
	if got := binary.NativeEndian.Uint64(s.calls["server"][6].GetCall().TcpInfo[infoBytesReceived:]); got != 5 {
		t.Errorf("%d bytes were received at the server, want hello", got)
	}
}

// shutdownState is the state after the client's shutdown: on one host the answer may be
// there before the call returns.
func (s *stage) shutdownState() string {
	s.t.Helper()
	c := s.call("client", "shutdown")
	if len(c.TcpInfo) == 0 {
		s.t.Fatal("there is no tcp_info of shutdown")
	}
	state := nameOf(tcpStates, uint32(c.TcpInfo[infoState]))
	if !slices.Contains([]string{"FIN_WAIT1", "FIN_WAIT2", "CLOSED"}, state) {
		s.t.Errorf("the client is in %s after shutdown", state)
	}
	return state
}

// TestInfoIsWhole: the event has all that the kernel gave, and the memory of one event is
// not that of another.
func TestInfoIsWhole(t *testing.T) {
	s := informed(t)
	var steps []*synclinev1.Step
	for range 3 * infoBlock / tcpInfoSize {
		steps = append(steps, say("c", "x"))
	}
	s.play(listening(v4, accept("a", "s"), sink("a", len(steps))), dialling(v4, append(steps, info("c"))...))
	s.ok()
	calls := s.calls["client"]
	whole := len(calls[len(calls)-2].GetCall().Data)
	var sent uint64
	for _, e := range calls[3 : len(calls)-2] {
		c := e.GetCall()
		if len(c.TcpInfo) != whole || cap(c.TcpInfo) != whole {
			t.Fatalf("%s has %d bytes of tcp_info in %d, and info %d", c.Name, len(c.TcpInfo), cap(c.TcpInfo), whole)
		}
		now := binary.NativeEndian.Uint64(c.TcpInfo[200:]) // bytes_sent
		if now < sent || now > uint64(len(steps)) {
			t.Fatalf("%d bytes sent after %d", now, sent)
		}
		sent = now
	}
	if sent == 0 {
		t.Error("no tcp_info tells of anything sent")
	}
}

func TestInfoIsOfTCPOnly(t *testing.T) {
	s := informed(t)
	s.play(newTestLane("server", socketOf("u", unix.AF_INET, unix.SOCK_DGRAM, 0), bind("u", "127.0.0.1:9000"), closeOf("u"),
		socketOf("x", unix.AF_UNIX, unix.SOCK_STREAM, 0), bind("x", "unix:there"), closeOf("x"),
		socketIn(unix.AF_INET6, "t"), bind("t", "[::1]:9000"), sleep(time.Microsecond), closeOf("t")))
	s.ok()
	s.wasTold("server", "socket", "bind", "close", "socket", "bind", "close", "socket CLOSED", "bind CLOSED", "sleep", "close")
}

// TestInfoUnlessAsked: it costs a system call a call.
func TestInfoUnlessAsked(t *testing.T) {
	s := newStage(t)
	s.play(listening(v4, accept("a", "s")), dialling(v4))
	s.ok()
	for lane, calls := range s.calls {
		for _, e := range calls {
			if e.GetCall().TcpInfo != nil {
				t.Errorf("lane %s has tcp_info of %s", lane, e.GetCall().Name)
			}
		}
	}
}

func TestInfoOfAcceptIsTheNewSockets(t *testing.T) {
	s := informed(t)
	server, client := listening(v4, expects(within(accept("none", "s"), 10*time.Millisecond), timeout), signalOf("alone"), accept("a", "s")), dialling(v4)
	client.Steps[0] = wait("server", "alone")
	client.Steps = append(client.Steps, wait("server", "done"))
	server.Steps = append(server.Steps, signalOf("done"))
	s.play(server, client)
	s.ok()
	s.wasTold("server", "socket CLOSED", "bind CLOSED", "listen LISTEN", "signal", "accept", "signal", "accept ESTABLISHED", "signal", "close", "close")
}

func TestInfoInOtherProcesses(t *testing.T) {
	s := informed(t)
	server := listening(v4, accept("a", "s"), fork("worker"), closeOf("a"))
	worker := forkedBy("server", newTestLane("worker", recv("a", 5), signalOf("received"), closeOf("a")))
	s.play(own(server), worker, own(dialling(v4, say("c", "hello"), wait("worker", "received"))))
	s.ok()
	s.wasTold("worker", "recv ESTABLISHED", "signal", "close", "close")
	if got := s.told("server")[4]; got != "accept ESTABLISHED" {
		t.Errorf("a lane with a process of its own: %s", got)
	}
}

// TestInfoOfMultipathTCP is that of the first subflow, if the kernel tells it.
func TestInfoOfMultipathTCP(t *testing.T) {
	s := informed(t)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_MPTCP)
	if err != nil {
		t.Skipf("this kernel has no MPTCP: %v (CONFIG_MPTCP, sysctl net.mptcp.enabled)", err)
	}
	unix.Close(fd)
	server, client := listening(v4, accept("a", "s"), recv("a", 5)), dialling(v4, say("c", "hello"))
	server.Steps[0] = socketOf("s", unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP)
	client.Steps[1] = socketOf("c", unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP)
	s.play(server, client)
	s.ok()
	if got := s.told("client")[3]; got != "send ESTABLISHED" {
		t.Errorf("after a send: %s", got)
	}
}

// TestKindWithoutInfoIsRemembered: a kernel that has no TCP_INFO for a kind of sockets is
// asked once.
func TestKindWithoutInfoIsRemembered(t *testing.T) {
	udp, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(udp)
	// As if the kernel did not know TCP_INFO of this kind: the descriptor is none of TCP.
	o := &op{onSocket: true, kind: kind{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP}}
	o.call.trap = unix.SYS_BIND
	reader := newInfoReader([]op{*o, *o})
	for range 2 {
		c := &synclinev1.Call{Fd: int32(udp)}
		reader.read(c, o)
		if c.TcpInfo != nil {
			t.Errorf("a datagram socket has %d bytes of tcp_info", len(c.TcpInfo))
		}
	}
	if !slices.Equal(reader.without, []kind{o.kind}) {
		t.Errorf("kinds without TCP_INFO: %v", reader.without)
	}
}

// sink receives n bytes, whole.
func sink(name string, n int) *synclinev1.Step {
	s := recv(name, uint32(n))
	s.GetRecv().Flags = unix.MSG_WAITALL
	return s
}

// BenchmarkInfoRead is what one reading costs, its memory included.
func BenchmarkInfoRead(b *testing.B) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(fd)
	o := op{onSocket: true, kind: kind{unix.AF_INET, unix.SOCK_STREAM, 0}}
	o.call.trap = unix.SYS_BIND
	ops := slices.Repeat([]op{o}, b.N)
	b.ReportAllocs()
	b.ResetTimer()
	reader := newInfoReader(ops)
	for i := range ops {
		c := synclinev1.Call{Fd: int32(fd)}
		if reader.read(&c, &ops[i]); len(c.TcpInfo) == 0 {
			b.Fatal("nothing was read")
		}
	}
}

// BenchmarkInfo makes connections as BenchmarkLane does, with and without TCP_INFO at
// each call, in turns, so that the machine's noise is in both.
func BenchmarkInfo(b *testing.B) {
	s := newStage(b)
	s.space.widePorts(b)
	var took [2]time.Duration
	const turn = batch / 10
	for left, turns := b.N, 0; left > 0; left, turns = left-turn, turns+1 {
		for second := range took {
			with := (turns + second) % 2
			server, client := manyConnections(min(left, turn))
			s.calls = map[string][]*synclinev1.Event{}
			s.allow.TCPInfo = with == 1
			begin := time.Now()
			s.run(server, client)
			took[with] += time.Since(begin)
		}
	}
	s.ok()
	b.ReportMetric(float64(b.N)/took[0].Seconds(), "connections/s-without")
	b.ReportMetric(float64(b.N)/took[1].Seconds(), "connections/s-with")
	b.ReportMetric(took[0].Seconds()/took[1].Seconds(), "ratio")
	b.ReportMetric(0, "ns/op")
}
