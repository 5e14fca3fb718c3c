package experiment

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// maxValue bounds the bytes of a variable's value, and maxExpanded those of a text
// after its variables were replaced: a file cannot grow without limit.
const (
	maxValue    = 256
	maxExpanded = 4096
)

func (p *reading) vars(n *node) {
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

const variableHint = "a letter, then letters, digits and _, at most 63 in all"

func (p *reading) variable(e entry) {
	name, at := e.key.text, e.key.pos()
	if !variableName.MatchString(name) {
		p.fault(at, variableHint, "%q is no name for a variable", shorten(name))
		p.vague.vars = true
		return
	}
	p.varPos[name] = at
	if e.value.kind != scalar {
		p.fault(e.value.place, "", "the value of a variable is text, found %s", e.value.kind.describe())
		p.exp.Vars = append(p.exp.Vars, Var{Name: name})
		return
	}
	p.setVariable(name, e.value.phrase.text, e.value.place)
}

// setVariable gives a variable its value: what the operator says, or else the matrix,
// or else the file.
func (p *reading) setVariable(name, value string, at Pos) {
	if i := slices.IndexFunc(p.of.Values, func(v Var) bool { return v.Name == name }); i >= 0 {
		value = p.of.Values[i].Value
	}
	if v, ok := p.inFile.opts.Set[name]; ok {
		value, at = v, Pos{}
	}
	if len(value) > maxValue || strings.ContainsFunc(value, isControl) {
		p.fault(at, "", "the value of variable %q is longer than %d bytes, or has line breaks", name, maxValue)
		value = ""
	}
	if p.isFresh[name] {
		value = p.renew(name, value, at)
	}
	p.exp.Vars = append(p.exp.Vars, Var{Name: name, Value: value})
}

// matrix adds the variables that only the matrix has.
func (p *reading) matrix(*node) {
	for _, a := range p.inFile.axes {
		if _, ok := p.varPos[a.name]; !ok {
			p.varPos[a.name] = a.at
			p.setVariable(a.name, a.values[0], a.at)
		}
	}
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// value looks a variable up and notes that it is used. It is not ok if there is none.
func (p *reading) value(name string, at Pos) (string, bool) {
	var known []string
	for _, v := range p.exp.Vars {
		if v.Name == name {
			p.used[name] = true
			if p.asWritten && p.isFresh[name] {
				return "$" + name, true
			}
			return v.Value, true
		}
		known = append(known, v.Name)
	}
	if !p.vague.vars {
		p.fault(at, suggest(name, "variables", known), "unknown variable $%s", shorten(name))
	}
	return "", false
}

// expand replaces $name by the variable's value and $$ by a dollar; every byte of a
// value stands where its variable does. It is not ok if a variable is not known, for which
// there is no fault where the variables themselves have one.
func (p *reading) expand(t phrase) (phrase, bool) {
	if !strings.Contains(t.text, "$") {
		return t, true
	}
	faults, all := len(p.faults), true
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
			value, ok := p.value(name, t.at(i))
			all = all && ok
			add(value, column)
			i += 1 + len(name)
		}
	}
	if text.Len() > maxExpanded {
		p.fault(t.pos(), "", "longer than %d bytes with its variables replaced", maxExpanded)
	}
	out.text = text.String()
	out.columns = append(out.columns, t.columns[len(t.text)])
	return out, all && len(p.faults) == faults
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

// calculate is the value of a whole number, or of such joined by +, - and *, where *
// binds first; it is not ok for anything else, and where 64 bits do not do.
func calculate(text string) (int64, bool) {
	sum, rest, ok := product(text)
	for ok && rest != "" {
		sign := rest[0]
		var next int64
		if next, rest, ok = product(rest[1:]); sign == '-' {
			next = -next
		}
		if next > 0 && sum > math.MaxInt64-next || next < 0 && sum < math.MinInt64-next {
			return 0, false
		}
		sum += next
	}
	return sum, ok
}

// product reads numbers joined by *, up to the + or - after one of them.
func product(text string) (value int64, rest string, ok bool) {
	value, rest, ok = factor(text)
	for ok && strings.HasPrefix(rest, "*") {
		var next int64
		if next, rest, ok = factor(rest[1:]); !ok {
			break
		}
		const most = math.MaxInt32 // of each factor: their product is exact
		if max(value, -value) > most || max(next, -next) > most {
			return 0, rest, false
		}
		value *= next
	}
	return value, rest, ok
}

// factor reads one number and returns what follows it, which is empty or begins with an
// operator.
func factor(text string) (value int64, rest string, ok bool) {
	text = strings.TrimLeft(text, " ")
	end := 0
	for end < len(text) && (text[end] >= '0' && text[end] <= '9' || end == 0 && (text[end] == '-' || text[end] == '+')) {
		end++
	}
	value, err := strconv.ParseInt(text[:end], 10, 64)
	rest = strings.TrimLeft(text[end:], " ")
	return value, rest, err == nil && value != math.MinInt64 && (rest == "" || strings.ContainsAny(rest[:1], "+-*"))
}
