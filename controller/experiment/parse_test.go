package experiment

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files of testdata")

// TestFaults renders the errors of every file of testdata and compares them with the
// text beside it.
func TestFaults(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in testdata: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var faults Errors
			if _, err := Parse(source, Options{FileName: filepath.Base(file)}); !errors.As(err, &faults) {
				t.Fatalf("the file has faults, Parse returned %v", err)
			}
			got := faults.Render(filepath.Base(file), source, 100)
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("rendered errors differ (-want +got):\n%s", diff)
			}
			checkPlaces(t, source, faults)
		})
	}
}

// checkPlaces fails for an error whose place is not in the file.
func checkPlaces(t *testing.T, source []byte, faults Errors) {
	t.Helper()
	var widths []int
	for _, line := range sourceLines(source) {
		widths = append(widths, utf8.RuneCountInString(line))
	}
	for _, f := range faults {
		if f.Pos.Line < 1 || f.Pos.Line > len(widths) {
			t.Errorf("%v: the file has %d lines", f, len(widths))
			continue
		}
		if n := widths[f.Pos.Line-1]; f.Pos.Column < 1 || f.Pos.Column > n+1 {
			t.Errorf("%v: the line has %d characters", f, n)
		}
	}
}

// shapes are files of the greatest size that are as unpleasant as a stranger can make
// them.
func shapes() map[string]string {
	fill := func(before, unit, after string) string {
		n := (MaxBytes - len(before) - len(after)) / len(unit)
		return before + strings.Repeat(unit, n) + after
	}
	const head = "experiment: x\nobserve: [syscalls, packets]\nhosts: { A: , B: }\n"
	lane := head + "lanes:\n  l:\n    host: A\n    do:\n"
	return map[string]string{
		"open brackets":      fill("", "[", ""),
		"open maps":          fill("", "{a: ", ""),
		"dashes":             fill("", "- ", ""),
		"indented dashes":    fill(strings.Repeat("- ", 30), "- a\n"+strings.Repeat("  ", 30), ""),
		"nested keys":        "hosts:\n" + strings.Repeat("  a: {a: {a: {a: {a: {a: {a: {}}}}}}}\n", 1150),
		"many values":        "refs: [" + strings.Repeat("a,", maxTokens/2-8) + "]",
		"many keys":          strings.Repeat("a: b\n", maxKeys),
		"nesting at limit":   fill("a: ", strings.Repeat("[", 29)+strings.Repeat("]", 29)+"\nb: ", "c"),
		"flow sequence":      fill("refs: [", "a,", "]"),
		"flow map":           fill("vars: {", "a: b, ", "}"),
		"long line":          fill("about: ", "x", ""),
		"long quoted":        fill("about: \"", `A`, "\""),
		"unterminated text":  fill("about: \"", "x", ""),
		"question marks":     fill("", "? ", ""),
		"anchors":            fill("", "&a ", ""),
		"aliases":            fill("a: &a [x]\nb: [", "*a,", "]"),
		"tags":               fill("", "! ", ""),
		"documents":          fill("", "---\n", ""),
		"comments":           fill("", "#\n", ""),
		"empty lines":        fill("", "\n", ""),
		"colons":             fill("", ":", ""),
		"many colons":        fill("", "a: ", ""),
		"percent":            fill("", "%", ""),
		"block text":         fill("about: >\n", "  x\n", ""),
		"folded plain":       fill("about:\n", "  b\n", ""),
		"repeated keys":      fill("", "a: b\n", ""),
		"unknown calls":      fill(lane, "    - conect()\n", ""),
		"open sockets":       fill(lane, "    - a = socket(tcp)\n", ""),
		"waits":              fill(lane, "    - wait(l.x)\n", ""),
		"one long call":      fill(lane+"    - send(", "a,", "a)\n"),
		"parentheses":        fill(lane+"    - send", "(", "\n"),
		"commas in a list":   fill("refs: [f(", "a,", ")]"),
		"open in list":       fill("refs: [", "(", "]"),
		"open pairs in list": fill("refs: [(", "([{", "]"),
		"closed in list":     fill("refs: [(", "(){}]", ""),
		"texts in list":      fill("refs: [f(", "\"", ")]"),
		"packets":            fill(head+"lanes: { l: { host: A, do: [sleep(1ms)] } }\nexpect:\n  - packets: [", "A>C SYM,", "]"),
		"one long selector":  fill(head+"lanes: { l: { host: A, do: [sleep(1ms)] } }\nexpect:\n  - never: ", "any ", "RST"),
		"one long order":     fill(head+"lanes: { l: { host: A, do: [sleep(1ms)] } }\nexpect:\n  - order: ", "x<", "x"),
		"ambiguous moments":  fill(lane+strings.Repeat("    - sleep(1ms)\n", 5000)+"expect:\n  - order:\n", "    - enter(l.sleep) < enter(l.sleep)\n", ""),
		"variables":          fill("vars: { v: "+strings.Repeat("y", 255)+" }\nhosts: { A: { pick: { l: ", "$v", " } } }"),
		"big data":           fill(lane+"    - c = socket(tcp)\n", "    - send(c, bytes(1048576))\n", ""),
		"no text":            fill("", "\x00", ""),
		"many cases":         fill(head+"lanes: { l: { host: A, do: [sleep(1ms)] } }\ncases:\n", "  a: {}\n", ""),
		"many variants":      head + "vars: { v: 1 }\nmatrix: { v: [" + manyNumbers(256) + "] }\nlanes: { l: { host: A, do: [sleep(1ms)] } }\nexpect: [" + strings.Repeat("never: A>B SYN, ", 900) + "never: SYM]\n",
		"variants of loops":  head + "matrix: { v: [" + manyNumbers(256) + "] }\nlanes: { l: { host: A, do: [{ repeat: 100, do: [{ repeat: 99, do: [\"signal(a$v)\"] }] }] } }\n",
		"right variants":     head + "matrix: { v: [" + manyNumbers(256) + "] }\nlanes: { l: { host: A, do: [c = socket(tcp), " + strings.Repeat("send(c, bytes($v)), ", 2000) + "connect(c, B:80)] } }\n",
		"expressions":        fill(head+"lanes: { l: { host: A, do: [sleep(1ms)] } }\nexpect:\n", "  - that: size(packets)>1+1+1+1+1+1+1&&x\n", ""),
		"many expressions":   head + "matrix: { v: [" + manyNumbers(256) + "] }\nlanes: { l: { host: A, do: [sleep(1ms)] } }\nexpect:\n" + strings.Repeat("  - that: size(packets) > $v && true\n", 300) + "  - that: no\n",
		"one expression":     head + "lanes: { l: { host: A, do: [sleep(1ms)] } }\nexpect:\n  - that: '" + strings.Repeat("(", 90) + "1" + strings.Repeat("+1)", 90) + strings.Repeat(" + 1", 900) + "'\n",
		"when conditions":    fill(head+"lanes: { l: { host: A, do: [sleep(1ms)] } }\ncases: { a: , b: }\nexpect:\n  when a", " or a", " or c: []\n"),
		"ready-made":         fill(head+"lanes: { l: { host: A, do: [sleep(1ms)] } }\nexpect:\n", "  - graceful-teardown\n", ""),
		"arithmetic":         fill(head+"lanes: { l: { host: A, do: [sleep(1ms)] } }\nrepeat: { runs: ", "1 + ", "x }\n"),
		"half of a sequence": fill("a: [", "\n x,", ""),
	}
}

func manyNumbers(n int) string {
	var words []string
	for i := range n {
		words = append(words, strconv.Itoa(i+1))
	}
	return strings.Join(words, ", ")
}

// TestUnpleasantShapes holds Parse and Render to less than a second for every shape,
// and allows a loaded machine some more: what is to be caught here takes minutes, or
// all memory.
func TestUnpleasantShapes(t *testing.T) {
	for name, text := range shapes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if len(text) > MaxBytes {
				t.Fatalf("the shape has %d bytes", len(text))
			}
			source := []byte(text)
			stop := stopwatch()
			_, err := Parse(source, Options{})
			var faults Errors
			if !errors.As(err, &faults) {
				t.Fatalf("Parse found no fault: %v", err)
			}
			rendered := faults.Render("x", source, 80)
			took := stop()
			t.Logf("%v, %d faults", took.Round(time.Millisecond), len(faults))
			if took > 4*time.Second {
				t.Errorf("took %v", took)
			}
			checkPlaces(t, source, faults)
			for _, line := range strings.Split(rendered, "\n") {
				if len([]rune(line)) > 1000 {
					t.Errorf("a rendered line has %d characters: %.100s", len([]rune(line)), line)
				}
			}
		})
	}
}

func TestTooLong(t *testing.T) {
	_, err := Parse(bytes.Repeat([]byte("x"), MaxBytes+1), Options{FileName: "big.yaml"})
	if err == nil || err.Error() != "big.yaml:1:1: the file has 262145 bytes; at most 262144 are read" {
		t.Errorf("got %v", err)
	}
}
