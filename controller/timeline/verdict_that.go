package timeline

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"syncline/controller/experiment"
)

// that judges an expression: true is a pass, false a fail. What it compares is known
// within bounds, and a comparison that they do not decide is an error of the expression,
// as is a value that is not on record: then nobody can tell, unless the rest of an
// && or || decides. Where a source that it looks at may have lost something, nobody can
// tell either, whatever it says: a list that is too short makes some expressions false
// and others true.
func (tr *trial) that(e *experiment.ThatExpectation) Verdict {
	program, err := experiment.NewThatProgram(e.Source)
	if err != nil {
		return Verdict{Ruling: CannotTell, Reason: err.Error()}
	}
	w := &thatWorld{trial: tr}
	activation, err := w.activation()
	if err != nil {
		return Verdict{Ruling: CannotTell, Reason: err.Error()}
	}
	out, _, err := program.Eval(activation)
	v := w.ruling(out, err)
	v.Moments = w.moments
	if cause := w.cause(program.Sources); cause != "" && v.Ruling != CannotTell {
		tr.empty = false
		return doubted(v, cause)
	}
	return v
}

// thatWorld is what an expression sees of a repetition.
type thatWorld struct {
	*trial
	// moments that were compared, and notes of what functions gave, for the reason.
	moments []int
	notes   []string
	// doubt says why packets may be somebody else's.
	doubt string
}

// Bounds of what a verdict on an expression names.
const (
	maxThatMoments = 16
	maxThatNotes   = 4
)

func (w *thatWorld) ruling(out ref.Val, err error) Verdict {
	var nothing *experiment.ThatNothing
	var undecided *experiment.ThatUndecided
	switch {
	case errors.As(err, &nothing):
		w.empty = true
		return Verdict{Ruling: Fail, Reason: "selects nothing: " + nothing.Reason}
	case errors.As(err, &undecided):
		return Verdict{Ruling: CannotTell, Reason: undecided.Reason}
	case err != nil:
		return Verdict{Ruling: CannotTell, Reason: "the expression has no value: " + err.Error()}
	case out == types.True:
		return Verdict{Ruling: Pass}
	case out == types.False:
		return Verdict{Ruling: Fail, Reason: strings.Join(append([]string{"the expression is false"}, w.notes...), "; ")}
	}
	return Verdict{Ruling: CannotTell, Reason: fmt.Sprintf("the expression is %v, neither true nor false", out)}
}

// cause is why something may be missing from what the expression looked at.
func (w *thatWorld) cause(sources []string) string {
	packets := slices.Contains(sources, string(Packets))
	cause := w.causeOf(func(g *gap) bool {
		switch {
		case g.kind == gapStep:
			return packets
		case g.kind == gapBusy:
			return packets
		case packets && (g.source == ICMP || g.source == ARP):
			return true
		case g.source == "":
			return len(sources) > 0
		}
		return slices.Contains(sources, string(g.source))
	})
	if cause == "" && packets {
		return w.doubt
	}
	return cause
}

// Order and Apart let expressions compare moments, and remember which.
func (w *thatWorld) Order(a, b int) (notAfter, after bool) {
	w.note(a, b)
	return w.causes.order(a, b)
}

// Apart is described with Order.
func (w *thatWorld) Apart(a, b int) (lo, hi int64) {
	w.note(a, b)
	return w.causes.apart(a, b)
}

func (w *thatWorld) note(moments ...int) {
	for _, m := range moments {
		if len(w.moments) < maxThatMoments && !slices.Contains(w.moments, m) {
			w.moments = append(w.moments, m)
		}
	}
}

func (w *thatWorld) noteText(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); len(w.notes) < maxThatNotes && !slices.Contains(w.notes, text) {
		w.notes = append(w.notes, text)
	}
}

// activation gives the names of an expression their values. Lists are made when they
// are asked for.
func (w *thatWorld) activation() (cel.Activation, error) {
	vars := map[string]any{
		"rtt":     func() ref.Val { return w.onlyRTT() },
		"calls":   func() ref.Val { return w.callList() },
		"packets": func() ref.Val { return w.packetList() },
		"vars":    func() ref.Val { return w.varMap() },
	}
	functions := map[string]cel.LateBoundFunction{
		"rtt_of":   func(_ string, args ...ref.Val) ref.Val { return w.rttOf(text(args, 0)) },
		"phase":    func(_ string, args ...ref.Val) ref.Val { return w.onePhaseOf(text(args, 0), text(args, 1)) },
		"phases":   func(_ string, args ...ref.Val) ref.Val { return w.phaseList(text(args, 0), text(args, 1)) },
		"info":     func(_ string, args ...ref.Val) ref.Val { return w.infoOf(text(args, 0)) },
		"counters": func(_ string, args ...ref.Val) ref.Val { return w.countersOf(text(args, 0)) },
		"states":   func(_ string, args ...ref.Val) ref.Val { return w.statesOf(text(args, 0)) },
	}
	activation, err := cel.FunctionVars(vars, functions)
	if err != nil {
		return nil, fmt.Errorf("give an expression its values: %w", err)
	}
	return activation, nil
}

// text is an argument, empty if there are fewer. The checker has seen to its type.
func text(args []ref.Val, i int) string {
	if i >= len(args) {
		return ""
	}
	s, _ := args[i].(types.String)
	return string(s)
}
