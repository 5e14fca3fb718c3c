package environment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// This file reads what kernels write. All of it is text or bytes of somebody else, so
// nothing here fails on what it does not know.

// keyed reads lines of "key: value" or "key value", as of /proc/meminfo and
// /proc/self/status: the first value of each key.
func keyed(text string) map[string]string {
	values := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		key = strings.TrimSpace(key)
		if _, twice := values[key]; !twice {
			values[key] = strings.TrimSpace(value)
		}
	}
	return values
}

// models counts the processors of /proc/cpuinfo by model, as "2 × Intel(R) Xeon(R)".
// Machines that name no model there, as those of ARM, give what names the core.
func models(cpuinfo string) string {
	var names []string
	count := map[string]int{}
	for block := range strings.SplitSeq(cpuinfo, "\n\n") {
		cpu := keyed(block)
		if _, ok := cpu["processor"]; !ok {
			continue
		}
		name := cpu["model name"]
		if name == "" {
			name = strings.TrimSpace("implementer " + cpu["CPU implementer"] + " part " + cpu["CPU part"])
		}
		if count[name] == 0 {
			names = append(names, name)
		}
		count[name]++
	}
	for i, name := range names {
		names[i] = fmt.Sprintf("%d × %s", count[name], name)
	}
	return strings.Join(names, ", ")
}

// timingFlags are those of the processor's flags that say how good its time is, and
// that it is a virtual one.
func timingFlags(cpuinfo string) []string {
	all := strings.Fields(keyed(cpuinfo)["flags"])
	var kept []string
	for _, flag := range []string{"constant_tsc", "nonstop_tsc", "tsc_reliable", "tsc_known_freq", "hypervisor"} {
		if slices.Contains(all, flag) {
			kept = append(kept, flag)
		}
	}
	return kept
}

// stolen is how much of the processors' time since the boot another machine had, by
// the first line of /proc/stat (proc_stat(5)).
func stolen(stat string) (string, error) {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return "", fmt.Errorf("/proc/stat begins with %.40q, want \"cpu\" and at least eight numbers", line)
	}
	var total, steal float64
	for i, f := range fields[1:9] {
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			return "", fmt.Errorf("number %d of /proc/stat: %w", i+1, err)
		}
		total += float64(n)
		if i == 7 {
			steal = float64(n)
		}
	}
	if total == 0 {
		return "0 %", nil
	}
	return fmt.Sprintf("%.2f %%", 100*steal/total), nil
}

// capabilityNames are the capabilities of Linux by their numbers, capabilities(7).
var capabilityNames = strings.Fields(`CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID
	CAP_SETUID CAP_SETPCAP CAP_LINUX_IMMUTABLE CAP_NET_BIND_SERVICE CAP_NET_BROADCAST CAP_NET_ADMIN CAP_NET_RAW CAP_IPC_LOCK
	CAP_IPC_OWNER CAP_SYS_MODULE CAP_SYS_RAWIO CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_PACCT CAP_SYS_ADMIN CAP_SYS_BOOT
	CAP_SYS_NICE CAP_SYS_RESOURCE CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_MKNOD CAP_LEASE CAP_AUDIT_WRITE CAP_AUDIT_CONTROL
	CAP_SETFCAP CAP_MAC_OVERRIDE CAP_MAC_ADMIN CAP_SYSLOG CAP_WAKE_ALARM CAP_BLOCK_SUSPEND CAP_AUDIT_READ CAP_PERFMON CAP_BPF
	CAP_CHECKPOINT_RESTORE`)

// capabilitySet names the capabilities of a mask as /proc/self/status writes it.
func capabilitySet(hex string) (string, error) {
	mask, err := strconv.ParseUint(hex, 16, 64)
	if err != nil {
		return "", fmt.Errorf("capabilities %q: %w", hex, err)
	}
	var has, lacks []string
	for i, name := range capabilityNames {
		if mask&(1<<i) != 0 {
			has = append(has, name)
		} else {
			lacks = append(lacks, name)
		}
	}
	for i := len(capabilityNames); i < 64; i++ {
		if mask&(1<<i) != 0 {
			has = append(has, strconv.Itoa(i))
		}
	}
	switch {
	case len(has) == 0:
		return "none", nil
	case len(lacks) == 0:
		return "all", nil
	case len(lacks) < len(has):
		return "all but " + strings.Join(lacks, " "), nil
	}
	return strings.Join(has, " "), nil
}

// clockState is what adjtimex(2) says, in the units of its manual page.
type clockState struct {
	status             int32
	offset, frequency  int64
	maxError, estError int64
	tick               int64
	tai                int32
	// nano: offset is in nanoseconds and not microseconds.
	nano bool
}

// clockFlags are the bits of timex.status, adjtimex(2).
var clockFlags = []string{
	"PLL", "PPSFREQ", "PPSTIME", "FLL", "INS", "DEL", "UNSYNC", "FREQHOLD",
	"PPSSIGNAL", "PPSJITTER", "PPSWANDER", "PPSERROR", "CLOCKERR", "NANO", "MODE", "CLK",
}

// flags names the bits of the status.
func (c *clockState) flags() string {
	var names []string
	for i, name := range clockFlags {
		if c.status&(1<<i) != 0 {
			names = append(names, "STA_"+name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, " ")
}

// left is the offset that the kernel has still to remove by slewing.
func (c *clockState) left() time.Duration {
	unit := time.Microsecond
	if c.nano {
		unit = time.Nanosecond
	}
	return time.Duration(c.offset) * unit
}

// ppm is the frequency correction; timex.freq counts 2⁻¹⁶ ppm.
func (c *clockState) ppm() string { return fmt.Sprintf("%+.3f ppm", float64(c.frequency)/(1<<16)) }

// clockStates are what adjtimex(2) returns.
var clockStates = []string{"TIME_OK", "TIME_INS", "TIME_DEL", "TIME_OOP", "TIME_WAIT", "TIME_ERROR"}

func clockStateName(n int) string {
	if n >= 0 && n < len(clockStates) {
		return clockStates[n]
	}
	return "state " + strconv.Itoa(n)
}

// cgroupPaths reads /proc/self/cgroup: the path in the unified hierarchy, and those of
// the controllers of version 1 (cgroups(7)).
func cgroupPaths(text string) (unified string, v1 map[string]string) {
	v1 = map[string]string{}
	for line := range strings.Lines(text) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		if parts[0] == "0" && parts[1] == "" {
			unified = parts[2]
			continue
		}
		for controller := range strings.SplitSeq(parts[1], ",") {
			v1[controller] = parts[2]
		}
	}
	return unified, v1
}

// osName is PRETTY_NAME of os-release(5).
func osName(text string) string {
	for line := range strings.Lines(text) {
		value, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME=")
		if !ok {
			continue
		}
		if unquoted, err := strconv.Unquote(value); err == nil {
			return unquoted
		}
		return strings.Trim(value, `'"`)
	}
	return ""
}

// stringSet reads the strings of an ethtool string set: 32 bytes each, ended by NUL.
func stringSet(b []byte, n int) ([]string, error) {
	if n < 0 || len(b) < n*stringLength {
		return nil, fmt.Errorf("%d strings in %d bytes", n, len(b))
	}
	all := make([]string, n)
	for i := range all {
		name := string(b[i*stringLength : (i+1)*stringLength])
		name, _, _ = strings.Cut(name, "\x00")
		all[i] = name
	}
	return all, nil
}

// stringLength is ETH_GSTRING_LEN.
const stringLength = 32

// feature is an offload of an interface.
type feature struct {
	name string
	on   bool
	// fixed: the driver lets nobody change it.
	fixed bool
}

func (f feature) String() string {
	text := "off"
	if f.on {
		text = "on"
	}
	if f.fixed {
		text += " (fixed)"
	}
	return text
}

// features reads the blocks of struct ethtool_get_features_block: available,
// requested, active, never changed; 32 features each.
func features(names []string, blocks []byte) ([]feature, error) {
	if len(blocks) < (len(names)+31)/32*16 {
		return nil, errors.New("fewer blocks of features than names")
	}
	var all []feature
	for i, name := range names {
		b, bit := blocks[16*(i/32):], uint32(1)<<(i%32)
		if !shapesSegments(name) {
			continue
		}
		available, active := binary.NativeEndian.Uint32(b), binary.NativeEndian.Uint32(b[8:])
		fixed := binary.NativeEndian.Uint32(b[12:])&bit != 0 || available&bit == 0
		if fixed && active&bit == 0 {
			continue // What the device has not and cannot have.
		}
		all = append(all, feature{name, active&bit != 0, fixed})
	}
	return all, nil
}

// shapesSegments reports whether a feature of a device changes what a tap sees of
// TCP's segments: who cuts or joins them, and who computes their checksums.
func shapesSegments(name string) bool {
	for _, part := range []string{"segmentation", "gro", "lro", "gso", "checksum", "scatter-gather"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}
