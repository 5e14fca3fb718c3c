package timeline

import "syncline/controller/experiment"

func (tr *trial) that(e *experiment.ThatExpectation) Verdict {
	return Verdict{Ruling: CannotTell, Reason: "expressions are not evaluated yet"}
}
