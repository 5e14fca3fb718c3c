package experiment

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// This file writes the JSON Schema of the language from the tables that the parser
// itself uses.

// jsonSchema is a schema of JSON Schema, draft 2020-12. Its keys are written in order.
type jsonSchema map[string]any

// Schema is the language as JSON Schema (draft 2020-12), for editors: which keys there
// are, what each is for, and how it is written. It takes every file that Parse takes;
// what hangs on other places of the file, as names do, Parse alone finds out.
//
// An editor reads lists in brackets as YAML has them, and ends an item at each comma,
// also inside of a parenthesis. So a step may be a piece of one.
func Schema() []byte {
	root := object(sectionShapes(), requiredSections()...)
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "syncline experiment"
	root["$defs"] = definitions()
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("the schema of the language: %v", err)) // a test writes it out
	}
	return append(text, '\n')
}

// Names of the definitions.
const (
	textDef   = "text"
	textsDef  = "texts"
	stepsDef  = "steps"
	laneDef   = "lane"
	hostDef   = "changes-of-a-host"
	changeDef = "change"
	itemDef   = "expectation"
	itemsDef  = "expectations"
	expectDef = "expect"
	repeatDef = "repeat"
)

func definitions() jsonSchema {
	list := jsonSchema{"type": "array", "items": ref(textDef)}
	named := changeShapes()
	named["host"] = described(ref(textDef), "The host that it changes.", "host: B")
	return jsonSchema{
		// Where Parse reads text, YAML may see a number or a truth.
		textDef:   jsonSchema{"type": []string{"string", "number", "boolean"}},
		textsDef:  jsonSchema{"anyOf": []jsonSchema{ref(textDef), list}},
		stepsDef:  jsonSchema{"type": "array", "items": stepShape()},
		laneDef:   object(laneKeyShapes()),
		hostDef:   object(withRequire(changeShapes())),
		changeDef: object(named, "host"),
		itemDef:   itemShape(),
		itemsDef:  jsonSchema{"type": "array", "items": ref(itemDef)},
		expectDef: jsonSchema{"anyOf": []jsonSchema{ref(itemsDef), {
			"type":                 "object",
			"properties":           jsonSchema{"always": described(ref(itemsDef), "What every variant should do.", "")},
			"patternProperties":    jsonSchema{"^when .": described(ref(itemsDef), "What the variants of these cases should do.", "when burst or backlog=1: [no-rst]")},
			"additionalProperties": false,
		}}},
		repeatDef: object(repeatShapes()),
	}
}

func ref(name string) jsonSchema { return jsonSchema{"$ref": "#/$defs/" + name} }

// object is a mapping that may have these keys only.
func object(properties jsonSchema, required ...string) jsonSchema {
	out := jsonSchema{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		out["required"] = required
	}
	return out
}

// mapOf is a mapping of names, which fit a pattern, to values of one form.
func mapOf(pattern *regexp.Regexp, value jsonSchema) jsonSchema {
	return jsonSchema{"type": "object", "patternProperties": jsonSchema{pattern.String(): value}, "additionalProperties": false}
}

// orNull also takes a key without a value.
func orNull(s jsonSchema) jsonSchema { return jsonSchema{"anyOf": []jsonSchema{s, {"type": "null"}}} }

// described adds what a value is for, and how it is written with its key.
func described(s jsonSchema, doc, form string) jsonSchema {
	out := maps.Clone(s)
	out["description"] = doc
	if form != "" {
		out["description"] = doc + "\n\n" + form
	}
	return out
}

func oneOf(names []string) jsonSchema { return jsonSchema{"enum": names} }

func requiredSections() []string {
	var names []string
	for _, s := range sections {
		if s.required {
			names = append(names, s.name)
		}
	}
	return names
}

var anyName = regexp.MustCompile(`.`)

func sectionShapes() jsonSchema {
	named := mapOf(plainName, ref(laneDef))
	forms := map[string]jsonSchema{
		"experiment": {"$ref": "#/$defs/" + textDef, "pattern": experimentName.String()},
		"about":      ref(textDef),
		"refs":       ref(textsDef),
		"topic":      {"$ref": "#/$defs/" + textDef, "pattern": experimentName.String()},
		"class":      oneOf(classes),
		"needs":      ref(textsDef),
		"remember":   ref(textDef),
		"vars":       orNull(mapOf(variableName, ref(textDef))),
		"matrix":     mapOf(variableName, ref(textsDef)),
		"hosts": mapOf(plainName, orNull(object(jsonSchema{
			"pick": described(orNull(mapOf(anyName, ref(textDef))), "The labels that an agent must have to play the role.", "pick: { role: client }"),
		}))),
		"observe":  {"anyOf": []jsonSchema{oneOf(Sources()), {"type": "array", "minItems": 1, "items": oneOf(Sources())}}},
		"setup":    orNull(mapOf(plainName, orNull(ref(hostDef)))),
		"changes":  orNull(mapOf(plainName, ref(changeDef))),
		"meetings": orNull(mapOf(plainName, orNull(object(meetingShapes())))),
		"lanes":    named,
		"expect":   ref(expectDef),
		"repeat":   ref(repeatDef),
	}
	out := make(jsonSchema)
	ofCase := make(jsonSchema)
	for _, s := range sections {
		if s.name != "cases" {
			out[s.name] = described(forms[s.name], s.doc, s.form)
		}
		if slices.Contains(caseKeys, s.name) {
			ofCase[s.name] = out[s.name]
		}
	}
	// What a case changes is merged into the file, so that a change may lack its host.
	ofCase["changes"] = described(mapOf(plainName, jsonSchema{"type": "object"}), "Merged into the changes of the file.", "")
	for _, s := range sections {
		if s.name == "cases" {
			out[s.name] = described(mapOf(plainName, orNull(object(ofCase))), s.doc, s.form)
		}
	}
	return out
}

// stepShape takes a call, a piece of one, or a loop.
func stepShape() jsonSchema {
	callText := `^ *([A-Za-z][A-Za-z0-9_-]* *= *)?(` + strings.Join(append(callNames(), "bytes", "pattern", "hex"), "|") + `) *\(|^[^(]*$`
	loop := object(jsonSchema{
		"repeat": described(ref(textDef), "How many rounds.", "repeat: 3"),
		"do":     described(ref(stepsDef), "The steps of a round.", ""),
	}, "repeat", "do")
	var forms []string
	for _, c := range calls {
		forms = append(forms, c.written())
	}
	return described(jsonSchema{"anyOf": []jsonSchema{{"type": "string", "pattern": callText}, {"type": "number"}, loop}},
		"A call, or a loop.", strings.Join(forms, "\n"))
}

func laneKeyShapes() jsonSchema {
	forms := map[string]jsonSchema{
		"do":      ref(stepsDef),
		"process": {"enum": []string{"own"}},
		"limits":  {"type": "object", "properties": limitShapes(), "additionalProperties": false},
	}
	out := make(jsonSchema)
	for _, k := range laneKeys {
		form, ok := forms[k.name]
		if !ok {
			form = ref(textDef)
		}
		out[k.name] = described(form, k.doc, k.form)
	}
	return out
}

func limitShapes() jsonSchema {
	out := make(jsonSchema)
	for _, name := range maskNames(processLimits) {
		out[name] = ref(textDef)
	}
	return out
}

func meetingShapes() jsonSchema {
	return jsonSchema{
		"lead":       described(ref(textDef), "How long before the instant the hosts are told it (20ms).", "lead: 100ms"),
		"max_spread": described(ref(textDef), "How far apart the lanes may leave for the repetition to count.", "max_spread: 10ms"),
		"release":    described(oneOf([]string{onlyRelease}), "The only way there is.", ""),
	}
}

// onlyRelease is how a meeting releases its lanes.
const onlyRelease = "same aligned instant"

func changeShapes() jsonSchema {
	sysctls := mapOf(anyName, ref(textDef))
	link := object(jsonSchema{
		"mtu": ref(textDef), "rate": ref(textDef), "offload": ref(textDef), "state": ref(textDef),
	})
	forms := map[string]jsonSchema{
		"sysctl":            sysctls,
		"sysctl_if_present": sysctls,
		"link":              {"anyOf": []jsonSchema{ref(textDef), link}},
	}
	out := make(jsonSchema)
	for _, k := range changeKeys {
		form, ok := forms[k.name]
		if !ok {
			form = ref(textsDef)
		}
		out[k.name] = described(form, k.doc, k.form)
	}
	return out
}

func withRequire(properties jsonSchema) jsonSchema {
	var forms []string
	for _, f := range requireForms {
		forms = append(forms, "require: "+f.form)
	}
	properties["require"] = described(ref(textsDef), "What must hold before the run starts.", strings.Join(forms, "\n"))
	return properties
}

func repeatShapes() jsonSchema {
	out := make(jsonSchema)
	for _, k := range repeatKeys() {
		form := ref(textDef)
		if k.name == "fresh" {
			form = ref(textsDef)
		}
		out[k.name] = described(form, k.doc, k.form)
	}
	return out
}

// itemShape is one expectation: the name of a ready-made one, or a mapping with nouns.
func itemShape() jsonSchema {
	properties := nounShapes()
	var bare []string
	for _, r := range readies {
		form := jsonSchema{"type": "null"}
		if r.argument == "" {
			bare = append(bare, r.name)
		} else {
			form = ref(textDef)
		}
		properties[r.name] = described(form, r.doc, "- "+r.form)
	}
	properties[whenKey] = described(object(jsonSchema{
		"kernel": described(ref(textsDef), "Releases of the kernel, all of which must fit.", `kernel: ">= 6.12"`),
		"host":   described(ref(textDef), "The role that is asked; all hosts if none is named.", "host: B"),
	}, "kernel"), "It is expected only of hosts with such a kernel.", `when: { kernel: ">= 6.12", host: B }`)
	properties[allowEmptyKey] = described(jsonSchema{"enum": []any{true, false, "true", "false"}}, "It holds also if it selects nothing.", "allow_empty: true")
	return jsonSchema{"anyOf": []jsonSchema{oneOf(bare), object(properties)}}
}

func nounShapes() jsonSchema {
	text, texts, yes := ref(textDef), ref(textsDef), jsonSchema{"enum": []any{true, "true"}}
	bounds := func(properties jsonSchema, required ...string) jsonSchema {
		for _, key := range []string{"equals", "at_least", "at_most"} {
			properties[key] = text
		}
		return object(properties, required...)
	}
	or := func(forms ...jsonSchema) jsonSchema { return jsonSchema{"anyOf": forms} }
	result := jsonSchema{"of": text, "within": texts, "at_least": text, "at_most": text, "ok": yes}
	for _, form := range resultForms {
		if form != "ok" {
			result[form] = text
		}
	}
	var states []string
	for _, s := range tcpStates {
		states = append(append(states, s.name), s.others...)
	}
	final := make(jsonSchema)
	for _, s := range states {
		final[s] = texts
		final[strings.ReplaceAll(s, "_", "-")] = texts
	}
	forms := map[string]jsonSchema{
		"packets":      or(texts, object(jsonSchema{"of": text, "pattern": texts}, "of", "pattern")),
		"states":       mapOf(anyName, texts),
		"order":        texts,
		"phase":        object(jsonSchema{"name": oneOf(PhaseNames()), "of": text, "within": texts, "at_least": text, "at_most": text}, "name"),
		"count":        bounds(jsonSchema{"of": text, "before": text, "after": text}, "of"),
		"retransmits":  bounds(jsonSchema{"of": text, "gaps": texts, "tolerance": text}, "of"),
		"drop":         bounds(jsonSchema{"of": text, "host": text, "reason": text}, "of"),
		"counter":      bounds(jsonSchema{"host": text, "name": text, "increases": yes}, "host", "name"),
		"queue":        object(jsonSchema{"of": text, "peak": or(text, bounds(jsonSchema{}))}, "of", "peak"),
		"result":       object(result, "of"),
		"never":        or(texts, object(jsonSchema{"packet": text, "after": text, "before": text}, "packet")),
		"final":        object(final),
		"precondition": texts,
		"spread":       object(jsonSchema{"of": text, "at_most": text}, "of", "at_most"),
		"that":         texts,
	}
	out := make(jsonSchema)
	for _, n := range nouns() {
		out[n.name] = described(forms[n.name], n.doc, n.form)
	}
	return out
}
