package timeline

import (
	"fmt"
	"math"
	"strings"
	"time"

	"syncline/controller/experiment"
)

// series is one packet and its retransmissions, in order of departure.
type series struct {
	connection int
	fromClient bool
	// first is the packet that began it; it takes length sequence numbers.
	first  *Packet
	length uint32
	sent   []*Transmission
}

// retransmits judges the retransmissions of each packet that a selector names.
//
// Bounds are about how many there were of all of them together. Gaps are about each
// packet that was sent again at all, by the clock of its sender's tap: it must have been
// sent again after these times, within the tolerance, and not more often unless more is
// allowed. A packet that was sent once says nothing of gaps; if none was sent again,
// they select nothing.
//
// A retransmission is what takes sequence numbers that were sent before; a bare ACK or a
// reset is none. An ARP request is sent again if its sender asks for the same address.
func (tr *trial) retransmits(e *experiment.RetransmitsExpectation) Verdict {
	all, doubt := tr.seriesOf(&e.Packet)
	again := 0
	for _, s := range all {
		again += len(s.sent) - 1
	}
	touches := gapsOfAny(wanted(&e.Packet), tr.tapsOf(&e.Packet)...)
	cause := tr.hidden(touches)
	if len(all) == 0 {
		tr.empty = true
		return tr.absent("selects nothing: no packet "+packetSelectorText(&e.Packet)+" was sent", strings.Trim(cause+"; "+doubt, "; "))
	}
	v := tr.howOften(e, all, again, cause, doubt)
	if len(e.Gaps) == 0 || v.Ruling == Fail {
		return v
	}
	if again == 0 {
		tr.empty = true
		return worse(v, tr.absent("selects nothing: no packet "+packetSelectorText(&e.Packet)+" was sent again", strings.Trim(cause+"; "+doubt, "; ")))
	}
	for i := range all {
		if len(all[i].sent) > 1 {
			v = worse(v, tr.gapsOfSeries(e, &all[i], tr.causeOf(touches)))
		}
	}
	if v.Ruling == Pass {
		if doubt != "" {
			return doubted(v, doubt)
		}
		return tr.unlessGap(v, touches)
	}
	return v
}

// absent is a fail for what is not there, or CannotTell for a cause.
func (tr *trial) absent(reason, cause string) Verdict {
	if cause != "" {
		return Verdict{Ruling: CannotTell, Reason: reason + " that is on record; " + cause}
	}
	return Verdict{Ruling: Fail, Reason: reason}
}

// howOften judges the number of retransmissions.
func (tr *trial) howOften(e *experiment.RetransmitsExpectation, all []series, again int, cause, doubt string) Verdict {
	n := quantity{int64(again), int64(again)}
	if cause != "" || doubt != "" {
		n.hi = many
	}
	v := bounded(n, e.Bounds)
	for _, s := range all {
		for _, one := range s.sent[1:] {
			v.Moments = append(v.Moments, one.First())
		}
	}
	if v.Ruling == Pass {
		return v
	}
	v.Reason += fmt.Sprintf(", %s was sent again %d times", packetSelectorText(&e.Packet), again)
	if v.Ruling == CannotTell {
		v.Reason += "; " + strings.Trim(cause+"; "+doubt, "; ")
	}
	return v
}

// seriesOf finds the packets that a selector names, each with its retransmissions.
// doubt says why there may be more of the experiment's.
func (tr *trial) seriesOf(sel *experiment.PacketSelector) (all []series, doubt string) {
	// A retransmission belongs to what it repeats, whether it is asked for or not.
	any := *sel
	any.Copy = false
	last := -1
	for i := range tr.transmissions() {
		one := &tr.sent[i]
		if one.First() == last || one.Duplicate {
			continue
		}
		last = one.First()
		p, ok := tr.sighting(one)
		if !ok || !tr.matches(&any, p) || !p.TCP() && p.ARP == 0 || p.TCP() && sequenceLength(p.Packet) == 0 {
			continue
		}
		switch why := tr.doubtOf(one.Connection); why {
		case "":
			all = inSeries(all, one, p)
		case foreignText:
		default:
			doubt = why
		}
	}
	return all, doubt
}

// inSeries adds a transmission to the series that it repeats, or begins one.
func inSeries(all []series, one *Transmission, p sighting) []series {
	for i := range all {
		if all[i].repeats(one, p) {
			all[i].sent = append(all[i].sent, one)
			return all
		}
	}
	return append(all, series{one.Connection, p.fromClient, p.Packet, sequenceLength(p.Packet), []*Transmission{one}})
}

func (s *series) repeats(one *Transmission, p sighting) bool {
	if p.ARP != 0 {
		return s.first.ARP == p.ARP && s.first.Source == p.Source && s.first.Destination == p.Destination
	}
	if s.connection != one.Connection || s.fromClient != p.fromClient || (s.first.Flags^p.Flags)&(SYN|ACK) != 0 {
		return false
	}
	offset := int32(p.Seq - s.first.Seq)
	return offset >= 0 && uint32(offset) < s.length
}

// gapsOfSeries judges the times between the transmissions of one packet.
func (tr *trial) gapsOfSeries(e *experiment.RetransmitsExpectation, s *series, cause string) Verdict {
	var moments []int
	for _, one := range s.sent {
		if one.Departure < 0 {
			return Verdict{Ruling: CannotTell, Moments: []int{one.Arrival},
				Reason: fmt.Sprintf("when %s was sent is not on record for each of its transmissions", packetSelectorText(&e.Packet))}
		}
		moments = append(moments, one.Departure)
	}
	v := Verdict{Ruling: Pass, Moments: moments}
	var had []string
	for i := 1; i < len(moments); i++ {
		lo, hi := tr.causes.apart(moments[i-1], moments[i])
		had = append(had, length{lo, hi}.String())
		if i <= len(e.Gaps) {
			v.Ruling = worse(v, gapWithin(length{lo, hi}, e.Gaps[i-1], e.Tolerance)).Ruling
		}
	}
	if n := len(had); n < len(e.Gaps) || n > len(e.Gaps) && !e.More {
		v.Ruling = Fail
	}
	if v.Ruling == Pass {
		return v
	}
	v.Reason = fmt.Sprintf("%s%s was sent again after %s, expected %s", packetSelectorText(&e.Packet), tr.onConnection(s.connection),
		strings.Join(had, ", "), gapsText(e))
	if v.Ruling == Fail && cause != "" {
		v.Ruling = CannotTell
		v.Reason += ", but " + cause
	}
	return v
}

func gapWithin(l length, want time.Duration, tolerance float64) Verdict {
	slack := int64(math.Round(float64(want) * tolerance))
	least, most := int64(want)-slack, int64(want)+slack
	return decide(l.lo >= least && l.hi <= most, l.hi < least || l.lo > most, "")
}

func gapsText(e *experiment.RetransmitsExpectation) string {
	var parts []string
	for _, g := range e.Gaps {
		parts = append(parts, spanText(int64(g)))
	}
	text := strings.Join(parts, ", ")
	if e.More {
		text += ", ..."
	}
	if e.Tolerance > 0 {
		text += fmt.Sprintf(" within %s %%", trimmed(e.Tolerance*100, 1))
	}
	return text
}
