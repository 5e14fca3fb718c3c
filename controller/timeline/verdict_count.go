package timeline

import (
	"fmt"
	"slices"

	"syncline/controller/experiment"
)

// count judges how many packets or calls there were, of the whole repetition: of all
// connections of the experiment, of all copies of a lane and all rounds of a loop.
//
// The number is an interval. What surely was there and surely was in the time that is
// meant counts for its low end; what may be outside that time, or may be somebody
// else's, for its high end; and where events may be missing, nothing bounds it from
// above. So "at least" may still pass beside a loss, and "equals" cannot.
func (tr *trial) count(e *experiment.CountExpectation) Verdict {
	w, v := tr.window(e.After, e.Before)
	if v.Ruling != 0 {
		return v
	}
	var c counting
	if e.Packet != nil {
		tr.countPackets(e.Packet, &w, &c)
	} else {
		tr.countMoments(e.Moment, &w, &c)
	}
	n := quantity{int64(len(c.sure)), int64(len(c.sure) + len(c.unsure))}
	cause := tr.countCause(e, &w)
	if cause != "" {
		n.hi = many
	}
	v = bounded(n, e.Bounds)
	v.Moments = c.sure
	if v.Ruling == Pass {
		return tr.unlessWindow(v, &w)
	}
	if v.Ruling == CannotTell {
		v.Moments = append(v.Moments, c.unsure...)
	}
	v.Reason += fmt.Sprintf(", counted %d%s", len(c.sure), tr.ofWhat(e))
	if len(c.unsure) > 0 {
		v.Reason += fmt.Sprintf(" and %d more of which %s", len(c.unsure), c.why)
	}
	if v.Ruling == CannotTell && cause != "" {
		v.Reason += "; " + cause
	}
	if cause := tr.countStep(&w, &c); cause != "" && v.Ruling == Fail {
		return doubted(v, cause)
	}
	return tr.unlessWindow(v, &w)
}

// counting is what was counted, by moments.
type counting struct {
	sure, unsure []int
	// why an unsure one is not known to count.
	why string
}

func (c *counting) perhaps(moment int, why string) {
	c.unsure = append(c.unsure, moment)
	if c.why == "" {
		c.why = why
	}
}

// countPackets counts transmissions: each where it was sent, or where it arrived if
// its departure is not on record. What offloads cut or joined counts as the tap
// recorded it.
func (tr *trial) countPackets(sel *experiment.PacketSelector, w *window, c *counting) {
	last := -1
	for i := range tr.transmissions() {
		one := &tr.sent[i]
		at := one.First()
		if at == last {
			continue
		}
		last = at
		p, ok := tr.sighting(one)
		if !ok || !tr.matches(sel, p) {
			continue
		}
		tr.add(c, w, at, tr.doubtOf(one.Connection))
	}
}

// doubtOf is empty if a packet of a connection counts, the cause if that is not known,
// and foreignText if it does not.
func (tr *trial) doubtOf(connection int) string {
	if connection < 0 {
		return ""
	}
	switch tr.own.of[connection] {
	case foreign:
		return foreignText
	case unclear:
		return tr.unclearText(connection)
	}
	return ""
}

const foreignText = "somebody else's"

func (tr *trial) add(c *counting, w *window, at int, doubt string) {
	switch where := tr.place(w, at); {
	case doubt == foreignText, where == outside:
	case doubt != "":
		c.perhaps(at, doubt)
	case where == perhaps:
		c.perhaps(at, "nobody can tell whether they are in the time that is meant")
	default:
		c.sure = append(c.sure, at)
	}
}

// countMoments counts calls by their entry or return, or packets at one tap.
func (tr *trial) countMoments(sel *experiment.MomentSelector, w *window, c *counting) {
	if ofPacket(sel) {
		for at := range tr.t.Moments {
			if tr.isPicked(sel, at) {
				tr.add(c, w, at, tr.doubtOf(tr.t.Moments[at].Connection))
			}
		}
		return
	}
	for _, call := range tr.calls {
		if !tr.isCallOf(sel, call.Lane, call.Name, call.Label, call.Socket, call.Makes) {
			continue
		}
		at, doubt := call.leave, ""
		if sel.Kind == experiment.EnterCall {
			at = call.enter
		} else if sel.Outcome != nil {
			met, why := outcomeMet(sel.Outcome, call.Call)
			if !met && why == "" {
				continue
			}
			doubt = why
		}
		if at >= 0 {
			tr.add(c, w, at, doubt)
		}
	}
}

// countCause is the cause for which more may have happened than is on record.
func (tr *trial) countCause(e *experiment.CountExpectation, w *window) string {
	touches := func(*gap) bool { return true }
	switch {
	case e.Packet != nil:
		touches = gapsOfAny(wanted(e.Packet), tr.tapsOf(e.Packet)...)
	case e.Moment != nil:
		touches = tr.gapsAt(e.Moment)
	}
	calls := e.Moment != nil && !ofPacket(e.Moment)
	return tr.hidden(func(g *gap) bool {
		return touches(g) && !tr.later(w, g) && !(calls && g.kind == gapBusy)
	})
}

// countStep is the step of a clock that may have moved something into or out of the
// time that is meant.
func (tr *trial) countStep(w *window, c *counting) string {
	for _, at := range slices.Concat(c.sure, c.unsure) {
		if cause := tr.stepCause(w, at); cause != "" {
			return cause
		}
	}
	return ""
}

func (tr *trial) ofWhat(e *experiment.CountExpectation) string {
	text := ""
	if e.Packet != nil {
		text = " of " + packetSelectorText(e.Packet)
	} else {
		text = " of " + momentSelectorText(e.Moment)
	}
	if e.After != nil || e.Before != nil {
		text += " " + tr.windowText(e.After, e.Before)
	}
	return text
}
