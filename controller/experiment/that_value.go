package experiment

import (
	"fmt"
	"math"
	"reflect"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	celref "cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// ThatUndecided is the error of an expression whose value nobody can tell from the
// record; ThatNothing of one that asks for what is not there. Like every error in CEL
// they do not matter where the rest of && or || decides.
type (
	ThatUndecided struct{ Reason string }
	ThatNothing   struct{ Reason string }
)

func (e *ThatUndecided) Error() string { return e.Reason }
func (e *ThatNothing) Error() string   { return e.Reason }

// NewThatUndecided is the value of what cannot be told.
func NewThatUndecided(reason string) celref.Val { return types.WrapErr(&ThatUndecided{reason}) }

// NewThatNothing is the value of what is not there.
func NewThatNothing(reason string) celref.Val { return types.WrapErr(&ThatNothing{reason}) }

// thatValue is what all of the lab's values have in common.
type thatValue struct{ kind *cel.Type }

func (v thatValue) ConvertToNative(desc reflect.Type) (any, error) {
	return nil, fmt.Errorf("a %s has no form as %v", thatTypeName(v.kind.String()), desc)
}

func (v thatValue) ConvertToType(to celref.Type) celref.Val {
	if to == types.TypeType {
		return v.kind
	}
	return types.NewErr("a %s cannot be made a %s", thatTypeName(v.kind.String()), to.TypeName())
}

func (v thatValue) Type() celref.Type { return v.kind }

// extent is a length of time that is surely within [lo, hi], in nanoseconds.
type extent struct {
	thatValue
	lo, hi int64
}

// thatUnbounded is where a bound of a span means that there is none.
const thatUnbounded = int64(1) << 62

// NewThatSpan makes a length of time that is surely within [lo, hi] nanoseconds. A
// bound of 1<<62 or more either way is none.
func NewThatSpan(lo, hi int64) celref.Val {
	return extent{thatValue{thatSpan}, max(lo, -thatUnbounded), min(hi, thatUnbounded)}
}

func (s extent) Value() any { return s }

// Equal is true only where both are exact.
func (s extent) Equal(other celref.Val) celref.Val {
	o, ok := other.(extent)
	switch {
	case !ok:
		return types.False
	case s.lo == s.hi && o.lo == o.hi:
		return types.Bool(s.lo == o.lo)
	case s.hi < o.lo || o.hi < s.lo:
		return types.False
	}
	return NewThatUndecided(fmt.Sprintf("whether %s and %s are the same cannot be told", s, o))
}

// String is the middle with its error.
func (s extent) String() string {
	if s.lo <= -thatUnbounded || s.hi >= thatUnbounded {
		return "a time that nothing bounds"
	}
	text := time.Duration(s.lo + (s.hi-s.lo)/2).String()
	if err := (s.hi - s.lo + 1) / 2; err > 0 {
		text += " ±" + time.Duration(err).String()
	}
	return text
}

// ThatClock knows the order of the moments of a timeline, as package timeline does:
// Order whether one is surely not after another, or surely after it, and Apart how many
// nanoseconds later the second is.
type ThatClock interface {
	Order(a, b int) (notAfter, after bool)
	Apart(a, b int) (lo, hi int64)
}

// instant is a moment of a timeline, by its index there.
type instant struct {
	thatValue
	clock  ThatClock
	moment int
}

// NewThatInstant makes a moment. The clock is asked when an expression compares it.
func NewThatInstant(clock ThatClock, moment int) celref.Val {
	return instant{thatValue{thatInstant}, clock, moment}
}

func (i instant) Value() any { return i.moment }

func (i instant) Equal(other celref.Val) celref.Val {
	o, ok := other.(instant)
	if ok && o.moment == i.moment {
		return types.True
	}
	if !ok {
		return types.False
	}
	lo, hi := i.clock.Apart(i.moment, o.moment)
	return NewThatSpan(lo, hi).Equal(NewThatSpan(0, 0))
}

// record is a value with fields. They are asked for when an expression reads them.
type record struct {
	thatValue
	get func(field string) celref.Val
}

func newThatRecord(kind *cel.Type, get func(string) celref.Val) celref.Val {
	return record{thatValue{kind}, get}
}

// NewThatCall makes a call, and NewThatPacket a packet, of a function that gives each
// field that ThatNames lists; nil for one that is not there.
func NewThatCall(get func(field string) celref.Val) celref.Val { return newThatRecord(thatCall, get) }

// NewThatPacket is described with NewThatCall.
func NewThatPacket(get func(field string) celref.Val) celref.Val {
	return newThatRecord(thatPacket, get)
}

func (r record) Value() any { return r }

func (r record) Equal(celref.Val) celref.Val {
	return types.NewErr("a %s is compared by its fields", thatTypeName(r.kind.String()))
}

// Get gives a field.
func (r record) Get(index celref.Val) celref.Val {
	name, ok := index.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(index)
	}
	if v := r.get(string(name)); v != nil {
		return v
	}
	return NewThatUndecided(fmt.Sprintf("the %s of a %s is not on record", string(name), thatTypeName(r.kind.String())))
}

// IsSet answers has(p.sent).
func (r record) IsSet(field celref.Val) celref.Val {
	name, ok := field.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(field)
	}
	return types.Bool(r.get(string(name)) != nil)
}

// ThatCounters is a map of counters in which one that did not move is 0.
func ThatCounters(deltas map[string]int64) celref.Val {
	values := make(map[celref.Val]celref.Val, len(deltas))
	for name, n := range deltas {
		values[types.String(name)] = types.Int(n)
	}
	return counterMap{types.NewRefValMap(types.DefaultTypeAdapter, values)}
}

type counterMap struct{ traits.Mapper }

// Find gives 0 for what is not there.
func (m counterMap) Find(key celref.Val) (celref.Val, bool) {
	if v, ok := m.Mapper.Find(key); ok || v != nil {
		return v, ok
	}
	return types.IntZero, true
}

// Get is Find.
func (m counterMap) Get(key celref.Val) celref.Val {
	v, _ := m.Find(key)
	return v
}

// thatOperation is an operator on lengths of time and moments. CEL's own dispatch goes
// by the left side alone, so a program looks them up itself.
type thatOperation struct {
	operator, id        string
	left, right, result *cel.Type
	do                  func(a, b celref.Val) celref.Val
}

var thatOperations = allOperations()

func allOperations() []thatOperation {
	var all []thatOperation
	add := func(operator, id string, left, right, result *cel.Type, do func(a, b celref.Val) celref.Val) {
		all = append(all, thatOperation{operator, id, left, right, result, do})
	}
	for _, pair := range []struct {
		id          string
		left, right *cel.Type
	}{{"span_span", thatSpan, thatSpan}, {"span_duration", thatSpan, cel.DurationType}, {"duration_span", cel.DurationType, thatSpan}} {
		add(operators.Less, "less_"+pair.id, pair.left, pair.right, cel.BoolType, spans(less))
		add(operators.LessEquals, "less_equals_"+pair.id, pair.left, pair.right, cel.BoolType, spans(lessEquals))
		add(operators.Greater, "greater_"+pair.id, pair.left, pair.right, cel.BoolType, spans(func(a, b extent) celref.Val { return less(b, a) }))
		add(operators.GreaterEquals, "greater_equals_"+pair.id, pair.left, pair.right, cel.BoolType, spans(func(a, b extent) celref.Val { return lessEquals(b, a) }))
		add(operators.Add, "add_"+pair.id, pair.left, pair.right, thatSpan, spans(plus))
		add(operators.Subtract, "subtract_"+pair.id, pair.left, pair.right, thatSpan, spans(func(a, b extent) celref.Val { return plus(a, b.negative()) }))
	}
	for _, number := range []*cel.Type{cel.IntType, cel.DoubleType} {
		for _, long := range []*cel.Type{thatSpan, cel.DurationType} {
			name := thatTypeName(long.TypeName() + "_" + number.TypeName())
			add(operators.Multiply, "multiply_"+name, long, number, thatSpan, times)
			add(operators.Multiply, "multiply_turned_"+name, number, long, thatSpan, func(a, b celref.Val) celref.Val { return times(b, a) })
		}
	}
	add(operators.Subtract, "subtract_instant_instant", thatInstant, thatInstant, thatSpan, instants(func(a, b instant) celref.Val {
		lo, hi := a.clock.Apart(b.moment, a.moment)
		return NewThatSpan(lo, hi)
	}))
	add(operators.Less, "less_instant_instant", thatInstant, thatInstant, cel.BoolType, instants(before))
	add(operators.Greater, "greater_instant_instant", thatInstant, thatInstant, cel.BoolType, instants(func(a, b instant) celref.Val { return before(b, a) }))
	add(operators.LessEquals, "less_equals_instant_instant", thatInstant, thatInstant, cel.BoolType, instants(notAfter))
	add(operators.GreaterEquals, "greater_equals_instant_instant", thatInstant, thatInstant, cel.BoolType, instants(func(a, b instant) celref.Val { return notAfter(b, a) }))
	return all
}

// spans makes an operation of spans take durations as well, which are exact.
func spans(do func(a, b extent) celref.Val) func(a, b celref.Val) celref.Val {
	return func(a, b celref.Val) celref.Val {
		x, ok1 := asSpan(a)
		y, ok2 := asSpan(b)
		if !ok1 || !ok2 {
			return types.NoSuchOverloadErr()
		}
		return do(x, y)
	}
}

func asSpan(v celref.Val) (extent, bool) {
	switch v := v.(type) {
	case extent:
		return v, true
	case types.Duration:
		return NewThatSpan(int64(v.Duration), int64(v.Duration)).(extent), true
	}
	return extent{}, false
}

func instants(do func(a, b instant) celref.Val) func(a, b celref.Val) celref.Val {
	return func(a, b celref.Val) celref.Val {
		x, ok1 := a.(instant)
		y, ok2 := b.(instant)
		if !ok1 || !ok2 {
			return types.NoSuchOverloadErr()
		}
		return do(x, y)
	}
}

// less is true only if every length that a can have is below every one of b.
func less(a, b extent) celref.Val {
	switch {
	case a.hi < b.lo:
		return types.True
	case a.lo >= b.hi:
		return types.False
	}
	return undecidedSpans(a, b)
}

func lessEquals(a, b extent) celref.Val {
	switch {
	case a.hi <= b.lo:
		return types.True
	case a.lo > b.hi:
		return types.False
	}
	return undecidedSpans(a, b)
}

func undecidedSpans(a, b extent) celref.Val {
	return NewThatUndecided(fmt.Sprintf("which is longer, %s or %s, cannot be told", a, b))
}

func plus(a, b extent) celref.Val { return NewThatSpan(sum(a.lo, b.lo), sum(a.hi, b.hi)) }

// sum keeps a bound that is none, and what would be too much is none either.
func sum(a, b int64) int64 {
	switch {
	case a <= -thatUnbounded || b <= -thatUnbounded:
		return -thatUnbounded
	case a >= thatUnbounded || b >= thatUnbounded:
		return thatUnbounded
	}
	return a + b // both are below 1<<62, so this is no overflow
}

func (s extent) negative() extent { return extent{s.thatValue, -s.hi, -s.lo} }

// times is a length of time so many times.
func times(long, n celref.Val) celref.Val {
	s, ok := asSpan(long)
	if !ok {
		return types.NoSuchOverloadErr()
	}
	var factor float64
	switch n := n.(type) {
	case types.Int:
		factor = float64(n)
	case types.Double:
		factor = float64(n)
	}
	if math.IsNaN(factor) || math.IsInf(factor, 0) {
		return types.NewErr("%v times a length of time is none", n.Value())
	}
	lo, hi := scaled(s.lo, factor, math.Floor), scaled(s.hi, factor, math.Ceil)
	if factor < 0 {
		lo, hi = scaled(s.hi, factor, math.Floor), scaled(s.lo, factor, math.Ceil)
	}
	return NewThatSpan(lo, hi)
}

// scaled rounds outwards, so that the bounds keep holding.
func scaled(ns int64, factor float64, round func(float64) float64) int64 {
	if factor == 0 {
		return 0
	}
	x := round(float64(ns) * factor)
	return int64(max(-float64(thatUnbounded), min(float64(thatUnbounded), x)))
}

// notAfter and before tell the order of two moments as `order` does: two stamps of one
// clock may be equal.
func notAfter(a, b instant) celref.Val {
	isNot, is := a.clock.Order(a.moment, b.moment)
	switch {
	case isNot:
		return types.True
	case is:
		return types.False
	}
	lo, hi := a.clock.Apart(a.moment, b.moment)
	return NewThatUndecided(fmt.Sprintf("which of two moments came first cannot be told: the second is %s after the first", NewThatSpan(lo, hi)))
}

func before(a, b instant) celref.Val {
	v := notAfter(b, a)
	if known, ok := v.(types.Bool); ok {
		return !known
	}
	return v
}
