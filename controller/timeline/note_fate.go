package timeline

import (
	"fmt"
	"slices"
	"strings"
)

// fateCount is what became of transmissions of the same at the host that they were sent to.
type fateCount struct {
	sent, came, lost int
	// dropped of those that came met their end in that host's kernel, for reasons.
	dropped int
	reasons []string
}

func (n *noter) fateOf(all []*tapped) fateCount {
	f := fateCount{sent: len(all)}
	for _, s := range all {
		switch {
		case s.s.Arrival >= 0:
			f.came++
		case s.s.Lost:
			f.lost++
		}
		if _, tr, ok := n.t.Drop(s.s); ok && tr.Reason != "" {
			f.dropped++
			if text := tr.DropText(); !slices.Contains(f.reasons, text) {
				f.reasons = append(f.reasons, text)
			}
		}
	}
	return f
}

// because are the reasons of drops, in brackets; empty if there are none.
func (f *fateCount) because() string {
	if len(f.reasons) == 0 {
		return ""
	}
	return " (" + strings.Join(f.reasons, "; ") + ")"
}

// fates says what became of packets where that explains why they were sent again. It is about
// all but the last, which nobody had to send again, and about that one too only where it came to
// the same end: nothing is said of one whose fate was another. It is empty where not enough is
// known.
func (n *noter) fates(all []*tapped, own, peer *endView) string {
	if peer.host < 0 {
		return ""
	}
	if quick := n.quickly(all); quick != "" {
		return quick
	}
	to, first, last := n.name(peer.host), n.fateOf(all[:len(all)-1]), n.fateOf(all[len(all)-1:])
	which := "the first"
	if first.sent > 1 {
		which = fmt.Sprintf("the first %d", first.sent)
	}
	if first.came == first.sent && last.came == 1 && !n.isAnswered(all, own) {
		which, first = fmt.Sprintf("all %d", len(all)), n.fateOf(all)
		if len(all) == 2 {
			which = "both"
		}
	}
	switch {
	case first.came == first.sent && first.dropped == first.sent:
		return fmt.Sprintf(": %s came to %s, and its kernel dropped what came%s", which, to, first.because())
	case first.came == first.sent && first.dropped > 0:
		return fmt.Sprintf(": %s came to %s, and its kernel dropped %d of them%s", which, to, first.dropped, first.because())
	case first.came == first.sent:
		return fmt.Sprintf(": %s came to %s%s", which, to, n.unanswered(all))
	case first.lost == first.sent && last.lost == 1:
		return fmt.Sprintf(": none came to %s%s", to, first.because())
	case first.lost == first.sent:
		return fmt.Sprintf(": %s did not come to %s%s", which, to, first.because())
	case first.came+first.lost == first.sent:
		return fmt.Sprintf(": of %s, %d came to %s and %d did not", which, first.came, to, first.lost)
	}
	return ""
}

// isAnswered reports whether an acknowledgment of what was sent again came back, or may have
// come and be missing from the record.
func (n *noter) isAnswered(all []*tapped, own *endView) bool {
	return n.deaf(own.host) || own.cameFirst(func(s *tapped) bool { return acks(s.p, all[0].end()-1) }) != nil
}
