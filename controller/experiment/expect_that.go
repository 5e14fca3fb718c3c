package experiment

import (
	"slices"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
)

// maxThats bounds the bytes of the expressions of one variant, maxExpressions the
// different expressions of a file: to compile one takes far longer than to read
// anything else.
const (
	maxThats       = 16 << 10
	maxExpressions = 512
)

// expressions keeps what was compiled of a file, by text: its variants share most. It
// may be used by several goroutines.
type expressions struct {
	mutex sync.Mutex
	known map[string]expression
}

type expression struct {
	ast    *cel.Ast
	faults []ThatFault
}

// compile returns what a text compiles to. It is not ok for one too many; the texts of
// fresh values, which are looked up once, are not kept.
func (x *expressions) compile(source string, keep bool) (out expression, ok bool) {
	x.mutex.Lock()
	known, found := x.known[source]
	full := len(x.known) >= maxExpressions
	x.mutex.Unlock()
	if found || full && keep {
		return known, found
	}
	out.ast, out.faults = CompileThat(source)
	if keep {
		x.mutex.Lock()
		defer x.mutex.Unlock()
		if x.known == nil {
			x.known = make(map[string]expression)
		}
		x.known[source] = out
	}
	return out, true
}

// that reads an expression in CEL, or a list of such.
func (p *reading) that(n *node) {
	for _, item := range items(n) {
		t, ok := p.scalar(item, "that")
		if !ok {
			continue
		}
		if p.thats += len(t.text); p.thats > maxThats {
			p.fault(t.pos(), "", "the expressions of a file hold at most %d bytes together", maxThats)
			return
		}
		before := len(p.faults)
		if strings.TrimSpace(t.text) == "" {
			p.fault(t.pos(), "write `that: \"size(packets) < 20\"`", "the expression is empty")
			continue
		}
		compiled, ok := p.inFile.thats.compile(t.text, p.offset == 0)
		if !ok {
			p.fault(t.pos(), "", "the variants of a file have at most %d different expressions together", maxExpressions)
			return
		}
		for _, f := range compiled.faults {
			p.fault(t.at(min(f.Offset, len(t.text))), "", "%s", f.Message)
		}
		if compiled.ast != nil {
			p.checkThat(t, compiled.ast)
		}
		if len(p.faults) == before {
			p.add("that", item, Expectation{That: &ThatExpectation{Source: t.text}})
		}
	}
}

// checkThat checks an expression against the file: the sources that it needs, and what
// it names by a text that is written out.
func (p *reading) checkThat(t phrase, ast *cel.Ast) {
	for _, source := range ThatSources(ast) {
		p.needs(source, t.pos())
	}
	info := ast.NativeRep().SourceInfo()
	at := func(e celast.Expr) Pos {
		l := info.GetStartLocation(e.ID())
		return t.at(min(offsetOf(t.text, l.Line(), l.Column()), len(t.text)))
	}
	celast.PreOrderVisit(ast.NativeRep().Expr(), celast.NewExprVisitor(func(e celast.Expr) {
		switch e.Kind() {
		case celast.SelectKind:
			if s := e.AsSelect(); s.Operand().Kind() == celast.IdentKind && s.Operand().AsIdent() == "vars" {
				p.thatVariable(s.FieldName(), at(e))
			}
		case celast.CallKind:
			p.thatCall(e.AsCall(), at)
		}
	}))
}

func (p *reading) thatCall(call celast.CallExpr, at func(celast.Expr) Pos) {
	args := call.Args()
	text := func(i int) (string, bool) {
		if i >= len(args) || args[i].Kind() != celast.LiteralKind {
			return "", false
		}
		s, ok := args[i].AsLiteral().(types.String)
		return string(s), ok
	}
	first, known := text(0)
	switch call.FunctionName() {
	case "phase", "phases":
		if known {
			p.isKnown(flat(first, at(args[0])), "phase", PhaseNames())
		}
		if socket, ok := text(1); ok {
			p.socketOf(flat(socket, at(args[1])))
		}
	case "info", "states", "rtt_of":
		if known {
			p.socketOf(flat(first, at(args[0])))
		}
	case "counters":
		if known {
			p.isRole(flat(first, at(args[0])))
		}
	case "_[_]":
		if key, ok := text(1); ok && args[0].Kind() == celast.IdentKind && args[0].AsIdent() == "vars" {
			p.thatVariable(key, at(args[1]))
		}
	}
}

// thatVariable notes that an expression uses a variable.
func (p *reading) thatVariable(name string, at Pos) {
	if !slices.ContainsFunc(p.exp.Vars, func(v Var) bool { return v.Name == name }) || p.vague.vars {
		var known []string
		for _, v := range p.exp.Vars {
			known = append(known, v.Name)
		}
		if !p.vague.vars {
			p.fault(at, suggest(name, "variables", known), "unknown variable %q", shorten(name))
		}
		return
	}
	p.used[name] = true
}
