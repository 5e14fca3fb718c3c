package experiment

import (
	"cmp"
	"maps"
	"slices"
)

// declaration is a change or a meeting that a file names in one place and uses in
// another. Variants may use different ones, so that whether each is used is known when
// all have been read.
type declaration struct{ kind, name string }

// declarations are those of a file, or of one of its variants.
type declarations struct {
	at   map[declaration]Pos
	used map[declaration]bool
}

func (p *reading) declare(kind string, name phrase) {
	if p.noted.at == nil {
		p.noted.at = make(map[declaration]Pos)
	}
	p.noted.at[declaration{kind, name.text}] = name.pos()
}

func (p *reading) use(kind, name string) {
	if p.noted.used == nil {
		p.noted.used = make(map[declaration]bool)
	}
	p.noted.used[declaration{kind, name}] = true
}

// note adds what one variant declares and uses.
func (f *file) note(parts declarations) {
	if f.parts.at == nil {
		f.parts = declarations{make(map[declaration]Pos), make(map[declaration]bool)}
	}
	maps.Copy(f.parts.at, parts.at)
	maps.Copy(f.parts.used, parts.used)
}

// checkUsed faults what no variant uses.
func (f *file) checkUsed() {
	var unused []declaration
	for d := range f.parts.at {
		if !f.parts.used[d] {
			unused = append(unused, d)
		}
	}
	slices.SortFunc(unused, func(a, b declaration) int { return cmp.Compare(a.kind+a.name, b.kind+b.name) })
	for _, d := range unused {
		switch d.kind {
		case "meeting":
			f.fault(f.parts.at[d], "write `meet("+d.name+")` among the steps of two lanes", "no lane comes to the meeting %q", d.name)
		case "change":
			f.fault(f.parts.at[d], "write `apply("+d.name+")` among the steps of a lane of its host", "no lane applies the change %q", d.name)
		}
	}
}
