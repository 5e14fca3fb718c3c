package experiment

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/cost"
)

// MaxThat bounds the bytes of an expression, MaxThatCost the work of one, counted
// in the steps of CEL: at most once through packets times calls. An expression that
// may take more is refused when the file is read; what takes more all the same, because
// a repetition holds more than is assumed, cannot be told.
const (
	MaxThat     = 4_000
	MaxThatCost = 20_000_000
)

// What the cost of an expression is estimated with.
const (
	thatPackets = 1_000
	thatCalls   = 500
	thatOthers  = 50
)

// ThatFault is something wrong with an expression: Offset is where, in bytes from its
// beginning.
type ThatFault struct {
	Offset  int
	Message string
}

// thatEnv is what every expression is compiled in. It never changes.
var thatEnv = sync.OnceValue(func() *cel.Env {
	options := []cel.EnvOption{
		cel.CustomTypeProvider(newThatTypes()),
		cel.ParserRecursionLimit(100),
	}
	options = append(options, thatDeclarations()...)
	env, err := cel.NewEnv(options...)
	if err != nil {
		panic(fmt.Sprintf("the environment of expressions: %v", err)) // the same on every machine: any test finds it
	}
	return env
})

// CompileThat checks an expression: its syntax, its types, that it is true or false,
// and that it cannot take too long. It returns all faults at once and no program then.
// It is safe for concurrent use.
func CompileThat(source string) (*cel.Ast, []ThatFault) {
	if len(source) > MaxThat {
		return nil, []ThatFault{{0, fmt.Sprintf("an expression has at most %d bytes, this one has %d", MaxThat, len(source))}}
	}
	env := thatEnv()
	ast, issues := env.Compile(source)
	if issues.Err() != nil {
		var faults []ThatFault
		for _, e := range issues.Errors() {
			faults = append(faults, ThatFault{offsetOf(source, e.Location.Line(), e.Location.Column()), thatMessage(e.Message)})
		}
		return nil, faults
	}
	if !ast.OutputType().IsExactType(cel.BoolType) {
		return nil, []ThatFault{{0, fmt.Sprintf("an expression is true or false, this one is of type %s", thatTypeName(ast.OutputType().String()))}}
	}
	estimate, err := env.EstimateCost(ast, thatSizes{})
	if err != nil {
		return nil, []ThatFault{{0, "its cost cannot be estimated: " + err.Error()}}
	}
	if estimate.Max > MaxThatCost {
		return nil, []ThatFault{{0, fmt.Sprintf("it may take %d steps with %d packets and %d calls, at most %d are made: go through packets and calls fewer times in each other",
			estimate.Max, thatPackets, thatCalls, MaxThatCost)}}
	}
	return ast, nil
}

// ThatSources are the sources of events that a compiled expression looks at, as in
// Sources, in a fixed order.
func ThatSources(ast *cel.Ast) []string {
	var used []string
	for _, reference := range ast.NativeRep().ReferenceMap() {
		for _, row := range thatNames {
			if row.variable != "" && reference.Name == row.variable || slices.ContainsFunc(reference.OverloadIDs, func(id string) bool { return slices.Contains(row.overloads, id) }) {
				used = append(used, row.sources...)
			}
		}
	}
	slices.Sort(used)
	return slices.Compact(used)
}

// offsetOf is the byte of a text at a line from 1 and a column from 0 that counts
// characters.
func offsetOf(source string, line, column int) int {
	offset := 0
	for ; line > 1; line-- {
		n := strings.IndexByte(source[offset:], '\n')
		if n < 0 {
			return len(source)
		}
		offset += n + 1
	}
	for ; column > 0 && offset < len(source); column-- {
		_, size := utf8.DecodeRuneInString(source[offset:])
		offset += size
	}
	return offset
}

// thatMessage says in the words of this language what CEL says in its own.
func thatMessage(message string) string {
	if name, found := strings.CutPrefix(message, "undeclared reference to '"); found {
		name, _, _ = strings.Cut(name, "'")
		return fmt.Sprintf("unknown name %q; %s", shorten(name), suggest(name, "names", thatTopNames()))
	}
	if name, found := strings.CutPrefix(message, "undefined field '"); found {
		name, _, _ = strings.Cut(name, "'")
		return fmt.Sprintf("unknown field %q; %s", shorten(name), suggest(name, "fields", thatFieldNames()))
	}
	message = strings.ReplaceAll(message, "found no matching overload for", "no such operation:")
	return thatTypeName(message)
}

// thatTypeName takes the package away that CEL's types carry here.
func thatTypeName(text string) string { return strings.ReplaceAll(text, thatPackage, "") }

// thatSizes tells the estimator how much a repetition holds.
type thatSizes struct{}

// EstimateSize gives the length of a list or a text of the lab's; what the expression
// itself makes is measured by CEL.
func (thatSizes) EstimateSize(node cost.AstNode) *cost.SizeEstimate {
	if node.ComputedSize() != nil {
		return nil
	}
	size := uint64(thatOthers)
	if path := node.Path(); len(path) == 1 {
		switch path[0] {
		case "packets":
			size = thatPackets
		case "calls":
			size = thatCalls
		}
	}
	return &cost.SizeEstimate{Min: 0, Max: size}
}

// EstimateCallCost leaves the operators to CEL's own model. A function of the lab's
// looks at all that is on record once.
func (thatSizes) EstimateCallCost(function, _ string, _ *cost.AstNode, _ []cost.AstNode) *cost.CallEstimate {
	for _, row := range thatNames {
		if row.function == function {
			size := cost.SizeEstimate{Min: 0, Max: thatOthers}
			return &cost.CallEstimate{CostEstimate: cost.Estimate{Min: 1, Max: thatPackets}, ResultSize: &size}
		}
	}
	return nil
}
