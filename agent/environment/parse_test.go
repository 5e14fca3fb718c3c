package environment

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

const xeon = `processor	: 0
model name	: Intel(R) Xeon(R) Processor
flags		: fpu tsc constant_tsc nonstop_tsc hypervisor

processor	: 1
model name	: Intel(R) Xeon(R) Processor
flags		: fpu tsc constant_tsc nonstop_tsc hypervisor
`

const raspberry = `processor	: 0
BogoMIPS	: 108.00
Features	: fp asimd evtstrm
CPU implementer	: 0x41
CPU part	: 0xd0b

processor	: 1
CPU implementer	: 0x41
CPU part	: 0xd08

Revision	: c04170
`

func TestProcessors(t *testing.T) {
	for _, c := range []struct{ text, models, flags string }{
		{xeon, "2 × Intel(R) Xeon(R) Processor", "constant_tsc nonstop_tsc hypervisor"},
		{raspberry, "1 × implementer 0x41 part 0xd0b, 1 × implementer 0x41 part 0xd08", ""},
		{"", "", ""},
	} {
		if got := models(c.text); got != c.models {
			t.Errorf("models: %q, want %q", got, c.models)
		}
		if got := strings.Join(timingFlags(c.text), " "); got != c.flags {
			t.Errorf("flags: %q, want %q", got, c.flags)
		}
	}
}

func TestCapabilitySets(t *testing.T) {
	for mask, want := range map[string]string{
		"0000000000000000": "none",
		"000001ffffffffff": "all",
		"000001fffeffffff": "all but CAP_SYS_RESOURCE",
		"0000000000003000": "CAP_NET_ADMIN CAP_NET_RAW",
		"000000c000002000": "CAP_NET_RAW CAP_PERFMON CAP_BPF",
		"8000000000000001": "CAP_CHOWN 63",
	} {
		if got, err := capabilitySet(mask); err != nil || got != want {
			t.Errorf("%s: %q %v, want %q", mask, got, err, want)
		}
	}
	if _, err := capabilitySet("no mask"); err == nil {
		t.Error("what is no number is a set of capabilities")
	}
}

func TestClockStates(t *testing.T) {
	c := clockState{status: 0x2001, offset: -1500, frequency: -(12<<16 + 1<<15), nano: true}
	if got := c.flags(); got != "STA_PLL STA_NANO" {
		t.Errorf("flags %q", got)
	}
	if got := c.left(); got != -1500*time.Nanosecond {
		t.Errorf("offset %v", got)
	}
	if got := c.ppm(); got != "-12.500 ppm" {
		t.Errorf("frequency %q", got)
	}
	c.nano, c.status = false, 0
	if got := c.left(); got != -1500*time.Microsecond {
		t.Errorf("offset in microseconds %v", got)
	}
	if got := c.flags(); got != "none" {
		t.Errorf("no flags: %q", got)
	}
	if got := clockStateName(5) + clockStateName(9); got != "TIME_ERRORstate 9" {
		t.Errorf("states: %q", got)
	}
}

func TestStolen(t *testing.T) {
	if got, err := stolen("cpu  70 0 20 0 0 0 0 10 5 5\ncpu0 1 2"); err != nil || got != "10.00 %" {
		t.Errorf("%q %v", got, err)
	}
	for _, bad := range []string{"", "cpu 1 2 3", "cpu 1 2 3 4 5 6 7 x", "intr 1 2 3 4 5 6 7 8 9"} {
		if got, err := stolen(bad); err == nil {
			t.Errorf("%q: %q and no error", bad, got)
		}
	}
}

func TestCgroupPaths(t *testing.T) {
	unified, v1 := cgroupPaths("4:memory:/a\n1:cpu,cpuacct:/b:c\n0::/system.slice/x.service\nnonsense\n")
	if unified != "/system.slice/x.service" {
		t.Errorf("unified %q", unified)
	}
	if diff := cmp.Diff(map[string]string{"memory": "/a", "cpu": "/b:c", "cpuacct": "/b:c"}, v1); diff != "" {
		t.Error(diff)
	}
}

func TestSystemNames(t *testing.T) {
	for text, want := range map[string]string{
		"NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n": "Debian GNU/Linux 12 (bookworm)",
		"PRETTY_NAME='Void'": "Void",
		"PRETTY_NAME=Alpine": "Alpine",
		"NAME=x":             "",
	} {
		if got := osName(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// names32 are the names of 33 features, so that the last is in a block of its own.
func names33() []string {
	names := make([]string, 33)
	names[1], names[2], names[3], names[32] = "tx-tcp-segmentation", "rx-gro", "rx-lro", "rx-gro-hw"
	return names
}

func TestFeatures(t *testing.T) {
	b := make([]byte, 32)
	word := func(block, field int, bits ...int) {
		var v uint32
		for _, bit := range bits {
			v |= 1 << bit
		}
		binary.NativeEndian.PutUint32(b[16*block+4*field:], v)
	}
	const available, active, never = 0, 2, 3
	word(0, available, 1, 2)
	word(0, active, 1)
	word(1, active, 0)
	word(1, never, 0)
	got, err := features(names33(), b)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"tx-tcp-segmentation": "on", "rx-gro": "off", "rx-gro-hw": "on (fixed)"}
	told := map[string]string{}
	for _, f := range got {
		told[f.name] = f.String()
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Error(diff)
	}
	if _, err := features(names33(), b[:31]); err == nil {
		t.Error("33 features in a block and a half")
	}
}

// FuzzParsers: whatever a kernel, a driver or a file says, it is read or refused.
func FuzzParsers(f *testing.F) {
	for _, s := range []string{xeon, raspberry, "cpu  1 2 3 4 5 6 7 8", "0::/x", "PRETTY_NAME=\"x\"", "000001ffffffffff", "0-3,7", "6.18.44-x", "0-9999999999999"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := string(b)
		keyed(s)
		models(s)
		timingFlags(s)
		cgroupPaths(s)
		osName(s)
		kernelVersion(s)
		if text, err := stolen(s); err == nil && !strings.HasSuffix(text, " %") {
			t.Errorf("%q stole %q", s, text)
		}
		if set, err := capabilitySet(s); err == nil && set == "" {
			t.Errorf("%q is a set without a name", s)
		}
		if n := online(s); n < 0 || n > len(s)<<20 {
			t.Errorf("%q is %d processors", s, n)
		}
		if names, err := stringSet(b, len(b)/stringLength); err != nil || len(names) != len(b)/stringLength {
			t.Errorf("%d strings of %d: %v", len(names), len(b)/stringLength, err)
		}
		if _, err := features(names33(), b); (err == nil) != (len(b) >= 32) {
			t.Errorf("features of %d bytes: %v", len(b), err)
		}
		for _, line := range []string{clean(s)} {
			if !utf8.ValidString(line) || len(line) > maxValue+len("…") || strings.ContainsAny(line, "\n\t\x1b\x00") {
				t.Errorf("%q is no clean line", line)
			}
		}
	})
}
