package environment

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	synclinev1 "syncline/proto/syncline/v1"
)

// Grade says what a finding means for the lab.
type Grade string

// Grades.
const (
	// Fine: nothing is to be done.
	Fine Grade = "fine"
	// Note: the lab works, and what it measures here may be other than elsewhere.
	Note Grade = "note"
	// Lacking: something that an experiment can ask for is refused on this host.
	Lacking Grade = "lacking"
)

// Finding is what a setting means for the lab.
type Finding struct {
	// Name is what was looked at: "clock source".
	Name  string
	Grade Grade
	// Said is what was found, Remedy what to do about it; empty if nothing is.
	Said, Remedy string
}

// Diagnose reads an environment for what keeps the lab from working on the host, or
// disturbs its times. It is pure: the same environment gives the same findings.
func Diagnose(env *synclinev1.Environment) []Finding {
	d := &diagnosis{env: env}
	for _, look := range []func(){
		d.kernel, d.btf, d.setup, d.lockedMemory, d.openFiles, d.threads, d.quota, d.testClock, d.clockSource, d.discipline,
		d.processors, d.governor, d.hypervisor, d.busy, d.offloads, d.unread,
	} {
		look()
	}
	return d.findings
}

type diagnosis struct {
	env      *synclinev1.Environment
	findings []Finding
}

func (d *diagnosis) say(name string, grade Grade, said, remedy string) {
	d.findings = append(d.findings, Finding{name, grade, said, remedy})
}

// get is the value of a setting, empty if it is not known.
func (d *diagnosis) get(section, name string) string {
	for _, s := range d.env.GetSections() {
		if s.Name != section {
			continue
		}
		for _, x := range s.Settings {
			if x.Name == name {
				return x.Value
			}
		}
	}
	return ""
}

// orUnknown is the value of a setting, for people.
func (d *diagnosis) orUnknown(section, name string) string {
	if value := d.get(section, name); value != "" {
		return value
	}
	return "not known"
}

// unknown notes that a setting is not known, and reports whether that is so: what is
// not known is never taken for fine.
func (d *diagnosis) unknown(finding, section, name string) bool {
	if d.get(section, name) != "" {
		return false
	}
	d.say(finding, Note, "not known", "")
	return true
}

// may reports whether the process has a capability.
func (d *diagnosis) may(capability string) bool {
	set := d.get(sectionProcess, "capabilities")
	names := strings.Fields(set)
	if but, ok := strings.CutPrefix(set, "all but "); ok {
		return !slices.Contains(strings.Fields(but), capability)
	}
	return set == "all" || slices.Contains(names, capability)
}

// kernel is what tells which tracepoints and sysctls there are.
func (d *diagnosis) kernel() {
	release := d.orUnknown(sectionKernel, "release")
	major, minor, ok := kernelVersion(release)
	switch {
	case !ok:
		d.say("kernel", Note, release, "")
	case major < 5 || major == 5 && minor < 10:
		d.say("kernel", Note, release+": older than any this lab is tried on", "use Linux 5.10 or newer, if sources are missing")
	default:
		d.say("kernel", Fine, release, "")
	}
}

// kernelVersion reads the first two numbers of a release.
func kernelVersion(release string) (major, minor int, ok bool) {
	first, rest, _ := strings.Cut(release, ".")
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(rest)
	}
	major, err := strconv.Atoi(first)
	if err != nil {
		return 0, 0, false
	}
	minor, err = strconv.Atoi(rest[:end])
	return major, minor, err == nil
}

func (d *diagnosis) btf() {
	switch value := d.get(sectionKernel, "BTF"); value {
	case "":
		d.say("BTF", Note, "not known", "")
	case "none":
		d.say("BTF", Note, "the kernel does not describe its types (/sys/kernel/btf/vmlinux): tracepoints cannot be had", "use a kernel built with CONFIG_DEBUG_INFO_BTF=y")
	default:
		d.say("BTF", Fine, value, "")
	}
	if jit := d.get(sectionSysctl, "net.core.bpf_jit_enable"); jit == "0" {
		d.say("BPF compiler", Note, "off: BPF programs and filters are interpreted, and cost more", "sysctl net.core.bpf_jit_enable=1")
	}
}

func (d *diagnosis) setup() {
	if d.unknown("setup", sectionProcess, "capabilities") {
		return
	}
	if d.may("CAP_NET_ADMIN") {
		d.say("setup", Fine, "experiments can change this host", "")
		return
	}
	d.say("setup", Lacking, "experiments that change the host (setup, impair) are refused: no CAP_NET_ADMIN", "run the agent as root, or give it CAP_NET_ADMIN (AmbientCapabilities= in its unit)")
}

// limit is the soft limit of a resource; unlimited and unknown ones are high enough.
func (d *diagnosis) limit(name string) (value uint64, text string) {
	text = d.orUnknown(sectionProcess, "limit of "+name)
	soft, _, _ := strings.Cut(text, " ")
	value, err := strconv.ParseUint(soft, 10, 64)
	if err != nil {
		return 1 << 63, text
	}
	return value, text
}

// lockedMemory bounded what BPF maps take until Linux 5.11.
func (d *diagnosis) lockedMemory() {
	if d.unknown("locked memory", sectionProcess, "limit of locked memory") {
		return
	}
	value, text := d.limit("locked memory")
	major, minor, known := kernelVersion(d.get(sectionKernel, "release"))
	counted := known && (major < 5 || major == 5 && minor < 11)
	if counted && value < 64<<20 {
		d.say("locked memory", Lacking, text+" bytes: this kernel counts BPF maps and rings by it", "LimitMEMLOCK=infinity in the agent's unit, or ulimit -l unlimited")
		return
	}
	d.say("locked memory", Fine, text+" bytes", "")
}

func (d *diagnosis) openFiles() {
	const enough = 4096
	if d.unknown("open files", sectionProcess, "limit of open files") {
		return
	}
	value, text := d.limit("open files")
	if value < enough {
		d.say("open files", Note, fmt.Sprintf("%s: an experiment with many sockets can hit it (fewer than %d)", text, enough), "LimitNOFILE= in the agent's unit, or ulimit -n")
		return
	}
	d.say("open files", Fine, text, "")
}

// threads: every lane is one.
func (d *diagnosis) threads() {
	const enough = 1024
	if d.unknown("threads", sectionProcess, "limit of processes") {
		return
	}
	value, text := d.limit("processes")
	if value < enough {
		d.say("threads", Note, fmt.Sprintf("%s: each lane takes one (fewer than %d)", text, enough), "LimitNPROC= in the agent's unit, or ulimit -u")
		return
	}
	d.say("threads", Fine, text, "")
}

func (d *diagnosis) quota() {
	v2, v1 := d.get(sectionProcess, "processor quota"), d.get(sectionProcess, "processor quota, cgroup 1")
	switch {
	case v2 == "" && v1 == "":
		d.say("processor quota", Note, "not known", "")
	case v2 != "" && v2 != "none" && !strings.HasPrefix(v2, "max"):
		d.say("processor quota", Note, "cpu.max is "+v2+": lanes stand still when it is used up", "let the agent's cgroup have no cpu.max")
	case v1 != "" && v1 != "none" && v1 != "-1":
		d.say("processor quota", Note, "cpu.cfs_quota_us is "+v1+": lanes stand still when it is used up", "let the agent's cgroup have no quota")
	default:
		d.say("processor quota", Fine, "none", "")
	}
}

// testClock is silent on hosts without one: it is no setting of theirs.
func (d *diagnosis) testClock() {
	if test := d.get(sectionClock, "test clock"); test != "" && test != "none" {
		d.say("test clock", Note, "no time of this host is real: all are made from its clock as "+test+" says", "for anything but a test of the lab itself, start its agent without --test-clock")
	}
}

func (d *diagnosis) clockSource() {
	if d.unknown("clock source", sectionClock, "source") {
		return
	}
	source := d.get(sectionClock, "source")
	if slices.Contains([]string{"hpet", "acpi_pm", "jiffies", "refined-jiffies", "pit"}, source) {
		d.say("clock source", Note, source+": reading the time is a slow access to a device, and each call is stamped twice",
			"another one, if the kernel trusts it: "+d.orUnknown(sectionClock, "sources available"))
		return
	}
	d.say("clock source", Fine, source, "")
}

// discipline: nothing here needs a clock that is right, but one that is moved
// stretches the times of everything that is measured meanwhile.
func (d *diagnosis) discipline() {
	if d.unknown("clock", sectionClock, "state") {
		return
	}
	by := d.orUnknown(sectionClock, "daemons that set it")
	switch state := d.get(sectionClock, "state"); state {
	case "TIME_INS", "TIME_DEL", "TIME_OOP":
		d.say("clock", Note, state+": a leap second is about to be inserted or deleted", "measure after it")
		return
	}
	if d.get(sectionClock, "synchronised") == "false" {
		d.say("clock", Note, "CLOCK_REALTIME is not synchronised (daemons: "+by+"); runs need no synchronised clocks, but dates and logs may be off", "")
		return
	}
	d.say("clock", Fine, fmt.Sprintf("synchronised, at most %s off (daemons: %s)", d.orUnknown(sectionClock, "maximum error"), by), "")
}

// online counts the processors of a list as 0-3,7; 0 if it is not known.
func online(list string) int {
	n := 0
	for part := range strings.SplitSeq(list, ",") {
		from, to, is := strings.Cut(strings.TrimSpace(part), "-")
		low, err := strconv.Atoi(from)
		if err != nil {
			return 0
		}
		high := low
		if is {
			if high, err = strconv.Atoi(to); err != nil {
				return 0
			}
		}
		if high < low || high > 1<<20 {
			return 0
		}
		n += high - low + 1
	}
	return n
}

func (d *diagnosis) processors() {
	allowed := d.get(sectionProcess, "processors allowed")
	switch n := online(allowed); n {
	case 0:
		d.say("processors", Note, "how many this process may use is not known", "")
	case 1:
		d.say("processors", Note, "one: lanes, taps and the kernel's own work wait for each other", "give the agent two or more")
	default:
		d.say("processors", Fine, fmt.Sprintf("%d: %s", n, d.orUnknown(sectionCPU, "model")), "")
	}
}

func (d *diagnosis) governor() {
	if d.unknown("frequency", sectionCPU, "governor") {
		return
	}
	value := d.get(sectionCPU, "governor")
	if value == "performance" || strings.HasPrefix(value, "none") {
		d.say("frequency", Fine, value, "")
		return
	}
	d.say("frequency", Note, "governor "+value+": the same call takes longer on a processor that was idle", "cpupower frequency-set -g performance")
}

func (d *diagnosis) hypervisor() {
	if d.unknown("hypervisor", sectionVirtualization, "hypervisor flag") {
		return
	}
	if d.get(sectionVirtualization, "hypervisor flag") != "true" {
		d.say("hypervisor", Fine, "no sign of one", "")
		return
	}
	d.say("hypervisor", Note, "a virtual machine: it can stand still without knowing it; "+d.orUnknown(sectionLoad, "stolen by the hypervisor")+" of its time was stolen since the boot",
		"")
}

func (d *diagnosis) busy() {
	average, _, _ := strings.Cut(d.get(sectionLoad, "average"), " ")
	load, err := strconv.ParseFloat(average, 64)
	n := online(d.get(sectionCPU, "online"))
	switch {
	case err != nil || n == 0:
		d.say("load", Note, "not known", "")
	case load > float64(n):
		d.say("load", Note, fmt.Sprintf("%s on %d processors: threads wait for one, which shows as slow calls", average, n), "measure on an idle host")
	default:
		d.say("load", Fine, fmt.Sprintf("%s on %d processors", average, n), "")
	}
}

// offloads are what make a tap see other segments than the wire.
func (d *diagnosis) offloads() {
	var on []string
	seen := false
	for _, s := range d.env.GetSections() {
		name, ok := strings.CutPrefix(s.Name, sectionInterface)
		if !ok {
			continue
		}
		seen = true
		if name == "lo" {
			continue
		}
		for _, x := range s.Settings {
			joins := slices.Contains([]string{"offload rx-gro", "offload rx-lro", "offload rx-gro-hw", "offload tx-tcp-segmentation", "offload tx-generic-segmentation"}, x.Name)
			if joins && strings.HasPrefix(x.Value, "on") && !slices.Contains(on, name) {
				on = append(on, name)
			}
		}
	}
	switch {
	case !seen:
		d.say("offloads", Note, "no interface is known", "")
		return
	case len(on) == 0:
		d.say("offloads", Fine, "no interface cuts or joins segments", "")
		return
	}
	d.say("offloads", Note, strings.Join(on, ", ")+": a tap may see several segments as one (GRO, GSO, TSO); each record tells how many", "setup with link: { offload: off } in an experiment that counts segments of data")
}

// unread are the settings that could not be read: nothing is said about what they say.
func (d *diagnosis) unread() {
	var names []string
	for _, s := range d.env.GetSections() {
		for _, x := range s.Settings {
			if x.Failure != "" {
				names = append(names, x.Name)
			}
		}
	}
	if len(names) == 0 {
		d.say("environment", Fine, "all of it can be read", "")
		return
	}
	what := "settings"
	if len(names) == 1 {
		what = "setting"
	}
	said := fmt.Sprintf("%d %s cannot be read: %s", len(names), what, strings.Join(names[:min(4, len(names))], ", "))
	if len(names) > 4 {
		said += ", …"
	}
	d.say("environment", Note, said, "mostly they need root; runs keep the reasons")
}
