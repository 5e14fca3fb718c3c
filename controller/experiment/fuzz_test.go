package experiment

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// FuzzParse holds Parse to its promises for whatever it is given: it returns within
// bounded time, with an experiment or with errors whose places are in the file, and
// what it returned as good can be planned with.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"library/*.yaml", "testdata/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			source, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(source)
		}
	}
	f.Fuzz(func(t *testing.T, source []byte) {
		begin := time.Now()
		exp, err := Parse(source, Options{})
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("took %v", took)
		}
		if err == nil {
			checkSound(t, exp)
			return
		}
		var faults Errors
		if !errors.As(err, &faults) || len(faults) == 0 {
			t.Fatalf("the error is no Errors: %#v", err)
		}
		checkPlaces(t, source, faults)
		faults.Render("fuzz.yaml", source, 80)
	})
}

// checkSound fails if an experiment that was taken mentions what it does not have.
func checkSound(t *testing.T, exp *Experiment) {
	t.Helper()
	roles := make(map[string]bool)
	for _, h := range exp.Hosts {
		roles[h.Name] = true
	}
	for _, l := range exp.Lanes {
		if !roles[l.Host] || len(l.Steps) == 0 {
			t.Errorf("lane %+v has no host or no steps", l)
		}
		for _, s := range l.Steps {
			row, ok := findCall(s.Call)
			if !ok || (row.read != nil) != (s.Args != nil) || row.onSocket != (s.Socket != "") {
				t.Errorf("step %+v does not fit its call", s)
			}
		}
	}
	for _, e := range exp.Expect {
		if e.Order != nil {
			for _, m := range e.Order.Moments {
				checkMoment(t, exp, m, roles)
			}
		}
		if e.Result != nil {
			checkMoment(t, exp, e.Result.Of, roles)
		}
	}
}

func checkMoment(t *testing.T, exp *Experiment, m MomentSelector, roles map[string]bool) {
	t.Helper()
	if m.Kind == PacketSent || m.Kind == PacketReceived {
		if !roles[m.Host] {
			t.Errorf("moment %+v is of no host", m)
		}
		return
	}
	for _, l := range exp.Lanes {
		if l.Name == m.Lane && m.Step < len(l.Steps) && l.Steps[m.Step].Call == m.Call {
			return
		}
	}
	t.Errorf("moment %+v picks no step", m)
}
