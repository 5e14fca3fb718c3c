package trace

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"syncline/agent/kernel"
	synclinev1 "syncline/proto/syncline/v1"
)

// oraclePort is one that nothing else on a machine of tests uses, nor is given to those who
// connect: bpftrace sees all of its network namespaces.
const oraclePort = 27831

// bpftrace is the independent tracer of sock:inet_sock_set_state, at work.
type bpftrace struct {
	cmd   *exec.Cmd
	mu    sync.Mutex
	lines []string
	// more tells of a new line.
	more   chan struct{}
	stderr strings.Builder
	read   sync.WaitGroup
}

func startBpftrace(t *testing.T) *bpftrace {
	t.Helper()
	path, err := exec.LookPath("bpftrace")
	if err != nil {
		t.Skip("bpftrace, which these states are compared with, is not here (Debian: apt-get install bpftrace)")
	}
	program := fmt.Sprintf(`tracepoint:sock:inet_sock_set_state /args->sport == %d || args->dport == %[1]d/ `+
		`{ printf("%%d %%d %%d %%d\n", args->sport, args->dport, args->oldstate, args->newstate); }`, oraclePort)
	// bpftrace needs tracefs, which nothing else does: it gets one of its own.
	const mounts = `{ test -d /sys/kernel/debug/tracing || mount -t debugfs debugfs /sys/kernel/debug; } && { test -d /sys/kernel/debug/tracing/events/sock || ` +
		`mount -t tracefs tracefs /sys/kernel/debug/tracing; } && exec "$@"`
	b := &bpftrace{more: make(chan struct{}, 1), cmd: exec.Command("sh", "-c", mounts, "sh", path, "-B", "line", "-e", program)}
	b.cmd.SysProcAttr = &unix.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	// Twice as many lines as the test makes, so that none is lost.
	b.cmd.Env = append(os.Environ(), "BPFTRACE_PERF_RB_PAGES=1024")
	b.cmd.Stderr = &b.stderr
	out := must(b.cmd.StdoutPipe())
	if err := b.cmd.Start(); errors.Is(err, unix.EPERM) {
		t.Skipf("start bpftrace in a mount namespace of its own: %v (run the test as root)", err)
	} else if err != nil {
		t.Fatal(err)
	}
	b.read.Go(func() {
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			b.mu.Lock()
			b.lines = append(b.lines, scanner.Text())
			b.mu.Unlock()
			select {
			case b.more <- struct{}{}:
			default:
			}
		}
	})
	return b
}

func (b *bpftrace) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.lines)
}

// await waits until its lines are so, and no longer than the limit: what they lack then
// the comparison shows.
func (b *bpftrace) await(limit time.Duration, so func(lines []string) bool) {
	for over := time.After(limit); ; {
		b.mu.Lock()
		done := so(b.lines)
		b.mu.Unlock()
		if done {
			return
		}
		select {
		case <-b.more:
		case <-over:
			return
		}
	}
}

// stop answers with its lines.
func (b *bpftrace) stop(t *testing.T) []string {
	check(b.cmd.Process.Signal(unix.SIGINT))
	b.read.Wait()
	if err := b.cmd.Wait(); err != nil || strings.Contains(b.stderr.String(), "Lost") {
		t.Fatalf("bpftrace: %v\n%s", err, b.stderr.String())
	}
	return b.lines
}

// For 200 connections, half closed by either end, this tracer and bpftrace's tell the
// same states, none missing and none invented.
func TestAgainstBpftrace(t *testing.T) {
	const connections = 200
	p := newPair(t)
	oracle := startBpftrace(t)
	flows := p.flows()
	flows.Ports = []uint16{oraclePort}
	state := []synclinev1.TraceKind{synclinev1.TraceKind_TRACE_KIND_STATE}

	// It takes seconds to attach; a listener that comes and goes shows when it has.
	deadline := time.Now().Add(20 * time.Second)
	for begun := oracle.count(); oracle.count() <= begun+2; {
		if time.Now().After(deadline) {
			_ = oracle.cmd.Process.Kill()
			oracle.read.Wait()
			err := oracle.cmd.Wait()
			t.Fatalf("bpftrace tells nothing: %v\n%s", err, oracle.stderr.String())
		}
		check(unix.Close(p.server.listen(p.server4, oraclePort)))
		time.Sleep(10 * time.Millisecond)
	}
	client, server := p.client.watch(t, Config{Flows: flows, Kinds: state}), p.server.watch(t, Config{Flows: flows, Kinds: state})
	l := p.server.listen(p.server4, oraclePort)
	for i := range connections {
		c := must(p.client.dial(p.server4, oraclePort))
		ends := [2]int{c, accept(l)}
		var b [1]byte
		check(unix.Close(ends[i%2]))
		must(unix.Read(ends[1-i%2], b[:]))
		check(unix.Close(ends[1-i%2]))
	}
	check(unix.Close(l))
	settled := func(all []*synclinev1.Event, sockets int) bool {
		closed := 0
		for _, path := range statesOf(all) {
			if path[len(path)-1] == kernel.Close.String() {
				closed++
			}
		}
		return closed == sockets
	}
	client.wait("all clients closed", func(all []*synclinev1.Event) bool { return settled(all, connections) })
	server.wait("all servers closed", func(all []*synclinev1.Event) bool { return settled(all, connections+1) })

	got := map[string]int{}
	for _, e := range append(client.flush(), server.flush()...) {
		tr := e.GetTrace()
		local, peer := must(netip.ParseAddrPort(tr.LocalAddress)), must(netip.ParseAddrPort(tr.PeerAddress))
		got[change(local.Port(), peer.Port(), tr.OldState, tr.State)]++
	}
	// On a busy machine bpftrace reads its own buffers late, and not to their end when it
	// is told to stop. Lines of listeners, which have no peer, say nothing: bpftrace has not
	// told of those that came before it was there.
	all := 0
	for change, n := range got {
		if !strings.Contains(change, " 0 ") {
			all += n
		}
	}
	oracle.await(20*time.Second, func(lines []string) bool {
		told := 0
		for _, line := range lines {
			if !strings.Contains(line, " 0 ") {
				told++
			}
		}
		return told >= all
	})
	want := map[string]int{}
	for _, s := range oracle.stop(t) {
		var local, peer uint16
		var from, to uint32
		if n, _ := fmt.Sscanf(s, "%d %d %d %d", &local, &peer, &from, &to); n == 4 {
			want[change(local, peer, from, to)]++
		}
	}
	// What only showed that bpftrace was there.
	for _, listener := range []string{change(oraclePort, 0, 7, 10), change(oraclePort, 0, 10, 7)} {
		if want[listener] < 2 {
			t.Errorf("bpftrace has not told %q", listener)
		}
		want[listener] = 1
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("states (-bpftrace +this tracer):\n%s", diff)
	}
}

// change is a transition in a form that both tracers know. Before the source port is
// chosen, the tracepoint shows what was there before.
func change(local, peer uint16, from, to uint32) string {
	if kernel.State(to) == kernel.SynSent {
		local = 0
	}
	return fmt.Sprintf("%d %d %v %v", local, peer, kernel.State(from), kernel.State(to))
}
