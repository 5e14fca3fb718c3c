package kernel

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	synclinev1 "syncline/proto/syncline/v1"
)

func moved(c *synclinev1.Counters) map[string]int64 {
	all := map[string]int64{}
	for _, c := range c.Counters {
		all[c.Name] = c.Delta
	}
	return all
}

func TestCountersOfAConnection(t *testing.T) {
	inNamespace(t, func() {
		before := must(ReadCounters())
		l := listener(loopback4)
		c := dial(loopback4)
		s := l.accept()
		check(c.write("hello"))
		delta := Delta(before, must(ReadCounters()))
		got := moved(delta)
		for _, name := range []string{"Tcp.ActiveOpens", "Tcp.PassiveOpens"} {
			if got[name] != 1 {
				t.Errorf("%s moved by %d in one connection: %v", name, got[name], got)
			}
		}
		if _, ok := got["Tcp.RtoMin"]; ok || delta.SinceNs != before.Began {
			t.Errorf("since %d (began %d): %v", delta.SinceNs, before.Began, got)
		}
		for i := range len(delta.Counters) - 1 {
			if delta.Counters[i].Name >= delta.Counters[i+1].Name {
				t.Errorf("%s before %s", delta.Counters[i].Name, delta.Counters[i+1].Name)
			}
		}
		c.close()
		s.close()
		l.close()
	})
}

func TestCountersOfIPv6AndOfOtherNamespaces(t *testing.T) {
	if _, err := os.Stat("/proc/net/snmp6"); err != nil {
		t.Skipf("the kernel has no IPv6 (boot it without ipv6.disable=1): %v", err)
	}
	inNamespace(t, func() {
		before := must(ReadCounters())
		if n := before.Values["Tcp.ActiveOpens"]; n != 0 {
			t.Errorf("%d connections before the first: these are another namespace's counters", n)
		}
		l := listener(loopback6)
		c := dial(loopback6)
		got := moved(Delta(before, must(ReadCounters())))
		if got["Ip6.InReceives"] < 3 || got["Tcp.ActiveOpens"] != 1 {
			t.Errorf("a handshake over IPv6: %v", got)
		}
		c.close()
		l.close()
	})
}

func TestListenOverflowsAreCounted(t *testing.T) {
	inNamespace(t, func() {
		before := must(ReadCounters())
		l, ends := overfull(1)
		waitUntil("an overflow is counted", func() bool {
			return moved(Delta(before, must(ReadCounters())))["TcpExt.ListenOverflows"] > 0
		})
		for _, e := range ends {
			e.close()
		}
		l.close()
	})
}

func TestDeltaOfWhatWasNotThere(t *testing.T) {
	got := moved(Delta(
		Counters{Values: map[string]int64{"Tcp.CurrEstab": 3, "Ip.InReceives": -1}},
		Counters{Values: map[string]int64{"Tcp.CurrEstab": 1, "Ip.InReceives": 1, "IcmpMsg.InType3": 2}},
	))
	// Ip.InReceives wraps from 2^64-1.
	want := map[string]int64{"Tcp.CurrEstab": -2, "Ip.InReceives": 2, "IcmpMsg.InType3": 2}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestFilesOfCounters(t *testing.T) {
	values := map[string]int64{}
	err := errors.Join(
		pairs("Tcp: RtoMin MaxConn\nTcp: 200 -1\nIcmpMsg:\nIcmpMsg:\nIpExt: InOctets\nIpExt: 18446744073709551615\n", values),
		singles("Ip6InReceives                   \t7\nUdpLite6NoPorts\t0\nIcmp6OutType135\t1\n", values),
	)
	want := map[string]int64{
		"Tcp.RtoMin": 200, "Tcp.MaxConn": -1, "IpExt.InOctets": -1,
		"Ip6.InReceives": 7, "UdpLite6.NoPorts": 0, "Icmp6.OutType135": 1,
	}
	if d := cmp.Diff(want, values); d != "" || err != nil {
		t.Error(err, d)
	}
	for _, bad := range []string{"Tcp: A B\nTcp: 1\n", "Tcp: A\nIp: 1\n", "Tcp: A\n", "A\n1\n", "Tcp: A\nTcp: x\n", "Tcp: A\nTcp: -\n"} {
		if err := pairs(bad, values); !errors.Is(err, errCounters) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, bad := range []string{"Ip6InReceives\n", "InReceives 1\n", "6A 1\n", "Ip6 1\n", "Ip6A 1 2\n", "\n", "Ip6A x\n"} {
		if err := singles(bad, values); !errors.Is(err, errCounters) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzCounters(f *testing.F) {
	for _, c := range counterFiles {
		b, err := os.ReadFile(c.path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Add("Tcp: A\nTcp: 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, parse := range []func(string, map[string]int64) error{pairs, singles} {
			values := map[string]int64{}
			if err := parse(text, values); err != nil && !errors.Is(err, errCounters) {
				t.Errorf("an error of another kind: %v", err)
			}
			for name := range values {
				if strings.ContainsAny(name, " \n\t") || !strings.Contains(name, ".") {
					t.Errorf("counter %q", name)
				}
			}
		}
	})
}

func BenchmarkReadCounters(b *testing.B) {
	for b.Loop() {
		if _, err := ReadCounters(); err != nil {
			b.Fatal(err)
		}
	}
}
