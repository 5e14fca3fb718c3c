package environment

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	synclinev1 "syncline/proto/syncline/v1"
)

// told is an environment of lines "section: name = value"; a value that begins with !
// is a failure.
func told(t *testing.T, lines ...string) *synclinev1.Environment {
	t.Helper()
	p := newPage()
	for _, line := range lines {
		section, setting, ok := strings.Cut(line, ": ")
		name, value, ok2 := strings.Cut(setting, " = ")
		if !ok || !ok2 {
			t.Fatalf("%q is no setting", line)
		}
		if n := len(p.env.Sections); n == 0 || p.env.Sections[n-1].Name != section {
			p.section(section)
		}
		if failure, failed := strings.CutPrefix(value, "!"); failed {
			p.fail(name, errors.New(failure))
		} else {
			p.set(name, value)
		}
	}
	return p.end()
}

// lines are rows as people read them, with ≠ before those that differ.
func lines(tables []Table) []string {
	var all []string
	for _, table := range tables {
		for _, row := range table.Rows {
			mark := "="
			if row.Differs {
				mark = "≠"
			}
			var values []string
			for _, s := range row.Settings {
				switch {
				case s == nil:
					values = append(values, "-")
				case s.Failure != "":
					values = append(values, "!"+s.Failure)
				default:
					values = append(values, s.Value)
				}
			}
			all = append(all, fmt.Sprintf("%s %s: %s = %s", mark, table.Name, row.Name, strings.Join(values, " | ")))
		}
	}
	return all
}

func TestHostsSideBySide(t *testing.T) {
	a := told(t,
		"kernel: release = 6.1.0", "kernel: boot id = 1",
		"clock: source = tsc", "clock: frequency = +1 ppm",
		"load: average = 0.1",
		"interface lo: MTU = 65536",
		"interface eth0: MTU = 1500", "interface eth0: offload rx-gro = on",
		"sysctl: net.ipv4.tcp_fin_timeout = 60", "sysctl: net.core.bpf_jit_harden = 0",
	)
	b := told(t,
		"kernel: release = 6.1.0", "kernel: boot id = 2",
		"clock: source = hpet", "clock: frequency = -3 ppm",
		"load: average = 9.9",
		"interface lo: MTU = 65536",
		"interface ens3: MTU = 9000", "interface ens3: offload rx-gro = on",
		"sysctl: net.ipv4.tcp_fin_timeout = 60", "sysctl: net.core.bpf_jit_harden = !permission denied", "sysctl: net.ipv4.tcp_new = 1",
	)
	want := []string{
		"= kernel: release = 6.1.0 | - | 6.1.0",
		"= kernel: boot id = 1 | - | 2",
		"≠ clock: source = tsc | - | hpet",
		"= clock: frequency = +1 ppm | - | -3 ppm",
		"= load: average = 0.1 | - | 9.9",
		"= interface lo: MTU = 65536 | - | 65536",
		"≠ interface eth0 / ens3: MTU = 1500 | - | 9000",
		"= interface eth0 / ens3: offload rx-gro = on | - | on",
		"= sysctl: net.ipv4.tcp_fin_timeout = 60 | - | 60",
		"≠ sysctl: net.core.bpf_jit_harden = 0 | - | !permission denied",
		"≠ sysctl: net.ipv4.tcp_new = - | - | 1",
	}
	if diff := cmp.Diff(want, lines(Compare([]*synclinev1.Environment{a, nil, b}))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, row := range lines(Compare([]*synclinev1.Environment{a, a})) {
		if !strings.HasPrefix(row, "=") {
			t.Errorf("a host differs from itself: %s", row)
		}
	}
	if got := Compare([]*synclinev1.Environment{nil, nil}); len(got) != 0 {
		t.Errorf("hosts that told nothing: %v", got)
	}
}
