package web

import (
	"fmt"

	"syncline/controller/timeline"
)

// Worst is the repetition that a page of these runs begins with: of the worst ruling, among
// those the one that is least like the others, among those the slowest, then the first.
func Worst(runs []Run) Opening {
	open := Opening{}
	var best *Overview
	for i := range runs {
		for k := range runs[i].Repetitions {
			o := &runs[i].Repetitions[k]
			if best == nil || o.worseThan(best) {
				best, open = o, Opening{Run: i, Repetition: o.N}
			}
		}
	}
	switch {
	case best == nil:
	case severities[best.Ruling] > severities[timeline.Pass.String()]:
		open.Why = best.Ruling
		if best.Why != "" {
			open.Why += ": " + best.Why
		}
	case best.Oddness > 0:
		open.Why = "least like the others"
	case len(runs) == 1 && len(runs[0].Repetitions) == 1:
		open.Why = "the only one"
	default:
		open.Why = fmt.Sprintf("the slowest, %s", timeline.Span(best.Took))
	}
	return open
}

// severities order the rulings as timeline.Worst does.
var severities = map[string]int{
	timeline.Pass.String(): 1, timeline.NotReproduced.String(): 2, timeline.CannotTell.String(): 3, timeline.Fail.String(): 4,
}

func (o *Overview) worseThan(p *Overview) bool {
	switch {
	case severities[o.Ruling] != severities[p.Ruling]:
		return severities[o.Ruling] > severities[p.Ruling]
	case o.Oddness != p.Oddness:
		return o.Oddness > p.Oddness
	}
	return o.Took > p.Took
}
