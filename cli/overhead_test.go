package cli

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/mattn/go-runewidth"

	synclinev1 "syncline/proto/syncline/v1"
)

func cost(value, ratio, low, high float64) *synclinev1.Cost {
	c := &synclinev1.Cost{Value: value, Ratio: ratio}
	if low > 0 {
		c.RatioLow, c.RatioHigh, c.Confidence, c.Pairs = low, high, 0.958611, 20
	}
	return c
}

// twoHosts are on machines of their own.
var twoHosts = []*synclinev1.RunHost{{Name: "A", ClockId: "1b4f/time:[1]"}, {Name: "B", ClockId: "77aa/time:[1]"}}

// off says that hosts did not give a source.
func off(s synclinev1.Source, reason string, hosts ...string) (all []*synclinev1.Unwatched) {
	for _, h := range hosts {
		all = append(all, &synclinev1.Unwatched{Host: h, Source: s, Reason: reason})
	}
	return all
}

// overheads are runs with measurements of every kind, by the name under which they are
// drawn.
var overheads = []struct {
	name string
	run  *synclinev1.Run
}{
	{"all sources and each alone", &synclinev1.Run{Hosts: twoHosts, Overhead: &synclinev1.Overhead{Rounds: 20, RoundsDone: 20, Variant: "burst mtu=1500", Settings: []*synclinev1.OverheadSetting{
		{Name: "bare", Repetitions: 20, Events: 228_040, Connections: 38_000, WorkingNs: 61e6, ConnectionsPerSecond: cost(31_193, 0, 0, 0), RepetitionsPerSecond: cost(11.2, 0, 0, 0), ConnectP50Ns: cost(11_400, 0, 0, 0), ConnectP99Ns: cost(67_500, 0, 0, 0), AgentCpuNs: cost(124e6, 0, 0, 0), MachineCpuNs: cost(318e6, 0, 0, 0)},
		{Name: "all", Repetitions: 20, Events: 741_000, Connections: 38_000, ConnectionsPerSecond: cost(22_375, 0.713, 0.682, 0.75), RepetitionsPerSecond: cost(8.1, 0.7, 0.66, 0.75), ConnectP50Ns: cost(13_800, 1.21, 1.2, 1.3), ConnectP99Ns: cost(193_100, 2.25, 1.9, 2.6), AgentCpuNs: cost(838e6, 6.68, 6, 7), MachineCpuNs: cost(1.82e9, 5.74, 0, 0)},
		{Name: "packets", Repetitions: 18, Failed: 2, Failure: "lane client: connect: EADDRNOTAVAIL", Lost: 17, Events: 700_000, Connections: 34_000, ConnectionsPerSecond: &synclinev1.Cost{Value: 1_234_567, Ratio: 104.456, RatioLow: 97.1, RatioHigh: 110.777, Confidence: 0.969, Pairs: 18}, RepetitionsPerSecond: cost(8.1, 0.7, 0.66, 0.75), ConnectP50Ns: cost(999.7, 0.01, 0.001, 0.1), ConnectP99Ns: cost(12.3e9, 100, 1.9, 2.6), AgentCpuNs: cost(1e12, 10.68, 6, 7), MachineCpuNs: cost(0, 0, 0, 0)},
		{Name: "counters", Repetitions: 20, Events: 230_000, Connections: 38_000, ConnectionsPerSecond: cost(31_000, 0.993, 0.96, 1.02), ConnectP50Ns: cost(11_400, 1.01, 0.99, 1.03), ConnectP99Ns: cost(67_500, 1.04, 1, 1.08), AgentCpuNs: cost(124e6, 1.02, 1.01, 1.03), MachineCpuNs: cost(318e6, 1.01, 0.97, 1.1)},
	}}}},
	{"not on everywhere, two hosts on one machine", &synclinev1.Run{
		Hosts: []*synclinev1.RunHost{{Name: "A", ClockId: "1b4f/time:[1]"}, {Name: "B", ClockId: "1b4f/time:[2]"}, {Name: "C", ClockId: "77aa/time:[1]"}, {Name: "D"}},
		Overhead: &synclinev1.Overhead{Rounds: 20, RoundsDone: 20, Settings: []*synclinev1.OverheadSetting{
			{Name: "bare", Repetitions: 20, Connections: 38_000, WorkingNs: 61e6, ConnectionsPerSecond: cost(31_193, 0, 0, 0), AgentCpuNs: cost(124e6, 0, 0, 0)},
			{Name: "all", Repetitions: 20, Connections: 38_000, ConnectionsPerSecond: cost(31_100, 0.997, 0.98, 1.01), AgentCpuNs: cost(124e6, 1.01, 0.98, 1.02), Unwatched: slices.Concat(
				off(synclinev1.Source_SOURCE_PACKETS, "no CAP_NET_RAW", "B", "C"), off(synclinev1.Source_SOURCE_ARP, "no CAP_NET_RAW", "B", "C"), off(synclinev1.Source_SOURCE_DROPS, "no BTF", "A", "B", "C", "D"),
				[]*synclinev1.Unwatched{{Host: "B", Source: synclinev1.Source_SOURCE_TCP_STATES, Reason: "trace: operation not permitted", InPart: true}})},
			{Name: "packets", Repetitions: 20, Connections: 38_000, ConnectionsPerSecond: cost(31_100, 0.997, 0.98, 1.01), Unwatched: off(synclinev1.Source_SOURCE_PACKETS, "no CAP_NET_RAW", "B", "C")},
			{Name: "accept-queue", Repetitions: 20, Connections: 38_000, ConnectionsPerSecond: cost(31_100, 0.9, 0.88, 0.92), Unwatched: off(synclinev1.Source_SOURCE_ACCEPT_QUEUE, "no sock_diag", "A")},
			{Name: "drops", Failure: "it was on nowhere: host A: no BTF", Unwatched: off(synclinev1.Source_SOURCE_DROPS, "no BTF", "A", "B", "C", "D")},
		}},
	}},
	{"on everywhere, in part", &synclinev1.Run{Hosts: twoHosts, Overhead: &synclinev1.Overhead{Rounds: 20, RoundsDone: 20, Settings: []*synclinev1.OverheadSetting{
		{Name: "bare", Repetitions: 20, Connections: 38_000, WorkingNs: 61e6, ConnectionsPerSecond: cost(31_193, 0, 0, 0), AgentCpuNs: cost(124e6, 0, 0, 0)},
		{Name: "all", Repetitions: 20, Connections: 38_000, ConnectionsPerSecond: cost(31_100, 0.9, 0.88, 0.92), Unwatched: []*synclinev1.Unwatched{
			{Host: "A", Source: synclinev1.Source_SOURCE_TCP_STATES, Reason: "no BTF", InPart: true}, {Host: "B", Source: synclinev1.Source_SOURCE_TCP_STATES, Reason: "no BTF", InPart: true},
			{Reason: "3 more, for which the log has no room", InPart: true},
		}},
	}}}},
	{"lanes that sleep", &synclinev1.Run{Hosts: twoHosts, Overhead: &synclinev1.Overhead{Rounds: 20, RoundsDone: 20, Settings: []*synclinev1.OverheadSetting{
		{Name: "bare", Repetitions: 20, Connections: 20, WorkingNs: 1e6, Resting: 0.984, ConnectionsPerSecond: cost(1012, 0, 0, 0), AgentCpuNs: cost(3e6, 0, 0, 0)},
		{Name: "all", Repetitions: 20, Connections: 20, ConnectionsPerSecond: cost(1010, 0.998, 0.9, 1.1), AgentCpuNs: cost(4e6, 1.3, 1.2, 1.5)},
	}}}},
	{"no connection, few rounds", &synclinev1.Run{Hosts: twoHosts, Overhead: &synclinev1.Overhead{Rounds: 3, RoundsDone: 3, Settings: []*synclinev1.OverheadSetting{
		{Name: "bare", Repetitions: 3, WorkingNs: 312e6, RepetitionsPerSecond: cost(3.2051, 0, 0, 0)},
		{Name: "all", Repetitions: 3, RepetitionsPerSecond: &synclinev1.Cost{Value: 0.9731, Ratio: 0.304, RatioLow: 0.2, RatioHigh: 0.4, Confidence: 0.75, Pairs: 3}},
	}}}},
	{"not through", &synclinev1.Run{Overhead: &synclinev1.Overhead{Rounds: 20, RoundsDone: 7}}},
	{"not measured", &synclinev1.Run{Overhead: &synclinev1.Overhead{Rounds: 20, Failure: "the run was cancelled: interrupted by its operator"}}},
	{"every repetition failed", &synclinev1.Run{Hosts: twoHosts, Overhead: &synclinev1.Overhead{Rounds: 1, RoundsDone: 1, Settings: []*synclinev1.OverheadSetting{
		{Name: "bare", Failed: 1, Failure: "lane client: no route"}, {Name: "all", Failed: 1, Failure: "lane client: no route"},
	}}}},
	{"nobody asked", &synclinev1.Run{}},
}

// A ratio whose interval holds 1 is another thing than one that has no interval.
func TestTimes(t *testing.T) {
	for _, c := range []struct {
		cost *synclinev1.Cost
		want string
	}{
		{nil, ""},
		{cost(1, 0, 0, 0), ""},
		{cost(1, 5.74, 0, 0), "(5.74)"},
		{cost(1, 1, 0, 0), "(1.00)"},
		{&synclinev1.Cost{Ratio: 0.3, RatioLow: 0.2, RatioHigh: 0.4, Confidence: 0.75, Pairs: 3}, "(0.30)"},
		{cost(1, 1.02, 0.99, 1.05), "~1.02"},
		{cost(1, 1.04, 1, 1.08), "~1.04"},
		{cost(1, 0.96, 0.9, 1), "~0.96"},
		{cost(1, 1.21, 1.2, 1.3), "×1.21"},
		{cost(1, 0.71, 0.68, 0.75), "×0.71"},
	} {
		if got := times(c.cost); got != c.want {
			t.Errorf("times(%v) = %q, want %q", c.cost, got, c.want)
		}
	}
}

// The table is what people read; it stays within 80 columns.
func TestDrawOverhead(t *testing.T) {
	var b bytes.Buffer
	b.WriteString("What `run --measure-overhead` prints, of measurements of every kind.\n")
	for _, c := range overheads {
		b.WriteString("\n-- " + c.name + " --\n")
		if err := drawOverhead(&b, c.run); err != nil {
			t.Fatal(err)
		}
	}
	for line := range strings.Lines(b.String()) {
		line = strings.TrimRight(line, "\n")
		if w := runewidth.StringWidth(line); w > 80 || strings.HasSuffix(line, " ") {
			t.Errorf("%d columns, or a blank at the end: %q", w, line)
		}
	}
	for _, c := range overheads {
		if text := describeOverhead(c.run, drawOptions{ASCII: true}); strings.ContainsFunc(text, func(r rune) bool { return r > unicode.MaxASCII || r == '?' }) {
			t.Errorf("%s is not ASCII:\n%s", c.name, text)
		}
	}
	const golden = "testdata/overhead.txt"
	if *update {
		if err := os.WriteFile(golden, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
