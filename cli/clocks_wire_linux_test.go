package cli

import (
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// TestClocksOnAnUnevenPath: over a path that takes 5 ms one way and 1 ms back the estimate
// is off by half the difference, and no timestamps of that path can show it. What is said
// holds all the same: the interval has the truth in it, and its half-width is not less than
// the error. Nor do the two methods exclude each other. Another path, the control network's, is
// even, and probes on it know better; segments know what they knew.
func TestClocksOnAnUnevenPath(t *testing.T) {
	t.Parallel()
	const (
		there, back = 5 * time.Millisecond, time.Millisecond
		lie         = "B:offset=1h,ppm=-100"
	)
	source, ts := library(t, "basic-open-close"), truthsOf(t, lie)
	want := demoLab{wire: wireOptions{delay: there.String() + "/" + back.String(), clocks: []string{lie}}}
	if err := want.wire.parse(); err != nil {
		t.Fatal(err)
	}
	l := makeTestLab(t, mustParse(t, source), want)
	measure := func() *byMethod {
		t.Helper()
		run := l.run(source, 5)
		wantAllPass(t, run, l.verdicts(run), 5)
		l.arrived(ts, run).wantTrue(t)
		r := l.clockReport(run.Id, "A", 200)
		q := ts.compare(r)
		q.wantTrue(t, &q.both, &q.probes, &q.segments)
		if len(r.Pairs) != 1 || r.Pairs[0].Disagree {
			t.Errorf("the pairs are %v", r.Pairs)
		}
		for name, m := range map[string]*quality{"both": &q.both, "probes": &q.probes, "segments": &q.segments} {
			t.Logf("by %s: ±%v, off by %v (medians)", name, quantile(m.halves, 0.5), quantile(m.wrongs, 0.5))
		}
		return q
	}
	// A way takes its delay at least; what the machine takes besides is the wire's own figure.
	uneven := func(m *quality) {
		t.Helper()
		if least := quantile(m.halves, 0); least < (there+back)/2 {
			t.Errorf("±%v over ways of %v and %v", least, there, back)
		}
		reports, err := l.Wires()
		if err != nil {
			t.Fatal(err)
		}
		var late time.Duration
		for _, w := range reports {
			late = max(late, w.In.Late.Max(), w.Out.Late.Max())
		}
		if off := quantile(m.wrongs, 0.5); off < (there-back)/2-late || off > (there-back)/2+late {
			t.Errorf("the estimate is off by %v; half of the difference is %v, and frames were late by up to %v", off, (there-back)/2, late)
		}
	}

	q := measure()
	uneven(&q.segments)
	if two := quantile(q.both.halves, 1); two >= quantile(q.segments.halves, 0) {
		t.Errorf("±%v with the control network, ±%v without", two, quantile(q.segments.halves, 0))
	}

	// From now on there is one path.
	l.controlByExperiment()
	q = measure()
	for _, m := range []*quality{&q.both, &q.probes, &q.segments} {
		uneven(m)
	}
}

// controlByExperiment has the agents reach the controller over the network of the
// experiment, and starts them again.
func (l *testLab) controlByExperiment() {
	l.t.Helper()
	controller := l.Host(controllerHost)
	for i := range l.processes {
		name := l.processes[i].name
		if name == controllerHost {
			continue
		}
		err := l.Host(name).Do(func() error {
			link, err := netlink.LinkByName(l.Host(name).Interface)
			if err != nil {
				return err
			}
			bits := controller.Control.BitLen()
			return netlink.RouteAdd(&netlink.Route{
				LinkIndex: link.Attrs().Index, Gw: controller.Address.AsSlice(), Src: l.Host(name).Address.AsSlice(),
				Dst: &net.IPNet{IP: controller.Control.AsSlice(), Mask: net.CIDRMask(bits, bits)},
			})
		})
		if err != nil {
			l.t.Fatalf("route from %s to the controller: %v", name, err)
		}
		l.killAgent(i)
	}
	if err := l.await(l.t.Context(), l.client); err != nil {
		l.t.Fatal(err)
	}
}
