package experiment

import "testing"

// TestDeclaredForAnotherCase leaves a case alone whose file has variables, changes and
// meetings that only another case uses.
func TestDeclaredForAnotherCase(t *testing.T) {
	source := []byte(withHead(`
vars: { n: 3, gap: 5ms }
changes: { cut: { host: A, link: down } }
meetings: { go: }
lanes: { l: { host: B, do: [s = socket(tcp), bind(s, 0.0.0.0:80)] } }
cases:
  plain: {}
  more:
    lanes:
      cutter: { host: A, do: [sleep($gap), { repeat: $n, do: [apply(cut), undo(cut)] }, meet(go)] }
      l: { do: [s = socket(tcp), bind(s, 0.0.0.0:80), meet(go)] }
`))
	for _, cases := range [][]string{nil, {"plain"}, {"more"}} {
		exp, err := Parse(source, Options{Cases: cases})
		if err != nil {
			t.Errorf("cases %v: %v", cases, err)
			continue
		}
		if want := max(1, 2-len(cases)); len(exp.Variants) != want {
			t.Errorf("cases %v give %d variants, want %d", cases, len(exp.Variants), want)
		}
	}
}
