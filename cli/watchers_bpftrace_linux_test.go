package cli

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"syncline/agent/kernel"
)

// stateChange is one that a tracer saw of a socket: by its cookie, or its address in the
// kernel. Ports that are not filled in yet are 0, or what they were before.
type stateChange struct {
	at            int64 // nanoseconds of the tracer's clock
	agent, socket string
	local, peer   uint16
	from, to      uint32
}

// life is what a tracer saw of one socket, from CLOSED or its listener on.
type life struct {
	agent       string
	local, peer uint16
	steps       []string
}

// tally counts changes by host, ports and states. The ports are those that the socket had
// once they were filled in.
func tally(all []stateChange) map[string]int {
	// A tracer tells what each processor saw in its order, but not processors in theirs.
	slices.SortStableFunc(all, func(a, b stateChange) int { return cmp.Compare(a.at, b.at) })
	current := map[string]*life{}
	var lives []*life
	for _, c := range all {
		key := c.agent + " " + c.socket
		l := current[key]
		if from := kernel.State(c.from); l == nil || from == kernel.Close || from == kernel.Listen && kernel.State(c.to) == kernel.SynRecv {
			l = &life{agent: c.agent}
			current[key] = l
			lives = append(lives, l)
		}
		if c.local != 0 && kernel.State(c.to) != kernel.SynSent {
			l.local = c.local
		}
		if c.peer != 0 {
			l.peer = c.peer
		}
		l.steps = append(l.steps, fmt.Sprintf("%v>%v", kernel.State(c.from), kernel.State(c.to)))
	}
	changes := map[string]int{}
	for _, l := range lives {
		for _, s := range l.steps {
			changes[fmt.Sprintf("%s %d %d %s", l.agent, l.local, l.peer, s)]++
		}
	}
	return changes
}

func endOf(t testing.TB, address string) uint16 {
	t.Helper()
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return a.Port()
}

// stateTracer is bpftrace on sock:inet_sock_set_state, for the sockets of some hosts.
type stateTracer struct {
	t      testing.TB
	cmd    *exec.Cmd
	agents map[string]string // by the inode of the namespace
	mu     sync.Mutex
	lines  []string
	stderr bytes.Buffer
	read   sync.WaitGroup
	over   chan struct{} // closed when it says nothing more
}

// startTracer returns when bpftrace tells of sockets of every host.
func (l *testLab) startTracer(hosts []string) *stateTracer {
	l.t.Helper()
	path, err := exec.LookPath("bpftrace")
	if err != nil {
		l.t.Skip("bpftrace, which states are compared with, is not here (Debian: apt-get install bpftrace)")
	}
	s := &stateTracer{t: l.t, agents: map[string]string{}, over: make(chan struct{})}
	var wanted []string
	for _, agent := range hosts {
		err := l.Host(agent).Do(func() error {
			var st unix.Stat_t
			err := unix.Stat("/proc/thread-self/ns/net", &st)
			s.agents[fmt.Sprint(st.Ino)] = agent
			wanted = append(wanted, fmt.Sprintf("$ns == %d", st.Ino))
			return err
		})
		if err != nil {
			l.t.Fatal(err)
		}
	}
	program := `tracepoint:sock:inet_sock_set_state { $sk = (struct sock *)args->skaddr; $ns = $sk->__sk_common.skc_net.net->ns.inum; ` +
		// Of the hosts' network alone: tshark looks for phones at 127.0.0.1.
		`if ((` + strings.Join(wanted, " || ") + `) && args->saddr[0] != 127 && args->daddr[0] != 127) { printf("%llu %u %llx %d %d %d %d\n", nsecs, $ns, args->skaddr, args->sport, args->dport, args->oldstate, args->newstate); } }`
	// It needs tracefs, which nothing else does: it gets one of its own.
	const mounts = `mount -t debugfs debugfs /sys/kernel/debug && { test -d /sys/kernel/debug/tracing/events/sock || ` +
		`mount -t tracefs tracefs /sys/kernel/debug/tracing; } && exec "$@"`
	s.cmd = exec.Command("sh", "-c", mounts, "sh", path, "-B", "line", "-e", program)
	s.cmd.SysProcAttr = &unix.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	s.cmd.Env = append(os.Environ(), "BPFTRACE_PERF_RB_PAGES=4096")
	s.cmd.Stderr = &s.stderr
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		l.t.Fatalf("start bpftrace in a mount namespace of its own: %v", err)
	}
	s.read.Go(func() {
		defer close(s.over)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			s.mu.Lock()
			s.lines = append(s.lines, lines.Text())
			s.mu.Unlock()
		}
	})
	l.t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		s.read.Wait()
		_ = s.cmd.Wait()
	})
	for _, agent := range hosts {
		await(l.t, "bpftrace tells of "+agent, func() bool {
			if err := l.Host(agent).Do(openMarker); err != nil {
				l.t.Fatal(err)
			}
			if s.isOver() {
				l.t.Fatalf("bpftrace has ended: %s", s.stderr.String())
			}
			return s.told(agent)
		})
	}
	return s
}

// openMarker makes a listener that comes and goes.
func openMarker() error {
	l, err := net.Listen("tcp4", fmt.Sprintf(":%d", markerPort))
	if err != nil {
		return err
	}
	return l.Close()
}

func (s *stateTracer) isOver() bool {
	select {
	case <-s.over:
		return true
	default:
		return false
	}
}

func (s *stateTracer) told(agent string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, line := range s.lines {
		if f := strings.Fields(line); len(f) == 7 && s.agents[f[1]] == agent {
			return true
		}
	}
	return false
}

// stop ends bpftrace and answers with the state changes that it saw of the experiments'
// sockets, and with how many of any socket the kernel left its program out of.
func (s *stateTracer) stop() (changes map[string]int, misses int) {
	s.t.Helper()
	misses = s.misses()
	if err := s.cmd.Process.Signal(unix.SIGINT); err != nil {
		s.t.Fatal(err)
	}
	s.read.Wait()
	if err := s.cmd.Wait(); err != nil || strings.Contains(s.stderr.String(), "Lost") {
		s.t.Fatalf("bpftrace: %v\n%s", err, s.stderr.String())
	}
	var all []stateChange
	for _, line := range s.lines {
		var ns string
		var c stateChange
		if n, _ := fmt.Sscanf(line, "%d %s %s %d %d %d %d", &c.at, &ns, &c.socket, &c.local, &c.peer, &c.from, &c.to); n != 7 {
			continue
		}
		c.agent = s.agents[ns]
		if c.local != markerPort && c.local != controlPort && c.peer != controlPort {
			all = append(all, c)
		}
	}
	return tally(all), misses
}

// controlPort is that of the controller, whom agents dial from the hosts' namespaces.
const controlPort = 7443

// misses is how often the kernel left out bpftrace's program, since it was running
// already: it says so beside the program's descriptor.
func (s *stateTracer) misses() (misses int) {
	s.t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	programs := 0
	for _, f := range files {
		text, err := os.ReadFile(f)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			s.t.Fatal(err)
		}
		for _, line := range strings.Split(string(text), "\n") {
			if value, ok := strings.CutPrefix(line, "recursion_misses:"); ok {
				n, err := strconv.Atoi(strings.TrimSpace(value))
				if err != nil {
					s.t.Fatalf("%s: %q", f, line)
				}
				programs++
				misses += n
			}
		}
	}
	if programs == 0 {
		s.t.Error("bpftrace has no program that says what the kernel left it out of")
	}
	return misses
}
