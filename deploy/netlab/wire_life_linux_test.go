package netlab

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A host whose link is down refuses frames, and takes them again when it is up; one
// whose link is removed in the midst of traffic harms nobody else.
func TestLinkGoesDuringTraffic(t *testing.T) {
	l := makeLab(t, Config{Hosts: []string{"A", "B", "C"}, Mechanism: UserSpace, Wires: map[string]Wire{
		"A": {Out: Direction{Delay: time.Millisecond}}, "B": {In: Direction{Delay: time.Millisecond}}, "C": {},
	}})
	a, b := l.Host("A"), l.Host("B")
	sender, receiver := datagrams(t, l, "A", "B")
	neighbour(t, a, b, 2)
	meet(t, sender, receiver)
	write := func() {
		t.Helper()
		if _, err := sender.Write(numbered(1)); err != nil {
			t.Fatal(err)
		}
	}
	setLink(t, b, hostInterface, netlink.LinkSetDown)
	await(t, "the link that is down refuses", func() bool { write(); return settled(t, l)["B"].In.Refused > 0 })
	setLink(t, b, hostInterface, netlink.LinkSetUp)
	delivered := settled(t, l)["B"].In.Delivered
	await(t, "the link that is up takes", func() bool { write(); return settled(t, l)["B"].In.Delivered > delivered })

	refused := settled(t, l)["B"].In.Refused
	setLink(t, b, hostInterface, netlink.LinkDel)
	await(t, "the link that is gone refuses", func() bool { write(); return settled(t, l)["B"].In.Refused > refused })
	serve(t, l.Host("C"))
	greet(t, a, l.Host("C"), l.Host("C").Address)
	if reports, err := l.Wires(); err != nil || len(reports) != 3 {
		t.Errorf("%d reports, %v", len(reports), err)
	}
}

// What the lab's own processes say does not go over the wires.
func TestControlNetworkHasNoWire(t *testing.T) {
	nothing := Direction{Loss: 1}
	l := makeLab(t, Config{Hosts: []string{"A", "B"}, Mechanism: UserSpace, Wires: map[string]Wire{
		"A": {Out: nothing, In: nothing}, "B": {Out: nothing, In: nothing},
	}})
	serve(t, l.Host("B"))
	c, err := l.Host("A").Dial(t.Context(), "tcp", netip.AddrPortFrom(l.Host("B").Control, 7).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if greeting, err := io.ReadAll(c); err != nil || len(greeting) == 0 {
		t.Errorf("got %q, %v", greeting, err)
	}
}

func TestWireOfAClosedLab(t *testing.T) {
	l := makeLab(t, Config{Hosts: []string{"A"}, Wires: map[string]Wire{"A": {}}})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Wires(); !errors.Is(err, ErrClosed) {
		t.Errorf("Wires after Close: %v", err)
	}
}

// A lab whose frames are moved by its maker cannot outlive it.
func TestWiresAreNotKept(t *testing.T) {
	l, err := New(Config{Hosts: []string{"A"}, Keep: true, Mechanism: UserSpace, Wires: map[string]Wire{"A": {}}})
	if errors.Is(err, ErrPrivilege) {
		t.Skip(err)
	}
	if err == nil {
		t.Fatal("it was made", l.Close())
	}
}

func TestKilledMakerLeavesNoWire(t *testing.T) {
	w := newWitness(t)
	cmd := ourselves("wired maker")
	r := outcome(t, cmd, (*exec.Cmd).Start)
	if n := w.watchAllOf(t, cmd.Process.Pid); n != 3 {
		t.Fatalf("the maker holds %d namespaces, want the two hosts and the switch", n)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range r.PIDs {
		await(t, fmt.Sprintf("process %d is gone", pid), func() bool { return !alive(pid) })
	}
	await(t, "every namespace is gone", func() bool { return w.remaining(t) == 0 })
	if err := cmd.Wait(); err == nil {
		t.Error("the maker ended well, it should have been killed")
	}
	if err := os.RemoveAll(r.Dir); err != nil {
		t.Error(err)
	}
}

func TestRefusedTAPsSayWhatToDo(t *testing.T) {
	for errno, want := range map[unix.Errno]string{
		unix.EACCES: "read and write access",
		unix.ENOENT: "pass the device through",
		unix.ENODEV: "modprobe tun",
	} {
		err := tunRefused(errno)
		if !errors.Is(err, errno) || errors.Is(err, ErrPrivilege) || !strings.Contains(err.Error(), tunDevice) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", errno, err, want)
		}
	}
}
