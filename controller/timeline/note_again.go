package timeline

import (
	"fmt"
	"slices"
)

// sayAgain makes a note of transmissions of the same. Its sources are those of what had it sent
// again, those of its kind where that was a time-out, and none where it is not known.
func (n *noter) sayAgain(all []*tapped, connection int, text string) {
	n.say(connection, text, momentsOf(all)...)
	var sources []string
	for _, s := range all[1:] {
		k := n.c.of[s.moment]
		if k.Rule == nil || k.Rule == ruleRTO || k.Rule == ruleSYNTimer {
			// The kind speaks of time-outs.
			continue
		}
		for _, source := range k.Rule.Sources {
			if !slices.Contains(sources, source) {
				sources = append(sources, source)
			}
		}
	}
	if slices.ContainsFunc(all[1:], n.isTimedOut) {
		for _, source := range n.kind.sources {
			if !slices.Contains(sources, source) {
				sources = append(sources, source)
			}
		}
	}
	n.notes[len(n.notes)-1].Sources = sources
}

// isTimedOut reports whether a time-out had a packet sent again.
func (n *noter) isTimedOut(s *tapped) bool {
	rule := n.c.of[s.moment].Rule
	return rule == ruleRTO || rule == ruleSYNTimer || rule == ruleSYNACKTimer
}

// isLossProbe reports whether a packet was sent again as a tail loss probe.
func (n *noter) isLossProbe(s *tapped) bool { return n.c.of[s.moment].Rule == ruleProbeLoss }

// quickly says why a SYN was sent again long before its time-out; empty if it was not.
func (n *noter) quickly(all []*tapped) string {
	i := slices.IndexFunc(all, func(s *tapped) bool { return n.c.of[s.moment].Rule == ruleSYNQuick })
	if i < 0 {
		return ""
	}
	k := n.c.of[all[i].moment]
	host := n.name(n.t.Moments[k.By].Event.Host)
	return fmt.Sprintf(": an ACK of something else had come to %s, which answered it with a RST, and after that Linux does not wait for the time-out", host)
}

// unanswered says, of packets that came, why more followed; empty where that is not known.
func (n *noter) unanswered(all []*tapped) string {
	again := all[1:]
	probes := slices.IndexFunc(again, func(s *tapped) bool { return !n.isLossProbe(s) })
	timed := !slices.ContainsFunc(again, func(s *tapped) bool { return !n.isTimedOut(s) && !n.isLossProbe(s) })
	switch {
	case len(again) == 1 && probes < 0:
		return ", and the second was a tail loss probe, which asks whether it had"
	case timed && probes > 0:
		return ", and no acknowledgment came back in time; the second was a tail loss probe"
	case timed:
		return ", and no acknowledgment came back in time"
	}
	return ""
}
