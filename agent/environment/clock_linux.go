package environment

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// clock is what the times of this host come from, and who moves them.
func (p *page) clock(test string) {
	p.section(sectionClock)
	p.set("test clock", cmp.Or(test, "none"))
	const source = "/sys/devices/system/clocksource/clocksource0/"
	p.file("source", source+"current_clocksource")
	p.file("sources available", source+"available_clocksource")
	for _, c := range []struct {
		name string
		id   int32
	}{{"CLOCK_REALTIME", unix.CLOCK_REALTIME}, {"CLOCK_MONOTONIC", unix.CLOCK_MONOTONIC}} {
		var r unix.Timespec
		err := unix.ClockGetres(c.id, &r)
		p.put("resolution of "+c.name, time.Duration(r.Nano()).String(), err)
	}
	p.discipline()
	p.maybe("time namespace offsets", "/proc/self/timens_offsets", "none: no time namespaces here")
	p.hardwareClocks()
	daemons, err := clockDaemons()
	p.put("daemons that set it", daemons, err)
}

// discipline is what adjtimex(2) says; it changes nothing, since no mode is set.
func (p *page) discipline() {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		p.fail("state", fmt.Errorf("adjtimex: %w", err))
		return
	}
	c := clockState{
		status: t.Status, offset: int64(t.Offset), frequency: int64(t.Freq), maxError: int64(t.Maxerror), estError: int64(t.Esterror),
		tick: int64(t.Tick), tai: t.Tai, nano: t.Status&unix.STA_NANO != 0,
	}
	p.set("state", clockStateName(state))
	p.set("status", c.flags())
	p.set("synchronised", strconv.FormatBool(t.Status&unix.STA_UNSYNC == 0))
	p.set("offset", c.left().String())
	p.set("frequency", c.ppm())
	p.set("maximum error", (time.Duration(c.maxError) * time.Microsecond).String())
	p.set("estimated error", (time.Duration(c.estError) * time.Microsecond).String())
	p.set("tick", strconv.FormatInt(c.tick, 10)+" µs")
	p.set("TAI - UTC", strconv.Itoa(int(c.tai))+" s")
}

// hardwareClocks are the PTP hardware clocks, by /dev/ptp*.
func (p *page) hardwareClocks() {
	paths, err := filepath.Glob("/dev/ptp*")
	if err != nil {
		panic(err) // Only the pattern can be wrong.
	}
	if len(paths) == 0 {
		p.set("PTP hardware clocks", "none")
		return
	}
	for _, path := range paths {
		name, err := file("/sys/class/ptp/" + filepath.Base(path) + "/clock_name")
		p.put("PTP hardware clock "+filepath.Base(path), name, err)
	}
}

// clockDaemons are the programs that set or slew clocks and run in this process's PID
// namespace. One outside of it, on the machine around a container, is not seen.
func clockDaemons() (string, error) {
	known := []string{"chronyd", "ntpd", "systemd-timesyn", "ptp4l", "phc2sys", "timemaster", "openntpd", "ntpd-rs", "ptp4u", "sptp"}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return "", err
	}
	var found []string
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		// A process may end while it is looked at.
		if name, err := file("/proc/" + e.Name() + "/comm"); err == nil && slices.Contains(known, name) {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	found = slices.Compact(found)
	if len(found) == 0 {
		return "none seen", nil
	}
	return strings.Join(found, " "), nil
}
