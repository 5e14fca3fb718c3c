package timeline

import (
	"slices"
	"strconv"
	"strings"

	"syncline/controller/clock"
)

// Band is a time of which a host's record lacks events. It runs along the host's lane.
type Band struct {
	Lane int
	// First and Last are rows: what is missing happened between the one before First and
	// Last. Last is the RowLoss that says so.
	First, Last int
	// Source and Count say what is missing, and exactly how much; Count is 0 where nobody
	// knows, because the host was lost as well.
	Source Source
	Count  uint64
	// Where they were lost: "capture ring of eth0".
	Where string
}

// layLoss makes the band of a loss, which is known of from the row at on, and gives the
// sentences for that row.
func (b *ladderer) layLoss(e *Event, stamp clock.Stamp, at int) {
	band := Band{Lane: b.lane[e.Host], Last: at, Source: e.Loss.Source, Count: e.Loss.Count, Where: e.Loss.Where}
	began := int64(stamp.At) - int64(e.At-e.Loss.Since)
	for band.First = at; band.First > 0; band.First-- {
		if r := &b.l.Rows[band.First-1]; r.Moment >= 0 && b.isBefore(&b.t.Moments[r.Moment], e, began) {
			break
		}
	}
	b.l.Bands = append(b.l.Bands, band)
}

// isBefore reports whether a moment was over when a loss can have begun at the earliest:
// by the host's own clock, or by the lab's.
func (b *ladderer) isBefore(m *Moment, loss *Event, began int64) bool {
	if m.Event.Host == loss.Host {
		return m.Local <= loss.Loss.Since
	}
	return m.Stamp.Err < clock.Unbounded && int64(m.Stamp.At) <= began
}

// layUnended makes a band to the end of the ladder for each host that never said that
// all of the repetition is on record: what it had not sent when it was lost.
func (b *ladderer) layUnended() {
	if len(b.l.Rows) == 0 {
		return
	}
	ended := make([]bool, len(b.t.Hosts))
	for i := range b.t.Moments {
		e := b.t.Moments[i].Event
		ended[e.Host] = ended[e.Host] || e.Mark != nil && e.Mark.Kind == MarkEnd
	}
	for h, ok := range ended {
		if ok {
			continue
		}
		first := 0
		for i := range b.l.Rows {
			if r := &b.l.Rows[i]; r.Moment >= 0 && b.t.Moments[r.Moment].Event.Host == h {
				first = i + 1
			}
		}
		text := "what " + b.t.hostName(h) + " recorded after this was lost with it"
		b.l.Bands = append(b.l.Bands, Band{Lane: b.lane[h], First: first, Last: len(b.l.Rows)})
		b.l.Rows = append(b.l.Rows, Row{Kind: RowLoss, Lane: b.lane[h], Err: clock.Unbounded, Lab: b.l.Rows[len(b.l.Rows)-1].Lab, Moment: -1, Arrow: -1, Bracket: -1, Text: text})
	}
}

// lossWords say in a row what was lost there: "1,234 packets lost here (capture ring of
// eth0)".
func lossWords(l *Loss) string {
	text := grouped(l.Count) + " " + lostNoun(l.Source, l.Count) + " lost here"
	if l.Where != "" {
		text += " (" + l.Where + ")"
	}
	return text
}

// lostNoun is what n lost events of a source are: a tracepoint is a place in the kernel,
// and what is lost is what it recorded.
func lostNoun(s Source, n uint64) string {
	noun, of := "events", " of "+string(s)
	switch s {
	case Packets, Syscalls, Drops:
		noun, of = string(s), ""
	case Tracepoints:
		noun = "records"
	}
	if n == 1 {
		noun = strings.TrimSuffix(noun, "s")
	}
	return noun + of
}

// lostAmong is all that a host had of a source: "its packets", "the records of its
// tracepoints".
func lostAmong(s Source) string {
	switch s {
	case Packets, Syscalls, Drops:
		return "its " + string(s)
	case Tracepoints:
		return "the records of its tracepoints"
	}
	return "the events of its " + string(s)
}

// grouped is a number with its thousands set apart.
func grouped(n uint64) string {
	digits := []byte(strconv.FormatUint(n, 10))
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = slices.Insert(digits, i, ',')
	}
	return string(digits)
}
