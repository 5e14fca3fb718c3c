package cli

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// timeWaitHex is TCP_TIME_WAIT as /proc/net/tcp writes it, proc(5).
const timeWaitHex = "06"

// tables are, by agent, what the kernel's own table of sockets shows in TIME_WAIT, and
// when that was read: CLOCK_MONOTONIC.
type tables struct {
	readNs  int64
	waiting map[string]map[string]bool
}

// tables reads /proc/net/tcp of each host.
func (l *testLab) tables() *tables {
	l.t.Helper()
	all := &tables{waiting: map[string]map[string]bool{}}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		l.t.Fatal(err)
	}
	all.readNs = now.Nano()
	for _, h := range l.exp.Hosts {
		agent := l.bindings[h.Name]
		err := l.Host(agent).Do(func() (err error) {
			all.waiting[agent], err = readTimeWaits()
			return err
		})
		if err != nil {
			l.t.Fatal(err)
		}
	}
	return all
}

func readTimeWaits() (map[string]bool, error) {
	table, err := os.ReadFile("/proc/thread-self/net/tcp")
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for _, line := range strings.Split(string(table), "\n")[1:] {
		f := strings.Fields(line)
		if len(f) < 4 || f[3] != timeWaitHex {
			continue
		}
		local, err := tableAddress(f[1])
		if err != nil {
			return nil, err
		}
		peer, err := tableAddress(f[2])
		if err != nil {
			return nil, err
		}
		found[local.String()+" "+peer.String()] = true
	}
	return found, nil
}

// tableAddress reads "0100007F:1F90": an address as a number of the machine's byte order.
func tableAddress(s string) (netip.AddrPort, error) {
	address, port, _ := strings.Cut(s, ":")
	raw, err := hex.DecodeString(address)
	if err != nil || len(raw) != 4 {
		return netip.AddrPort{}, fmt.Errorf("/proc/net/tcp has address %q", s)
	}
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("/proc/net/tcp has port %q", s)
	}
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], binary.BigEndian.Uint32(raw))
	return netip.AddrPortFrom(netip.AddrFrom4(b), uint16(n)), nil
}

// timeWaits are, by agent, the ends that paths leave in TIME_WAIT, and when they had
// come to it: CLOCK_MONOTONIC.
type timeWaits map[string]map[string]int64

func (w timeWaits) note(agent, pair string, since int64) {
	if w[agent] == nil {
		w[agent] = map[string]int64{}
	}
	w[agent][pair] = since
}

// check holds the ends against the kernels' own tables: those that have come to TIME_WAIT
// in the last 59 s must be there, and no others.
func (w timeWaits) check(t testing.TB, left *tables) {
	t.Helper()
	const surely = int64(59 * time.Second)
	for agent, found := range left.waiting {
		checked := 0
		for pair, since := range w[agent] {
			if left.readNs-since < surely {
				checked++
				if !found[pair] {
					t.Errorf("%s: %s is in TIME_WAIT by its path, and not in the kernel's table", agent, pair)
				}
			}
		}
		for pair := range found {
			if _, ok := w[agent][pair]; !ok {
				t.Errorf("%s: %s is in TIME_WAIT in the kernel's table, and by no path", agent, pair)
			}
		}
		t.Logf("%s: the kernel's table has %d ends in TIME_WAIT, the paths %d of its last minute", agent, len(found), checked)
	}
}
