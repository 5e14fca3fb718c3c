package cli

import (
	"cmp"
	"math"
	"slices"
	"time"

	synclinev1 "syncline/proto/syncline/v1"
)

const (
	flagFIN = 1
	flagSYN = 2
	flagRST = 4
	flagACK = 16
)

// sighted is a packet as the tap of an end saw it.
type sighted struct {
	*synclinev1.Packet
	out bool
	at  stretch
}

func (p *sighted) has(flags uint32) bool { return p.Flags&flags == flags }

// end is the number after the packet.
func (p *sighted) end() uint32 {
	n := p.Sequence + p.PayloadLength
	if p.has(flagSYN) {
		n++
	}
	if p.has(flagFIN) {
		n++
	}
	return n
}

// acknowledges reports whether it acknowledges all before a number.
func (p *sighted) acknowledges(n uint32) bool {
	return p.has(flagACK) && int32(p.Acknowledgment-n) >= 0
}

// wire is what the tap of one end saw of its connection, in the tap's order.
type wire struct {
	packets []sighted
	// orphanFor is how long a FIN_WAIT2 lasts that nothing ends; 0 if something does.
	orphanFor int64
}

func (v *visit) wireOf(c *synclinev1.Connection, client bool) wire {
	w := wire{orphanFor: int64(v.journey.orphanFor)}
	seen := map[uint32]bool{}
	for _, s := range c.Segments {
		out := s.FromClient == client
		own := s.Arrival
		if out {
			own = s.Departure
		}
		if own == nil || seen[*own] {
			continue
		}
		seen[*own] = true
		m := v.tl.Moments[*own]
		p := v.tl.Events[m.Event].Event.GetPacket()
		w.packets = append(w.packets, sighted{p, out, stretch{m.LocalNs - p.ErrorNs, m.LocalNs + p.ErrorNs}})
	}
	slices.SortStableFunc(w.packets, func(a, b sighted) int { return cmp.Compare(a.RealtimeNs, b.RealtimeNs) })
	return w
}

// first is the first packet one way that fits, nil if there is none.
func (w *wire) first(out bool, fits func(*sighted) bool) *sighted {
	for i := range w.packets {
		if p := &w.packets[i]; p.out == out && fits(p) {
			return p
		}
	}
	return nil
}

func (w *wire) fin(out bool) *sighted {
	return w.first(out, func(p *sighted) bool { return p.has(flagFIN) })
}

// closedFirst reports whether the end had not read the peer's FIN when it sent its own,
// and its own was read when the peer sent that one.
func (w *wire) closedFirst() bool {
	own, theirs := w.fin(true), w.fin(false)
	return own != nil && theirs != nil && !own.acknowledges(theirs.end()) && theirs.acknowledges(own.end())
}

// closedSecond reports whether the end's FIN acknowledges the peer's.
func (w *wire) closedSecond() bool {
	own, theirs := w.fin(true), w.fin(false)
	return own != nil && theirs != nil && own.acknowledges(theirs.end())
}

// crossed reports whether neither FIN acknowledges the other.
func (w *wire) crossed() bool {
	own, theirs := w.fin(true), w.fin(false)
	return own != nil && theirs != nil && !own.acknowledges(theirs.end()) && !theirs.acknowledges(own.end())
}

// acknowledgement is the first packet that came and acknowledges the end's FIN.
func (w *wire) acknowledgement() *sighted {
	own := w.fin(true)
	if own == nil {
		return nil
	}
	return w.first(false, func(p *sighted) bool { return p.acknowledges(own.end()) })
}

// acknowledgedApart reports whether the end's FIN was acknowledged before the peer's came.
func (w *wire) acknowledgedApart() bool {
	ack, theirs := w.acknowledgement(), w.fin(false)
	return ack != nil && (theirs == nil || ack.RealtimeNs < theirs.RealtimeNs)
}

// resetAtLast reports whether a reset came after the peer's FIN.
func (w *wire) resetAtLast() bool {
	theirs := w.fin(false)
	return theirs != nil && w.first(false, func(p *sighted) bool { return p.has(flagRST) && p.RealtimeNs > theirs.RealtimeNs }) != nil
}

// Lives of what is left of a connection. Timers of Linux are never early, and late by
// less than an eighth.
const (
	timeWaitLength   = int64(60 * time.Second)
	timersAreLateBy  = 8
	timersArePrecise = int64(20 * time.Millisecond)
)

// allows is when state i of a path may have begun, by the packets alone. A packet that
// brings a state about is heard before TCP hears it; one that a state sends, after.
func (w *wire) allows(states []*synclinev1.State, i int, before stretch) stretch {
	at := stretch{math.MinInt64, math.MaxInt64}
	after := func(p *sighted) {
		if p != nil {
			at.earliest = max(at.earliest, p.at.earliest)
		}
	}
	by := func(p *sighted) {
		if p != nil {
			at.latest = min(at.latest, p.at.latest)
		}
	}
	lasts := func(length int64) {
		if before.earliest != math.MinInt64 {
			at.earliest = before.earliest + length - timersArePrecise
		}
		if before.latest != math.MaxInt64 {
			at.latest = before.latest + length + length/timersAreLateBy + timersArePrecise
		}
	}
	from := ""
	if i > 0 {
		from = states[i-1].Name
	}
	reset := w.first(false, func(p *sighted) bool { return p.has(flagRST) })
	switch states[i].Name {
	case "SYN_SENT":
		by(w.first(true, func(p *sighted) bool { return p.has(flagSYN) }))
	case "SYN_RECV":
		after(w.first(false, func(p *sighted) bool { return p.has(flagSYN) }))
		by(w.first(true, func(p *sighted) bool { return p.has(flagSYN | flagACK) }))
	case "ESTABLISHED":
		after(w.first(false, func(p *sighted) bool { return p.has(flagACK) && p.has(flagSYN) == (from == "SYN_SENT") }))
		by(w.first(true, func(p *sighted) bool { return !p.has(flagSYN) && !p.has(flagRST) }))
	case "FIN_WAIT1", "LAST_ACK":
		by(w.fin(true))
	case "FIN_WAIT2":
		after(w.acknowledgement())
	case "CLOSING", "CLOSE_WAIT":
		after(w.fin(false))
	case "TIME_WAIT":
		after(w.fin(false))
		after(w.acknowledgement())
	case "CLOSED":
		switch from {
		case "LAST_ACK":
			if reset == nil {
				after(w.acknowledgement())
			}
		case "TIME_WAIT":
			if reset == nil {
				lasts(timeWaitLength)
			}
		case "FIN_WAIT2":
			if w.orphanFor > 0 {
				lasts(w.orphanFor)
			}
		}
		if from != "" {
			after(reset)
		}
	}
	return at
}
