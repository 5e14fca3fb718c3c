package cli

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"syncline/agent/kernel"
	"syncline/deploy/netlab"
	synclinev1 "syncline/proto/syncline/v1"
)

// idle connects, and then both ends sleep with their sockets open.
const idle = `experiment: idle
about: A connection that nothing happens on.
hosts:
  A: { pick: { role: client } }
  B: { pick: { role: server } }
vars: { port: 8123 }
observe: [syscalls, packets]
setup: { A: { sysctl: { net.ipv4.tcp_fin_timeout: 7 } } }
repeat: { runs: 1, timeout: 100s }
lanes:
  server:
    host: B
    do:
      - s = socket(tcp)
      - bind(s, 0.0.0.0:$port)
      - listen(s, 8)
      - signal(listening)
      - a = accept(s)
      - sleep(90s)
  client:
    host: A
    do:
      - wait(server.listening)
      - c = socket(tcp)
      - connect(c, B:$port)
      - sleep(90s)
expect:
  - order: [received(B, SYN) < sent(B, SYN+ACK)]
`

// A controller that stands still loses its runs when their lease runs out: the agents close
// the sockets, take back what the run had changed, and keep what they recorded. What
// the controller says when it goes on comes too late, and the run says why it is not whole.
func TestAgentsWithoutAController(t *testing.T) {
	const lease = 2 * time.Second
	l := makeTestLab(t, mustParse(t, []byte(idle)), demoLab{controllerArgs: []string{"--lease", lease.String()}})
	created, err := l.client.runs.CreateRun(t.Context(), &synclinev1.CreateRunRequest{
		RequestId: t.Name(), FileName: "idle.yaml", Source: []byte(idle), Repetitions: 1, Bindings: l.bindings,
	})
	if err != nil {
		t.Fatal(err)
	}
	vm1, vm2 := l.bindings["A"], l.bindings["B"]
	connected := func(name string) bool {
		return slices.ContainsFunc(l.sockets(name, 8123), func(s kernel.Socket) bool { return s.State == kernel.Established })
	}
	await(t, "the connection", func() bool { return connected(vm1) && connected(vm2) })
	if got := l.sysctl(vm1, "net/ipv4/tcp_fin_timeout"); got != "7" {
		t.Fatalf("tcp_fin_timeout is %s in the run", got)
	}
	// Leases are renewed: the run goes on for longer than one.
	held := time.Now().Add(lease + lease/2)
	await(t, "a lease and a half", func() bool { return time.Now().After(held) })
	if !connected(vm1) || !connected(vm2) {
		t.Fatal("the lanes were ended under a lease")
	}

	stopped := time.Now()
	if err := l.processes[0].Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if !connected(vm1) || !connected(vm2) {
		t.Error("the lanes were ended with the word of the controller, and not with its lease")
	}
	await(t, "no sockets of the run", func() bool { return len(l.sockets(vm1, 8123))+len(l.sockets(vm2, 8123)) == 0 })
	closed := time.Since(stopped)
	await(t, "a host as it was", func() bool { return l.sysctl(vm1, "net/ipv4/tcp_fin_timeout") == "60" })
	undone := time.Since(stopped)
	if closed < lease/2 || undone < lease+lease/2 {
		t.Errorf("sockets were closed %v after the controller stopped, and setup undone after %v, with a lease of %v", closed, undone, lease)
	}
	// A second is promised; the rest is for a busy machine.
	if closed > lease+5*time.Second || undone > 2*lease+5*time.Second {
		t.Errorf("late: sockets were closed after %v, setup undone after %v", closed, undone)
	}
	t.Logf("lease %v: sockets closed after %v, setup undone after %v", lease, closed, undone)

	if err := l.processes[0].Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	run, err := l.operator.follow(t.Context(), l.client, created.Run.Id)
	if err != nil {
		t.Fatal(err)
	}
	if why := run.Reason + strings.Join(run.Incomplete, "; "); run.State != synclinev1.RunState_RUN_STATE_FAILED || !strings.Contains(why, "no word from its controller for 2s") {
		t.Errorf("the run ended as %v: %s", run.State, why)
	}
	// What happened after the last word is on record too: the lab closed the sockets.
	var byLab int
	l.eachEvent(run.Id, func(_ string, e *synclinev1.Event) {
		if e.GetCall().GetByLab() {
			byLab++
		}
	})
	if byLab != 3 {
		t.Errorf("%d sockets are on record as closed by the lab, want 3", byLab)
	}
	source := library(t, demoExperiment)
	next := l.run(source, 2)
	wantAllPass(t, next, l.verdicts(next), 2)
}

// sockets are those of a port on a host, but for what the kernel alone keeps: TIME_WAIT.
func (l *testLab) sockets(host string, port uint16) (all []kernel.Socket) {
	l.t.Helper()
	h := l.Host(host)
	flows := kernel.Flows{Ports: []uint16{port}}
	for _, name := range l.bindings {
		flows.Addresses = append(flows.Addresses, l.Host(name).Address)
	}
	err := h.Do(func() (err error) {
		all, err = kernel.Dump(flows)
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(s kernel.Socket) bool { return s.State == kernel.TimeWait })
}

func (l *testLab) sysctl(host, name string) (value string) {
	l.t.Helper()
	err := l.Host(host).Do(func() error {
		text, err := os.ReadFile("/proc/sys/" + name)
		value = strings.TrimSpace(string(text))
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return value
}

// Runs outlive their connections: agents whose streams are cut again and again lose neither a
// message nor an event, and run every repetition once.
func TestCutConnections(t *testing.T) {
	source := library(t, demoExperiment)
	const repetitions, cuts = 150, 8
	l := planTestLab(t, mustParse(t, source), demoLab{})
	c := newCutter(t, l.Host(controllerHost))
	l.agentArgs = []string{"--controller", c.address}
	l.up()
	created, err := l.client.runs.CreateRun(t.Context(), &synclinev1.CreateRunRequest{
		RequestId: t.Name(), FileName: "test.yaml", Source: source, Repetitions: repetitions, Bindings: l.bindings,
	})
	if err != nil {
		t.Fatal(err)
	}
	done := func() int {
		answer, err := l.client.runs.GetRun(t.Context(), &synclinev1.GetRunRequest{Id: created.Run.Id})
		if err != nil {
			t.Fatal(err)
		}
		if answer.Run.State > synclinev1.RunState_RUN_STATE_RUNNING {
			return repetitions
		}
		return int(answer.Run.RepetitionsDone)
	}
	cut := 0
	for ; cut < cuts; cut++ {
		at := done()
		await(t, "two more repetitions", func() bool { return done() >= min(at+2, repetitions) })
		if done() == repetitions {
			break
		}
		c.cut()
	}
	if cut < 3 {
		t.Fatalf("the run was over after %d cuts", cut)
	}
	run, err := l.operator.follow(t.Context(), l.client, created.Run.Id)
	if err != nil {
		t.Fatal(err)
	}
	wantAllPass(t, run, l.verdicts(run), repetitions)
	begun := map[string]map[uint32]int{}
	l.eachEvent(run.Id, func(agent string, e *synclinev1.Event) {
		if e.GetMark().GetKind() == synclinev1.MarkKind_MARK_KIND_REPETITION_BEGIN {
			if begun[agent] == nil {
				begun[agent] = map[uint32]int{}
			}
			begun[agent][e.Repetition]++
		}
	})
	for agent, all := range begun {
		for n, times := range all {
			if times != 1 {
				t.Errorf("agent %s began repetition %d %d times", agent, n, times)
			}
		}
		if len(all) != repetitions {
			t.Errorf("agent %s began %d repetitions of %d", agent, len(all), repetitions)
		}
	}
	t.Logf("%d repetitions with %d cuts", repetitions, cut)
}

// cutter stands between agents and the controller, on the controller's host, and cuts their
// connections when it is told to.
type cutter struct {
	t    testing.TB
	host *netlab.Host
	// address is where agents come to, to where the controller listens.
	address, to string

	mu    sync.Mutex
	open  map[net.Conn]bool
	going sync.WaitGroup
}

func newCutter(t testing.TB, host *netlab.Host) *cutter {
	t.Helper()
	c := &cutter{
		t: t, host: host, open: map[net.Conn]bool{},
		address: netip.AddrPortFrom(host.Control, 7444).String(), to: netip.AddrPortFrom(host.Control, 7443).String(),
	}
	listener, err := host.Listen("tcp", c.address)
	if err != nil {
		t.Fatal(err)
	}
	c.going.Go(func() {
		for {
			agent, err := listener.Accept()
			if err != nil {
				return
			}
			c.going.Go(func() { c.carry(agent) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		c.cut()
		c.going.Wait()
	})
	return c
}

// carry joins one connection with one to the controller.
func (c *cutter) carry(agent net.Conn) {
	defer agent.Close()
	controller, err := c.host.Dial(context.Background(), "tcp", c.to)
	if err != nil {
		// It is not there yet; the agent comes again.
		return
	}
	defer controller.Close()
	c.mu.Lock()
	c.open[agent] = true
	c.mu.Unlock()
	var back sync.WaitGroup
	back.Go(func() {
		io.Copy(agent, controller)
		agent.Close()
	})
	io.Copy(controller, agent)
	controller.Close()
	back.Wait()
	c.mu.Lock()
	delete(c.open, agent)
	c.mu.Unlock()
}

// cut cuts all connections. What is on its way is lost.
func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.open {
		if err := conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			c.t.Error(err)
		}
	}
}
