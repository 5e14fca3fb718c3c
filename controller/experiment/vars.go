package experiment

import "strings"

// maxValue bounds the bytes of a variable's value, and maxExpanded those of a text
// after its variables were replaced: a file cannot grow without limit.
const (
	maxValue    = 256
	maxExpanded = 4096
)

func (p *reading) vars(n *node) {
	p.used, p.varPos = make(map[string]bool), make(map[string]Pos)
	if n.kind == null {
		return
	}
	if n.kind != mapping {
		p.vague.vars = true
		p.fault(n.place, "write `vars: { port: 8080 }`", "vars is a mapping of names, found %s", n.kind.describe())
		return
	}
	for i, e := range n.entries {
		if i == MaxVars {
			p.fault(e.key.pos(), "", "more than %d variables", MaxVars)
			p.vague.vars = true
			return
		}
		p.variable(e)
	}
}

func (p *reading) variable(e entry) {
	name, at := e.key.text, e.key.pos()
	if !variableName.MatchString(name) {
		p.fault(at, "a letter, then letters, digits and _, at most 63 in all", "%q is no name for a variable", shorten(name))
		p.vague.vars = true
		return
	}
	p.varPos[name] = at
	if e.value.kind != scalar {
		p.fault(e.value.place, "", "the value of a variable is text, found %s", e.value.kind.describe())
		p.exp.Vars = append(p.exp.Vars, Var{Name: name})
		return
	}
	value, from := e.value.phrase.text, e.value.place
	if v, ok := p.opts.Vars[name]; ok {
		value, from = v, Pos{}
	}
	if len(value) > maxValue || strings.ContainsFunc(value, isControl) {
		p.fault(from, "", "the value of variable %q is longer than %d bytes, or has line breaks", name, maxValue)
		value = ""
	}
	p.exp.Vars = append(p.exp.Vars, Var{Name: name, Value: value})
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// value looks a variable up and notes that it is used.
func (p *reading) value(name string, at Pos) string {
	var known []string
	for _, v := range p.exp.Vars {
		if v.Name == name {
			p.used[name] = true
			return v.Value
		}
		known = append(known, v.Name)
	}
	if !p.vague.vars {
		p.fault(at, suggest(name, "variables", known), "unknown variable $%s", shorten(name))
	}
	return ""
}

// expand replaces $name by the variable's value and $$ by a dollar; every byte of a
// value stands where its variable does. It is not ok if a variable is not known.
func (p *reading) expand(t phrase) (phrase, bool) {
	if !strings.Contains(t.text, "$") {
		return t, true
	}
	faults := len(p.faults)
	out := phrase{line: t.line}
	var text strings.Builder
	add := func(s string, columns func(i int) int32) {
		for i := range len(s) {
			out.columns = append(out.columns, columns(i))
		}
		text.WriteString(s)
	}
	for i := 0; i < len(t.text) && text.Len() <= maxExpanded; {
		column := func(int) int32 { return t.columns[i] }
		name := identifier(t.text[min(i+1, len(t.text)):])
		switch {
		case t.text[i] != '$':
			add(t.text[i:i+1], column)
			i++
		case strings.HasPrefix(t.text[i:], "$$"):
			add("$", column)
			i += 2
		case name == "":
			p.fault(t.at(i), "write $$ for a dollar", "$ is not followed by the name of a variable")
			i++
		default:
			add(p.value(name, t.at(i)), column)
			i += 1 + len(name)
		}
	}
	if text.Len() > maxExpanded {
		p.fault(t.pos(), "", "longer than %d bytes with its variables replaced", maxExpanded)
	}
	out.text = text.String()
	out.columns = append(out.columns, t.columns[len(t.text)])
	return out, len(p.faults) == faults
}

// identifier is the longest name of a variable that text begins with.
func identifier(text string) string {
	for i := range len(text) {
		c := text[i]
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return text[:i]
		}
	}
	return text
}

// unused faults variables that nothing mentions: setting one would seem to change
// the experiment and would not.
func (p *reading) unused() {
	for _, v := range p.exp.Vars {
		if !p.used[v.Name] {
			p.fault(p.varPos[v.Name], "", "the variable %q is used nowhere", v.Name)
		}
	}
}
