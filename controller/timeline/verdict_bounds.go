package timeline

import (
	"fmt"
	"math"
	"strconv"

	"syncline/controller/clock"
	"syncline/controller/experiment"
)

// length is a length of time that is surely within [lo, hi], in nanoseconds;
// ±clock.Unbounded where a side is not bounded.
type length struct{ lo, hi int64 }

// String is the length with its error: "2.1 ms ±38 µs".
func (l length) String() string {
	if l.lo <= -clock.Unbounded || l.hi >= clock.Unbounded {
		return "a time that nothing bounds"
	}
	text := spanText(l.lo + (l.hi-l.lo)/2)
	if err := (l.hi - l.lo + 1) / 2; err > 0 {
		text += " ±" + spanText(err)
	}
	return text
}

// lasted judges a length of time against two limits of which either may be missing.
// The reason begins with the length. rtt is that of a connection, -1 if there is none.
func (tr *trial) lasted(l length, least, most *experiment.Span, connection int) Verdict {
	v := Verdict{Ruling: Pass}
	for _, limit := range []struct {
		span  *experiment.Span
		least bool
	}{{least, true}, {most, false}} {
		if limit.span == nil {
			continue
		}
		bound, doubt := tr.spanOf(limit.span, connection)
		if doubt != "" {
			return worse(v, Verdict{Ruling: CannotTell, Reason: fmt.Sprintf("%s, but %s", l, doubt)})
		}
		v = worse(v, tr.within(l, bound, limit.span, limit.least))
	}
	return v
}

// worse is the verdict that speaks for both; the first of two alike.
func worse(a, b Verdict) Verdict {
	if severity(b.Ruling) > severity(a.Ruling) {
		return b
	}
	return a
}

// within judges one limit. A length that is nearer to it than the errors of both is
// not known to be on either side.
func (tr *trial) within(l, bound length, span *experiment.Span, least bool) Verdict {
	over, under := l.lo > bound.hi, l.hi < bound.lo
	sure, word := l.hi <= bound.lo, "at most"
	wrong, how := over, "more than"
	if least {
		sure, word = l.lo >= bound.hi, "at least"
		wrong, how = under, "less than"
	}
	limit := spanSelectorText(span)
	if span.RTTs != 0 {
		limit += fmt.Sprintf(" (%s)", bound)
	}
	switch {
	case sure:
		return Verdict{Ruling: Pass}
	case wrong:
		return Verdict{Ruling: Fail, Reason: fmt.Sprintf("%s, %s %s", l, how, limit)}
	case l.lo <= -clock.Unbounded || l.hi >= clock.Unbounded:
		return Verdict{Ruling: CannotTell, Reason: fmt.Sprintf("%s: nothing ties the two clocks", l)}
	}
	return Verdict{Ruling: CannotTell, Reason: fmt.Sprintf("%s: whether that is %s %s cannot be told", l, word, limit)}
}

// spanOf is a limit as nanoseconds, by the round-trip time that was measured on the
// connection. The limit is exact unless it speaks of round trips.
func (tr *trial) spanOf(s *experiment.Span, connection int) (l length, doubt string) {
	l = length{int64(s.Duration), int64(s.Duration)}
	if s.RTTs == 0 {
		return l, ""
	}
	rtt, doubt := tr.rtt(connection)
	if doubt != "" {
		return l, doubt
	}
	return length{l.lo + times(rtt.lo, s.RTTs), l.hi + times(rtt.hi, s.RTTs)}, ""
}

func times(ns int64, n float64) int64 { return int64(math.Round(float64(ns) * n)) }

func spanSelectorText(s *experiment.Span) string {
	rtts := strconv.FormatFloat(s.RTTs, 'f', -1, 64) + " rtt"
	switch {
	case s.RTTs == 0:
		return spanText(int64(s.Duration))
	case s.Duration == 0:
		return rtts
	case s.Duration < 0:
		return rtts + " − " + spanText(int64(-s.Duration))
	}
	return rtts + " + " + spanText(int64(s.Duration))
}

// many stands for a number that nothing bounds.
const many = math.MaxInt64

// quantity is a number that is surely within [lo, hi].
type quantity struct{ lo, hi int64 }

// bounded judges a number against what is asked of it. The reason only names what was
// asked: the caller says what the number is.
func bounded(n quantity, b experiment.Bounds) Verdict {
	v := Verdict{Ruling: Pass}
	if b.Equals != nil {
		want := *b.Equals
		v = worse(v, decide(n.lo == want && n.hi == want, n.lo > want || n.hi < want, fmt.Sprintf("expected %d", want)))
	}
	if b.AtLeast != nil {
		want := *b.AtLeast
		v = worse(v, decide(n.lo >= want, n.hi < want, fmt.Sprintf("expected at least %d", want)))
	}
	if b.AtMost != nil {
		want := *b.AtMost
		v = worse(v, decide(n.hi <= want, n.lo > want, fmt.Sprintf("expected at most %d", want)))
	}
	return v
}

// decide is a pass if the one is sure, a fail if the other is, and otherwise nobody
// can tell.
func decide(pass, fail bool, reason string) Verdict {
	switch {
	case pass:
		return Verdict{Ruling: Pass}
	case fail:
		return Verdict{Ruling: Fail, Reason: reason}
	}
	return Verdict{Ruling: CannotTell, Reason: reason}
}
