package web

import (
	"cmp"
	"math"
	"slices"

	"syncline/controller/timeline"
)

// samplesShown is about how many samples of one method on one side of a clock a page has.
const samplesShown = 200

// ClockMessage is a message between the reference and another host, by the clocks of both:
// the offset is surely not above Bound if it was sent by the reference, and surely not
// below it if it was sent by the other.
type ClockMessage struct {
	// Host indexes the hosts of the run; it is not the reference.
	Host int
	// At is its time on the reference's own clock, and Bound what it says of the offset of
	// the host's clock to the reference's; both are nanoseconds.
	At, Bound int64
	// FromReference tells which of them sent it.
	FromReference bool
	Probe         bool
}

// SegmentMessages are the segments of a timeline between the reference and other hosts that
// say something of their clocks.
func SegmentMessages(t *timeline.Timeline) []ClockMessage {
	var messages []ClockMessage
	for ci := range t.Connections {
		c := &t.Connections[ci]
		for si := range c.Segments {
			s := &c.Segments[si]
			if s.Departure < 0 || s.Arrival < 0 || s.Ambiguous || s.Duplicate {
				continue
			}
			left, came := &t.Moments[s.Departure], &t.Moments[s.Arrival]
			from, to := left.Event.Host, came.Event.Host
			switch {
			case from == to:
			case from == t.Reference:
				messages = append(messages, ClockMessage{
					Host: to, At: int64(left.Local), Bound: int64(came.Local - left.Local), FromReference: true,
				})
			case to == t.Reference:
				messages = append(messages, ClockMessage{Host: from, At: int64(came.Local), Bound: int64(left.Local - came.Local)})
			}
		}
	}
	return messages
}

// Thin takes of many messages about one host those that say most, evenly over the time that
// they are of: in each part of it, by method and side, the one that bounds the offset best.
func Thin(messages []ClockMessage) []ClockMessage {
	if len(messages) == 0 {
		return nil
	}
	first, last := int64(math.MaxInt64), int64(math.MinInt64)
	for _, m := range messages {
		first, last = min(first, m.At), max(last, m.At)
	}
	type part struct {
		n                    int64
		fromReference, probe bool
	}
	best := make(map[part]ClockMessage)
	width := (last-first)/samplesShown + 1
	for _, m := range messages {
		at := part{(m.At - first) / width, m.FromReference, m.Probe}
		other, ok := best[at]
		if !ok || m.FromReference && m.Bound < other.Bound || !m.FromReference && m.Bound > other.Bound {
			best[at] = m
		}
	}
	kept := make([]ClockMessage, 0, len(best))
	for _, m := range best {
		kept = append(kept, m)
	}
	slices.SortFunc(kept, func(a, b ClockMessage) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Bound, b.Bound), compareBool(a.FromReference, b.FromReference), compareBool(a.Probe, b.Probe))
	})
	return kept
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
