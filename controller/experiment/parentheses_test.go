package experiment

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestFlowLists holds lists in brackets to what the same items mean one a line.
func TestFlowLists(t *testing.T) {
	const head = "experiment: x\nhosts: { A: , B: }\nobserve: [syscalls, packets]\nlanes:\n"
	steps := []string{
		"c = socket(tcp6)",
		"bind(c, [::]:8080)",
		"setsockopt(c, SO_LINGER, {1, 0})",
		"connect(c, B:8080, timeout=2s) -> ok or ECONNREFUSED as try",
		`send(c, "a, b] # } 'c: \" (")`,
		"send(c, pattern(10, 1)) -> 10",
		"close(c)",
	}
	orders := []string{
		"enter(l.connect) < sent(A, SYN) <= received(B, A>B SYN)",
		"enter(l.bind c) < return(l.close c)",
	}
	block := head + "  l:\n    host: A\n    do:\n"
	for _, s := range steps {
		block += "      - '" + strings.ReplaceAll(s, "'", "''") + "'\n"
	}
	block += "expect:\n  - order:\n"
	for _, o := range orders {
		block += "      - " + o + "\n"
	}
	want := meaning(t, block)
	tests := map[string]string{
		"one line": "  l: { host: A, do: [" + strings.Join(steps, ", ") + "] }\n" +
			"expect: [order: [" + strings.Join(orders, ", ") + "]]\n",
		"no spaces": "  l:\n    host: A\n    do: [" + strings.Join(steps, ",") + "]\n" +
			"expect:\n  - order: [" + strings.Join(orders, ",") + "] # (\n",
		"one item a line": "  l:\n    host: A\n    do: [ # [ (\n      " + strings.Join(steps, ",\n      ") + ",\n    ]\n" +
			"expect:\n  - order: [\n      " + strings.Join(orders, ",\n      ") + "]\n",
		"broken lines": "  l: { host: A,\n    do: [" + strings.Join(steps, ",\n      ") + "] }\n" +
			"expect:\n  - order: [" + strings.ReplaceAll(strings.Join(orders, ", "), ", ", ",\n      ") + "]\n",
		"after text": "  l:\n    host: A\n    do: [" + strings.Join(steps, ", ") + "]\n" +
			"about: \"a\n  [ ' (\"\nrefs:\n  - a [ (\n    b\n  - 'it''s ['\n  - >\n    [ (\n" +
			"expect:\n  - order: [" + strings.Join(orders, ", ") + "]\n",
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(want, meaning(t, head+text), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("(-one a line +%s):\n%s", name, diff)
			}
		})
	}
}

// meaning is what the steps and expectations of a file say, without their places.
func meaning(t *testing.T, text string) []any {
	t.Helper()
	exp, err := Parse([]byte(text), Options{})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	var out []any
	for _, s := range exp.Lanes[0].Steps {
		s.Pos = Pos{}
		out = append(out, s)
	}
	for _, e := range exp.Expect {
		e.Pos = Pos{}
		out = append(out, e)
	}
	return out
}

// TestHideInFlowOnly holds the files of the library to what they were: what is hidden
// comes back, and nothing is hidden in a comment or outside of brackets.
func TestHideInFlowOnly(t *testing.T) {
	for _, e := range Library() {
		source, _ := Open(e.Name)
		lines := sourceLines(source)
		for i, line := range hideParentheses(lines) {
			if reveal(line) != lines[i] {
				t.Errorf("%s:%d: %q came back as %q", e.Name, i+1, lines[i], reveal(line))
			}
			code, comment, _ := strings.Cut(line, " #")
			if reveal(comment) != comment || reveal(code) != code && !strings.ContainsAny(code, "[{]}") {
				t.Errorf("%s:%d: something is hidden in %q", e.Name, i+1, line)
			}
		}
	}
}

func FuzzHideParentheses(f *testing.F) {
	for _, file := range []string{"testdata/flow.yaml", "testdata/multi-line-step.yaml", "library/basic-open-close.yaml"} {
		source, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(source))
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.ContainsFunc(text, func(r rune) bool { return r >= firstHidden && r <= lastHidden }) {
			t.Skip("no such file gets here")
		}
		text = strings.ToValidUTF8(text, "?")
		lines := strings.Split(text, "\n")
		if diff := cmp.Diff(text, reveal(strings.Join(hideParentheses(lines), "\n"))); diff != "" {
			t.Errorf("what was hidden does not come back (-source +revealed):\n%s", diff)
		}
	})
}
