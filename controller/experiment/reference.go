package experiment

import (
	_ "embed"
	"fmt"
	"strings"
	"text/template"
)

//go:embed language.tmpl
var languageText string

var language = template.Must(template.New("language").Parse(languageText))

// Reference is the language as Markdown: prose around the tables that the parser itself
// uses. LANGUAGE.md is this text; a test compares the two, another parses every example.
func Reference() string {
	var b strings.Builder
	if err := language.Execute(&b, tables()); err != nil {
		panic(fmt.Sprintf("the template of the language: %v", err)) // a test writes it out
	}
	return b.String()
}

// referenceRow is a row of a table of the reference.
type referenceRow struct{ Name, Form, Doc, Example string }

// referenceTables are the tables of the parser, each in its order.
type referenceTables struct {
	Sections, Repeat                     []referenceRow
	Sources                              []referenceRow
	Lanes, Calls, Waits                  []referenceRow
	Changes, Rules, Requirements, Needs  []referenceRow
	Nouns, Ready, Moments, Phases, Thats []referenceRow
	Packets, TCPOptions, Counters        []referenceRow
	// Options and the others are names of one kind, in one line.
	Options, ReadOptions, Resources, States, Groups, CaseKeys, Rule string
	FreshValues, MaxVariants, MaxRuns, MaxSteps                     int
}

func tables() referenceTables {
	t := referenceTables{
		Resources: quoted(maskNames(processLimits)), States: quoted(tcpStateNames()), Groups: quoted(counterGroups),
		CaseKeys: quoted(caseKeys), Rule: firewallForm,
		FreshValues: FreshValues, MaxVariants: MaxVariants, MaxRuns: MaxRuns, MaxSteps: MaxSteps,
	}
	t.Options, t.ReadOptions = quoted(optionForms()), quoted(readOptions())
	for _, s := range sections {
		name := s.name
		if s.required {
			name += " (required)"
		}
		t.Sections = append(t.Sections, referenceRow{Name: name, Form: s.form, Doc: s.doc})
	}
	for _, k := range repeatKeys() {
		t.Repeat = append(t.Repeat, referenceRow{Name: k.name, Form: "repeat: { " + k.form + " }", Doc: k.doc})
	}
	for _, s := range sources {
		t.Sources = append(t.Sources, referenceRow{Name: s.name, Doc: s.doc})
	}
	for _, k := range laneKeys {
		t.Lanes = append(t.Lanes, referenceRow{Name: k.name, Form: k.form, Doc: k.doc})
	}
	for _, c := range calls {
		t.Calls = append(t.Calls, referenceRow{Form: c.written(), Doc: c.doc, Example: c.example})
	}
	for _, w := range waitForms {
		t.Waits = append(t.Waits, referenceRow{Form: w.form, Doc: w.doc, Example: w.example})
	}
	for _, k := range changeKeys {
		t.Changes = append(t.Changes, referenceRow{Name: k.name, Form: k.form, Doc: k.doc})
	}
	for _, a := range firewallActions {
		t.Rules = append(t.Rules, referenceRow{Name: a.name, Doc: a.doc})
	}
	for _, r := range requireForms {
		t.Requirements = append(t.Requirements, referenceRow{Form: r.form, Doc: r.doc})
	}
	for _, n := range needs {
		t.Needs = append(t.Needs, referenceRow{Name: n.name, Doc: n.doc})
	}
	t.expectations()
	for _, rows := range [][]referenceRow{t.Calls, t.Waits, t.Moments, t.Packets, t.Sections, t.Changes} {
		for i, r := range rows { // a | would end the cell
			rows[i].Form, rows[i].Example = strings.ReplaceAll(r.Form, "|", `\|`), strings.ReplaceAll(r.Example, "|", `\|`)
		}
	}
	return t
}

func (t *referenceTables) expectations() {
	for _, n := range nouns() {
		t.Nouns = append(t.Nouns, referenceRow{Form: n.form, Doc: n.doc})
	}
	for _, r := range readies {
		t.Ready = append(t.Ready, referenceRow{Name: r.name, Form: r.form, Doc: r.doc})
	}
	for _, m := range momentForms {
		t.Moments = append(t.Moments, referenceRow{Form: m.form, Doc: m.doc, Example: m.example})
	}
	for _, f := range phases {
		t.Phases = append(t.Phases, referenceRow{Name: f.name, Form: f.from + " to " + f.to, Doc: f.doc})
	}
	for _, n := range ThatNames() {
		t.Thats = append(t.Thats, referenceRow{Name: n.Name, Form: n.Type, Doc: n.Meaning})
	}
	for _, w := range packetWords {
		t.Packets = append(t.Packets, referenceRow{Form: w.form, Doc: w.doc, Example: w.example})
	}
	for _, o := range tcpOptions {
		t.TCPOptions = append(t.TCPOptions, referenceRow{Name: o.name, Doc: o.doc})
	}
	for _, c := range commonCounters {
		t.Counters = append(t.Counters, referenceRow{Name: c.name, Doc: c.doc})
	}
}

// optionForms are the names of all options that can be set, those whose value is no
// plain number with a value.
func optionForms() []string {
	var forms []string
	for _, o := range options {
		if o.read == nil {
			continue
		}
		form := o.name
		if o.example != "" {
			form += ", " + o.example
		}
		forms = append(forms, form)
	}
	return forms
}

// readOptions are the names of the options that can only be read.
func readOptions() []string {
	var names []string
	for _, o := range options {
		if o.read == nil {
			names = append(names, o.name)
		}
	}
	return names
}

func quoted(texts []string) string { return "`" + strings.Join(texts, "`, `") + "`" }

// written is the call as an author writes it.
func (c call) written() string {
	text := c.name + c.arguments()
	switch c.makes {
	case mayMake:
		return "[name =] " + text
	case mustMake:
		return "name = " + text
	}
	return text
}
