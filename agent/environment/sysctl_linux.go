package environment

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const procSys = "/proc/sys/"

// sysctlDirs are the directories whose sysctls are kept, with what their names begin
// with; none: all of them.
var sysctlDirs = []struct {
	dir      string
	prefixes []string
}{
	{"net/core", nil},
	{"net/ipv4", []string{"tcp_", "udp_", "ip_", "ipfrag_", "icmp_", "inet_", "fib_multipath"}},
	{"net/ipv6", nil},
	{"net/mptcp", nil},
	{"net/netfilter", []string{"nf_conntrack_"}},
	{"net/unix", nil},
}

// sysctlsAlone are kept beside those of sysctlDirs: what bounds sockets, and what
// decides when a thread runs and what a tracer may see.
var sysctlsAlone = []string{
	"fs/file-max", "fs/nr_open",
	"kernel/bpf_stats_enabled", "kernel/kptr_restrict", "kernel/perf_event_paranoid", "kernel/unprivileged_bpf_disabled",
	"kernel/numa_balancing", "kernel/sched_autogroup_enabled", "kernel/sched_rt_runtime_us", "kernel/timer_migration", "kernel/watchdog",
}

// secretSysctls are never read: keys, and what makes hashes hard to guess.
var secretSysctls = []string{"tcp_fastopen_key", "netdev_rss_key", "fib_multipath_hash_seed", "stable_secret"}

// momentarySysctls count what is now; see page.load.
var momentarySysctls = []string{"nf_conntrack_count"}

// deviceSysctls are those of one interface that matter to TCP between the hosts of a
// lab, by the directory that has one directory an interface.
var deviceSysctls = []struct {
	dir   string
	names []string
}{
	{"net/ipv4/conf", []string{
		"accept_local", "arp_accept", "arp_announce", "arp_filter", "arp_ignore", "arp_notify", "disable_policy", "disable_xfrm",
		"forwarding", "proxy_arp", "route_localnet", "rp_filter", "src_valid_mark", "accept_redirects", "send_redirects", "log_martians",
	}},
	{"net/ipv4/neigh", []string{
		"base_reachable_time_ms", "delay_first_probe_time", "gc_stale_time", "mcast_solicit", "retrans_time_ms", "ucast_solicit", "unres_qlen",
	}},
	{"net/ipv6/conf", []string{"disable_ipv6", "accept_dad", "accept_ra", "dad_transmits", "forwarding", "hop_limit", "mtu", "use_tempaddr"}},
	{"net/ipv6/neigh", []string{"base_reachable_time_ms", "retrans_time_ms"}},
}

// sysctls puts the sysctls that are no interface's own, with those that interfaces
// inherit.
func (p *page) sysctls() {
	p.section(sectionSysctl)
	for _, d := range sysctlDirs {
		p.sysctlDir(d.dir, d.prefixes)
	}
	for _, name := range sysctlsAlone {
		p.sysctl(strings.ReplaceAll(name, "/", "."), procSys+name)
	}
	for _, inherited := range []string{"all", "default"} {
		p.deviceSysctls(inherited, func(dir, name string) string {
			return strings.ReplaceAll(dir, "/", ".") + "." + inherited + "." + name
		})
	}
}

// sysctlDir puts the sysctls of one directory. One that does not exist is that of a
// module that is not loaded.
func (p *page) sysctlDir(dir string, prefixes []string) {
	entries, err := os.ReadDir(procSys + dir)
	name := strings.ReplaceAll(dir, "/", ".")
	if errors.Is(err, fs.ErrNotExist) {
		p.set(name, "not there: its module is not loaded, or this network namespace has none")
		return
	}
	if err != nil {
		p.fail(name, err)
		return
	}
	for _, e := range entries {
		if e.IsDir() || slices.Contains(secretSysctls, e.Name()) || slices.Contains(momentarySysctls, e.Name()) {
			continue
		}
		wanted := func(prefix string) bool { return strings.HasPrefix(e.Name(), prefix) }
		if len(prefixes) > 0 && !slices.ContainsFunc(prefixes, wanted) {
			continue
		}
		if info, err := e.Info(); err == nil && info.Mode().Perm()&0o444 == 0 {
			continue // To be written only, as net.ipv4.route.flush.
		}
		p.sysctl(name+"."+e.Name(), filepath.Join(procSys, dir, e.Name()))
	}
}

// deviceSysctls puts what the kernel keeps for one interface.
func (p *page) deviceSysctls(device string, name func(dir, name string) string) {
	for _, d := range deviceSysctls {
		if _, err := os.Stat(procSys + d.dir + "/" + device); errors.Is(err, fs.ErrNotExist) {
			continue // IPv6 is off, or neigh, which has no "all".
		}
		for _, s := range d.names {
			p.sysctl(name(d.dir, s), filepath.Join(procSys, d.dir, device, s))
		}
	}
}

// sysctl puts one value. A sysctl that this kernel has not is left out: a newer
// kernel has it.
func (p *page) sysctl(name, path string) {
	text, err := file(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	p.put(name, text, err)
}
