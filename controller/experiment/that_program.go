package experiment

import (
	"fmt"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	celref "cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"
)

// ThatProgram is an expression that is ready to be evaluated, with the variables and
// functions of ThatNames in its activation. It is safe for concurrent use.
type ThatProgram struct {
	cel.Program
	// Sources are what ThatSources gives.
	Sources []string
}

// recentThats are the programs that were asked for last: the repetitions of a run have
// the same few expressions, and making a program takes half a millisecond. They are all
// forgotten when there are too many.
var recentThats struct {
	sync.Mutex
	bySource map[string]*ThatProgram
}

const maxRecentThats = 128

// NewThatProgram compiles an expression and makes it ready. It is safe for concurrent
// use.
func NewThatProgram(source string) (*ThatProgram, error) {
	recentThats.Lock()
	known := recentThats.bySource[source]
	recentThats.Unlock()
	if known != nil {
		return known, nil
	}
	ast, faults := CompileThat(source)
	if len(faults) > 0 {
		return nil, fmt.Errorf("the expression is not valid: %s", faults[0].Message)
	}
	program, err := thatEnv().Program(ast, cel.CostLimit(MaxThatCost), cel.CustomDecoratorV2(operate))
	if err != nil {
		return nil, fmt.Errorf("plan an expression: %w", err)
	}
	made := &ThatProgram{program, ThatSources(ast)}
	recentThats.Lock()
	defer recentThats.Unlock()
	if recentThats.bySource == nil || len(recentThats.bySource) == maxRecentThats {
		recentThats.bySource = make(map[string]*ThatProgram)
	}
	recentThats.bySource[source] = made
	return made, nil
}

// operate puts the lab's own operators into a program: where the checker chose one, and
// where only the values will tell, since a side is dyn.
func operate(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	call, ok := i.(interpreter.InterpretableCall)
	if !ok || len(call.Args()) != 2 {
		return i, nil
	}
	for _, o := range thatOperations {
		if o.operator == call.Function() && (o.id == call.OverloadID() || call.OverloadID() == "") {
			return &operation{call}, nil
		}
	}
	return i, nil
}

// operation is a call of an operator that may be one of the lab's.
type operation struct{ interpreter.InterpretableCall }

// Exec evaluates both sides and then the operator; an error on either side is its own.
func (o *operation) Exec(frame *interpreter.ExecutionFrame) celref.Val {
	args := o.Args()
	a := args[0].Exec(frame)
	if types.IsUnknownOrError(a) {
		return a
	}
	b := args[1].Exec(frame)
	if types.IsUnknownOrError(b) {
		return b
	}
	for _, own := range thatOperations {
		if own.operator == o.Function() && is(a, own.left) && is(b, own.right) {
			return own.do(a, b)
		}
	}
	return standard(o.Function(), a, b)
}

func is(v celref.Val, kind *cel.Type) bool { return v.Type().TypeName() == kind.TypeName() }

// standard is what CEL itself does with two values.
func standard(operator string, a, b celref.Val) celref.Val {
	switch operator {
	case operators.Add:
		if x, ok := a.(traits.Adder); ok {
			return x.Add(b)
		}
	case operators.Subtract:
		if x, ok := a.(traits.Subtractor); ok {
			return x.Subtract(b)
		}
	case operators.Multiply:
		if x, ok := a.(traits.Multiplier); ok {
			return x.Multiply(b)
		}
	default:
		if x, ok := a.(traits.Comparer); ok {
			return compared(operator, x.Compare(b))
		}
	}
	return types.NoSuchOverloadErr()
}

func compared(operator string, order celref.Val) celref.Val {
	n, ok := order.(types.Int)
	if !ok {
		return order
	}
	switch operator {
	case operators.Less:
		return types.Bool(n < 0)
	case operators.LessEquals:
		return types.Bool(n <= 0)
	case operators.Greater:
		return types.Bool(n > 0)
	}
	return types.Bool(n >= 0)
}

// Eval is Exec in an activation.
func (o *operation) Eval(ctx interpreter.Activation) celref.Val {
	return interpreter.EvalActivation(ctx, o.Exec)
}

// thatTypes are the types that expressions know: CEL's and the lab's.
type thatTypes struct {
	*types.Registry
	objects map[string]thatObject
}

func newThatTypes() *thatTypes {
	registry, err := types.NewRegistry()
	if err != nil {
		panic(fmt.Sprintf("the types of expressions: %v", err)) // no type is registered that could fail
	}
	t := &thatTypes{Registry: registry, objects: make(map[string]thatObject)}
	for _, o := range thatObjects() {
		t.objects[o.result.TypeName()] = o
	}
	return t
}

// FindStructType finds the lab's types beside CEL's.
func (t *thatTypes) FindStructType(name string) (*types.Type, bool) {
	if o, ok := t.objects[name]; ok {
		return types.NewTypeTypeWithParam(o.result), true
	}
	return t.Registry.FindStructType(name)
}

// FindStructFieldNames lists the fields of a type.
func (t *thatTypes) FindStructFieldNames(name string) ([]string, bool) {
	o, ok := t.objects[name]
	if !ok {
		return t.Registry.FindStructFieldNames(name)
	}
	var names []string
	for _, f := range o.fields {
		names = append(names, f.name)
	}
	return names, true
}

// FindStructFieldType tells the type of a field.
func (t *thatTypes) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	o, ok := t.objects[name]
	if !ok {
		return t.Registry.FindStructFieldType(name, field)
	}
	for _, f := range o.fields {
		if f.name == field {
			return &types.FieldType{Type: f.result}, true
		}
	}
	return nil, false
}

// NewValue refuses to make a value of one of the lab's types: they are only observed.
func (t *thatTypes) NewValue(name string, fields map[string]celref.Val) celref.Val {
	if _, ok := t.objects[name]; ok {
		return types.NewErr("a %s is observed, not made", thatTypeName(name))
	}
	return t.Registry.NewValue(name, fields)
}
