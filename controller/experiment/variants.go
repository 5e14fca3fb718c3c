package experiment

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A file has one variant for each of its cases and each combination of the values of
// its matrix. All of them are planned when the file is parsed, so that a file that was
// taken can be run to its end.

// maxPlanned bounds the bytes of text of all variants of a file together, the steps
// that loops and copies write out among them: what is planned takes time and memory.
const maxPlanned = 4 << 20

// file is a parsed file, from which At plans. It does not change after Parse.
type file struct {
	opts     Options
	cases    []fileCase
	axes     []axis
	variants []*variant
	// declared are the variables that some variant has, used those that something
	// mentions.
	declared map[string]Pos
	used     map[string]bool
	// parts are the changes and meetings of all variants.
	parts declarations
	thats expressions
	// vague is set where a fault hides which variables there are.
	vague  bool
	faults Errors
}

// axis is one variable of a matrix.
type axis struct {
	name   string
	at     Pos
	values []string
}

// variant is one of those that a file has and the options ask for.
type variant struct {
	Variant
	index int
	// root is the file with the case merged into it.
	root *node
	// first is the plan of the first repetition.
	first *Experiment
}

// read finds the variants of a file and plans each.
func (f *file) read(root *node) {
	f.declared, f.used = make(map[string]Pos), make(map[string]bool)
	p := newReading(f, nil)
	if root.kind == mapping {
		for _, e := range root.entries {
			switch e.key.text {
			case "matrix":
				p.readMatrix(e.value)
			case "cases":
				p.readCases(e.value)
			}
		}
	}
	f.faults = append(f.faults, p.faults...)
	f.spread(root)
	f.choose()
	f.planAll(root)
}

// readMatrix reads `matrix: { name: [value, ...] }`.
func (p *reading) readMatrix(n *node) {
	if n.kind != mapping || len(n.entries) == 0 {
		p.fault(n.place, "write `matrix: { backlog: [0, 1, 5] }`", "matrix is a mapping of variables to lists, found %s", n.kind.describe())
		return
	}
	for _, e := range n.entries {
		if !variableName.MatchString(e.key.text) {
			p.fault(e.key.pos(), variableHint, "%q is no name for a variable", shorten(e.key.text))
			continue
		}
		a := axis{name: e.key.text, at: e.key.pos()}
		for _, t := range p.texts(e.value, "the values of "+a.name, (*reading).prose) {
			switch {
			case t.text == "" || strings.ContainsFunc(t.text, func(r rune) bool { return r <= ' ' || r == 0x7f }) || len(t.text) > maxLabel:
				p.fault(t.pos(), "write longer ones as cases", "a value of a matrix is one word, found %q", shorten(t.text))
			case slices.Contains(a.values, t.text):
				p.fault(t.pos(), "", "the value %q stands there twice", t.text)
			default:
				a.values = append(a.values, t.text)
			}
		}
		if e.value.kind == list && len(e.value.items) == 0 {
			p.fault(e.value.place, "", "the variable %q has no value in the matrix", a.name)
		}
		if len(a.values) > 0 {
			p.inFile.axes = append(p.inFile.axes, a)
		}
	}
}

// spread makes the variants: the cases in order, and for each of them the combinations
// of the matrix, the last variable changing fastest.
func (f *file) spread(root *node) {
	axes := slices.Clone(f.axes)
	n := max(1, len(f.cases))
	for i, a := range axes {
		if v, ok := f.opts.Set[a.name]; ok { // the operator chose one
			axes[i].values = []string{v}
		}
		if n *= len(axes[i].values); n > MaxVariants {
			f.fault(a.at, "", "cases and matrix make more than %d variants", MaxVariants)
			axes = nil
			break
		}
	}
	cases := f.cases
	if len(cases) == 0 {
		cases = []fileCase{{}}
	}
	for _, c := range cases {
		merged := root
		if c.value != nil {
			merged = merge(root, c.value)
		}
		for i := range combinations(axes) {
			v := &variant{root: merged, Variant: Variant{Case: c.name, Values: combination(axes, i)}}
			v.Name = strings.Join(v.words(), " ")
			f.variants = append(f.variants, v)
		}
	}
}

func combinations(axes []axis) int {
	n := 1
	for _, a := range axes {
		n *= len(a.values)
	}
	return n
}

// combination is the i-th of them.
func combination(axes []axis, i int) []Var {
	var values []Var
	for _, a := range slices.Backward(axes) {
		values = append(values, Var{Name: a.name, Value: a.values[i%len(a.values)]})
		i /= len(a.values)
	}
	slices.Reverse(values)
	return values
}

// choose keeps the variants that Options.Cases names.
func (f *file) choose() {
	if len(f.opts.Cases) == 0 {
		return
	}
	known := f.words()
	var keep []*variant
	for _, c := range f.opts.Cases {
		words := strings.Fields(c)
		for _, w := range words {
			if !slices.Contains(known, w) {
				f.fault(Pos{}, suggest(w, "cases", known), "the file has no case %q", shorten(w))
			}
		}
		if len(words) == 0 {
			f.fault(Pos{}, knownNames("cases", known), "the name of a case is empty")
		}
	}
	for _, v := range f.variants {
		if slices.ContainsFunc(f.opts.Cases, func(c string) bool { return v.has(strings.Fields(c)) }) {
			keep = append(keep, v)
		}
	}
	switch {
	case len(keep) > 0:
		f.variants = keep
	case len(f.faults) == 0:
		f.fault(Pos{}, "", "no variant of the file is %s", strings.Join(f.opts.Cases, " or "))
	}
}

// words are what variants can be named by: the cases, and the values of the matrix as
// "backlog=1".
func (f *file) words() []string {
	var words []string
	for _, c := range f.cases {
		words = append(words, c.name)
	}
	for _, a := range f.axes {
		for _, v := range a.values {
			words = append(words, a.name+"="+v)
		}
		if v, ok := f.opts.Set[a.name]; ok && !slices.Contains(a.values, v) {
			words = append(words, a.name+"="+v)
		}
	}
	return words
}

// words are what names the variant: its case, and its values of the matrix.
func (v *variant) words() []string {
	var words []string
	if v.Case != "" {
		words = append(words, v.Case)
	}
	for _, value := range v.Values {
		words = append(words, value.Name+"="+value.Value)
	}
	return words
}

// has reports whether all words name the variant.
func (v *variant) has(words []string) bool {
	own := v.words()
	for _, w := range words {
		if !slices.Contains(own, w) {
			return false
		}
	}
	return true
}

// planAll plans the first repetition of each variant, and the one in which its fresh
// variables are greatest, and gathers what is wrong.
func (f *file) planAll(root *node) {
	var all []Variant
	for i, v := range f.variants {
		v.index = i
		all = append(all, v.Variant)
	}
	seen := make(map[Pos]bool)
	var found []foundFault
	work, repetitions, checked := 0, 0, 0
	for i, v := range f.variants {
		exp, faults := f.plan(v, 0)
		checked++
		found = gather(found, seen, faults, v, "")
		if len(faults) == 0 {
			exp.Variants = all
			v.first = exp
			repetitions += exp.Repeat.Warmup + exp.Repeat.Runs
		}
		if len(faults) == 0 && len(exp.Repeat.Fresh) > 0 {
			var late *Experiment
			late, faults = f.plan(v, FreshValues-1)
			found = gather(found, seen, faults, v, freshText(late))
		}
		work += weigh(v.root) + written(exp)
		if last := i == len(f.variants)-1; !last && (work > maxPlanned || len(found) > maxShown) {
			if len(found) == 0 {
				f.fault(f.variantsAt(root), "have fewer variants, or shorter ones",
					"the variants of the file hold more than %d KiB of text together, after %d of them", maxPlanned>>10, i+1)
			}
			break
		}
	}
	f.faults = append(f.faults, told(found, f.variants[:checked])...)
	f.checkSet()
	if len(f.faults) == 0 {
		f.checkWhole(repetitions)
	}
	if len(f.faults) == 0 {
		for _, v := range f.variants {
			v.first.file = f
		}
	}
}

// variantsAt is where the file says which variants it has.
func (f *file) variantsAt(root *node) Pos {
	for _, e := range root.entries {
		if e.key.text == "matrix" || e.key.text == "cases" {
			return e.key.pos()
		}
	}
	return root.place
}

// plan reads one variant; its fresh variables are greater by offset than the file says.
func (f *file) plan(v *variant, offset int) (*Experiment, Errors) {
	p := newReading(f, v)
	p.offset = offset
	p.exp.Variant = v.index
	p.file(v.root)
	for name, at := range p.varPos {
		if _, ok := f.declared[name]; !ok {
			f.declared[name] = at
		}
	}
	for name := range p.used {
		f.used[name] = true
	}
	f.note(p.noted)
	f.vague = f.vague || p.vague.vars
	return p.exp, p.faults
}

// checkSet faults what the operator sets and the file does not have.
func (f *file) checkSet() {
	known := slices.Sorted(maps.Keys(f.declared))
	for _, name := range slices.Sorted(maps.Keys(f.opts.Set)) {
		if !slices.Contains(known, name) && !f.vague {
			f.fault(Pos{}, suggest(name, "variables", known), "the file has no variable %q to set", name)
		}
	}
}

// checkWhole finds what is wrong with the file although each of its variants is right.
// A variable that nothing mentions is: setting it would seem to change the experiment
// and would not.
func (f *file) checkWhole(repetitions int) {
	if len(f.opts.Cases) == 0 { // else a variant that was left out may use it
		for name, at := range f.declared {
			if !f.used[name] {
				f.fault(at, "", "the variable %q is used nowhere", name)
			}
		}
		f.checkUsed()
	}
	if repetitions > MaxRuns && len(f.variants) > 1 {
		f.fault(Pos{}, "", "%d repetitions of all %d variants together; at most %d can be had", repetitions, len(f.variants), MaxRuns)
	}
}

func (f *file) fault(at Pos, hint, format string, args ...any) {
	f.faults = append(f.faults, &Error{Pos: at, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// err is all faults in order of place, nil if there are none.
func (f *file) err() error {
	if len(f.faults) == 0 {
		return nil
	}
	f.faults.sort()
	for _, e := range f.faults {
		e.File = f.opts.FileName
	}
	return f.faults
}

// foundFault is a fault and the variants that have one at its place.
type foundFault struct {
	*Error
	variants []*variant
	fresh    string
}

// gather adds the faults of a variant. A variant reads most of the file as the others
// do, so at a place where there was a fault before there is none to add.
func gather(found []foundFault, seen map[Pos]bool, faults Errors, v *variant, fresh string) []foundFault {
	at := make(map[Pos]bool)
	for _, e := range faults {
		at[e.Pos] = true
		if !seen[e.Pos] {
			found = append(found, foundFault{Error: e, fresh: fresh})
		}
	}
	for i := range found {
		if at[found[i].Pos] && !slices.Contains(found[i].variants, v) {
			found[i].variants = append(found[i].variants, v)
		}
	}
	for pos := range at {
		seen[pos] = true
	}
	return found
}

// told says of each fault in which variants it is, unless it is in all that were
// checked.
func told(found []foundFault, checked []*variant) Errors {
	var faults Errors
	for _, f := range found {
		if len(f.variants) < len(checked) {
			f.Message += ", in " + f.where(checked)
		}
		f.Message += f.fresh
		faults = append(faults, f.Error)
	}
	return faults
}

// where names the variants that have a fault: by the case or the value of the matrix
// that they share with no other, or else one of them.
func (f foundFault) where(checked []*variant) string {
	first := f.variants[0]
	if len(f.variants) == 1 {
		return "the variant " + strconv.Quote(first.Name)
	}
	for _, w := range first.words() {
		sharing := func(v *variant) bool { return v.has([]string{w}) }
		others := slices.ContainsFunc(checked, func(v *variant) bool { return sharing(v) != slices.Contains(f.variants, v) })
		if !others {
			return "the variants of " + strconv.Quote(w)
		}
	}
	return fmt.Sprintf("the variant %q and %d more", first.Name, len(f.variants)-1)
}

// weigh is the number of bytes of text below a node, and some for each value.
func weigh(n *node) int {
	const each = 16
	sum := each + len(n.phrase.text)
	for _, item := range n.items {
		sum += weigh(item)
	}
	for _, e := range n.entries {
		sum += len(e.key.text) + weigh(e.value)
	}
	return sum
}

// written is the number of bytes of the steps that an experiment has.
func written(e *Experiment) int {
	const each = 64
	sum := 0
	for _, l := range e.Lanes {
		for _, s := range l.Steps {
			sum += each + len(s.Text)
		}
	}
	return sum
}

// At is the experiment in another variant, by its index in Variants, and in a
// repetition of the run, which counts from 1 over all variants and warm-ups: fresh
// variables have the value of that repetition. The same arguments give the same
// experiment, which is not to be changed. It may be called from several goroutines.
//
// The error is not nil for a variant that there is not, and of type Errors for a
// repetition whose fresh values the file makes no sense with.
func (e *Experiment) At(variant, repetition int) (*Experiment, error) {
	if repetition < 1 {
		return nil, fmt.Errorf("experiment %s: there is no repetition %d; they count from 1", e.Name, repetition)
	}
	if e.file == nil {
		if variant != e.Variant {
			return nil, fmt.Errorf("experiment %s: it was not read from a file, and has no variant %d", e.Name, variant)
		}
		return e, nil
	}
	if variant < 0 || variant >= len(e.file.variants) {
		return nil, fmt.Errorf("experiment %s: there is no variant %d; it has %d, from 0", e.Name, variant, len(e.file.variants))
	}
	v := e.file.variants[variant]
	offset := (repetition - 1) % FreshValues
	if offset == 0 || len(v.first.Repeat.Fresh) == 0 {
		return v.first, nil
	}
	return e.file.again(v, offset)
}

// again plans a variant that was planned before.
func (f *file) again(v *variant, offset int) (*Experiment, error) {
	p := newReading(f, v)
	p.offset = offset
	p.exp.Variant = v.index
	p.file(v.root)
	if len(p.faults) > 0 {
		failed := file{opts: f.opts, faults: p.faults}
		for _, e := range failed.faults {
			e.Message += freshText(p.exp)
		}
		return nil, failed.err()
	}
	p.exp.Variants, p.exp.file = v.first.Variants, f
	return p.exp, nil
}

// every calls yield with each variant of the file in its first repetition.
func (e *Experiment) every(yield func(*Experiment)) {
	if e.file == nil {
		yield(e)
		return
	}
	for _, v := range e.file.variants {
		yield(v.first)
	}
}

// condition is when something holds: in variants that have all words of one of its
// alternatives.
type condition [][]string

// condition reads `burst`, `burst or trickle`, `burst and backlog=1`. What it names
// must be there, and some variant must be all that an alternative asks for; it is not
// ok if not.
func (p *reading) condition(t phrase) (condition, bool) {
	known := p.inFile.words()
	var c condition
	var words []string
	ok, wanted := true, true // wanted: the next word is a name
	for _, w := range t.fields() {
		switch {
		case wanted:
			if !slices.Contains(known, w.text) {
				p.fault(w.pos(), suggest(w.text, "cases", known), "the file has no case %q", shorten(w.text))
				ok = false
			} else if other, both := p.inFile.excludes(words, w.text); both {
				p.fault(w.pos(), "", "no variant is both %s and %s", other, w.text)
				ok = false
			}
			words, wanted = append(words, w.text), false
		case w.text == "or":
			c, words, wanted = append(c, words), nil, true
		case w.text == "and":
			wanted = true
		default:
			p.fault(w.pos(), "cases are joined by `or` and `and`", "%q is not understood", shorten(w.text))
			return nil, false
		}
	}
	if wanted {
		p.fault(t.end(), knownNames("cases", known), "the name of a case is missing")
		return nil, false
	}
	return append(c, words), ok
}

// excludes finds one of several words that no variant has together with another: the
// other of two cases, or of two values of a variable.
func (f *file) excludes(words []string, word string) (other string, found bool) {
	kind := func(w string) string {
		variable, _, ofMatrix := strings.Cut(w, "=")
		if !ofMatrix {
			return ""
		}
		return variable
	}
	i := slices.IndexFunc(words, func(w string) bool { return w != word && kind(w) == kind(word) })
	if i < 0 {
		return "", false
	}
	return words[i], true
}

// holds reports whether the variant that is read is meant.
func (p *reading) holds(c condition) bool {
	return slices.ContainsFunc(c, p.of.has)
}
