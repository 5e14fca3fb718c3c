package timeline

import (
	"fmt"
	"strings"

	"syncline/controller/experiment"
)

// window is the time from one moment to another; -1 is no limit on that side.
type window struct {
	after, before int
	doubts        []string
}

// window finds the two moments that limit an expectation, as chain does those of an
// order. The verdict has a ruling only if one of them is not to be found.
func (tr *trial) window(after, before *experiment.MomentSelector) (window, Verdict) {
	c := chain{trial: tr}
	for _, sel := range []*experiment.MomentSelector{after, before} {
		if sel != nil {
			c.selectors = append(c.selectors, *sel)
		}
	}
	w := window{-1, -1, nil}
	if v := c.pick(); v.Ruling != 0 {
		return w, v
	}
	at := c.at
	if after != nil {
		w.after, at = at[0], at[1:]
	}
	if before != nil {
		w.before = at[0]
	}
	for i := range c.selectors {
		// An earlier match of a limit that is not on record would move it.
		sel, moment := &c.selectors[i], c.at[i]
		touches := tr.gapsAt(sel)
		if cause := tr.causeOf(func(g *gap) bool {
			return touches(g) && g.kind != gapBusy && !(g.kind == gapLoss && g.since >= tr.t.Moments[moment].Local)
		}); cause != "" {
			c.doubt(cause)
		}
	}
	w.doubts = c.doubts
	return w, Verdict{}
}

func (w *window) limited() bool { return w.after >= 0 || w.before >= 0 }

// whereabouts says whether a moment is in a window: surely, surely not, or nobody knows.
type whereabouts int

const (
	outside whereabouts = iota
	perhaps
	inside
)

func (tr *trial) place(w *window, moment int) whereabouts {
	result := inside
	if w.after >= 0 {
		result = min(result, tr.notAfter(w.after, moment))
	}
	if w.before >= 0 {
		result = min(result, tr.notAfter(moment, w.before))
	}
	return result
}

func (tr *trial) notAfter(a, b int) whereabouts {
	notAfter, after := tr.causes.order(a, b)
	switch {
	case notAfter:
		return inside
	case after:
		return outside
	}
	return perhaps
}

// later reports whether what a gap hides can only have come after the window.
func (tr *trial) later(w *window, g *gap) bool {
	if w.before < 0 {
		return false
	}
	m := &tr.t.Moments[w.before]
	return g.kind == gapLoss && g.host == m.Event.Host && g.since >= m.Local
}

// never judges that no tap saw such a packet, of whatever connection, in the time that
// is meant.
func (tr *trial) never(e *experiment.NeverExpectation) Verdict {
	w, v := tr.window(e.After, e.Before)
	if v.Ruling != 0 {
		return v
	}
	v = Verdict{Ruling: Pass}
	unsure := -1
	for i := range tr.t.Moments {
		p, ok := tr.packetAt(i)
		if !ok || !tr.matches(&e.Packet, p) {
			continue
		}
		switch tr.place(&w, i) {
		case inside:
			v.Moments = append(v.Moments, i)
		case perhaps:
			if unsure < 0 {
				unsure = i
			}
		}
	}
	hosts := tr.tapsOf(&e.Packet)
	touches := gapsOfAny(wanted(&e.Packet), hosts...)
	switch {
	case len(v.Moments) > 0:
		v.Ruling, v.Reason = Fail, tr.seenText(v.Moments[0])
		if cause := tr.stepCause(&w, v.Moments[0]); cause != "" {
			return doubted(v, cause)
		}
		return tr.unlessWindow(v, &w)
	case unsure >= 0:
		return Verdict{Ruling: CannotTell, Moments: w.moments(unsure),
			Reason: fmt.Sprintf("whether %s was %s is not known", tr.seenText(unsure), tr.windowText(e.After, e.Before))}
	}
	v = tr.unlessGap(v, func(g *gap) bool { return touches(g) && !tr.later(&w, g) })
	return tr.unlessWindow(v, &w)
}

// stepCause is the step of a clock that may have moved a packet into a window, empty
// if none can have.
func (tr *trial) stepCause(w *window, moment int) string {
	if !w.limited() {
		return ""
	}
	m := &tr.t.Moments[moment]
	return tr.causeOf(func(g *gap) bool {
		if g.kind != gapStep {
			return false
		}
		for _, limit := range []int{w.after, w.before} {
			if limit >= 0 && (stepTouches(g, m, &tr.t.Moments[limit]) || stepTouches(g, &tr.t.Moments[limit], m)) {
				return true
			}
		}
		return false
	})
}

// unlessWindow takes back a ruling whose window may have been another one.
func (tr *trial) unlessWindow(v Verdict, w *window) Verdict {
	if len(w.doubts) > 0 && (v.Ruling == Pass || v.Ruling == Fail) {
		return doubted(v, strings.Join(w.doubts, "; "))
	}
	return v
}

func (w *window) moments(of int) []int {
	at := []int{of}
	for _, limit := range []int{w.after, w.before} {
		if limit >= 0 {
			at = append(at, limit)
		}
	}
	return at
}

func (tr *trial) windowText(after, before *experiment.MomentSelector) string {
	var parts []string
	if after != nil {
		parts = append(parts, "after "+momentSelectorText(after))
	}
	if before != nil {
		parts = append(parts, "before "+momentSelectorText(before))
	}
	return strings.Join(parts, " and ")
}

// seenText is a packet, its connection, and who saw it when.
func (tr *trial) seenText(moment int) string {
	p, _ := tr.packetAt(moment)
	return fmt.Sprintf("%s%s seen by %s at %s%s", tr.packetText(p), tr.onConnection(p.connection),
		tr.hostName(p.host), tr.timeText(moment), tr.labText(moment))
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
