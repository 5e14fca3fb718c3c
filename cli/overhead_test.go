package cli

import (
	"bytes"
	"os"
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

// overheads are measurements of every kind, by the name under which they are drawn.
var overheads = []struct {
	name string
	o    *synclinev1.Overhead
}{
	{"all sources and each alone", &synclinev1.Overhead{Rounds: 20, RoundsDone: 20, Variant: "burst mtu=1500", Settings: []*synclinev1.OverheadSetting{
		{Name: "bare", Repetitions: 20, Events: 228_040, Connections: 38_000, ConnectionsPerSecond: cost(31_193, 0, 0, 0), RepetitionsPerSecond: cost(11.2, 0, 0, 0), ConnectP50Ns: cost(11_400, 0, 0, 0), ConnectP99Ns: cost(67_500, 0, 0, 0), AgentCpuNs: cost(124e6, 0, 0, 0), MachineCpuNs: cost(318e6, 0, 0, 0)},
		{Name: "all", Repetitions: 20, Events: 741_000, Connections: 38_000, ConnectionsPerSecond: cost(22_375, 0.713, 0.682, 0.75), RepetitionsPerSecond: cost(8.1, 0.7, 0.66, 0.75), ConnectP50Ns: cost(13_800, 1.21, 1.2, 1.3), ConnectP99Ns: cost(193_100, 2.25, 1.9, 2.6), AgentCpuNs: cost(838e6, 6.68, 6, 7), MachineCpuNs: cost(1.82e9, 5.74, 0, 0)},
		{Name: "packets", Repetitions: 18, Failed: 2, Failure: "lane client: connect: EADDRNOTAVAIL", Lost: 17, Events: 700_000, Connections: 34_000, ConnectionsPerSecond: cost(1_234_567, 104.456, 97.1, 110.777), RepetitionsPerSecond: cost(8.1, 0.7, 0.66, 0.75), ConnectP50Ns: cost(999.7, 0.01, 0.001, 0.1), ConnectP99Ns: cost(12.3e9, 100, 1.9, 2.6), AgentCpuNs: cost(1e12, 10.68, 6, 7), MachineCpuNs: cost(0, 0, 0, 0)},
		{Name: "accept-queue", Failure: "no host gives accept-queue: sock_diag is not there"},
	}}},
	{"no connection", &synclinev1.Overhead{Rounds: 3, RoundsDone: 3, Settings: []*synclinev1.OverheadSetting{
		{Name: "bare", Repetitions: 3, RepetitionsPerSecond: cost(3.2051, 0, 0, 0)},
		{Name: "all", Repetitions: 3, RepetitionsPerSecond: &synclinev1.Cost{Value: 0.9731, Ratio: 0.304, RatioLow: 0.2, RatioHigh: 0.4, Confidence: 0.75, Pairs: 3}},
	}}},
	{"not through", &synclinev1.Overhead{Rounds: 20, RoundsDone: 7}},
	{"not measured", &synclinev1.Overhead{Rounds: 20, Failure: "the run was cancelled: interrupted by its operator"}},
	{"every repetition failed", &synclinev1.Overhead{Rounds: 1, RoundsDone: 1, Settings: []*synclinev1.OverheadSetting{
		{Name: "bare", Failed: 1, Failure: "lane client: no route"}, {Name: "all", Failed: 1, Failure: "lane client: no route"},
	}}},
	{"nobody asked", nil},
}

// The table is what people read; it stays within 80 columns.
func TestDrawOverhead(t *testing.T) {
	var b bytes.Buffer
	b.WriteString("What `run --measure-overhead` prints, of measurements of every kind.\n")
	for _, c := range overheads {
		b.WriteString("\n-- " + c.name + " --\n")
		if err := drawOverhead(&b, c.o); err != nil {
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
		if text := describeOverhead(c.o, drawOptions{ASCII: true}); strings.ContainsFunc(text, func(r rune) bool { return r > unicode.MaxASCII || r == '?' }) {
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
