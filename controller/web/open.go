package web

import "syncline/controller/timeline"

// WorstRun is the index of the run with the repetition that is most worth a look: of the
// worst ruling, and of those the one that is least like the others. It is -1 if no run has a
// repetition.
func WorstRun(runs []Run) int {
	worst := -1
	var best *Overview
	for i := range runs {
		for k := range runs[i].Repetitions {
			if o := &runs[i].Repetitions[k]; best == nil || o.worseThan(best) {
				worst, best = i, o
			}
		}
	}
	return worst
}

// Open begins the page with a repetition. because is why that was chosen, if it passed; of
// one that did not, its ruling says it.
func (p *Page) Open(run, repetition int, because string) {
	p.Opening = Opening{Run: run, Repetition: repetition, Why: because}
	for _, o := range p.Runs[run].Repetitions {
		if o.N == repetition && severities[o.Ruling] > severities[timeline.Pass.String()] {
			p.Opening.Why = o.Ruling
			if o.Why != "" {
				p.Opening.Why += ": " + o.Why
			}
		}
	}
}

// severities order the rulings as timeline.Worst does.
var severities = map[string]int{
	timeline.Pass.String(): 1, timeline.NotReproduced.String(): 2, timeline.CannotTell.String(): 3, timeline.Fail.String(): 4,
}

func (o *Overview) worseThan(p *Overview) bool {
	if severities[o.Ruling] != severities[p.Ruling] {
		return severities[o.Ruling] > severities[p.Ruling]
	}
	return o.Oddness > p.Oddness
}
