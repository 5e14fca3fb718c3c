package setup

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// childEnv makes the test binary a child that changes its host, with its journal in
// this directory; childLoops makes it apply and undo until it is killed.
const (
	childEnv   = "SYNCLINE_SETUP_TEST_CHILD"
	childLoops = "SYNCLINE_SETUP_TEST_LOOPS"
)

// everything is a change of each kind, of host a of a pair. They can all stand at once.
func everything() []*synclinev1.Change {
	in := synclinev1.FirewallChange_HOOK_IN
	return []*synclinev1.Change{
		sysctl("net.ipv4.tcp_syncookies", "0"),
		sysctl("net.ipv4.ip_local_port_range", "40000 40010"),
		sysctl("net.ipv4.tcp_rmem", "4096 8192 16384"),
		sysctl("net.ipv4.ip_forward", "1"),
		firewall("drop tcp/9", &synclinev1.FirewallChange{Action: synclinev1.FirewallChange_ACTION_DROP, Hook: in, Protocol: 6, Port: 9, IcmpType: -1}),
		firewall("track tcp/9 idle 2s", &synclinev1.FirewallChange{
			Action: synclinev1.FirewallChange_ACTION_ACCEPT, Hook: in, Protocol: 6, Port: 9, IcmpType: -1, IdleTimeoutNs: 2e9,
		}),
		firewall("redirect tcp/9 to 10", &synclinev1.FirewallChange{Hook: in, Protocol: 6, Port: 9, IcmpType: -1, RedirectPort: 10}),
		routed(&synclinev1.RouteChange{Destination: "10.9.0.2/32", Kind: "unicast", Mtu: 1000, Advmss: 500, RtoMinMs: 50, Initcwnd: 2}),
		routed(&synclinev1.RouteChange{Destination: "fd09::2/128", Kind: "unreachable"}),
		routed(&synclinev1.RouteChange{Destination: "10.8.0.0/24", Kind: "unicast", Gateway: "10.9.0.2"}),
		routed(&synclinev1.RouteChange{Destination: "10.9.0.0/24", Kind: "blackhole"}),
		neighboured("", false),
		neighboured("", true),
		addressed("10.9.9.9/24", false),
		addressed("fd09::9/64", false),
		linked("mtu, rate, offload", &synclinev1.LinkChange{Mtu: 1400, Rate: 1_000_000, NoOffload: true}),
		linked("mtu below IPv6", &synclinev1.LinkChange{Mtu: 600}),
		addressed("10.9.0.1", true),
		sysctl("net.ipv6.conf.all.disable_ipv6", "1"),
		linked("down", &synclinev1.LinkChange{Down: true}),
	}
}

func TestEachChangeIsUndone(t *testing.T) {
	p := newPair(t)
	for _, c := range everything() {
		t.Run(strings.ReplaceAll(c.GetText(), "/", "_"), func(t *testing.T) {
			o := p.a.opened(t.TempDir())
			before := p.a.snapshot()
			p.a.apply(o, p.target(), "x", c)
			during := p.a.snapshot()
			if c.GetNeighbour() == nil && cmp.Equal(before, during) {
				t.Error("the change changed nothing")
			}
			if c.GetNeighbour().GetNowhere() || c.GetNeighbour() == nil {
				p.a.undo(o, "x")
			}
			unchanged(t, before, p.a.snapshot())
			journalEmpty(t, o)
		})
	}
}

func journalEmpty(t *testing.T, o *Host) {
	t.Helper()
	info, err := os.Stat(o.file.name())
	if err != nil || info.Size() != 0 {
		t.Errorf("journal: %v, %v; want it empty", info.Size(), err)
	}
}

func TestAllAreUndoneTogether(t *testing.T) {
	p := newPair(t, true)
	o := p.a.opened(t.TempDir())
	before := p.a.snapshot()
	p.a.apply(o, p.target(), "", everything()...)
	var undone []string
	p.a.do(func() error {
		return o.UndoAll(context.Background(), func(c *synclinev1.ChangeMade) {
			if !c.GetUndone() {
				t.Errorf("%s is reported as made", c.GetText())
			}
			undone = append(undone, c.GetText())
		})
	})
	unchanged(t, before, p.a.snapshot())
	journalEmpty(t, o)
	var want []string
	for _, c := range everything() {
		// To forget neighbours cannot be undone and need not.
		if c.GetNeighbour() == nil || c.GetNeighbour().GetNowhere() {
			want = append([]string{c.GetText()}, want...)
		}
	}
	if diff := cmp.Diff(want, undone); diff != "" {
		t.Errorf("undone (-want +got):\n%s", diff)
	}
}

func TestAnErrorUndoesWhatWasMade(t *testing.T) {
	p := newPair(t)
	o := p.a.opened(t.TempDir())
	before := p.a.snapshot()
	changes := append(everything(), sysctl("net.ipv4.there_is_none", "1"))
	var made, undone []string
	err := p.a.try(func() error {
		return o.Apply(context.Background(), p.target(), &synclinev1.Setup{Changes: changes}, func(c *synclinev1.ChangeMade) {
			if c.GetUndone() {
				undone = append(undone, c.GetText())
			} else {
				made = append(made, c.GetText())
			}
		})
	})
	if !errors.Is(err, ErrUnsupported) || !strings.Contains(fmt.Sprint(err), "net.ipv4.there_is_none") {
		t.Errorf("Apply: %v", err)
	}
	if len(made) != len(everything()) || len(undone) != len(made)-1 {
		t.Errorf("%d made and %d undone of %d", len(made), len(undone), len(everything()))
	}
	unchanged(t, before, p.a.snapshot())
	journalEmpty(t, o)
}

// childMain applies everything, says so, and waits to be killed.
func childMain(dir string) int {
	o, err := Open(dir, quiet)
	if err == nil {
		err = childApply(o)
	}
	fmt.Println(err)
	return 1
}

func childApply(o *Host) error {
	ctx := context.Background()
	say := func(c *synclinev1.ChangeMade) {
		if os.Getenv(childLoops) == "" {
			return
		}
		if c.GetUndone() {
			fmt.Println("undone", c.GetText())
		} else {
			fmt.Println("made", c.GetText())
		}
	}
	for {
		if err := o.Apply(ctx, childTarget(), &synclinev1.Setup{Changes: everything()}, say); err != nil {
			return err
		}
		if os.Getenv(childLoops) == "" {
			fmt.Println("applied")
			select {}
		}
		if err := o.UndoAll(ctx, say); err != nil {
			return err
		}
	}
}

func childTarget() Target {
	return (&pair{a4: mustAddr("10.9.0.1"), b4: mustAddr("10.9.0.2"), b6: mustAddr("fd09::2")}).target()
}

func TestAKilledProcessIsUndone(t *testing.T) {
	p := newPair(t)
	dir := filepath.Join(t.TempDir(), "journal")
	before := p.a.snapshot()
	child := exec.Command("/proc/self/exe")
	child.Env = append(os.Environ(), childEnv+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	// A child is in the namespace of the thread that starts it.
	p.a.do(child.Start)
	line := make([]byte, 4096)
	n, err := out.Read(line)
	if got := string(line[:n]); got != "applied\n" {
		t.Errorf("the child says %q, %v", got, err)
	}
	if cmp.Equal(before, p.a.snapshot()) {
		t.Error("the child changed nothing")
	}
	err = p.a.try(func() error {
		_, err := Open(dir, quiet)
		return err
	})
	if !errors.Is(err, ErrInUse) {
		t.Errorf("Open while the child lives: %v, want ErrInUse", err)
	}
	if err := child.Process.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()

	o := p.a.opened(dir)
	unchanged(t, before, p.a.snapshot())
	journalEmpty(t, o)
	if got, want := len(o.Recovered()), len(everything())-1; got != want {
		t.Errorf("recovered %d changes, want %d: %q", got, want, o.Recovered())
	}
}

func mustAddr(text string) netip.Addr { return netip.MustParseAddr(text) }
