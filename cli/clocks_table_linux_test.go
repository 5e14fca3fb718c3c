package cli

import (
	"flag"
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

var clocksFor = flag.Duration("clocks.for", time.Minute, "how long each run of BenchmarkClocks is")

// lies are the clocks that runs are measured with: what host A's and host B's show.
var lies = []struct {
	name   string
	clocks []string
}{
	{"1 s, 0 ppm", []string{"B:offset=1s"}},
	{"-10 s, 20 ppm", []string{"B:offset=-10s,ppm=20"}},
	{"1 h, 100 ppm", []string{"B:offset=1h,ppm=100"}},
	{"±10 s, ±100 ppm", []string{"A:offset=10s,ppm=100", "B:offset=-10s,ppm=-100"}},
	{"wander", []string{"B:offset=20ms,ppm=20,wander=1ppm/20s"}},
}

// steadyRate is how many connections a second there are, about.
const steadyRate = 100

// steadyExperiment connects, accepts and closes at a steady pace, a second in each repetition.
func steadyExperiment() []byte {
	return fmt.Appendf(nil, `experiment: steady
hosts: { A: {}, B: {} }
observe: [syscalls, packets]
lanes:
  server:
    host: B
    do:
      - s = socket(tcp)
      - setsockopt(s, SO_REUSEADDR, 1)
      - bind(s, 0.0.0.0:8080)
      - listen(s, 128)
      - signal(listening)
      - { repeat: %[1]d, do: [a = accept(s), close(a)] }
  client:
    host: A
    do:
      - wait(server.listening)
      - { repeat: %[1]d, do: [c = socket(tcp), "connect(c, B:8080)", close(c), sleep(%[2]dms)] }
expect:
  - never: any RST
repeat: { runs: 1, timeout: 30s }
`, steadyRate, 1000/steadyRate)
}

// keepBusy has every processor of the machine spin until the lab is gone.
func (l *testLab) keepBusy() {
	l.t.Helper()
	for range runtime.NumCPU() {
		if _, err := l.Host(controllerHost).Start(exec.Command("sh", "-c", "while :; do :; done")); err != nil {
			l.t.Fatal(err)
		}
	}
}

// measurement is one run of steady traffic in a lab whose clocks lie.
type measurement struct {
	clocks []string
	// busy keeps the machine busy, cabled joins the hosts without a switch between them.
	busy, cabled bool
	long         time.Duration
}

// harmless are parts of what may be warned of: the clock that lies on purpose, and probes
// that were lost on a busy machine, which makes clocks less well known and nothing wrong.
var harmless = []string{"of a test clock", "sights of clock probes", "sight of clock probes", "answered no clock probe", "could not keep or stamp"}

// quality holds what is said of the clocks of a run against the truth, a hundred times a
// second.
func (m *measurement) quality(t testing.TB) *byMethod {
	t.Helper()
	source := steadyExperiment()
	l := newLyingLab(t, mustParse(t, source), m.clocks...)
	if m.cabled {
		l.cable(l.Host("vm1"), l.Host("vm2"))
	}
	if m.busy {
		l.keepBusy()
	}
	seconds := max(1, int(m.long/time.Second))
	run := l.run(source, seconds)
	l.sealed(run)
	r := l.clockReport(run.Id, "A", min(100*seconds, 6000))
	for _, w := range r.Warnings {
		if !slices.ContainsFunc(harmless, func(text string) bool { return strings.Contains(w, text) }) {
			t.Errorf("warned: %s", w)
		}
	}
	return truthsOf(t, m.clocks...).compare(r)
}

// TestClocksHoldTheTruth: the true offset is in every interval, by each method and by both,
// and the estimate's error is within its ±, on a quiet machine and on a busy one. How
// narrow they are is BenchmarkClocks' to tell.
func TestClocksHoldTheTruth(t *testing.T) {
	for _, busy := range []bool{false, true} {
		t.Run(fmt.Sprintf("busy=%t", busy), func(t *testing.T) {
			t.Parallel()
			m := measurement{clocks: []string{"A:offset=10s,ppm=100", "B:offset=-10s,ppm=-90,wander=1ppm/20s"}, busy: busy, cabled: true, long: 2 * time.Second}
			q := m.quality(t)
			q.wantTrue(t, &q.both, &q.probes, &q.segments)
			t.Logf("%d moments; ±%v by both", q.both.known(), quantile(q.both.halves, 0.5))
		})
	}
}

// BenchmarkClocks prints how well the clocks of two hosts are known, whose true offset is
// known exactly: the hosts probe each other ten times a second, and connect a hundred times.
// For both methods together and for each alone there are
//
//	truth  the share of all moments at which the true offset is in the interval
//	±      half the interval's width, the median
//	off    how far the estimate is from the truth, median and 99 %
//
// on a machine that does nothing else and with as many spinning processes as it has
// processors, on a cable from host to host and through the switch of a demo. Each run is a
// minute; -clocks.for tells otherwise.
func BenchmarkClocks(b *testing.B) {
	var table strings.Builder
	fmt.Fprintf(&table, "\n%-41s", clocksFor.String()+" a run")
	for _, method := range []string{"both together", "probes alone", "segments alone"} {
		fmt.Fprintf(&table, "  %-35s", method)
	}
	fmt.Fprintf(&table, "\n%-6s %-5s %-17s %10s%s\n", "link", "", "B - A", "moments", strings.Repeat(fmt.Sprintf("  %7s %8s %18s", "truth", "±", "off, p50/p99"), 3))
	for _, link := range []string{"cable", "switch"} {
		for _, machine := range []string{"idle", "busy"} {
			for _, lie := range lies {
				b.Run(strings.ReplaceAll(link+"/"+machine+"/"+lie.name, " ", ""), func(b *testing.B) {
					m := measurement{clocks: lie.clocks, busy: machine == "busy", cabled: link == "cable", long: *clocksFor}
					q := m.quality(b)
					fmt.Fprintf(&table, "%-6s %-5s %-17s %10d", link, machine, lie.name, q.both.known())
					for _, m := range []*quality{&q.both, &q.probes, &q.segments} {
						fmt.Fprintf(&table, "  %6.2f%% %6.2fµs %7.3f/%7.3fµs", 100*m.inside(), micros(m.halves, 0.5), micros(m.wrongs, 0.5), micros(m.wrongs, 0.99))
					}
					table.WriteByte('\n')
					q.wantTrue(b, &q.both, &q.probes, &q.segments)
					b.ReportMetric(0, "ns/op")
					b.ReportMetric(micros(q.both.halves, 0.5), "µs-half")
					b.ReportMetric(micros(q.both.wrongs, 0.5), "µs-off")
				})
			}
		}
	}
	// The log of a benchmark is cut after ten lines.
	fmt.Print(table.String())
}

func micros(values []int64, share float64) float64 {
	return float64(quantile(values, share)) / float64(time.Microsecond)
}
