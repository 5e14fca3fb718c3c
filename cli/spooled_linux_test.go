package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"syncline/agent/spool"
	"syncline/proto/chunk"
	synclinev1 "syncline/proto/syncline/v1"
)

// An agent that is killed while its controller does not answer, and started again, sends
// what it had on its disk, unchanged, and the run says what is lost with it.
func TestKilledAgentSendsItsSpool(t *testing.T) {
	source := library(t, demoExperiment)
	l := newTestLab(t, mustParse(t, source))
	id := l.startLong(source)
	ctl, vm2 := l.processes[0], l.processes[2]
	if err := ctl.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(l.Dir(), "agent-vm2", "spool")
	await(t, "chunks in the spool of vm2", func() bool { return len(l.spooled(state)) > 0 })
	if err := vm2.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-vm2.Done()
	kept := l.spooled(state)
	l.replace(2)
	if err := ctl.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	run, err := l.operator.follow(t.Context(), l.client, id)
	if err != nil {
		t.Fatal(err)
	}
	if run.State != synclinev1.RunState_RUN_STATE_FAILED {
		t.Errorf("the run ended as %v: %s", run.State, run.Reason)
	}
	if missing := strings.Join(run.Incomplete, "; "); !strings.Contains(missing, "agent vm2 was killed, or its host went down") || strings.Contains(missing, "damaged") {
		t.Errorf("missing: %s", missing)
	}
	stored := l.stored(id)["vm2"]
	events := 0
	for _, c := range kept {
		all, err := chunk.Decode(c.Data)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range all {
			events++
			if stored[e.Number] != e.String() {
				t.Fatalf("event %d was on the disk as %v, and is stored as %q", e.Number, e, stored[e.Number])
			}
		}
	}
	t.Logf("%d events in %d chunks were on the disk, %d are stored: %q", events, len(kept), len(stored), run.Incomplete)
	next := l.run(source, 2)
	wantAllPass(t, next, l.verdicts(next), 2)
	await(t, "empty spools", func() bool {
		left, err := filepath.Glob(filepath.Join(l.Dir(), "agent-*", "spool", "*.*"))
		return err == nil && len(left) == 0
	})
}

// spooled are the chunks in a spool that a living agent may write to: its files are copied
// and read.
func (l *testLab) spooled(dir string) (all []spool.Chunk) {
	l.t.Helper()
	at := l.t.TempDir()
	names, err := filepath.Glob(filepath.Join(dir, "*.*"))
	if err != nil {
		l.t.Fatal(err)
	}
	// Heads after segments: the copy of a head is of a later moment then.
	slices.Reverse(names)
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(filepath.Join(at, filepath.Base(name)), b, 0o600)
		}
		if err != nil {
			l.t.Fatal(err)
		}
	}
	s, err := spool.Open(spool.Config{Dir: at})
	if err != nil {
		l.t.Fatal(err)
	}
	defer s.Close()
	for _, st := range s.Streams() {
		for _, c := range st.Contents() {
			kept, err := st.Read(c.Sequence)
			if err != nil {
				l.t.Fatal(err)
			}
			all = append(all, kept)
		}
	}
	return all
}
