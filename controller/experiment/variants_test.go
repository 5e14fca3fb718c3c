package experiment

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// spread is a file with two cases and a matrix.
const spreadFile = `
experiment: spread
hosts: { A: , B: }
vars: { port: 8080, pause: 1ms, backlog: 9 }
matrix: { backlog: [0, 5], size: [1, 2] }
cases:
  calm: {}
  burst:
    about: All at once.
    vars: { pause: 2ms }
    lanes: { server: { do: [s = socket(tcp), bind(s, 0.0.0.0:$port), listen(s, $backlog + 1)] } }
    repeat: { runs: 3 }
observe: [syscalls, packets]
lanes:
  server:
    host: B
    do: [s = socket(tcp), bind(s, 0.0.0.0:$port), listen(s, $backlog), sleep($pause)]
  client:
    host: A
    do: [c = socket(tcp), connect(c, B:$port), send(c, bytes($size)), sleep($pause)]
expect:
  always:
    - never: any RST
  when burst or backlog=5 and size=2:
    - result: { of: client.connect, ok: true }
repeat: { runs: 2, warmup: 1, fresh: [port] }
`

func at(t *testing.T, exp *Experiment, variant, repetition int) *Experiment {
	t.Helper()
	e, err := exp.At(variant, repetition)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// shape is what differs between the variants of spreadFile.
func shape(e *Experiment) string {
	var parts []string
	for _, v := range e.Vars {
		parts = append(parts, v.Name+"="+v.Value)
	}
	server := e.Lanes[0]
	return fmt.Sprintf("%s | %s | %s | %d runs | %s | %s", e.Variants[e.Variant].Name, strings.Join(parts, " "),
		server.Steps[len(server.Steps)-1].Text, e.Repeat.Runs, e.About, strings.Join(e.Expanded(), "; "))
}

func TestVariants(t *testing.T) {
	exp := mustParse(t, spreadFile)
	if exp.Variant != 0 {
		t.Errorf("Parse returned variant %d", exp.Variant)
	}
	want := []string{
		"calm backlog=0 size=1 | port=8080 pause=1ms backlog=0 size=1 | sleep(1ms) | 2 runs |  | never: any RST",
		"calm backlog=0 size=2 | port=8080 pause=1ms backlog=0 size=2 | sleep(1ms) | 2 runs |  | never: any RST",
		"calm backlog=5 size=1 | port=8080 pause=1ms backlog=5 size=1 | sleep(1ms) | 2 runs |  | never: any RST",
		"calm backlog=5 size=2 | port=8080 pause=1ms backlog=5 size=2 | sleep(1ms) | 2 runs |  | never: any RST; result: { of: client.connect, ok: true }",
		"burst backlog=0 size=1 | port=8080 pause=2ms backlog=0 size=1 | listen(s, 0 + 1) | 3 runs | All at once. | never: any RST; result: { of: client.connect, ok: true }",
		"burst backlog=0 size=2 | port=8080 pause=2ms backlog=0 size=2 | listen(s, 0 + 1) | 3 runs | All at once. | never: any RST; result: { of: client.connect, ok: true }",
		"burst backlog=5 size=1 | port=8080 pause=2ms backlog=5 size=1 | listen(s, 5 + 1) | 3 runs | All at once. | never: any RST; result: { of: client.connect, ok: true }",
		"burst backlog=5 size=2 | port=8080 pause=2ms backlog=5 size=2 | listen(s, 5 + 1) | 3 runs | All at once. | never: any RST; result: { of: client.connect, ok: true }",
	}
	var got []string
	for i := range exp.Variants {
		got = append(got, shape(at(t, exp, i, 1)))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("variants (-want +got):\n%s", diff)
	}
	last := at(t, exp, 7, 1)
	if args := last.Lanes[0].Steps[2].Args; args != (ListenArgs{6}) {
		t.Errorf("listen of the last variant is %+v", args)
	}
	if v := last.Variants[7]; v.Case != "burst" || len(v.Values) != 2 || v.Values[1] != (Var{Name: "size", Value: "2"}) {
		t.Errorf("the last variant is %+v", v)
	}
}

func TestFresh(t *testing.T) {
	exp := mustParse(t, spreadFile)
	for repetition, want := range map[int]uint16{1: 8080, 2: 8081, 1000: 9079, 1001: 8080, 2500: 8579} {
		e := at(t, exp, 5, repetition)
		if got := e.Lanes[0].Steps[1].Args.(BindArgs).Address.Port; got != want {
			t.Errorf("in repetition %d the port is %d, want %d", repetition, got, want)
		}
		if e.Variant != 5 || len(e.Variants) != 8 {
			t.Errorf("in repetition %d it is variant %d of %d", repetition, e.Variant, len(e.Variants))
		}
		again := at(t, e, 0, repetition+1)
		if again.Variant != 0 {
			t.Errorf("At of another variant's experiment gives variant %d", again.Variant)
		}
	}
	if same := at(t, exp, 0, 1); same != exp {
		t.Error("the first repetition of the first variant is not what Parse returned")
	}
	var ports []uint16
	exp.every(func(e *Experiment) { ports = append(ports, e.Lanes[0].Steps[1].Args.(BindArgs).Address.Port) })
	if len(ports) != 8 {
		t.Errorf("every variant has a port: %v", ports)
	}
}

func TestAtFaults(t *testing.T) {
	exp := mustParse(t, spreadFile)
	for _, test := range []struct{ variant, repetition int }{{-1, 1}, {8, 1}, {0, 0}} {
		if _, err := exp.At(test.variant, test.repetition); err == nil {
			t.Errorf("At(%d, %d) gave an experiment", test.variant, test.repetition)
		}
	}
	bare := &Experiment{Name: "made by hand"}
	if e, err := bare.At(0, 3); err != nil || e != bare {
		t.Errorf("At of an experiment made by hand: %v, %v", e, err)
	}
	if _, err := bare.At(1, 1); err == nil {
		t.Error("an experiment made by hand has a second variant")
	}
}

func TestCasesChosen(t *testing.T) {
	for choice, want := range map[string][]string{
		"burst":                     {"burst backlog=0 size=1", "burst backlog=0 size=2", "burst backlog=5 size=1", "burst backlog=5 size=2"},
		"backlog=5 size=2":          {"calm backlog=5 size=2", "burst backlog=5 size=2"},
		"burst backlog=0 size=1":    {"burst backlog=0 size=1"},
		"calm size=1, burst size=2": {"calm backlog=0 size=1", "calm backlog=5 size=1", "burst backlog=0 size=2", "burst backlog=5 size=2"},
	} {
		exp, err := Parse([]byte(spreadFile), Options{Cases: strings.Split(choice, ", ")})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for i, v := range exp.Variants {
			got = append(got, v.Name)
			if e := at(t, exp, i, 1); e.Variant != i || e.Variants[i].Name != v.Name {
				t.Errorf("variant %d of %q is %d", i, choice, e.Variant)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", choice, diff)
		}
	}
}

func TestSet(t *testing.T) {
	exp, err := Parse([]byte(spreadFile), Options{Runs: 7, Set: map[string]string{"pause": "5ms", "backlog": "3"}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := range exp.Variants {
		e := at(t, exp, i, 1)
		if e.Repeat.Runs != 7 || e.Vars[1].Value != "5ms" {
			t.Errorf("variant %d repeats %d times with %v", i, e.Repeat.Runs, e.Vars)
		}
		got = append(got, e.Variants[i].Name)
	}
	if diff := cmp.Diff([]string{"calm backlog=3 size=1", "calm backlog=3 size=2", "burst backlog=3 size=1", "burst backlog=3 size=2"}, got); diff != "" {
		t.Errorf("variants (-want +got):\n%s", diff)
	}
}

func TestRunsInsteadOfReproduced(t *testing.T) {
	text := completed("repeat: { until_reproduced: 5, at_most: 8, warmup: 2 }")
	if r := mustParse(t, text).Repeat; r.Runs != 8 || r.UntilReproduced != 5 || r.AtMost != 8 || r.Warmup != 2 {
		t.Errorf("repeat is %+v", r)
	}
	exp, err := Parse([]byte(text), Options{Runs: 3})
	if err != nil {
		t.Fatal(err)
	}
	if r := exp.Repeat; r.Runs != 3 || r.UntilReproduced != 0 || r.AtMost != 0 {
		t.Errorf("with 3 runs repeat is %+v", r)
	}
}

func TestVariantOptionFaults(t *testing.T) {
	for _, test := range []struct {
		opts Options
		want string
	}{
		{Options{Cases: []string{"brust"}}, `the file has no case "brust"; did you mean "burst"? known cases: calm, burst, backlog=0, backlog=5, size=1, size=2`},
		{Options{Cases: []string{"calm burst"}}, "no variant of the file is calm burst"},
		{Options{Cases: []string{" "}}, "the name of a case is empty; known cases: calm, burst, backlog=0, backlog=5, size=1, size=2"},
		{Options{Set: map[string]string{"siez": "1"}}, `the file has no variable "siez" to set; did you mean "size"? known variables: backlog, pause, port, size`},
		{Options{Set: map[string]string{"port": "x"}}, `the fresh variable "port" is a number up to 1073741824, found "x"`},
		{Options{Runs: 49_999}, "400000 repetitions of all 8 variants together; at most 100000 can be had"},
	} {
		_, err := Parse([]byte(spreadFile), test.opts)
		var faults Errors
		if !errors.As(err, &faults) {
			t.Errorf("%+v: got %v", test.opts, err)
			continue
		}
		if got := faults[0].Error(); got != test.want {
			t.Errorf("%+v:\ngot  %s\nwant %s", test.opts, got, test.want)
		}
	}
}

// TestFreshPortBeyond finds that a fresh port runs out although the first repetition
// has one.
func TestFreshPortBeyond(t *testing.T) {
	text := strings.Replace(spreadFile, "port: 8080", "port: 65000", 1)
	_, err := Parse([]byte(text), Options{})
	var faults Errors
	if !errors.As(err, &faults) || len(faults) == 0 {
		t.Fatalf("got %v", err)
	}
	if !strings.Contains(faults[0].Message, "65999") || !strings.Contains(faults[0].Message, "fresh port=65999") {
		t.Errorf("got %v", faults[0])
	}
}

func TestCalculate(t *testing.T) {
	for text, want := range map[string]int64{
		"5": 5, " 5 + 1 ": 6, "5+1": 6, "2 + 3 * 4": 14, "2*3+4": 10, "10 - 2 - 3": 5, "-1": -1, "5 - -1": 6, "2 * -3": -6, "0": 0, "007": 7,
		"9223372036854775807": 1<<63 - 1,
	} {
		if got, ok := calculate(text); !ok || got != want {
			t.Errorf("calculate(%q) = %d, %v, want %d", text, got, ok, want)
		}
	}
	for _, text := range []string{"", " ", "x", "5 +", "+", "5 5", "5 % 2", "(5)", "1.5", "1e3", "0x10", "5 ++", "9223372036854775808",
		"9223372036854775807 + 1", "-9223372036854775807 - 2", "4000000000 * 4000000000", "--1"} {
		if got, ok := calculate(text); ok {
			t.Errorf("calculate(%q) = %d", text, got)
		}
	}
}

// TestAtIsCheap holds At to a millisecond on average for every file of the library, and
// to the same meaning in every repetition with the same fresh values.
func TestAtIsCheap(t *testing.T) {
	for _, name := range libraryNames() {
		source, _ := Open(name)
		text := string(source)
		if !strings.Contains(text, "fresh:") {
			text = strings.Replace(text, "repeat: {", "repeat: { fresh: [port],", 1)
		}
		exp, err := Parse([]byte(text), Options{FileName: name})
		if err != nil || len(exp.Repeat.Fresh) == 0 {
			continue // it has no port, or its own way to repeat
		}
		const repetitions = 100
		stop := stopwatch()
		for i := range repetitions {
			at(t, exp, i%len(exp.Variants), 2+i)
		}
		// The race detector is allowed ten times as long; what is to be caught takes a hundred times.
		if took := stop(); took > repetitions*30*time.Millisecond {
			t.Errorf("%s: %d repetitions were planned in %v", name, repetitions, took)
		}
	}
}

func BenchmarkAt(b *testing.B) {
	source, _ := Open("basic-open-close")
	text := strings.Replace(string(source), "repeat: {", "repeat: { fresh: [port],", 1)
	exp, err := Parse([]byte(text), Options{})
	if err != nil {
		b.Fatal(err)
	}
	i := 1
	for b.Loop() {
		if i++; i%FreshValues == 1 {
			i++
		}
		if _, err := exp.At(0, i); err != nil {
			b.Fatal(err)
		}
	}
}
