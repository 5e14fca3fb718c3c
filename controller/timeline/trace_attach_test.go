package timeline

import (
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// A trace without a socket is of the connection between its addresses that had begun, and
// of none if only a later one is on record.
func TestTraceBeforeItsConnection(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/states/traced_drop_before.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for more, want := range map[string]int{
		"": -1,
		// The connect(2) of the connection runs, and no packet of it has been seen.
		"B trace - 1 drop A>B SYN XDP bpf_prog_run_xdp\n": 0,
	} {
		run := newScript(t, section(archive, "events")+more).run
		tl, err := Build(run, 1)
		if err != nil {
			t.Fatal(err)
		}
		got, found := -2, 0
		for i := range tl.Moments {
			if m := &tl.Moments[i]; m.Event.Trace != nil {
				found++
				got = m.Connection
			}
		}
		if got != want || (more == "") != (found == 1) {
			t.Errorf("with %q the last of %d traces is of connection %d, want %d", more, found, got, want)
		}
	}
}
