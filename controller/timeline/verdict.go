package timeline

import (
	"fmt"
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
// verdict per expectation, in the order of the file.
//
// A ruling is definite only if it is sure. Moments of one host are compared on its
// own clock, exactly but for the error of moving a packet's stamp to that clock.
// Moments of two hosts are ordered by the bound on their clocks, or by a message
// that left after the one and arrived before the other; where neither decides, the
// verdict is CannotTell and its reason names both moments, their distance, the ε,
// and the ε that would have decided it.
//
// Which of the repetition's connections an expectation is about is told in chain, for
// order, and in ownership: traffic that is not the experiment's is none of its
// business, but for never.
//
// What is missing from the record never makes a pass. It leaves a fail standing
// where no missing event could have changed it: a reset that was seen was seen.
func (t *Timeline) Judge(exp *experiment.Experiment) []Verdict {
	tr := newTrial(t, exp)
	verdicts := []Verdict{tr.outcomes(), tr.record()}
	for i := range exp.Expect {
		verdicts = append(verdicts, tr.judge(&exp.Expect[i]))
	}
	return verdicts
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
	lanes  map[string]int
	// column is what times are written with; see timeText.
	column *Ladder
}

func newTrial(t *Timeline, exp *experiment.Experiment) *trial {
	tr := &trial{
		t:      t,
		exp:    exp,
		gaps:   findGaps(t),
		causes: newCauses(t),
		hosts:  make(map[string]int),
		lanes:  make(map[string]int),
	}
	tr.own = newOwnership(t, tr.gaps)
	for i := range t.Hosts {
		tr.hosts[t.Hosts[i].Name] = i
	}
	for _, lane := range exp.Lanes {
		host, ok := tr.hosts[lane.Host]
		if !ok {
			host = -1
		}
		tr.lanes[lane.Name] = host
	}
	return tr
}

func (tr *trial) judge(e *experiment.Expectation) Verdict {
	var v Verdict
	switch {
	case e.Packets != nil:
		v = tr.packets(e.Packets)
	case e.Order != nil:
		v = tr.order(e.Order)
	case e.Result != nil:
		v = tr.result(e.Result)
	case e.Never != nil:
		v = tr.never(e.Never)
	default:
		v = Verdict{Ruling: CannotTell, Reason: "this version of syncline does not know what is expected here"}
	}
	v.Expectation = e.Text
	return v
}

// outcomes is the verdict EveryOutcome.
func (tr *trial) outcomes() Verdict {
	v := Verdict{Expectation: EveryOutcome}
	steps := make(map[string]int)
	for i := range tr.t.Moments {
		m := &tr.t.Moments[i]
		if m.Event.Call == nil || m.Edge != Return || m.Event.Call.ByLab {
			continue
		}
		steps[m.Event.Call.Lane]++
		if text := callFailure(m.Event.Call); text != "" {
			v.Ruling, v.Moments = Fail, append(v.Moments, i)
			if v.Reason == "" {
				v.Reason = text
			}
		}
	}
	if v.Ruling == Fail {
		return v
	}
	return tr.unlessGap(tr.laneEnds(v, steps), gapsOf(Syscalls))
}

// callFailure is one sentence if the call did not give what was expected of it.
func callFailure(c *Call) string {
	switch {
	case c.Failure != "":
		return fmt.Sprintf("lane %s, step %d, %s: %s", c.Lane, c.Step+1, callText(c), c.Failure)
	case c.EndedBy == EndedByCancel:
		return fmt.Sprintf("lane %s, step %d, %s: still blocked when the repetition's time was up", c.Lane, c.Step+1, callText(c))
	}
	return ""
}

// laneEnds completes EveryOutcome: a lane that made fewer calls than its author
// wrote has failed, unless the rest of its calls may only be missing from the
// record.
func (tr *trial) laneEnds(v Verdict, steps map[string]int) Verdict {
	for _, lane := range tr.exp.Lanes {
		if steps[lane.Name] >= len(lane.Steps) {
			continue
		}
		v.Reason = fmt.Sprintf("lane %s: %d of %d calls are on record, %s is not",
			lane.Name, steps[lane.Name], len(lane.Steps), lane.Steps[steps[lane.Name]].Text)
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

// result judges what a call returned.
func (tr *trial) result(e *experiment.ResultExpectation) Verdict {
	_, at := tr.callMoments(&e.Of)
	if at < 0 {
		return tr.selectsNothing(&e.Of, -1)
	}
	v := Verdict{Ruling: Pass, Moments: []int{at}}
	call := tr.t.Moments[at].Event.Call
	if !outcomeMet(&e.Outcome, call) {
		v.Ruling = Fail
		v.Reason = fmt.Sprintf("expected %s of %s, got %s", outcomeText(&e.Outcome), callText(call), resultText(call))
		return v
	}
	return tr.unlessGap(v, gapsOf(Syscalls, tr.t.Moments[at].Event.Host))
}

// outcomeMet reports whether a call gave any of the parts of an outcome.
func outcomeMet(o *experiment.Outcome, c *Call) bool {
	if c.EndedBy == EndedByTimeout {
		return o.Timeout
	}
	if c.EndedBy == EndedByCancel {
		return false
	}
	if o.OK && c.Errno == 0 {
		return true
	}
	for _, want := range o.Values {
		if c.Errno == 0 && c.Result == want {
			return true
		}
	}
	for _, want := range o.Errnos {
		if c.Errno == want {
			return true
		}
	}
	return false
}

// never judges that no tap saw such a packet, of whatever connection.
func (tr *trial) never(e *experiment.NeverExpectation) Verdict {
	v := Verdict{Ruling: Pass}
	for i := range tr.t.Moments {
		if p, ok := tr.packetAt(i); ok && tr.matches(&e.Packet, p) {
			v.Moments = append(v.Moments, i)
		}
	}
	if len(v.Moments) > 0 {
		first := v.Moments[0]
		p, _ := tr.packetAt(first)
		v.Ruling = Fail
		v.Reason = fmt.Sprintf("%s%s seen by %s at %s%s", tr.packetText(p), tr.onConnection(p.connection),
			tr.hostName(p.host), tr.timeText(first), tr.labText(first))
		return v
	}
	hosts := tr.tapsOf(&e.Packet)
	return tr.unlessGap(v, gapsOf(Packets, hosts...))
}

// tapsOf lists the hosts whose taps would have seen such a packet; none means all.
func (tr *trial) tapsOf(sel *experiment.PacketSelector) []int {
	var hosts []int
	for _, role := range []string{sel.From, sel.To} {
		if host, ok := tr.hosts[role]; ok {
			hosts = append(hosts, host)
		}
	}
	return hosts
}
