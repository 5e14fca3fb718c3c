package store

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What a host was like stays with its run, whatever happens to the run's hosts, to
// the node and to its log.
func TestEnvironmentsStay(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	hosts := []RunHost{{Name: "B", Agent: "vm2"}, {Name: "A", Agent: "vm1"}}
	run := must[Run](t)(s.CreateRun(t.Context(), "req", Run{Experiment: "x", Hosts: hosts, Environments: []Environment{{Host: "made up"}}}))
	put := func(host string, data []byte) error {
		return s.PutEnvironment(t.Context(), run.ID, run.Epoch, Environment{Host: host, Data: data})
	}
	most := bytes.Repeat([]byte{7}, MaxEnvironmentBytes)
	for _, e := range []Environment{{"B", []byte("first")}, {"A", most}, {"B", []byte("again")}} {
		if err := put(e.Host, e.Data); err != nil {
			t.Fatal(err)
		}
	}
	must[Run](t)(s.ChangeRun(t.Context(), run.ID, RunChange{Epoch: 1, State: Prepared, Hosts: hosts}))
	want := []Environment{{"A", most}, {"B", []byte("again")}}
	look := func(when string) {
		t.Helper()
		got, ok := s.Run(run.ID)
		if diff := cmp.Diff(want, got.Environments); !ok || diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	look("at once")

	for what, c := range map[string]struct {
		err  error
		want error
	}{
		"too much":      {put("A", append(most, 7)), ErrTooMany},
		"no such host":  {put("C", nil), ErrInvalid},
		"no name":       {put("", nil), ErrInvalid},
		"another epoch": {s.PutEnvironment(t.Context(), run.ID, 9, Environment{Host: "A"}), ErrEpoch},
		"no such run":   {s.PutEnvironment(t.Context(), "r-none", 1, Environment{Host: "A"}), ErrUnknownRun},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", what, c.err, c.want)
		}
	}
	look("after what was refused")

	s = reopen(t, s, dir)
	look("after a restart from the log")
	if err := s.Snapshot(); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s, dir)
	look("after a restart from a snapshot")

	must[Run](t)(s.Seal(t.Context(), run.ID, Sealing{Epoch: 1, State: Cancelled}))
	if err := put("A", nil); !errors.Is(err, ErrTransition) {
		t.Errorf("a run that is over: %v, want ErrTransition", err)
	}
	look("when the run is over")
}
