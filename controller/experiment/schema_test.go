package experiment

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/jsonschema-go/jsonschema"
)

func resolved(t testing.TB) *jsonschema.Resolved {
	t.Helper()
	var schema jsonschema.Schema
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	if schema.Schema != "https://json-schema.org/draft/2020-12/schema" {
		t.Errorf("$schema is %q", schema.Schema)
	}
	r, err := schema.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// instance is a file as an editor reads it: as YAML alone says.
func instance(t testing.TB, source string) any {
	t.Helper()
	var value any
	if err := yaml.Unmarshal([]byte(source), &value); err != nil {
		t.Fatalf("%v\n%s", err, source)
	}
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestSchemaTakes holds the schema to what Parse takes: the library, the files of
// testdata/valid, and those of the tests of this package.
func TestSchemaTakes(t *testing.T) {
	schema := resolved(t)
	sources := map[string]string{"crowd": crowd}
	for _, name := range libraryNames() {
		source, _ := Open(name)
		sources[name] = string(source)
	}
	files, err := filepath.Glob("testdata/valid/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in testdata/valid: %v", err)
	}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sources[filepath.Base(file)] = string(source)
	}
	for _, item := range nounExamples() {
		sources["- "+item] = crowd + "expect:\n  - " + item + "\n"
	}
	for name, source := range sources {
		t.Run(name, func(t *testing.T) {
			mustParse(t, source)
			if err := schema.Validate(instance(t, source)); err != nil {
				t.Errorf("the schema refuses it: %v", err)
			}
		})
	}
}

// nounExamples are expectations that the file crowd can have, of every kind.
func nounExamples() []string {
	var items []string
	for _, n := range nouns() {
		items = append(items, n.form)
	}
	for _, r := range readies {
		items = append(items, r.form)
	}
	return append(items, `{ no-rst: , when: { kernel: ">= 6.12", host: B }, allow_empty: true }`)
}

// TestSchemaRefuses holds the schema to some of what Parse refuses: an editor then says
// so while the author writes.
func TestSchemaRefuses(t *testing.T) {
	schema := resolved(t)
	for name, change := range map[string][2]string{
		"an unknown key":             {"hosts:", "host: { A: }\nhosts:"},
		"a missing key":              {"observe:", "about:"},
		"an unknown source":          {"tcp-info", "tcpinfo"},
		"a name that is none":        {"experiment: crowd", "experiment: The Crowd"},
		"an unknown key of a lane":   {"copies:", "copy:"},
		"an unknown call":            {"listen(s, $backlog)", "lisen(s, $backlog)"},
		"a loop without steps":       {"repeat: $clients, do:", "repeat: $clients, steps:"},
		"copies that are no number":  {"copies: $clients", "copies: { do: 5 }"},
		"an unknown noun":            {"expect: []", "expect: [nevr: any RST]"},
		"an unknown ready-made":      {"expect: []", "expect: [handshak]"},
		"a ready-made with too much": {"expect: []", "expect: [no-rst: A]"},
		"an unknown phase":           {"expect: []", "expect: [phase: { name: connecting, at_most: 1s }]"},
		"a phase without a name":     {"expect: []", "expect: [phase: { at_most: 1s }]"},
		"an unknown state":           {"expect: []", "expect: [final: { TIMEWAIT: [client.c] }]"},
		"a condition of no form":     {"expect: []", "expect: { whenever: [no-rst] }"},
		"an unknown change":          {"expect: []", "setup: { A: { sysctls: { net.ipv4.tcp_ecn: 0 } } }"},
		"a change without a host":    {"expect: []", "changes: { cut: { firewall: drop tcp/80 } }"},
		"an unknown repetition":      {"expect: []", "repeat: { times: 5 }"},
		"an unknown limit":           {"copies: $clients", "limits: { files: 5 }"},
		"a case of the whole run":    {"expect: []", "cases: { one: { observe: [packets] } }"},
		"an unknown class":           {"expect: []", "class: X"},
	} {
		t.Run(name, func(t *testing.T) {
			before := crowd + "expect: []\n"
			text := strings.Replace(before, change[0], change[1], 1)
			if text == before {
				t.Fatalf("%q is not in the file", change[0])
			}
			if err := schema.Validate(instance(t, text)); err == nil {
				t.Errorf("the schema takes\n%s", text)
			}
			if _, err := Parse([]byte(text), Options{}); err == nil {
				t.Errorf("Parse takes\n%s", text)
			}
		})
	}
}

// TestTablesAgree holds the schema and the reference to the tables of the parser: what
// it reads is in both.
func TestTablesAgree(t *testing.T) {
	schema, reference := string(Schema()), Reference()
	type named struct {
		kind, name string
		schema     string
	}
	var all []named
	add := func(kind string, names []string, quoted string) {
		for _, n := range names {
			all = append(all, named{kind, n, strings.ReplaceAll(quoted, "NAME", n)})
		}
	}
	var sectionNames, readyForms []string
	for _, s := range sections {
		sectionNames = append(sectionNames, s.name)
	}
	for _, r := range readies {
		readyForms = append(readyForms, r.name)
	}
	var laneNames, repeatNames []string
	for _, k := range laneKeys {
		laneNames = append(laneNames, k.name)
	}
	for _, k := range repeatKeys() {
		repeatNames = append(repeatNames, k.name)
	}
	add("key", sectionNames, `"NAME": {`)
	add("noun", nounNames(), `"NAME": {`)
	add("ready-made expectation", readyForms, `"NAME"`)
	add("call", callNames(), `NAME(`)
	add("source", Sources(), `"NAME"`)
	add("key of a lane", laneNames, `"NAME": {`)
	add("key of repeat", repeatNames, `"NAME": {`)
	add("change", changeNames(), `"NAME": {`)
	add("phase", PhaseNames(), `"NAME"`)
	add("state", tcpStateNames(), `"NAME": {`)
	add("limit", maskNames(processLimits), `"NAME": {`)
	for _, n := range all {
		if !strings.Contains(schema, n.schema) {
			t.Errorf("the schema does not have the %s %s", n.kind, n.name)
		}
		if !strings.Contains(reference, n.name) {
			t.Errorf("the reference does not have the %s %s", n.kind, n.name)
		}
	}
	for _, o := range options {
		if !strings.Contains(reference, o.name) {
			t.Errorf("the reference does not have the option %s", o.name)
		}
	}
	for _, c := range commonCounters {
		if !strings.Contains(reference, c.name) {
			t.Errorf("the reference does not have the counter %s", c.name)
		}
	}
	for _, n := range ThatNames() {
		if !strings.Contains(reference, n.Name) {
			t.Errorf("the reference does not have %s of expressions", n.Name)
		}
	}
	var parsed map[string]any
	if err := json.Unmarshal(Schema(), &parsed); err != nil {
		t.Fatal(err)
	}
	checkDescribed(t, "the file", parsed["properties"])
}

// checkDescribed fails for a property without a form or a word of what it is for.
func checkDescribed(t *testing.T, of string, properties any) {
	t.Helper()
	for name, p := range properties.(map[string]any) {
		property := p.(map[string]any)
		if property["description"] == nil || len(property) < 2 {
			t.Errorf("the key %s of %s has no form or no description", name, of)
		}
	}
}
