package timeline

import (
	"fmt"
	"time"

	"syncline/controller/clock"
	"syncline/controller/experiment"
)

// premise says whether the repetition is the phenomenon that the experiment is about:
// whether its preconditions hold and its meetings came about. It takes a stand on
// every other verdict but EveryEvent, which is about the record and not about TCP:
//
//	             pass          cannot tell   fail
//	it holds     pass          cannot tell   fail
//	not known    cannot tell   cannot tell   cannot tell
//	it is false  not reproduced, all of them
//
// A repetition that is not the phenomenon must not be failed, so even a failed call is
// not reproduced then: its reason says what failed all the same. Where the premise is
// not known, a pass could be one of a repetition that does not count and a fail could
// be one of a repetition that must not be failed, so neither is given.
//
// A wait for a packet that was in vain because its host hears no packets, or lost some,
// leaves the premise unknown: the lanes did not do what they were to do. So does a change
// of a host that a lane could not make.
//
// A precondition of which a moment is not on record is false if the record is
// complete: what did not happen was not in order.
type premise struct {
	ruling Ruling
	reason string
	// own are the verdicts on the preconditions themselves, by their index in Expect.
	own map[int]Verdict
}

// premise judges the preconditions and the meetings of the repetition. What surely is
// not so decides, whatever else is not known.
func (tr *trial) premise() premise {
	p := premise{ruling: Pass, own: make(map[int]Verdict)}
	for i := range tr.exp.Expect {
		e := &tr.exp.Expect[i]
		applies, unknown := kernelApplies(e, tr.t.Hosts)
		switch {
		case e.Precondition == nil, !applies:
			continue
		case unknown != "":
			p.add(CannotTell, e.Text+": "+unknown)
			continue
		}
		v := tr.disputing(func() Verdict { return tr.order(&e.Precondition.Order) })
		if v.Ruling == Fail {
			v.Ruling = NotReproduced
		}
		v.Expectation = e.Text
		p.own[i] = v
		switch v.Ruling {
		case NotReproduced:
			p.add(NotReproduced, e.Text+", which does not hold")
		case CannotTell:
			p.add(CannotTell, e.Text+", of which nobody can tell whether it holds")
		}
	}
	for i := range tr.exp.Meetings {
		m := &tr.exp.Meetings[i]
		if v := tr.disputing(func() Verdict { return tr.meeting(m) }); v.Ruling != Pass {
			p.add(v.Ruling, "meeting "+m.Name+": "+v.Reason)
		}
	}
	for _, unset := range []string{tr.blindWait(), tr.refusedChange()} {
		if unset != "" {
			p.ruling, p.reason = CannotTell, unset
		}
	}
	return p
}

// add notes what a precondition or a meeting does to the premise. The worst counts, and
// of those the first.
func (p *premise) add(r Ruling, reason string) {
	if p.ruling == Pass || p.ruling == CannotTell && r == NotReproduced {
		p.ruling, p.reason = r, reason
	}
}

// apply is what is left of a verdict under the premise.
func (p *premise) apply(v Verdict) Verdict {
	switch p.ruling {
	case NotReproduced:
		had := v
		v.Ruling, v.Reason = NotReproduced, p.reason
		if had.Ruling == Fail && had.Expectation == EveryOutcome {
			v.Reason += "; besides, " + had.Reason
		}
	case CannotTell:
		switch {
		case v.Ruling == Pass:
			v.Reason = "it holds, if the repetition counts; " + p.reason
		case v.Ruling == Fail:
			v.Reason += "; it fails, if the repetition counts; " + p.reason
		}
		v.Ruling = CannotTell
	}
	return v
}

// meeting judges that a meeting took place and that its lanes left it close enough to
// each other.
func (tr *trial) meeting(m *experiment.Meeting) Verdict {
	at, v := tr.released(m)
	if v.Ruling != 0 {
		if v.Ruling == Fail {
			v.Ruling = NotReproduced
		}
		return v
	}
	if m.MaxSpread == 0 {
		return Verdict{Ruling: Pass, Moments: at}
	}
	v = tr.spreadWithin(at, m.MaxSpread)
	if v.Ruling == Fail {
		v.Ruling = NotReproduced
	}
	return v
}

// spread judges how far apart a meeting released its lanes.
func (tr *trial) spread(e *experiment.SpreadExpectation) Verdict {
	for i := range tr.exp.Meetings {
		m := &tr.exp.Meetings[i]
		if m.Name != e.Meeting {
			continue
		}
		at, v := tr.released(m)
		if v.Ruling != 0 {
			tr.empty = v.Ruling == Fail
			return v
		}
		return tr.spreadWithin(at, e.Most)
	}
	tr.empty = true
	return Verdict{Ruling: Fail, Reason: "selects nothing: the experiment has no meeting " + e.Meeting}
}

// released are the moments at which the lanes of a meeting left it. The verdict has a
// ruling only if some lane is not known to have done so.
func (tr *trial) released(m *experiment.Meeting) ([]int, Verdict) {
	var at []int
	for _, lane := range m.Lanes {
		c, ok := tr.meetCall(lane, m.Name)
		switch {
		case ok && c.leave >= 0 && c.Errno == 0 && c.EndedBy == EndedByKernel && c.Failure == "":
			at = append(at, c.leave)
			continue
		case ok:
			why := c.Failure
			if why == "" {
				why = resultText(c.Call)
			}
			return nil, Verdict{Ruling: Fail, Moments: []int{c.enter}, Reason: fmt.Sprintf("lane %s did not meet the others at %s: %s", lane, m.Name, why)}
		}
		v := Verdict{Ruling: Fail, Reason: fmt.Sprintf("lane %s never came to %s", lane, m.Name)}
		if cause := tr.hidden(gapsOf(Syscalls, tr.lanes[lane])); cause != "" {
			v.Ruling = CannotTell
			v.Reason = fmt.Sprintf("that lane %s came to %s is not on record; %s", lane, m.Name, cause)
		}
		return nil, v
	}
	if len(at) == 0 {
		return nil, Verdict{Ruling: Fail, Reason: "selects nothing: no lane comes to " + m.Name}
	}
	return at, Verdict{}
}

func (tr *trial) meetCall(lane, meeting string) (made, bool) {
	for _, c := range tr.calls {
		if c.Lane != lane || c.Name != "meet" {
			continue
		}
		if step := tr.stepOf(c.Call); step != nil {
			if args, ok := step.Args.(experiment.MeetArgs); ok && args.Name == meeting {
				return c, true
			}
		}
	}
	return made{}, false
}

// spreadWithin judges the time between the first and the last of some moments. It is
// as sure as the clocks of their hosts: at least the widest pair's low bound, at most
// the widest pair's high one.
func (tr *trial) spreadWithin(at []int, most time.Duration) Verdict {
	spread := length{}
	var widest []int
	for i, a := range at {
		for _, b := range at[i+1:] {
			apart := tr.distance(a, b)
			if widest == nil || apart.hi > spread.hi {
				widest = []int{a, b}
			}
			spread.lo, spread.hi = max(spread.lo, apart.lo), max(spread.hi, apart.hi)
		}
	}
	limit := experiment.Span{Duration: most}
	v := tr.within(spread, length{int64(most), int64(most)}, &limit, false)
	v.Moments = at
	if v.Ruling != Pass {
		v.Moments = widest
		v.Reason = "the lanes were released apart by " + v.Reason
	}
	return v
}

// distance is how far two moments are from each other, whichever was first.
func (tr *trial) distance(a, b int) length {
	lo, hi := tr.causes.apart(a, b)
	switch {
	case lo >= 0:
		return length{lo, hi}
	case hi <= 0:
		return length{-hi, unbounded(-lo)}
	}
	return length{0, unbounded(max(-lo, hi))}
}

func unbounded(ns int64) int64 { return min(ns, clock.Unbounded) }
