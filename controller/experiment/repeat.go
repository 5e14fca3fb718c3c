package experiment

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// repeatKey is one row of the table of the keys of repeat.
type repeatKey struct {
	name, form, doc string
	read            func(*reading, *node)
}

// repeatKeys are all of them. The function is not a variable because the readers
// refer back to it.
func repeatKeys() []repeatKey {
	return []repeatKey{
		{"runs", "runs: 200", "How often each variant is repeated (1).", func(p *reading, n *node) {
			p.exp.Repeat.Runs = p.repeatCount(n, "runs", 1)
		}},
		{"warmup", "warmup: 5", "Repetitions that come first and are not judged (0).", func(p *reading, n *node) {
			p.exp.Repeat.Warmup = p.repeatCount(n, "warmup", 0)
		}},
		{"gap", "gap: 100ms", "The pause between two repetitions (0s).", func(p *reading, n *node) {
			if t, ok := p.scalar(n, "gap"); ok {
				p.exp.Repeat.Gap = p.duration(t, "gap", 0)
			}
		}},
		{"timeout", "timeout: 10s", "What ends a repetition that does not end by itself (30s).", func(p *reading, n *node) {
			if t, ok := p.scalar(n, "timeout"); ok {
				p.exp.Repeat.Timeout = p.duration(t, "timeout", time.Millisecond)
			}
		}},
		{"fresh", "fresh: [port]", fmt.Sprintf("Variables that are greater by one in every repetition of the run, and begin again after %d.", FreshValues), (*reading).fresh},
		{"until_reproduced", "until_reproduced: 50, at_most: 80", "Repeat until so many repetitions were reproduced; instead of runs, and only with at_most.", func(p *reading, n *node) {
			p.exp.Repeat.UntilReproduced = p.repeatCount(n, "until_reproduced", 1)
		}},
		{"at_most", "until_reproduced: 50, at_most: 80", "How many repetitions are made at most, if until_reproduced is not reached before.", func(p *reading, n *node) {
			p.exp.Repeat.AtMost = p.repeatCount(n, "at_most", 1)
		}},
	}
}

func (p *reading) repeat(n *node) {
	var names []string
	for _, k := range repeatKeys() {
		names = append(names, k.name)
	}
	values := p.keys(n, "key", names)
	before := len(p.faults)
	for _, k := range repeatKeys() {
		if v := values[k.name]; v != nil {
			k.read(p, v)
		}
	}
	if len(p.faults) > before {
		return
	}
	r := &p.exp.Repeat
	until, most := values["until_reproduced"], values["at_most"]
	switch {
	case until != nil && values["runs"] != nil:
		p.fault(until.place, "leave one of them away", "repeat has runs and until_reproduced")
	case until != nil && most == nil:
		p.fault(until.place, "write `at_most: 80` too", "until_reproduced alone might never end")
	case until == nil && most != nil:
		p.fault(most.place, "write `until_reproduced: 50` too, or runs", "at_most limits until_reproduced, which is not there")
	case until != nil && r.AtMost < r.UntilReproduced:
		p.fault(most.place, "", "at most %d repetitions cannot reproduce it %d times", r.AtMost, r.UntilReproduced)
	case until != nil:
		r.Runs = r.AtMost
	}
}

func (p *reading) repeatCount(n *node, what string, least int) int {
	t, ok := p.scalar(n, what)
	if !ok {
		return least
	}
	return p.number(t, what, least, MaxRuns)
}

// override applies Options.Runs.
func (p *reading) override(runs int) {
	if runs < 0 || runs > MaxRuns {
		p.fault(Pos{}, "", "%d runs asked for; from 1 to %d can be had", runs, MaxRuns)
	}
	if runs > 0 {
		p.exp.Repeat.Runs, p.exp.Repeat.UntilReproduced, p.exp.Repeat.AtMost = runs, 0, 0
	}
}

// freshNames are the variables that repeat names as fresh, as far as they can be told
// before the variables themselves are read.
func freshNames(root *node) map[string]bool {
	names := make(map[string]bool)
	repeat := root.value("repeat")
	if repeat == nil {
		return names
	}
	fresh := repeat.value("fresh")
	if fresh == nil {
		return names
	}
	for _, item := range append(slices.Clone(fresh.items), fresh) {
		if item.kind == scalar {
			names[item.phrase.text] = true
		}
	}
	return names
}

// value is what a mapping has below a key, nil if nothing.
func (n *node) value(key string) *node {
	for _, e := range n.entries {
		if e.key.text == key {
			return e.value
		}
	}
	return nil
}

// fresh reads which variables are fresh.
func (p *reading) fresh(n *node) {
	var known []string
	for _, v := range p.exp.Vars {
		known = append(known, v.Name)
	}
	for _, t := range p.texts(n, "fresh", (*reading).prose) {
		name := strings.TrimPrefix(t.text, "$")
		switch {
		case !slices.Contains(known, name):
			if !p.vague.vars {
				p.fault(t.pos(), suggest(name, "variables", known), "unknown variable %q", shorten(name))
			}
		case name != t.text:
			p.fault(t.pos(), "write `fresh: ["+shorten(name)+"]`", "fresh names variables without a dollar")
		case slices.Contains(p.exp.Repeat.Fresh, name):
			p.fault(t.pos(), "", "the variable %q is named twice", name)
		default:
			p.exp.Repeat.Fresh = append(p.exp.Repeat.Fresh, name)
		}
	}
}

// renew is the value of a fresh variable so many repetitions later.
func (p *reading) renew(name, value string, at Pos) string {
	n, err := strconv.Atoi(value)
	if err != nil || n < -maxFresh || n > maxFresh {
		p.fault(at, "", "the fresh variable %q is a number up to %d, found %q", name, maxFresh, shorten(value))
		return value
	}
	return strconv.Itoa(n + p.offset)
}

const maxFresh = 1 << 30

// freshText says which values the fresh variables of an experiment have.
func freshText(e *Experiment) string {
	var words []string
	for _, name := range e.Repeat.Fresh {
		for _, v := range e.Vars {
			if v.Name == name {
				words = append(words, v.Name+"="+v.Value)
			}
		}
	}
	if len(words) == 0 {
		return ""
	}
	return ", with the fresh " + strings.Join(words, " ")
}
