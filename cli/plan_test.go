package cli

import (
	"strings"
	"testing"

	synclinev1 "syncline/proto/syncline/v1"
)

// A plan names each need of which the agent of a host said nothing.
func TestPlanNamesUnknownNeeds(t *testing.T) {
	var out strings.Builder
	s := newSheet(&out)
	describePlan(s, &synclinev1.Plan{Experiment: "x", Needs: []string{"conntrack"}, UnknownNeeds: []string{"host A: conntrack", "host B: conntrack"}})
	if err := s.to(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"not known of host A: conntrack", "not known of host B: conntrack"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the plan does not say %q:\n%s", want, &out)
		}
	}
}

// Times that are not real must not look as if they were.
func TestPlanSaysWhichTimesAreNotReal(t *testing.T) {
	s := newSheet(&strings.Builder{})
	s.o.Width = 120
	describePlan(s, &synclinev1.Plan{Experiment: "x", Hosts: []*synclinev1.RunHost{
		{Name: "A", Agent: "vm1", TestClock: "offset=1s,ppm=100"}, {Name: "B", Agent: "vm2"},
	}})
	got := s.b.String()
	if n := strings.Count(got, "test clock"); n != 1 || !strings.Contains(got, "test clock offset=1s,ppm=100: its times are of no clock that exists") {
		t.Errorf("the plan names %d test clocks:\n%s", n, got)
	}
}

// A plan says how well the clocks of pairs will be known and what that may not be enough
// for; of many pairs the worst come first.
func TestPlanSaysHowWellClocksWillBeKnown(t *testing.T) {
	known := func(host, peer, by string, ns int64) *synclinev1.PlanClock {
		return &synclinev1.PlanClock{Host: host, Peer: peer, ErrorNs: &ns, By: by}
	}
	p := &synclinev1.Plan{Experiment: "x", Clocks: []*synclinev1.PlanClock{
		known("A", "B", "probed just now", 640), known("A", "C", "same clock", 0), {Host: "B", Peer: "C", By: "C has no probes"},
	}, ClockDoubts: []string{"handshake takes at most 2 µs: A and B may be known to ±640 ns only"}}
	plan := func() string {
		s := newSheet(&strings.Builder{})
		s.o.Width = 80
		describePlan(s, p)
		return s.b.String()
	}
	got := plan()
	for _, want := range []string{
		"\nclocks\n", "  A ↔ B       will be known to ±640 ns (probed just now)\n", "  A ↔ C       will be known to ±0 ns (same clock)\n",
		"  B ↔ C       how well is not known before the run (C has no probes)\n", "  ? handshake takes at most 2 µs: A and B may be known to ±640 ns only\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the plan does not say %q:\n%s", want, got)
		}
	}
	for i := range int64(20) {
		p.Clocks = append(p.Clocks, known("A", string(rune('D'+i)), "probed just now", 1_001*(i+1)))
	}
	got = plan()
	unknown, worst, more := strings.Index(got, "B ↔ C"), strings.Index(got, "±21 µs"), strings.Index(got, "… 15 more pairs, none known worse")
	if unknown < 0 || worst < unknown || more < worst || strings.Contains(got, "A ↔ B") {
		t.Errorf("the worst of many pairs do not come first:\n%s", got)
	}
}
