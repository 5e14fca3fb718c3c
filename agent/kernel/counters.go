package kernel

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	synclinev1 "syncline/proto/syncline/v1"
)

// Counters are the counters of a network namespace at one time.
type Counters struct {
	// Began and Ended enclose the reading, nanoseconds of CLOCK_MONOTONIC. The files are
	// read one after the other, and a counter may be of any moment between.
	Began, Ended int64
	// Values by name: the kernel's own group and name, "TcpExt.ListenOverflows",
	// "Tcp.RetransSegs", "MPTcpExt.MPCapableSYNRX", "Ip6.InReceives". A few are no
	// counters but levels and constants, such as "Tcp.CurrEstab" and "Tcp.RtoMin". The
	// kernel leaves out those of types of ICMP it has not met: "IcmpMsg.InType3".
	Values map[string]int64
}

// Delta is how far the counters moved from one reading to the next: only those that
// did, sorted by name. What it counts happened after SinceNs, which is before.Began, and
// before after.Ended.
func Delta(before, after Counters) *synclinev1.Counters {
	moved := &synclinev1.Counters{SinceNs: before.Began}
	for name, value := range after.Values {
		// What was not there before was 0. Unsigned counters may wrap; the difference of
		// the two is right all the same.
		if delta := value - before.Values[name]; delta != 0 {
			moved.Counters = append(moved.Counters, &synclinev1.Counter{Name: name, Delta: delta})
		}
	}
	slices.SortFunc(moved.Counters, func(a, b *synclinev1.Counter) int { return strings.Compare(a.Name, b.Name) })
	return moved
}

var errCounters = errors.New("not as Linux writes counters")

// pairs reads /proc/net/snmp and netstat into values: of every group a line of names
// and a line of numbers.
//
//	Tcp: RtoAlgorithm RtoMin
//	Tcp: 1 200
func pairs(text string, values map[string]int64) error {
	for text != "" {
		var names, numbers string
		names, text, _ = strings.Cut(text, "\n")
		numbers, text, _ = strings.Cut(text, "\n")
		group, names, ok := strings.Cut(names, ":")
		same, numbers, ok2 := strings.Cut(numbers, ":")
		if !ok || !ok2 || group == "" || group != same {
			return fmt.Errorf("group %q and %q: %w", group, same, errCounters)
		}
		all, called := strings.Fields(numbers), strings.Fields(names)
		if len(all) != len(called) {
			return fmt.Errorf("group %s has %d numbers for %d names: %w", group, len(all), len(called), errCounters)
		}
		for i, name := range called {
			value, err := number(all[i])
			if err != nil {
				return fmt.Errorf("%s.%s: %w", group, name, err)
			}
			values[group+"."+name] = value
		}
	}
	return nil
}

// singles reads /proc/net/snmp6 into values: a name and a number a line. The group is
// the name up to the digit.
//
//	Ip6InReceives                   	2
func singles(text string, values map[string]int64) error {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) != 2 {
			return fmt.Errorf("line %q: %w", line, errCounters)
		}
		group, name, ok := strings.Cut(fields[0], "6")
		if !ok || group == "" || name == "" {
			return fmt.Errorf("line %q: %w", line, errCounters)
		}
		value, err := number(fields[1])
		if err != nil {
			return fmt.Errorf("%s: %w", fields[0], err)
		}
		values[group+"6."+name] = value
	}
	return nil
}

// number reads a counter. Most are unsigned with 64 bits, and keep theirs here; one,
// Tcp.MaxConn, is -1.
func number(s string) (int64, error) {
	if strings.HasPrefix(s, "-") {
		v, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%w: %w", errCounters, err)
		}
		return v, nil
	}
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errCounters, err)
	}
	return int64(v), nil
}
