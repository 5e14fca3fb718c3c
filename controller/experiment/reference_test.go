package experiment

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReference(t *testing.T) {
	if *update {
		if err := os.WriteFile("LANGUAGE.md", []byte(Reference()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("LANGUAGE.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), Reference()); diff != "" {
		t.Errorf("LANGUAGE.md is not what the tables say; run go test -update (-want +got):\n%s", diff)
	}
}

var (
	fence = regexp.MustCompile("(?s)```yaml\n(.*?)```\n")
	span  = regexp.MustCompile("`([^`]+)`")
)

// notParsed are what stands in LANGUAGE.md between backticks and is no example: forms,
// and words that mean something only within an example.
var notParsed = []string{
	"syncline validate FILE", "syncline validate --expand FILE", "--set gap=5ms", "--case burst",
	": ", " #", "<", "<=", "≤", "+", "-", "*", "timeout=2s", "timeout=", "...",
	"timeout", "gap", "or", "rtt", "with", "in", "out", "within", "always", "when CASE", "allow_empty: true",
	"[name =] call(arguments) [-> outcome] [as label]", "{ repeat: 3, do: [...] }", "client[1]", "client[2]",
	"wait(lane.signal)", "wait(client[2].signal)", "wait(all lane.signal)", "wait(lane.socket is STATE)",
	"wait(sent(HOST, packet))", "wait(received(HOST, packet) N times)", "Group.Name", "burst backlog=1", "host:port",
	"until_reproduced", "0 or 5", firewallForm,
}

// words are the names that the tables of the parser have: they are examples of nothing.
func words() map[string]bool {
	known := make(map[string]bool)
	add := func(names ...string) {
		for _, n := range names {
			known[n] = true
		}
	}
	add(notParsed...)
	for _, s := range sections {
		add(s.name)
	}
	for _, k := range laneKeys {
		add(k.name)
	}
	for _, k := range repeatKeys() {
		add(k.name)
	}
	for _, c := range calls {
		add(c.name, c.written())
	}
	for _, m := range momentForms {
		add(m.form)
	}
	add("require", "no-rst")
	add(changeNames()...)
	add(maskNames(processLimits)...)
	add(tcpStateNames()...)
	add(counterGroups...)
	add(readOptions()...)
	return known
}

// TestReferenceExamples parses everything that LANGUAGE.md shows, so that a reader can
// write what stands there.
func TestReferenceExamples(t *testing.T) {
	text := Reference()
	for _, block := range fence.FindAllStringSubmatch(text, -1) {
		mustParse(t, completed(block[1]))
	}
	known := words()
	tried := make(map[string]bool)
	for _, s := range span.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		example := strings.ReplaceAll(s[1], `\|`, "|")
		if known[example] || tried[example] {
			continue
		}
		tried[example] = true
		if !isExample(example) {
			t.Errorf("LANGUAGE.md shows `%s`, which can be written nowhere", example)
		}
	}
	if least := len(sections) + len(calls) + len(nouns()) + len(optionForms()) + 20; len(tried) < least {
		t.Errorf("found %d examples, expected %d or more", len(tried), least)
	}
}

func mustParse(t testing.TB, text string) *Experiment {
	t.Helper()
	exp, err := Parse([]byte(text), Options{})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return exp
}

// minimal are the keys that complete an example to a file.
var minimal = []struct{ key, text string }{
	{"experiment", "experiment: x"},
	{"vars", "vars: { port: 8080 }"},
	{"hosts", "hosts: { A: , B: }"},
	{"observe", "observe: [syscalls, packets, tcp-states, tcp-info, counters, accept-queue, icmp, arp, drops]"},
	{"lanes", minimalLanes},
}

const minimalLanes = `lanes:
  server:
    host: B
    do:
      - s = socket(tcp)
      - bind(s, 0.0.0.0:$port)
      - listen(s, 1)
      - signal(listening)
      - a = accept(s)
      - recv(a, 1) -> 0 as eof
      - close(a)
      - close(s)
  client:
    host: A
    do:
      - wait(server.listening)
      - c = socket(tcp)
      - connect(c, B:$port)
      - signal(done)
      - close(c)`

// completed adds the keys that a part of a file lacks.
func completed(part string) string {
	for _, m := range minimal {
		if !regexp.MustCompile("(?m)^" + m.key + ":").MatchString(part) {
			part += "\n" + m.text
		}
	}
	return part
}

// isExample tries a text in all places of a file.
func isExample(text string) bool {
	for _, form := range exampleForms(text) {
		if _, err := Parse([]byte(completed(fmt.Sprintf(form, text))), Options{}); err == nil {
			return true
		}
	}
	return false
}

var (
	keyed    = regexp.MustCompile(`^(- )?[a-z_-]+: `)
	optioned = regexp.MustCompile(`^[A-Z0-9]+_[A-Z0-9_]+`)
)

// exampleForms are the places of a file that a text may stand at by its looks, as a
// file each.
func exampleForms(text string) []string {
	const (
		withOther = minimalLanes + "\n  other: "
		meeting   = minimalLanes + "\n  one: { host: A, do: [meet(go)] }\n  two: { host: B, do: [meet(go)] }\n"
	)
	step := "%s"
	if !strings.HasPrefix(text, "c = ") {
		step = "connect(c, B:$port), " + step
	}
	for _, name := range []string{"s", "c", "a"} {
		if !strings.HasPrefix(text, name+" = ") {
			step = name + " = socket(tcp), " + step
		}
	}
	step = withOther + "{ host: A, do: [u = socket(udp), " + step + "] }"
	within := func(argument string) string { return strings.Replace(step, "%s", argument, 1) }
	copies := strings.Replace(minimalLanes, "  client:\n    host: A\n", "  client:\n    host: A\n    copies: 3\n", 1)
	copies = strings.Replace(copies, "signal(done)", "signal(settled)", 1)
	switch {
	case optioned.MatchString(text):
		return []string{within("setsockopt(c, %s)"), within("setsockopt(c, %s, 1)"), "expect: [never: %s]", within("connect(c, B:$port, timeout=1s) -> %s")}
	case keyed.MatchString(text):
		return []string{
			"%s",
			"expect: [%s]",
			"expect:\n  - %s",
			"repeat: { %s }",
			"setup: { B: { %s } }",
			"%s\nhosts: { A: { pick: { l: $backlog } }, B: }",
			"%s\n" + minimalLanes + "\n  cutting: { host: B, do: [apply(cut)] }",
			"%s\n" + meeting,
			withOther + "{ do: [sleep(1ms)], %s }",
			withOther + "{ host: A, %s }",
			withOther + "{ host: A, do: [sleep(1ms)], %s }",
			withOther + "{ host: A, do: [sleep(1ms)], copies: 2, %s }",
			withOther + "{ host: A, do: [sleep(1ms)], process: own, %s }",
			strings.Replace(minimalLanes, "signal(listening)", "signal(listening)\n      - fork(other)", 1) + "\n  other: { do: [sleep(1ms)], %s }",
			"expect: [{ never: SYN, %s }]",
			"expect: [phase: { name: connect.rtt, %s }]",
			meeting + "expect: [%s]",
		}
	case strings.Contains(text, "("):
		return []string{
			step,
			"expect: [order: [%[1]s < %[1]s]]",
			step + "\n  third: { host: B, do: [meet(go)] }",
			step + "\n  worker: { forked_by: other, do: [sleep(1ms)] }",
			step + "\n  victim: { host: A, process: own, do: [sleep(1ms)] }",
			step + "\nchanges: { cut: { host: A, firewall: drop tcp/$port } }",
			within("apply(cut), %s") + "\nchanges: { cut: { host: A, firewall: drop tcp/$port } }",
			copies + "\n  other: { host: A, do: [%s] }",
			within("send(c, %s)"),
		}
	}
	return []string{
		"expect: [never: %s]",
		"expect: [%s]",
		within("connect(c, B:$port, timeout=1s) -> %s"),
		"setup: { B: { route: '%s' } }",
		"setup: { B: { neighbour: '%s' } }",
		"setup: { B: { address: '%s' } }",
		"setup: { B: { firewall: '%s' } }",
		"setup: { B: { firewall: 'drop tcp %s' } }",
		"setup: { B: { require: '%s' } }",
		copies + "\nexpect: [final: { CLOSED: ['%s'] }]",
		"expect: [phase: { name: connect.rtt, at_most: %s }]",
		"cases: { burst: , trickle: }\nmatrix: { backlog: [1, 2] }\nhosts: { A: { pick: { l: $backlog } }, B: }\nexpect: { when %s: [no-rst] }",
	}
}
