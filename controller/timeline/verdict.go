package timeline

import (
	"strings"

	"syncline/controller/experiment"
)

// Texts of the two verdicts that every repetition has, whatever its experiment
// expects.
const (
	// EveryOutcome fails if a call gave anything else than its author wrote, or if
	// a lane did not come to its end.
	EveryOutcome = "every call gives its outcome"
	// EveryEvent is a pass exactly if nothing that happened is known to be missing
	// from the record. It is never a fail: a hole in the record says nothing of TCP.
	EveryEvent = "every event is on record"
)

// Judge rules on this repetition: first EveryOutcome and EveryEvent, then one
// verdict per expectation that the hosts' kernels are meant by, in the order of the
// file: the list that Expectations gives.
//
// A ruling is definite only if it is sure. Moments of one host are compared on its
// own clock, exactly but for the error of moving a packet's stamp to that clock.
// Moments of two hosts are ordered by the bound on their clocks, or by a message
// that left after the one and arrived before the other; where neither decides, the
// verdict is CannotTell and its reason names both moments, their distance, the ε,
// and the ε that would have decided it. Lengths of time are intervals, and so are
// numbers where something may be missing from the record: a ruling holds for all that
// is in them.
//
// Where probes and segments exclude each other the bound covers both, so a ruling that rests
// on the clocks is definite only if each of them gives it; one that is not names that cause.
//
// Which of the repetition's connections an expectation is about is told in chain, for
// order, and in ownership: traffic that is not the experiment's is none of its
// business, but for never.
//
// What is missing from the record never makes a pass. It leaves a fail standing
// where no missing event could have changed it: a reset that was seen was seen.
//
// An expectation that selects nothing fails where the record is complete, and cannot
// be told where it is not. One that may be empty passes instead of failing.
//
// A precondition that is false, and a meeting that did not come about or was wider
// than it may be, make the repetition one that is not the phenomenon: see premise.
func (t *Timeline) Judge(exp *experiment.Experiment) []Verdict {
	tr := newTrial(t, exp)
	verdicts := []Verdict{tr.outcomes(), tr.record()}
	p := tr.premise()
	verdicts[0] = p.apply(verdicts[0])
	for i := range exp.Expect {
		e := &exp.Expect[i]
		applies, unknown := kernelApplies(e, t.Hosts)
		switch {
		case unknown != "":
			verdicts = append(verdicts, p.apply(Verdict{Expectation: e.Text, Ruling: CannotTell, Reason: unknown}))
		case !applies:
		case e.Precondition != nil:
			verdicts = append(verdicts, p.own[i])
		default:
			verdicts = append(verdicts, p.apply(tr.judge(e)))
		}
	}
	return verdicts
}

// Expectations lists what Judge rules on, in its order, for an experiment on these
// hosts: the two that every repetition has, and those of the file that are not limited
// to other kernels.
func Expectations(exp *experiment.Experiment, hosts []Host) []string {
	texts := []string{EveryOutcome, EveryEvent}
	for i := range exp.Expect {
		if applies, unknown := kernelApplies(&exp.Expect[i], hosts); applies || unknown != "" {
			texts = append(texts, exp.Expect[i].Text)
		}
	}
	return texts
}

// Worst is the ruling that speaks for all: Fail before CannotTell before
// NotReproduced before Pass. It is the zero Ruling if there is no verdict.
func Worst(verdicts []Verdict) Ruling {
	var worst Ruling
	for _, v := range verdicts {
		if severity(v.Ruling) > severity(worst) {
			worst = v.Ruling
		}
	}
	return worst
}

func severity(r Ruling) int {
	switch r {
	case Pass:
		return 1
	case NotReproduced:
		return 2
	case CannotTell:
		return 3
	case Fail:
		return 4
	}
	return 0
}

// trial is the state of judging one repetition. It only reads the timeline.
type trial struct {
	t      *Timeline
	exp    *experiment.Experiment
	gaps   []gap
	causes *causes
	own    *ownership
	hosts  map[string]int
	// lanes are the hosts of the lanes, -1 where the run has no such role, and plan the
	// lanes themselves.
	lanes map[string]int
	plan  map[string]*experiment.Lane
	// calls on record, but the lab's own closes.
	calls []made
	// column is what times are written with; see timeText.
	column *Ladder
	// others find the transmission of a packet that is no TCP.
	others map[*Event]*Transmission
	// sent is what Timeline.Transmissions gives; see transmissions.
	sent []Transmission
	// empty is set where the expectation that is judged selects nothing.
	empty bool
}

func newTrial(t *Timeline, exp *experiment.Experiment) *trial {
	tr := &trial{
		t:      t,
		exp:    exp,
		gaps:   findGaps(t),
		causes: newCauses(t),
		hosts:  make(map[string]int),
		lanes:  make(map[string]int),
		plan:   make(map[string]*experiment.Lane),
		calls:  callsMade(t),
		others: make(map[*Event]*Transmission),
	}
	for i := range t.Others {
		one := &t.Others[i]
		for _, at := range []int{one.Departure, one.Arrival} {
			if at >= 0 {
				tr.others[t.Moments[at].Event] = one
			}
		}
	}
	tr.own = newOwnership(t, tr.gaps)
	for i := range t.Hosts {
		tr.hosts[t.Hosts[i].Name] = i
	}
	for i := range exp.Lanes {
		lane := &exp.Lanes[i]
		host, ok := tr.hosts[lane.Host]
		if !ok {
			host = -1
		}
		tr.lanes[lane.Name], tr.plan[lane.Name] = host, lane
	}
	return tr
}

// judge rules on one expectation, the premise apart.
func (tr *trial) judge(e *experiment.Expectation) Verdict {
	tr.empty = false
	v := tr.disputing(func() Verdict { return tr.judgeNoun(e) })
	v.Expectation = e.Text
	if tr.empty && e.AllowEmpty && v.Ruling == Fail {
		v.Ruling, v.Reason = Pass, ""
	}
	return v
}

// disputing gives a verdict that cannot be told because the clocks' two methods exclude
// each other that cause.
func (tr *trial) disputing(rule func() Verdict) Verdict {
	tr.causes.disputed = nil
	return tr.causes.because(rule())
}

func (tr *trial) judgeNoun(e *experiment.Expectation) Verdict {
	switch {
	case e.Packets != nil:
		return tr.packets(e.Packets)
	case e.States != nil:
		return tr.states(e.States)
	case e.Order != nil:
		return tr.order(e.Order)
	case e.Phase != nil:
		return tr.phase(e.Phase)
	case e.Count != nil:
		return tr.count(e.Count)
	case e.Retransmits != nil:
		return tr.retransmits(e.Retransmits)
	case e.Drop != nil:
		return tr.drop(e.Drop)
	case e.Counter != nil:
		return tr.counter(e.Counter)
	case e.Queue != nil:
		return tr.queue(e.Queue)
	case e.Result != nil:
		return tr.result(e.Result)
	case e.Never != nil:
		return tr.never(e.Never)
	case e.Final != nil:
		return tr.final(e.Final)
	case e.Spread != nil:
		return tr.spread(e.Spread)
	case e.That != nil:
		return tr.that(e.That)
	}
	return Verdict{Ruling: CannotTell, Reason: "this version of syncline does not know what is expected here"}
}

// record is the verdict EveryEvent.
func (tr *trial) record() Verdict {
	v := Verdict{Expectation: EveryEvent, Ruling: Pass}
	var causes []string
	for _, g := range tr.gaps {
		if g.kind == gapMissing {
			continue
		}
		causes = append(causes, g.text)
		if g.moment >= 0 {
			v.Moments = append(v.Moments, g.moment)
		}
	}
	if len(causes) > 0 {
		v.Ruling, v.Reason = CannotTell, strings.Join(causes, "; ")
	}
	return v
}
