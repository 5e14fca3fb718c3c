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

// notParsed are what stands in LANGUAGE.md between backticks and is no example: the
// grammar, and words that mean something only within an example.
var notParsed = []string{
	"syncline validate FILE", ": ", " #", "<", "<=", "≤", "timeout=2s", "timeout=", "timeout", "gap", "or", "rtt", "sendto",
	"spread: { of: go, at_most: 10us }", // until there are meetings

	"[name =] call(arguments) [-> outcome] [as label]", "[any|third] [A>B] [FLAG+FLAG|packet] [data|no data]",
	"enter(lane.call [socket]|label)", "return(lane.call [socket]|label) [outcome]", "sent(HOST, packet)", "received(HOST, packet)",
}

// TestReferenceExamples parses everything that LANGUAGE.md shows, so that a reader can
// write what stands there.
func TestReferenceExamples(t *testing.T) {
	text := Reference()
	for _, block := range fence.FindAllStringSubmatch(text, -1) {
		mustParse(t, completed(block[1]))
	}
	grammar := map[string]bool{}
	for _, w := range notParsed {
		grammar[w] = true
	}
	for _, c := range calls {
		grammar[strings.ReplaceAll(c.written(), "|", `\|`)] = true
	}
	seen := 0
	for _, s := range span.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		if grammar[s[1]] {
			continue
		}
		seen++
		if !isExample(s[1]) {
			t.Errorf("LANGUAGE.md shows `%s`, which can be written nowhere", s[1])
		}
	}
	if least := len(sections) + len(calls) + len(options) + 20; seen < least {
		t.Errorf("found %d examples, expected %d or more", seen, least)
	}
}

func mustParse(t *testing.T, text string) *Experiment {
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
	{"observe", "observe: [syscalls, packets, tcp-states, tcp-info, counters, accept-queue, icmp, arp]"},
	{"lanes", `lanes:
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
      - close(c)`},
}

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
	step := "{ host: A, do: [connect(c, B:$port), "
	for _, name := range []string{"s", "c", "a"} {
		if !strings.HasPrefix(text, name+" = ") {
			step = strings.Replace(step, "[", "["+name+" = socket(tcp), ", 1)
		}
	}
	if strings.HasPrefix(text, "c = ") {
		step = strings.Replace(step, "connect(c, B:$port), ", "", 1)
	}
	for _, form := range []string{
		"%s",
		"%s\nhosts: { A: { pick: { l: $backlog } }, B: }",
		"expect: [%s]",
		"expect: [order: [%[1]s < %[1]s]]",
		"expect: [never: %s]",
		minimal[4].text + "\n  other: " + step + "%s] }",
		minimal[4].text + "\n  other: " + step + "connect(c, B:$port, timeout=1s) -> %s] }",
		minimal[4].text + "\n  other: " + step + "setsockopt(c, %s)] }",
		minimal[4].text + "\n  other: " + step + "setsockopt(c, %s, 1)] }",
	} {
		if _, err := Parse([]byte(completed(fmt.Sprintf(form, text))), Options{}); err == nil {
			return true
		}
	}
	return false
}
