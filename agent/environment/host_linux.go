package environment

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// versions are of this program and of what it stands on.
func (p *page) versions(version string) {
	p.section(sectionVersions)
	p.set("syncline", version)
	p.set("go", fmt.Sprintf("%s %s/%s", runtime.Version(), runtime.GOOS, runtime.GOARCH))
	info, ok := debug.ReadBuildInfo()
	if !ok {
		p.fail("build", errors.New("this program was built without its build information"))
		return
	}
	for _, s := range info.Settings {
		if slices.Contains([]string{"vcs.revision", "vcs.modified", "-race", "CGO_ENABLED"}, s.Key) {
			p.set("build "+s.Key, s.Value)
		}
	}
	for _, m := range info.Deps {
		if slices.Contains([]string{"github.com/cilium/ebpf", "golang.org/x/sys", "google.golang.org/grpc"}, m.Path) {
			p.set(m.Path, m.Version)
		}
	}
	text, err := file("/etc/os-release")
	if errors.Is(err, fs.ErrNotExist) {
		text, err = "PRETTY_NAME=unnamed", nil
	}
	p.put("system", osName(text), err)
}

func (p *page) kernel() {
	p.section(sectionKernel)
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		p.fail("release", fmt.Errorf("uname: %w", err))
	} else {
		p.set("release", unix.ByteSliceToString(u.Release[:]))
		p.set("version", unix.ByteSliceToString(u.Version[:]))
		p.set("machine", unix.ByteSliceToString(u.Machine[:]))
		p.set("host name", unix.ByteSliceToString(u.Nodename[:]))
	}
	btf, err := os.Stat("/sys/kernel/btf/vmlinux")
	switch {
	case err == nil:
		p.set("BTF", fmt.Sprintf("%d bytes", btf.Size()))
	case errors.Is(err, fs.ErrNotExist):
		p.set("BTF", "none")
	default:
		p.fail("BTF", err)
	}
	p.maybe("lockdown", "/sys/kernel/security/lockdown", "none: no securityfs here")
	p.file("tainted", "/proc/sys/kernel/tainted")
	p.file("boot id", "/proc/sys/kernel/random/boot_id")
}

func (p *page) processors() {
	p.section(sectionCPU)
	text, err := file("/proc/cpuinfo")
	p.put("model", models(text), err)
	if err == nil {
		p.set("flags of its clock", orNone(timingFlags(text)))
	}
	const cpus = "/sys/devices/system/cpu/"
	p.file("online", cpus+"online")
	p.maybe("isolated", cpus+"isolated", "none")
	p.maybe("SMT active", cpus+"smt/active", "not known to this kernel")
	p.each("governor", cpus+"cpu[0-9]*/cpufreq/scaling_governor", "none: no frequency scaling here")
	p.maybe("turbo off", cpus+"intel_pstate/no_turbo", "not known to this kernel")
	p.maybe("idle driver", cpus+"cpuidle/current_driver", "none")
	p.maybe("idle governor", cpus+"cpuidle/current_governor_ro", "none")
	p.maybe("nohz_full", cpus+"nohz_full", "none")
}

// each puts the different texts of files that a pattern matches.
func (p *page) each(name, pattern, absent string) {
	paths, err := filepath.Glob(pattern)
	if err != nil {
		panic(err) // Only the pattern can be wrong.
	}
	var all []string
	for _, path := range paths {
		text, err := file(path)
		if err != nil {
			p.fail(name, err)
			return
		}
		all = append(all, text)
	}
	if len(all) == 0 {
		p.set(name, absent)
		return
	}
	slices.Sort(all)
	p.set(name, strings.Join(slices.Compact(all), ", "))
}

func orNone(all []string) string {
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, " ")
}

func (p *page) memory() {
	p.section(sectionMemory)
	text, err := file("/proc/meminfo")
	values := keyed(text)
	p.put("total", values["MemTotal"], err)
	p.put("swap", values["SwapTotal"], err)
	p.maybe("transparent huge pages", "/sys/kernel/mm/transparent_hugepage/enabled", "none")
}

// virtualization is what hints at a machine within a machine. A file that is missing
// hints at nothing.
func (p *page) virtualization() {
	p.section(sectionVirtualization)
	text, err := file("/proc/cpuinfo")
	p.put("hypervisor flag", strconv.FormatBool(slices.Contains(timingFlags(text), "hypervisor")), err)
	p.maybe("hypervisor", "/sys/hypervisor/type", "does not name itself")
	p.maybe("vendor", "/sys/class/dmi/id/sys_vendor", "not told by firmware")
	p.maybe("product", "/sys/class/dmi/id/product_name", "not told by firmware")
	p.set("container", container())
}

// container names what this process is kept in, by the files that container managers
// leave.
func container() string {
	for _, path := range []string{"/run/systemd/container", "/run/host/container-manager"} {
		if text, err := file(path); err == nil && text != "" {
			return text
		}
	}
	for path, name := range map[string]string{"/.dockerenv": "docker", "/run/.containerenv": "podman"} {
		if _, err := os.Stat(path); err == nil {
			return name
		}
	}
	return "no sign of one"
}

// process is what this process may do and what limits it.
func (p *page) process() {
	p.section(sectionProcess)
	p.set("user id", strconv.Itoa(os.Geteuid()))
	status, err := file("/proc/self/status")
	values := keyed(status)
	for _, of := range []struct{ name, key string }{{"capabilities", "CapEff"}, {"capability bound", "CapBnd"}} {
		set := ""
		failure := err
		if failure == nil {
			set, failure = capabilitySet(values[of.key])
		}
		p.put(of.name, set, failure)
	}
	p.put("no new privileges", values["NoNewPrivs"], err)
	p.put("seccomp", values["Seccomp"], err)
	p.put("processors allowed", values["Cpus_allowed_list"], err)
	for _, l := range []struct {
		name     string
		resource int
	}{{"open files", unix.RLIMIT_NOFILE}, {"locked memory", unix.RLIMIT_MEMLOCK}, {"processes", unix.RLIMIT_NPROC}} {
		var limit unix.Rlimit
		err := unix.Getrlimit(l.resource, &limit)
		p.put("limit of "+l.name, fmt.Sprintf("%s of at most %s", amount(limit.Cur), amount(limit.Max)), err)
	}
	p.set("GOMAXPROCS", strconv.Itoa(runtime.GOMAXPROCS(0)))
	policy, err := scheduling()
	p.put("scheduling", policy, err)
	p.cgroup()
	for _, ns := range []string{"net", "time", "user", "pid"} {
		link, err := os.Readlink("/proc/thread-self/ns/" + ns)
		p.put("namespace "+ns, link, err)
	}
}

func amount(n uint64) string {
	if n == unix.RLIM_INFINITY {
		return "unlimited"
	}
	return strconv.FormatUint(n, 10)
}

// scheduling is the calling thread's policy, sched(7).
func scheduling() (string, error) {
	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		return "", fmt.Errorf("sched_getattr: %w", err)
	}
	names := []string{"SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "4", "SCHED_IDLE", "SCHED_DEADLINE", "SCHED_EXT"}
	name := strconv.Itoa(int(attr.Policy))
	if int(attr.Policy) < len(names) {
		name = names[attr.Policy]
	}
	return fmt.Sprintf("%s, nice %d, priority %d", name, attr.Nice, attr.Priority), nil
}

// cgroup is where this process is, and what its own group and those above it allow.
func (p *page) cgroup() {
	text, err := file("/proc/self/cgroup")
	if err != nil {
		p.fail("cgroup", err)
		return
	}
	unified, v1 := cgroupPaths(text)
	root := cgroup2Root()
	switch {
	case root == "":
		p.set("cgroup", "no cgroup2 is mounted on /sys/fs/cgroup")
	default:
		p.set("cgroup", unified)
		p.maybe("processor quota", filepath.Join(root, unified, "cpu.max"), "none")
		p.maybe("memory limit", filepath.Join(root, unified, "memory.max"), "none")
	}
	if path, ok := v1["cpu"]; ok {
		p.maybe("processor quota, cgroup 1", filepath.Join("/sys/fs/cgroup/cpu", path, "cpu.cfs_quota_us"), "none")
	}
}

// cgroup2Root is where cgroup2 is mounted, empty if it is nowhere that systemd puts it.
func cgroup2Root() string {
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var s unix.Statfs_t
		if unix.Statfs(dir, &s) == nil && int64(s.Type) == unix.CGROUP2_SUPER_MAGIC {
			return dir
		}
	}
	return ""
}

// load is what is different at every look.
func (p *page) load() {
	p.section(sectionLoad)
	p.file("average", "/proc/loadavg")
	text, err := file("/proc/meminfo")
	p.put("memory available", keyed(text)["MemAvailable"], err)
	stat, err := file("/proc/stat")
	steal := ""
	if err == nil {
		steal, err = stolen(stat)
	}
	p.put("stolen by the hypervisor", steal, err)
	p.file("uptime", "/proc/uptime")
	p.maybe("connections tracked", "/proc/sys/net/netfilter/nf_conntrack_count", "none: no connection tracking here")
	p.maybe("sockets", "/proc/net/sockstat", "not told")
}
