package cli

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"syncline/agent/kernel/trace"
)

// refusedTogether is refused twice: from 127.0.0.1, since nobody has bound the socket, and
// from its host's own address.
const refusedTogether = `experiment: refused-together
about: Two refused connects of hosts that share a network namespace.
hosts: { A: {}, B: {} }
vars: { port: 19 }
observe: [syscalls, packets, tcp-states, drops]
lanes:
  client:
    host: A
    do:
      - c = socket(tcp)
      - connect(c, B:$port) -> ECONNREFUSED as unbound
      - close(c)
      - d = socket(tcp)
      - bind(d, A:0)
      - connect(d, B:$port) -> ECONNREFUSED as bound
      - close(d)
expect:
  - packets: [A>B SYN, B>A RST+ACK]
  - order: [enter(unbound) < sent(A, SYN) < received(B, SYN) < sent(B, RST) < received(A, RST) < return(unbound)]
  - states: { client.c: [CLOSED, SYN_SENT, CLOSED], client.d: [CLOSED, SYN_SENT, CLOSED] }
repeat: { runs: 1, gap: 10ms, timeout: 5s }
`

// TestTogether runs hosts that are addresses of one network namespace, with every tap and
// tracer: each hears all of it, and the lab tells it once, of the host that it happened at.
func TestTogether(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to give somebody else CAP_NET_RAW, CAP_BPF and CAP_PERFMON: run the tests as root")
	}
	if missing, err := trace.Probe(); err != nil || len(missing) > 0 {
		t.Skipf("needs every tracepoint: %v, missing %v", err, missing)
	}
	program := readable(t)
	file := program + ".yaml"
	if err := os.WriteFile(file, []byte(refusedTogether), 0o644); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := asNobodyWith(t, []uintptr{unix.CAP_NET_RAW, unix.CAP_BPF, unix.CAP_PERFMON}, program, "demo", file, "--no-color")
	if code != 0 && code != exitInconclusive || strings.Contains(stdout, "FAIL") || strings.Contains(stderr, "DATA RACE") {
		t.Fatalf("exit %d\n%s\n%s", code, stdout, stderr)
	}
	if !strings.Contains(stderr, "missing: hosts with a network of their own") || strings.Contains(stderr, "missing: drops") {
		t.Errorf("the hosts are not together, or without a tracer:\n%s", stderr)
	}
	for want, times := range map[string]int{"NO_SOCKET ✗": 2, "✗ #": 0, "◆ #1 SYN_SENT": 1, "◆ #2 SYN_SENT": 1, " saw SYN pass": 0} {
		if n := strings.Count(stdout, want); n != times {
			t.Errorf("%q is told %d times, want %d", want, n, times)
		}
	}
	if t.Failed() {
		t.Log(stdout)
	}
}
