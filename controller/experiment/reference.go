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

type referenceTables struct {
	Sections, Sources, Calls, Nouns, Moments []referenceRow
	Packets, Options                         string
}

func tables() referenceTables {
	t := referenceTables{Packets: quoted(packetExamples), Options: quoted(optionForms())}
	for _, s := range sections {
		name := s.name
		if s.required {
			name += " (required)"
		}
		t.Sections = append(t.Sections, referenceRow{Name: name, Form: s.form, Doc: s.doc})
	}
	for _, s := range sources {
		t.Sources = append(t.Sources, referenceRow{Name: s.name, Doc: s.doc})
	}
	for _, c := range calls {
		t.Calls = append(t.Calls, referenceRow{Form: strings.ReplaceAll(c.written(), "|", `\|`), Doc: c.doc, Example: c.example})
	}
	for _, n := range nouns() {
		t.Nouns = append(t.Nouns, referenceRow{Form: n.form, Doc: n.doc})
	}
	for _, m := range momentForms {
		t.Moments = append(t.Moments, referenceRow{Form: m.form, Doc: m.doc, Example: m.example})
	}
	return t
}

var packetExamples = []string{"A>B SYN", "B>A SYN+ACK", "A>B data", "ACK no data", "B>A packet"}

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
