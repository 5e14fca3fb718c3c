package netlab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// witness observes from outside whether network namespaces still exist, without
// holding them: it is a namespace of the test's own with one end of a veth pair per
// watched namespace. When the kernel removes a namespace, the pair goes.
type witness struct {
	ns    *os.File
	links *netlink.Handle
	count int
}

func newWitness(t *testing.T) *witness {
	t.Helper()
	w := new(witness)
	err := spend(func() (err error) {
		w.ns, err = newNamespace()
		return err
	})
	if errors.Is(err, ErrPrivilege) {
		t.Skipf("%v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if w.links, err = netlink.NewHandleAt(netns.NsHandle(w.ns.Fd()), unix.NETLINK_ROUTE); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.links.Close()
		w.ns.Close()
	})
	return w
}

// watch ties a veth pair to the namespace that a descriptor or a link under /proc
// stands for.
func (w *witness) watch(t *testing.T, path string) {
	t.Helper()
	ns, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = fmt.Sprintf("watch%d", w.count)
	err = w.links.LinkAdd(&netlink.Veth{
		LinkAttrs: attrs, PeerName: "watched", PeerNamespace: netlink.NsFd(ns.Fd()),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.count++
}

// watchAllOf watches every namespace that a process holds a descriptor of, and
// returns how many.
func (w *witness) watchAllOf(t *testing.T, pid int) int {
	t.Helper()
	fds := fmt.Sprintf("/proc/%d/fd/", pid)
	entries, err := os.ReadDir(fds)
	if err != nil {
		t.Fatal(err)
	}
	seen := []string{"net:" + strings.TrimPrefix(selfNamespace(t, w.ns), "net:")}
	watched := 0
	for _, e := range entries {
		target, err := os.Readlink(fds + e.Name())
		if err == nil && strings.HasPrefix(target, "net:") && !slices.Contains(seen, target) {
			seen = append(seen, target)
			w.watch(t, fds+e.Name())
			watched++
		}
	}
	return watched
}

func selfNamespace(t *testing.T, ns *os.File) string {
	t.Helper()
	id, err := identify(ns)
	if err != nil {
		t.Fatal(err)
	}
	return string(id)
}

// remaining counts the watched namespaces that still exist.
func (w *witness) remaining(t *testing.T) int {
	t.Helper()
	links, err := w.links.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, l := range links {
		if l.Type() == "veth" {
			n++
		}
	}
	return n
}

// interfaces are the links of the calling thread's namespace.
func interfaces() []string {
	links, err := net.Interfaces()
	if err != nil {
		panic(err)
	}
	var names []string
	for _, l := range links {
		names = append(names, l.Name)
	}
	slices.Sort(names)
	return names
}

// labDirs are the directories of labs under the temporary directory.
func labDirs(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(os.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var dirs []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), dirPrefix) {
			dirs = append(dirs, e.Name())
		}
	}
	return dirs
}
