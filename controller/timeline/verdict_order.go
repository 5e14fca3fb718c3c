package timeline

import (
	"fmt"
	"strings"

	"syncline/controller/clock"
	"syncline/controller/experiment"
)

// order judges a chain a < b < c. Its selectors pick one moment each, as chain says,
// and each of them must not be after the next.
//
// A pair that is surely the wrong way round fails the chain, unless an earlier
// match of its first moment may be missing from the record: that would be before the
// second moment again. A missing earlier match of the second moment changes no fail,
// and a missing earlier match of the first changes no pass.
func (tr *trial) order(e *experiment.OrderExpectation) Verdict {
	c := chain{trial: tr, selectors: e.Moments}
	if v := c.pick(); v.Ruling != 0 {
		return v
	}
	v := Verdict{Ruling: Pass, Moments: c.at}
	for i := 1; i < len(e.Moments); i++ {
		pair := tr.pair(&e.Moments[i-1], &e.Moments[i], v.Moments[i-1], v.Moments[i])
		if severity(pair.Ruling) > severity(v.Ruling) {
			v.Ruling, v.Reason = pair.Ruling, pair.Reason
		}
	}
	if len(c.doubts) > 0 {
		return doubted(v, strings.Join(c.doubts, "; "))
	}
	if v.Ruling != Pass {
		return v
	}
	for i := 1; i < len(e.Moments); i++ {
		touches := tr.gapsAt(&e.Moments[i])
		before := tr.t.Moments[v.Moments[i]].Local
		v = tr.unlessGap(v, func(g *gap) bool { return touches(g) && !(g.kind == gapLoss && g.since >= before) })
	}
	return v
}

// pair judges that moment a, picked by sa, is not after moment b, picked by sb.
func (tr *trial) pair(sa, sb *experiment.MomentSelector, a, b int) Verdict {
	notAfter, after := tr.causes.order(a, b)
	switch {
	case notAfter:
		return Verdict{Ruling: Pass}
	case !after:
		return Verdict{Ruling: CannotTell, Reason: tr.undecided(tr.named(sa, a), tr.named(sb, b), a, b)}
	}
	lo, hi := tr.causes.apart(a, b)
	v := Verdict{Ruling: Fail}
	v.Reason = fmt.Sprintf("%s is after %s%s", tr.named(sa, a), tr.named(sb, b), byHowMuch(lo, hi))
	if cause := tr.doubts(sa, a, b); cause != "" {
		v.Ruling = CannotTell
		v.Reason += ", but " + cause
	}
	return v
}

// doubts is the cause for which a pair that is the wrong way round on record may
// have been the right way round: an earlier match of the first is missing, or the
// clock that either was stamped with was stepped.
func (tr *trial) doubts(sa *experiment.MomentSelector, a, b int) string {
	ma, mb := &tr.t.Moments[a], &tr.t.Moments[b]
	touches := tr.gapsAt(sa)
	return tr.causeOf(func(g *gap) bool {
		switch g.kind {
		case gapStep:
			return stepTouches(g, ma, mb) || stepTouches(g, mb, ma)
		case gapLoss:
			return touches(g) && g.since < ma.Local
		case gapBusy:
			// What came later cannot have been first.
			return false
		}
		return touches(g)
	})
}

// stepTouches reports whether a step of CLOCK_REALTIME can have moved moment m
// against the other. Calls are stamped with CLOCK_MONOTONIC, which is never
// stepped; the clock of a host is compared with another's through its packets. A suspend
// is of both clocks.
func stepTouches(g *gap, m, other *Moment) bool {
	if g.host != m.Event.Host {
		return false
	}
	return g.suspend || m.Event.Packet != nil || other.Event.Host != m.Event.Host
}

// named is a moment as its selector names it, with its connection and its time.
func (tr *trial) named(sel *experiment.MomentSelector, moment int) string {
	if !ofPacket(sel) {
		return momentSelectorText(sel) + " at " + tr.timeText(moment)
	}
	return momentSelectorText(sel) + tr.onConnection(tr.t.Moments[moment].Connection) + " at " + tr.timeText(moment) + tr.labText(moment)
}

// undecided says that the order of two moments is not known, and what would have
// decided it.
func (tr *trial) undecided(first, second string, a, b int) string {
	lo, hi := tr.causes.apart(a, b)
	if lo <= -clock.Unbounded || hi >= clock.Unbounded {
		return fmt.Sprintf("which came first, %s or %s, is not known: nothing ties the two clocks", first, second)
	}
	distance, err := magnitude(lo+(hi-lo)/2), (hi-lo+1)/2
	text := fmt.Sprintf("which came first, %s or %s, is not known: they are %s apart, ε is %s",
		first, second, spanText(distance), spanText(err))
	if distance > 0 {
		text += fmt.Sprintf("; an ε below %s would have decided it", spanText(distance))
	}
	return text
}

// byHowMuch is how far a moment is after another, empty if only a message tells.
func byHowMuch(lo, hi int64) string {
	if hi >= 0 {
		return " (a message orders them)"
	}
	text := " by " + spanText(-(lo + (hi-lo)/2))
	if err := (hi - lo + 1) / 2; err > 0 {
		text += " ±" + spanText(err)
	}
	return text
}

func magnitude(n int64) int64 {
	if n < 0 {
		return -n
	}
	return n
}
