package cli

import (
	"bytes"
	"strings"
	"testing"

	synclinev1 "syncline/proto/syncline/v1"
)

// A run tells how its clocks were probed, whose clock is none that exists, and what a
// reader should know besides; one of before there were probes says nothing of them.
func TestRunTellsOfItsClocks(t *testing.T) {
	run := &synclinev1.Run{
		Id: "r-1", Experiment: "x", State: synclinev1.RunState_RUN_STATE_SEALED, Probing: &synclinev1.Probing{Rate: 20, AllPairs: true},
		Warnings: []string{"the clocks of A and B could not be compared: B was never heard of by A, and a firewall between them may be why"},
		Hosts:    []*synclinev1.RunHost{{Name: "A", Agent: "vm1"}, {Name: "B", Agent: "vm2", TestClock: "offset=1s"}},
	}
	text := func() string {
		s := newSheet(&strings.Builder{})
		s.o.Width = 80
		describeRun(s, run)
		return s.b.String()
	}
	wantText(t, text(),
		"  probes      20 exchanges a second with each peer, between all pairs of hosts\n",
		"  to know     the clocks of A and B could not be compared: B was never heard of\n              by A,",
		"test clock offset=1s: its times are of no clock that exists")
	run.Probing = &synclinev1.Probing{Off: true}
	wantText(t, text(), "  probes      none, as was asked\n")
	run.Probing = nil
	if got := text(); strings.Contains(got, "probes") {
		t.Errorf("a run of before there were probes says\n%s", got)
	}

	var out bytes.Buffer
	a := &app{noColor: true}
	if err := a.drawRun(&out, run, &runSummary{}, ladderOptions{width: 80}); err != nil {
		t.Fatal(err)
	}
	wantText(t, out.String(), "\n  ! the clocks of A and B could not be compared: B was never heard of by A, and\n    a firewall between them may be why\n")
}

func wantText(t *testing.T, text string, all ...string) {
	t.Helper()
	for _, want := range all {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}
