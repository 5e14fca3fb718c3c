package lane

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// summary shows a call in one line, without what differs from run to run.
func summary(e *synclinev1.Event) string {
	c := e.GetCall()
	s := c.Name
	if c.Makes != "" {
		s = c.Makes + " = " + s
	}
	s += "(" + strings.Join(strings.Fields(c.Socket+" "+c.Arguments), " ") + ")"
	switch {
	case c.EndedBy != synclinev1.EndedBy_ENDED_BY_KERNEL:
		s += " " + c.EndedBy.String()
	case c.Errno != 0:
		s += " " + unix.ErrnoName(unix.Errno(c.Errno))
	case c.Makes == "":
		s += fmt.Sprintf(" %d", c.Result)
	}
	if c.ByLab {
		s += " by lab"
	}
	return s
}

func (s *stage) summaries(lane string) []string {
	var all []string
	for _, e := range s.calls[lane] {
		all = append(all, summary(e))
	}
	return all
}

func TestHandshakeAndTeardown(t *testing.T) {
	for _, c := range []struct {
		name, address string
		domain        uint32
	}{
		{"IPv4", v4, unix.AF_INET}, {"IPv6", v6, unix.AF_INET6},
		{"IPv4 through AF_INET6", v4, unix.AF_INET6},
	} {
		t.Run(c.name, func(t *testing.T) { handshakeAndTeardown(t, c.domain, c.address) })
	}
}

func handshakeAndTeardown(t *testing.T, domain uint32, address string) {
	s := newStage(t)
	s.run(
		newTestLane("server",
			socketIn(domain, "s"), setsockopt("s", unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
			bind("s", address), listen("s", 1), signalOf("ready"),
			accept("a", "s"), recv("a", 100), expects(recv("a", 100), zero), closeOf("a")),
		newTestLane("client",
			socketIn(domain, "c"), wait("server", "ready"), expects(connect("c", address), okay),
			send("c", 42), shutdown("c", unix.SHUT_WR), expects(recv("c", 1), zero), closeOf("c")),
	)
	s.ok()
	family := map[uint32]string{unix.AF_INET: "AF_INET", unix.AF_INET6: "AF_INET6"}[domain]
	want := []string{
		"s = socket(" + family + ", SOCK_STREAM, 0)", "setsockopt(s SOL_SOCKET, SO_REUSEADDR, 1) 0",
		"bind(s " + address + ") 0", "listen(s 1) 0", "signal(ready) 0",
		"a = accept(s)", "recv(a 100 bytes) 42", "recv(a 100 bytes) 0", "close(a) 0", "close(s) 0 by lab",
	}
	if diff := cmp.Diff(want, s.summaries("server")); diff != "" {
		t.Errorf("server (-want +got):\n%s", diff)
	}
	want = []string{
		"c = socket(" + family + ", SOCK_STREAM, 0)", "wait(server.ready) 0", "connect(c " + address + ") 0",
		"send(c 42 bytes) 42", "shutdown(c SHUT_WR) 0", "recv(c 1 bytes) 0", "close(c) 0",
	}
	if diff := cmp.Diff(want, s.summaries("client")); diff != "" {
		t.Errorf("client (-want +got):\n%s", diff)
	}
	s.checkAddresses(address)
	s.checkStamps()
}

// checkAddresses checks that both ends name each other.
func (s *stage) checkAddresses(server string) {
	s.t.Helper()
	connected, accepted := s.call("client", "connect"), s.call("server", "accept")
	if accepted.LocalAddress != server || connected.PeerAddress != server {
		s.t.Errorf("the server's address is %s at its end and %s at the client's, want %s",
			accepted.LocalAddress, connected.PeerAddress, server)
	}
	if accepted.PeerAddress != connected.LocalAddress || accepted.PeerAddress == "" {
		s.t.Errorf("the client's address is %q at its end and %q at the server's",
			connected.LocalAddress, accepted.PeerAddress)
	}
	if bound := s.call("server", "bind"); bound.LocalAddress != server {
		s.t.Errorf("bind reports %q, want %q", bound.LocalAddress, server)
	}
	if accepted.Fd != s.call("server", "socket").Fd || int64(accepted.Fd) == accepted.Result {
		s.t.Errorf("accept works on fd %d and makes %d", accepted.Fd, accepted.Result)
	}
}

// checkStamps checks that the calls of each lane lie one after the other, on one
// thread, and that none returned before it was entered.
func (s *stage) checkStamps() {
	s.t.Helper()
	for lane, events := range s.calls {
		last := int64(0)
		for _, e := range events {
			c := e.GetCall()
			if e.TimeNs < last || c.ReturnNs < e.TimeNs {
				s.t.Errorf("lane %s, %s: entered at %d after %d, returned at %d", lane, c.Name, e.TimeNs, last, c.ReturnNs)
			}
			if c.Thread != uint32(s.thread[lane]) {
				s.t.Errorf("lane %s, %s: thread %d, want %d", lane, c.Name, c.Thread, s.thread[lane])
			}
			last = c.ReturnNs
		}
	}
}

// Causes come before effects on one clock: connect is entered before accept returns,
// and a recv of 0 returns after the peer's close was entered.
func TestStampsRespectCausality(t *testing.T) {
	s := newStage(t)
	s.run(listening(v4, accept("a", "s"), expects(recv("a", 1), zero)), dialling(v4, closeOf("c")))
	s.ok()
	if s.call("server", "accept").ReturnNs < s.event("client", "connect").TimeNs {
		t.Error("accept returned before connect was entered")
	}
	if s.call("server", "recv").ReturnNs < s.event("client", "close").TimeNs {
		t.Error("recv returned 0 before close was entered")
	}
}

func TestOutcomes(t *testing.T) {
	for _, c := range []struct {
		name    string
		step    *synclinev1.Step
		failure string
	}{
		{"errno expected", expects(connect("c", v4), fails(unix.ECONNREFUSED)), ""},
		{"one of two errnos", expects(connect("c", v4), fails(unix.EAGAIN, unix.ECONNREFUSED)), ""},
		{"success expected", expects(connect("c", v4), okay),
			"expected ok, got ECONNREFUSED (connection refused)"},
		{"nothing said", connect("c", v4), "expected success, got ECONNREFUSED (connection refused)"},
		{"other errno", expects(connect("c", v4), &synclinev1.Outcome{Ok: true, Errnos: []uint32{uint32(unix.EAGAIN)}}),
			"expected ok or EAGAIN, got ECONNREFUSED (connection refused)"},
		{"value expected", expects(listen("c", 1), zero), ""},
		{"other value", expects(listen("c", 1), &synclinev1.Outcome{Values: []int64{5, 6}}),
			"expected 5 or 6, got 0"},
		{"errno, but success", expects(listen("c", 1), fails(unix.EADDRINUSE)), "expected EADDRINUSE, got 0"},
		{"timeout, but errno", expects(within(connect("c", v4), patience), timeout),
			"expected timeout, got ECONNREFUSED (connection refused)"},
		{"ok, but timeout", expects(within(sleep(patience), 1e6), okay), "expected ok, got timeout (1ms)"},
		{"nothing said, timeout", within(sleep(patience), 1e6), "expected success, got timeout (1ms)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			s.run(newTestLane("client", socket("c"), c.step, closeOf("c")))
			got := s.calls["client"][1].GetCall()
			if got.Failure != c.failure {
				t.Errorf("failure %q, want %q", got.Failure, c.failure)
			}
			if c.failure == "" {
				s.ok()
				return
			}
			want := "lane client, step 2, " + c.step.Text + ": " + c.failure
			if err := s.errs["client"]; err == nil || err.Error() != want {
				t.Errorf("error %v, want %s", err, want)
			}
			if last := s.calls["client"][len(s.calls["client"])-1].GetCall(); len(s.calls["client"]) != 3 || !last.ByLab {
				t.Errorf("after the failure: %v", s.summaries("client")[2:])
			}
		})
	}
}

func TestSocketThatWasClosedIsNotReused(t *testing.T) {
	s := newStage(t)
	s.run(newTestLane("client", socket("c"), closeOf("c"),
		expects(closeOf("c"), fails(unix.EBADF)), expects(connect("c", v4), fails(unix.EBADF)),
		socket("d"), socket("c"), socket("c")))
	s.ok()
	closed := s.summaries("client")[7:]
	if diff := cmp.Diff([]string{"close(d) 0 by lab", "close(c) 0 by lab", "close(c) 0 by lab"}, closed); diff != "" {
		t.Errorf("tidying up (-want +got):\n%s", diff)
	}
}

func TestAllowIsAskedForTheResolvedAddress(t *testing.T) {
	s := newStage(t)
	refusal := errors.New("not one of the lab's hosts")
	var asked []netip.AddrPort
	s.allow.Allow = func(a netip.AddrPort) error {
		asked = append(asked, a)
		return refusal
	}
	s.run(newTestLane("client", socket("c"), expects(connect("c", "[::ffff:192.0.2.1]:80"), fails(unix.ECONNREFUSED))))
	c := s.call("client", "connect")
	if c.EndedBy != synclinev1.EndedBy_ENDED_BY_UNSPECIFIED || c.Result != -1 || c.Errno != 0 {
		t.Errorf("a call that was not made is reported as %v", c)
	}
	if !strings.Contains(c.Failure, refusal.Error()) || s.errs["client"] == nil {
		t.Errorf("failure %q, error %v", c.Failure, s.errs["client"])
	}
	if diff := cmp.Diff([]string{"192.0.2.1:80"}, []string{fmt.Sprint(asked[0])}); diff != "" || len(asked) != 1 {
		t.Errorf("asked for %v", asked)
	}
}

func TestPlansThatMakeNoSenseAreRefused(t *testing.T) {
	for _, c := range []struct {
		step *synclinev1.Step
		want string
	}{
		{recv("x", 1), "no earlier step makes a socket x"},
		{recv("c", MaxReceive+1), "at most 67108864 are allowed"},
		{recv("", 1), "recv names no socket"},
		{connect("c", "somewhere:80"), "unable to parse IP"},
		{connect("c", "[fe80::1%nowhere]:80"), `zone "nowhere"`},
		{&synclinev1.Step{Text: "?"}, "no such call in this version"},
		{&synclinev1.Step{Makes: "x", Call: sleep(1).Call}, "sleep makes no socket"},
		{&synclinev1.Step{Socket: "c", Call: sleep(1).Call}, "sleep does not work on a socket"},
	} {
		s := newStage(t)
		s.run(newTestLane("client", socketIn(unix.AF_INET6, "c"), c.step))
		if err := s.errs["client"]; err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
		if len(s.calls["client"]) != 0 {
			t.Errorf("calls were made: %v", s.summaries("client"))
		}
	}
}

func TestWaitForALaneThatEnded(t *testing.T) {
	s := newStage(t)
	s.run(newTestLane("client", expects(sleep(0), fails(unix.EINTR))), newTestLane("server", wait("client", "half_closed")))
	want := "lane client ended before it signalled half_closed: " +
		"lane client, step 1, sleep: expected EINTR, got 0"
	if c := s.call("server", "wait"); c.Failure != want || c.Result != -1 {
		t.Errorf("result %d, failure %q, want %q", c.Result, c.Failure, want)
	}
}

func TestSignalIsRelayed(t *testing.T) {
	s := newStage(t)
	var relayed []string
	s.allow.Signalled = func(lane, name string) { relayed = append(relayed, lane+"."+name) }
	s.run(newTestLane("client", signalOf("a"), signalOf("b"), signalOf("a")))
	s.ok()
	if diff := cmp.Diff([]string{"client.a", "client.b", "client.a"}, relayed); diff != "" {
		t.Errorf("relayed (-want +got):\n%s", diff)
	}
}

func TestSleepIsAsLongAsItSays(t *testing.T) {
	s := newStage(t)
	s.run(newTestLane("client", sleep(20*time.Millisecond)))
	s.ok()
	e := s.event("client", "sleep")
	if slept := e.GetCall().ReturnNs - e.TimeNs; slept < 19_900_000 {
		t.Errorf("slept %d ns", slept)
	}
}

func TestPrepareFails(t *testing.T) {
	wrong := errors.New("wrong")
	board := NewBoard([]string{"client"})
	err := Run(context.Background(), Config{
		Lane: newTestLane("client", signalOf("x")), Board: board,
		Prepare: func() error { return wrong },
		Emit:    func(e *synclinev1.Event) { t.Errorf("a call was made: %v", e) },
	})
	if !errors.Is(err, wrong) {
		t.Errorf("error %v, want %v", err, wrong)
	}
	if _, err := board.wait(context.Background(), []string{"client"}, "x", 0); err == nil {
		t.Error("the board does not know that the lane has ended")
	}
}

func TestThousandConnections(t *testing.T) {
	const n = 1000
	s := newStage(t)
	s.run(manyConnections(n))
	s.ok()
	if got := len(s.calls["client"]); got != 3*n+1 {
		t.Errorf("the client made %d calls, want %d", got, 3*n+1)
	}
	s.checkStamps()
}

// manyConnections is a server and a client that make n connections, one by one.
func manyConnections(n int) (server, client *synclinev1.Lane) {
	server, client = listening(v4), newTestLane("client", wait("server", "ready"))
	server.Steps[2] = listen("s", backlog)
	server.Steps = slices.Insert(server.Steps, 1, setsockopt("s", unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	for range n {
		server.Steps = append(server.Steps, accept("a", "s"), closeOf("a"))
		client.Steps = append(client.Steps, socket("c"), connect("c", v4), closeOf("c"))
	}
	return server, client
}
