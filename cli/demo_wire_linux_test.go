package cli

import (
	"testing"
	"time"
)

// TestClocksOverAWireOfTwoDelays: packets take 5 ms there and 1 ms back, which no
// timestamp of theirs can tell from a clock that is 2 ms off. The true offset is in every
// interval all the same, no estimate is further off than its ± says, and the experiment's own
// segments claim no less than half of what a round trip takes: nobody can know more by them.
// Probes also go by the control network, which has no wire, and know better.
func TestClocksOverAWireOfTwoDelays(t *testing.T) {
	t.Parallel()
	const there, back = 5 * time.Millisecond, time.Millisecond
	clocks := []string{"B:offset=1s,ppm=50"}
	wire := wireOptions{delay: "5ms/1ms", clocks: clocks}
	if err := wire.parse(); err != nil {
		t.Fatal(err)
	}
	source := library(t, "basic-open-close")
	l := makeTestLab(t, mustParse(t, source), demoLab{wire: wire})
	run := l.run(source, 20)
	l.sealed(run)
	q := truthsOf(t, clocks...).compare(l.clockReport(run.Id, "A", 200))
	q.wantTrue(t, &q.both, &q.probes, &q.segments)
	for name, m := range map[string]*quality{"both": &q.both, "probes": &q.probes, "segments": &q.segments} {
		t.Logf("by %s: ±%v, off %v", name, quantile(m.halves, 0.5), quantile(m.wrongs, 0.5))
		for i, half := range m.halves {
			if half < m.wrongs[i] {
				t.Fatalf("by %s: ±%v, and %v off", name, time.Duration(half), time.Duration(m.wrongs[i]))
			}
		}
	}
	// A round trip lasts a little longer or shorter on a clock that goes at another rate.
	if least := quantile(q.segments.halves, 0); least < (there+back)/2-time.Microsecond {
		t.Errorf("by segments: ±%v at least, nobody can know more than ±%v", least, (there+back)/2)
	}
}
