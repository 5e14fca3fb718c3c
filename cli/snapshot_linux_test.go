package cli

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"syncline/deploy/netlab"
)

// snapshot is all of a host that an experiment may change: by name, in words.
type snapshot map[string]string

// snapshots of the hosts of the experiment, by agent.
func (l *testLab) snapshots() map[string]snapshot {
	l.t.Helper()
	all := map[string]snapshot{}
	for _, h := range l.exp.Hosts {
		name := l.bindings[h.Name]
		s := snapshot{}
		if err := l.Host(name).Do(s.read); err != nil {
			l.t.Fatal(err)
		}
		all[name] = s
	}
	for _, m := range l.processes {
		if all[m.name] != nil {
			all[m.name]["children"] = strings.Join(children(l.t, m.Process), " ")
			all[m.name]["descriptors"] = strconv.Itoa(len(descriptors(l.t, m.Process)))
		}
	}
	return all
}

// volatile are below /proc/sys/net and move by themselves.
var volatile = []string{"nf_conntrack_count", "/neigh/", "tcp_fastopen_key"}

// read fills in what the namespace of the calling thread holds.
func (s snapshot) read() error {
	err := filepath.WalkDir("/proc/sys/net", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || slices.ContainsFunc(volatile, func(v string) bool { return strings.Contains(path, v) }) {
			return nil
		}
		// What may only be written (route/flush) has no state.
		if value, err := os.ReadFile(path); err == nil {
			s["sysctl "+strings.TrimPrefix(path, "/proc/sys/")] = strings.TrimSpace(string(value))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.readSockets(); err != nil {
		return err
	}
	if err := s.readRules(); err != nil {
		return fmt.Errorf("list nftables: %w", err)
	}
	return s.readLinks()
}

// readSockets counts sockets by what they are. What TCP leaves behind for its minute is
// left out: TIME_WAIT, and FIN_WAIT_2 of a socket that no process has (tcp_fin_timeout of
// tcp(7)). So are the lab's own connections.
func (s snapshot) readSockets() error {
	connections := 0
	for _, protocol := range []string{"tcp", "tcp6", "udp", "udp6", "raw", "raw6"} {
		table, err := os.ReadFile("/proc/thread-self/net/" + protocol)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(table)) {
			f := strings.Fields(line)
			const state, inode = 3, 9
			if len(f) <= inode || f[0] == "sl" || f[state] == "06" || f[state] == "05" && f[inode] == "0" {
				continue
			}
			if strings.HasSuffix(f[1], labPort) || strings.HasSuffix(f[2], labPort) {
				if f[state] == "01" {
					connections++
				}
				continue
			}
			s[fmt.Sprintf("socket %s %s %s", protocol, f[1], f[2])] = "state " + f[state]
		}
	}
	s[toController] = strconv.Itoa(connections)
	return nil
}

// toController counts an agent's connections to its controller: one for control, one
// for events, which comes up a little later than the agent is ready.
const toController = "connections to the controller"

// before are the snapshots with which later ones are compared.
func (l *testLab) before() (all map[string]snapshot) {
	l.t.Helper()
	await(l.t, "every agent has both its connections", func() bool {
		all = l.snapshots()
		for _, s := range all {
			if s[toController] != "2" {
				return false
			}
		}
		return true
	})
	return all
}

// labPort is the controller's port as /proc/net/tcp has it.
var labPort = fmt.Sprintf(":%04X", 7443)

func descriptors(t testing.TB, p *netlab.Process) []os.DirEntry {
	t.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (s snapshot) readRules() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	tables, err := c.ListTables()
	if err != nil {
		return err
	}
	for _, t := range tables {
		s[fmt.Sprintf("nft table %d %s", t.Family, t.Name)] = "there"
	}
	return nil
}

func (s snapshot) readLinks() error {
	links, err := netlink.LinkList()
	if err != nil {
		return err
	}
	for _, link := range links {
		a := link.Attrs()
		s["link "+a.Name] = fmt.Sprintf("mtu %d, flags %v, queue %d", a.MTU, a.Flags, a.TxQLen)
		for name, command := range map[string]uint32{"TSO": unix.ETHTOOL_GTSO, "GSO": unix.ETHTOOL_GGSO, "GRO": unix.ETHTOOL_GGRO} {
			if on, err := offload(a.Name, command); err == nil {
				s[name+" of "+a.Name] = strconv.Itoa(int(on))
			}
		}
		addresses, err := netlink.AddrList(link, netlink.FAMILY_ALL)
		if err != nil {
			return err
		}
		for _, address := range addresses {
			s[fmt.Sprintf("address %s on %s", address.IPNet, a.Name)] = fmt.Sprintf("scope %d", address.Scope)
		}
		qdiscs, err := netlink.QdiscList(link)
		if err != nil {
			return err
		}
		for _, q := range qdiscs {
			s[fmt.Sprintf("qdisc %s at %s", q.Type(), a.Name)] = fmt.Sprintf("handle %x", q.Attrs().Handle)
		}
		neighbours, err := netlink.NeighList(a.Index, netlink.FAMILY_ALL)
		if err != nil {
			return err
		}
		for _, n := range neighbours {
			if n.State&netlink.NUD_PERMANENT != 0 {
				s[fmt.Sprintf("neighbour %s on %s", n.IP, a.Name)] = n.HardwareAddr.String()
			}
		}
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{}, 0)
		if err != nil {
			return err
		}
		for _, r := range routes {
			s["route "+r.String()] = "there"
		}
	}
	return nil
}

// offload asks a driver for one of its switches (SIOCETHTOOL); loopback has not all.
func offload(link string, command uint32) (uint32, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	value := [2]uint32{command}
	var request struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}
	copy(request.name[:], link)
	request.data = unsafe.Pointer(&value)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return 0, errno
	}
	return value[1], nil
}

// children are the processes that a process of the lab has started and not yet seen
// the end of.
func children(t testing.TB, p *netlab.Process) []string {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, task := range tasks {
		// A thread may end while it is looked at.
		if b, err := os.ReadFile(task); err == nil {
			all = append(all, strings.Fields(string(b))...)
		}
	}
	return all
}

// differences names what changed from before to after. A name that is new is only
// allowed of sysctls: a module that the kernel loaded brings some.
func differences(before, after map[string]snapshot) []string {
	var all []string
	for host, b := range before {
		a := after[host]
		for _, name := range slices.Sorted(maps.Keys(b)) {
			if got, ok := a[name]; !ok {
				all = append(all, fmt.Sprintf("%s: %s: %q is gone", host, name, b[name]))
			} else if got != b[name] {
				all = append(all, fmt.Sprintf("%s: %s: was %q, is %q", host, name, b[name], got))
			}
		}
		for _, name := range slices.Sorted(maps.Keys(a)) {
			if _, ok := b[name]; !ok && !strings.HasPrefix(name, "sysctl ") {
				all = append(all, fmt.Sprintf("%s: %s: %q is new", host, name, a[name]))
			}
		}
	}
	return all
}
