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
