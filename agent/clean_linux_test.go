package agent

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"syncline/agent/setup"
	synclinev1 "syncline/proto/syncline/v1"
)

// inNamespace runs f on a thread of its own in a new network namespace, which goes with
// the thread.
func inNamespace(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a network namespace needs root")
	}
	done := make(chan error)
	go func() {
		defer close(done)
		// Never unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- os.NewSyscallError("unshare(CLONE_NEWNET)", err)
			return
		}
		f()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// A run whose changes could not be taken back leaves them to the next one, which takes
// them back before it begins.
func TestARunBeginsOnACleanHost(t *testing.T) {
	inNamespace(t, func() {
		value := func() string {
			text, err := os.ReadFile("/proc/sys/net/ipv4/tcp_fin_timeout")
			if err != nil {
				t.Error(err)
			}
			return strings.TrimSpace(string(text))
		}
		host, err := setup.Open(t.TempDir(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Error(err)
			return
		}
		defer host.Close()
		before := value()
		target := setup.Target{Own: netip.MustParseAddr("127.0.0.1"), RunID: "r-0"}
		change := &synclinev1.Change{Text: "sysctl", What: &synclinev1.Change_Sysctl{Sysctl: &synclinev1.SysctlChange{Name: "net.ipv4.tcp_fin_timeout", Value: "7"}}}
		if err := host.Apply(context.Background(), target, &synclinev1.Setup{Changes: []*synclinev1.Change{change}}, nil); err != nil {
			t.Error(err)
			return
		}
		if got := value(); got != "7" {
			t.Errorf("tcp_fin_timeout is %s, not changed", got)
		}
		rs := newRuns(Config{Name: "vm1", PendingBytes: 1 << 20, Log: slog.New(slog.DiscardHandler)}, 1)
		rs.host = host
		defer rs.close()
		err = rs.admit(&synclinev1.Prepare{RunId: "r-1", Epoch: 1, Host: "A", Hosts: []*synclinev1.HostAddress{{Host: "A", Agent: "vm1", Address: "127.0.0.1"}}}, false)
		if err != nil {
			t.Error(err)
		}
		if got := value(); got != before {
			t.Errorf("tcp_fin_timeout is %s when the next run begins, %s before", got, before)
		}
	})
}
