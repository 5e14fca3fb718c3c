package experiment

// fileCase is one case of a file: what it changes.
type fileCase struct {
	name string
	at   Pos
	// value is a mapping that is merged into the file, nil for a case that changes
	// nothing.
	value *node
}

// caseKeys are the keys of a file that a case may change. The others are about the run
// as a whole.
var caseKeys = []string{"about", "vars", "setup", "changes", "lanes", "meetings", "expect", "repeat"}

// readCases reads `cases: { burst: { lanes: ... } }`.
func (p *reading) readCases(n *node) {
	if n.kind != mapping || len(n.entries) == 0 {
		p.fault(n.place, "write `cases: { burst: { lanes: { client: { start_gap: 0ms } } } }`", "cases is a mapping of names, found %s", n.kind.describe())
		return
	}
	for i, e := range n.entries {
		if i == MaxVariants {
			p.fault(e.key.pos(), "", "more than %d cases", MaxVariants)
			return
		}
		if !p.isName(e.key, "a case") {
			continue
		}
		if e.key.text == "or" || e.key.text == "and" {
			p.fault(e.key.pos(), "", "%q is no name for a case: conditions are joined by it", e.key.text)
			continue
		}
		c := fileCase{name: e.key.text, at: e.key.pos()}
		values := p.keys(e.value, "key", caseKeys)
		if len(values) > 0 {
			c.value = &node{kind: mapping, place: e.value.place}
			for _, key := range e.value.entries {
				if values[key.key.text] != nil {
					c.value.entries = append(c.value.entries, key)
				}
			}
		}
		p.inFile.cases = append(p.inFile.cases, c)
	}
}

// merge is base with over laid on it: mappings are merged key by key, everything else
// replaces what was there. Neither is changed, and every value keeps the place that it
// has in the file.
func merge(base, over *node) *node {
	if base.kind != mapping || over.kind != mapping {
		return over
	}
	out := &node{kind: mapping, place: base.place, entries: make([]entry, len(base.entries), len(base.entries)+len(over.entries))}
	copy(out.entries, base.entries)
	at := make(map[string]int, len(base.entries))
	for i, e := range base.entries {
		at[e.key.text] = i
	}
	for _, e := range over.entries {
		if i, ok := at[e.key.text]; ok {
			out.entries[i].value = merge(out.entries[i].value, e.value)
			continue
		}
		out.entries = append(out.entries, e)
	}
	return out
}
