package timeline

import (
	"fmt"

	"syncline/controller/experiment"
)

// outcomes is the verdict EveryOutcome. Each copy of a lane and each round of a loop
// has steps of its own, which all have to be made. A lane whose process a step of the
// experiment killed is complete with the steps it had made, and so is one that a
// killed lane was to fork.
func (tr *trial) outcomes() Verdict {
	v := Verdict{Expectation: EveryOutcome}
	steps, unsure := make(map[string]map[int]bool), ""
	for _, c := range tr.calls {
		if c.leave < 0 {
			continue
		}
		if steps[c.Lane] == nil {
			steps[c.Lane] = make(map[int]bool)
		}
		steps[c.Lane][c.Step] = true
		if c.EndedBy == EndedByDeath && tr.mayBeKilled(c.Lane) && unsure == "" {
			unsure = failureText(c.Call, "the lane's process ended in it; "+tr.hidden(gapsOf(Syscalls, tr.lanes[c.Lane])))
			continue
		}
		if text := tr.callFailure(c.Call); text != "" {
			v.Ruling, v.Moments = Fail, append(v.Moments, c.leave)
			if v.Reason == "" {
				v.Reason = text
			}
		}
	}
	switch {
	case v.Ruling == Fail:
		return v
	case unsure != "":
		v.Ruling, v.Reason = CannotTell, unsure
		return v
	}
	return tr.unlessGap(tr.laneEnds(v, steps), gapsOf(Syscalls))
}

// callFailure is one sentence if the call did not give what was expected of it.
func callFailure(c *Call) string {
	what := c.Failure
	if what == "" && c.EndedBy == EndedByCancel {
		what = "still blocked when the repetition's time was up"
	}
	return failureText(c, what)
}

// callFailure knows as well what ended the lane's process.
func (tr *trial) callFailure(c *Call) string {
	if c.Failure == "" && c.EndedBy == EndedByDeath && !tr.killed(c.Lane) {
		return failureText(c, "the lane's process ended in it, and no step of the experiment killed it")
	}
	return callFailure(c)
}

func failureText(c *Call, what string) string {
	if what == "" {
		return ""
	}
	return fmt.Sprintf("lane %s, step %d, %s: %s", c.Lane, c.Step+1, callText(c), what)
}

// laneEnds completes EveryOutcome: a lane that made fewer calls than its author
// wrote has failed, unless the rest of its calls may only be missing from the
// record.
func (tr *trial) laneEnds(v Verdict, steps map[string]map[int]bool) Verdict {
	for i := range tr.exp.Lanes {
		lane := &tr.exp.Lanes[i]
		made := steps[lane.Name]
		missing := 0
		for made[missing] {
			missing++
		}
		if missing >= len(lane.Steps) || tr.killed(lane.Name) || tr.neverBegan(lane) {
			continue
		}
		v.Reason = fmt.Sprintf("lane %s: %d of %d calls are on record, %s is not",
			lane.Name, len(made), len(lane.Steps), lane.Steps[missing].Text)
		v.Ruling = Fail
		if cause := tr.hidden(gapsOf(Syscalls, tr.lanes[lane.Name])); cause != "" {
			v.Ruling = CannotTell
			v.Reason += "; " + cause
		}
		return v
	}
	v.Ruling = Pass
	return v
}

// result judges what calls returned and how long they took. All calls that the
// selector names are meant: of every copy of a lane and of every round of a loop.
func (tr *trial) result(e *experiment.ResultExpectation) Verdict {
	calls := tr.picked(&e.Of)
	v := Verdict{Ruling: Pass}
	for _, c := range calls {
		one := tr.resultOf(e, c)
		switch {
		case severity(one.Ruling) > severity(v.Ruling):
			v = one
		case one.Ruling == v.Ruling && v.Ruling == Pass:
			v.Moments = append(v.Moments, one.Moments...)
		}
	}
	if v.Ruling == Fail {
		return v
	}
	if v, unmade := tr.unmade(&e.Of, calls); unmade {
		return v
	}
	if len(calls) == 0 {
		return tr.selectsNothing(&e.Of, -1)
	}
	return tr.unlessGap(v, tr.gapsAt(&e.Of))
}

// unmade rules on a call of the plan that is not on record, where others that the
// same selector names are.
func (tr *trial) unmade(sel *experiment.MomentSelector, calls []made) (Verdict, bool) {
	if len(calls) == 0 {
		return Verdict{}, false
	}
	have := make(map[string]int)
	for _, c := range calls {
		have[c.Lane]++
	}
	steps := tr.stepsOf(sel)
	for i := range tr.exp.Lanes {
		lane := &tr.exp.Lanes[i]
		if have[lane.Name] >= steps[lane.Name] || tr.killed(lane.Name) || tr.neverBegan(lane) {
			continue
		}
		v := Verdict{Ruling: Fail, Reason: fmt.Sprintf("%d of the %d calls %s of lane %s are on record",
			have[lane.Name], steps[lane.Name], callSelectorText(sel), lane.Name)}
		if cause := tr.hidden(gapsOf(Syscalls, tr.lanes[lane.Name])); cause != "" {
			v.Ruling = CannotTell
			v.Reason += "; " + cause
		}
		return v, true
	}
	return Verdict{}, false
}

// resultOf judges one call.
func (tr *trial) resultOf(e *experiment.ResultExpectation, c made) Verdict {
	v := Verdict{Ruling: Pass, Moments: []int{c.leave}}
	if !emptyOutcome(&e.Outcome) {
		met, doubt := outcomeMet(&e.Outcome, c.Call)
		switch {
		case doubt != "":
			v.Ruling, v.Reason = CannotTell, doubt
		case !met:
			v.Ruling = Fail
			v.Reason = fmt.Sprintf("expected %s of %s%s, got %s", outcomeText(&e.Outcome), callText(c.Call), tr.ofLane(c.Call), resultText(c.Call))
			return v
		}
	}
	if e.Least == nil && e.Most == nil {
		return v
	}
	took := int64(c.Return - tr.t.Moments[c.enter].Local)
	one := tr.lasted(length{took, took}, e.Least, e.Most, tr.t.Moments[c.leave].Connection)
	if severity(one.Ruling) > severity(v.Ruling) {
		v.Ruling = one.Ruling
		v.Reason = fmt.Sprintf("%s%s took %s", callText(c.Call), tr.ofLane(c.Call), one.Reason)
		v.Moments = []int{c.enter, c.leave}
	}
	return v
}

// ofLane names the lane of a call where its name alone does not tell it from those of
// other copies.
func (tr *trial) ofLane(c *Call) string {
	if tr.baseOf(c.Lane) == c.Lane {
		return ""
	}
	return " of lane " + c.Lane
}

func emptyOutcome(o *experiment.Outcome) bool {
	return !o.OK && !o.Timeout && len(o.Values) == 0 && len(o.Errnos) == 0 && len(o.Data) == 0
}
