package experiment

import (
	"slices"
	"testing"
)

// A call that a result expects to fail needs no outcome of its own; one that has an
// outcome keeps it.
func TestResultTakesTheOutcome(t *testing.T) {
	exp, err := Parse([]byte(`
experiment: refused
hosts: { A: {} }
observe: [syscalls]
lanes:
  client:
    host: A
    copies: 2
    do:
      - c = socket(tcp)
      - { repeat: 2, do: [connect(c, A:9) as try] }
      - connect(c, A:9) -> ok as strict
      - send(c, "x") as free
expect:
  - result: { of: try, errno: ECONNREFUSED }
  - result: { of: strict, errno: ECONNREFUSED }
  - result: { of: free, value: 1 }
`), Options{FileName: "test.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	const refused = 111
	tries := 0
	for _, l := range exp.Lanes {
		for _, s := range l.Steps {
			switch s.Label {
			case "try":
				tries++
				if s.Outcome == nil || !s.Outcome.OK || !s.Outcome.Timeout || !slices.Contains(s.Outcome.Errnos, refused) {
					t.Errorf("lane %s, %s: outcome %+v, want any", l.Name, s.Text, s.Outcome)
				}
			case "strict":
				if s.Outcome == nil || len(s.Outcome.Errnos) > 0 {
					t.Errorf("%s: its own outcome became %+v", s.Text, s.Outcome)
				}
			case "free":
				if s.Outcome != nil {
					t.Errorf("%s: outcome %+v, want none: its success is expected", s.Text, s.Outcome)
				}
			}
		}
	}
	if tries != 4 {
		t.Errorf("%d steps have the label try, want 2 rounds in 2 copies", tries)
	}
}
